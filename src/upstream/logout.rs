//! Logging out: the provider tells us (OIDC Back-Channel Logout), and we tell it (OIDC RP-Initiated Logout).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Upstream;
use super::error::{TokenFault, UpstreamError};
use super::id_token::{not_ahead, read};
use crate::domain::upstream::{TOKEN_ALGS, UpstreamRules, UpstreamSession, UpstreamSubject};
use crate::jose::{Expect, Expiry};
use crate::protocol::ids::{RedirectUri, TokenId};
use crate::secret::Secret;
use crate::time::UnixTime;

/// A logout token is sent as it is made.
const OLDEST: Duration = Duration::from_secs(300);

/// OIDC Back-Channel Logout §2.4.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Which sessions ended there: those of `session`, or all of the subject's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutNotice {
    pub subject: Option<UpstreamSubject>,
    pub session: Option<UpstreamSession>,
    /// To be remembered until `good_until`, so that the notice is taken once.
    pub jti: TokenId,
    pub good_until: UnixTime,
}

/// A form the browser posts to the provider. Not a link: an id_token names the person and must not stand in a URL.
#[derive(Debug)]
pub struct EndSession {
    pub action: String,
    pub fields: Vec<(&'static str, Secret<String>)>,
}

#[derive(Deserialize)]
pub(super) struct Claims {
    jti: TokenId,
    iat: i64,
    exp: Option<i64>,
    sub: Option<UpstreamSubject>,
    sid: Option<UpstreamSession>,
    nonce: Option<Value>,
    events: Map<String, Value>,
}

impl Claims {
    /// What is left to look at once the signature holds. OIDC Back-Channel Logout §2.6.
    pub(super) fn check(self, rules: &UpstreamRules, now: UnixTime) -> Result<LogoutNotice, TokenFault> {
        not_ahead([Some(self.iat)], rules, now)?;
        let until = UnixTime(self.iat) + OLDEST;
        if now >= until {
            return Err(TokenFault::Old);
        }
        let event = self.events.get(EVENT).is_some_and(Value::is_object);
        // A nonce is what an id_token has, and forbidden here.
        if !event || self.nonce.is_some() || (self.sub.is_none() && self.sid.is_none()) {
            return Err(TokenFault::NotALogoutToken);
        }
        let good_until = self.exp.map_or(until, |exp| UnixTime(exp) + rules.leeway).max(until);
        Ok(LogoutNotice { subject: self.sub, session: self.sid, jti: self.jti, good_until })
    }
}

impl Upstream {
    /// Verifies a logout token. OIDC Back-Channel Logout §2.6.
    ///
    /// # Errors
    /// [`UpstreamError::Token`], or why its key cannot be had.
    pub async fn verify_logout_token(&self, token: &Secret<String>) -> Result<LogoutNotice, UpstreamError> {
        let rules = self.rules();
        let jwt = read(token.expose())?;
        let wanted = Expect {
            issuer: Some(rules.issuer.as_str()),
            audiences: &[rules.client_id.as_str()],
            // Recommended there, not required; the event tells it from an id_token.
            typ: &["logout+jwt", "JWT", ""],
            algs: TOKEN_ALGS,
            expiry: Expiry::Optional,
            leeway: rules.leeway,
            ..Expect::default()
        };
        let claims: Claims = self.verified(&jwt, &wanted).await?.into_claims();
        Ok(claims.check(rules, self.now())?)
    }

    /// What ends the person's session there and brings the browser back to `back`, which must be registered; `None` where the provider has
    /// no such endpoint. OIDC RP-Initiated Logout §2.
    ///
    /// # Errors
    /// Those of [`Upstream::discovery`].
    pub async fn end_session(&self, id_token: &Secret<String>, back: &RedirectUri, state: &Secret<String>) -> Result<Option<EndSession>, UpstreamError> {
        let discovery = self.discovery().await?;
        let text = |text: &str| Secret::new(text.to_owned());
        Ok(discovery.end_session.clone().map(|action| EndSession {
            action,
            fields: vec![
                ("id_token_hint", id_token.clone()),
                ("client_id", text(self.rules().client_id.as_str())),
                ("post_logout_redirect_uri", text(back.as_str())),
                ("state", state.clone()),
            ],
        }))
    }
}
