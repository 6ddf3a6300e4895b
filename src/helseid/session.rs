//! Who has logged in: a person's session with the mock, and what a client was given out of it. §2.4, 2.8.

use serde_json::Value;

use crate::time::UnixTime;

/// One login of one person: what tokens say about how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name in the seed.
    pub user: String,
    /// `sid`: upper-case hex.
    pub sid: String,
    pub auth_time: UnixTime,
    /// `helseid://claims/identity/security_level`: 2, 3 or 4.
    pub level: u8,
    /// The identity provider behind: `testidpnew-oidc`.
    pub idp: String,
    pub amr: Vec<String>,
}

/// What one client holds out of one login: lives behind a code, then behind refresh tokens.
#[derive(Clone, Debug)]
pub struct SessionGrant {
    pub client_id: String,
    pub login: Login,
    /// Everything that was asked for at PAR and allowed.
    pub scopes: Vec<String>,
    /// Every `resource` of PAR; no other can be had later (RFC 8707 §2.2).
    pub resources: Vec<String>,
    /// `authorization_details` of the request object: in force for every access token of the grant (§3.4, §4.2).
    pub details: Option<Value>,
    /// Echoed in the id_token.
    pub nonce: Option<String>,
    /// The key refresh tokens are bound to, where the switch says so.
    pub jkt: Option<String>,
}
