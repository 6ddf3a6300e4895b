//! What travels inside a client assertion or request object: for which organisation we act, and the attest of the trust framework.
//! `reference/helseid.md` §3.4, §4.

use serde_json::{Map, Value, json};

use crate::domain::person::OrgNumber;
use crate::domain::upstream::{ActingFor, Tenancy};
use crate::secret::Digest;

/// Organisations of the national register, as the attest and single-tenant clients name them.
const ORGANISATION: &str = OrgNumber::SYSTEM;
/// Departments (RESH).
const DEPARTMENT: &str = "urn:oid:2.16.578.1.12.4.1.4.102";
/// ISO/IEC 6523, as multi-tenant clients name organisations.
const ISO_6523: &str = "urn:oid:1.0.6523";
const PURPOSE: &str = "urn:oid:2.16.840.1.113883.1.11.20448";
const PURPOSE_DETAILS: &str = "urn:oid:2.16.578.1.12.4.1.1.9151";
const PROFESSION: &str = "urn:oid:2.16.578.1.12.4.1.1.9060";

/// The structures of one call, each at most once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    acting_for: Option<ActingFor>,
    organisation: Option<Value>,
    attest: Option<Value>,
    journal: Option<Value>,
    nameless: bool,
}

impl Details {
    /// Nothing to say.
    pub fn none() -> Self {
        Self::default()
    }

    /// Acts for this organisation, as far as the tenancy of our client leaves it open; nothing where the registration settles it.
    #[must_use]
    pub fn acting_for(self, tenancy: Tenancy, who: &ActingFor) -> Self {
        let (system, value) = match (tenancy, &who.child) {
            (Tenancy::Own, _) | (Tenancy::Single, None) => return self,
            (Tenancy::Single, Some(child)) => (ORGANISATION, child.to_string()),
            (Tenancy::Multi, Some(child)) => (ISO_6523, format!("NO:ORGNR:{}:{child}", who.parent)),
            // Without the colon some libraries put behind it. `reference/helseid.md` §4.1.
            (Tenancy::Multi, None) => (ISO_6523, format!("NO:ORGNR:{}", who.parent)),
        };
        let identifier = json!({ "system": system, "type": "ENH", "value": value });
        let organisation = json!({ "type": "helseid_authorization", "practitioner_role": { "organization": { "identifier": identifier } } });
        Self { acting_for: Some(who.clone()), organisation: Some(organisation), ..self }
    }

    #[must_use]
    pub fn attest(self, attest: &Attest) -> Self {
        Self { attest: Some(attest.to_value()), ..self }
    }

    /// The journal of the medication system (SFM), a UUID.
    #[must_use]
    pub fn sfm_journal(self, id: &str) -> Self {
        Self { journal: Some(json!({ "type": "nhn:sfm:journal-id", "value": { "journal_id": id } })), ..self }
    }

    /// The organisation a token issued for this call must name.
    pub fn expected_organisation(&self) -> Option<&ActingFor> {
        self.acting_for.as_ref()
    }

    /// The token may name no organisation at all: an API that only learns who somebody is may not be told of any. §3.2.
    #[must_use]
    pub fn may_name_none(self) -> Self {
        Self { nameless: true, ..self }
    }

    pub fn names_one(&self) -> bool {
        !self.nameless
    }

    pub fn is_empty(&self) -> bool {
        self.to_claim().is_none()
    }

    /// One structure as an object, several as an array. `reference/helseid.md` §4.2.
    pub fn to_claim(&self) -> Option<Value> {
        let mut all: Vec<Value> = [&self.organisation, &self.attest, &self.journal].into_iter().flatten().cloned().collect();
        if all.len() > 1 { Some(Value::Array(all)) } else { all.pop() }
    }

    /// Tells details apart in cache keys: another organisation or attest is another token (`reference/helseid.md` T18).
    pub fn digest(&self) -> Digest {
        Digest::of_parts(&[self.to_claim().unwrap_or_default().to_string().as_bytes(), &[u8::from(self.nameless)]])
    }
}

