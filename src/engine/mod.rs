//! The use cases of one issuer: load, ask the domain, commit, answer.

pub mod account;
pub mod authorize;
pub mod backchannel;
mod brought;
pub mod client_auth;
pub mod client_credentials;
pub mod clients;
pub mod code;
pub mod decoy;
pub mod dpop;
pub mod exchange;
pub mod finish;
pub mod gateway;
pub mod guess;
pub mod helseid;
mod helseid_claim;
pub mod introspect;
pub mod issue;
pub mod keys;
pub mod launch;
pub mod live;
pub mod login;
pub mod logout;
pub mod own_token;
pub mod par;
mod people;
pub mod picker;
pub mod reached;
pub mod refresh;
pub mod revoke;
pub mod start;
pub mod tend;
pub mod token;
pub mod upstream_session;
pub mod userinfo;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::issuer::IssuerRules;
use crate::fetch::{JwksCache, Poster};
use crate::fhir_client::FhirClient;
use crate::protocol::claims::AccessTokenClaims;
use crate::protocol::error::OAuthError;
use crate::protocol::ids::{FhirBase, Reference, Subject};
use crate::random::Random;
use crate::secret::{Digest, Secret};
use crate::store::{Store, StoreError};
use crate::time::{Clock, UnixTime};
use crate::upstream::Upstream;

/// How many access tokens' signatures are remembered. One entry is about 1 KiB.
const REMEMBERED_TOKENS: usize = 16_384;

/// One issuer at work. Everything it needs is handed in; nothing is global.
pub struct Engine {
    pub rules: IssuerRules,
    store: Store,
    pub keys: keys::Keys,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    client_keys: JwksCache,
    /// What apps are told goes out by this.
    poster: Poster,
    logouts_due: tokio::sync::Notify,
    fhir: BTreeMap<FhirBase, FhirClient>,
    /// Signature checks that need not be done twice, by the digest of the token. Whether a token is live is never cached.
    /// With how many keys had been revoked by then.
    verified: quick_cache::sync::Cache<[u8; 32], (Arc<AccessTokenClaims>, usize)>,
    own_tokens: own_token::OwnTokens,
    /// The identity provider behind this issuer, and the sessions there.
    bridge: Option<upstream_session::Bridge>,
    /// Other issuers whose tokens may be exchanged here.
    peers: exchange::foreign::Peers,
    /// Who failed how often to prove something.
    guesses: guess::Guesses,
    /// Work done for clients there are not.
    pub decoys: decoy::Decoys,
}

/// What an engine is made of.
pub struct Parts {
    pub rules: IssuerRules,
    pub store: Store,
    pub keys: keys::Keys,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub client_keys: JwksCache,
    pub poster: Poster,
    pub fhir: BTreeMap<FhirBase, FhirClient>,
    /// The identity provider of `rules.upstream`.
    pub upstream: Option<Upstream>,
}

impl Engine {
    pub fn new(parts: Parts) -> Self {
        let bridge = parts.upstream.map(|upstream| upstream_session::Bridge::new(upstream, parts.store.clone(), parts.keys.sealer(), Arc::clone(&parts.clock)));
        Self {
            bridge,
            decoys: decoy::Decoys::default(),
            guesses: guess::Guesses::new(parts.rules.guess, parts.store.clone(), Arc::clone(&parts.clock)),
            peers: exchange::foreign::peers(&parts.rules.trusted, &parts.clock),
            rules: parts.rules,
            store: parts.store,
            keys: parts.keys,
            clock: parts.clock,
            random: parts.random,
            client_keys: parts.client_keys,
            poster: parts.poster,
            logouts_due: tokio::sync::Notify::new(),
            fhir: parts.fhir,
            verified: quick_cache::sync::Cache::new(REMEMBERED_TOKENS),
            own_tokens: own_token::OwnTokens::default(),
        }
    }

    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// The `sub` of a person: opaque, the same for as long as the issuer lives, and different at every issuer and FHIR base.
    fn subject(&self, base: &FhirBase, fhir_user: &Reference) -> Subject {
        let mac = Digest::of(&self.keys.mac(&[b"sub", base.as_str().as_bytes(), fhir_user.to_string().as_bytes()]));
        Subject::parse(&mac.text()).expect("base64url is visible ASCII")
    }

    fn new_secret(&self) -> Secret<String> {
        self.random.token()
    }
}

impl From<StoreError> for OAuthError {
    fn from(down: StoreError) -> Self {
        Self::unavailable(down)
    }
}
