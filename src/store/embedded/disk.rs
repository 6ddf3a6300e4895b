//! The file: whose it is, who holds it, and what it means to have written to it.
//!
//! The first page says that the file is ours and in which format; redb has everything behind it. So a file that is not ours, or
//! is too new, is known before anything that might write to it gets to see it.

use std::cell::RefCell;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::layout::{EXPIRIES, RECORDS};
use super::{Durability, explain};
use crate::random::{Random as _, SystemRandom};
use crate::store::StoreError;

const MAGIC: &[u8; 16] = b"helsebro store\r\n";
/// 2: records are packed. A file of the first format is read as it is, and is of the second one from when a record is first written to it.
pub(super) const FORMAT: u32 = 2;
/// One page, so that redb's pages stay aligned with those of the system.
const HEADER_BYTES: u64 = 4096;
const REDB_MAGIC: &[u8; 4] = b"redb";

/// Up to this size a file is verified whole when it is opened, and is not prepared for being opened unverified.
const SMALL_BYTES: u64 = 256 << 20;

/// What redb keeps of the file, besides what is kept of single records ([`super::recent`]). The system keeps pages too, and a page from there costs a microsecond.
const CACHE_BYTES: usize = 16 << 20;

/// What the writer wants to know about a file while redb has it.
#[derive(Debug, Default)]
pub(super) struct Health {
    sync_failed: AtomicBool,
    length: AtomicU64,
}

/// Something that can be opened as a database, and opened again after it failed.
pub(super) trait Medium: Send + 'static {
    fn path(&self) -> &Path;

    fn open(&self) -> Result<Database, StoreError>;

    /// Whether commits should leave behind what makes reopening quick.
    fn wants_quick_repair(&self) -> bool;

    /// Whether what is there can be trusted after a failure.
    fn may_reopen(&self) -> bool;

    /// Makes what is there one of our format, before a record of that format is written: on the disk, when this returns. Nothing to do where it is one.
    fn raise(&self) -> Result<(), StoreError>;
}

/// The store file at a path.
pub(super) struct StoreFile {
    pub(super) path: PathBuf,
    pub(super) durability: Durability,
    pub(super) health: Arc<Health>,
    /// The file as it is open, while it is of an older format.
    older: RefCell<Option<Arc<File>>>,
}

impl StoreFile {
    pub(super) fn new(path: &Path, durability: Durability) -> Self {
        Self { path: path.to_owned(), durability, health: Arc::default(), older: RefCell::default() }
    }

