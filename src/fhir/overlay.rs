//! What is served otherwise than it is stored. Each overlay is a switch, and says in the log when it fires. NAV scenarios 16 and 17.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Policy;
use super::data::Snapshot;
use super::resource::{Key, Resource};
use crate::protocol::ids::FhirBase;

/// For whom a switch is on. Written as `true`, `false` or a list of client ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ForWire", into = "ForWire")]
pub enum For {
    #[default]
    Nobody,
    Everybody,
    /// The clients of these ids.
    Clients(BTreeSet<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ForWire {
    All(bool),
    These(BTreeSet<String>),
}

impl From<ForWire> for For {
    fn from(wire: ForWire) -> Self {
        match wire {
            ForWire::All(true) => Self::Everybody,
            ForWire::All(false) => Self::Nobody,
            ForWire::These(ids) => Self::Clients(ids),
        }
    }
}

impl From<For> for ForWire {
    fn from(switch: For) -> Self {
        match switch {
            For::Nobody => Self::All(false),
            For::Everybody => Self::All(true),
            For::Clients(ids) => Self::These(ids),
        }
    }
}

impl For {
    pub fn holds(&self, client_id: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::Clients(ids) => ids.contains(client_id),
        }
    }
}

/// Everything that can be turned, at the start and while the server runs. The default is a strict server that shows what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    pub policy: Policy,
    /// Searches leave out a Condition that has no coding, or one without system, code and display: NAV's client cannot read a list
    /// with such a Condition in it. NAV §4.7.
    pub nav_complete_codings: For,
    /// `Patient.generalPractitioner` is served with identifier and display, or left out: NAV's client demands both. NAV §4.2.
    pub nav_general_practitioner: For,
    /// A batch is taken at `Bundle` too, and with `method` and `url` on the entry itself. NAV-089, NAV §4.11.
    pub nav_batch: For,
    /// Where the id in a body differs from the id in the address, the address counts. NAV §5.3 (2).
    pub nav_body_id: For,
    /// A reference with its type doubled, `Practitioner/Practitioner/x`, is stored as sent. NAV §5.3 (1).
    pub nav_doubled_type: For,
    /// A DocumentReference must name its encounter. NAV-085.
    pub nav_document_rules: For,
    /// A national identity number in the query of a URL is refused with 400. fhir-server.md §6.
    pub refuse_national_id_in_url: bool,
    /// A search by one name of a code system finds its other names too: the OID of ICPC-2 and the URL HL7 gave it. Scopes are not
    /// widened by it. fhir-server.md §6.
    pub terminology_aliases: bool,
    /// A write to what is there already needs `If-Match`; without it 428.
    pub require_if_match: bool,
    /// References are stored unresolved.
    pub unchecked_references: bool,
    /// The structure of what is written is not looked at.
    pub unchecked_structure: bool,
    /// DELETE is not offered: what was wrong is marked `entered-in-error`.
    pub no_delete: bool,
    /// Documents and questionnaire responses name the signed-in user as author.
    pub author_must_be_user: bool,
    /// Nothing new is opened, prescribed or certified for the dead. fhir-server.md §15.
    pub refuse_for_deceased: bool,
    /// Sykmelding documents come from a Practitioner whose category may write them. fhir-server.md §15.
    pub professional_category: bool,
    /// A proof of possession needs a nonce of this server. RFC 9449 §9.
    pub dpop_nonce_always: bool,
    /// A token that is bound to no key is refused. The metadata say so where it is for everybody. RFC 9728 §2.
    pub dpop_required: For,
    /// Address and what leads to it are left out where the record is labelled V (all of it) or R (the postal address). fhir-server.md §15.
    pub protect_addresses: bool,
}

impl Switches {
    /// Whether a search by this client shows the resource.
    pub fn lists(&self, client_id: &str, resource: &Resource) -> bool {
        resource.row.name != "Condition" || !self.nav_complete_codings.holds(client_id) || is_completely_coded(&resource.body)
    }

