//! Who may see and change what: one pure decision that reads, searches, writes and everything else call. fhir-server.md §12–§14.
//!
//! Nothing is disclosed by the shape of a refusal: what a token may not see is [`Decision::Hide`], answered like what is not there.
//! `Patient.link` is not followed: a `patient/` scope stays with the record that was launched (SAL-209).

mod change;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::context::{AccessContext, Grant};
use super::data::Snapshot;
use super::resource::{Key, Resource};
use super::table::{Belongs, TypeRow};
use crate::protocol::ids::FhirBase;
use crate::protocol::scope::{Interactions, Level};

/// What is to be done. Each action has the SMART letter that allows it (§14, SAL-204).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// read, vread, instance history
    Read,
    /// search by GET, POST or compartment
    Search,
    Create,
    /// update, update-as-create included (SAL-205)
    Update,
    Delete,
}

impl Action {
    pub fn letter(self) -> Interactions {
        match self {
            Self::Read => Interactions::READ,
            Self::Search => Interactions::SEARCH,
            Self::Create => Interactions::CREATE,
            Self::Update => Interactions::UPDATE,
            Self::Delete => Interactions::DELETE,
        }
    }
}

/// What it is done to: a type as such, before anything is looked up, one resource (or one version of it), or a change from one version
/// to the next.
#[derive(Clone, Copy, Debug)]
pub enum On<'a> {
    Type(&'static TypeRow),
    Resource(&'a Resource),
    Change(Change<'a>),
}

/// A write: `before` is what stands there, `after` what would. One of them is there.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub row: &'static TypeRow,
    pub before: Option<&'a Resource>,
    pub after: Option<&'a Resource>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(Ground),
    /// The type is open to this token, this resource is not.
    Hide,
    Deny(Denied),
}

impl Decision {
    pub fn allows(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Why something is allowed: told in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// This scope gives it.
    Scope(String),
    /// It is the signed-in user's own resource, or role. SAL-220.
    OwnUser,
    /// Something the token may read refers to it. SAL-221, §14 "Supporting reads".
    Supporting,
}

/// Why something is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No scope covers the type; this one would.
    Scope(String),
    /// The type is covered, and what is written would lie outside what the token reaches. Tells nothing: the caller has the content.
    Outside,
}

/// What patients' resources refer to and share: when may a token without a scope for the type read it? §14.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SupportingReads {
    /// What a resource visible to the token refers to.
    #[default]
    Referenced,
    /// Any.
    Any,
    /// Only with a scope that names the type, and then what is referred to.
    Scope,
}

/// Which patients `user/` scopes reach. §14, user/ policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserPolicy {
    All,
    /// Patients with an Encounter or `managingOrganization` at one of the user's organizations or below.
    #[default]
    Organization,
    /// Patients the user has an Encounter with, or is the general practitioner of.
    CareRelation,
}

/// Which elements put a resource within a patient's reach. §13, trap 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compartment {
    /// The subject, where the type has one; who wrote or took part only where there is no subject.
    #[default]
    StrictSubject,
    /// Every element R4 names: what a patient wrote about somebody else is within the writer's reach too. `Patient.link` is not, as ever.
    R4,
}

/// How this server decides where SMART leaves it open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    pub supporting_reads: SupportingReads,
    pub user: UserPolicy,
    pub compartment: Compartment,
    /// What is written with `patient/` scopes names the encounter in context, or none.
    pub encounter_must_match: bool,
    /// Documents the patient has blocked (9603 `NORS`) are hidden but for the purpose `BTG`, those withheld from parents (`NORN_FORANS`)
    /// from a RelatedPerson. fhir-server.md §15.
    pub block_documents: bool,
}

/// Decides for one token over one snapshot of the data.
pub struct Access<'a> {
    context: &'a AccessContext,
    data: &'a Snapshot,
    base: &'a FhirBase,
    policy: Policy,
    users_patients: OnceCell<Reach>,
}

/// What a user can be. SAL §3.9.
const PEOPLE: &[&str] = &["Practitioner", "PractitionerRole", "Patient", "RelatedPerson"];

enum Reach {
    Everybody,
    These(BTreeSet<Arc<str>>),
}

impl<'a> Access<'a> {
    pub fn new(context: &'a AccessContext, data: &'a Snapshot, base: &'a FhirBase, policy: Policy) -> Self {
        Self { context, data, base, policy, users_patients: OnceCell::new() }
    }

