//! Access tokens that come back to the mock itself: at userinfo, introspection and client information.

use serde_json::{Map, Value};

use super::Idp;
use super::access_token::TYPE;
use super::refusal::{Code, Refusal};
use super::seed::{Client, Seed, User};
use super::subject::subject;
use crate::jose::{Alg, Expect, JwtError, UnverifiedJwt, verify};
use crate::time::UnixTime;

/// Why a token is worth nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnTokenError {
    #[error("an access token is needed")]
    Missing,
    #[error(transparent)]
    Jwt(#[from] JwtError),
    #[error("the session has ended")]
    Ended,
    #[error("the client or the person is not there any more")]
    Gone,
    #[error("the scope {0} is needed")]
    Scope(&'static str),
}

impl From<OwnTokenError> for Refusal {
    fn from(reason: OwnTokenError) -> Self {
        match reason {
            OwnTokenError::Missing => Self::bearer(Code::InvalidToken, "an access token is needed"),
            OwnTokenError::Jwt(_) | OwnTokenError::Ended | OwnTokenError::Gone => Self::bearer(Code::InvalidToken, "the access token is not valid"),
            OwnTokenError::Scope(_) => Self::bearer(Code::InsufficientScope, "the access token lacks a scope"),
        }
    }
}

/// An access token of ours that is good now.
#[derive(Clone, Debug)]
pub struct OwnToken {
    pub claims: Map<String, Value>,
}

impl OwnToken {
    /// # Errors
    /// [`OwnTokenError`]
    pub fn read(idp: &Idp, text: &str, now: UnixTime) -> Result<Self, OwnTokenError> {
        let expect = Expect { issuer: Some(idp.issuer.as_str()), typ: &[TYPE], algs: &[Alg::RS256], ..Expect::default() };
        let claims = verify::<Map<String, Value>>(&UnverifiedJwt::parse(text)?, &idp.keys.set(), &expect, now)?.into_claims();
        let token = Self { claims };
        if token.text("sid").is_some_and(|sid| idp.kept.ended.get(sid, now).is_some()) {
            return Err(OwnTokenError::Ended);
        }
        Ok(token)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// The granted scopes: an array in access tokens (§2.11).
    pub fn scopes(&self) -> Vec<String> {
        let scopes = self.claims.get("scope").and_then(Value::as_array);
        scopes.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// # Errors
    /// [`OwnTokenError::Scope`]
    pub fn need(&self, scope: &'static str) -> Result<(), OwnTokenError> {
        if self.scopes().iter().any(|granted| granted == scope) { Ok(()) } else { Err(OwnTokenError::Scope(scope)) }
    }

    /// Whose token it is, and which client's. Subjects are opaque, so everybody is asked.
    ///
    /// # Errors
    /// [`OwnTokenError::Gone`], also for a machine's token.
    pub fn person<'s>(&self, idp: &Idp, seed: &'s Seed) -> Result<(&'s User, &'s Client), OwnTokenError> {
        let client = self.text("client_id").and_then(|id| seed.client(id)).ok_or(OwnTokenError::Gone)?;
        let sub = self.text("sub").ok_or(OwnTokenError::Gone)?;
        let user = seed.users.iter().find(|user| subject(idp, user, client) == sub && !user.blocked).ok_or(OwnTokenError::Gone)?;
        Ok((user, client))
    }
}
