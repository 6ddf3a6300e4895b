//! A record as a FHIR R4 AuditEvent. The mapping is in `docs/audit.md`; IHE ATNA and DICOM name what happened, our own words stand beside.

use serde_json::{Map, Value, json};

use crate::domain::audit::Action;

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const ENTITY_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const OWN: &str = "urn:helsebro:audit";

/// Members of a record that are told as details of the decision, as they are.
const DETAILS: &[&str] =
    &["seq", "request", "error", "way", "audience", "asked", "given", "token", "jkt", "row", "launch", "session", "encounter", "count", "hash"];

/// The resource for one record; nothing for a line that is none, such as the first of a file.
pub fn resource(record: &Value) -> Option<Value> {
    let action = Action::parse(record.get("action").and_then(Value::as_str)?)?;
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let refused = text("outcome") == Some("refused");
    let (kind, subtype, crude) = code(action);
    let mut subtypes = vec![json!({ "system": OWN, "code": action.as_str() })];
    subtypes.extend(subtype.map(|subtype| json!({ "system": DCM, "code": subtype.0, "display": subtype.1 })));
    let mut source = Map::from_iter([
        ("observer".to_owned(), json!({ "display": "Helsebro", "identifier": { "system": "urn:helsebro:node", "value": text("node")? } })),
        ("type".to_owned(), json!([{ "system": SOURCE_TYPE, "code": "6", "display": "Security Server" }])),
    ]);
    source.extend(text("issuer").map(|issuer| ("site".to_owned(), issuer.into())));
    let mut event = json!({
        "resourceType": "AuditEvent",
        "type": { "system": DCM, "code": kind.0, "display": kind.1 },
        "subtype": subtypes,
        "action": crude,
        "recorded": text("time")?,
        // 4: minor failure; the server did what it should.
        "outcome": if refused { "4" } else { "0" },
        "agent": agents(record),
        "source": source,
    });
    let members = event.as_object_mut()?;
    members.extend(text("reason").map(|reason| ("outcomeDesc".to_owned(), reason.into())));
    members.insert("entity".to_owned(), entities(record).into());
    Some(event)
}

type Code = (&'static str, &'static str);

const AUTHENTICATION: Code = ("110114", "User Authentication");
const LOGIN: Code = ("110122", "Login");
const LOGOUT: Code = ("110123", "Logout");
const SECURITY: Code = ("110113", "Security Alert");
const CONFIGURATION: Code = ("110131", "Security Configuration");
const APPLICATION: Code = ("110100", "Application Activity");
const USE: Code = ("110112", "Query");

/// DICOM's event id and type (PS3.16 CID 400, 401), and what was done to whatever it was done to.
fn code(action: Action) -> (Code, Option<Code>, &'static str) {
    match action {
        Action::Start | Action::Login => (AUTHENTICATION, Some(LOGIN), "E"),
        Action::Logout | Action::EndSession | Action::UpstreamLogout | Action::SessionRevoke => (AUTHENTICATION, Some(LOGOUT), "E"),
        Action::Launch | Action::Authorize | Action::PushedRequest | Action::Token | Action::Exchange => (AUTHENTICATION, None, "C"),
        Action::Refresh => (AUTHENTICATION, None, "U"),
        Action::Consent => (SECURITY, None, "U"),
        Action::Revoke | Action::Withdraw | Action::GrantRevoke => (AUTHENTICATION, None, "D"),
        Action::Introspect | Action::UserInfo => (USE, None, "R"),
        Action::Gateway => (USE, None, "E"),
        Action::ClientAdd => (SECURITY, Some(CONFIGURATION), "C"),
        Action::ClientRemove => (SECURITY, Some(CONFIGURATION), "D"),
        Action::ClientDisable | Action::ClientEnable | Action::ClientSecret | Action::KeyRotate | Action::KeyChange | Action::KeyRevoke => {
            (SECURITY, Some(CONFIGURATION), "U")
        }
        Action::StoreReadOnly | Action::Reload => (SECURITY, Some(CONFIGURATION), "U"),
        Action::StoreExport => (SECURITY, None, "R"),
        Action::Operate => (SECURITY, None, "E"),
        Action::Log => (APPLICATION, None, "E"),
    }
}

/// Who took part: the client asked, the person behind it, and those who act. FHIR wants exactly one that asked.
fn agents(record: &Value) -> Vec<Value> {
    let named = |system: &str, value: &str| json!({ "identifier": { "system": system, "value": value } });
    let network = record.get("source").and_then(Value::as_str).map(|address| json!({ "address": address, "type": "2" }));
    let mut agents = Vec::new();
    let mut add = |who: Option<Value>, requestor: bool, role: &str| {
        let mut agent = Map::from_iter([("requestor".to_owned(), Value::Bool(requestor))]);
        agent.insert("type".to_owned(), json!({ "text": role }));
        agent.extend(who.map(|who| ("who".to_owned(), who)));
        if requestor {
            agent.extend(network.clone().map(|network| ("network".to_owned(), network)));
        }
        agents.push(Value::Object(agent));
    };
    add(record.get("client").and_then(Value::as_str).map(|id| named("urn:helsebro:client", id)), true, "client");
    if let Some(user) = record.get("user").and_then(Value::as_str) {
        add(Some(named("urn:helsebro:person", user)), false, "user");
    }
    for actor in record.get("actors").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        add(Some(named("urn:helsebro:actor", actor)), false, "actor");
    }
    agents
}

/// What it was about: the patient, the grant, the client or keys that changed; and the rest of the record as details.
fn entities(record: &Value) -> Vec<Value> {
    let mut entities = Vec::new();
    let mut add = |kind: (&str, &str), role: (&str, &str), system: &str, value: &str| {
        entities.push(json!({
            "what": { "identifier": { "system": system, "value": value } },
            "type": { "system": ENTITY_TYPE, "code": kind.0, "display": kind.1 },
            "role": { "system": ENTITY_ROLE, "code": role.0, "display": role.1 },
        }));
    };
    if let Some(patient) = record.get("patient").and_then(Value::as_str) {
        add(("1", "Person"), ("1", "Patient"), "urn:helsebro:person", patient);
    }
    if let Some(grant) = record.get("grant").and_then(Value::as_str) {
        add(("2", "System Object"), ("24", "Query"), "urn:helsebro:grant", grant);
    }
    if let Some(about) = record.get("about").and_then(Value::as_str) {
        add(("2", "System Object"), ("5", "Master File"), "urn:helsebro:client", about);
    }
    for key in record.get("keys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        add(("2", "System Object"), ("13", "Security Resource"), "urn:helsebro:key", key);
    }
    let details: Vec<Value> = DETAILS
        .iter()
        .filter_map(|name| {
            let value = match record.get(*name)? {
                Value::String(text) if !text.is_empty() => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some(json!({ "type": name, "valueString": value }))
        })
        .collect();
    entities.push(json!({
        "what": { "identifier": { "system": "urn:helsebro:audit", "value": record.get("seq").map(Value::to_string).unwrap_or_default() } },
        "type": { "system": ENTITY_TYPE, "code": "4", "display": "Other" },
        "detail": details,
    }));
    entities
}
