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
            DataSource::Text(lines) => snapshot.add_text("the records given", lines, true, base)?,
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
        let mut left_out = 0;
        let documents: Vec<&str> = if by_line { text.split_inclusive('\n').collect() } else { vec![text] };
        for (number, document) in documents.into_iter().enumerate() {
            if !document.trim().is_empty() {
                left_out += self.add_document(document, base).map_err(|fault| fault.at(file, number + 1, by_line))?;
            }
        }
        if left_out > 0 {
            tracing::warn!(file, left_out, "resources of types this server does not have");
        }
        Ok(())
    }

    /// How many were left out.
    fn add_document(&mut self, text: &str, base: &FhirBase) -> Result<usize, Fault> {
        // Begins with the line the value is on, and not the one before.
        let begins = text.len() - text.trim_start().len();
        let unreadable = |why: serde_json::Error| {
            let text = why.to_string();
            let what = text.split(" at line ").next().unwrap_or_default();
            Fault { line: why.line(), why: format!("{what}, at column {}", why.column()) }
        };
        let mut value: Value = serde_json::from_str(text).map_err(unreadable)?;
        let at = |offset: usize, why: &Unfit| Fault { line: line_of(text, offset), why: why.to_string() };
        if value.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
            return self.add_one(value, base).map_err(|why| at(begins, &why));
        }
        let mut left_out = 0;
        if let Some(Value::Array(mut entries)) = value.get_mut("entry").map(Value::take) {
            let names = names_of(&entries);
            for (number, entry) in entries.iter_mut().enumerate() {
                if let Some(mut resource) = entry.get_mut("resource").map(Value::take) {
                    if !names.is_empty() {
                        rename(&mut resource, &names);
                    }
                    let added = self.add_one(resource, base);
                    left_out +=
                        added.map_err(|why| Fault { why: format!("Bundle.entry[{number}]: {why}"), ..at(entry_at(text, number).unwrap_or(begins), &why) })?;
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

/// What is wrong in a document, and on which of its lines.
struct Fault {
    line: usize,
    why: String,
}

impl Fault {
    /// `line` is the document's first one.
    fn at(self, file: &str, line: usize, by_line: bool) -> FhirError {
        // A document of one line has none of its own.
        let line = if by_line { line } else { self.line };
        FhirError::Data { file: format!("{file}:{line}"), why: self.why }
    }
}

/// The line of this byte, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// Where the entry of this number begins in a sound Bundle.
fn entry_at(text: &str, number: usize) -> Option<usize> {
    let (mut depth, mut string_from, mut escaped) = (0usize, None, false);
    let (mut member, mut in_entries, mut seen) = ("", false, 0);
    for (place, byte) in text.bytes().enumerate() {
        if let Some(from) = string_from {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    if depth == 1 {
                        member = text.get(from..place)?;
                    }
                    string_from = None;
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => string_from = Some(place + 1),
            b'{' | b'[' => {
                in_entries |= depth == 1 && byte == b'[' && member == "entry";
                if in_entries && depth == 2 {
                    if seen == number {
                        return Some(place);
                    }
                    seen += 1;
                }
                depth += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                in_entries &= depth > 1;
            }
            _ => {}
        }
    }
    None
}

/// The file itself, or those of a directory.
fn files(path: &Path) -> Result<Vec<PathBuf>, FhirError> {
    let failed = |why: std::io::Error| FhirError::Data { file: path.display().to_string(), why: why.to_string() };
    // What is not there is not an empty directory.
    std::fs::metadata(path).map_err(failed)?;
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
    if found.is_empty() {
        return Err(FhirError::Data { file: path.display().to_string(), why: "there is no .json or .ndjson file in this directory".to_owned() });
    }
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
        let told = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            let told = Snapshot::load(&DataSource::Paths(vec![dir.path().to_owned()]), &base()).unwrap_err().to_string();
            std::fs::remove_file(&file).unwrap();
            told.strip_prefix(&format!("{}/", dir.path().display())).unwrap().to_owned()
        };
        let bundle = "{\"resourceType\": \"Bundle\", \"note\": [{}, \"]\\\"{\"],\n \"entry\": [\n  {\"resource\": {\"resourceType\": \"Patient\", \"id\": \"p\", \"x\": [{}]}},\n\n  {\"resource\":\n {\"resourceType\": \"Patient\"}}]}";
        for (name, text, says) in [
            ("c.json", "{", "c.json:1: EOF while parsing"),
            ("c.json", "{\n\n\"a\": nonsense}", "c.json:3: expected ident"),
            ("c.json", "\n\n{\"resourceType\":\"Nonsense\",\"id\":\"x\"}", "c.json:3: this server has no Nonsense"),
            ("c.json", r#"{"resourceType":"Patient"}"#, "c.json:1: Patient without an id"),
            ("c.json", r#"{"resourceType":"Patient","id":"x","meta":{"lastUpdated":"now"}}"#, "c.json:1: Patient without a readable meta.lastUpdated"),
            ("c.json", bundle, "c.json:5: Bundle.entry[1]: Patient without an id"),
            ("c.ndjson", "{\"resourceType\":\"Patient\",\"id\":\"x\"}\n\n{\"resourceType\":\"Patient\",\"id\":\"x\"", "c.ndjson:3: EOF while parsing"),
            ("c.ndjson", "{\"resourceType\":\"Patient\",\"id\":\"x\"}\n{\"id\":\"x\"}\n", "c.ndjson:2: it is not a JSON object with a resourceType"),
        ] {
            let told = told(name, text);
            assert!(told.starts_with(says), "{told}");
        }
        let empty = tempfile::tempdir().unwrap();
        for (path, says) in [(empty.path().to_owned(), "there is no .json or .ndjson file"), (empty.path().join("gone"), "No such file")] {
            let told = Snapshot::load(&DataSource::Paths(vec![path.clone()]), &base()).unwrap_err().to_string();
            assert!(told.starts_with(&format!("{}: {says}", path.display())), "{told}");
        }
    }
}
