//! The token endpoint: which grant type, which client, which rule. RFC 6749 §3.2.

use super::Engine;
use crate::audit::trail;
use crate::domain::audit::Action;
use crate::domain::client::GrantType;
use crate::domain::client_auth::{AuthenticatedClient, Proof, authenticate};
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::dpop::ProofHeader;
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::protocol::params::Params;
use crate::protocol::token::{REFRESH, RefreshToken, TokenRequest, TokenResponse};
use crate::trace;

/// A token request that was granted.
#[derive(Debug)]
pub struct Answered {
    pub client: AuthenticatedClient,
    pub tokens: TokenResponse,
    /// The nonce for the next proof, where there is a new one.
    pub nonce: Option<String>,
}

impl Engine {
    /// Answers a token request.
    ///
    /// # Errors
    /// RFC 6749 §5.2, each with the reason in its cause.
    pub async fn token(&self, auth: ClientAuth, proof: ProofHeader<'_>, params: &Params) -> Result<Answered, OAuthError> {
        let client = match auth {
            ClientAuth::None { client_id: None } if params.get("grant_type") == Some(REFRESH) => Box::pin(self.by_its_refresh_token(params)).await?,
            auth => trace::step("oauth.client_authentication", self.authenticate(auth)).await?,
        };
        self.granted(&client, proof, params)
            .await
            .map(|(tokens, nonce)| Answered { client: client.clone(), tokens, nonce })
            .map_err(|error| error.of(client.id()))
    }

    /// What the request gives to a client that is who it says.
    async fn granted(&self, client: &AuthenticatedClient, proof: ProofHeader<'_>, params: &Params) -> Result<(TokenResponse, Option<String>), OAuthError> {
        trail::by(client.id());
        // helseid.md §2.7: only a client that is who it says learns whether its proof is good.
        let proven = self.proven_by(client.client(), proof, "/token").await?;
        let (key, nonce) = proven.map(|proven| (proven.key, proven.nonce)).unzip();
        let key = key.as_ref();
        let request = TokenRequest::parse(params)?;
        let grant_type = match &request {
            TokenRequest::AuthorizationCode { .. } => GrantType::AuthorizationCode,
            TokenRequest::RefreshToken { .. } => GrantType::RefreshToken,
            TokenRequest::ClientCredentials { .. } => GrantType::ClientCredentials,
            TokenRequest::TokenExchange(_) => GrantType::TokenExchange,
        };
        if !client.client().may(grant_type, &self.rules.issuer) {
            return Err(OAuthError::new(ErrorCode::UnauthorizedClient, "the client is not registered for this grant type"));
        }
        trail::about(match grant_type {
            GrantType::AuthorizationCode | GrantType::ClientCredentials => Action::Token,
            GrantType::RefreshToken => Action::Refresh,
            GrantType::TokenExchange => Action::Exchange,
        });
        trail::note(|facts| facts.way = Some(grant_type.as_str()));
        trail::asked(params.get("scope"));
        let tokens = match request {
            TokenRequest::AuthorizationCode { code, redirect_uri, verifier } => {
                trace::step("oauth.token.authorization_code", self.redeem_code(client, key, code, redirect_uri, verifier)).await?
            }
            TokenRequest::RefreshToken { token, scope } => trace::step("oauth.token.refresh_token", self.refresh(client, key, token, scope)).await?,
            TokenRequest::ClientCredentials { scope, resource } => {
                trace::step("oauth.token.client_credentials", async { self.client_credentials(client, key, &scope, resource.as_deref()) }).await?
            }
            // Boxed: it is by far the largest, and all others would keep room for it.
            TokenRequest::TokenExchange(ask) => Box::pin(trace::step("oauth.token.token_exchange", self.exchange(client, ask, key))).await?,
        };
        trail::note(|facts| facts.given = Some(tokens.scope.clone()));
        self.metrics.token(grant_type.as_str(), client.id().as_str());
        Ok((tokens, nonce.flatten()))
    }

    /// NAV-049: a public client may refresh without saying who it is; its token says so.
    async fn by_its_refresh_token(&self, params: &Params) -> Result<AuthenticatedClient, OAuthError> {
        let token = params.get("refresh_token").and_then(RefreshToken::parse).ok_or_else(|| OAuthError::invalid_client().guessed())?;
        let standing = self.standing(&token.grant).await?.ok_or_else(|| OAuthError::invalid_client().guessed())?;
        let client = standing.client.ok_or_else(|| OAuthError::invalid_client().guessed())?;
        Ok(authenticate(client, &Proof::Name)?)
    }
}
