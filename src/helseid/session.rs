//! Who has logged in: a person's session with the mock, and what clients were given out of it. §2.4, 2.8.

use std::collections::BTreeSet;

use super::organisation::Details;
use crate::protocol::pkce::CodeChallenge;
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

/// A browser's session: single sign-on for every client that comes with it.
#[derive(Clone, Debug)]
pub struct Session {
    pub login: Login,
    /// The clients that got something out of it, to be told when it ends.
    pub clients: BTreeSet<String>,
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
    pub details: Details,
    /// Echoed in the id_token.
    pub nonce: Option<String>,
    /// The key refresh tokens are bound to, where the switch says so.
    pub jkt: Option<String>,
}

/// A code that was handed out.
#[derive(Clone, Debug)]
pub struct IssuedCode {
    pub grant: SessionGrant,
    pub challenge: CodeChallenge,
    pub redirect_uri: String,
    /// The family of refresh tokens it became, once it was redeemed.
    pub redeemed: Option<String>,
}

/// What stands behind a row of refresh tokens, one of which is good.
#[derive(Clone, Debug)]
pub struct Family {
    pub grant: SessionGrant,
    /// When the last token of the row expires; rotation does not move it. M9.
    pub ends_at: UnixTime,
}

/// A refresh token that was handed out.
#[derive(Clone, Debug)]
pub struct RefreshToken {
    pub family: String,
    pub spent: bool,
}
