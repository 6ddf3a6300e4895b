//! What a token stands for, as introspection told it and this server understands it. fhir-server.md §12.

use std::sync::Arc;

use serde_json::Value;

use super::resource::{Creator, Key};
use super::search::{Filter, ParamError, Reading};
use super::table::TypeRow;
use crate::protocol::ids::FhirBase;
use crate::protocol::scope::{Interactions, Level, ResourceScope, Scope, ScopeSet, Target};
use crate::secret::Digest;
use crate::time::UnixTime;

/// Who asks, for whom, with which scopes. Valid for as long as its token is.
#[derive(Debug)]
pub struct AccessContext {
    pub client_id: String,
    /// The patient in context: `patient/` scopes reach this one and nobody else.
    pub patient: Option<Arc<str>>,
    /// The encounter in context.
    pub encounter: Option<Arc<str>>,
    /// What the access is for, where the authorization server says: `TREAT`, `BTG` (v3-PurposeOfUse).
    pub purpose: Option<String>,
    /// The signed-in user's own resource here. `user/` scopes grant nothing without it.
    pub fhir_user: Option<Key>,
    /// Whether the `fhirUser` scope was granted.
    pub knows_fhir_user: bool,
    pub grants: Vec<Grant>,
    pub binding: Binding,
    pub expires_at: UnixTime,
    /// The granted scopes as they were told, for the journal.
    pub scopes: String,
}

/// What a token must come with, by its `cnf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    Nothing,
    /// The proof of the key of this thumbprint. RFC 9449 §6.
    Key(String),
    /// Something this server cannot see, such as a certificate (RFC 8705 §3.1).
    Unseen,
}

impl Binding {
    fn of(cnf: Option<&Value>) -> Self {
        match cnf {
            None | Some(Value::Null) => Self::Nothing,
            Some(cnf) => cnf.get("jkt").and_then(Value::as_str).map_or(Self::Unseen, |jkt| Self::Key(jkt.to_owned())),
        }
    }
}

/// A resource scope this server can evaluate.
#[derive(Debug)]
pub struct Grant {
    pub level: Level,
    pub target: Target,
    pub may: Interactions,
    only: Constraints,
    /// As the scope is written, for the journal.
    pub text: String,
}

/// The constraints of a scope, read by the search engine's own parser.
#[derive(Debug)]
enum Constraints {
    None,
    /// Per type: `*` with a constraint reaches the types that have the parameter.
    Of(Vec<(&'static str, Vec<Filter>)>),
}

impl Grant {
    /// Reads a scope. A constraint that cannot be evaluated makes the whole scope grant nothing (fhir-server.md §14).
    ///
    /// # Errors
    /// What is wrong with the constraint, where no type is left for the scope to reach.
    pub fn read(scope: &ResourceScope, base: &FhirBase, now: UnixTime) -> Result<Self, ParamError> {
        let (level, target, may, text) = (scope.level, scope.target.clone(), scope.may, scope.to_string());
        if scope.only.is_empty() {
            return Ok(Self { level, target, may, only: Constraints::None, text });
        }
        let mut types = Vec::new();
        let mut wrong = ParamError::Unknown;
        for row in TypeRow::all().filter(|row| target.includes(row.name)) {
            let filters: Result<Vec<_>, _> =
                scope.only.iter().map(|only| Filter::read_constraint(Reading { row, base, now }, &only.name, &only.value)).collect();
            match filters {
                Ok(filters) => types.push((row.name, filters)),
                Err(why) => wrong = why,
            }
        }
        if types.is_empty() { Err(wrong) } else { Ok(Self { level, target, may, only: Constraints::Of(types), text }) }
    }

    /// Whether the scope speaks of this type. `*` leaves out AuditEvent: reading the log takes a scope that names it (§14).
    pub fn reaches(&self, kind: &str) -> bool {
        let named = match &self.target {
            Target::Any => kind != "AuditEvent",
            Target::Type(name) => &**name == kind,
        };
        named
            && match &self.only {
                Constraints::None => true,
                Constraints::Of(types) => types.iter().any(|(name, _)| *name == kind),
            }
    }

    /// Whether a resource of a type the scope reaches meets its constraints.
    pub fn admits(&self, kind: &str, body: &Value) -> bool {
        match &self.only {
            Constraints::None => true,
            Constraints::Of(types) => types.iter().any(|(name, filters)| *name == kind && filters.iter().all(|filter| filter.matches(body))),
        }
    }
}

/// What of a token its scopes and context come from.
#[derive(Debug, Default, Clone, Copy)]
pub struct Told<'a> {
    pub client_id: &'a str,
    pub scope: &'a str,
    pub patient: Option<&'a str>,
    pub encounter: Option<&'a str>,
    pub purpose: Option<&'a str>,
    pub fhir_user: Option<&'a str>,
    pub cnf: Option<&'a Value>,
}

impl AccessContext {
    pub fn new(told: Told<'_>, expires_at: UnixTime, base: &FhirBase, now: UnixTime) -> Self {
        let scopes = ScopeSet::parse_request(told.scope);
        let mut grants = Vec::new();
        for scope in scopes.resources() {
            match Grant::read(scope, base, now) {
                Ok(grant) => grants.push(grant),
                Err(why) => tracing::warn!(client_id = told.client_id, %scope, %why, "this scope cannot be evaluated here and grants nothing"),
            }
        }
        Self {
            client_id: told.client_id.to_owned(),
            patient: told.patient.map(|id| id.strip_prefix("Patient/").unwrap_or(id).into()),
            encounter: told.encounter.map(|id| id.strip_prefix("Encounter/").unwrap_or(id).into()),
            purpose: told.purpose.map(str::to_owned),
            fhir_user: told.fhir_user.and_then(|text| Key::of_reference(base, text)),
            knows_fhir_user: scopes.contains(&Scope::FhirUser),
            grants,
            binding: Binding::of(told.cnf),
            expires_at,
            scopes: scopes.to_string(),
        }
    }

    /// Who uploads with this token.
    pub fn creator(&self) -> Creator {
        Creator { client_id: self.client_id.clone(), patient: self.patient.clone() }
    }

    /// Client, user and patient: two tokens of the same three turn each other's pages.
    pub fn owner(&self) -> Digest {
        let user = self.fhir_user.as_ref().map(|key| format!("{}/{}", key.kind, key.id)).unwrap_or_default();
        Digest::of_parts(&[self.client_id.as_bytes(), user.as_bytes(), self.patient.as_deref().unwrap_or_default().as_bytes()])
    }
}
