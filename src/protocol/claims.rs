//! What our tokens say. RFC 9068 §2.2, OIDC Core §2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dpop::Thumbprint;
use super::ids::{ClientId, GrantId, Issuer, SessionId, Subject, TokenId};
use super::launch::LaunchContext;
use super::scope::ScopeSet;
use crate::secret::Secret;
use crate::time::UnixTime;

/// `typ` of an access token. RFC 9068 §2.1.
pub const ACCESS_TOKEN: &str = "at+jwt";

/// An access token of ours. Neither patient, encounter nor user inside unless the FHIR base asks for it (DESIGN §3, Tokens).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessTokenClaims {
    pub iss: Issuer,
    pub sub: Subject,
    /// A FHIR base, or the issuer itself for what is meant for us.
    pub aud: String,
    pub client_id: ClientId,
    pub scope: ScopeSet,
    pub jti: TokenId,
    pub iat: UnixTime,
    pub exp: UnixTime,
    /// The grant behind the token; absent in tokens a client got for itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant_id: Option<GrantId>,
    /// The session the grant ends with, where it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sid: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth_time: Option<UnixTime>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acr: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub amr: Vec<String>,
    /// RFC 7800; set when the token is bound to a key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cnf: Option<Confirmation>,
    /// RFC 8693 §4.1; set when the token was exchanged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub act: Option<Actor>,
    /// RFC 8693 §4.4: who may act with this token besides its client.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub may_act: Option<Actor>,
    /// The tokens this one was exchanged from, the latest first: it ends when one of them does.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub src: Vec<Source>,
    /// Only where the FHIR base sets `token_claims = "context"`.
    #[serde(rename = "fhirUser", skip_serializing_if = "Option::is_none", default)]
    pub fhir_user: Option<String>,
    #[serde(flatten)]
    pub context: LaunchContext,
}

/// The key a token is bound to. RFC 9449 §6.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    pub jkt: Thumbprint,
}

/// Who acts for the subject; earlier actors nest inside. RFC 8693 §4.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    pub sub: String,
    /// Whose name `sub` is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<ClientId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub act: Option<Box<Actor>>,
}

impl Actor {
    /// How many parties act, this one and those nested inside.
    pub fn depth(&self) -> usize {
        1 + self.act.as_ref().map_or(0, |inner| inner.depth())
    }
}

/// A token that another one was exchanged from. `reference/helseid.md` §6.5, `src`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub iss: String,
    /// Its `jti`, where it was ours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub jti: Option<TokenId>,
    /// A keyed hash of its `jti`, where it was another's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub jti_hash: Option<String>,
    /// A hash of its session, where it was the upstream's: a logout there ends what it was exchanged for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sid_hash: Option<String>,
    /// The client it was issued to, where that is one of ours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<ClientId>,
}

/// The scope that asks for a token of HelseID's, and the claim that holds it, where the configuration says nothing else. `reference/helseid.md` §6.2; DESIGN §3, HelseID in SMART.
pub const HELSEID: &str = "https://helseid.nhn.no";

/// What that claim says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HelseIdClaim {
    #[serde(serialize_with = "super::token::exposed")]
    pub access_token: Secret<String>,
    pub token_type: String,
    pub issuer: String,
    /// Seconds.
    pub expires_in: u64,
    pub scope: String,
}

/// An id_token. OIDC Core §2; SAL §3.9.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdTokenClaims {
    pub iss: Issuer,
    pub sub: Subject,
    /// A single string: clients compare it as one (NAV-041).
    pub aud: ClientId,
    pub iat: UnixTime,
    pub exp: UnixTime,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth_time: Option<UnixTime>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acr: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub amr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sid: Option<SessionId>,
    /// The grant behind it, so that what it is exchanged for ends with that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant_id: Option<GrantId>,
    /// RFC 8693 §4.1; set when the token was exchanged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub act: Option<Actor>,
    #[serde(rename = "fhirUser", skip_serializing_if = "Option::is_none", default)]
    pub fhir_user: Option<String>,
    /// OIDC Core §5.4: what the `profile` scope adds. `profile` is the user's FHIR resource by its absolute URL, as SMART 1.0 had it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// NAV's draft of HelseID in SMART: a token of the provider's for the same person, as proof of who that is, under the name that is
    /// configured. Written for the app and never read here.
    #[serde(flatten, skip_deserializing)]
    pub helseid: BTreeMap<String, HelseIdClaim>,
}

/// `typ` of a logout token. OIDC Back-Channel Logout §2.4.
pub const LOGOUT_TOKEN: &str = "logout+jwt";

/// What an app is told when a session ends. OIDC Back-Channel Logout §2.4.
#[derive(Clone, Debug, Serialize)]
pub struct LogoutTokenClaims {
    pub iss: Issuer,
    pub aud: ClientId,
    pub iat: UnixTime,
    pub exp: UnixTime,
    pub jti: TokenId,
    pub sub: Subject,
    pub sid: SessionId,
    pub events: LogoutEvents,
}

/// The one event a logout token is about: `{"http://schemas.openid.net/event/backchannel-logout": {}}`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogoutEvents {
    #[serde(rename = "http://schemas.openid.net/event/backchannel-logout")]
    pub backchannel_logout: LogoutEvent,
}

/// An event that says nothing but that it happened.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogoutEvent {}
