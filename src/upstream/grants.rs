//! Tokens for a session that lives: refresh and exchange. `reference/helseid.md` §2.6, §2.8, §5.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Upstream;
use super::access::{AccessExpect, UpstreamToken};
use super::call::{Call, Endpoint, Holder, Safety};
use super::details::Details;
use super::error::{AnswerFault, Refusal, TokenFault, UpstreamError};
use super::id_token::IdTokenExpect;
use super::login::is_handle;
use crate::domain::upstream::{UpstreamIdentity, UpstreamSubject};
use crate::jose::SigningKey;
use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A refresh token, and until when it is good where the provider says so.
#[derive(Clone, Debug)]
pub struct RefreshToken {
    pub secret: Secret<String>,
    pub expires_at: Option<UnixTime>,
}

/// What a grant gave. The access token was verified: its audience, its key, its person, its organisation.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access_token: Secret<String>,
    pub token: UpstreamToken,
    /// The earlier of what the answer and the token say.
    pub expires_at: UnixTime,
    /// What was granted, which may be less than was asked for.
    pub granted: BTreeSet<String>,
    /// Withheld because the organisation has not signed the terms. `reference/helseid.md` §2.6.
    pub rejected: BTreeSet<String>,
    pub refresh: Option<RefreshToken>,
}

/// A refresh to make. What makes two of them the same is in [`RefreshAsk::digest`].
#[derive(Clone, Copy, Debug)]
pub struct RefreshAsk<'a> {
    pub refresh_token: &'a Secret<String>,
    /// The session's key.
    pub key: &'a SigningKey,
    /// Whose session it is.
    pub subject: &'a UpstreamSubject,
    /// One of those pushed at the login; the token is for it alone.
    pub resource: &'a str,
    /// Empty for all that the session has there.
    pub scopes: &'a BTreeSet<String>,
    pub details: &'a Details,
}

impl RefreshAsk<'_> {
    /// Tells the tokens of one session apart, for keeping them and for sharing a refresh: resource, scopes, organisation and attest, key.
    /// `reference/helseid.md` §6.4, T18.
    pub fn digest(&self, session: &str) -> Digest {
        let scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        let (details, key) = (self.details.digest(), self.key.public_jwk().thumbprint());
        Digest::of_parts(&[session.as_bytes(), self.resource.as_bytes(), scopes.join(" ").as_bytes(), details.bytes(), key.as_bytes()])
    }
}

/// A refresh that went well.
#[derive(Clone, Debug)]
pub struct Refreshed {
    pub tokens: Tokens,
    /// The refresh token from now on.
    pub refresh: RefreshToken,
    /// What the new id_token says, where there was one.
    pub identity: Option<UpstreamIdentity>,
}

/// A refresh that gave no token, and what is left of the session.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct RefreshFailed {
    #[source]
    pub why: UpstreamError,
    pub after: AfterRefresh,
}

/// What a failed refresh left behind.
#[derive(Clone, Debug)]
pub enum AfterRefresh {
    /// Nothing was used up: the same refresh token may be tried again.
    Unharmed,
    /// The refresh token was exchanged for this one, though the rest of the answer was no good.
    Rotated(RefreshToken),
    /// The session is over there, or nobody knows: the old refresh token must not be used again. `reference/helseid.md` T19.
    Over,
}

impl From<RefreshFailed> for UpstreamError {
    fn from(failed: RefreshFailed) -> Self {
        failed.why
    }
}

/// An exchange to make. `reference/helseid.md` §5.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeAsk<'a> {
    /// A token for our own API there.
    pub subject_token: &'a Secret<String>,
    /// Whose it is; `None` for a machine's.
    pub subject: Option<&'a UpstreamSubject>,
    /// Whose key the result is bound to.
    pub holder: Holder<'a>,
    /// Scopes of one API.
    pub scopes: &'a BTreeSet<String>,
    /// The audience the result must have.
    pub audience: &'a str,
    pub details: &'a Details,
}

