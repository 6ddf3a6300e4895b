//! Access tokens: what each API registered to be told. §3.2, 4.3, M7, M8.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Idp;
use super::attest::{self, AttestError, Person};
use super::defect::{self, HPR, LEVEL, PID};
use super::faults::{DpopFault, Fault, Met, Which};
use super::organisation::{Acting, Details, JOURNAL_ID};
use super::refusal::{Code, Refusal};
use super::seed::{Api, ApiBinding, ApiClaim, Client, Seed, User};
use super::session::Login;
use super::subject::subject;
use crate::jose::KeyError;
use crate::secret::Secret;
use crate::time::UnixTime;

/// `typ` of an access token. RFC 9068 §2.1.
pub const TYPE: &str = "at+jwt";
/// How long a token lives that is for no API, only for userinfo, in seconds.
const NO_API_LIFE_S: i64 = 60;
/// A thumbprint of no key.
const WRONG_THUMBPRINT: &str = "bm9ib2R5LWhhcy1hLWtleS13aXRoLXRoaXMtdGh1bWI";

/// What an access token is to say.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub client: &'a Client,
    /// Whom it is for: one with resource indicators, none where only identity scopes were granted.
    pub apis: &'a [&'a Api],
    pub scopes: &'a [String],
    pub acting: &'a Acting,
    /// The user's login; a machine has none.
    pub login: Option<&'a Login>,
    /// Attest and journal id; the organisation is in `acting` already.
    pub details: &'a Details,
    /// The thumbprint of the key it is bound to.
    pub jkt: Option<&'a str>,
}

/// Why no token is made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("Missing DPoP proof value.")]
    ProofNeeded,
    #[error(transparent)]
    Attest(#[from] AttestError),
    #[error("the user of the session is gone")]
    NoUser,
    #[error(transparent)]
    Sign(#[from] KeyError),
}

impl From<MintError> for Refusal {
    fn from(reason: MintError) -> Self {
        let code = match &reason {
            MintError::ProofNeeded => Code::InvalidDpopProof,
            MintError::Attest(_) => Code::InvalidRequest,
            MintError::NoUser => Code::InvalidGrant,
            MintError::Sign(_) => return Self::new(Code::ServerError, "the token could not be signed"),
        };
        Self::new(code, reason.to_string())
    }
}

/// A token that was made.
#[derive(Debug)]
pub struct Minted {
    pub token: Secret<String>,
    /// `DPoP` or `Bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
}

/// The APIs of these scopes, each once. Identity scopes have none.
pub fn apis_of<'s>(seed: &'s Seed, scopes: &[String]) -> Vec<&'s Api> {
    let mut seen = BTreeSet::new();
    scopes.iter().filter_map(|scope| seed.api_of_scope(scope)).filter(|api| seen.insert(&api.audience)).collect()
}

/// Makes an access token, with the faults that met the request.
///
/// # Errors
/// [`MintError`]
pub fn mint(idp: &Idp, content: &Content<'_>, met: &Met, now: UnixTime) -> Result<Minted, MintError> {
    let claims = claims(idp, content, now)?;
    finish(idp, claims, content.jkt.is_some(), met, now)
}

