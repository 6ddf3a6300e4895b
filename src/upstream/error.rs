//! Why the provider gave us nothing. No variant carries a text of the provider's: what it says goes to the debug log, cut to what cannot
//! be a token or a number of a person, and nowhere else.

use std::fmt;

use crate::fetch::FetchError;
use crate::fetch::outgoing::Failure;
use crate::jose::JwtError;
use crate::protocol::error::{ErrorCode, OAuthError};

/// Why there was no answer worth reading. Nothing of it depends on what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Down {
    #[error("the host cannot be reached")]
    Unreachable,
    #[error("the host's TLS certificate or handshake was refused")]
    Tls,
    #[error("no complete answer in time")]
    Timeout,
    #[error("the answer broke off or was not HTTP")]
    Broken,
    #[error("the answer is longer than allowed")]
    TooLarge,
    #[error("the answer was a redirect, which is not followed")]
    Redirect,
    #[error("the answer had status {0}")]
    Status(u16),
    #[error("too many calls failed lately; none is made for now")]
    CircuitOpen,
    #[error("too many calls are under way")]
    Full,
}

impl Down {
    /// One word for it, for what is counted.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken | Self::TooLarge => "malformed",
            Self::Redirect | Self::Status(_) => "status",
            Self::CircuitOpen | Self::Full => "not_asked",
        }
    }
}

impl From<Failure> for Down {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Timeout => Self::Timeout,
            Failure::Tls => Self::Tls,
            Failure::Unreachable => Self::Unreachable,
            Failure::Broken => Self::Broken,
        }
    }
}

/// What is wrong with the provider's metadata. `reference/helseid.md` T9, T15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataFault {
    #[error("it is not a JSON object")]
    Malformed,
    #[error("its issuer is not the configured one")]
    Issuer,
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its {0} is not a URL at the issuer's own origin")]
    Endpoint(&'static str),
}

/// What the provider refused, by the registered code alone. RFC 6749 §5.2, RFC 8707 §2, RFC 9449 §5; `reference/helseid.md` §2.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("invalid_request")]
    InvalidRequest,
    #[error("invalid_client")]
    InvalidClient,
    #[error("invalid_grant")]
    InvalidGrant,
    #[error("unauthorized_client")]
    UnauthorizedClient,
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    #[error("invalid_scope")]
    InvalidScope,
    #[error("invalid_target")]
    InvalidTarget,
    #[error("invalid_dpop_proof")]
    InvalidProof,
    #[error("access_denied")]
    AccessDenied,
    #[error("the attest was given twice")]
    DoubleStructure,
    #[error("the organisation was refused: {0}")]
    Organisation(Hid),
    #[error("an error code we do not know, with status {0}")]
    Other(u16),
}

/// Why an organisation was refused. `reference/helseid.md` §2.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hid {
    ParentNotListed,
    ChildNotListed,
    ChildNotOfParent,
    NotANumber,
    ParentNotEnabled,
    ChildNotEnabled,
    Format,
    SharedSecret,
    NotInCodeFlow,
    NotConfigured,
}

impl Hid {
    const ALL: [(&'static str, Self); 10] = [
        ("HID-1001", Self::ParentNotListed),
        ("HID-1002", Self::ChildNotListed),
        ("HID-1003", Self::ChildNotOfParent),
        ("HID-1004", Self::NotANumber),
        ("HID-1005", Self::ParentNotEnabled),
        ("HID-1006", Self::ChildNotEnabled),
        ("HID-1007", Self::Format),
        ("HID-1008", Self::SharedSecret),
        ("HID-1009", Self::NotInCodeFlow),
        ("HID-1010", Self::NotConfigured),
    ];

    /// The code a description names.
    pub(super) fn find(description: &str) -> Option<Self> {
        Self::ALL.iter().find(|(code, _)| description.contains(code)).map(|(_, hid)| *hid)
    }

    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, hid)| *hid == self).map_or("HID", |(code, _)| code)
    }
}

impl fmt::Display for Hid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with an answer the provider meant as a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    #[error("it is not a JSON object")]
    NotJson,
    #[error("it has no usable {0}")]
    Missing(&'static str),
    #[error("the token is a bearer token though a proof was sent")]
    Bearer,
    #[error("it speaks of another person")]
    Subject,
}

