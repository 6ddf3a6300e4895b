//! One search parameter with its values, and whether a resource meets it. Searches and the constraints of granular scopes both go
//! through here, so that they cannot disagree. <https://hl7.org/fhir/R4/search.html>

use serde_json::Value;

use super::date::{Interval, Wanted};
use super::quantity::WantedQuantity;
use super::reference::ReferenceValue;
use super::text::{fold, split, texts, unescape};
use super::token::{TokenValue, TypedIdentifier, wording};
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
    #[error("including everything is too much; name what to include")]
    TooCostly,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Missing(bool),
    /// No value is one of these.
    Not(Vec<TokenValue>),
    Token(Vec<TokenValue>),
    /// The words that go with the code start with one of these.
    Wording(Vec<String>),
    OfType(Vec<TypedIdentifier>),
    Id(Vec<String>),
    NotId(Vec<String>),
    Truth(Vec<bool>),
    Reference(Vec<ReferenceValue>),
    /// By the identifier that stands in the reference itself.
    Identifier(Vec<TokenValue>),
    Date(Vec<Wanted>),
    StartsWith(Vec<String>),
    Contains(Vec<String>),
    Exact(Vec<String>),
    Uri(Vec<String>),
    Quantity(Vec<WantedQuantity>),
    Canonical(Vec<String>),
}

/// The parameters over Identifiers: these take `:of-type`.
const IDENTIFIERS: &[&str] = &["identifier", "group-identifier", "requisition"];

/// A parameter with its values: the values are alternatives, several filters must all hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub param: &'static Param,
    base: FhirBase,
    test: Test,
}

/// Which resources can meet a parameter; those that cannot are not among them.
#[derive(Debug)]
pub enum Narrowed {
    Ids(Vec<String>),
    /// Those that refer to one of these.
    RefersTo(Vec<Key>),
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
        let tokens = || parts.iter().map(|part| TokenValue::parse(part)).collect::<Option<Vec<_>>>().ok_or(ParamError::Value("a token"));
        let plain = || parts.iter().map(|part| unescape(part)).collect::<Vec<_>>();
        let folded = || parts.iter().map(|part| fold(&unescape(part))).collect::<Vec<_>>();
        let truths = || {
            let read = |part: &&str| part.parse::<bool>().map_err(|_| ParamError::Value("true or false"));
            parts.iter().map(read).collect::<Result<Vec<_>, _>>()
        };
        let test = match (param.kind, modifier) {
            (_, Some("missing")) => Test::Missing(match value {
                "true" => true,
                "false" => false,
                _ => return Err(ParamError::Value("true or false")),
            }),
            (Kind::Id, None) => Test::Id(plain()),
            (Kind::Id, Some("not")) => Test::NotId(plain()),
            (Kind::Truth, None) => Test::Truth(truths()?),
            (Kind::Truth, Some("not")) => {
                let unwanted = truths()?;
                Test::Truth([true, false].into_iter().filter(|flag| !unwanted.contains(flag)).collect())
            }
            (Kind::Token, None) => Test::Token(tokens()?),
            (Kind::Token, Some("not")) => Test::Not(tokens()?),
            (Kind::Token, Some("text")) => Test::Wording(folded()),
            (Kind::Token, Some("of-type")) if IDENTIFIERS.contains(&param.name) => {
                let typed = parts.iter().map(|part| TypedIdentifier::parse(part)).collect::<Option<_>>();
                Test::OfType(typed.ok_or(ParamError::Value("system|code|value"))?)
            }
            (Kind::Reference(_), Some("identifier")) => Test::Identifier(tokens()?),
            (Kind::Reference(targets), kind) => {
                let kind = match kind {
                    None => None,
                    Some(name) => Some(TypeRow::named(name).filter(|row| targets.is_empty() || targets.contains(&row.name)).ok_or(ParamError::Modifier)?.name),
                };
                let wanted = parts.iter().map(|part| ReferenceValue::parse(on.base, kind, &unescape(part)));
                Test::Reference(wanted.collect::<Option<_>>().ok_or(ParamError::Value("a reference"))?)
            }
            (Kind::Date, None) => Test::Date(parts.iter().map(|part| Wanted::parse(part, on.now)).collect::<Option<_>>().ok_or(ParamError::Value("a date"))?),
            (Kind::String, None) => Test::StartsWith(folded()),
            (Kind::String, Some("contains")) => Test::Contains(folded()),
            (Kind::String, Some("exact")) => Test::Exact(plain()),
            (Kind::Uri, None) => Test::Uri(plain()),
            (Kind::Quantity, None) => {
                let wanted = parts.iter().map(|part| WantedQuantity::parse(part)).collect::<Option<_>>();
                Test::Quantity(wanted.ok_or(ParamError::Value("a quantity"))?)
            }
            (Kind::Canonical(_), None) => Test::Canonical(plain()),
            (Kind::Id | Kind::Token | Kind::Truth | Kind::Date | Kind::String | Kind::Uri | Kind::Quantity | Kind::Canonical(_), Some(_)) => {
                return Err(ParamError::Modifier);
            }
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

    /// Takes the names one code system goes by as equal.
    pub fn use_aliases(&mut self) {
        if let Test::Token(tokens) | Test::Not(tokens) = &mut self.test {
            tokens.iter_mut().for_each(TokenValue::use_aliases);
        }
    }

    /// The resources this parameter leaves, where that can be told without looking at them all.
    pub fn narrows(&self) -> Option<Narrowed> {
        match (&self.test, self.param.kind) {
            (Test::Id(ids), _) => Some(Narrowed::Ids(ids.clone())),
            (Test::Reference(wanted), Kind::Reference(targets)) => {
                let keys: Option<Vec<_>> = wanted.iter().map(|reference| reference.keys(targets)).collect();
                Some(Narrowed::RefersTo(keys?.concat()))
            }
            _ => None,
        }
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
            // Whether somebody is deceased is always known: no word of it means no.
            Test::Missing(missing) if self.param.kind == Kind::Truth => !missing,
            Test::Missing(missing) => found.is_empty() == *missing,
            Test::Id(wanted) => found.iter().filter_map(|value| value.as_str()).any(|id| wanted.iter().any(|wanted| wanted == id)),
            Test::NotId(unwanted) => !found.iter().filter_map(|value| value.as_str()).any(|id| unwanted.iter().any(|unwanted| unwanted == id)),
            Test::Truth(wanted) => wanted.contains(&found.iter().any(|value| **value != Value::Bool(false))),
            Test::Wording(wanted) => found.iter().flat_map(|value| wording(value)).any(|text| wanted.iter().any(|start| text.starts_with(start))),
            Test::OfType(wanted) => found.iter().any(|value| wanted.iter().any(|typed| typed.matches(value))),
            Test::Identifier(wanted) => {
                found.iter().filter_map(|value| value.get("identifier")).any(|identifier| wanted.iter().any(|token| token.matches(identifier)))
            }
            Test::Quantity(wanted) => found.iter().any(|value| wanted.iter().any(|quantity| quantity.matches(value))),
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

#[cfg(test)]
mod tests;
