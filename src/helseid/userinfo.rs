//! Claims of the person, and the only place where the register of health personnel speaks at length. §2.10, 3.3, M13; OIDC Core §5.3.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::Idp;
use super::dpop;
use super::faults::Met;
use super::id_token::person;
use super::journal::Notes;
use super::own_token::{OwnToken, OwnTokenError};
use super::refusal::{Code, Refusal};
use super::seed::User;
use super::session::Login;
use crate::time::UnixTime;

/// `GET /connect/userinfo`, or POST.
pub async fn endpoint(
    State(idp): State<Arc<Idp>>,
    Extension(met): Extension<Met>,
    Extension(notes): Extension<Notes>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    match tell(&idp, &met, &method, &headers) {
        Ok(claims) => ([(CACHE_CONTROL, "no-store")], Json(claims)).into_response(),
        Err(refusal) => {
            notes.add("refused", refusal.description.as_ref());
            refusal.into_response()
        }
    }
}

fn tell(idp: &Idp, met: &Met, method: &Method, headers: &HeaderMap) -> Result<Value, Refusal> {
    let now = idp.now_for(met);
    let seed = idp.seed();
    let (text, with_proof) = token(headers).ok_or(OwnTokenError::Missing)?;
    let token = OwnToken::read(idp, text, now)?;
    if with_proof || idp.quirks().userinfo_requires_dpop {
        bound(idp, &token, text, with_proof, method, headers, now)?;
    }
    token.need("openid")?;
    let (user, client) = token.person(idp, &seed)?;
    let scopes = token.scopes();
    let number = |name: &str| token.claims.get(name).and_then(Value::as_i64);
    let login = Login {
        user: user.id.clone(),
        sid: token.text("sid").unwrap_or_default().to_owned(),
        auth_time: UnixTime(number("auth_time").unwrap_or_default()),
        level: token.text(super::defect::LEVEL).and_then(|level| level.parse().ok()).unwrap_or(user.level),
        idp: String::new(),
        amr: Vec::new(),
    };
    let mut claims = serde_json::Map::new();
    claims.insert("sub".to_owned(), json!(token.text("sub")));
    claims.extend(person(idp, user, client, &login, &scopes));
    if scopes.iter().any(|scope| scope == "helseid://scopes/hpr/hpr_number") {
        claims.insert("helseid://claims/hpr/hpr_details".to_owned(), hpr_details(user, idp.quirks().withdrawn_listed));
    }
    claims.insert("userinfo_issued_at".to_owned(), json!(now.0));
    Ok(Value::Object(claims))
}

/// The token and whether it came under the scheme `DPoP`.
fn token(headers: &HeaderMap) -> Option<(&str, bool)> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let with_proof = scheme.eq_ignore_ascii_case("DPoP");
    (with_proof || scheme.eq_ignore_ascii_case("Bearer")).then_some((token.trim(), with_proof))
}

/// A bound token needs the proof of its key; RFC 9449 §7.1. Real clients send it as a bearer token, so that is a switch.
fn bound(idp: &Idp, token: &OwnToken, text: &str, with_proof: bool, method: &Method, headers: &HeaderMap, now: UnixTime) -> Result<(), Refusal> {
    let quirks = idp.quirks();
    let refused = |why| Refusal::bearer(Code::InvalidToken, why);
    let Some(jkt) = token.claims.get("cnf").and_then(|cnf| cnf.get("jkt")).and_then(Value::as_str) else {
        return if with_proof { Err(refused("the access token is not bound to a key")) } else { Ok(()) };
    };
    let mut proofs = headers.get_all("dpop").iter();
    let (Some(proof), None) = (proofs.next().and_then(|proof| proof.to_str().ok()), proofs.next()) else {
        return Err(refused("one DPoP proof is needed"));
    };
    let url = idp.url("/connect/userinfo");
    let ask = dpop::Ask { method: method.as_str(), url: &url, access_token: Some(text), now, skew_s: quirks.dpop_skew_s, life_s: quirks.dpop_proof_life_s };
    let proof = dpop::check(proof, &ask).map_err(|reason| Refusal::from(reason).status(http::StatusCode::UNAUTHORIZED))?;
    if proof.jkt != jkt || !idp.kept.is_new(&["proof", &proof.jkt, &proof.jti], proof.until, now) {
        return Err(refused("the proof is another key's, or was seen before"));
    }
    Ok(())
}

/// §3.3. The number is a number here and a string elsewhere, as in the capture.
fn hpr_details(user: &User, withdrawn_listed: bool) -> Value {
    let approvals = user.approvals_shown(withdrawn_listed);
    match user.hpr().and_then(|number| number.parse::<u64>().ok()) {
        Some(number) => json!({"hpr_number": number, "no_hpr_number": false, "approvals": approvals}),
        None => json!({"no_hpr_number": true, "approvals": []}),
    }
}
