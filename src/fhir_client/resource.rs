//! One resource as it came, with typed views of the little we need. What is missing or misshapen reads as absent.

use serde_json::Value;

use crate::protocol::ids::{FhirBase, FhirId, Reference, ResourceType};
use crate::secret::Secret;

/// Birth number, D-number, common help number: the Norwegian systems of a person's identity number.
const IDENTITY_SYSTEMS: [&str; 3] = ["urn:oid:2.16.578.1.12.4.1.4.1", "urn:oid:2.16.578.1.12.4.1.4.2", "urn:oid:2.16.578.1.12.4.1.4.3"];

/// The states of an encounter that is not over, the likeliest to be meant first. FHIR R4, EncounterStatus.
pub(super) const OPEN_STATES: [&str; 4] = ["in-progress", "arrived", "triaged", "planned"];

/// A resource of a FHIR server.
#[derive(Clone)]
pub struct Resource {
    value: Value,
    base: FhirBase,
}

/// A patient as a list shows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatientSummary {
    pub id: FhirId,
    pub name: Option<String>,
    /// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
    pub birth_date: Option<String>,
    /// `male`, `female`, `other` or `unknown`.
    pub sex: Option<String>,
    /// Identity numbers with their last five digits hidden: `140392 *****`.
    pub identity_numbers: Vec<String>,
}

/// What an encounter says that a launch depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncounterFacts {
    pub subject: Option<Reference>,
    pub status: Option<String>,
    /// The participants that are a Practitioner or a PractitionerRole.
    pub practitioners: Vec<Reference>,
    pub service_provider: Option<Reference>,
    /// A FHIR `dateTime`, as it came.
    pub start: Option<String>,
    /// What kind of encounter, for a person to read.
    pub kind_text: Option<String>,
    /// The code of `class`: `AMB`, `VR`, `HH` and so on.
    pub class: Option<String>,
}

/// An open encounter as a list shows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncounterSummary {
    pub id: FhirId,
    pub facts: EncounterFacts,
}

/// Whether a resource is about a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    Yes,
    /// To somebody else, or to somebody it does not name in a way we can follow.
    No,
    /// To nobody: it has no such element (an Organization, say).
    ToNobody,
}

impl Resource {
    /// Takes a resource of the server at `base`; `None` unless it has a type and an id.
    pub(super) fn of(value: Value, base: &FhirBase) -> Option<Self> {
        let resource = Self { value, base: base.clone() };
        (resource.kind().is_some() && resource.id().is_some()).then_some(resource)
    }

    pub fn kind(&self) -> Option<ResourceType> {
        ResourceType::parse(text(&self.value, "resourceType")?).ok()
    }

    pub fn id(&self) -> Option<FhirId> {
        FhirId::parse(text(&self.value, "id")?).ok()
    }

    /// `Type/id`.
    pub fn reference(&self) -> Option<Reference> {
        Some(Reference { kind: self.kind()?, id: self.id()? })
    }

    fn is(&self, kind: &str) -> bool {
        text(&self.value, "resourceType") == Some(kind)
    }

    /// `None` unless this is a Patient.
    pub fn patient_summary(&self) -> Option<PatientSummary> {
        self.is("Patient").then_some(())?;
        Some(PatientSummary {
            id: self.id()?,
            name: self.name(),
            birth_date: text(&self.value, "birthDate").map(str::to_owned),
            sex: text(&self.value, "gender").map(str::to_owned),
            identity_numbers: IDENTITY_SYSTEMS.iter().flat_map(|system| self.values(system)).map(masked).collect(),
        })
    }

    /// `None` unless this is an Encounter.
    pub fn encounter(&self) -> Option<EncounterFacts> {
        self.is("Encounter").then_some(())?;
        let individuals = list(&self.value, "participant").filter_map(|participant| self.target(participant.get("individual")?));
        Some(EncounterFacts {
            subject: self.value.get("subject").and_then(|subject| self.target(subject)),
            status: text(&self.value, "status").map(str::to_owned),
            practitioners: individuals.filter(|who| matches!(who.kind.as_str(), "Practitioner" | "PractitionerRole")).collect(),
            service_provider: self.value.get("serviceProvider").and_then(|provider| self.target(provider)),
            start: self.value.get("period").and_then(|period| text(period, "start")).map(str::to_owned),
            kind_text: list(&self.value, "type").find_map(concept_text),
            class: self.value.get("class").and_then(|class| text(class, "code")).map(str::to_owned),
        })
    }

    pub(super) fn encounter_summary(&self) -> Option<EncounterSummary> {
        Some(EncounterSummary { id: self.id()?, facts: self.encounter()? })
    }

    /// The name of a Practitioner; `None` where it is another resource or has none.
    pub fn practitioner_name(&self) -> Option<String> {
        self.is("Practitioner").then(|| self.name()).flatten()
    }

    /// The name of a person, of whatever type the person is; `None` for what has none, a PractitionerRole among them.
    pub fn person_name(&self) -> Option<String> {
        ["Practitioner", "Patient", "RelatedPerson", "Person"].iter().any(|kind| self.is(kind)).then(|| self.name()).flatten()
    }

