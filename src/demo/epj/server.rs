//! The EPJ's side of the launch API: its own token, handing over a context, and saying that the doctor has gone. DESIGN §3.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::demo::wire::{Answer, Wire, WireError, basic, bearer, origin_of, secret_at, text_at};
use crate::secret::Secret;
use crate::time::{Clock, UnixTime};

/// How long before its end a token is no longer used, in seconds.
pub(super) const MARGIN_S: i64 = 10;

/// What the EPJ hands over. Members that are `None` are not sent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Handover {
    pub client_id: String,
    pub patient: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encounter: Option<String>,
    pub fhir_user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub need_patient_banner: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smart_style_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fhir_context: Vec<ContextItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// One `fhirContext` item. SAL-074.
#[derive(Clone, Debug, Serialize)]
pub struct ContextItem {
    pub reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// Why a launch was not handed over, or an end not told.
#[derive(Debug, thiserror::Error)]
pub enum EhrError {
    #[error("the authorization server cannot be reached: {0}")]
    Unreachable(#[from] WireError),
    #[error("the authorization server is not ready: HTTP {0}")]
    NotReady(u16),
    #[error("the EPJ's own credentials are not accepted")]
    Credentials,
    #[error("the EPJ may not create launches")]
    NotAllowed,
    #[error("the request was malformed")]
    Malformed { said: Option<String> },
    #[error("a member of the handover was refused")]
    Member { member: String, said: Option<String> },
    #[error("the answer to {0} was not understood")]
    Answer(&'static str),
}

/// A token of the EPJ's own.
pub(super) struct Held {
    pub token: Secret<String>,
    pub until: UnixTime,
}

/// The authorization server as the EPJ calls it.
pub struct Ehr {
    wire: Wire,
    issuer: String,
    client_id: String,
    secret: Secret<String>,
    clock: Arc<dyn Clock>,
    held: tokio::sync::Mutex<Option<Held>>,
}

impl Ehr {
    pub fn new(wire: Wire, issuer: &str, client_id: &str, secret: Secret<String>, clock: Arc<dyn Clock>) -> Self {
        let issuer = issuer.trim_end_matches('/').to_owned();
        Self { wire, issuer, client_id: client_id.to_owned(), secret, clock, held: tokio::sync::Mutex::new(None) }
    }

    /// `POST {issuer}/launches`: where to send the browser.
    ///
    /// # Errors
    /// [`EhrError`], by what the server answered.
    pub async fn launch(&self, handover: &Handover) -> Result<String, EhrError> {
        let answer = self.call("/launches", &serde_json::to_value(handover).map_err(|_| EhrError::Answer("nothing"))?).await?;
        if answer.status != 201 {
            return Err(refusal(&answer, "POST /launches"));
        }
        let said = answer.json().ok_or(EhrError::Answer("POST /launches"))?;
        let start_url = text_at(&said, "/start_url").ok_or(EhrError::Answer("POST /launches"))?;
        // The browser carries the doctor's session: it is sent to the server that was configured and to nobody else.
        if origin_of(start_url) != origin_of(&self.issuer) {
            return Err(EhrError::Answer("POST /launches"));
        }
        Ok(start_url.to_owned())
    }

    /// `POST {issuer}/launches/end-session`: the doctor has left the EPJ.
    ///
    /// # Errors
    /// [`EhrError`], by what the server answered.
    pub async fn end_session(&self, session: &str) -> Result<(), EhrError> {
        let body = Value::Object(Map::from_iter([("session".to_owned(), Value::from(session))]));
        let answer = self.call("/launches/end-session", &body).await?;
        if (200..300).contains(&answer.status) { Ok(()) } else { Err(refusal(&answer, "POST /launches/end-session")) }
    }

    /// One call with the EPJ's token; a token that has been ended meanwhile is replaced once.
    async fn call(&self, path: &str, body: &Value) -> Result<Answer, EhrError> {
        let url = format!("{}{path}", self.issuer);
        let mut answer = self.post(&url, body).await?;
        if answer.status == 401 {
            *self.held.lock().await = None;
            answer = self.post(&url, body).await?;
        }
        Ok(answer)
    }

    async fn post(&self, url: &str, body: &Value) -> Result<Answer, EhrError> {
        let token = self.token().await?;
        Ok(self.wire.send(self.wire.post(url).header("authorization", bearer(&token)).json(body)).await?)
    }

    /// A client-credentials token for `launch:create`, kept until shortly before its end. RFC 6749 §4.4.
    async fn token(&self) -> Result<Secret<String>, EhrError> {
        let mut held = self.held.lock().await;
        let now = self.clock.now();
        if let Some(kept) = held.as_ref().filter(|kept| kept.until.since(now) > MARGIN_S) {
            return Ok(kept.token.clone());
        }
        let metadata = self.wire.send(self.wire.get(&format!("{}/.well-known/openid-configuration", self.issuer))).await?;
        if metadata.status != 200 {
            return Err(EhrError::NotReady(metadata.status));
        }
        let metadata = metadata.json().ok_or(EhrError::Answer("discovery"))?;
        let endpoint = text_at(&metadata, "/token_endpoint").ok_or(EhrError::Answer("discovery"))?;
        if text_at(&metadata, "/issuer") != Some(&self.issuer) {
            return Err(EhrError::Answer("discovery"));
        }
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
        let request = self.wire.post(endpoint).header("authorization", basic(&self.client_id, &self.secret)).form(&form);
        let answer = self.wire.send(request).await?;
        match answer.status {
            200 => {}
            400 | 401 => return Err(EhrError::Credentials),
            status => return Err(EhrError::NotReady(status)),
        }
        let said = answer.json().ok_or(EhrError::Answer("the token endpoint"))?;
        let token = secret_at(&said, "/access_token").ok_or(EhrError::Answer("the token endpoint"))?;
        let lifetime_s = said.get("expires_in").and_then(Value::as_i64).unwrap_or(0);
        *held = Some(Held { token: token.clone(), until: UnixTime(now.0.saturating_add(lifetime_s)) });
        Ok(token)
    }
}

fn refusal(answer: &Answer, call: &'static str) -> EhrError {
    let body = answer.json().unwrap_or(Value::Null);
    let said = text_at(&body, "/error_description").or_else(|| text_at(&body, "/error")).map(|text| text.chars().take(300).collect());
    match answer.status {
        400 => EhrError::Malformed { said },
        401 => EhrError::Credentials,
        403 => EhrError::NotAllowed,
        422 => EhrError::Member { member: text_at(&body, "/member").unwrap_or("?").chars().take(60).collect(), said },
        status if status >= 500 || status == 429 => EhrError::NotReady(status),
        _ => EhrError::Answer(call),
    }
}
