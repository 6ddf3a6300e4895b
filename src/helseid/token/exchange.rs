//! Token exchange: an API trades the token it was called with for one to call another API with. §5, M12; RFC 8693 in part.

use serde_json::{Map, Value, json};

use super::machine::{MachineError, wanted};
use super::{Answer, Call, terms};
use crate::helseid::access_token::{self, MintError, apis_of, attested, finish, lifetime_s};
use crate::helseid::attest;
use crate::helseid::defect::PID;
use crate::helseid::faults::{ExchangeFault, Fault};
use crate::helseid::organisation::{JOURNAL_ID, act_for};
use crate::helseid::refusal::{Code, Refusal};
use crate::helseid::seed::{Api, ApiBinding, ApiClaim, Client, Grant, Seed};
use crate::jose::{Alg, UnverifiedJwt, verify_signature};
use crate::time::UnixTime;

/// The one type of token that goes in and comes out. RFC 8693 §3.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

const ORIGINAL_CLIENT: &str = "helseid://claims/client/original_client_id";
const ORGNR_PARENT: &str = "helseid://claims/client/claims/orgnr_parent";
const ORGNR_CHILD: &str = "helseid://claims/client/claims/orgnr_child";
/// Clocks may differ by so many seconds.
const LEEWAY_S: i64 = 5;

/// Why a token is not exchanged. §5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    #[error("the client may not use token exchange")]
    Unauthorized,
    #[error("subject_token is missing")]
    NoSubject,
    #[error("subject_token_type must be {ACCESS_TOKEN}")]
    SubjectType,
    #[error("only an access token can be requested")]
    RequestedType,
    #[error("actor_token is not supported: the client itself is the actor")]
    ActorToken,
    #[error("invalid subject_token: it cannot be read, or is no access token of this issuer")]
    Unreadable,
    #[error("invalid subject_token: the signature is not valid")]
    Signature,
    #[error("invalid subject_token: the issuer is another")]
    Issuer,
    #[error("invalid subject_token: it has expired or is not valid yet")]
    Expired,
    #[error("invalid subject_token: its client or user is not known any more")]
    Gone,
    #[error("invalid subject_token: its audience does not belong to the owner of the actor client")]
    NotOwned,
    #[error("the exchange is not permitted: the subject client does not allow this actor")]
    NotPermitted,
    #[error("the token has been exchanged as often as is allowed: {0}")]
    TooMany(u32),
    #[error("the scopes must be those of one API")]
    SeveralApis,
    #[error("resource or audience is not the API of the scopes")]
    Target,
    #[error("HID-1010: structures are not taken at token exchange")]
    Details,
}

impl From<ExchangeError> for Refusal {
    fn from(reason: ExchangeError) -> Self {
        use ExchangeError as E;
        let code = match reason {
            E::Unauthorized => Code::UnauthorizedClient,
            E::SeveralApis | E::Target => Code::InvalidTarget,
            E::NoSubject
            | E::SubjectType
            | E::RequestedType
            | E::ActorToken
            | E::Unreadable
            | E::Signature
            | E::Issuer
            | E::Expired
            | E::Gone
            | E::NotOwned
            | E::NotPermitted
            | E::TooMany(_)
            | E::Details => Code::InvalidRequest,
        };
        Self::new(code, reason.to_string())
    }
}

/// Answers a request whose sender, the actor, is known.
///
/// # Errors
/// [`ExchangeError`], [`MachineError`] for scopes, those of organisations, and those of the token.
pub fn answer(call: &Call<'_>) -> Result<Answer, Refusal> {
    let has = |fault: ExchangeFault| call.met.has(&Fault::Exchange(fault));
    let (seed, quirks) = (call.idp.seed(), call.idp.quirks());
    if !call.client.may(Grant::TokenExchange) {
        return Err(ExchangeError::Unauthorized.into());
    }
    terms::refused_on_demand(call.met)?;
    let subject = subject(call, &seed)?;
    let chain = chain_length(&subject);
    if has(ExchangeFault::MaxExchanges) || chain >= quirks.te_max_exchanges {
        return Err(ExchangeError::TooMany(quirks.te_max_exchanges).into());
    }
    let scopes = wanted(call)?;
    let apis = apis_of(&seed, &scopes);
    let [api] = apis.as_slice() else { return Err(ExchangeError::SeveralApis.into()) };
    target(call, api, quirks.te_accept_resource)?;
    let (scopes, rejected_scopes) = terms::split(scopes, &seed, call.met);
    if scopes.is_empty() {
        return Err(MachineError::Scope.into());
    }
    let claims = claims(call, &seed, &subject, api, &scopes)?;
    let minted = finish(call.idp, claims, call.jkt.is_some(), call.met, call.now)?;
    Ok(Answer {
        access_token: minted.token,
        token_type: minted.token_type,
        expires_in: minted.expires_in,
        scopes,
        rejected_scopes,
        id_token: None,
        refresh_token: has(ExchangeFault::WithRefreshToken).then(|| call.idp.random.token()),
        rt_expires_in: None,
        issued_token_type: Some(ACCESS_TOKEN),
    })
}

