//! Two systems that know the same people by other ids, and do not take each other's tokens: the hospital case.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use helsebro::app::server::{self, Listeners, Running};
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::fhir::{self, DataSource, FhirConfig, Origins, Switches};
use helsebro::protocol::ids::{FhirBase, Issuer};
use helsebro::random::SystemRandom;
use helsebro::secret::Secret;
use helsebro::time::{Clock as _, FixedClock, UnixTime};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::exchange_form;
use crate::world::{Browser, Reply, SECRET, VERIFIER, basic};

/// Where the app at the first system is; nobody listens there.
pub const AT: &str = "http://127.0.0.1:4567/cb";

/// Who is at both: by the ids of the first, which are those of the demo's data, and of the second.
pub const PATIENT: (&str, &str) = ("pasient-01", "p-4711");
pub const PERSON: (&str, &str) = ("lege-fastlege", "dr-77");
pub const FNR: &str = "urn:oid:2.16.578.1.12.4.1.4.1";
pub const D_NUMBER: &str = "urn:oid:2.16.578.1.12.4.1.4.2";
pub const HPR: &str = "urn:oid:2.16.578.1.12.4.1.4.4";
pub const NUMBERS: (&str, &str) = ("14839219696", "990001007");

/// The second system's people. Two share a number, as a bad merge leaves them; one is out of use.
fn people() -> String {
    let patient = |id: &str, active: bool, number: &str| json!({ "resourceType": "Patient", "id": id, "active": active, "identifier": [{ "system": FNR, "value": number }] });
    let condition = json!({ "resourceType": "Condition", "id": "c-1", "subject": { "reference": "Patient/p-4711" }, "code": { "text": "Vondt i ryggen" } });
    let lege = json!({ "resourceType": "Practitioner", "id": PERSON.1, "active": true, "identifier": [{ "system": HPR, "value": NUMBERS.1 }], "name": [{ "text": "Fastlege" }] });
    let all = [
        patient("p-old", false, NUMBERS.0),
        patient(PATIENT.1, true, NUMBERS.0),
        json!({ "resourceType": "Patient", "id": "p-both", "identifier": [{ "system": D_NUMBER, "value": "42878712921" }, { "system": FNR, "value": "04849646449" }] }),
        patient("p-twice-1", true, "21907911230"),
        patient("p-twice-2", true, "21907911230"),
        condition,
        lege,
    ];
    all.iter().map(|one| format!("{one}\n")).collect()
}

pub struct Hospital {
    /// The first system: whose tokens are exchanged.
    pub theirs: String,
    pub their_fhir: String,
    /// The second: where they are exchanged.
    pub ours: String,
    pub fhir: String,
    pub clock: Arc<FixedClock>,
    pub http: reqwest::Client,
    running: Running,
    _data: tempfile::TempDir,
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A FHIR server that asks `issuer`.
async fn fhir_of(issuer: &str, data: DataSource, clock: Arc<FixedClock>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let config = FhirConfig {
        base: FhirBase::parse(&base).unwrap(),
        issuer: Issuer::parse(issuer).unwrap(),
        introspection_endpoint: format!("{issuer}/introspect"),
        client_id: "fhir-server".to_owned(),
        client_secret: Secret::new(SECRET.to_owned()),
        ops_token: Secret::new(SECRET.to_owned()),
        cors_origins: Origins::default(),
        introspection_cache: Duration::ZERO,
        documentation: None,
        data,
        kept: None,
        switches: Switches::default(),
    };
    let (public, _ops) = fhir::router(config, clock, Arc::new(SystemRandom)).unwrap();
    tokio::spawn(async move { axum::serve(listener, public).await.unwrap() });
    base
}

impl Hospital {
    /// Both systems whole, in one process: two issuers that `Host` tells apart, each with a FHIR server.
    pub async fn start() -> Self {
        Self::with(None, "").await
    }

    /// The same, where the portal may bring what was exchanged there before.
    pub async fn again() -> Self {
        Self::with(None, "again = true").await
    }

    /// The second system alone, which trusts whoever answers under `stub`. `row` is added to the one row of the policy.
    pub async fn beside(stub: Router, row: &str) -> Self {
        let stub = listen(stub).await;
        Self::with(Some(&stub), row).await
    }

    async fn with(stub: Option<&str>, row: &str) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = Listeners { public: server::bind(any).await.unwrap(), ops: server::bind(any).await.unwrap() };
        let clock = Arc::new(FixedClock::at(UnixTime(1_795_000_000)));
        let data = tempfile::tempdir().unwrap();
        let address = listeners.public.local_addr();
        let ours = format!("http://{address}");
        let file = data.path().join("people.ndjson");
        std::fs::write(&file, people()).unwrap();
        let fhir = fhir_of(&ours, DataSource::Paths(vec![file]), clock.clone()).await;
        let (theirs, their_fhir) = match stub {
            Some(stub) => (stub.to_owned(), format!("{stub}/fhir")),
            None => {
                let theirs = format!("http://localhost:{}", address.port());
                let their_fhir = fhir_of(&theirs, DataSource::BuiltIn, clock.clone()).await;
                (theirs, their_fhir)
            }
        };
        let whole = if stub.is_none() { their_config(&theirs, &their_fhir) } else { String::new() };
        let text = format!(
            "[server]\nlisten = \"{address}\"\nops_listen = \"{}\"\n[store]\nkind = \"memory\"\n[keys]\ndir = {:?}\n{}{whole}",
            listeners.ops.local_addr(),
            data.path().join("keys").display().to_string(),
            our_config(&ours, &fhir, &theirs, &their_fhir, row),
        );
        let environment = SystemEnvironment::relative_to(data.path());
        let checked = config::check(Text { file: "test", text: &text, environment: &environment }, &[]).unwrap_or_else(|found| panic!("{found}\n{text}"));
        let running = server::start(&checked.config, listeners, clock.clone(), Arc::new(SystemRandom), None).await.unwrap();
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { theirs, their_fhir, ours, fhir, clock, http, running, _data: data }
    }

