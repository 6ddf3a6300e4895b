//! From the EHR's click to patient data. DESIGN §3, The launch API; SAL §3.

use serde_json::json;

use crate::world::{World, claims};

#[tokio::test]
async fn a_launched_app_reads_its_patient_and_no_other() {
    let world = World::start().await;
    let launch = world.ehr().launch().await;
    let tokens = world.app("syk-inn").tokens(&launch).await;
    assert_eq!((tokens.text("patient"), tokens.text("encounter")), ("pasient-01", "konsultasjon-01-3"));
    assert_eq!(claims(tokens.text("id_token"))["fhirUser"], json!("Practitioner/lege-fastlege"));
    world.read(tokens.access(), "Patient/pasient-01").await.is(200);
    world.read(tokens.access(), "Patient/pasient-02").await.is(404);
}

#[tokio::test]
async fn two_patients_in_one_browser_never_mix() {
    let world = World::start().await;
    let (first, second) = (world.ehr().ready(0).launch().await, world.ehr().ready(1).launch().await);
    let app = world.app("syk-inn");
    let mut browser = world.browser();
    // Both start links are opened before either app asks.
    browser.get(first["start_url"].as_str().unwrap()).await.is(303);
    browser.get(second["start_url"].as_str().unwrap()).await.is(303);
    let one = app.clone().launched(&first).authorize(&mut browser).await.is(303);
    let two = app.clone().launched(&second).authorize(&mut browser).await.is(303);
    let two = app.redeem(&two.param("code").unwrap()).await;
    let one = app.redeem(&one.param("code").unwrap()).await;
    assert_eq!((one.text("patient"), two.text("patient")), ("pasient-01", "pasient-02"));
    world.read(one.access(), "Patient/pasient-01").await.is(200);
    world.read(one.access(), "Patient/pasient-02").await.is(404);
    world.read(two.access(), "Patient/pasient-02").await.is(200);
}

#[tokio::test]
async fn two_hundred_launches_at_once_each_keep_their_context() {
    let world = World::start().await;
    let ready = world.demo.facts.patients.len();
    let one = async |n: usize| {
        let launch = world.ehr().ready(n % ready).with("intent", json!(format!("launch-{n}"))).launch().await;
        let tokens = world.app("syk-inn").tokens(&launch).await;
        (n, tokens)
    };
    let all = futures_util::future::join_all((0..200).map(one)).await;
    for (n, tokens) in all {
        let expected = &world.demo.facts.patients[n % ready];
        assert_eq!((tokens.text("patient"), tokens.text("encounter")), (expected.patient.as_str(), expected.encounter.as_str()));
        assert_eq!(tokens.text("intent"), format!("launch-{n}"));
        let seen = world.introspect(tokens.access()).await;
        assert_eq!((seen["patient"].as_str(), seen["intent"].as_str()), (Some(expected.patient.as_str()), Some(tokens.text("intent"))));
        assert_eq!(seen["fhirUser"], json!(expected.fhir_user));
    }
}
