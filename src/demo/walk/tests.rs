//! The walk against a server that is right, and against the same server wrong in one way at a time: each fault must be noticed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::demo::app::{AllowedServer, AppConfig, NAV_SCOPES};
use crate::demo::epj::{EpjConfig, JournalConfig, ReadyLaunch};
use crate::demo::facts::{ClientFacts, DemoFacts, PatientFacts};
use crate::demo::stub::{Fault, SECRET, Stub, free_port, serve};
use crate::jose::{Alg, SigningKey};
use crate::random::SeededRandom;
use crate::secret::Secret;

use super::{WalkSummary, walk};

async fn walked(fault: Fault) -> (WalkSummary, String) {
    let (listener, app) = free_port().await;
    let stub = Stub::start(&app, fault).await;
    let config = AppConfig {
        public_url: app.clone(),
        client_id: "syk-inn".into(),
        client_secret: Secret::new(SECRET.into()),
        servers: vec![AllowedServer { name: "Prøve-EPJ".into(), fhir_base: stub.fhir.clone() }],
        scopes: NAV_SCOPES.into(),
    };
    let (epj_listener, epj) = free_port().await;
    let epj_config = EpjConfig {
        public_url: epj.clone(),
        issuer: stub.issuer.clone(),
        client_id: "epj".into(),
        client_secret: Secret::new(SECRET.into()),
        journal: JournalConfig { fhir_base: stub.fhir.clone(), client_id: "epj-journal".into(), key: SigningKey::generate(Alg::ES384).unwrap() },
        launches: vec![ReadyLaunch {
            patient: "p1".into(),
            patient_name: "Tapper Fjellrev".into(),
            encounter: "e1".into(),
            encounter_text: "Utredning".into(),
            fhir_user: "Practitioner/lege".into(),
            practitioner_name: "Rolig Stetoskop".into(),
            about: String::new(),
        }],
        apps: vec![],
        on_the_way: vec![],
        levers: None,
    };
    serve(epj_listener, crate::demo::epj::router(epj_config, stub.clock.clone(), Arc::new(SeededRandom::new(3))).unwrap()).await;
    serve(listener, crate::demo::app::router(config, stub.clock.clone(), Arc::new(SeededRandom::new(1))).unwrap()).await;
    let client = |id: &str| {
        let redirect_uris = if id == "syk-inn" { vec![format!("{app}/fhir/callback")] } else { vec![] };
        let secret = Some(Secret::new(SECRET.to_owned()));
        (id.to_owned(), ClientFacts { client_id: id.into(), auth: "client_secret_basic".into(), client_secret: secret, private_jwk: None, redirect_uris })
    };
    let patient = |patient: &str, encounter: &str| PatientFacts { patient: patient.into(), encounter: encounter.into(), fhir_user: "Practitioner/lege".into() };
    let facts = DemoFacts {
        issuer: stub.issuer.clone(),
        ops: String::new(),
        ops_token: Secret::new(String::new()),
        fhir: stub.fhir.clone(),
        fhir_ops: String::new(),
        helseid: None,
        epj,
        app: app.clone(),
        sample_api: None,
        hospital: None,
        clients: BTreeMap::from_iter(["epj", "fhir-server", "syk-inn"].map(client)),
        users: vec![],
        patients: vec![patient("p1", "e1"), patient("p2", "e2")],
    };
    let mut out = Vec::new();
    let summary = walk(&facts, stub.clock.clone(), Arc::new(SeededRandom::new(2)), &mut out, false).await;
    (summary, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn every_step_holds_against_a_server_that_is_right_and_nothing_secret_is_printed() {
    let (summary, printed) = walked(Fault::None).await;
    assert_eq!(summary.failed, 0, "{printed}");
    assert_eq!(summary.held, 29, "{printed}");
    for secret in [SECRET, "epj-token", "eyJ", "never-shown", "\x1b"] {
        assert!(!printed.contains(secret), "{secret:?} is printed");
    }
    let long = |word: &str| word.len() >= 43 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let words: Vec<&str> = printed.split(|c: char| c.is_whitespace() || "=&?/".contains(c)).filter(|word| long(word)).collect();
    assert!(words.is_empty(), "{words:?}");
}

/// Each fault, and the step that must notice it.
const NOTICED: &[(Fault, &str)] = &[
    (Fault::AcceptsUnknownPatient, "A patient that does not exist cannot be handed over"),
    (Fault::AcceptsForeignAud, "An app that was sent to another FHIR server gets nothing"),
    (Fault::LosesState, "The app asks, and gets a code"),
    (Fault::OtherIdTokenAudience, "The tokens verify with a library that is not ours"),
    (Fault::ForeignSignature, "The tokens verify with a library that is not ours"),
    (Fault::OpaqueAccessToken, "The tokens verify with a library that is not ours"),
    (Fault::LeavesOutEncounter, "The code becomes tokens and context"),
    (Fault::LowerCaseBearer, "The code becomes tokens and context"),
    (Fault::ReadsOtherPatients, "… and no other"),
    (Fault::ReusesHandle, "The handle is spent"),
    (Fault::ReusesCode, "The code is spent"),
    (Fault::ForgetsTheSecret, "A refresh token alone is worth nothing"),
    (Fault::WidensRefresh, "A refresh cannot widen"),
    (Fault::ContextInRefresh, "A refresh changes the token and nothing else"),
    (Fault::RefreshEndsOldTokens, "A refresh changes the token and nothing else"),
    (Fault::ForgetsLogout, "The doctor logs out of the EPJ"),
    (Fault::ChangesTheId, "The app writes a sick note to the journal"),
    (Fault::WritesForOthers, "… and to nobody else's"),
    (Fault::LosesDocuments, "The doctor writes a sick note in the app"),
    (Fault::LosesDocuments, "The EPJ's page shows it arriving"),
    (Fault::HidesTheLog, "The EPJ's page shows it arriving"),
    (Fault::MixesPatients, "Another patient opens beside the first"),
];

#[tokio::test]
async fn every_fault_is_noticed_where_it_shows() {
    for (fault, title) in NOTICED {
        let (summary, printed) = walked(*fault).await;
        assert!(summary.failed > 0, "{fault:?} went unnoticed\n{printed}");
        assert!(printed.contains(&format!("{title}  [DID NOT HOLD]")), "{fault:?} was not noticed by {title:?}\n{printed}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_one_failed_step() {
    let (listener, origin) = free_port().await;
    drop(listener);
    let client = |id: &str| ClientFacts {
        client_id: id.into(),
        auth: "client_secret_basic".into(),
        client_secret: Some(Secret::new(SECRET.into())),
        private_jwk: None,
        redirect_uris: vec![format!("{origin}/cb")],
    };
    let patient = PatientFacts { patient: "p".into(), encounter: "e".into(), fhir_user: "Practitioner/x".into() };
    let mut facts = DemoFacts {
        issuer: origin.clone(),
        ops: origin.clone(),
        ops_token: Secret::new(String::new()),
        fhir: origin.clone(),
        fhir_ops: origin.clone(),
        helseid: None,
        epj: origin.clone(),
        app: origin.clone(),
        sample_api: None,
        hospital: None,
        clients: BTreeMap::from_iter(["epj", "fhir-server", "syk-inn"].map(|id| (id.to_owned(), client(id)))),
        users: vec![],
        patients: vec![patient.clone(), patient],
    };
    for _ in 0..2 {
        let clock = Arc::new(crate::time::FixedClock::at(crate::demo::stub::NOW));
        let mut out = Vec::new();
        let summary = walk(&facts, clock, Arc::new(SeededRandom::new(2)), &mut out, true).await;
        assert_eq!(summary, WalkSummary { held: 0, failed: 1 });
        assert!(String::from_utf8(out).unwrap().contains("\x1b[1;31mDID NOT HOLD"));
        // And the same when the parties are not known.
        facts.patients.clear();
    }
}
