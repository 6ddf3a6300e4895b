//! Redeeming a code. RFC 6749 §4.1.3; DESIGN §3, Code replay.

use super::Engine;
use crate::audit::trail;
use crate::domain::client_auth::AuthenticatedClient;
use crate::domain::dpop::ProvenKey;
use crate::domain::grant::{GrantError, Redemption};
use crate::protocol::error::OAuthError;
use crate::protocol::pkce::CodeVerifier;
use crate::protocol::token::{Code, TokenResponse};
use crate::store::Commit;

use super::live::{may_ask, stands};

impl Engine {
    pub(super) async fn redeem_code(
        &self,
        client: &AuthenticatedClient,
        key: Option<&ProvenKey>,
        code: Option<Code>,
        redirect: String,
        verifier: Option<CodeVerifier>,
    ) -> Result<TokenResponse, OAuthError> {
        let code = code.ok_or(GrantError::Unknown)?;
        let ask = Redemption { code: code.digest, redirect, verifier, key: key.cloned() };
        // A conflict means that somebody redeemed or ended it meanwhile: look again, and the rule says what that is.
        loop {
            let standing = self.standing(&code.grant).await?.ok_or(GrantError::Unknown)?;
            let held = standing.grant;
            trail::grant(&held.value);
            let now = self.now();
            let redeemed = match held.value.redeem(client.client(), &ask, now, &self.rules.lifetimes) {
                Ok(redeemed) => redeemed,
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
            if !stands(&held.value, standing.session.as_deref(), standing.access.as_deref(), now) {
                return Err(GrantError::SessionEnded.into());
            }
            self.note_party(&redeemed, client.client(), standing.session.as_deref()).await?;
            // Signed before the commit: a code is not spent on an answer that cannot be made.
            let response = self.first_tokens(&redeemed, client.client(), key, now).await?;
            if self.store.replace(&held, &redeemed).await? == Commit::Applied {
                return Ok(response);
            }
        }
    }
}
