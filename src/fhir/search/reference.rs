//! Reference parameters: `id`, `Type/id` or a URL. <https://hl7.org/fhir/R4/search.html#reference>

use std::sync::Arc;

use crate::fhir::resource::Key;
use crate::fhir::table::TypeRow;
use crate::protocol::ids::FhirBase;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceValue {
    /// A bare id, of this type or of any the parameter may point at. NAV-068.
    Id(Option<&'static str>, String),
    Key(Key),
    /// Something on another server: compared as written.
    Elsewhere(String),
}

impl ReferenceValue {
    pub fn parse(base: &FhirBase, kind: Option<&'static str>, text: &str) -> Option<Self> {
        match Key::of_reference(base, text) {
            Some(key) => kind.is_none_or(|kind| kind == key.kind).then_some(Self::Key(key)),
            None if text.contains(':') => Some(Self::Elsewhere(text.to_owned())),
            None if text.contains('/') => None,
            None => Some(Self::Id(kind, text.to_owned())),
        }
    }

    pub fn matches(&self, text: &str, key: Option<&Key>) -> bool {
        match (self, key) {
            (Self::Id(kind, id), Some(key)) => kind.is_none_or(|kind| kind == key.kind) && *key.id == **id,
            (Self::Key(wanted), Some(key)) => wanted == key,
            (Self::Elsewhere(wanted), None) => wanted == text,
            (Self::Id(..) | Self::Key(_), None) | (Self::Elsewhere(_), Some(_)) => false,
        }
    }

    /// What a resource must refer to, to match: any of these. `None` where that cannot be told.
    pub fn keys(&self, targets: &[&'static str]) -> Option<Vec<Key>> {
        let of = |kind: &'static str, id: &str| Key { kind, id: Arc::from(id) };
        match self {
            Self::Key(key) => Some(vec![key.clone()]),
            Self::Id(Some(kind), id) => Some(vec![of(kind, id)]),
            Self::Id(None, id) if targets.is_empty() => Some(TypeRow::all().map(|row| of(row.name, id)).collect()),
            Self::Id(None, id) => Some(targets.iter().map(|kind| of(kind, id)).collect()),
            Self::Elsewhere(_) => None,
        }
    }
}
