//! What was asked and what was answered, when, and what was broken meanwhile. Only appended to; the checker knows nothing else.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::faults::Kind;

/// Stands for a code, a token or a handle, which a history never holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id(u64);

impl Id {
    pub fn of(secret: &str) -> Self {
        let hash = digest(&SHA256, secret.as_bytes());
        let first = hash.as_ref().first_chunk::<8>().copied().unwrap_or_default();
        // What JSON keeps exactly everywhere.
        Self(u64::from_be_bytes(first) >> 11)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Op {
    /// The EHR hands over a context, and gets a handle.
    Launch,
    /// An authorization request, up to its code. Shows a launch handle where there is one.
    Authorize,
    /// The same without any page: what was agreed to before must still stand.
    Silent,
    /// The same with a login at the identity provider on the way.
    Helseid,
    Redeem,
    Refresh,
    Introspect,
    Revoke,
    Exchange,
    /// A refresh that asks nothing but whether a node serves.
    Probe,
}

/// What whoever asked wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goal {
    /// To be served: everything about it is right.
    Served,
    /// To be refused: it was used before, on purpose.
    Refused,
    /// One of several at once, or something that may have been used already.
    Either,
}

/// What an answer says, or what it is to say where it says anything about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub patient: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub audience: Option<String>,
    /// Sorted words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// None came: refused, cut, or not in time.
    Lost(String),
    Came(Came),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Came {
    pub status: u16,
    /// Whether the body was what this endpoint speaks: JSON, or a page or redirect of the authorization endpoint.
    pub form: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    pub retry_after: bool,
    /// The code, handle or refresh token in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gave: Option<Id>,
    /// The access token in it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub access: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub active: Option<bool>,
    pub said: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the history began, by a clock that only goes forward.
    pub from: u64,
    pub to: u64,
    pub node: usize,
    pub op: Op,
    pub goal: Goal,
    /// Everything about one grant has one number.
    pub flow: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shown: Option<Id>,
    pub wanted: Content,
    pub answer: Answer,
}

impl Entry {
    pub fn came(&self) -> Option<&Came> {
        match &self.answer {
            Answer::Came(came) => Some(came),
            Answer::Lost(_) => None,
        }
    }

    /// Whether it was done: a redirect to the app is only where it brings a code.
    pub fn served(&self) -> Option<&Came> {
        self.came().filter(|came| came.error.is_none() && matches!(came.status, 200..=299 | 302 | 303))
    }
}

/// Something that was broken, from when to when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub kind: Kind,
    /// Which node it was about, where it was about one.
    pub node: Option<usize>,
    pub from: u64,
    pub to: u64,
}

/// The machine did not let this process run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starved {
    pub at: u64,
    pub for_us: u64,
}

/// What the checker has to know of the cast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub redis: bool,
    pub nodes: usize,
    /// `refresh_reuse_window`.
    pub reuse_us: u64,
    /// How long after a fault its traces may be seen: then everything serves again.
    pub recovers_us: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub setting: Setting,
    pub entries: Vec<Entry>,
    pub spans: Vec<Span>,
    pub starved: Vec<Starved>,
}

/// A history that is being written.
#[derive(Clone)]
pub struct Recorder {
    began: Instant,
    /// Entries are only counted, and kept where they are no success though they should be.
    counts: bool,
    served: Arc<AtomicU64>,
    timed: Arc<Mutex<Vec<u64>>>,
    history: Arc<Mutex<History>>,
}

impl Recorder {
    pub fn new(setting: Setting) -> Self {
        let history = History { setting, entries: Vec::new(), spans: Vec::new(), starved: Vec::new() };
        Self { began: Instant::now(), counts: false, served: Arc::default(), timed: Arc::default(), history: Arc::new(Mutex::new(history)) }
    }

    /// For runs that would fill the memory.
    pub fn that_counts(setting: Setting) -> Self {
        Self { counts: true, ..Self::new(setting) }
    }

    /// How many entries were as they should be, where they are counted.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn add(&self, entry: Entry) {
        if self.counts && (entry.goal != Goal::Served || entry.served().is_some()) {
            self.served.fetch_add(1, Ordering::Relaxed);
            // Those that go to the store once or twice; walks through pages are several requests.
            if !matches!(entry.op, Op::Authorize | Op::Launch) {
                self.timed.lock().unwrap_or_else(PoisonError::into_inner).push(entry.to - entry.from);
            }
            return;
        }
        self.with(|history| history.entries.push(entry));
    }

    /// What each of those took, in microseconds.
    pub fn timed(&self) -> Vec<u64> {
        self.timed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything so far, in the order of the beginnings.
    pub fn history(&self) -> History {
        let mut history = self.with(|history| history.clone());
        history.entries.sort_by_key(|entry| entry.from);
        history
    }
}

impl History {
    /// A line for the setting, then one for everything that was recorded.
    pub fn keep(&self, file: &Path) -> Result<(), Failed> {
        let mut out = BufWriter::new(std::fs::File::create(file)?);
        writeln!(out, "{}", serde_json::to_string(&self.setting)?)?;
        for span in &self.spans {
            writeln!(out, "{}", serde_json::to_string(span)?)?;
        }
        for starved in &self.starved {
            writeln!(out, "{}", serde_json::to_string(starved)?)?;
        }
        for entry in &self.entries {
            writeln!(out, "{}", serde_json::to_string(entry)?)?;
        }
        Ok(out.flush()?)
    }
}
