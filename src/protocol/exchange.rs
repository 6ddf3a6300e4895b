//! Token exchange: its words. RFC 8693 §2–4; `reference/helseid.md` §6.3.

use serde::{Deserialize, Serialize};

use super::error::{ErrorCode, OAuthError};
use super::params::Params;
use crate::secret::Secret;

/// `grant_type` of a token exchange. RFC 8693 §2.1.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The `token_type` of something that is no access token. RFC 8693 §2.2.1.
pub const NOT_APPLICABLE: &str = "N_A";

/// No token we take is longer. §6.8 T23.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Context never comes from an exchange request. §6.5, T10.
const CONTEXT_NAMES: &[&str] = &["patient", "encounter", "fhirUser"];

/// What kind of token something is. RFC 8693 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TokenType {
    #[serde(rename = "urn:ietf:params:oauth:token-type:access_token")]
    AccessToken,
    #[serde(rename = "urn:ietf:params:oauth:token-type:jwt")]
    Jwt,
    #[serde(rename = "urn:ietf:params:oauth:token-type:id_token")]
    IdToken,
    #[serde(rename = "urn:ietf:params:oauth:token-type:refresh_token")]
    RefreshToken,
    #[serde(rename = "urn:ietf:params:oauth:token-type:saml1")]
    Saml1,
    #[serde(rename = "urn:ietf:params:oauth:token-type:saml2")]
    Saml2,
}

