//! The rows themselves: fhir-server.md §7 and §13. A new type is a row here and nothing else. Names, kinds and targets of parameters are
//! those of <https://hl7.org/fhir/R4/searchparameter-registry.html>; targets that are not served are left out.

mod clinical;
mod directory;
mod workflow;

use super::table::{Belongs, Param, TypeRow, refers, token};

const PATIENT: &[&str] = &["Patient"];
const ENCOUNTER: &[&str] = &["Encounter"];
const PRACTITIONER: &[&str] = &["Practitioner"];
const ORGANIZATION: &[&str] = &["Organization"];
const LOCATION: &[&str] = &["Location"];
const PEOPLE: &[&str] = &["Practitioner", "PractitionerRole", "Patient", "RelatedPerson"];
const ACTORS: &[&str] = &["Practitioner", "PractitionerRole", "Patient", "RelatedPerson", "Organization"];
const REQUESTS: &[&str] = &["CarePlan", "MedicationRequest", "ServiceRequest"];
const ANY: &[&str] = &[];

const fn row(name: &'static str, profile: Option<&'static str>, belongs: Belongs, params: &'static [Param]) -> TypeRow {
    TypeRow { name, profile, belongs, search: true, params }
}

const fn of(subject: &'static [&'static str], others: &'static [&'static str]) -> Belongs {
    Belongs::Subject { subject, others }
}

const fn identifier() -> Param {
    token("identifier", &["identifier"])
}

const fn status() -> Param {
    token("status", &["status"])
}

const fn patient() -> Param {
    refers("patient", PATIENT, &["subject"])
}

const fn subject() -> Param {
    refers("subject", &["Patient", "Group"], &["subject"])
}

const fn encounter() -> Param {
    refers("encounter", ENCOUNTER, &["encounter"])
}

pub(super) const ROWS: &[&[TypeRow]] = &[clinical::ROWS, directory::ROWS, workflow::ROWS];
