//! One search parameter with its values, and whether a resource meets it. Searches and the constraints of granular scopes both go
//! through here, so that they cannot disagree. <https://hl7.org/fhir/R4/search.html>

use serde_json::Value;

use super::date::{Interval, Wanted};
use super::text::{fold, split, texts, unescape};
use crate::fhir::resource::{Key, values};
use crate::fhir::table::{Kind, Param, TypeRow};
use crate::protocol::ids::FhirBase;
use crate::time::UnixTime;

/// What reading a parameter needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    pub row: &'static TypeRow,
    pub base: &'a FhirBase,
    pub now: UnixTime,
}

/// Why a parameter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    #[error("this type has no such search parameter")]
    Unknown,
    #[error("the modifier is not supported for this parameter")]
    Modifier,
    #[error("the value cannot be read as {0}")]
    Value(&'static str),
    #[error("chained search is not supported")]
    Chain,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Missing(bool),
    /// No value is one of these.
    Not(Vec<TokenValue>),
    Token(Vec<TokenValue>),
    Reference(Vec<ReferenceValue>),
    Date(Vec<Wanted>),
    StartsWith(Vec<String>),
    Contains(Vec<String>),
    Exact(Vec<String>),
    Uri(Vec<String>),
    Canonical(Vec<String>),
}

/// A parameter with its values: the values are alternatives, several filters must all hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub param: &'static Param,
    base: FhirBase,
    test: Test,
}

impl Filter {
    /// Reads `name[:modifier]=value`. `None` where the value is empty, which asks for nothing.
    ///
    /// # Errors
    /// [`ParamError`] for what this server cannot evaluate: nothing is guessed, because guessing widens the result.
    pub fn read(on: Reading<'_>, name: &str, value: &str) -> Result<Option<Self>, ParamError> {
        let (name, modifier) = match name.split_once(':') {
            None => (name, None),
            Some((name, modifier)) => (name, Some(modifier)),
        };
        let Some(param) = on.row.param(name) else {
            let chained = name.split_once('.').is_some_and(|(first, _)| on.row.param(first).is_some());
            return Err(if chained { ParamError::Chain } else { ParamError::Unknown });
        };
        if modifier.is_some_and(|m| m.contains('.')) {
            return Err(ParamError::Chain);
        }
        if value.is_empty() {
            return Ok(None);
        }
        let parts: Vec<&str> = split(value, ',').into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err(ParamError::Value("a list of values"));
        }
        let tokens = || parts.iter().map(|part| TokenValue::parse(part)).collect::<Vec<_>>();
        let plain = || parts.iter().map(|part| unescape(part)).collect::<Vec<_>>();
        let test = match (param.kind, modifier) {
            (_, Some("missing")) => Test::Missing(match value {
                "true" => true,
                "false" => false,
                _ => return Err(ParamError::Value("true or false")),
            }),
            (Kind::Token, None) => Test::Token(tokens()),
            (Kind::Token, Some("not")) => Test::Not(tokens()),
            (Kind::Reference(targets), kind) => {
                let kind = match kind {
                    None => None,
                    Some(name) => Some(TypeRow::named(name).filter(|row| targets.is_empty() || targets.contains(&row.name)).ok_or(ParamError::Modifier)?.name),
                };
                let wanted = parts.iter().map(|part| ReferenceValue::parse(on.base, kind, &unescape(part)));
                Test::Reference(wanted.collect::<Option<_>>().ok_or(ParamError::Value("a reference"))?)
            }
            (Kind::Date, None) => Test::Date(parts.iter().map(|part| Wanted::parse(part, on.now)).collect::<Option<_>>().ok_or(ParamError::Value("a date"))?),
            (Kind::String, None) => Test::StartsWith(plain().iter().map(|text| fold(text)).collect()),
            (Kind::String, Some("contains")) => Test::Contains(plain().iter().map(|text| fold(text)).collect()),
            (Kind::String, Some("exact")) => Test::Exact(plain()),
            (Kind::Uri, None) => Test::Uri(plain()),
            (Kind::Canonical, None) => Test::Canonical(plain()),
            (Kind::Token | Kind::Date | Kind::String | Kind::Uri | Kind::Canonical, Some(_)) => return Err(ParamError::Modifier),
        };
        Ok(Some(Self { param, base: on.base.clone(), test }))
    }

    /// Reads a constraint of a granular scope. Modifiers and chains are experimental there and refused (fhir-server.md §14).
    ///
    /// # Errors
    /// [`ParamError`] for what cannot be evaluated: such a scope must grant nothing.
    pub fn read_constraint(on: Reading<'_>, name: &str, value: &str) -> Result<Self, ParamError> {
        if name.contains(':') {
            return Err(ParamError::Modifier);
        }
        Self::read(on, name, value)?.ok_or(ParamError::Value("a value"))
    }

    /// Whether the resource meets this parameter.
    pub fn matches(&self, body: &Value) -> bool {
        let mut found = values(body, self.param.paths);
        if let Kind::Reference(targets) = self.param.kind
            && !targets.is_empty()
        {
            // `patient` is `subject` restricted to Patient: a reference to anything else is not a value of it.
            found.retain(|value| reference_of(value).and_then(|text| Key::of_reference(&self.base, text)).is_none_or(|key| targets.contains(&key.kind)));
        }
        match &self.test {
            Test::Missing(missing) => found.is_empty() == *missing,
            Test::Not(unwanted) => !found.iter().any(|value| unwanted.iter().any(|token| token.matches(value))),
            Test::Token(wanted) => found.iter().any(|value| wanted.iter().any(|token| token.matches(value))),
            Test::Reference(wanted) => {
                let keys: Vec<_> = found.iter().filter_map(|value| reference_of(value)).map(|text| (text, Key::of_reference(&self.base, text))).collect();
                keys.iter().any(|(text, key)| wanted.iter().any(|reference| reference.matches(text, key.as_ref())))
            }
            Test::Date(wanted) => found.iter().filter_map(|value| Interval::of_element(value)).any(|at| wanted.iter().any(|date| date.matches(at))),
            Test::StartsWith(wanted) => folded(&found).iter().any(|text| wanted.iter().any(|start| text.starts_with(start))),
            Test::Contains(wanted) => folded(&found).iter().any(|text| wanted.iter().any(|part| text.contains(part.as_str()))),
            Test::Exact(wanted) => found.iter().flat_map(|value| texts(value)).any(|text| wanted.iter().any(|exact| exact == text)),
            Test::Uri(wanted) => found.iter().filter_map(|value| value.as_str()).any(|text| wanted.iter().any(|uri| uri == text)),
            Test::Canonical(wanted) => found.iter().filter_map(|value| value.as_str()).any(|text| {
                let bare = text.split_once('|').map_or(text, |(url, _)| url);
                wanted.iter().any(|uri| uri == text || uri == bare)
            }),
        }
    }
}

