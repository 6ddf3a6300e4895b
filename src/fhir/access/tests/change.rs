//! Writes: SAL §4.7 #21–#26, #32, #37 and what fhir-server.md §14 adds. Where §14 and SAL differ the row says so.

use serde_json::{Value, json};

use super::*;
use crate::fhir::resource::Stamp;

impl World {
    /// `before` is an address in the data, or nothing; `after` what would stand there.
    fn change(&self, token: &Token<'_>, told: Told<'_>, policy: Policy, action: Action, before: &str, after: Option<Value>) -> String {
        let told = Told { client_id: "app", scope: token.scope, patient: token.patient, fhir_user: token.user, ..told };
        let context = AccessContext::new(told, UnixTime(i64::MAX), &self.base, UnixTime(1_795_000_000));
        let access = Access::new(&context, &self.data, &self.base, policy);
        let before = before.split_once('/').map(|(kind, id)| self.data.find(kind, id).unwrap_or_else(|| panic!("no {before}")));
        let after = after.map(|body| {
            let row = TypeRow::named(body["resourceType"].as_str().unwrap()).unwrap();
            let id = before.map_or_else(|| "new".into(), |before| Arc::clone(&before.id));
            Resource::written(&self.base, row, Stamp { id, version: 2, at: UnixTime(0), creator: None }, body)
        });
        let row = after.as_ref().map(|after| after.row).or(before.map(|before| before.row)).unwrap();
        match access.decide(action, On::Change(Change { row, before: before.map(|before| &**before), after: after.as_ref() })) {
            Decision::Allow(_) => "allow".to_owned(),
            Decision::Hide => "hide".to_owned(),
            Decision::Deny(Denied::Scope(scope)) => scope,
            Decision::Deny(Denied::Outside) => "outside".to_owned(),
        }
    }
}

fn observation(subject: &str, category: &str) -> Option<Value> {
    let category = json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": category}]}]);
    Some(json!({"resourceType": "Observation", "status": "final", "category": category, "code": {"text": "x"}, "subject": {"reference": subject}}))
}

fn document(subject: &str, encounter: &str) -> Option<Value> {
    let context = json!({"encounter": [{"reference": encounter}]});
    Some(json!({"resourceType": "DocumentReference", "status": "current", "subject": {"reference": subject}, "context": context, "content": []}))
}

fn simple(kind: &str, member: &str, reference: &str) -> Option<Value> {
    Some(json!({"resourceType": kind, member: {"reference": reference}}))
}

use Action::{Create, Delete, Update};

type Written<'a> = (&'a str, Token<'a>, Action, &'a str, Option<Value>, &'a str);

fn check_changes(told: Told<'_>, policy: Policy, rows: Vec<Written<'_>>) {
    let world = World::new();
    for (name, token, action, before, after, expected) in rows {
        assert_eq!(world.change(&token, told, policy, action, before, after), expected, "{name}: {} {action:?} {before}", token.scope);
    }
}

const ONE: &str = "Patient/pasient-01";
const TWO: &str = "Patient/pasient-02";

