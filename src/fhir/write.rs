//! Create, update, delete: from the body of a request to the next version of a resource. fhir-server.md §8. The order of checks:
//! scope for the type, content type, JSON, `resourceType`, id, structure; then, alone with the resources of that moment, access to both
//! versions, references and rules, conditions, and the write itself. Access goes before the rules so that no rule tells of what is hidden.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::access::{Access, Action, Change, Decision, Denied, Ground, On};
use super::check;
use super::context::AccessContext;
use super::data::{Data, Edit, Snapshot};
use super::json;
use super::overlay::Switches;
use super::refusal::{Issue, Refusal, Upstream};
use super::resource::{Resource, Stamp};
use super::rules::Rules;
use super::search::{Handling, Query, Reading};
use super::table::{Belongs, TypeRow};
use super::wire::{self, ContentType};
use crate::protocol::ids::{FhirBase, FhirId};
use crate::protocol::scope::Level;
use crate::random::Random;
use crate::time::UnixTime;

/// The body of a write.
pub enum Payload {
    Bytes(bytes::Bytes),
    /// Read already: the resource of a batch entry.
    Read(Value),
}

/// What is to be written where.
pub enum Verb {
    /// With `If-None-Exist`, its query.
    Create {
        unless: Option<Vec<(String, String)>>,
    },
    Update {
        id: FhirId,
    },
    /// To the one resource that matches.
    UpdateMatch {
        query: Vec<(String, String)>,
    },
    Delete {
        id: FhirId,
    },
}

impl Verb {
    pub fn action(&self) -> Action {
        match self {
            Self::Create { .. } => Action::Create,
            Self::Update { .. } | Self::UpdateMatch { .. } => Action::Update,
            Self::Delete { .. } => Action::Delete,
        }
    }
}

/// What came of it.
pub struct Written {
    /// `None`: it was deleted.
    pub resource: Option<Arc<Resource>>,
    pub outcome: Outcome,
    pub ground: Ground,
    /// Whose it is, where it is somebody's.
    pub about: Option<Arc<[Arc<str>]>>,
    /// The resources with it.
    pub data: Arc<Snapshot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Updated,
    /// What `If-None-Exist` asks for is there already.
    Found,
    Deleted,
}

/// What a write needs of its server and its request.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    pub data: &'a Data,
    pub base: &'a FhirBase,
    pub switches: &'a Switches,
    pub context: &'a AccessContext,
    pub headers: &'a HeaderMap,
    pub random: &'a dyn Random,
    pub now: UnixTime,
}

