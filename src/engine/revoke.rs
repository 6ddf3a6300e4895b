//! Revocation. RFC 7009.

use super::Engine;
use crate::audit::trail;
use crate::domain::client_auth::AuthenticatedClient;
use crate::domain::grant::{EndedBecause, GrantError};
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::error::OAuthError;
use crate::protocol::ids::GrantId;
use crate::protocol::token::RefreshToken;
use crate::store::Commit;
use crate::store::records::RevokedToken;

impl Engine {
    /// Ends what the token stands for: with a refresh token the whole grant, with an access token that token (RFC 7009 §2.1).
    /// What is unknown or ended already is done (§2.2); the hint is not needed, for a token says what it is.
    ///
    /// # Errors
    /// `invalid_client`; `invalid_grant` for another client's token, which is left alone (SAL §8.4).
    pub async fn revoke(&self, auth: ClientAuth, token: Option<&str>) -> Result<AuthenticatedClient, OAuthError> {
        let client = self.authenticate(auth).await?;
        match self.end(&client, token).await {
            Ok(()) => Ok(client),
            Err(error) => Err(error.of(client.id())),
        }
    }

    async fn end(&self, client: &AuthenticatedClient, token: Option<&str>) -> Result<(), OAuthError> {
        let token = token.ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
        if let Some(refresh) = RefreshToken::parse(token) {
            self.revoke_grant_of(client, &refresh).await?;
        } else if let Some(claims) = self.signed_by_us_or_another_node(token).await? {
            trail::token(&claims);
            trail::note(|facts| facts.grant.clone_from(&claims.grant_id));
            if claims.client_id != *client.id() {
                return Err(GrantError::OtherClient.into());
            }
            // Its mark stays as long as the token could be shown. A second revocation is no conflict: it is done.
            let _done = self.store.create(claims.jti.as_str(), &RevokedToken { until: claims.exp }).await?;
        }
        Ok(())
    }

    async fn revoke_grant_of(&self, client: &AuthenticatedClient, token: &RefreshToken) -> Result<(), OAuthError> {
        let Some(standing) = self.standing(&token.grant).await? else { return Ok(()) };
        let grant = &standing.grant.value;
        if self.refresh_token(grant, token.generation).proof != token.proof {
            return Ok(());
        }
        trail::grant(grant);
        if grant.client != *client.id() {
            return Err(GrantError::OtherClient.into());
        }
        self.end_grant(&token.grant, EndedBecause::Revoked).await
    }

    /// Ends a grant, whatever state it is in.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn end_grant(&self, id: &GrantId, why: EndedBecause) -> Result<(), OAuthError> {
        loop {
            let Some(held) = self.store.load::<crate::domain::grant::Grant>(id.as_str()).await? else { return Ok(()) };
            if matches!(held.value.state, crate::domain::grant::GrantState::Ended { .. }) {
                return Ok(());
            }
            if self.store.replace(&held, &held.value.end(why, self.now())).await? == Commit::Applied {
                return Ok(());
            }
        }
    }
}
