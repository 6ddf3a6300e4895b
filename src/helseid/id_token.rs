//! id_tokens: what the identity scopes ask to be told about the person. §2.9, 3.2; OIDC Core §2.

use serde_json::{Map, Value, json};

use super::Idp;
use super::defect::{self, HPR, LEVEL, PID};
use super::faults::{Fault, IdTokenFault, Met, RefreshFault, Which};
use super::seed::{Client, User};
use super::session::Login;
use super::subject::{pseudonym, subject};
use crate::jose::{Alg, KeyError, at_hash};
use crate::secret::Secret;
use crate::time::UnixTime;

/// `typ` of an id_token. M7.
pub const TYPE: &str = "JWT";
/// How long one lives, in seconds.
const LIFE_S: i64 = 300;

/// What an id_token is made of.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub client: &'a Client,
    pub login: &'a Login,
    pub scopes: &'a [String],
    /// Of the authorization request; not repeated on refresh (OIDC Core §12.2).
    pub nonce: Option<&'a str>,
    /// The access token it comes with.
    pub access_token: &'a Secret<String>,
}

/// The claims about a person that scopes ask for, in id_tokens and at userinfo. §3.1.
pub fn person(idp: &Idp, user: &User, client: &Client, login: &Login, scopes: &[String]) -> Map<String, Value> {
    let has = |scope: &str| scopes.iter().any(|granted| granted == scope);
    let mut claims = Map::new();
    let mut put = |name: &str, value: Option<String>| value.map(|value| claims.insert(name.to_owned(), json!(value)));
    if has("profile") {
        put("name", Some(user.name.full()));
        put("given_name", Some(user.name.given.clone()));
        put("middle_name", user.name.middle.clone());
        put("family_name", Some(user.name.family.clone()));
    }
    if has("helseid://scopes/identity/pid") {
        put(PID, Some(user.pid().to_owned()));
    }
    if has("helseid://scopes/identity/pid_pseudonym") {
        put("helseid://claims/identity/pid_pseudonym", Some(pseudonym(idp, user, client)));
    }
    if has("helseid://scopes/identity/security_level") {
        put(LEVEL, Some(login.level.to_string()));
    }
    if has("helseid://scopes/identity/assurance_level") {
        let word = match login.level {
            4.. => "high",
            3 => "substantial",
            0..3 => "low",
        };
        put("helseid://claims/identity/assurance_level", Some(word.to_owned()));
    }
    if has("helseid://scopes/identity/network") {
        put("helseid://claims/identity/network", Some("internett".to_owned()));
    }
    if has("helseid://scopes/hpr/hpr_number") {
        put(HPR, user.hpr().map(str::to_owned));
    }
    claims
}

/// Makes an id_token, with the faults that met the request.
///
/// # Errors
/// [`KeyError`], which no key of ours gives.
pub fn mint(idp: &Idp, content: &Content<'_>, user: &User, met: &Met, now: UnixTime) -> Result<Secret<String>, KeyError> {
    let Content { client, login, scopes, nonce, access_token } = *content;
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    put("iss", json!(idp.issuer.as_str()));
    put("nbf", json!(now.0));
    put("iat", json!(now.0));
    put("exp", json!(now.0.saturating_add(LIFE_S)));
    put("aud", json!(client.id));
    put("amr", json!(login.amr));
    if let Some(nonce) = nonce {
        put("nonce", json!(nonce));
    }
    put("at_hash", json!(at_hash(access_token.expose(), Alg::RS256)));
    put("sid", json!(login.sid));
    put("sub", json!(subject(idp, user, client)));
    put("auth_time", json!(login.auth_time.0));
    put("idp", json!(login.idp));
    put("jti", json!(idp.random.id().to_uppercase()));
    claims.extend(person(idp, user, client, login, scopes));
    for fault in met.all() {
        match fault {
            Fault::IdToken(fault) => spoil(&mut claims, *fault),
            Fault::Refresh(RefreshFault::WrongSubAfterRefresh) if nonce.is_none() => spoil(&mut claims, IdTokenFault::OtherSubThanUserinfo),
            _ => {}
        }
    }
    defect::sign(idp, Which::IdToken, TYPE, claims, met, now)
}

/// One thing wrong. §7.3, ID token.
fn spoil(claims: &mut Map<String, Value>, fault: IdTokenFault) {
    let mut put = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
    match fault {
        IdTokenFault::WrongNonce => put("nonce", json!("another-nonce")),
        IdTokenFault::MissingNonce => drop(claims.shift_remove("nonce")),
        IdTokenFault::WrongAzp => put("azp", json!("another-client")),
        IdTokenFault::ExtraAud => {
            let aud = claims.get("aud").cloned().unwrap_or_default();
            claims.insert("aud".to_owned(), json!([aud, "another-client"]));
        }
        IdTokenFault::OldAuthTime => {
            let before = claims.get("auth_time").and_then(Value::as_i64).unwrap_or_default().saturating_sub(7 * 24 * 3600);
            claims.insert("auth_time".to_owned(), json!(before));
        }
        IdTokenFault::OtherSubThanUserinfo => put("sub", json!("bm90LXRoZS1zYW1lLXBlcnNvbi1hcy1iZWZvcmU=")),
    }
}
