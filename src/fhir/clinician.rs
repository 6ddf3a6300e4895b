//! The clinician of the mock. Apps write back and ask by a Task; here the record system's side of it is played: a task is taken on,
//! rejected or completed, and what was completed becomes part of the journal. fhir-server.md §16.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::audit::{Access, Audit};
use super::context::{AccessContext, Told};
use super::data::{Data, Edit, Snapshot};
use super::resource::{Key, Resource, Stamp, moment, values};
use super::rules::task::way;
use super::table::TypeRow;
use super::write::new_id;
use crate::protocol::ids::FhirBase;
use crate::random::Random;
use crate::time::UnixTime;

/// Where a journal document says what it is. NAV §4.1.
const DOCUMENT_TYPES: &str = "urn:oid:2.16.578.1.12.4.1.1.9602";
/// Answers to this questionnaire are a sykmelding. NAV §4.10.
const SYKMELDING: &str = "https://www.nav.no/samarbeidspartner/sykmelding/fhir/R4/Questionnaire/V1";

/// The record system, as the log names it.
const CLIENT: &str = "journalsystem";

/// Decides about tasks as their owner would.
pub struct Clinician<'a> {
    pub data: &'a Data,
    pub audit: &'a Audit,
    pub base: &'a FhirBase,
    pub random: &'a dyn Random,
    pub now: UnixTime,
}

/// Where a task shall go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// A status that an owner gives. The steps before it are taken too, each as a version of its own.
    pub to: String,
    /// Why, in words, for `Task.statusReason`.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Decided {
    /// Every status the task was given, in order.
    pub steps: Vec<&'static str>,
    /// The task as it stands now.
    pub task: Value,
}

#[derive(Debug, thiserror::Error)]
pub enum ClinicianError {
    #[error("there is no such task")]
    NoTask,
    #[error("an owner does not take a task from {from} to {to}")]
    NoWay { from: String, to: String },
    #[error("the decision cannot be kept: {0}")]
    Log(std::io::Error),
}

