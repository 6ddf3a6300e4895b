//! Refreshing. RFC 6749 §6; SAL §3.7; DESIGN §3, Tokens.

use super::Engine;
use super::live::{may_ask, stands};
use crate::audit::trail;
use crate::domain::client_auth::AuthenticatedClient;
use crate::domain::dpop::ProvenKey;
use crate::domain::grant::{GrantError, Refreshed};
use crate::protocol::error::OAuthError;
use crate::protocol::token::{RefreshToken, ScopeRequest, TokenResponse};
use crate::store::Commit;

impl Engine {
    pub(super) async fn refresh(
        &self,
        client: &AuthenticatedClient,
        key: Option<&ProvenKey>,
        token: Option<RefreshToken>,
        scope: Option<ScopeRequest>,
    ) -> Result<TokenResponse, OAuthError> {
        let token = token.ok_or(GrantError::Unknown)?;
        loop {
            let standing = self.standing(&token.grant).await?.ok_or(GrantError::Unknown)?;
            let held = standing.grant;
            let grant = &held.value;
            // Not ours unless we would print it the same: nothing is decided, and nothing ends, on a forged one.
            if self.refresh_token(grant, token.generation).proof != token.proof {
                return Err(GrantError::Unknown.into());
            }
            trail::grant(grant);
            let now = self.now();
            if !stands(grant, standing.session.as_deref(), standing.access.as_deref(), now) {
                return Err(GrantError::SessionEnded.into());
            }
            let decided = match grant.refresh(client.client(), token.generation, key, now, &self.rules.lifetimes) {
                Ok(decided) => decided,
                Err(refused) => {
                    if let Some(ended) = refused.ends
                        && self.store.replace(&held, &*ended).await? == Commit::Conflict
                    {
                        continue;
                    }
                    return Err(refused.why.into());
                }
            };
            may_ask(standing.client.as_deref())?;
            // Asked for only now, so that a scope nobody may have does not tell whether the token is good.
            let scopes = match &scope {
                None => grant.scopes.clone(),
                // DESIGN §3, Scopes: any addition is invalid_scope.
                Some(asked) if asked.understood && !asked.scopes.is_empty() && grant.scopes.covers(&asked.scopes) => asked.scopes.clone(),
                Some(_) => return Err(OAuthError::invalid_scope("a refresh may not ask for more than was granted")),
            };
            // What the client may have was perhaps made less since.
            let scopes = client.client().still_allows(&scopes);
            if scopes.is_empty() {
                return Err(OAuthError::invalid_scope("nothing of what was granted is allowed any more"));
            }
            match decided {
                Refreshed::Unchanged { generation } | Refreshed::Successor { generation } => {
                    return self.refreshed_tokens(grant, client.client(), key, &scopes, generation, now).await;
                }
                Refreshed::Rotated(next, generation) => {
                    let response = self.refreshed_tokens(&next, client.client(), key, &scopes, generation, now).await?;
                    // A conflict means that a racer rotated it: the next look gives us its successor too.
                    if self.store.replace(&held, &*next).await? == Commit::Applied {
                        return Ok(response);
                    }
                }
            }
        }
    }
}
