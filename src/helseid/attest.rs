//! The trust framework's attest: what a client sends of it, and what becomes of that in a token. §3.4.

use serde_json::{Map, Value, json};

use super::organisation::is_number;
use crate::time::UnixTime;

/// `type` of the structure, name of the scope that allows it and of the claim it becomes.
pub const TYPE: &str = "nhn:tillitsrammeverk:parameters";

const PROFESSION: &str = "urn:oid:2.16.578.1.12.4.1.1.9060";
const ORGANISATION: &str = "urn:oid:2.16.578.1.12.4.1.4.101";
const RESH: &str = "urn:oid:2.16.578.1.12.4.1.4.102";
const PURPOSE: &str = "urn:oid:2.16.840.1.113883.1.11.20448";
const PURPOSE_DETAILS: &str = "urn:oid:2.16.578.1.12.4.1.1.9151";
/// Specialist, municipal, county and common services.
const SERVICES: [&str; 4] =
    ["urn:oid:2.16.578.1.12.4.1.1.8655", "urn:oid:2.16.578.1.12.4.1.1.8663", "urn:oid:2.16.578.1.12.4.1.1.8662", "urn:oid:2.16.578.1.12.4.1.1.8666"];
const NATIONAL_IDENTITY_NUMBER: &str = "urn:oid:2.16.578.1.12.4.1.4.1";
const D_NUMBER: &str = "urn:oid:2.16.578.1.12.4.1.4.2";
const HPR: &str = "urn:oid:2.16.578.1.12.4.1.4.4";
const PURPOSES: [&str; 4] = ["TREAT", "ETREAT", "COC", "BTG"];
/// The longest `decision_ref.id`, in characters.
const DECISION_ID_MAX: usize = 64;

/// Who vouches for a value that we add.
const TAX_AUTHORITY: &str = "https://www.skatteetaten.no/";
const DIRECTORATE: &str = "https://www.helsedirektoratet.no/";
const ENTITY_REGISTER: &str = "https://www.brreg.no/";

