//! Where the resources of the start come from: the set the binary carries, or other people's Bundles.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::{DataSource, Snapshot};
use crate::fhir::FhirError;
use crate::fhir::resource::{Resource, Unfit};
use crate::protocol::ids::FhirBase;

const DIRECTORY: &str = include_str!("../../../data/bundles/00-directory.json");
const PATIENTS: &str = include_str!("../../../data/bundles/patients.ndjson");

impl Snapshot {
    /// # Errors
    /// [`FhirError::Data`] for a file that cannot be read or holds what this server cannot.
    pub fn load(source: &DataSource, base: &FhirBase) -> Result<Self, FhirError> {
        let mut snapshot = Self::default();
        match source {
            DataSource::BuiltIn => {
                snapshot.add_text("00-directory.json", DIRECTORY, false, base)?;
                snapshot.add_text("patients.ndjson", PATIENTS, true, base)?;
            }
            DataSource::Paths(paths) => {
                for path in paths {
                    for path in files(path)? {
                        let file = path.display().to_string();
                        let text = std::fs::read_to_string(&path).map_err(|why| FhirError::Data { file: file.clone(), why: why.to_string() })?;
                        snapshot.add_text(&file, &text, path.extension().is_some_and(|ext| ext == "ndjson"), base)?;
                    }
                }
            }
        }
        Ok(snapshot)
    }

    fn add_text(&mut self, file: &str, text: &str, by_line: bool, base: &FhirBase) -> Result<(), FhirError> {
        let whole = [text];
        let documents: Box<dyn Iterator<Item = &str>> = if by_line { Box::new(text.lines()) } else { Box::new(whole.into_iter()) };
        let mut left_out = 0;
        for document in documents.filter(|document| !document.trim().is_empty()) {
            let value = serde_json::from_str(document).map_err(|why| FhirError::Data { file: file.to_owned(), why: why.to_string() })?;
            left_out += self.add(value, base).map_err(|why| FhirError::Data { file: file.to_owned(), why: why.to_string() })?;
        }
        if left_out > 0 {
            tracing::warn!(file, left_out, "resources of types this server does not have");
        }
        Ok(())
    }

    /// How many were left out.
    fn add(&mut self, mut value: Value, base: &FhirBase) -> Result<usize, Unfit> {
        if value.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
            return self.add_one(value, base);
        }
        let mut left_out = 0;
        if let Some(Value::Array(mut entries)) = value.get_mut("entry").map(Value::take) {
            let names = names_of(&entries);
            for entry in &mut entries {
                if let Some(mut resource) = entry.get_mut("resource").map(Value::take) {
                    if !names.is_empty() {
                        rename(&mut resource, &names);
                    }
                    left_out += self.add_one(resource, base)?;
                }
            }
        }
        Ok(left_out)
    }

    fn add_one(&mut self, resource: Value, base: &FhirBase) -> Result<usize, Unfit> {
        match Resource::new(base, resource) {
            Ok(resource) => self.insert(Arc::new(resource)),
            Err(Unfit::UnknownType(name)) if crate::protocol::r4::is_resource_type(&name) => return Ok(1),
            Err(why) => return Err(why),
        }
        Ok(0)
    }
}

/// The file itself, or those of a directory.
fn files(path: &Path) -> Result<Vec<PathBuf>, FhirError> {
    let failed = |why: std::io::Error| FhirError::Data { file: path.display().to_string(), why: why.to_string() };
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ext| ext == "json" || ext == "ndjson") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a transaction's `urn:` names stand for. <https://hl7.org/fhir/R4/bundle.html#references>
fn names_of(entries: &[Value]) -> HashMap<String, String> {
    let named = entries.iter().filter_map(|entry| {
        let full = entry.get("fullUrl")?.as_str().filter(|full| full.starts_with("urn:"))?;
        let text = |name: &str| entry.get("resource")?.get(name)?.as_str();
        Some((full.to_owned(), format!("{}/{}", text("resourceType")?, text("id")?)))
    });
    named.collect()
}

fn rename(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "reference" || name == "url" => {
                        if let Some(real) = names.get(text.as_str()) {
                            real.clone_into(text);
                        }
                    }
                    _ => rename(value, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> FhirBase {
        FhirBase::parse("https://epj.example/fhir").unwrap()
    }

    #[test]
    fn the_built_in_set_loads_whole() {
        let all = Snapshot::load(&DataSource::BuiltIn, &base()).unwrap();
        assert_eq!(all.len(), 544);
        let binary = all.of_type("Binary").next().unwrap();
        assert!(all.referrers(&binary.key()).any(|r| r.row.name == "DocumentReference"));
    }

    #[test]
    fn other_peoples_files_load_from_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient", "id": "p"}},
            {"fullUrl": "urn:uuid:2", "resource": {"resourceType": "Condition", "id": "c", "subject": {"reference": "urn:uuid:1"}}},
            {"fullUrl": "urn:uuid:3", "resource": {"resourceType": "Claim", "id": "x"}}
        ]});
        std::fs::write(dir.path().join("a.json"), bundle.to_string()).unwrap();
        std::fs::write(dir.path().join("b.ndjson"), format!("{}\n\n", json!({"resourceType": "Patient", "id": "p", "active": true}))).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no JSON").unwrap();
        let all = Snapshot::load(&DataSource::Paths(vec![dir.path().to_owned()]), &base()).unwrap();
        assert_eq!((all.len(), &all.find("Patient", "p").unwrap().body["active"]), (2, &json!(true)));
        assert_eq!(all.find("Condition", "c").unwrap().body["subject"]["reference"], "Patient/p");
        assert_eq!(all.find("Condition", "c").unwrap().body["meta"], json!({"versionId": "1", "lastUpdated": "1970-01-01T00:00:00Z"}));
        for bad in [
            "{",
            r#"{"resourceType":"Nonsense","id":"x"}"#,
            r#"{"resourceType":"Patient"}"#,
            r#"{"resourceType":"Patient","id":"x","meta":{"lastUpdated":"now"}}"#,
        ] {
            std::fs::write(dir.path().join("c.json"), bad).unwrap();
            assert!(Snapshot::load(&DataSource::Paths(vec![dir.path().to_owned()]), &base()).is_err(), "{bad}");
        }
    }
}
