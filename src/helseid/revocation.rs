//! Refresh tokens are taken back; access tokens cannot be. §1.2; RFC 7009.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode, Uri};

use super::Idp;
use super::faults::Met;
use super::gate;
use super::journal::Notes;
use super::refusal::{Code, Refusal};
use crate::secret::Digest;

/// `POST /connect/revocation`
pub async fn endpoint(
    State(idp): State<Arc<Idp>>,
    Extension(met): Extension<Met>,
    Extension(notes): Extension<Notes>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    revoke(&idp, &met, &notes, &uri, &headers, &body).unwrap_or_else(IntoResponse::into_response)
}

fn revoke(idp: &Idp, met: &Met, notes: &Notes, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    let now = idp.now_for(met);
    let form = gate::form(uri, headers, body)?;
    let known = gate::authenticate(idp, &form, headers, met, now)?;
    let text = form.get("token").ok_or_else(|| Refusal::new(Code::InvalidRequest, "token is missing"))?;
    let token = idp.kept.refresh.get(&Digest::of(text.as_bytes()).text(), now);
    let mine = |family: &str| idp.kept.families.get(family, now).is_some_and(|family| family.grant.client_id == known.client.id);
    // RFC 7009 §2.2: a token that is none of the client's is an invalid one, and those are answered like any other.
    if let Some(token) = token.filter(|token| mine(&token.family)) {
        idp.kept.families.forget(&token.family);
        notes.add("revoked", true);
    }
    Ok((StatusCode::OK, [(CACHE_CONTROL, "no-store")]).into_response())
}