/// Why a patient's data are needed. `reference/helseid.md` §3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Treatment,
    EmergencyTreatment,
    Coordination,
    BreakTheGlass,
}

impl Purpose {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Treatment => "TREAT",
            Self::EmergencyTreatment => "ETREAT",
            Self::Coordination => "COC",
            Self::BreakTheGlass => "BTG",
        }
    }
}

/// A code and its system (an OID as URN).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub code: String,
    pub system: String,
}

/// What makes a patient's data needed: letters, digits, `_`, `.` and `-`, at most 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRef(String);

impl DecisionRef {
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        fits.then(|| Self(text.to_owned()))
    }
}

/// Who the clinician is, where they work, and why they need the data: what is sent, without identities. Names no patient: an attest does
/// not limit a token to one (`reference/helseid.md` §3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attest {
    /// Code system 9060; where the person acts as health personnel.
    pub profession: Option<String>,
    pub legal_entity: OrgNumber,
    pub point_of_care: OrgNumber,
    /// RESH id, for hospitals.
    pub department: Option<String>,
    /// This or `purpose_details` must be there.
    pub service: ServiceOrPurpose,
    pub purpose: Purpose,
    pub decision_ref: DecisionRef,
    /// Whether the person chose what `decision_ref` names, rather than a program.
    pub user_selected: bool,
}

/// The framework asks for one of the two, and takes both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceOrPurpose {
    Service(Code),
    /// A code of 9151.
    PurposeDetails(String),
    Both(Code, String),
}

