//! The part of the decision that writes ask: both what stands there and what would must lie within the token's reach. fhir-server.md §14.

use super::{Access, Action, Change, Decision, Denied, Ground, UserPolicy};
use crate::fhir::context::Grant;
use crate::fhir::resource::{Key, Resource, values};
use crate::fhir::table::{Belongs, TypeRow};
use crate::protocol::scope::{Interactions, Level};

impl Access<'_> {
    pub(super) fn decide_write_of_type(&self, action: Action, row: &'static TypeRow) -> Decision {
        match self.writers(action, row).next() {
            Some(grant) => Decision::Allow(Ground::Scope(grant.text.clone())),
            // The scope is there and the user's own right is not: another scope would not help. SAL-203
            None if !matches!(row.belongs, Belongs::Directory)
                && self.usable().any(|grant| grant.level == Level::User && grant.may.includes(action.letter()) && grant.reaches(row.name)) =>
            {
                Decision::Deny(Denied::Outside)
            }
            None => self.deny(action, row),
        }
    }

    pub(super) fn decide_change(&self, action: Action, change: Change<'_>) -> Decision {
        let covered = self.decide_write_of_type(action, change.row);
        if !covered.allows() {
            return covered;
        }
        let mut ground = covered;
        let known = change.before.filter(|before| self.knows(action, before));
        // What would come is looked at first, and as if nothing stood there where the token does not see what does: a PUT of something out
        // of reach gets one answer, whether the id is taken or free. Of what lies within reach a taken id has to be refused; that the id is
        // taken, and nothing else, is what a client learns that chooses its own (§14: "existing and hidden: 404").
        if let Some(after) = change.after {
            match self.writes_new(action, after, known) {
                Some(grant) => ground = Decision::Allow(Ground::Scope(grant.text.clone())),
                None => return Decision::Deny(Denied::Outside),
            }
        }
        match (change.before, known) {
            (None, _) => ground,
            (Some(_), None) => Decision::Hide,
            (Some(_), Some(before)) => match self.writes(action, before) {
                Some(grant) if change.after.is_none() => Decision::Allow(Ground::Scope(grant.text.clone())),
                Some(_) => ground,
                None => Decision::Deny(Denied::Outside),
            },
        }
    }

    /// Whether it is no secret to the token that this is there: it sees it, or may do this to it.
    pub fn knows(&self, action: Action, resource: &Resource) -> bool {
        self.granted(Interactions::READ, resource).is_some()
            || self.granted(Interactions::SEARCH, resource).is_some()
            || self.writes(action, resource).is_some()
    }

    /// The scopes that let something of this type be written.
    fn writers(&self, action: Action, row: &'static TypeRow) -> impl Iterator<Item = &Grant> {
        let letter = action.letter();
        self.usable().filter(move |grant| {
            let named = grant.reaches(row.name) || (matches!(row.belongs, Belongs::Pointed) && action == Action::Create && grant.reaches("DocumentReference"));
            named && grant.may.includes(letter) && self.may_write(grant.level, row)
        })
    }

    /// Whether a level's scopes can write a type at all. The log is the server's own; what patients share is written with `system/`
    /// scopes alone (a role or a place in an organization decides what its holder reaches); of users only staff write (SAL §4.7 #32).
    fn may_write(&self, level: Level, row: &TypeRow) -> bool {
        if row.name == "AuditEvent" {
            return false;
        }
        match (level, row.belongs) {
            (Level::System, _) => true,
            (_, Belongs::Directory) => false,
            (Level::Patient, _) => true,
            (Level::User, _) => self.context.fhir_user.as_ref().is_some_and(|user| matches!(user.kind, "Practitioner" | "PractitionerRole")),
        }
    }

    fn writes(&self, action: Action, resource: &Resource) -> Option<&Grant> {
        let kind = resource.row.name;
        if self.is_blocked(resource) {
            return None;
        }
        self.writers(action, resource.row).find(|grant| self.admits(grant, kind, resource) && self.owns(grant.level, resource))
    }

    fn writes_new(&self, action: Action, after: &Resource, before: Option<&Resource>) -> Option<&Grant> {
        let kind = after.row.name;
        self.writers(action, after.row).find(|grant| {
            let within = match after.row.belongs {
                // Nothing points at it yet; where it says whom it is secured for, that must be within reach.
                Belongs::Pointed if before.is_none() => {
                    grant.level == Level::System
                        || values(&after.body, &["securityContext.reference"])
                            .iter()
                            .all(|text| text.as_str().and_then(|text| Key::of_reference(self.base, text)).is_some_and(|key| self.may_refer_to(&key)))
                }
                Belongs::Patient if before.is_none() && grant.level == Level::User => self.registers(after),
                Belongs::Patient | Belongs::Subject { .. } | Belongs::Targets(_) | Belongs::Pointed | Belongs::Directory => self.owns(grant.level, after),
            };
            within && self.admits(grant, kind, after) && (grant.level != Level::Patient || self.fits_encounter(after))
        })
    }

    /// A Binary has nothing a constraint could look at, and is written under the documents' scope too.
    fn admits(&self, grant: &Grant, kind: &str, resource: &Resource) -> bool {
        match resource.row.belongs {
            Belongs::Pointed if !grant.reaches(kind) => true,
            Belongs::Patient | Belongs::Subject { .. } | Belongs::Targets(_) | Belongs::Pointed | Belongs::Directory => grant.admits(kind, &resource.body),
        }
    }

    /// As reading has it, and more: where several patients are named, each must be within reach.
    fn owns(&self, level: Level, resource: &Resource) -> bool {
        if level == Level::System {
            return true;
        }
        match resource.row.belongs {
            Belongs::Patient | Belongs::Subject { .. } => {
                let patients = self.owners(resource);
                let reaches = |patient| if level == Level::Patient { self.context.patient.as_ref() == Some(patient) } else { self.user_reaches(patient) };
                !patients.is_empty() && patients.iter().all(reaches)
            }
            Belongs::Targets(_) | Belongs::Pointed | Belongs::Directory => self.is_within(level, resource),
        }
    }

    /// A patient who is new here: registered where the user works, or with the user as general practitioner.
    fn registers(&self, patient: &Resource) -> bool {
        let Some(practitioner) = self.practitioner() else { return false };
        match self.policy.user {
            UserPolicy::All => true,
            UserPolicy::Organization => {
                let organizations = self.organizations_of(&practitioner);
                patient.references_at(self.base, &["managingOrganization"]).iter().any(|key| organizations.contains(key))
            }
            UserPolicy::CareRelation => patient.references_at(self.base, &["generalPractitioner"]).contains(&practitioner),
        }
    }

    /// §14, "Writes under `patient/`": an encounter that is named must be this patient's.
    fn fits_encounter(&self, after: &Resource) -> bool {
        let Some(param) = after.row.param("encounter") else { return true };
        values(&after.body, param.paths).iter().all(|named| {
            let Some(text) = named.get("reference").and_then(serde_json::Value::as_str) else { return true };
            if text.starts_with('#') {
                return true;
            }
            let Some(key) = Key::of_reference(self.base, text) else { return false };
            if key.kind != "Encounter" {
                return true;
            }
            let of_patient = self
                .data
                .get(&key)
                .is_some_and(|encounter| encounter.patients().is_some_and(|all| all.iter().any(|patient| self.context.patient.as_ref() == Some(patient))));
            of_patient && (!self.policy.encounter_must_match || self.context.encounter.as_ref() == Some(&key.id))
        })
    }

    /// Whether what the token writes may point at this: it is there, and within reach of some level the token has. A document's content
    /// must be readable already, or a reference would open it; so would a reference to what patients share (§14, supporting reads), which
    /// is therefore readable already, the signed-in user's own, or named in a record within reach. A backend opens nothing by referring.
    pub fn may_refer_to(&self, key: &Key) -> bool {
        let Some(target) = self.data.get(key) else { return false };
        match target.row.belongs {
            Belongs::Directory => {
                self.context.fhir_user.as_ref() == Some(key)
                    || self.usable().any(|grant| grant.level == Level::System)
                    || self.ground(Action::Read, target).is_some()
                    || self.data.referrers(key).any(|referrer| {
                        matches!(referrer.row.belongs, Belongs::Patient | Belongs::Subject { .. })
                            && self.usable().any(|grant| self.is_within(grant.level, referrer))
                    })
            }
            Belongs::Pointed => self.ground(Action::Read, target).is_some(),
            Belongs::Patient | Belongs::Subject { .. } | Belongs::Targets(_) if target.row.name == "AuditEvent" => self.ground(Action::Read, target).is_some(),
            Belongs::Patient | Belongs::Subject { .. } | Belongs::Targets(_) => {
                self.is_own_user(target) || self.usable().any(|grant| self.is_within(grant.level, target))
            }
        }
    }

    /// The Binary was uploaded with a token like this one, and no document points at it yet. §14.
    pub(super) fn is_own_upload(&self, binary: &Resource) -> bool {
        let ours = |creator: &crate::fhir::resource::Creator| creator.client_id == self.context.client_id && creator.patient == self.context.patient;
        binary.creator.as_ref().is_some_and(ours)
            && !self.data.referrers(&binary.key()).any(|referrer| matches!(referrer.row.name, "DocumentReference" | "DiagnosticReport"))
    }
}