#[test]
fn both_versions_lie_within_reach() {
    let vital = format!("patient/Observation.c?category={VITAL}");
    let lab = format!("patient/Observation.u?category={LAB}");
    let lab_and_read = format!("{lab} patient/Observation.r");
    let both = format!("{lab} patient/Observation.u?category={VITAL}");
    let lab_delete = format!("patient/Observation.d?category={LAB}");
    let write = "patient/DocumentReference.write";
    let mut nobody = observation(ONE, "laboratory");
    nobody.as_mut().unwrap().as_object_mut().unwrap().remove("subject");
    check_changes(
        Told::default(),
        Policy::default(),
        vec![
            ("#21 own", launched("patient/Observation.c"), Create, "", observation(ONE, "laboratory"), "allow"),
            ("#21 another's", launched("patient/Observation.c"), Create, "", observation(TWO, "laboratory"), "outside"),
            ("#21 nobody's", launched("patient/Observation.c"), Create, "", nobody, "outside"),
            ("#22", launched(&vital), Create, "", observation(ONE, "laboratory"), "outside"),
            ("#22 fitting", launched(&vital), Create, "", observation(ONE, "vital-signs"), "allow"),
            ("#23", launched(&lab), Update, "Observation/obs-01-3", observation(ONE, "vital-signs"), "outside"),
            ("#23 fitting", launched(&lab), Update, "Observation/obs-01-3", observation(ONE, "laboratory"), "allow"),
            ("into reach: hidden (§14; SAL #23 says 403)", launched(&lab), Update, "Observation/obs-01-1", observation(ONE, "laboratory"), "hide"),
            ("into reach, readable", launched(&lab_and_read), Update, "Observation/obs-01-1", observation(ONE, "laboratory"), "outside"),
            ("two scopes, both versions covered", launched(&both), Update, "Observation/obs-01-3", observation(ONE, "vital-signs"), "allow"),
            ("to another patient", launched("patient/Observation.u"), Update, "Observation/obs-01-3", observation(TWO, "laboratory"), "outside"),
            ("from another patient", launched("patient/Observation.cruds"), Update, "Observation/obs-02-1", observation(ONE, "laboratory"), "hide"),
            ("#24 update-as-create", launched("patient/Observation.u"), Update, "", observation(ONE, "laboratory"), "allow"),
            ("#24 outside", launched("patient/Observation.u"), Update, "", observation(TWO, "laboratory"), "outside"),
            ("#25", launched("patient/Observation.c"), Update, "", observation(ONE, "laboratory"), "patient/Observation.u"),
            ("#26 create", launched(write), Create, "", document(ONE, "Encounter/konsultasjon-01-3"), "allow"),
            ("#26 update", launched(write), Update, "DocumentReference/dokument-01-1", document(ONE, "Encounter/konsultasjon-01-3"), "allow"),
            ("#26 delete", launched(write), Delete, "DocumentReference/dokument-01-1", None, "allow"),
            ("delete another's", launched("patient/*.cruds"), Delete, "Observation/obs-02-1", None, "hide"),
            ("delete without the letter", launched("patient/*.crus"), Delete, "Observation/obs-01-3", None, "patient/Observation.d"),
            ("delete what the constraint leaves out", launched(&lab_delete), Delete, "Observation/obs-01-1", None, "hide"),
            ("delete what it covers", launched(&lab_delete), Delete, "Observation/obs-01-3", None, "allow"),
            ("#37 reading writes nothing", launched("patient/Observation.rs"), Create, "", observation(ONE, "laboratory"), "patient/Observation.c"),
            ("no patient in context", backend("patient/*.cruds"), Create, "", observation(ONE, "laboratory"), "patient/Observation.c"),
        ],
    );
}

#[test]
fn an_encounter_is_the_patients() {
    let write = "patient/DocumentReference.cud";
    let told = Told { encounter: Some("konsultasjon-01-3"), ..Told::default() };
    let rows = |other_of_mine: &'static str| {
        vec![
            ("own encounter", launched(write), Create, "", document(ONE, "Encounter/konsultasjon-01-3"), "allow"),
            ("absolute", launched(write), Create, "", document(ONE, "https://epj.example/fhir/Encounter/konsultasjon-01-3"), "allow"),
            ("another's", launched(write), Create, "", document(ONE, "Encounter/konsultasjon-02-2"), "outside"),
            ("one that is not there looks the same", launched(write), Create, "", document(ONE, "Encounter/ingen"), "outside"),
            ("of another server", launched(write), Create, "", document(ONE, "https://other.example/fhir/Encounter/konsultasjon-01-3"), "outside"),
            ("another of the patient's", launched(write), Create, "", document(ONE, "Encounter/konsultasjon-01-1"), other_of_mine),
            ("a backend may name any", backend("system/DocumentReference.c"), Create, "", document(ONE, "Encounter/konsultasjon-02-2"), "allow"),
        ]
    };
    check_changes(told, Policy::default(), rows("allow"));
    check_changes(told, Policy { encounter_must_match: true, ..Policy::default() }, rows("outside"));
}

