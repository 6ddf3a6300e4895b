//! The one thread that writes: takes what is there, decides it in one transaction, commits, answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redb::{Database, ReadableTable as _, Table};
use tokio::sync::{mpsc, oneshot};

use super::disk::Medium;
use super::layout::{EXPIRIES, RECORDS, expiry_key, record_value, split_expiry, split_value};
use super::{Failed, Shared, State};
use crate::random::{Random as _, SystemRandom};
use crate::store::{Record, StoreError, Version};
use crate::time::UnixTime;

/// At most so many jobs share a commit: enough to saturate a disk, few enough that the first of them does not wait long.
const BATCH: usize = 512;

/// How often the writer looks for more before it commits. Each time others may have the processor for as long as the system lets them, some milliseconds.
const LOOKS: usize = 4;

/// A database that would not open is not tried again sooner than this.
const PAUSE: Duration = Duration::from_millis(250);

/// Something to be done in order. The answer is how many records it changed.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) answer: oneshot::Sender<Result<usize, StoreError>>,
}

pub(super) enum Task {
    Write {
        key: Vec<u8>,
        seen: Option<Version>,
        expires_at: Option<UnixTime>,
        bytes: Bytes,
    },
    Remove {
        key: Vec<u8>,
    },
    Sweep {
        now: UnixTime,
        limit: usize,
    },
    /// Notices a database that failed, and opens it again.
    Look,
    Close,
}

pub(super) struct Writer<M> {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) medium: M,
    next_version: u64,
}

impl<M: Medium> Writer<M> {
    pub(super) fn new(shared: Arc<Shared>, jobs: mpsc::Receiver<Job>, medium: M) -> Self {
        // Versions need only differ from all earlier ones of the same record. From a random start per opening they do, without
        // a counter that every commit would have to write.
        let mut start = [0; 8];
        SystemRandom.fill(&mut start);
        Self { shared, jobs, medium, next_version: u64::from_be_bytes(start) }
    }

    /// Works until the store is closed, or dropped. Whatever is left in the channel then is dropped with it, which its callers
    /// hear as an error.
    pub(super) fn run(self) {
        let shared = Arc::clone(&self.shared);
        // Nothing should get here but what the batches catch themselves. If it does, nobody reads from a store without a writer.
        if catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            tracing::error!("the store's writer has ended");
            shared.replace(State::Down(StoreError::Unreachable("its writer has ended: restart the server".to_owned())));
        }
    }

    fn work(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            // Waits for one job and takes what is there besides; never for more to come.
            if self.jobs.blocking_recv_many(&mut batch, BATCH) == 0 {
                let _ = self.close();
                return;
            }
            self.gather(&mut batch);
            let close = batch.iter().position(|job| matches!(job.task, Task::Close));
            let behind = close.map(|at| batch.split_off(at));
            self.settle(&mut batch);
            if let Some(behind) = behind {
                self.jobs.close();
                let closed = self.close();
                for job in behind {
                    let answer = if matches!(job.task, Task::Close) { closed.clone().map(|()| 0) } else { Err(StoreError::closed()) };
                    let _ = job.answer.send(answer);
                }
                return;
            }
        }
    }

    /// Lets those run who are ready to, as they may have more to write, and takes that along: where they share a processor with this thread, it would
    /// commit each of their writes by itself. Where nobody has anything to do this takes no time, and where writes never stop coming it ends.
    fn gather(&mut self, batch: &mut Vec<Job>) {
        for _ in 0..LOOKS {
            let before = batch.len();
            std::thread::yield_now();
            while batch.len() < BATCH
                && let Ok(job) = self.jobs.try_recv()
            {
                batch.push(job);
            }
            if batch.len() == before || batch.len() == BATCH {
                return;
            }
        }
    }

    /// Commits a batch and answers its jobs. Nobody hears of a decision, not even of a conflict, before what it rests on is kept.
    fn settle(&mut self, batch: &mut Vec<Job>) {
        if batch.is_empty() {
            return;
        }
        let decided = self.revive().and_then(|()| self.commit(batch));
        match decided {
            Ok(counts) => {
                for (job, count) in batch.drain(..).zip(counts) {
                    let _ = job.answer.send(Ok(count));
                }
            }
            Err(failure) => {
                // First back to work, so that whoever hears of the failure finds a store that answers, if there can be one.
                let back = self.reopen(&failure);
                for job in batch.drain(..) {
                    let _ = job.answer.send(Err(failure.clone()));
                }
                if !back {
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    fn commit(&mut self, batch: &[Job]) -> Result<Vec<usize>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
        let database = match &*state {
            State::Up(database) => database,
            State::Down(why) => return Err(why.clone()),
        };
        // The transaction is gone after a panic and nothing else was touched, so this leaves no half-done state behind.
        catch_unwind(AssertUnwindSafe(|| self.transact(database, batch)))
            .unwrap_or(Err(Failed::Panicked))
            .map_err(|failure| failure.explain(self.medium.path()))
    }

    fn transact(&mut self, database: &Database, batch: &[Job]) -> Result<Vec<usize>, Failed> {
        let mut write = database.begin_write()?;
        write.set_quick_repair(self.medium.wants_quick_repair());
        let mut counts = Vec::with_capacity(batch.len());
        let mut changes = Vec::with_capacity(batch.len());
        {
            let mut tables = Tables { records: write.open_table(RECORDS)?, expiries: write.open_table(EXPIRIES)?, medium: &self.medium };
            for job in batch {
                counts.push(match &job.task {
                    Task::Write { key, seen, expires_at, bytes } => {
                        self.next_version = self.next_version.wrapping_add(1);
                        let written = tables.write(key, *seen, self.next_version, *expires_at, bytes)?;
                        if written > 0 {
                            let record = Record { version: Version(self.next_version), expires_at: *expires_at, bytes: bytes.clone() };
                            changes.push((key.clone(), Some(record)));
                        }
                        written
                    }
                    Task::Remove { key } => {
                        changes.push((key.clone(), None));
                        tables.remove(key)?
                    }
                    Task::Sweep { now, limit } => {
                        let swept = tables.sweep(*now, *limit)?;
                        let count = swept.len();
                        changes.extend(swept.into_iter().map(|key| (key, None)));
                        count
                    }
                    Task::Look | Task::Close => 0,
                });
            }
        }
        if counts.iter().any(|count| *count > 0) {
            self.shared.recent.commits();
            write.commit()?;
            self.shared.recent.changed(changes);
        } else {
            write.abort()?;
        }
        Ok(counts)
    }

    /// Opens a database that went down, once.
    fn revive(&self) -> Result<(), StoreError> {
        let why = match &*self.shared.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Up(_) => return Ok(()),
            State::Down(why) => why.clone(),
        };
        if !self.medium.may_reopen() {
            return Err(why);
        }
        let database = self.medium.open()?;
        tracing::info!(path = %self.medium.path().display(), "the store is back");
        self.shared.replace(State::Up(database));
        Ok(())
    }

    /// After an I/O failure redb answers nothing more until it is opened anew. What was answered as written is still there.
    /// Whether the store is up again.
    fn reopen(&self, failure: &StoreError) -> bool {
        let before = self.shared.replace(State::Down(failure.clone()));
        let was_up = matches!(before, State::Up(_));
        // After a panic inside, redb may panic again when it is let go of.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(before)));
        if was_up && self.revive().is_ok() {
            tracing::warn!(%failure, "a write to the store failed");
            return true;
        }
        if was_up {
            tracing::error!(%failure, "the store is down");
        }
        false
    }

    fn close(&self) -> Result<(), StoreError> {
        match self.shared.replace(State::Down(StoreError::closed())) {
            State::Up(database) => catch_unwind(AssertUnwindSafe(|| database.close().map_err(Failed::from)))
                .unwrap_or(Err(Failed::Panicked))
                .map_err(|failure| failure.explain(self.medium.path())),
            // It failed before and its callers know; there is nothing left to lose.
            State::Down(_) => Ok(()),
        }
    }
}

struct Tables<'t> {
    records: Table<'t, &'static [u8], &'static [u8]>,
    expiries: Table<'t, &'static [u8], ()>,
    medium: &'t dyn Medium,
}

