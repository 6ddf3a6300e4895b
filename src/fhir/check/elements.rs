//! The elements of the types this server holds and of all datatypes, from the StructureDefinitions of FHIR R4 (4.0.1).
//! `elements.txt` has a heading per type or backbone element, then one element a line: name, cardinality (`?` 0..1, `!` 1..1, `*` 0..*,
//! `+` 1..*), types (`@` leads to another heading), and after `=` the codes of a required binding. `id` and extensions stand everywhere.

use std::collections::HashMap;
use std::sync::OnceLock;

const TEXT: &str = include_str!("elements.txt");

/// The elements of a type or backbone element.
#[derive(Debug, Default)]
pub struct Block {
    elements: Vec<Element>,
    /// What a member of this name is; a choice has one name per type.
    names: HashMap<String, (usize, Of)>,
}

/// One element.
#[derive(Debug)]
pub struct Element {
    /// As the definition has it, a choice without `[x]`.
    pub name: &'static str,
    required: bool,
    pub repeats: bool,
    types: Vec<&'static str>,
    choice: bool,
    /// The codes of a required binding; empty where any will do.
    pub codes: Vec<&'static str>,
}

/// What an element holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Primitive(&'static str),
    /// A datatype or backbone element: the heading of its block.
    Block(&'static str),
    Resource,
}

impl Element {
    pub fn is_choice(&self) -> bool {
        self.choice
    }

    /// The members it may stand as.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let plain = (!self.choice).then(|| self.name.to_owned());
        let typed = self.types.iter().filter(|_| self.choice).map(|kind| typed_name(self.name, kind));
        plain.into_iter().chain(typed)
    }
}

fn typed_name(name: &str, kind: &str) -> String {
    let (first, rest) = kind.split_at_checked(1).unwrap_or((kind, ""));
    format!("{name}{}{rest}", first.to_ascii_uppercase())
}

impl Block {
    pub fn find(&self, name: &str) -> Option<(&Element, Of)> {
        let (place, of) = self.names.get(name)?;
        Some((self.elements.get(*place)?, *of))
    }

    pub fn required(&self) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(|element| element.required)
    }

    fn add(&mut self, line: &'static str) {
        let (line, codes) = line.split_once(" =").unwrap_or((line, ""));
        let mut words = line.split(' ');
        let (Some(name), Some(cardinality)) = (words.next(), words.next()) else { return };
        let types: Vec<&'static str> = words.collect();
        let place = self.elements.len();
        let plain = name.strip_suffix("[x]");
        for kind in &types {
            let of = match kind.strip_prefix('@') {
                Some(heading) => Of::Block(heading),
                None if *kind == "Resource" => Of::Resource,
                None if kind.starts_with(|first: char| first.is_ascii_lowercase()) => Of::Primitive(kind),
                None => Of::Block(kind),
            };
            self.names.insert(plain.map_or_else(|| name.to_owned(), |plain| typed_name(plain, kind)), (place, of));
        }
        self.elements.push(Element {
            name: plain.unwrap_or(name),
            required: matches!(cardinality, "!" | "+"),
            repeats: matches!(cardinality, "*" | "+"),
            types,
            choice: plain.is_some(),
            codes: codes.split('|').filter(|code| !code.is_empty()).collect(),
        });
    }
}

/// The block under this heading: `Patient`, `Patient.contact`, `HumanName`.
pub fn block(heading: &str) -> Option<&'static Block> {
    static BLOCKS: OnceLock<HashMap<&'static str, Block>> = OnceLock::new();
    let read = || {
        let mut blocks: HashMap<&'static str, Block> = HashMap::new();
        let mut heading = "";
        for line in TEXT.lines() {
            match line.strip_prefix("# ") {
                Some(next) => heading = next,
                None => blocks.entry(heading).or_default().add(line),
            }
        }
        blocks
    };
    BLOCKS.get_or_init(read).get(heading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::table::TypeRow;

    #[test]
    fn every_type_has_its_elements_and_every_heading_named_is_there() {
        for row in TypeRow::all() {
            assert!(block(row.name).is_some_and(|block| !block.elements.is_empty()), "{}", row.name);
        }
        for heading in TEXT.lines().filter_map(|line| line.strip_prefix("# ")) {
            for (name, (_, of)) in &block(heading).unwrap().names {
                match of {
                    Of::Block(next) => assert!(block(next).is_some(), "{heading}.{name}: {next}"),
                    Of::Primitive(kind) => assert!(super::super::primitive::KINDS.contains(kind), "{heading}.{name}: {kind}"),
                    Of::Resource => {}
                }
            }
        }
        let (status, of) = block("Task").unwrap().find("status").unwrap();
        assert_eq!((of, status.required, status.repeats, status.codes.len()), (Of::Primitive("code"), true, false, 12));
        assert_eq!(block("Patient").unwrap().find("deceasedDateTime").unwrap().1, Of::Primitive("dateTime"));
    }
}