#[test]
fn what_patients_share_and_the_log_are_not_written_by_launched_apps() {
    let all = "patient/*.cruds user/*.cruds";
    let gp = "Practitioner/lege-fastlege";
    let registered = |organization: &str| simple("Patient", "managingOrganization", &format!("Organization/{organization}"));
    let binary = || Some(json!({"resourceType": "Binary", "contentType": "application/pdf", "data": "YQ=="}));
    check_changes(
        Told::default(),
        Policy::default(),
        vec![
            ("Organization", launched(all), Create, "", Some(json!({"resourceType": "Organization"})), "system/Organization.c"),
            ("own Practitioner", launched(all), Update, gp, Some(json!({"resourceType": "Practitioner"})), "system/Practitioner.u"),
            ("a role would widen one's own reach", launched(all), Create, "", simple("PractitionerRole", "practitioner", gp), "system/PractitionerRole.c"),
            ("a backend", backend("system/*.cruds"), Create, "", Some(json!({"resourceType": "Organization"})), "allow"),
            ("the log is the server's", backend("system/AuditEvent.cruds"), Create, "", Some(json!({"resourceType": "AuditEvent"})), "system/AuditEvent.c"),
            ("staff write within their reach", user("user/*.cruds", gp), Create, "", observation(TWO, "laboratory"), "allow"),
            ("and not beyond", user("user/*.cruds", gp), Create, "", observation("Patient/pasient-06", "laboratory"), "outside"),
            ("#32 a patient as user", user("user/*.cruds", ONE), Create, "", observation(ONE, "laboratory"), "outside"),
            ("a new patient of the own organization", user("user/*.cruds", gp), Create, "", registered("org-fjordvik-legesenter"), "allow"),
            ("of another", user("user/*.cruds", gp), Create, "", registered("org-arbeidsetaten"), "outside"),
            ("the patient in context", launched("patient/Patient.u"), Update, ONE, Some(json!({"resourceType": "Patient"})), "allow"),
            ("another patient", launched("patient/Patient.u"), Update, TWO, Some(json!({"resourceType": "Patient"})), "outside"),
            ("one who is not there looks the same", launched("patient/Patient.u"), Update, "", Some(json!({"resourceType": "Patient"})), "outside"),
            ("a patient more", launched("patient/Patient.cud"), Create, "", Some(json!({"resourceType": "Patient"})), "outside"),
            ("over another's, with another's", launched("patient/*.cruds"), Update, "Observation/obs-02-1", observation(TWO, "laboratory"), "outside"),
            ("the same where nothing stands", launched("patient/*.cruds"), Update, "", observation(TWO, "laboratory"), "outside"),
            ("Binary by its own scope", launched("patient/Binary.c"), Create, "", binary(), "allow"),
            ("Binary by the documents'", launched("patient/DocumentReference.c"), Create, "", binary(), "allow"),
            ("Binary by neither", launched("patient/Observation.c"), Create, "", binary(), "patient/DocumentReference.c"),
            ("Binary secured for another", launched("patient/Binary.c"), Create, "", simple("Binary", "securityContext", TWO), "outside"),
            ("Binary secured for the patient", launched("patient/Binary.c"), Create, "", simple("Binary", "securityContext", ONE), "allow"),
            ("another's Binary", launched("patient/*.cruds"), Update, "Binary/fil-30-1", binary(), "hide"),
            (
                "Provenance about own and another's",
                launched("patient/*.cruds"),
                Create,
                "",
                Some(json!({"resourceType": "Provenance", "target": [{"reference": ONE}, {"reference": TWO}]})),
                "outside",
            ),
            (
                "an appointment of two patients",
                launched("patient/*.cruds"),
                Create,
                "",
                Some(json!({"resourceType": "Appointment",
                "participant": [{"actor": {"reference": ONE}}, {"actor": {"reference": TWO}}]})),
                "outside",
            ),
        ],
    );
}

