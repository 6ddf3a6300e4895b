//! Clients whose registration is known beforehand. A preset fills in what the `[[client]]` leaves out; explicit keys override it.
//!
//! Written as the operator would write them, so that they go through the same check.

use super::node::Node;
use super::problem::{Findings, Place};
use super::raw::RawClient;
use super::read::Read as _;

/// Every preset by name, in the order of the documentation.
pub const NAMES: &[&str] = &["nav-syk-inn-dev", "nav-syk-inn-prod", "nav-validator", "growth-chart", "lab-sync", "regional-portal", "fhir-server", "epj"];

/// The keys a preset sets, as TOML.
pub fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "nav-syk-inn-dev" => NAV_SYK_INN_DEV,
        "nav-syk-inn-prod" => NAV_SYK_INN_PROD,
        "nav-validator" => NAV_VALIDATOR,
        "growth-chart" => GROWTH_CHART,
        "lab-sync" => LAB_SYNC,
        "regional-portal" => REGIONAL_PORTAL,
        "fhir-server" => FHIR_SERVER,
        "epj" => EPJ,
        _ => return None,
    })
}

/// The preset as a raw client that stands where the client does, so that messages lead there.
pub(super) fn preset(name: &str, at: &Place, found: &mut Findings) -> Option<RawClient> {
    RawClient::read(&Node::from_toml(name, text(name)?, found)?.moved_to(at), found)
}

/// NAV §3.1, §3.3, §8: the sykmelding app in NAV's test environment. The HelseID scope is asked for there.
const NAV_SYK_INN_DEV: &str = r#"
client_id = "syk-inn"
name = "NAV sykmelding (test)"
auth = "client_secret_basic"
redirect_uris = ["https://www.ekstern.dev.nav.no/samarbeidspartner/sykmelding/fhir/callback"]
launch_urls = ["https://www.ekstern.dev.nav.no/samarbeidspartner/sykmelding/fhir/launch"]
scopes = """openid profile launch fhirUser offline_access
    patient/Patient.read patient/Encounter.read patient/Condition.read patient/DocumentReference.read patient/DocumentReference.write
    patient/QuestionnaireResponse.read patient/QuestionnaireResponse.write https://helseid.nhn.no"""
requires = ["patient", "encounter"]
consent = "pre-approved"
access_ttl = "1h"
access_token_alg = "RS256"
code_replay = "refuse"
end_with_session = true
"#;

/// The same in production, where URLs are agreed at onboarding and must be written out.
const NAV_SYK_INN_PROD: &str = r#"
client_id = "syk-inn"
name = "NAV sykmelding"
auth = "client_secret_basic"
scopes = """openid profile launch fhirUser offline_access
    patient/Patient.read patient/Encounter.read patient/Condition.read patient/DocumentReference.read patient/DocumentReference.write
    patient/QuestionnaireResponse.read patient/QuestionnaireResponse.write"""
requires = ["patient", "encounter"]
consent = "pre-approved"
access_ttl = "1h"
access_token_alg = "RS256"
code_replay = "refuse"
end_with_session = true
"#;

/// NAV §5.1: the validator that runs in the browser during onboarding.
const NAV_VALIDATOR: &str = r#"
client_id = "NAV_SMART_on_FHIR_example"
name = "NAV validator"
auth = "none"
redirect_uris = ["https://nav-on-fhir.ekstern.dev.nav.no/"]
launch_urls = ["https://nav-on-fhir.ekstern.dev.nav.no/launch"]
scopes = "openid profile launch fhirUser patient/*.* user/*.* offline_access"
requires = ["patient", "encounter"]
consent = "pre-approved"
access_ttl = "1h"
access_token_alg = "RS256"
code_replay = "refuse"
end_with_session = true
"#;

/// DESIGN §2: a public app in the browser.
const GROWTH_CHART: &str = r#"
client_id = "growth-chart"
name = "Growth chart"
auth = "none"
scopes = "launch launch/patient openid profile fhirUser offline_access patient/*.rs"
requires = ["patient"]
consent = "once"
"#;

/// DESIGN §2: a backend service.
const LAB_SYNC: &str = r#"
client_id = "lab-sync"
name = "Lab sync"
auth = "private_key_jwt"
scopes = "system/*.rs"
"#;

/// DESIGN §2: a confidential app with a key of its own, and tokens bound to one.
const REGIONAL_PORTAL: &str = r#"
client_id = "regional-portal"
name = "Regional portal"
auth = "private_key_jwt"
dpop = "required"
scopes = "launch launch/patient openid fhirUser offline_access patient/Patient.rs patient/Encounter.rs patient/Condition.rs"
consent = "once"
"#;

/// DESIGN §2: the FHIR server's own credentials for introspection; name it in `resource_servers` of its base.
const FHIR_SERVER: &str = r#"
client_id = "fhir-server"
name = "FHIR server"
auth = "client_secret_basic"
"#;

/// DESIGN §3, The launch API: the EHR itself. Outside loopback write `auth = "private_key_jwt"`.
const EPJ: &str = r#"
client_id = "epj"
name = "EPJ"
auth = "client_secret_basic"
scopes = "launch:create"
"#;
