//! A person logs in there: pushed request, callback, code. `reference/helseid.md` §2.2–2.6; RFC 9126, RFC 9207.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::Upstream;
use super::access::AccessExpect;
use super::call::{Call, Endpoint, Holder, Safety};
use super::details::Details;
use super::error::{AnswerFault, UpstreamError};
use super::grants::Tokens;
use super::id_token::IdTokenExpect;
use super::signed::request_object;
use crate::domain::upstream::{RequestObject, UpstreamIdentity};
use crate::jose::SigningKey;
use crate::protocol::params::Params;
use crate::protocol::pkce::CodeVerifier;
use crate::secret::{Secret, same};
use crate::time::UnixTime;

/// No `request_uri`, code or refresh token is longer.
pub(super) const LONGEST_HANDLE: usize = 4096;

/// What the person is to see. OIDC Core §3.1.2.1, `prompt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prompt {
    /// A login page where the provider has no session.
    #[default]
    AsNeeded,
    /// Nothing: without a session there the answer is `login_required`.
    Silent,
    /// A new login in any case.
    Force,
}

/// A login to begin. `state` and `nonce` are bound to the browser by the caller.
#[derive(Clone, Copy, Debug)]
pub struct LoginAsk<'a> {
    pub prompt: Prompt,
    /// How long ago the person may have logged in, where that is shorter than the rules'.
    pub max_age: Option<Duration>,
    pub state: &'a Secret<String>,
    pub nonce: &'a str,
    /// [`CodeVerifier::challenge`].
    pub code_challenge: &'a str,
    /// Binds the code to the session's key already. RFC 9449 §10.
    pub dpop_jkt: Option<&'a str>,
    /// Goes into a request object, and into every token of the session.
    pub details: &'a Details,
}

/// An authorization code of the provider's.
#[derive(Clone, Debug)]
pub struct UpstreamCode(Secret<String>);

/// A code to redeem.
#[derive(Clone, Copy, Debug)]
pub struct RedeemAsk<'a> {
    pub code: &'a UpstreamCode,
    pub verifier: &'a CodeVerifier,
    /// The session's key: all its tokens are bound to it.
    pub key: &'a SigningKey,
    /// As in [`LoginAsk`].
    pub nonce: &'a str,
    pub max_age: Option<Duration>,
    /// When a forced login was begun.
    pub logged_in_since: Option<UnixTime>,
}

/// A login that ended well.
#[derive(Debug)]
pub struct LoggedIn {
    pub identity: UpstreamIdentity,
    /// For logging out there ([`Upstream::end_session`]).
    pub id_token: Secret<String>,
    /// For our own API there, with `openid` for userinfo, and the refresh token of the session.
    pub tokens: Tokens,
}

/// What the provider says instead of a code. RFC 6749 §4.1.2.1, OIDC Core §3.1.2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackRefusal {
    /// The person gave up, or may not.
    AccessDenied,
    /// A silent login, and nobody is logged in there.
    LoginRequired,
    /// A silent login, and the person would have to do something.
    InteractionRequired,
    /// It cannot just now.
    Unavailable,
    Other,
}

impl fmt::Display for CallbackRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::InteractionRequired => "interaction_required",
            Self::Unavailable => "temporarily_unavailable",
            Self::Other => "an error code we do not know",
        })
    }
}

/// Why what the browser came back with is not an answer to our request, or not a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    #[error("a parameter came twice")]
    Repeated,
    #[error("iss is missing, or another provider's")]
    Issuer,
    #[error("state is missing, or not of this browser's login")]
    State,
    #[error("there is neither a code nor an error")]
    Empty,
    #[error("the provider refused: {0}")]
    Refused(CallbackRefusal),
}

