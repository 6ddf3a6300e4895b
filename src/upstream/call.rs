//! One call to the provider: as many HTTP attempts as are safe, each with an assertion and a proof of its own.
//! `reference/helseid.md` §2.5–2.7; RFC 9449 §8.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{ACCEPT, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::RequestBuilder;
use serde_json::{Map, Value};

use super::Upstream;
use super::details::Details;
use super::discovery::Discovery;
use super::error::{AnswerFault, Down, Hid, Refusal, UpstreamError};
use super::signed::{ASSERTION_TYPE, ProofFor, assertion, proof};
use crate::fetch::outgoing::{self, BodyError};
use crate::jose::SigningKey;
use crate::secret::Secret;
use crate::trace;

/// The longest answer: three tokens of 16 KiB and what is around them.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The first wait before a repeated attempt, where the provider names none; each further one is as much longer.
const SHORT_WAIT: Duration = Duration::from_millis(100);

/// No nonce is longer (RFC 9449 §8.1 sets no bound).
const LONGEST_NONCE: usize = 512;

/// The DPoP nonce header. RFC 9449 §8.
const DPOP_NONCE: &str = "dpop-nonce";

/// Whether a call may be made twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Safety {
    /// Nothing there is used up.
    Repeatable,
    /// It uses up a code or a refresh token: without a readable answer nobody knows whether it did.
    Once,
}

#[derive(Clone, Copy)]
pub(super) enum Endpoint {
    Par,
    Token,
    Revocation,
}

impl Endpoint {
    /// The name of its span.
    fn step(self) -> &'static str {
        match self {
            Self::Par => "oidc.upstream.par",
            Self::Token => "oidc.upstream.token",
            Self::Revocation => "oidc.upstream.revocation",
        }
    }
}

/// Whose key a token shall be bound to.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// Ours: each attempt gets a proof of its own.
    Key(&'a SigningKey),
    /// Somebody else's, who made one proof for the provider's token endpoint. `reference/helseid.md` §6.4, `handover`.
    Proof { proof: &'a Secret<String>, jkt: &'a str },
}

impl Holder<'_> {
    /// The thumbprint the token must name.
    pub(super) fn jkt(&self) -> String {
        match self {
            Self::Key(key) => key.public_jwk().thumbprint(),
            Self::Proof { jkt, .. } => (*jkt).to_owned(),
        }
    }
}

/// A form to send.
pub(super) struct Call<'a> {
    pub endpoint: Endpoint,
    /// Without what says who we are.
    pub form: Vec<(&'a str, &'a str)>,
    pub details: &'a Details,
    /// Whose key the call proves, where it needs to.
    pub holder: Option<Holder<'a>>,
    pub safety: Safety,
}

/// An answer that was read to its end.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Why one attempt gave no answer.
enum Missed {
    /// The request never left.
    NotSent(Down),
    /// It left, and what became of it is not known.
    Lost(Down),
}

impl Missed {
    fn why(&self) -> Down {
        match self {
            Self::NotSent(down) | Self::Lost(down) => *down,
        }
    }
}

/// The latest nonce of each endpoint. Endpoints are few and come from the metadata of one issuer.
#[derive(Default)]
pub(super) struct Nonces(Mutex<HashMap<String, String>>);

impl Nonces {
    pub(super) fn latest(&self, url: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    /// Keeps the nonce an answer brought, also a success (RFC 9449 §8.2); whether there was one.
    pub(super) fn keep(&self, url: &str, headers: &HeaderMap) -> bool {
        let usable = |nonce: &&str| !nonce.is_empty() && nonce.len() <= LONGEST_NONCE;
        let Some(nonce) = headers.get(DPOP_NONCE).and_then(|value| value.to_str().ok()).filter(usable) else { return false };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(url.to_owned(), nonce.to_owned());
        true
    }
}

impl Endpoint {
    /// Its name, for what is counted.
    const fn word(self) -> &'static str {
        match self {
            Self::Par => "par",
            Self::Token => "token",
            Self::Revocation => "revocation",
        }
    }
}

impl Discovery {
    fn endpoint(&self, which: Endpoint) -> Option<&str> {
        match which {
            Endpoint::Par => Some(&self.par),
            Endpoint::Token => Some(&self.token),
            Endpoint::Revocation => self.revocation.as_deref(),
        }
    }
}

