//! Launch context: what was open in the EHR. SMART 2.2 launch context; SAL §3.5.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{FhirId, Reference};
use super::r4;

/// What was open in the EHR; sent beside the access token and again at introspection, with the same names and values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LaunchContext {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub patient: Option<FhirId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub encounter: Option<FhirId>,
    #[serde(rename = "fhirContext", skip_serializing_if = "Vec::is_empty", default)]
    pub fhir_context: Vec<FhirContextItem>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub need_patient_banner: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub intent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub smart_style_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<String>,
}

/// One item of `fhirContext`. SAL-074…077.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FhirContextItem {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub canonical: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identifier: Option<Map<String, Value>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<String>,
}

/// What is wrong with a `fhirContext` item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum ContextError {
    Empty,
    Reference,
    Canonical,
    Identifier,
    Type,
    Role,
    TopLevel,
}

impl ContextError {
    /// What to write instead.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "has an item without reference, canonical and identifier",
            Self::Reference => "has a reference that is not relative, such as DiagnosticReport/dr-5",
            Self::Canonical => "has a canonical that is no absolute URI",
            Self::Identifier => "has an identifier that is no FHIR Identifier with a value",
            Self::Type => "has a type that is no FHIR R4 resource type",
            Self::Role => "has a role that is neither `launch` nor an absolute URI",
            Self::TopLevel => "has a Patient or Encounter, which belong in `patient` and `encounter` unless they have a role other than `launch`",
        }
    }
}

fn is_absolute_uri(text: &str) -> bool {
    url::Url::parse(text).is_ok()
}

impl FhirContextItem {
    /// # Errors
    /// The first rule of SMART 2.2 (SAL-074…077) the item breaks.
    pub fn check(&self) -> Result<(), ContextError> {
        if self.reference.is_none() && self.canonical.is_none() && self.identifier.is_none() {
            return Err(ContextError::Empty);
        }
        let reference = self.reference.as_deref().map(Reference::parse).transpose().map_err(|_| ContextError::Reference)?;
        if reference.as_ref().is_some_and(|reference| !r4::is_resource_type(reference.kind.as_str())) {
            return Err(ContextError::Reference);
        }
        if self.canonical.as_deref().is_some_and(|canonical| !is_absolute_uri(canonical.split('|').next().unwrap_or_default())) {
            return Err(ContextError::Canonical);
        }
        let text = |member: Option<&Value>| member.is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty()));
        if self
            .identifier
            .as_ref()
            .is_some_and(|identifier| !text(identifier.get("value")) || identifier.get("system").is_some_and(|system| !text(Some(system))))
        {
            return Err(ContextError::Identifier);
        }
        if self.kind.as_deref().is_some_and(|kind| !r4::is_resource_type(kind)) {
            return Err(ContextError::Type);
        }
        if self.role.as_deref().is_some_and(|role| role != "launch" && !is_absolute_uri(role)) {
            return Err(ContextError::Role);
        }
        let own_member = |kind: &str| matches!(kind, "Patient" | "Encounter");
        let kind = reference.as_ref().map(|reference| reference.kind.as_str()).or(self.kind.as_deref());
        if kind.is_some_and(own_member) && self.role.as_deref().unwrap_or("launch") == "launch" {
            return Err(ContextError::TopLevel);
        }
        Ok(())
    }

    /// The resource type the item is about, in lower case as context scopes spell it.
    pub fn kind_in_lower_case(&self) -> Option<String> {
        let named = self.target().map(|reference| reference.kind.as_str().to_owned()).or_else(|| self.kind.clone());
        named.map(|kind| kind.to_ascii_lowercase())
    }

    /// The resource the item points at, where it does so by a literal reference.
    pub fn target(&self) -> Option<Reference> {
        self.reference.as_deref().and_then(|text| Reference::parse(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(value: Value) -> FhirContextItem {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn items_are_checked() {
        for good in [
            json!({"reference": "DiagnosticReport/dr-5"}),
            json!({"reference": "Patient/p2", "role": "https://epj.example/roles/newborn"}),
            json!({"canonical": "https://forms.example/Questionnaire/q1|2.0", "type": "Questionnaire", "role": "launch"}),
            json!({"identifier": {"system": "urn:oid:2.16.578.1.12.4.1.4.101", "value": "1"}, "type": "Organization"}),
        ] {
            assert_eq!(item(good.clone()).check(), Ok(()), "{good}");
        }
        for (bad, why) in [
            (json!({}), ContextError::Empty),
            (json!({"role": "launch"}), ContextError::Empty),
            (json!({"reference": "https://x.example/fhir/List/1"}), ContextError::Reference),
            (json!({"reference": "Nonsense/1"}), ContextError::Reference),
            (json!({"canonical": "q1"}), ContextError::Canonical),
            (json!({"identifier": {"system": "x:y"}}), ContextError::Identifier),
            (json!({"reference": "List/1", "type": "Liste"}), ContextError::Type),
            (json!({"reference": "List/1", "role": ""}), ContextError::Role),
            (json!({"reference": "List/1", "role": "home"}), ContextError::Role),
            (json!({"reference": "Patient/p2"}), ContextError::TopLevel),
            (json!({"reference": "Encounter/e2", "role": "launch"}), ContextError::TopLevel),
        ] {
            assert_eq!(item(bad.clone()).check(), Err(why), "{bad}");
        }
        assert!(serde_json::from_value::<FhirContextItem>(json!({"reference": "List/1", "x": 1})).is_err());
    }

    #[test]
    fn the_members_are_those_of_the_wire() {
        let context = LaunchContext { patient: Some(FhirId::parse("p").unwrap()), need_patient_banner: Some(false), ..LaunchContext::default() };
        assert_eq!(serde_json::to_value(&context).unwrap(), json!({"patient": "p", "need_patient_banner": false}));
    }
}
