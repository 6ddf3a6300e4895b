//! Which organisation a client acts for, and what travels beside that: the structures in `assertion_details` and `authorization_details`. §4.

use serde_json::{Map, Value};

use super::attest::{AttestError, Sent};
use super::refusal::{Code, Refusal};
use super::seed::{Seed, Tenancy};

/// `type` of the organisation structure.
pub const ORGANISATION: &str = "helseid_authorization";
/// `type` of the structure with a journal id, and name of the claim that comes of it.
pub const JOURNAL_ID: &str = "nhn:sfm:journal-id";
/// Identifier system of a parent, with or without a child behind it.
pub const OID_PARENT: &str = "urn:oid:1.0.6523";
/// Identifier system of one organisation number.
pub const OID_CHILD: &str = "urn:oid:2.16.578.1.12.4.1.4.101";
/// The same in older samples (§8): read, never written.
pub const OID_CHILD_OLD: &str = "urn:oid:2.16.578.1.12.4.1.2.101";

/// Why structures are refused. The code of §2.12 is part of the description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetailsError {
    #[error("HID-1007: both assertion_details and authorization_details are there")]
    BothContainers,
    #[error("HID-1007: not a structure with a type, nor an array of them")]
    NotStructures,
    #[error("HID-1007: a structure has a type that is not known here")]
    UnknownType,
    #[error("HID-1007: two structures of one type")]
    Twice,
    #[error("HID-1007: helseid_authorization does not follow the format: {0}")]
    Format(&'static str),
    #[error("HID-1007: nhn:sfm:journal-id needs value.journal_id, a uuid")]
    JournalId,
    #[error("HID-1004: an organisation number is not valid")]
    Number,
    #[error("HID-DOUBLE-STRUCTURE: nhn:tillitsrammeverk:parameters is given twice")]
    DoubleStructure,
    #[error("{0}")]
    Attest(#[from] AttestError),
}

impl From<DetailsError> for Refusal {
    fn from(reason: DetailsError) -> Self {
        use DetailsError as E;
        let code = match &reason {
            E::DoubleStructure => Code::AccessDenied,
            E::BothContainers | E::NotStructures | E::UnknownType | E::Twice | E::Format(_) | E::JournalId | E::Number | E::Attest(_) => Code::InvalidRequest,
        };
        Self::new(code, reason.to_string())
    }
}

/// The organisation numbers a structure names; each is nine digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Parent(String),
    ParentAndChild { parent: String, child: String },
    Child(String),
}

impl Asked {
    pub fn parent(&self) -> Option<&str> {
        match self {
            Self::Parent(parent) | Self::ParentAndChild { parent, .. } => Some(parent),
            Self::Child(_) => None,
        }
    }

    pub fn child(&self) -> Option<&str> {
        match self {
            Self::Child(child) | Self::ParentAndChild { child, .. } => Some(child),
            Self::Parent(_) => None,
        }
    }
}

/// What the structures of one assertion or request object say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub organisation: Option<Asked>,
    pub attest: Option<Sent>,
    /// A uuid.
    pub journal_id: Option<String>,
}

/// The structures of a client assertion: under the name of today or the older one, not both. §4.2.
///
/// # Errors
/// [`DetailsError::BothContainers`]
pub fn container(claims: &Map<String, Value>) -> Result<Option<&Value>, DetailsError> {
    match (claims.get("assertion_details"), claims.get("authorization_details")) {
        (Some(_), Some(_)) => Err(DetailsError::BothContainers),
        (one, other) => Ok(one.or(other)),
    }
}

impl Details {
    /// Reads one structure, or an array of them. `checksum`: whether organisation numbers must have a valid last digit.
    ///
    /// # Errors
    /// [`DetailsError`]
    pub fn parse(container: &Value, checksum: bool) -> Result<Self, DetailsError> {
        let structures = match container {
            Value::Object(_) => std::slice::from_ref(container),
            Value::Array(several) if !several.is_empty() => several.as_slice(),
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(DetailsError::NotStructures),
        };
        let mut details = Self::default();
        for structure in structures {
            match structure.get("type").and_then(Value::as_str).ok_or(DetailsError::NotStructures)? {
                ORGANISATION => once(&mut details.organisation, organisation(structure, checksum)?)?,
                JOURNAL_ID => once(&mut details.journal_id, journal_id(structure)?)?,
                super::attest::TYPE if details.attest.is_some() => return Err(DetailsError::DoubleStructure),
                super::attest::TYPE => details.attest = Some(Sent::parse(structure, checksum)?),
                _ => return Err(DetailsError::UnknownType),
            }
        }
        Ok(details)
    }