impl Attest {
    fn to_value(&self) -> Value {
        let organisation = |number: &OrgNumber| json!({ "id": number.as_str(), "system": ORGANISATION });
        let department = self.department.as_ref().map(|id| json!({ "id": id, "system": DEPARTMENT }));
        let mut practitioner = Map::new();
        if let Some(code) = &self.profession {
            practitioner.insert("authorization".to_owned(), json!({ "code": code, "system": PROFESSION }));
        }
        practitioner.insert("legal_entity".to_owned(), organisation(&self.legal_entity));
        practitioner.insert("point_of_care".to_owned(), organisation(&self.point_of_care));
        let mut patient = Map::new();
        patient.insert("point_of_care".to_owned(), organisation(&self.point_of_care));
        if let Some(department) = department {
            practitioner.insert("department".to_owned(), department.clone());
            patient.insert("department".to_owned(), department);
        }
        let (service, details) = match &self.service {
            ServiceOrPurpose::Service(code) => (Some(code), None),
            ServiceOrPurpose::PurposeDetails(code) => (None, Some(code)),
            ServiceOrPurpose::Both(service, code) => (Some(service), Some(code)),
        };
        let mut care = Map::new();
        if let Some(Code { code, system }) = service {
            care.insert("healthcare_service".to_owned(), json!({ "code": code, "system": system }));
        }
        care.insert("purpose_of_use".to_owned(), json!({ "code": self.purpose.as_str(), "system": PURPOSE }));
        if let Some(code) = details {
            care.insert("purpose_of_use_details".to_owned(), json!({ "code": code, "system": PURPOSE_DETAILS }));
        }
        care.insert("decision_ref".to_owned(), json!({ "id": self.decision_ref.0, "user_selected": self.user_selected }));
        json!({ "type": "nhn:tillitsrammeverk:parameters", "practitioner": practitioner, "care_relationship": care, "patients": [patient] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> OrgNumber {
        OrgNumber::parse(text).unwrap()
    }

    fn who(child: Option<&str>) -> ActingFor {
        ActingFor { parent: number("310441007"), child: child.map(number) }
    }

    fn attest() -> Attest {
        Attest {
            profession: Some("LE".to_owned()),
            legal_entity: number("310441007"),
            point_of_care: number("310441015"),
            department: Some("4200001".to_owned()),
            service: ServiceOrPurpose::Both(Code { code: "KX17".to_owned(), system: "urn:oid:2.16.578.1.12.4.1.1.8663".to_owned() }, "15".to_owned()),
            purpose: Purpose::Treatment,
            decision_ref: DecisionRef::parse("enc-7f21c0").unwrap(),
            user_selected: true,
        }
    }

    #[test]
    fn an_organisation_is_named_as_the_tenancy_wants_it() {
        let value = |tenancy, child| Details::none().acting_for(tenancy, &who(child)).to_claim();
        let identifier = |system: &str, value: &str| {
            json!({ "type": "helseid_authorization",
                    "practitioner_role": { "organization": { "identifier": { "system": system, "type": "ENH", "value": value } } } })
        };
        assert_eq!(value(Tenancy::Multi, Some("310441015")), Some(identifier("urn:oid:1.0.6523", "NO:ORGNR:310441007:310441015")));
        assert_eq!(value(Tenancy::Multi, None), Some(identifier("urn:oid:1.0.6523", "NO:ORGNR:310441007")));
        assert_eq!(value(Tenancy::Single, Some("310441015")), Some(identifier("urn:oid:2.16.578.1.12.4.1.4.101", "310441015")));
        assert_eq!((value(Tenancy::Single, None), value(Tenancy::Own, Some("310441015"))), (None, None));
    }

    #[test]
    fn an_attest_is_sent_without_identities() {
        let organisation = |id: &str| json!({ "id": id, "system": "urn:oid:2.16.578.1.12.4.1.4.101" });
        let department = json!({ "id": "4200001", "system": "urn:oid:2.16.578.1.12.4.1.4.102" });
        let expected = json!({
            "type": "nhn:tillitsrammeverk:parameters",
            "practitioner": {
                "authorization": { "code": "LE", "system": "urn:oid:2.16.578.1.12.4.1.1.9060" },
                "legal_entity": organisation("310441007"), "point_of_care": organisation("310441015"), "department": department
            },
            "care_relationship": {
                "healthcare_service": { "code": "KX17", "system": "urn:oid:2.16.578.1.12.4.1.1.8663" },
                "purpose_of_use": { "code": "TREAT", "system": "urn:oid:2.16.840.1.113883.1.11.20448" },
                "purpose_of_use_details": { "code": "15", "system": "urn:oid:2.16.578.1.12.4.1.1.9151" },
                "decision_ref": { "id": "enc-7f21c0", "user_selected": true }
            },
            "patients": [{ "point_of_care": organisation("310441015"), "department": department }]
        });
        assert_eq!(Details::none().attest(&attest()).to_claim(), Some(expected));
    }

    #[test]
    fn one_is_an_object_and_several_are_an_array() {
        let both = Details::none().acting_for(Tenancy::Multi, &who(None)).attest(&attest());
        assert_eq!(both.to_claim().unwrap().as_array().map(Vec::len), Some(2));
        assert!(Details::none().is_empty());
        assert_eq!(Details::none().sfm_journal("a").to_claim().unwrap()["value"]["journal_id"], "a");
    }

    /// T18, `cache_attest_change`.
    #[test]
    fn other_details_have_another_digest() {
        let one = Details::none().acting_for(Tenancy::Multi, &who(None)).attest(&attest());
        let other = Details::none().acting_for(Tenancy::Multi, &who(None)).attest(&Attest { user_selected: false, ..attest() });
        assert_ne!(one.digest(), other.digest());
        assert_ne!(one.digest(), Details::none().digest());
        assert_eq!(one.digest(), one.clone().digest());
    }

    #[test]
    fn a_decision_is_named_in_plain_characters() {
        assert!(DecisionRef::parse(&"a".repeat(64)).is_some());
        for wrong in ["", "a b", "æ", "a/b"] {
            assert!(DecisionRef::parse(wrong).is_none(), "{wrong}");
        }
        assert!(DecisionRef::parse(&"a".repeat(65)).is_none());
    }
}