/// Why an attest is refused; the text names the member, never its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    #[error("nhn:tillitsrammeverk:parameters: {0} is missing or not an object")]
    Missing(&'static str),
    #[error("nhn:tillitsrammeverk:parameters: {0} needs a code or id, and the system it is from")]
    Coding(&'static str),
    #[error("nhn:tillitsrammeverk:parameters: {0} is added here and must not be sent")]
    Added(&'static str),
    #[error("nhn:tillitsrammeverk:parameters: care_relationship and care_relation are one block; send it once")]
    TwoRelations,
    #[error("nhn:tillitsrammeverk:parameters: healthcare_service or purpose_of_use_details must be given")]
    NoService,
    #[error("nhn:tillitsrammeverk:parameters: purpose_of_use must be TREAT, ETREAT, COC or BTG")]
    Purpose,
    #[error("nhn:tillitsrammeverk:parameters: decision_ref needs an id of at most 64 letters, digits, `_`, `.` or `-`, and a boolean user_selected")]
    Decision,
    #[error("nhn:tillitsrammeverk:parameters: patients must be an array of objects")]
    Patients,
    #[error("nhn:tillitsrammeverk:parameters: the user does not hold the authorization")]
    NotAuthorized,
    #[error("nhn:tillitsrammeverk:parameters: {0} is not in the entity register")]
    UnknownOrganisation(&'static str),
    #[error("nhn:tillitsrammeverk:parameters: an attest is about a user, and there is none")]
    NoUser,
}

/// An attest as a client sent it, checked for form. §3.4, sent form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent(Map<String, Value>);

/// The person an attest is about, as the registers know them.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    pub pid: &'a str,
    pub name: &'a str,
    pub hpr_number: Option<&'a str>,
    /// Codes of the professions this person is authorised for, from system 9060.
    pub professions: &'a [&'a str],
}

impl Sent {
    /// Checks the form of an attest; `checksum` as in [`is_number`].
    ///
    /// # Errors
    /// [`AttestError`], for the first thing found wrong.
    pub fn parse(structure: &Value, checksum: bool) -> Result<Self, AttestError> {
        let whole = structure.as_object().ok_or(AttestError::Missing("the structure"))?;
        let practitioner = object(whole, "practitioner")?.ok_or(AttestError::Missing("practitioner"))?;
        for added in ["identifier", "hpr_nr"] {
            if practitioner.contains_key(added) {
                return Err(AttestError::Added(if added == "hpr_nr" { "practitioner.hpr_nr" } else { "practitioner.identifier" }));
            }
        }
        coding(practitioner, "authorization", "code", &[PROFESSION])?;
        for (name, shown) in [("legal_entity", "practitioner.legal_entity"), ("point_of_care", "practitioner.point_of_care")] {
            let id = coding(practitioner, name, "id", &[ORGANISATION])?.ok_or(AttestError::Missing(shown))?;
            if !is_number(id, checksum) {
                return Err(AttestError::Coding(shown));
            }
        }
        coding(practitioner, "department", "id", &[RESH])?;
        let relation = match (object(whole, "care_relationship")?, object(whole, "care_relation")?) {
            (Some(_), Some(_)) => return Err(AttestError::TwoRelations),
            (one, other) => one.or(other).ok_or(AttestError::Missing("care_relationship"))?,
        };
        let service = coding(relation, "healthcare_service", "code", &SERVICES)?;
        let details = coding(relation, "purpose_of_use_details", "code", &[PURPOSE_DETAILS])?;
        if service.is_none() && details.is_none() {
            return Err(AttestError::NoService);
        }
        let purpose = coding(relation, "purpose_of_use", "code", &[PURPOSE])?.ok_or(AttestError::Missing("care_relationship.purpose_of_use"))?;
        if !PURPOSES.contains(&purpose) {
            return Err(AttestError::Purpose);
        }
        decision(object(relation, "decision_ref")?.ok_or(AttestError::Missing("care_relationship.decision_ref"))?)?;
        patients(whole.get("patients"), checksum)?;
        Ok(Self(whole.clone()))
    }

    /// The claim that comes of it: with identity, HPR number, names, who vouches for each, and the time of attestation. `name_of` tells the name
    /// of an organisation in the entity register.
    ///
    /// # Errors
    /// [`AttestError::NotAuthorized`], [`AttestError::UnknownOrganisation`].
    pub fn enrich<'a>(&self, person: Person<'_>, name_of: impl Fn(&str) -> Option<&'a str>, now: UnixTime) -> Result<Value, AttestError> {
        let mut practitioner = Map::new();
        // The first digit of a D-number is the day's, raised by four.
        let system = if person.pid.starts_with(['4', '5', '6', '7']) { D_NUMBER } else { NATIONAL_IDENTITY_NUMBER };
        practitioner.insert("identifier".to_owned(), json!({"id": person.pid, "name": person.name, "system": system, "authority": TAX_AUTHORITY}));
        if let Some(number) = person.hpr_number {
            practitioner.insert("hpr_nr".to_owned(), json!({"id": number, "system": HPR, "authority": DIRECTORATE}));
        }
        for (name, value) in self.practitioner() {
            let mut value = value.clone();
            match name.as_str() {
                "authorization" => {
                    let code = value.get("code").and_then(Value::as_str).unwrap_or_default();
                    if person.hpr_number.is_none() || !person.professions.contains(&code) {
                        return Err(AttestError::NotAuthorized);
                    }
                    put(&mut value, "assigner", DIRECTORATE);
                }
                "legal_entity" => named(&mut value, "practitioner.legal_entity", &name_of)?,
                "point_of_care" => named(&mut value, "practitioner.point_of_care", &name_of)?,
                "department" => put(&mut value, "authority", DIRECTORATE),
                _ => {}
            }
            practitioner.insert(name.clone(), value);
        }
        let mut patients = self.0.get("patients").cloned().unwrap_or_else(|| json!([]));
        for patient in patients.as_array_mut().into_iter().flatten() {
            if let Some(place) = patient.get_mut("point_of_care") {
                named(place, "patients.point_of_care", &name_of)?;
            }
        }
        let relation = self.0.get("care_relationship").or_else(|| self.0.get("care_relation"));
        Ok(json!({"practitioner": practitioner, "care_relationship": relation, "patients": patients, "toa": now.0}))
    }

    fn practitioner(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get("practitioner").and_then(Value::as_object).into_iter().flatten()
    }

    /// The structure as it was sent, to be kept with a login and shown in the journal.
    pub fn as_sent(&self) -> &Map<String, Value> {
        &self.0
    }
}

fn object<'a>(from: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a Map<String, Value>>, AttestError> {
    from.get(name).map(|value| value.as_object().ok_or(AttestError::Missing(name))).transpose()
}

/// The code or id under `name`, where it is there: a text that is not empty, from one of `systems`.
fn coding<'a>(from: &'a Map<String, Value>, name: &'static str, member: &str, systems: &[&str]) -> Result<Option<&'a str>, AttestError> {
    let Some(value) = from.get(name) else { return Ok(None) };
    let text = |member| value.get(member).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or(AttestError::Coding(name));
    if systems.contains(&text("system")?) { text(member).map(Some) } else { Err(AttestError::Coding(name)) }
}

