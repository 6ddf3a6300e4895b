//! What this folder reads, as functions of bytes: for `crate::entry`.

use serde_json::Value;

use super::bundle::Page;
use super::query::PatientQuery;
use super::resource::{Belongs, Resource};
use crate::protocol::ids::{FhirBase, FhirId};

fn base() -> FhirBase {
    FhirBase::parse("https://fhir.example/r4").expect("a base")
}

pub fn bundle(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    for kind in ["Patient", "Encounter", "Practitioner"] {
        if let Ok(page) = Page::read(value.clone(), kind, &base()) {
            assert!(page.matches.iter().all(|found| found.kind().is_some_and(|is| is.as_str() == kind)), "a search for {kind} found something else");
        }
    }
}

pub fn resource(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let Some(resource) = Resource::of(value, &base()) else { return };
    let _ = (resource.patient_summary(), resource.encounter(), resource.encounter_summary(), resource.practitioner_name(), resource.person_name());
    let _ = (resource.practitioner(), resource.organization(), resource.part_of(), resource.is_active(), resource.identifiers("urn:oid:2.16.578.1.12.4.1.4.1"));
    let (a, b) = (FhirId::parse("pasient-01").expect("an id"), FhirId::parse("pasient-02").expect("an id"));
    assert!(resource.belongs_to(&a) != Belongs::Yes || resource.belongs_to(&b) != Belongs::Yes, "a resource is about two patients");
}

pub fn patient_search(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let query = PatientQuery::parse(text);
        assert!(!query.parameters().iter().any(|(_, value)| value.is_empty()), "a search for nothing");
    }
}
