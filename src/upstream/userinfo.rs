//! What the provider knows of the person as health personnel. `reference/helseid.md` §2.10, §3.3.

use http::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use super::Upstream;
use super::error::{AnswerFault, UpstreamError};
use super::id_token::number_or_text;
use super::signed::{ProofFor, proof};
use crate::domain::person::HprNumber;
use crate::domain::upstream::{Approval, HprDetails, UpstreamSubject, UserinfoScheme};
use crate::jose::SigningKey;
use crate::secret::Secret;

#[derive(Deserialize)]
pub(super) struct Userinfo {
    sub: UpstreamSubject,
    #[serde(rename = "helseid://claims/hpr/hpr_details")]
    details: Option<RawDetails>,
}

#[derive(Deserialize)]
struct RawDetails {
    #[serde(default, deserialize_with = "number_or_text")]
    hpr_number: Option<Secret<String>>,
    #[serde(default)]
    no_hpr_number: bool,
    #[serde(default)]
    approvals: Option<Vec<RawApproval>>,
}

#[derive(Deserialize)]
struct RawApproval {
    profession: String,
    authorization: Option<Coded>,
    #[serde(default)]
    requisition_rights: Option<Vec<Coded>>,
    #[serde(default)]
    specialities: Option<Vec<Coded>>,
}

#[derive(Deserialize)]
struct Coded {
    value: Value,
}

impl Coded {
    /// A code is a text, and a number where somebody wrote it so.
    fn code(self) -> Option<String> {
        match self.value {
            Value::String(code) => Some(code),
            Value::Number(code) => Some(code.to_string()),
            _ => None,
        }
    }
}

impl Upstream {
    /// Asks what the person may do as health personnel, with an access token that has `openid`. `key` is the session's.
    ///
    /// # Errors
    /// [`UpstreamError`]; [`AnswerFault::Subject`] where the answer speaks of somebody else (OIDC Core §5.3.2).
    pub async fn userinfo(&self, access_token: &Secret<String>, key: &SigningKey, subject: &UpstreamSubject) -> Result<HprDetails, UpstreamError> {
        let discovery = self.discovery().await?;
        let rules = self.rules();
        let request = self.inner.http.get(&discovery.userinfo);
        let (scheme, request) = match rules.userinfo_scheme {
            UserinfoScheme::Bearer => ("Bearer", request),
            UserinfoScheme::Dpop => {
                let nonce = self.inner.nonces.latest(&discovery.userinfo);
                let what = ProofFor { method: "GET", url: &discovery.userinfo, nonce: nonce.as_deref(), access_token: Some(access_token) };
                ("DPoP", request.header("DPoP", proof(key, &what, self.now(), &*self.inner.random).map_err(|_| UpstreamError::Signing)?))
            }
        };
        let mut value = HeaderValue::from_str(&format!("{scheme} {}", access_token.expose())).map_err(|_| UpstreamError::Signing)?;
        value.set_sensitive(true);
        let answer = self.get("userinfo", request.header(AUTHORIZATION, value)).await?;
        if answer.status != http::StatusCode::OK {
            return Err(UpstreamError::Down(answer.down()));
        }
        if !answer.is_json() {
            return Err(AnswerFault::NotJson.into());
        }
        let found: Userinfo = serde_json::from_slice(answer.body()).map_err(|_| AnswerFault::Missing("userinfo claims"))?;
        if found.sub != *subject {
            return Err(AnswerFault::Subject.into());
        }
        found.details()
    }
}

impl Userinfo {
    pub(super) fn details(self) -> Result<HprDetails, UpstreamError> {
        self.details.map_or(Ok(HprDetails::default()), RawDetails::read)
    }
}

impl RawDetails {
    fn read(self) -> Result<HprDetails, UpstreamError> {
        let number = self.hpr_number.filter(|_| !self.no_hpr_number);
        let number = number.map(|number| HprNumber::parse(number.expose()).ok_or(AnswerFault::Missing("hpr_number"))).transpose()?;
        let codes = |list: Option<Vec<Coded>>| list.unwrap_or_default().into_iter().filter_map(Coded::code).collect();
        let approvals = self.approvals.unwrap_or_default().into_iter().map(|raw| Approval {
            profession: raw.profession,
            authorization: raw.authorization.and_then(Coded::code),
            requisition_rights: codes(raw.requisition_rights),
            specialities: codes(raw.specialities),
        });
        Ok(HprDetails { number, approvals: approvals.collect() })
    }
}