    /// The structures of a token call, on top of those that were pushed with the request object: an organisation given now replaces the one
    /// of the login (§2.8), an attest must not be in both (§3.4).
    ///
    /// # Errors
    /// [`DetailsError::DoubleStructure`]
    pub fn over(self, pushed: &Self) -> Result<Self, DetailsError> {
        if self.attest.is_some() && pushed.attest.is_some() {
            return Err(DetailsError::DoubleStructure);
        }
        Ok(Self {
            organisation: self.organisation.or_else(|| pushed.organisation.clone()),
            attest: self.attest.or_else(|| pushed.attest.clone()),
            journal_id: self.journal_id.or_else(|| pushed.journal_id.clone()),
        })
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), DetailsError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(DetailsError::Twice),
    }
}

fn organisation(structure: &Value, checksum: bool) -> Result<Asked, DetailsError> {
    let identifier = structure.pointer("/practitioner_role/organization/identifier").ok_or(DetailsError::Format("no identifier"))?;
    let text = |name| identifier.get(name).and_then(Value::as_str);
    if text("type") != Some("ENH") {
        return Err(DetailsError::Format("identifier.type is not ENH"));
    }
    let value = text("value").ok_or(DetailsError::Format("no identifier.value"))?;
    let number = |text: &str| if is_number(text, checksum) { Ok(text.to_owned()) } else { Err(DetailsError::Number) };
    match text("system") {
        Some(OID_PARENT) => {
            let numbers = value.strip_prefix("NO:ORGNR:").ok_or(DetailsError::Format("identifier.value is not NO:ORGNR:parent or NO:ORGNR:parent:child"))?;
            match numbers.split_once(':') {
                // .NET clients end a lone parent with a colon, others do not. §4.1.
                None | Some((_, "")) => Ok(Asked::Parent(number(numbers.trim_end_matches(':'))?)),
                Some((parent, child)) => Ok(Asked::ParentAndChild { parent: number(parent)?, child: number(child)? }),
            }
        }
        Some(OID_CHILD | OID_CHILD_OLD) => Ok(Asked::Child(number(value)?)),
        Some(_) | None => Err(DetailsError::Format("identifier.system is not one for organisation numbers")),
    }
}

fn journal_id(structure: &Value) -> Result<String, DetailsError> {
    let id = structure.pointer("/value/journal_id").and_then(Value::as_str).ok_or(DetailsError::JournalId)?;
    let groups: Vec<usize> = id.split('-').map(|group| if group.bytes().all(|b| b.is_ascii_hexdigit()) { group.len() } else { 0 }).collect();
    if groups == [8, 4, 4, 4, 12] { Ok(id.to_owned()) } else { Err(DetailsError::JournalId) }
}

/// Nine digits from 2, 3 (synthetic), 8 or 9, and where `checksum` the ninth as MOD-11 with the weights 3, 2, 7, 6, 5, 4, 3, 2 has it. §4.3.
pub fn is_number(text: &str, checksum: bool) -> bool {
    const WEIGHTS: [u32; 8] = [3, 2, 7, 6, 5, 4, 3, 2];
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let (Some(first), Some(last)) = (digits.first(), digits.last()) else { return false };
    if text.len() != 9 || digits.len() != 9 || ![2, 3, 8, 9].contains(first) {
        return false;
    }
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum();
    // A remainder of 1 would ask for the digit 10, which no number has.
    !checksum || (11 - sum % 11) % 11 == *last
}

