//! What a person let an app do, remembered; and what was withdrawn. SAL §7.7.

use serde::{Deserialize, Serialize};

use crate::protocol::ids::{ClientId, Subject};
use crate::protocol::scope::ScopeSet;
use crate::time::UnixTime;

/// One person and one app. There is a record for every app that ever got a grant, so that `/account/apps` can show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppAccess {
    pub subject: Subject,
    pub client: ClientId,
    /// What was agreed to, by the person or beforehand by the organisation.
    pub scopes: ScopeSet,
    /// Whether the person said so, and need not be asked again for this.
    pub remembered: bool,
    pub since: UnixTime,
    /// Every grant made at or before this moment is dead.
    pub withdrawn_at: Option<UnixTime>,
}

impl AppAccess {
    /// The id of the record: all of one person's begin alike.
    pub fn key(subject: &Subject, client: &ClientId) -> String {
        Self::key_prefix(subject) + &crate::secret::Digest::of(client.as_str().as_bytes()).text()
    }

    pub fn key_prefix(subject: &Subject) -> String {
        format!("{subject}.")
    }

    /// Whether a grant made then has been withdrawn since.
    pub fn withdraws(&self, made_at: UnixTime) -> bool {
        self.withdrawn_at.is_some_and(|at| made_at <= at)
    }

    /// Whether the person has already agreed to all of this.
    pub fn covers(&self, scopes: &ScopeSet) -> bool {
        self.remembered && self.scopes.covers(scopes)
    }
}
