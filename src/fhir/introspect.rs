//! What a token stands for, asked of the authorization server and of nobody else. RFC 7662, SAL §5.6, fhir-server.md §12.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::FhirConfig;
use super::context::{AccessContext, Binding, Told};
use super::refusal::{Refusal, TokenFault, Upstream};
use crate::protocol::dpop::Scheme;
use crate::protocol::ids::FhirBase;
use crate::secret::{Digest, Secret};
use crate::time::{Clock, UnixTime};

/// How far our clock and the authorization server's may differ. fhir-server.md §12.
pub(super) const SKEW: Duration = Duration::from_secs(5);
/// How many tokens are remembered at once.
const REMEMBERED: usize = 10_000;

/// RFC 7662 §2.2 with SMART's additions. What this server does not use is not read.
#[derive(Deserialize)]
pub(super) struct Answer {
    active: bool,
    scope: Option<String>,
    client_id: Option<String>,
    exp: Option<i64>,
    iss: Option<String>,
    aud: Option<Value>,
    patient: Option<String>,
    encounter: Option<String>,
    purpose_of_use: Option<String>,
    #[serde(rename = "fhirUser")]
    fhir_user: Option<String>,
    cnf: Option<Value>,
}

#[derive(Debug)]
struct Remembered {
    asked_at: UnixTime,
    context: Arc<AccessContext>,
}

/// Asks the introspection endpoint, and remembers good answers for a little while.
pub struct Introspector {
    http: reqwest::Client,
    endpoint: String,
    /// RFC 6749 §2.3.1: both halves are form-encoded before they go into Basic.
    client_id: String,
    client_secret: Secret<String>,
    issuer: String,
    base: FhirBase,
    /// How many seconds a positive answer is used again; zero asks every time.
    lifetime_s: AtomicU64,
    remembered: quick_cache::sync::Cache<[u8; 32], Arc<Remembered>>,
    clock: Arc<dyn Clock>,
}

impl Introspector {
    pub fn new(config: &FhirConfig, http: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        Self {
            http,
            endpoint: config.introspection_endpoint.clone(),
            client_id: encoded(&config.client_id),
            client_secret: Secret::new(encoded(config.client_secret.expose())),
            issuer: config.issuer.as_str().to_owned(),
            base: config.base.clone(),
            lifetime_s: AtomicU64::new(config.introspection_cache.as_secs()),
            remembered: quick_cache::sync::Cache::new(REMEMBERED),
            clock,
        }
    }

    /// # Errors
    /// [`Refusal::Token`] for a token that is not good here; [`Refusal::Unavailable`] where nobody can say: never open.
    pub async fn context(&self, token: &Secret<String>) -> Result<Arc<AccessContext>, Refusal> {
        let name = *token.digest().bytes();
        let now = self.clock.now();
        if let Some(known) = self.remembered.get(&name) {
            let age = now.since(known.asked_at);
            if age >= 0 && u64::try_from(age).is_ok_and(|age| age < self.lifetime_s()) && now < known.context.expires_at {
                return Ok(Arc::clone(&known.context));
            }
        }
        let context = Arc::new(read_answer(self.ask(token).await?, &self.issuer, &self.base, now)?);
        self.remembered.insert(name, Arc::new(Remembered { asked_at: now, context: Arc::clone(&context) }));
        Ok(context)
    }

    /// What was last known of a token, however long ago: the fault `stale_introspection`. Asks where nothing is known.
    ///
    /// # Errors
    /// As [`Introspector::context`].
    pub async fn stale_context(&self, token: &Secret<String>) -> Result<Arc<AccessContext>, Refusal> {
        match self.remembered.get(token.digest().bytes()) {
            Some(known) => Ok(Arc::clone(&known.context)),
            None => self.context(token).await,
        }
    }

    /// How many seconds a positive answer is used again.
    pub fn lifetime_s(&self) -> u64 {
        self.lifetime_s.load(Ordering::Relaxed)
    }

    pub fn set_lifetime_s(&self, seconds: u64) {
        self.lifetime_s.store(seconds, Ordering::Relaxed);
    }

    /// Forgets every answer.
    pub fn forget(&self) {
        self.remembered.clear();
    }

    async fn ask(&self, token: &Secret<String>) -> Result<Answer, Refusal> {
        let unavailable = |why: String| {
            tracing::error!(endpoint = %self.endpoint, %why, "introspection gives no answer");
            Refusal::Unavailable(Upstream::Introspection)
        };
        let form = [("token", token.expose().as_str()), ("token_type_hint", "access_token")];
        let request =
            self.http.post(&self.endpoint).basic_auth(&self.client_id, Some(self.client_secret.expose())).header("accept", "application/json").form(&form);
        let response = request.send().await.map_err(|why| unavailable(why.without_url().to_string()))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(unavailable(format!("status {}", response.status())));
        }
        let body = response.bytes().await.map_err(|why| unavailable(why.without_url().to_string()))?;
        serde_json::from_slice(&body).map_err(|why| unavailable(format!("unreadable answer at line {} column {}", why.line(), why.column())))
    }
}

