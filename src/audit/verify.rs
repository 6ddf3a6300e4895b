//! Whether a log is what was written: every line sound, each bound to the one before, nothing missing in between.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::list;
use super::line::{VERSION, sound};
use super::read::seq_of;

/// A log, or a part of one, that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sound {
    pub files: usize,
    pub records: u64,
    pub first: u64,
    pub last: u64,
    pub chain: String,
    /// Hash of the last line: whoever keeps it elsewhere notices later that the end is missing.
    pub head: String,
}

/// The first thing that does not hold, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {why}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct Broken {
    pub file: PathBuf,
    /// From 1.
    pub line: Option<u64>,
    pub why: Why,
}

#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("there is no audit log here")]
    NoLog,
    #[error("does not begin as a file of an audit log does")]
    NotALog,
    #[error("is of version {0}, which this program does not know")]
    Version(u64),
    #[error("was changed: its hash is not the hash of what it says")]
    Changed,
    #[error("is not whole: the end of the file was cut off, or a process died while it wrote")]
    NotWhole,
    #[error("record {0} is missing before this line")]
    RemovedOne(u64),
    #[error("records {0} to {1} are missing before this line")]
    Removed(u64, u64),
    #[error("record {found} stands where record {expected} belongs: lines were put in another order, or written twice")]
    Reordered { found: u64, expected: u64 },
    #[error("does not follow the line before it: one of the two is not from this log")]
    Replaced,
    #[error("is a file of another log, chain {0}")]
    Foreign(String),
    #[error("file {0} is missing before this one")]
    FileMissing(u64),
    #[error("the expected head is not in the log: its end is missing, or it is another log")]
    HeadMissing,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Checks a file, or all files of a directory as one chain. `head` is the hash of a line that must be in it.
///
/// # Errors
/// [`Broken`]: the first place that does not hold.
pub fn verify(path: &Path, head: Option<&str>) -> Result<Sound, Broken> {
    let broken = |why: Why| Broken { file: path.to_owned(), line: None, why };
    let files =
        if path.is_dir() { list(path).map_err(|error| broken(error.into()))?.into_iter().map(|(_, path)| path).collect() } else { vec![path.to_owned()] };
    if files.is_empty() {
        return Err(broken(Why::NoLog));
    }
    let mut walk = Walk { found: Sound::default(), file: 0, expected: 0, head_seen: false, head };
    for file in &files {
        walk.file(file)?;
    }
    if head.is_some() && !walk.head_seen {
        return Err(broken(Why::HeadMissing));
    }
    Ok(walk.found)
}

struct Walk<'a> {
    found: Sound,
    /// Number of the file before.
    file: u64,
    /// `seq` of the next record.
    expected: u64,
    head_seen: bool,
    head: Option<&'a str>,
}

impl Walk<'_> {
    fn file(&mut self, path: &Path) -> Result<(), Broken> {
        let broken = |line: u64, why: Why| Broken { file: path.to_owned(), line: Some(line), why };
        let mut reader = File::open(path).map(BufReader::new).map_err(|error| broken(1, error.into()))?;
        let (mut bytes, mut at) = (Vec::new(), 0);
        loop {
            bytes.clear();
            at += 1;
            if reader.read_until(b'\n', &mut bytes).map_err(|error| broken(at, error.into()))? == 0 {
                break;
            }
            if bytes.pop() != Some(b'\n') {
                return Err(broken(at, Why::NotWhole));
            }
            let line = std::str::from_utf8(&bytes).map_err(|_| broken(at, if at == 1 { Why::NotALog } else { Why::Changed }))?;
            let checked = if at == 1 { self.header(line) } else { self.record(line) };
            checked.map_err(|why| broken(at, why))?;
        }
        if at == 1 {
            return Err(broken(1, Why::NotWhole));
        }
        self.found.files += 1;
        Ok(())
    }

    fn header(&mut self, line: &str) -> Result<(), Why> {
        let header: Value = serde_json::from_str(line).map_err(|_| Why::NotALog)?;
        if header.get("audit").is_none_or(|value| value != "helsebro") {
            return Err(Why::NotALog);
        }
        let number = |name: &str| header.get(name).and_then(Value::as_u64).unwrap_or_default();
        if number("version") != VERSION {
            return Err(Why::Version(number("version")));
        }
        let hash = sound(line).ok_or(Why::Changed)?;
        let (file, first, chain) = (number("file"), number("first"), header.get("chain").and_then(Value::as_str).unwrap_or_default());
        if self.found.files == 0 {
            (self.expected, self.found.first, self.found.chain) = (first, first, chain.to_owned());
        } else if chain != self.found.chain {
            return Err(Why::Foreign(chain.to_owned()));
        } else if file > self.file + 1 {
            return Err(Why::FileMissing(self.file + 1));
        } else {
            self.follows(header.get("prev").and_then(Value::as_str), first)?;
        }
        self.file = file;
        self.seen(hash);
        Ok(())
    }

    fn record(&mut self, line: &str) -> Result<(), Why> {
        let hash = sound(line).ok_or(Why::Changed)?;
        let record: Value = serde_json::from_str(line).map_err(|_| Why::Changed)?;
        let seq = seq_of(line).ok_or(Why::Replaced)?;
        self.follows(record.get("prev").and_then(Value::as_str), seq)?;
        (self.expected, self.found.last) = (seq + 1, seq);
        self.found.records += 1;
        self.seen(hash);
        Ok(())
    }

    /// Whether a line that names `prev` and begins with `seq` comes next.
    fn follows(&self, prev: Option<&str>, seq: u64) -> Result<(), Why> {
        if prev == Some(self.found.head.as_str()) && seq == self.expected {
            return Ok(());
        }
        Err(match (self.expected, seq) {
            (expected, found) if found == expected + 1 => Why::RemovedOne(expected),
            (expected, found) if found > expected => Why::Removed(expected, found - 1),
            (expected, found) if found < expected => Why::Reordered { found, expected },
            _ => Why::Replaced,
        })
    }

    fn seen(&mut self, hash: &str) {
        self.head_seen |= self.head == Some(hash);
        self.found.head.clear();
        self.found.head.push_str(hash);
    }
}
