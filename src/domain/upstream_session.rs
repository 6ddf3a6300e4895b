//! A person's session at the identity provider, as long as we have a part in it: kept under our own session's id, sealed where it is
//! secret, ended once and for good. `reference/helseid.md` §6.4, §2.8.

use serde::{Deserialize, Serialize};

use super::upstream::{SecurityLevel, UpstreamSession, UpstreamSubject};
use crate::protocol::ids::{FhirBase, Issuer, Reference, SessionId, Subject, TokenId};
use crate::secret::Digest;
use crate::time::UnixTime;

/// One login there. Nothing in it comes from a request of an app's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpstreamLogin {
    /// Our session that stands on it.
    pub session: SessionId,
    /// Whom we take the person for, and where.
    pub base: FhirBase,
    pub subject: Subject,
    pub fhir_user: Reference,
    /// The provider.
    pub issuer: Issuer,
    pub upstream_subject: UpstreamSubject,
    pub upstream_session: Option<UpstreamSession>,
    /// Keyed hashes of the national identity number and the HPR number: enough to compare, useless to whoever reads them.
    pub person: Digest,
    pub hpr: Option<Digest>,
    pub level: SecurityLevel,
    pub auth_time: UnixTime,
    pub amr: Vec<String>,
    /// The identity provider behind the provider.
    pub idp: Option<String>,
    /// Codes of system 9060: what the person is authorised as. `reference/helseid.md` §3.3.
    pub professions: Vec<String>,
    /// The organisation of the login, as its access token names it: legal entity and sub-unit.
    pub org_parent: Option<String>,
    pub org_child: Option<String>,
    /// The APIs that were named at the login: tokens can be had for these and no others.
    pub resources: Vec<String>,
    /// What was granted.
    pub scopes: Vec<String>,
    pub state: UpstreamState,
    pub expires_at: UnixTime,
}

/// Whether tokens can still be had.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamState {
    Live(LiveUpstream),
    /// Over; the sealed secrets went with it.
    Dead {
        why: UpstreamEnd,
        at: UnixTime,
    },
}

/// What a live session holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveUpstream {
    /// The refresh token, sealed; absent where the provider gave none.
    pub refresh: Option<Sealed>,
    /// When the refresh token ends, where that was said.
    pub refresh_until: Option<UnixTime>,
    /// The private key that all tokens of the session are bound to, PKCS#8, sealed.
    pub key: Sealed,
    /// The id_token, sealed: for logging out there.
    pub id_token: Option<Sealed>,
    /// A refresh is under way somewhere, and is over by then; where it is not, nobody knows what became of it.
    pub refreshing_until: Option<UnixTime>,
}

/// Why a session there is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamEnd {
    /// The person logged out here.
    LoggedOut,
    /// The EPJ said that its session ended.
    EpjEnded,
    /// The provider told us so.
    EndedThere,
    /// The provider no longer takes the refresh token.
    Refused,
    /// Nobody knows whether a refresh was done. `reference/helseid.md` T19.
    OutcomeUnknown,
}

/// Something sealed under the key of the store, for one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(#[serde(with = "super::keys::base64_text")] pub Vec<u8>);

impl UpstreamLogin {
    /// The live part, unless the session is over.
    pub fn live(&self, now: UnixTime) -> Option<&LiveUpstream> {
        match &self.state {
            UpstreamState::Live(live) if now < self.expires_at => Some(live),
            UpstreamState::Live(_) | UpstreamState::Dead { .. } => None,
        }
    }

    /// The same without its secrets. Whoever was first says why.
    #[must_use]
    pub fn dead(&self, why: UpstreamEnd, at: UnixTime) -> Self {
        match &self.state {
            UpstreamState::Live(_) => Self { state: UpstreamState::Dead { why, at }, ..self.clone() },
            UpstreamState::Dead { .. } => self.clone(),
        }
    }

    #[must_use]
    pub fn with(&self, live: LiveUpstream) -> Self {
        Self { state: UpstreamState::Live(live), ..self.clone() }
    }
}

