//! One resource as it is kept: its JSON, untouched, beside what is asked of it often.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value};

use super::table::{Belongs, TypeRow};
use crate::protocol::ids::FhirBase;
use crate::time::UnixTime;

/// A resource by its address here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub kind: &'static str,
    pub id: Arc<str>,
}

impl Key {
    /// Reads a literal reference: `Type/id`, the same on our base, either with `/_history/v` behind it. `None` for anything that is
    /// not on this server: another base, a `urn:`, a fragment, a type without a row.
    pub fn of_reference(base: &FhirBase, text: &str) -> Option<Self> {
        let relative = text.strip_prefix(base.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
        let mut parts = relative.split('/');
        let kind = TypeRow::named(parts.next()?)?.name;
        let id = parts.next().filter(|id| !id.is_empty())?;
        match (parts.next(), parts.next(), parts.next()) {
            (None, ..) | (Some("_history"), Some(_), None) => Some(Self { kind, id: id.into() }),
            _ => None,
        }
    }
}

/// A stored version of a resource.
#[derive(Debug)]
pub struct Resource {
    pub row: &'static TypeRow,
    pub id: Arc<str>,
    pub version: u64,
    /// `meta.lastUpdated`, to the second.
    pub last_updated: UnixTime,
    pub body: Value,
    /// `body` as it goes on the wire.
    pub json: Bytes,
    /// Everything on this server it refers to, attachments' URLs included.
    pub refers_to: Vec<Key>,
    /// Whose token wrote it, for a Binary that no document points at yet.
    pub creator: Option<Creator>,
    /// `ETag` and `Last-Modified` of every answer with it.
    pub tag: HeaderValue,
    pub modified: Option<HeaderValue>,
    owners: Option<Arc<[Arc<str>]>>,
}

/// Who uploaded a Binary: the client, and the patient its token was for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Creator {
    pub client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<Arc<str>>,
}

/// What the server gives a resource when it is written.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub id: Arc<str>,
    pub version: u64,
    pub at: UnixTime,
    pub creator: Option<Creator>,
}

/// Why something is not a resource this server can hold.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("it is not a JSON object with a resourceType")]
    Type,
    #[error("this server has no {0}")]
    UnknownType(String),
    #[error("{0} without an id of 1 to 64 letters, digits, `-` or `.`")]
    Id(&'static str),
    #[error("{0} without a readable meta.lastUpdated")]
    LastUpdated(&'static str),
}

impl Resource {
    /// Takes a resource as the data set has it. The server owns `meta.versionId`: 1 for what has none.
    ///
    /// # Errors
    /// [`Unfit`] says what is wrong with it.
    pub fn new(base: &FhirBase, mut body: Value) -> Result<Self, Unfit> {
        let name = body.get("resourceType").and_then(Value::as_str).ok_or(Unfit::Type)?;
        let row = TypeRow::named(name).ok_or_else(|| Unfit::UnknownType(name.to_owned()))?;
        let id = body.get("id").and_then(Value::as_str).ok_or(Unfit::Id(row.name))?;
        let id: Arc<str> = crate::protocol::ids::FhirId::parse(id).map_err(|_| Unfit::Id(row.name))?.as_str().into();
        let meta = body.get("meta").and_then(Value::as_object).cloned().unwrap_or_default();
        let version = meta.get("versionId").and_then(Value::as_str).and_then(|v| v.parse().ok()).unwrap_or(1);
        // Not knowing is the same every time the data is loaded.
        let last_updated = match meta.get("lastUpdated") {
            None => UnixTime(0),
            Some(told) => {
                let at = told.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
                at.map(|at| UnixTime(at.as_second())).ok_or(Unfit::LastUpdated(row.name))?
            }
        };
        let mut owned = Map::new();
        owned.insert("versionId".to_owned(), Value::String(version.to_string()));
        if !meta.contains_key("lastUpdated") {
            owned.insert("lastUpdated".to_owned(), Value::String(moment(last_updated)));
        }
        owned.extend(meta.into_iter().filter(|(name, _)| name != "versionId"));
        if let Some(fields) = body.as_object_mut() {
            fields.insert("meta".to_owned(), Value::Object(owned));
        }
        Ok(Self::of(base, row, Stamp { id, version, at: last_updated, creator: None }, body))
    }

    /// A version as it is written: id, `meta.versionId` and `meta.lastUpdated` are the server's, everything else stays as it came, in
    /// its order.
    pub fn written(base: &FhirBase, row: &'static TypeRow, stamp: Stamp, mut body: Value) -> Self {
        if let Some(fields) = body.as_object_mut() {
            let mut meta = Map::new();
            meta.insert("versionId".to_owned(), Value::String(stamp.version.to_string()));
            meta.insert("lastUpdated".to_owned(), Value::String(moment(stamp.at)));
            if let Some(Value::Object(sent)) = fields.get("meta") {
                meta.extend(sent.iter().filter(|(name, _)| *name != "versionId" && *name != "lastUpdated").map(|(name, value)| (name.clone(), value.clone())));
            }
            let id = Value::String(stamp.id.to_string());
            match fields.get_mut("id") {
                Some(place) => *place = id,
                None => drop(fields.shift_insert(1.min(fields.len()), "id".to_owned(), id)),
            }
            match fields.get_mut("meta") {
                Some(place) => *place = Value::Object(meta),
                None => drop(fields.shift_insert(2.min(fields.len()), "meta".to_owned(), Value::Object(meta))),
            }
        }
        Self::of(base, row, stamp, body)
    }

    fn of(base: &FhirBase, row: &'static TypeRow, stamp: Stamp, body: Value) -> Self {
        let json = Bytes::from(body.to_string());
        let mut refers_to = Vec::new();
        collect_references(base, &body, &mut refers_to);
        refers_to.sort_unstable();
        refers_to.dedup();
        let tag = HeaderValue::try_from(format!("W/\"{}\"", stamp.version)).unwrap_or_else(|_| HeaderValue::from_static(""));
        let modified = super::wire::http_date(stamp.at);
        let mut whole = Self {
            row,
            id: stamp.id,
            version: stamp.version,
            last_updated: stamp.at,
            body,
            json,
            refers_to,
            creator: stamp.creator,
            tag,
            modified,
            owners: None,
        };
        whole.owners = whole.named_patients(base);
        whole
    }

    pub fn key(&self) -> Key {
        Key { kind: self.row.name, id: Arc::clone(&self.id) }
    }

    /// What the elements at these paths refer to on this server.
    pub fn references_at(&self, base: &FhirBase, paths: &[&str]) -> Vec<Key> {
        let mut found = Vec::new();
        for value in values(&self.body, paths) {
            found.extend(value.get("reference").and_then(Value::as_str).and_then(|text| Key::of_reference(base, text)));
        }
        found
    }

    /// The ids of the patients whose resource this is, in the narrow sense of fhir-server.md §13: the subject where there is one,
    /// else whoever the other elements name. `None` where the type does not belong to patients by an element of its own.
    pub fn patients(&self) -> Option<&Arc<[Arc<str>]>> {
        self.owners.as_ref()
    }

    fn named_patients(&self, base: &FhirBase) -> Option<Arc<[Arc<str>]>> {
        match self.row.belongs {
            Belongs::Patient => Some([Arc::clone(&self.id)].into()),
            Belongs::Subject { subject, others } => {
                let paths = if values(&self.body, subject).is_empty() { others } else { subject };
                Some(self.references_at(base, paths).into_iter().filter(|key| key.kind == "Patient").map(|key| key.id).collect())
            }
            Belongs::Targets(_) | Belongs::Pointed | Belongs::Directory => None,
        }
    }
}

/// An instant as it is written here: UTC, to the second.
pub fn moment(at: UnixTime) -> String {
    jiff::Timestamp::from_second(at.0).unwrap_or_default().to_string()
}

/// The values at these paths, arrays flattened. See [`super::table::Param::paths`] for how a path is written.
pub fn values<'a>(body: &'a Value, paths: &[&str]) -> Vec<&'a Value> {
    let mut found = Vec::new();
    for path in paths {
        walk(body, path, &mut found);
    }
    found
}

