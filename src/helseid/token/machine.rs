//! client_credentials: a token for a machine, with no user in it. §2.6, §3.2.

use super::{Answer, Call, terms};
use crate::helseid::access_token::{Content, apis_of, mint};
use crate::helseid::attest::AttestError;
use crate::helseid::organisation::{DetailsError, act_for};
use crate::helseid::refusal::{Code, Refusal};
use crate::helseid::seed::Grant;

/// Why a machine gets no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    #[error("the client may not use client_credentials")]
    Unauthorized,
    #[error("scope is missing")]
    NoScope,
    #[error("identity scopes are for users")]
    IdentityScope,
    #[error("a scope is unknown or not allowed for this client")]
    Scope,
    #[error("one resource at a time, and one of the APIs of the scopes")]
    Resource,
}

impl From<MachineError> for Refusal {
    fn from(reason: MachineError) -> Self {
        let code = match reason {
            MachineError::Unauthorized => Code::UnauthorizedClient,
            MachineError::NoScope | MachineError::IdentityScope | MachineError::Scope => Code::InvalidScope,
            MachineError::Resource => Code::InvalidTarget,
        };
        Self::new(code, reason.to_string())
    }
}

/// Answers a request whose sender is known.
///
/// # Errors
/// [`MachineError`], those of organisations, and those of the token.
pub fn answer(call: &Call<'_>) -> Result<Answer, Refusal> {
    if !call.client.may(Grant::ClientCredentials) {
        return Err(MachineError::Unauthorized.into());
    }
    terms::refused_on_demand(call.met)?;
    let seed = call.idp.seed();
    let scopes = wanted(call)?;
    let mut apis = apis_of(&seed, &scopes);
    let mut resources = call.params.all("resource");
    let resource = resources.next();
    if let Some(resource) = resource {
        apis.retain(|api| api.audience == resource);
    }
    if apis.is_empty() || resources.next().is_some() {
        return Err(MachineError::Resource.into());
    }
    let scopes: Vec<String> = scopes.into_iter().filter(|scope| apis.iter().any(|api| api.scopes.contains(scope))).collect();
    let (scopes, rejected_scopes) = terms::split(scopes, &seed, call.met);
    if scopes.is_empty() {
        return Err(MachineError::Scope.into());
    }
    let apis = apis_of(&seed, &scopes);
    if call.details.attest.is_some() {
        return Err(DetailsError::Attest(AttestError::NoUser).into());
    }
    let acting = act_for(&call.client.tenancy, call.details.organisation.as_ref(), &seed)?;
    let content = Content { client: &call.client, apis: &apis, scopes: &scopes, acting: &acting, login: None, details: &call.details, jkt: call.jkt.as_deref() };
    let minted = mint(call.idp, &content, call.met, call.now)?;
    Ok(Answer {
        access_token: minted.token,
        token_type: minted.token_type,
        expires_in: minted.expires_in,
        scopes,
        rejected_scopes,
        id_token: None,
        refresh_token: None,
        rt_expires_in: None,
        issued_token_type: None,
    })
}

/// The scopes of the request, each once: API scopes the client is registered for. Shared with token exchange, which asks for its own
/// registered scopes too.
pub(super) fn wanted(call: &Call<'_>) -> Result<Vec<String>, MachineError> {
    let seed = call.idp.seed();
    let mut scopes: Vec<String> = Vec::new();
    for scope in call.params.get("scope").ok_or(MachineError::NoScope)?.split_ascii_whitespace() {
        if crate::helseid::discovery::IDENTITY_SCOPES.contains(&scope) {
            return Err(MachineError::IdentityScope);
        }
        if !call.client.scopes.contains(scope) || seed.api_of_scope(scope).is_none() {
            return Err(MachineError::Scope);
        }
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    if scopes.is_empty() { Err(MachineError::NoScope) } else { Ok(scopes) }
}
