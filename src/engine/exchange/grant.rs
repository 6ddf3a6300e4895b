//! What a result stands on where its subject has no grant of ours: a grant of its own, made for it and as short.

use super::{Engine, Failed};
use crate::audit::trail;
use crate::domain::client::Client;
use crate::domain::grant::{AuthFacts, Grant, GrantState};
use crate::protocol::ids::{FhirBase, GrantId, Reference, SessionId};
use crate::protocol::launch::LaunchContext;
use crate::protocol::scope::ScopeSet;
use crate::secret::Digest;
use crate::store::{Commit, StoreError};
use crate::time::UnixTime;

/// For whom, about whom, and until when.
pub(super) struct Made<'a> {
    pub caller: &'a Client,
    pub base: &'a FhirBase,
    pub fhir_user: Reference,
    pub user_name: Option<String>,
    pub scopes: ScopeSet,
    pub context: LaunchContext,
    /// The session whose end ends the result, with its epoch.
    pub session: Option<(SessionId, u32)>,
    pub auth: Option<AuthFacts>,
    pub until: UnixTime,
}

impl Engine {
    /// The grant a result stands on, so that introspection and logout treat the result like any other token. Not kept yet: nothing is
    /// kept for an answer that cannot be made.
    pub(super) fn make_grant(&self, made: Made<'_>) -> Grant {
        let id = GrantId::parse(&self.random.id()).expect("hexadecimal is an id");
        let now = self.now();
        Grant {
            id,
            client: made.caller.id.clone(),
            base: made.base.clone(),
            subject: self.subject(made.base, &made.fhir_user),
            fhir_user: Some(made.fhir_user),
            user_name: made.user_name,
            scopes: made.scopes,
            context: made.context,
            organization: None,
            brought: None,
            ends_with_session: made.session.is_some(),
            session_epoch: made.session.as_ref().map_or(0, |(_, epoch)| *epoch),
            session: made.session.map(|(session, _)| session),
            nonce: None,
            auth: made.auth,
            made_at: now,
            jkt: None,
            refresh_until: None,
            expires_at: made.until,
            // No code leads to it: the digest is of nothing anybody has.
            state: GrantState::Live { code: Digest::of(self.new_secret().expose().as_bytes()), redeemed_at: now, generation: 0, rotated_at: None },
        }
    }

    /// # Errors
    /// A store that cannot answer.
    pub(super) async fn keep_grant(&self, grant: &Grant) -> Result<(), Failed> {
        trail::grant(grant);
        if self.store.create(grant.id.as_str(), grant).await? == Commit::Conflict {
            return Err(StoreError::Corrupt("a grant's random id was there already".to_owned()).into());
        }
        Ok(())
    }
}