    /// Whether a search by these parameters would tell what is left out of the record, or find who must not be found by name.
    pub fn hides(&self, pairs: &[(String, String)], resource: &Resource, data: &Snapshot) -> bool {
        let hidden = self.withheld(resource, data);
        let unnamed = resource.row.name == "Patient" && hidden.contains(&"telecom");
        let tells = |path: &str| {
            let element = path.split(['.', '{']).next().unwrap_or_default();
            hidden.contains(&element) || (unnamed && element == "name")
        };
        // An order tells of what it goes by, like a filter.
        let names = pairs
            .iter()
            .flat_map(|(name, value)| if name == "_sort" { value.split(',').map(|by| by.trim_start_matches('-')).collect() } else { vec![name.as_str()] });
        let mut asked = names.filter_map(|name| resource.row.param(name.split([':', '.']).next().unwrap_or_default()));
        !hidden.is_empty() && asked.any(|param| param.paths.iter().any(|path| tells(path)))
    }

    /// Whether what these elements refer to is left out of the resource: then it does not come with it either.
    pub fn withholds(&self, resource: &Resource, paths: &[&str], data: &Snapshot) -> bool {
        let hidden = self.withheld(resource, data);
        paths.iter().any(|path| hidden.contains(&path.split('.').next().unwrap_or_default()))
    }

    /// The elements that are left out of a resource, there or not. An Encounter is its patient's, whatever label it has itself.
    fn withheld(&self, resource: &Resource, data: &Snapshot) -> &'static [&'static str] {
        let of_protected =
            || resource.patients().into_iter().flat_map(|all| all.iter()).filter_map(|id| data.find("Patient", id)).any(|one| is_labelled(one, "V"));
        // An earlier version tells where somebody lived before the label: it goes by the latest one too.
        let latest = || data.latest(resource.row.name, &resource.id);
        let labelled = |wanted: &str| is_labelled(resource, wanted) || latest().is_some_and(|latest| is_labelled(latest, wanted));
        match resource.row.name {
            _ if !self.protect_addresses => &[],
            "Patient" if labelled("V") => &["address", "telecom", "generalPractitioner", "managingOrganization"],
            "Patient" if labelled("R") => &["address"],
            "Encounter" if labelled("V") || of_protected() => &["location"],
            _ => &[],
        }
    }

    /// Puts back what an overlay leaves out of `before` where a client is shown it: who writes back what was read takes nothing away that
    /// was never shown, and does not keep the label that says so.
    pub fn restore(&self, before: &Resource, body: &mut Value, data: &Snapshot) {
        let hidden = self.withheld(before, data);
        let Some(fields) = body.as_object_mut().filter(|_| !hidden.is_empty()) else { return };
        for name in hidden.iter().flat_map(|name| [(*name).to_owned(), format!("_{name}")]) {
            fields.shift_remove(&name);
            if let Some(held) = before.body.get(&name) {
                fields.insert(name, held.clone());
            }
        }
        let Some(Value::Object(meta)) = fields.get_mut("meta") else { return };
        if let Some(Value::Array(labels)) = meta.get_mut("security") {
            labels.retain(|label| !is_redacted(label));
            if labels.is_empty() {
                meta.shift_remove("security");
            }
        }
    }

    /// The resource as this client is served it.
    pub fn serve(&self, client_id: &str, resource: &Resource, data: &Snapshot, base: &FhirBase) -> Bytes {
        if resource.row.name == "Patient"
            && self.nav_general_practitioner.holds(client_id)
            && let Some(body) = with_named_practitioners(&resource.body, data, base)
        {
            tracing::info!(switch = "nav_general_practitioner", client_id, patient = &*resource.id, "served with identifier and display");
            return Bytes::from(body.to_string());
        }
        if let Some(body) = without(resource, self.withheld(resource, data)) {
            tracing::info!(switch = "protect_addresses", client_id, kind = resource.row.name, id = &*resource.id, "served without its address");
            return Bytes::from(body.to_string());
        }
        resource.json.clone()
    }
}

const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

const VALUES: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";

