//! Which clients there are: those of the configuration, and what was added or changed while the server ran.
//!
//! A client of the configuration wins over one of the same id that was added at run time: the file is what an operator reads.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::domain::client::{Client, ClientAuthMethod, GrantType};
use crate::domain::consent::AppAccess;
use crate::protocol::ids::ClientId;
use crate::secret::{Digest, Secret};
use crate::store::records::ClientChange;
use crate::store::{Commit, StoreError};
use crate::time::UnixTime;

/// How long the old secret goes on working after a new one was made, so that nobody is cut off in between.
pub const SECRET_OVERLAP: Duration = Duration::from_secs(3600);

/// How long the id of a removed client stays taken at least: requests that began before it went have ended by then.
const REMOVED_FOR: Duration = Duration::from_secs(60);

/// How many are read from the store at a time.
const PAGE: usize = 200;

/// How often a change is tried again where somebody else was faster.
const ATTEMPTS: usize = 8;

/// Why a client cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a client of this id is registered already")]
    Exists,
    #[error("a client of this id was removed moments ago, and tokens it got may still be in use; its id is free again at {0}")]
    Removed(UnixTime),
    #[error("no client has this id")]
    Unknown,
    #[error("the client stands in the configuration; take it out there, or disable it")]
    Configured,
    #[error("the client has no secret: it is registered with {0}")]
    NoSecret(&'static str),
    #[error("somebody else changed the client at the same time; try again")]
    Conflict,
}

/// A secret just made. Nobody sees it again.
#[derive(Debug)]
pub struct FreshSecret {
    pub secret: Secret<String>,
    /// Until when the secrets before it work; `None` where they do not any more.
    pub old_until: Option<UnixTime>,
}

/// The client as it is now: registered, with what was changed since.
pub(super) fn as_it_is(registered: Option<&Arc<Client>>, change: Option<&ClientChange>, now: UnixTime) -> Option<Arc<Client>> {
    let change = change.filter(|change| change.removed_until.is_none());
    let (client, change) = match (registered, change) {
        (_, None) => return registered.cloned(),
        (Some(registered), Some(change)) => (registered.as_ref().clone(), change),
        (None, Some(change)) => (change.added.clone()?, change),
    };
    let mut client = client;
    if let Some(disabled) = change.disabled {
        client.disabled = disabled;
    }
    // Secrets that were made for a client of run time are not those of the one in the configuration that took its id.
    let same = change.added.is_none() || registered.is_none();
    if let (true, Some(changed), ClientAuthMethod::SecretBasic { secrets } | ClientAuthMethod::SecretPost { secrets }) =
        (same, &change.secrets, &mut client.auth)
    {
        *secrets = changed.iter().filter(|(_, until)| works(*until, now)).map(|(digest, _)| *digest).collect();
    }
    Some(Arc::new(client))
}

