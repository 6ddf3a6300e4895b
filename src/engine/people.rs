//! Who a person is at a FHIR server: found by number, never by name. `reference/helseid.md` §6.6, P7 and P8.

use std::collections::BTreeSet;

use super::Engine;
use super::keys::KeysError;
use crate::domain::grant::Grant;
use crate::domain::person::{HprNumber, OrgNumber, PersonNumber};
use crate::fhir_client::{FhirClient, FhirDown, Resource};
use crate::protocol::ids::{FhirBase, Reference};
use crate::secret::Secret;

/// How far up an organisation's parents are followed.
const HIGHEST: usize = 4;

/// Why nobody is found, or nobody can say.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("no active practitioner has this identity number, or several have")]
    Person,
    #[error("the HPR number is another practitioner's, or nobody's")]
    Conflict,
    #[error(transparent)]
    Fhir(#[from] FhirDown),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl Engine {
    /// The one active practitioner of these numbers. Both must name the same; HPR may be missing where the person has none.
    ///
    /// # Errors
    /// [`Unknown`]
    pub(super) async fn practitioner(&self, base: &FhirBase, person: &PersonNumber, hpr: Option<&HprNumber>) -> Result<Resource, Unknown> {
        let (fhir, token) = self.reading_at(base)?;
        let found = the_one(fhir, &token, person.system(), person.secret()).await?.ok_or(Unknown::Person)?;
        let registered = found.identifiers(HprNumber::SYSTEM);
        let agrees = match hpr {
            // Compared as a number, in case one side writes leading zeros.
            Some(hpr) => registered.iter().any(|known| HprNumber::parse(known.expose()).is_some_and(|known| known.is_same(hpr))),
            None => registered.is_empty(),
        };
        if agrees { Ok(found) } else { Err(Unknown::Conflict) }
    }

    /// Whether the practitioner has an active role in this legal entity; where a unit is named, in that unit of it, or for the entity itself.
    /// P8, T16.
    ///
    /// # Errors
    /// [`Unknown`], where nobody can say.
    pub(super) async fn works_for(&self, base: &FhirBase, practitioner: &Reference, parent: &OrgNumber, child: Option<&OrgNumber>) -> Result<bool, Unknown> {
        let (fhir, token) = self.reading_at(base)?;
        for place in fhir.workplaces(&token, practitioner).await? {
            let upwards = self.numbers_upwards(base, &place).await?;
            let there = child.is_none_or(|child| upwards.contains(child) || upwards.first() == Some(parent));
            if there && upwards.contains(parent) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a place is this organisation, or a part of it.
    ///
    /// # Errors
    /// [`Unknown`], where nobody can say.
    pub(super) async fn belongs_to(&self, base: &FhirBase, place: &Reference, organisation: &OrgNumber) -> Result<bool, Unknown> {
        Ok(self.numbers_upwards(base, place).await?.contains(organisation))
    }

    /// Where a grant's work is done: the organisation of its launch, else that of its encounter, else the only place its person works at.
    ///
    /// # Errors
    /// [`Unknown`], where nobody can say.
    pub(super) async fn place_of(&self, grant: &Grant) -> Result<Option<Reference>, Unknown> {
        if let Some(place) = &grant.organization {
            return Ok(Some(place.clone()));
        }
        let (fhir, token) = self.reading_at(&grant.base)?;
        if let Some(encounter) = &grant.context.encounter {
            let what = Reference::to("Encounter", encounter);
            let provider = fhir.read(&token, &what).await?.and_then(|found| found.encounter()).and_then(|facts| facts.service_provider);
            if provider.is_some() {
                return Ok(provider);
            }
        }
        let Some(person) = &grant.fhir_user else { return Ok(None) };
        match fhir.workplaces(&token, person).await?.as_slice() {
            [only] => Ok(Some(only.clone())),
            _ => Ok(None),
        }
    }

    /// The organisation numbers of a place and of what it is a part of, the legal entity last.
    ///
    /// # Errors
    /// [`Unknown`], where nobody can say.
    pub(super) async fn numbers_upwards(&self, base: &FhirBase, place: &Reference) -> Result<Vec<OrgNumber>, Unknown> {
        let (fhir, token) = self.reading_at(base)?;
        let (mut numbers, mut at) = (Vec::new(), place.clone());
        for _ in 0..HIGHEST {
            let Some(found) = fhir.read(&token, &at).await? else { break };
            numbers.extend(found.identifiers(OrgNumber::SYSTEM).iter().filter_map(|number| OrgNumber::parse(number.expose())).take(1));
            match found.part_of() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        Ok(numbers)
    }

    /// How we read a base, with our own token.
    ///
    /// # Errors
    /// No key to sign it with, or no such base.
    pub(super) fn reading_at(&self, base: &FhirBase) -> Result<(&FhirClient, std::sync::Arc<Secret<String>>), Unknown> {
        let fhir = self.fhir.get(base).ok_or(FhirDown::Unreachable)?;
        Ok((fhir, self.own_token(base, &BTreeSet::new())?))
    }
}

/// The only active Practitioner under a number.
async fn the_one(fhir: &FhirClient, token: &Secret<String>, system: &str, number: &Secret<String>) -> Result<Option<Resource>, FhirDown> {
    let mut active = fhir.identified(token, "Practitioner", system, number).await?.into_iter().filter(Resource::is_active);
    let first = active.next();
    Ok(if active.next().is_some() { None } else { first })
}
