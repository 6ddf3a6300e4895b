//! The durable back end: one file, one thread that writes to it, readers that never wait for it.
//!
//! Writes go through a bounded channel to the writer thread, which decides all that are waiting in one redb transaction (group
//! commit) and answers when that is kept. Reads run on the caller's task, each inside one read transaction that ends before the
//! task next waits. Why it is made like this is in `docs/adr/0003-compare-and-swap-store.md`.

mod disk;
mod inspect;
mod layout;
mod packed;
mod recent;
#[cfg(test)]
mod tests;
mod writer;

use std::io::ErrorKind;
use std::mem;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTableMetadata as _};
use tokio::sync::{mpsc, oneshot};

use self::disk::{Medium, StoreFile};
use self::layout::{RECORDS, key_of, kind_prefix, record, record_key};
use self::recent::{Known, Recent};
use self::writer::{Job, Task, Writer};
use super::{About, Backend, Commit, Depth, Key, Kind, Listed, Record, Space, StoreError, Version, all_or_nothing};
use crate::time::UnixTime;

/// So many jobs may wait for the writer; whoever comes after them waits to be let in.
const WAITING: usize = 1024;

/// A page longer than this is read on a thread that may block.
const SHORT_PAGE: usize = 64;

/// What a write survives once it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The machine losing power: synced to the disk before the answer.
    #[default]
    PowerLoss,
    /// The end of this process, `kill -9` included, but not of the machine: after a power loss the newest writes may be missing,
    /// or the whole file be refused as damaged.
    Process,
}

/// A store in one file.
///
/// Call [`Backend::close`] before the process ends. Without it nothing that was answered is lost, but the next opening takes
/// longer.
pub struct Embedded {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

struct Shared {
    path: PathBuf,
    /// Read-locked for the length of a transaction, write-locked only to swap.
    state: RwLock<State>,
    recent: Recent,
}

enum State {
    Up(Database),
    Down(StoreError),
}

impl Embedded {
    /// Opens the store at `path`, or makes one (mode 0600, missing directories 0700). Blocks: up to some tenths of a second for a
    /// file of 256 MiB, which is verified whole.
    ///
    /// # Errors
    /// When the file is locked by another process, is not ours, damaged, of a newer format, or cannot be reached. It is then
    /// left as it was.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        Self::start(StoreFile::new(path, durability))
    }

    fn start(medium: impl Medium) -> Result<Self, StoreError> {
        let database = medium.open()?;
        let shared = Arc::new(Shared { path: medium.path().to_owned(), state: RwLock::new(State::Up(database)), recent: Recent::new() });
        let (jobs, waiting) = mpsc::channel(WAITING);
        let writer = Writer::new(Arc::clone(&shared), waiting, medium);
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|failure| StoreError::Unreachable(format!("no thread for the writer: {failure}")))?;
        Ok(Self { shared, jobs })
    }

    /// Hands a task to the writer and waits for the answer: how many records it changed.
    async fn ask(&self, task: Task) -> Result<usize, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job { task, answer }).await.map_err(|_| self.shared.why_down())?;
        answered.await.unwrap_or_else(|_| Err(self.shared.why_down()))
    }

    /// Passes a read's result on. A failed one makes the writer look, which brings a database that failed back without waiting
    /// for somebody to write.
    fn noticed<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if read.is_err() {
            let (answer, _) = oneshot::channel();
            // If the channel is full the writer is about to look anyway.
            let _ = self.jobs.try_send(Job { task: Task::Look, answer });
        }
        read
    }
}

