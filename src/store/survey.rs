//! Walking through everything a store has, and counting it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::records::AnyRecord;
use super::{Backend, Key, Kind, Listed, OWN_SPACE, Record, Space, StoreError, all_or_nothing};
use crate::time::UnixTime;

/// How many records are read at a time: a page of the file is then read beside the requests, not in their way.
const PAGE: usize = 256;

/// The kinds that are about the issuers. The store's own marks are not among them.
pub fn kinds() -> impl Iterator<Item = Kind> {
    AnyRecord::FORMATS.iter().map(|(kind, _)| *kind).filter(|kind| *kind != Kind::Mark)
}

/// The spaces of a store: all it has where it can tell, and those that are `known`.
///
/// # Errors
/// When the store cannot answer.
pub async fn spaces(backend: &dyn Backend, known: &[Space]) -> Result<Vec<Space>, StoreError> {
    let mut spaces = backend.spaces().await?.unwrap_or_default();
    spaces.extend(known.iter().cloned());
    spaces.retain(|space| **space != *OWN_SPACE);
    spaces.sort_unstable();
    spaces.dedup();
    Ok(spaces)
}

/// A walk through every record of some spaces, page by page: by space, then kind, then id.
pub struct Walk<'b> {
    backend: &'b dyn Backend,
    places: std::vec::IntoIter<(Space, Kind)>,
    at: Option<(Space, Kind, Option<Key>)>,
}

impl<'b> Walk<'b> {
    pub fn new(backend: &'b dyn Backend, spaces: &[Space]) -> Self {
        let places: Vec<(Space, Kind)> = spaces.iter().flat_map(|space| kinds().map(|kind| (space.clone(), kind))).collect();
        Self { backend, places: places.into_iter(), at: None }
    }

    /// The next records, expired ones too; nothing once there are no more.
    ///
    /// # Errors
    /// When the store cannot answer, or one of them cannot be read.
    pub async fn next(&mut self) -> Result<Vec<(Key, Record)>, StoreError> {
        self.next_each().await?.into_iter().map(all_or_nothing).collect()
    }

    /// The same, with what is wrong in the place of a record that cannot be read.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn next_each(&mut self) -> Result<Listed, StoreError> {
        loop {
            let (space, kind, after) = match self.at.take() {
                Some(at) => at,
                None => match self.places.next() {
                    Some((space, kind)) => (space, kind, None),
                    None => return Ok(Vec::new()),
                },
            };
            let page = self.backend.list_each(&space, kind, after.as_ref().map(|key| &*key.id), PAGE).await?;
            if page.len() == PAGE {
                self.at = Some((space, kind, page.last().map(|(key, _)| key.clone())));
            }
            if !page.is_empty() {
                return Ok(page);
            }
        }
    }
}

/// What there is of one kind in one space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counted {
    pub records: u64,
    /// Of which have expired and are not swept yet.
    pub expired: u64,
    /// Of what the records say, without keys and indexes.
    pub bytes: u64,
    /// The first and the last moment one of them expires; seconds.
    pub first_expiry: Option<UnixTime>,
    pub last_expiry: Option<UnixTime>,
}

impl Counted {
    fn add(&mut self, record: &Record, now: UnixTime) {
        self.records += 1;
        self.expired += u64::from(record.is_expired(now));
        self.bytes += record.bytes.len() as u64;
        if let Some(at) = record.expires_at {
            self.first_expiry = Some(self.first_expiry.map_or(at, |first| first.min(at)));
            self.last_expiry = Some(self.last_expiry.map_or(at, |last| last.max(at)));
        }
    }
}

/// Counts everything, by space and kind. Reads all of it.
///
/// # Errors
/// When the store cannot answer.
pub async fn count(backend: &dyn Backend, known: &[Space], now: UnixTime) -> Result<BTreeMap<(Space, Kind), Counted>, StoreError> {
    let mut walk = Walk::new(backend, &spaces(backend, known).await?);
    let mut counted: BTreeMap<(Space, Kind), Counted> = BTreeMap::new();
    loop {
        let page = walk.next().await?;
        if page.is_empty() {
            return Ok(counted);
        }
        for (key, record) in page {
            counted.entry((key.space, key.kind)).or_default().add(&record, now);
        }
    }
}
