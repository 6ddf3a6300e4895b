//! Minting: access tokens, id_tokens, and the answer that carries them. RFC 9068, OIDC Core §2, SAL §3.4.

use std::collections::BTreeMap;

use super::Engine;
use super::keys::KeysError;
use crate::audit::trail;
use crate::domain::client::{Client, FhirUserForm};
use crate::domain::dpop::ProvenKey;
use crate::domain::grant::{Grant, GrantState};
use crate::jose::{Alg, at_hash};
use crate::protocol::claims::{ACCESS_TOKEN, AccessTokenClaims, Actor, HelseIdClaim, IdTokenClaims};
use crate::protocol::dpop::{BEARER, DPOP};
use crate::protocol::error::OAuthError;
use crate::protocol::ids::{Issuer, TokenId};
use crate::protocol::launch::LaunchContext;
use crate::protocol::scope::{Scope, ScopeSet};
use crate::protocol::token::{RefreshToken, TokenResponse};
use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

/// The `token_type` of a token that is bound to this key, or to none. RFC 9449 §5.
pub(super) fn token_type(key: Option<&ProvenKey>) -> &'static str {
    if key.is_some() { DPOP } else { BEARER }
}

impl From<KeysError> for OAuthError {
    fn from(failed: KeysError) -> Self {
        match failed {
            KeysError::Store(down) => Self::unavailable(down),
            failed @ (KeysError::Seal(_) | KeysError::Key(_) | KeysError::Ring(_) | KeysError::NoRing(_) | KeysError::NoKey(_) | KeysError::Conflict) => {
                Self::server_error(failed)
            }
        }
    }
}

/// `fhirUser` as this client is told it. SAL-082, SAL-327.
pub(super) fn fhir_user_for(grant: &Grant, client: &Client) -> Option<String> {
    let user = grant.fhir_user.as_ref()?;
    Some(match client.fhir_user {
        FhirUserForm::Relative => user.to_string(),
        FhirUserForm::Absolute => format!("{}/{user}", grant.base),
    })
}

/// RFC 8693 §4.4 names one party; where several may act, the registration is asked instead.
fn may_act(client: &Client, issuer: &Issuer) -> Option<Actor> {
    let [actor] = client.may_act.as_slice() else { return None };
    Some(Actor { sub: actor.to_string(), iss: Some(issuer.to_string()), client_id: None, act: None })
}

impl Engine {
    pub(super) fn new_token_id(&self) -> TokenId {
        TokenId::parse(&self.random.id()).expect("hexadecimal is visible ASCII")
    }

    /// The algorithm of access tokens for this grant: as the client asks, else as the FHIR base does, else RS256.
    fn access_alg(&self, grant: &Grant, client: &Client) -> Alg {
        client.access_alg(self.rules.fhir_at(&grant.base).and_then(|server| server.access_token_alg))
    }

    fn access_token(
        &self,
        grant: &Grant,
        client: &Client,
        key: Option<&ProvenKey>,
        scopes: &ScopeSet,
        now: UnixTime,
    ) -> Result<(Secret<String>, u64), KeysError> {
        let context_in_token = self.rules.fhir_at(&grant.base).is_some_and(|server| server.context_in_token);
        let auth = grant.auth.as_ref();
        let claims = AccessTokenClaims {
            iss: self.rules.issuer.clone(),
            sub: grant.subject.clone(),
            aud: grant.base.as_str().to_owned(),
            client_id: grant.client.clone(),
            scope: scopes.clone(),
            jti: self.new_token_id(),
            iat: now,
            exp: now + client.access_ttl,
            grant_id: Some(grant.id.clone()),
            sid: grant.session.clone(),
            auth_time: auth.map(|auth| auth.auth_time),
            acr: auth.map(|auth| auth.acr.clone()),
            amr: auth.map(|auth| auth.amr.clone()).unwrap_or_default(),
            cnf: key.map(ProvenKey::confirmation),
            act: None,
            may_act: may_act(client, &self.rules.issuer),
            src: Vec::new(),
            fhir_user: fhir_user_for(grant, client).filter(|_| context_in_token && scopes.contains(&Scope::FhirUser)),
            context: if context_in_token { grant.context.clone() } else { LaunchContext::default() },
        };
        trail::token(&claims);
        Ok((self.keys.sign(self.access_alg(grant, client), ACCESS_TOKEN, &claims)?, client.access_ttl.as_secs()))
    }

