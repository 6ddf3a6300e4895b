//! Pushed authorization requests: checked when the client sends them, answered once. RFC 9126; SAL §8.7.

use super::Engine;
use super::authorize::Stop;
use crate::audit::trail;
use crate::domain::authorization::{self, Arrival, CheckedRequest, PageRefusal, Refusal};
use crate::domain::client::Client;
use crate::domain::client_auth::AuthenticatedClient;
use crate::domain::dpop::ProofError;
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::dpop::ProofHeader;
use crate::protocol::error::OAuthError;
use crate::protocol::params::Params;
use crate::secret::{Digest, Secret};
use crate::store::Commit;
use crate::store::records::Pushed;

/// Where clients push to, below the issuer.
pub const PUSH_PATH: &str = "/par";

/// How every `request_uri` of ours begins. RFC 9126 §2.2.
pub const REQUEST_URI: &str = "urn:ietf:params:oauth:request_uri:";

/// A pushed request that was taken.
pub struct Taken {
    pub client: AuthenticatedClient,
    pub request_uri: Secret<String>,
    /// Seconds until the browser must have come with it.
    pub expires_in: u64,
    /// The nonce for the next proof, where there is a new one.
    pub nonce: Option<String>,
}

impl Engine {
    /// Takes an authorization request from the client itself. RFC 9126 §2.
    ///
    /// # Errors
    /// Whatever the token endpoint says of the client, and the authorization endpoint of the request; RFC 9126 §2.3.
    pub async fn push(&self, auth: ClientAuth, proof: ProofHeader<'_>, params: &Params) -> Result<Taken, OAuthError> {
        let client = self.authenticate_at(auth, PUSH_PATH).await?;
        let proven = self.proven_if_shown(client.client(), proof, PUSH_PATH).await?;
        trail::asked(params.get("scope"));
        if params.has("request_uri") {
            return Err(OAuthError::invalid_request("request_uri has no place in a pushed request"));
        }
        // Part of the authorization request, however the client proves itself. RFC 9126 §2.1.
        let named = authorization::client_id(params).map_err(of_a_page)?;
        if named != *client.id() {
            return Err(OAuthError::invalid_request("client_id is not the client that authenticates"));
        }
        let request = self.check_params(params, client.client(), Arrival::Pushed).map_err(|refusal| match refusal {
            Refusal::Page(refusal) => of_a_page(refusal),
            Refusal::Redirect(_, error) => error,
        })?;
        let (key, nonce) = proven.map(|proven| (proven.key, proven.nonce)).unzip();
        let dpop_jkt = match (request.dpop_jkt, &key) {
            // RFC 9449 §10.1: said in both ways, it must be the same key.
            (Some(jkt), Some(key)) if !key.is(&jkt) => return Err(ProofError::OtherKey.into()),
            (Some(jkt), _) => Some(jkt),
            (None, key) => key.as_ref().map(|key| key.jkt().clone()),
        };
        let secret = self.new_secret();
        let name = name_of(secret.expose());
        let now = self.now();
        let lifetimes = &self.rules.lifetimes;
        let until = now + lifetimes.pushed;
        let pushed = Pushed {
            request: CheckedRequest { dpop_jkt, pushed: Some(name), ..request },
            until,
            answer_by: Some(until + lifetimes.interaction),
            answered: false,
        };
        match self.store.create(&name.text(), &pushed).await? {
            Commit::Applied => Ok(Taken {
                client,
                request_uri: Secret::new(format!("{REQUEST_URI}{}", secret.expose())),
                expires_in: lifetimes.pushed.as_secs(),
                nonce: nonce.flatten(),
            }),
            Commit::Conflict => Err(OAuthError::unavailable(crate::store::StoreError::Corrupt("a request of 256 random bits was there already".to_owned()))),
        }
    }

    /// The request behind a `request_uri`, for the client that pushed it. It may be fetched again until it is answered: whatever looks at a
    /// link before the person does must not use it up (FAPI 2.0 §5.3.2.2), and a page may be reloaded.
    ///
    /// # Errors
    /// [`PageRefusal::NotPushed`], which does not say which of its reasons it is.
    pub(super) async fn pushed_request(&self, client: &Client, request_uri: &str) -> Result<CheckedRequest, Stop> {
        let refused = Stop::Refused(PageRefusal::NotPushed);
        let Some(secret) = request_uri.strip_prefix(REQUEST_URI) else { return Err(refused) };
        let Some(held) = self.store.load::<Pushed>(&name_of(secret).text()).await? else { return Err(refused) };
        let pushed = held.value;
        let theirs = pushed.request.client == client.id && client.redirect(pushed.request.redirect.as_str()).is_some();
        if !theirs || pushed.answered || self.now() >= pushed.until {
            return Err(refused);
        }
        Ok(pushed.request)
    }

    /// Uses up the pushed request behind an answer that is about to be given: of all who come with it, one gets one. RFC 9126 §4.
    pub(super) async fn answer_once(&self, request: &CheckedRequest) -> Result<(), Stop> {
        let Some(name) = &request.pushed else { return Ok(()) };
        let refused = Err(Stop::Refused(PageRefusal::NotPushed));
        let Some(held) = self.store.load::<Pushed>(&name.text()).await? else { return refused };
        if held.value.answered {
            return refused;
        }
        // Nothing else is ever written there, so a conflict means that it was answered.
        match self.store.replace(&held, &Pushed { answered: true, ..held.value.clone() }).await? {
            Commit::Applied => Ok(()),
            Commit::Conflict => refused,
        }
    }
}

/// What a request is kept under: never the same as that of a request kept for a browser, and of the secret only its digest.
fn name_of(secret: &str) -> Digest {
    Digest::of_parts(&[b"pushed", secret.as_bytes()])
}

/// What would be a page in a browser, for a client that can read it.
fn of_a_page(refusal: PageRefusal) -> OAuthError {
    match refusal {
        PageRefusal::ClientUnknown | PageRefusal::ClientDisabled => OAuthError::invalid_client(),
        PageRefusal::ClientMissing | PageRefusal::RedirectMissing | PageRefusal::RedirectUnregistered | PageRefusal::Repeated | PageRefusal::NotPushed => {
            OAuthError::invalid_request(refusal.to_string())
        }
    }
}
