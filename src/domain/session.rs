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
    /// A login at the identity provider behind us.
    #[serde(rename = "helseid")]
    HelseId,
    Local,
}

impl SessionWay {
    /// The last part of our `acr` values: `{issuer}/acr/ehr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ehr => "ehr",
            Self::HelseId => "helseid",
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
    /// How the identity provider says it knew the person. RFC 8176.
    #[serde(default)]
    pub amr: Vec<String>,
    /// When the person was last seen to be the person. OIDC Core §2, `auth_time`.
    pub auth_time: UnixTime,
    /// The EHR client that may end it, for sessions of the EPJ.
    pub ehr: Option<ClientId>,
    /// The cookie that shows it, for sessions of ours. EPJ sessions are shown by a cookie per launch.
    pub cookie: Option<Digest>,
    pub ended_at: Option<UnixTime>,
    /// How often everything that hung on it was ended while the session itself went on: an app logged the person out, the EPJ did not.
    #[serde(default)]
    pub epoch: u32,
    /// When that last happened.
    #[serde(default)]
    pub logged_out_at: Option<UnixTime>,
    pub expires_at: UnixTime,
}

impl Session {
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.ended_at.is_none() && now < self.expires_at
    }

    /// Whether what was begun in this epoch still hangs on a live session.
    pub fn carries(&self, epoch: u32, now: UnixTime) -> bool {
        self.is_live(now) && self.epoch == epoch
    }

    /// Whether an id_token of then speaks of what is already over: its app logged out before, and somebody reloads the page.
    pub fn outdates(&self, issued_at: UnixTime) -> bool {
        self.logged_out_at.is_some_and(|at| issued_at < at)
    }

    /// What a logout leaves. A session of ours is over; the EPJ's is the EPJ's to end, and only loses what was begun under it.
    #[must_use]
    pub fn logged_out(&self, now: UnixTime) -> Self {
        match self.way {
            SessionWay::Ehr => Self { epoch: self.epoch.saturating_add(1), logged_out_at: Some(now), ..self.clone() },
            SessionWay::HelseId | SessionWay::Local => Self { ended_at: self.ended_at.or(Some(now)), ..self.clone() },
        }
    }

    /// `amr` of tokens issued under this session: ours where nobody said more.
    pub fn amr(&self) -> Vec<String> {
        if self.amr.is_empty() { vec![self.way.as_str().to_owned()] } else { self.amr.clone() }
    }

    /// `acr` of tokens issued under this session.
    pub fn acr(&self, issuer: &crate::protocol::ids::Issuer) -> String {
        issuer.at(&format!("/acr/{}", self.way.as_str()))
    }
}
