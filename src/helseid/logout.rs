//! A session ends, and every client that got something out of it is told. M13; OIDC Back-Channel Logout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, json};

use super::Idp;
use super::faults::Endpoint;
use super::journal::Entry;
use super::session::Login;
use super::subject::subject;
use crate::jose::KeyError;
use crate::secret::Secret;

/// How long one client may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses before the attempts: at once, and twice more.
const ATTEMPTS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];
/// How long a logout token is good, in seconds. OIDC Back-Channel Logout §2.4 wants it short.
const LIFE_S: i64 = 120;
/// How long it is remembered that a session has ended: longer than any access token lives.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// OIDC Back-Channel Logout §2.4.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The client for everything the mock sends: no proxy, no redirect, short.
///
/// # Errors
/// Where TLS cannot be set up.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy().build()
}

/// Ends the sessions of these logins and everything that came out of them: no refresh token opens anything, userinfo refuses the access
/// tokens, and the clients are told. How many logins there were.
pub fn end(idp: &Arc<Idp>, is: impl Fn(&Login) -> bool) -> usize {
    let now = idp.now();
    let mut ended: BTreeMap<String, (Login, BTreeSet<String>)> = BTreeMap::new();
    let mut note = |login: Login, clients: BTreeSet<String>| ended.entry(login.sid.clone()).or_insert((login, BTreeSet::new())).1.extend(clients);
    for session in idp.kept.sessions.drain_if(|session| is(&session.login)) {
        note(session.login, session.clients);
    }
    for family in idp.kept.families.drain_if(|family| is(&family.grant.login)) {
        note(family.grant.login, BTreeSet::from([family.grant.client_id]));
    }
    idp.kept.codes.drain_if(|code| is(&code.grant.login));
    for (sid, (login, clients)) in &ended {
        idp.kept.ended.put(sid, (), now + REMEMBERED);
        tell_clients(idp, login, clients);
    }
    ended.len()
}

/// Each client in a task of its own: a slow one holds nobody up.
fn tell_clients(idp: &Arc<Idp>, login: &Login, clients: &BTreeSet<String>) {
    let seed = idp.seed();
    for client in clients.iter().filter_map(|id| seed.client(id)) {
        let Some(uri) = client.backchannel_logout_uri.clone() else { continue };
        let sub = seed.user(&login.user).map(|user| subject(idp, user, client));
        match token(idp, &client.id, &login.sid, sub.as_deref()) {
            Ok(token) => drop(tokio::spawn(send(Arc::clone(idp), client.id.clone(), uri, token))),
            Err(error) => tracing::error!(%error, "a logout token could not be signed"),
        }
    }
}

/// OIDC Back-Channel Logout §2.4: never a `nonce`.
fn token(idp: &Idp, client: &str, sid: &str, sub: Option<&str>) -> Result<Secret<String>, KeyError> {
    let now = idp.now();
    let mut claims = json!({
        "iss": idp.issuer.as_str(),
        "aud": client,
        "iat": now.0,
        "exp": now.0 + LIFE_S,
        "jti": idp.random.id().to_uppercase(),
        "sid": sid,
        "events": {EVENT: {}}
    });
    if let (Some(members), Some(sub)) = (claims.as_object_mut(), sub) {
        members.insert("sub".to_owned(), json!(sub));
    }
    idp.keys.current().sign("logout+jwt", &claims).map(Secret::new)
}

async fn send(idp: Arc<Idp>, client: String, uri: String, token: Secret<String>) {
    for (attempt, pause) in ATTEMPTS.into_iter().enumerate() {
        tokio::time::sleep(pause).await;
        let answer = idp.http.post(&uri).form(&[("logout_token", token.expose().as_str())]).send().await;
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        let mut entry = Entry::new(Endpoint::Other, "POST", &uri, idp.now());
        entry.client_id = Some(client.clone());
        entry.status = status;
        entry.notes = Map::from_iter([("backchannel_logout".to_owned(), json!(attempt + 1))]);
        idp.journal.add(entry);
        // 400 is a client's last word (§2.8); anything else may be better next time.
        if matches!(status, 200..=299 | 400) {
            return;
        }
    }
    tracing::warn!(%client, "a client could not be told of a logout");
}
