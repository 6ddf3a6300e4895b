//! Search: what a query asks, and which resources answer it. fhir-server.md §6, <https://hl7.org/fhir/R4/search.html>

pub mod bundle;
pub mod cursor;
mod date;
pub mod filter;
mod order;
mod quantity;
mod reference;
mod text;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use filter::{Filter, ParamError, Reading};

use self::filter::Narrowed;
use self::order::Sort;
use super::data::Snapshot;
use super::include::{Direction, Include};
use super::resource::{Key, Resource};
use super::subset::{Subset, Summary};
use super::table::TypeRow;

/// How many matches a page holds when the client does not say. fhir-server.md §6.
const DEFAULT_COUNT: usize = 50;
/// The most a page holds, whatever the client says.
const MAX_COUNT: usize = 200;

/// The parameters that say what of the matches to answer with, and in which order.
const RESULT: &[&str] = &["_count", "_sort", "_total", "_summary", "_elements", "_include", "_revinclude"];

/// A search as it was understood.
#[derive(Debug)]
pub struct Query {
    row: &'static TypeRow,
    filters: Vec<Filter>,
    sort: Vec<Sort>,
    /// Matches per page, 1 to [`MAX_COUNT`].
    pub count: usize,
    /// `_summary=count` or `_count=0`: the total and nothing else.
    pub count_only: bool,
    /// Whether the Bundle says how many matches there are: false for `_total=none`.
    pub total: bool,
    pub shape: Shape,
    /// What was applied, for `link[self]`: filters by name, then result parameters. Identity numbers are masked.
    pub applied: Vec<(String, String)>,
    /// The names that were ignored, as far as they can be repeated.
    pub ignored: Vec<String>,
}

/// What the pages of a search show.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    pub includes: Vec<Include>,
    pub subset: Subset,
}

/// Why a query is refused: the parameter, as far as it can be repeated, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct QueryError {
    pub name: String,
    pub why: ParamError,
}

impl QueryError {
    /// The issue code. <https://hl7.org/fhir/R4/valueset-issue-type.html>
    pub fn code(&self) -> &'static str {
        match self.why {
            ParamError::TooCostly => "too-costly",
            ParamError::Unknown | ParamError::Modifier | ParamError::Value(_) | ParamError::Chain => "invalid",
        }
    }
}

/// What a server does with a parameter it does not know. FHIR R4 search, `Prefer: handling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    Lenient,
    Strict,
}

impl Query {
    /// Reads the parameters of a search, in their order, decoded.
    ///
    /// # Errors
    /// [`QueryError`] for a modifier or a value that cannot be evaluated, and under strict handling for an unknown parameter.
    pub fn read(on: Reading<'_>, pairs: &[(String, String)], handling: Handling) -> Result<Self, QueryError> {
        let mut query = Self {
            row: on.row,
            filters: Vec::new(),
            sort: Vec::new(),
            count: DEFAULT_COUNT,
            count_only: false,
            total: true,
            shape: Shape::default(),
            applied: Vec::new(),
            ignored: Vec::new(),
        };
        let mut result = Vec::new();
        for (name, value) in pairs {
            let understood = match name.as_str() {
                // These say how to answer, not what to find.
                "_format" | "_pretty" => continue,
                result_parameter if RESULT.contains(&result_parameter) => {
                    if value.is_empty() {
                        continue;
                    }
                    query.read_result(on, name, value).map(|()| result.push((name.clone(), value.clone())))
                }
                // Including what is included is not offered; leaving it out unsaid would mislead.
                _ if ["_include:", "_revinclude:"].iter().any(|name_and| name.starts_with(name_and)) => Err(ParamError::Modifier),
                _ => Filter::read(on, name, value).map(|filter| {
                    if let Some(filter) = filter {
                        query.filters.push(filter);
                        query.applied.push((name.clone(), masked(value)));
                    }
                }),
            };
            match understood {
                Ok(()) => {}
                Err(ParamError::Unknown) if handling == Handling::Lenient => query.ignored.push(repeatable(name)),
                Err(why) => return Err(QueryError { name: repeatable(name), why }),
            }
        }
        if query.shape.subset.summary() == Some(Summary::Text) && !query.shape.includes.is_empty() {
            // R4 search, summary: the two do not mix.
            return Err(QueryError { name: "_summary".to_owned(), why: ParamError::Value("text together with _include or _revinclude") });
        }
        query.applied.sort();
        query.applied.append(&mut result);
        Ok(query)
    }