/// The claims of the subject token, once it was found to be one this actor may exchange.
fn subject(call: &Call<'_>, seed: &Seed) -> Result<Map<String, Value>, ExchangeError> {
    let params = call.params;
    let token = params.get("subject_token").ok_or(ExchangeError::NoSubject)?;
    if params.get("subject_token_type") != Some(ACCESS_TOKEN) {
        return Err(ExchangeError::SubjectType);
    }
    if params.get("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN) {
        return Err(ExchangeError::RequestedType);
    }
    if params.has("actor_token") || params.has("actor_token_type") {
        return Err(ExchangeError::ActorToken);
    }
    let claims = believed(call, token)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let subject_client = seed.client(text("client_id").unwrap_or_default()).ok_or(ExchangeError::Gone)?;
    let user_is_blocked = text(PID).and_then(|pid| seed.user_by_pid(pid)).is_some_and(|user| user.blocked);
    if subject_client.disabled || user_is_blocked {
        return Err(ExchangeError::Gone);
    }
    let has = |fault: ExchangeFault| call.met.has(&Fault::Exchange(fault));
    if has(ExchangeFault::AudNotOwned) || !owns_audience(&claims, seed, &call.client) {
        return Err(ExchangeError::NotOwned);
    }
    let itself = subject_client.id == call.client.id && !call.idp.quirks().te_self_exchange;
    if has(ExchangeFault::NotPermitted) || itself || !seed.may_exchange(&subject_client.id, &call.client.id) {
        return Err(ExchangeError::NotPermitted);
    }
    Ok(claims)
}

/// An access token of ours, in time. T13: nothing else will do, whatever the request calls it.
fn believed(call: &Call<'_>, token: &str) -> Result<Map<String, Value>, ExchangeError> {
    let jwt = UnverifiedJwt::parse(token).map_err(|_| ExchangeError::Unreadable)?;
    if jwt.typ() != Some(access_token::TYPE) || jwt.alg() != Alg::RS256 {
        return Err(ExchangeError::Unreadable);
    }
    let keys = call.idp.keys.set();
    let key = keys.find(jwt.key_id_hint(), Alg::RS256).map_err(|_| ExchangeError::Signature)?;
    let claims = verify_signature(jwt, key).map_err(|_| ExchangeError::Signature)?;
    if claims.get("iss").and_then(Value::as_str) != Some(call.idp.issuer.as_str()) {
        return Err(ExchangeError::Issuer);
    }
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    let past = time("exp").is_none_or(|exp| call.now.0 >= exp);
    let early = time("nbf").is_some_and(|nbf| nbf > call.now.0.saturating_add(LEEWAY_S));
    if past || early { Err(ExchangeError::Expired) } else { Ok(claims) }
}

/// The token was meant for an API of the actor's own configuration owner. §5.2.
fn owns_audience(subject: &Map<String, Value>, seed: &Seed, actor: &Client) -> bool {
    let owned = |audience: &Value| audience.as_str().and_then(|audience| seed.api(audience)).is_some_and(|api| api.owner == actor.tenancy.owner());
    match subject.get("aud") {
        Some(Value::Array(several)) => several.iter().any(owned),
        Some(one) => owned(one),
        None => false,
    }
}

/// How many times what is in `act` was exchanged already.
fn chain_length(subject: &Map<String, Value>) -> u32 {
    let mut length = 0;
    let mut next = subject.get("act");
    while let Some(actor) = next {
        length += 1;
        next = actor.get("act");
    }
    length
}

/// `scope` decides; `resource` and `audience` may say the same once more, and nothing else. §5.1.
fn target(call: &Call<'_>, api: &Api, accept_resource: bool) -> Result<(), ExchangeError> {
    let others = |name: &'static str| call.params.all(name).any(|value| value != api.audience);
    if (accept_resource && others("resource")) || others("audience") { Err(ExchangeError::Target) } else { Ok(()) }
}

