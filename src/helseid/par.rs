//! Pushed authorization requests. §2.2; RFC 9126.

use serde_json::Value;

use crate::protocol::pkce::CodeChallenge;

/// A request that was pushed, checked in full.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub client_id: String,
    pub redirect_uri: String,
    pub state: Option<String>,
    pub nonce: Option<String>,
    pub scopes: Vec<String>,
    pub resources: Vec<String>,
    pub challenge: CodeChallenge,
    pub prompt: Option<Prompt>,
    pub login_hint: Option<String>,
    pub max_age: Option<i64>,
    /// The least security level, and the identity provider, that `acr_values` asks for.
    pub level: u8,
    pub idp: Option<String>,
    pub details: Option<Value>,
    /// The key the request was bound to, where a proof was sent.
    pub jkt: Option<String>,
}

/// What `prompt` may ask for; there is no consent and nothing to select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    None,
    Login,
}
