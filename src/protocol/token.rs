//! The token endpoint's words. RFC 6749 §4–6; SAL §3.3–3.7.

use serde::Serialize;

use super::error::{ErrorCode, OAuthError};
use super::exchange::{ExchangeRequest, TOKEN_EXCHANGE};
use super::ids::GrantId;
use super::launch::LaunchContext;
use super::params::Params;
use super::pkce::CodeVerifier;
use super::scope::ScopeSet;
use crate::secret::{Digest, Secret};

/// A code as it travels: `code_<grant>_<secret>`, so that one read finds its grant.
#[derive(Debug)]
pub struct Code {
    pub grant: GrantId,
    /// Digest of the whole text.
    pub digest: Digest,
}

impl Code {
    pub fn print(grant: &GrantId, secret: &Secret<String>) -> Secret<String> {
        Secret::new(format!("code_{grant}_{}", secret.expose()))
    }

    pub fn parse(text: &str) -> Option<Self> {
        let (grant, secret) = text.strip_prefix("code_")?.split_once('_')?;
        (!secret.is_empty()).then_some(())?;
        Some(Self { grant: GrantId::parse(grant).ok()?, digest: Digest::of(text.as_bytes()) })
    }
}

/// A refresh token as it travels: `rt_<grant>_<generation>_<proof>`. The proof is a keyed hash over the rest, so that a
/// successor can be told again to whoever lost the answer, and nothing that opens anything is kept at rest.
#[derive(Debug)]
pub struct RefreshToken {
    pub grant: GrantId,
    pub generation: u32,
    pub proof: Digest,
}

impl RefreshToken {
    pub fn print(&self) -> Secret<String> {
        Secret::new(format!("rt_{}_{}_{}", self.grant, self.generation, self.proof.text()))
    }

    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("rt_")?.splitn(3, '_');
        let (grant, generation, proof) = (parts.next()?, parts.next()?, parts.next()?);
        let token = Self { grant: GrantId::parse(grant).ok()?, generation: generation.parse().ok()?, proof: Digest::parse(proof)? };
        // One text for one token: `00` and `+0` are not 0.
        (token.generation.to_string() == generation).then_some(token)
    }
}

/// What is asked of the token endpoint.
#[derive(Debug)]
pub enum TokenRequest {
    /// RFC 6749 §4.1.3
    AuthorizationCode { code: Option<Code>, redirect_uri: String, verifier: Option<CodeVerifier> },
    /// RFC 6749 §6
    RefreshToken { token: Option<RefreshToken>, scope: Option<ScopeRequest> },
    /// RFC 6749 §4.4
    ClientCredentials { scope: String, resource: Option<String> },
    /// RFC 8693 §2.1
    TokenExchange(ExchangeRequest),
}

/// The `scope` of a refresh: what is not understood is more than was granted.
#[derive(Debug)]
pub struct ScopeRequest {
    pub scopes: ScopeSet,
    pub understood: bool,
}

impl ScopeRequest {
    fn parse(text: &str) -> Self {
        match ScopeSet::parse(text) {
            Ok(scopes) => Self { scopes, understood: true },
            Err(_) => Self { scopes: ScopeSet::parse_request(text), understood: false },
        }
    }
}

/// `grant_type` of a refresh, for the one place that must know before the client is known (NAV-049).
pub const REFRESH: &str = "refresh_token";

