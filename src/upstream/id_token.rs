//! Who logged in. `reference/helseid.md` §2.9, step by step; OIDC Core §3.1.3.7.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::access::high_enough;
use super::error::{TokenFault, UpstreamError};
use super::{Upstream, UpstreamToken};
use crate::domain::person::{HprNumber, PersonNumber};
use crate::domain::upstream::{TOKEN_ALGS, UpstreamIdentity, UpstreamRules, UpstreamSession, UpstreamSubject};
use crate::fetch::FetchError;
use crate::jose::{AudienceForm, Expect, JwtError, UnverifiedJwt, Verified, at_hash, verify};
use crate::secret::{Secret, same};
use crate::time::UnixTime;

/// No token of the provider's is longer. `reference/helseid.md` T23.
pub(super) const LONGEST_TOKEN: usize = 16 * 1024;

/// An id_token comes straight from the token endpoint, so it is this old at most.
const OLDEST: Duration = Duration::from_secs(300);

/// What an id_token must say besides what every one must.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdTokenExpect<'a> {
    /// The nonce of the login; `None` after a refresh, whose id_token need not have one (OIDC Core §12.2).
    pub nonce: Option<&'a str>,
    /// Where the login asked for one shorter than the rules' (`max_age`).
    pub max_age: Option<Duration>,
    /// When a login that had to be a new one was begun: the person logged in since.
    pub logged_in_since: Option<UnixTime>,
    /// Whom the session belongs to, after a refresh.
    pub subject: Option<&'a UpstreamSubject>,
    /// The access token that came with it, for `at_hash`.
    pub access_token: Option<&'a Secret<String>>,
}

/// The claims, as leniently read as §3.2 of the reference says they are written.
#[derive(Deserialize)]
pub(super) struct Claims {
    sub: UpstreamSubject,
    iat: i64,
    nbf: Option<i64>,
    auth_time: Option<i64>,
    nonce: Option<String>,
    azp: Option<String>,
    at_hash: Option<String>,
    sid: Option<UpstreamSession>,
    #[serde(default, deserialize_with = "one_or_many")]
    amr: Vec<String>,
    idp: Option<String>,
    acr: Option<String>,
    name: Option<String>,
    #[serde(rename = "helseid://claims/identity/pid")]
    pid: Option<Secret<String>>,
    #[serde(rename = "helseid://claims/identity/security_level")]
    level: Option<Value>,
    #[serde(rename = "helseid://claims/hpr/hpr_number", default, deserialize_with = "number_or_text")]
    hpr: Option<Secret<String>>,
}

impl Upstream {
    /// Verifies an id_token and says who it speaks of.
    ///
    /// # Errors
    /// [`UpstreamError::Token`] with the first thing found wrong; [`UpstreamError::Keys`] and those of [`Upstream::discovery`] where its
    /// key cannot be had.
    pub async fn validate_id_token(&self, token: &Secret<String>, expect: &IdTokenExpect<'_>) -> Result<UpstreamIdentity, UpstreamError> {
        let rules = self.rules();
        let jwt = read(token.expose())?;
        let wanted = Expect {
            issuer: Some(rules.issuer.as_str()),
            // Us and nobody else.
            audiences: &[rules.client_id.as_str()],
            audience_form: AudienceForm::Single,
            typ: &["JWT", ""],
            algs: TOKEN_ALGS,
            leeway: rules.leeway,
            ..Expect::default()
        };
        let claims: Claims = self.verified(&jwt, &wanted).await?.into_claims();
        let alg = jwt.alg();
        let hash = expect.access_token.map(|token| at_hash(token.expose(), alg));
        Ok(claims.check(expect, hash.as_deref(), rules, self.now())?)
    }

    /// Checks signature and registered claims, with a key fetched where it must be. Nothing of a token that is not the provider's by its
    /// own words makes us fetch anything.
    pub(super) async fn verified<C: serde::de::DeserializeOwned>(&self, jwt: &UnverifiedJwt<'_>, wanted: &Expect<'_>) -> Result<Verified<C>, UpstreamError> {
        if !wanted.algs.contains(&jwt.alg()) {
            return Err(TokenFault::Jwt(JwtError::Algorithm).into());
        }
        if jwt.issuer_hint() != wanted.issuer {
            return Err(TokenFault::Jwt(JwtError::Issuer).into());
        }
        let kid = jwt.key_id_hint().ok_or(TokenFault::NoKeyId)?;
        let discovery = self.discovery().await?;
        // Fetched again for a `kid` it lacks, once in 30 s. `expired_jwks_uri` is for old signatures, and there are none here.
        let keys = self.inner.keys.keys(&discovery.jwks, Some(kid)).await?;
        Ok(verify(jwt, &keys, wanted, self.now()).map_err(TokenFault::Jwt)?)
    }

