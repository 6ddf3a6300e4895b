//! Resource scopes: level, type, letters, constraints.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::ScopeError;
use crate::protocol::r4;

/// Whose data. The levels are never mixed: a `user/` scope is no `patient/` scope with more reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    Patient,
    User,
    System,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// One resource type, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Any,
    Type(Arc<str>),
}

impl Target {
    /// What both name, if anything.
    pub fn and(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, one) | (one, Self::Any) => Some(one.clone()),
            (a, b) => (a == b).then(|| a.clone()),
        }
    }

    pub fn includes(&self, kind: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Type(name) => &**name == kind,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Type(name) => f.write_str(name),
        }
    }
}

/// What a scope lets an app do: a non-empty, in-order subset of `cruds` (SMART 2.2 scopes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interactions(u8);

impl Interactions {
    pub const CREATE: Self = Self(1);
    pub const READ: Self = Self(2);
    pub const UPDATE: Self = Self(4);
    pub const DELETE: Self = Self(8);
    pub const SEARCH: Self = Self(16);
    /// v1 `.read`. SAL §4.2.
    const V1_READ: Self = Self(2 | 16);
    /// v1 `.write`.
    const V1_WRITE: Self = Self(1 | 4 | 8);
    const ALL: Self = Self(31);

    /// # Errors
    /// [`ScopeError::Interactions`] for no letters, unknown letters, a repeated letter or a wrong order.
    pub fn parse(letters: &str) -> Result<Self, ScopeError> {
        let mut order = "cruds".chars().enumerate();
        let mut bits = 0;
        for letter in letters.chars() {
            // `find` only moves forward, so order and uniqueness come for free.
            let (place, _) = order.find(|&(_, c)| c == letter).ok_or(ScopeError::Interactions)?;
            bits |= 1 << place;
        }
        if bits == 0 { Err(ScopeError::Interactions) } else { Ok(Self(bits)) }
    }

    pub fn and(self, other: Self) -> Option<Self> {
        let both = self.0 & other.0;
        (both != 0).then_some(Self(both))
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn includes(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for Interactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, letter) in "cruds".chars().enumerate() {
            if self.0 & (1 << place) != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Interactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `category=laboratory`: one FHIR search parameter with its value, percent-decoded. A comma in the value means "or".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Constraint {
    pub name: Arc<str>,
    pub value: Arc<str>,
}

impl Constraint {
    fn parse(text: &str) -> Result<Self, ScopeError> {
        let (name, value) = text.split_once('=').ok_or(ScopeError::Constraint)?;
        let decoded = |part: &str| percent_decode_str(part).decode_utf8().map(|text| text.into_owned()).map_err(|_| ScopeError::Constraint);
        let (name, value) = (decoded(name)?, decoded(value)?);
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'.'));
        if plain && !value.is_empty() { Ok(Self { name: name.into(), value: value.into() }) } else { Err(ScopeError::Constraint) }
    }
}

/// What a scope token cannot hold, and what would end a constraint. RFC 6749 §3.3.
const IN_CONSTRAINT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\').add(b'%').add(b'&').add(b'+').add(b'#');

/// How the client wrote it: a v1 request is answered in v1, where v1 can say it. SAL-043.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    V1,
    V2,
}

/// `patient/Observation.rs?category=laboratory`. Two are equal when they give the same access, however they are written.
#[derive(Clone, Debug)]
pub struct ResourceScope {
    pub level: Level,
    pub target: Target,
    pub may: Interactions,
    /// All must hold, as repeated parameters do in a FHIR search.
    pub only: BTreeSet<Constraint>,
    pub spelling: Spelling,
    /// What the client wrote, for as long as this still says it.
    written: Option<Arc<str>>,
}

impl PartialEq for ResourceScope {
    fn eq(&self, other: &Self) -> bool {
        self.level == other.level && self.target == other.target && self.may == other.may && self.only == other.only
    }
}
impl Eq for ResourceScope {}

impl ResourceScope {
    pub(super) fn parse(text: &str) -> Result<Self, ScopeError> {
        let (level, rest) = text.split_once('/').ok_or(ScopeError::Level)?;
        let level = match level {
            "patient" => Level::Patient,
            "user" => Level::User,
            "system" => Level::System,
            _ => return Err(ScopeError::Level),
        };
        let (kind, rest) = rest.split_once('.').ok_or(ScopeError::Interactions)?;
        let target = match kind {
            "*" => Target::Any,
            kind if r4::is_resource_type(kind) => Target::Type(kind.into()),
            _ => return Err(ScopeError::ResourceType),
        };
        let (letters, query) = match rest.split_once('?') {
            None => (rest, None),
            Some((letters, query)) => (letters, Some(query)),
        };
        // Whole words first: `.read` is not the letters r, e, a, d. SAL §4.2
        let (may, spelling) = match letters {
            "read" => (Interactions::V1_READ, Spelling::V1),
            "write" => (Interactions::V1_WRITE, Spelling::V1),
            "*" => (Interactions::ALL, Spelling::V1),
            letters => (Interactions::parse(letters)?, Spelling::V2),
        };
        let only = match (query, spelling) {
            (None, _) => BTreeSet::new(),
            (Some(_), Spelling::V1) => return Err(ScopeError::Constraint),
            (Some(query), Spelling::V2) => query.split('&').map(Constraint::parse).collect::<Result<_, _>>()?,
        };
        Ok(Self { level, target, may, only, spelling, written: Some(text.into()) })
    }

    /// A scope of our own making, in v2 spelling.
    pub fn new(level: Level, target: Target, may: Interactions) -> Self {
        Self { level, target, may, only: BTreeSet::new(), spelling: Spelling::V2, written: None }
    }

    /// Whether this scope gives everything the other gives.
    pub fn covers(&self, other: &Self) -> bool {
        let target = matches!(self.target, Target::Any) || self.target == other.target;
        self.level == other.level && target && self.may.includes(other.may) && self.only.is_subset(&other.only)
    }

    /// The access both scopes give, if any. Sound, never clever: when unsure, less.
    pub fn narrow(&self, ceiling: &Self) -> Option<Self> {
        if self.level != ceiling.level {
            return None;
        }
        let narrowed = Self {
            level: self.level,
            target: self.target.and(&ceiling.target)?,
            may: self.may.and(ceiling.may)?,
            only: &self.only | &ceiling.only,
            spelling: self.spelling,
            written: None,
        };
        Some(if narrowed == *self { self.clone() } else { narrowed })
    }

    /// Adds the letters of a scope that says the same otherwise.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        let same = self.level == other.level && self.target == other.target && self.only == other.only;
        if same && !self.may.includes(other.may) {
            self.may = self.may.or(other.may);
            self.written = None;
        }
        same
    }
}

impl fmt::Display for ResourceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.written {
            return f.write_str(text);
        }
        write!(f, "{}/{}.", self.level.as_str(), self.target)?;
        let v1 = match self.may {
            _ if self.spelling == Spelling::V2 || !self.only.is_empty() => None,
            Interactions::V1_READ => Some("read"),
            Interactions::V1_WRITE => Some("write"),
            Interactions::ALL => Some("*"),
            _ => None,
        };
        match v1 {
            Some(word) => f.write_str(word)?,
            None => write!(f, "{}", self.may)?,
        }
        for (place, constraint) in self.only.iter().enumerate() {
            f.write_str(if place == 0 { "?" } else { "&" })?;
            write!(f, "{}={}", utf8_percent_encode(&constraint.name, IN_CONSTRAINT), utf8_percent_encode(&constraint.value, IN_CONSTRAINT))?;
        }
        Ok(())
    }
}
