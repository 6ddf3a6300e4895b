use serde_json::json;

use super::*;

fn resource(value: Value) -> Resource {
    Resource::of(value, &FhirBase::parse("https://epj.example/fhir").unwrap()).unwrap()
}

fn id(text: &str) -> FhirId {
    FhirId::parse(text).unwrap()
}

#[test]
fn references_are_relative_or_under_our_base() {
    let base = FhirBase::parse("https://epj.example/fhir").unwrap();
    let cases = [
        ("Patient/p1", Some("Patient/p1")),
        ("Patient/p1/_history/3", Some("Patient/p1")),
        ("https://epj.example/fhir/Patient/p1", Some("Patient/p1")),
        ("HTTPS://EPJ.example:443/fhir/Patient/p1/_history/3", Some("Patient/p1")),
        ("https://epj.example/fhir//Patient/p1", None),
        ("https://epj.example/Patient/p1", None),
        ("https://epj.example/fhir2/Patient/p1", None),
        ("https://other.example/fhir/Patient/p1", None),
        ("https://epj.example/fhir?x=/Patient/p1", None),
        ("x/Patient/p1", None),
        ("/Patient/p1", None),
        ("#p1", None),
        ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", None),
        ("Patient/", None),
        ("patient/p1", None),
        ("p1", None),
        ("", None),
    ];
    for (text, expected) in cases {
        assert_eq!(literal(&base, text).map(|found| found.to_string()).as_deref(), expected, "{text}");
    }
}

#[test]
fn a_patient_is_summarised_without_the_secret_part_of_its_number() {
    let patient = resource(json!({
        "resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1992-03-14",
        "name": [{ "use": "maiden", "family": "Rev" }, { "given": ["Uten"], "family": "Bruk" },
                 { "use": "official", "given": ["Tapper", "Lur"], "family": "Fjellrev" }],
        "identifier": [{ "system": "urn:oid:2.16.578.1.12.4.1.4.1", "value": "14839219696" }, { "system": "urn:oid:2.16.578.1.12.4.1.4.3", "value": "FH-77" },
                       { "system": "https://epj.example/nr", "value": "12345678901" }],
    }));
    let summary = patient.patient_summary().unwrap();
    assert_eq!(
        summary,
        PatientSummary {
            id: id("p1"),
            name: Some("Tapper Lur Fjellrev".into()),
            birth_date: Some("1992-03-14".into()),
            sex: Some("female".into()),
            identity_numbers: vec!["148392 *****".into(), "*****".into()],
        }
    );
    assert_eq!(patient.identifiers("urn:oid:2.16.578.1.12.4.1.4.1")[0].expose(), "14839219696");
    assert!(patient.encounter().is_none() && patient.practitioner_name().is_none());
    assert_eq!(patient.subject().unwrap().to_string(), "Patient/p1");
}

#[test]
fn names_in_order_of_what_they_are_for() {
    let cases = [
        (json!([{ "use": "usual", "text": "Kari" }, { "use": "official", "family": "Lege" }]), Some("Lege")),
        (json!([{ "use": "nickname", "text": "K" }, { "family": "Uten", "given": ["Bruk"] }]), Some("Bruk Uten")),
        (json!([{ "use": "nickname", "text": "K" }, { "use": "usual", "given": ["Kari"] }]), Some("Kari")),
        (json!([{ "use": "official" }, { "use": "nickname", "text": "K" }]), Some("K")),
        (json!([{ "use": "old", "family": "Gammel" }]), None),
        (json!([{ "text": "  " }]), None),
        (json!({ "family": "no list" }), None),
        (json!([3, { "given": [null, " Kari "], "family": "" }]), Some("Kari")),
    ];
    for (names, expected) in cases {
        let who = resource(json!({ "resourceType": "Practitioner", "id": "l1", "name": names }));
        assert_eq!(who.practitioner_name().as_deref(), expected, "{names}");
    }
}