impl Clinician<'_> {
    /// The tasks that are not at an end, as they stand.
    pub fn open(&self) -> Vec<Value> {
        let waits = |task: &&Arc<Resource>| way(status(task), "completed").is_some();
        self.data.snapshot().of_type("Task").filter(waits).map(|task| task.body.clone()).collect()
    }

    /// Moves a task to a status, step by step. Completing it makes its payload final, writes a journal document about it, which becomes
    /// the task's output, and a Provenance.
    ///
    /// # Errors
    /// [`ClinicianError`]. Steps that were taken before stay.
    pub async fn decide(&self, id: &str, order: &Order) -> Result<Decided, ClinicianError> {
        let before = self.data.snapshot().find("Task", id).cloned().ok_or(ClinicianError::NoTask)?;
        let no_way = |from: &str| ClinicianError::NoWay { from: from.to_owned(), to: order.to.clone() };
        let steps = way(status(&before), &order.to).ok_or_else(|| no_way(status(&before)))?;
        let mut task = before;
        for step in &steps {
            let reason = order.reason.as_deref().filter(|_| *step == order.to);
            let outputs = if *step == "completed" { self.journal(&task).await? } else { Vec::new() };
            task = self.advance(&task, step, reason, outputs).await.map_err(|why| why.unwrap_or_else(|| no_way(status(&task))))?;
            self.tell("update", &task, &task);
        }
        tracing::info!(task = id, to = order.to, "the clinician of the mock decided");
        Ok(Decided { steps, task: task.body.clone() })
    }

    /// The task's next version, unless somebody else has moved it meanwhile: then an error without a reason of its own.
    async fn advance(&self, task: &Resource, step: &str, reason: Option<&str>, outputs: Vec<Value>) -> Result<Arc<Resource>, Option<ClinicianError>> {
        self.data
            .write(
                |why| Some(ClinicianError::Log(why)),
                |data| {
                    let current = data.get(&task.key()).filter(|current| current.version == task.version).ok_or(None)?;
                    let mut body = current.body.clone();
                    if let Some(fields) = body.as_object_mut() {
                        fields.insert("status".to_owned(), json!(step));
                        fields.insert("lastModified".to_owned(), json!(moment(self.now)));
                        if let Some(reason) = reason {
                            fields.insert("statusReason".to_owned(), json!({"text": reason}));
                        }
                        if let (false, Some(all)) = (outputs.is_empty(), fields.entry("output").or_insert_with(|| json!([])).as_array_mut()) {
                            all.extend(outputs.iter().map(|output| json!({"type": {"text": "Journaldokument"}, "valueReference": output})));
                        }
                        fields.retain(|name, value| name != "output" || value.as_array().is_none_or(|all| !all.is_empty()));
                    }
                    Ok(self.put(current.row, data, &current.id, body))
                },
            )
            .await
    }

    /// Finalizes what the task is about and writes about it; gives references to what became of it.
    async fn journal(&self, task: &Resource) -> Result<Vec<Value>, ClinicianError> {
        let payload: Vec<Arc<Resource>> = {
            let data = self.data.snapshot();
            let keys = task.references_at(self.base, &["focus"]).into_iter().chain(inputs(task, self.base));
            keys.filter_map(|key| data.get(&key).cloned()).collect()
        };
        let mut filed = Vec::new();
        let mut documents = Vec::new();
        for resource in payload {
            let resource = self.finalize(task, resource).await?;
            match resource.row.name {
                "DocumentReference" => documents.push(resource),
                "QuestionnaireResponse" | "Observation" => filed.push(resource),
                // What is not written back by apps is looked at, and stays as it is.
                _ => {}
            }
        }
        if !filed.is_empty() {
            documents.push(self.create(task, "DocumentReference", document(task, &filed, self.now)).await?);
        }
        if !documents.is_empty() {
            let targets: Vec<Value> = documents.iter().chain(&filed).map(|resource| reference(resource)).collect();
            self.create(task, "Provenance", provenance(task, &targets, self.now)).await?;
        }
        Ok(documents.iter().map(|document| reference(document)).collect())
    }

    /// The payload's last version; a new one where it was not final yet.
    async fn finalize(&self, task: &Resource, resource: Arc<Resource>) -> Result<Arc<Resource>, ClinicianError> {
        let text = |name: &str| resource.body.get(name).and_then(Value::as_str);
        let (member, last) = match (resource.row.name, text("status"), text("docStatus")) {
            ("QuestionnaireResponse", Some("in-progress"), _) => ("status", "completed"),
            ("Observation", Some("registered" | "preliminary"), _) => ("status", "final"),
            ("DocumentReference", _, Some("preliminary")) => ("docStatus", "final"),
            _ => return Ok(resource),
        };
        let finalized = self
            .data
            .write(ClinicianError::Log, |data| {
                let current = data.get(&resource.key()).unwrap_or(&resource);
                let mut body = current.body.clone();
                if let Some(fields) = body.as_object_mut() {
                    fields.insert(member.to_owned(), json!(last));
                }
                Ok(self.put(current.row, data, &current.id, body))
            })
            .await?;
        self.tell("update", &finalized, task);
        Ok(finalized)
    }

    async fn create(&self, task: &Resource, kind: &str, body: Value) -> Result<Arc<Resource>, ClinicianError> {
        let row = TypeRow::named(kind).expect("the table has what the journal is made of");
        let created = self.data.write(ClinicianError::Log, |data| Ok(self.put(row, data, &new_id(self.random, data, row), body))).await?;
        self.tell("create", &created, task);
        Ok(created)
    }

    /// Leaves an event, as of the task's owner at work in the record system. fhir-server.md §7
    fn tell(&self, interaction: &'static str, changed: &Resource, task: &Resource) {
        let owner = task.body.pointer("/owner/reference").and_then(Value::as_str);
        let told = Told { client_id: CLIENT, fhir_user: owner, ..Told::default() };
        let patients = changed.patients().or_else(|| task.patients()).cloned().unwrap_or_default();
        self.audit.add(Access {
            at: self.now,
            context: Arc::new(AccessContext::new(told, self.now, self.base, self.now)),
            interaction,
            patients,
            kind: Some(changed.row.name),
            id: Some(changed.id.to_string()),
            status: if interaction == "create" { 201 } else { 200 },
        });
    }

    /// The next version of what has this id.
    fn put(&self, row: &'static TypeRow, data: &Snapshot, id: &Arc<str>, body: Value) -> (Option<Edit>, Arc<Resource>) {
        let before = data.find(row.name, id);
        let version = before.map_or(0, |before| before.version) + 1;
        let creator = before.and_then(|before| before.creator.clone());
        let after = Arc::new(Resource::written(self.base, row, Stamp { id: Arc::clone(id), version, at: self.now, creator }, body));
        (Some(Edit::Put(Arc::clone(&after))), after)
    }
}

