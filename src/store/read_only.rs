//! A store that can be made read-only while it is moved to another: what would write is refused, what reads goes on.
//!
//! The state is a record of the store itself ([`Mark::ReadOnly`]), so it outlives the process, and every node of a shared store follows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, Notify, broadcast};

use super::measured::Measured;
use super::records::Mark;
use super::typed::{decode, encode};
use super::{About, Backend, Change, Commit, Depth, Key, Kind, Listed, OWN_SPACE, Record, Space, StoreError, Version};
use crate::metrics::{Metrics, StoreOperation};
use crate::time::UnixTime;

/// How often a node of a shared store looks whether another one made it read-only.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// How long whoever makes a shared store read-only waits for the other nodes.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(3);

/// Any back end, with a switch, and with how long it takes and how it ends counted.
pub struct ReadOnly {
    inner: Arc<dyn Backend>,
    measured: Measured,
    gate: Gate,
    /// One turn at a time.
    turning: Mutex<()>,
    on: AtomicBool,
    /// How often it was switched.
    turns: AtomicU64,
}

/// What a write passes: a number that goes up and down, and a look at a flag. Only whoever closes it ever waits.
#[derive(Default)]
struct Gate {
    closed: AtomicBool,
    /// Writes that passed and are not answered.
    under_way: AtomicUsize,
    /// Tells that there are none.
    idle: Notify,
}

/// A write that passed.
struct Passed<'a>(&'a Gate);

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.closed.load(Ordering::SeqCst) {
            self.0.idle.notify_waiters();
        }
    }
}

/// A gate that opens again where closing it is given up.
struct Closing<'a>(Option<&'a Gate>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0 {
            gate.closed.store(false, Ordering::SeqCst);
        }
    }
}

impl Gate {
    /// Whether something may be written, for as long as what comes back is kept. Counted before the flag is looked at: either this sees the flag,
    /// or whoever set it sees the count.
    fn pass(&self) -> Result<Passed<'_>, StoreError> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let passed = Passed(self);
        if self.closed.load(Ordering::SeqCst) { Err(StoreError::ReadOnly) } else { Ok(passed) }
    }

    /// Lets nobody through any more, and returns once those who went through are answered.
    async fn close(&self) {
        let mut closing = Closing((!self.closed.swap(true, Ordering::SeqCst)).then_some(self));
        loop {
            // Asked for before it is looked, so that the last one does not end unseen in between.
            let idle = self.idle.notified();
            if self.under_way.load(Ordering::SeqCst) == 0 {
                break;
            }
            idle.await;
        }
        closing.0 = None;
    }
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
        let gate = Gate { closed: AtomicBool::new(on), ..Gate::default() };
        Ok(Self { inner, measured: Measured::default(), gate, turning: Mutex::default(), on: AtomicBool::new(on), turns: AtomicU64::new(0) })
    }

    /// The same, with what it does counted.
    #[must_use]
    pub fn measured(self, metrics: Arc<Metrics>) -> Self {
        Self { measured: Measured::by(metrics), ..self }
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
        let _alone = self.turning.lock().await;
        if on {
            self.gate.close().await;
        }
        if self.on.swap(on, Ordering::AcqRel) != on {
            self.turns.fetch_add(1, Ordering::AcqRel);
        }
        if on {
            // A write whose caller went away may still be on its way to the file; this one goes behind it.
            let _settled = self.inner.remove(&mark_key("nothing")).await;
        } else {
            // Only now: whoever reads for long sees the turn before anything is written.
            self.gate.closed.store(false, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Backend for ReadOnly {
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        self.measured.timed(StoreOperation::Read, self.inner.read_many(keys)).await
    }

    fn read_now(&self, keys: &[Key]) -> Option<Result<Vec<Option<Record>>, StoreError>> {
        self.measured.timed_now(StoreOperation::Read, || self.inner.read_now(keys))
    }

    async fn write(&self, key: &Key, seen: Option<Version>, expires_at: Option<UnixTime>, bytes: Bytes) -> Result<Commit, StoreError> {
        let _passed = self.gate.pass()?;
        self.measured.timed(StoreOperation::Write, self.inner.write(key, seen, expires_at, bytes)).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let _passed = self.gate.pass()?;
        self.measured.timed(StoreOperation::Remove, self.inner.remove(key)).await
    }

    async fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Record)>, StoreError> {
        self.measured.timed(StoreOperation::List, self.inner.list(space, kind, after, limit)).await
    }

    async fn list_each(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Listed, StoreError> {
        self.measured.timed(StoreOperation::List, self.inner.list_each(space, kind, after, limit)).await
    }

    /// Nothing is swept while the store is read-only, and nobody misses it.
    async fn sweep(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
        match self.gate.pass() {
            Ok(_passed) => self.measured.timed(StoreOperation::Sweep, self.inner.sweep(now, limit)).await,
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

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn closing_waits_for_what_has_passed_and_opens_again_where_it_is_given_up() {
        let gate = Gate::default();
        let passed = gate.pass().unwrap();
        let mut given_up = Box::pin(gate.close());
        assert!(poll!(given_up.as_mut()).is_pending());
        assert!(matches!(gate.pass(), Err(StoreError::ReadOnly)));
        drop(given_up);
        drop(gate.pass().unwrap());
        let mut closed = Box::pin(gate.close());
        assert!(poll!(closed.as_mut()).is_pending(), "one is still under way");
        drop(passed);
        closed.await;
        assert!(gate.pass().is_err() && gate.under_way.load(Ordering::SeqCst) == 0, "who is turned away is not under way");
    }
}
