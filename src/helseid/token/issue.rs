//! What code and refresh have in common: tokens out of a person's session.

use crate::helseid::access_token::{self, Content, apis_of};
use crate::helseid::faults::{Fault, RefreshFault};
use crate::helseid::id_token;
use crate::helseid::organisation::act_for;
use crate::helseid::refusal::{Code, Refusal};
use crate::helseid::seed::Api;
use crate::helseid::session::SessionGrant;

use super::{Answer, Call, terms};

/// Why a session gives no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    #[error("the session has ended, or its user is blocked")]
    Ended,
    #[error("one resource at a time")]
    Resources,
    #[error("the resource was not asked for when the session began")]
    Resource,
}

impl From<IssueError> for Refusal {
    fn from(reason: IssueError) -> Self {
        let code = match reason {
            IssueError::Ended => Code::InvalidGrant,
            IssueError::Resources | IssueError::Resource => Code::InvalidTarget,
        };
        Self::new(code, reason.to_string())
    }
}

/// Which part of a session's tokens is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub scopes: &'a [String],
    /// Of the authorization request, where this is its first answer.
    pub nonce: Option<&'a str>,
    pub id_token: bool,
}

/// Access token and id_token; the refresh token is the caller's to add.
///
/// # Errors
/// [`IssueError`], and those of organisations, attests and tokens.
pub fn issue(call: &Call<'_>, grant: &SessionGrant, wanted: Wanted<'_>) -> Result<Answer, Refusal> {
    let seed = call.idp.seed();
    let user = seed.user(&grant.login.user).filter(|user| !user.blocked).ok_or(IssueError::Ended)?;
    if call.idp.kept.ended.get(&grant.login.sid, call.now).is_some() {
        return Err(IssueError::Ended.into());
    }
    let all = apis_of(&seed, wanted.scopes);
    let chosen = target(call, grant, &all)?;
    let in_reach = |scope: &String| seed.api_of_scope(scope).is_none_or(|api| chosen.iter().any(|one| one.audience == api.audience));
    let scopes: Vec<String> = wanted.scopes.iter().filter(|scope| in_reach(scope)).cloned().collect();
    let (mut scopes, rejected_scopes) = terms::split(scopes, &seed, call.met);
    if call.met.has(&Fault::Refresh(RefreshFault::ScopeShrinks))
        && let Some(at) = scopes.iter().rposition(|scope| seed.api_of_scope(scope).is_some())
    {
        scopes.remove(at);
    }
    let apis = apis_of(&seed, &scopes);
    let details = call.details.clone().over(&grant.details)?;
    let acting = act_for(&call.client.tenancy, details.organisation.as_ref(), &seed)?;
    let content =
        Content { client: &call.client, apis: &apis, scopes: &scopes, acting: &acting, login: Some(&grant.login), details: &details, jkt: call.jkt.as_deref() };
    let minted = access_token::mint(call.idp, &content, call.met, call.now)?;
    let about = id_token::Content { client: &call.client, login: &grant.login, scopes: &grant.scopes, nonce: wanted.nonce, access_token: &minted.token };
    let id_token = wanted.id_token.then(|| id_token::mint(call.idp, &about, user, call.met, call.now)).transpose();
    let id_token = id_token.map_err(|_| Refusal::new(Code::ServerError, "the token could not be signed"))?;
    Ok(Answer {
        access_token: minted.token,
        token_type: minted.token_type,
        expires_in: minted.expires_in,
        scopes,
        rejected_scopes,
        id_token,
        refresh_token: None,
        rt_expires_in: None,
        issued_token_type: None,
    })
}

/// The APIs of this access token: the one of `resource`, which must have been pushed; all of them where none is named. RFC 8707 §2.2.
fn target<'s>(call: &Call<'_>, grant: &SessionGrant, all: &[&'s Api]) -> Result<Vec<&'s Api>, IssueError> {
    let mut resources = call.params.all("resource");
    let Some(resource) = resources.next() else { return Ok(all.to_vec()) };
    if resources.next().is_some() {
        return Err(IssueError::Resources);
    }
    if !grant.resources.iter().any(|pushed| pushed == resource) {
        return Err(IssueError::Resource);
    }
    all.iter().find(|api| api.audience == resource).map(|api| vec![*api]).ok_or(IssueError::Resource)
}