/// An access token there for our own API that the EPJ brought with a launch. Kept under the launch's id until its own end; what is exchanged
/// for it is bound to a key of ours. DESIGN §3, The launch API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BroughtToken {
    /// The EPJ's session it dies with.
    pub session: SessionId,
    pub session_epoch: u32,
    /// Whom it is of, as the launch says and as was checked.
    pub base: FhirBase,
    pub subject: Subject,
    pub fhir_user: Reference,
    pub upstream_subject: UpstreamSubject,
    pub upstream_session: Option<UpstreamSession>,
    pub jti: TokenId,
    pub auth_time: UnixTime,
    /// The token, sealed.
    pub token: Sealed,
    /// The private key that results are bound to, PKCS#8, sealed.
    pub key: Sealed,
    pub expires_at: UnixTime,
}

/// By what sessions are found that are not asked for by their own id. One record for each pair, so that none is ever changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpstreamLink {
    /// The session that is found.
    pub session: SessionId,
    pub until: UnixTime,
}

/// What a link leads from.
#[derive(Clone, Copy, Debug)]
pub enum LinkFrom<'a> {
    /// A session at the provider: to ours.
    Session(&'a Issuer, &'a UpstreamSession),
    /// A person at the provider: to all of ours.
    Subject(&'a Issuer, &'a UpstreamSubject),
    /// A session of the EPJ's: to the logins that were made in launches of it.
    Epj(&'a SessionId),
    /// A login of ours: to the sessions of the EPJ's it vouched in.
    Login(&'a SessionId),
}

impl LinkFrom<'_> {
    /// What the ids of its records begin with.
    pub fn prefix(&self) -> String {
        let parts: [&[u8]; 3] = match self {
            Self::Session(issuer, sid) => [b"sid", issuer.as_str().as_bytes(), sid.as_str().as_bytes()],
            Self::Subject(issuer, sub) => [b"sub", issuer.as_str().as_bytes(), sub.as_str().as_bytes()],
            Self::Epj(session) => [b"epj", session.as_str().as_bytes(), b""],
            Self::Login(session) => [b"login", session.as_str().as_bytes(), b""],
        };
        format!("{}.", Digest::of_parts(&parts).text())
    }

    pub fn id(&self, to: &SessionId) -> String {
        format!("{}{to}", self.prefix())
    }
}

/// What must not be taken any more though it is in time, by its provider. `reference/helseid.md` §6.5.
#[derive(Clone, Copy, Debug)]
pub enum Denied<'a> {
    Session(&'a str),
    Token(&'a str),
    /// A logout notice, which is taken once.
    Notice(&'a str),
}

impl Denied<'_> {
    /// The id of its mark.
    pub fn id(&self, issuer: &Issuer) -> String {
        let (kind, name): (&[u8], &str) = match self {
            Self::Session(sid) => (b"sid", sid),
            Self::Token(jti) => (b"jti", jti),
            Self::Notice(jti) => (b"notice", jti),
        };
        format!("upstream.{}", Digest::of_parts(&[kind, issuer.as_str().as_bytes(), name.as_bytes()]).text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_found_by_what_it_leads_from_and_nothing_else() {
        let (a, b) = (Issuer::parse("https://a.example").unwrap(), Issuer::parse("https://b.example").unwrap());
        let (sid, sub) = (UpstreamSession::parse("x").unwrap(), UpstreamSubject::parse("x").unwrap());
        let session = SessionId::parse("s1").unwrap();
        let prefixes =
            [LinkFrom::Session(&a, &sid), LinkFrom::Session(&b, &sid), LinkFrom::Subject(&a, &sub), LinkFrom::Epj(&session), LinkFrom::Login(&session)];
        let texts: std::collections::BTreeSet<String> = prefixes.iter().map(LinkFrom::prefix).collect();
        assert_eq!(texts.len(), prefixes.len());
        assert!(prefixes[0].id(&session).starts_with(&prefixes[0].prefix()));
        assert_ne!(Denied::Session("x").id(&a), Denied::Token("x").id(&a));
    }
}
