//! Any back end, with how long it takes and how it ends counted.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use super::{About, Backend, Change, Commit, Depth, Key, Kind, Record, Space, StoreError, Version};
use crate::metrics::{Metrics, StoreOperation, StoreOutcome};
use crate::time::UnixTime;

/// A back end that is watched.
pub struct Measured {
    inner: Arc<dyn Backend>,
    metrics: Arc<Metrics>,
}

impl Measured {
    pub fn new(inner: Arc<dyn Backend>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    fn ended<T>(&self, operation: StoreOperation, began: Instant, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let outcome = if result.is_ok() { StoreOutcome::Ok } else { StoreOutcome::Error };
        self.metrics.store(operation, outcome, began.elapsed());
        result
    }
}

#[async_trait]
impl Backend for Measured {
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        let began = Instant::now();
        self.ended(StoreOperation::Read, began, self.inner.read_many(keys).await)
    }

    async fn write(&self, key: &Key, seen: Option<Version>, expires_at: Option<UnixTime>, bytes: Bytes) -> Result<Commit, StoreError> {
        let began = Instant::now();
        let result = self.inner.write(key, seen, expires_at, bytes).await;
        let outcome = match result {
            Ok(Commit::Applied) => StoreOutcome::Ok,
            Ok(Commit::Conflict) => StoreOutcome::Conflict,
            Err(_) => StoreOutcome::Error,
        };
        self.metrics.store(StoreOperation::Write, outcome, began.elapsed());
        result
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let began = Instant::now();
        self.ended(StoreOperation::Remove, began, self.inner.remove(key).await)
    }

    async fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Record)>, StoreError> {
        let began = Instant::now();
        self.ended(StoreOperation::List, began, self.inner.list(space, kind, after, limit).await)
    }

    async fn sweep(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
        let began = Instant::now();
        self.ended(StoreOperation::Sweep, began, self.inner.sweep(now, limit).await)
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        self.inner.changes()
    }

    async fn spaces(&self) -> Result<Option<Vec<Space>>, StoreError> {
        self.inner.spaces().await
    }

    fn about(&self) -> About {
        self.inner.about()
    }

    async fn check_indexes(&self) -> Result<Vec<String>, StoreError> {
        self.inner.check_indexes().await
    }

    fn depth(&self) -> Depth {
        self.inner.depth()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