    /// Has the keys at hand, so that what comes next cannot fail for want of them once it is done.
    pub(super) async fn keys_at_hand(&self) -> Result<(), UpstreamError> {
        let discovery = self.discovery().await?;
        let keys = self.inner.keys.keys(&discovery.jwks, None).await?;
        if keys.keys.is_empty() { Err(UpstreamError::Keys(FetchError::Malformed)) } else { Ok(()) }
    }
}

/// A token to be verified, unless it is too long to look at.
pub(super) fn read(token: &str) -> Result<UnverifiedJwt<'_>, TokenFault> {
    if token.len() > LONGEST_TOKEN {
        return Err(TokenFault::TooLong);
    }
    Ok(UnverifiedJwt::parse(token)?)
}

/// Five seconds, where `jose` gives clients ten. `reference/helseid.md` T21.
pub(super) fn not_ahead(times: impl IntoIterator<Item = Option<i64>>, rules: &UpstreamRules, now: UnixTime) -> Result<(), TokenFault> {
    let ahead = times.into_iter().flatten().any(|at| UnixTime(at) > now + rules.leeway);
    if ahead { Err(TokenFault::Jwt(JwtError::NotYet)) } else { Ok(()) }
}

impl Claims {
    pub(super) fn check(self, expect: &IdTokenExpect<'_>, hash: Option<&str>, rules: &UpstreamRules, now: UnixTime) -> Result<UpstreamIdentity, TokenFault> {
        not_ahead([Some(self.iat), self.nbf], rules, now)?;
        if UnixTime(self.iat) < now - OLDEST {
            return Err(TokenFault::Old);
        }
        if self.azp.as_deref().is_some_and(|azp| azp != rules.client_id.as_str()) {
            return Err(TokenFault::AuthorizedParty);
        }
        if let Some(nonce) = expect.nonce
            && !self.nonce.as_deref().is_some_and(|said| same(said.as_bytes(), nonce.as_bytes()))
        {
            return Err(TokenFault::Nonce);
        }
        if expect.subject.is_some_and(|subject| *subject != self.sub) {
            return Err(TokenFault::Subject);
        }
        if let (Some(said), Some(hash)) = (&self.at_hash, hash)
            && !same(said.as_bytes(), hash.as_bytes())
        {
            return Err(TokenFault::AccessTokenHash);
        }
        let auth_time = UnixTime(self.auth_time.ok_or(TokenFault::NoAuthTime)?);
        fresh_enough(auth_time, expect, rules, now)?;
        let level = high_enough(self.level.as_ref(), rules)?;
        let person = self.pid.as_ref().and_then(|pid| PersonNumber::parse(pid.expose())).ok_or(TokenFault::NoPerson)?;
        let hpr = self.hpr.map(|number| HprNumber::parse(number.expose()).ok_or(TokenFault::Claim("hpr_number"))).transpose()?;
        Ok(UpstreamIdentity {
            subject: self.sub,
            session: self.sid,
            person,
            hpr,
            level,
            auth_time,
            amr: self.amr,
            idp: self.idp,
            acr: self.acr,
            name: self.name,
        })
    }
}

/// Whether the person logged in lately enough, and not in the future. OIDC Core §3.1.2.1, `max_age`.
fn fresh_enough(auth_time: UnixTime, expect: &IdTokenExpect<'_>, rules: &UpstreamRules, now: UnixTime) -> Result<(), TokenFault> {
    not_ahead([Some(auth_time.0)], rules, now)?;
    let oldest = expect.max_age.map_or(rules.max_auth_age, |age| age.min(rules.max_auth_age));
    let too_old = auth_time + rules.leeway < now - oldest;
    let before = expect.logged_in_since.is_some_and(|since| auth_time + rules.leeway < since);
    if too_old || before { Err(TokenFault::LoginTooOld) } else { Ok(()) }
}

impl UpstreamToken {
    /// Whether this token of a person is fresh and sure enough to act on. `reference/helseid.md` §6.5.
    ///
    /// # Errors
    /// [`TokenFault::NoPerson`] for the token of a machine, which has none; [`TokenFault::Level`], [`TokenFault::NoAuthTime`],
    /// [`TokenFault::LoginTooOld`].
    pub fn person(&self, rules: &UpstreamRules, now: UnixTime) -> Result<&PersonNumber, TokenFault> {
        let person = self.person.as_ref().filter(|_| self.subject.is_some()).ok_or(TokenFault::NoPerson)?;
        if self.level.is_none_or(|level| level < rules.min_level) {
            return Err(TokenFault::Level);
        }
        fresh_enough(self.auth_time.ok_or(TokenFault::NoAuthTime)?, &IdTokenExpect::default(), rules, now)?;
        Ok(person)
    }
}

/// `amr` is a list, or one text. `reference/helseid.md` §3.2.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(one) => vec![one],
        Value::Array(several) => several.into_iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    })
}

/// An HPR number is a text, and in places a number. `reference/helseid.md` §8.
pub(super) fn number_or_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret<String>>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Null => None,
        Value::String(text) => Some(Secret::new(text)),
        other => Some(Secret::new(other.to_string())),
    })
}
