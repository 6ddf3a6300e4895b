//! Another SMART issuer, as we ask it: where its endpoints are, its keys, and whether a token of its is live. RFC 8414 §3, RFC 7662;
//! DESIGN §3, Token exchange (d).

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::ACCEPT;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Semaphore};
use url::Url;

use super::get::{Getter, reason};
use super::outgoing::{self, BodyError};
use super::{FetchError, FetchLimits, JwksCache};
use crate::jose::JwkSet;
use crate::protocol::ids::{ClientId, Issuer};
use crate::secret::Secret;
use crate::time::{Clock, UnixTime};
use crate::trace;

/// How long the metadata are used.
const METADATA_KEPT: Duration = Duration::from_secs(3600);

/// A failure is repeated this long without asking again, so that a dead issuer does not stall every request.
const FAILURE_KEPT: Duration = Duration::from_secs(5);

/// Introspections of one issuer at a time; those beyond wait. `reference/helseid.md` §6.8 T23.
const AT_ONCE: usize = 32;

/// An idle connection is given up before most servers would: what they close first fails the next request.
const KEPT_IDLE: Duration = Duration::from_secs(15);

/// Why the issuer did not tell. All of it is 503 to whoever needed the answer: nothing is taken for "inactive".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerDown {
    #[error("the trusted issuer's metadata: {0}")]
    Metadata(FetchError),
    #[error("the trusted issuer's metadata are refused: {0}")]
    Refused(MetadataFault),
    #[error("the trusted issuer's keys: {0}")]
    Keys(FetchError),
    #[error("introspection at the trusted issuer: {0}")]
    Introspection(FetchError),
    #[error("introspection at the trusted issuer: the answer is not one")]
    Unreadable,
}

/// What is wrong with a metadata document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataFault {
    #[error("not a JSON object")]
    Malformed,
    /// RFC 8414 §3.3: byte for byte.
    #[error("`issuer` is another one")]
    Issuer,
    #[error("`{0}` is missing, or not at the issuer's own origin")]
    Endpoint(&'static str),
}

/// The endpoints we use. Each is at the issuer's own origin: a document cannot send our secret, or its users' tokens, elsewhere.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub(super) jwks: String,
    pub(super) introspection: Url,
}

/// What came of asking for the metadata, and when.
type Known = (UnixTime, Result<Arc<Endpoints>, PeerDown>);

/// A trusted issuer. What it says is kept apart from every other one's: a `kid` is never looked for at two (T4).
pub struct Peer {
    issuer: Issuer,
    client_id: String,
    client_secret: Secret<String>,
    limits: FetchLimits,
    getter: Getter,
    http: Client,
    keys: JwksCache,
    turns: Semaphore,
    clock: Arc<dyn Clock>,
    /// Held during a fetch: whoever wants the document meanwhile waits for it.
    metadata: Mutex<Option<Known>>,
}

impl Peer {
    /// The issuer, and who we are there.
    pub fn new(issuer: &Issuer, client_id: &ClientId, client_secret: &Secret<String>, clock: Arc<dyn Clock>) -> Self {
        // RFC 6749 §2.3.1: both halves are form-encoded before they go into Basic.
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        // Where it is is the operator's word, so it may be in a private network.
        let limits = FetchLimits { allow_private: true, allow_loopback: issuer.is_loopback(), ..FetchLimits::default() };
        Self {
            issuer: issuer.clone(),
            client_id: encoded(client_id.as_str()),
            client_secret: Secret::new(encoded(client_secret.expose())),
            getter: Getter::new(limits.clone()),
            http: outgoing::client(|builder| builder.pool_idle_timeout(KEPT_IDLE)),
            keys: JwksCache::new(limits.clone(), Arc::clone(&clock)),
            limits,
            turns: Semaphore::new(AT_ONCE),
            clock,
            metadata: Mutex::default(),
        }
    }

    /// The issuer's keys; fetched once more where a kept set lacks `kid`.
    ///
    /// # Errors
    /// [`PeerDown`]
    pub async fn keys(&self, kid: Option<&str>) -> Result<Arc<JwkSet>, PeerDown> {
        let endpoints = self.endpoints().await?;
        self.keys.keys(&endpoints.jwks, kid).await.map_err(PeerDown::Keys)
    }

    /// What the issuer says of a token; `None` for one that is not active. RFC 7662 §2.2.
    ///
    /// # Errors
    /// [`PeerDown`], also where it does not take our credentials.
    pub async fn introspect(&self, token: &Secret<String>) -> Result<Option<Map<String, Value>>, PeerDown> {
        let endpoints = self.endpoints().await?;
        let timeout = || PeerDown::Introspection(FetchError::Timeout);
        let _turn = tokio::time::timeout(self.limits.timeout, self.turns.acquire()).await.map_err(|_| timeout())?.map_err(|_| timeout())?;
        let body = tokio::time::timeout(self.limits.timeout, trace::call("token_exchange.introspect_subject", self.ask(&endpoints.introspection, token)))
            .await
            .unwrap_or(Err(FetchError::Timeout));
        let answer: Map<String, Value> = serde_json::from_slice(&body.map_err(PeerDown::Introspection)?).map_err(|_| PeerDown::Unreadable)?;
        match answer.get("active").and_then(Value::as_bool) {
            Some(true) => Ok(Some(answer)),
            Some(false) => Ok(None),
            None => Err(PeerDown::Unreadable),
        }
    }