impl Upstream {
    /// Pushes a login; the URL to send the browser to. It has two parameters, the second good once and for some minutes.
    ///
    /// # Errors
    /// [`UpstreamError`]; repeating it is safe.
    pub async fn begin_login(&self, ask: &LoginAsk<'_>) -> Result<String, UpstreamError> {
        let rules = self.rules();
        let scope = rules.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let max_age = ask.max_age.map(|age| age.as_secs().to_string());
        let object = match rules.request_object {
            RequestObject::Details if ask.details.is_empty() => None,
            RequestObject::Details | RequestObject::Always => {
                Some(request_object(rules, ask.details, self.now(), &*self.inner.random).map_err(|_| UpstreamError::Signing)?)
            }
        };
        let mut form = vec![
            ("response_type", "code"),
            ("redirect_uri", rules.redirect_uri.as_str()),
            ("scope", scope.as_str()),
            ("state", ask.state.expose().as_str()),
            ("nonce", ask.nonce),
            ("code_challenge", ask.code_challenge),
            ("code_challenge_method", "S256"),
        ];
        form.extend(rules.resources.iter().map(|resource| ("resource", resource.as_str())));
        form.extend(rules.acr_values.as_deref().map(|values| ("acr_values", values)));
        form.extend(max_age.as_deref().map(|age| ("max_age", age)));
        form.extend(ask.dpop_jkt.map(|jkt| ("dpop_jkt", jkt)));
        form.extend(object.as_ref().map(|object| ("request", object.expose().as_str())));
        match ask.prompt {
            Prompt::AsNeeded => {}
            Prompt::Silent => form.push(("prompt", "none")),
            Prompt::Force => form.push(("prompt", "login")),
        }
        // The details are in the request object, for the whole session; twice they would be refused (`HID-DOUBLE-STRUCTURE`).
        let answer = self.call(&Call { endpoint: Endpoint::Par, form, details: &Details::none(), holder: None, safety: Safety::Repeatable }).await?;
        let request_uri = answer.get("request_uri").and_then(Value::as_str).filter(|uri| is_handle(uri)).ok_or(AnswerFault::Missing("request_uri"))?;
        let discovery = self.discovery().await?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("client_id", rules.client_id.as_str()).append_pair("request_uri", request_uri);
        Ok(format!("{}?{}", discovery.authorization, query.finish()))
    }

    /// The code a browser came back with; `state` is the one bound to that browser. `iss` is looked at before anything else (mix-up,
    /// RFC 9207 §2.4), and what is not asked for is passed over.
    ///
    /// # Errors
    /// [`CallbackError`]
    pub fn check_callback(&self, params: &Params, state: &Secret<String>) -> Result<UpstreamCode, CallbackError> {
        if ["iss", "state", "code", "error"].iter().any(|name| params.is_repeated(name)) {
            return Err(CallbackError::Repeated);
        }
        if params.get("iss") != Some(self.rules().issuer.as_str()) {
            return Err(CallbackError::Issuer);
        }
        if !params.get("state").is_some_and(|said| same(said.as_bytes(), state.expose().as_bytes())) {
            return Err(CallbackError::State);
        }
        if let Some(error) = params.get("error") {
            return Err(CallbackError::Refused(match error {
                "access_denied" => CallbackRefusal::AccessDenied,
                "login_required" => CallbackRefusal::LoginRequired,
                "interaction_required" | "account_selection_required" | "consent_required" => CallbackRefusal::InteractionRequired,
                "temporarily_unavailable" | "server_error" => CallbackRefusal::Unavailable,
                _ => CallbackRefusal::Other,
            }));
        }
        let code = params.get("code").filter(|code| is_handle(code)).ok_or(CallbackError::Empty)?;
        Ok(UpstreamCode(Secret::new(code.to_owned())))
    }

    /// Redeems a code, verifies the id_token, and says who logged in. Never made twice for one code.
    ///
    /// # Errors
    /// [`UpstreamError`]; after [`UpstreamError::OutcomeUnknown`] the login begins anew.
    pub async fn redeem(&self, ask: &RedeemAsk<'_>) -> Result<LoggedIn, UpstreamError> {
        self.keys_at_hand().await?;
        let rules = self.rules();
        let form = vec![
            ("grant_type", "authorization_code"),
            ("code", ask.code.0.expose().as_str()),
            ("redirect_uri", rules.redirect_uri.as_str()),
            ("code_verifier", ask.verifier.secret().expose().as_str()),
            ("resource", rules.api_audience.as_str()),
        ];
        let call = Call { endpoint: Endpoint::Token, form, details: &Details::none(), holder: Some(Holder::Key(ask.key)), safety: Safety::Once };
        let answer = self.call(&call).await?;
        let id_token = answer.get("id_token").and_then(Value::as_str).ok_or(AnswerFault::Missing("id_token"))?;
        let id_token = Secret::new(id_token.to_owned());
        let expect = AccessExpect { audience: &rules.api_audience, jkt: &ask.key.public_jwk().thumbprint(), subject: None, acting_for: None, names_one: true };
        let tokens = self.tokens(&answer, expect).await?;
        let wanted = IdTokenExpect {
            nonce: Some(ask.nonce),
            max_age: ask.max_age,
            logged_in_since: ask.logged_in_since,
            subject: None,
            access_token: Some(&tokens.access_token),
        };
        let identity = self.validate_id_token(&id_token, &wanted).await?;
        if tokens.token.subject.as_ref() != Some(&identity.subject) {
            return Err(AnswerFault::Subject.into());
        }
        Ok(LoggedIn { identity, id_token, tokens })
    }
}

/// Visible ASCII of a sensible length: what may go into a URL or form and come back.
pub(super) fn is_handle(text: &str) -> bool {
    (1..=LONGEST_HANDLE).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b))
}