fn decision(decision: &Map<String, Value>) -> Result<(), AttestError> {
    let id = decision.get("id").and_then(Value::as_str).ok_or(AttestError::Decision)?;
    let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    let selected = decision.get("user_selected").is_some_and(Value::is_boolean);
    if plain && (1..=DECISION_ID_MAX).contains(&id.len()) && selected { Ok(()) } else { Err(AttestError::Decision) }
}

fn patients(patients: Option<&Value>, checksum: bool) -> Result<(), AttestError> {
    let patients = patients.map(|patients| patients.as_array().ok_or(AttestError::Patients)).transpose()?;
    for patient in patients.into_iter().flatten() {
        let patient = patient.as_object().ok_or(AttestError::Patients)?;
        if coding(patient, "point_of_care", "id", &[ORGANISATION])?.is_some_and(|id| !is_number(id, checksum)) {
            return Err(AttestError::Coding("patients.point_of_care"));
        }
        coding(patient, "department", "id", &[RESH])?;
    }
    Ok(())
}

fn named<'a>(value: &mut Value, shown: &'static str, name_of: &impl Fn(&str) -> Option<&'a str>) -> Result<(), AttestError> {
    let name = value.get("id").and_then(Value::as_str).and_then(name_of).ok_or(AttestError::UnknownOrganisation(shown))?;
    put(value, "name", name);
    put(value, "authority", ENTITY_REGISTER);
    Ok(())
}

fn put(value: &mut Value, name: &str, text: &str) {
    if let Some(members) = value.as_object_mut() {
        members.insert(name.to_owned(), json!(text));
    }
}

#[cfg(test)]
pub(in crate::helseid) mod tests {
    use super::*;

    /// The example of §3.4.
    pub fn example() -> Value {
        json!({
            "type": TYPE,
            "practitioner": {
                "authorization": {"code": "LE", "system": PROFESSION}, "legal_entity": {"id": "310441007", "system": ORGANISATION},
                "point_of_care": {"id": "310441015", "system": ORGANISATION}, "department": {"id": "4200001", "system": RESH}
            },
            "care_relationship": {
                "healthcare_service": {"code": "KX17", "system": "urn:oid:2.16.578.1.12.4.1.1.8663"}, "purpose_of_use": {"code": "TREAT", "system": PURPOSE},
                "purpose_of_use_details": {"code": "15", "system": PURPOSE_DETAILS}, "decision_ref": {"id": "enc-7f21c0", "user_selected": true}
            },
            "patients": [{"point_of_care": {"id": "310441015", "system": ORGANISATION}}]
        })
    }

    pub fn sent() -> Sent {
        Sent::parse(&example(), true).unwrap()
    }

