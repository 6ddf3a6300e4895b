//! Resources cut down to what was asked for: `_elements` and `_summary`. <https://hl7.org/fhir/R4/search.html#elements>
//!
//! Cutting is by top-level elements. What R4 makes mandatory stays, so that what is left is still a valid resource, and so does what
//! changes the meaning of the rest. Whatever is cut is tagged `SUBSETTED`.

mod elements;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::elements::Elements;
use super::search::ParamError;

/// What of each resource is shown. The default is all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    elements: Vec<Element>,
    summary: Option<Summary>,
}

/// `name`, of the type that was searched, or `Type.name`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Element {
    kind: Option<String>,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// What R4 marks as summary.
    True,
    /// The text and what is mandatory.
    Text,
    /// Everything but the text.
    Data,
}

impl Summary {
    /// Reads the word; `None` for `false`.
    ///
    /// # Errors
    /// [`ParamError::Value`] for any other word. `count` is not for a resource.
    pub fn read(word: &str) -> Result<Option<Self>, ParamError> {
        match word {
            "false" => Ok(None),
            "true" => Ok(Some(Self::True)),
            "text" => Ok(Some(Self::Text)),
            "data" => Ok(Some(Self::Data)),
            _ => Err(ParamError::Value("count, true, text, data or false")),
        }
    }
}

/// Never cut: they say what the resource is, or change what it means.
const KEPT: &[&str] = &["resourceType", "id", "meta", "implicitRules", "modifierExtension"];

impl Subset {
    /// Adds the names of one `_elements`.
    ///
    /// # Errors
    /// [`ParamError::Value`] for what is no element name.
    pub fn add_elements(&mut self, value: &str) -> Result<(), ParamError> {
        for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let (kind, name) = name.split_once('.').map_or((None, name), |(kind, name)| (Some(kind.to_owned()), name));
            let name = name.strip_suffix("[x]").unwrap_or(name);
            if [Some(name), kind.as_deref()].into_iter().flatten().any(|part| part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric())) {
                return Err(ParamError::Value("names of top-level elements"));
            }
            self.elements.push(Element { kind, name: name.to_owned() });
        }
        Ok(())
    }

    /// Shows less than the elements asked for, never more.
    pub fn summarize(&mut self, summary: Summary) {
        self.summary = Some(summary);
    }

    pub fn summary(&self) -> Option<Summary> {
        self.summary
    }

    /// What is shown of a resource; `searched` is the type that names without a type mean.
    pub fn of(&self, kind: &str, searched: &str, json: Bytes) -> Bytes {
        let named: Vec<&str> = self.elements.iter().filter(|e| e.kind.as_deref().unwrap_or(searched) == kind).map(|e| e.name.as_str()).collect();
        if named.is_empty() && self.summary.is_none() {
            return json;
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(&json) else { return json };
        let known = Elements::of(kind);
        let asked = |name: &str| named.is_empty() || is_one_of(name, &named);
        let summarized = |name: &str| match self.summary {
            None => true,
            Some(Summary::True) => is_one_of(name, known.summary),
            Some(Summary::Text) => name == "text",
            Some(Summary::Data) => name != "text",
        };
        let stays = |name: &str| KEPT.contains(&name) || is_one_of(name, known.mandatory) || (asked(name) && summarized(name));
        // A primitive and its sibling with extensions are one element.
        let mut left: Map<String, Value> = fields.into_iter().filter(|(name, _)| stays(name.strip_prefix('_').unwrap_or(name))).collect();
        tag(&mut left);
        Value::Object(left).to_string().into()
    }
}

/// Whether a member is one of these elements; a choice of types goes by the name all share: `value` is `valueQuantity` too.
fn is_one_of(member: &str, elements: &[&str]) -> bool {
    let is = |element: &&str| {
        member
            .strip_prefix(*element)
            .is_some_and(|rest| rest.is_empty() || (elements::CHOICES.contains(element) && rest.starts_with(|c: char| c.is_ascii_uppercase())))
    };
    elements.iter().any(is)
}

fn tag(resource: &mut Map<String, Value>) {
    let subsetted = json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"});
    let Some(meta) = resource.entry("meta").or_insert_with(|| json!({})).as_object_mut() else { return };
    if let Some(tags) = meta.entry("tag").or_insert_with(|| json!([])).as_array_mut() {
        tags.push(subsetted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITION: &str = r#"{"resourceType":"Condition","id":"c","meta":{"tag":[{"code":"x"}]},"text":{"status":"generated"},"modifierExtension":[1],
        "code":{"text":"Rygg"},"subject":{"reference":"Patient/p"},"onsetDateTime":"2026","recordedDate":"2026","_recordedDate":{"id":"r"},"note":[{"text":"n"}]}"#;

    fn shown(change: impl FnOnce(&mut Subset)) -> String {
        let mut subset = Subset::default();
        change(&mut subset);
        let json = subset.of("Condition", "Condition", Bytes::from_static(CONDITION.as_bytes()));
        let value: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["meta"].to_string().contains("SUBSETTED"), subset != Subset::default());
        let names = value.as_object().unwrap().keys().filter(|name| !["resourceType", "id", "meta", "modifierExtension", "subject"].contains(&name.as_str()));
        assert!(value["modifierExtension"].is_array() && value["subject"].is_object());
        names.map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_mandatory_or_changes_the_meaning_stays() {
        let all = "text code onsetDateTime recordedDate _recordedDate note";
        assert_eq!(shown(|_| ()), all);
        assert_eq!(shown(|s| s.add_elements("code, recordedDate").unwrap()), "code recordedDate _recordedDate");
        assert_eq!(shown(|s| s.add_elements("onset").unwrap()), "onsetDateTime");
        assert_eq!(shown(|s| s.add_elements("onset[x],Encounter.status").unwrap()), "onsetDateTime");
        assert_eq!(shown(|s| s.add_elements("co,recorded").unwrap()), "");
        assert_eq!(shown(|s| s.summarize(Summary::True)), "code onsetDateTime recordedDate _recordedDate");
        assert_eq!(shown(|s| s.summarize(Summary::Text)), "text");
        assert_eq!(shown(|s| s.summarize(Summary::Data)), "code onsetDateTime recordedDate _recordedDate note");
        let both = |s: &mut Subset| {
            s.add_elements("code,text").unwrap();
            s.summarize(Summary::Data);
        };
        assert_eq!(shown(both), "code");
        for bad in ["a.b.c", "code.", "<", "_id"] {
            assert!(Subset::default().add_elements(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_without_a_type_mean_the_type_that_was_searched() {
        let mut subset = Subset::default();
        subset.add_elements("code").unwrap();
        let included = Bytes::from_static(br#"{"resourceType":"Encounter","id":"e","length":{}}"#);
        assert_eq!(subset.of("Encounter", "Condition", included.clone()), included);
        subset.add_elements("Encounter.status").unwrap();
        assert!(!subset.of("Encounter", "Condition", included).starts_with(br#"{"resourceType":"Encounter","id":"e","length""#));
    }

    #[test]
    fn every_type_that_is_served_is_known() {
        for row in crate::fhir::table::TypeRow::all() {
            assert_eq!(Elements::of(row.name).kind, row.name);
        }
    }
}