#[test]
fn an_upload_is_its_clients_and_its_patients_until_a_document_points_at_it() {
    let mut world = World::new();
    let row = TypeRow::named("Binary").unwrap();
    let creator = crate::fhir::resource::Creator { client_id: "app".to_owned(), patient: Some("pasient-01".into()) };
    let stamp = Stamp { id: "upload".into(), version: 1, at: UnixTime(0), creator: Some(creator) };
    let body = json!({"resourceType": "Binary", "contentType": "text/plain", "data": "YQ=="});
    let upload = Resource::written(&world.base, row, stamp, body);
    world.data = world.data.after(&crate::fhir::data::Edit::Put(Arc::new(upload)));
    let of_two = Token { scope: "patient/*.cruds", patient: Some("pasient-02"), user: None };
    let rows: [Row<'_>; 3] = [
        ("the uploader", launched("patient/DocumentReference.c"), Read, "Binary/upload", "allow"),
        ("the same client for another patient", Token { ..of_two }, Read, "Binary/upload", "hide"),
        ("a backend of the same name", backend("system/Binary.r"), Read, "Binary/upload", "allow"),
    ];
    check_in(&world, Policy::default(), &rows);
    let key = crate::fhir::resource::Key { kind: "Binary", id: "upload".into() };
    let may = |world: &World, token: &Token<'_>| {
        let told = Told { client_id: "app", scope: token.scope, patient: token.patient, fhir_user: token.user, ..Told::default() };
        let context = AccessContext::new(told, UnixTime(i64::MAX), &world.base, UnixTime(0));
        Access::new(&context, &world.data, &world.base, Policy::default()).may_refer_to(&key)
    };
    assert!(may(&world, &launched("patient/DocumentReference.c")));
    // Or a document of one's own would open what is another's.
    assert!(!may(&world, &of_two));
    let body = json!({"resourceType": "DocumentReference", "subject": {"reference": TWO}, "content": [{"attachment": {"url": "Binary/upload"}}]});
    let stamp = Stamp { id: "d".into(), version: 1, at: UnixTime(0), creator: None };
    let document = Resource::written(&world.base, TypeRow::named("DocumentReference").unwrap(), stamp, body);
    world.data = world.data.after(&crate::fhir::data::Edit::Put(Arc::new(document)));
    let rows: [Row<'_>; 2] = [
        ("the document's patient", of_two, Read, "Binary/upload", "allow"),
        ("the uploader no more", launched("patient/*.cruds"), Read, "Binary/upload", "hide"),
    ];
    check_in(&world, Policy::default(), &rows);
}

#[test]
fn a_reference_opens_nothing_that_was_closed() {
    let world = World::new();
    let may = |token: &Token<'_>, kind: &'static str, id: &str| {
        let told = Told { client_id: "app", scope: token.scope, patient: token.patient, fhir_user: token.user, ..Told::default() };
        let context = AccessContext::new(told, UnixTime(i64::MAX), &world.base, UnixTime(0));
        let key = crate::fhir::resource::Key { kind, id: id.into() };
        Access::new(&context, &world.data, &world.base, Policy::default()).may_refer_to(&key)
    };
    let all = "patient/*.cruds";
    for (name, token, kind, id, expected) in [
        ("named in the record", launched(all), "Organization", "org-fjordvik-legesenter", true),
        ("by one who only writes", launched("patient/Observation.c"), "Organization", "org-fjordvik-legesenter", true),
        ("named nowhere", launched(all), "Organization", "org-arbeidsetaten", false),
        ("not there looks the same", launched(all), "Organization", "ingen", false),
        ("the signed-in user", Token { user: Some("Practitioner/lege-solbakken"), ..launched(all) }, "Practitioner", "lege-solbakken", true),
        ("another", launched(all), "Practitioner", "lege-solbakken", false),
        ("with a scope that reads it", launched("patient/*.cruds user/Practitioner.r"), "Practitioner", "lege-solbakken", true),
        ("a backend opens nothing by it", backend("system/Observation.c"), "Practitioner", "lege-solbakken", true),
    ] {
        assert_eq!(may(&token, kind, id), expected, "{name}");
    }
}