    /// Whether it is in use: `active` is not false.
    pub fn is_active(&self) -> bool {
        self.value.get("active").and_then(Value::as_bool).unwrap_or(true)
    }

    /// Whose role a PractitionerRole is.
    pub fn practitioner(&self) -> Option<Reference> {
        self.is("PractitionerRole").then_some(())?;
        self.target(self.value.get("practitioner")?)
    }

    /// Where the role of a PractitionerRole is.
    pub fn organization(&self) -> Option<Reference> {
        self.is("PractitionerRole").then_some(())?;
        self.target(self.value.get("organization")?)
    }

    /// What an Organization is a part of.
    pub fn part_of(&self) -> Option<Reference> {
        self.is("Organization").then_some(())?;
        self.target(self.value.get("partOf")?)
    }

    /// Whom the resource is about: its `subject` or `patient` (for a Patient, itself).
    pub fn subject(&self) -> Option<Reference> {
        if self.is("Patient") { self.reference() } else { self.target(self.subject_element()?) }
    }

    /// Whether the resource is about this patient. A subject that cannot be followed (on another server, contained, by identifier,
    /// several) counts as somebody else.
    pub fn belongs_to(&self, patient: &FhirId) -> Belongs {
        if !self.is("Patient") && self.subject_element().is_none() {
            return Belongs::ToNobody;
        }
        let theirs = self.subject().is_some_and(|subject| subject.kind.as_str() == "Patient" && subject.id == *patient);
        if theirs { Belongs::Yes } else { Belongs::No }
    }

    /// FHIR R4 calls it `subject` or `patient`; `beneficiary` in Coverage, `for` in Task, `individual` in ResearchSubject.
    fn subject_element(&self) -> Option<&Value> {
        let own = match text(&self.value, "resourceType")? {
            "Coverage" => "beneficiary",
            "Task" => "for",
            "ResearchSubject" => "individual",
            _ => "subject",
        };
        self.value.get(own).or_else(|| self.value.get("patient"))
    }

    /// The values of the identifiers under a system: an HPR number, an identity number. Never to be shown or logged.
    pub fn identifiers(&self, system: &str) -> Vec<Secret<String>> {
        self.values(system).map(|value| Secret::new(value.to_owned())).collect()
    }

    pub(super) fn has_identifier(&self, value: &str) -> bool {
        list(&self.value, "identifier").any(|identifier| text(identifier, "value") == Some(value))
    }

    fn values(&self, system: &str) -> impl Iterator<Item = &str> {
        list(&self.value, "identifier").filter(move |identifier| text(identifier, "system") == Some(system)).filter_map(|identifier| text(identifier, "value"))
    }

    /// The resource a Reference element points to on this server: relative, or absolute under its base.
    fn target(&self, element: &Value) -> Option<Reference> {
        let element = match element.as_array().map(Vec::as_slice) {
            None => element,
            Some([only]) => only,
            Some(_) => return None,
        };
        literal(&self.base, text(element, "reference")?)
    }

    fn name(&self) -> Option<String> {
        let names = || list(&self.value, "name");
        let of_use = |wanted: &'static str| names().filter(move |name| text(name, "use") == Some(wanted));
        let plain = names().filter(|name| text(name, "use").is_none());
        let other = names().filter(|name| !matches!(text(name, "use"), Some("old" | "maiden" | "official" | "usual") | None));
        of_use("official").chain(of_use("usual")).chain(plain).chain(other).find_map(human_name)
    }
}

/// A literal reference as `Type/id`, without its version. FHIR R4, references §2.3.0.
fn literal(base: &FhirBase, text: &str) -> Option<Reference> {
    let text = text.split_once("/_history/").map_or(text, |(unversioned, _)| unversioned);
    let (rest, id) = text.rsplit_once('/')?;
    let (before, kind) = rest.rsplit_once('/').map_or((None, rest), |(before, kind)| (Some(before), kind));
    // The base may be named with a slash at its end, but then there are two here.
    if before.is_some_and(|before| before.ends_with('/') || !base.is_named_by(before)) {
        return None;
    }
    Some(Reference { kind: ResourceType::parse(kind).ok()?, id: FhirId::parse(id).ok()? })
}

/// Given names, then the family name; the text where there are no parts.
fn human_name(name: &Value) -> Option<String> {
    let parts: Vec<&str> = list(name, "given").filter_map(Value::as_str).chain(text(name, "family")).map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { text(name, "text").map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned) } else { Some(parts.join(" ")) }
}

fn concept_text(concept: &Value) -> Option<String> {
    text(concept, "text").or_else(|| list(concept, "coding").find_map(|coding| text(coding, "display"))).map(str::to_owned)
}

/// The date part stays, so that two of one name can be told apart; what is no identity number is hidden whole.
fn masked(number: &str) -> String {
    match number.get(..6) {
        Some(date) if number.len() == 11 && number.bytes().all(|b| b.is_ascii_digit()) => format!("{date} *****"),
        _ => "*****".to_owned(),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
#[path = "resource_tests.rs"]
mod tests;
