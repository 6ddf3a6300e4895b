//! (c) Ours becomes ours: what our own tokens are worth as subjects and actors. RFC 8693 §2.1.

use std::sync::Arc;

use super::super::live::{SIGNING_ALGS, stands};
use super::{Basis, Engine, Failed, Found};
use crate::audit::trail;
use crate::domain::client::Client;
use crate::domain::exchange::{Ask, ExchangeRefusal, ExchangeRow, Permit, Semantics, Subject, permit};
use crate::jose::{Expect, UnverifiedJwt, Verified, verify};
use crate::protocol::claims::{Actor, IdTokenClaims, Source};
use crate::protocol::exchange::{ExchangeRequest, Presented, TokenType};
use crate::protocol::ids::ClientId;
use crate::protocol::token::TokenResponse;

impl Engine {
    /// Exchanges a token of ours for another of ours.
    ///
    /// # Errors
    /// [`ExchangeRefusal`] with the rule that stands against it; a store that cannot answer.
    pub(super) async fn own<'a>(&'a self, caller: &Client, request: &ExchangeRequest, ask: &Ask<'_>) -> Result<(&'a ExchangeRow, TokenResponse), Failed> {
        let found = self.own_subject_token(caller, request).await?;
        let mut permitted = permit(&self.rules.exchange, ask, &found.facts, self.now())?;
        let response = self.own_result(caller, request, &mut permitted, found.basis).await?;
        Ok((permitted.row, response))
    }

    /// What a token of ours is worth as the subject of an exchange.
    ///
    /// # Errors
    /// [`ExchangeRefusal`] for a token that is not live, not what it was declared to be or not meant for this; a store that cannot answer.
    pub(super) async fn own_subject_token(&self, caller: &Client, ask: &ExchangeRequest) -> Result<Found, Failed> {
        match ask.subject.declared {
            TokenType::AccessToken | TokenType::Jwt => self.own_access_token(caller, &ask.subject).await,
            TokenType::IdToken => self.own_id_token(caller, &ask.subject).await,
            TokenType::RefreshToken | TokenType::Saml1 | TokenType::Saml2 => Err(ExchangeRefusal::SubjectTypeNotPermitted.into()),
        }
    }

    async fn own_access_token(&self, caller: &Client, subject: &Presented) -> Result<Found, Failed> {
        let active = self.active(subject.token.expose()).await?.ok_or(ExchangeRefusal::SubjectEnded)?;
        // A token this server made for itself is nobody's to exchange.
        let client = active.client.ok_or(ExchangeRefusal::SubjectEnded)?;
        let claims = &active.claims;
        // T3: byte for byte. What is meant for this server itself (launch:create, introspection) is not exchanged.
        let meant = self.rules.fhir.iter().any(|server| server.base.as_str() == claims.aud) || claims.aud == caller.id.as_str();
        if !meant {
            return Err(ExchangeRefusal::SubjectAudience.into());
        }
        let mut sources = vec![Source {
            iss: self.rules.issuer.to_string(),
            jti: Some(claims.jti.clone()),
            jti_hash: None,
            sid_hash: None,
            client_id: Some(claims.client_id.clone()),
        }];
        sources.extend(claims.src.iter().cloned());
        let facts = Subject {
            person: active.grant.is_some(),
            client: Some(claims.client_id.clone()),
            may_act: client.may_act.clone(),
            may_act_claim: claims.may_act.clone(),
            scopes: Some(claims.scope.clone()),
            expires_at: claims.exp,
            auth_time: claims.auth_time,
            act: claims.act.clone(),
            exchanged: claims.act.is_some() || !claims.src.is_empty(),
            came_from: claims.src.iter().map(|source| source.iss.clone()).collect(),
            may_write: true,
            bound_to: claims.cnf.as_ref().map(|cnf| cnf.jkt.clone()),
        };
        if let Some(grant) = &active.grant {
            trail::grant(grant);
        }
        let auth = active.grant.as_ref().and_then(|grant| grant.auth.clone());
        let basis = Basis { sub: claims.sub.clone(), grant: active.grant, sid: claims.sid.clone(), auth, sources, act: claims.act.clone() };
        Ok(Found { facts, basis })
    }

    /// An id_token is proof of a person to the client it was issued to: what that person's grant gives, as long as it lives.
    async fn own_id_token(&self, caller: &Client, subject: &Presented) -> Result<Found, Failed> {
        let token = UnverifiedJwt::parse(subject.token.expose()).map_err(|_| ExchangeRefusal::Subject)?;
        let expect = Expect {
            issuer: Some(self.rules.issuer.as_str()),
            audiences: &[caller.id.as_str()],
            // An access token is of another type and so none of these. T13.
            typ: &["JWT"],
            algs: SIGNING_ALGS,
            ..Expect::default()
        };
        let now = self.now();
        let verified: Verified<IdTokenClaims> = self.keys.with_verifying(|keys| verify(&token, keys, &expect, now)).map_err(|_| ExchangeRefusal::Subject)?;
        let claims = verified.into_claims();
        let standing = self.standing(claims.grant_id.as_ref().ok_or(ExchangeRefusal::SubjectType)?).await?.ok_or(ExchangeRefusal::SubjectEnded)?;
        let grant = standing.grant.value;
        let client = standing.client.filter(|client| !client.disabled).ok_or(ExchangeRefusal::SubjectEnded)?;
        if !grant.is_live(now) || !stands(&grant, standing.session.as_deref(), standing.access.as_deref(), now) || grant.client != claims.aud {
            return Err(ExchangeRefusal::SubjectEnded.into());
        }
        trail::grant(&grant);
        let facts = Subject {
            person: true,
            client: Some(claims.aud.clone()),
            may_act: client.may_act.clone(),
            may_act_claim: None,
            scopes: Some(client.still_allows(&grant.scopes)),
            expires_at: claims.exp,
            auth_time: claims.auth_time,
            act: claims.act.clone(),
            exchanged: claims.act.is_some(),
            came_from: Vec::new(),
            may_write: true,
            bound_to: None,
        };
        let sources = vec![Source { iss: self.rules.issuer.to_string(), jti: None, jti_hash: None, sid_hash: None, client_id: Some(claims.aud.clone()) }];
        let basis = Basis { sub: claims.sub, sid: grant.session.clone(), auth: grant.auth.clone(), sources, act: claims.act, grant: Some(Arc::new(grant)) };
        Ok(Found { facts, basis })
    }

    /// The actor a result names: the caller, or the party of its own live access token. RFC 8693 §2.1, `actor_token`.
    pub(super) async fn actor(&self, caller: &Client, presented: Option<&Presented>, inner: Option<Actor>) -> Result<Actor, Failed> {
        let sub = match presented {
            None => caller.id.to_string(),
            Some(Presented { token, declared: TokenType::AccessToken | TokenType::Jwt }) => {
                let active = self.active(token.expose()).await?.ok_or(ExchangeRefusal::Actor)?;
                if active.claims.client_id != caller.id || active.client.is_none() {
                    return Err(ExchangeRefusal::Actor.into());
                }
                active.claims.sub.to_string()
            }
            Some(_) => return Err(ExchangeRefusal::Actor.into()),
        };
        Ok(Actor { sub, iss: Some(self.rules.issuer.to_string()), client_id: Some(caller.id.clone()), act: inner.map(Box::new) })
    }

    /// The answer to an exchange that ends here: a token of ours for the target.
    ///
    /// # Errors
    /// A bad actor token, nothing left of the scopes, no key, no store.
    pub(super) async fn own_result(&self, caller: &Client, ask: &ExchangeRequest, permit: &mut Permit<'_>, mut basis: Basis) -> Result<TokenResponse, Failed> {
        let inner = basis.act.take();
        let act = match permit.row.semantics {
            Semantics::Delegation => Some(self.actor(caller, ask.actor.as_ref(), inner).await?),
            // What was delegated before stays visible: a chain is not cut by whoever comes last.
            Semantics::Impersonation => inner,
        };
        if permit.result == TokenType::IdToken {
            return self.id_token_result(permit, basis, act);
        }
        // Ids of one FHIR server mean nothing, or somebody else, at another.
        if let (Some(grant), Some(server)) = (&basis.grant, self.rules.fhir_named(&ask.target))
            && server.base != grant.base
        {
            permit.without_patient()?;
        }
        self.access_token_result(caller, permit, basis, act)
    }
}

/// The client a result that is an id_token is for: its audience must be one.
pub(super) fn audience_client(permit: &Permit<'_>) -> Result<ClientId, ExchangeRefusal> {
    ClientId::parse(&permit.row.audience).map_err(|_| ExchangeRefusal::ResultTypeNotPermitted)
}
