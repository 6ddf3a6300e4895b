//! Who somebody at another FHIR server is here: found again by identifier, never by name or id. `reference/helseid.md` §6.6, P7.

use std::collections::BTreeSet;

use super::foreign::{Carried, Trusted};
use super::{Engine, Failed};
use crate::domain::exchange::ExchangeRefusal;
use crate::fhir_client::{FhirDown, Resource};
use crate::protocol::ids::{FhirBase, FhirId, Reference};
use crate::secret::Secret;

/// More identifiers than anybody has; a record with more is not searched for.
const MOST_IDENTIFIERS: usize = 8;

/// The person and the patient of a foreign token, as they are known here.
pub(super) struct Mapped {
    pub(super) user: Reference,
    pub(super) name: Option<String>,
    pub(super) patient: Option<FhirId>,
}

impl Engine {
    /// Reads person and patient where they are, with the token itself, and finds each once here.
    ///
    /// # Errors
    /// [`ExchangeRefusal::Person`] and [`ExchangeRefusal::Patient`] where nobody or more than one is found, or where the token cannot read
    /// who it is about; a FHIR server that does not answer.
    pub(super) async fn mapped(&self, trusted: &Trusted, base: &FhirBase, token: &Secret<String>, carried: &Carried) -> Result<Mapped, Failed> {
        let rules = &trusted.rules;
        if carried.user.kind.as_str() != "Practitioner" {
            return Err(ExchangeRefusal::Person.into());
        }
        let person = read(trusted, token, &carried.user).await?.ok_or(ExchangeRefusal::Person)?;
        let person = self.counterpart(base, "Practitioner", &person, &rules.person_systems).await?.ok_or(ExchangeRefusal::Person)?;
        let patient = match &carried.patient {
            None => None,
            Some(id) => {
                let there = Reference::to("Patient", id);
                let there = read(trusted, token, &there).await?.ok_or(ExchangeRefusal::Patient)?;
                Some(self.counterpart(base, "Patient", &there, &rules.patient_systems).await?.and_then(|found| found.id()).ok_or(ExchangeRefusal::Patient)?)
            }
        };
        Ok(Mapped { user: person.reference().ok_or(ExchangeRefusal::Person)?, name: person.person_name(), patient })
    }

    /// The one active resource at our base that is the same one. Every identifier of these systems that leads anywhere leads to it, and none
    /// of its own in a system both have is another.
    async fn counterpart(&self, base: &FhirBase, kind: &'static str, there: &Resource, systems: &[String]) -> Result<Option<Resource>, Failed> {
        let theirs: Vec<(&String, Secret<String>)> =
            systems.iter().flat_map(|system| there.identifiers(system).into_iter().map(move |value| (system, value))).collect();
        if theirs.len() > MOST_IDENTIFIERS {
            return Ok(None);
        }
        let (fhir, own) = self.reading_at(base)?;
        let mut found: Option<Resource> = None;
        for (system, value) in theirs.iter().filter(|(_, value)| !value.expose().trim().is_empty()) {
            for one in fhir.identified(&own, kind, system, value).await?.into_iter().filter(Resource::is_active) {
                match &found {
                    Some(known) if known.id() != one.id() => return Ok(None),
                    Some(_) => {}
                    None => found = Some(one),
                }
            }
        }
        let agrees = |here: &Resource| {
            systems.iter().all(|system| {
                let values = |of: &Resource| of.identifiers(system).iter().map(|value| value.expose().clone()).collect::<BTreeSet<_>>();
                let (there, here) = (values(there), values(here));
                there.is_empty() || here.is_empty() || !there.is_disjoint(&here)
            })
        };
        Ok(found.filter(agrees))
    }
}

/// A resource at the other FHIR server, if the token can read it and it is in use there.
async fn read(trusted: &Trusted, token: &Secret<String>, what: &Reference) -> Result<Option<Resource>, Failed> {
    match trusted.fhir.read(token, what).await {
        Ok(found) => Ok(found.filter(Resource::is_active)),
        // The token is live, as its issuer just said: so it is not for this.
        Err(FhirDown::Refused(_)) => Ok(None),
        Err(down) => Err(down.into()),
    }
}
