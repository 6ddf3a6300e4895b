//! What a token is worth, told to the owner of its audience. RFC 7662.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, Uri};
use serde_json::{Value, json};

use super::Idp;
use super::faults::Met;
use super::gate;
use super::own_token::OwnToken;
use super::refusal::{Code, Refusal};
use super::seed::{Client, Seed};

/// `POST /connect/introspect`
pub async fn endpoint(State(idp): State<Arc<Idp>>, Extension(met): Extension<Met>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    introspect(&idp, &met, &uri, &headers, &body).unwrap_or_else(IntoResponse::into_response)
}

fn introspect(idp: &Idp, met: &Met, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    let now = idp.now_for(met);
    let seed = idp.seed();
    let form = gate::form(uri, headers, body)?;
    let known = gate::authenticate(idp, &form, headers, met, now)?;
    let text = form.get("token").ok_or_else(|| Refusal::new(Code::InvalidRequest, "token is missing"))?;
    let token = OwnToken::read(idp, text, now).ok().filter(|token| owns(&known.client, token, &seed));
    let answer = match token {
        None => json!({"active": false}),
        Some(token) => {
            let mut said = token.claims.clone();
            // Here it is a text again. RFC 7662 §2.2.
            said.insert("scope".to_owned(), json!(token.scopes().join(" ")));
            said.insert("active".to_owned(), json!(true));
            Value::Object(said)
        }
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// A token is its audience's business: the client and one of the APIs have one owner. §4.
fn owns(client: &Client, token: &OwnToken, seed: &Seed) -> bool {
    let audiences: Vec<&str> = match token.claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    audiences.iter().filter_map(|audience| seed.api(audience)).any(|api| api.owner == client.tenancy.owner())
}
