//! Reading an export: whole before a record is written, and so that a second try goes on where the first one stopped.

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{End, FORMAT, Header, Line, Stamp};
use crate::secret::{Digest, Digesting};
use crate::store::read_only::{mark, mark_key, set_mark};
use crate::store::records::{AnyRecord, Mark};
use crate::store::survey::{Walk, spaces};
use crate::store::{Backend, Commit, Key, Kind, Space, StoreError};
use crate::time::UnixTime;

/// No line of an export is longer, in bytes.
const LONGEST_LINE: u64 = 16 << 20;

/// How many records are written before progress is told.
const BATCH: usize = 1024;

/// Why an export is not taken. The texts name lines, never what stands in them.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no export of a store: the first line says nothing of the kind")]
    Foreign,
    #[error("it has form {found}, and this program knows up to {FORMAT}: run the version that wrote it ({program}), or a newer one")]
    Newer { found: u32, program: String },
    #[error("it was made under another seal key: give this server the seal key of the one it came from ([keys] in both configurations)")]
    SealKey,
    #[error("line {0} is not a record of an export")]
    Line(u64),
    #[error("line {line}: {error}")]
    Record { line: u64, error: StoreError },
    #[error("it is cut short: the last line is missing")]
    CutShort,
    #[error("it was altered since it was written, or damaged: its digest does not fit")]
    Altered,
    #[error("it has {found} records and says that it has {said}")]
    Count { said: u64, found: u64 },
    #[error("the store is not empty ({0}): an import goes into a store that has nothing in it; name another file, or another key_prefix")]
    NotEmpty(String),
    #[error("an import of another export into this store did not end: go on with that one, or begin again with an empty store")]
    OtherExport,
    #[error("somebody else writes into the store: stop whatever uses it, and begin again with an empty one")]
    Clash,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An export that was read whole and can be taken.
pub struct Plan {
    pub header: Header,
    pub records: u64,
    digest: Digest,
}

/// What came of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub records: u64,
    /// Left out, since they have expired meanwhile.
    pub expired: u64,
    /// Were there from a try before.
    pub there: u64,
}

/// Where an export goes.
pub struct Into<'a> {
    pub store: &'a dyn Backend,
    /// Spaces to look for besides those of the export.
    pub known: &'a [Space],
    /// So many writes are under way at once.
    pub width: usize,
    pub now: UnixTime,
}

/// The lines of a file, with what was read so far.
struct Lines<R> {
    from: R,
    line: Vec<u8>,
    number: u64,
    digest: Digesting,
}

impl<R: BufRead> Lines<R> {
    fn new(from: R) -> Self {
        Self { from, line: Vec::new(), number: 0, digest: Digesting::default() }
    }

    /// The next line, without its end. The one before it counts for the digest from here on.
    fn next(&mut self) -> Result<Option<&[u8]>, ImportError> {
        self.digest.update(&self.line);
        self.line.clear();
        self.number += 1;
        io::Read::take(&mut self.from, LONGEST_LINE).read_until(b'\n', &mut self.line)?;
        match self.line.strip_suffix(b"\n") {
            Some(line) => Ok(Some(line)),
            None if self.line.is_empty() => Ok(None),
            // Whoever writes a line ends it.
            None => Err(ImportError::CutShort),
        }
    }
}

/// A record on its way.
struct Moved {
    key: Key,
    expires_at: Option<UnixTime>,
    bytes: Bytes,
}

enum Part {
    Record(Moved),
    End(End),
}

/// Reads a file from its beginning to its end, hands every record to `each`, and answers with what its last line says.
struct Reading<R> {
    lines: Lines<R>,
    header: Header,
    spaces: Vec<Space>,
}

impl<R: BufRead> Reading<R> {
    fn begin(from: R) -> Result<Self, ImportError> {
        let mut lines = Lines::new(from);
        let first: serde_json::Value = match lines.next() {
            Ok(Some(line)) => serde_json::from_slice(line).map_err(|_| ImportError::Foreign)?,
            Ok(None) | Err(ImportError::CutShort) => return Err(ImportError::Foreign),
            Err(other) => return Err(other),
        };
        let found = first.get("helsebro_store_export").and_then(serde_json::Value::as_u64).ok_or(ImportError::Foreign)?;
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if found > FORMAT {
            let program = first.get("program").and_then(serde_json::Value::as_str).unwrap_or("unknown");
            return Err(ImportError::Newer { found, program: program.chars().filter(|c| !c.is_control()).take(40).collect() });
        }
        let header: Header = serde_json::from_value(first).map_err(|_| ImportError::Foreign)?;
        let spaces = header.spaces.iter().map(|space| Space::from(space.as_str())).collect();
        Ok(Self { lines, header, spaces })
    }

