//! Everything that is remembered between two requests, and for how long. What opens something is remembered by its digest only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::authorize::Visit;
use super::par::Pushed;
use super::session::{Family, IssuedCode, RefreshToken, Session};
use crate::secret::Digest;
use crate::time::UnixTime;

/// How many of each are remembered; beyond that the oldest goes.
const MOST: usize = 10_000;
/// Marks are small, and a burst of clients makes many.
const MOST_MARKS: usize = 200_000;

/// The memory of one mock.
pub struct Kept {
    /// By `request_uri`.
    pub pushed: Shelf<Pushed>,
    /// Logins that have begun, by the digest of their name.
    pub visits: Shelf<Visit>,
    /// By the digest of the cookie.
    pub sessions: Shelf<Session>,
    /// By the digest of the code.
    pub codes: Shelf<IssuedCode>,
    /// By a name of their own: what stands behind a row of refresh tokens.
    pub families: Shelf<Family>,
    /// By the digest of the token.
    pub refresh: Shelf<RefreshToken>,
    /// Sessions that have ended, by `sid`: their access tokens still look good.
    pub ended: Shelf<()>,
    /// What must not be seen twice: [`Kept::is_new`].
    marks: Shelf<()>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            pushed: Shelf::with_room(MOST),
            visits: Shelf::with_room(MOST),
            sessions: Shelf::with_room(MOST),
            codes: Shelf::with_room(MOST),
            families: Shelf::with_room(MOST),
            refresh: Shelf::with_room(MOST),
            ended: Shelf::with_room(MOST),
            marks: Shelf::with_room(MOST_MARKS),
        }
    }
}

impl Kept {
    pub fn clear(&self) {
        self.pushed.clear();
        self.visits.clear();
        self.sessions.clear();
        self.codes.clear();
        self.families.clear();
        self.refresh.clear();
        self.ended.clear();
        self.marks.clear();
    }

    /// Lets these parts be new again.
    pub fn forget(&self, parts: &[&str]) {
        self.marks.forget(&mark(parts));
    }

    /// True the first time these parts are seen together (a `jti` and whose it is, say); false until `until`, afterwards true again.
    pub fn is_new(&self, parts: &[&str], until: UnixTime, now: UnixTime) -> bool {
        self.marks.put_new(&mark(parts), (), until, now)
    }
}

fn mark(parts: &[&str]) -> String {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    Digest::of_parts(&parts).text()
}

/// Values by name, each with its end; bounded.
pub struct Shelf<V> {
    room: usize,
    kept: Mutex<Inner<V>>,
}

struct Inner<V> {
    values: HashMap<String, (UnixTime, V)>,
    /// Names by age; some may be gone already.
    order: VecDeque<String>,
}

impl<V: Clone> Shelf<V> {
    pub fn with_room(room: usize) -> Self {
        Self { room, kept: Mutex::new(Inner { values: HashMap::new(), order: VecDeque::new() }) }
    }

    pub fn put(&self, name: &str, value: V, until: UnixTime) {
        self.lock().put(self.room, name, value, until);
    }

    /// Puts it unless there is a live one of this name; tells whether it did.
    pub fn put_new(&self, name: &str, value: V, until: UnixTime, now: UnixTime) -> bool {
        let mut inner = self.lock();
        if inner.values.get(name).is_some_and(|(until, _)| now < *until) {
            return false;
        }
        inner.put(self.room, name, value, until);
        true
    }

    pub fn get(&self, name: &str, now: UnixTime) -> Option<V> {
        self.lock().values.get(name).filter(|(until, _)| now < *until).map(|(_, value)| value.clone())
    }

    pub fn forget(&self, name: &str) {
        self.lock().values.remove(name);
    }

    /// The value, which is gone then.
    pub fn take(&self, name: &str, now: UnixTime) -> Option<V> {
        self.lock().values.remove(name).filter(|(until, _)| now < *until).map(|(_, value)| value)
    }

    /// Looks at a live value and changes it while nobody else can.
    pub fn change<R>(&self, name: &str, now: UnixTime, change: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.lock().values.get_mut(name).filter(|(until, _)| now < *until).map(|(_, value)| change(value))
    }

    /// Forgets those the test does not want, and gives them.
    pub fn drain_if(&self, mut gone: impl FnMut(&V) -> bool) -> Vec<V> {
        let mut inner = self.lock();
        let names: Vec<String> = inner.values.iter().filter(|(_, (_, value))| gone(value)).map(|(name, _)| name.clone()).collect();
        names.iter().filter_map(|name| inner.values.remove(name)).map(|(_, value)| value).collect()
    }

    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.values.clear();
        inner.order.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<V>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Inner<V> {
    fn put(&mut self, room: usize, name: &str, value: V, until: UnixTime) {
        if self.values.insert(name.to_owned(), (until, value)).is_none() {
            self.order.push_back(name.to_owned());
        }
        while self.values.len() > room || self.order.len() > room.saturating_mul(2) {
            match self.order.pop_front() {
                Some(oldest) if oldest != name => drop(self.values.remove(&oldest)),
                Some(itself) => self.order.push_back(itself),
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1000);

    #[test]
    fn a_value_lives_until_its_end() {
        let shelf = Shelf::with_room(10);
        shelf.put("a", 1, UnixTime(1010));
        assert_eq!((shelf.get("a", UnixTime(1009)), shelf.get("a", UnixTime(1010))), (Some(1), None));
        assert_eq!(shelf.change("a", NOW, |value| std::mem::replace(value, 2)), Some(1));
        assert_eq!((shelf.take("a", NOW), shelf.take("a", NOW)), (Some(2), None));
    }

    #[test]
    fn the_oldest_give_way_and_memory_is_bounded() {
        let shelf = Shelf::with_room(3);
        for n in 0..100 {
            shelf.put(&format!("n{n}"), n, UnixTime(2000));
            // Taken at once or replaced: neither may leave names behind for ever.
            shelf.put("again", n, UnixTime(2000));
            shelf.put(&format!("t{n}"), n, UnixTime(2000));
            shelf.take(&format!("t{n}"), NOW);
        }
        let inner = shelf.lock();
        assert!(inner.values.len() <= 3 && inner.order.len() <= 7, "{} {}", inner.values.len(), inner.order.len());
        assert!(inner.values.contains_key("n99"));
    }

    #[test]
    fn what_was_seen_is_new_again_after_its_end() {
        let kept = Kept::default();
        assert!(kept.is_new(&["assertion", "client", "j1"], UnixTime(1060), NOW));
        assert!(!kept.is_new(&["assertion", "client", "j1"], UnixTime(1060), UnixTime(1059)));
        assert!(kept.is_new(&["assertion", "clientj", "1"], UnixTime(1060), NOW));
        assert!(kept.is_new(&["assertion", "client", "j1"], UnixTime(1100), UnixTime(1060)));
    }
}
