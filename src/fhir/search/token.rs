//! Token parameters: `[system]|code` over whatever carries a code. <https://hl7.org/fhir/R4/search.html#token>

use std::borrow::Cow;

use serde_json::Value;

use super::text::{fold, split, unescape};

/// `[system]|code` as a search writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenValue {
    /// `None`: any system. `Some("")`: none at all.
    system: Option<String>,
    /// `None`: any code of the system.
    code: Option<String>,
    /// Whether the names one code system goes by are equal.
    aliases: bool,
}

impl TokenValue {
    /// `None` for a bare `|`, which asks for nothing, and for more than two parts.
    pub fn parse(text: &str) -> Option<Self> {
        let (system, code) = match *split(text, '|') {
            [system, code] => (Some(bare_oid(&unescape(system)).to_owned()), Some(unescape(code)).filter(|code| !code.is_empty())),
            [code] => (None, Some(unescape(code))),
            _ => return None,
        };
        let asks = code.is_some() || system.as_deref().is_some_and(|system| !system.is_empty());
        asks.then_some(Self { system, code, aliases: false })
    }

    /// Takes the names one code system goes by as equal. no-basis-and-codes.md, code systems.
    pub fn use_aliases(&mut self) {
        self.aliases = true;
    }

    /// Over Coding, CodeableConcept, Identifier, ContactPoint, code and boolean.
    pub fn matches(&self, value: &Value) -> bool {
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
        let same_system = self.system.as_deref().is_none_or(|wanted| wanted == system || (self.aliases && official(wanted) == official(system)));
        same_system && value.get(code).and_then(Value::as_str).map_or(self.code.is_none(), |code| self.code_is(code))
    }

    fn code_is(&self, code: &str) -> bool {
        self.code.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(code))
    }
}

/// An OID is the same with or without its `urn:oid:`.
pub fn bare_oid(system: &str) -> &str {
    system.strip_prefix("urn:oid:").unwrap_or(system)
}

/// The Norwegian code systems, by the root of their OIDs.
const KODEVERK: &str = "2.16.578.1.12.4.1.1.";

/// The OID of a code system that goes by several names. no-basis-and-codes.md, code systems.
fn official(system: &str) -> Cow<'_, str> {
    match system {
        "http://hl7.org/fhir/sid/icpc-2" | "2.16.840.1.113883.6.139" => Cow::Owned(format!("{KODEVERK}7170")),
        "http://hl7.org/fhir/sid/icd-10-no" => Cow::Owned(format!("{KODEVERK}7110")),
        _ => {
            let homes = ["http://helsedir.no/fhir/CodeSystem/no-kodeverk-", "http://ehelse.no/fhir/CodeSystem/no-kodeverk-"];
            homes.iter().find_map(|home| system.strip_prefix(home)).map_or(Cow::Borrowed(system), |number| Cow::Owned(format!("{KODEVERK}{number}")))
        }
    }
}

/// `identifier:of-type=system|code|value`: an identifier by its type and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedIdentifier {
    kind: TokenValue,
    value: String,
}

impl TypedIdentifier {
    /// All three parts are needed.
    pub fn parse(text: &str) -> Option<Self> {
        let [system, code, value] = *split(text, '|') else { return None };
        let whole = !system.is_empty() && !code.is_empty() && !value.is_empty();
        whole.then(|| Some(Self { kind: TokenValue::parse(&format!("{system}|{code}"))?, value: unescape(value) })).flatten()
    }

    pub fn matches(&self, identifier: &Value) -> bool {
        identifier.get("value").and_then(Value::as_str) == Some(self.value.as_str()) && identifier.get("type").is_some_and(|kind| self.kind.matches(kind))
    }
}

/// The words that go with a code, folded: what `:text` searches.
pub fn wording(value: &Value) -> Vec<String> {
    let codings = value.get("coding").and_then(Value::as_array).into_iter().flatten();
    let displays = codings.chain(Some(value)).filter_map(|coding| coding.get("display"));
    let texts = [value.get("text"), value.pointer("/type/text")];
    displays.chain(texts.into_iter().flatten()).filter_map(Value::as_str).map(fold).collect()
}