    /// The decision. A type is [`Decision::Deny`] where no scope could open any resource of it; a resource is [`Decision::Hide`]
    /// where its type is open and it is not.
    pub fn decide(&self, action: Action, on: On<'_>) -> Decision {
        match on {
            On::Type(row) => self.decide_type(action, row),
            On::Change(change) => self.decide_change(action, change),
            On::Resource(resource) => match self.ground(action, resource) {
                Some(ground) => Decision::Allow(ground),
                None => match self.decide_type(action, resource.row) {
                    Decision::Allow(_) | Decision::Hide => Decision::Hide,
                    denied @ Decision::Deny(_) => denied,
                },
            },
        }
    }

    fn decide_type(&self, action: Action, row: &'static TypeRow) -> Decision {
        if matches!(action, Action::Create | Action::Update | Action::Delete) {
            return self.decide_write_of_type(action, row);
        }
        if let Some(grant) = self.usable().find(|grant| grant.may.includes(action.letter()) && grant.reaches(row.name)) {
            return Decision::Allow(Ground::Scope(grant.text.clone()));
        }
        // A read names its resource, and only that one is open; a search answers with it and nothing more.
        if action == Action::Search && self.may_hold_own_user(row) {
            return Decision::Allow(Ground::OwnUser);
        }
        match (row.belongs, action) {
            (Belongs::Directory, Action::Search) if self.opens_in_support(row) => Decision::Allow(Ground::Supporting),
            // A document's content has no scope of its own: it is as open as the documents are.
            (Belongs::Pointed, Action::Read) if ["DocumentReference", "DiagnosticReport"].iter().any(|kind| self.reads_type(kind)) => {
                Decision::Allow(Ground::Supporting)
            }
            (Belongs::Patient | Belongs::Subject { .. } | Belongs::Targets(_) | Belongs::Pointed | Belongs::Directory, _) => self.deny(action, row),
        }
    }

    fn may_hold_own_user(&self, row: &TypeRow) -> bool {
        let is_kind = |user: &Key| user.kind == row.name || (user.kind == "Practitioner" && row.name == "PractitionerRole");
        self.context.knows_fhir_user && self.context.fhir_user.as_ref().is_some_and(is_kind)
    }

    /// Names the scope that would do. RFC 6750 §3.1.
    fn deny(&self, action: Action, row: &TypeRow) -> Decision {
        let level = if self.context.patient.is_some() {
            Level::Patient
        } else if self.context.fhir_user.is_some() {
            Level::User
        } else {
            self.context.grants.first().map_or(Level::Patient, |grant| grant.level)
        };
        let (level, kind) = match row.belongs {
            Belongs::Directory if !matches!(action, Action::Read | Action::Search) => (Level::System, row.name),
            // `patient/` scopes alone open no shared resource, and no document content.
            Belongs::Directory if level == Level::Patient => (Level::User, row.name),
            Belongs::Pointed if level != Level::System && matches!(action, Action::Read | Action::Create) => (level, "DocumentReference"),
            Belongs::Patient | Belongs::Subject { .. } | Belongs::Targets(_) | Belongs::Pointed | Belongs::Directory => (level, row.name),
        };
        Decision::Deny(Denied::Scope(format!("{}/{kind}.{}", level.as_str(), action.letter())))
    }

    /// What opens this resource, if anything.
    fn ground(&self, action: Action, resource: &Resource) -> Option<Ground> {
        if let Some(grant) = self.granted(action.letter(), resource) {
            return Some(Ground::Scope(grant.text.clone()));
        }
        if self.is_own_user(resource) {
            return Some(Ground::OwnUser);
        }
        let supporting = match resource.row.belongs {
            Belongs::Directory => {
                self.opens_in_support(resource.row) && (self.policy.supporting_reads == SupportingReads::Any || self.is_referred_to(resource))
            }
            Belongs::Pointed => action == Action::Read && (self.is_pointed_at(resource) || self.is_own_upload(resource)),
            Belongs::Patient | Belongs::Subject { .. } | Belongs::Targets(_) => false,
        };
        supporting.then_some(Ground::Supporting)
    }

    /// The scopes whose level has what it needs: `patient/` a patient in context, `user/` a usable `fhirUser`. §14.
    fn usable(&self) -> impl Iterator<Item = &Grant> {
        self.context.grants.iter().filter(|grant| match grant.level {
            Level::Patient => self.context.patient.is_some(),
            Level::User => self.context.fhir_user.as_ref().is_some_and(|user| PEOPLE.contains(&user.kind) && self.data.get(user).is_some()),
            Level::System => true,
        })
    }

    /// The scope that gives this letter on this resource.
    fn granted(&self, letter: Interactions, resource: &Resource) -> Option<&Grant> {
        self.usable().find(|grant| self.gives(grant, letter, resource))
    }

