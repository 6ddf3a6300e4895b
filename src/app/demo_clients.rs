//! The clients of the demo: presets on loopback addresses, with secrets made afresh at every start. DESIGN §2.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::demo::epj::{Asked, JOURNAL_SCOPES};
use crate::demo::facts::ClientFacts;
use crate::http::texts::scopes::explain;
use crate::jose::{Alg, KeyError, SigningKey};
use crate::protocol::claims::HELSEID;
use crate::protocol::lang::Lang;
use crate::protocol::scope::ScopeSet;
use crate::random::Random;
use crate::secret::Secret;

/// The EPJ's own service, which reads what arrived in the journal.
pub const JOURNAL: &str = "epj-journal";

/// The portal's preset, and what it may ask of national APIs by exchange.
const PORTAL_LINES: &str = "scopes = \"launch launch/patient openid fhirUser offline_access patient/Patient.rs patient/Encounter.rs patient/Condition.rs demo:kjerne/read demo:resept/write\"";

/// The clients as configuration text, and as those who test against them need them.
pub struct DemoClients {
    pub toml: Secret<String>,
    /// What [`JOURNAL`] signs with.
    pub journal_key: SigningKey,
    pub facts: BTreeMap<String, ClientFacts>,
}

/// Where the demo's parties answer, without a trailing slash.
pub struct Places<'a> {
    pub app: &'a str,
}

/// What an app may ask for, as the consent page would put it about the patient who is open.
pub fn asks(scopes: &ScopeSet) -> Vec<Asked> {
    let said = |scope, lang| explain(scope, lang, true, HELSEID);
    let both = scopes.iter().filter_map(|scope| said(scope, Lang::Nb).zip(said(scope, Lang::En)));
    both.map(|(nb, en)| Asked { nb: nb.sentence, en: en.sentence, scope: nb.detail }).collect()
}

impl DemoClients {
    /// # Errors
    /// When a key cannot be made.
    pub fn make(places: &Places<'_>, random: &dyn Random) -> Result<Self, KeyError> {
        let journal_key = SigningKey::generate(Alg::ES384)?;
        let mut making = Self { toml: Secret::new(String::new()), journal_key: journal_key.clone(), facts: BTreeMap::new() };
        let app = places.app;
        making.secret("epj", "epj", &[], random, "");
        making.secret("fhir-server", "fhir-server", &[], random, "");
        let launch = format!("launch_urls = [\"{app}/fhir/launch\"]");
        making.secret("syk-inn", "nav-syk-inn-dev", &[format!("{app}/fhir/callback")], random, &launch);
        making.public("nav-validator", "nav-validator", &format!("{app}/validator"));
        making.public("growth-chart", "growth-chart", &format!("{app}/growth-chart"));
        making.keyed("lab-sync", "lab-sync", &SigningKey::generate(Alg::ES384)?, None, "")?;
        making.keyed(JOURNAL, "lab-sync", &journal_key, None, &format!("name = \"EPJ journal\"\nscopes = \"{JOURNAL_SCOPES}\"\n"))?;
        making.keyed("regional-portal", "regional-portal", &SigningKey::generate(Alg::ES384)?, Some(&format!("{app}/regional-portal")), PORTAL_LINES)?;
        Ok(making)
    }

    fn write(&mut self, client: &str, preset: &str, lines: &str) {
        let mut text = self.toml.expose().clone();
        let _infallible = write!(text, "[[client]]\npreset = \"{preset}\"\nclient_id = \"{client}\"\n{lines}\n\n");
        self.toml = Secret::new(text);
    }

    fn uris(uris: &[String]) -> String {
        if uris.is_empty() { String::new() } else { format!("redirect_uris = {uris:?}\n") }
    }

    fn secret(&mut self, client: &str, preset: &str, redirect_uris: &[String], random: &dyn Random, more: &str) {
        let secret = random.token();
        self.write(client, preset, &format!("client_secret = \"{}\"\n{}{more}", secret.expose(), Self::uris(redirect_uris)));
        let facts = ClientFacts {
            client_id: client.to_owned(),
            auth: "client_secret_basic".to_owned(),
            client_secret: Some(secret),
            private_jwk: None,
            redirect_uris: redirect_uris.to_vec(),
        };
        self.facts.insert(client.to_owned(), facts);
    }

    fn public(&mut self, client: &str, preset: &str, at: &str) {
        let redirect_uris = vec![format!("{at}/callback")];
        self.write(client, preset, &format!("{}launch_urls = [\"{at}/launch\"]", Self::uris(&redirect_uris)));
        let facts = ClientFacts { client_id: client.to_owned(), auth: "none".to_owned(), client_secret: None, private_jwk: None, redirect_uris };
        self.facts.insert(client.to_owned(), facts);
    }

    fn keyed(&mut self, client: &str, preset: &str, key: &SigningKey, at: Option<&str>, more: &str) -> Result<(), KeyError> {
        let redirect_uris: Vec<String> = at.iter().map(|at| format!("{at}/callback")).collect();
        let launch = at.map(|at| format!("launch_urls = [\"{at}/launch\"]\n")).unwrap_or_default();
        let jwk = key.public_jwk().to_value();
        let member = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let members: Vec<String> = ["kty", "crv", "x", "y", "kid", "alg", "use"].iter().map(|name| format!("{name} = \"{}\"", member(name))).collect();
        self.write(client, preset, &format!("jwks = {{ keys = [{{ {} }}] }}\n{}{launch}{more}", members.join(", "), Self::uris(&redirect_uris)));
        let facts = ClientFacts {
            client_id: client.to_owned(),
            auth: "private_key_jwt".to_owned(),
            client_secret: None,
            private_jwk: Some(Secret::new(key.to_private_jwk()?.to_string())),
            redirect_uris,
        };
        self.facts.insert(client.to_owned(), facts);
        Ok(())
    }
}