/// Why a client may not act for what it asked. §2.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenancyError {
    #[error("HID-1001: the parent organisation number is not on the client's whitelist")]
    Parent,
    #[error("HID-1002: the child organisation number is not on the client's whitelist")]
    Child,
    #[error("HID-1003: the parent organisation has no such child")]
    ChildOfParent,
    #[error("HID-1005: passing a parent organisation is not enabled for this client")]
    ParentNotEnabled,
    #[error("HID-1006: passing a child organisation is not enabled for this client")]
    ChildNotEnabled,
    #[error("HID-1007: a multi-tenant client passes a parent organisation")]
    ParentNeeded,
    #[error("HID-1009: the organisation structure belongs in the request object, not in the assertion of a code flow")]
    InCodeFlow,
    #[error("HID-1010: the client's configuration does not support passing organisation data")]
    NotSupported,
}

impl From<TenancyError> for Refusal {
    fn from(reason: TenancyError) -> Self {
        use TenancyError as E;
        let code = match reason {
            E::Parent | E::Child | E::ChildOfParent | E::ParentNotEnabled | E::ChildNotEnabled | E::ParentNeeded | E::InCodeFlow | E::NotSupported => {
                Code::InvalidRequest
            }
        };
        Self::new(code, reason.to_string())
    }
}

/// Whom a client acts for. The claims of §3.2 come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acting {
    /// `none`, `single-tenant` or `multi-tenant`.
    pub tenancy: &'static str,
    /// Absent only where a supplier's client named nobody.
    pub parent: Option<String>,
    pub child: Option<String>,
    pub supplier: Option<String>,
}

