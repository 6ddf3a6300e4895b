//! The body of `POST /launches`, read strictly. DESIGN §3, The launch API.

use std::fmt;

use serde_json::{Map, Value};

use super::ids::{ClientId, FhirId, Reference};
use super::json;
use super::launch::{FhirContextItem, LaunchContext};
use crate::secret::Secret;

macro_rules! members {
    ($($name:ident = $text:literal;)+) => {
        /// A member of the request, by the name it has on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Member {
            $($name,)+
        }

        impl Member {
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

members! {
    ClientId = "client_id";
    Patient = "patient";
    Encounter = "encounter";
    FhirUser = "fhir_user";
    Intent = "intent";
    NeedPatientBanner = "need_patient_banner";
    SmartStyleUrl = "smart_style_url";
    Tenant = "tenant";
    FhirContext = "fhir_context";
    Organization = "organization";
    FhirBase = "fhir_base";
    LaunchUrl = "launch_url";
    Session = "session";
    UpstreamToken = "upstream_token";
    UpstreamProof = "upstream_proof";
    Ttl = "ttl";
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the EHR asks for.
#[derive(Debug)]
pub struct LaunchRequest {
    pub client_id: ClientId,
    pub fhir_user: Reference,
    pub context: LaunchContext,
    pub organization: Option<Reference>,
    pub fhir_base: Option<String>,
    pub launch_url: Option<String>,
    /// The EPJ's own id of the user's session.
    pub session: Option<Secret<String>>,
    pub upstream: Option<UpstreamProven>,
    /// Seconds.
    pub ttl: Option<u64>,
}

/// A token of the identity provider's for our own API, with the proof of the key it is bound to, if one came along. RFC 9449 §7.
#[derive(Debug)]
pub struct UpstreamProven {
    pub token: Secret<String>,
    pub proof: Option<Secret<String>>,
}

/// Why a body is not a launch request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchRequestError {
    /// 400
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// 400
    #[error("{0} is missing")]
    Missing(Member),
    /// 400
    #[error("{member} must be {expected}")]
    Type { member: Member, expected: &'static str },
    /// 422
    #[error("unknown member")]
    Unknown(String),
    /// 422
    #[error("{member} {why}")]
    Value { member: Member, why: &'static str },
}

/// The longest text of a member that is only passed on.
const LONGEST: usize = 1024;

/// The longest token or proof that is looked at. `reference/helseid.md` T23.
const LONGEST_TOKEN: usize = 16 * 1024;

impl LaunchRequest {
    /// # Errors
    /// [`LaunchRequestError`]; nothing is repaired, nothing unknown is passed over.
    pub fn parse(body: &[u8]) -> Result<Self, LaunchRequestError> {
        use LaunchRequestError as E;
        // A member twice is two launches in one: whoever checked the request before us may have read the other one. RFC 8259 §4.
        let Some(mut members) = json::object(body) else { return Err(E::NotAnObject) };
        if let Some(unknown) = members.keys().find(|name| !Member::ALL.iter().any(|member| member.as_str() == *name)) {
            return Err(E::Unknown(unknown_name(unknown).to_owned()));
        }
        // `null` says the same as leaving the member out.
        members.retain(|_, value| !value.is_null());
        let mut from = Members(members);
        let context = LaunchContext {
            patient: from.text(Member::Patient)?.map(|text| fhir_id(Member::Patient, &text)).transpose()?,
            encounter: from.text(Member::Encounter)?.map(|text| fhir_id(Member::Encounter, &text)).transpose()?,
            fhir_context: from.fhir_context()?,
            need_patient_banner: from.boolean(Member::NeedPatientBanner)?,
            intent: from.text(Member::Intent)?,
            smart_style_url: from.text(Member::SmartStyleUrl)?,
            tenant: from.text(Member::Tenant)?,
        };
        if context.smart_style_url.as_deref().is_some_and(|url| !url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))) {
            return Err(E::Value { member: Member::SmartStyleUrl, why: "must be an absolute URL" });
        }
        let client_id = from.text(Member::ClientId)?.ok_or(E::Missing(Member::ClientId))?;
        let fhir_user = from.text(Member::FhirUser)?.ok_or(E::Missing(Member::FhirUser))?;
        Ok(Self {
            client_id: ClientId::parse(&client_id).map_err(|_| E::Value { member: Member::ClientId, why: "is not a client id" })?,
            fhir_user: reference(Member::FhirUser, &fhir_user)?,
            context,
            organization: from.text(Member::Organization)?.map(|text| reference(Member::Organization, &text)).transpose()?,
            fhir_base: from.text(Member::FhirBase)?,
            launch_url: from.text(Member::LaunchUrl)?,
            session: from.text(Member::Session)?.map(Secret::new),
            upstream: from.upstream()?,
            ttl: from.seconds(Member::Ttl)?,
        })
    }
}

/// A name nobody knows, as far as it may be said again: one that might be a number or a secret in the wrong place is not.
pub fn unknown_name(name: &str) -> &str {
    let is_plain = name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.'));
    if is_plain { name } else { "" }
}

fn fhir_id(member: Member, text: &str) -> Result<FhirId, LaunchRequestError> {
    FhirId::parse(text).map_err(|_| LaunchRequestError::Value { member, why: "must be a bare FHIR id, without a type" })
}

fn reference(member: Member, text: &str) -> Result<Reference, LaunchRequestError> {
    Reference::parse(text).map_err(|_| LaunchRequestError::Value { member, why: "must be a relative reference such as Practitioner/1" })
}

/// The members that are left to read.
struct Members(Map<String, Value>);

impl Members {
    fn take(&mut self, member: Member) -> Option<Value> {
        self.0.remove(member.as_str())
    }

    fn text(&mut self, member: Member) -> Result<Option<String>, LaunchRequestError> {
        self.bounded(member, LONGEST, "is longer than 1024 bytes")
    }

    fn bounded(&mut self, member: Member, longest: usize, why: &'static str) -> Result<Option<String>, LaunchRequestError> {
        match self.take(member) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(LaunchRequestError::Value { member, why: "must not be empty; leave it out instead" }),
            Some(Value::String(text)) if text.len() > longest => Err(LaunchRequestError::Value { member, why }),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(LaunchRequestError::Type { member, expected: "a string" }),
        }
    }

    fn token(&mut self, member: Member) -> Result<Option<Secret<String>>, LaunchRequestError> {
        Ok(self.bounded(member, LONGEST_TOKEN, "is longer than 16384 bytes")?.map(Secret::new))
    }

    /// Both, or the token alone, about which it is then said what is wrong once it was verified.
    fn upstream(&mut self) -> Result<Option<UpstreamProven>, LaunchRequestError> {
        match (self.token(Member::UpstreamToken)?, self.token(Member::UpstreamProof)?) {
            (Some(token), proof) => Ok(Some(UpstreamProven { token, proof })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(LaunchRequestError::Value { member: Member::UpstreamProof, why: "goes with an upstream_token, and there is none" }),
        }
    }

    fn boolean(&mut self, member: Member) -> Result<Option<bool>, LaunchRequestError> {
        self.take(member).map(|value| value.as_bool().ok_or(LaunchRequestError::Type { member, expected: "true or false" })).transpose()
    }

    fn seconds(&mut self, member: Member) -> Result<Option<u64>, LaunchRequestError> {
        let Some(value) = self.take(member) else { return Ok(None) };
        if !value.is_number() {
            return Err(LaunchRequestError::Type { member, expected: "a number of seconds" });
        }
        value.as_u64().map(Some).ok_or(LaunchRequestError::Value { member, why: "must be a whole number of seconds" })
    }

    /// `fhirContext` items, each checked by the rules of SMART 2.2 (SAL-074…077).
    fn fhir_context(&mut self) -> Result<Vec<FhirContextItem>, LaunchRequestError> {
        let member = Member::FhirContext;
        let items = match self.take(member) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= 50 => items,
            Some(Value::Array(_)) => return Err(LaunchRequestError::Value { member, why: "has more than 50 items" }),
            Some(_) => return Err(LaunchRequestError::Type { member, expected: "an array of objects" }),
        };
        let read = |item: Value| {
            if !item.is_object() {
                return Err(LaunchRequestError::Type { member, expected: "an array of objects" });
            }
            let item: FhirContextItem = serde_json::from_value(item).map_err(|_| LaunchRequestError::Value {
                member,
                why: "has an item with a member other than reference, canonical, identifier, type and role, or one of the wrong type",
            })?;
            item.check().map_err(|why| LaunchRequestError::Value { member, why: why.as_str() })?;
            Ok(item)
        };
        items.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(value: Value) -> Result<LaunchRequest, LaunchRequestError> {
        LaunchRequest::parse(value.to_string().as_bytes())
    }

    #[test]
    fn the_whole_body() {
        let ask = parse(json!({
            "client_id": "app", "patient": "p-1", "encounter": "e-1", "fhir_user": "Practitioner/l", "intent": "x", "need_patient_banner": false,
            "smart_style_url": "https://epj.example/s.json", "tenant": "t", "fhir_context": [{"reference": "List/1"}], "organization": "Organization/o",
            "launch_url": "https://app.example/launch", "session": "s", "ttl": 60, "fhir_base": null
        }))
        .unwrap();
        assert_eq!(ask.context.patient.unwrap().as_str(), "p-1");
        assert_eq!((ask.ttl, ask.fhir_base), (Some(60), None));
    }

    #[test]
    fn refusals() {
        use LaunchRequestError as E;
        let good = || json!({"client_id": "app", "fhir_user": "Practitioner/l"});
        assert!(parse(good()).is_ok());
        assert_eq!(LaunchRequest::parse(b"{").err(), Some(E::NotAnObject));
        assert_eq!(parse(json!([])).err(), Some(E::NotAnObject));
        assert_eq!(parse(json!({"fhir_user": "Practitioner/l"})).err(), Some(E::Missing(Member::ClientId)));
        for (name, value, told) in [
            ("patient", json!("Patient/1"), Member::Patient),
            ("patient", json!(1), Member::Patient),
            ("encounter", json!("a_b"), Member::Encounter),
            ("fhir_user", json!("l"), Member::FhirUser),
            ("need_patient_banner", json!("no"), Member::NeedPatientBanner),
            ("smart_style_url", json!("style.json"), Member::SmartStyleUrl),
            ("fhir_context", json!(["List/1"]), Member::FhirContext),
            ("fhir_context", json!([{"reference": "Patient/1"}]), Member::FhirContext),
            ("fhir_context", json!([{"reference": "List/1", "x": 1}]), Member::FhirContext),
            ("ttl", json!("60"), Member::Ttl),
            ("ttl", json!(-1), Member::Ttl),
            ("ttl", json!(1.5), Member::Ttl),
            ("tenant", json!(""), Member::Tenant),
            ("upstream_token", json!(1), Member::UpstreamToken),
            ("upstream_token", json!(""), Member::UpstreamToken),
            ("upstream_token", json!("x".repeat(16 * 1024 + 1)), Member::UpstreamToken),
            ("upstream_proof", json!(["x"]), Member::UpstreamProof),
            ("upstream_proof", json!("x"), Member::UpstreamProof),
        ] {
            let mut body = good();
            body[name] = value;
            match parse(body) {
                Err(E::Type { member, .. } | E::Value { member, .. }) => assert_eq!(member, told, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        let mut body = good();
        body["pasient"] = json!("1");
        assert_eq!(parse(body).err(), Some(E::Unknown("pasient".into())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = LaunchRequest::parse(&bytes);
        }

        #[test]
        fn any_members_are_read_or_refused(name in prop::sample::select(Member::ALL), text in "\\PC{0,20}", number in any::<i64>()) {
            for value in [json!(text), json!(number), json!([text]), json!({"reference": text}), json!([{"reference": text, "role": text}]), json!(null)] {
                let mut body = json!({"client_id": "app", "fhir_user": "Practitioner/l"});
                body[name.as_str()] = value;
                let _ = parse(body);
            }
        }
    }
}