#[test]
fn an_encounter_tells_what_a_launch_depends_on() {
    let encounter = resource(json!({
        "resourceType": "Encounter", "id": "e1", "status": "in-progress", "class": { "code": "AMB" },
        "type": [{ "coding": [{ "code": "1" }, { "code": "1", "display": "Utredning" }] }],
        "subject": { "reference": "https://epj.example/fhir/Patient/p1" },
        "participant": [{ "individual": { "reference": "Practitioner/l1", "display": "L" } }, { "type": [] }, { "individual": { "reference": "RelatedPerson/r" } },
                        { "individual": { "reference": "PractitionerRole/rolle" } }, { "individual": { "reference": "https://other.example/Practitioner/l2" } }],
        "period": { "start": "2026-11-23T09:00:00+01:00" }, "serviceProvider": { "reference": "Organization/o1" },
    }));
    let facts = encounter.encounter().unwrap();
    let reference = |text| Reference::parse(text).unwrap();
    assert_eq!(
        facts,
        EncounterFacts {
            subject: Some(reference("Patient/p1")),
            status: Some("in-progress".into()),
            practitioners: vec![reference("Practitioner/l1"), reference("PractitionerRole/rolle")],
            service_provider: Some(reference("Organization/o1")),
            start: Some("2026-11-23T09:00:00+01:00".into()),
            kind_text: Some("Utredning".into()),
            class: Some("AMB".into()),
        }
    );
    assert_eq!(encounter.belongs_to(&id("p1")), Belongs::Yes);
    let bare = resource(json!({ "resourceType": "Encounter", "id": "e2", "participant": {}, "period": [], "type": "x" })).encounter().unwrap();
    assert!(bare.practitioners.is_empty() && bare.subject.is_none() && bare.start.is_none());
}

#[test]
fn a_subject_that_cannot_be_followed_is_somebody_else() {
    let cases = [
        (json!({ "resourceType": "Condition", "subject": { "reference": "Patient/p1" } }), Belongs::Yes),
        (json!({ "resourceType": "Condition", "subject": { "reference": "Patient/p2" } }), Belongs::No),
        (json!({ "resourceType": "Condition", "subject": { "reference": "Group/p1" } }), Belongs::No),
        (json!({ "resourceType": "Condition", "subject": { "reference": "https://other.example/fhir/Patient/p1" } }), Belongs::No),
        (json!({ "resourceType": "Condition", "subject": { "reference": "#p1" } }), Belongs::No),
        (json!({ "resourceType": "Condition", "subject": { "identifier": { "value": "1" } } }), Belongs::No),
        (json!({ "resourceType": "Immunization", "patient": { "reference": "Patient/p1" } }), Belongs::Yes),
        (json!({ "resourceType": "Coverage", "beneficiary": { "reference": "Patient/p2" } }), Belongs::No),
        (json!({ "resourceType": "Task", "for": { "reference": "Patient/p1" } }), Belongs::Yes),
        (json!({ "resourceType": "Account", "subject": [{ "reference": "Patient/p1" }] }), Belongs::Yes),
        (json!({ "resourceType": "Account", "subject": [{ "reference": "Patient/p1" }, { "reference": "Patient/p2" }] }), Belongs::No),
        (json!({ "resourceType": "Organization" }), Belongs::ToNobody),
        (json!({ "resourceType": "Patient" }), Belongs::No),
    ];
    for (mut value, expected) in cases {
        value["id"] = "x".into();
        assert_eq!(resource(value.clone()).belongs_to(&id("p1")), expected, "{value}");
    }
    assert_eq!(resource(json!({ "resourceType": "Patient", "id": "p1" })).belongs_to(&id("p1")), Belongs::Yes);
}

#[test]
fn what_has_no_type_or_id_is_no_resource() {
    let base = FhirBase::parse("https://epj.example/fhir").unwrap();
    for value in [json!({}), json!([]), json!({ "resourceType": "Patient" }), json!({ "resourceType": "Patient", "id": "a b" }), json!({ "id": "x" })] {
        assert!(Resource::of(value.clone(), &base).is_none(), "{value}");
    }
}
