//! A store that can be made read-only while it is moved to another: what would write is refused, what reads goes on.
//!
//! The state is a record of the store itself ([`Mark::ReadOnly`]), so it outlives the process, and every node of a shared store follows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{RwLock, broadcast};

use super::records::Mark;
use super::typed::{decode, encode};
use super::{About, Backend, Change, Commit, Depth, Key, Kind, OWN_SPACE, Record, Space, StoreError, Version};
use crate::time::UnixTime;

/// How often a node of a shared store looks whether another one made it read-only.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// How long whoever makes a shared store read-only waits for the other nodes.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(3);

/// Any back end, with a switch.
pub struct ReadOnly {
    inner: Arc<dyn Backend>,
    /// Held for reading during a write: once it was held for writing, no write of before is under way.
    gate: RwLock<()>,
    on: AtomicBool,
    /// How often it was switched.
    turns: AtomicU64,
}

/// The key of one of the store's own marks.
pub fn mark_key(id: &str) -> Key {
    Key::new(&Space::from(OWN_SPACE), Kind::Mark, id)
}

/// One of the store's own marks, and the record it stands in.
pub async fn mark(backend: &dyn Backend, id: &str) -> Result<Option<(Mark, Record)>, StoreError> {
    let found = backend.read_many(&[mark_key(id)]).await?.pop().flatten();
    found.map(|record| decode::<Mark>(&record.bytes).map(|mark| (mark, record))).transpose()
}

/// Writes a mark where it was `seen`; [`Commit::Conflict`] where somebody else did meanwhile.
pub async fn set_mark(backend: &dyn Backend, mark: &Mark, seen: Option<&Record>) -> Result<Commit, StoreError> {
    backend.write(&mark_key(mark.id()), seen.map(|record| record.version), None, encode(mark)?).await
}

impl ReadOnly {
    /// The back end as its marks say it is.
    ///
    /// # Errors
    /// [`StoreError::HalfFilled`] where an import did not end, and when the store cannot answer.
    pub async fn around(inner: Arc<dyn Backend>) -> Result<Self, StoreError> {
        if mark(&*inner, Mark::FILLING).await?.is_some() {
            return Err(StoreError::HalfFilled);
        }
        let on = mark(&*inner, Mark::READ_ONLY).await?.is_some();
        Ok(Self { inner, gate: RwLock::default(), on: AtomicBool::new(on), turns: AtomicU64::new(0) })
    }

    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// Grows each time the switch is turned: what reads for long sees whether anything could have been written meanwhile.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Whether other processes use this store too.
    pub fn is_shared(&self) -> bool {
        self.inner.changes().is_some()
    }

    /// Refuses writes from here on, or takes them again. When this returns, what was written before is written, and nothing else is.
    /// On a shared store it returns once every node that can reach it has had the time to follow.
    ///
    /// # Errors
    /// When the store cannot answer; nothing is switched then.
    pub async fn switch(&self, on: bool, now: UnixTime) -> Result<(), StoreError> {
        if on {
            self.turn(true).await;
            if let Err(down) = self.write_mark(now).await {
                self.turn(false).await;
                return Err(down);
            }
        } else {
            self.inner.remove(&mark_key(Mark::READ_ONLY)).await?;
            self.turn(false).await;
        }
        if self.is_shared() {
            tokio::time::sleep(FOLLOWED_WITHIN).await;
        }
        Ok(())
    }

    async fn write_mark(&self, now: UnixTime) -> Result<(), StoreError> {
        if mark(&*self.inner, Mark::READ_ONLY).await?.is_none() {
            // Where another node was faster it says the same.
            let _same = set_mark(&*self.inner, &Mark::ReadOnly { since: now }, None).await?;
        }
        Ok(())
    }

    /// Does what the mark says. For nodes of a shared store, now and then.
    ///
    /// # Errors
    /// When the store cannot answer; nothing is switched then.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let on = mark(&*self.inner, Mark::READ_ONLY).await?.is_some();
        if on != self.is_on() {
            tracing::warn!(read_only = on, "the store was switched by another node");
            self.turn(on).await;
        }
        Ok(())
    }

    async fn turn(&self, on: bool) {
        // Writes that passed the switch hold the gate until they are answered.
        let _alone = self.gate.write().await;
        if self.on.swap(on, Ordering::AcqRel) != on {
            self.turns.fetch_add(1, Ordering::AcqRel);
        }
        if on {
            // A write whose caller went away may still be on its way to the file; this one goes behind it.
            let _settled = self.inner.remove(&mark_key("nothing")).await;
        }
    }

    /// Whether something may be written, for as long as what comes back is kept.
    async fn writable(&self) -> Result<tokio::sync::RwLockReadGuard<'_, ()>, StoreError> {
        let guard = self.gate.read().await;
        if self.is_on() { Err(StoreError::ReadOnly) } else { Ok(guard) }
    }
}

#[async_trait]
impl Backend for ReadOnly {
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        self.inner.read_many(keys).await
    }

    async fn write(&self, key: &Key, seen: Option<Version>, expires_at: Option<UnixTime>, bytes: Bytes) -> Result<Commit, StoreError> {
        let _guard = self.writable().await?;
        self.inner.write(key, seen, expires_at, bytes).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let _guard = self.writable().await?;
        self.inner.remove(key).await
    }

    async fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Record)>, StoreError> {
        self.inner.list(space, kind, after, limit).await
    }

    /// Nothing is swept while the store is read-only, and nobody misses it.
    async fn sweep(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
        match self.writable().await {
            Ok(_guard) => self.inner.sweep(now, limit).await,
            Err(_) => Ok(0),
        }
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