impl Tables<'_> {
    fn write(&mut self, key: &[u8], seen: Option<Version>, version: u64, expires_at: Option<UnixTime>, bytes: &[u8]) -> Result<usize, Failed> {
        let current = self.current(key)?;
        if current.map(|(version, _)| Version(version)) != seen {
            return Ok(0);
        }
        self.medium.raise().map_err(Failed::Store)?;
        let before = current.and_then(|(_, expires_at)| expires_at);
        if before != expires_at {
            if let Some(at) = before {
                self.expiries.remove(expiry_key(at, key).as_slice())?;
            }
            if let Some(at) = expires_at {
                self.expiries.insert(expiry_key(at, key).as_slice(), ())?;
            }
        }
        self.records.insert(key, record_value(version, expires_at, bytes).as_slice())?;
        Ok(1)
    }

    fn remove(&mut self, key: &[u8]) -> Result<usize, Failed> {
        let Some((_, expires_at)) = self.current(key)? else { return Ok(0) };
        if let Some(at) = expires_at {
            self.expiries.remove(expiry_key(at, key).as_slice())?;
        }
        self.records.remove(key)?;
        Ok(1)
    }

    /// The keys of the records that went.
    fn sweep(&mut self, now: UnixTime, limit: usize) -> Result<Vec<Vec<u8>>, Failed> {
        let mut due = Vec::new();
        for entry in self.expiries.iter()?.take(limit) {
            let key = entry?.0.value().to_vec();
            if split_expiry(&key)?.0 > now {
                break;
            }
            due.push(key);
        }
        let mut swept = Vec::with_capacity(due.len());
        for key in &due {
            let (_, record_key) = split_expiry(key)?;
            self.expiries.remove(key.as_slice())?;
            self.records.remove(record_key)?;
            swept.push(record_key.to_vec());
        }
        Ok(swept)
    }

    fn current(&self, key: &[u8]) -> Result<Option<(u64, Option<UnixTime>)>, Failed> {
        match self.records.get(key)? {
            Some(value) => split_value(value.value()).map(|(version, expires_at, _)| Some((version, expires_at))),
            None => Ok(None),
        }
    }
}
