//! What can be wrong with a store. Each is an outage and surfaces as one: a store that cannot be reached never means "not found".

use std::path::PathBuf;

use super::Key;

/// Why the store could not answer. The texts say what to do and hold nothing of what is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or not any more.
    #[error("the store does not answer: {0}")]
    Unreachable(String),

    /// What it holds cannot be read.
    #[error("the store is damaged: {0}; nothing was changed: move it aside and restore a backup")]
    Corrupt(String),

    /// The file is somebody else's.
    #[error("{} is not a store of this server ({what}); it was left as it is: point the configuration at another file", path.display())]
    Foreign { path: PathBuf, what: &'static str },

    /// Another process has the file.
    #[error("{} is in use by another process: stop that one first, or give this one its own file", path.display())]
    Locked { path: PathBuf },

    /// What answers is not fit to be a store.
    #[error("the store cannot be used: {0}")]
    Unfit(String),

    /// It is about to be moved.
    #[error("the store is read-only while it is moved to another: nothing is written until that is over")]
    ReadOnly,

    /// An import began and did not end.
    #[error("the store is half filled: an import into it did not end; run the same `helsebro store import` again, which goes on where it stopped")]
    HalfFilled,

    /// There is no room.
    #[error("no room to write {}: free some space; the store goes on by itself afterwards", path.display())]
    Full { path: PathBuf },

    /// A newer version of this program wrote it.
    #[error("{what} has format {found}, this program knows up to {known}: run the version that wrote it, or a newer one")]
    NewerFormat { what: String, found: u32, known: u32 },
}

impl StoreError {
    /// The same, with the name of the record where it is what cannot be read.
    pub(super) fn in_record(self, key: &Key) -> Self {
        match self {
            Self::Corrupt(what) => Self::Corrupt(format!("{} {} of {}: {what}", key.kind, key.shown(), key.space)),
            Self::Unreachable(_)
            | Self::Foreign { .. }
            | Self::Locked { .. }
            | Self::Unfit(_)
            | Self::ReadOnly
            | Self::HalfFilled
            | Self::Full { .. }
            | Self::NewerFormat { .. } => self,
        }
    }

    pub(super) fn closed() -> Self {
        Self::Unreachable("it was closed".to_owned())
    }
}
