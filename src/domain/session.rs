//! A person's session: the EPJ's, or one that began with a login here.

use serde::{Deserialize, Serialize};

use crate::protocol::ids::{ClientId, FhirBase, Reference, SessionId, Subject};
use crate::secret::Digest;
use crate::time::UnixTime;

/// How the person was found out. Goes into `acr` and `amr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionWay {
    /// The EPJ vouched for the person when it made the launch.
    Ehr,
    Local,
}

impl SessionWay {
    /// The last part of our `acr` values: `{issuer}/acr/ehr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ehr => "ehr",
            Self::Local => "local",
        }
    }
}

/// One session. Ending it is one write to this record; whatever hangs on it is read as ended from then on (DESIGN §3, The store).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub subject: Subject,
    /// The FHIR server that knows the person.
    pub base: FhirBase,
    pub fhir_user: Reference,
    pub name: Option<String>,
    pub way: SessionWay,
    /// When the person was last seen to be the person. OIDC Core §2, `auth_time`.
    pub auth_time: UnixTime,
    /// The EHR client that may end it, for sessions of the EPJ.
    pub ehr: Option<ClientId>,
    /// The cookie that shows it, for sessions of ours. EPJ sessions are shown by a cookie per launch.
    pub cookie: Option<Digest>,
    pub ended_at: Option<UnixTime>,
    pub expires_at: UnixTime,
}

impl Session {
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.ended_at.is_none() && now < self.expires_at
    }

    /// `acr` of tokens issued under this session.
    pub fn acr(&self, issuer: &crate::protocol::ids::Issuer) -> String {
        issuer.at(&format!("/acr/{}", self.way.as_str()))
    }
}