    /// `scopes`: those of the answer it is part of, so that a narrowed refresh tells no more than it asks for.
    fn id_token(
        &self,
        grant: &Grant,
        client: &Client,
        scopes: &ScopeSet,
        access_token: &Secret<String>,
        (nonce, helseid): (Option<&str>, BTreeMap<String, HelseIdClaim>),
        now: UnixTime,
    ) -> Result<Secret<String>, KeysError> {
        let auth = grant.auth.as_ref();
        let profile = scopes.contains(&Scope::Profile);
        let fhir_user = fhir_user_for(grant, client).filter(|_| scopes.contains(&Scope::FhirUser));
        let claims = IdTokenClaims {
            iss: self.rules.issuer.clone(),
            sub: grant.subject.clone(),
            aud: grant.client.clone(),
            iat: now,
            exp: now + client.access_ttl,
            auth_time: auth.map(|auth| auth.auth_time),
            nonce: nonce.map(str::to_owned),
            acr: auth.map(|auth| auth.acr.clone()),
            amr: auth.map(|auth| auth.amr.clone()).unwrap_or_default(),
            at_hash: Some(at_hash(access_token.expose(), client.id_token_alg)),
            sid: grant.session.clone(),
            // For nobody but who may show it to us in place of its person.
            grant_id: self.rules.exchange.iter().any(|row| row.takes_id_token_of(&client.id)).then(|| grant.id.clone()),
            act: None,
            helseid,
            profile: grant.fhir_user.as_ref().filter(|_| profile && fhir_user.is_some()).map(|user| format!("{}/{user}", grant.base)),
            fhir_user,
            name: grant.user_name.clone().filter(|_| profile),
        };
        self.keys.sign(client.id_token_alg, "JWT", &claims)
    }

    /// The text of this grant's refresh token of a generation: always the same, and kept nowhere.
    pub(super) fn refresh_token(&self, grant: &Grant, generation: u32) -> RefreshToken {
        let proof = Digest::of(&self.keys.mac(&[b"refresh", grant.id.as_str().as_bytes(), grant.client.as_str().as_bytes(), &generation.to_be_bytes()]));
        RefreshToken { grant: grant.id.clone(), generation, proof }
    }

    /// The answer to a redeemed code. SAL §3.4.
    pub(super) async fn first_tokens(&self, grant: &Grant, client: &Client, key: Option<&ProvenKey>, now: UnixTime) -> Result<TokenResponse, OAuthError> {
        let generation = match grant.state {
            GrantState::Live { generation, .. } => generation,
            GrantState::CodeIssued { .. } | GrantState::Ended { .. } => 0,
        };
        let helseid = self.helseid_claim(grant, client, &grant.scopes).await;
        let refresh_token = grant.refresh_until.is_some().then(|| self.refresh_token(grant, generation).print());
        let (access_token, expires_in) = self.access_token(grant, client, key, &grant.scopes, now)?;
        let id_token = grant
            .scopes
            .contains(&Scope::OpenId)
            .then(|| self.id_token(grant, client, &grant.scopes, &access_token, (grant.nonce.as_deref(), helseid), now))
            .transpose()?;
        Ok(TokenResponse {
            access_token,
            token_type: token_type(key),
            expires_in,
            scope: grant.scopes.to_string(),
            refresh_token,
            issued_token_type: None,
            id_token,
            context: grant.context.clone(),
        })
    }

    /// The answer to a refresh. SAL §3.7: the same context, and told again only to clients registered so (SAL-328, NAV-045).
    pub(super) async fn refreshed_tokens(
        &self,
        grant: &Grant,
        client: &Client,
        key: Option<&ProvenKey>,
        scopes: &ScopeSet,
        generation: u32,
        now: UnixTime,
    ) -> Result<TokenResponse, OAuthError> {
        let helseid = self.helseid_claim(grant, client, scopes).await;
        let (access_token, expires_in) = self.access_token(grant, client, key, scopes, now)?;
        // OIDC Core §12.2: the same iss, sub, aud and auth_time, and no need of a nonce.
        let id_token = scopes.contains(&Scope::OpenId).then(|| self.id_token(grant, client, scopes, &access_token, (None, helseid), now)).transpose()?;
        let refresh_token = Some(self.refresh_token(grant, generation).print());
        let context = if client.refresh_context { grant.context.clone() } else { LaunchContext::default() };
        Ok(TokenResponse {
            access_token,
            token_type: token_type(key),
            expires_in,
            scope: scopes.to_string(),
            issued_token_type: None,
            refresh_token,
            id_token,
            context,
        })
    }
}