    fn next(&mut self) -> Result<Part, ImportError> {
        let Some(line) = self.lines.next()? else { return Err(ImportError::CutShort) };
        if line.starts_with(b"{\"end\"") {
            let end = serde_json::from_slice::<End>(line).map_err(|_| ImportError::CutShort)?;
            return Ok(Part::End(end));
        }
        let parsed = serde_json::from_slice::<Line<'_>>(line).ok();
        let moved = parsed.and_then(|line| {
            let space = self.spaces.get(line.s)?;
            let bytes = STANDARD.decode(&*line.v).ok()?;
            Some((space.clone(), line.k.into_owned(), line.i.into_owned(), line.x, bytes))
        });
        let number = self.lines.number;
        let (space, kind, id, expires_at, bytes) = moved.ok_or(ImportError::Line(number))?;
        let newer = || StoreError::NewerFormat { what: "a kind of record this program does not know".to_owned(), found: 1, known: 0 };
        let kind = Kind::ALL.iter().copied().find(|known| known.as_str() == kind && *known != Kind::Mark);
        let kind = kind.ok_or_else(|| ImportError::Record { line: number, error: newer() })?;
        // What this program does not understand it would serve as an outage, later.
        AnyRecord::decode(kind, &bytes).map_err(|error| ImportError::Record { line: number, error })?;
        Ok(Part::Record(Moved { key: Key::new(&space, kind, &id), expires_at, bytes: bytes.into() }))
    }
}

/// Reads an export to its last line whoever made it, and says how many records it has. Nothing of it is to be believed.
///
/// # Errors
/// What is wrong with its form.
pub fn read_through(from: impl BufRead) -> Result<u64, ImportError> {
    let mut reading = Reading::begin(from)?;
    let mut records = 0;
    while let Part::Record(_) = reading.next()? {
        records += 1;
    }
    Ok(records)
}

/// Reads an export whole: its form, every record, its length and its digest.
///
/// # Errors
/// Whatever is wrong with it.
pub fn verify(from: impl BufRead, stamp: &Stamp) -> Result<Plan, ImportError> {
    let mut reading = Reading::begin(from)?;
    if reading.header.seal_key != stamp.name() {
        return Err(ImportError::SealKey);
    }
    let mut records = 0;
    loop {
        match reading.next()? {
            Part::Record(_) => records += 1,
            Part::End(End { end }) => {
                if end.records != records {
                    return Err(ImportError::Count { said: end.records, found: records });
                }
                let digest = std::mem::take(&mut reading.lines.digest).finish();
                if digest != end.sha256 || stamp.code(&digest) != end.code {
                    return Err(ImportError::Altered);
                }
                reading.lines.line.clear();
                if reading.lines.next()?.is_some() {
                    return Err(ImportError::Altered);
                }
                return Ok(Plan { header: reading.header, records, digest });
            }
        }
    }
}

/// Writes the records of an export that was verified; `from` reads it once more from its beginning. Meanwhile a mark keeps servers from starting on
/// the store; it goes when everything is in.
///
/// # Errors
/// [`ImportError::NotEmpty`] and the like before anything was written. After anything else the same import may be tried again and goes on.
pub async fn import(plan: &Plan, from: impl BufRead, into: &Into<'_>, mut progress: impl FnMut(u64)) -> Result<Imported, ImportError> {
    let filling = Mark::Filling { export: plan.digest };
    match mark(into.store, Mark::FILLING).await? {
        Some((begun, _)) if begun == filling => {}
        Some(_) => return Err(ImportError::OtherExport),
        None => {
            let mut known = into.known.to_vec();
            known.extend(plan.header.spaces.iter().map(|space| Space::from(space.as_str())));
            let known = spaces(into.store, &known).await?;
            if let Some((key, _)) = Walk::new(into.store, &known).next().await?.first() {
                return Err(ImportError::NotEmpty(format!("there is a record of kind {}", key.kind)));
            }
            if set_mark(into.store, &filling, None).await? == Commit::Conflict {
                return Err(ImportError::Clash);
            }
        }
    }
    let mut reading = Reading::begin(from)?;
    let mut done = Imported::default();
    let mut read = 0;
    let end = loop {
        let mut batch = Vec::new();
        let end = loop {
            match reading.next()? {
                Part::Record(moved) if moved.expires_at.is_some_and(|at| at <= into.now) => done.expired += 1,
                Part::Record(moved) => batch.push(moved),
                Part::End(end) => break Some(end),
            }
            read += 1;
            if batch.len() == BATCH {
                break None;
            }
        };
        let written: Vec<bool> = stream::iter(batch).map(|moved| put(into.store, moved)).buffer_unordered(into.width.max(1)).try_collect().await?;
        let fresh = written.iter().filter(|fresh| **fresh).count() as u64;
        done.records += fresh;
        done.there += written.len() as u64 - fresh;
        progress(read);
        if let Some(end) = end {
            break end;
        }
    };
    // The file must not have changed since it was verified.
    if reading.lines.digest.finish() != plan.digest || end.end.sha256 != plan.digest {
        return Err(ImportError::Altered);
    }
    into.store.remove(&mark_key(Mark::FILLING)).await?;
    Ok(done)
}

/// Writes one record, unless a try before did. True where it was written now.
async fn put(store: &dyn Backend, moved: Moved) -> Result<bool, ImportError> {
    if store.write(&moved.key, None, moved.expires_at, moved.bytes.clone()).await? == Commit::Applied {
        return Ok(true);
    }
    let there = store.read_many(std::slice::from_ref(&moved.key)).await?.pop().flatten();
    match there {
        Some(record) if record.bytes == moved.bytes && record.expires_at == moved.expires_at => Ok(false),
        Some(_) | None => Err(ImportError::Clash),
    }
}
