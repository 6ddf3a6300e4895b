//! `_include` and `_revinclude`: what matches refer to, and what refers to them. Any reference parameter of the table can be followed, one
//! step. Who may see what is included is decided elsewhere, for each resource on its own. <https://hl7.org/fhir/R4/search.html#revinclude>

use std::sync::Arc;

use super::data::Snapshot;
use super::resource::{Key, Resource, values};
use super::search::ParamError;
use super::table::{Kind, Param, TypeRow};
use crate::protocol::ids::FhirBase;

/// One `_include` or `_revinclude`.
#[derive(Clone, Copy, Debug)]
pub struct Include {
    direction: Direction,
    /// The type whose parameter is followed.
    row: &'static TypeRow,
    param: &'static Param,
    /// Only targets of this type.
    only: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `_include`: from a match to what it refers to.
    Forward,
    /// `_revinclude`: from a match to what refers to it.
    Reverse,
}

impl Include {
    /// Reads `Type:parameter` or `Type:parameter:Target` for a search on `searched`.
    ///
    /// # Errors
    /// [`ParamError::TooCostly`] for everything, [`ParamError::Value`] for what cannot be read, [`ParamError::Unknown`] for what is
    /// not offered on this type.
    pub fn read(direction: Direction, searched: &'static TypeRow, value: &str) -> Result<Self, ParamError> {
        if value.split(':').any(|part| part == "*") {
            return Err(ParamError::TooCostly);
        }
        let mut parts = value.split(':');
        let (Some(kind), Some(name), only, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(ParamError::Value("Type:parameter"));
        };
        let row = TypeRow::named(kind).filter(|row| row.search).ok_or(ParamError::Unknown)?;
        let param = row.param(name).ok_or(ParamError::Unknown)?;
        let only = match only {
            None => None,
            Some(target) => Some(TypeRow::named(target).filter(|target| points_at(param, target)).ok_or(ParamError::Unknown)?.name),
        };
        let offered = match direction {
            Direction::Forward => row.name == searched.name && is_reference(param),
            Direction::Reverse => is_indexed(row) && points_at(param, searched) && only.is_none_or(|only| only == searched.name),
        };
        if offered { Ok(Self { direction, row, param, only }) } else { Err(ParamError::Unknown) }
    }

    /// What this adds to a match, whoever may see it.
    pub fn of(&self, found: &Resource, data: &Snapshot, base: &FhirBase) -> Vec<Arc<Resource>> {
        match self.direction {
            Direction::Forward => self.referred_to(found, data, base),
            Direction::Reverse => match self.param.kind {
                Kind::Canonical(_) => data.of_type(self.row.name).filter(|other| self.names(other, found)).cloned().collect(),
                _ => {
                    let key = found.key();
                    let pointing = |other: &&Arc<Resource>| other.row.name == self.row.name && self.keys(other, base).contains(&key);
                    data.referrers(&key).filter(pointing).cloned().collect()
                }
            },
        }
    }

    /// Which of a match and what came with it speaks of the other, and where.
    pub fn speaker<'a>(&self, found: &'a Resource, other: &'a Resource) -> (&'a Resource, &'static [&'static str]) {
        match self.direction {
            Direction::Forward => (found, self.param.paths),
            Direction::Reverse => (other, self.param.paths),
        }
    }

    fn referred_to(&self, found: &Resource, data: &Snapshot, base: &FhirBase) -> Vec<Arc<Resource>> {
        match self.param.kind {
            Kind::Canonical(target) => data.of_type(target).filter(|other| self.names(found, other)).cloned().collect(),
            _ => self.keys(found, base).iter().filter_map(|key| data.get(key)).cloned().collect(),
        }
    }

    /// What the parameter's elements refer to, of the types it may point at.
    fn keys(&self, from: &Resource, base: &FhirBase) -> Vec<Key> {
        let mut keys = from.references_at(base, self.param.paths);
        keys.retain(|key| TypeRow::named(key.kind).is_some_and(|row| points_at(self.param, row)) && self.only.is_none_or(|only| only == key.kind));
        keys
    }

    /// Whether the canonical reference in `from` means `target`; without a version it means any.
    fn names(&self, from: &Resource, target: &Resource) -> bool {
        let text = |name: &str| target.body.get(name).and_then(serde_json::Value::as_str);
        values(&from.body, self.param.paths).into_iter().filter_map(serde_json::Value::as_str).any(|canonical| match canonical.split_once('|') {
            None => text("url") == Some(canonical),
            Some((url, version)) => text("url") == Some(url) && text("version") == Some(version),
        })
    }
}

