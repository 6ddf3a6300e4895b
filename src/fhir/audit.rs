//! Who did what with whose record: one AuditEvent per access, read like other resources with a scope that names the type. The last
//! [`REMEMBERED`] are kept, in memory. fhir-server.md §7, <https://hl7.org/fhir/R4/auditevent.html>

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::context::AccessContext;
use super::data::Snapshot;
use super::resource::{Resource, Stamp, moment};
use super::table::TypeRow;
use crate::protocol::ids::FhirBase;
use crate::random::Random;
use crate::time::UnixTime;

/// How many events are kept.
pub const REMEMBERED: usize = 20_000;

/// One access, as little as says it.
#[derive(Clone, Debug)]
pub struct Access {
    pub at: UnixTime,
    pub context: Arc<AccessContext>,
    /// <https://hl7.org/fhir/R4/valueset-restful-interaction.html>
    pub interaction: &'static str,
    /// The patients it was about: those of the resource, where there was one; of a search over several, one. A patient's own view of the log
    /// goes by these, so nobody else's may stand beside them.
    pub patients: Arc<[Arc<str>]>,
    /// Type and, where one resource was meant and the token may know of it, id.
    pub kind: Option<&'static str>,
    pub id: Option<String>,
    pub status: u16,
}

/// The events so far.
pub struct Audit {
    /// Begins the ids of this run: a restart repeats none.
    run: String,
    events: Mutex<Events>,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Events {
    /// The number of the oldest that is kept.
    first: u64,
    kept: VecDeque<Access>,
}

/// The events as resources: made when somebody asks for them.
#[derive(Default)]
struct Written {
    shelf: Arc<BTreeMap<Arc<str>, Arc<Resource>>>,
    /// The numbers written: from, up to.
    from: u64,
    to: u64,
}

impl Audit {
    pub fn new(random: &dyn Random) -> Self {
        let run = random.id().chars().take(8).collect();
        Self { run, events: Mutex::default(), written: Mutex::default() }
    }

    pub fn add(&self, access: Access) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.kept.len() == REMEMBERED {
            events.kept.pop_front();
            events.first += 1;
        }
        events.kept.push_back(access);
    }

    pub fn clear(&self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.first += events.kept.len() as u64;
        events.kept.clear();
        *written = Written { from: events.first, to: events.first, ..Written::default() };
    }

    /// The resources with the events among them.
    pub fn over(&self, data: &Snapshot, base: &FhirBase) -> Snapshot {
        let Some(row) = TypeRow::named("AuditEvent") else { return data.clone() };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, new) = {
            let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            let skip = usize::try_from(written.to.saturating_sub(events.first)).unwrap_or(usize::MAX);
            (events.first, events.kept.iter().skip(skip).cloned().collect::<Vec<_>>())
        };
        written.to = written.to.max(first);
        if first > written.from || !new.is_empty() {
            let (from, mut to) = (written.from, written.to);
            let mut shelf = std::mem::take(&mut written.shelf);
            let all = Arc::make_mut(&mut shelf);
            for number in from..first.min(to) {
                all.remove(self.id(number).as_str());
            }
            for access in new {
                let id: Arc<str> = self.id(to).into();
                let stamp = Stamp { id: Arc::clone(&id), version: 1, at: access.at, creator: None };
                all.insert(id, Arc::new(Resource::written(base, row, stamp, body(&access))));
                to += 1;
            }
            *written = Written { shelf, from: first, to };
        }
        let mut shelf = Arc::clone(&written.shelf);
        if let Some(own) = data.shelf("AuditEvent").filter(|own| !own.is_empty()) {
            let all = Arc::make_mut(&mut shelf);
            all.extend(own.iter().map(|(id, resource)| (Arc::clone(id), Arc::clone(resource))));
        }
        data.beside("AuditEvent", shelf)
    }

    fn id(&self, number: u64) -> String {
        format!("hendelse-{}-{number:08}", self.run)
    }
}

fn body(access: &Access) -> Value {
    let context = &access.context;
    let action = match access.interaction {
        "create" => "C",
        "update" => "U",
        "delete" => "D",
        "search-type" | "batch" => "E",
        _ => "R",
    };
    let outcome = match access.status {
        0..400 => "0",
        400..500 => "4",
        _ => "8",
    };
    let mut agents = Vec::new();
    if let Some(user) = &context.fhir_user {
        agents.push(json!({"who": {"reference": format!("{}/{}", user.kind, user.id)}, "requestor": true}));
    }
    agents.push(json!({
        "type": {"coding": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110153", "display": "Source Role ID"}]},
        "who": {"identifier": {"value": context.client_id}},
        "requestor": context.fhir_user.is_none()
    }));
    let mut entities = Vec::new();
    for patient in &*access.patients {
        entities.push(json!({
            "what": {"reference": format!("Patient/{patient}")},
            "role": {"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "1", "display": "Patient"}
        }));
    }
    match (access.kind, &access.id) {
        (Some("Patient"), Some(id)) if access.patients.iter().any(|patient| **patient == **id) => {}
        (Some(kind), Some(id)) => entities.push(json!({"what": {"reference": format!("{kind}/{id}")}})),
        (Some(kind), None) => entities.push(json!({"description": kind})),
        (None, _) => {}
    }
    let mut event = json!({
        "resourceType": "AuditEvent",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest", "display": "RESTful Operation"},
        "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": access.interaction}],
        "action": action,
        "recorded": moment(access.at),
        "outcome": outcome,
        "agent": agents,
        "source": {"observer": {"display": "Helsebro FHIR mock"}}
    });
    if let Some(fields) = event.as_object_mut() {
        if let Some(purpose) = &context.purpose {
            fields
                .insert("purposeOfEvent".to_owned(), json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": purpose}]}]));
        }
        if !entities.is_empty() {
            fields.insert("entity".to_owned(), Value::Array(entities));
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::check::structure;
    use crate::fhir::context::Told;
    use crate::random::SeededRandom;

    #[test]
    fn events_are_sound_resources_and_the_oldest_give_way() {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        let told = Told { client_id: "app", patient: Some("p"), purpose: Some("TREAT"), fhir_user: Some("Practitioner/x"), ..Told::default() };
        let context = Arc::new(AccessContext::new(told, UnixTime(1), &base, UnixTime(0)));
        let audit = Audit::new(&SeededRandom::new(1));
        let add = |number: usize| {
            let (kind, id) = if number.is_multiple_of(2) { (Some("Condition"), None) } else { (Some("Patient"), Some("q".to_owned())) };
            let interaction = if number.is_multiple_of(2) { "search-type" } else { "read" };
            let patients = Arc::from(["p".into()]);
            audit.add(Access { at: UnixTime(number as i64), context: Arc::clone(&context), interaction, patients, kind, id, status: 200 });
        };
        (0..3).for_each(add);
        let data = Snapshot::default();
        let over = |count: usize| {
            let all = audit.over(&data, &base);
            assert_eq!(all.of_type("AuditEvent").count(), count);
            all.of_type("AuditEvent").next().map(|event| event.last_updated.0)
        };
        assert_eq!(over(3), Some(0));
        for event in audit.over(&data, &base).of_type("AuditEvent") {
            assert_eq!(structure("AuditEvent", &event.body), [], "{}", event.body);
        }
        (3..REMEMBERED + 10).for_each(add);
        assert_eq!(over(REMEMBERED), Some(10));
        add(REMEMBERED + 10);
        assert_eq!(over(REMEMBERED), Some(11));
        audit.clear();
        assert_eq!(over(0), None);
        add(1);
        assert_eq!(over(1), Some(1));
    }
}
