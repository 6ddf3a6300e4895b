//! From the tree to the raw structs: each knows its keys, refuses others, and notes every value of the wrong kind.

use std::time::Duration;

use super::node::{Node, Value};
use super::problem::{Findings, Place, nearest};
use crate::secret::Secret;

/// What a key says, and where: absent keys know where they would stand.
pub enum Field<T> {
    Absent(Place),
    /// Something of the wrong kind, already reported.
    Wrong(Place),
    Given(T, Place),
}

impl<T> Field<T> {
    pub fn place(&self) -> &Place {
        match self {
            Self::Absent(place) | Self::Wrong(place) | Self::Given(_, place) => place,
        }
    }

    pub fn get(&self) -> Option<&T> {
        if let Self::Given(value, _) = self { Some(value) } else { None }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent(_))
    }

    /// This field, or what `other` says where this one is absent: explicit keys override a preset.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.is_absent() && !other.is_absent() { other } else { self }
    }

    pub(super) fn read(table: &Node, key: &str, found: &mut Findings) -> Self
    where
        T: Read,
    {
        let Value::Table(pairs) = &table.value else { return Self::Absent(table.place.key(key)) };
        let Some((_, node)) = pairs.iter().find(|(name, _)| name == key) else { return Self::Absent(table.place.key(key)) };
        match T::read(node, found) {
            Some(value) => Self::Given(value, node.place.clone()),
            None => Self::Wrong(node.place.clone()),
        }
    }
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self::Absent(Place::default())
    }
}

/// An item of a list, and where it stands.
pub struct Placed<T> {
    pub value: T,
    pub place: Place,
}

/// A value one or several keys take.
pub(super) trait Read: Sized {
    /// `None` once the problem is noted.
    fn read(node: &Node, found: &mut Findings) -> Option<Self>;
}

impl Read for String {
    fn read(node: &Node, found: &mut Findings) -> Option<Self> {
        if let Value::Text(text) = &node.value {
            return Some(text.clone());
        }
        node.refuse("a text in quotes", found);
        None
    }
}

impl Read for bool {
    fn read(node: &Node, found: &mut Findings) -> Option<Self> {
        if let Value::Flag(flag) = node.value {
            return Some(flag);
        }
        node.refuse("true or false, without quotes", found);
        None
    }
}

impl Read for i64 {
    fn read(node: &Node, found: &mut Findings) -> Option<Self> {
        if let Value::Integer(number) = node.value {
            return Some(number);
        }
        node.refuse("a whole number, without quotes", found);
        None
    }
}

impl Read for Duration {
    fn read(node: &Node, found: &mut Findings) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            let example = if let Value::Integer(n) = node.value { format!("such as \"{n}s\"") } else { "such as \"60s\"".to_owned() };
            node.refuse(&format!("a number and a unit (s, m, h or d) in quotes, {example}"), found);
            return None;
        };
        let parsed = parse_duration(text);
        if parsed.is_none() {
            found.refuse_value(&node.place, text, "must be a whole number and a unit (s, m, h or d); write \"60s\", \"10m\", \"12h\" or \"90d\"");
        }
        parsed
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let unit = match text.get(number.len()..)? {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let seconds = digits.then(|| number.parse::<u64>().ok()).flatten()?.checked_mul(unit)?;
    // What fits a NumericDate with room to add to it.
    (seconds <= u64::from(u32::MAX)).then(|| Duration::from_secs(seconds))
}

/// A duration as the configuration writes it, in the largest unit that fits.
pub(super) fn print_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, name) in [(24 * 60 * 60, "d"), (60 * 60, "h"), (60, "m")] {
        if seconds > 0 && seconds.is_multiple_of(unit) && (unit != 60 || seconds >= 2 * 60) && (unit != 24 * 60 * 60 || seconds >= 2 * unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

impl<T: Read> Read for Vec<Placed<T>> {
    fn read(node: &Node, found: &mut Findings) -> Option<Self> {
        let Value::List(items) = &node.value else {
            // `[client]` for `[[client]]`, and a single text for a list of them, are the usual slips.
            let wanted = if matches!(node.value, Value::Table(_)) {
                format!("a list of tables; write [[{}]]", node.place.table())
            } else {
                "a list in square brackets, such as [\"…\"]".to_owned()
            };
            node.refuse(&wanted, found);
            return None;
        };
        Some(items.iter().filter_map(|item| T::read(item, found).map(|value| Placed { value, place: item.place.clone() })).collect())
    }
}

/// `"RS384"` or `["RS384", "ES384"]`: RFC 7591 §2 has one where we allow several.
pub struct OneOrMany(pub Vec<Placed<String>>);

impl Read for OneOrMany {
    fn read(node: &Node, found: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Self(vec![Placed { value: text.clone(), place: node.place.clone() }])),
            _ => Vec::read(node, found).map(Self),
        }
    }
}

