//! The files of a log: opened where the last process left them, mended where it died, and begun anew by size and day.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::line::{Header, Lines, sound, split};
use super::persons::Persons;
use crate::domain::audit::AuditEvent;
use crate::random::Random;
use crate::time::UnixTime;

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
const LOCK: &str = "lock";

const DAY_S: i64 = 24 * 3600;

pub fn file_name(number: u64) -> String {
    format!("{PREFIX}{number:06}{SUFFIX}")
}

/// The files of a directory by their number. What is called otherwise is none of them.
///
/// # Errors
/// A directory that cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort_unstable();
    Ok(found)
}

/// Up to where the log is written, as far as a reader may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub hash: String,
    pub file: u64,
    /// Bytes of that file.
    pub offset: u64,
}

/// What is to know of a log that was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// The last process said that it stopped, or there was none.
    pub clean: bool,
    /// Bytes of a last line that was not whole; they are gone.
    pub cut: u64,
    /// The number of a file that holds something other than what was written. It stays as it is, and the log goes on in the next.
    pub unsound: Option<u64>,
}

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Keeping {
    pub dir: PathBuf,
    /// Bytes after which the next file begins.
    pub max_file: u64,
    /// Whether what is written must survive the machine losing power.
    pub durable: bool,
    /// The name of this process in each record; where it has none, one is made for the directory.
    pub node: Option<String>,
}

struct Open {
    file: File,
    path: PathBuf,
    offset: u64,
    /// The day its first line was written, counted from 1970.
    day: i64,
}

/// The log as its one writer has it.
pub struct Files {
    keeping: Keeping,
    chain: String,
    node: String,
    lines: Lines,
    number: u64,
    /// The file that could neither be begun nor taken away again, where there is such.
    half_begun: Option<u64>,
    open: Option<Open>,
    _lock: File,
}

/// One file, read to its end.
struct Survey {
    chain: Option<String>,
    day: i64,
    seq: u64,
    prev: String,
    /// Bytes of whole, sound lines.
    good: u64,
    torn: u64,
    unsound: bool,
    clean: bool,
}