impl Writer<'_> {
    /// # Errors
    /// [`Refusal`]; then nothing has changed.
    pub async fn write(&self, row: &'static TypeRow, verb: &Verb, payload: Payload) -> Result<Written, Refusal> {
        let action = verb.action();
        let snapshot = self.data.snapshot();
        let access = Access::new(self.context, &snapshot, self.base, self.switches.policy);
        permit(access.decide(action, On::Type(row)))?;
        // A condition is a search. SAL §4.3.
        if matches!(verb, Verb::Create { unless: Some(_) } | Verb::UpdateMatch { .. }) {
            permit(access.decide(Action::Search, On::Type(row)))?;
        }
        let body = match verb {
            Verb::Delete { .. } => None,
            Verb::Create { .. } | Verb::Update { .. } | Verb::UpdateMatch { .. } => Some(self.read(row, payload)?),
        };
        let lost = |why: std::io::Error| {
            tracing::error!(%why, "a write cannot be kept");
            Refusal::Unavailable(Upstream::Log)
        };
        let Decided { resource, outcome, ground } = self.data.write(lost, |data| self.decide(row, verb, body, data)).await?;
        let about = resource.patients().cloned();
        let resource = (outcome != Outcome::Deleted).then_some(resource);
        Ok(Written { resource, outcome, ground, about, data: self.data.snapshot() })
    }

    /// What [`Writer::write`] would find wrong, without writing.
    ///
    /// # Errors
    /// [`Refusal`] of what does not lie with the resource.
    pub fn rehearse(&self, row: &'static TypeRow, verb: &Verb, body: Value) -> Result<Vec<Issue>, Refusal> {
        let snapshot = self.data.snapshot();
        permit(Access::new(self.context, &snapshot, self.base, self.switches.policy).decide(verb.action(), On::Type(row)))?;
        let body = if matches!(verb, Verb::Delete { .. }) { Ok(None) } else { self.read(row, Payload::Read(body)).map(Some) };
        match body.and_then(|body| self.decide(row, verb, body, &snapshot)) {
            Ok(_) => Ok(Vec::new()),
            Err(refusal) => refusal.about_resource(),
        }
    }

    /// The resource of the body, sound by itself.
    fn read(&self, row: &'static TypeRow, payload: Payload) -> Result<Value, Refusal> {
        let body = match payload {
            Payload::Read(value) => value,
            Payload::Bytes(bytes) => match wire::content_type(self.headers)? {
                ContentType::Json => json::read(&bytes)?,
                ContentType::Missing => {
                    tracing::info!(client_id = self.context.client_id, "a body without a content type is read as JSON");
                    json::read(&bytes)?
                }
                ContentType::Other(kind) if matches!(row.belongs, Belongs::Pointed) => self.wrap(&kind, &bytes),
                ContentType::Other(_) => return Err(Refusal::MediaType),
            },
        };
        match body.get("resourceType").and_then(Value::as_str) {
            Some(name) if name == row.name => {}
            Some(_) => return Err(Refusal::Request("the resourceType is not that of the address")),
            None => return Err(Refusal::Request("the body is not a resource: it has no resourceType")),
        }
        if !self.switches.unchecked_structure {
            let issues = check::structure(row.name, &body);
            if !issues.is_empty() {
                return Err(Refusal::Unfit(issues));
            }
        }
        Ok(body)
    }

    /// A Binary sent as itself. <https://hl7.org/fhir/R4/binary.html#rest>
    fn wrap(&self, kind: &str, bytes: &[u8]) -> Value {
        use base64::Engine as _;
        let mut fields = Map::new();
        fields.insert("resourceType".to_owned(), json!("Binary"));
        fields.insert("contentType".to_owned(), json!(kind));
        if let Some(whom) = self.headers.get("x-security-context").and_then(|value| value.to_str().ok()) {
            fields.insert("securityContext".to_owned(), json!({"reference": whom}));
        }
        if !bytes.is_empty() {
            fields.insert("data".to_owned(), json!(base64::engine::general_purpose::STANDARD.encode(bytes)));
        }
        Value::Object(fields)
    }

    fn decide(&self, row: &'static TypeRow, verb: &Verb, body: Option<Value>, data: &Snapshot) -> Result<(Option<Edit>, Decided), Refusal> {
        let access = Access::new(self.context, data, self.base, self.switches.policy);
        match (verb, body) {
            (Verb::Create { unless }, Some(body)) => {
                if let Some(query) = unless
                    && let Some(found) = self.matching(row, query, data, &access)?
                {
                    let ground = permit(access.decide(Action::Search, On::Resource(&found)))?;
                    return Ok((None, Decided { resource: found, outcome: Outcome::Found, ground }));
                }
                self.put(row, new_id(self.random, data, row), body, data, &access, Action::Create)
            }
            (Verb::Update { id }, Some(body)) => {
                self.same_id(&body, id.as_str())?;
                self.put(row, id.as_str().into(), body, data, &access, Action::Update)
            }
            (Verb::UpdateMatch { query }, Some(body)) => {
                let sent = body.get("id").and_then(Value::as_str);
                let id: Arc<str> = match (self.matching(row, query, data, &access)?, sent) {
                    (Some(found), None) => Arc::clone(&found.id),
                    (Some(found), Some(sent)) if *found.id == *sent => Arc::clone(&found.id),
                    (Some(_), Some(_)) => return Err(Refusal::Request("the id of the body is not that of the match")),
                    (None, Some(sent)) => read_id(sent)?.as_str().into(),
                    // SAL §4.3: update-as-create takes the letter u; without an id the server makes one.
                    (None, None) => new_id(self.random, data, row),
                };
                self.put(row, id, body, data, &access, Action::Update)
            }
            (Verb::Delete { id }, _) => self.delete(row, id.as_str(), data, &access),
            (Verb::Create { .. } | Verb::Update { .. } | Verb::UpdateMatch { .. }, None) => Err(Refusal::Internal),
        }
    }

    fn same_id(&self, body: &Value, id: &str) -> Result<(), Refusal> {
        match body.get("id").and_then(Value::as_str) {
            Some(sent) if sent == id => Ok(()),
            _ if self.switches.nav_body_id.holds(&self.context.client_id) => {
                tracing::info!(switch = "nav_body_id", client_id = self.context.client_id, "the id of the address counts, not that of the body");
                Ok(())
            }
            Some(_) => Err(Refusal::Request("the id of the body is not that of the address")),
            None => Err(Refusal::Request("the body has no id")),
        }
    }

    /// The one resource a condition means, of those the token may see: what is hidden neither counts nor is told of, so that a condition
    /// only something hidden meets creates (§14, "No question about hidden data", goes before §8, which would tell by 412). Nor is what
    /// an overlay leaves out of a record.
    fn matching(&self, row: &'static TypeRow, pairs: &[(String, String)], data: &Snapshot, access: &Access<'_>) -> Result<Option<Arc<Resource>>, Refusal> {
        let query = Query::read(Reading { row, base: self.base, now: self.now }, pairs, Handling::Strict)?;
        if !pairs.iter().any(|(name, value)| !value.is_empty() && row.param(name.split(':').next().unwrap_or_default()).is_some()) {
            return Err(Refusal::Request("the condition names no search parameter"));
        }
        let visible = |resource: &Resource| access.decide(Action::Search, On::Resource(resource)).allows() && !self.switches.hides(pairs, resource, data);
        let mut found = data.of_type(row.name).filter(|resource| query.matches(resource) && visible(resource));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Refusal::SeveralMatches),
            (found, _) => Ok(found.cloned()),
        }
    }

    fn put(
        &self,
        row: &'static TypeRow,
        id: Arc<str>,
        mut body: Value,
        data: &Snapshot,
        access: &Access<'_>,
        action: Action,
    ) -> Result<(Option<Edit>, Decided), Refusal> {
        let before = data.find(row.name, &id);
        let buried = data.tombstone(row.name, &id);
        // The labels of what is hidden would tell of it, where a scope goes by labels.
        if let Some(before) = before.filter(|before| access.knows(action, before)) {
            self.switches.restore(before, &mut body, data);
            keep_labels(&before.body, &mut body, self.context);
        }
        if row.name == "Task"
            && let Some(fields) = body.as_object_mut()
        {
            fields.insert("lastModified".to_owned(), json!(super::resource::moment(self.now)));
        }
        let version = before.map(|before| before.version).or(buried.map(|(version, _)| version)).unwrap_or(0) + 1;
        let creator = match before {
            Some(before) => before.creator.clone(),
            None => matches!(row.belongs, Belongs::Pointed).then(|| self.context.creator()),
        };
        let after = Resource::written(self.base, row, Stamp { id, version, at: self.now, creator }, body);
        // What was deleted out of sight stays out of sight, and so does that it was there.
        let stood = before.or(buried.and_then(|(_, last)| last));
        let change = Change { row, before: stood.map(|stood| &**stood), after: Some(&after) };
        let ground = permit(access.decide(action, On::Change(change)))?;
        let rules = Rules { access, context: self.context, data, base: self.base, switches: self.switches };
        let issues = rules.check(before.map(|before| &**before), &after);
        if !issues.is_empty() {
            return Err(Refusal::Unfit(issues));
        }
        self.conditions(before.map(|before| &**before))?;
        let after = Arc::new(after);
        let outcome = if before.is_some() { Outcome::Updated } else { Outcome::Created };
        Ok((Some(Edit::Put(Arc::clone(&after))), Decided { resource: after, outcome, ground }))
    }

    fn delete(&self, row: &'static TypeRow, id: &str, data: &Snapshot, access: &Access<'_>) -> Result<(Option<Edit>, Decided), Refusal> {
        let buried = data.tombstone(row.name, id).and_then(|(_, last)| last);
        let Some(stood) = data.find(row.name, id).or(buried) else { return Err(Refusal::NotFound) };
        let ground = permit(access.decide(Action::Delete, On::Change(Change { row, before: Some(stood), after: None })))?;
        if buried.is_some() {
            return Ok((None, Decided { resource: Arc::clone(stood), outcome: Outcome::Deleted, ground }));
        }
        self.conditions(Some(stood))?;
        let edit = Edit::Delete { key: stood.key(), version: stood.version + 1, at: self.now };
        Ok((Some(edit), Decided { resource: Arc::clone(stood), outcome: Outcome::Deleted, ground }))
    }

    /// RFC 9110 §13.1; FHIR R4 http, managing resource contention.
    fn conditions(&self, before: Option<&Resource>) -> Result<(), Refusal> {
        let wanted = wire::if_match(self.headers);
        match (&wanted, before) {
            (None, Some(_)) if self.switches.require_if_match => return Err(Refusal::ConditionNeeded),
            (None, _) => {}
            (Some(_), None) => return Err(Refusal::NotCurrent),
            (Some(tags), Some(before)) => {
                let version = before.version.to_string();
                if !tags.iter().any(|tag| *tag == version || tag == "*") {
                    return Err(Refusal::NotCurrent);
                }
            }
        }
        if before.is_some_and(|before| self.headers.contains_key(http::header::IF_NONE_MATCH) && wire::is_known(self.headers, before)) {
            return Err(Refusal::NotCurrent);
        }
        Ok(())
    }
}

