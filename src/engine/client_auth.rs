//! Who is calling: credentials against registration. SAL §5.3.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::audit::trail;
use crate::domain::client::{ClientAuthMethod, ClientKeys, Profile};
use crate::domain::client_auth::{AssertionClaims, AuthenticatedClient, ClientRefused, Proof, authenticate};
use crate::jose::{AudienceForm, Expect, UnverifiedJwt, Verified, verify};
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::error::OAuthError;
use crate::protocol::ids::ClientId;
use crate::secret::{Digest, Secret};
use crate::store::Commit;
use crate::store::records::Replay;

/// SAL-106: at most five minutes ahead, and ten seconds for clocks that differ.
const LONGEST_ASSERTION: Duration = Duration::from_secs(310);

/// What `typ` of an assertion may be. SAL-312.
const ASSERTION_TYPES: &[&str] = &["JWT", "client-authentication+jwt", ""];

/// How late an assertion is still taken, for clocks that differ.
const LEEWAY: Duration = Duration::from_secs(10);

/// The client a request says it is from.
fn named(auth: &ClientAuth) -> Option<ClientId> {
    match auth {
        ClientAuth::None { client_id } => client_id.clone(),
        ClientAuth::Basic { readings } => readings.first().map(|(id, _)| id.clone()),
        ClientAuth::Post { client_id, .. } => Some(client_id.clone()),
        ClientAuth::Assertion { jwt, .. } => UnverifiedJwt::parse(jwt.expose()).ok().and_then(|jwt| ClientId::parse(jwt.issuer_hint()?).ok()),
    }
}

impl Engine {
    /// The client behind a request, once it has proved to be that client the way it is registered to.
    ///
    /// # Errors
    /// `invalid_client` for whatever is wrong (SAL-107); `temporarily_unavailable` when the store cannot answer.
    pub async fn authenticate(&self, auth: ClientAuth) -> Result<AuthenticatedClient, OAuthError> {
        self.authenticate_at(auth, "/token").await
    }

    /// The same at an endpoint whose own URL is an audience of assertions too. RFC 9126 §2.
    ///
    /// # Errors
    /// As [`Engine::authenticate`].
    pub(super) async fn authenticate_at(&self, auth: ClientAuth, path: &str) -> Result<AuthenticatedClient, OAuthError> {
        // Who it said to be is asked only where it was not: an assertion would be read twice for it.
        let error = match self.proven(&auth, path).await {
            Ok(client) => {
                trail::by(client.id());
                return Ok(client);
            }
            Err(error) => error,
        };
        let Some(named) = error.named.clone().or_else(|| named(&auth)) else { return Err(error) };
        // A name that is none of ours is somebody's text, and may be a secret in the wrong place: it is not recorded.
        if self.client(&named).await?.is_some() {
            trail::note(|facts| facts.about = Some(named.clone()));
        }
        Err(error.of(&named))
    }

    async fn proven(&self, auth: &ClientAuth, path: &str) -> Result<AuthenticatedClient, OAuthError> {
        match auth {
            ClientAuth::None { client_id } => {
                let client = self.client(client_id.as_ref().ok_or(ClientRefused::Unnamed)?).await?.ok_or(ClientRefused::Unknown)?;
                Ok(authenticate(client, &Proof::Name)?)
            }
            ClientAuth::Basic { readings } => self.by_basic(readings).await,
            ClientAuth::Post { client_id, secret } => match self.client(client_id).await? {
                Some(client) => Ok(authenticate(client, &Proof::Post(secret.clone()))?),
                None => {
                    self.decoys.secret(secret);
                    Err(ClientRefused::Unknown.into())
                }
            },
            ClientAuth::Assertion { jwt, client_id } => self.by_assertion(jwt, client_id.as_ref(), path).await,
        }
    }

    /// Raw first, then decoded. SAL-311.
    async fn by_basic(&self, readings: &[(ClientId, Secret<String>)]) -> Result<AuthenticatedClient, OAuthError> {
        let mut refused = OAuthError::from(ClientRefused::Unknown);
        for (id, secret) in readings {
            let Some(client) = self.client(id).await? else {
                self.decoys.secret(secret);
                continue;
            };
            match authenticate(client, &Proof::Basic(secret.clone())) {
                Ok(client) => return Ok(client),
                // Counted for the client it was tried at, however its name was written.
                Err(reason) => refused = OAuthError::from(reason).of(id),
            }
        }
        Err(refused)
    }

