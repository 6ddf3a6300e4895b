//! Introspection. RFC 7662; SAL §5.6.

use serde::{Serialize, Serializer};

use super::Engine;
use super::issue::fhir_user_for;
use super::live::ActiveToken;
use crate::audit::trail;
use crate::domain::audit::Action;
use crate::domain::client_auth::AuthenticatedClient;
use crate::protocol::claims::{Actor, Confirmation};
use crate::protocol::client_auth::ClientAuth;
use crate::protocol::dpop::{BEARER, DPOP, ShownToken};
use crate::protocol::error::{Challenge, ErrorCode, OAuthError};
use crate::protocol::ids::{ClientId, Issuer, Subject, TokenId};
use crate::protocol::launch::LaunchContext;
use crate::protocol::scope::{Level, Scope, ScopeSet};
use crate::time::UnixTime;

/// What is said of a token: that it is active, and what there is to know of it, or that it is not. RFC 7662 §2.2.
pub struct Introspection(Option<Described>);

/// An active token as one of those who may ask for it sees it.
struct Described {
    token: ActiveToken,
    /// The grant behind it may be told of.
    with_grant: bool,
    fhir_user: Option<String>,
}

impl Introspection {
    pub fn is_active(&self) -> bool {
        self.0.is_some()
    }
}

impl Serialize for Introspection {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Inactive {
            active: bool,
        }
        match &self.0 {
            None => Inactive { active: false }.serialize(to),
            Some(described) => described.members().serialize(to),
        }
    }
}

/// The members of an answer about an active token, those of SMART with the names and values of the token response. RFC 7662 §2.2, RFC 9449 §6.2,
/// RFC 8693 §4.1; SAL §5.6, SAL-121…123.
#[derive(Serialize)]
struct Members<'a> {
    active: bool,
    scope: &'a ScopeSet,
    client_id: &'a ClientId,
    token_type: &'static str,
    exp: UnixTime,
    iat: UnixTime,
    sub: &'a Subject,
    aud: &'a str,
    iss: &'a Issuer,
    jti: &'a TokenId,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'a Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<UnixTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(rename = "fhirUser", skip_serializing_if = "Option::is_none")]
    fhir_user: Option<&'a str>,
    #[serde(flatten)]
    context: Option<&'a LaunchContext>,
}

impl Described {
    fn members(&self) -> Members<'_> {
        let claims = &*self.token.claims;
        let grant = self.token.grant.as_deref();
        let auth = grant.and_then(|grant| grant.auth.as_ref());
        Members {
            active: true,
            scope: &claims.scope,
            client_id: &claims.client_id,
            token_type: if claims.cnf.is_some() { DPOP } else { BEARER },
            exp: claims.exp,
            iat: claims.iat,
            sub: &claims.sub,
            aud: &claims.aud,
            iss: &claims.iss,
            jti: &claims.jti,
            cnf: claims.cnf.as_ref(),
            act: claims.act.as_ref(),
            auth_time: auth.map(|auth| auth.auth_time),
            acr: auth.map(|auth| auth.acr.as_str()),
            fhir_user: self.fhir_user.as_deref(),
            context: grant.filter(|_| self.with_grant).map(|grant| &grant.context),
        }
    }
}

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
    ) -> Result<Introspection, OAuthError> {
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
        let Some(active) = self.active(token).await? else { return Ok(Introspection(None)) };
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
            return Ok(Introspection(Some(self.described(active, serves))));
        }
        // What the caller is told is "inactive"; that it asked for what is none of its business is known here alone.
        trail::also_refused(Action::Introspect, "inactive", "the token is none of this caller's", |facts| facts.token = Some(active.claims.jti.clone()));
        Ok(Introspection(None))
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

    /// What somebody who may ask for it is told.
    fn described(&self, active: ActiveToken, to_resource_server: bool) -> Described {
        let claims = &active.claims;
        let (Some(grant), Some(client)) = (&active.grant, &active.client) else {
            // A token of our own that acts for a person says for whom.
            let fhir_user = claims.fhir_user.clone();
            return Described { token: active, with_grant: false, fhir_user };
        };
        // Ids of one FHIR server mean nothing, or somebody else, at another.
        if claims.aud != grant.base.as_str() && self.rules.fhir.iter().any(|server| server.base.as_str() == claims.aud) {
            return Described { token: active, with_grant: false, fhir_user: None };
        }
        // A FHIR server cannot apply `user/` scopes without knowing the user.
        let needs_user = to_resource_server && claims.scope.has_level(Level::User);
        let says_user = grant.scopes.contains(&Scope::FhirUser) || needs_user;
        let fhir_user = says_user.then(|| fhir_user_for(grant, client)).flatten();
        Described { token: active, with_grant: true, fhir_user }
    }
}
