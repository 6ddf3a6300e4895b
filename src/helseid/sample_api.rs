//! A resource server behind the mock: APIs as the registrations of §7.4 have them, that take tokens by the rules of §2.11 and tell what they
//! saw. M14. It is a party of its own: it knows the issuer's name and reads its keys over HTTP.

mod check;
mod keys;
mod levers;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::dpop::Fresh;
use super::kept::Shelf;
use super::refusal::DPOP_NONCE;
use crate::protocol::ids::Issuer;
use crate::time::{Clock, UnixTime};
use check::Refused;
use keys::Keys;

pub use check::{Scheme, Windows};
pub use levers::{Levers, Seen};

/// One API: where it is, which token opens it.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    pub path: &'static str,
    pub audience: &'static str,
    pub scope: &'static str,
    pub scheme: Scheme,
    pub caller: Caller,
}

/// §2.11.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Anybody,
    /// A person, known by identity number, at level 4.
    Person,
}

/// The APIs it plays.
pub const DOORS: &[Door] = &[
    Door { path: "/kjerne", audience: "demo:kjerne", scope: "demo:kjerne/read", scheme: Scheme::Dpop, caller: Caller::Anybody },
    Door { path: "/resept", audience: "demo:resept", scope: "demo:resept/write", scheme: Scheme::Dpop, caller: Caller::Person },
    Door { path: "/old", audience: "demo:old", scope: "demo:old/read", scheme: Scheme::Bearer, caller: Caller::Anybody },
    Door { path: "/identity", audience: "nav-like:app", scope: "nav-like:app/identity", scheme: Scheme::Bearer, caller: Caller::Person },
];

/// RFC 9449 §9.
const USE_NONCE: &str = "use_dpop_nonce";

/// Headers some national APIs want: that they came is told, not what was in them. §3.4.
const TOLD_HEADERS: [&str; 4] = ["nhn-patient-nin", "nhn-user-role", "nhn-source-system", "nhn-event-id"];

#[derive(Clone)]
pub struct SampleApiSettings {
    /// Whose tokens are taken.
    pub issuer: Issuer,
    /// Where this API is reached, without a path: what `htu` must begin with.
    pub base: String,
    pub windows: Windows,
    pub levers: Arc<Levers>,
}

struct SampleApi {
    settings: SampleApiSettings,
    keys: Keys,
    /// Proofs that were seen.
    proofs: Shelf<()>,
    clock: Arc<dyn Clock>,
}

/// Its routes.
///
/// # Errors
/// Where the client for outgoing HTTP cannot be made.
pub fn router(settings: SampleApiSettings, clock: Arc<dyn Clock>) -> reqwest::Result<Router> {
    let keys = Keys::of(settings.issuer.clone())?;
    let api = Arc::new(SampleApi { settings, keys, proofs: Shelf::with_room(10_000), clock });
    Ok(Router::new().fallback(answer).with_state(api))
}

