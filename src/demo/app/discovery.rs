//! Which FHIR servers the app speaks with, and what they say of themselves. `nav.md` §3.2; SMART 2.2 conformance, SAL-140.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::demo::sealed::Keys;
use crate::demo::wire::{Wire, text_at};
use crate::time::{Clock, UnixTime};

use super::error::AppError;

/// How long a server's description is believed: an hour, as NAV's app does.
const DESCRIPTION_S: i64 = 3600;
/// How long its keys are (NAV-040), and how soon they may be asked for again when one is missing.
const KEYS_S: i64 = 600;
const KEYS_AGAIN_S: i64 = 30;

/// One EPJ the app is agreed with.
#[derive(Clone, Debug)]
pub struct AllowedServer {
    /// Shown, and sent along with what the doctor writes.
    pub name: String,
    /// The FHIR base, which is what `iss` names in a launch; not the OIDC issuer.
    pub fhir_base: String,
}

impl AllowedServer {
    /// Exact and case-sensitive, after dropping what follows `?` in the launch's `iss`, and one trailing slash on both sides.
    pub fn is(&self, iss: &str) -> bool {
        let asked = iss.split('?').next().unwrap_or(iss);
        bare(asked) == bare(&self.fhir_base)
    }
}

fn bare(base: &str) -> &str {
    base.strip_suffix('/').unwrap_or(base)
}

/// What the app needs of `{base}/.well-known/smart-configuration`.
#[derive(Clone, Debug)]
pub struct SmartConfiguration {
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
}

impl SmartConfiguration {
    /// What is wrong with the document, else what it says. The client library refuses to launch without an introspection endpoint it never
    /// calls, and appends `?…` to the authorization endpoint as it stands (`nav.md` §1, 5 and 6).
    pub fn parse(document: &Value) -> Result<Self, String> {
        let member = |name: &str| text_at(document, &format!("/{name}")).map(str::to_owned).ok_or_else(|| format!("smart-configuration lacks {name}"));
        let (_, _) = (member("jwks_uri")?, member("introspection_endpoint")?);
        let found = Self { issuer: member("issuer")?, authorization_endpoint: member("authorization_endpoint")?, token_endpoint: member("token_endpoint")? };
        if found.authorization_endpoint.contains('?') {
            return Err("the authorization endpoint has a query".into());
        }
        let methods = document.get("code_challenge_methods_supported").and_then(Value::as_array);
        // SAL-145
        if !methods.is_some_and(|methods| methods.iter().any(|method| method == "S256")) {
            return Err("smart-configuration does not offer S256".into());
        }
        Ok(found)
    }
}

struct KnownKeys {
    keys: Arc<Keys>,
    at: UnixTime,
}

/// The list, and what is remembered of its members.
pub struct Servers {
    wire: Wire,
    clock: Arc<dyn Clock>,
    allowed: Vec<AllowedServer>,
    described: Mutex<HashMap<String, (UnixTime, Arc<SmartConfiguration>)>>,
    keys: Mutex<HashMap<String, KnownKeys>>,
}

impl Servers {
    pub fn new(wire: Wire, clock: Arc<dyn Clock>, allowed: Vec<AllowedServer>) -> Self {
        Self { wire, clock, allowed, described: Mutex::default(), keys: Mutex::default() }
    }

    /// The server a launch's `iss` names. Nothing is requested from one that is not on the list.
    ///
    /// # Errors
    /// [`AppError::InvalidIssuer`].
    pub fn allowed(&self, iss: &str) -> Result<&AllowedServer, AppError> {
        let shown = || iss.chars().take(200).collect();
        self.allowed.iter().find(|server| server.is(iss)).ok_or_else(|| AppError::InvalidIssuer { iss: shown() })
    }

    /// What the server says of itself, at most an hour old.
    ///
    /// # Errors
    /// [`AppError::Discovery`].
    pub async fn describe(&self, server: &AllowedServer) -> Result<Arc<SmartConfiguration>, AppError> {
        let now = self.clock.now();
        let base = bare(&server.fhir_base);
        if let Some((at, known)) = self.described.lock().unwrap_or_else(PoisonError::into_inner).get(base)
            && (0..DESCRIPTION_S).contains(&now.since(*at))
        {
            return Ok(known.clone());
        }
        let request = self.wire.get(&format!("{base}/.well-known/smart-configuration")).header("accept", "application/json");
        let answer = self.wire.send(request).await.map_err(|why| AppError::Discovery(why.to_string()))?;
        if answer.status != 200 {
            return Err(AppError::Discovery(format!("smart-configuration: HTTP {}", answer.status)));
        }
        let document = answer.json().ok_or_else(|| AppError::Discovery("smart-configuration is not JSON".into()))?;
        let found = Arc::new(SmartConfiguration::parse(&document).map_err(AppError::Discovery)?);
        self.described.lock().unwrap_or_else(PoisonError::into_inner).insert(base.to_owned(), (now, found.clone()));
        Ok(found)
    }

    /// The issuer's keys, at most ten minutes old; `again` asks anew, though not twice in half a minute.
    ///
    /// # Errors
    /// [`AppError::Discovery`].
    pub async fn keys(&self, issuer: &str, again: bool) -> Result<Arc<Keys>, AppError> {
        let now = self.clock.now();
        let good_for = if again { KEYS_AGAIN_S } else { KEYS_S };
        if let Some(known) = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(issuer)
            && (0..good_for).contains(&now.since(known.at))
        {
            return Ok(known.keys.clone());
        }
        let keys = Arc::new(Keys::discover(&self.wire, issuer).await.map_err(|why| AppError::Discovery(why.to_string()))?);
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(issuer.to_owned(), KnownKeys { keys: keys.clone(), at: now });
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_is_exact_but_for_one_slash_and_a_query() {
        let server = AllowedServer { name: "EPJ".into(), fhir_base: "https://epj.example/fhir".into() };
        for good in ["https://epj.example/fhir", "https://epj.example/fhir/", "https://epj.example/fhir?tenant=1", "https://epj.example/fhir/?x"] {
            assert!(server.is(good), "{good}");
        }
        for bad in [
            "http://epj.example/fhir",
            "https://epj.example/fhir//",
            "https://epj.example/FHIR",
            "https://epj.example:443/fhir",
            "https://epj.example/fhir/r4",
            "https://epj.example.evil/fhir",
            "https://evil.example/?https://epj.example/fhir",
            "",
        ] {
            assert!(!server.is(bad), "{bad}");
        }
    }

    #[test]
    fn a_description_without_what_the_library_wants_is_refused() {
        let good = json!({ "issuer": "https://a", "jwks_uri": "https://a/jwks", "authorization_endpoint": "https://a/authorize",
            "token_endpoint": "https://a/token", "introspection_endpoint": "https://a/introspect", "code_challenge_methods_supported": ["S256"] });
        assert!(SmartConfiguration::parse(&good).is_ok());
        for member in ["issuer", "jwks_uri", "authorization_endpoint", "token_endpoint", "introspection_endpoint", "code_challenge_methods_supported"] {
            let mut poor = good.clone();
            poor.as_object_mut().unwrap().remove(member);
            assert!(SmartConfiguration::parse(&poor).is_err(), "{member}");
        }
        let mut query = good;
        query["authorization_endpoint"] = json!("https://a/authorize?x=1");
        assert!(SmartConfiguration::parse(&query).is_err());
    }
}