impl Upstream {
    /// Makes a call; the members of the answer to a success. No member of it was looked at.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Map<String, Value>, UpstreamError> {
        let discovery = self.discovery().await?;
        let Some(url) = discovery.endpoint(call.endpoint) else { return Ok(Map::new()) };
        let _turn = self.turn().await?;
        let patience = &self.inner.rules.patience;
        let allowed = match call.safety {
            Safety::Repeatable => patience.retries,
            // Said in full that it was not done: once more, and not again.
            Safety::Once => patience.retries.min(1),
        };
        let mut retries = 0;
        let mut nonce_asked = false;
        loop {
            self.inner.breaker.enter(self.now()).map_err(UpstreamError::Down)?;
            let request = self.request(url, call)?;
            let outcome = trace::call(call.endpoint.step(), self.attempt(call.endpoint.word(), request)).await;
            self.judge(&outcome);
            let wait = match outcome {
                Ok(answer) => {
                    let fresh = self.inner.nonces.keep(url, &answer.headers);
                    if answer.is_busy() {
                        answer.retry_after(retries, patience.longest_wait).filter(|_| retries < allowed).ok_or(UpstreamError::Down(answer.down()))?
                    } else if answer.asks_for_nonce() {
                        // One proof without the right nonce, one with it. RFC 9449 §8; `reference/helseid.md` §7.6, nonce loop.
                        if let (Some(Holder::Proof { .. }), Some(nonce)) = (call.holder, self.inner.nonces.latest(url).filter(|_| fresh)) {
                            return Err(UpstreamError::NonceWanted(nonce));
                        }
                        if nonce_asked || !fresh || call.holder.is_none() {
                            tracing::error!("the identity provider asks for a nonce after it was given one");
                            return Err(UpstreamError::NonceLoop);
                        }
                        nonce_asked = true;
                        continue;
                    } else {
                        return answer.read(call.safety);
                    }
                }
                Err(Missed::NotSent(Down::Unreachable)) if retries < allowed => SHORT_WAIT * (retries + 1),
                Err(Missed::NotSent(down)) => return Err(UpstreamError::Down(down)),
                Err(Missed::Lost(down)) if call.safety == Safety::Once => return Err(UpstreamError::OutcomeUnknown(down)),
                Err(Missed::Lost(down)) => return Err(UpstreamError::Down(down)),
            };
            retries += 1;
            tokio::time::sleep(wait.min(patience.longest_wait)).await;
        }
    }

    /// One attempt's request: nothing in it was sent before.
    fn request(&self, url: &str, call: &Call<'_>) -> Result<RequestBuilder, UpstreamError> {
        let inner = &*self.inner;
        let now = self.now();
        let signing = |error| {
            tracing::error!(%error, "nothing can be signed for the identity provider");
            UpstreamError::Signing
        };
        let assertion = assertion(&inner.rules, call.details, now, &*inner.random).map_err(signing)?;
        let mut form = call.form.clone();
        form.extend([("client_id", inner.rules.client_id.as_str()), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.expose())]);
        let request = inner.http.post(url).form(&form);
        let key = match call.holder {
            None => return Ok(request),
            Some(Holder::Proof { proof, .. }) => return Ok(request.header("DPoP", proof.expose())),
            Some(Holder::Key(key)) => key,
        };
        let nonce = inner.nonces.latest(url);
        let what = ProofFor { method: "POST", url, nonce: nonce.as_deref(), access_token: None };
        Ok(request.header("DPoP", proof(key, &what, now, &*inner.random).map_err(signing)?))
    }

    /// A turn among the calls under way. `reference/helseid.md` T23, bulkhead.
    pub(super) async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, UpstreamError> {
        match tokio::time::timeout(self.inner.rules.patience.attempt, self.inner.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Down(Down::Full)),
        }
    }

    /// A GET that may be repeated and is not: documents and userinfo.
    pub(super) async fn get(&self, operation: &'static str, request: RequestBuilder) -> Result<Answer, UpstreamError> {
        let _turn = self.turn().await?;
        self.inner.breaker.enter(self.now()).map_err(UpstreamError::Down)?;
        let outcome = trace::call("oidc.upstream.get", self.attempt(operation, request)).await;
        self.judge(&outcome);
        outcome.map_err(|missed| UpstreamError::Down(missed.why()))
    }

    async fn attempt(&self, operation: &'static str, request: RequestBuilder) -> Result<Answer, Missed> {
        let (limit, began) = (self.inner.rules.patience.attempt, Instant::now());
        let answer = tokio::time::timeout(limit, unhurried(request)).await.unwrap_or(Err(Missed::Lost(Down::Timeout)));
        if let Some(metrics) = self.inner.metrics.get() {
            let outcome = match &answer {
                Ok(answer) if answer.status.is_success() => "ok",
                Ok(answer) if answer.status.is_client_error() => "refused",
                Ok(answer) => answer.down().word(),
                Err(missed) => missed.why().word(),
            };
            metrics.upstream(operation, outcome, began.elapsed());
        }
        answer
    }

    /// What an attempt says about the provider's health, and its clock's.
    fn judge(&self, outcome: &Result<Answer, Missed>) {
        let now = self.now();
        match outcome {
            Ok(answer) => {
                if let Some(date) = answer.date() {
                    self.inner.drift.note(date - now.0, self.inner.rules.leeway);
                }
                if answer.status.is_server_error() { self.inner.breaker.failed(now) } else { self.inner.breaker.succeeded() }
            }
            Err(missed) => {
                tracing::warn!(issuer = %self.inner.rules.issuer, error = %missed.why(), "a call to the identity provider failed");
                self.inner.breaker.failed(now);
            }
        }
    }
}