    fn gives(&self, grant: &Grant, letter: Interactions, resource: &Resource) -> bool {
        let kind = resource.row.name;
        !self.is_blocked(resource)
            && grant.may.includes(letter)
            && grant.reaches(kind)
            && grant.admits(kind, &resource.body)
            && self.is_within(grant.level, resource)
    }

    /// A version goes by its own labels and by those of what the document has become: blocking it blocks what it was.
    fn is_blocked(&self, resource: &Resource) -> bool {
        if !self.policy.block_documents || resource.row.name != "DocumentReference" {
            return false;
        }
        let latest = self.data.latest(resource.row.name, &resource.id).map(|latest| &**latest);
        let labelled = |resource: &Resource, wanted: &str| {
            super::resource::values(&resource.body, &["securityLabel.coding", "meta.security"]).iter().any(|label| {
                label.get("system").and_then(serde_json::Value::as_str) == Some("urn:oid:2.16.578.1.12.4.1.1.9603")
                    && label.get("code").and_then(serde_json::Value::as_str) == Some(wanted)
            })
        };
        let has = |wanted: &str| labelled(resource, wanted) || latest.is_some_and(|latest| labelled(latest, wanted));
        (has("NORS") && self.context.purpose.as_deref() != Some("BTG"))
            || (has("NORN_FORANS") && self.context.fhir_user.as_ref().is_some_and(|user| user.kind == "RelatedPerson"))
    }

    /// Whether the level's own filter lets the resource through. SAL §4.4.
    fn is_within(&self, level: Level, resource: &Resource) -> bool {
        if level == Level::System {
            return true;
        }
        match resource.row.belongs {
            Belongs::Patient | Belongs::Subject { .. } => {
                let patients = self.owners(resource);
                patients.iter().any(|patient| if level == Level::Patient { self.context.patient.as_ref() == Some(patient) } else { self.user_reaches(patient) })
            }
            Belongs::Targets(path) => {
                let targets = resource.references_at(self.base, &[path]);
                let named = super::resource::values(&resource.body, &[path]).len();
                // A target that is not here cannot be decided, and one Provenance about another would never end.
                !targets.is_empty()
                    && targets.len() == named
                    && targets.iter().all(|key| {
                        self.data.get(key).is_some_and(|target| {
                            !matches!(target.row.belongs, Belongs::Targets(_)) && (self.reads(target) || self.granted(Interactions::SEARCH, target).is_some())
                        })
                    })
            }
            Belongs::Pointed => self.is_pointed_at(resource) || self.is_own_upload(resource),
            Belongs::Directory => level == Level::User || self.policy.supporting_reads == SupportingReads::Any || self.is_referred_to(resource),
        }
    }

