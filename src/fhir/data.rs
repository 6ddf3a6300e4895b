//! The resources of one server: where they come from, how they are found, and how they change. A reader takes a snapshot and holds it as
//! long as it likes; a write makes the next one beside it, sharing what did not change.

mod load;
mod log;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use self::log::Log;
use super::FhirError;
use super::resource::{Key, Resource};
use crate::protocol::ids::FhirBase;
use crate::time::UnixTime;

/// How many earlier versions of one resource are kept.
const KEPT_VERSIONS: usize = 1000;

/// Where a server's resources come from.
#[derive(Clone, Debug)]
pub enum DataSource {
    /// The synthetic Norwegian set of `data/`, carried in the binary.
    BuiltIn,
    /// Files of Bundles or resources: JSON, or one JSON document a line (`.ndjson`); of a directory all of these, in the order of their
    /// names. Later files win over earlier ones. Types this server does not have are left out, and the log says how many.
    Paths(Vec<PathBuf>),
}

/// Where writes are kept beyond the process.
#[derive(Clone, Debug)]
pub struct Kept {
    /// A file of one JSON document a line, replayed over the resources of the start.
    pub path: PathBuf,
    /// Begin with an empty one.
    pub fresh: bool,
    /// Wait for the disk at every write: what was answered survives a power cut.
    pub sync: bool,
}

/// An earlier version of a resource, or its end.
#[derive(Clone, Debug)]
pub struct Version {
    pub number: u64,
    pub at: UnixTime,
    /// `None`: it was deleted then.
    pub resource: Option<Arc<Resource>>,
}

type Shelf<T> = BTreeMap<&'static str, Arc<T>>;

/// All current resources at one moment, and what they were before. Never changed: a write makes the next one.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    types: Shelf<BTreeMap<Arc<str>, Arc<Resource>>>,
    referrers: Shelf<HashMap<Arc<str>, Arc<Vec<Key>>>>,
    /// Oldest first; only for what changed since the start.
    past: Shelf<HashMap<Arc<str>, Arc<Vec<Version>>>>,
}