async fn unhurried(request: RequestBuilder) -> Result<Answer, Missed> {
    let sent = request.header(ACCEPT, HeaderValue::from_static("application/json")).headers(trace::onward()).send().await;
    let response = sent.map_err(|error| {
        let down = outgoing::failure(&error).into();
        if error.is_connect() || error.is_builder() { Missed::NotSent(down) } else { Missed::Lost(down) }
    })?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = outgoing::read_body(response, LONGEST_ANSWER).await.map_err(|error| match error {
        BodyError::TooLarge => Missed::Lost(Down::TooLarge),
        BodyError::Http(error) => Missed::Lost(outgoing::failure(&error).into()),
    })?;
    Ok(Answer { status, headers, body })
}

impl Answer {
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Says that nothing was done, and to come back. RFC 9110 §15.6.4, RFC 6585 §4.
    fn is_busy(&self) -> bool {
        matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
    }

    pub(super) fn down(&self) -> Down {
        if self.status.is_redirection() { Down::Redirect } else { Down::Status(self.status.as_u16()) }
    }

    /// How long to wait before the next attempt; `None` where that is longer than anybody here waits.
    fn retry_after(&self, retries: u32, longest: Duration) -> Option<Duration> {
        let Some(value) = self.headers.get(RETRY_AFTER) else { return Some(SHORT_WAIT * (retries + 1)) };
        // A date is far away or past; both are not worth reading.
        let wait = value.to_str().ok().and_then(|text| text.trim().parse().ok()).map(Duration::from_secs)?;
        (wait <= longest).then_some(wait)
    }

    pub(super) fn asks_for_nonce(&self) -> bool {
        self.status.is_client_error() && self.json().is_some_and(|body| body.get("error").and_then(Value::as_str) == Some("use_dpop_nonce"))
    }

    fn date(&self) -> Option<i64> {
        let text = self.headers.get(DATE)?.to_str().ok()?;
        Some(DateTimeParser::new().parse_timestamp(text).ok()?.as_second())
    }

    pub(super) fn is_json(&self) -> bool {
        let essence = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|text| text.split(';').next());
        essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    }

    pub(super) fn json(&self) -> Option<Map<String, Value>> {
        if self.is_json() { serde_json::from_slice(&self.body).ok() } else { None }
    }

    pub(super) fn read(self, safety: Safety) -> Result<Map<String, Value>, UpstreamError> {
        if self.status.is_success() {
            // A revocation is answered with nothing. RFC 7009 §2.2.
            if self.body.is_empty() {
                return Ok(Map::new());
            }
            return self.json().ok_or(AnswerFault::NotJson.into());
        }
        if self.status.is_client_error()
            && let Some(refusal) = self.refusal()
        {
            return Err(UpstreamError::Refused(refusal));
        }
        // A gateway's answer says nothing of what happened behind it.
        Err(match safety {
            Safety::Once => UpstreamError::OutcomeUnknown(self.down()),
            Safety::Repeatable => UpstreamError::Down(self.down()),
        })
    }

    /// The registered code of an error answer. RFC 6749 §5.2.
    fn refusal(&self) -> Option<Refusal> {
        use Refusal as R;
        let body = self.json()?;
        let code = body.get("error")?.as_str()?;
        let description = body.get("error_description").and_then(Value::as_str).unwrap_or_default();
        tracing::debug!(status = self.status.as_u16(), code = %printable(code), description = %printable(description), "the identity provider refused");
        if let Some(hid) = Hid::find(description) {
            return Some(R::Organisation(hid));
        }
        Some(match code {
            "access_denied" if description.contains("HID-DOUBLE-STRUCTURE") => R::DoubleStructure,
            "invalid_request" => R::InvalidRequest,
            "invalid_client" => R::InvalidClient,
            "invalid_grant" => R::InvalidGrant,
            "unauthorized_client" => R::UnauthorizedClient,
            "unsupported_grant_type" => R::UnsupportedGrantType,
            "invalid_scope" => R::InvalidScope,
            "invalid_target" => R::InvalidTarget,
            "invalid_dpop_proof" => R::InvalidProof,
            "access_denied" => R::AccessDenied,
            _ => R::Other(self.status.as_u16()),
        })
    }
}

/// A text of the provider's for the debug log: short, and without anything that could be a token, a secret or a number of a person.
pub(super) fn printable(text: &str) -> String {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/'))).filter(|word| !word.is_empty());
    let telling = |word: &&str| word.len() <= 24 && word.bytes().filter(u8::is_ascii_digit).count() < 6;
    let kept: Vec<&str> = words.map(|word| Some(word).filter(telling).unwrap_or("…")).take(20).collect();
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_gets_words_and_no_numbers_or_tokens() {
        assert_eq!(printable("HID-1001: organisation 310441600 is not listed"), "HID-1001: organisation … is not listed");
        assert_eq!(printable("user 12837512040\nforged line"), "user … forged line");
        assert_eq!(printable("eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJ"), "…");
        assert!(printable(&"word ".repeat(1000)).len() < 200);
    }
}