    #[test]
    fn the_example_and_what_may_be_left_out_are_taken() {
        let without = |pointer: &str| {
            let mut attest = example();
            let (place, member) = pointer.rsplit_once('/').unwrap();
            attest.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(member).unwrap();
            Sent::parse(&attest, true).map(|_| ())
        };
        assert_eq!(sent().as_sent().get("type"), Some(&json!(TYPE)));
        for optional in [
            "/practitioner/authorization",
            "/practitioner/department",
            "/patients",
            "/care_relationship/healthcare_service",
            "/care_relationship/purpose_of_use_details",
            "/patients/0/point_of_care",
        ] {
            assert_eq!(without(optional), Ok(()), "{optional}");
        }
        for (needed, why) in [
            ("/practitioner", AttestError::Missing("practitioner")),
            ("/practitioner/legal_entity", AttestError::Missing("practitioner.legal_entity")),
            ("/practitioner/point_of_care", AttestError::Missing("practitioner.point_of_care")),
            ("/care_relationship", AttestError::Missing("care_relationship")),
            ("/care_relationship/purpose_of_use", AttestError::Missing("care_relationship.purpose_of_use")),
            ("/care_relationship/decision_ref", AttestError::Missing("care_relationship.decision_ref")),
            ("/care_relationship/decision_ref/id", AttestError::Decision),
            ("/care_relationship/decision_ref/user_selected", AttestError::Decision),
            ("/practitioner/legal_entity/system", AttestError::Coding("legal_entity")),
        ] {
            assert_eq!(without(needed), Err(why), "{needed}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |pointer: &str, value: Value| {
            let mut attest = example();
            let (place, member) = pointer.rsplit_once('/').unwrap();
            let members = attest.pointer_mut(place).unwrap().as_object_mut().unwrap();
            members.insert(member.to_owned(), value);
            Sent::parse(&attest, true).map(|_| ())
        };
        for (pointer, value, why) in [
            ("/practitioner/identifier", json!({}), AttestError::Added("practitioner.identifier")),
            ("/practitioner/hpr_nr", json!({}), AttestError::Added("practitioner.hpr_nr")),
            ("/practitioner/authorization/system", json!(PURPOSE), AttestError::Coding("authorization")),
            ("/practitioner/legal_entity/id", json!("310441008"), AttestError::Coding("practitioner.legal_entity")),
            ("/practitioner/department/id", json!(""), AttestError::Coding("department")),
            ("/care_relation", json!({}), AttestError::TwoRelations),
            ("/care_relationship/healthcare_service/system", json!(PROFESSION), AttestError::Coding("healthcare_service")),
            ("/care_relationship/purpose_of_use/code", json!("HRESCH"), AttestError::Purpose),
            ("/care_relationship/decision_ref/id", json!("a".repeat(65)), AttestError::Decision),
            ("/care_relationship/decision_ref/id", json!("enc 1"), AttestError::Decision),
            ("/care_relationship/decision_ref/user_selected", json!("true"), AttestError::Decision),
            ("/patients", json!({}), AttestError::Patients),
            ("/patients", json!(["x"]), AttestError::Patients),
        ] {
            assert_eq!(with(pointer, value), Err(why), "{pointer}");
        }
        assert_eq!(with("/patients", json!([])), Ok(()));
        assert_eq!(with("/patients", json!([{}])), Ok(()));
        assert_eq!(with("/patients/0/identifier", json!({"id": "x"})), Ok(()), "§3.4: accepted, never relied on");
        let mut neither = example();
        for name in ["healthcare_service", "purpose_of_use_details"] {
            neither["care_relationship"].as_object_mut().unwrap().remove(name);
        }
        assert_eq!(Sent::parse(&neither, true), Err(AttestError::NoService));
        let mut older = example();
        let relation = older.as_object_mut().unwrap().remove("care_relationship").unwrap();
        older["care_relation"] = relation.clone();
        let read = Sent::parse(&older, true).unwrap().enrich(PERSON, |_| Some("X"), UnixTime(1)).unwrap();
        assert_eq!(read["care_relationship"], relation, "§3.4: read both names, write one");
    }

    const PERSON: Person<'static> = Person { pid: "12837512040", name: "Solveig Fjæremo", hpr_number: Some("990000101"), professions: &["LE"] };

    #[test]
    fn registers_add_who_and_where() {
        let name_of = |number: &str| match number {
            "310441007" => Some("Nordvik kommune"),
            "310441015" => Some("Nordvik legevakt"),
            _ => None,
        };
        let claim = sent().enrich(PERSON, name_of, UnixTime(1_790_000_000)).unwrap();
        let at = |pointer: &str| claim.pointer(pointer).and_then(Value::as_str);
        assert_eq!(at("/practitioner/identifier/id"), Some("12837512040"));
        assert_eq!(at("/practitioner/identifier/system"), Some(NATIONAL_IDENTITY_NUMBER));
        assert_eq!(at("/practitioner/hpr_nr/id"), Some("990000101"));
        assert_eq!(at("/practitioner/authorization/assigner"), Some(DIRECTORATE));
        assert_eq!(at("/practitioner/legal_entity/name"), Some("Nordvik kommune"));
        assert_eq!(at("/patients/0/point_of_care/name"), Some("Nordvik legevakt"));
        assert_eq!(claim.get("toa"), Some(&json!(1_790_000_000)));
        assert_eq!(claim.get("type"), None);
        assert_eq!(claim.pointer("/care_relationship/decision_ref/id"), Some(&json!("enc-7f21c0")));

        let d_number = sent().enrich(Person { pid: "42829318363", ..PERSON }, name_of, UnixTime(1)).unwrap();
        assert_eq!(d_number.pointer("/practitioner/identifier/system"), Some(&json!(D_NUMBER)));
        for (what, person) in [
            ("withdrawn", Person { professions: &[], ..PERSON }),
            ("another profession", Person { professions: &["SP"], ..PERSON }),
            ("not in the register", Person { hpr_number: None, ..PERSON }),
        ] {
            assert_eq!(sent().enrich(person, name_of, UnixTime(1)), Err(AttestError::NotAuthorized), "{what}");
        }
        let nowhere = sent().enrich(PERSON, |_| None, UnixTime(1));
        assert_eq!(nowhere, Err(AttestError::UnknownOrganisation("practitioner.legal_entity")));
    }
}