/// What a write does to the resources.
#[derive(Debug)]
pub enum Edit {
    Put(Arc<Resource>),
    Delete { key: Key, version: u64, at: UnixTime },
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
        self.types.get(kind).into_iter().flat_map(|all| all.values())
    }

    /// The resources that refer to this one.
    pub fn referrers(&self, key: &Key) -> impl Iterator<Item = &Arc<Resource>> {
        let keys = self.referrers.get(key.kind).and_then(|all| all.get(&key.id));
        keys.into_iter().flat_map(|keys| keys.iter()).filter_map(|key| self.get(key))
    }

    /// The versions there are, newest first.
    pub fn versions(&self, kind: &str, id: &str) -> Vec<Version> {
        let current = self.find(kind, id).map(|resource| Version { number: resource.version, at: resource.last_updated, resource: Some(Arc::clone(resource)) });
        let past = self.past.get(kind).and_then(|all| all.get(id));
        current.into_iter().chain(past.into_iter().flat_map(|versions| versions.iter().rev().cloned())).collect()
    }

    /// What a deleted resource was at last, and the version of its end. `None` where it lives or never did.
    pub fn tombstone(&self, kind: &str, id: &str) -> Option<(u64, Option<&Arc<Resource>>)> {
        if self.find(kind, id).is_some() {
            return None;
        }
        let versions = self.past.get(kind)?.get(id)?;
        let last = versions.iter().rev().find_map(|version| version.resource.as_ref());
        Some((versions.last()?.number, last))
    }

    pub fn len(&self) -> usize {
        self.types.values().map(|all| all.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same with one more shelf of resources, which nothing refers to.
    pub fn beside(&self, kind: &'static str, shelf: Arc<BTreeMap<Arc<str>, Arc<Resource>>>) -> Self {
        let mut all = self.clone();
        all.types.insert(kind, shelf);
        all
    }

    /// The resources of a type as they stand on their shelf.
    pub fn shelf(&self, kind: &str) -> Option<&Arc<BTreeMap<Arc<str>, Arc<Resource>>>> {
        self.types.get(kind)
    }

    fn insert(&mut self, resource: Arc<Resource>) {
        let key = resource.key();
        self.forget_references(&key);
        for target in &resource.refers_to {
            let list = Arc::make_mut(self.referrers.entry(target.kind).or_default()).entry(Arc::clone(&target.id)).or_default();
            Arc::make_mut(list).push(key.clone());
        }
        Arc::make_mut(self.types.entry(key.kind).or_default()).insert(key.id, resource);
    }

    fn forget_references(&mut self, key: &Key) {
        let Some(before) = self.get(key).cloned() else { return };
        for target in &before.refers_to {
            if let Some(list) = self.referrers.get_mut(target.kind).and_then(|all| Arc::make_mut(all).get_mut(&target.id)) {
                Arc::make_mut(list).retain(|other| other != key);
            }
        }
    }

    fn remember(&mut self, key: &Key, version: Version) {
        let list = Arc::make_mut(self.past.entry(key.kind).or_default()).entry(Arc::clone(&key.id)).or_default();
        let list = Arc::make_mut(list);
        if list.len() >= KEPT_VERSIONS {
            list.remove(0);
        }
        list.push(version);
    }

    /// The next snapshot.
    #[must_use]
    pub fn after(&self, edit: &Edit) -> Self {
        let mut next = self.clone();
        match edit {
            Edit::Put(resource) => {
                next.remember_current(&resource.key());
                next.insert(Arc::clone(resource));
            }
            Edit::Delete { key, version, at } => {
                next.remember_current(key);
                next.forget_references(key);
                if let Some(all) = next.types.get_mut(key.kind) {
                    Arc::make_mut(all).remove(&key.id);
                }
                next.remember(key, Version { number: *version, at: *at, resource: None });
            }
        }
        next
    }

    fn remember_current(&mut self, key: &Key) {
        if let Some(before) = self.get(key).cloned() {
            self.remember(key, Version { number: before.version, at: before.last_updated, resource: Some(before) });
        }
    }
}

/// The current [`Snapshot`] and the one it began with.
#[derive(Debug)]
pub struct Data {
    seed: Arc<Snapshot>,
    now: ArcSwap<Snapshot>,
    /// Held while something is written: one write at a time, each over what the one before left.
    log: Mutex<Option<Log>>,
}

impl Data {
    /// Replays what was kept over `seed`.
    ///
    /// # Errors
    /// [`FhirError::Data`] where what was kept cannot be read or written.
    pub fn new(seed: Snapshot, kept: Option<&Kept>, base: &FhirBase) -> Result<Self, FhirError> {
        let seed = Arc::new(seed);
        let mut now = Arc::clone(&seed);
        let log = match kept {
            None => None,
            Some(kept) => {
                let (log, edits) = Log::open(kept, base)?;
                for edit in edits {
                    now = Arc::new(now.after(&edit));
                }
                Some(log)
            }
        };
        Ok(Self { seed, now: ArcSwap::new(now), log: Mutex::new(log) })
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.now.load_full()
    }

    /// Decides over the current resources and changes them, alone: no other write comes in between. Nothing changes where `decide`
    /// refuses or asks for nothing.
    ///
    /// # Errors
    /// What `decide` refuses with; `lost` where the change cannot be kept.
    pub fn write<T, E>(&self, lost: impl FnOnce(std::io::Error) -> E, decide: impl FnOnce(&Snapshot) -> Result<(Option<Edit>, T), E>) -> Result<T, E> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.now.load_full();
        let (edit, answer) = decide(&current)?;
        if let Some(edit) = edit {
            if let Some(log) = &mut *log {
                log.add(&edit).map_err(lost)?;
            }
            self.now.store(Arc::new(current.after(&edit)));
        }
        Ok(answer)
    }

    /// Back to the resources this server began with: the same ids and ETags every time. What was kept is forgotten.
    ///
    /// # Errors
    /// Where the file cannot be emptied.
    pub fn reset(&self) -> std::io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = &mut *log {
            log.clear()?;
        }
        self.now.store(Arc::clone(&self.seed));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fhir::resource::Stamp;
    use crate::fhir::table::TypeRow;

    fn base() -> FhirBase {
        FhirBase::parse("https://epj.example/fhir").unwrap()
    }

    fn condition(id: &str, version: u64, encounter: &str) -> Arc<Resource> {
        let body = json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p"}, "encounter": {"reference": encounter}, "x": 5.0});
        let stamp = Stamp { id: id.into(), version, at: UnixTime(1_795_000_000), creator: None };
        Arc::new(Resource::written(&base(), TypeRow::named("Condition").unwrap(), stamp, body))
    }

    fn put(data: &Data, resource: &Arc<Resource>) {
        data.write(|why| why, |_| Ok((Some(Edit::Put(Arc::clone(resource))), ()))).unwrap();
    }

    fn delete(data: &Data, id: &str, version: u64) {
        let key = Key { kind: "Condition", id: id.into() };
        data.write(|why| why, |_| Ok((Some(Edit::Delete { key, version, at: UnixTime(1_795_000_009) }), ()))).unwrap();
    }

    fn numbers(data: &Data, id: &str) -> Vec<(u64, bool)> {
        data.snapshot().versions("Condition", id).iter().map(|version| (version.number, version.resource.is_some())).collect()
    }

    #[test]
    fn a_snapshot_stays_and_the_next_one_knows_its_past() {
        let data = Data::new(Snapshot::default(), None, &base()).unwrap();
        put(&data, &condition("c", 1, "Encounter/a"));
        let before = data.snapshot();
        put(&data, &condition("c", 2, "Encounter/b"));
        let key = |id: &str| Key { kind: "Encounter", id: id.into() };
        assert_eq!((before.find("Condition", "c").unwrap().version, before.referrers(&key("a")).count(), before.referrers(&key("b")).count()), (1, 1, 0));
        let now = data.snapshot();
        assert_eq!((now.find("Condition", "c").unwrap().version, now.referrers(&key("a")).count(), now.referrers(&key("b")).count()), (2, 0, 1));
        delete(&data, "c", 3);
        assert_eq!(numbers(&data, "c"), [(3, false), (2, true), (1, true)]);
        let (end, last) = data.snapshot().tombstone("Condition", "c").map(|(end, last)| (end, last.unwrap().version)).unwrap();
        assert_eq!((end, last, data.snapshot().len()), (3, 2, 0));
        data.reset().unwrap();
        assert!(numbers(&data, "c").is_empty());
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_even_when_the_last_line_was_torn() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept { path: dir.path().join("deep/fhir.ndjson"), fresh: false, sync: true };
        let open = |kept: &Kept| Data::new(Snapshot::default(), Some(kept), &base()).unwrap();
        let data = open(&kept);
        put(&data, &condition("c", 1, "Encounter/a"));
        put(&data, &condition("d", 1, "Encounter/a"));
        delete(&data, "d", 2);
        put(&data, &condition("c", 2, "Encounter/b"));
        drop(data);
        use std::io::Write as _;
        std::fs::OpenOptions::new().append(true).open(&kept.path).unwrap().write_all(br#"{"put":{"resourceType":"Cond"#).unwrap();
        for _ in 0..2 {
            let data = open(&kept);
            assert_eq!((numbers(&data, "c"), numbers(&data, "d")), (vec![(2, true), (1, true)], vec![(2, false), (1, true)]));
            assert_eq!(data.snapshot().find("Condition", "c").unwrap().json, condition("c", 2, "Encounter/b").json);
        }
        assert!(open(&Kept { fresh: true, ..kept.clone() }).snapshot().is_empty());
        let data = open(&kept);
        assert!(data.snapshot().is_empty());
        put(&data, &condition("c", 1, "Encounter/a"));
        data.reset().unwrap();
        drop(data);
        assert!(open(&kept).snapshot().is_empty());
        std::fs::write(&kept.path, "nonsense\n{}\n").unwrap();
        assert!(Data::new(Snapshot::default(), Some(&kept), &base()).is_err());
    }
}
