//! What a person allowed, seen and withdrawn: `management_endpoint`. SAL §7.7.

use std::time::Duration;

use super::Engine;
use crate::audit::trail;
use crate::domain::audit::Action;
use crate::domain::consent::AppAccess;
use crate::protocol::ids::{ClientId, Subject};
use crate::store::{Commit, StoreError};

/// How many apps one person's page shows at most.
const SHOWN: usize = 200;

impl Engine {
    /// The apps this person let in and has not thrown out.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn allowed_apps(&self, subject: &Subject) -> Result<Vec<AppAccess>, StoreError> {
        let prefix = AppAccess::key_prefix(subject);
        let page = self.store.list::<AppAccess>(Some(&prefix), SHOWN).await?;
        let own = page.into_iter().take_while(|(id, _)| id.starts_with(&prefix)).map(|(_, access)| access);
        Ok(own.filter(|access| !access.scopes.is_empty()).collect())
    }

    /// Forgets what the person agreed to for this app, and ends every grant made until now: one write.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn withdraw(&self, subject: &Subject, client: &ClientId) -> Result<(), StoreError> {
        loop {
            let Some(held) = self.access(subject, client).await? else { return Ok(()) };
            // Always later than the last one: what was made in between dies too, however quickly it all went.
            let at = held.value.withdrawn_at.map_or_else(|| self.now(), |before| self.now().max(before + Duration::from_secs(1)));
            let withdrawn = AppAccess { scopes: crate::protocol::scope::ScopeSet::default(), remembered: false, withdrawn_at: Some(at), ..held.value.clone() };
            if self.store.replace(&held, &withdrawn).await? == Commit::Applied {
                trail::decided(Action::Withdraw);
                trail::note(|facts| facts.about = Some(client.clone()));
                return Ok(());
            }
        }
    }
}