    /// The file, ours and locked, made if there is none.
    pub(super) fn disk(&self) -> Result<Disk, StoreError> {
        // Or we would be the other process that has it.
        self.older.replace(None);
        let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(missing) if missing.kind() == ErrorKind::NotFound => {
                self.make(None)?;
                OpenOptions::new().read(true).write(true).open(&self.path).map_err(|failure| self.unreachable(&failure))?
            }
            Err(other) if other.kind() == ErrorKind::IsADirectory => return Err(self.foreign("it is a directory")),
            Err(failure) => return Err(self.unreachable(&failure)),
        };
        self.lock(&file)?;
        let metadata = file.metadata().map_err(|failure| self.unreachable(&failure))?;
        if !metadata.is_file() {
            return Err(self.foreign("it is not a regular file"));
        }
        let file = if metadata.len() == 0 {
            self.make(Some(&file))?;
            let made = OpenOptions::new().read(true).write(true).open(&self.path).map_err(|failure| self.unreachable(&failure))?;
            self.lock(&made)?;
            made
        } else {
            file
        };
        let file = Arc::new(file);
        if self.identify(&file)? < FORMAT {
            self.older.replace(Some(Arc::clone(&file)));
        }
        Ok(Disk::new(file, self.durability, Arc::clone(&self.health)))
    }

    fn lock(&self, file: &File) -> Result<(), StoreError> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: self.path.clone() }),
            Err(TryLockError::Error(failure)) => return Err(self.unreachable(&failure)),
        }
        // Somebody may have put a store in the place of an empty file between our opening and our locking it.
        let file_and_place = || Ok((file.metadata()?, std::fs::metadata(&self.path)?));
        let (ours, there) = file_and_place().map_err(|failure| self.unreachable(&failure))?;
        if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) { Ok(()) } else { Err(StoreError::Locked { path: self.path.clone() }) }
    }

    /// The format of the file, which is one we know.
    fn identify(&self, file: &File) -> Result<u32, StoreError> {
        let mut start = [0; 20];
        let mut read = 0;
        while let Some(rest) = start.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, read as u64).map_err(|failure| self.unreachable(&failure))? {
                0 => break,
                more => read += more,
            }
        }
        let (magic, format) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(self.foreign(if start.starts_with(REDB_MAGIC) { "it is another program's redb file" } else { "it is some other kind of file" }));
        }
        let format = format.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        if format > FORMAT {
            return Err(StoreError::NewerFormat { what: self.path.display().to_string(), found: format, known: FORMAT });
        }
        if format == 0 || read < start.len() {
            return Err(StoreError::Corrupt(format!("{}: the first page is not whole", self.path.display())));
        }
        Ok(format)
    }

    /// Makes the file under another name and gives it its own when it is complete, so that a crash leaves no half of one.
    /// `empty` is the file without content whose place it may take; otherwise there must be none.
    fn make(&self, empty: Option<&File>) -> Result<(), StoreError> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |failure: io::Error| explain(&self.path, redb::Error::Io(failure));
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        let mut name = self.path.file_name().ok_or_else(|| self.foreign("the path names no file"))?.to_owned();
        name.push(format!(".{}.new", SystemRandom.id()));
        let unfinished = parent.join(name);

        let placed = self.fill(&unfinished).and_then(|()| {
            let place = match empty {
                Some(_) => std::fs::rename(&unfinished, &self.path),
                // Unlike a rename, a link never takes the place of a file that another process made meanwhile.
                None => match std::fs::hard_link(&unfinished, &self.path) {
                    Err(taken) if taken.kind() == ErrorKind::AlreadyExists => Ok(()), // who has it will be seen
                    Err(_) if !self.path.exists() => std::fs::rename(&unfinished, &self.path), // a file system without links
                    linked => linked,
                },
            };
            place.and_then(|()| File::open(parent)?.sync_all()).map_err(failed)
        });
        if empty.is_none() || placed.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        placed
    }

    fn fill(&self, path: &Path) -> Result<(), StoreError> {
        let failed = |failure: io::Error| explain(&self.path, redb::Error::Io(failure));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let mut header = Vec::with_capacity(HEADER_BYTES as usize);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&FORMAT.to_be_bytes());
        header.resize(HEADER_BYTES as usize, 0);
        file.write_all_at(&header, 0).map_err(failed)?;
        let disk = Disk::new(Arc::new(file), Durability::PowerLoss, Arc::default());
        let database = database(disk, false).map_err(|failure| explain(&self.path, failure))?;
        let tables = || -> Result<(), redb::Error> {
            let write = database.begin_write()?;
            write.open_table(RECORDS)?;
            write.open_table(EXPIRIES)?;
            write.commit()?;
            database.close()?;
            Ok(())
        };
        tables().map_err(|failure| explain(&self.path, failure))
    }

    fn foreign(&self, what: &'static str) -> StoreError {
        StoreError::Foreign { path: self.path.clone(), what }
    }

    fn unreachable(&self, failure: &io::Error) -> StoreError {
        StoreError::Unreachable(format!("{}: {failure}", self.path.display()))
    }
}

