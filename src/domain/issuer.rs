//! One issuer: its FHIR bases, its ways to log in, its lifetimes. Everything here is settled by the configuration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{Client, ParPolicy, Profile, introspect_scope};
use super::dpop::DpopNonce;
use super::exchange::{Delivery, Direction, ExchangeRow};
use super::guess::GuessLimits;
use super::trusted::TrustedIssuer;
use super::upstream::UpstreamRules;
use crate::jose::Alg;
use crate::protocol::claims::HELSEID;
use crate::protocol::ids::{ClientId, FhirBase, Issuer, Reference};
use crate::protocol::internal_url::InternalUrl;
use crate::protocol::lang::Lang;

/// The client id under which the server reads FHIR itself. DESIGN §3, How we reach FHIR.
pub const SELF_CLIENT: &str = "helsebro";

/// A way to find out who the user is. DESIGN §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginWay {
    /// The EPJ vouches, through `start_url`.
    Ehr,
    /// A login at the identity provider of [`IssuerRules::upstream`].
    HelseId,
    /// A list of names; loopback only.
    Local,
}

impl LoginWay {
    /// The name in configuration, and the last part of our `acr` values.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ehr => "ehr",
            Self::HelseId => "helseid",
            Self::Local => "local",
        }
    }

    /// `acr` of a login in this way.
    pub fn acr(self, issuer: &Issuer) -> String {
        issuer.at(&format!("/acr/{}", self.as_str()))
    }
}

/// A FHIR server whose tokens this issuer gives out.
#[derive(Clone, Debug)]
pub struct FhirServer {
    pub base: FhirBase,
    /// Put `patient`, `encounter` and `fhirUser` into the access token too. Off unless the base asks for it.
    pub context_in_token: bool,
    pub access_token_alg: Option<Alg>,
    /// Clients that may introspect tokens for this base.
    pub resource_servers: Vec<ClientId>,
}

/// A person on the list of the `local` way.
#[derive(Clone, Debug)]
pub struct LocalUser {
    pub name: String,
    pub fhir_user: Reference,
}

/// How long things live.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    /// At most 60 s. SAL-034.
    pub code: Duration,
    /// From the launch API to the authorization endpoint, where the EHR names none; at most 300 s.
    pub launch: Duration,
    /// From the launch API to `start_url`.
    pub start: Duration,
    /// From the authorization endpoint to the code: logging in takes time.
    pub interaction: Duration,
    /// From pushing an authorization request to reaching the authorization endpoint with it; under ten minutes. RFC 9126 §2.2.
    pub pushed: Duration,
    pub session: Duration,
    /// How long an already rotated refresh token still gets its successor.
    pub refresh_reuse: Duration,
    /// How long a second use of a code is taken for a lost answer and ends nothing.
    pub code_replay: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            code: seconds(60),
            launch: seconds(60),
            start: seconds(60),
            interaction: seconds(600),
            pushed: seconds(60),
            session: seconds(12 * 3600),
            refresh_reuse: seconds(30),
            code_replay: seconds(2),
        }
    }
}

/// The longest time between the launch API and the authorization endpoint. DESIGN §3, The launch API.
pub const LONGEST_LAUNCH: Duration = Duration::from_secs(300);

/// What an issuer is and allows.
#[derive(Clone, Debug)]
pub struct IssuerRules {
    pub issuer: Issuer,
    /// Where those inside reach it too; nothing that leaves us names them.
    pub internal_urls: Vec<InternalUrl>,
    pub name: String,
    pub default_lang: Lang,
    pub login: Vec<LoginWay>,
    /// The first one is the default.
    pub fhir: Vec<FhirServer>,
    pub users: Vec<LocalUser>,
    /// What may be exchanged; nothing where it is empty. DESIGN §3, Token exchange.
    pub exchange: Vec<ExchangeRow>,
    /// Other issuers whose tokens a row may take.
    pub trusted: Vec<TrustedIssuer>,
    pub lifetimes: Lifetimes,
    /// Clients of the configuration; those added at run time are in the store. Every request looks some up, among thousands where a hospital
    /// registers its devices: so they have no order.
    pub clients: HashMap<ClientId, Arc<Client>>,
    /// The profile of clients that name none.
    pub profile: Profile,
    /// Every client must push its authorization requests. RFC 9126 §5.
    pub require_par: bool,
    pub frame_ancestors: Vec<String>,
    /// Whether proofs of possession need a nonce.
    pub dpop_nonce: DpopNonce,
    /// Our registration at the identity provider behind us, where there is one.
    pub upstream: Option<Arc<UpstreamRules>>,
    /// How much guessing is put up with.
    pub guess: GuessLimits,
}

impl IssuerRules {
    /// The scope that lets a bearer introspect any token of this issuer. SAL-124, SAL-125.
    pub fn introspect_scope(&self) -> String {
        introspect_scope(&self.issuer)
    }

    /// The FHIR server a request names in `aud` or `resource`. SAL-027.
    pub fn fhir_named(&self, text: &str) -> Option<&FhirServer> {
        self.fhir.iter().find(|server| server.base.is_named_by(text))
    }

    pub fn fhir_at(&self, base: &FhirBase) -> Option<&FhirServer> {
        self.fhir.iter().find(|server| server.base == *base)
    }

    /// The scope that asks for a token of the identity provider's in the id_token, and the claim that holds it.
    pub fn helseid_name(&self) -> &str {
        self.upstream.as_ref().map_or(HELSEID, |upstream| &upstream.claim)
    }

    /// Whether some client here can be given that scope.
    pub fn gives_helseid(&self) -> bool {
        self.clients.values().any(|client| client.scopes.has_extension(self.helseid_name()) && self.identity_row(client).is_some())
    }

    /// The row that lets a client have a token of the upstream's in its id_token; confidential clients only. DESIGN §3, HelseID in SMART.
    pub fn identity_row(&self, client: &Client) -> Option<&ExchangeRow> {
        let theirs = |row: &&ExchangeRow| row.caller == client.id && row.direction == Direction::ToUpstream && row.delivery == Delivery::Identity;
        self.exchange.iter().find(theirs).filter(|_| !client.is_public() && self.upstream.is_some())
    }

    /// Whether a client must push its authorization requests. RFC 9126 §5, §6.
    pub fn must_push(&self, client: &Client) -> bool {
        self.require_par || client.par == ParPolicy::Required
    }

    pub fn default_fhir(&self) -> Option<&FhirServer> {
        self.fhir.first()
    }

    /// The name of a local user, for pages and the `profile` scope.
    pub fn local_user(&self, fhir_user: &Reference) -> Option<&LocalUser> {
        self.users.iter().find(|user| user.fhir_user == *fhir_user)
    }
}
