//! `[[issuer.trusted]]`: other SMART issuers whose tokens may be exchanged here. DESIGN §3, Token exchange (d).

use std::collections::BTreeMap;

use super::problem::Findings;
use super::raw::RawTrusted;
use super::read::{Field, Placed};
use super::secrets::{Environment, Source};
use super::values::{each_once, parsed, required};
use crate::domain::person::{HprNumber, PersonNumber};
use crate::domain::trusted::TrustedIssuer;
use crate::protocol::ids::{ClientId, FhirBase, Issuer};

pub(super) fn check(field: &Field<Vec<Placed<RawTrusted>>>, own: &Issuer, environment: &dyn Environment, found: &mut Findings) -> Vec<TrustedIssuer> {
    let mut trusted: Vec<TrustedIssuer> = Vec::new();
    for Placed { value: raw, place: _ } in field.get().into_iter().flatten() {
        let Some(one) = one(raw, own, environment, found) else { continue };
        if one.issuer == *own || trusted.iter().any(|other| other.issuer == one.issuer) {
            found.refuse_value(raw.issuer.place(), one.issuer.as_str(), "is this issuer itself, or listed before; each is another one");
            continue;
        }
        trusted.push(one);
    }
    trusted
}

fn one(raw: &RawTrusted, own: &Issuer, environment: &dyn Environment, found: &mut Findings) -> Option<TrustedIssuer> {
    let issuer =
        required(&raw.issuer, "write the issuer's URL, as its tokens have it", found).and_then(|(text, place)| parsed(text, place, Issuer::parse, found));
    let base = required(&raw.base, "write the FHIR base its tokens are for", found).and_then(|(text, place)| parsed(text, place, FhirBase::parse, found));
    let client_id = required(&raw.client_id, "write the name we have there", found).and_then(|(text, place)| parsed(text, place, ClientId::parse, found));
    let client_secret = match &raw.client_secret {
        Field::Given(secret, place) => Source::File(environment).resolve(secret, place, own.is_loopback(), found),
        Field::Absent(place) => {
            found.refuse(place, "is missing; write client_secret = { file = \"other-secret\" }");
            None
        }
        Field::Wrong(_) => None,
    };
    if let (Some(issuer), Field::Given(_, place)) = (&issuer, &raw.issuer)
        && issuer.is_loopback()
        && !own.is_loopback()
    {
        found.refuse_value(place, issuer.as_str(), "is on loopback, and this issuer is not");
    }
    let clients = clients(&raw.clients, found);
    let systems = |field: &Field<Vec<Placed<String>>>, default: &[&str], found: &mut Findings| -> Vec<String> {
        match field {
            Field::Given(list, place) if list.is_empty() => {
                found.refuse(place, "is empty, so nobody could be found again; leave it out");
                Vec::new()
            }
            Field::Given(..) => each_once(field, found).into_iter().map(|item| item.value.clone()).collect(),
            Field::Absent(_) | Field::Wrong(_) => default.iter().map(|system| (*system).to_owned()).collect(),
        }
    };
    Some(TrustedIssuer {
        patient_systems: systems(&raw.patient_systems, &PersonNumber::SYSTEMS, found),
        person_systems: systems(&raw.person_systems, &[&[HprNumber::SYSTEM][..], &PersonNumber::SYSTEMS].concat(), found),
        issuer: issuer?,
        base: base?,
        client_id: client_id?,
        client_secret: client_secret?,
        clients,
    })
}

/// `theirs=ours`, each of theirs once.
fn clients(field: &Field<Vec<Placed<String>>>, found: &mut Findings) -> BTreeMap<ClientId, ClientId> {
    let mut map = BTreeMap::new();
    if let Field::Absent(place) = field {
        found.refuse(place, "is missing, so no client of theirs could be one of ours; write clients = [\"portal=regional-portal\"]");
    }
    for item in each_once(field, found) {
        let pair = item.value.split_once('=').and_then(|(theirs, ours)| Some((ClientId::parse(theirs).ok()?, ClientId::parse(ours).ok()?)));
        match pair {
            Some((theirs, ours)) if !map.contains_key(&theirs) => {
                map.insert(theirs, ours);
            }
            Some(_) => found.refuse_value(&item.place, &item.value, "maps a client that is mapped before; each is one of ours"),
            None => found.refuse_value(&item.place, &item.value, "must be their client_id, \"=\" and ours; write \"portal=regional-portal\""),
        }
    }
    map
}
