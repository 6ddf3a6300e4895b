//! What the app reads at the FHIR server, in NAV's order (`nav.md` §3.8), and what it makes of it (§4).

use serde_json::Value;

use crate::demo::wire::{Answer, Wire, WireError, bearer, text_at};
use crate::secret::Secret;

const FNR: &str = "urn:oid:2.16.578.1.12.4.1.4.1";
const DNR: &str = "urn:oid:2.16.578.1.12.4.1.4.2";
const HPR: &str = "urn:oid:2.16.578.1.12.4.1.4.4";
const ORGNR: &str = "urn:oid:2.16.578.1.12.4.1.4.101";
const HER: &str = "urn:oid:2.16.578.1.12.4.1.2";
/// Diagnosis code systems NAV knows, by OID.
const DIAGNOSES: [(&str, &str); 3] =
    [("urn:oid:2.16.578.1.12.4.1.1.7110", "ICD-10"), ("urn:oid:2.16.578.1.12.4.1.1.7170", "ICPC-2"), ("urn:oid:2.16.578.1.12.4.1.1.7171", "ICPC-2B")];

/// Why a resource could not be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the token is not accepted")]
    Unauthorized,
    #[error("HTTP {0}")]
    Status(u16),
    #[error("no answer")]
    Unreachable,
    #[error("not the resource that was asked for")]
    Unreadable,
    #[error("{0} is missing")]
    Lacks(&'static str),
}

pub struct Person {
    pub id: String,
    pub name: String,
    /// Whether the number is a D-number.
    pub d_number: bool,
    pub number: String,
    pub born: String,
}

pub struct Doctor {
    pub id: String,
    pub name: String,
    pub hpr: String,
    pub her: String,
}

pub struct Visit {
    pub status: String,
    pub kind: String,
    pub start: String,
    /// `Organization/…`
    pub provider: String,
}

pub struct Organization {
    pub name: String,
    pub orgnr: String,
    pub her: String,
    pub phone: String,
}

pub struct Diagnosis {
    pub code: String,
    pub system: &'static str,
    pub text: String,
}

/// A FHIR base and the token to read it with.
pub struct Reader<'a> {
    pub wire: &'a Wire,
    pub base: &'a str,
    pub token: &'a Secret<String>,
}

