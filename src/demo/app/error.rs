//! What can go wrong for the doctor, as NAV's app sorts it (`nav.md` §3.9), each with a code support can be told.

use axum::http::StatusCode;

use super::texts::AppText;

/// Why the app shows an error page. No variant holds a token, a code or an identity number.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the launch lacks iss or launch")]
    LaunchIncomplete,
    #[error("the iss is not on the list")]
    InvalidIssuer { iss: String },
    #[error("discovery failed: {0}")]
    Discovery(String),
    #[error("the callback lacks code or state")]
    CallbackIncomplete,
    #[error("the state is not one of this browser's")]
    State,
    #[error("the answer came from another issuer than was asked")]
    OtherIssuer,
    #[error("the authorization server refused: {code}")]
    Refused { code: String },
    #[error("the code could not be exchanged: {0}")]
    Exchange(String),
    #[error("the token answer was not good enough: {0}")]
    Answer(String),
    #[error("no session for this patient")]
    NoSession,
    #[error("the practitioner has no HPR number")]
    NoHpr,
    #[error("the patient is unreadable or has no identity number")]
    NoPatient,
    #[error("the FHIR server did not answer as it should: {0}")]
    Fhir(String),
    #[error("the document was not written: {0}")]
    NotWritten(String),
    #[error("the form is not ours")]
    Form,
    #[error("no such page")]
    Unknown,
}

impl AppError {
    /// The code on the page.
    pub fn code(&self) -> &'static str {
        match self {
            Self::LaunchIncomplete => "launch-incomplete",
            Self::InvalidIssuer { .. } => "invalid-issuer",
            Self::Discovery(_) => "discovery-failed",
            Self::CallbackIncomplete => "callback-incomplete",
            Self::State => "invalid-state",
            Self::OtherIssuer => "issuer-mismatch",
            Self::Refused { .. } => "authorization-refused",
            Self::Exchange(_) => "token-exchange-failed",
            Self::Answer(_) => "token-invalid",
            Self::NoSession => "no-session",
            Self::NoHpr => "no-valid-hpr",
            Self::NoPatient => "no-valid-patient",
            Self::Fhir(_) => "fhir-error",
            Self::NotWritten(_) => "not-written",
            Self::Form => "invalid-form",
            Self::Unknown => "not-found",
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::LaunchIncomplete | Self::InvalidIssuer { .. } | Self::CallbackIncomplete | Self::State | Self::OtherIssuer => StatusCode::BAD_REQUEST,
            Self::Discovery(_) | Self::Exchange(_) | Self::Answer(_) | Self::Fhir(_) | Self::NotWritten(_) => StatusCode::BAD_GATEWAY,
            Self::Refused { .. } | Self::NoSession | Self::NoHpr | Self::NoPatient | Self::Form => StatusCode::FORBIDDEN,
            Self::Unknown => StatusCode::NOT_FOUND,
        }
    }

    /// What the doctor reads.
    pub fn sentence(&self, t: AppText) -> String {
        match self {
            Self::LaunchIncomplete => t.error_launch(),
            Self::InvalidIssuer { .. } | Self::Discovery(_) => t.error_issuer(),
            Self::CallbackIncomplete | Self::State | Self::OtherIssuer => t.error_state(),
            Self::Refused { .. } => t.error_refused(),
            Self::Exchange(_) | Self::Answer(_) => t.error_login(),
            Self::NoSession => t.error_session(),
            Self::NoHpr => t.error_hpr(),
            Self::NoPatient => t.error_patient(),
            Self::Fhir(_) => t.error_fhir(),
            Self::NotWritten(_) => t.error_not_written(),
            Self::Form => t.error_form(),
            Self::Unknown => t.error_unknown(),
        }
    }

    /// A detail that helps whoever is asked for help: the unknown `iss`, the server's error code, what was wrong with the answer.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::InvalidIssuer { iss } => Some(iss),
            Self::Refused { code } => Some(code),
            Self::Discovery(why) | Self::Exchange(why) | Self::Answer(why) | Self::Fhir(why) | Self::NotWritten(why) => Some(why),
            Self::LaunchIncomplete | Self::CallbackIncomplete | Self::State | Self::OtherIssuer | Self::NoSession | Self::NoHpr | Self::NoPatient => None,
            Self::Form | Self::Unknown => None,
        }
    }
}
