//! A registered client: who it is, how it proves it, and what it may ask for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dpop::DpopPolicy;
use crate::jose::{Alg, JwkSet};
use crate::protocol::ids::{ClientId, Issuer, RedirectUri};
use crate::protocol::scope::{Level, Scope, ScopeSet};
use crate::secret::Digest;

/// How a client proves who it is: one registered way each. SAL §5.1, OIDC Core §9.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "method")]
pub enum ClientAuthMethod {
    #[serde(rename = "none")]
    None,
    #[serde(rename = "client_secret_basic")]
    SecretBasic { secrets: Vec<Digest> },
    #[serde(rename = "client_secret_post")]
    SecretPost { secrets: Vec<Digest> },
    #[serde(rename = "private_key_jwt")]
    PrivateKeyJwt { keys: ClientKeys, algs: Vec<Alg> },
}

impl ClientAuthMethod {
    /// The name of the method in registrations and metadata. OIDC Core §9.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SecretBasic { .. } => "client_secret_basic",
            Self::SecretPost { .. } => "client_secret_post",
            Self::PrivateKeyJwt { .. } => "private_key_jwt",
        }
    }
}

/// Where a client's public keys are. SAL-005.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKeys {
    Inline(JwkSet),
    Uri(String),
}

/// Whether a person is asked before an app gets access. DESIGN §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsentPolicy {
    /// Never asked: the organisation decided beforehand.
    PreApproved,
    /// Asked once, and again when more is wanted.
    Once,
    /// Asked each time.
    Always,
}

/// What rules a client lives under. DESIGN §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    Smart,
    Oidc,
    Fapi2,
}

impl Profile {
    /// The name in registrations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Oidc => "oidc",
            Self::Fapi2 => "fapi2",
        }
    }

    /// Whether what is signed for a client, or by it, may be signed so. FAPI 2.0 §5.4.1: PS256, ES256 or EdDSA.
    pub fn allows(self, alg: Alg) -> bool {
        match self {
            Self::Smart | Self::Oidc => true,
            Self::Fapi2 => matches!(alg, Alg::PS256 | Alg::ES256 | Alg::EdDSA),
        }
    }

    /// What is signed with where nobody asks for anything. RFC 9068 §2.1, OIDC Core §2: RS256; FAPI 2.0 §5.4.1 has none.
    pub fn default_alg(self) -> Alg {
        match self {
            Self::Smart | Self::Oidc => Alg::RS256,
            Self::Fapi2 => Alg::ES256,
        }
    }
}

/// Whether authorization requests must be pushed first. RFC 9126 §6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParPolicy {
    #[default]
    Optional,
    Required,
}

/// How `fhirUser` is written for this client. SAL-327.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FhirUserForm {
    Relative,
    Absolute,
}

/// What a second use of an own code does. DESIGN §3, Code replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeReplay {
    /// Refuse, and end the grant.
    Revoke,
    /// Refuse, and leave the grant alone: for apps whose callback page may be reloaded (NAV-051).
    Refuse,
}

/// How far the EPJ's word goes when the browser has no session. DESIGN §3, Who is the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchTrust {
    /// The browser must show a session of the launching user.
    Session,
    /// The handle alone is enough: confidential clients only, no `offline_access`, no `auth_time`, `acr` or `amr`.
    Handle,
}

/// Whether an app that is granted the HelseID scope can do without a login there. DESIGN §3, HelseID in SMART.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HelseIdNeed {
    /// Asked in passing; without one the launch goes on and the claim is absent.
    #[default]
    Optional,
    /// The person logs in there before there is a code.
    Required,
}

/// Context a client cannot work without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Required {
    Patient,
    Encounter,
}

