//! Tokens a client gets for itself: backend services, and what is meant for this server. RFC 6749 §4.4; SAL §5.5.

use std::time::Duration;

use super::Engine;
use super::issue::token_type;
use crate::audit::trail;
use crate::domain::authorization::can_be_enforced;
use crate::domain::client::{Client, LAUNCH_CREATE};
use crate::domain::client_auth::AuthenticatedClient;
use crate::domain::dpop::ProvenKey;
use crate::protocol::claims::{ACCESS_TOKEN, AccessTokenClaims};
use crate::protocol::error::{ErrorCode, OAuthError};
use crate::protocol::ids::Subject;
use crate::protocol::launch::LaunchContext;
use crate::protocol::scope::{Level, Scope, ScopeSet};
use crate::protocol::token::TokenResponse;

/// SAL-116: `expires_in` should not exceed 300.
const LONGEST: Duration = Duration::from_secs(300);

impl Engine {
    pub(super) fn client_credentials(
        &self,
        client: &AuthenticatedClient,
        key: Option<&ProvenKey>,
        scope: &str,
        resource: Option<&str>,
    ) -> Result<TokenResponse, OAuthError> {
        let client = client.client();
        let (for_us, for_fhir) = self.split(&ScopeSet::parse_request(scope).narrow(&client.scopes).limited());
        let (scopes, aud, alg) = match (for_us.is_empty(), for_fhir.is_empty()) {
            (true, true) => return Err(OAuthError::invalid_scope("nothing that was asked for is registered for this client")),
            // RFC 9068 §3: one audience, one kind of scopes. DESIGN §3, Tokens.
            (false, false) => return Err(OAuthError::invalid_scope("scopes for this server and for a FHIR server do not share a token")),
            (false, true) => {
                if resource.is_some_and(|resource| resource != self.rules.issuer.as_str()) {
                    return Err(OAuthError::new(ErrorCode::InvalidTarget, "these scopes are meant for this server"));
                }
                (for_us, self.rules.issuer.as_str().to_owned(), None)
            }
            (true, false) => {
                let server = match resource {
                    Some(resource) => self.rules.fhir_named(resource),
                    None => self.rules.default_fhir(),
                };
                let server = server.ok_or_else(|| OAuthError::new(ErrorCode::InvalidTarget, "resource is not a FHIR base of this server"))?;
                (for_fhir, server.base.as_str().to_owned(), server.access_token_alg)
            }
        };
        let now = self.now();
        let life = client.access_ttl.min(LONGEST);
        let claims = AccessTokenClaims {
            iss: self.rules.issuer.clone(),
            sub: own_subject(client),
            aud,
            client_id: client.id.clone(),
            scope: scopes.clone(),
            jti: self.new_token_id(),
            iat: now,
            exp: now + life,
            grant_id: None,
            sid: None,
            auth_time: None,
            acr: None,
            amr: Vec::new(),
            cnf: key.map(ProvenKey::confirmation),
            act: None,
            may_act: None,
            src: Vec::new(),
            fhir_user: None,
            context: LaunchContext::default(),
        };
        trail::token(&claims);
        let access_token = self.keys.sign(client.access_alg(alg), ACCESS_TOKEN, &claims)?;
        Ok(TokenResponse {
            access_token,
            token_type: token_type(key),
            expires_in: life.as_secs(),
            scope: scopes.to_string(),
            issued_token_type: None,
            refresh_token: None,
            id_token: None,
            context: LaunchContext::default(),
        })
    }

    /// What is meant for this server, and what for a FHIR server. Only `system/` scopes need no person. SAL-117.
    fn split(&self, scopes: &ScopeSet) -> (ScopeSet, ScopeSet) {
        let introspect = self.rules.introspect_scope();
        let for_us = |scope: &Scope| matches!(scope, Scope::Extension(name) if **name == *LAUNCH_CREATE || **name == *introspect);
        let for_fhir = |scope: &Scope| matches!(scope, Scope::Resource(resource) if resource.level == Level::System && can_be_enforced(resource));
        let those = |fit: &dyn Fn(&Scope) -> bool| scopes.iter().filter(|scope| fit(scope)).cloned().collect();
        (those(&for_us), those(&for_fhir))
    }
}

/// `sub` of a token without a person is the client. RFC 9068 §2.2.
fn own_subject(client: &Client) -> Subject {
    Subject::parse(client.id.as_str()).expect("a client id is visible ASCII of at most 200 characters")
}
