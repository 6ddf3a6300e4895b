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
            us.post_logout_redirect_uris.push(format!("{issuer}/logout"));
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

    /// What may be exchanged in the demo: DESIGN §2, §3. `fhir` is the FHIR base. A row of `policy` takes the place of the demo's own
    /// that permits the same.
    pub fn rows(&self, fhir: &str, policy: &str) -> String {
        let Self { sample_api, organisations, .. } = self;
        let smart = "fhirUser patient/Patient.rs patient/Encounter.rs patient/Condition.rs";
        let rows = [
            // It may make its own token narrower.
            ("portal-narrows", "own", "regional-portal", fhir, format!("scopes = \"openid offline_access {smart}\"")),
            // It reaches a national API through us, and never holds the token.
            (
                "portal-gateway",
                "to-upstream",
                "regional-portal",
                "demo:kjerne",
                format!(
                    "scopes = \"demo:kjerne/read\"\ngateway_url = \"{sample_api}\"\npatient_header = \"nhn-patient-nin\"\n\
                     attest_service = \"urn:oid:2.16.578.1.12.4.1.1.8663|KX17\""
                ),
            ),
            // For another one HelseID itself exchanges the token, and says in `act` who stands between.
            (
                "portal-prescriptions",
                "to-upstream",
                "regional-portal",
                "demo:resept",
                format!("scopes = \"demo:resept/write\"\ngateway_url = \"{sample_api}\"\nupstream_exchange = true"),
            ),
            // With a token of its own from HelseID and a launch it gets one of ours.
            (
                "portal-from-helseid",
                "from-upstream",
                "regional-portal",
                fhir,
                format!("scopes = \"{smart}\"\nsubject_client = \"{PORTAL}\"\norganisations = {organisations:?}"),
            ),
            // NAV's app learns in its id_token who the user is at HelseID, and may exchange nothing.
            ("syk-inn-identity", "to-upstream", "syk-inn", "nav-like:app", "scopes = \"nav-like:app/identity\"\ndelivery = \"identity\"".to_owned()),
        ];
        let theirs = permitted(policy);
        let stays = |name: &str, what: [&str; 3]| !theirs.iter().any(|(other, same)| other == name || same.iter().eq(what.iter()));
        rows.into_iter()
            .filter(|(name, direction, caller, audience, _)| stays(name, [direction, caller, audience]))
            .map(|(name, direction, caller, audience, lines)| {
                format!("[[issuer.exchange]]\nname = \"{name}\"\ndirection = \"{direction}\"\ncaller = \"{caller}\"\naudience = \"{audience}\"\n{lines}\n\n")
            })
            .collect()
    }

    /// The person there of a practitioner of ours: they go by the same id.
    pub fn user(&self, fhir_user: &str) -> Option<String> {
        fhir_user.strip_prefix("Practitioner/").filter(|id| self.users.contains(*id)).map(str::to_owned)
    }
}

/// The rows of a policy: name, and direction, caller and audience. What cannot be read is refused later, with its place.
fn permitted(policy: &str) -> Vec<(String, [String; 3])> {
    let read: toml::Table = policy.parse().unwrap_or_default();
    let rows = read.get("issuer").and_then(|issuer| issuer.get("exchange").or_else(|| issuer.get(0)?.get("exchange")));
    let text = |row: &toml::Value, key: &str| row.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let rows = rows.and_then(toml::Value::as_array).into_iter().flatten();
    rows.map(|row| (text(row, "name"), ["direction", "caller", "audience"].map(|key| text(row, key)))).collect()
}

fn url(listener: &Listener) -> String {
    format!("http://{}", listener.local_addr())
}

#[cfg(test)]
mod tests {
    use super::permitted;

    #[test]
    fn a_policy_is_read_for_what_it_permits() {
        let policy = "[[issuer.exchange]]\nname = \"mine\"\ndirection = \"own\"\ncaller = \"c\"\naudience = \"a\"\n[[issuer.trusted]]\nissuer = \"x\"\n";
        assert_eq!(permitted(policy), [("mine".to_owned(), ["own", "c", "a"].map(str::to_owned))]);
        assert_eq!(permitted("no toml ["), []);
        assert_eq!(permitted(""), []);
    }
}