impl Acting {
    /// The claims for organisations, in this order. §4.3.
    pub fn claims(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("helseid://claims/client/client_tenancy", Some(self.tenancy)),
            ("helseid://claims/client/claims/orgnr_parent", self.parent.as_deref()),
            ("helseid://claims/client/claims/orgnr_child", self.child.as_deref()),
            ("helseid://claims/client/claims/orgnr_supplier", self.supplier.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
    }
}

/// Whom a client of this tenancy acts for when it asks for `asked`. §3.2, §4.1.
///
/// # Errors
/// [`TenancyError`]
pub fn act_for(tenancy: &Tenancy, asked: Option<&Asked>, known: &Seed) -> Result<Acting, TenancyError> {
    let (parent, child) = (asked.and_then(Asked::parent), asked.and_then(Asked::child));
    match tenancy {
        Tenancy::Own(_) if asked.is_some() => return Err(TenancyError::NotSupported),
        Tenancy::Single { .. } if parent.is_some() => return Err(TenancyError::ParentNotEnabled),
        Tenancy::Single { units, .. } if child.is_some() && units.is_empty() => return Err(TenancyError::ChildNotEnabled),
        Tenancy::Single { units, .. } if child.is_some_and(|child| !units.contains(child)) => return Err(TenancyError::Child),
        Tenancy::Own(_) | Tenancy::Single { .. } => {}
        Tenancy::Multi { supplier } => match (parent, child) {
            (None, Some(_)) => return Err(TenancyError::ParentNeeded),
            (Some(parent), _) if !known.delegated(parent, supplier) => return Err(TenancyError::Parent),
            (Some(parent), Some(child)) if !known.is_unit_of(child, parent) => return Err(TenancyError::ChildOfParent),
            (None, None) | (Some(_), None | Some(_)) => {}
        },
    }
    let (parent, supplier) = match tenancy {
        Tenancy::Own(parent) | Tenancy::Single { parent, .. } => (Some(parent.as_str()), None),
        Tenancy::Multi { supplier } => (parent, Some(supplier.clone())),
    };
    Ok(Acting { tenancy: tenancy.word(), parent: parent.map(str::to_owned), child: child.map(str::to_owned), supplier })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::seed::Organisation;
    use super::*;

    fn structure(system: &str, value: &str) -> Value {
        json!({"type": ORGANISATION, "practitioner_role": {"organization": {"identifier": {"system": system, "type": "ENH", "value": value}}}})
    }

    fn asked(system: &str, value: &str) -> Result<Asked, DetailsError> {
        Details::parse(&structure(system, value), true).map(|details| details.organisation.unwrap())
    }

    /// §4.1, each row.
    #[test]
    fn each_form_of_a_number_is_read() {
        let parent = || Asked::Parent("310441007".to_owned());
        assert_eq!(asked(OID_PARENT, "NO:ORGNR:310441007"), Ok(parent()));
        assert_eq!(asked(OID_PARENT, "NO:ORGNR:310441007:"), Ok(parent()));
        let both = Asked::ParentAndChild { parent: "310441007".to_owned(), child: "310441015".to_owned() };
        assert_eq!(asked(OID_PARENT, "NO:ORGNR:310441007:310441015"), Ok(both));
        assert_eq!(asked(OID_CHILD, "310441015"), Ok(Asked::Child("310441015".to_owned())));
        assert_eq!(asked(OID_CHILD_OLD, "310441015"), Ok(Asked::Child("310441015".to_owned())));
        let array = Details::parse(&json!([structure(OID_PARENT, "NO:ORGNR:310441007")]), true).unwrap();
        assert_eq!(array.organisation, Some(parent()), "an array of one");
    }

    #[test]
    fn what_does_not_follow_the_format_is_named() {
        for (system, value) in [
            (OID_PARENT, "NO:ORGNR:31044100"),
            (OID_PARENT, "NO:ORGNR:3104410077"),
            (OID_PARENT, "NO:ORGNR:31044100x"),
            (OID_PARENT, "NO:ORGNR:"),
            (OID_PARENT, "NO:ORGNR:310441007:31044101"),
            (OID_PARENT, "NO:ORGNR:310441007:310441015:310441023"),
            (OID_PARENT, "NO:ORGNR:310441008"),
            (OID_PARENT, "NO:ORGNR:110441007"),
            (OID_CHILD, "NO:ORGNR:310441007"),
            (OID_CHILD, "310441006"),
        ] {
            assert_eq!(asked(system, value), Err(DetailsError::Number), "{value}");
        }
        for (system, value) in [(OID_PARENT, "310441007"), ("urn:oid:2.16.578.1.0.1", "310441007"), (OID_PARENT, "ORGNR:310441007")] {
            assert!(matches!(asked(system, value), Err(DetailsError::Format(_))), "{value}");
        }
        assert!(Details::parse(&structure(OID_PARENT, "NO:ORGNR:310441008"), false).is_ok(), "without the checksum");
        let mut other = structure(OID_PARENT, "NO:ORGNR:310441007");
        other["practitioner_role"]["organization"]["identifier"]["type"] = json!("XX");
        assert_eq!(Details::parse(&other, true), Err(DetailsError::Format("identifier.type is not ENH")));
        for broken in [json!("text"), json!([]), json!(["text"]), json!({"no": "type"}), json!(7), json!(null)] {
            assert_eq!(Details::parse(&broken, true), Err(DetailsError::NotStructures), "{broken}");
        }
        assert_eq!(Details::parse(&json!({"type": "payment_initiation"}), true), Err(DetailsError::UnknownType));
        let one = structure(OID_PARENT, "NO:ORGNR:310441007");
        assert_eq!(Details::parse(&json!([one, one]), true), Err(DetailsError::Twice));
    }

    /// §4.2.
    #[test]
    fn one_container_at_a_time() {
        let claims = |value: Value| value.as_object().unwrap().clone();
        assert_eq!(container(&claims(json!({"assertion_details": 1}))), Ok(Some(&json!(1))));
        assert_eq!(container(&claims(json!({"authorization_details": 2}))), Ok(Some(&json!(2))));
        assert_eq!(container(&claims(json!({}))), Ok(None));
        assert_eq!(container(&claims(json!({"assertion_details": 1, "authorization_details": 1}))), Err(DetailsError::BothContainers));
    }

    #[test]
    fn a_journal_id_is_a_uuid_in_its_own_member() {
        let parse = |value: Value| Details::parse(&json!({"type": JOURNAL_ID, "value": value}), true).map(|details| details.journal_id);
        let id = "0190a2c4-7d1e-7b5a-9f3e-2c1d0e9f8a7b";
        assert_eq!(parse(json!({"journal_id": id})), Ok(Some(id.to_owned())));
        for wrong in [json!({"journal-id": id}), json!(id), json!({"journal_id": "x"}), json!({"journal_id": "0190a2c4-7d1e-7b5a-9f3e-2c1d0e9f8a7g"})] {
            assert_eq!(parse(wrong.clone()), Err(DetailsError::JournalId), "{wrong}");
        }
    }

    fn known() -> Seed {
        let of = |number: &str, parent: Option<&str>| Organisation { number: number.to_owned(), name: "X".to_owned(), parent: parent.map(str::to_owned) };
        Seed {
            organisations: vec![of("310441007", None), of("310441015", Some("310441007")), of("310441104", None), of("310441600", None)],
            delegations: ["310441007", "310441104"].map(|parent| (parent.to_owned(), "310441503".to_owned())).into(),
            ..Seed::default()
        }
    }

    /// §2.12 and the tenancy rules of §3.2.
    #[test]
    fn a_client_acts_for_whom_its_registration_lets_it() {
        let parent = |number: &str| Asked::Parent(number.to_owned());
        let child = |number: &str| Asked::Child(number.to_owned());
        let both = |parent: &str, child: &str| Asked::ParentAndChild { parent: parent.to_owned(), child: child.to_owned() };
        let own = &Tenancy::Own("310441201".to_owned());
        let single = &Tenancy::Single { parent: "310441007".to_owned(), units: ["310441015".to_owned()].into() };
        let childless = &Tenancy::Single { parent: "310441104".to_owned(), units: [].into() };
        let multi = &Tenancy::Multi { supplier: "310441503".to_owned() };
        for (what, tenancy, asked, want) in [
            ("own, nothing", own, None, Ok((Some("310441201"), None))),
            ("own, passing", own, Some(parent("310441201")), Err(TenancyError::NotSupported)),
            ("single, nothing", single, None, Ok((Some("310441007"), None))),
            ("single, child", single, Some(child("310441015")), Ok((Some("310441007"), Some("310441015")))),
            ("single, another child", single, Some(child("310441023")), Err(TenancyError::Child)),
            ("single, parent", single, Some(parent("310441007")), Err(TenancyError::ParentNotEnabled)),
            ("single, no children", childless, Some(child("310441015")), Err(TenancyError::ChildNotEnabled)),
            ("multi, nothing", multi, None, Ok((None, None))),
            ("multi, parent", multi, Some(parent("310441104")), Ok((Some("310441104"), None))),
            ("multi, both", multi, Some(both("310441007", "310441015")), Ok((Some("310441007"), Some("310441015")))),
            ("multi, no delegation", multi, Some(parent("310441600")), Err(TenancyError::Parent)),
            ("multi, another's child", multi, Some(both("310441104", "310441015")), Err(TenancyError::ChildOfParent)),
            ("multi, a child alone", multi, Some(child("310441015")), Err(TenancyError::ParentNeeded)),
        ] {
            let got = act_for(tenancy, asked.as_ref(), &known());
            let seen = got.as_ref().map(|acting| (acting.parent.as_deref(), acting.child.as_deref())).map_err(|reason| *reason);
            assert_eq!(seen, want, "{what}");
        }
        let acting = act_for(multi, Some(&both("310441007", "310441015")), &known()).unwrap();
        let claims: Vec<&str> = acting.claims().map(|(_, value)| value).collect();
        assert_eq!(claims, ["multi-tenant", "310441007", "310441015", "310441503"]);
    }

    /// §3.4: the attest once, the organisation the latest.
    #[test]
    fn what_is_given_now_goes_over_what_was_pushed() {
        let with = |number: &str| Details { organisation: Some(Asked::Parent(number.to_owned())), ..Details::default() };
        let attest = || Details { attest: Some(super::super::attest::tests::sent()), ..Details::default() };
        assert_eq!(with("310441104").over(&with("310441007")), Ok(with("310441104")));
        assert_eq!(Details::default().over(&with("310441007")), Ok(with("310441007")));
        assert_eq!(attest().over(&Details::default()), Ok(attest()));
        assert_eq!(Details::default().over(&attest()), Ok(attest()));
        assert_eq!(attest().over(&attest()), Err(DetailsError::DoubleStructure));
    }
}