/// What is wrong with a token of the provider's, step by step. `reference/helseid.md` §2.9, §2.11; OIDC Core §3.1.3.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("it is longer than 16 KiB")]
    TooLong,
    #[error("it does not name its key")]
    NoKeyId,
    #[error(transparent)]
    Jwt(#[from] JwtError),
    #[error("a claim of it has the wrong form: {0}")]
    Claim(&'static str),
    #[error("its nonce is not ours")]
    Nonce,
    #[error("it was issued to another party (azp)")]
    AuthorizedParty,
    #[error("it was issued too long ago")]
    Old,
    #[error("it does not say when the person logged in")]
    NoAuthTime,
    #[error("the person logged in too long ago")]
    LoginTooOld,
    #[error("at_hash is not that of the access token")]
    AccessTokenHash,
    #[error("the security level is missing, unknown or too low")]
    Level,
    #[error("it names no person")]
    NoPerson,
    #[error("it speaks of another person")]
    Subject,
    #[error("it is no access token")]
    NotAnAccessToken,
    #[error("it lives longer than 15 minutes from now")]
    TooLongLived,
    #[error("it is not bound to our key")]
    Binding,
    #[error("it was issued for another organisation")]
    Organisation,
    #[error("its chain of actors is too long, or does not begin with us")]
    Actor,
    #[error("it is no logout token")]
    NotALogoutToken,
}

/// Why a call to the provider gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Nothing was done there; the same may be asked again later.
    #[error("the identity provider is down: {0}")]
    Down(Down),
    /// A call that must not be made twice got no readable answer: it may have been done or not, and is never repeated.
    #[error("whether the identity provider did it is unknown: {0}")]
    OutcomeUnknown(Down),
    #[error("the identity provider refused: {0}")]
    Refused(Refusal),
    #[error("the identity provider asks for one nonce after the other")]
    NonceLoop,
    /// The proof somebody else made needs this nonce.
    #[error("the identity provider asks for a nonce in the proof that was brought")]
    NonceWanted(String),
    #[error("the identity provider's metadata: {0}")]
    Metadata(MetadataFault),
    #[error("the identity provider's answer: {0}")]
    Answer(AnswerFault),
    #[error("the identity provider's token: {0}")]
    Token(#[from] TokenFault),
    #[error("the identity provider's keys: {0}")]
    Keys(#[from] FetchError),
    #[error("our own key cannot sign")]
    Signing,
}

impl From<AnswerFault> for UpstreamError {
    fn from(fault: AnswerFault) -> Self {
        Self::Answer(fault)
    }
}

impl From<MetadataFault> for UpstreamError {
    fn from(fault: MetadataFault) -> Self {
        Self::Metadata(fault)
    }
}

/// The answer to whoever wanted a token of the provider's through us. `reference/helseid.md` §6.4: nothing the provider said is in it.
impl From<UpstreamError> for OAuthError {
    fn from(reason: UpstreamError) -> Self {
        use Refusal as R;
        use UpstreamError as U;
        let error = match &reason {
            U::Down(_) | U::OutcomeUnknown(_) | U::Keys(_) | U::NonceLoop => return Self::unavailable(reason),
            U::NonceWanted(nonce) => {
                let nonce = nonce.clone();
                return Self::new(ErrorCode::UseDpopNonce, "upstream_proof needs this nonce").with_nonce(nonce).because(reason);
            }
            U::Refused(R::InvalidGrant) => Self::invalid_request("upstream_session_ended"),
            U::Refused(R::AccessDenied | R::DoubleStructure | R::Organisation(_) | R::InvalidTarget) => {
                Self::new(ErrorCode::InvalidTarget, "the identity provider does not allow this target")
            }
            U::Refused(R::InvalidScope) => Self::invalid_scope("the identity provider does not allow this scope"),
            U::Refused(R::InvalidRequest) => Self::invalid_request("the identity provider does not allow this exchange"),
            U::Refused(R::InvalidClient | R::UnauthorizedClient | R::UnsupportedGrantType | R::InvalidProof | R::Other(_))
            | U::Metadata(_)
            | U::Answer(_)
            | U::Token(_)
            | U::Signing => return Self::server_error(reason),
        };
        error.because(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_in_a_description() {
        assert_eq!(Hid::find("Feil: HID-1001 (orgnr)"), Some(Hid::ParentNotListed));
        assert_eq!(Hid::find("HID-1010").map(Hid::as_str), Some("HID-1010"));
        assert_eq!(Hid::find("HID-2000 and nothing else"), None);
    }

    #[test]
    fn nothing_of_the_providers_reaches_the_wire() {
        let wire = |reason: UpstreamError| {
            let error = OAuthError::from(reason);
            (error.status(), error.code.as_str())
        };
        assert_eq!(wire(UpstreamError::Down(Down::Timeout)), (503, "temporarily_unavailable"));
        assert_eq!(wire(UpstreamError::OutcomeUnknown(Down::Broken)), (503, "temporarily_unavailable"));
        assert_eq!(wire(UpstreamError::Refused(Refusal::InvalidGrant)), (400, "invalid_request"));
        assert_eq!(wire(UpstreamError::Refused(Refusal::Organisation(Hid::ParentNotListed))), (400, "invalid_target"));
        assert_eq!(wire(UpstreamError::Refused(Refusal::InvalidClient)), (500, "server_error"));
        assert_eq!(wire(UpstreamError::Answer(AnswerFault::Bearer)), (500, "server_error"));
    }
}
