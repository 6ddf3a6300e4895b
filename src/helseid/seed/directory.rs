//! The practitioners of the data set as people who can log in, under their ids in the FHIR mock, and the organisations they work at.

use std::collections::BTreeMap;

use serde_json::Value;

use super::table::{FJORD_EPJ, approval};
use super::{Coded, Name, Organisation, Seed, User};
use crate::secret::Secret;

const TEXT: &str = include_str!("../../../data/bundles/00-directory.json");

const HPR: &str = "urn:oid:2.16.578.1.12.4.1.4.4";
const FNR: &str = "urn:oid:2.16.578.1.12.4.1.4.1";
const DNR: &str = "urn:oid:2.16.578.1.12.4.1.4.2";
const ORG: &str = "urn:oid:2.16.578.1.12.4.1.4.101";
const PROFESSION: &str = "urn:oid:2.16.578.1.12.4.1.1.9060";
const AUTHORIZATION: &str = "urn:oid:2.16.578.1.12.4.1.1.7704";
const SPECIALITY: &str = "urn:oid:2.16.578.1.12.4.1.1.7426";

/// Adds them all, and lets the supplier of the multi-tenant client act for every legal entity among them.
pub(super) fn add(seed: &mut Seed) {
    let bundle: Value = serde_json::from_str(TEXT).expect("the data set is checked by tests");
    let resources: Vec<&Value> = list(&bundle, "entry").iter().filter_map(|entry| entry.get("resource")).collect();
    let of = |kind: &'static str| resources.iter().copied().filter(move |resource| text(resource, "resourceType") == Some(kind));

    let units: BTreeMap<&str, &Value> = of("Organization").filter_map(|unit| Some((text(unit, "id")?, unit))).collect();
    for unit in units.values() {
        let Some(number) = identifier(unit, ORG) else { continue };
        let top = legal_entity(unit, &units);
        let parent = identifier(top, ORG).filter(|parent| *parent != number);
        if parent.is_none() {
            seed.delegations.insert((number.to_owned(), FJORD_EPJ.to_owned()));
        }
        let name = text(unit, "name").unwrap_or_default().to_owned();
        seed.organisations.push(Organisation { number: number.to_owned(), name, parent: parent.map(str::to_owned) });
    }

    let mut works_at: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for role in of("PractitionerRole") {
        let reference = |name: &str| role.get(name).and_then(|to| text(to, "reference")).and_then(|to| Some(to.split_once('/')?.1));
        let unit = reference("organization").and_then(|id| units.get(id)).and_then(|unit| identifier(unit, ORG));
        if let (Some(who), Some(unit)) = (reference("practitioner"), unit) {
            works_at.entry(who).or_default().push(unit.to_owned());
        }
    }

    for person in of("Practitioner") {
        let (Some(id), Some(pid)) = (text(person, "id"), identifier(person, FNR).or_else(|| identifier(person, DNR))) else { continue };
        seed.users.push(User {
            id: id.to_owned(),
            name: name(person),
            pid: Secret::new(pid.to_owned()),
            hpr: identifier(person, HPR).map(|number| Secret::new(number.to_owned())),
            approvals: list(person, "qualification").iter().filter_map(qualification).collect(),
            withdrawn: Vec::new(),
            level: 4,
            works_at: works_at.remove(id).unwrap_or_default(),
            blocked: false,
        });
    }
}

/// The unit at the top of the tree a unit is in.
fn legal_entity<'a>(unit: &'a Value, units: &BTreeMap<&str, &'a Value>) -> &'a Value {
    let mut top = unit;
    // As many steps as there are units, so that a circle ends.
    for _ in 0..units.len() {
        let above = top.get("partOf").and_then(|above| text(above, "reference")).and_then(|above| above.strip_prefix("Organization/"));
        match above.and_then(|above| units.get(above)) {
            Some(above) => top = above,
            None => break,
        }
    }
    top
}

fn name(person: &Value) -> Name {
    let name = list(person, "name").first();
    let mut given = name.map(|name| list(name, "given")).unwrap_or_default().iter().filter_map(Value::as_str);
    let first = given.next().unwrap_or_default().to_owned();
    let middle: Vec<&str> = given.collect();
    Name {
        given: first,
        middle: (!middle.is_empty()).then(|| middle.join(" ")),
        family: name.and_then(|name| text(name, "family")).unwrap_or_default().to_owned(),
    }
}

fn qualification(of: &Value) -> Option<super::Approval> {
    let codings = of.get("code").map(|code| list(code, "coding")).unwrap_or_default();
    let coded = |system: &str| codings.iter().find(|coding| text(coding, "system") == Some(system));
    let pair = |coding: &Value| Coded::new(text(coding, "code").unwrap_or_default(), text(coding, "display").unwrap_or_default());
    let profession = coded(PROFESSION).and_then(|coding| text(coding, "code"))?;
    Some(approval(profession, pair(coded(AUTHORIZATION)?), coded(SPECIALITY).map(pair).into_iter().collect()))
}

fn identifier<'a>(of: &'a Value, system: &str) -> Option<&'a str> {
    list(of, "identifier").iter().find(|identifier| text(identifier, "system") == Some(system)).and_then(|identifier| text(identifier, "value"))
}

fn text<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    of.get(name).and_then(Value::as_str)
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
