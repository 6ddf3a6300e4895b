//! The resources of one server: where they come from, how they are found, and how they change. A reader takes a snapshot and holds it as
//! long as it likes; a write makes the next one beside it, sharing what did not change.

mod keep;
mod load;
mod log;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use self::keep::Keeper;
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
    /// Bundles or resources in memory, one JSON document a line.
    Text(String),
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

    /// The resource as it stands, or as it stood last.
    pub fn latest(&self, kind: &str, id: &str) -> Option<&Arc<Resource>> {
        self.find(kind, id).or_else(|| self.tombstone(kind, id)?.1)
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
        next.apply(edit);
        next
    }

    fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Put(resource) => {
                self.remember_current(&resource.key());
                self.insert(Arc::clone(resource));
            }
            Edit::Delete { key, version, at } => {
                self.remember_current(key);
                self.forget_references(key);
                if let Some(all) = self.types.get_mut(key.kind) {
                    Arc::make_mut(all).remove(&key.id);
                }
                self.remember(key, Version { number: *version, at: *at, resource: None });
            }
        }
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
    /// What readers see. Nothing in it can be lost any more, where writes are kept.
    now: Arc<ArcSwap<Snapshot>>,
    /// With every write that was decided, the last ones perhaps not kept yet. Held while one is decided: one at a time, each over what the
    /// one before left.
    head: Arc<Mutex<Arc<Snapshot>>>,
    keeper: Option<Keeper>,
}

impl Data {
    /// Replays what was kept over `seed`.
    ///
    /// # Errors
    /// [`FhirError::Data`] where what was kept cannot be read or written.
    pub fn new(seed: Snapshot, kept: Option<&Kept>, base: &FhirBase) -> Result<Self, FhirError> {
        let mut now = seed.clone();
        let log = match kept {
            None => None,
            Some(kept) => {
                let (log, edits) = Log::open(kept, base)?;
                edits.iter().for_each(|edit| now.apply(edit));
                Some((log, kept))
            }
        };
        let head = Arc::new(now);
        let now = Arc::new(ArcSwap::new(Arc::clone(&head)));
        let head = Arc::new(Mutex::new(head));
        let failed = |kept: &Kept, why: std::io::Error| FhirError::Data { file: kept.path.display().to_string(), why: why.to_string() };
        let keeper = log.map(|(log, kept)| Keeper::start(log, Arc::clone(&now), Arc::clone(&head)).map_err(|why| failed(kept, why))).transpose()?;
        Ok(Self { seed: Arc::new(seed), now, head, keeper })
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.now.load_full()
    }

    /// Decides over the current resources and changes them, alone: no other write comes in between. Nothing changes where `decide`
    /// refuses or asks for nothing. Returns when what was decided is kept and everybody sees it; the wait for the disk is shared with
    /// whoever writes at the same time, and holds up nobody else.
    ///
    /// # Errors
    /// What `decide` refuses with; `lost` where the change cannot be kept.
    pub async fn write<T, E>(&self, lost: impl FnOnce(std::io::Error) -> E, decide: impl FnOnce(&Snapshot) -> Result<(Option<Edit>, T), E>) -> Result<T, E> {
        let (answer, kept) = {
            let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
            let (edit, answer) = decide(&head)?;
            if let Some(edit) = &edit {
                *head = Arc::new(head.after(edit));
            }
            let kept = match (&self.keeper, edit) {
                (Some(keeper), Some(edit)) => Some(keeper.keep(log::line(&edit), Arc::clone(&head))),
                // Decided over what may not be kept yet: what is told of it must not be lost either.
                (Some(keeper), None) => Some(keeper.keep(Vec::new(), Arc::clone(&head))),
                (None, _) => {
                    self.now.store(Arc::clone(&head));
                    None
                }
            };
            (answer, kept)
        };
        match kept {
            Some(kept) => kept.wait().await.map(|()| answer).map_err(lost),
            None => Ok(answer),
        }
    }

    /// Back to the resources this server began with: the same ids and ETags every time. What was kept is forgotten.
    ///
    /// # Errors
    /// Where the file cannot be emptied.
    pub async fn reset(&self) -> std::io::Result<()> {
        let kept = {
            let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
            *head = Arc::clone(&self.seed);
            let kept = self.keeper.as_ref().map(|keeper| keeper.forget(Arc::clone(&head)));
            if kept.is_none() {
                self.now.store(Arc::clone(&head));
            }
            kept
        };
        match kept {
            Some(kept) => kept.wait().await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