    fn read_result(&mut self, on: Reading<'_>, name: &str, value: &str) -> Result<(), ParamError> {
        match name {
            "_count" => self.read_count(value),
            "_sort" => self.read_sort(on, value),
            "_total" => self.read_total(value),
            "_summary" => self.read_summary(value),
            "_elements" => self.shape.subset.add_elements(value),
            "_include" => self.read_include(Direction::Forward, value),
            _ => self.read_include(Direction::Reverse, value),
        }
    }

    fn read_include(&mut self, direction: Direction, value: &str) -> Result<(), ParamError> {
        self.shape.includes.push(Include::read(direction, self.row, value)?);
        Ok(())
    }

    fn read_count(&mut self, value: &str) -> Result<(), ParamError> {
        let count: usize = value.parse().map_err(|_| ParamError::Value("a number of matches"))?;
        self.count_only |= count == 0;
        self.count = count.clamp(1, MAX_COUNT);
        Ok(())
    }

    fn read_sort(&mut self, on: Reading<'_>, value: &str) -> Result<(), ParamError> {
        let names = value.split(',').filter(|name| !name.is_empty());
        self.sort.extend(names.map(|name| Sort::read(on.row, name)).collect::<Result<Vec<_>, _>>()?);
        Ok(())
    }

    fn read_total(&mut self, value: &str) -> Result<(), ParamError> {
        self.total = match value {
            "none" => false,
            // The exact number is always known.
            "estimate" | "accurate" => true,
            _ => return Err(ParamError::Value("none, estimate or accurate")),
        };
        Ok(())
    }

    fn read_summary(&mut self, value: &str) -> Result<(), ParamError> {
        match value {
            "count" => self.count_only = true,
            other => Summary::read(other)?.into_iter().for_each(|summary| self.shape.subset.summarize(summary)),
        }
        Ok(())
    }

    /// Takes the names one code system goes by as equal.
    pub fn use_aliases(&mut self) {
        self.filters.iter_mut().for_each(Filter::use_aliases);
    }

    /// The resources that can match, found through what refers to what rather than by looking at them all: by `_id`, by what a
    /// reference parameter names, or by `owner`, whom everything the caller may see refers to.
    pub fn candidates<'a>(&self, data: &'a Snapshot, owner: Option<&Key>) -> Vec<&'a Arc<Resource>> {
        let of_owner = owner.map(|key| Narrowed::RefersTo(vec![key.clone()]));
        // The log is laid over the resources of the moment, and what it refers to is not indexed.
        let is_indexed = |narrowed: &Narrowed| self.row.name != "AuditEvent" || matches!(narrowed, Narrowed::Ids(_));
        let narrowed = self.filters.iter().filter_map(Filter::narrows).chain(of_owner).filter(is_indexed);
        let sets = narrowed.map(|narrowed| {
            let found: BTreeMap<&str, &Arc<Resource>> = match &narrowed {
                Narrowed::Ids(ids) => ids.iter().filter_map(|id| data.find(self.row.name, id)).map(|found| (&*found.id, found)).collect(),
                Narrowed::RefersTo(keys) => {
                    let referring = keys.iter().flat_map(|key| data.referrers(key)).filter(|found| found.row.name == self.row.name);
                    // A Patient does not refer to itself and is its own.
                    let own = keys.iter().filter(|key| key.kind == self.row.name && Some(*key) == owner).filter_map(|key| data.get(key));
                    referring.chain(own).map(|found| (&*found.id, found)).collect()
                }
            };
            found
        });
        match sets.min_by_key(BTreeMap::len) {
            Some(fewest) => fewest.into_values().collect(),
            None => data.of_type(self.row.name).collect(),
        }
    }

    /// What of a resource a read shows: `_elements` and `_summary` count there too.
    ///
    /// # Errors
    /// [`QueryError`] for a value that cannot be read.
    pub fn subset_of_read(pairs: &[(String, String)]) -> Result<Subset, QueryError> {
        let mut subset = Subset::default();
        for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            let read = match name.as_str() {
                "_elements" => subset.add_elements(value),
                // One resource has nothing to count.
                "_summary" => Summary::read(value).map(|summary| summary.into_iter().for_each(|summary| subset.summarize(summary))),
                _ => Ok(()),
            };
            read.map_err(|why| QueryError { name: name.clone(), why })?;
        }
        Ok(subset)
    }

    pub fn matches(&self, resource: &Resource) -> bool {
        self.filters.iter().all(|filter| filter.matches(&resource.body))
    }

    /// Puts matches in the order asked for; equals stay in the order of their ids, so that pages are stable.
    pub fn order(&self, found: &mut [Arc<Resource>]) {
        order::sort(&self.sort, found);
    }
}

