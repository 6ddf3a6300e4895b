//! authorization_code: a login becomes tokens, once. §2.6; RFC 6749 §4.1.3, RFC 7636 §4.5.

use std::time::Duration;

use super::issue::{Wanted, issue};
use super::{Answer, Call, refresh};
use crate::helseid::organisation::TenancyError;
use crate::helseid::refusal::{Code, Refusal};
use crate::helseid::seed::Grant;
use crate::helseid::session::Family;
use crate::protocol::pkce::CodeVerifier;
use crate::secret::Digest;

/// Why a code opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("the client may not use authorization_code")]
    Unauthorized,
    #[error("code, redirect_uri and code_verifier are needed")]
    Missing,
    #[error("scope is not a parameter of this grant")]
    Scope,
    #[error("no such code of this client, or it has expired")]
    Unknown,
    #[error("the code was used before")]
    Used,
    #[error("redirect_uri is not the one the code was sent to")]
    RedirectUri,
    #[error("code_verifier does not match code_challenge")]
    Verifier,
    #[error("the code is bound to another key")]
    OtherKey,
}

impl From<CodeError> for Refusal {
    fn from(reason: CodeError) -> Self {
        let code = match reason {
            CodeError::Unauthorized => Code::UnauthorizedClient,
            CodeError::Missing | CodeError::Scope => Code::InvalidRequest,
            CodeError::Unknown | CodeError::Used | CodeError::RedirectUri | CodeError::Verifier | CodeError::OtherKey => Code::InvalidGrant,
        };
        Self::new(code, reason.to_string())
    }
}

/// Answers a request whose sender is known.
///
/// # Errors
/// [`CodeError`], and those of [`issue`].
pub fn answer(call: &Call<'_>) -> Result<Answer, Refusal> {
    if !call.client.may(Grant::Code) {
        return Err(CodeError::Unauthorized.into());
    }
    let (Some(code), Some(redirect_uri), Some(verifier)) = (call.params.get("code"), call.params.get("redirect_uri"), call.params.get("code_verifier")) else {
        return Err(CodeError::Missing.into());
    };
    if call.params.has("scope") {
        return Err(CodeError::Scope.into());
    }
    let quirks = call.idp.quirks();
    if quirks.hid_1009_enforced && call.details.organisation.is_some() {
        return Err(TenancyError::InCodeFlow.into());
    }
    let key = Digest::of(code.as_bytes()).text();
    let family = call.idp.random.id();
    let issued = call.idp.kept.codes.change(&key, call.now, |issued| {
        if issued.grant.client_id != call.client.id {
            return Err(CodeError::Unknown);
        }
        // From here on the code is spent, whatever is wrong with the rest of the request.
        match issued.redeemed.replace(family.clone()) {
            None => Ok(issued.clone()),
            Some(before) => {
                call.idp.kept.families.forget(&before);
                Err(CodeError::Used)
            }
        }
    });
    let issued = issued.ok_or(CodeError::Unknown)??;
    if issued.redirect_uri != redirect_uri {
        return Err(CodeError::RedirectUri.into());
    }
    if !CodeVerifier::parse(verifier).is_some_and(|verifier| issued.challenge.is_met_by(&verifier)) {
        return Err(CodeError::Verifier.into());
    }
    // RFC 9449 §10: a code bound at PAR needs its key.
    if issued.grant.jkt.is_some() && issued.grant.jkt != call.jkt {
        return Err(CodeError::OtherKey.into());
    }
    let mut grant = issued.grant;
    let openid = grant.scopes.iter().any(|scope| scope == "openid");
    let mut answer = issue(call, &grant, Wanted { scopes: &grant.scopes, nonce: grant.nonce.as_deref(), id_token: openid })?;
    if grant.scopes.iter().any(|scope| scope == "offline_access") {
        grant.jkt.clone_from(&call.jkt);
        let ends_at = call.now + Duration::from_secs(quirks.rt_life_s.into());
        call.idp.kept.families.put(&family, Family { grant, ends_at }, ends_at);
        answer.refresh_token = Some(refresh::hand_out(call.idp, &family, ends_at));
        answer.rt_expires_in = Some(ends_at.since(call.now));
    }
    Ok(answer)
}
