//! What a search found. FHIR R4, Bundle of type `searchset`.

use serde_json::Value;

use super::FhirDown;
use super::resource::Resource;
use crate::protocol::ids::FhirBase;

/// One page of a search.
pub(super) struct Page {
    /// The matches; neither what was included with them nor remarks of the server.
    pub(super) matches: Vec<Resource>,
    /// The server has a next page.
    pub(super) next: bool,
}

impl Page {
    /// Reads a bundle that should hold resources of one type.
    pub(super) fn read(mut bundle: Value, kind: &str, base: &FhirBase) -> Result<Self, FhirDown> {
        let is = |name: &str, expected: &str| bundle.get(name).and_then(Value::as_str) == Some(expected);
        if !is("resourceType", "Bundle") || !is("type", "searchset") {
            return Err(FhirDown::Malformed("no searchset bundle"));
        }
        let links = bundle.get("link").and_then(Value::as_array).into_iter().flatten();
        let next = links.filter_map(|link| link.get("relation").and_then(Value::as_str)).any(|relation| relation == "next");
        let entries = match bundle.get_mut("entry").map(Value::take) {
            Some(Value::Array(entries)) => entries,
            None => Vec::new(),
            Some(_) => return Err(FhirDown::Malformed("entries that are no list")),
        };
        let mut matches = Vec::with_capacity(entries.len());
        for mut entry in entries {
            // Absent means a match: servers leave it out where they include nothing.
            let mode = entry.get("search").and_then(|search| search.get("mode")).and_then(Value::as_str).unwrap_or("match");
            if mode != "match" {
                continue;
            }
            let resource = entry.get_mut("resource").map(Value::take).unwrap_or_default();
            if resource.get("resourceType").and_then(Value::as_str) != Some(kind) {
                continue;
            }
            matches.push(Resource::of(resource, base).ok_or(FhirDown::Malformed("a match without id"))?);
        }
        Ok(Self { matches, next })
    }
}
