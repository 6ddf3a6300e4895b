//! What must hold between resources when one is written: references lead somewhere, one resource is about one patient, a Task moves as
//! tasks move. fhir-server.md §8, §15, §16. Asked after the access decision, and never telling of what that hides.

pub mod task;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::access::Access;
use super::context::AccessContext;
use super::data::Snapshot;
use super::overlay::Switches;
use super::refusal::Issue;
use super::resource::{Key, Resource, values};
use super::table::Belongs;
use crate::protocol::ids::FhirBase;

/// NAV-086.
const DOCUMENT_TYPES: &str = "urn:oid:2.16.578.1.12.4.1.1.9602";
const SYKMELDING: &str = "J01-2";
/// Categories of 9060 whose holders may certify: doctor, dentist, chiropractor, manual therapist.
const CERTIFYING: &[&str] = &["LE", "TL", "KI", "MT"];
/// What names one patient only. fhir-server.md §8.
const ABOUT_ONE: &[&str] = &["Encounter", "Condition", "Observation", "DocumentReference", "QuestionnaireResponse"];

/// What the rules look at.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    pub access: &'a Access<'a>,
    pub context: &'a AccessContext,
    pub data: &'a Snapshot,
    pub base: &'a FhirBase,
    pub switches: &'a Switches,
}

