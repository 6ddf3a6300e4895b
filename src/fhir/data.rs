//! The resources of one server: where they come from and how they are found.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use super::FhirError;
use super::resource::{Key, Resource, Unfit};
use crate::protocol::ids::FhirBase;

const DIRECTORY: &str = include_str!("../../data/bundles/00-directory.json");
const PATIENTS: &str = include_str!("../../data/bundles/patients.ndjson");

/// Where a server's resources come from.
#[derive(Clone, Debug)]
pub enum DataSource {
    /// The synthetic Norwegian set of `data/`, carried in the binary.
    BuiltIn,
    /// Files of Bundles or resources: JSON, or one JSON document a line (`.ndjson`). Later files win over earlier ones.
    Paths(Vec<PathBuf>),
}

/// All current resources at one moment. Never changed: a write makes the next one.
#[derive(Debug, Default)]
pub struct Snapshot {
    types: BTreeMap<&'static str, BTreeMap<Arc<str>, Arc<Resource>>>,
    referrers: HashMap<Key, Vec<Key>>,
}

impl Snapshot {
    pub fn get(&self, key: &Key) -> Option<&Arc<Resource>> {
        self.types.get(key.kind)?.get(&key.id)
    }

    pub fn find(&self, kind: &str, id: &str) -> Option<&Arc<Resource>> {
        self.types.get(kind)?.get(id)
    }

    /// All resources of a type, in the order of their ids.
    pub fn of_type(&self, kind: &str) -> impl Iterator<Item = &Arc<Resource>> {
        self.types.get(kind).into_iter().flat_map(BTreeMap::values)
    }

    /// The resources that refer to this one.
    pub fn referrers(&self, key: &Key) -> impl Iterator<Item = &Arc<Resource>> {
        self.referrers.get(key).into_iter().flatten().filter_map(|key| self.get(key))
    }

    pub fn len(&self) -> usize {
        self.types.values().map(BTreeMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    fn insert(&mut self, resource: Resource) {
        let key = resource.key();
        if let Some(before) = self.get(&key).cloned() {
            for target in &before.refers_to {
                if let Some(list) = self.referrers.get_mut(target) {
                    list.retain(|other| *other != key);
                }
            }
        }
        for target in &resource.refers_to {
            self.referrers.entry(target.clone()).or_default().push(key.clone());
        }
        self.types.entry(key.kind).or_default().insert(key.id, Arc::new(resource));
    }

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
                    let file = path.display().to_string();
                    let text = std::fs::read_to_string(path).map_err(|why| FhirError::Data { file: file.clone(), why: why.to_string() })?;
                    snapshot.add_text(&file, &text, path.extension().is_some_and(|ext| ext == "ndjson"), base)?;
                }
            }
        }
        Ok(snapshot)
    }

    fn add_text(&mut self, file: &str, text: &str, by_line: bool, base: &FhirBase) -> Result<(), FhirError> {
        let whole = [text];
        let documents: Box<dyn Iterator<Item = &str>> = if by_line { Box::new(text.lines()) } else { Box::new(whole.into_iter()) };
        for document in documents.filter(|document| !document.trim().is_empty()) {
            let value = serde_json::from_str(document).map_err(|why| FhirError::Data { file: file.to_owned(), why: why.to_string() })?;
            self.add(value, base).map_err(|why| FhirError::Data { file: file.to_owned(), why: why.to_string() })?;
        }
        Ok(())
    }

    fn add(&mut self, mut value: Value, base: &FhirBase) -> Result<(), Unfit> {
        if value.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
            self.insert(Resource::new(base, value)?);
            return Ok(());
        }
        if let Some(Value::Array(entries)) = value.get_mut("entry").map(Value::take) {
            for mut entry in entries {
                if let Some(resource) = entry.get_mut("resource") {
                    self.insert(Resource::new(base, resource.take())?);
                }
            }
        }
        Ok(())
    }
}

/// The current [`Snapshot`] and the one it began with.
#[derive(Debug)]
pub struct Data {
    seed: Arc<Snapshot>,
    now: RwLock<Arc<Snapshot>>,
}

impl Data {
    pub fn new(seed: Snapshot) -> Self {
        let seed = Arc::new(seed);
        Self { now: RwLock::new(Arc::clone(&seed)), seed }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Back to the resources this server began with: the same ids and ETags every time.
    pub fn reset(&self) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&self.seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::table::TypeRow;

    #[test]
    fn the_built_in_set_loads_whole_and_every_basic_type_has_data() {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        let all = Snapshot::load(&DataSource::BuiltIn, &base).unwrap();
        assert_eq!(all.len(), 544);
        // These are for FHIRcast and demos, which bring their own.
        let without = ["CarePlan", "Consent", "EpisodeOfCare", "Group", "Immunization", "List", "Medication", "MedicationStatement", "Procedure"];
        for row in TypeRow::all() {
            assert_eq!(all.of_type(row.name).next().is_none(), without.contains(&row.name), "{}", row.name);
        }
        let binary = all.of_type("Binary").next().unwrap();
        assert!(all.referrers(&binary.key()).any(|r| r.row.name == "DocumentReference"));
    }
}