/// What an answer means for this base.
pub(super) fn read_answer(answer: Answer, issuer: &str, base: &FhirBase, now: UnixTime) -> Result<AccessContext, Refusal> {
    if !answer.active {
        return Err(Refusal::Token(TokenFault::Inactive));
    }
    // SAL §5.6: `scope`, `client_id` and `exp` are always there; nothing is guessed where they are not.
    let (Some(scope), Some(client_id), Some(exp)) = (answer.scope, answer.client_id, answer.exp) else {
        tracing::error!(%issuer, "an active token was introspected without scope, client_id or exp");
        return Err(Refusal::Unavailable(Upstream::Introspection));
    };
    let expires_at = UnixTime(exp);
    if now >= expires_at + SKEW {
        return Err(Refusal::Token(TokenFault::Expired));
    }
    if answer.iss.is_some_and(|iss| iss != issuer) {
        return Err(Refusal::Token(TokenFault::Issuer));
    }
    // SAL-202: a token for another server is no token here.
    let for_us = |aud: &Value| aud.as_str().is_some_and(|aud| base.is_named_by(aud));
    let meant = match &answer.aud {
        Some(Value::Array(all)) => all.iter().any(for_us),
        Some(one) => for_us(one),
        None => false,
    };
    if !meant {
        return Err(Refusal::Token(TokenFault::Audience));
    }
    let told = Told {
        client_id: &client_id,
        scope: &scope,
        patient: answer.patient.as_deref(),
        encounter: answer.encounter.as_deref(),
        purpose: answer.purpose_of_use.as_deref(),
        fhir_user: answer.fhir_user.as_deref(),
        cnf: answer.cnf.as_ref(),
    };
    Ok(AccessContext::new(told, expires_at, base, now))
}

/// The key whose proof must come with the token, if any: a bound token is nothing without the proof of its key, and a proof is worth
/// nothing without a bound token. RFC 9449 §7.1, §7.2.
///
/// # Errors
/// [`TokenFault`], for 401.
pub fn check_binding(scheme: Scheme, context: &AccessContext, must_be_bound: bool) -> Result<Option<&str>, TokenFault> {
    match (scheme, &context.binding) {
        (Scheme::Bearer, Binding::Nothing) if must_be_bound => Err(TokenFault::MustBeBound),
        (Scheme::Bearer, Binding::Nothing) => Ok(None),
        (Scheme::DPoP, Binding::Key(jkt)) => Ok(Some(jkt)),
        (Scheme::Bearer, Binding::Key(_)) => Err(TokenFault::Bound),
        (Scheme::DPoP, Binding::Nothing) => Err(TokenFault::NotBound),
        (Scheme::Bearer | Scheme::DPoP, Binding::Unseen) => Err(TokenFault::BoundOtherwise),
    }
}

/// The token of an `Authorization` header. RFC 6750 §2.1; the scheme in any case (RFC 9110 §11.1).
///
/// # Errors
/// [`Refusal::NoToken`] where there is none or another scheme; [`Refusal::Token`] where it cannot be read.
pub fn read_authorization(headers: &http::HeaderMap) -> Result<(Scheme, Secret<String>), Refusal> {
    let mut all = headers.get_all(http::header::AUTHORIZATION).iter();
    let value = all.next().ok_or(Refusal::NoToken)?;
    let malformed = Refusal::Token(TokenFault::Malformed);
    if all.next().is_some() {
        return Err(malformed);
    }
    let text = value.to_str().map_err(|_| malformed.clone())?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        _ if scheme.eq_ignore_ascii_case("dpop") => Scheme::DPoP,
        _ => return Err(Refusal::NoToken),
    };
    let token = token.trim_matches(' ');
    // RFC 6750 §2.1, b64token.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    if token.is_empty() || token.len() > 8192 || !token.bytes().all(plain) {
        return Err(malformed);
    }
    Ok((scheme, Secret::new(token.to_owned())))
}

/// A digest to compare a bearer of the operations listener with, without telling by its time where they differ.
pub fn bearer_is(headers: &http::HeaderMap, wanted: Digest) -> bool {
    matches!(read_authorization(headers), Ok((Scheme::Bearer, token)) if token.digest() == wanted)
}
