//! What was open in the EHR reaches the app and introspection, and nothing else does. SAL §3.2, §3.5.

use serde_json::{Value, json};

use crate::launch::{asks, open, opened, refused, shown, world};
use crate::world::{claims, form_fields};

#[tokio::test]
async fn the_whole_context_reaches_the_app_and_introspection_member_by_member() {
    let world = world().await;
    let context = json!([
        {"reference": "Condition/tilstand-01-3"},
        {"reference": "Condition/tilstand-01-1", "role": "launch"},
        {"reference": "Patient/pasient-02", "role": "https://epj.example/roles/newborn"},
        {"canonical": "https://forms.example/Questionnaire/q1|2.0", "type": "Questionnaire", "role": "https://epj.example/roles/form"},
        {"identifier": {"system": "urn:oid:2.16.578.1.12.4.1.4.101", "value": "100000000"}, "type": "Organization"},
        {"reference": "Organization/org-fjordvik-legesenter"}
    ]);
    let full = json!({
        "patient": "pasient-01", "encounter": "konsultasjon-01-3", "fhirContext": context, "intent": "sick-note", "need_patient_banner": false,
        "smart_style_url": "https://epj.example/style/3f9a.json", "tenant": "legekontoret-42"
    });
    let names = ["patient", "encounter", "fhirContext", "intent", "need_patient_banner", "smart_style_url", "tenant"];
    let all = world.ehr().client("open").with("fhir_context", context.clone()).with("organization", json!("Organization/org-fjordvik-legesenter"));
    let all = ["intent", "need_patient_banner", "smart_style_url", "tenant"].iter().fold(all, |ehr, name| ehr.with(name, full[name].clone()));
    let launch = all.launch().await;
    let tokens = open(&world).tokens(&launch).await;
    let seen = world.introspect(tokens.access()).await;
    for name in names {
        assert_eq!(tokens.0[name], full[name], "{name}");
        assert_eq!(seen[name], full[name], "{name}");
    }
    // Nothing of it is in the tokens themselves. DESIGN §3, Tokens
    let access = claims(tokens.access());
    assert!(names.iter().all(|name| access.get(name).is_none()), "{access}");

    // Each member alone, and none that was not given.
    for (name, member) in [
        ("intent", "intent"),
        ("need_patient_banner", "need_patient_banner"),
        ("smart_style_url", "smart_style_url"),
        ("tenant", "tenant"),
        ("fhirContext", "fhir_context"),
    ] {
        let launch = world.ehr().client("open").without("encounter").with(member, full[name].clone()).launch().await;
        let tokens = open(&world).tokens(&launch).await;
        let seen = world.introspect(tokens.access()).await;
        for other in names {
            let expected = (other == name || other == "patient").then(|| &full[other]);
            assert_eq!(tokens.0.get(other), expected, "{name}: {other}");
            assert_eq!(seen.get(other), expected, "{name}: {other}");
        }
    }
    let launch = world.ehr().client("open").with("need_patient_banner", json!(true)).launch().await;
    assert_eq!(open(&world).tokens(&launch).await.0["need_patient_banner"], json!(true));
    // null says the same as nothing.
    let launch = world.ehr().client("open").with("intent", Value::Null).launch().await;
    assert_eq!(open(&world).tokens(&launch).await.0.get("intent"), None);
}

