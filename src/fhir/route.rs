//! Which path means what, and which methods it takes. fhir-server.md §4.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::refusal::Refusal;
use super::table::TypeRow;

/// A path under the base.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    Metadata,
    SmartConfiguration,
    /// RFC 9728 §3.1: the well-known name stands before the path of the base, or (as SMART has it) behind it.
    ProtectedResource,
    /// The base itself.
    System,
    /// An operation on the whole server.
    SystemOperation,
    /// Not a type that is stored: a batch, from clients that send it there. NAV-089.
    Bundle,
    Type(&'static TypeRow),
    /// `{type}/_search`
    Search(&'static TypeRow),
    Instance(&'static TypeRow, String),
    /// `{type}/{id}/_history`
    History(&'static TypeRow, String),
    /// `{type}/{id}/_history/{version}`
    Version(&'static TypeRow, String, String),
    /// `Patient/{id}/{type}`
    Compartment(String, &'static TypeRow),
    /// `{type}/$validate` and `{type}/{id}/$validate`
    Validate(&'static TypeRow, Option<String>),
    /// Below a type or an instance: operations and what else is not offered.
    Below(&'static TypeRow),
    UnknownType,
    /// Outside the base, or no FHIR path at all.
    Unknown,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Interaction {
    Capabilities,
    SmartConfiguration,
    ProtectedResource,
    Read(&'static TypeRow, String),
    ReadVersion(&'static TypeRow, String, String),
    History(&'static TypeRow, String),
    Search(&'static TypeRow),
    /// A search whose parameters are in the body too.
    SearchByPost(&'static TypeRow),
    /// A search within the compartment of the patient of this id.
    SearchCompartment(String, &'static TypeRow),
    Create(&'static TypeRow),
    Update(&'static TypeRow, String),
    ConditionalUpdate(&'static TypeRow),
    Delete(&'static TypeRow, String),
    /// What a write would be answered with.
    Validate(&'static TypeRow, Option<String>),
    Batch,
    /// A batch at `Bundle`.
    BatchAtBundle,
}

impl Interaction {
    /// Whether the body says something.
    pub fn takes_body(&self) -> bool {
        match self {
            Self::SearchByPost(_)
            | Self::Create(_)
            | Self::Update(..)
            | Self::ConditionalUpdate(_)
            | Self::Validate(..)
            | Self::Batch
            | Self::BatchAtBundle => true,
            Self::Capabilities
            | Self::SmartConfiguration
            | Self::ProtectedResource
            | Self::Read(..)
            | Self::ReadVersion(..)
            | Self::History(..)
            | Self::Search(_)
            | Self::SearchCompartment(..)
            | Self::Delete(..) => false,
        }
    }

    /// The id of the one resource that is meant, where the address names one.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Read(_, id) | Self::ReadVersion(_, id, _) | Self::History(_, id) | Self::Update(_, id) | Self::Delete(_, id) => Some(id),
            Self::Validate(_, id) => id.as_deref(),
            Self::Capabilities
            | Self::SmartConfiguration
            | Self::ProtectedResource
            | Self::Search(_)
            | Self::SearchByPost(_)
            | Self::SearchCompartment(..)
            | Self::Create(_)
            | Self::ConditionalUpdate(_)
            | Self::Batch
            | Self::BatchAtBundle => None,
        }
    }

    /// The code and the type. <https://hl7.org/fhir/R4/valueset-restful-interaction.html>
    pub fn told(&self) -> (&'static str, Option<&'static TypeRow>) {
        match self {
            Self::Capabilities | Self::SmartConfiguration | Self::ProtectedResource => ("capabilities", None),
            Self::Read(row, _) => ("read", Some(row)),
            Self::ReadVersion(row, ..) => ("vread", Some(row)),
            Self::History(row, _) => ("history-instance", Some(row)),
            Self::Search(row) | Self::SearchByPost(row) | Self::SearchCompartment(_, row) => ("search-type", Some(row)),
            Self::Create(row) => ("create", Some(row)),
            Self::Update(row, _) | Self::ConditionalUpdate(row) => ("update", Some(row)),
            Self::Delete(row, _) => ("delete", Some(row)),
            Self::Validate(row, _) => ("operation", Some(row)),
            Self::Batch | Self::BatchAtBundle => ("batch", None),
        }
    }
}

/// The interactions offered on a type: what the router takes and the CapabilityStatement says.
pub fn offered(row: &TypeRow) -> Vec<&'static str> {
    let mut codes = vec!["read", "vread", "history-instance"];
    if is_written(row) {
        codes.extend(["create", "update", "delete"]);
    }
    if row.search {
        codes.push("search-type");
    }
    codes
}

/// Clients write everything but the log.
pub fn is_written(row: &TypeRow) -> bool {
    row.name != "AuditEvent"
}

impl PartialEq for TypeRow {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Route {
    /// Reads a path; `under` is the path of the base without a trailing slash.
    pub fn of(path: &str, under: &str) -> Self {
        if path.strip_prefix("/.well-known/oauth-protected-resource").is_some_and(|rest| rest == under) {
            return Self::ProtectedResource;
        }
        let Some(rest) = path.strip_prefix(under).filter(|rest| rest.is_empty() || rest.starts_with('/')) else { return Self::Unknown };
        let decoded: Vec<Cow<'_, str>> = rest.trim_start_matches('/').split('/').map(|part| percent_decode_str(part).decode_utf8_lossy()).collect();
        let parts: Vec<&str> = decoded.iter().map(|part| &**part).collect();
        match parts.as_slice() {
            [""] => Self::System,
            [operation] if operation.starts_with(['$', '_']) => Self::SystemOperation,
            ["metadata"] => Self::Metadata,
            [".well-known", "smart-configuration"] => Self::SmartConfiguration,
            [".well-known", "oauth-protected-resource"] => Self::ProtectedResource,
            ["Bundle"] => Self::Bundle,
            [kind, rest @ ..] => match (TypeRow::named(kind), rest) {
                (None, _) if kind.starts_with('.') => Self::Unknown,
                (None, _) => Self::UnknownType,
                (Some(row), [] | [""]) => Self::Type(row),
                (Some(row), ["_search"]) => Self::Search(row),
                (Some(row), ["$validate"]) if is_written(row) => Self::Validate(row, None),
                (Some(row), [id, "$validate"]) if is_written(row) => Self::Validate(row, Some((*id).to_owned())),
                (Some(row), [below]) if below.starts_with(['$', '_']) => Self::Below(row),
                (Some(row), [id] | [id, ""]) => Self::Instance(row, (*id).to_owned()),
                (Some(row), [id, "_history"]) => Self::History(row, (*id).to_owned()),
                (Some(row), [id, "_history", version]) => Self::Version(row, (*id).to_owned(), (*version).to_owned()),
                (Some(row), [id, kind] | [id, kind, ""]) if row.name == "Patient" => {
                    match TypeRow::named(kind).filter(|row| row.search && row.in_compartment()) {
                        Some(of) => Self::Compartment((*id).to_owned(), of),
                        None => Self::Below(row),
                    }
                }
                (Some(row), _) => Self::Below(row),
            },
            [] => Self::Unknown,
        }
    }

    /// The path without ids, for the journal.
    pub fn template(&self) -> String {
        match self {
            Self::Metadata => "/metadata".to_owned(),
            Self::SmartConfiguration => "/.well-known/smart-configuration".to_owned(),
            Self::ProtectedResource => "/.well-known/oauth-protected-resource".to_owned(),
            Self::System => "/".to_owned(),
            Self::SystemOperation => "/{operation}".to_owned(),
            Self::Bundle => "/Bundle".to_owned(),
            Self::Type(row) => format!("/{}", row.name),
            Self::Search(row) => format!("/{}/_search", row.name),
            Self::Instance(row, _) => format!("/{}/{{id}}", row.name),
            Self::History(row, _) => format!("/{}/{{id}}/_history", row.name),
            Self::Version(row, ..) => format!("/{}/{{id}}/_history/{{version}}", row.name),
            Self::Compartment(_, row) => format!("/Patient/{{id}}/{}", row.name),
            Self::Validate(row, None) => format!("/{}/$validate", row.name),
            Self::Validate(row, Some(_)) => format!("/{}/{{id}}/$validate", row.name),
            Self::Below(row) => format!("/{}/…", row.name),
            Self::UnknownType => "/{unknown type}".to_owned(),
            Self::Unknown => "{elsewhere}".to_owned(),
        }
    }

    pub fn is_public(&self) -> bool {
        matches!(self, Self::Metadata | Self::SmartConfiguration | Self::ProtectedResource)
    }

    /// The type it is about.
    pub fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Type(row)
            | Self::Search(row)
            | Self::Instance(row, _)
            | Self::History(row, _)
            | Self::Version(row, ..)
            | Self::Compartment(_, row)
            | Self::Validate(row, _)
            | Self::Below(row) => Some(row.name),
            Self::Metadata
            | Self::SmartConfiguration
            | Self::ProtectedResource
            | Self::System
            | Self::SystemOperation
            | Self::Bundle
            | Self::UnknownType
            | Self::Unknown => None,
        }
    }

    /// The methods it takes, for `Allow`.
    pub fn allow(&self) -> &'static str {
        match self {
            Self::Instance(row, _) if is_written(row) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Self::Type(row) if is_written(row) => {
                if row.search {
                    "GET, HEAD, POST, PUT, OPTIONS"
                } else {
                    "POST, OPTIONS"
                }
            }
            Self::Metadata
            | Self::SmartConfiguration
            | Self::ProtectedResource
            | Self::Instance(..)
            | Self::History(..)
            | Self::Version(..)
            | Self::Compartment(..) => "GET, HEAD, OPTIONS",
            Self::Type(row) if row.search => "GET, HEAD, OPTIONS",
            Self::Search(row) if row.search => "POST, OPTIONS",
            Self::System | Self::Validate(..) => "POST, OPTIONS",
            Self::Type(_) | Self::Search(_) | Self::SystemOperation | Self::Bundle | Self::Below(_) | Self::UnknownType | Self::Unknown => "OPTIONS",
        }
    }

    /// What this method means here.
    ///
    /// # Errors
    /// [`Refusal::Method`], [`Refusal::UnknownType`] or [`Refusal::UnknownPath`].
    pub fn interaction(&self, method: &Method) -> Result<Interaction, Refusal> {
        let get = method == Method::GET || method == Method::HEAD;
        match self {
            Self::UnknownType => Err(Refusal::UnknownType),
            Self::Unknown => Err(Refusal::UnknownPath),
            Self::Metadata if get => Ok(Interaction::Capabilities),
            Self::SmartConfiguration if get => Ok(Interaction::SmartConfiguration),
            Self::ProtectedResource if get => Ok(Interaction::ProtectedResource),
            Self::Instance(row, id) if get => Ok(Interaction::Read(row, id.clone())),
            Self::Instance(row, id) if method == Method::PUT && is_written(row) => Ok(Interaction::Update(row, id.clone())),
            Self::Instance(row, id) if method == Method::DELETE && is_written(row) => Ok(Interaction::Delete(row, id.clone())),
            Self::History(row, id) if get => Ok(Interaction::History(row, id.clone())),
            Self::Version(row, id, version) if get => Ok(Interaction::ReadVersion(row, id.clone(), version.clone())),
            Self::Compartment(id, row) if get => Ok(Interaction::SearchCompartment(id.clone(), row)),
            Self::Type(row) if get && row.search => Ok(Interaction::Search(row)),
            Self::Type(row) if method == Method::POST && is_written(row) => Ok(Interaction::Create(row)),
            Self::Type(row) if method == Method::PUT && is_written(row) && row.search => Ok(Interaction::ConditionalUpdate(row)),
            Self::Search(row) if method == Method::POST && row.search => Ok(Interaction::SearchByPost(row)),
            Self::Validate(row, id) if method == Method::POST => Ok(Interaction::Validate(row, id.clone())),
            Self::System if method == Method::POST => Ok(Interaction::Batch),
            Self::Bundle if method == Method::POST => Ok(Interaction::BatchAtBundle),
            Self::Metadata
            | Self::SmartConfiguration
            | Self::ProtectedResource
            | Self::System
            | Self::SystemOperation
            | Self::Bundle
            | Self::Type(_)
            | Self::Search(_)
            | Self::Instance(..)
            | Self::History(..)
            | Self::Version(..)
            | Self::Compartment(..)
            | Self::Validate(..)
            | Self::Below(_) => Err(Refusal::Method { allow: self.allow() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_under_the_base() {
        for (path, template) in [
            ("/fhir", "/"),
            ("/fhir/", "/"),
            ("/fhir/metadata", "/metadata"),
            ("/fhir/.well-known/smart-configuration", "/.well-known/smart-configuration"),
            ("/fhir/.well-known/other", "{elsewhere}"),
            ("/fhir/Patient", "/Patient"),
            ("/fhir/Patient/", "/Patient"),
            ("/fhir/Patient/_search", "/Patient/_search"),
            ("/fhir/Patient/p1", "/Patient/{id}"),
            ("/fhir/Patient/p1/_history/1", "/Patient/{id}/_history/{version}"),
            ("/fhir/Patient/p1/_history", "/Patient/{id}/_history"),
            ("/fhir/Patient/p1/Condition", "/Patient/{id}/Condition"),
            ("/fhir/Patient/p1/Organization", "/Patient/…"),
            ("/fhir/Patient/_history", "/Patient/…"),
            ("/fhir/Patient/%24export", "/Patient/…"),
            ("/fhir/Patient/$validate", "/Patient/$validate"),
            ("/fhir/Patient/p1/$validate", "/Patient/{id}/$validate"),
            ("/fhir/AuditEvent/$validate", "/AuditEvent/…"),
            ("/fhir/Patient/p1/$everything", "/Patient/…"),
            ("/fhir/$reindex", "/{operation}"),
            ("/fhir/Bundle", "/Bundle"),
            ("/.well-known/oauth-protected-resource/fhir", "/.well-known/oauth-protected-resource"),
            ("/fhir/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource"),
            ("/.well-known/oauth-protected-resource", "{elsewhere}"),
            ("/fhir/Nonsense/1", "/{unknown type}"),
            ("/fhirPatient/p1", "{elsewhere}"),
            ("/", "{elsewhere}"),
        ] {
            assert_eq!(Route::of(path, "/fhir").template(), template, "{path}");
        }
        assert_eq!(Route::of("/Patient/p1", "").template(), "/Patient/{id}");
    }
}
