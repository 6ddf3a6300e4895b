//! What is kept, and for how long. Each type's first format; raise `FORMAT` when an older program would misunderstand a newer record.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::typed::decode;
use super::{Kind, StoreError, Stored};
use crate::domain::authorization::CheckedRequest;
use crate::domain::backchannel::{LogoutNotice, LogoutParty};
use crate::domain::client::Client;
use crate::domain::consent::AppAccess;
use crate::domain::grant::Grant;
use crate::domain::guess::Failures;
use crate::domain::interaction::Interaction;
use crate::domain::keys::KeyRing;
use crate::domain::launch::Launch;
use crate::domain::session::Session;
use crate::domain::upstream_attempt::UpstreamAttempt;
use crate::domain::upstream_session::{BroughtToken, UpstreamLink, UpstreamLogin};
use crate::secret::Digest;
use crate::time::UnixTime;

/// The mark that something was used or ended, kept as long as it could come back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replay {
    pub until: UnixTime,
}

/// An access token that was revoked before its time. RFC 7009.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokedToken {
    pub until: UnixTime,
}

/// An authorization request that was kept: for the browser to come back with, or because its client pushed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pushed {
    pub request: CheckedRequest,
    /// The browser must have come by then.
    pub until: UnixTime,
    /// The one answer to a pushed request may be on its way until then, and no second one. RFC 9126 §7.3.
    #[serde(default)]
    pub answer_by: Option<UnixTime>,
    #[serde(default)]
    pub answered: bool,
}

/// What was changed about a client while the server ran: a registration of its own, or changes to one of the configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClientChange {
    /// The whole client, where it was added at run time.
    pub added: Option<Client>,
    pub disabled: Option<bool>,
    /// The secrets from now on, newest first, each with the moment it stops working.
    pub secrets: Option<Vec<(Digest, Option<UnixTime>)>>,
    pub changed_at: Option<UnixTime>,
    /// It was removed; until then its id stays taken, for tokens it got are still about.
    pub removed_until: Option<UnixTime>,
}

/// What holds for the store as a whole; one record for each, by [`Mark::id`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Nothing is written, since then.
    ReadOnly { since: UnixTime },
    /// The records of an export of this digest are on their way in.
    Filling { export: Digest },
}

impl Mark {
    pub const READ_ONLY: &str = "read-only";
    pub const FILLING: &str = "filling";

    /// The id of the record.
    pub fn id(&self) -> &'static str {
        match self {
            Self::ReadOnly { .. } => Self::READ_ONLY,
            Self::Filling { .. } => Self::FILLING,
        }
    }
}

/// How long past its end a record is kept, so that a late use is told from one that never was in our log.
const AFTERLIFE: Duration = Duration::from_secs(600);

macro_rules! stored {
    ($kind:ident, $type:ty, $format:literal, |$value:ident| $expires:expr) => {
        impl Stored for $type {
            const KIND: Kind = Kind::$kind;
            const FORMAT: u8 = $format;

            fn expires_at(&self) -> Option<UnixTime> {
                let $value = self;
                $expires
            }
        }
    };
}

stored!(KeyRing, KeyRing, 2, |_ring| None);
stored!(Client, ClientChange, 1, |change| change.removed_until);
stored!(Session, Session, 1, |session| Some(session.expires_at + AFTERLIFE));
stored!(Launch, Launch, 1, |launch| Some(launch.opens_until + Duration::from_secs(4200)));
stored!(Interaction, Interaction, 2, |interaction| Some(interaction.expires_at));
stored!(Grant, Grant, 1, |grant| Some(grant.expires_at + AFTERLIFE));
stored!(Consent, AppAccess, 1, |_access| None);
stored!(Pushed, Pushed, 2, |pushed| Some(pushed.answer_by.unwrap_or(pushed.until)));
stored!(Replay, Replay, 1, |mark| Some(mark.until));
stored!(RevokedToken, RevokedToken, 1, |mark| Some(mark.until));
stored!(UpstreamLogin, UpstreamLogin, 1, |login| Some(login.expires_at + AFTERLIFE));
stored!(UpstreamLink, UpstreamLink, 1, |link| Some(link.until + AFTERLIFE));
stored!(BroughtToken, BroughtToken, 1, |brought| Some(brought.expires_at));
stored!(UpstreamAttempt, UpstreamAttempt, 1, |attempt| Some(attempt.until));
stored!(LogoutParty, LogoutParty, 1, |party| Some(party.until));
stored!(LogoutNotice, LogoutNotice, 1, |notice| Some(notice.until));
stored!(Failures, Failures, 1, |failures| Some(failures.forgotten_at()));
stored!(Mark, Mark, 1, |_mark| None);

macro_rules! every {
    ($($kind:ident: $type:ty,)+; none: $($unused:ident),+) => {
        /// A record of any kind, understood.
        #[derive(Clone, Debug)]
        pub enum AnyRecord {
            $($kind(Box<$type>),)+
        }

        impl AnyRecord {
            /// The kinds there are records of, each with the format this program writes.
            pub const FORMATS: &[(Kind, u8)] = &[$((Kind::$kind, <$type as Stored>::FORMAT),)+];

            /// What the bytes of a record say.
            ///
            /// # Errors
            /// When this program does not understand them, or keeps nothing under that kind.
            pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, StoreError> {
                match kind {
                    $(Kind::$kind => decode::<$type>(bytes).map(|value| Self::$kind(Box::new(value))),)+
                    $(Kind::$unused)|+ => Err(StoreError::NewerFormat { what: format!("a record of kind {kind}"), found: 1, known: 0 }),
                }
            }

            /// From when on the record counts as absent, by what it says.
            pub fn expires_at(&self) -> Option<UnixTime> {
                match self {
                    $(Self::$kind(value) => value.expires_at(),)+
                }
            }
        }
    };
}

// A kind that is missing here does not compile: whoever adds one gives it a place in exports, in the check and in the upgrade test.
every! {
    KeyRing: KeyRing,
    Client: ClientChange,
    Session: Session,
    Launch: Launch,
    Interaction: Interaction,
    Grant: Grant,
    Consent: AppAccess,
    Replay: Replay,
    RevokedToken: RevokedToken,
    Pushed: Pushed,
    UpstreamLogin: UpstreamLogin,
    UpstreamLink: UpstreamLink,
    UpstreamAttempt: UpstreamAttempt,
    Failures: Failures,
    LogoutParty: LogoutParty,
    LogoutNotice: LogoutNotice,
    BroughtToken: BroughtToken,
    Mark: Mark,
    ;
    none: User, Browser, Audit
}
