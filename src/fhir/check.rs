//! Whether a resource is built as FHIR R4 says: element names, how often they stand, primitive formats, required codes. Profiles,
//! invariants and terminology are not looked at. fhir-server.md §8, `basic`.

mod elements;
mod primitive;

use serde_json::{Map, Value};

use self::elements::{Block, Element, Of};
use super::refusal::Issue;

/// Problems are told up to this many.
const MAX_ISSUES: usize = 20;

/// What is wrong with the structure of a resource; nothing where it is sound. Issues name elements, never their values.
pub fn structure(kind: &str, body: &Value) -> Vec<Issue> {
    let mut check = Check { issues: Vec::new() };
    match (elements::block(kind), body.as_object()) {
        (Some(block), Some(fields)) => check.object(fields, block, kind, true),
        (_, None) => check.tell("structure", kind, "the resource is not an object"),
        // A type without a row in the table of elements is not looked into.
        (None, Some(_)) => {}
    }
    check.issues
}

struct Check {
    issues: Vec<Issue>,
}

impl Check {
    fn tell(&mut self, code: &'static str, place: &str, text: impl Into<String>) {
        if self.issues.len() < MAX_ISSUES {
            self.issues.push(Issue::at(code, place, text));
        }
    }

    fn object(&mut self, fields: &Map<String, Value>, block: &Block, place: &str, is_resource: bool) {
        let mut chosen: Vec<&str> = Vec::new();
        for (name, value) in fields {
            let path = format!("{place}.{name}");
            if is_resource && name == "resourceType" {
                continue;
            }
            if let Some(plain) = name.strip_prefix('_') {
                match block.find(plain) {
                    Some((_, Of::Primitive(_))) => self.sibling(value, &path),
                    _ => self.unknown(&path),
                }
                continue;
            }
            match name.as_str() {
                "id" => self.primitive(value, if is_resource { "id" } else { "string" }, &[], &path),
                "extension" | "modifierExtension" => self.many(value, &path, |check, item, path| check.nested(item, "Extension", path)),
                "meta" if is_resource => self.nested(value, "Meta", &path),
                "text" if is_resource => self.nested(value, "Narrative", &path),
                "implicitRules" if is_resource => self.primitive(value, "uri", &[], &path),
                "language" if is_resource => self.primitive(value, "code", &[], &path),
                "contained" if is_resource => self.many(value, &path, |check, item, path| {
                    // dom-2
                    if item.get("contained").is_some() {
                        check.tell("structure", &format!("{path}.contained"), "a contained resource contains none itself");
                    }
                    check.contained(item, path);
                }),
                _ => match block.find(name) {
                    Some((element, of)) => {
                        if element.is_choice() {
                            if chosen.contains(&element.name) {
                                self.tell("structure", &path, "only one of the forms of a choice element may stand");
                            }
                            chosen.push(element.name);
                        }
                        self.element(element, of, value, &path);
                    }
                    None => self.unknown(&path),
                },
            }
        }
        for element in block.required() {
            let stands = |name: &str| fields.contains_key(name) || fields.contains_key(&format!("_{name}"));
            if !element.names().any(|name| stands(&name)) {
                self.tell("required", &format!("{place}.{}", element.name), "the element is required");
            }
        }
    }

    /// A member's name is the client's text: it is repeated only where it could be an element's.
    fn unknown(&mut self, path: &str) {
        let plain = path.len() <= 200 && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._[]".contains(&b));
        let place = if plain { path } else { path.rsplit_once('.').map_or("", |(parent, _)| parent) };
        self.tell("structure", if plain || place.is_ascii() { place } else { "" }, "there is no such element");
    }

    fn element(&mut self, element: &Element, of: Of, value: &Value, path: &str) {
        let one = |check: &mut Self, item: &Value, path: &str| match of {
            Of::Primitive(kind) => check.primitive(item, kind, &element.codes, path),
            Of::Block(name) => check.nested(item, name, path),
            Of::Resource => check.contained(item, path),
        };
        match (element.repeats, value) {
            (true, Value::Array(items)) => {
                for (place, item) in items.iter().enumerate() {
                    // In arrays of primitives null holds the place of what only its sibling says.
                    if item.is_null() && matches!(of, Of::Primitive(_)) {
                        continue;
                    }
                    one(self, item, &format!("{path}[{place}]"));
                }
            }
            (true, _) => self.tell("structure", path, "the element repeats and must be an array"),
            (false, Value::Array(_)) => self.tell("structure", path, "the element does not repeat and must not be an array"),
            (false, _) => one(self, value, path),
        }
    }

    fn many(&mut self, value: &Value, path: &str, one: impl Fn(&mut Self, &Value, &str)) {
        match value {
            Value::Array(items) => items.iter().enumerate().for_each(|(place, item)| one(self, item, &format!("{path}[{place}]"))),
            _ => self.tell("structure", path, "the element repeats and must be an array"),
        }
    }

    fn nested(&mut self, value: &Value, block: &str, path: &str) {
        match (value.as_object(), elements::block(block)) {
            (Some(fields), Some(block)) => self.object(fields, block, path, false),
            (None, _) => self.tell("structure", path, "the element must be an object"),
            (Some(_), None) => {}
        }
    }

    fn contained(&mut self, value: &Value, path: &str) {
        let kind = value.get("resourceType").and_then(Value::as_str);
        match (value.as_object(), kind) {
            (Some(fields), Some(kind)) if crate::protocol::r4::is_resource_type(kind) => {
                if let Some(block) = elements::block(kind) {
                    self.object(fields, block, path, true);
                }
            }
            _ => self.tell("structure", path, "a resource with a resourceType is expected"),
        }
    }

    /// `_birthDate` and its like: id and extensions of a primitive.
    fn sibling(&mut self, value: &Value, path: &str) {
        let one = |check: &mut Self, item: &Value, path: &str| match item {
            Value::Null => {}
            Value::Object(fields) if fields.keys().all(|name| name == "id" || name == "extension") => {
                if let Some(extensions) = fields.get("extension") {
                    check.many(extensions, &format!("{path}.extension"), |check, item, path| check.nested(item, "Extension", path));
                }
            }
            _ => check.tell("structure", path, "only id and extension may stand beside a primitive"),
        };
        match value {
            Value::Array(items) => items.iter().enumerate().for_each(|(place, item)| one(self, item, &format!("{path}[{place}]"))),
            other => one(self, other, path),
        }
    }

    fn primitive(&mut self, value: &Value, kind: &'static str, codes: &[&str], path: &str) {
        if !primitive::is(kind, value) {
            self.tell("value", path, format!("the value must be of type {kind}"));
        } else if !codes.is_empty() && value.as_str().is_some_and(|code| !codes.contains(&code)) {
            self.tell("code-invalid", path, format!("the code must be one of {}", codes.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests;