/// One registered client. Made by the configuration or by the admin API, never by hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Client {
    pub id: ClientId,
    /// Shown to people; the id where the registration gives none.
    pub name: String,
    pub auth: ClientAuthMethod,
    pub redirect_uris: Vec<RedirectUri>,
    pub launch_urls: Vec<RedirectUri>,
    pub post_logout_redirect_uris: Vec<RedirectUri>,
    /// Where it is told that a session has ended. OIDC Back-Channel Logout §2.2.
    #[serde(default)]
    pub backchannel_logout_uri: Option<RedirectUri>,
    /// The ceiling: nothing outside it is ever granted to this client.
    pub scopes: ScopeSet,
    pub consent: ConsentPolicy,
    pub profile: Profile,
    pub fhir_user: FhirUserForm,
    pub requires: BTreeSet<Required>,
    /// Origins whose scripts may call the token endpoint: those of the redirect URIs and what is registered besides. SAL §7.2.
    pub cors_origins: BTreeSet<String>,
    /// 1 s to 1 h for apps, at most 5 min for `system/` tokens. SAL-068, SAL-116.
    pub access_ttl: Duration,
    /// Absolute life of a refresh token from the moment the grant was made.
    pub refresh_ttl: Duration,
    /// `None`: as the FHIR base says, else RS256.
    pub access_token_alg: Option<Alg>,
    pub id_token_alg: Alg,
    pub code_replay: CodeReplay,
    /// Offline grants end with the session too. NAV presets.
    pub end_with_session: bool,
    pub launch_trust: LaunchTrust,
    /// Whether its tokens are bound to a key.
    #[serde(default)]
    pub dpop: DpopPolicy,
    /// Whether its authorization requests must be pushed; an issuer may demand it of all.
    #[serde(default)]
    pub par: ParPolicy,
    /// Repeat `patient` and `encounter` in refresh responses. SAL-328; off.
    pub refresh_context: bool,
    /// Other clients that may act with this one's tokens, where a row of the exchange policy permits it. RFC 8693 §4.4.
    #[serde(default)]
    pub may_act: Vec<ClientId>,
    #[serde(default)]
    pub helseid: HelseIdNeed,
    pub disabled: bool,
}

/// The scope that lets the EHR create launches. DESIGN §3, The launch API.
pub const LAUNCH_CREATE: &str = "launch:create";

/// The scope that lets its bearer introspect any token of this issuer. SAL-124, SAL-125.
pub fn introspect_scope(issuer: &Issuer) -> String {
    issuer.at("/scopes/introspect")
}

/// What a client may come to the token endpoint with. Never registered by itself: it follows from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
    /// Which exchanges, the policy says: a client without a row in it has none.
    TokenExchange,
}

/// A URI that equals a registered one. Only this can be redirected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRedirect(RedirectUri);

impl VerifiedRedirect {
    pub fn uri(&self) -> &RedirectUri {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Client {
    pub fn is_public(&self) -> bool {
        matches!(self.auth, ClientAuthMethod::None)
    }

    /// Public clients rotate; confidential ones are bound by their own authentication. DESIGN §3, SAL §7.6.
    pub fn rotates_refresh_tokens(&self) -> bool {
        self.is_public()
    }

    /// What an access token of this client is signed with: as it asks, else as the FHIR base does, else as its profile does. An algorithm of the
    /// base that its profile does not have is passed over.
    pub fn access_alg(&self, of_base: Option<Alg>) -> Alg {
        self.access_token_alg.or(of_base.filter(|alg| self.profile.allows(*alg))).unwrap_or(self.profile.default_alg())
    }

    /// Proof that `asked` is registered, byte for byte. RFC 9700 §2.1, SAL §7.3.
    pub fn redirect(&self, asked: &str) -> Option<VerifiedRedirect> {
        self.redirect_uris.iter().find(|uri| uri.as_str() == asked).cloned().map(VerifiedRedirect)
    }

    /// Proof that the URI to go to after logout is registered, byte for byte. OIDC RP-Initiated Logout §3.
    pub fn post_logout_redirect(&self, asked: &str) -> Option<VerifiedRedirect> {
        self.post_logout_redirect_uris.iter().find(|uri| uri.as_str() == asked).cloned().map(VerifiedRedirect)
    }

    /// What of a grant the registration allows now. Context was settled when the grant was made and stays.
    pub fn still_allows(&self, granted: &ScopeSet) -> ScopeSet {
        let mut allowed = granted.narrow(&self.scopes);
        granted.iter().filter(|scope| matches!(scope, Scope::Launch | Scope::Context(_))).cloned().for_each(|scope| allowed.push(scope));
        allowed
    }

    /// Whether this client may use a grant type at this issuer.
    pub fn may(&self, grant: GrantType, issuer: &Issuer) -> bool {
        match grant {
            GrantType::AuthorizationCode => !self.redirect_uris.is_empty(),
            GrantType::RefreshToken => {
                self.may(GrantType::AuthorizationCode, issuer) && (self.scopes.contains(&Scope::OfflineAccess) || self.scopes.contains(&Scope::OnlineAccess))
            }
            GrantType::TokenExchange => !self.is_public(),
            // SAL-111 (system/ needs an asymmetric key) is held by registration; RFC 6749 §4.4: confidential clients only.
            GrantType::ClientCredentials => {
                !self.is_public()
                    && (self.scopes.has_level(Level::System)
                        || self.scopes.has_extension(LAUNCH_CREATE)
                        || self.scopes.has_extension(&introspect_scope(issuer)))
            }
        }
    }
}
