use super::*;
use crate::fhir::context::Told;
use crate::fhir::data::DataSource;
use crate::time::UnixTime;

const LAB: &str = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory";
const VITAL: &str = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";

struct Token<'a> {
    scope: &'a str,
    patient: Option<&'a str>,
    user: Option<&'a str>,
}

/// A token of a launch: patient 1, opened by the general practitioner.
const fn launched(scope: &str) -> Token<'_> {
    Token { scope, patient: Some("pasient-01"), user: Some("Practitioner/lege-fastlege") }
}

const fn user<'a>(scope: &'a str, user: &'a str) -> Token<'a> {
    Token { scope, patient: None, user: Some(user) }
}

const fn backend(scope: &str) -> Token<'_> {
    Token { scope, patient: None, user: None }
}

struct World {
    base: FhirBase,
    data: Snapshot,
}

impl World {
    fn new() -> Self {
        Self::of(&DataSource::BuiltIn)
    }

    fn of(source: &DataSource) -> Self {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        Self { data: Snapshot::load(source, &base).unwrap(), base }
    }

    /// `allow`, `hide`, or the scope that would do. An id that is not there is decided by its type.
    fn decide(&self, token: &Token<'_>, policy: Policy, action: Action, target: &str) -> String {
        let told = Told { client_id: "app", scope: token.scope, patient: token.patient, fhir_user: token.user, ..Told::default() };
        let context = AccessContext::new(told, UnixTime(i64::MAX), &self.base, UnixTime(1_795_000_000));
        let access = Access::new(&context, &self.data, &self.base, policy);
        let decision = match target.split_once('/') {
            None => access.decide(action, On::Type(TypeRow::named(target).unwrap())),
            Some((kind, id)) => access.decide(action, On::Resource(self.data.find(kind, id).unwrap_or_else(|| panic!("no {target}")))),
        };
        match decision {
            Decision::Allow(_) => "allow".to_owned(),
            Decision::Hide => "hide".to_owned(),
            Decision::Deny(Denied::Scope(scope)) => scope,
            Decision::Deny(Denied::Outside) => "outside".to_owned(),
        }
    }
}

type Row<'a> = (&'a str, Token<'a>, Action, &'a str, &'a str);