    /// The patients within whose reach a resource lies.
    fn owners<'r>(&self, resource: &'r Resource) -> Cow<'r, [Arc<str>]> {
        match (self.policy.compartment, resource.row.belongs) {
            (Compartment::R4, Belongs::Subject { subject, others }) => {
                let named = [subject, others].into_iter().flat_map(|paths| resource.references_at(self.base, paths));
                named.filter(|key| key.kind == "Patient").map(|key| key.id).collect()
            }
            (Compartment::R4 | Compartment::StrictSubject, _) => Cow::Borrowed(resource.patients().map_or(&[], |all| &**all)),
        }
    }

    fn reads(&self, resource: &Resource) -> bool {
        self.granted(Interactions::READ, resource).is_some()
    }

    fn reads_type(&self, kind: &str) -> bool {
        self.usable().any(|grant| grant.may.includes(Interactions::READ) && grant.reaches(kind))
    }

    /// Whether shared resources are open without a scope for their type: with any scope that reads something of a patient's. A backend
    /// client is registered for what it needs by name (SAL-211), so `system/` scopes do not count.
    fn opens_in_support(&self, row: &TypeRow) -> bool {
        matches!(row.belongs, Belongs::Directory)
            && self.policy.supporting_reads != SupportingReads::Scope
            && self.usable().any(|grant| {
                grant.level != Level::System
                    && grant.may.includes(Interactions::READ)
                    && TypeRow::all().any(|other| other.in_compartment() && grant.reaches(other.name))
            })
    }

    /// Whether something of a patient's that the token may read refers to it.
    fn is_referred_to(&self, resource: &Resource) -> bool {
        self.data.referrers(&resource.key()).any(|referrer| {
            // Provenance is visible only through what it is about, and is not asked here: that would lead back.
            matches!(referrer.row.belongs, Belongs::Patient | Belongs::Subject { .. }) && self.reads_below_system(referrer)
        })
    }

    /// Whether a scope of a patient or a user opens it, whatever a backend's scopes open besides.
    fn reads_below_system(&self, resource: &Resource) -> bool {
        self.usable().any(|grant| grant.level != Level::System && self.gives(grant, Interactions::READ, resource))
    }

    /// §14, Binary: readable when a visible document points at it, or its `securityContext` is visible.
    fn is_pointed_at(&self, binary: &Resource) -> bool {
        let by_document =
            self.data.referrers(&binary.key()).any(|referrer| matches!(referrer.row.name, "DocumentReference" | "DiagnosticReport") && self.reads(referrer));
        by_document
            || binary.references_at(self.base, &["securityContext"]).iter().any(|key| {
                self.data.get(key).is_some_and(|context| matches!(context.row.belongs, Belongs::Patient | Belongs::Subject { .. }) && self.reads(context))
            })
    }

    /// SAL-220: the resource `fhirUser` points to; for a Practitioner also the roles it has (§14).
    fn is_own_user(&self, resource: &Resource) -> bool {
        let Some(user) = self.context.fhir_user.as_ref().filter(|_| self.context.knows_fhir_user) else { return false };
        resource.key() == *user || (resource.row.name == "PractitionerRole" && resource.references_at(self.base, &["practitioner"]).contains(user))
    }

    fn user_reaches(&self, patient: &Arc<str>) -> bool {
        match self.users_patients.get_or_init(|| self.reach_of_user()) {
            Reach::Everybody => true,
            Reach::These(patients) => patients.contains(patient),
        }
    }

    /// The signed-in user as a member of staff.
    fn practitioner(&self) -> Option<Key> {
        let user = self.data.get(self.context.fhir_user.as_ref()?)?;
        match user.row.name {
            "Practitioner" => Some(user.key()),
            "PractitionerRole" => user.references_at(self.base, &["practitioner"]).pop(),
            _ => None,
        }
    }

    fn reach_of_user(&self) -> Reach {
        let Some(user) = self.context.fhir_user.as_ref().and_then(|key| self.data.get(key)) else { return Reach::These(BTreeSet::new()) };
        let Some(practitioner) = self.practitioner() else {
            // A patient reaches themselves, a relative whom they are related to, whatever the policy for staff.
            return Reach::These(user.patients().into_iter().flat_map(|all| all.iter().cloned()).collect());
        };
        let organizations = match self.policy.user {
            UserPolicy::All => return Reach::Everybody,
            UserPolicy::Organization => self.organizations_of(&practitioner),
            UserPolicy::CareRelation => BTreeSet::new(),
        };
        let mut patients = BTreeSet::new();
        for patient in self.data.of_type("Patient") {
            let related = match self.policy.user {
                UserPolicy::All => true,
                UserPolicy::Organization => patient.references_at(self.base, &["managingOrganization"]).iter().any(|key| organizations.contains(key)),
                UserPolicy::CareRelation => patient.references_at(self.base, &["generalPractitioner"]).contains(&practitioner),
            };
            if related {
                patients.insert(Arc::clone(&patient.id));
            }
        }
        for encounter in self.data.of_type("Encounter") {
            let related = match self.policy.user {
                UserPolicy::All => true,
                UserPolicy::Organization => encounter.references_at(self.base, &["serviceProvider"]).iter().any(|key| organizations.contains(key)),
                UserPolicy::CareRelation => encounter.references_at(self.base, &["participant.individual"]).contains(&practitioner),
            };
            if related {
                patients.extend(encounter.patients().into_iter().flat_map(|all| all.iter().cloned()));
            }
        }
        Reach::These(patients)
    }

    /// Where the practitioner has an active role, and everything below.
    fn organizations_of(&self, practitioner: &Key) -> BTreeSet<Key> {
        let active = |role: &&Arc<Resource>| role.row.name == "PractitionerRole" && role.body.get("active").and_then(serde_json::Value::as_bool) != Some(false);
        let roles = self.data.referrers(practitioner).filter(active);
        let mut open: Vec<Key> = roles.flat_map(|role| role.references_at(self.base, &["organization"])).collect();
        let mut all = BTreeSet::new();
        while let Some(organization) = open.pop() {
            if all.insert(organization.clone()) {
                let below = self.data.referrers(&organization).filter(|below| below.row.name == "Organization");
                open.extend(below.filter(|below| below.references_at(self.base, &["partOf"]).contains(&organization)).map(|below| below.key()));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
