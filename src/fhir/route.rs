//! Which path means what, and which methods it takes. fhir-server.md §4.

use http::Method;
use percent_encoding::percent_decode_str;

use super::refusal::Refusal;
use super::table::TypeRow;
use super::wire::Audience;

/// A path under the base.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    Metadata,
    SmartConfiguration,
    /// The base itself, or an operation on it.
    System,
    Type(&'static TypeRow),
    /// `{type}/_search`
    Search(&'static TypeRow),
    Instance(&'static TypeRow, String),
    /// `Patient/{id}/{type}`: what of a type is in the compartment of the patient of this id.
    Compartment(String, &'static TypeRow),
    /// Below a type or an instance: history, operations, compartments.
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
    Read(&'static TypeRow, String),
    Search(&'static TypeRow),
    /// A search within the compartment of the patient of this id.
    SearchCompartment(String, &'static TypeRow),
    /// A search whose parameters are in the body too.
    SearchByPost(&'static TypeRow),
}

impl PartialEq for TypeRow {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Route {
    /// Reads a path; `under` is the path of the base without a trailing slash.
    pub fn of(path: &str, under: &str) -> Self {
        let Some(rest) = path.strip_prefix(under).filter(|rest| rest.is_empty() || rest.starts_with('/')) else { return Self::Unknown };
        let decoded: Vec<String> = rest.trim_start_matches('/').split('/').map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect();
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [""] => Self::System,
            [operation] if operation.starts_with(['$', '_']) => Self::System,
            ["metadata"] => Self::Metadata,
            [".well-known", "smart-configuration"] => Self::SmartConfiguration,
            [kind, rest @ ..] => match (TypeRow::named(kind), rest) {
                (None, _) if kind.starts_with('.') => Self::Unknown,
                (None, _) => Self::UnknownType,
                (Some(row), [] | [""]) => Self::Type(row),
                (Some(row), ["_search"]) => Self::Search(row),
                (Some(row), [below]) if below.starts_with(['$', '_']) => Self::Below(row),
                (Some(row), [id] | [id, ""]) => Self::Instance(row, (*id).to_owned()),
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
            Self::System => "/".to_owned(),
            Self::Type(row) => format!("/{}", row.name),
            Self::Search(row) => format!("/{}/_search", row.name),
            Self::Instance(row, _) => format!("/{}/{{id}}", row.name),
            Self::Compartment(_, row) => format!("/Patient/{{id}}/{}", row.name),
            Self::Below(row) => format!("/{}/…", row.name),
            Self::UnknownType => "/{unknown type}".to_owned(),
            Self::Unknown => "{elsewhere}".to_owned(),
        }
    }

    pub fn audience(&self) -> Audience {
        if self.is_public() { Audience::Anybody } else { Audience::Registered }
    }

    pub fn is_public(&self) -> bool {
        matches!(self, Self::Metadata | Self::SmartConfiguration)
    }

    /// The methods it takes, for `Allow`.
    pub fn allow(&self) -> &'static str {
        match self {
            Self::Metadata | Self::SmartConfiguration | Self::Instance(..) => "GET, HEAD, OPTIONS",
            Self::Compartment(..) => "GET, HEAD, OPTIONS",
            Self::Type(row) if row.search => "GET, HEAD, OPTIONS",
            Self::Search(row) if row.search => "POST, OPTIONS",
            Self::Type(_) | Self::Search(_) | Self::System | Self::Below(_) | Self::UnknownType | Self::Unknown => "OPTIONS",
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
            Self::Instance(row, id) if get => Ok(Interaction::Read(row, id.clone())),
            Self::Type(row) if get && row.search => Ok(Interaction::Search(row)),
            Self::Compartment(id, row) if get => Ok(Interaction::SearchCompartment(id.clone(), row)),
            Self::Search(row) if method == Method::POST && row.search => Ok(Interaction::SearchByPost(row)),
            Self::Metadata
            | Self::SmartConfiguration
            | Self::System
            | Self::Type(_)
            | Self::Search(_)
            | Self::Instance(..)
            | Self::Compartment(..)
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
            ("/fhir/Patient/p1/Observation", "/Patient/{id}/Observation"),
            ("/fhir/Patient/p1/Practitioner", "/Patient/…"),
            ("/fhir/Encounter/e1/Observation", "/Encounter/…"),
            ("/fhir/Patient/p1/_history/1", "/Patient/…"),
            ("/fhir/Patient/%24export", "/Patient/…"),
            ("/fhir/$reindex", "/"),
            ("/fhir/Nonsense/1", "/{unknown type}"),
            ("/fhirPatient/p1", "{elsewhere}"),
            ("/", "{elsewhere}"),
        ] {
            assert_eq!(Route::of(path, "/fhir").template(), template, "{path}");
        }
        assert_eq!(Route::of("/Patient/p1", "").template(), "/Patient/{id}");
    }
}
