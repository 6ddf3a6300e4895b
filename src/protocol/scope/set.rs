//! A set of scopes, in the order they were asked for.

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize, Serializer};

use super::{ContextScope, Level, ResourceScope, Scope, ScopeError};

/// At most this many items are in a set, and so in a token. Apps ask for a few dozen; a server must not be kept busy with more.
const MOST_ITEMS: usize = 100;

/// At most this many characters are in a set: it travels inside access tokens, and those in headers of about 8 kB (SAL-070).
const MOST_BYTES: usize = 6 * 1024;

/// So many texts of sets are known with what they say: apps of one kind have the same, and grants, tokens and sessions are full of them.
const KNOWN: usize = 512;

/// A longer text is read each time.
const LONGEST_KNOWN: usize = 512;

/// What a request asks, a ceiling allows or a token gives: items in their order, none twice. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ScopeSet(Arc<Items>);

#[derive(Default)]
struct Items {
    all: Vec<Scope>,
    /// As it is written, once somebody wrote it.
    text: OnceLock<Box<str>>,
}

impl Items {
    fn text(&self) -> &str {
        self.text.get_or_init(|| self.all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ").into())
    }
}

impl Clone for Items {
    fn clone(&self) -> Self {
        Self { all: self.all.clone(), text: OnceLock::new() }
    }
}

impl PartialEq for Items {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for Items {}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopeSet").field(&self.0.all).finish()
    }
}

impl From<Vec<Scope>> for ScopeSet {
    fn from(all: Vec<Scope>) -> Self {
        Self(Arc::new(Items { all, text: OnceLock::new() }))
    }
}

impl ScopeSet {
    fn items(&self) -> &[Scope] {
        &self.0.all
    }

    /// To be changed; what it says is written anew then.
    fn change(&mut self) -> &mut Vec<Scope> {
        let items = Arc::make_mut(&mut self.0);
        items.text.take();
        &mut items.all
    }

    /// Parses a list in which every item must be understood: configuration, and the `scope` of a refresh.
    ///
    /// # Errors
    /// The first item that is no scope, or one too many, and why.
    pub fn parse(text: &str) -> Result<Self, (String, ScopeError)> {
        let mut room = Room::default();
        let mut all = Vec::new();
        for item in text.split_ascii_whitespace() {
            let scope = Scope::parse(item).map_err(|why| (item.to_owned(), why))?;
            if !all.contains(&scope) {
                room.take(item).ok_or_else(|| (item.to_owned(), ScopeError::TooMany))?;
                all.push(scope);
            }
        }
        Ok(all.into())
    }

    /// Parses a request: what is not understood, or is more than a token can carry, is dropped and the rest goes on.
    /// SAL-042, SAL-070, SAL-306; DESIGN §3, Scopes.
    pub fn parse_request(text: &str) -> Self {
        let mut room = Room::default();
        let mut all = Vec::new();
        for item in text.split(' ') {
            if room.is_full() {
                break;
            }
            if let Ok(scope) = Scope::parse(item)
                && !all.contains(&scope)
                && room.take(item).is_some()
            {
                all.push(scope);
            }
        }
        all.into()
    }

    /// As many of the items, from the first, as a token can carry. SAL-070.
    #[must_use]
    pub fn limited(&self) -> Self {
        let mut room = Room::default();
        let fit = self.iter().take_while(|scope| room.take(&scope.to_string()).is_some()).count();
        if fit == self.items().len() { self.clone() } else { self.iter().take(fit).cloned().collect::<Vec<_>>().into() }
    }

    pub fn is_empty(&self) -> bool {
        self.items().is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.items().iter()
    }

    pub fn resources(&self) -> impl Iterator<Item = &ResourceScope> {
        self.items().iter().filter_map(|scope| if let Scope::Resource(resource) = scope { Some(resource) } else { None })
    }

    pub fn contexts(&self) -> impl Iterator<Item = &ContextScope> {
        self.items().iter().filter_map(|scope| if let Scope::Context(context) = scope { Some(context) } else { None })
    }

