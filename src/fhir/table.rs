//! What this server knows about resource types: one row each. Routing, search, access and the CapabilityStatement all read these rows,
//! so that none of them can say what the others do not. <https://hl7.org/fhir/R4/searchparameter-registry.html>,
//! <https://hl7.org/fhir/R4/compartmentdefinition-patient.html>

use super::rows::ROWS;

/// One resource type.
#[derive(Debug)]
pub struct TypeRow {
    pub name: &'static str,
    /// The no-basis profile its resources follow, where there is one.
    pub profile: Option<&'static str>,
    pub belongs: Belongs,
    /// Whether a search on the type is offered; without it the type is read by id alone.
    pub search: bool,
    /// Parameters beyond [`COMMON`].
    pub params: &'static [Param],
}

/// How a resource of a type comes to belong to somebody. fhir-server.md §13.
#[derive(Debug, Clone, Copy)]
pub enum Belongs {
    /// The Patient itself.
    Patient,
    /// To the patient `subject` names; where the resource has no such element, to any patient `others` name.
    Subject { subject: &'static [&'static str], others: &'static [&'static str] },
    /// To whoever all of what this element refers to belongs to: Provenance.
    Targets(&'static str),
    /// To whoever the resources that point at it belong to: Binary.
    Pointed,
    /// To nobody: Practitioner, Organization and what else patients share. Read in support of something else (§14).
    Directory,
}

/// One search parameter.
#[derive(Debug, PartialEq)]
pub struct Param {
    pub name: &'static str,
    pub kind: Kind,
    /// Where the values are: element names joined by dots, a choice type by its full name (`onsetDateTime`). `a{b=c}` keeps
    /// those `a` whose `b` is the string `c`.
    pub paths: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// The resource's own id: a token whose case counts.
    Id,
    Token,
    /// A token that is `true` where there is a value other than `false`, and `false` elsewhere: `Patient.deceased[x]`.
    Truth,
    /// The types it may point at; empty means any.
    Reference(&'static [&'static str]),
    Date,
    String,
    Uri,
    Quantity,
    /// A canonical reference to this type: matches with or without `|version`.
    Canonical(&'static str),
}

impl Kind {
    /// The word of the CapabilityStatement. <https://hl7.org/fhir/R4/valueset-search-param-type.html>
    pub fn word(self) -> &'static str {
        match self {
            Self::Id | Self::Token | Self::Truth => "token",
            Self::Reference(_) | Self::Canonical(_) => "reference",
            Self::Date => "date",
            Self::String => "string",
            Self::Uri => "uri",
            Self::Quantity => "quantity",
        }
    }
}

/// On every type.
pub const COMMON: &[Param] = &[
    Param { name: "_id", kind: Kind::Id, paths: &["id"] },
    date("_lastUpdated", &["meta.lastUpdated"]),
    token("_tag", &["meta.tag"]),
    token("_security", &["meta.security"]),
    uri("_profile", &["meta.profile"]),
];

impl TypeRow {
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|row| row.name == name)
    }

    pub fn all() -> impl Iterator<Item = &'static Self> {
        ROWS.iter().copied().flatten()
    }

    /// The parameter of this name, common ones included.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.all_params().find(|param| param.name == name)
    }

    pub fn all_params(&self) -> impl Iterator<Item = &'static Param> + use<> {
        COMMON.iter().chain(self.params)
    }

    /// Whether its resources are somebody's own, as the patient compartment means it.
    pub fn in_compartment(&self) -> bool {
        match self.belongs {
            Belongs::Patient | Belongs::Subject { .. } | Belongs::Targets(_) => true,
            Belongs::Pointed | Belongs::Directory => false,
        }
    }

    /// The elements that put a resource into the compartment of the patient they refer to, as R4 defines it; a Patient is in its own
    /// besides. Wider than what decides access (fhir-server.md §13). Empty where the type is in no patient's compartment.
    pub fn compartment_paths(&self) -> Vec<&'static str> {
        match self.belongs {
            Belongs::Patient => vec!["link.other"],
            Belongs::Subject { subject, others } => subject.iter().chain(others).copied().collect(),
            Belongs::Targets(path) => vec![path],
            Belongs::Pointed | Belongs::Directory => Vec::new(),
        }
    }
}

pub(super) const fn token(name: &'static str, paths: &'static [&'static str]) -> Param {
    Param { name, kind: Kind::Token, paths }
}

pub(super) const fn date(name: &'static str, paths: &'static [&'static str]) -> Param {
    Param { name, kind: Kind::Date, paths }
}

pub(super) const fn string(name: &'static str, paths: &'static [&'static str]) -> Param {
    Param { name, kind: Kind::String, paths }
}

pub(super) const fn uri(name: &'static str, paths: &'static [&'static str]) -> Param {
    Param { name, kind: Kind::Uri, paths }
}

pub(super) const fn quantity(name: &'static str, paths: &'static [&'static str]) -> Param {
    Param { name, kind: Kind::Quantity, paths }
}

pub(super) const fn truth(name: &'static str, paths: &'static [&'static str]) -> Param {
    Param { name, kind: Kind::Truth, paths }
}

pub(super) const fn canonical(name: &'static str, target: &'static str, paths: &'static [&'static str]) -> Param {
    Param { name, kind: Kind::Canonical(target), paths }
}

pub(super) const fn refers(name: &'static str, targets: &'static [&'static str], paths: &'static [&'static str]) -> Param {
    Param { name, kind: Kind::Reference(targets), paths }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_an_r4_type_with_unambiguous_parameters() {
        for row in TypeRow::all() {
            assert!(crate::protocol::r4::is_resource_type(row.name), "{}", row.name);
            let mut names: Vec<_> = row.all_params().map(|param| param.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{} names a parameter twice", row.name);
            for param in row.all_params() {
                assert!(!param.paths.is_empty(), "{}.{}", row.name, param.name);
                if let Kind::Reference(targets) = param.kind {
                    assert!(targets.iter().all(|t| crate::protocol::r4::is_resource_type(t)), "{}.{}", row.name, param.name);
                }
            }
        }
    }
}