impl Files {
    /// Takes the directory for this process, and finds where the log ends.
    ///
    /// # Errors
    /// A directory that cannot be made, read or locked.
    pub fn open(keeping: Keeping, random: &dyn Random) -> io::Result<(Self, Before)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&keeping.dir)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(keeping.dir.join(LOCK))?;
        lock.try_lock().map_err(|_| io::Error::other(format!("another process writes the log in {}", keeping.dir.display())))?;
        let files = list(&keeping.dir)?;
        let mut before = Before { clean: true, ..Before::default() };
        let (mut chain, mut seq, mut prev, mut open) = (None, 0, String::new(), None);
        let mut number = files.last().map_or(0, |(number, _)| *number);
        // From the newest back to the first that has a line: a process may have died while it began a file.
        for (at, path) in files.iter().rev() {
            let found = survey(path)?;
            if found.unsound {
                before.unsound = Some(*at);
            }
            if found.torn > 0 && !found.unsound {
                OpenOptions::new().write(true).open(path)?.set_len(found.good)?;
                before.cut += found.torn;
            }
            if found.good > 0 {
                (chain, seq, prev) = (found.chain.clone(), found.seq, found.prev);
                before.clean = found.clean && before.cut == 0;
                if !found.unsound && *at == number {
                    let file = OpenOptions::new().write(true).open(path)?;
                    open = Some(Open { file, path: path.clone(), offset: found.good, day: found.day });
                }
                break;
            }
            // Nothing of it was whole: it is begun again.
            if !found.unsound {
                number = at.saturating_sub(1);
            }
        }
        let chain = chain.unwrap_or_else(|| random.id());
        let node = keeping.node.clone().unwrap_or_else(|| chain.chars().take(8).collect());
        let lines = Lines::after(seq, prev, node.clone());
        Ok((Self { keeping, chain, node, lines, number, half_begun: None, open, _lock: lock }, before))
    }

    pub fn head(&self) -> Head {
        let offset = self.open.as_ref().map_or(0, |open| open.offset);
        Head { seq: self.lines.seq, hash: self.lines.prev.clone(), file: self.number, offset }
    }

    /// Writes some events, all or none of them.
    ///
    /// # Errors
    /// What the file system says. The log is then as it was, and the same can be tried again.
    pub fn commit(&mut self, events: &[AuditEvent], persons: &Persons, now: UnixTime) -> io::Result<()> {
        let (seq, prev) = (self.lines.seq, self.lines.prev.clone());
        let done = self.try_commit(events, persons, now);
        if done.is_err() {
            (self.lines.seq, self.lines.prev) = (seq, prev);
            if let Some(open) = &self.open {
                // What was half written must not stand before what comes next. Where this fails too, the next write covers it.
                let _ = open.file.set_len(open.offset);
            }
        }
        done
    }

    fn try_commit(&mut self, events: &[AuditEvent], persons: &Persons, now: UnixTime) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(512 * (events.len() + 1));
        let due = self.open.as_ref().is_none_or(|open| open.offset >= self.keeping.max_file || day(now) > open.day);
        if due {
            return self.begin(buffer, events, persons, now);
        }
        for event in events {
            self.lines.event(&mut buffer, event, persons);
        }
        let durable = self.keeping.durable;
        let Some(open) = &mut self.open else { return Ok(()) };
        // Written to a file that nobody can find any more is not written.
        let (there, ours) = (fs::metadata(&open.path)?, open.file.metadata()?);
        if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) {
            return Err(io::Error::other(format!("{} was put in the place of the log that was written", open.path.display())));
        }
        append(open, &buffer, durable)
    }

    /// Begins the next file with these events.
    fn begin(&mut self, mut buffer: Vec<u8>, events: &[AuditEvent], persons: &Persons, now: UnixTime) -> io::Result<()> {
        let number = self.number + 1;
        let path = self.keeping.dir.join(file_name(number));
        let key = persons.key_id();
        let header = Header { chain: &self.chain, node: &self.node, persons: &key, file: number, first: self.lines.seq + 1, time: now };
        self.lines.header(&mut buffer, &header);
        for event in events {
            self.lines.event(&mut buffer, event, persons);
        }
        // One that is there has no whole line in it: a process died, or a disk was full, while it was begun.
        if self.half_begun != Some(number) && fs::metadata(&path).is_ok() && survey(&path)?.good > 0 {
            return Err(io::Error::other(format!("{} is there already", path.display())));
        }
        let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
        let mut open = Open { file, path, offset: 0, day: day(now) };
        self.half_begun = Some(number);
        let begun = append(&mut open, &buffer, self.keeping.durable);
        // The name of the file must be on the disk too.
        let named = || if self.keeping.durable { File::open(&self.keeping.dir)?.sync_all() } else { Ok(()) };
        if let Err(error) = begun.and_then(|()| named()) {
            // Where it stays, it is begun again all the same: it is ours.
            let _ = fs::remove_file(&open.path);
            return Err(error);
        }
        self.half_begun = None;
        self.open = Some(open);
        self.number = number;
        Ok(())
    }
}

fn append(open: &mut Open, buffer: &[u8], durable: bool) -> io::Result<()> {
    open.file.write_all_at(buffer, open.offset)?;
    if durable {
        open.file.sync_data()?;
    }
    open.offset += buffer.len() as u64;
    Ok(())
}

fn day(time: UnixTime) -> i64 {
    time.0.div_euclid(DAY_S)
}

fn survey(path: &Path) -> io::Result<Survey> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut found = Survey { chain: None, day: 0, seq: 0, prev: String::new(), good: 0, torn: 0, unsound: false, clean: false };
    let mut line = Vec::new();
    let mut last = String::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)? as u64;
        if length == 0 {
            break;
        }
        if line.pop() != Some(b'\n') {
            found.torn = length;
            break;
        }
        let Some((text, hash)) = std::str::from_utf8(&line).ok().and_then(|text| Some((text, sound(text)?))) else {
            found.unsound = true;
            break;
        };
        let first = found.good == 0;
        if !first && !split(text).is_some_and(|(body, _)| body.ends_with(&format!(",\"prev\":\"{}\"", found.prev))) {
            found.unsound = true;
            break;
        }
        if first {
            let header: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
            found.chain = header.get("chain").and_then(Value::as_str).map(str::to_owned);
            found.seq = header.get("first").and_then(Value::as_u64).unwrap_or(1).saturating_sub(1);
            found.day = header
                .get("time")
                .and_then(Value::as_str)
                .and_then(|time| time.parse::<jiff::Timestamp>().ok())
                .map_or(0, |time| time.as_second().div_euclid(DAY_S));
        }
        found.prev = hash.to_owned();
        found.good += length;
        last.clear();
        last.push_str(text);
    }
    let last: serde_json::Value = serde_json::from_str(&last).unwrap_or_default();
    if let Some(seq) = last.get("seq").and_then(Value::as_u64) {
        found.seq = seq;
    }
    found.clean = last.get("action").is_some_and(|value| value == "log") && last.get("way").is_some_and(|value| value == "stopped");
    Ok(found)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