impl Medium for StoreFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<Database, StoreError> {
        let disk = self.disk()?;
        // After a power loss a file that was never synced may have any of its pages and not the others. Only looking at all of
        // them tells, whatever the size.
        let verify = self.durability == Durability::Process || self.health.length.load(Ordering::Relaxed) <= SMALL_BYTES;
        // redb reports damage as an error where it looks for it, and runs into it with a panic where it does not.
        catch_unwind(AssertUnwindSafe(|| database(disk, verify)))
            .unwrap_or_else(|_| Err(redb::Error::Corrupted("its pages contradict each other".to_owned())))
            .map_err(|failure| explain(&self.path, failure))
    }

    /// Quick repair costs a second sync per commit and saves reading the file once after a crash, which takes well under a second
    /// while the file is small. It is worth it for a large one, and of no use where opening verifies anyway.
    fn wants_quick_repair(&self) -> bool {
        self.durability == Durability::PowerLoss && self.health.length.load(Ordering::Relaxed) > SMALL_BYTES
    }

    /// A page that could not be synced may count as clean in the system's cache afterwards: it reads well and is not on the disk.
    /// Nobody can tell from within, so this needs a person.
    fn may_reopen(&self) -> bool {
        !self.health.sync_failed.load(Ordering::Relaxed)
    }

    /// Synced whatever the durability: after a power loss there may be any of the pages that are written from now on. If this fails, or is all that happens,
    /// the file is of either format, and as good as before.
    fn raise(&self) -> Result<(), StoreError> {
        let mut older = self.older.borrow_mut();
        let Some(file) = older.as_ref() else { return Ok(()) };
        let raised = file.write_all_at(&FORMAT.to_be_bytes(), MAGIC.len() as u64).and_then(|()| {
            // What a failed sync means is said at `may_reopen`.
            file.sync_data().inspect_err(|_| self.health.sync_failed.store(true, Ordering::Relaxed))
        });
        raised.map_err(|failure| explain(&self.path, redb::Error::Io(failure)))?;
        *older = None;
        tracing::info!(path = %self.path.display(), "the store file is of format {FORMAT} now, and not for older versions of this program any more");
        Ok(())
    }
}

/// The format a store file says it is of.
pub(super) fn format_of(path: &Path) -> io::Result<u32> {
    let mut format = [0; 4];
    File::open(path)?.read_exact_at(&mut format, MAGIC.len() as u64)?;
    Ok(u32::from_be_bytes(format))
}

/// redb over a backend, with our settings.
pub(super) fn database(backend: impl StorageBackend, verify: bool) -> Result<Database, redb::Error> {
    Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(verify).create_with_backend(backend).map_err(|failure: DatabaseError| failure.into())
}

/// A locked file as redb sees it: all but the first page.
#[derive(Debug)]
pub(super) struct Disk {
    file: Arc<File>,
    durability: Durability,
    health: Arc<Health>,
}

impl Disk {
    fn new(file: Arc<File>, durability: Durability, health: Arc<Health>) -> Self {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        health.length.store(length, Ordering::Relaxed);
        Self { file, durability, health }
    }

    pub(super) fn sync_failed(&self, failure: io::Error) -> io::Result<()> {
        self.health.sync_failed.store(true, Ordering::Relaxed);
        Err(failure)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(HEADER_BYTES))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset + HEADER_BYTES)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len + HEADER_BYTES)?;
        self.health.length.store(len + HEADER_BYTES, Ordering::Relaxed);
        Ok(())
    }

    /// The one difference between the durabilities: what was written is in the system's cache either way, where it survives the
    /// end of this process, however sudden.
    fn sync_data(&self) -> io::Result<()> {
        match self.durability {
            Durability::PowerLoss => self.file.sync_data().or_else(|failure| self.sync_failed(failure)),
            Durability::Process => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset + HEADER_BYTES)
    }

    fn close(&self) -> io::Result<()> {
        // What was closed in good order is whole after a power loss too.
        let synced = self.file.sync_all();
        self.file.unlock()?;
        synced
    }
}
