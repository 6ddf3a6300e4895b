//! One tree for both spellings of a registration: TOML, whose values know their line, and JSON, whose values do not.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Findings, Place};

/// A value and where it stands. No `Debug`: it may hold a secret.
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

pub(super) enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// Something no key takes: a float, a date, `null`.
    Other(&'static str),
}

impl Node {
    /// Reads TOML. A syntax error ends it: what follows one cannot be trusted to mean what it says.
    ///
    /// The parser's own rendering is not used: it quotes the line, and the line may hold a secret.
    pub fn from_toml(file: &str, text: &str, found: &mut Findings) -> Option<Self> {
        let root = Place::root(file);
        match DeTable::parse(text) {
            Ok(table) => Some(Self { value: Lines::of(text).table(table.get_ref(), &root), place: root }),
            Err(error) => {
                let (line, column) = position(text, error.span().map_or(0, |span| span.start));
                let place = Place { line: Some(line), ..root };
                found.refuse(&place, format!("column {column}  is not TOML: {}; nothing after it was checked", error.message()));
                None
            }
        }
    }

    /// The same tree as if it stood at `place`, all on its line.
    pub fn moved_to(self, place: &Place) -> Self {
        let value = match self.value {
            Value::List(items) => Value::List(items.into_iter().enumerate().map(|(i, item)| item.moved_to(&place.item(i))).collect()),
            Value::Table(pairs) => Value::Table(
                pairs
                    .into_iter()
                    .map(|(key, node)| {
                        let there = place.key(&key);
                        (key, node.moved_to(&there))
                    })
                    .collect(),
            ),
            value @ (Value::Text(_) | Value::Integer(_) | Value::Flag(_) | Value::Other(_)) => value,
        };
        Self { place: place.clone(), value }
    }

    pub fn from_json(value: &serde_json::Value) -> Self {
        json_node(value, Place::default())
    }

    /// Back to JSON, for a key set.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Flag(flag) => (*flag).into(),
            Value::List(items) => items.iter().map(Self::to_json).collect::<Vec<_>>().into(),
            Value::Table(pairs) => pairs.iter().map(|(key, node)| (key.clone(), node.to_json())).collect::<serde_json::Map<_, _>>().into(),
            Value::Other(_) => serde_json::Value::Null,
        }
    }

    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a number",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }

    /// Says that this is not `wanted`. The value itself is not shown: it may be a misplaced secret.
    pub fn refuse(&self, wanted: &str, found: &mut Findings) {
        found.refuse(&self.place, format!("is {}; must be {wanted}", self.kind()));
    }
}

/// Line and column, both from 1; the column counts characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Where each line of a text ends.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(offset, _)| offset).collect())
    }

    fn table(&self, table: &DeTable<'_>, place: &Place) -> Value {
        Value::Table(table.iter().map(|(key, value)| (key.get_ref().to_string(), self.node(value, place.key(key.get_ref())))).collect())
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, place: Place) -> Node {
        let start = value.span().start;
        let place = Place { line: Some(self.0.partition_point(|end| *end < start) + 1), ..place };
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).map_or(Value::Other("a number too large"), Value::Integer)
            }
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Float(_) => Value::Other("a number with decimals"),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(items.iter().enumerate().map(|(i, item)| self.node(item, place.item(i))).collect()),
            DeValue::Table(table) => self.table(table, &place),
        };
        Node { place, value }
    }
}

fn json_node(value: &serde_json::Value, place: Place) -> Node {
    use serde_json::Value as Json;
    let value = match value {
        Json::Null => Value::Other("null"),
        Json::Bool(flag) => Value::Flag(*flag),
        Json::Number(number) => number.as_i64().map_or(Value::Other("a number that is not whole"), Value::Integer),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().enumerate().map(|(i, item)| json_node(item, place.item(i))).collect()),
        Json::Object(pairs) => Value::Table(pairs.iter().map(|(key, value)| (key.clone(), json_node(value, place.key(key)))).collect()),
    };
    Node { place, value }
}
