//! refresh_token: the session goes on; another API, another organisation, another attest. §2.6, 2.8, M9; RFC 6749 §6.

use super::issue::{Wanted, issue};
use super::{Answer, Call};
use crate::helseid::Idp;
use crate::helseid::authorize::handle;
use crate::helseid::faults::{Fault, RefreshFault};
use crate::helseid::quirks::RefreshReuse;
use crate::helseid::refusal::{Code, Refusal};
use crate::helseid::seed::{Grant, RefreshUse};
use crate::helseid::session::{Family, RefreshToken};
use crate::secret::{Digest, Secret};
use crate::time::UnixTime;

/// Why a refresh token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    #[error("the client may not use refresh_token")]
    Unauthorized,
    #[error("refresh_token is needed")]
    Missing,
    #[error("no such refresh token of this client, or it has expired or its session has ended")]
    Unknown,
    #[error("the refresh token was used before")]
    Spent,
    #[error("the session is bound to another key")]
    OtherKey,
    #[error("a scope was not granted when the session began")]
    Scope,
}

impl From<RefreshError> for Refusal {
    fn from(reason: RefreshError) -> Self {
        let code = match reason {
            RefreshError::Unauthorized => Code::UnauthorizedClient,
            RefreshError::Missing => Code::InvalidRequest,
            RefreshError::Unknown | RefreshError::Spent | RefreshError::OtherKey => Code::InvalidGrant,
            RefreshError::Scope => Code::InvalidScope,
        };
        Self::new(code, reason.to_string())
    }
}

/// A new token of a row.
pub fn hand_out(idp: &Idp, family: &str, ends_at: UnixTime) -> Secret<String> {
    let token = handle(idp);
    idp.kept.refresh.put(&token.digest().text(), RefreshToken { family: family.to_owned(), spent: false }, ends_at);
    token
}

/// Answers a request whose sender is known.
///
/// # Errors
/// [`RefreshError`], and those of [`issue`]. A request that is refused for anything but the token itself leaves the token good.
pub fn answer(call: &Call<'_>) -> Result<Answer, Refusal> {
    if !call.client.may(Grant::Refresh) {
        return Err(RefreshError::Unauthorized.into());
    }
    let (idp, now) = (call.idp, call.now);
    let has = |fault: RefreshFault| call.met.has(&Fault::Refresh(fault));
    let text = call.params.get("refresh_token").ok_or(RefreshError::Missing)?;
    let key = Digest::of(text.as_bytes()).text();
    let token = idp.kept.refresh.get(&key, now).ok_or(RefreshError::Unknown)?;
    let family = idp.kept.families.get(&token.family, now).filter(|family| family.grant.client_id == call.client.id).ok_or(RefreshError::Unknown)?;
    if token.spent {
        return Err(reused(call, &token.family).into());
    }
    if idp.quirks().rt_bound_to_dpop_key && family.grant.jkt != call.jkt {
        return Err(RefreshError::OtherKey.into());
    }
    let scopes = narrowed(call.params.get("scope"), &family)?;
    let openid = family.grant.scopes.iter().any(|scope| scope == "openid");
    let wanted = Wanted { scopes: &scopes, nonce: None, id_token: openid && !has(RefreshFault::NoIdToken) };
    let mut answer = issue(call, &family.grant, wanted)?;
    let stays = call.client.refresh == RefreshUse::Reusable || has(RefreshFault::NoNewRt);
    // Of two at once, the first to get here wins.
    let first = idp.kept.refresh.change(&key, now, |token| if stays { !token.spent } else { !std::mem::replace(&mut token.spent, true) });
    if first != Some(true) {
        return Err(reused(call, &token.family).into());
    }
    if !has(RefreshFault::NoNewRt) {
        answer.refresh_token = Some(if stays { Secret::new(text.to_owned()) } else { hand_out(idp, &token.family, family.ends_at) });
        answer.rt_expires_in = Some(if has(RefreshFault::RtExpiresInZero) { 0 } else { family.ends_at.since(now) });
    }
    Ok(answer)
}

/// A spent token was sent: refused, and where the switch says so the whole row with it.
fn reused(call: &Call<'_>, family: &str) -> RefreshError {
    let kills = match call.idp.quirks().rt_reuse {
        RefreshReuse::KillFamily => true,
        RefreshReuse::RejectOnly => call.met.has(&Fault::Refresh(RefreshFault::ReuseKillsFamily)),
    };
    if kills {
        call.idp.kept.families.forget(family);
    }
    RefreshError::Spent
}

/// The scopes of the session, or the fewer that are asked for now.
fn narrowed(asked: Option<&str>, family: &Family) -> Result<Vec<String>, RefreshError> {
    let Some(asked) = asked else { return Ok(family.grant.scopes.clone()) };
    let words: Vec<&str> = asked.split_ascii_whitespace().collect();
    if !words.iter().all(|word| family.grant.scopes.iter().any(|granted| granted == word)) {
        return Err(RefreshError::Scope);
    }
    Ok(family.grant.scopes.iter().filter(|granted| words.contains(&granted.as_str())).cloned().collect())
}
