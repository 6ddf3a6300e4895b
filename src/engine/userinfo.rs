//! UserInfo. OIDC Core §5.3.

use serde_json::{Map, Value};

use super::Engine;
use super::issue::fhir_user_for;
use crate::protocol::dpop::ShownToken;
use crate::protocol::error::{Challenge, ErrorCode, OAuthError};
use crate::protocol::scope::Scope;

impl Engine {
    /// What the token's holder may know of the person: `sub`, and what `fhirUser` and `profile` add.
    ///
    /// # Errors
    /// 401 as [`Engine::shown`] says, 403 `insufficient_scope` without `openid`, 503 without a store.
    pub async fn userinfo(&self, shown: Option<ShownToken<'_>>, method: &str) -> Result<Map<String, Value>, OAuthError> {
        let active = self.shown(shown, method, "/userinfo").await?;
        let insufficient = || shown.map_or_else(insufficient, |shown| insufficient().under(shown.scheme));
        let scope = &active.claims.scope;
        let (Some(grant), Some(client)) = (&active.grant, &active.client) else { return Err(insufficient()) };
        if !scope.contains(&Scope::OpenId) {
            return Err(insufficient());
        }
        let mut members = Map::from_iter([("sub".to_owned(), Value::from(active.claims.sub.as_str()))]);
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                members.insert(name.to_owned(), value.into());
            }
        };
        if scope.contains(&Scope::FhirUser) {
            add("fhirUser", fhir_user_for(grant, client));
        }
        if scope.contains(&Scope::Profile) {
            add("name", grant.user_name.clone());
            add("profile", grant.fhir_user.as_ref().filter(|_| scope.contains(&Scope::FhirUser)).map(|user| format!("{}/{user}", grant.base)));
        }
        Ok(members)
    }
}

fn insufficient() -> OAuthError {
    OAuthError::new(ErrorCode::InsufficientScope, "the token does not carry openid").challenge(Challenge::Bearer { scope: Some("openid") })
}
