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

#[cfg(test)]
pub(in crate::helseid) mod tests {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::faults::parse_kind;
    use super::super::organisation::{Asked, act_for};
    use super::super::quirks::Quirks;
    use super::super::seed::table::{LEGACY, NORDVIK, NORDVIK_LEGEVAKT, SMART_AS};
    use super::super::{Settings, attest};
    use super::*;
    use crate::protocol::ids::Issuer;
    use crate::random::SeededRandom;
    use crate::time::FixedClock;

    pub const NOW: UnixTime = UnixTime(1_790_000_000);

    pub fn idp() -> Idp {
        let issuer = Issuer::parse("https://helseid-mock.example.no").unwrap();
        let settings = Settings { issuer, seed: Seed::generate().unwrap(), quirks: Quirks::default(), fresh_keys: false };
        Idp::new(settings, Arc::new(FixedClock::at(NOW)), Arc::new(SeededRandom::new(1))).unwrap()
    }

    pub fn login(user: &str) -> Login {
        let (idp, amr) = ("testidpnew-oidc".to_owned(), vec!["pwd".to_owned()]);
        Login { user: user.to_owned(), sid: "7E1D0C9B8A".to_owned(), auth_time: UnixTime(NOW.0 - 1000), level: 4, idp, amr }
    }

    pub fn met(kinds: &[&str]) -> Met {
        Met::new(kinds.iter().map(|kind| parse_kind(kind).unwrap()).collect())
    }