impl Upstream {
    /// Refreshes a session for one resource. Made once, whatever happens; of several at a time for one session the caller makes one
    /// ([`super::Flights`]).
    ///
    /// # Errors
    /// [`RefreshFailed`], which says what is left of the session.
    pub async fn refresh(&self, ask: &RefreshAsk<'_>) -> Result<Refreshed, RefreshFailed> {
        let unharmed = |why| RefreshFailed { why, after: AfterRefresh::Unharmed };
        self.keys_at_hand().await.map_err(unharmed)?;
        let scope = ask.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", ask.refresh_token.expose().as_str()), ("resource", ask.resource)];
        if !scope.is_empty() {
            form.push(("scope", scope.as_str()));
        }
        let call = Call { endpoint: Endpoint::Token, form, details: ask.details, holder: Some(Holder::Key(ask.key)), safety: Safety::Once };
        let answer = self.call(&call).await.map_err(|why| {
            let after = match &why {
                UpstreamError::OutcomeUnknown(_) | UpstreamError::Refused(Refusal::InvalidGrant) | UpstreamError::Answer(_) => AfterRefresh::Over,
                UpstreamError::Down(_)
                | UpstreamError::Refused(_)
                | UpstreamError::NonceLoop
                | UpstreamError::NonceWanted(_)
                | UpstreamError::Metadata(_)
                | UpstreamError::Token(_)
                | UpstreamError::Keys(_)
                | UpstreamError::Signing => AfterRefresh::Unharmed,
            };
            RefreshFailed { why, after }
        })?;
        let rotated = self.refresh_token(&answer);
        let lost = rotated.is_none();
        // A registration with reusable refresh tokens gives no new one.
        let kept = || RefreshToken { secret: ask.refresh_token.clone(), expires_at: self.refresh_expiry(&answer) };
        let refresh = rotated.unwrap_or_else(kept);
        match self.refreshed(ask, &answer).await {
            Ok((tokens, identity)) => Ok(Refreshed { tokens, refresh, identity }),
            Err(why) => {
                let over = match &why {
                    UpstreamError::Token(fault) => matches!(fault, TokenFault::Subject | TokenFault::LoginTooOld | TokenFault::Level),
                    // An answer that is none, and no refresh token in it: what became of the old one is anybody's guess.
                    UpstreamError::Answer(_) => lost,
                    UpstreamError::Down(_)
                    | UpstreamError::OutcomeUnknown(_)
                    | UpstreamError::Refused(_)
                    | UpstreamError::NonceLoop
                    | UpstreamError::NonceWanted(_)
                    | UpstreamError::Metadata(_)
                    | UpstreamError::Keys(_)
                    | UpstreamError::Signing => false,
                };
                Err(RefreshFailed { why, after: if over { AfterRefresh::Over } else { AfterRefresh::Rotated(refresh) } })
            }
        }
    }

    async fn refreshed(&self, ask: &RefreshAsk<'_>, answer: &Map<String, Value>) -> Result<(Tokens, Option<UpstreamIdentity>), UpstreamError> {
        something_given(ask.scopes, answer)?;
        let expect = AccessExpect {
            audience: ask.resource,
            jkt: &ask.key.public_jwk().thumbprint(),
            subject: Some(ask.subject),
            acting_for: ask.details.expected_organisation(),
            names_one: ask.details.names_one(),
        };
        let tokens = self.tokens(answer, expect).await?;
        let Some(id_token) = answer.get("id_token").and_then(Value::as_str) else { return Ok((tokens, None)) };
        let wanted = IdTokenExpect { subject: Some(ask.subject), access_token: Some(&tokens.access_token), ..IdTokenExpect::default() };
        let identity = self.validate_id_token(&Secret::new(id_token.to_owned()), &wanted).await?;
        Ok((tokens, Some(identity)))
    }

