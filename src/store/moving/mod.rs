//! A store as one file, for moving it to another back end. `docs/operations.md` describes the form:
//!
//! ```text
//! {"helsebro_store_export":1, …}      who wrote it when, from what, under which seal key
//! {"s":0,"k":"grant","i":"…","x":1790000060,"v":"AXsi…"}     one record: space, kind, id, expiry, bytes in base64
//! {"end":{"records":1,"expired":0,"sha256":"…","code":"…"}}
//! ```
//!
//! Records are copied byte for byte, sealed values as they are: they open under the same seal key only. Versions stay behind; only the
//! store that gave them knows what they mean.

mod export;
mod import;

use serde::{Deserialize, Serialize};

pub use export::{Exported, From, export};
pub use import::{ImportError, Imported, Into, Plan, import, read_through, verify};

use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

/// The form of the file. Raised when an older program would misunderstand a newer file.
pub const FORMAT: u32 = 1;

/// The purpose of the derived key, see [`Stamp::new`].
pub const PURPOSE: &str = "store export";

/// What ties an export to the seal key of the server it came from: without that key its records are worth nothing, and whoever lacks it
/// can neither make an export nor change one.
pub struct Stamp(Secret<[u8; 32]>);

impl Stamp {
    /// `key` is derived from the seal key for [`PURPOSE`].
    pub fn new(key: Secret<[u8; 32]>) -> Self {
        Self(key)
    }

    /// A name of the key that says nothing of it.
    fn name(&self) -> String {
        Digest::of_parts(&[b"name", self.0.expose()]).text()
    }

    /// The code over a content. Nested, as HMAC is (RFC 2104): the inner digest never leaves.
    fn code(&self, content: &Digest) -> Digest {
        let inner = Digest::of_parts(&[b"inner", self.0.expose(), content.bytes()]);
        Digest::of_parts(&[b"outer", self.0.expose(), inner.bytes()])
    }
}

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    #[serde(rename = "helsebro_store_export")]
    pub format: u32,
    pub made_at: UnixTime,
    /// The version of the program that wrote it.
    pub program: String,
    /// The kind of the back end it came from.
    pub from: String,
    /// [`Stamp::name`]
    pub seal_key: String,
    /// The spaces: a record names one by its place in this list.
    pub spaces: Vec<String>,
}

/// One record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    s: usize,
    #[serde(borrow)]
    k: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    i: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<UnixTime>,
    #[serde(borrow)]
    v: std::borrow::Cow<'a, str>,
}

/// The last line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct End {
    end: Totals,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Totals {
    records: u64,
    /// How many were left out because they had expired.
    expired: u64,
    /// Of every byte before this line.
    sha256: Digest,
    /// The stamp's word for it.
    code: Digest,
}
