//! The demo's hospital: another authorization server with a FHIR server of its own, which knows some of the EPJ's people by other ids and takes none of its
//! tokens. It is the neighbour of the EPJ's on the same listeners, told apart by host and by path. DESIGN §3, Token exchange.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::demo::DemoError;
use crate::config::{self, Config, SystemEnvironment, Text};
use crate::demo::facts::{ClientFacts, HospitalFacts};
use crate::fhir::{DataSource, FhirConfig, Origins, Switches};
use crate::listen::Listener;
use crate::protocol::ids::{FhirBase, Issuer};
use crate::random::Random;
use crate::secret::Secret;

/// The app that follows the patient: by this name at the EPJ, and by another at the hospital.
pub const PORTAL: &str = "referral-portal";
const PORTAL_THERE: &str = "referrals";
/// Who the hospital is at the EPJ's authorization server, to introspect there.
pub const AS_CLIENT: &str = "hospital";
const FHIR_SERVER: &str = "fhir-server";
/// Both, as the EPJ's authorization server knows them.
pub const CLIENTS: [&str; 2] = [PORTAL, AS_CLIENT];
/// Where its FHIR server answers, beside the EPJ's.
const PATH: &str = "/hospital/fhir";
/// All of what it answers.
pub const UNDER: &str = "/hospital/{*rest}";
/// What the portal may see of a patient.
const SCOPES: &str = "fhirUser patient/Patient.rs patient/Condition.rs";

/// The hospital before it starts, and what others are told of it.
pub struct DemoHospital {
    pub facts: HospitalFacts,
    /// Its authorization server, with a store in memory.
    pub config: Config,
    pub fhir: FhirConfig,
    /// What the EPJ's authorization server must know: the portal, the hospital as one that introspects, and that the portal may pass a narrower token on.
    pub clients: Secret<String>,
    pub row: String,
}

/// The EPJ's side, and where the hospital's listeners are.
pub struct Beside<'a> {
    pub issuer: &'a str,
    pub fhir: &'a str,
    pub app: &'a str,
    pub public: &'a Listener,
    pub ops: &'a Listener,
    pub fhir_listener: &'a Listener,
    pub data: &'a Path,
}

/// Whom the hospital knows too: the patients of these ids and the practitioner, out of the EPJ's records.
pub struct Known<'a> {
    pub patients: &'a [&'a str],
    pub practitioner: &'a str,
    /// Bundles, one a line or the whole.
    pub records: [&'a str; 2],
}

impl DemoHospital {
    /// # Errors
    /// What the demo itself got wrong.
    pub fn make(beside: &Beside<'_>, known: &Known<'_>, random: &dyn Random) -> Result<Self, DemoError> {
        let here = format!("http://localhost:{}", beside.public.local_addr().port());
        let base = format!("http://{}{PATH}", beside.fhir_listener.local_addr());
        let redirect_uri = format!("{}/{PORTAL}/callback", beside.app);
        let secret = |client: &str, redirect_uris: &[String]| ClientFacts {
            client_id: client.to_owned(),
            auth: "client_secret_basic".to_owned(),
            client_secret: Some(random.token()),
            private_jwk: None,
            redirect_uris: redirect_uris.to_vec(),
        };
        let portal = secret(PORTAL, std::slice::from_ref(&redirect_uri));
        let introspects = secret(AS_CLIENT, &[]);
        let there = [PORTAL_THERE, FHIR_SERVER].map(|id| (id.to_owned(), secret(id, &[])));
        let clients = Secret::new(format!(
            "{}redirect_uris = [\"{redirect_uri}\"]\nlaunch_urls = [\"{app}/{PORTAL}/launch\"]\nscopes = \"launch openid {SCOPES}\"\nconsent = \"pre-approved\"\n\
             name = \"Referral portal\"\n\n{}name = \"The hospital\"\n",
            client(&portal),
            client(&introspects),
            app = beside.app,
        ));
        let row = format!(
            "[[issuer.exchange]]\nname = \"referral-narrows\"\ndirection = \"own\"\ncaller = \"{PORTAL}\"\naudience = \"{}\"\nscopes = \"{SCOPES}\"\nbinding = \"where-shown\"\n\n",
            beside.fhir
        );
        let text = Secret::new(format!(
            "[server]\nlisten = \"{}\"\nops_listen = \"{}\"\n[store]\nkind = \"memory\"\n[keys]\ndir = {:?}\n\
             [[issuer]]\nurl = \"{here}\"\nname = \"The hospital\"\nlogin = [\"ehr\"]\n[[issuer.fhir]]\nbase = \"{base}\"\nresource_servers = [\"{FHIR_SERVER}\"]\n\
             [[issuer.trusted]]\nissuer = \"{issuer}\"\nbase = \"{fhir}\"\nclient_id = \"{AS_CLIENT}\"\nclient_secret = \"{}\"\nclients = [\"{PORTAL}={PORTAL_THERE}\"]\n\
             [[issuer.exchange]]\nname = \"from-the-epj\"\ndirection = \"foreign\"\ncaller = \"{PORTAL_THERE}\"\nissuer = \"{issuer}\"\naudience = \"{base}\"\n\
             scopes = \"{SCOPES}\"\nbinding = \"where-shown\"\nagain = true\n\n{}",
            beside.public.local_addr(),
            beside.ops.local_addr(),
            beside.data.join("hospital-keys").display().to_string(),
            introspects.client_secret.as_ref().map(|secret| secret.expose().as_str()).unwrap_or_default(),
            there
                .iter()
                .map(|(id, facts)| client(facts) + if id == PORTAL_THERE { "scopes = \"fhirUser patient/*.rs\"\n\n" } else { "\n" })
                .collect::<String>(),
            issuer = beside.issuer,
            fhir = beside.fhir,
        ));
        let environment = SystemEnvironment::relative_to(Path::new(""));
        let main = Text { file: "the hospital's configuration", text: text.expose(), environment: &environment };
        let config = config::check(main, &[]).map_err(|found| DemoError::Config(Box::new(found)))?.config;
        let facts = HospitalFacts { issuer: here.clone(), fhir: base.clone(), portal, clients: BTreeMap::from(there) };
        let fhir = FhirConfig {
            base: FhirBase::parse(&base)?,
            issuer: Issuer::parse(&here)?,
            introspection_endpoint: format!("{here}/introspect"),
            client_id: FHIR_SERVER.to_owned(),
            client_secret: facts.clients.get(FHIR_SERVER).and_then(|client| client.client_secret.clone()).unwrap_or_else(|| random.token()),
            // Its levers have no listener.
            ops_token: random.token(),
            cors_origins: Origins::default(),
            introspection_cache: Duration::ZERO,
            data: DataSource::Text(records(known)),
            kept: None,
            switches: Switches::default(),
        };
        Ok(Self { facts, config, fhir, clients, row })
    }
}

