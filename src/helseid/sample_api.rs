//! A resource server behind the mock: APIs as the registrations of §7.4 have them, that take tokens by the rules of §2.11 and tell what they
//! saw. M14. It is a party of its own: it knows the issuer's name and reads its keys over HTTP.

mod check;
mod keys;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::kept::Shelf;
use crate::protocol::ids::Issuer;
use crate::time::Clock;
use check::Refused;
use keys::Keys;

pub use check::{Scheme, Windows};

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

/// Headers some national APIs want: that they came is told, not what was in them. §3.4.
const TOLD_HEADERS: [&str; 4] = ["nhn-patient-nin", "nhn-user-role", "nhn-source-system", "nhn-event-id"];

#[derive(Clone, Debug)]
pub struct SampleApiSettings {
    /// Whose tokens are taken.
    pub issuer: Issuer,
    /// Where this API is reached, without a path: what `htu` must begin with.
    pub base: String,
    pub windows: Windows,
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
    let mut response = match api.let_in(door, request.method().as_str(), &url, request.headers()).await {
        Ok(seen) => Json(seen).into_response(),
        Err(refused) => refused.response(door.scheme),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl SampleApi {
    async fn let_in(&self, door: &Door, method: &str, url: &str, headers: &HeaderMap) -> Result<Value, Refused> {
        let now = self.clock.now();
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
                if !self.proofs.put_new(&format!("{jkt} {}", proof.jti), (), proof.until, now) {
                    return Err(Refused::proof("the proof was used before"));
                }
                Some(proof)
            }
        };
        check::authority(&claims, door)?;
        Ok(seen(door, method, headers, claims, proof.as_ref()))
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
    /// RFC 6750 §3, RFC 9449 §7.1; §2.11.10.
    fn response(self, scheme: Scheme) -> Response {
        let status = match self.error {
            Some("insufficient_scope") => StatusCode::FORBIDDEN,
            Some("temporarily_unavailable") => StatusCode::SERVICE_UNAVAILABLE,
            Some(_) | None => StatusCode::UNAUTHORIZED,
        };
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
        let body = Json(json!({"error": self.error.unwrap_or("unauthorized"), "error_description": self.why}));
        let mut response = (status, body).into_response();
        if status != StatusCode::SERVICE_UNAVAILABLE
            && let Ok(value) = HeaderValue::try_from(format!("{} {}", scheme.word(), challenge.join(", ")).trim())
        {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }
}