/// A JSON document inside the configuration: a key set.
pub struct Json(pub serde_json::Value);

impl Read for Json {
    fn read(node: &Node, found: &mut Findings) -> Option<Self> {
        if matches!(node.value, Value::Table(_)) {
            return Some(Self(node.to_json()));
        }
        node.refuse("a key set, such as { keys = [ … ] }", found);
        None
    }
}

/// A secret, or where to get it.
pub enum RawSecret {
    Inline(Secret<String>),
    File(String),
    Env(String),
}

impl Read for RawSecret {
    fn read(node: &Node, found: &mut Findings) -> Option<Self> {
        let wanted = "{ file = \"…\" } or { env = \"…\" }";
        match &node.value {
            Value::Text(text) => return Some(Self::Inline(Secret::new(text.clone()))),
            Value::Table(pairs) => match pairs.as_slice() {
                [(key, from)] if key == "file" => return String::read(from, found).map(Self::File),
                [(key, from)] if key == "env" => return String::read(from, found).map(Self::Env),
                _ => found.refuse(&node.place, format!("must be exactly one of {wanted}")),
            },
            _ => node.refuse(wanted, found),
        }
        None
    }
}

/// Names from elsewhere for keys we call differently.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("token_endpoint_auth_method", "auth"),
    ("auth_method", "auth"),
    ("client_name", "name"),
    ("id", "client_id"),
    ("secret", "client_secret"),
    ("issuer", "url"),
    ("url", "base"),
    ("fhir_base", "base"),
    ("access_token_ttl", "access_ttl"),
    ("refresh_token_ttl", "refresh_ttl"),
];

/// Notes every key of a table that is none of `known`.
pub(super) fn refuse_unknown(table: &Node, known: &[&'static str], found: &mut Findings) {
    let Value::Table(pairs) = &table.value else { return };
    for (key, node) in pairs.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
        let meant = nearest(key, known).or_else(|| OTHER_NAMES.iter().find(|(other, ours)| other == key && known.contains(ours)).map(|(_, ours)| *ours));
        let text = match meant {
            Some(word) => format!("is not a key here; did you mean `{word}`?"),
            None => format!("is not a key here; there are: {}", known.join(", ")),
        };
        let place = if may_be_said(key) { node.place.clone() } else { Place { line: node.place.line, ..table.place.key("…") } };
        found.refuse(&place, text);
    }
}

/// Whether a key nobody knows may be shown: what is longer than any key there is, or has a number in it, may be a secret in the wrong place.
fn may_be_said(key: &str) -> bool {
    key.len() <= 40 && key.bytes().filter(u8::is_ascii_digit).count() < 7
}

/// A table that may lie over another one.
pub(super) trait Layer {
    /// What this table says, key by key, else what the one below says.
    #[must_use]
    fn or(self, below: Self) -> Self;
}

/// Declares a struct that mirrors a table: its keys are its fields, all optional, others refused.
macro_rules! raw_table {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $name { $(pub $field: Field<$kind>),* }

        impl $name {
            /// Every key of this table.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl $crate::config::read::Layer for $name {
            fn or(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field)),* }
            }
        }

        impl $crate::config::read::Read for $name {
            fn read(node: &$crate::config::node::Node, found: &mut $crate::config::problem::Findings) -> Option<Self> {
                if !matches!(node.value, $crate::config::node::Value::Table(_)) {
                    node.refuse("a table", found);
                    return None;
                }
                $crate::config::read::refuse_unknown(node, Self::KEYS, found);
                Some(Self { $($field: Field::read(node, stringify!($field), found)),* })
            }
        }
    };
}
pub(super) use raw_table;