/// An id nobody of this type has, in the form of a UUID. RFC 9562 §5.4.
pub fn new_id(random: &dyn Random, data: &Snapshot, row: &TypeRow) -> Arc<str> {
    loop {
        let mut bytes = [0u8; 16];
        random.fill(&mut bytes);
        let number = (u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{number:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        let id = format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32));
        if data.find(row.name, &id).is_none() && data.tombstone(row.name, &id).is_none() {
            return id.into();
        }
    }
}

/// What was decided about which resource: the one written, found or deleted.
struct Decided {
    resource: Arc<Resource>,
    outcome: Outcome,
    ground: Ground,
}

/// A decision as the way on or the refusal it means.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Scope`] or [`Refusal::Outside`].
pub fn permit(decision: Decision) -> Result<Ground, Refusal> {
    match decision {
        Decision::Allow(ground) => Ok(ground),
        Decision::Hide => Err(Refusal::NotFound),
        Decision::Deny(Denied::Scope(scope)) => Err(Refusal::Scope { scope }),
        Decision::Deny(Denied::Outside) => Err(Refusal::Outside),
    }
}

/// Tags, profiles and labels stay unless a backend takes them away. FHIR R4 resource, meta; fhir-server.md §8.
fn keep_labels(before: &Value, body: &mut Value, context: &AccessContext) {
    if context.grants.iter().any(|grant| grant.level == Level::System) {
        return;
    }
    let (Some(held), Some(fields)) = (before.get("meta"), body.as_object_mut()) else { return };
    for name in ["profile", "security", "tag"] {
        let Some(held) = held.get(name).and_then(Value::as_array) else { continue };
        let Some(meta) = fields.entry("meta").or_insert_with(|| json!({})).as_object_mut() else { continue };
        let Some(list) = meta.entry(name).or_insert_with(|| json!([])).as_array_mut() else { continue };
        let same = |a: &Value, b: &Value| a == b || (a.is_object() && a.get("system") == b.get("system") && a.get("code") == b.get("code"));
        for label in held {
            if !list.iter().any(|other| same(label, other)) {
                list.push(label.clone());
            }
        }
    }
}

/// Reads the id of an address.
///
/// # Errors
/// [`Refusal::Unfit`] for what is no id.
pub fn read_id(id: &str) -> Result<FhirId, Refusal> {
    FhirId::parse(id).map_err(|_| Refusal::Unfit(vec![Issue::at("value", "", "an id is 1 to 64 letters, digits, `-` and `.`")]))
}

/// Reads a condition: a query, with or without the type (or its address) and `?` before it.
///
/// # Errors
/// [`Refusal::Request`] for a query on something else.
pub fn read_condition(text: &str, row: &TypeRow, base: &FhirBase) -> Result<Vec<(String, String)>, Refusal> {
    let (before, query) = text.split_once('?').filter(|(before, _)| !before.contains('=')).unwrap_or(("", text));
    let kind = before.strip_prefix(base.as_str()).map_or(before, |rest| rest.trim_start_matches('/'));
    if !kind.is_empty() && kind != row.name {
        return Err(Refusal::Request("the condition is not about the type of the address"));
    }
    Ok(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
}
