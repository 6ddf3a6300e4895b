//! How long a back end takes, and how it ends, counted.

use std::sync::Arc;
use std::time::Instant;

use super::{Commit, StoreError};
use crate::metrics::{Metrics, StoreOperation, StoreOutcome};

/// What operations of a store are counted with; nothing counts them where it is empty.
#[derive(Default)]
pub(super) struct Measured(Option<Arc<Metrics>>);

/// How an operation ended.
pub(super) trait Ended {
    fn outcome(&self) -> StoreOutcome;
}

/// An operation that only an outage can keep from what it is for.
macro_rules! ended {
    ($($answer:ty),+) => {
        $(impl Ended for Result<$answer, StoreError> {
            fn outcome(&self) -> StoreOutcome {
                if self.is_ok() { StoreOutcome::Ok } else { StoreOutcome::Error }
            }
        })+
    };
}

ended!(Vec<Option<super::Record>>, Vec<(super::Key, super::Record)>, super::Listed, (), usize);

impl Ended for Result<Commit, StoreError> {
    fn outcome(&self) -> StoreOutcome {
        match self {
            Ok(Commit::Applied) => StoreOutcome::Ok,
            Ok(Commit::Conflict) => StoreOutcome::Conflict,
            Err(_) => StoreOutcome::Error,
        }
    }
}

impl Measured {
    pub fn by(metrics: Arc<Metrics>) -> Self {
        Self(Some(metrics))
    }

    /// Does it and counts it.
    pub async fn timed<T: Ended>(&self, operation: StoreOperation, work: impl Future<Output = T>) -> T {
        let Some(metrics) = &self.0 else { return work.await };
        let began = Instant::now();
        let ended = work.await;
        metrics.store(operation, ended.outcome(), began.elapsed());
        ended
    }

    /// The same for what is answered without waiting; what is not answered so is not counted here.
    pub fn timed_now<T: Ended>(&self, operation: StoreOperation, work: impl FnOnce() -> Option<T>) -> Option<T> {
        let Some(metrics) = &self.0 else { return work() };
        let began = Instant::now();
        let ended = work()?;
        metrics.store(operation, ended.outcome(), began.elapsed());
        Some(ended)
    }
}