fn walk<'a>(value: &'a Value, path: &str, found: &mut Vec<&'a Value>) {
    if let Value::Array(items) = value {
        return items.iter().for_each(|item| walk(item, path, found));
    }
    if path.is_empty() {
        return if !value.is_null() {
            found.push(value)
        };
    }
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, only) = match step.split_once('{') {
        None => (step, None),
        Some((name, condition)) => (name, condition.trim_end_matches('}').split_once('=')),
    };
    let Some(next) = value.get(name) else { return };
    match only {
        None => walk(next, rest, found),
        Some((field, wanted)) => {
            let keeps = |item: &&Value| item.get(field).and_then(Value::as_str) == Some(wanted);
            match next {
                Value::Array(items) => items.iter().filter(keeps).for_each(|item| walk(item, rest, found)),
                one => Some(one).filter(keeps).into_iter().for_each(|item| walk(item, rest, found)),
            }
        }
    }
}

fn collect_references(base: &FhirBase, value: &Value, into: &mut Vec<Key>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "reference" || name == "url" => into.extend(Key::of_reference(base, text)),
                    Value::Object(_) | Value::Array(_) => collect_references(base, value, into),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(base, item, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_reach_through_arrays_and_conditions() {
        let body =
            json!({"name": [{"given": ["A", "B"]}, {"given": ["C"]}], "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}]});
        assert_eq!(values(&body, &["name.given"]), [&json!("A"), &json!("B"), &json!("C")]);
        assert_eq!(values(&body, &["telecom{system=email}.value"]), [&json!("2")]);
        assert!(values(&body, &["name.given.x", "absent"]).is_empty());
    }

    #[test]
    fn a_reference_counts_only_when_it_is_to_this_server() {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        for (text, key) in [
            ("Patient/p1", Some(("Patient", "p1"))),
            ("https://epj.example/fhir/Patient/p1", Some(("Patient", "p1"))),
            ("Patient/p1/_history/2", Some(("Patient", "p1"))),
            ("https://other.example/fhir/Patient/p1", None),
            ("https://epj.example/fhirX/Patient/p1", None),
            ("urn:uuid:1", None),
            ("#contained", None),
            ("Patient/", None),
            ("Patient/p1/Condition", None),
            ("Nonsense/1", None),
        ] {
            assert_eq!(Key::of_reference(&base, text), key.map(|(kind, id)| Key { kind, id: id.into() }), "{text}");
        }
    }

    #[test]
    fn the_version_is_ours_and_numbers_stay_as_written() {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        let body: Value =
            serde_json::from_str(r#"{"resourceType":"Observation","id":"o","meta":{"lastUpdated":"2026-01-01T00:00:00Z"},"valueQuantity":{"value":5.0}}"#)
                .unwrap();
        let resource = Resource::new(&base, body).unwrap();
        assert_eq!(
            resource.json,
            r#"{"resourceType":"Observation","id":"o","meta":{"versionId":"1","lastUpdated":"2026-01-01T00:00:00Z"},"valueQuantity":{"value":5.0}}"#
        );
        assert_eq!(resource.tag, "W/\"1\"");
    }
}
