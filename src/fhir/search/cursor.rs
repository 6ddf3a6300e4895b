//! Pages. The matches of a search are fixed when the first page is made, so that pages neither repeat nor skip when something is written
//! in between; what the caller may see is decided again on every page. fhir-server.md §6.

use std::sync::Arc;
use std::time::Duration;

use super::Shape;
use crate::random::Random;
use crate::secret::Digest;
use crate::time::UnixTime;

/// How long a page link works.
const LIFETIME: Duration = Duration::from_secs(600);
/// How many searches are remembered at once.
const REMEMBERED: usize = 2000;

/// The matches of one search.
#[derive(Debug)]
pub struct Matches {
    pub kind: &'static str,
    pub ids: Vec<Arc<str>>,
    pub page_size: usize,
    pub total: bool,
    pub shape: Shape,
}

#[derive(Debug)]
struct Held {
    /// Who may turn the page: client, user and patient of the token that searched.
    owner: Digest,
    until: UnixTime,
    matches: Arc<Matches>,
}

/// The searches whose pages can still be turned.
pub struct Cursors {
    held: quick_cache::sync::Cache<String, Arc<Held>>,
}

impl Default for Cursors {
    fn default() -> Self {
        Self { held: quick_cache::sync::Cache::new(REMEMBERED) }
    }
}

impl Cursors {
    /// Remembers a search; the text stands for it in a link and says nothing about it.
    pub fn keep(&self, matches: Arc<Matches>, owner: Digest, now: UnixTime, random: &dyn Random) -> String {
        let name = random.id();
        self.held.insert(name.clone(), Arc::new(Held { owner, until: now + LIFETIME, matches }));
        name
    }

    /// The search behind `name.offset` and the offset. `None` where there is none, any longer or for this owner: which, is not told.
    pub fn open(&self, cursor: &str, kind: &str, owner: Digest, now: UnixTime) -> Option<(String, usize, Arc<Matches>)> {
        let (name, offset) = cursor.split_once('.')?;
        let offset = offset.parse().ok()?;
        let held = self.held.get(name)?;
        (held.owner == owner && now < held.until && held.matches.kind == kind).then(|| (name.to_owned(), offset, Arc::clone(&held.matches)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn a_cursor_is_its_owners_for_ten_minutes() {
        let cursors = Cursors::default();
        let owner = Digest::of(b"app, patient 1");
        let now = UnixTime(1000);
        let name = cursors.keep(
            Arc::new(Matches { kind: "Condition", ids: vec![], page_size: 1, total: true, shape: Shape::default() }),
            owner,
            now,
            &SeededRandom::new(1),
        );
        let open = |cursor: &str, kind, owner, now| cursors.open(cursor, kind, owner, now).map(|(_, offset, _)| offset);
        assert_eq!(open(&format!("{name}.30"), "Condition", owner, UnixTime(1599)), Some(30));
        for (cursor, kind, who, at) in [
            (format!("{name}.30"), "Condition", owner, 1600),
            (format!("{name}.30"), "Condition", Digest::of(b"app, patient 2"), 1000),
            (format!("{name}.30"), "Encounter", owner, 1000),
            (format!("{name}.x"), "Condition", owner, 1000),
            (name.clone(), "Condition", owner, 1000),
            ("0.0".to_owned(), "Condition", owner, 1000),
        ] {
            assert_eq!(open(&cursor, kind, who, UnixTime(at)), None, "{cursor} {kind} {at}");
        }
    }
}