    /// The claims of a token, unverified.
    pub fn read(token: &Secret<String>) -> Value {
        let payload = token.expose().split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    pub fn scopes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn asked() -> Asked {
        Asked::ParentAndChild { parent: NORDVIK.to_owned(), child: NORDVIK_LEGEVAKT.to_owned() }
    }

    /// A token of smart-as for these scopes; the user is solveig.
    pub fn user_token(idp: &Idp, names: &[&str], details: &Details, faults: &Met) -> Result<Minted, MintError> {
        let (seed, scopes, login) = (idp.seed(), scopes(names), login("solveig"));
        let client = seed.client(SMART_AS).unwrap();
        let acting = act_for(&client.tenancy, Some(&asked()), &seed).unwrap();
        let apis = apis_of(&seed, &scopes);
        let content = Content { client, apis: &apis, scopes: &scopes, acting: &acting, login: Some(&login), details, jkt: Some("thumb") };
        mint(idp, &content, faults, NOW)
    }

    fn names(claims: &Value) -> Vec<&str> {
        claims.as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// The token of §4.3, member for member.
    #[test]
    fn a_users_token_is_as_the_example_has_it() {
        let idp = idp();
        let minted = user_token(&idp, &["demo:kjerne/read"], &Details::default(), &Met::default()).unwrap();
        assert_eq!((minted.token_type, minted.expires_in), ("DPoP", 60));
        let claims = read(&minted.token);
        let sub = claims["sub"].clone();
        let jti = claims["jti"].clone();
        let want = json!({
            "iss": "https://helseid-mock.example.no", "aud": "demo:kjerne", "nbf": NOW.0, "iat": NOW.0, "exp": NOW.0 + 60, "jti": jti, "client_id": SMART_AS,
            "sub": sub, "sid": "7E1D0C9B8A", "auth_time": NOW.0 - 1000, "idp": "testidpnew-oidc", "amr": ["pwd"], "scope": ["demo:kjerne/read"],
            "client_amr": "private_key_jwt", "helseid://claims/client/client_tenancy": "multi-tenant",
            "helseid://claims/client/claims/orgnr_parent": "310441007", "helseid://claims/client/claims/orgnr_child": "310441015",
            "helseid://claims/client/claims/orgnr_supplier": "310441503", "helseid://claims/identity/pid": "12837512040",
            "helseid://claims/identity/security_level": "4", "helseid://claims/hpr/hpr_number": "990000101", "cnf": {"jkt": "thumb"}
        });
        assert_eq!(claims, want);
        assert_eq!(names(&claims), names(&want), "in this order");
        assert!(jti.as_str().unwrap().len() == 32 && sub.as_str().unwrap().ends_with('='));
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(minted.token.expose().split('.').next().unwrap()).unwrap()).unwrap();
        assert_eq!((&header["typ"], &header["alg"], &header["kid"]), (&json!("at+jwt"), &json!("RS256"), &json!(idp.keys.current().kid())));
    }

    /// §7.4, the table of APIs.
    #[test]
    fn each_api_is_told_what_it_registered() {
        let idp = idp();
        let details = Details { attest: Some(attest::tests::sent()), journal_id: Some("0190a2c4-7d1e-7b5a-9f3e-2c1d0e9f8a7b".to_owned()), organisation: None };
        const ORGANISATION: &str = "helseid://claims/client/claims/orgnr_parent";
        for (scope, told, life) in [
            ("fjord:epj-api/read", [true, true, true, false, false], 60),
            ("demo:kjerne/read", [true, true, true, true, false], 60),
            ("demo:resept/write", [true, true, false, false, true], 300),
            ("demo:old/read", [false, false, true, false, false], 600),
            ("nav-like:app/identity", [true, true, false, false, false], 300),
        ] {
            let minted = user_token(&idp, &[scope], &details, &Met::default()).unwrap();
            let claims = read(&minted.token);
            assert_eq!([PID, HPR, ORGANISATION, attest::TYPE, JOURNAL_ID].map(|name| claims.get(name).is_some()), told, "{scope}");
            assert_eq!(minted.expires_in, life, "{scope}");
        }
        let attested = read(&user_token(&idp, &["demo:kjerne/read"], &details, &Met::default()).unwrap().token);
        assert_eq!(attested.pointer("/nhn:tillitsrammeverk:parameters/practitioner/identifier/name"), Some(&json!("Solveig Fjæremo")));
        assert_eq!(attested.pointer("/nhn:tillitsrammeverk:parameters/practitioner/legal_entity/name"), Some(&json!("Nordvik kommune")));
        assert_eq!(attested.pointer("/nhn:tillitsrammeverk:parameters/toa"), Some(&json!(NOW.0)));
    }

    #[test]
    fn several_apis_share_a_token_where_no_resource_was_named_and_none_is_for_userinfo() {
        let idp = idp();
        let both = user_token(&idp, &["openid", "demo:kjerne/read", "demo:resept/write"], &Details::default(), &Met::default()).unwrap();
        assert_eq!((read(&both.token)["aud"].clone(), both.expires_in), (json!(["demo:kjerne", "demo:resept"]), 60));
        let none = read(&user_token(&idp, &["openid"], &Details::default(), &Met::default()).unwrap().token);
        assert_eq!((none.get("aud"), none.get(PID)), (None, None));
    }

    #[test]
    fn an_api_for_bound_tokens_gets_no_other() {
        let idp = idp();
        let (seed, login) = (idp.seed(), login("solveig"));
        let client = seed.client(LEGACY).unwrap();
        let acting = act_for(&client.tenancy, None, &seed).unwrap();
        let mint = |name: &str| {
            let scopes = scopes(&[name]);
            let apis = apis_of(&seed, &scopes);
            let details = Details::default();
            let content = Content { client, apis: &apis, scopes: &scopes, acting: &acting, login: Some(&login), details: &details, jkt: None };
            super::mint(&idp, &content, &Met::default(), NOW)
        };
        assert!(matches!(mint("demo:kjerne/read"), Err(MintError::ProofNeeded)));
        let bearer = mint("nav-like:app/identity").unwrap();
        assert_eq!((bearer.token_type, read(&bearer.token).get("cnf")), ("Bearer", None));
    }

    #[test]
    fn an_attest_is_for_those_who_may() {
        let idp = idp();
        let details = Details { attest: Some(attest::tests::sent()), ..Details::default() };
        for (user, want) in [("solveig", None), ("berit", Some(AttestError::NotAuthorized)), ("amina", Some(AttestError::NotAuthorized))] {
            let seed = idp.seed();
            assert_eq!(attested(&seed, &details, seed.user(user), NOW).err(), want, "{user}");
        }
        assert_eq!(attested(&idp.seed(), &details, None, NOW).err(), Some(AttestError::NoUser));
    }

    #[test]
    fn binding_goes_wrong_on_demand() {
        let idp = idp();
        let token = |kinds: &[&str]| user_token(&idp, &["demo:kjerne/read"], &Details::default(), &met(kinds)).unwrap();
        assert_eq!(read(&token(&["wrong_cnf"]).token)["cnf"]["jkt"].as_str().map(str::len), Some(43));
        assert_eq!(read(&token(&["no_cnf"]).token).get("cnf"), None);
        let downgraded = token(&["token_type_bearer"]);
        assert_eq!((downgraded.token_type, read(&downgraded.token)["cnf"]["jkt"].as_str()), ("Bearer", Some("thumb")));
        assert_eq!(read(&token(&["level_3"]).token)[LEVEL], json!("3"));
    }
}