/// The claims of the new token: what is copied, what is the actor's. §5.2.
fn claims(call: &Call<'_>, seed: &Seed, subject: &Map<String, Value>, api: &Api, scopes: &[String]) -> Result<Map<String, Value>, Refusal> {
    let has = |fault: ExchangeFault| call.met.has(&Fault::Exchange(fault));
    let (idp, actor, quirks) = (call.idp, &call.client, call.idp.quirks());
    if call.jkt.is_none() && api.binding == ApiBinding::Dpop {
        return Err(MintError::ProofNeeded.into());
    }
    let details = &call.details;
    let structures = details.organisation.is_some() || details.attest.is_some() || details.journal_id.is_some();
    if structures && !quirks.te_accept_assertion_details {
        return Err(ExchangeError::Details.into());
    }
    let acting = act_for(&actor.tenancy, details.organisation.as_ref(), seed)?;
    let subject_client = subject.get("client_id").cloned().unwrap_or_default();
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), json!(idp.issuer.as_str()));
    claims.insert("aud".to_owned(), json!(api.audience));
    let client_id = if quirks.te_client_id_is_actor && !has(ExchangeFault::ClientIdIsSubject) { json!(actor.id) } else { subject_client.clone() };
    claims.insert("client_id".to_owned(), client_id);
    for (name, value) in subject {
        if matches!(name.as_str(), "sub" | "idp" | "amr" | "auth_time") || name.starts_with("helseid://") {
            claims.insert(name.clone(), value.clone());
        }
    }
    if details.organisation.is_some() {
        // What the actor says it acts for now goes over what is copied.
        claims.extend(acting.claims().map(|(name, value)| (name.to_owned(), json!(value))));
    }
    // Copied already where the subject token itself came from an exchange: the original stays the original.
    claims.entry(ORIGINAL_CLIENT).or_insert(subject_client);
    let user = subject.get(PID).and_then(Value::as_str).and_then(|pid| seed.user_by_pid(pid));
    let attest = attested(seed, details, user, call.now).map_err(MintError::Attest)?;
    let copied = || subject.get(attest::TYPE).filter(|_| quirks.te_copy_attest && !has(ExchangeFault::AttestNotCopied)).cloned();
    if let Some(attest) = attest.or_else(copied) {
        claims.insert(attest::TYPE.to_owned(), attest);
    }
    if let (true, Some(id)) = (api.tells(ApiClaim::Sfm), &details.journal_id) {
        claims.insert(JOURNAL_ID.to_owned(), json!(id));
    }
    claims.insert("nbf".to_owned(), json!(call.now.0));
    claims.insert("iat".to_owned(), json!(call.now.0));
    claims.insert("exp".to_owned(), json!(ends_at(call.now, api, subject, quirks.te_cap_to_subject_exp)));
    claims.insert("jti".to_owned(), json!(idp.random.id().to_ascii_uppercase()));
    claims.insert("scope".to_owned(), json!(scopes));
    claims.insert("client_amr".to_owned(), json!("private_key_jwt"));
    if !has(ExchangeFault::ActMissing) {
        let id = if has(ExchangeFault::ActWrong) { "somebody-else" } else { &actor.id };
        claims.insert("act".to_owned(), act(idp.issuer.as_str(), id, acting.parent.as_deref(), acting.child.as_deref(), subject.get("act")));
    }
    if let Some(jkt) = &call.jkt {
        claims.insert("cnf".to_owned(), json!({"jkt": jkt}));
    }
    Ok(claims)
}

fn ends_at(now: UnixTime, api: &Api, subject: &Map<String, Value>, capped: bool) -> i64 {
    let own = now.0.saturating_add(lifetime_s(&[api]));
    let cap = subject.get("exp").and_then(Value::as_i64).filter(|_| capped);
    cap.map_or(own, |cap| cap.min(own))
}

/// The newest actor outermost, whoever came before inside. §5.2; RFC 8693 §4.1.
fn act(issuer: &str, client: &str, parent: Option<&str>, child: Option<&str>, before: Option<&Value>) -> Value {
    let mut act = Map::new();
    act.insert("iss".to_owned(), json!(issuer));
    act.insert("client_id".to_owned(), json!(client));
    for (name, value) in [(ORGNR_PARENT, parent), (ORGNR_CHILD, child)] {
        if let Some(value) = value {
            act.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(before) = before {
        act.insert("act".to_owned(), before.clone());
    }
    Value::Object(act)
}

#[cfg(test)]
mod tests;