/// What the log refers to is not indexed: what refers to a match is looked for elsewhere.
fn is_indexed(row: &TypeRow) -> bool {
    row.search && row.name != "AuditEvent"
}

fn is_reference(param: &Param) -> bool {
    matches!(param.kind, Kind::Reference(_) | Kind::Canonical(_))
}

fn points_at(param: &Param, row: &TypeRow) -> bool {
    match param.kind {
        Kind::Reference(targets) => targets.is_empty() || targets.contains(&row.name),
        Kind::Canonical(target) => target == row.name,
        Kind::Id | Kind::Token | Kind::Truth | Kind::Date | Kind::String | Kind::Uri | Kind::Quantity => false,
    }
}

/// What `_include` takes on this type, for the CapabilityStatement.
pub fn offered(row: &'static TypeRow) -> Vec<String> {
    row.all_params().filter(|param| is_reference(param)).map(|param| format!("{}:{}", row.name, param.name)).collect()
}

/// What `_revinclude` takes on this type, for the CapabilityStatement.
pub fn offered_reverse(row: &'static TypeRow) -> Vec<String> {
    let searched = TypeRow::all().filter(|other| is_indexed(other));
    let all = searched.flat_map(|other| other.all_params().map(move |param| (other, param)));
    all.filter(|(_, param)| points_at(param, row)).map(|(other, param)| format!("{}:{}", other.name, param.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_having_is_offered_and_the_rest_is_refused() {
        let forward = [
            "Encounter:patient",
            "Encounter:participant",
            "Encounter:service-provider",
            "Encounter:diagnosis",
            "Condition:encounter",
            "Condition:patient",
            "Observation:patient",
            "Observation:encounter",
            "Observation:performer",
            "MedicationRequest:requester",
            "MedicationRequest:encounter",
            "DocumentReference:author",
            "DocumentReference:encounter",
            "DocumentReference:related",
            "PractitionerRole:practitioner",
            "PractitionerRole:organization",
            "PractitionerRole:location",
            "Task:focus",
            "Task:owner",
            "Task:requester",
            "Task:patient",
            "QuestionnaireResponse:questionnaire",
            "Appointment:actor",
            "ServiceRequest:requester",
            "DiagnosticReport:result",
            "Organization:partof",
            "Patient:general-practitioner",
            "Patient:organization",
        ];
        let reverse = [
            ("Condition", "Provenance:target"),
            ("Encounter", "Condition:encounter"),
            ("Encounter", "Observation:encounter"),
            ("Encounter", "DocumentReference:encounter"),
            ("Practitioner", "PractitionerRole:practitioner"),
            ("DocumentReference", "Task:focus"),
        ];
        for name in forward {
            let row = TypeRow::named(name.split(':').next().unwrap()).unwrap();
            assert!(offered(row).contains(&name.to_owned()) && Include::read(Direction::Forward, row, name).is_ok(), "{name}");
        }
        for (kind, name) in reverse {
            let row = TypeRow::named(kind).unwrap();
            assert!(offered_reverse(row).contains(&name.to_owned()) && Include::read(Direction::Reverse, row, name).is_ok(), "{name}");
        }
        let condition = TypeRow::named("Condition").unwrap();
        for (direction, value, why) in [
            (Direction::Forward, "*", ParamError::TooCostly),
            (Direction::Reverse, "*", ParamError::TooCostly),
            (Direction::Forward, "Condition:*", ParamError::TooCostly),
            (Direction::Forward, "Condition", ParamError::Value("Type:parameter")),
            (Direction::Forward, "Condition:subject:Patient:x", ParamError::Value("Type:parameter")),
            (Direction::Forward, "Condition:code", ParamError::Unknown),
            (Direction::Forward, "Condition:colour", ParamError::Unknown),
            (Direction::Forward, "Encounter:patient", ParamError::Unknown),
            (Direction::Forward, "Condition:encounter:Patient", ParamError::Unknown),
            (Direction::Reverse, "Encounter:patient", ParamError::Unknown),
            (Direction::Reverse, "AuditEvent:entity", ParamError::Unknown),
            (Direction::Reverse, "Encounter:diagnosis:Procedure", ParamError::Unknown),
        ] {
            assert_eq!(Include::read(direction, condition, value).err(), Some(why), "{value}");
        }
        assert!(Include::read(Direction::Reverse, condition, "Encounter:diagnosis:Condition").is_ok());
    }
}
