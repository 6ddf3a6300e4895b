//! People, organisations and APIs that the mock of HelseID is told of besides its own. `config/helseid.toml` explains each key.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::fhir_config::Checking;
use crate::config::Place;
use crate::helseid::organisation::is_number;
use crate::helseid::seed::{Api, ApiBinding, ApiClaim, Name, Organisation, Seed, User, table};
use crate::secret::Secret;

/// A person who can log in besides, or instead of the one with the same id.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUser {
    id: String,
    given_name: String,
    middle_name: Option<String>,
    family_name: String,
    pid: Secret<String>,
    hpr_number: Option<Secret<String>>,
    /// Codes of 9060, fully authorised.
    #[serde(default)]
    professions: Vec<String>,
    #[serde(default = "highest")]
    level: u8,
    #[serde(default)]
    works_at: Vec<String>,
}

fn highest() -> u8 {
    4
}

/// A legal entity or a unit, or whom one of the list delegates to besides.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOrganisation {
    number: String,
    name: Option<String>,
    parent: Option<String>,
    /// The suppliers it lets act for it.
    #[serde(default)]
    delegates_to: Vec<String>,
}

/// An API, or what replaces the one of its audience.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApi {
    audience: String,
    owner: String,
    /// The part behind the slash.
    scopes: BTreeSet<String>,
    #[serde(default = "minute")]
    lifetime_s: u32,
    #[serde(default)]
    claims: BTreeSet<RawClaim>,
    #[serde(default)]
    binding: RawBinding,
}

fn minute() -> u32 {
    60
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawClaim {
    Pid,
    Level,
    Hpr,
    Organisations,
    Attest,
    Sfm,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawBinding {
    #[default]
    Dpop,
    Bearer,
}

/// Adds the organisations first, so that the rest can name them.
pub(super) fn add(checking: &mut Checking<'_>, seed: &mut Seed, organisations: Vec<RawOrganisation>, apis: Vec<RawApi>, users: Vec<RawUser>) {
    let root = checking.root.clone();
    let at = |table: &str, index: usize| root.key(table).item(index);
    for (index, raw) in organisations.into_iter().enumerate() {
        organisation(checking, &at("organisation", index), raw, seed);
    }
    for (index, raw) in apis.into_iter().enumerate() {
        api(checking, &at("api", index), raw, seed);
    }
    for (index, raw) in users.into_iter().enumerate() {
        user(checking, &at("user", index), raw, seed);
    }
}

fn known(checking: &mut Checking<'_>, place: &Place, number: &str, seed: &Seed) {
    if seed.organisation(number).is_none() {
        checking.found.refuse_value(place, number, "is no organisation of the mock");
    }
}

fn organisation(checking: &mut Checking<'_>, place: &Place, raw: RawOrganisation, seed: &mut Seed) {
    if !is_number(&raw.number, true) {
        checking.found.refuse_value(&place.key("number"), &raw.number, "is no organisation number: nine digits, the last of which is the check digit");
    }
    if let Some(parent) = &raw.parent {
        known(checking, &place.key("parent"), parent, seed);
    }
    for supplier in raw.delegates_to {
        known(checking, &place.key("delegates_to"), &supplier, seed);
        seed.delegations.insert((raw.number.clone(), supplier));
    }
    let before = seed.organisations.iter().position(|known| known.number == raw.number).map(|at| seed.organisations.remove(at));
    let (name, parent) = before.map_or((None, None), |before| (Some(before.name), before.parent));
    let name = raw.name.or(name).unwrap_or_else(|| raw.number.clone());
    seed.organisations.push(Organisation { number: raw.number, name, parent: raw.parent.or(parent) });
}

fn api(checking: &mut Checking<'_>, place: &Place, raw: RawApi, seed: &mut Seed) {
    known(checking, &place.key("owner"), &raw.owner, seed);
    if raw.audience.is_empty() || raw.audience.contains(char::is_whitespace) {
        checking.found.refuse_value(&place.key("audience"), &raw.audience, "must be one word, such as \"demo:kjerne\"");
    }
    if raw.scopes.is_empty() || raw.scopes.iter().any(|scope| scope.is_empty() || scope.contains(|c: char| c.is_whitespace() || c == '/')) {
        checking.found.refuse(&place.key("scopes"), "must be words without a slash: \"read\" makes the scope <audience>/read");
    }
    if raw.lifetime_s == 0 {
        checking.found.refuse(&place.key("lifetime_s"), "must be at least 1");
    }
    let claims = raw.claims.into_iter().map(|claim| match claim {
        RawClaim::Pid => ApiClaim::Pid,
        RawClaim::Level => ApiClaim::Level,
        RawClaim::Hpr => ApiClaim::Hpr,
        RawClaim::Organisations => ApiClaim::Organisations,
        RawClaim::Attest => ApiClaim::Attest,
        RawClaim::Sfm => ApiClaim::Sfm,
    });
    seed.apis.retain(|known| known.audience != raw.audience);
    seed.apis.push(Api {
        scopes: raw.scopes.iter().map(|scope| format!("{}/{scope}", raw.audience)).collect(),
        audience: raw.audience,
        owner: raw.owner,
        lifetime: Duration::from_secs(raw.lifetime_s.into()),
        claims: claims.collect(),
        binding: match raw.binding {
            RawBinding::Dpop => ApiBinding::Dpop,
            RawBinding::Bearer => ApiBinding::Bearer,
        },
    });
}

fn user(checking: &mut Checking<'_>, place: &Place, raw: RawUser, seed: &mut Seed) {
    // Not the number itself: it may be somebody's after all.
    if !is_synthetic(raw.pid.expose()) {
        checking.found.refuse(&place.key("pid"), "is no synthetic identity number: eleven digits, the month raised by 40, 65 or 80");
    }
    if seed.users.iter().any(|other| other.id != raw.id && other.pid() == raw.pid.expose()) {
        checking.found.refuse(&place.key("pid"), "is another user's");
    }
    if !(2..=4).contains(&raw.level) {
        checking.found.refuse(&place.key("level"), "must be 2, 3 or 4");
    }
    if raw.hpr_number.as_ref().is_some_and(|number| number.expose().parse::<u32>().is_err()) {
        checking.found.refuse(&place.key("hpr_number"), "must be digits, nine at most");
    }
    for unit in &raw.works_at {
        known(checking, &place.key("works_at"), unit, seed);
    }
    seed.users.retain(|known| known.id != raw.id);
    seed.users.push(User {
        id: raw.id,
        name: Name { given: raw.given_name, middle: raw.middle_name, family: raw.family_name },
        pid: raw.pid,
        hpr: raw.hpr_number,
        approvals: raw.professions.iter().map(|profession| table::authorised(profession)).collect(),
        withdrawn: Vec::new(),
        level: raw.level,
        works_at: raw.works_at,
        blocked: false,
    });
}

/// Eleven digits, and a month that no real person is born in.
fn is_synthetic(pid: &str) -> bool {
    let month = pid.get(2..4).and_then(|month| month.parse::<u32>().ok());
    pid.len() == 11 && pid.bytes().all(|b| b.is_ascii_digit()) && month.is_some_and(|month| month > 40)
}
