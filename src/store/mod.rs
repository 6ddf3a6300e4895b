//! The store: one record, one compare-and-swap.
//!
//! Whatever must happen once (a code redeemed, a refresh token rotated, an assertion's `jti` accepted, a key ring turned) is a
//! conditional write of a single record, so the rules live in `domain` and are the same on every back end. [`Store`] is the typed
//! side that the engine uses; [`Backend`] is what a back end has to offer, and `store_contract` is what proves that it does.
//!
//! Expiry is our clock against the record's own `expires_at`. What a back end does with expired records is only a broom.

pub mod check;
pub mod embedded;
pub mod entry;
mod error;
mod measured;
pub mod memory;
pub mod moving;
pub mod read_only;
mod reads;
pub mod records;
pub mod redis;
pub mod survey;
mod typed;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

pub use error::StoreError;
pub use reads::{Found, Reads, Wanted};
pub use typed::{Held, Store, Stored};

use crate::secret::Digest;
use crate::time::UnixTime;

/// The key space of one issuer. Nothing crosses from one to another.
pub type Space = Arc<str>;

/// The space of what is about the store itself. No issuer has this name: theirs are URLs.
pub const OWN_SPACE: &str = "store";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        /// What a record is about. Name and code are written to disk, so neither ever changes its meaning and none is used again.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $name,)+
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The byte that stands for this kind inside a key on disk.
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// The kind a byte on disk stands for, if any.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The name used in error texts and in the keys of back ends that have readable ones.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

kinds! {
    /// An issuer's signing keys, sealed.
    KeyRing = 1, "key_ring";
    /// A registered client.
    Client = 2, "client";
    /// A person, with the `sub` that stands for them here.
    User = 3, "user";
    /// A person's login in one browser.
    Session = 4, "session";
    /// A launch handle and the context it stands for.
    Launch = 5, "launch";
    /// One passage through the authorization endpoint.
    Interaction = 6, "interaction";
    /// What was allowed, and everything derived from it.
    Grant = 7, "grant";
    /// What a person agreed to last time.
    Consent = 8, "consent";
    /// The mark of something that may be accepted once (`jti` of an assertion or proof).
    Replay = 9, "replay";
    /// An access token that ended before its time.
    RevokedToken = 10, "revoked_token";
    /// A pushed authorization request.
    Pushed = 11, "pushed";
    /// What we know about a browser before anyone logs in there.
    Browser = 12, "browser";
    /// An audit event.
    Audit = 13, "audit";
    /// A person's session at the identity provider behind us, with its sealed tokens.
    UpstreamLogin = 14, "upstream_login";
    /// By what such a session is found.
    UpstreamLink = 15, "upstream_link";
    /// A login there that was begun and has not come back.
    UpstreamAttempt = 16, "upstream_attempt";
    /// An app that is to be told when a session ends.
    LogoutParty = 18, "logout_party";
    /// A logout that an app has not been told yet.
    LogoutNotice = 20, "logout_notice";
    /// A token there that came with a launch, sealed.
    BroughtToken = 30, "brought_token";
    /// How often somebody failed to prove something.
    Failures = 17, "failures";
    /// What holds for the store as a whole: it is read-only, or being filled. In a space of its own, [`OWN_SPACE`].
    Mark = 23, "store_mark";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a record lives. Keys order by space, then kind, then the bytes of the id.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Key {
    pub space: Space,
    pub kind: Kind,
    pub id: Arc<str>,
}

impl Key {
    pub fn new(space: &Space, kind: Kind, id: &str) -> Self {
        Self { space: Arc::clone(space), kind, id: id.into() }
    }

    /// The id as an operator may see it: one that is a secret, or could be somebody's, is told as the beginning of its hash.
    pub fn shown(&self) -> String {
        match self.kind {
            Kind::KeyRing | Kind::Client | Kind::Grant | Kind::Mark => self.id.to_string(),
            _ => format!("#{}", Digest::of(self.id.as_bytes()).text().get(..12).unwrap_or_default()),
        }
    }
}

/// Which writing of a record one has seen. Only equality means anything; a version is never used again, not even
/// after the record was removed and made anew.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Version(u64);

/// A record as a back end keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub version: Version,
    /// From this second on the record counts as absent. `None` is a record that stays.
    pub expires_at: Option<UnixTime>,
    pub bytes: Bytes,
}