    pub fn contains(&self, scope: &Scope) -> bool {
        self.items().contains(scope)
    }

    /// Whether `launch/<kind>` is asked for, whatever its role.
    pub fn asks_context(&self, kind: &str) -> bool {
        self.contexts().any(|context| &*context.kind == kind)
    }

    pub fn has_level(&self, level: Level) -> bool {
        self.resources().any(|scope| scope.level == level)
    }

    /// Whether an extension scope of this name is in the set.
    pub fn has_extension(&self, name: &str) -> bool {
        self.items().iter().any(|scope| matches!(scope, Scope::Extension(text) if &**text == name))
    }

    pub fn push(&mut self, scope: Scope) {
        if !self.contains(&scope) {
            self.change().push(scope);
        }
    }

    pub fn retain(&mut self, keep: impl FnMut(&Scope) -> bool) {
        self.change().retain(keep);
    }

    /// What both sets give: each item asked for, as far as the ceiling allows it. SAL §4.8 step 2.
    #[must_use]
    pub fn narrow(&self, ceiling: &Self) -> Self {
        let mut narrowed = Self::default();
        for asked in self.iter() {
            match asked {
                Scope::Resource(asked) => asked.narrow_by(ceiling).into_iter().for_each(|scope| narrowed.push(Scope::Resource(scope))),
                other => {
                    if ceiling.iter().any(|allowed| allowed.allows(other)) {
                        narrowed.push(other.clone());
                    }
                }
            }
        }
        narrowed
    }

    /// Whether every item of `asked` is given whole by this set. RFC 6749 §6: a refresh may ask for no more than was granted.
    pub fn covers(&self, asked: &Self) -> bool {
        asked.iter().all(|item| match item {
            Scope::Resource(scope) => scope.narrow_by(self).iter().any(|given| given == scope),
            other => self.items().iter().any(|allowed| allowed.allows(other)),
        })
    }
}

impl ResourceScope {
    /// The parts of this scope that some scope of the ceiling gives: this scope itself where they add up to it.
    fn narrow_by(&self, ceiling: &ScopeSet) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for part in ceiling.resources().filter_map(|allowed| self.narrow(allowed)) {
            if !parts.iter_mut().any(|known| known.join(&part)) {
                parts.push(part);
            }
        }
        if parts.iter().any(|part| part == self) {
            return vec![self.clone()];
        }
        // A part that another part covers says nothing new.
        let mut kept: Vec<Self> = Vec::new();
        for part in parts {
            if !kept.iter().any(|other| other.covers(&part)) {
                kept.retain(|other| !part.covers(other));
                kept.push(part);
            }
        }
        kept
    }
}

/// What still fits into a set that is being parsed.
#[derive(Default)]
struct Room {
    items: usize,
    bytes: usize,
}

impl Room {
    fn is_full(&self) -> bool {
        self.items >= MOST_ITEMS
    }

    fn take(&mut self, item: &str) -> Option<()> {
        let bytes = self.bytes + item.len() + 1;
        if self.is_full() || bytes > MOST_BYTES {
            return None;
        }
        (self.items, self.bytes) = (self.items + 1, bytes);
        Some(())
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(items: I) -> Self {
        let mut set = Self::default();
        items.into_iter().for_each(|scope| set.push(scope));
        set
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.text())
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.text())
    }
}

/// What we wrote ourselves is read whole, whatever the limits of today.
impl TryFrom<String> for ScopeSet {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        static SETS: LazyLock<Cache<String, ScopeSet>> = LazyLock::new(|| Cache::new(KNOWN));
        if let Some(known) = SETS.get(&text) {
            return Ok(known);
        }
        let set: Self = text.split_ascii_whitespace().map(|item| Scope::parse(item).map_err(|why| format!("`{item}`: {why}"))).collect::<Result<_, _>>()?;
        if text.len() <= LONGEST_KNOWN {
            SETS.insert(text, set.clone());
        }
        Ok(set)
    }
}

impl From<ScopeSet> for String {
    fn from(set: ScopeSet) -> String {
        set.to_string()
    }
}
