//! What the app, NAV's validators and the standards ask of a token response, as rows to show. `nav.md` §2.4.

use oauth2::TokenResponse as _;
use serde_json::Value;

use crate::demo::sealed::{Brief, SealError, VerifiedId};

use crate::demo::page::Lang;

use super::tokens::SmartTokens;

/// One requirement and how it went.
#[derive(Clone, Debug)]
pub struct Check {
    /// The requirement's number or section.
    pub source: &'static str,
    nb: &'static str,
    pub en: &'static str,
    /// `None` when it held.
    pub failed: Option<String>,
    /// Whether the app refuses to go on without it.
    pub fatal: bool,
}

impl Check {
    /// `what` is the check in bokmål and in English.
    pub fn new(source: &'static str, what: (&'static str, &'static str), held: bool, otherwise: impl Into<String>) -> Self {
        let (nb, en) = what;
        Self { source, nb, en, failed: (!held).then(|| otherwise.into()), fatal: false }
    }

    pub fn what(&self, lang: &Lang) -> &'static str {
        match lang {
            Lang::Nb => self.nb,
            Lang::En => self.en,
        }
    }

    fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    pub fn held(&self) -> bool {
        self.failed.is_none()
    }
}

/// `nav.md` §1, rule 19: what a patient or encounter id may look like, for it ends up in an address.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}

fn id_of(value: Option<&Value>) -> Option<&str> {
    value?.as_str().filter(|text| is_id(text))
}

/// The checks of a code exchange, in the order NAV's app meets them.
pub fn of_exchange(
    tokens: &SmartTokens,
    token_type: &str,
    access: &Result<Brief, SealError>,
    id: &Result<VerifiedId, SealError>,
    issuer_in_callback: bool,
) -> Vec<Check> {
    let beside = tokens.extra_fields().extra_fields();
    let scope: Vec<&str> = tokens.scopes().map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect()).unwrap_or_default();
    let said = |result: &Option<String>| result.clone().unwrap_or_default();
    let access_failed = access.as_ref().err().map(ToString::to_string);
    let id_failed = id.as_ref().err().map(ToString::to_string);
    let lifetime = access.as_ref().ok().and_then(|brief| Some(brief.number("exp")? - brief.number("iat")?));
    let expires_in = tokens.expires_in().map(|lifetime| i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
    let fhir_user = id.as_ref().ok().and_then(|id| id.fhir_user.as_deref());
    vec![
        Check::new("NAV-035", ("id_token", "id_token"), tokens.extra_fields().id_token().is_some(), "missing").fatal(),
        Check::new("NAV-035", ("refresh_token", "refresh_token"), tokens.refresh_token().is_some(), "missing").fatal(),
        Check::new("NAV-035, SAL-072", ("patient", "patient"), id_of(beside.patient.as_ref()).is_some(), "missing or not an id").fatal(),
        Check::new("NAV-035, SAL-072", ("encounter", "encounter"), id_of(beside.encounter.as_ref()).is_some(), "missing or not an id").fatal(),
        Check::new("NAV-036", ("token_type = Bearer", "token_type = Bearer"), token_type == "Bearer", "spelled otherwise"),
        Check::new("NAV-036, SAL-066", ("scope", "scope"), !scope.is_empty(), "missing"),
        Check::new("NAV-048", ("offline_access i scope", "offline_access in scope"), scope.contains(&"offline_access"), "not granted"),
        Check::new("NAV-037", ("uten feltet practitioner", "no practitioner member"), beside.practitioner.is_none(), "present"),
        Check::new(
            "NAV-038",
            ("tilgangstoken: RS256, kid i JWKS, iss, exp", "access token: RS256, kid in JWKS, iss, exp"),
            access_failed.is_none(),
            said(&access_failed),
        )
        .fatal(),
        Check::new(
            "NAV-039",
            ("livslengde over 600 s, lik expires_in", "lifetime over 600 s, equal to expires_in"),
            lifetime.is_some_and(|s| s > 600) && lifetime == expires_in,
            "shorter, or the two differ",
        ),
        Check::new("OIDC Core §3.1.3.7", ("id_token: signatur, iss, aud, exp", "id_token: signature, iss, aud, exp"), id_failed.is_none(), said(&id_failed))
            .fatal(),
        Check::new("NAV-041", ("aud er én streng", "aud is one string"), id.as_ref().is_ok_and(|id| id.aud_is_one_string), "an array"),
        Check::new(
            "NAV-041",
            ("fhirUser er relativ, en Practitioner", "fhirUser is relative, a Practitioner"),
            fhir_user.is_some_and(|user| user.starts_with("Practitioner/")),
            "missing or otherwise",
        )
        .fatal(),
        Check::new("RFC 9207 §2.4", ("iss i tilbakekallet", "iss in the callback"), issuer_in_callback, "absent"),
    ]
}

/// The checks of a refresh: what must not change, and what must keep working. `old` and `new` are the FHIR statuses of reading the patient.
pub fn of_refresh(tokens: &SmartTokens, granted: &[String], access: &Result<Brief, SealError>, old: Option<u16>, new: Option<u16>) -> Vec<Check> {
    let beside = tokens.extra_fields().extra_fields();
    let scope: Vec<&str> = tokens.scopes().map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect()).unwrap_or_default();
    let context = beside.patient.is_some() || beside.encounter.is_some() || beside.practitioner.is_some();
    let status = |status: Option<u16>| status.map_or("no answer".to_owned(), |status| format!("HTTP {status}"));
    let access_failed = access.as_ref().err().map(ToString::to_string);
    vec![
        Check::new(
            "NAV-044",
            ("nytt tilgangstoken som lar seg verifisere", "a new access token that verifies"),
            access_failed.is_none(),
            access_failed.unwrap_or_default(),
        ),
        Check::new("NAV-045", ("ingen kontekst i svaret", "no context in the answer"), !context, "present"),
        Check::new(
            "SAL-086, SAL-087",
            ("samme scope", "the same scope"),
            scope.len() == granted.len() && granted.iter().all(|one| scope.contains(&one.as_str())),
            "differs",
        ),
        Check::new("SAL-088", ("expires_in", "expires_in"), tokens.expires_in().is_some(), "missing"),
        Check::new("NAV-046", ("det gamle tokenet leser fortsatt pasienten", "the old token still reads the patient"), old == Some(200), status(old)),
        Check::new("SMART 2.2 refresh", ("det nye tokenet leser samme pasient", "the new token reads the same patient"), new == Some(200), status(new)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_may_stand_in_an_address() {
        for good in ["pasient-01", "a.b", &"x".repeat(64)] {
            assert!(is_id(good));
        }
        for bad in ["", "Patient/1", "a_b", "å", &"x".repeat(65)] {
            assert!(!is_id(bad));
        }
    }

    #[test]
    fn a_poor_answer_fails_where_it_is_poor() {
        let tokens: SmartTokens = serde_json::from_str(r#"{"access_token":"opaque","token_type":"bearer","patient":"Patient/1","practitioner":"p"}"#).unwrap();
        let checks = of_exchange(&tokens, "bearer", &Err(SealError::NotAJwt), &Err(SealError::IdToken("none".into())), true);
        let held: Vec<_> = checks.iter().filter(|check| check.held()).map(|check| check.source).collect();
        assert_eq!(held, ["RFC 9207 §2.4"]);
        assert!(checks.iter().any(|check| check.fatal));
    }
}