fn status(task: &Resource) -> &str {
    task.body.get("status").and_then(Value::as_str).unwrap_or_default()
}

/// Facts that came with the task as resources.
fn inputs(task: &Resource, base: &FhirBase) -> Vec<Key> {
    task.references_at(base, &["input.valueReference"])
}

fn reference(to: &Resource) -> Value {
    json!({"reference": format!("{}/{}", to.row.name, to.id)})
}

/// The journal's document about what was approved.
fn document(task: &Resource, filed: &[Arc<Resource>], now: UnixTime) -> Value {
    let sykmelding =
        filed.iter().any(|resource| resource.body.get("questionnaire").and_then(Value::as_str).is_some_and(|canonical| canonical.starts_with(SYKMELDING)));
    let (code, display) = if sykmelding { ("J01-2", "Sykmeldinger og trygdesaker") } else { ("B02-2", "Journalnotat") };
    let title = values(&task.body, &["code.text", "description"]).into_iter().find_map(Value::as_str).unwrap_or("Godkjent fra app").to_owned();
    let content: Vec<Value> = filed
        .iter()
        .map(|resource| {
            // This version was approved, whatever comes after it.
            let url = format!("{}/{}/_history/{}", resource.row.name, resource.id, resource.version);
            json!({"attachment": {"contentType": "application/fhir+json", "language": "nb-NO", "url": url, "title": title}})
        })
        .collect();
    let mut fields = Map::new();
    let mut add = |name: &str, value: Option<Value>| value.and_then(|value| fields.insert(name.to_owned(), value));
    add("resourceType", Some(json!("DocumentReference")));
    add("meta", task.body.pointer("/meta/security").map(|labels| json!({"security": labels})));
    add("status", Some(json!("current")));
    add("docStatus", Some(json!("final")));
    add("type", Some(json!({"coding": [{"system": DOCUMENT_TYPES, "code": code, "display": display}]})));
    add("subject", task.body.get("for").cloned());
    add("date", Some(json!(moment(now))));
    add("author", task.body.get("owner").map(|owner| json!([owner])));
    add("description", Some(json!(title)));
    add("content", Some(Value::Array(content)));
    let related: Vec<Value> = filed.iter().map(|resource| reference(resource)).collect();
    let encounter = task.body.get("encounter").map(|encounter| json!([encounter]));
    let mut context = json!({"related": related});
    if let (Some(encounter), Some(context)) = (encounter, context.as_object_mut()) {
        context.insert("encounter".to_owned(), encounter);
    }
    add("context", Some(context));
    Value::Object(fields)
}

/// Who approved what, on whose asking.
fn provenance(task: &Resource, targets: &[Value], now: UnixTime) -> Value {
    let who = task.body.get("owner").cloned().unwrap_or_else(|| json!({"display": "Journalsystemet"}));
    json!({
        "resourceType": "Provenance",
        "target": targets,
        "recorded": moment(now),
        "activity": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-DocumentCompletion", "code": "LA", "display": "legally authenticated"}]},
        "agent": [{
            "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/provenance-participant-type", "code": "verifier", "display": "Verifier"}]},
            "who": who
        }],
        "entity": [{"role": "source", "what": reference(task)}]
    })
}