async fn answer(State(api): State<Arc<SampleApi>>, request: Request) -> Response {
    let Some(door) = DOORS.iter().find(|door| door.path == request.uri().path()) else {
        let paths: Vec<&str> = DOORS.iter().map(|door| door.path).collect();
        return (StatusCode::NOT_FOUND, Json(json!({"error": "not_found", "paths": paths}))).into_response();
    };
    let url = format!("{}{}", api.settings.base.trim_end_matches('/'), door.path);
    let (method, now) = (request.method().as_str(), api.clock.now());
    let (status, told, challenge, nonce) = match api.let_in(door, method, &url, request.headers(), now).await {
        Ok((seen, nonce)) => (StatusCode::OK, seen, None, nonce),
        Err(refused) => {
            let nonce = (refused.error == Some(USE_NONCE)).then(|| api.settings.levers.issue(now));
            (refused.status(), refused.told(), refused.challenge(door.scheme), nonce)
        }
    };
    api.settings.levers.note(now, method, door.path, status.as_u16(), told.clone());
    let mut response = (status, [(CACHE_CONTROL, "no-store")], Json(told)).into_response();
    let nonce = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok());
    for (name, value) in [(WWW_AUTHENTICATE, challenge), (DPOP_NONCE, nonce)] {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

impl SampleApi {
    /// What was seen, and the nonce to use next where one was used up.
    async fn let_in(&self, door: &Door, method: &str, url: &str, headers: &HeaderMap, now: UnixTime) -> Result<(Value, Option<String>), Refused> {
        let mut next = None;
        let token = check::presented(headers, door.scheme)?;
        let claims = check::token(token, &self.keys, &self.settings, door, now).await?;
        let bound = claims.get("cnf").and_then(|cnf| cnf.get("jkt")).and_then(Value::as_str);
        let proof = match (door.scheme, bound) {
            // §2.11.11
            (Scheme::Bearer, Some(_)) => return Err(Refused::token("the token is bound to a key and was presented as a bearer token")),
            (Scheme::Bearer, None) => None,
            (Scheme::Dpop, None) => return Err(Refused::token("the token is bound to no key")),
            (Scheme::Dpop, Some(jkt)) => {
                let proof = check::proof(headers, method, url, token, jkt, self.settings.windows, now)?;
                match self.settings.levers.judge(proof.nonce.as_deref(), now) {
                    Fresh::Needed => return Err(Refused { error: Some(USE_NONCE), why: "the proof needs the nonce of this answer", scope: None }),
                    Fresh::Good { worn: true } => next = Some(self.settings.levers.issue(now)),
                    Fresh::Good { worn: false } | Fresh::NotNeeded => {}
                }
                if !self.proofs.put_new(&format!("{jkt} {}", proof.jti), (), proof.until, now) {
                    return Err(Refused::proof("the proof was used before"));
                }
                Some(proof)
            }
        };
        check::authority(&claims, door)?;
        Ok((seen(door, method, headers, claims, proof.as_ref()), next))
    }
}

/// What came in, without what could be used again.
fn seen(door: &Door, method: &str, headers: &HeaderMap, claims: Map<String, Value>, proof: Option<&check::Proof>) -> Value {
    let mut chain = Vec::new();
    let mut act = claims.get("act");
    while let Some(actor) = act {
        let mut flat = actor.as_object().cloned().unwrap_or_default();
        flat.shift_remove("act");
        chain.push(Value::Object(flat));
        act = actor.get("act");
    }
    let told: Map<String, Value> = TOLD_HEADERS.iter().map(|name| ((*name).to_owned(), json!(headers.contains_key(*name)))).collect();
    json!({
        "api": door.audience,
        "method": method,
        "scheme": door.scheme.word(),
        "user": claims.contains_key(check::PID),
        // Outermost, which is newest, first.
        "act_chain": chain,
        "headers": told,
        "dpop": proof.map(|proof| json!({"jkt": proof.jkt, "jti": proof.jti})),
        "claims": claims
    })
}

impl Refused {
    /// §2.11.10
    fn status(&self) -> StatusCode {
        match self.error {
            Some("insufficient_scope") => StatusCode::FORBIDDEN,
            Some("temporarily_unavailable") => StatusCode::SERVICE_UNAVAILABLE,
            Some(_) | None => StatusCode::UNAUTHORIZED,
        }
    }

    fn told(&self) -> Value {
        json!({"error": self.error.unwrap_or("unauthorized"), "error_description": self.why})
    }

    /// `WWW-Authenticate`. RFC 6750 §3, RFC 9449 §7.1.
    fn challenge(&self, scheme: Scheme) -> Option<HeaderValue> {
        let mut challenge = vec![];
        if let Some(error) = self.error {
            challenge.push(format!(r#"error="{error}", error_description="{}""#, self.why));
        }
        if let Some(scope) = self.scope {
            challenge.push(format!(r#"scope="{scope}""#));
        }
        if scheme == Scheme::Dpop {
            challenge.push(format!(r#"algs="{}""#, check::ALGS.map(crate::jose::Alg::as_str).join(" ")));
        }
        let value = HeaderValue::try_from(format!("{} {}", scheme.word(), challenge.join(", ")).trim()).ok();
        value.filter(|_| self.status() != StatusCode::SERVICE_UNAVAILABLE)
    }
}