fn check(policy: Policy, rows: &[Row<'_>]) {
    check_in(&World::new(), policy, rows);
}

fn check_in(world: &World, policy: Policy, rows: &[Row<'_>]) {
    for (name, token, action, target, expected) in rows {
        assert_eq!(world.decide(token, policy, *action, target), *expected, "{name}: {} {action:?} {target}", token.scope);
    }
}

use Action::{Read, Search};

#[test]
fn patient_scopes_reach_the_patient_in_context() {
    let observation = "patient/Observation.rs";
    check(
        Policy::default(),
        &[
            ("SAL §4.7 #1", launched(observation), Read, "Observation/obs-01-3", "allow"),
            ("#2 another's", launched(observation), Read, "Observation/obs-02-1", "hide"),
            ("#3", launched(observation), Search, "Observation/obs-01-3", "allow"),
            ("#4 filtered, not refused (§14)", launched(observation), Search, "Observation/obs-02-1", "hide"),
            ("#5", launched(observation), Search, "Condition", "patient/Condition.s"),
            ("#5 on a resource", launched(observation), Search, "Condition/tilstand-01-1", "patient/Condition.s"),
            ("#6", launched("patient/Observation.r"), Search, "Observation", "patient/Observation.s"),
            ("#7", launched("patient/Observation.s"), Read, "Observation/obs-01-3", "patient/Observation.r"),
            ("#8", launched("patient/Observation.s"), Search, "Observation/obs-01-3", "allow"),
            ("#27 v1", launched("patient/DocumentReference.read"), Search, "DocumentReference/dokument-01-1", "allow"),
            ("v1 write reads nothing", launched("patient/DocumentReference.write"), Read, "DocumentReference/dokument-01-1", "patient/DocumentReference.r"),
            ("#28 wildcard", launched("patient/*.rs"), Read, "MedicationRequest/resept-01-1", "allow"),
            ("#29", launched("patient/Patient.r"), Read, "Patient/pasient-01", "allow"),
            ("#29 another", launched("patient/Patient.r"), Read, "Patient/pasient-02", "hide"),
            ("absent is decided like hidden", launched("patient/Patient.r"), Read, "Patient", "allow"),
            ("letters out of order grant nothing", launched("patient/Observation.sr"), Read, "Observation/obs-01-3", "patient/Observation.r"),
            ("no patient in context", Token { scope: "patient/*.rs", patient: None, user: None }, Read, "Observation/obs-01-3", "patient/Observation.r"),
            ("the log takes its own scope", launched("patient/*.rs"), Read, "AuditEvent/logg-01-1", "patient/AuditEvent.r"),
            ("and then is read", launched("patient/AuditEvent.rs"), Read, "AuditEvent/logg-01-1", "allow"),
            ("a child's relative", Token { scope: "patient/*.rs", patient: Some("pasient-04"), user: None }, Read, "RelatedPerson/parorende-04-1", "allow"),
            ("of another child", launched("patient/*.rs"), Read, "RelatedPerson/parorende-04-1", "hide"),
        ],
    );
}

#[test]
fn constraints_narrow_and_several_scopes_add_up() {
    let lab = format!("patient/Observation.rs?category={LAB}");
    let both = format!("{lab} patient/Observation.rs?category={VITAL}");
    let mixed = format!("{lab} patient/Observation.r");
    let final_lab = format!("{lab}&status=final");
    let amended_lab = format!("{lab}&status=amended");
    let either = format!("patient/Observation.rs?category={LAB},{VITAL}");
    let encoded = lab.replace('|', "%7C");
    let everything = format!("patient/*.rs?category={LAB}");
    check(
        Policy::default(),
        &[
            ("#12", launched(&lab), Read, "Observation/obs-01-3", "allow"),
            ("#13 hidden, not refused (§14)", launched(&lab), Read, "Observation/obs-01-1", "hide"),
            ("#14", launched(&lab), Search, "Observation/obs-01-1", "hide"),
            ("#17 union", launched(&both), Search, "Observation/obs-01-1", "allow"),
            ("#17 union, first", launched(&both), Search, "Observation/obs-01-3", "allow"),
            ("#17 a third category", launched(&both), Read, "Observation/obs-01-7", "hide"),
            ("#18 read", launched(&mixed), Read, "Observation/obs-01-1", "allow"),
            ("#18 search", launched(&mixed), Search, "Observation/obs-01-1", "hide"),
            ("#19 and", launched(&final_lab), Read, "Observation/obs-01-3", "allow"),
            ("#19 and, unmet", launched(&amended_lab), Read, "Observation/obs-01-3", "hide"),
            ("#20 or", launched(&either), Read, "Observation/obs-01-1", "allow"),
            ("percent-encoded is the same", launched(&encoded), Read, "Observation/obs-01-3", "allow"),
            ("* reaches types with the parameter", launched(&everything), Read, "Observation/obs-01-3", "allow"),
            ("* leaves out types without", launched(&everything), Read, "Encounter/konsultasjon-01-3", "patient/Encounter.r"),
            ("unknown parameter", launched("patient/Observation.rs?colour=red"), Read, "Observation/obs-01-3", "patient/Observation.r"),
            ("modifier", launched("patient/Observation.rs?category:not=x"), Read, "Observation/obs-01-3", "patient/Observation.r"),
            ("chain", launched("patient/Observation.rs?subject.name=x"), Read, "Observation/obs-01-3", "patient/Observation.r"),
            ("another scope still counts", launched("patient/Observation.rs?colour=red patient/Observation.r"), Read, "Observation/obs-01-3", "allow"),
        ],
    );
}

#[test]
fn user_scopes_follow_the_policy() {
    let all = "user/*.rs";
    let gp = "Practitioner/lege-fastlege";
    check(
        Policy::default(),
        &[
            ("own organization", user(all, gp), Read, "Patient/pasient-02", "allow"),
            ("other organization", user(all, gp), Read, "Patient/pasient-06", "hide"),
            ("an encounter is enough", user(all, "Practitioner/lege-ortoped"), Read, "Patient/pasient-20", "allow"),
            ("below the user's organization", user(all, "Practitioner/jordmor"), Read, "Patient/pasient-30", "allow"),
            ("above it is not", user(all, "Practitioner/lege-ortoped"), Read, "Patient/pasient-10", "hide"),
            ("their records too", user(all, gp), Search, "Observation/obs-02-1", "allow"),
            ("and others' not", user(all, gp), Search, "Observation/obs-06-1", "hide"),
            ("the directory is open", user(all, gp), Read, "Organization/org-arbeidsetaten", "allow"),
            ("not narrowed by the patient in context", launched(all), Read, "Patient/pasient-02", "allow"),
            ("union with patient/", launched("patient/Patient.r user/Observation.r"), Read, "Observation/obs-02-1", "allow"),
            ("a role is a user too", user(all, "PractitionerRole/rolle-lege-fastlege"), Read, "Patient/pasient-02", "allow"),
            ("a patient reaches themselves", user(all, "Patient/pasient-02"), Read, "Observation/obs-02-1", "allow"),
            ("and nobody else", user(all, "Patient/pasient-02"), Read, "Observation/obs-01-1", "hide"),
            ("a mother her child", user(all, "RelatedPerson/parorende-04-1"), Read, "Patient/pasient-04", "allow"),
            ("no fhirUser", backend(all), Read, "Patient/pasient-02", "user/Patient.r"),
            ("a user who is not here", user(all, "Practitioner/ingen"), Read, "Patient/pasient-02", "user/Patient.r"),
            ("a user of another server", user(all, "https://other.example/fhir/Practitioner/lege-fastlege"), Read, "Patient/pasient-02", "user/Patient.r"),
            ("an absolute one of ours", user(all, "https://epj.example/fhir/Practitioner/lege-fastlege"), Read, "Patient/pasient-02", "allow"),
        ],
    );
    let care = Policy { user: UserPolicy::CareRelation, ..Policy::default() };
    check(
        care,
        &[
            ("general practitioner", user(all, gp), Read, "Patient/pasient-02", "allow"),
            ("colleague's patient", user(all, gp), Read, "Patient/pasient-24", "hide"),
            ("took part in an encounter", user(all, "Practitioner/lege-ortoped"), Read, "Patient/pasient-20", "allow"),
        ],
    );
    let open = Policy { user: UserPolicy::All, ..Policy::default() };
    check(open, &[("everybody", user(all, gp), Read, "Patient/pasient-06", "allow")]);
}

#[test]
fn system_scopes_reach_their_types_and_no_more() {
    check(
        Policy::default(),
        &[
            ("all patients", backend("system/Patient.rs"), Search, "Patient/pasient-06", "allow"),
            ("#34", backend("system/Patient.rs"), Read, "Observation/obs-01-1", "system/Observation.r"),
            ("#33", backend("system/Encounter.cud"), Search, "Encounter", "system/Encounter.s"),
            ("a constraint holds here too", backend("system/*.rs?_id=x"), Read, "Organization/org-arbeidsetaten", "hide"),
            ("no supporting reads (SAL-211)", backend("system/Encounter.rs"), Read, "Organization/org-fjordvik-legesenter", "system/Organization.r"),
            ("nor in a search", backend("system/Encounter.rs"), Search, "Organization", "system/Organization.s"),
            ("everything", backend("system/*.rs"), Read, "Provenance/opphav-03-1", "allow"),
            ("content too", backend("system/*.rs"), Read, "Binary/fil-30-1", "allow"),
            ("but the log", backend("system/*.rs"), Read, "AuditEvent/logg-01-1", "system/AuditEvent.r"),
        ],
    );
}

#[test]
fn what_patients_share_is_read_in_support() {
    let encounter = "patient/Encounter.read";
    let nav = "openid fhirUser patient/Patient.read patient/Encounter.read patient/Condition.read";
    let rows = |referenced: &'static str, unrelated: &'static str, search: &'static str| {
        [
            ("#40 referred to", launched(encounter), Read, "Organization/org-fjordvik-legesenter", referenced),
            ("#40 unrelated", launched(encounter), Read, "Organization/org-arbeidsetaten", unrelated),
            ("search", launched(encounter), Search, "Organization", search),
        ]
    };
    check(Policy::default(), &rows("allow", "user/Organization.r", "allow"));
    check(Policy { supporting_reads: SupportingReads::Any, ..Policy::default() }, &rows("allow", "allow", "allow"));
    check(Policy { supporting_reads: SupportingReads::Scope, ..Policy::default() }, &rows("user/Organization.r", "user/Organization.r", "user/Organization.s"));
    check(
        Policy { supporting_reads: SupportingReads::Scope, ..Policy::default() },
        &[
            ("a scope that names it", launched("patient/Encounter.r patient/Organization.r"), Read, "Organization/org-fjordvik-legesenter", "allow"),
            ("and what is unrelated", launched("patient/Encounter.r patient/Organization.r"), Read, "Organization/org-arbeidsetaten", "hide"),
        ],
    );
    check(
        Policy::default(),
        &[
            ("the search answers with the same set", launched(encounter), Search, "Organization/org-fjordvik-legesenter", "allow"),
            ("and nothing more", launched(encounter), Search, "Organization/org-arbeidsetaten", "hide"),
            ("only with something readable", launched("patient/Encounter.s"), Read, "Organization/org-fjordvik-legesenter", "user/Organization.r"),
            ("NAV: own Practitioner", launched(nav), Read, "Practitioner/lege-fastlege", "allow"),
            ("NAV: another", launched(nav), Read, "Practitioner/lege-solbakken", "user/Practitioner.r"),
            ("#39 fhirUser alone", launched("openid fhirUser"), Read, "Practitioner/lege-fastlege", "allow"),
            ("#39 its roles", launched("openid fhirUser"), Read, "PractitionerRole/rolle-lege-fastlege", "allow"),
            ("#39 others", launched("openid fhirUser"), Read, "Practitioner/lege-vikar", "user/Practitioner.r"),
            ("#39 others' roles", launched("openid fhirUser"), Search, "PractitionerRole/rolle-lege-vikar", "hide"),
            ("#39 search", launched("openid fhirUser"), Search, "Practitioner/lege-fastlege", "allow"),
            ("without the scope", launched("openid"), Read, "Practitioner/lege-fastlege", "user/Practitioner.r"),
            ("nothing clinical comes with it", launched("openid fhirUser"), Read, "Patient/pasient-01", "patient/Patient.r"),
        ],
    );
}

#[test]
fn content_and_provenance_are_as_open_as_what_they_belong_to() {
    let of_30 = |scope| Token { scope, patient: Some("pasient-30"), user: None };
    let of_03 = |scope| Token { scope, patient: Some("pasient-03"), user: None };
    check(
        Policy::default(),
        &[
            ("its document is visible", of_30("patient/DocumentReference.rs"), Read, "Binary/fil-30-1", "allow"),
            ("alone it opens nothing", of_30("patient/Binary.r"), Read, "Binary/fil-30-1", "hide"),
            ("no scope near it", of_30("patient/Patient.r"), Read, "Binary/fil-30-1", "patient/DocumentReference.r"),
            ("another's document", launched("patient/DocumentReference.rs patient/Binary.r"), Read, "Binary/fil-30-1", "hide"),
            (
                "every target visible",
                of_03("patient/Provenance.rs patient/DocumentReference.r patient/QuestionnaireResponse.s"),
                Read,
                "Provenance/opphav-03-1",
                "allow",
            ),
            ("one target not", of_03("patient/Provenance.rs patient/DocumentReference.r"), Read, "Provenance/opphav-03-1", "hide"),
            ("another's", launched("patient/*.rs"), Read, "Provenance/opphav-03-1", "hide"),
        ],
    );
}

#[test]
fn corners_the_data_set_does_not_have() {
    use std::io::Write as _;

    let mut file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    let mut add = |kind: &str, id: &str, more: serde_json::Value| {
        let mut resource = serde_json::json!({"resourceType": kind, "id": id, "meta": {"lastUpdated": "2026-01-01T00:00:00Z"}});
        resource.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        writeln!(file, "{resource}").unwrap();
    };
    let to = |reference: &str| serde_json::json!({"reference": reference});
    add("Practitioner", "former", serde_json::json!({}));
    add("PractitionerRole", "old", serde_json::json!({"active": false, "practitioner": to("Practitioner/former"), "organization": to("Organization/o")}));
    add("Patient", "p1", serde_json::json!({"managingOrganization": to("Organization/o"), "link": [{"other": to("Patient/p2"), "type": "seealso"}]}));
    add("Patient", "p2", serde_json::json!({}));
    add("Condition", "of-group", serde_json::json!({"subject": to("Group/p1"), "asserter": to("Patient/p1")}));
    add("Condition", "asserted", serde_json::json!({"subject": to("Patient/p2"), "asserter": to("Patient/p1")}));
    add("Task", "for-nobody", serde_json::json!({"focus": to("Patient/p1")}));
    add("Provenance", "dangling", serde_json::json!({"target": [to("Patient/p1"), to("Patient/gone")]}));
    add("Provenance", "elsewhere", serde_json::json!({"target": [to("Patient/p1"), to("https://other.example/fhir/Patient/p1")]}));
    add("Provenance", "circle", serde_json::json!({"target": [to("Provenance/circle")]}));
    add("Provenance", "nothing", serde_json::json!({}));
    add("Provenance", "whole", serde_json::json!({"target": [to("Patient/p1")]}));
    add("Binary", "of-circle", serde_json::json!({"securityContext": to("Binary/of-circle")}));
    add("Binary", "of-patient", serde_json::json!({"securityContext": to("Patient/p1")}));
    let world = World::of(&DataSource::Paths(vec![file.path().to_owned()]));
    let one = |target| ("patient 1", Token { scope: "patient/*.rs", patient: Some("p1"), user: None }, Read, target, "allow");
    let none = |target| ("patient 1", Token { scope: "patient/*.rs", patient: Some("p1"), user: None }, Read, target, "hide");
    check_in(
        &world,
        Policy::default(),
        &[
            ("an ended role gives nothing", user("user/*.rs", "Practitioner/former"), Read, "Patient/p1", "hide"),
            one("Patient/p1"),
            // SAL-209
            none("Patient/p2"),
            none("Condition/of-group"),
            none("Condition/asserted"),
            one("Task/for-nobody"),
            one("Provenance/whole"),
            none("Provenance/dangling"),
            none("Provenance/elsewhere"),
            none("Provenance/circle"),
            none("Provenance/nothing"),
            one("Binary/of-patient"),
            none("Binary/of-circle"),
        ],
    );
}

mod change;
