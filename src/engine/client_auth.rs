//! Who is calling: credentials against registration. SAL §5.3.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::audit::trail;
use crate::domain::client::{Client, ClientAuthMethod, ClientKeys, Profile};
use crate::domain::client_auth::{AssertionClaims, AuthenticatedClient, ClientRefused, Proof, authenticate};
use crate::jose::{AudienceForm, Expect, JwkSet, UnverifiedJwt, Verified, verify};
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::error::OAuthError;
use crate::protocol::ids::ClientId;
use crate::secret::{Digest, Secret};
use crate::store::Commit;
use crate::store::records::Replay;

/// SAL-106: at most five minutes ahead, and ten seconds for clocks that differ.
const LONGEST_ASSERTION: Duration = Duration::from_secs(310);

/// How late an assertion is still taken, for clocks that differ.
const LEEWAY: Duration = Duration::from_secs(10);

impl Engine {
    /// The client behind a request, once it has proved to be that client the way it is registered to.
    ///
    /// # Errors
    /// `invalid_client` for whatever is wrong (SAL-107); `temporarily_unavailable` when the store cannot answer.
    pub async fn authenticate(&self, auth: ClientAuth) -> Result<AuthenticatedClient, OAuthError> {
        let client = self.authenticated(auth).await?;
        trail::by(client.id());
        Ok(client)
    }

    async fn authenticated(&self, auth: ClientAuth) -> Result<AuthenticatedClient, OAuthError> {
        match auth {
            ClientAuth::None { client_id } => {
                let client = self.known(&client_id.ok_or(ClientRefused::Unnamed)?).await?;
                Ok(authenticate(client, &Proof::Name)?)
            }
            ClientAuth::Basic { readings } => self.by_basic(readings).await,
            ClientAuth::Post { client_id, secret } => {
                let client = self.known(&client_id).await?;
                Ok(authenticate(client, &Proof::Post(secret))?)
            }
            ClientAuth::Assertion { jwt, client_id } => self.by_assertion(&jwt, client_id).await,
        }
    }

    async fn known(&self, id: &ClientId) -> Result<Arc<Client>, OAuthError> {
        let client = self.client(id).await?.ok_or(ClientRefused::Unknown)?;
        // Whom it claims to be, until that is proved.
        trail::note(|facts| facts.about = Some(id.clone()));
        Ok(client)
    }

    /// Raw first, then decoded. SAL-311.
    async fn by_basic(&self, readings: Vec<(ClientId, Secret<String>)>) -> Result<AuthenticatedClient, OAuthError> {
        let mut refused = ClientRefused::Unknown;
        for (id, secret) in readings {
            if let Some(client) = self.client(&id).await? {
                trail::note(|facts| facts.about = Some(id));
                match authenticate(client, &Proof::Basic(secret)) {
                    Ok(client) => return Ok(client),
                    Err(reason) => refused = reason,
                }
            }
        }
        Err(refused.into())
    }

    async fn by_assertion(&self, jwt: &Secret<String>, named: Option<ClientId>) -> Result<AuthenticatedClient, OAuthError> {
        let unverified = UnverifiedJwt::parse(jwt.expose()).map_err(ClientRefused::Assertion)?;
        let id = unverified.issuer_hint().and_then(|iss| ClientId::parse(iss).ok()).ok_or(ClientRefused::Unnamed)?;
        if named.is_some_and(|named| named != id) {
            return Err(ClientRefused::OtherClient.into());
        }
        let client = self.known(&id).await?;
        let ClientAuthMethod::PrivateKeyJwt { keys, algs } = &client.auth else { return Err(ClientRefused::OtherMethod.into()) };
        let keys = self.keys_of(keys, &unverified).await?;
        let issuer = self.rules.issuer.as_str();
        let token_endpoint = self.rules.issuer.at("/token");
        let (audiences, audience_form): (&[&str], AudienceForm) = match client.profile {
            // SAL §5.4: the token endpoint, or the issuer. DESIGN §3, Profiles.
            Profile::Smart | Profile::Oidc => (&[&token_endpoint, issuer], AudienceForm::Single),
            Profile::Fapi2 => (&[issuer], AudienceForm::SingleString),
        };
        let expect = Expect {
            issuer: Some(id.as_str()),
            audiences,
            audience_form,
            typ: &["JWT", "client-authentication+jwt", ""],
            algs,
            max_ahead: Some(LONGEST_ASSERTION),
            leeway: LEEWAY,
            ..Expect::default()
        };
        let verified: Verified<AssertionClaims> = verify(&unverified, &keys, &expect, self.now()).map_err(ClientRefused::Assertion)?;
        // SAL §5.3, steps 8 and 9: only an assertion that holds in everything else uses up its `jti`.
        let claims = verified.claims().clone();
        let authenticated = authenticate(client, &Proof::Assertion(verified))?;
        self.remember(&claims).await?;
        Ok(authenticated)
    }

    /// SAL-105: `jku`, where there is one, must be the registered address.
    async fn keys_of(&self, keys: &ClientKeys, jwt: &UnverifiedJwt<'_>) -> Result<Arc<JwkSet>, ClientRefused> {
        match (keys, jwt.jku()) {
            (ClientKeys::Inline(_), Some(_)) => Err(ClientRefused::Jku),
            (ClientKeys::Uri(registered), Some(jku)) if jku != registered => Err(ClientRefused::Jku),
            (ClientKeys::Inline(set), None) => Ok(Arc::new(set.clone())),
            (ClientKeys::Uri(url), _) => self.client_keys.keys(url, jwt.key_id_hint()).await.map_err(|down| ClientRefused::Keys(Arc::new(down))),
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
