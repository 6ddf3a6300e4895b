//! The token endpoint. §2.6, M4.
//!
//! ```text
//!   form ─► assertion (who) ─► dpop (which key) ─► code · refresh · machine · exchange ─► Answer
//! ```

pub mod code;
pub mod exchange;
mod issue;
pub mod machine;
pub mod refresh;
pub mod terms;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderValue, Uri};
use serde_json::{Map, Value, json};

use super::Idp;
use super::faults::Met;
use super::gate::{self, At};
use super::journal::Notes;
use super::organisation::Details;
use super::refusal::{Code, DPOP_NONCE, Refusal};
use super::seed::{Client, Grant};
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

/// `POST /connect/token`
pub async fn endpoint(
    State(idp): State<Arc<Idp>>,
    Extension(met): Extension<Met>,
    Extension(notes): Extension<Notes>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    grant(&idp, &met, &notes, &uri, &headers, &body).unwrap_or_else(IntoResponse::into_response)
}

fn grant(idp: &Idp, met: &Met, notes: &Notes, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    let now = idp.now_for(met);
    let quirks = idp.quirks();
    let params = gate::form(uri, headers, body)?;
    // The client before its proof, and both before the grant. §2.7.
    let known = gate::authenticate(idp, &params, headers, met, now)?;
    let proven = gate::prove(idp, &known.client, headers, At::Token, met, now).inspect_err(|refusal| {
        if refusal.code == Code::UseDpopNonce && quirks.assertion_reuse_on_nonce_retry_ok {
            known.give_back(idp);
        }
    })?;
    // From here on a refusal, too, carries the nonce that is to be used next.
    let nonce = proven.nonce.clone();
    let asked = params.get("grant_type").ok_or_else(|| Refusal::new(Code::InvalidRequest, "grant_type is missing"))?;
    let kind = Grant::parse(asked).ok_or_else(|| Refusal::new(Code::UnsupportedGrantType, "the grant_type is not supported"))?;
    let details = known.details(quirks.org_checksum)?;
    let call = Call { idp, client: Arc::clone(&known.client), params: &params, details, jkt: proven.jkt, met, now };
    let answer = match kind {
        Grant::Code => terms::refused_on_demand(met).and_then(|()| code::answer(&call)),
        Grant::Refresh => terms::refused_on_demand(met).and_then(|()| refresh::answer(&call)),
        Grant::ClientCredentials => machine::answer(&call),
        Grant::TokenExchange => exchange::answer(&call),
    };
    let answer = answer.map_err(|refusal| Refusal { nonce: refusal.nonce.or_else(|| nonce.clone()), ..refusal })?;
    notes.add("scope", answer.scopes.join(" "));
    notes.add("token_type", answer.token_type);
    notes.add("expires_in", answer.expires_in);
    let mut response = ([(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], Json(answer.to_value())).into_response();
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    Ok(response)
}
