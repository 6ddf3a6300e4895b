//! How the server itself reads the EHR's FHIR R4 server: launch resolution, the patient picker, the person match. The token is the
//! caller's. DESIGN §3, How we reach FHIR. <https://hl7.org/fhir/R4/http.html>
//!
//! ```text
//!   client (read, search over HTTP) ─► bundle (what a search found) ─► resource (typed views of one JSON value)
//!   query: what a person typed into the picker
//! ```

mod bundle;
mod client;
pub mod entry;
mod query;
mod resource;

pub use client::FhirClient;
pub use query::PatientQuery;
pub use resource::{Belongs, EncounterFacts, EncounterSummary, PatientSummary, Resource};

/// What a search found, in the server's order unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    pub rows: Vec<T>,
    /// There are more than these; the search should be narrowed.
    pub more: bool,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), more: false }
    }
}

/// Why the FHIR server did not tell. Never holds what was asked, or the token. All of it is 503 to whoever needed the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FhirDown {
    #[error("the FHIR server cannot be reached")]
    Unreachable,
    #[error("the FHIR server's TLS certificate or handshake was refused")]
    Tls,
    #[error("the FHIR server did not answer in time")]
    Timeout,
    #[error("the FHIR server's answer broke off or was not HTTP")]
    Broken,
    /// 401 or 403: it does not take our token.
    #[error("the FHIR server refused us with status {0}")]
    Refused(u16),
    #[error("the FHIR server answered with status {0}")]
    Status(u16),
    #[error("the FHIR server's answer is longer than 4 MiB")]
    TooLarge,
    #[error("the FHIR server's answer is not what was asked for: {0}")]
    Malformed(&'static str),
}

impl FhirDown {
    /// One word for it, for what is counted.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Refused(_) => "refused",
            Self::Status(_) => "status",
            Self::Broken | Self::TooLarge | Self::Malformed(_) => "malformed",
        }
    }
}