    async fn ask(&self, endpoint: &Url, token: &Secret<String>) -> Result<Vec<u8>, FetchError> {
        let form = [("token", token.expose().as_str()), ("token_type_hint", "access_token")];
        let request = self.http.post(endpoint.clone()).basic_auth(&self.client_id, Some(self.client_secret.expose()));
        let request = request.header(ACCEPT, "application/json").headers(trace::onward()).form(&form);
        let again = request.try_clone();
        let response = match (request.send().await.map_err(|error| reason(&error)), again) {
            // A kept connection that the issuer closed just then. Asking changes nothing, so it may be repeated. RFC 9110 §9.2.2.
            (Err(FetchError::Broken), Some(again)) => again.send().await.map_err(|error| reason(&error))?,
            (outcome, _) => outcome?,
        };
        match response.status().as_u16() {
            200 => {}
            300..=399 => return Err(FetchError::Redirect),
            other => return Err(FetchError::Status(other)),
        }
        outgoing::read_body(response, self.limits.max_bytes).await.map_err(|error| match error {
            BodyError::TooLarge => FetchError::TooLarge,
            BodyError::Http(error) => reason(&error),
        })
    }

    async fn endpoints(&self) -> Result<Arc<Endpoints>, PeerDown> {
        let mut held = self.metadata.lock().await;
        let now = self.clock.now();
        if let Some((at, known)) = &*held {
            let kept = if known.is_ok() { METADATA_KEPT } else { FAILURE_KEPT };
            // A clock that was moved back is outside of it.
            if u64::try_from(now.since(*at)).is_ok_and(|passed| passed < kept.as_secs()) {
                return known.clone();
            }
        }
        let outcome = self.fetch().await.map(Arc::new);
        if let Err(error) = &outcome {
            tracing::warn!(issuer = %self.issuer, %error, "a trusted issuer cannot be asked");
        }
        *held = Some((self.clock.now(), outcome.clone()));
        outcome
    }

    /// RFC 8414 §3.1 first; an issuer that knows only OpenID Connect has the other (§5).
    async fn fetch(&self) -> Result<Endpoints, PeerDown> {
        let oauth = format!("{}/.well-known/oauth-authorization-server{}", self.issuer.origin(), self.issuer.path());
        let document = match self.get(&oauth).await {
            Err(FetchError::Status(_)) => self.get(&self.issuer.at("/.well-known/openid-configuration")).await,
            outcome => outcome,
        };
        endpoints(&document.map_err(PeerDown::Metadata)?, &self.issuer).map_err(PeerDown::Refused)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        self.getter.get(self.getter.check(url)?).await.map(|document| document.body)
    }
}

/// Endpoints and nothing else: what the document says of algorithms or authentication changes nothing.
pub(super) fn endpoints(document: &[u8], issuer: &Issuer) -> Result<Endpoints, MetadataFault> {
    let document: Map<String, Value> = serde_json::from_slice(document).map_err(|_| MetadataFault::Malformed)?;
    if document.get("issuer").and_then(Value::as_str) != Some(issuer.as_str()) {
        return Err(MetadataFault::Issuer);
    }
    let origin = issuer.url().origin();
    let endpoint = |name: &'static str| {
        let url = document.get(name).and_then(Value::as_str).and_then(|text| Url::parse(text).ok());
        let own = |url: &Url| url.origin() == origin && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        url.filter(own).ok_or(MetadataFault::Endpoint(name))
    };
    Ok(Endpoints { jwks: endpoint("jwks_uri")?.to_string(), introspection: endpoint("introspection_endpoint")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_of_another_issuer_or_with_endpoints_elsewhere_is_refused() {
        let issuer = Issuer::parse("https://auth.example/epj").unwrap();
        let good =
            json!({ "issuer": "https://auth.example/epj", "jwks_uri": "https://auth.example/keys", "introspection_endpoint": "https://auth.example/epj/i" });
        let read = |document: &Value| endpoints(document.to_string().as_bytes(), &issuer).map(|found| (found.jwks, found.introspection.to_string()));
        assert_eq!(read(&good), Ok(("https://auth.example/keys".to_owned(), "https://auth.example/epj/i".to_owned())));
        for (name, value, fault) in [
            ("issuer", "https://auth.example/epj/", MetadataFault::Issuer),
            ("issuer", "https://AUTH.example/epj", MetadataFault::Issuer),
            ("issuer", "https://evil.example", MetadataFault::Issuer),
            ("jwks_uri", "https://evil.example/keys", MetadataFault::Endpoint("jwks_uri")),
            ("jwks_uri", "http://auth.example/keys", MetadataFault::Endpoint("jwks_uri")),
            ("introspection_endpoint", "https://auth.example:444/i", MetadataFault::Endpoint("introspection_endpoint")),
            ("introspection_endpoint", "https://me@auth.example/i", MetadataFault::Endpoint("introspection_endpoint")),
            ("introspection_endpoint", "/i", MetadataFault::Endpoint("introspection_endpoint")),
        ] {
            let mut wrong = good.clone();
            wrong[name] = json!(value);
            assert_eq!(read(&wrong), Err(fault), "{name} {value}");
        }
        assert_eq!(read(&json!([])), Err(MetadataFault::Malformed));
    }
}