    pub fn now(&self) -> i64 {
        self.clock.now().0
    }

    pub async fn post(&self, url: &str, client: &str, form: &[(&str, &str)]) -> Reply {
        let request = self.http.post(url).header("authorization", basic(client, SECRET)).form(form);
        Reply::of(request.send().await.unwrap()).await
    }

    pub async fn read(&self, token: &str, url: &str) -> Reply {
        Reply::of(self.http.get(url).bearer_auth(token).send().await.unwrap()).await
    }

    /// What an app of the first system gets by a launch there.
    pub async fn launched(&self, client: &str, patient: &str, scope: &str) -> Value {
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
        let ehr = self.post(&format!("{}/token", self.theirs), "epj", &form).await.is(200).json();
        let body = json!({ "client_id": client, "patient": patient, "fhir_user": format!("Practitioner/{}", PERSON.0) });
        let request = self.http.post(format!("{}/launches", self.theirs)).bearer_auth(ehr["access_token"].as_str().unwrap()).json(&body);
        let launch = Reply::of(request.send().await.unwrap()).await.is(201).json();
        let mut browser = Browser::new(self.http.clone());
        browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
        let challenge = helsebro::protocol::pkce::CodeVerifier::parse(VERIFIER).unwrap().challenge();
        let params = [
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", AT),
            ("scope", scope),
            ("state", "s"),
            ("aud", &self.their_fhir),
            ("launch", launch["launch"].as_str().unwrap()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let page = browser.get(url::Url::parse_with_params(&format!("{}/authorize", self.theirs), params).unwrap().as_str()).await;
        let page = browser.reach_app(page, &self.theirs).await;
        let code = page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()));
        let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
        self.post(&format!("{}/token", self.theirs), client, &form).await.is(200).json()
    }

    /// An exchange at the second system.
    pub async fn exchange(&self, caller: &str, subject: &str, more: &[(&str, &str)]) -> Reply {
        self.post(&format!("{}/token", self.ours), caller, &exchange_form(subject, &self.fhir, more)).await
    }

    /// What the second system says of a token of its own.
    pub async fn introspect(&self, token: &str) -> Value {
        self.post(&format!("{}/introspect", self.ours), "fhir-server", &[("token", token)]).await.is(200).json()
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }
}

fn our_config(ours: &str, fhir: &str, theirs: &str, their_fhir: &str, row: &str) -> String {
    let client = |id: &str, more: &str| {
        format!("[[client]]\nclient_id = \"{id}\"\nissuer = \"{ours}\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{more}\n\n")
    };
    let clients: String = [
        ("fhir-server", ""),
        ("portal-here", "scopes = \"fhirUser patient/*.cruds user/*.rs\"\nmay_act = [\"service-here\"]"),
        ("service-here", "scopes = \"patient/*.rs\""),
        ("stranger", "scopes = \"patient/*.rs\""),
    ]
    .map(|(id, more)| client(id, more))
    .concat();
    let rows: String = [("portal-brings", "portal-here", row), ("service-brings", "service-here", ""), ("stranger-brings", "stranger", "")]
        .map(|(name, caller, more)| {
            format!(
                "[[issuer.exchange]]\nname = \"{name}\"\ndirection = \"foreign\"\ncaller = \"{caller}\"\nissuer = \"{theirs}\"\naudience = \"{fhir}\"\n\
                 scopes = \"openid fhirUser patient/Patient.rs patient/Condition.rs user/Practitioner.rs\"\nbinding = \"where-shown\"\n{more}\n\n"
            )
        })
        .concat();
    format!(
        "[[issuer]]\nurl = \"{ours}\"\nlogin = [\"ehr\"]\n[[issuer.fhir]]\nbase = \"{fhir}\"\nresource_servers = [\"fhir-server\"]\n\
         [[issuer.trusted]]\nissuer = \"{theirs}\"\nbase = \"{their_fhir}\"\nclient_id = \"next-hospital\"\nclient_secret = \"{SECRET}\"\n\
         clients = [\"portal-there=portal-here\"]\n\n{rows}{clients}"
    )
}

fn their_config(theirs: &str, their_fhir: &str) -> String {
    let client = |id: &str, more: &str| {
        format!("[[client]]\nclient_id = \"{id}\"\nissuer = \"{theirs}\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{more}\n\n")
    };
    let app = format!("redirect_uris = [\"{AT}\"]\nlaunch_urls = [\"{AT}\"]\nscopes = \"openid fhirUser launch patient/*.rs\"\nconsent = \"pre-approved\"");
    let clients = [client("portal-there", &app), client("unknown-there", &app), client("fhir-server", ""), client("next-hospital", "")].concat();
    format!(
        "[[issuer]]\nurl = \"{theirs}\"\nlogin = [\"ehr\"]\n[[issuer.fhir]]\nbase = \"{their_fhir}\"\nresource_servers = [\"fhir-server\", \"next-hospital\"]\n\
         [[issuer.exchange]]\nname = \"narrower\"\ndirection = \"own\"\ncaller = \"portal-there\"\naudience = \"{their_fhir}\"\nscopes = \"fhirUser patient/*.rs\"\n\
         binding = \"where-shown\"\n\n\
         [[client]]\nclient_id = \"epj\"\npreset = \"epj\"\nissuer = \"{theirs}\"\nclient_secret = \"{SECRET}\"\n\n{clients}"
    )
}
