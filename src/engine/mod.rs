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
pub mod keeping;
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
pub mod search;
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
use crate::metrics::Metrics;
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
    /// What this process counts, all its issuers together.
    pub metrics: Arc<Metrics>,
    store: Store,
    pub keys: Arc<keys::Keys>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    client_keys: JwksCache,
    /// What apps are told goes out by this.
    poster: Poster,
    logouts_due: Arc<tokio::sync::Notify>,
    /// Notices that were waiting when they were last looked through.
    logouts_waiting: Arc<std::sync::atomic::AtomicUsize>,
    fhir: BTreeMap<FhirBase, FhirClient>,
    /// Signature checks that need not be done twice, by the digest of the token. Whether a token is live is never cached.
    /// With how many keys had been revoked by then.
    verified: quick_cache::sync::Cache<[u8; 32], (Arc<AccessTokenClaims>, usize)>,
    own_tokens: own_token::OwnTokens,
    /// The identity provider behind this issuer, and the sessions there.
    bridge: Option<upstream_session::Bridge>,
    /// Other issuers whose tokens may be exchanged here.
    peers: Arc<exchange::foreign::Peers>,
    /// Who failed how often to prove something.
    guesses: guess::Guesses,
    /// Work done for clients there are not.
    pub decoys: Arc<decoy::Decoys>,
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
    pub metrics: Arc<Metrics>,
}

/// What is other where the rules of an issuer change.
pub struct Anew {
    pub rules: IssuerRules,
    pub fhir: BTreeMap<FhirBase, FhirClient>,
    /// What fetches under other limits, where those changed.
    pub fetching: Option<(Poster, JwksCache)>,
    /// Another registration at the identity provider, or none any more; `None` where it is the one of before.
    pub upstream: Option<Option<Upstream>>,
    /// Whether the trusted issuers are others than before.
    pub trusted: bool,
}

impl Engine {
    pub fn new(parts: Parts) -> Self {
        let metrics = parts.metrics;
        parts.client_keys.count_in(&metrics);
        if let Some(upstream) = &parts.upstream {
            upstream.count_in(&metrics);
        }
        let bridge = parts.upstream.map(|upstream| upstream_session::Bridge::new(upstream, parts.store.clone(), parts.keys.sealer(), Arc::clone(&parts.clock)));
        Self {
            bridge,
            decoys: Arc::default(),
            guesses: guess::Guesses::new(parts.rules.guess, parts.store.clone(), Arc::clone(&parts.clock)),
            peers: Arc::new(exchange::foreign::peers(&parts.rules.trusted, &parts.clock)),
            rules: parts.rules,
            store: parts.store,
            keys: Arc::new(parts.keys),
            clock: parts.clock,
            random: parts.random,
            client_keys: parts.client_keys,
            poster: parts.poster.counted(&metrics),
            logouts_due: Arc::default(),
            logouts_waiting: Arc::default(),
            fhir: parts.fhir.into_iter().map(|(base, client)| (base, client.counted(&metrics))).collect(),
            metrics,
            verified: quick_cache::sync::Cache::new(REMEMBERED_TOKENS),
            own_tokens: own_token::OwnTokens::default(),
        }
    }

    /// The same issuer at work under other rules. What is remembered goes along: keys, records, failures, key sets of clients, sessions at
    /// the identity provider, who is still to be told of a logout. What was concluded from the rules of before does not.
    pub fn under(&self, anew: Anew) -> Self {
        let Anew { rules, fhir, fetching, upstream, trusted } = anew;
        let (poster, client_keys) = match fetching {
            Some((poster, client_keys)) => {
                client_keys.count_in(&self.metrics);
                (poster.counted(&self.metrics), client_keys)
            }
            None => (self.poster.clone(), self.client_keys.clone()),
        };
        if let Some(Some(upstream)) = &upstream {
            upstream.count_in(&self.metrics);
        }
        let bridge = match upstream {
            Some(Some(upstream)) => Some(upstream_session::Bridge::new(upstream, self.store.clone(), self.keys.sealer(), Arc::clone(&self.clock))),
            Some(None) => None,
            None => self.bridge.clone(),
        };
        // Connections to servers that stay are kept.
        let fhir = fhir.into_iter().map(|(base, fresh)| {
            let kept = self.fhir.get(&base).cloned().unwrap_or_else(|| fresh.counted(&self.metrics));
            (base, kept)
        });
        let peers = if trusted { Arc::new(exchange::foreign::peers(&rules.trusted, &self.clock)) } else { Arc::clone(&self.peers) };
        Self {
            guesses: self.guesses.under(rules.guess),
            rules,
            metrics: Arc::clone(&self.metrics),
            store: self.store.clone(),
            keys: Arc::clone(&self.keys),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            client_keys,
            poster,
            logouts_due: Arc::clone(&self.logouts_due),
            logouts_waiting: Arc::clone(&self.logouts_waiting),
            fhir: fhir.collect(),
            verified: quick_cache::sync::Cache::new(REMEMBERED_TOKENS),
            own_tokens: own_token::OwnTokens::default(),
            bridge,
            peers,
            decoys: Arc::clone(&self.decoys),
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