    /// Exchanges a token for our own API for one of another API, as the actor. `reference/helseid.md` §5.1.
    ///
    /// # Errors
    /// [`UpstreamError`]; repeating it is safe.
    pub async fn exchange(&self, ask: &ExchangeAsk<'_>) -> Result<Tokens, UpstreamError> {
        let scope = ask.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", ask.subject_token.expose().as_str()),
            ("subject_token_type", ACCESS_TOKEN),
            ("scope", scope.as_str()),
        ];
        let call = Call { endpoint: Endpoint::Token, form, details: ask.details, holder: Some(ask.holder), safety: Safety::Repeatable };
        let answer = self.call(&call).await?;
        if answer.get("issued_token_type").and_then(Value::as_str) != Some(ACCESS_TOKEN) {
            return Err(AnswerFault::Missing("issued_token_type").into());
        }
        something_given(ask.scopes, &answer)?;
        let expect = AccessExpect {
            audience: ask.audience,
            jkt: &ask.holder.jkt(),
            subject: ask.subject,
            acting_for: ask.details.expected_organisation(),
            names_one: ask.details.names_one(),
        };
        let tokens = self.tokens(&answer, expect).await?;
        // T12: who acts is in the token, and it is us.
        let rules = self.rules();
        let acts = tokens.token.actors.first();
        if !acts.is_some_and(|link| link.client_id == rules.client_id && link.issuer.as_deref().is_none_or(|issuer| issuer == rules.issuer.as_str())) {
            return Err(TokenFault::Actor.into());
        }
        // An exchange never gives a session. `reference/helseid.md` P3.
        Ok(Tokens { refresh: None, ..tokens })
    }

    /// Ends a refresh token there; where the provider has no such endpoint nothing is done. RFC 7009.
    ///
    /// # Errors
    /// [`UpstreamError`]; repeating it is safe.
    pub async fn revoke(&self, refresh_token: &Secret<String>) -> Result<(), UpstreamError> {
        let form = vec![("token", refresh_token.expose().as_str()), ("token_type_hint", "refresh_token")];
        let call = Call { endpoint: Endpoint::Revocation, form, details: &Details::none(), holder: None, safety: Safety::Repeatable };
        self.call(&call).await.map(drop)
    }

    /// Reads a token answer and verifies its access token. RFC 6749 §5.1, RFC 9449 §5.
    pub(super) async fn tokens(&self, answer: &Map<String, Value>, expect: AccessExpect<'_>) -> Result<Tokens, UpstreamError> {
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let token_type = text("token_type").ok_or(AnswerFault::Missing("token_type"))?;
        // T9: a proof was sent, so a token that needs none is a downgrade.
        if !token_type.eq_ignore_ascii_case("DPoP") {
            return Err(AnswerFault::Bearer.into());
        }
        let access_token = Secret::new(text("access_token").ok_or(AnswerFault::Missing("access_token"))?.to_owned());
        let token = self.our_access_token(&access_token, expect).await?;
        let said = answer.get("expires_in").map(|value| value.as_u64().ok_or(AnswerFault::Missing("expires_in"))).transpose()?;
        let expires_at = said.map_or(token.expires_at, |seconds| (self.now() + Duration::from_secs(seconds)).min(token.expires_at));
        let words = |text: &str| text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>();
        // RFC 6749 §5.1: what is not said is what was asked for; the token itself says it better.
        let granted = text("scope").map_or_else(|| token.scope.clone(), words);
        let rejected = text("rejected_scope").map(words).unwrap_or_default();
        if !rejected.is_empty() {
            tracing::warn!(count = rejected.len(), "the identity provider withheld scopes the organisation has not agreed to");
        }
        Ok(Tokens { access_token, token, expires_at, granted, rejected, refresh: self.refresh_token(answer) })
    }

    fn refresh_token(&self, answer: &Map<String, Value>) -> Option<RefreshToken> {
        let text = answer.get("refresh_token").and_then(Value::as_str).filter(|text| is_handle(text))?;
        Some(RefreshToken { secret: Secret::new(text.to_owned()), expires_at: self.refresh_expiry(answer) })
    }

    fn refresh_expiry(&self, answer: &Map<String, Value>) -> Option<UnixTime> {
        answer.get("rt_expires_in").and_then(Value::as_u64).map(|seconds| self.now() + Duration::from_secs(seconds))
    }
}

/// An answer that gives nothing of what was asked for is a refusal, whatever token comes with it. `reference/helseid.md` §2.6, §6.4.
fn something_given(asked: &BTreeSet<String>, answer: &Map<String, Value>) -> Result<(), UpstreamError> {
    let given = answer.get("scope").and_then(Value::as_str);
    let nothing = !asked.is_empty() && given.is_some_and(|given| !given.split(' ').any(|scope| asked.contains(scope)));
    if nothing { Err(UpstreamError::Refused(Refusal::InvalidScope)) } else { Ok(()) }
}