impl Rules<'_> {
    /// What is wrong with a version that would come after `before`; nothing where it may.
    pub fn check(&self, before: Option<&Resource>, after: &Resource) -> Vec<Issue> {
        let mut issues = self.references(before, after);
        self.one_patient(after, &mut issues);
        self.encounter(after, &mut issues);
        self.document(before, after, &mut issues);
        self.author(after, &mut issues);
        if before.is_none() {
            self.deceased(after, &mut issues);
        }
        if after.row.name == "Task" {
            issues.extend(task::check(before, after, self.context, self.base));
        }
        issues
    }

    fn references(&self, before: Option<&Resource>, after: &Resource) -> Vec<Issue> {
        let contained: BTreeSet<&str> = values(&after.body, &["contained.id"]).into_iter().filter_map(Value::as_str).collect();
        let mut all = Vec::new();
        collect(&after.body, after.row.name, &mut all);
        let mut issues = Vec::new();
        for (place, text, member) in all {
            let fault = self.reference(before, after, text, member, &contained);
            issues.extend(fault.map(|(code, why)| Issue::at(code, &place, why)));
        }
        issues
    }

    fn reference(
        &self,
        before: Option<&Resource>,
        after: &Resource,
        text: &str,
        member: Member,
        contained: &BTreeSet<&str>,
    ) -> Option<(&'static str, &'static str)> {
        let nowhere = Some(("not-found", "the reference leads to nothing"));
        if let Some(id) = text.strip_prefix('#') {
            return if member == Member::Url || id.is_empty() || contained.contains(id) { None } else { nowhere };
        }
        if text.starts_with("urn:uuid:") || text.starts_with("urn:oid:") {
            let told = Some(("value", "a reference by urn stands only inside a transaction"));
            return if member == Member::Url { None } else { told };
        }
        if let Some(key) = Key::of_reference(self.base, text) {
            let stood = before.is_some_and(|before| before.refers_to.contains(&key));
            if stood || key == after.key() || self.access.may_refer_to(&key) {
                return None;
            }
            // A document's content that is there is opened by what points at it: this is never let go.
            let opens = key.kind == "Binary" && self.data.get(&key).is_some();
            return if self.switches.unchecked_references && !opens { None } else { nowhere };
        }
        let ours = text.strip_prefix(self.base.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if member == Member::Url || self.switches.unchecked_references || (!ours && (text.contains("://") || text.starts_with("urn:"))) {
            return None;
        }
        if is_doubled(text) && self.switches.nav_doubled_type.holds(&self.context.client_id) {
            tracing::info!(
                switch = "nav_doubled_type",
                client_id = self.context.client_id,
                kind = after.row.name,
                "a reference with its type doubled is stored"
            );
            return None;
        }
        nowhere
    }

    /// The patients all compartment elements name together.
    fn one_patient(&self, after: &Resource, issues: &mut Vec<Issue>) {
        let Belongs::Subject { subject, others } = after.row.belongs else { return };
        let patients: BTreeSet<Arc<str>> = [subject, others]
            .into_iter()
            .flat_map(|paths| after.references_at(self.base, paths))
            .filter(|key| key.kind == "Patient")
            .map(|key| key.id)
            .collect();
        if patients.len() > 1 && ABOUT_ONE.contains(&after.row.name) {
            let place = subject.first().or(others.first()).copied().unwrap_or_default();
            issues.push(Issue::at("business-rule", &format!("{}.{place}", after.row.name), "the resource must name one patient only"));
        }
    }

    fn encounter(&self, after: &Resource, issues: &mut Vec<Issue>) {
        let Some(param) = after.row.param("encounter") else { return };
        let patients = after.patients().map_or(&[][..], |all| &**all);
        for key in after.references_at(self.base, param.paths).into_iter().filter(|key| key.kind == "Encounter") {
            let Some(encounter) = self.data.get(&key) else { continue };
            if !encounter.patients().is_some_and(|all| all.iter().any(|patient| patients.contains(patient))) {
                let place = param.paths.first().copied().unwrap_or_default();
                issues.push(Issue::at("business-rule", &format!("{}.{place}", after.row.name), "the encounter is another patient's"));
            }
        }
    }

    fn document(&self, before: Option<&Resource>, after: &Resource, issues: &mut Vec<Issue>) {
        if after.row.name != "DocumentReference" {
            return;
        }
        if self.switches.nav_document_rules.holds(&self.context.client_id) && values(&after.body, &["context.encounter.reference"]).is_empty() {
            issues.push(Issue::at("required", "DocumentReference.context.encounter", "the document must name the consultation it comes from"));
        }
        if self.switches.professional_category && is_sykmelding(after) && before.is_none() && !self.may_certify(after) {
            issues.push(Issue::at("business-rule", "DocumentReference.author", "the author's category does not write this type of document"));
        }
    }

    fn may_certify(&self, document: &Resource) -> bool {
        let authors = document.references_at(self.base, &["author"]);
        let who = self.context.fhir_user.as_ref().or(authors.first());
        let Some(practitioner) = who.and_then(|key| self.data.get(key)) else { return false };
        values(&practitioner.body, &["qualification.code.coding"]).iter().any(|coding| {
            coding.get("system").and_then(Value::as_str) == Some("urn:oid:2.16.578.1.12.4.1.1.9060")
                && coding.get("code").and_then(Value::as_str).is_some_and(|code| CERTIFYING.contains(&code))
        })
    }

    fn author(&self, after: &Resource, issues: &mut Vec<Issue>) {
        if !self.switches.author_must_be_user || !matches!(after.row.name, "DocumentReference" | "QuestionnaireResponse") {
            return;
        }
        let Some(user) = &self.context.fhir_user else { return };
        if !after.references_at(self.base, &["author"]).contains(user) {
            issues.push(Issue::at("business-rule", &format!("{}.author", after.row.name), "the author must be the signed-in user"));
        }
    }

    fn deceased(&self, after: &Resource, issues: &mut Vec<Issue>) {
        let opens = matches!(after.row.name, "Encounter" | "MedicationRequest") || (after.row.name == "DocumentReference" && is_sykmelding(after));
        if !self.switches.refuse_for_deceased || !opens {
            return;
        }
        let is_dead = |id: &Arc<str>| {
            self.data.find("Patient", id).is_some_and(|patient| {
                patient.body.get("deceasedDateTime").is_some() || patient.body.get("deceasedBoolean").and_then(Value::as_bool) == Some(true)
            })
        };
        if after.patients().is_some_and(|all| all.iter().any(is_dead)) {
            issues.push(Issue::at("business-rule", &format!("{}.subject", after.row.name), "the patient is dead"));
        }
    }
}

fn is_sykmelding(document: &Resource) -> bool {
    values(&document.body, &["type.coding"])
        .iter()
        .any(|coding| coding.get("system").and_then(Value::as_str) == Some(DOCUMENT_TYPES) && coding.get("code").and_then(Value::as_str) == Some(SYKMELDING))
}

/// `Practitioner/Practitioner/x`
fn is_doubled(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    matches!(parts.as_slice(), [one, two, id] if one == two && !id.is_empty() && crate::protocol::r4::is_resource_type(one))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Reference,
    /// Of an attachment, mostly; other addresses are nobody's here.
    Url,
}

/// Every reference with its place.
fn collect<'a>(value: &'a Value, place: &str, into: &mut Vec<(String, &'a str, Member)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "reference" => into.push((format!("{place}.reference"), text, Member::Reference)),
                    Value::String(text) if name == "url" => into.push((format!("{place}.url"), text, Member::Url)),
                    Value::Object(_) | Value::Array(_) => collect(value, &format!("{place}.{name}"), into),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| collect(item, &format!("{place}[{n}]"), into)),
        _ => {}
    }
}