impl TokenType {
    /// All of RFC 8693 §3.
    pub const ALL: [Self; 6] = [Self::AccessToken, Self::Jwt, Self::IdToken, Self::RefreshToken, Self::Saml1, Self::Saml2];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::RefreshToken => "urn:ietf:params:oauth:token-type:refresh_token",
            Self::Saml1 => "urn:ietf:params:oauth:token-type:saml1",
            Self::Saml2 => "urn:ietf:params:oauth:token-type:saml2",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A token as it was presented: what it is said to be, not yet what it is.
#[derive(Debug)]
pub struct Presented {
    pub token: Secret<String>,
    pub declared: TokenType,
}

impl Presented {
    fn parse(params: &Params, token: &str, kind: &str) -> Result<Option<Self>, OAuthError> {
        match (params.get(token), params.get(kind)) {
            (None, None) => Ok(None),
            (Some(text), Some(_)) if text.len() > LONGEST_TOKEN => Err(OAuthError::invalid_request("a token may have at most 16 KiB")),
            (Some(text), Some(declared)) => {
                let declared = TokenType::parse(declared).ok_or_else(|| OAuthError::invalid_request("a token type is none of RFC 8693 section 3"))?;
                Ok(Some(Self { token: Secret::new(text.to_owned()), declared }))
            }
            // RFC 8693 §2.1: the type is required with the token, and must not come without it.
            (Some(_), None) | (None, Some(_)) => Err(OAuthError::invalid_request("a token and its type come together")),
        }
    }
}

/// What is asked of a token exchange. RFC 8693 §2.1.
#[derive(Debug)]
pub struct ExchangeRequest {
    pub subject: Presented,
    pub actor: Option<Presented>,
    /// What `audience` and `resource` name: one target, a lookup key that is never fetched (T24).
    pub target: String,
    pub scope: Option<String>,
    pub requested: Option<TokenType>,
    /// The launch handle that gives a result its context. §6.5.
    pub launch: Option<Secret<String>>,
    /// A proof for the upstream's token endpoint, by the app's own key. §6.4, `handover`.
    pub upstream_proof: Option<Secret<String>>,
}

impl ExchangeRequest {
    /// # Errors
    /// `invalid_request` for what is missing, unknown or smuggled in; `invalid_target` for several targets or one that is no target.
    pub fn parse(params: &Params) -> Result<Self, OAuthError> {
        if CONTEXT_NAMES.iter().any(|name| params.has(name)) {
            return Err(OAuthError::invalid_request("patient, encounter and fhirUser cannot be asked for: context comes from the launch"));
        }
        let subject = Presented::parse(params, "subject_token", "subject_token_type")?;
        let subject = subject.ok_or_else(|| OAuthError::invalid_request("subject_token is missing"))?;
        let actor = Presented::parse(params, "actor_token", "actor_token_type")?;
        let requested = match params.get("requested_token_type") {
            None => None,
            Some(text) => match TokenType::parse(text) {
                Some(kind @ (TokenType::AccessToken | TokenType::Jwt | TokenType::IdToken)) => Some(kind),
                // P3: an exchange never gives a refresh token.
                Some(TokenType::RefreshToken | TokenType::Saml1 | TokenType::Saml2) | None => {
                    return Err(OAuthError::invalid_request("requested_token_type must be that of an access_token, jwt or id_token"));
                }
            },
        };
        let secret = |name| params.get(name).map(|text: &str| Secret::new(text.to_owned()));
        let launch = secret("launch");
        let upstream_proof = secret("upstream_proof");
        Ok(Self { subject, actor, target: target(params)?, scope: params.get("scope").map(str::to_owned), requested, launch, upstream_proof })
    }
}

/// P5: one target, by either name. RFC 8693 §2.1 and RFC 8707 §2 allow several; §2.2.2 lets us refuse them.
fn target(params: &Params) -> Result<String, OAuthError> {
    let invalid = |text: &'static str| OAuthError::new(ErrorCode::InvalidTarget, text);
    // RFC 8707 §2: an absolute URI without a fragment.
    if params.all("resource").any(|resource| resource.contains('#') || url::Url::parse(resource).is_err()) {
        return Err(invalid("resource must be an absolute URI without a fragment"));
    }
    let mut named = params.all("audience").chain(params.all("resource"));
    let target = named.next().ok_or_else(|| OAuthError::invalid_request("audience or resource is missing"))?;
    if named.any(|other| other != target) {
        return Err(invalid("one target at a time"));
    }
    Ok(target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "subject_token=a&subject_token_type=urn:ietf:params:oauth:token-type:access_token";

    fn code(form: &str) -> Option<&'static str> {
        ExchangeRequest::parse(&Params::parse(form.as_bytes()).unwrap()).err().map(|error| error.code.as_str())
    }

    #[test]
    fn what_is_asked_is_read_or_refused() {
        assert_eq!(code(&format!("{SUBJECT}&audience=x")), None);
        assert_eq!(code(&format!("{SUBJECT}&resource=https://x.example&audience=https://x.example")), None);
        for (form, expected) in [
            ("audience=x", "invalid_request"),
            ("subject_token=a&audience=x", "invalid_request"),
            ("subject_token=a&subject_token_type=urn:x&audience=x", "invalid_request"),
            (SUBJECT, "invalid_request"),
            (&*format!("{SUBJECT}&audience=x&audience=y"), "invalid_target"),
            (&*format!("{SUBJECT}&audience=x&resource=https://y.example"), "invalid_target"),
            (&*format!("{SUBJECT}&resource=x"), "invalid_target"),
            (&*format!("{SUBJECT}&resource=https://x.example/%23f"), "invalid_target"),
            (&*format!("{SUBJECT}&audience=x&actor_token=b"), "invalid_request"),
            (&*format!("{SUBJECT}&audience=x&actor_token_type=urn:ietf:params:oauth:token-type:jwt"), "invalid_request"),
            (&*format!("{SUBJECT}&audience=x&requested_token_type=urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"),
            (&*format!("{SUBJECT}&audience=x&patient=p"), "invalid_request"),
            (&*format!("{SUBJECT}&audience=x&encounter=e"), "invalid_request"),
            (&*format!("{SUBJECT}&audience=x&fhirUser=Practitioner/1"), "invalid_request"),
        ] {
            assert_eq!(code(form), Some(expected), "{form}");
        }
        let long = format!("subject_token={}&subject_token_type=urn:ietf:params:oauth:token-type:jwt&audience=x", "a".repeat(LONGEST_TOKEN + 1));
        assert_eq!(code(&long), Some("invalid_request"));
    }
}