impl Record {
    /// Whether the record counts as absent at `now`.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Some records, each as it is or with what is wrong with it.
pub type Listed = Vec<(Key, Result<Record, StoreError>)>;

/// One of [`Backend::list_each`], named where it cannot be read.
fn all_or_nothing((key, record): (Key, Result<Record, StoreError>)) -> Result<(Key, Record), StoreError> {
    match record {
        Ok(record) => Ok((key, record)),
        Err(failure) => Err(failure.in_record(&key)),
    }
}

/// How a conditional write ended. A conflict is an answer, not a failure: somebody else got there first.
#[must_use = "a conflict means that nothing was written"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    Applied,
    Conflict,
}

/// Something another process may have changed that this one keeps in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// This record.
    Of(Key),
    /// Something that was told while nobody listened: whoever keeps anything looks again.
    Missed,
}

/// A back end as it is seen from outside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// The word of the configuration, where it has one.
    pub kind: Option<&'static str>,
    /// The format of its file.
    pub format: Option<u32>,
    /// The size of its file.
    pub file_bytes: Option<u64>,
}

/// How full a back end is. Absent is what it does not know by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Depth {
    /// Writes handed in and not yet taken up.
    pub waiting: Option<usize>,
    /// Length of the file.
    pub bytes: Option<u64>,
    /// Records, expired ones included.
    pub records: Option<u64>,
}

/// A back end: where records are kept and compared. It knows nothing of what is in them, nor what time it is.
///
/// An error is an outage. After one from a writing method it is unknown whether the write happened.
/// A write whose future is dropped may still happen.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The records under `keys`, in the same order, in one round trip and as of one moment. Expired ones are handed out too.
    /// Where records lie on several machines each is as of some moment after the call began.
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError>;

    /// The same where nobody has to be waited for: from a back end that waits for nobody, or for a registration ([`Kind::Client`]) that was read by
    /// itself less than half a second ago and that nobody here changed, nor told to have changed, since. `None` where it must be asked for.
    fn read_now(&self, keys: &[Key]) -> Option<Result<Vec<Option<Record>>, StoreError>> {
        let _ = keys;
        None
    }

    /// Writes if the record is still at `seen`; `None` means that it must not exist; a back end that has no clock
    /// counts an expired one as existing.
    async fn write(&self, key: &Key, seen: Option<Version>, expires_at: Option<UnixTime>, bytes: Bytes) -> Result<Commit, StoreError>;

    /// Removes the record, whatever its version. It is no error if there is none.
    async fn remove(&self, key: &Key) -> Result<(), StoreError>;

    /// At most `limit` records of one kind in the order of their ids' bytes, beginning behind `after`. Expired ones are handed out too.
    async fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Record)>, StoreError>;

    /// The same, where a record that cannot be read says so in its own place and not for all.
    async fn list_each(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Listed, StoreError> {
        Ok(self.list(space, kind, after, limit).await?.into_iter().map(|(key, record)| (key, Ok(record))).collect())
    }

    /// Deletes records of any space that are expired at `now`, at most `limit`, and says how many.
    async fn sweep(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError>;

    /// What other processes change from now on, of the kinds that are kept in memory; `None` where no other process has this store.
    /// It may be late or lost: whoever relies on it looks now and then, too.
    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        None
    }

    /// Every space that has records, in order; `None` where the back end cannot tell without reading everything there is.
    async fn spaces(&self) -> Result<Option<Vec<Space>>, StoreError> {
        Ok(None)
    }

    /// What it is, for whoever looks after it.
    fn about(&self) -> About {
        About::default()
    }

    /// What is wrong with its indexes, one sentence each. Reads them whole.
    async fn check_indexes(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// How full it is and how much waits, as far as that is known without asking anybody.
    fn depth(&self) -> Depth {
        Depth::default()
    }

    /// Finishes what was asked before and lets go of everything. Later calls are errors; closing again is not.
    async fn close(&self) -> Result<(), StoreError>;
}
