//! Introspection. RFC 7662; SAL §5.6.

use serde_json::{Map, Value, json};

use super::Engine;
use super::issue::fhir_user_for;
use super::live::ActiveToken;
use crate::audit::trail;
use crate::domain::audit::Action;
use crate::domain::client_auth::AuthenticatedClient;
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::dpop::{BEARER, DPOP, ShownToken};
use crate::protocol::error::{Challenge, ErrorCode, OAuthError};
use crate::protocol::scope::{Level, Scope};

/// Who may look, and at what.
enum Caller {
    /// A confidential client: its own tokens, and those for the FHIR bases it serves.
    Client(AuthenticatedClient),
    /// A bearer of the introspection scope: any token of this issuer. SAL-125.
    Bearer,
}

impl Engine {
    /// What is known of a token, for a caller who may know it; else `{"active": false}` and nothing more. SAL-126.
    ///
    /// # Errors
    /// 401 without or with wrong credentials, 403 for a bearer without the scope, 400 without `token`, 503 without a store.
    pub async fn introspect(
        &self,
        auth: Result<ClientAuth, OAuthError>,
        shown: Option<ShownToken<'_>>,
        token: Option<&str>,
    ) -> Result<Map<String, Value>, OAuthError> {
        let caller = match shown {
            Some(shown) => Box::pin(self.by_token(shown)).await.map_err(|error| error.under(shown.scheme))?,
            None => {
                let client = self.authenticate(auth?).await?;
                // DESIGN §3: a public client sees nothing.
                if client.client().is_public() {
                    return Err(OAuthError::invalid_client());
                }
                Caller::Client(client)
            }
        };
        let token = token.ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
        let inactive = || Map::from_iter([("active".to_owned(), Value::Bool(false))]);
        let Some(active) = self.active(token).await? else { return Ok(inactive()) };
        let (may_see, serves) = match &caller {
            Caller::Bearer => (true, true),
            Caller::Client(client) => {
                let serves = self.rules.fhir.iter().any(|server| server.base.as_str() == active.claims.aud && server.resource_servers.contains(client.id()));
                // An exchange may have made it for another service of ours, by its name.
                let meant = serves || active.claims.aud == client.id().as_str();
                (meant || active.claims.client_id == *client.id(), meant)
            }
        };
        if may_see {
            return Ok(self.described(&active, serves));
        }
        // What the caller is told is "inactive"; that it asked for what is none of its business is known here alone.
        trail::also_refused(Action::Introspect, "inactive", "the token is none of this caller's", |facts| facts.token = Some(active.claims.jti.clone()));
        Ok(inactive())
    }

    async fn by_token(&self, shown: ShownToken<'_>) -> Result<Caller, OAuthError> {
        let active = self.shown(Some(shown), "POST", "/introspect").await?;
        // SAL §5.6: a good token that is meant for something else is 403, as one of ours without the scope is.
        if !active.claims.scope.has_extension(&self.rules.introspect_scope()) {
            let error = OAuthError::new(ErrorCode::InsufficientScope, "the token does not carry the introspection scope");
            return Err(error.challenge(Challenge::Bearer { scope: None }));
        }
        if active.claims.aud != self.rules.issuer.as_str() {
            return Err(OAuthError::token_invalid());
        }
        Ok(Caller::Bearer)
    }

    /// RFC 7662 §2.2 with SMART's members: the same names and values as in the token response. SAL-121…123.
    fn described(&self, active: &ActiveToken, to_resource_server: bool) -> Map<String, Value> {
        let claims = &active.claims;
        let mut members = Map::new();
        members.insert("active".into(), Value::Bool(true));
        members.insert("scope".into(), claims.scope.to_string().into());
        members.insert("client_id".into(), claims.client_id.as_str().into());
        // RFC 9449 §6.2.
        members.insert("token_type".into(), if claims.cnf.is_some() { DPOP } else { BEARER }.into());
        members.insert("exp".into(), claims.exp.0.into());
        members.insert("iat".into(), claims.iat.0.into());
        members.insert("sub".into(), claims.sub.as_str().into());
        members.insert("aud".into(), claims.aud.as_str().into());
        members.insert("iss".into(), claims.iss.as_str().into());
        members.insert("jti".into(), claims.jti.as_str().into());
        if let Some(cnf) = &claims.cnf {
            members.insert("cnf".into(), json!(cnf));
        }
        if let Some(act) = &claims.act {
            members.insert("act".into(), json!(act));
        }
        let (Some(grant), Some(client)) = (&active.grant, &active.client) else {
            // A token of our own that acts for a person says for whom.
            members.extend(claims.fhir_user.as_ref().map(|user| ("fhirUser".to_owned(), user.as_str().into())));
            return members;
        };
        if let Some(auth) = &grant.auth {
            members.insert("auth_time".into(), auth.auth_time.0.into());
            members.insert("acr".into(), auth.acr.as_str().into());
        }
        // Ids of one FHIR server mean nothing, or somebody else, at another.
        if self.rules.fhir.iter().any(|server| server.base.as_str() == claims.aud) && claims.aud != grant.base.as_str() {
            return members;
        }
        // A FHIR server cannot apply `user/` scopes without knowing the user.
        let needs_user = to_resource_server && claims.scope.has_level(Level::User);
        if (grant.scopes.contains(&Scope::FhirUser) || needs_user)
            && let Some(user) = fhir_user_for(grant, client)
        {
            members.insert("fhirUser".into(), user.into());
        }
        members.extend(grant.context.members());
        members
    }
}