/// The claims of an access token, in the order of §4.3.
///
/// # Errors
/// [`MintError::ProofNeeded`] where an API takes bound tokens only and there is no key; [`MintError::Attest`], [`MintError::NoUser`].
pub fn claims(idp: &Idp, content: &Content<'_>, now: UnixTime) -> Result<Map<String, Value>, MintError> {
    let Content { client, apis, scopes, acting, login, details, jkt } = *content;
    if jkt.is_none() && apis.iter().any(|api| api.binding == ApiBinding::Dpop) {
        return Err(MintError::ProofNeeded);
    }
    let (seed, tells) = (idp.seed(), |claim| apis.iter().any(|api| api.tells(claim)));
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("iss", json!(idp.issuer.as_str()));
    match apis {
        [] => {}
        [one] => drop(put("aud", json!(one.audience))),
        several => drop(put("aud", several.iter().map(|api| json!(api.audience)).collect())),
    }
    put("nbf", json!(now.0));
    put("iat", json!(now.0));
    put("exp", json!(now.0.saturating_add(lifetime_s(apis))));
    put("jti", json!(idp.random.id().to_ascii_uppercase()));
    put("client_id", json!(client.id));
    let user = login.map(|login| seed.user(&login.user).ok_or(MintError::NoUser)).transpose()?;
    if let (Some(login), Some(user)) = (login, user) {
        put("sub", json!(subject(idp, user, client)));
        put("sid", json!(login.sid));
        put("auth_time", json!(login.auth_time.0));
        put("idp", json!(login.idp));
        put("amr", json!(login.amr));
    }
    put("scope", json!(scopes));
    put("client_amr", json!("private_key_jwt"));
    if scopes.iter().any(|scope| scope == "helseid://scopes/client/client_name") {
        put("helseid://claims/client/client_name", json!(client.name));
    }
    if tells(ApiClaim::Organisations) {
        for (name, value) in acting.claims() {
            put(name, json!(value));
        }
    }
    if let (Some(login), Some(user)) = (login, user) {
        if tells(ApiClaim::Pid) {
            put(PID, json!(user.pid()));
        }
        if tells(ApiClaim::Level) {
            put(LEVEL, json!(login.level.to_string()));
        }
        if let (true, Some(number)) = (tells(ApiClaim::Hpr), user.hpr()) {
            put(HPR, json!(number));
        }
    }
    if let (true, Some(id)) = (tells(ApiClaim::Sfm), &details.journal_id) {
        put(JOURNAL_ID, json!(id));
    }
    if let (true, Some(claim)) = (tells(ApiClaim::Attest), attested(&seed, details, user, now)?) {
        put(attest::TYPE, claim);
    }
    if let Some(jkt) = jkt {
        put("cnf", json!({"jkt": jkt}));
    }
    Ok(claims)
}

/// The attest as the registers complete it.
///
/// # Errors
/// [`AttestError`]
pub fn attested(seed: &Seed, details: &Details, user: Option<&User>, now: UnixTime) -> Result<Option<Value>, AttestError> {
    let Some(sent) = &details.attest else { return Ok(None) };
    let user = user.ok_or(AttestError::NoUser)?;
    let professions: Vec<&str> = user.approvals.iter().map(|approval| approval.profession.as_str()).collect();
    let name = user.name.full();
    let person = Person { pid: user.pid(), name: &name, hpr_number: user.hpr(), professions: &professions };
    sent.enrich(person, |number| seed.organisation(number).map(|known| known.name.as_str()), now).map(Some)
}

/// Signs claims as an access token, with the faults that met the request; `bound`: they are bound to a key.
///
/// # Errors
/// [`MintError::Sign`]
pub fn finish(idp: &Idp, mut claims: Map<String, Value>, bound: bool, met: &Met, now: UnixTime) -> Result<Minted, MintError> {
    let expires_in = claims.get("exp").and_then(Value::as_i64).unwrap_or(now.0).saturating_sub(now.0);
    let has = |fault: DpopFault| met.has(&Fault::Dpop(fault));
    if has(DpopFault::WrongCnf) {
        claims.insert("cnf".to_owned(), json!({"jkt": WRONG_THUMBPRINT}));
    }
    if has(DpopFault::NoCnf) {
        claims.shift_remove("cnf");
    }
    let token_type = if bound && !has(DpopFault::TokenTypeBearer) { "DPoP" } else { "Bearer" };
    let token = defect::sign(idp, Which::AccessToken, TYPE, claims, met, now)?;
    Ok(Minted { token, token_type, expires_in })
}

/// The shortest life any of the APIs registered, in seconds.
pub fn lifetime_s(apis: &[&Api]) -> i64 {
    apis.iter().map(|api| i64::try_from(api.lifetime.as_secs()).unwrap_or(i64::MAX)).min().unwrap_or(NO_API_LIFE_S)
}