#[test]
fn the_wider_compartment_takes_in_who_wrote() {
    let mut world = World::new();
    let row = TypeRow::named("Observation").unwrap();
    let body = json!({"resourceType": "Observation", "subject": {"reference": TWO}, "performer": [{"reference": ONE}]});
    let stamp = Stamp { id: "told".into(), version: 1, at: UnixTime(0), creator: None };
    world.data = world.data.after(&crate::fhir::data::Edit::Put(Arc::new(Resource::written(&world.base, row, stamp, body.clone()))));
    let wide = Policy { compartment: Compartment::R4, ..Policy::default() };
    let one = || launched("patient/*.cruds");
    for (policy, expected) in [(Policy::default(), "hide"), (wide, "allow")] {
        assert_eq!(world.decide(&one(), policy, Read, "Observation/told"), expected);
        // `Patient.link` is in neither.
        assert_eq!(world.decide(&one(), policy, Read, TWO), "hide");
        // What names two is nobody's alone to change.
        let changed = if expected == "allow" { "outside" } else { "hide" };
        assert_eq!(world.change(&one(), Told::default(), policy, Delete, "Observation/told", None), changed);
        assert_eq!(world.change(&one(), Told::default(), policy, Create, "", Some(body.clone())), "outside");
    }
}

#[test]
fn blocked_documents_open_for_the_purpose_they_need() {
    let world = World::new();
    let blocked = world.data.of_type("DocumentReference").find(|document| document.json.windows(6).any(|text| text == b"\"NORS\"")).unwrap();
    let patient = Arc::clone(&blocked.patients().unwrap()[0]);
    for (policy, purpose, expected) in [(false, None, true), (true, None, false), (true, Some("TREAT"), false), (true, Some("BTG"), true)] {
        let told = Told { client_id: "app", scope: "patient/DocumentReference.rs", patient: Some(&patient), purpose, ..Told::default() };
        let context = AccessContext::new(told, UnixTime(i64::MAX), &world.base, UnixTime(0));
        let access = Access::new(&context, &world.data, &world.base, Policy { block_documents: policy, ..Policy::default() });
        assert_eq!(access.decide(Read, On::Resource(blocked)).allows(), expected, "{policy} {purpose:?}");
    }
}

/// Every resource of the data set against every action: what a launched app reaches names its patient and nobody else.
#[test]
fn a_patient_scope_reaches_nothing_that_names_another_patient() {
    let world = World::new();
    let patients: Vec<String> = world.data.of_type("Patient").map(|patient| patient.id.to_string()).collect();
    for patient in &patients {
        let token = Token { scope: "patient/*.cruds patient/AuditEvent.cruds", patient: Some(patient), user: None };
        let mut reached = 0;
        for row in TypeRow::all() {
            for resource in world.data.of_type(row.name) {
                let text = std::str::from_utf8(&resource.json).unwrap();
                let others = || patients.iter().filter(|other| *other != patient && text.contains(&format!("\"Patient/{other}\"")));
                let target = format!("{}/{}", row.name, resource.id);
                for action in [Read, Search] {
                    if world.decide(&token, Policy::default(), action, &target) == "allow" {
                        // A relative or a link may be named in what is the patient's own.
                        assert!(
                            others().next().is_none() || text.contains(&format!("\"Patient/{patient}\"")) || row.name == "Patient",
                            "{patient} {action:?} {target}"
                        );
                        reached += 1;
                    }
                }
                let mut stolen = resource.body.clone();
                if let Some(subject) = stolen.get_mut("subject") {
                    *subject = json!({"reference": format!("Patient/{patient}")});
                }
                for action in [Update, Delete] {
                    let after = (action == Update).then(|| stolen.clone());
                    if world.change(&token, Told::default(), Policy::default(), action, &target, after) == "allow" {
                        assert_eq!(world.decide(&token, Policy::default(), Read, &target), "allow", "{patient} {action:?} {target}");
                        assert!(!matches!(row.belongs, Belongs::Directory) && row.name != "AuditEvent", "{target}");
                    }
                }
            }
        }
        assert!(reached > 0, "{patient}");
    }
}