#[tokio::test]
async fn without_the_launch_scope_only_what_was_asked_for_comes() {
    let world = world().await;
    let context = json!([
        {"reference": "Condition/tilstand-01-3"},
        {"canonical": "https://forms.example/Questionnaire/q1", "type": "Questionnaire"},
        {"reference": "Organization/org-fjordvik-legesenter"}
    ]);
    // Asked, granted, and which context comes with it. SAL §3.2, SAL-035…041
    let rows: &[(&str, &str, &[&str], &[&str])] = &[
        ("openid launch", "openid launch", &["patient", "encounter", "intent", "tenant", "fhirContext"], &["Condition", "Questionnaire", "Organization"]),
        ("openid", "openid", &[], &[]),
        ("openid launch/patient", "openid launch/patient", &["patient"], &[]),
        ("openid launch/encounter", "openid launch/encounter", &["patient", "encounter"], &[]),
        ("openid patient/Patient.rs", "openid patient/Patient.rs", &["patient"], &[]),
        ("openid user/Patient.rs", "openid user/Patient.rs", &[], &[]),
        ("openid launch/condition", "openid launch/condition", &["fhirContext"], &["Condition"]),
        ("openid launch/condition launch/organization", "openid launch/condition launch/organization", &["fhirContext"], &["Condition", "Organization"]),
        ("openid launch/questionnaire?role=https://x.example/r", "openid launch/questionnaire?role=https://x.example/r", &["fhirContext"], &["Questionnaire"]),
        ("openid launch/condition launch/list", "openid launch/condition", &["fhirContext"], &["Condition"]),
        (
            "openid launch launch/encounter launch/condition",
            "openid launch launch/encounter launch/condition",
            &["patient", "encounter", "intent", "tenant", "fhirContext"],
            &["Condition", "Questionnaire", "Organization"],
        ),
    ];
    for (asked, granted, members, kinds) in rows {
        let ehr = world.ehr().client("open").with("intent", json!("x")).with("tenant", json!("t")).with("fhir_context", context.clone());
        let tokens = open(&world).set("scope", asked).tokens(&ehr.launch().await).await;
        assert_eq!(tokens.text("scope"), *granted, "{asked}");
        let seen = world.introspect(tokens.access()).await;
        for name in ["patient", "encounter", "intent", "tenant", "fhirContext"] {
            assert_eq!(tokens.0.get(name).is_some(), members.contains(&name), "{asked}: {name}");
            assert_eq!(tokens.0.get(name), seen.get(name), "{asked}: {name}");
        }
        let items = tokens.0.get("fhirContext").and_then(Value::as_array).cloned().unwrap_or_default();
        let kind = |item: &Value| item.get("type").or(item.get("reference")).and_then(Value::as_str).unwrap().split('/').next().unwrap().to_owned();
        assert_eq!(items.iter().map(kind).collect::<Vec<_>>(), *kinds, "{asked}");
    }
    // What the launch does not have is not granted: no encounter, no patient. SAL-035, SAL-037
    let launch = world.ehr().client("open").without("encounter").launch().await;
    let tokens = open(&world).set("scope", "openid launch launch/encounter launch/condition").tokens(&launch).await;
    assert_eq!((tokens.text("scope"), tokens.0.get("encounter")), ("openid launch", None));
    let launch = world.ehr().client("open").without("encounter").without("patient").launch().await;
    let tokens = open(&world).set("scope", "openid launch launch/patient patient/*.rs user/Patient.rs").tokens(&launch).await;
    assert_eq!((tokens.text("scope"), tokens.0.get("patient")), ("openid launch user/Patient.rs", None));
    let launch = world.ehr().client("open").without("encounter").without("patient").launch().await;
    let mut browser = opened(&world, &launch).await;
    refused("only patient scopes, no patient", &open(&world).set("scope", "patient/*.rs").launched(&launch).authorize(&mut browser).await, "access_denied");
}

/// A launch ends where it began: what the pages say is said by pages, and the app learns nothing but the code.
#[tokio::test]
async fn no_page_of_a_launch_shows_an_identity_number() {
    let world = world().await;
    let launch = world.ehr().client("asks").launch().await;
    let mut browser = opened(&world, &launch).await;
    let page = shown(&asks(&world).launched(&launch), &mut browser).await;
    assert!(page.text().contains("Tapper Fjellrev"), "{}", page.text());
    assert!(!page.reply.body.contains("14839219696"));
    assert!(form_fields(&page.reply.body, 0).1.iter().all(|(_, value)| !value.contains("pasient-01")));
}
