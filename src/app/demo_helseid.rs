//! The demo's HelseID: a mock that knows the practitioners of the data set, this server as a client, and a portal that others trust.

use std::collections::BTreeSet;

use super::demo::DemoError;
use super::helseid_server::HelseidParts;
use crate::demo::facts::HelseIdFacts;
use crate::domain::upstream::CALLBACK_PATH;
use crate::helseid::quirks::Quirks;
use crate::helseid::seed::table::{PORTAL, SMART_AS};
use crate::helseid::seed::{Organisation, Seed, Tenancy};
use crate::listen::Listener;
use crate::random::Random;
use crate::secret::Secret;

/// Where HelseID says that somebody logged out there, under the issuer.
const LOGOUT_PATH: &str = "/upstream/logout";
/// The audience of HelseID tokens that are for this server, and of the APIs that a session may need later.
const OWN_API: &str = "fjord:epj-api";
const APIS: [&str; 2] = ["demo:kjerne", "nav-like:app"];
const API_SCOPES: &str = "fjord:epj-api/exchange fjord:epj-api/read demo:kjerne/read nav-like:app/identity";
/// The legal entity that the first practitioner of the data set works in, and for which the portal asks.
const PORTAL_ORGANISATION: &str = "376213609";

/// The mock's listeners.
pub struct HelseidPorts {
    pub public: Listener,
    pub admin: Listener,
    pub sample_api: Listener,
}

/// The mock before it starts, and what others are told of it.
pub struct DemoHelseid {
    pub parts: HelseidParts,
    pub facts: HelseIdFacts,
    pub sample_api: String,
    /// `[issuer.upstream]` of the demo's configuration.
    pub upstream: Secret<String>,
    /// The legal entities a token may speak for.
    organisations: Vec<String>,
    users: BTreeSet<String>,
}

impl DemoHelseid {
    /// `issuer` is this server's; `app` is where the redirect URIs of apps are; `ours` are the practitioners of the ready launches.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn make(ports: HelseidPorts, issuer: &str, app: &str, ours: &[&str], random: &dyn Random) -> Result<Self, DemoError> {
        let mut seed = Seed::generate()?;
        let (here, admin, sample_api) = (url(&ports.public), url(&ports.admin), url(&ports.sample_api));
        // Whom the patients here know stand first on its page; those who are there to be turned away come after.
        seed.users.sort_by_key(|user| !ours.iter().any(|one| one.strip_prefix("Practitioner/") == Some(&user.id)));
        if let Some(us) = seed.clients.get_mut(SMART_AS) {
            us.redirect_uris.push(format!("{issuer}{CALLBACK_PATH}"));
            us.post_logout_redirect_uris.push(format!("{issuer}/"));
            us.backchannel_logout_uri = Some(format!("{issuer}{LOGOUT_PATH}"));
        }
        if let Some(portal) = seed.clients.get_mut(PORTAL) {
            // The list's portal asks for a hospital that nobody of the data set works at.
            portal.tenancy = Tenancy::Own(PORTAL_ORGANISATION.to_owned());
            portal.redirect_uris.push(format!("{app}/regional-portal/helseid"));
        }
        let key = seed.client(SMART_AS).and_then(|us| us.private_key.as_ref()).map(|key| key.to_private_jwk()).transpose()?;
        let key = key.map(|jwk| jwk.to_string()).unwrap_or_default();
        let upstream = format!(
            "[issuer.upstream]\nissuer = \"{here}\"\nclient_id = \"{SMART_AS}\"\nclient_key = '{key}'\napi_audience = \"{OWN_API}\"\n\
             scopes = \"{API_SCOPES}\"\nresources = {APIS:?}\ntenancy = \"multi\"\ncircuit_open = \"1s\"\n"
        );
        let secret = random.token();
        let legal_entity = |organisation: &&Organisation| organisation.parent.is_none();
        let organisations = seed.organisations.iter().filter(legal_entity).map(|organisation| organisation.number.clone()).collect();
        let users = seed.users.iter().map(|user| user.id.clone()).collect();
        let parts = HelseidParts {
            public: ports.public,
            issuer: None,
            admin: Some((ports.admin, secret.clone())),
            sample_api: Some(ports.sample_api),
            seed,
            quirks: Quirks::default(),
            fresh_keys: false,
        };
        let facts = HelseIdFacts { issuer: here, admin, admin_secret: secret };
        Ok(Self { parts, facts, sample_api, upstream: Secret::new(upstream), organisations, users })
    }

    /// What may be exchanged in the demo: DESIGN §2, §3. `fhir` is the FHIR base.
    pub fn rows(&self, fhir: &str) -> String {
        let Self { sample_api, organisations, .. } = self;
        format!(
            r#"# The portal may make its own token narrower.
[[issuer.exchange]]
name = "portal-narrows"
direction = "own"
caller = "regional-portal"
audience = "{fhir}"
scopes = "openid fhirUser offline_access patient/Patient.rs patient/Encounter.rs patient/Condition.rs"

# It reaches a national API through us, and never holds the token.
[[issuer.exchange]]
name = "portal-gateway"
direction = "to-upstream"
caller = "regional-portal"
audience = "demo:kjerne"
scopes = "demo:kjerne/read"
gateway_url = "{sample_api}"
patient_header = "nhn-patient-nin"
attest_service = "urn:oid:2.16.578.1.12.4.1.1.8663|KX17"

# To another one HelseID itself exchanges the token, and says in act who stands between.
[[issuer.exchange]]
name = "portal-prescriptions"
direction = "to-upstream"
caller = "regional-portal"
audience = "demo:resept"
scopes = "demo:resept/write"
gateway_url = "{sample_api}"
upstream_exchange = true

# With a token of its own from HelseID and a launch it gets one of ours.
[[issuer.exchange]]
name = "portal-from-helseid"
direction = "from-upstream"
caller = "regional-portal"
audience = "{fhir}"
subject_client = "{PORTAL}"
organisations = {organisations:?}
scopes = "fhirUser patient/Patient.rs patient/Encounter.rs patient/Condition.rs"

# NAV's app learns in its id_token who the user is at HelseID, and may exchange nothing.
[[issuer.exchange]]
name = "syk-inn-identity"
direction = "to-upstream"
caller = "syk-inn"
audience = "nav-like:app"
scopes = "nav-like:app/identity"
delivery = "identity"
"#
        )
    }

    /// The person there of a practitioner of ours: they go by the same id.
    pub fn user(&self, fhir_user: &str) -> Option<String> {
        fhir_user.strip_prefix("Practitioner/").filter(|id| self.users.contains(*id)).map(str::to_owned)
    }
}

fn url(listener: &Listener) -> String {
    format!("http://{}", listener.local_addr())
}