fn is_redacted(label: &Value) -> bool {
    label.get("system").and_then(Value::as_str) == Some(VALUES) && label.get("code").and_then(Value::as_str) == Some("REDACTED")
}

fn is_labelled(resource: &Resource, wanted: &str) -> bool {
    let text = |label: &Value, name: &str| label.get(name).and_then(Value::as_str).map(str::to_owned);
    let is = |label: &Value| text(label, "system").as_deref() == Some(CONFIDENTIALITY) && text(label, "code").as_deref() == Some(wanted);
    resource.body.pointer("/meta/security").and_then(Value::as_array).is_some_and(|labels| labels.iter().any(is))
}

/// `None` where there is nothing of it.
fn without(resource: &Resource, hidden: &[&str]) -> Option<Value> {
    if hidden.is_empty() {
        return None;
    }
    let mut body = resource.body.clone();
    let fields = body.as_object_mut()?;
    let before = fields.len();
    for name in hidden {
        fields.shift_remove(*name);
        fields.shift_remove(&format!("_{name}"));
    }
    if fields.len() == before {
        return None;
    }
    let redacted = json!({"system": VALUES, "code": "REDACTED", "display": "redacted"});
    let meta = fields.entry("meta").or_insert_with(|| json!({})).as_object_mut()?;
    meta.entry("security").or_insert_with(|| json!([])).as_array_mut()?.push(redacted);
    Some(body)
}

fn is_completely_coded(condition: &Value) -> bool {
    let codings = condition.pointer("/code/coding").and_then(Value::as_array);
    let complete =
        |coding: &Value| ["system", "code", "display"].iter().all(|name| coding.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty()));
    codings.is_some_and(|codings| !codings.is_empty() && codings.iter().all(complete))
}

/// `None` where every entry is complete already.
fn with_named_practitioners(patient: &Value, data: &Snapshot, base: &FhirBase) -> Option<Value> {
    let entries = patient.get("generalPractitioner")?.as_array()?;
    let text = |entry: &Value, pointer: &str| entry.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let complete = |entry: &Value| text(entry, "/identifier/system") && text(entry, "/identifier/value") && text(entry, "/display");
    if entries.iter().all(complete) {
        return None;
    }
    let served: Vec<Value> = entries.iter().filter_map(|entry| if complete(entry) { Some(entry.clone()) } else { named(entry, data, base) }).collect();
    let mut body = patient.clone();
    let fields = body.as_object_mut()?;
    if served.is_empty() {
        fields.shift_remove("generalPractitioner");
    } else {
        fields.insert("generalPractitioner".to_owned(), Value::Array(served));
    }
    Some(body)
}

/// A reference with the identifier and name of what it refers to; `None` where that has none.
fn named(entry: &Value, data: &Snapshot, base: &FhirBase) -> Option<Value> {
    let target = data.get(&Key::of_reference(base, entry.get("reference")?.as_str()?)?)?;
    let identifiers = target.body.get("identifier")?.as_array()?;
    let complete = |identifier: &&Value| ["system", "value"].iter().all(|name| identifier.get(name).and_then(Value::as_str).is_some());
    // The HPR number, where there is one: it is what NAV's sample uses.
    let hpr = identifiers.iter().filter(complete).find(|id| id.get("system").and_then(Value::as_str) == Some("urn:oid:2.16.578.1.12.4.1.4.4"));
    let identifier = hpr.or_else(|| identifiers.iter().find(complete))?;
    let mut named = entry.clone();
    let fields = named.as_object_mut()?;
    fields.insert("identifier".to_owned(), json!({"system": identifier.get("system"), "value": identifier.get("value")}));
    fields.insert("display".to_owned(), Value::String(name_of(&target.body)?));
    Some(named)
}

fn name_of(body: &Value) -> Option<String> {
    match body.get("name")? {
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => {
            let name = names.first()?;
            let given = name.get("given").and_then(Value::as_array).into_iter().flatten();
            let words: Vec<&str> = given.chain(name.get("family")).filter_map(Value::as_str).collect();
            (!words.is_empty()).then(|| words.join(" "))
        }
        _ => None,
    }
}