impl Reader<'_> {
    /// The HTTP status of reading something; `None` when there was no answer.
    pub async fn status(&self, path: &str) -> Option<u16> {
        self.get(path).await.ok().map(|answer| answer.status)
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/{path}", self.base.trim_end_matches('/'));
        self.wire.get(&url).header("authorization", bearer(self.token)).header("accept", "application/fhir+json")
    }

    /// An answer as it comes.
    ///
    /// # Errors
    /// [`WireError`] when there is none.
    pub async fn get(&self, path: &str) -> Result<Answer, WireError> {
        self.wire.send(self.request(path)).await
    }

    /// `PUT`, as NAV's app sends it: as `application/json`, without `Prefer` and `If-Match`. NAV-084, NAV-093.
    ///
    /// # Errors
    /// [`WireError`] when there is no answer.
    pub async fn put(&self, path: &str, resource: &Value) -> Result<Answer, WireError> {
        let url = format!("{}/{path}", self.base.trim_end_matches('/'));
        let request = self.wire.put(&url).header("authorization", bearer(self.token)).header("accept", "application/fhir+json,application/json");
        self.wire.send(request.json(resource)).await
    }

    async fn read(&self, path: &str, resource_type: &str) -> Result<Value, ReadError> {
        let answer = self.wire.send(self.request(path)).await.map_err(|_| ReadError::Unreachable)?;
        match answer.status {
            200 => answer.json().filter(|value| text_at(value, "/resourceType") == Some(resource_type)).ok_or(ReadError::Unreadable),
            401 => Err(ReadError::Unauthorized),
            status => Err(ReadError::Status(status)),
        }
    }

    /// `GET Patient/{id}`. An fnr wins over a d-number.
    pub async fn person(&self, id: &str) -> Result<Person, ReadError> {
        let found = self.read(&format!("Patient/{id}"), "Patient").await?;
        let (fnr, dnr) = (identifier(&found, FNR), identifier(&found, DNR));
        let number = fnr.or(dnr).ok_or(ReadError::Lacks("identifier"))?.to_owned();
        let born = text_at(&found, "/birthDate").unwrap_or("").to_owned();
        Ok(Person { id: own_id(&found, id)?, name: human_name(&found)?, d_number: fnr.is_none(), number, born })
    }

    /// `GET Practitioner/{id}`, by the `fhirUser` claim.
    pub async fn doctor(&self, fhir_user: &str) -> Result<Doctor, ReadError> {
        let found = self.read(fhir_user, "Practitioner").await?;
        let hpr = identifier(&found, HPR).ok_or(ReadError::Lacks("HPR"))?.to_owned();
        let id = own_id(&found, fhir_user.rsplit('/').next().unwrap_or(""))?;
        Ok(Doctor { id, name: human_name(&found)?, hpr, her: identifier(&found, HER).unwrap_or("").to_owned() })
    }

    /// `GET Encounter/{id}`; its subject must be the patient of the launch.
    pub async fn visit(&self, id: &str, patient: &str) -> Result<Visit, ReadError> {
        let found = self.read(&format!("Encounter/{id}"), "Encounter").await?;
        if text_at(&found, "/subject/reference") != Some(&format!("Patient/{patient}")) {
            return Err(ReadError::Lacks("subject"));
        }
        let provider = text_at(&found, "/serviceProvider/reference").filter(|to| to.starts_with("Organization/"));
        let kind = text_at(&found, "/type/0/coding/0/display").or_else(|| text_at(&found, "/class/display")).unwrap_or("");
        Ok(Visit {
            status: text_at(&found, "/status").unwrap_or("").to_owned(),
            kind: kind.to_owned(),
            start: text_at(&found, "/period/start").unwrap_or("").to_owned(),
            provider: provider.ok_or(ReadError::Lacks("serviceProvider"))?.to_owned(),
        })
    }

    /// `GET Organization/{id}`, by the encounter's `serviceProvider`.
    pub async fn organization(&self, reference: &str) -> Result<Organization, ReadError> {
        let found = self.read(reference, "Organization").await?;
        let telecom = found.get("telecom").and_then(Value::as_array);
        let phone = telecom.and_then(|all| all.iter().find(|one| text_at(one, "/system") == Some("phone"))).and_then(|one| text_at(one, "/value"));
        Ok(Organization {
            name: text_at(&found, "/name").unwrap_or("").to_owned(),
            orgnr: identifier(&found, ORGNR).ok_or(ReadError::Lacks("orgnr"))?.to_owned(),
            her: identifier(&found, HER).unwrap_or("").to_owned(),
            phone: phone.ok_or(ReadError::Lacks("phone"))?.to_owned(),
        })
    }

    /// `GET Condition?encounter={id}`: the first coding in a system NAV knows; conditions without one are passed over.
    pub async fn diagnoses(&self, encounter: &str) -> Result<Vec<Diagnosis>, ReadError> {
        let found = self.read(&format!("Condition?encounter={encounter}"), "Bundle").await?;
        let entries = found.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(entries.iter().filter_map(|entry| diagnosis(entry.get("resource")?)).collect())
    }
}

fn diagnosis(condition: &Value) -> Option<Diagnosis> {
    let codings = condition.pointer("/code/coding")?.as_array()?;
    codings.iter().find_map(|coding| {
        let (_, system) = DIAGNOSES.into_iter().find(|(oid, _)| text_at(coding, "/system") == Some(oid))?;
        Some(Diagnosis { code: text_at(coding, "/code")?.to_owned(), system, text: text_at(coding, "/display")?.to_owned() })
    })
}

fn own_id(resource: &Value, asked: &str) -> Result<String, ReadError> {
    text_at(resource, "/id").filter(|id| *id == asked).map(str::to_owned).ok_or(ReadError::Unreadable)
}

fn identifier<'a>(resource: &'a Value, system: &str) -> Option<&'a str> {
    let all = resource.get("identifier")?.as_array()?;
    all.iter().find(|one| text_at(one, "/system") == Some(system)).and_then(|one| text_at(one, "/value"))
}

/// The first name's first given name, and its family name.
fn human_name(resource: &Value) -> Result<String, ReadError> {
    let given = text_at(resource, "/name/0/given/0").ok_or(ReadError::Lacks("given name"))?;
    let family = text_at(resource, "/name/0/family").ok_or(ReadError::Lacks("family name"))?;
    Ok(format!("{given} {family}"))
}