impl TokenRequest {
    /// # Errors
    /// `invalid_request` for what is missing, `unsupported_grant_type` for what we do not do. A code or refresh token that is
    /// none of ours parses as `None`: it is `invalid_grant`, like any other that opens nothing.
    pub fn parse(params: &Params) -> Result<Self, OAuthError> {
        let needed = |name: &'static str, text: &'static str| params.get(name).ok_or_else(|| OAuthError::invalid_request(text));
        match needed("grant_type", "grant_type is missing")? {
            "authorization_code" => {
                let code = Code::parse(needed("code", "code is missing")?);
                let redirect_uri = needed("redirect_uri", "redirect_uri is missing")?.to_owned();
                Ok(Self::AuthorizationCode { code, redirect_uri, verifier: params.get("code_verifier").and_then(CodeVerifier::parse) })
            }
            REFRESH => {
                let token = RefreshToken::parse(needed("refresh_token", "refresh_token is missing")?);
                Ok(Self::RefreshToken { token, scope: params.get("scope").map(ScopeRequest::parse) })
            }
            "client_credentials" => {
                let scope = params.get("scope").ok_or_else(|| OAuthError::invalid_scope("scope is missing"))?.to_owned();
                let mut resources = params.all("resource");
                let resource = resources.next().map(str::to_owned);
                if resources.next().is_some() {
                    return Err(OAuthError::new(ErrorCode::InvalidTarget, "one resource at a time"));
                }
                Ok(Self::ClientCredentials { scope, resource })
            }
            TOKEN_EXCHANGE => ExchangeRequest::parse(params).map(Self::TokenExchange),
            _ => Err(OAuthError::new(
                ErrorCode::UnsupportedGrantType,
                "grant_type must be authorization_code, refresh_token, client_credentials or that of a token exchange",
            )),
        }
    }
}

/// A successful answer. RFC 6749 §5.1; SAL §3.4.
#[derive(Debug, Serialize)]
pub struct TokenResponse {
    #[serde(serialize_with = "exposed")]
    pub access_token: Secret<String>,
    /// `Bearer` or `DPoP`, spelled so. NAV-036, RFC 9449 §5.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: u64,
    /// Empty, and not told, where the answer is an id_token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// RFC 8693 §2.2.1: there in the answer to a token exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_token_type: Option<&'static str>,
    #[serde(serialize_with = "exposed_option", skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret<String>>,
    #[serde(serialize_with = "exposed_option", skip_serializing_if = "Option::is_none")]
    pub id_token: Option<Secret<String>>,
    /// The launch context, as top-level members. SAL-071.
    #[serde(flatten)]
    pub context: LaunchContext,
}

/// A secret that travels.
pub(super) fn exposed<S: serde::Serializer>(secret: &Secret<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose())
}

fn exposed_option<S: serde::Serializer>(secret: &Option<Secret<String>>, to: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => to.serialize_str(secret.expose()),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_refresh_tokens_carry_their_grant() {
        let grant = GrantId::parse("0123abcd").unwrap();
        let code = Code::print(&grant, &Secret::new("a_b-c".into()));
        assert_eq!(Code::parse(code.expose()).unwrap().grant, grant);
        let token = RefreshToken { grant: grant.clone(), generation: 7, proof: Digest::of(b"x") };
        let read = RefreshToken::parse(token.print().expose()).unwrap();
        assert_eq!((read.grant, read.generation, read.proof), (grant, 7, Digest::of(b"x")));
        for bad in
            ["", "code_", "code_x", "code_x_", "rt_x_1_short", "rt_x_-1_x", "rt__1_x", "ey.x.y", "rt_0123abcd_07_LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE"]
        {
            assert!(Code::parse(bad).is_none() && RefreshToken::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let parse = |form: &str| TokenRequest::parse(&Params::parse(form.as_bytes()).unwrap()).err().map(|error| error.code.as_str());
        assert_eq!(parse(""), Some("invalid_request"));
        assert_eq!(parse("grant_type=password"), Some("unsupported_grant_type"));
        assert_eq!(parse("grant_type=authorization_code&redirect_uri=x"), Some("invalid_request"));
        assert_eq!(parse("grant_type=authorization_code&code=x"), Some("invalid_request"));
        assert_eq!(parse("grant_type=refresh_token"), Some("invalid_request"));
        assert_eq!(parse("grant_type=client_credentials"), Some("invalid_scope"));
        assert_eq!(parse("grant_type=client_credentials&scope=x&resource=a&resource=b"), Some("invalid_target"));
        assert_eq!(parse("grant_type=authorization_code&code=x&redirect_uri=y"), None);
    }
}