/// A parameter name as an answer may repeat it.
fn repeatable(name: &str) -> String {
    let plain = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'.'));
    if plain && !is_identity_number(name) { name.to_owned() } else { "(a parameter)".to_owned() }
}

/// The identifier systems of people: national identity numbers, common help numbers, HPR numbers.
const PEOPLE: &[&str] = &["2.16.578.1.12.4.1.4.1", "2.16.578.1.12.4.1.4.2", "2.16.578.1.12.4.1.4.3", "2.16.578.1.12.4.1.4.4"];

fn is_identity_number(text: &str) -> bool {
    text.len() == 11 && text.bytes().all(|b| b.is_ascii_digit())
}

/// A value as a link may show it: identity numbers and HPR numbers do not belong in URLs (fhir-server.md §6, DESIGN "Failure").
fn masked(value: &str) -> String {
    let parts = text::split(value, ',').into_iter().map(|part| match part.rsplit_once('|') {
        Some((before, number)) if is_identity_number(number) || (!number.is_empty() && is_of_people(before)) => format!("{before}|withheld"),
        None if is_identity_number(part) => "withheld".to_owned(),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// The types of such identifiers, as `:of-type` names them. 8116, 8327.
const PEOPLE_TYPES: &[&str] = &["FNR", "DNR", "FHN", "HNR", HPR];
const HPR: &str = "HPR";

/// Whether what stands before a value, a system or a system and a type, makes it a number of a person.
fn is_of_people(before: &str) -> bool {
    PEOPLE.contains(&before.strip_prefix("urn:oid:").unwrap_or(before)) || before.rsplit_once('|').is_some_and(|(_, kind)| PEOPLE_TYPES.contains(&kind))
}

/// Whether a value names a person by a national number: fnr, D-number or common help number. fhir-server.md §6.
pub fn names_a_person(value: &str) -> bool {
    let is_hpr = |before: &str| before.ends_with(".4.4") || before.ends_with(HPR);
    text::split(value, ',').into_iter().any(|part| match part.rsplit_once('|') {
        Some((before, number)) => is_identity_number(number) || (!number.is_empty() && is_of_people(before) && !is_hpr(before)),
        None => is_identity_number(part),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fhir::table::TypeRow;
    use crate::protocol::ids::FhirBase;
    use crate::time::UnixTime;

    fn read(query: &str, handling: Handling) -> Result<Query, QueryError> {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Query::read(Reading { row: TypeRow::named("Condition").unwrap(), base: &base, now: UnixTime(0) }, &pairs, handling)
    }

    #[test]
    fn what_was_applied_is_told_in_one_order() {
        let query = read("_count=5&encounter=e1&_sort=-recorded-date&code=&colour=red&_format=json&category=a,b", Handling::Lenient).unwrap();
        let applied: Vec<_> = query.applied.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(applied, ["category=a,b", "encounter=e1", "_count=5", "_sort=-recorded-date"]);
        assert_eq!(query.ignored, ["colour"]);
        for (count, page) in [("1", 1), ("200", 200), ("201", 200), ("0", 1)] {
            let query = read(&format!("_count={count}"), Handling::Strict).unwrap();
            assert_eq!((query.count, query.count_only), (page, count == "0"));
        }
        assert_eq!(read("", Handling::Strict).unwrap().count, 50);
        let subset = |name: &str, value: &str| Query::subset_of_read(&[(name.to_owned(), value.to_owned())]).ok();
        assert_eq!(subset("_summary", "false"), Some(Subset::default()));
        assert_eq!((subset("_summary", "x"), subset("_elements", "<")), (None, None));
        assert!(subset("_elements", "code") != Some(Subset::default()));
    }

    #[test]
    fn strict_refuses_what_lenient_ignores() {
        for (query, lenient) in [
            ("colour=red", true),
            ("_include=Condition:colour", true),
            ("_has:Observation:patient:code=x", true),
            ("_filter=x", true),
            ("_list=x", true),
            ("_sort=colour", true),
            ("code:in=x", false),
            // A third part of a token means nothing: leaving it out would widen the result.
            ("code=urn:oid:2.16.578.1.12.4.1.1.7170|L03|x", false),
            ("_count=x", false),
            ("_include=*", false),
            ("_include:iterate=Condition:encounter", false),
            ("_revinclude:recurse=Provenance:target", false),
            ("_include=Condition:encounter&_summary=text", false),
            ("patient.identifier=x", false),
            ("_summary=all", false),
            ("_elements=a.b.c", false),
        ] {
            assert_eq!(read(query, Handling::Lenient).is_ok(), lenient, "{query}");
            assert!(read(query, Handling::Strict).is_err(), "{query}");
        }
    }

    #[test]
    fn numbers_of_people_stay_out_of_links() {
        for (value, shown) in [
            ("urn:oid:2.16.578.1.12.4.1.4.1|12848548241", "urn:oid:2.16.578.1.12.4.1.4.1|withheld"),
            ("2.16.578.1.12.4.1.4.4|999000101", "2.16.578.1.12.4.1.4.4|withheld"),
            ("12848548241,x", "withheld,x"),
            ("|12848548241", "|withheld"),
            ("urn:oid:2.16.578.1.12.4.1.1.7170|L03", "urn:oid:2.16.578.1.12.4.1.1.7170|L03"),
            ("urn:oid:2.16.578.1.12.4.1.1.8327|FNR|12848548241", "urn:oid:2.16.578.1.12.4.1.1.8327|FNR|withheld"),
            ("urn:oid:2.16.578.1.12.4.1.1.8116|HPR|999000101", "urn:oid:2.16.578.1.12.4.1.1.8116|HPR|withheld"),
            ("5|http://unitsofmeasure.org|mg", "5|http://unitsofmeasure.org|mg"),
        ] {
            assert_eq!(masked(value), shown);
        }
        assert!(names_a_person("urn:oid:2.16.578.1.12.4.1.4.2|42878712921") && names_a_person("12848548241"));
        assert!(!names_a_person("urn:oid:2.16.578.1.12.4.1.4.4|999000101") && !names_a_person("e1"));
        assert!(names_a_person("urn:oid:2.16.578.1.12.4.1.1.8327|DNR|52848548241") && names_a_person("x|FHN|1"));
        assert!(!names_a_person("urn:oid:2.16.578.1.12.4.1.1.8116|HPR|999000101"));
    }

    /// What an index is worth, as a ratio: how many resources are looked at for one patient's of many.
    #[test]
    fn a_search_looks_only_at_what_can_match() {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        let mut file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
        for number in 0..2000 {
            use std::io::Write as _;
            let (patient, encounter) = (number % 100, number % 500);
            let body = serde_json::json!({
                "resourceType": "Condition", "id": format!("c{number}"), "meta": {"lastUpdated": "2026-01-01T00:00:00Z"},
                "subject": {"reference": format!("Patient/p{patient}")}, "encounter": {"reference": format!("Encounter/e{encounter}")}
            });
            writeln!(file, "{body}").unwrap();
        }
        let data = Snapshot::load(&crate::fhir::DataSource::Paths(vec![file.path().to_owned()]), &base).unwrap();
        let owner = Key { kind: "Patient", id: "p7".into() };
        for (query, owner, looked_at, found) in [
            ("", None, 2000, 2000),
            ("code:missing=true", None, 2000, 2000),
            ("", Some(&owner), 20, 20),
            ("patient=p7", None, 20, 20),
            ("patient=Patient/p7,p8", None, 40, 40),
            ("patient=p7&encounter=e7", None, 4, 4),
            ("encounter=e8", Some(&owner), 4, 0),
            ("_id=c1,c2,none,C3", None, 2, 2),
            ("_id:not=c1", None, 2000, 1999),
            ("encounter:missing=true", Some(&owner), 20, 0),
            ("encounter=https://other.example/fhir/Encounter/e1", None, 2000, 0),
        ] {
            let query = (query, read(query, Handling::Strict).unwrap());
            let looked = query.1.candidates(&data, owner);
            let by_patient = |found: &&&Arc<Resource>| owner.is_none_or(|key| found.references_at(&base, &["subject"]).contains(key));
            assert_eq!((looked.len(), looked.iter().filter(|c| query.1.matches(c)).filter(by_patient).count()), (looked_at, found), "{}", query.0);
            let all = data.of_type("Condition").filter(|c| query.1.matches(c));
            assert_eq!(all.filter(|c| by_patient(&c)).count(), found, "nothing is lost: {}", query.0);
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_no_link_shows_an_identity_number(name in "(code|onset-date|encounter|_count|_sort|\\PC{0,8})(:\\PC{0,8})?", value in "\\PC{0,40}", number in "[0-9]{11}") {
            let base = FhirBase::parse("https://epj.example/fhir").unwrap();
            let on = Reading { row: TypeRow::named("Condition").unwrap(), base: &base, now: UnixTime(0) };
            let _ = Query::read(on, &[(name, value.clone())], Handling::Lenient);
            let system = value.replace(['|', ',', '\\'], "");
            prop_assert_eq!(masked(&format!("{system}|{number}")), format!("{system}|withheld"));
            let listed = format!("{system},{number}");
            prop_assert!(names_a_person(&listed));
        }
    }
}
