//! What an exchange gives: a token that stands on its subject's grant and ends with it. RFC 8693 §2.2, RFC 9068.

use std::collections::BTreeMap;

use super::super::issue::fhir_user_for;
use super::own::audience_client;
use super::{Basis, Engine, Failed};
use crate::audit::trail;
use crate::domain::client::Client;
use crate::domain::exchange::{Direction, ExchangeRefusal, Permit};
use crate::protocol::claims::{ACCESS_TOKEN, AccessTokenClaims, Actor, Confirmation, IdTokenClaims};
use crate::protocol::dpop::{BEARER, DPOP};
use crate::protocol::exchange::NOT_APPLICABLE;
use crate::protocol::launch::LaunchContext;
use crate::protocol::scope::Scope;
use crate::protocol::token::TokenResponse;

impl Engine {
    /// An access token for the row's audience, to the caller. P3: never with a refresh token.
    pub(super) fn access_token_result(&self, caller: &Client, permit: &Permit<'_>, basis: Basis, act: Option<Actor>) -> Result<TokenResponse, Failed> {
        let now = self.now();
        let scopes = &permit.scopes;
        let server = self.rules.fhir_named(&permit.row.audience);
        let grant = basis.grant.as_deref();
        // Context goes where its ids mean something.
        let outwards = permit.row.direction == Direction::ToUpstream;
        let at_home = grant.filter(|grant| !outwards && server.is_none_or(|server| server.base == grant.base));
        let context = at_home.map(|grant| grant.context.clone()).unwrap_or_default();
        let in_token = server.is_some_and(|server| server.context_in_token);
        let claims = AccessTokenClaims {
            iss: self.rules.issuer.clone(),
            sub: basis.sub,
            aud: match server {
                _ if outwards => self.gateway_audience(permit.row),
                Some(server) => server.base.as_str().to_owned(),
                None => permit.row.audience.clone(),
            },
            client_id: caller.id.clone(),
            scope: scopes.clone(),
            jti: self.new_token_id(),
            iat: now,
            exp: permit.expires_at,
            grant_id: grant.map(|grant| grant.id.clone()),
            sid: basis.sid,
            auth_time: basis.auth.as_ref().map(|auth| auth.auth_time),
            acr: basis.auth.as_ref().map(|auth| auth.acr.clone()),
            amr: basis.auth.as_ref().map(|auth| auth.amr.clone()).unwrap_or_default(),
            cnf: permit.bound_to.clone().map(|jkt| Confirmation { jkt }),
            act,
            may_act: None,
            src: basis.sources,
            fhir_user: at_home.filter(|_| in_token && scopes.contains(&Scope::FhirUser)).and_then(|grant| fhir_user_for(grant, caller)),
            context: if in_token { context.clone() } else { LaunchContext::default() },
        };
        trail::token(&claims);
        let alg = caller.access_alg(server.and_then(|server| server.access_token_alg));
        Ok(TokenResponse {
            access_token: self.keys.sign(alg, ACCESS_TOKEN, &claims)?,
            token_type: if permit.bound_to.is_some() { DPOP } else { BEARER },
            expires_in: u64::try_from(permit.expires_at.since(now)).unwrap_or(0),
            scope: scopes.to_string(),
            issued_token_type: Some(permit.result.as_str()),
            refresh_token: None,
            id_token: None,
            context: context.clone(),
        })
    }

    /// An id_token for another client, that says who the person is and who acts. RFC 8693 §2.2.1: it travels as `access_token`.
    pub(super) fn id_token_result(&self, permit: &Permit<'_>, basis: Basis, act: Option<Actor>) -> Result<TokenResponse, Failed> {
        let now = self.now();
        let audience = audience_client(permit)?;
        let target = self.rules.clients.get(&audience).ok_or(ExchangeRefusal::ResultTypeNotPermitted)?;
        let grant = basis.grant.as_deref().ok_or(ExchangeRefusal::Machine)?;
        let claims = IdTokenClaims {
            iss: self.rules.issuer.clone(),
            sub: basis.sub,
            aud: audience,
            iat: now,
            exp: permit.expires_at,
            auth_time: basis.auth.as_ref().map(|auth| auth.auth_time),
            nonce: None,
            acr: basis.auth.as_ref().map(|auth| auth.acr.clone()),
            amr: basis.auth.as_ref().map(|auth| auth.amr.clone()).unwrap_or_default(),
            at_hash: None,
            sid: basis.sid,
            grant_id: None,
            act,
            helseid: BTreeMap::new(),
            fhir_user: fhir_user_for(grant, target).filter(|_| grant.scopes.contains(&Scope::FhirUser)),
            profile: None,
            name: None,
        };
        trail::note(|facts| {
            facts.audience = Some(claims.aud.to_string());
            facts.acting(claims.act.as_ref());
        });
        Ok(TokenResponse {
            access_token: self.keys.sign(target.id_token_alg, "JWT", &claims)?,
            token_type: NOT_APPLICABLE,
            expires_in: u64::try_from(permit.expires_at.since(now)).unwrap_or(0),
            scope: String::new(),
            issued_token_type: Some(permit.result.as_str()),
            refresh_token: None,
            id_token: None,
            context: LaunchContext::default(),
        })
    }
}
