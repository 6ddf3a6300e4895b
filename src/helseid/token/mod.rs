//! The token endpoint. §2.6, M4.
//!
//! ```text
//!   form ─► assertion (who) ─► dpop (which key) ─► code · refresh · machine · exchange ─► Answer
//! ```

pub mod code;
pub mod exchange;
pub mod machine;
pub mod refresh;
pub mod terms;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Idp;
use super::faults::Met;
use super::organisation::Details;
use super::seed::Client;
use crate::protocol::params::Params;
use crate::secret::Secret;
use crate::time::UnixTime;

/// A request to the token endpoint whose sender is known: the client is authenticated and its proof, if any, was checked.
/// What every grant is given; each answers with `fn answer(call: &Call<'_>) -> Result<Answer, Refusal>`.
pub struct Call<'a> {
    pub idp: &'a Idp,
    pub client: Arc<Client>,
    pub params: &'a Params,
    /// `assertion_details` of the client assertion, in force for this one access token.
    pub details: Details,
    /// The thumbprint of the proof's key.
    pub jkt: Option<String>,
    pub met: &'a Met,
    pub now: UnixTime,
}

/// A successful answer. §2.6.
#[derive(Debug)]
pub struct Answer {
    pub access_token: Secret<String>,
    /// `DPoP` or `Bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
    pub scopes: Vec<String>,
    pub rejected_scopes: Vec<String>,
    pub id_token: Option<Secret<String>>,
    pub refresh_token: Option<Secret<String>>,
    /// Seconds left for the refresh token; HelseID's own.
    pub rt_expires_in: Option<i64>,
    /// Token exchange alone. RFC 8693 §2.2.1.
    pub issued_token_type: Option<&'static str>,
}

impl Answer {
    /// The body, members in the order of §2.6.
    pub fn to_value(&self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| value.map(|value| body.insert(name.to_owned(), value));
        put("id_token", self.id_token.as_ref().map(|token| json!(token.expose())));
        put("access_token", Some(json!(self.access_token.expose())));
        put("issued_token_type", self.issued_token_type.map(|kind| json!(kind)));
        put("expires_in", Some(json!(self.expires_in)));
        put("token_type", Some(json!(self.token_type)));
        put("refresh_token", self.refresh_token.as_ref().map(|token| json!(token.expose())));
        put("scope", Some(json!(self.scopes.join(" "))));
        put("rt_expires_in", self.rt_expires_in.map(|seconds| json!(seconds)));
        put("rejected_scope", (!self.rejected_scopes.is_empty()).then(|| json!(self.rejected_scopes.join(" "))));
        Value::Object(body)
    }
}
