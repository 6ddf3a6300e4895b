//! Which clients there are: those of the configuration, and what was added or changed while the server ran.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::domain::client::{Client, ClientAuthMethod};
use crate::protocol::ids::ClientId;
use crate::secret::Secret;
use crate::store::records::ClientChange;
use crate::store::{Commit, StoreError};
use crate::time::UnixTime;

/// How long the old secret goes on working after a new one was made, so that nobody is cut off in between.
pub const SECRET_OVERLAP: Duration = Duration::from_secs(3600);

/// How many are read from the store at a time.
const PAGE: usize = 200;

/// Why a client cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a client of this id is registered already")]
    Exists,
    #[error("no client has this id")]
    Unknown,
    #[error("the client has no secret: it is registered with {0}")]
    NoSecret(&'static str),
    #[error("somebody else changed the client at the same time; try again")]
    Conflict,
}

/// The client as it is now: registered, with what was changed since.
pub(super) fn as_it_is(registered: Option<&Arc<Client>>, change: Option<&ClientChange>, now: UnixTime) -> Option<Arc<Client>> {
    let Some(change) = change else { return registered.cloned() };
    let mut client = change.added.clone().or_else(|| registered.map(|client| client.as_ref().clone()))?;
    if let Some(disabled) = change.disabled {
        client.disabled = disabled;
    }
    if let (Some(changed), ClientAuthMethod::SecretBasic { secrets } | ClientAuthMethod::SecretPost { secrets }) = (&change.secrets, &mut client.auth) {
        *secrets = changed.iter().filter(|(_, until)| until.is_none_or(|until| now < until)).map(|(digest, _)| *digest).collect();
    }
    Some(Arc::new(client))
}

impl Engine {
    /// The client of this id, if there is one; a disabled one too.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn client(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        let change = self.store.load::<ClientChange>(id.as_str()).await?;
        Ok(as_it_is(self.rules.clients.get(id), change.as_ref().map(|held| &held.value), self.now()))
    }

    /// Every client, in the order of their ids.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn all_clients(&self) -> Result<Vec<Arc<Client>>, StoreError> {
        let mut changes = std::collections::BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list::<ClientChange>(after.as_deref(), PAGE).await?;
            let ended = page.len() < PAGE;
            after = page.last().map(|(id, _)| id.clone());
            changes.extend(page);
            if ended {
                break;
            }
        }
        let mut ids: std::collections::BTreeSet<&str> = self.rules.clients.keys().map(ClientId::as_str).collect();
        ids.extend(changes.keys().map(String::as_str));
        let registered = |id: &str| ClientId::parse(id).ok().and_then(|id| self.rules.clients.get(&id));
        Ok(ids.into_iter().filter_map(|id| as_it_is(registered(id), changes.get(id), self.now())).collect())
    }

    /// Registers a client at run time.
    ///
    /// # Errors
    /// [`ClientsError::Exists`]
    pub async fn add_client(&self, client: Client) -> Result<(), ClientsError> {
        if self.rules.clients.contains_key(&client.id) {
            return Err(ClientsError::Exists);
        }
        let id = client.id.clone();
        let change = ClientChange { added: Some(client), changed_at: Some(self.now()), ..ClientChange::default() };
        match self.store.create(id.as_str(), &change).await? {
            Commit::Applied => Ok(()),
            Commit::Conflict => Err(ClientsError::Exists),
        }
    }

    /// Disables a client, or enables it again. Its grants are dead while it is disabled.
    ///
    /// # Errors
    /// [`ClientsError::Unknown`]
    pub async fn set_client_disabled(&self, id: &ClientId, disabled: bool) -> Result<(), ClientsError> {
        self.change_client(id, |change, _| {
            change.disabled = Some(disabled);
            Ok(())
        })
        .await
    }

    /// Makes a new secret; the one before works for [`SECRET_OVERLAP`] more. The answer is the only time it is seen.
    ///
    /// # Errors
    /// [`ClientsError::NoSecret`] for a client that has none.
    pub async fn rotate_client_secret(&self, id: &ClientId) -> Result<Secret<String>, ClientsError> {
        let fresh = Secret::new(format!("secret_{}", self.new_secret().expose()));
        let digest = fresh.digest();
        let now = self.now();
        self.change_client(id, |change, client| {
            let (ClientAuthMethod::SecretBasic { secrets } | ClientAuthMethod::SecretPost { secrets }) = &client.auth else {
                return Err(ClientsError::NoSecret(client.auth.as_str()));
            };
            let before = secrets.iter().take(1).map(|digest| (*digest, Some(now + SECRET_OVERLAP)));
            change.secrets = Some(std::iter::once((digest, None)).chain(before).collect());
            Ok(())
        })
        .await?;
        Ok(fresh)
    }

    async fn change_client(&self, id: &ClientId, edit: impl FnOnce(&mut ClientChange, &Client) -> Result<(), ClientsError>) -> Result<(), ClientsError> {
        let held = self.store.load::<ClientChange>(id.as_str()).await?;
        let before = held.as_ref().map(|held| &held.value);
        let client = as_it_is(self.rules.clients.get(id), before, self.now()).ok_or(ClientsError::Unknown)?;
        let mut change = before.cloned().unwrap_or_default();
        edit(&mut change, &client)?;
        change.changed_at = Some(self.now());
        let commit = match &held {
            Some(held) => self.store.replace(held, &change).await?,
            None => self.store.create(id.as_str(), &change).await?,
        };
        match commit {
            Commit::Applied => Ok(()),
            Commit::Conflict => Err(ClientsError::Conflict),
        }
    }
}
