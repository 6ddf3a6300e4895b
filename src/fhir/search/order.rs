//! `_sort`: by search parameter, ties by id, what has no value last.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use super::ParamError;
use super::date::Interval;
use super::quantity::WantedQuantity;
use super::text::{fold, texts};
use crate::fhir::resource::{Resource, values};
use crate::fhir::table::{Kind, Param, TypeRow};

/// One name of `_sort`.
#[derive(Clone, Copy, Debug)]
pub struct Sort {
    param: &'static Param,
    descending: bool,
}

impl Sort {
    /// # Errors
    /// [`ParamError::Unknown`] where the type has no parameter of this name.
    pub fn read(row: &TypeRow, name: &str) -> Result<Self, ParamError> {
        let (name, descending) = name.strip_prefix('-').map_or((name, false), |name| (name, true));
        Ok(Self { param: row.param(name).ok_or(ParamError::Unknown)?, descending })
    }

    fn key(&self, body: &Value) -> Option<SortKey> {
        let found = values(body, self.param.paths);
        match self.param.kind {
            Kind::Date => {
                let starts = found.into_iter().filter_map(Interval::of_element).map(|at| at.from);
                if self.descending { starts.max() } else { starts.min() }.map(SortKey::Time)
            }
            Kind::String => found.into_iter().flat_map(texts).next().map(|text| SortKey::Text(fold(text))),
            Kind::Token => found.into_iter().find_map(code_of).map(|code| SortKey::Text(code.to_lowercase())),
            Kind::Truth => Some(SortKey::Text(found.iter().any(|value| **value != Value::Bool(false)).to_string())),
            Kind::Quantity => found.into_iter().find_map(WantedQuantity::worth).map(SortKey::Number),
            Kind::Reference(_) => found.into_iter().find_map(|value| value.get("reference")?.as_str()).map(|text| SortKey::Text(text.to_owned())),
            Kind::Id | Kind::Uri | Kind::Canonical(_) => found.into_iter().find_map(Value::as_str).map(|text| SortKey::Text(text.to_owned())),
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    Time(i64),
    Number(i128),
    Text(String),
}

fn code_of(value: &Value) -> Option<&str> {
    match value {
        Value::String(code) => Some(code),
        Value::Bool(true) => Some("true"),
        Value::Bool(false) => Some("false"),
        Value::Object(fields) => match fields.get("coding") {
            Some(codings) => codings.get(0)?.get("code")?.as_str(),
            None => fields.get("code").or_else(|| fields.get("value"))?.as_str(),
        },
        _ => None,
    }
}

pub fn sort(by: &[Sort], found: &mut [Arc<Resource>]) {
    if by.is_empty() {
        return found.sort_by(|a, b| a.id.cmp(&b.id));
    }
    found.sort_by_cached_key(|resource| {
        let keys = by.iter().map(|sort| Placed { key: sort.key(&resource.body), descending: sort.descending }).collect::<Vec<_>>();
        (keys, Arc::clone(&resource.id))
    });
}

#[derive(PartialEq, Eq)]
struct Placed {
    key: Option<SortKey>,
    descending: bool,
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.key, &other.key) {
            (Some(a), Some(b)) if self.descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::ids::FhirBase;

    #[test]
    fn ties_go_by_id_and_the_undated_come_last() {
        let base = FhirBase::parse("https://epj.example/fhir").unwrap();
        let row = TypeRow::named("Condition").unwrap();
        let one = |id: &str, date: Option<&str>| {
            let body = json!({"resourceType": "Condition", "id": id, "meta": {"lastUpdated": "2026-01-01T00:00:00Z"}, "recordedDate": date});
            Arc::new(Resource::new(&base, body).unwrap())
        };
        let several = |names: &[&str]| {
            let mut found = [one("d", None), one("b", Some("2026-01-02")), one("a", Some("2026-01-02")), one("c", Some("2026-01-03"))];
            let by: Vec<_> = names.iter().map(|name| Sort::read(row, name).unwrap()).collect();
            sort(&by, &mut found);
            found.iter().map(|r| &*r.id).collect::<String>()
        };
        assert_eq!((several(&["recorded-date", "-_id"]), several(&["-recorded-date", "_id"])), ("bacd".to_owned(), "cabd".to_owned()));
        let all = [one("d", None), one("b", Some("2026-01-02")), one("c", Some("2026-01-03")), one("a", Some("2026-01-02"))];
        for (by, order) in [("recorded-date", "abcd"), ("-recorded-date", "cabd"), ("_id", "abcd"), ("-_id", "dcba")] {
            let mut found = all.to_vec();
            sort(&[Sort::read(row, by).unwrap()], &mut found);
            assert_eq!(found.iter().map(|r| &*r.id).collect::<String>(), order, "{by}");
        }
    }
}