fn client(facts: &ClientFacts) -> String {
    let secret = facts.client_secret.as_ref().map(|secret| secret.expose().as_str()).unwrap_or_default();
    format!("[[client]]\nclient_id = \"{}\"\nauth = \"{}\"\nclient_secret = \"{secret}\"\n", facts.client_id, facts.auth)
}

/// The hospital's own records of the people it knows, one a line: the same numbers and names, other ids, and a diagnosis of its own making.
fn records(known: &Known<'_>) -> String {
    let documents = known.records.iter().flat_map(|text| serde_json::Deserializer::from_str(text).into_iter::<Value>().map_while(Result::ok));
    let people: Vec<Value> = documents
        .filter_map(|mut bundle| bundle.get_mut("entry").map(Value::take))
        .flat_map(|entries| if let Value::Array(entries) = entries { entries } else { Vec::new() })
        .filter_map(|mut entry| entry.get_mut("resource").map(Value::take))
        .collect();
    let person = |kind: &str, id: &str, new: &str| {
        let found = people.iter().find(|one| one.get("resourceType") == Some(&json!(kind)) && one.get("id") == Some(&json!(id)))?;
        let own = [("resourceType", json!(kind)), ("id", json!(new)), ("active", json!(true))].map(|(name, value)| (name.to_owned(), value));
        let same = ["identifier", "name", "gender", "birthDate"].into_iter().filter_map(|name| Some((name.to_owned(), found.get(name)?.clone())));
        Some(Value::Object(own.into_iter().chain(same).collect()))
    };
    let ids = (0..).map(|n| format!("sykehus-{}", 4711 + 93 * n));
    let patients = known.patients.iter().zip(ids).flat_map(|(id, new)| {
        let about = json!({ "reference": format!("Patient/{new}") });
        let diagnosis = json!({ "resourceType": "Condition", "id": format!("funn-{new}"), "subject": about, "code": { "text": "Henvist til vurdering" } });
        [person("Patient", id, &new), Some(diagnosis)]
    });
    let practitioner = known.practitioner.strip_prefix("Practitioner/").and_then(|id| person("Practitioner", id, "henviser-77"));
    patients.chain([practitioner]).flatten().map(|one| format!("{one}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hospital_knows_the_same_people_by_other_ids_and_nothing_else_of_them() {
        let bundle = |resource: Value| json!({ "resourceType": "Bundle", "entry": [{ "resource": resource }] }).to_string();
        let patient = bundle(json!({
            "resourceType": "Patient", "id": "p", "identifier": [{ "system": "s", "value": "v" }], "address": [{ "city": "Oslo" }],
            "generalPractitioner": [{ "reference": "Practitioner/d" }]
        }));
        let stranger = bundle(json!({ "resourceType": "Patient", "id": "q" }));
        let doctor = bundle(json!({ "resourceType": "Practitioner", "id": "d", "name": [{ "text": "D" }] }));
        let lines = records(&Known { patients: &["p"], practitioner: "Practitioner/d", records: [&format!("{patient}\n{stranger}\n"), &doctor] });
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: Vec<&str> = lines.iter().map(|line| line["resourceType"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["Patient", "Condition", "Practitioner"]);
        assert_eq!(lines[0]["identifier"], json!([{ "system": "s", "value": "v" }]));
        assert!(lines[0]["id"] != "p" && lines[0].get("address").is_none() && lines[0].get("generalPractitioner").is_none());
        assert_eq!(lines[1]["subject"]["reference"], format!("Patient/{}", lines[0]["id"].as_str().unwrap()));
        assert_ne!(lines[2]["id"], "d");
    }
}
