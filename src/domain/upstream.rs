//! The identity provider behind us: what is settled about it beforehand, and what it told us about a person. Nothing that decides about
//! security comes from its metadata (`reference/helseid.md` §1.3).

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::person::{HprNumber, OrgNumber, PersonNumber};
use crate::jose::{Alg, SigningKey};
use crate::protocol::ids::{ClientId, Issuer, RedirectUri};
use crate::time::UnixTime;

/// What we may sign assertions and request objects with. `reference/helseid.md` §2.5.
pub const CLIENT_ALGS: &[Alg] = &[Alg::PS256, Alg::ES384];

/// What the provider signs with, whatever its metadata says. `reference/helseid.md` §2.11.
pub const TOKEN_ALGS: &[Alg] = &[Alg::RS256];

/// Where the provider sends the browser back to, below our issuer.
pub const CALLBACK_PATH: &str = "/upstream/callback";

/// Where the provider tells that a session ended, below our issuer. OIDC Back-Channel Logout §2.5.
pub const LOGOUT_PATH: &str = "/upstream/logout";

/// One issuer's registration at its identity provider.
#[derive(Clone, Debug)]
pub struct UpstreamRules {
    /// `iss` of everything it signs and `aud` of everything we sign for it, compared byte for byte.
    pub issuer: Issuer,
    /// Our own name there.
    pub client_id: ClientId,
    /// Signs client assertions and request objects: one of [`CLIENT_ALGS`].
    pub client_key: SigningKey,
    /// `{our issuer}/upstream/callback`, registered there whole.
    pub redirect_uri: RedirectUri,
    /// Scopes pushed at login: all a session will ever need.
    pub scopes: BTreeSet<String>,
    /// API audiences pushed at login: all a session will ever need. RFC 8707 §2.
    pub resources: BTreeSet<String>,
    /// The audience of access tokens that are for ourselves.
    pub api_audience: String,
    /// Other audiences that are ours, for callers on a list. `reference/helseid.md` §6.5, profile `actor`.
    pub extra_audiences: BTreeSet<String>,
    pub tenancy: Tenancy,
    pub request_object: RequestObject,
    pub request_object_typ: RequestObjectTyp,
    /// `acr_values` at login, verbatim.
    pub acr_values: Option<String>,
    pub min_level: SecurityLevel,
    /// How long ago the person may have logged in.
    pub max_auth_age: Duration,
    /// How far clocks may differ. At most 5 s (`reference/helseid.md` T21).
    pub leeway: Duration,
    pub userinfo_scheme: UserinfoScheme,
    /// The scope that asks for a token of the provider's in the id_token, and the claim that holds it.
    pub claim: String,
    /// `issuer` in that claim.
    pub claim_issuer: String,
    pub patience: Patience,
}

impl UpstreamRules {
    /// Whether an access token for this audience is for us.
    pub fn is_ours(&self, audience: &str) -> bool {
        self.api_audience == audience || self.extra_audiences.contains(audience)
    }
}

/// How long and how often the provider is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// One HTTP attempt as a whole.
    pub attempt: Duration,
    /// How long a token answer waits for the HelseID claim as a whole; it goes without it then.
    pub claim: Duration,
    /// How often a call that is safe to repeat is repeated after a 503 or a refused connection.
    pub retries: u32,
    /// The longest wait before that; a `Retry-After` beyond it is not waited for.
    pub longest_wait: Duration,
    /// Calls to the provider at a time; those beyond wait for at most `attempt`.
    pub at_once: usize,
    /// So many failures on end open the circuit.
    pub failures: u32,
    /// How long an open circuit stays open before one call may try again.
    pub open_for: Duration,
    /// An access token of ours with less left than this is refreshed before it is exchanged.
    pub refresh_before_exchange: Duration,
    /// A kept access token is not handed out with less left than this.
    pub refresh_before: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            attempt: seconds(5),
            claim: seconds(4),
            retries: 2,
            longest_wait: seconds(1),
            at_once: 16,
            failures: 5,
            open_for: seconds(15),
            refresh_before_exchange: seconds(15),
            refresh_before: seconds(10),
        }
    }
}

/// For whom our client there may act. `reference/helseid.md` §3.2, Tenancy rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// The organisation is fixed in the registration.
    Own,
    /// One legal entity; its sub-units may be named.
    Single,
    /// A supplier's client: the legal entity is named, and its sub-unit where there is one.
    Multi,
}

/// When the login carries a signed request object. RFC 9101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestObject {
    /// Only where it has something to carry: `authorization_details`.
    Details,
    Always,
}

/// `typ` of a request object. `reference/helseid.md` §2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestObjectTyp {
    /// As the provider's own samples have it.
    ClientAuthentication,
    /// RFC 9101 §10.8.
    RequestObject,
}

impl RequestObjectTyp {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientAuthentication => "client-authentication+jwt",
            Self::RequestObject => "oauth-authz-req+jwt",
        }
    }
}

/// How the access token is shown at userinfo. `reference/helseid.md` §2.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserinfoScheme {
    Bearer,
    Dpop,
}

/// How sure the provider is who it is: a number, `4` the surest. `reference/helseid.md` §3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecurityLevel(u8);

impl SecurityLevel {
    /// The surest there is.
    pub const HIGHEST: Self = Self(4);

    /// `None` for anything but `"1"` to `"4"`: what is not known is not sure.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1" => Some(Self(1)),
            "2" => Some(Self(2)),
            "3" => Some(Self(3)),
            "4" => Some(Self(4)),
            _ => None,
        }
    }
}

impl fmt::Display for SecurityLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// `None` unless the text is 1 to 255 visible ASCII characters.
            pub fn parse(text: &str) -> Option<Self> {
                let visible = (1..=255).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b));
                visible.then(|| Self(text.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text).ok_or("not 1 to 255 visible ASCII characters")
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

opaque!(
    /// `sub` at the provider. Opaque, never copied into a token of ours (`reference/helseid.md` §6.6).
    UpstreamSubject
);
opaque!(
    /// `sid`: one session of a browser at the provider.
    UpstreamSession
);

/// Who logged in, as a verified id_token says.
#[derive(Clone, Debug)]
pub struct UpstreamIdentity {
    pub subject: UpstreamSubject,
    pub session: Option<UpstreamSession>,
    pub person: PersonNumber,
    /// Absent where the person is not in the register of health personnel.
    pub hpr: Option<HprNumber>,
    pub level: SecurityLevel,
    pub auth_time: UnixTime,
    pub amr: Vec<String>,
    /// The identity provider behind the provider.
    pub idp: Option<String>,
    pub acr: Option<String>,
    pub name: Option<String>,
}

/// For which organisation a token was issued, or shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActingFor {
    /// The legal entity.
    pub parent: OrgNumber,
    /// The sub-unit.
    pub child: Option<OrgNumber>,
}

/// What the provider knows of somebody as health personnel. `reference/helseid.md` §3.3.
#[derive(Clone, Debug, Default)]
pub struct HprDetails {
    /// `None` where the person has no number.
    pub number: Option<HprNumber>,
    /// Empty where an authorisation was withdrawn, or never given.
    pub approvals: Vec<Approval>,
}

/// One authorisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Code system 9060: `LE` doctor, `SP` nurse.
    pub profession: String,
    /// Code system 7704.
    pub authorization: Option<String>,
    /// Codes of the rights to prescribe.
    pub requisition_rights: Vec<String>,
    /// Code system 7426.
    pub specialities: Vec<String>,
}