impl Shared {
    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Failed>) -> Result<T, StoreError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let database = match &*state {
            State::Up(database) => database,
            State::Down(why) => return Err(why.clone()),
        };
        catch_unwind(AssertUnwindSafe(|| read(&database.begin_read()?))).unwrap_or(Err(Failed::Panicked)).map_err(|failure| failure.explain(&self.path))
    }

    fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(record_key).collect();
        // A store that is down does not answer, whatever is remembered of it.
        if let State::Down(why) = &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            return Err(why.clone());
        }
        let moment = match self.recent.known(&keys) {
            Known::All(records) => return Ok(records),
            Known::Some(known, moment) => {
                let missing: Vec<Vec<u8>> = keys.iter().zip(&known).filter(|(_, slot)| slot.is_none()).map(|(key, _)| key.clone()).collect();
                let read = self.look_up(&missing)?;
                if self.recent.learn(moment, missing, &read) {
                    let mut read = read.into_iter();
                    return Ok(known.into_iter().map(|slot| slot.unwrap_or_else(|| read.next().flatten())).collect());
                }
                moment
            }
            Known::Nothing(moment) => moment,
        };
        let records = self.look_up(&keys)?;
        self.recent.learn(moment, keys, &records);
        Ok(records)
    }

    /// What the file says, in one transaction.
    fn look_up(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Record>>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(RECORDS)?;
            keys.iter()
                .map(|key| match table.get(key.as_slice())? {
                    Some(value) => record(value.value()).map(Some).map_err(|failure| match key_of(key) {
                        Some(key) => failure.in_record(&key),
                        None => failure,
                    }),
                    None => Ok(None),
                })
                .collect()
        })
    }

    fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Listed, StoreError> {
        let prefix = kind_prefix(space, kind);
        let mut from = prefix.clone();
        from.extend_from_slice(after.unwrap_or_default().as_bytes());
        let from = if after.is_some() { Bound::Excluded(from.as_slice()) } else { Bound::Included(from.as_slice()) };
        self.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let mut page = Vec::new();
            for entry in records.range::<&[u8]>((from, Bound::Unbounded))?.take(limit) {
                let (key, value) = entry?;
                let Some(id) = key.value().strip_prefix(prefix.as_slice()) else { break };
                let id = std::str::from_utf8(id).map_err(|_| Failed::Store(StoreError::Corrupt("an id is not text".to_owned())))?;
                page.push((Key::new(space, kind, id), record(value.value()).map_err(|failure| failure.explain(&self.path))));
            }
            Ok(page)
        })
    }

    fn replace(&self, next: State) -> State {
        let before = mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), next);
        self.recent.forget();
        before
    }

    /// Why the writer no longer answers.
    fn why_down(&self) -> StoreError {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Down(why) => why.clone(),
            State::Up(_) => StoreError::Unreachable("its writer has ended: restart the server".to_owned()),
        }
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        self.noticed(self.shared.read_many(keys))
    }

    fn read_now(&self, keys: &[Key]) -> Option<Result<Vec<Option<Record>>, StoreError>> {
        Some(self.noticed(self.shared.read_many(keys)))
    }

    async fn write(&self, key: &Key, seen: Option<Version>, expires_at: Option<UnixTime>, bytes: Bytes) -> Result<Commit, StoreError> {
        let changed = self.ask(Task::Write { key: record_key(key), seen, expires_at, bytes }).await?;
        Ok(if changed == 0 { Commit::Conflict } else { Commit::Applied })
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.ask(Task::Remove { key: record_key(key) }).await.map(|_| ())
    }

    async fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Record)>, StoreError> {
        self.list_each(space, kind, after, limit).await?.into_iter().map(all_or_nothing).collect()
    }

    async fn list_each(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Listed, StoreError> {
        if limit <= SHORT_PAGE {
            return self.noticed(self.shared.list(space, kind, after, limit));
        }
        let (shared, space, after) = (Arc::clone(&self.shared), Arc::clone(space), after.map(str::to_owned));
        let page = tokio::task::spawn_blocking(move || shared.list(&space, kind, after.as_deref(), limit)).await;
        self.noticed(page.unwrap_or_else(|_| Err(StoreError::Unreachable("the process is ending".to_owned()))))
    }

    async fn sweep(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
        self.ask(Task::Sweep { now, limit }).await
    }

    async fn spaces(&self) -> Result<Option<Vec<Space>>, StoreError> {
        self.noticed(self.shared.spaces()).map(Some)
    }

    fn about(&self) -> About {
        let file_bytes = std::fs::metadata(&self.shared.path).ok().map(|file| file.len());
        About { kind: Some("embedded"), format: disk::format_of(&self.shared.path).ok(), file_bytes }
    }

    async fn check_indexes(&self) -> Result<Vec<String>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || shared.check_expiries()).await;
        self.noticed(read.unwrap_or_else(|_| Err(StoreError::Unreachable("the process is ending".to_owned()))))
    }

    fn depth(&self) -> Depth {
        Depth {
            waiting: Some(self.jobs.max_capacity().saturating_sub(self.jobs.capacity())),
            bytes: std::fs::metadata(&self.shared.path).ok().map(|file| file.len()),
            // The length of a table stands in its root.
            records: self.shared.read(|transaction| Ok(transaction.open_table(RECORDS)?.len()?)).ok(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        if self.jobs.send(Job { task: Task::Close, answer }).await.is_err() {
            return Ok(()); // closed before
        }
        answered.await.unwrap_or(Ok(0)).map(|_| ())
    }
}

/// Why a transaction came to nothing: redb's reason, ours, or none that anybody gave.
enum Failed {
    Redb(redb::Error),
    Store(StoreError),
    Panicked,
}

impl<E: Into<redb::Error>> From<E> for Failed {
    fn from(failure: E) -> Self {
        Self::Redb(failure.into())
    }
}

impl Failed {
    /// The same, with the name of the record where it is about one.
    fn in_record(self, key: &Key) -> Self {
        match self {
            Self::Store(failure) => Self::Store(failure.in_record(key)),
            Self::Redb(_) | Self::Panicked => self,
        }
    }

    fn explain(self, path: &Path) -> StoreError {
        match self {
            Self::Redb(failure) => explain(path, failure),
            Self::Store(failure) => failure,
            Self::Panicked => StoreError::Unreachable(format!("{}: redb ran into a contradiction; if it does so again, restore a backup", path.display())),
        }
    }
}

/// What redb's failure means to us.
fn explain(path: &Path, failure: redb::Error) -> StoreError {
    let shown = path.display();
    match failure {
        redb::Error::Io(io) => match io.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full { path: path.to_owned() },
            // Reading behind the end of the file; finding something else than redb behind the first page.
            ErrorKind::UnexpectedEof => StoreError::Corrupt(format!("{shown} is cut short")),
            ErrorKind::InvalidData => StoreError::Corrupt(format!("{shown}: {io}")),
            _ => StoreError::Unreachable(format!("{shown}: {io}; see to the disk, then restart the server")),
        },
        redb::Error::Corrupted(what) => StoreError::Corrupt(format!("{shown}: {what}")),
        redb::Error::UpgradeRequired(found) => StoreError::NewerFormat { what: format!("the inner format of {shown}"), found: found.into(), known: 3 },
        redb::Error::PreviousIo => StoreError::Unreachable(format!("{shown}: an earlier write failed")),
        redb::Error::DatabaseClosed => StoreError::closed(),
        redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. } => {
            StoreError::Corrupt(format!("{shown}: {failure}"))
        }
        other => StoreError::Unreachable(format!("{shown}: {other}")),
    }
}