fn works(until: Option<UnixTime>, now: UnixTime) -> bool {
    until.is_none_or(|until| now < until)
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

    /// The same, as it is at this moment: for whoever decides about somebody else's client, or looks whether the store answers. [`Engine::client`] is for
    /// the client that asks.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn client_anew(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        let change = self.store.load_anew::<ClientChange>(id.as_str()).await?;
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

    /// Whether the client stands in the configuration, which alone can take it away.
    pub fn is_configured(&self, id: &ClientId) -> bool {
        self.rules.clients.contains_key(id)
    }

    /// Registers a client at run time.
    ///
    /// # Errors
    /// [`ClientsError::Exists`], [`ClientsError::Removed`]
    pub async fn add_client(&self, client: Client) -> Result<(), ClientsError> {
        if self.is_configured(&client.id) {
            return Err(ClientsError::Exists);
        }
        let id = client.id.clone();
        let change = ClientChange { added: Some(client), changed_at: Some(self.now()), ..ClientChange::default() };
        if self.store.create(id.as_str(), &change).await? == Commit::Applied {
            return Ok(());
        }
        let there = self.store.load_anew::<ClientChange>(id.as_str()).await?;
        Err(there.and_then(|held| held.value.removed_until).map_or(ClientsError::Exists, ClientsError::Removed))
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

    /// Makes a new secret. Those before it work for [`SECRET_OVERLAP`] more, unless they are cut off `immediately`.
    ///
    /// # Errors
    /// [`ClientsError::NoSecret`] for a client that has none.
    pub async fn rotate_client_secret(&self, id: &ClientId, immediately: bool) -> Result<FreshSecret, ClientsError> {
        let secret = Secret::new(format!("secret_{}", self.new_secret().expose()));
        let digest = secret.digest();
        let now = self.now();
        let overlap = now + SECRET_OVERLAP;
        self.change_client(id, |change, client| {
            let (ClientAuthMethod::SecretBasic { secrets } | ClientAuthMethod::SecretPost { secrets }) = &client.auth else {
                return Err(ClientsError::NoSecret(client.auth.as_str()));
            };
            let before: Vec<(Digest, Option<UnixTime>)> = change.secrets.clone().unwrap_or_else(|| secrets.iter().map(|digest| (*digest, None)).collect());
            let kept = before.into_iter().filter(|(_, until)| !immediately && works(*until, now));
            // A second rotation gives nobody more time than the first one did.
            let ending = kept.map(|(digest, until)| (digest, Some(until.map_or(overlap, |until| until.min(overlap)))));
            change.secrets = Some(std::iter::once((digest, None)).chain(ending).collect());
            Ok(())
        })
        .await?;
        Ok(FreshSecret { secret, old_until: (!immediately).then_some(overlap) })
    }

    /// Removes a client that was added at run time. Whatever it was granted is over, and what people agreed to is forgotten; its id can be
    /// registered again once no token of it can be in use any more. Removing it a second time changes nothing.
    ///
    /// # Errors
    /// [`ClientsError::Unknown`], [`ClientsError::Configured`]
    pub async fn remove_client(&self, id: &ClientId) -> Result<(), ClientsError> {
        if self.is_configured(id) {
            return Err(ClientsError::Configured);
        }
        let held = self.store.load_anew::<ClientChange>(id.as_str()).await?.ok_or(ClientsError::Unknown)?;
        if held.value.removed_until.is_none() {
            let client = held.value.added.as_ref().ok_or(ClientsError::Unknown)?;
            // Tokens with a grant end with what is withdrawn below; those a client got for itself only by running out.
            let own_tokens = if client.may(GrantType::ClientCredentials, &self.rules.issuer) { client.access_ttl } else { Duration::ZERO };
            let gone = ClientChange { removed_until: Some(self.now() + REMOVED_FOR + own_tokens), changed_at: Some(self.now()), ..ClientChange::default() };
            if self.store.replace(&held, &gone).await? == Commit::Conflict {
                return Err(ClientsError::Conflict);
            }
        }
        Ok(self.withdraw_all(id).await?)
    }

    /// Ends every grant of a client, and forgets what people agreed to. Reads through the whole list: for administration only.
    async fn withdraw_all(&self, id: &ClientId) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list::<AppAccess>(after.as_deref(), PAGE).await?;
            for (key, _) in page.iter().filter(|(_, access)| access.client == *id) {
                let withdrawn = |access: &AppAccess| AppAccess { withdrawn_at: Some(self.now()), remembered: false, ..access.clone() };
                while let Some(held) = self.store.load::<AppAccess>(key).await? {
                    if self.store.replace(&held, &withdrawn(&held.value)).await? == Commit::Applied {
                        break;
                    }
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.last().map(|(key, _)| key.clone());
        }
    }

    async fn change_client(&self, id: &ClientId, edit: impl Fn(&mut ClientChange, &Client) -> Result<(), ClientsError>) -> Result<(), ClientsError> {
        let registered = self.rules.clients.get(id);
        for _ in 0..ATTEMPTS {
            let held = self.store.load_anew::<ClientChange>(id.as_str()).await?;
            let before = held.as_ref().map(|held| &held.value);
            let client = as_it_is(registered, before, self.now()).ok_or(ClientsError::Unknown)?;
            // What was noted for another registration of this id says nothing about the one in the configuration.
            let own = before.filter(|change| change.removed_until.is_none() && (registered.is_none() || change.added.is_none()));
            let mut change = own.cloned().unwrap_or_else(|| ClientChange { disabled: before.and_then(|change| change.disabled), ..ClientChange::default() });
            edit(&mut change, &client)?;
            change.changed_at = Some(self.now());
            let commit = match &held {
                Some(held) => self.store.replace(held, &change).await?,
                None => self.store.create(id.as_str(), &change).await?,
            };
            if commit == Commit::Applied {
                return Ok(());
            }
        }
        Err(ClientsError::Conflict)
    }
}
