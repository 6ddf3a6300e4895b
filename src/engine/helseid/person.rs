//! Whether the person who logged in may be let in, and whom we take them for. `reference/helseid.md` §2.10, §6.6, P7, P9.

use super::super::Engine;
use super::super::people::Unknown;
use super::super::upstream_session::Bridge;
use crate::domain::interaction::LoginTrouble;
use crate::domain::person::HprNumber;
use crate::domain::upstream::HprDetails;
use crate::jose::SigningKey;
use crate::protocol::ids::{FhirBase, Reference};
use crate::upstream::LoggedIn;

/// Kinds of authorisation (code system 7704) that let somebody work: authorisation and licence. What is not known here is none.
const AUTHORIZED: [&str; 2] = ["1", "2"];

/// The person, as the FHIR server knows them.
pub(super) struct Recognised {
    pub fhir_user: Reference,
    pub name: Option<String>,
    pub hpr: Option<HprNumber>,
    /// Codes of system 9060.
    pub professions: Vec<String>,
}

impl Engine {
    /// Finds the person by both numbers, and holds them against the user of the launch where there is one.
    pub(super) async fn recognise(
        &self,
        bridge: &Bridge,
        logged_in: &LoggedIn,
        key: &SigningKey,
        base: &FhirBase,
        wanted: Option<&Reference>,
    ) -> Result<Recognised, LoginTrouble> {
        let identity = &logged_in.identity;
        let details = bridge.client.userinfo(&logged_in.tokens.access_token, key, &identity.subject).await.map_err(|error| {
            tracing::warn!(%error, "the identity provider does not say what a person may do");
            super::unredeemed(&error)
        })?;
        let hpr = one_number(identity.hpr.as_ref(), &details)?;
        let professions = professions(hpr.is_some(), &details)?;
        let found = self.practitioner(base, &identity.person, hpr.as_ref()).await.map_err(|unknown| {
            tracing::warn!(reason = %unknown, "whoever logged in at the identity provider is not let in");
            match unknown {
                // Where the app was opened for somebody, whoever else it is is the wrong one.
                Unknown::Person | Unknown::Conflict if wanted.is_some() => LoginTrouble::WrongPerson,
                Unknown::Person | Unknown::Conflict => LoginTrouble::Unknown,
                Unknown::Fhir(_) | Unknown::Keys(_) => LoginTrouble::Down,
            }
        })?;
        let fhir_user = found.reference().ok_or(LoginTrouble::Down)?;
        if wanted.is_some_and(|wanted| *wanted != fhir_user) {
            return Err(LoginTrouble::WrongPerson);
        }
        Ok(Recognised { name: found.practitioner_name(), fhir_user, hpr, professions })
    }
}

/// The HPR number: id_token and userinfo must not name two.
fn one_number(said: Option<&HprNumber>, details: &HprDetails) -> Result<Option<HprNumber>, LoginTrouble> {
    match (said, &details.number) {
        (Some(said), Some(known)) if !said.is_same(known) => Err(LoginTrouble::Unknown),
        (Some(number), _) => Ok(Some(number.clone())),
        (None, known) => Ok(known.clone()),
    }
}

/// What the person is authorised as. Who has a number has, or had, an authorisation; a withdrawn one is missing or of another kind (§3.3).
fn professions(registered: bool, details: &HprDetails) -> Result<Vec<String>, LoginTrouble> {
    let in_force = |kind: &Option<String>| kind.as_deref().is_some_and(|kind| AUTHORIZED.contains(&kind));
    let professions: Vec<String> =
        details.approvals.iter().filter(|approval| in_force(&approval.authorization)).map(|approval| approval.profession.clone()).collect();
    if registered && professions.is_empty() { Err(LoginTrouble::NotAuthorized) } else { Ok(professions) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::upstream::Approval;

    fn details(number: Option<&str>, kinds: &[Option<&str>]) -> HprDetails {
        let approval = |kind: &Option<&str>| Approval {
            profession: "LE".to_owned(),
            authorization: kind.map(str::to_owned),
            requisition_rights: Vec::new(),
            specialities: Vec::new(),
        };
        HprDetails { number: number.and_then(HprNumber::parse), approvals: kinds.iter().map(approval).collect() }
    }

    #[test]
    fn an_authorisation_in_force_is_needed_by_who_has_a_number() {
        for (registered, kinds, expected) in [
            (true, vec![Some("1")], Ok(1)),
            (true, vec![Some("2")], Ok(1)),
            (true, vec![Some("0"), Some("1")], Ok(1)),
            (true, vec![Some("0")], Err(LoginTrouble::NotAuthorized)),
            (true, vec![None], Err(LoginTrouble::NotAuthorized)),
            (true, vec![], Err(LoginTrouble::NotAuthorized)),
            (false, vec![], Ok(0)),
        ] {
            assert_eq!(professions(registered, &details(None, &kinds)).map(|found| found.len()), expected, "{registered} {kinds:?}");
        }
    }

    #[test]
    fn two_numbers_are_nobody() {
        let said = HprNumber::parse("990000101").unwrap();
        assert!(one_number(Some(&said), &details(Some("990000102"), &[])).is_err());
        assert!(one_number(Some(&said), &details(Some("0990000101"), &[])).unwrap().is_some());
        assert!(one_number(None, &details(Some("990000101"), &[])).unwrap().is_some());
        assert!(one_number(Some(&said), &details(None, &[])).unwrap().is_some());
        assert!(one_number(None, &details(None, &[])).unwrap().is_none());
    }
}
