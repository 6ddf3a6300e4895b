//! What is said when something is refused. RFC 6749 §4.1.2.1, §5.2; RFC 6750 §3; OIDC Core §3.1.2.6.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::dpop::Scheme;
use super::ids::ClientId;

/// A registered error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedResponseType,
    InvalidScope,
    AccessDenied,
    ServerError,
    TemporarilyUnavailable,
    /// RFC 8707 §2
    InvalidTarget,
    /// RFC 6750 §3.1
    InvalidToken,
    InsufficientScope,
    /// RFC 9449 §5, §7.1
    InvalidDpopProof,
    /// RFC 9449 §8
    UseDpopNonce,
    /// OIDC Core §3.1.2.6
    LoginRequired,
    InteractionRequired,
    ConsentRequired,
    RequestNotSupported,
    RequestUriNotSupported,
    RegistrationNotSupported,
    /// OpenID Connect Core Error Code unmet_authentication_requirements 1.0 §2
    UnmetAuthenticationRequirements,
}

impl ErrorCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::LoginRequired => "login_required",
            Self::InteractionRequired => "interaction_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
        }
    }

    /// The HTTP status where the error is a JSON answer. RFC 6749 §5.2, RFC 6750 §3.1.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient | Self::InvalidToken => 401,
            Self::InsufficientScope => 403,
            Self::ServerError => 500,
            Self::TemporarilyUnavailable => 503,
            Self::InvalidRequest
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::UnsupportedResponseType
            | Self::InvalidScope
            | Self::AccessDenied
            | Self::InvalidTarget
            | Self::InvalidDpopProof
            | Self::UseDpopNonce
            | Self::LoginRequired
            | Self::InteractionRequired
            | Self::ConsentRequired
            | Self::RequestNotSupported
            | Self::RequestUriNotSupported
            | Self::RegistrationNotSupported
            | Self::UnmetAuthenticationRequirements => 400,
        }
    }
}

/// What `WWW-Authenticate` says on a 401 or 403. RFC 9110 §11.6.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// The client tried Basic, or could have: RFC 6749 §5.2.
    Basic,
    /// No token was sent: no error attribute, and both schemes. RFC 6750 §3, RFC 9449 §7.1.
    TokenMissing,
    /// A token was sent and refused.
    Bearer { scope: Option<&'static str> },
    /// What was sent as, or should have been, a token with a proof is refused. RFC 9449 §7.1.
    DPoP { scope: Option<&'static str> },
}

/// A refusal with its registered code, a text for developers, and the cause for our log, which never reaches the wire.
#[derive(Clone)]
pub struct OAuthError {
    pub code: ErrorCode,
    /// Printable ASCII without `"` and `\` (RFC 6749 §5.2); static text, plus at most a value that parsed as one of our types.
    pub description: Cow<'static, str>,
    pub challenge: Option<Challenge>,
    /// What the next proof must carry: `DPoP-Nonce`. RFC 9449 §8.
    pub nonce: Option<String>,
    /// What is refused may have been a guess: it counts. DESIGN §3, Guessing.
    pub guess: bool,
    /// Who the request said it was from; nothing says that it was.
    pub named: Option<ClientId>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl OAuthError {
    pub fn new(code: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self { code, description: description.into(), challenge: None, nonce: None, guess: false, named: None, cause: None }
    }

    pub fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, description)
    }

    pub fn invalid_grant(description: &'static str) -> Self {
        Self::new(ErrorCode::InvalidGrant, description)
    }

    pub fn invalid_scope(description: &'static str) -> Self {
        Self::new(ErrorCode::InvalidScope, description)
    }

    /// Any failure of client authentication. SAL-107.
    pub fn invalid_client() -> Self {
        Self { challenge: Some(Challenge::Basic), ..Self::new(ErrorCode::InvalidClient, "client authentication failed") }
    }

    /// No access token was sent where one is needed. RFC 6750 §3: the challenge says no more than that.
    pub fn token_missing() -> Self {
        Self::new(ErrorCode::InvalidToken, "an access token is needed").challenge(Challenge::TokenMissing)
    }

    /// The token is none of ours, has expired, was revoked or is meant for somebody else. RFC 6750 §3.1.
    pub fn token_invalid() -> Self {
        Self::new(ErrorCode::InvalidToken, "the access token is invalid or expired").challenge(Challenge::Bearer { scope: None }).guessed()
    }

    /// Something we depend on is down: 503, never a guess. DESIGN §3, Failure.
    pub fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::new(ErrorCode::TemporarilyUnavailable, "the server cannot answer right now; try again shortly").because(cause)
    }

    pub fn server_error(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::new(ErrorCode::ServerError, "the server failed").because(cause)
    }

    #[must_use]
    pub fn because(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    #[must_use]
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// The same refusal, of what may have been a guess.
    #[must_use]
    pub fn guessed(mut self) -> Self {
        self.guess = true;
        self
    }

    /// The same refusal, of a request that named this client.
    #[must_use]
    pub fn of(mut self, client: &ClientId) -> Self {
        self.named = Some(client.clone());
        self
    }

    /// The same refusal where the token came under this scheme. RFC 9449 §7.1.
    #[must_use]
    pub fn under(mut self, scheme: Scheme) -> Self {
        self.challenge = match (scheme, self.challenge, self.code) {
            (Scheme::DPoP, Some(Challenge::Bearer { scope }), _) => Some(Challenge::DPoP { scope }),
            (Scheme::DPoP, None, ErrorCode::InvalidDpopProof | ErrorCode::UseDpopNonce) => Some(Challenge::DPoP { scope: None }),
            (_, challenge, _) => challenge,
        };
        self
    }

    #[must_use]
    pub fn with_nonce(mut self, nonce: String) -> Self {
        self.nonce = Some(nonce);
        self
    }

    /// The HTTP status; a proof that fails beside an access token is 401 (RFC 9449 §7.1), at the token endpoint 400 (§5).
    pub fn status(&self) -> u16 {
        match (&self.challenge, self.code) {
            (Some(Challenge::DPoP { .. }), ErrorCode::InvalidDpopProof | ErrorCode::UseDpopNonce) => 401,
            (_, code) => code.status(),
        }
    }

    /// The reason for our log: the cause with all its own causes, or the description.
    pub fn reason(&self) -> String {
        let Some(cause) = &self.cause else { return self.description.clone().into_owned() };
        let mut text = cause.to_string();
        let mut next = cause.source();
        while let Some(deeper) = next {
            text.push_str(": ");
            text.push_str(&deeper.to_string());
            next = deeper.source();
        }
        text
    }
}

impl fmt::Debug for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.reason())
    }
}