    async fn by_assertion(&self, jwt: &Secret<String>, named: Option<&ClientId>, path: &str) -> Result<AuthenticatedClient, OAuthError> {
        let unverified = UnverifiedJwt::parse(jwt.expose()).map_err(ClientRefused::Assertion)?;
        let id = unverified.issuer_hint().and_then(|iss| ClientId::parse(iss).ok()).ok_or(ClientRefused::Unnamed)?;
        if named.is_some_and(|named| *named != id) {
            return Err(ClientRefused::OtherClient.into());
        }
        let in_vain = |why: ClientRefused| {
            let expect = Expect { issuer: Some(id.as_str()), typ: ASSERTION_TYPES, max_ahead: Some(LONGEST_ASSERTION), leeway: LEEWAY, ..Expect::default() };
            self.decoys.assertion(&unverified, &expect, self.now());
            Err(why.into())
        };
        let Some(client) = self.client(&id).await? else { return in_vain(ClientRefused::Unknown) };
        let ClientAuthMethod::PrivateKeyJwt { keys, algs } = &client.auth else { return in_vain(ClientRefused::OtherMethod) };
        Self::may_name_its_keys(keys, client.profile, &unverified)?;
        let fetched;
        let keys = match keys {
            ClientKeys::Inline(set) => set,
            ClientKeys::Uri(url) => {
                let found = self.client_keys.keys(url, unverified.key_id_hint()).await;
                fetched = found.map_err(|down| ClientRefused::Keys(Arc::new(down)))?;
                &*fetched
            }
        };
        let issuer = self.rules.issuer.as_str();
        let (token_endpoint, here) = (self.rules.issuer.at("/token"), self.rules.issuer.at(path));
        let (audiences, audience_form): (&[&str], AudienceForm) = match client.profile {
            // SAL §5.4: the token endpoint, or the issuer. DESIGN §3, Profiles.
            Profile::Smart | Profile::Oidc => (&[&token_endpoint, issuer, &here], AudienceForm::Single),
            Profile::Fapi2 => (&[issuer], AudienceForm::SingleString),
        };
        let expect = Expect {
            issuer: Some(id.as_str()),
            audiences,
            audience_form,
            typ: ASSERTION_TYPES,
            algs,
            max_ahead: Some(LONGEST_ASSERTION),
            leeway: LEEWAY,
            ..Expect::default()
        };
        let verified: Verified<AssertionClaims> = verify(&unverified, keys, &expect, self.now()).map_err(ClientRefused::Assertion)?;
        // SAL §5.3, steps 8 and 9: only an assertion that holds in everything else uses up its `jti`.
        let claims = verified.claims().clone();
        let authenticated = authenticate(client, &Proof::Assertion(verified))?;
        self.remember(&claims).await?;
        Ok(authenticated)
    }

    /// SAL-105: `jku`, where there is one, must be the registered address.
    fn may_name_its_keys(keys: &ClientKeys, profile: Profile, jwt: &UnverifiedJwt<'_>) -> Result<(), ClientRefused> {
        match (keys, jwt.jku()) {
            // FAPI 2.0 §5.4.3, SAL §8.18.
            (_, Some(_)) if profile == Profile::Fapi2 => Err(ClientRefused::Jku),
            (ClientKeys::Inline(_), Some(_)) => Err(ClientRefused::Jku),
            (ClientKeys::Uri(registered), Some(jku)) if jku != registered => Err(ClientRefused::Jku),
            (ClientKeys::Inline(_) | ClientKeys::Uri(_), _) => Ok(()),
        }
    }

    /// Marks the `jti` as seen for as long as the assertion could be accepted, before anything is answered. SAL-103.
    async fn remember(&self, claims: &AssertionClaims) -> Result<(), OAuthError> {
        let key = Digest::of_parts(&[b"assertion", claims.iss.as_str().as_bytes(), claims.jti.as_str().as_bytes()]).text();
        let until = claims.exp + LEEWAY + Duration::from_secs(1);
        match self.store.create(&key, &Replay { until }).await? {
            Commit::Applied => Ok(()),
            Commit::Conflict => Err(ClientRefused::Replayed.into()),
        }
    }
}
