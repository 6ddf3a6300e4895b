//! Documents fetched because somebody registered their address: a client's `jwks_uri`. The address comes from a party we do not
//! trust with our network, so what may be asked, how long and how much is bounded here and nowhere else. SAL §5.3, RFC 9700 §4.9.
//!
//! ```text
//!   address (where one may connect) ─► get (one bounded GET) ─► jwks (cached by Cache-Control, one flight per address)
//!   peer (another issuer: metadata through get, keys through jwks, introspection)
//!   post (one bounded POST, for its status)
//!   outgoing: what every HTTP client of ours has in common
//! ```

mod address;
pub mod entry;
mod freshness;
mod get;
mod jwks;
pub(crate) mod outgoing;
mod peer;
mod post;

use std::time::Duration;

pub use jwks::JwksCache;
pub use peer::{MetadataFault, Peer, PeerDown};
pub use post::Poster;

/// What one fetch may take, and where it may go.
#[derive(Clone, Debug)]
pub struct FetchLimits {
    /// The longest body, in bytes.
    pub max_bytes: usize,
    /// For the whole of it: name resolution, connecting, headers and body.
    pub timeout: Duration,
    /// Private networks (RFC 1918, RFC 4193, RFC 6598) may be asked. Link-local addresses never are.
    pub allow_private: bool,
    /// This machine may be asked, also over plain `http`: for issuers on loopback alone.
    pub allow_loopback: bool,
    /// A document is asked for again after this, however long its owner lets it be kept.
    pub kept_at_most: Duration,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024,
            timeout: Duration::from_secs(5),
            allow_private: false,
            allow_loopback: false,
            kept_at_most: Duration::from_secs(24 * 3600),
        }
    }
}

/// Why a document could not be had. Says nothing about the document itself but its size and form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("the address is not an https URL without user information")]
    Url,
    #[error("the address leads to a network that may not be asked")]
    Address,
    #[error("the host cannot be reached")]
    Unreachable,
    #[error("the host's TLS certificate or handshake was refused")]
    Tls,
    #[error("no complete answer in time")]
    Timeout,
    #[error("the answer was a redirect, which is not followed")]
    Redirect,
    #[error("the answer had status {0}")]
    Status(u16),
    #[error("the answer is longer than allowed")]
    TooLarge,
    #[error("the answer broke off or was not HTTP")]
    Broken,
    #[error("the answer is not a JWK set")]
    Malformed,
}

impl FetchError {
    /// One word for it, for what is counted.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Url | Self::Address => "forbidden",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Redirect | Self::Status(_) => "status",
            Self::TooLarge | Self::Broken | Self::Malformed => "malformed",
        }
    }

    /// Whether asking again later may end otherwise: nothing is wrong with the address itself.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable | Self::Tls | Self::Timeout | Self::Broken | Self::Status(_) | Self::Malformed | Self::TooLarge => true,
            Self::Url | Self::Address | Self::Redirect => false,
        }
    }
}