fn folded(found: &[&Value]) -> Vec<String> {
    found.iter().flat_map(|value| texts(value)).map(fold).collect()
}

fn reference_of(value: &Value) -> Option<&str> {
    value.get("reference").and_then(Value::as_str)
}

/// `[system]|code` as a search writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TokenValue {
    /// `None`: any system. `Some("")`: none at all.
    system: Option<String>,
    /// `None`: any code of the system.
    code: Option<String>,
}

impl TokenValue {
    fn parse(text: &str) -> Self {
        match *split(text, '|') {
            [system, code, ..] => Self { system: Some(bare_oid(&unescape(system)).to_owned()), code: Some(unescape(code)).filter(|code| !code.is_empty()) },
            _ => Self { system: None, code: Some(unescape(text)) },
        }
    }

    /// Over Coding, CodeableConcept, Identifier, ContactPoint, code and boolean.
    fn matches(&self, value: &Value) -> bool {
        match value {
            // The system of a `code` is fixed by its binding and not written in the resource: FHIR's own namespace is taken for it.
            Value::String(code) => {
                self.system.as_deref().is_none_or(|system| system.is_empty() || system.starts_with("http://hl7.org/fhir/")) && self.code_is(code)
            }
            Value::Bool(flag) => self.system.is_none() && self.code_is(if *flag { "true" } else { "false" }),
            Value::Object(fields) => match fields.get("coding") {
                Some(Value::Array(codings)) => codings.iter().any(|coding| self.matches_pair(coding, "code")),
                _ if fields.contains_key("code") => self.matches_pair(value, "code"),
                _ => self.matches_pair(value, "value"),
            },
            _ => false,
        }
    }

    fn matches_pair(&self, value: &Value, code: &str) -> bool {
        let system = bare_oid(value.get("system").and_then(Value::as_str).unwrap_or_default());
        let same_system = self.system.as_deref().is_none_or(|wanted| wanted == system);
        same_system && value.get(code).and_then(Value::as_str).map_or(self.code.is_none(), |code| self.code_is(code))
    }

    fn code_is(&self, code: &str) -> bool {
        self.code.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(code))
    }
}

/// An OID is the same with or without its `urn:oid:`.
fn bare_oid(system: &str) -> &str {
    system.strip_prefix("urn:oid:").unwrap_or(system)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ReferenceValue {
    /// A bare id, of this type or of any the parameter may point at. NAV-068.
    Id(Option<&'static str>, String),
    Key(Key),
    /// Something on another server: compared as written.
    Elsewhere(String),
}

impl ReferenceValue {
    fn parse(base: &FhirBase, kind: Option<&'static str>, text: &str) -> Option<Self> {
        match Key::of_reference(base, text) {
            Some(key) => kind.is_none_or(|kind| kind == key.kind).then_some(Self::Key(key)),
            None if text.contains(':') => Some(Self::Elsewhere(text.to_owned())),
            None if text.contains('/') => None,
            None => Some(Self::Id(kind, text.to_owned())),
        }
    }

    fn matches(&self, text: &str, key: Option<&Key>) -> bool {
        match (self, key) {
            (Self::Id(kind, id), Some(key)) => kind.is_none_or(|kind| kind == key.kind) && *key.id == **id,
            (Self::Key(wanted), Some(key)) => wanted == key,
            (Self::Elsewhere(wanted), None) => wanted == text,
            (Self::Id(..) | Self::Key(_), None) | (Self::Elsewhere(_), Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests;
