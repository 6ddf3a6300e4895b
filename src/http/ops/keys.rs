//! The key ring for those who look after it. No private half is ever shown.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Ops, Refusal, ask};
use crate::audit::trail;
use crate::domain::audit::Action;
use crate::domain::keys::{DEFAULT_ALGS, KeyEntry, KeyState, RevokedKey};
use crate::engine::Engine;
use crate::engine::keys::{Revocation, Suspect};
use crate::http::reply::NoStore;
use crate::jose::Alg;
use crate::jose::import::import as read_key;
use crate::secret::Secret;
use crate::time::UnixTime;

/// `GET /keys`
pub async fn list(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    let query = ask::query(&uri, &["issuer"])?;
    let engine = &ops.site(query.get("issuer"))?.engine;
    // Another process may have turned the ring.
    engine.keys.refresh().await?;
    Ok(NoStore(json!({ "issuer": engine.rules.issuer, "keys": shown(engine) })))
}

/// `POST /keys/rotate`: a new key for one algorithm, or for each; published now, and signing once others had time to see it. NAV-040. With
/// `emergency` the keys before it, or the one of `kid`, go at once and so does the belief in what they signed.
pub async fn rotate(State(ops): State<Ops>, uri: Uri, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    let query = ask::query(&uri, &["issuer"])?;
    let members = ask::members(request, &["issuer", "alg", "emergency", "kid"]).await?;
    let engine = &ops.site(ask::either(query.get("issuer"), ask::text(&members, "issuer")?, "issuer")?)?.engine;
    trail::at(&engine.rules.issuer);
    let algs = alg(&members)?.map_or_else(|| DEFAULT_ALGS.to_vec(), |alg| vec![alg]);
    let kid = ask::text(&members, "kid")?;
    match (members.get("emergency"), kid) {
        (Some(Value::Bool(true)), Some(_)) if members.contains_key("alg") => {
            return Err(Refusal::invalid("alg and kid are two ways of naming keys; leave one of them out"));
        }
        (Some(Value::Bool(true)), Some(kid)) => return revoked(engine, &Suspect::Kid(kid.to_owned())).await,
        (Some(Value::Bool(true)), None) => return revoked(engine, &Suspect::Algs(algs)).await,
        (None | Some(Value::Null | Value::Bool(false)), None) => {}
        (None | Some(Value::Null | Value::Bool(false)), Some(_)) => {
            return Err(Refusal::invalid("kid goes with emergency: without it a key is followed by the next of its alg"));
        }
        (Some(_), _) => return Err(Refusal::invalid("emergency must be true or false")),
    }
    engine.keys.refresh().await?;
    let (before, now) = (engine.keys.entries(), engine.now());
    not_underway(&before, &algs, now)?;
    engine.keys.rotate(&algs).await?;
    let fresh: Vec<KeyEntry> = engine.keys.entries().into_iter().filter(|key| before.iter().all(|known| known.kid != key.kid)).collect();
    trail::note(|facts| facts.keys = fresh.iter().map(|key| key.kid.clone()).collect());
    Ok(NoStore(json!({ "issuer": engine.rules.issuer, "rotated": fresh.iter().filter_map(|key| entry(engine, key)).collect::<Vec<_>>() })))
}

/// `POST /keys/{kid}/revoke`: this key goes at once, and so does the belief in what it signed.
pub async fn revoke(State(ops): State<Ops>, Path(kid): Path<String>, uri: Uri, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    let query = ask::query(&uri, &["issuer"])?;
    let members = ask::members(request, &["issuer"]).await?;
    let engine = &ops.site(ask::either(query.get("issuer"), ask::text(&members, "issuer")?, "issuer")?)?.engine;
    revoked(engine, &Suspect::Kid(kid)).await
}

/// `POST /keys/import`: a private key somebody else made, `{"pkcs8": PEM or the base64 of DER}`. It is published now, and signs once others had
/// time to see it or, with `"sign": "now"`, at once.
pub async fn import(State(ops): State<Ops>, uri: Uri, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    let query = ask::query(&uri, &["issuer"])?;
    let mut members = ask::members(request, &["issuer", "alg", "pkcs8", "sign"]).await?;
    let Some(Value::String(pkcs8)) = members.remove("pkcs8") else { return Err(Refusal::invalid("pkcs8 must be a text: the PEM, or the base64 of the DER")) };
    let pkcs8 = Secret::new(pkcs8);
    let engine = &ops.site(ask::either(query.get("issuer"), ask::text(&members, "issuer")?, "issuer")?)?.engine;
    trail::at(&engine.rules.issuer);
    let at_once = match ask::text(&members, "sign")? {
        None | Some("next") => false,
        Some("now") => true,
        Some(_) => return Err(Refusal::invalid("sign must be \"next\" or \"now\"")),
    };
    let der = (!pkcs8.expose().contains("-----")).then(|| STANDARD.decode(pkcs8.expose()).map(Secret::new)).transpose();
    let der = der.map_err(|_| Refusal::invalid("pkcs8 is neither PEM nor base64"))?;
    let file = der.as_ref().map_or(pkcs8.expose().as_bytes(), |der| der.expose().as_slice());
    let key = read_key(file, alg(&members)?).map_err(|why| Refusal::invalid(why.to_string()))?;
    engine.keys.refresh().await?;
    not_underway(&engine.keys.entries(), &[key.alg()], engine.now())?;
    trail::note(|facts| facts.keys = vec![key.kid().to_owned()]);
    engine.keys.import(&key, at_once).await?;
    let taken = engine.keys.entries().into_iter().find(|entry| entry.kid == key.kid());
    Ok(NoStore(json!({ "issuer": engine.rules.issuer, "imported": taken.and_then(|key| entry(engine, &key)) })))
}

async fn revoked(engine: &Engine, suspect: &Suspect) -> Result<NoStore<Value>, Refusal> {
    trail::at(&engine.rules.issuer);
    trail::about(Action::KeyRevoke);
    let Revocation { revoked, signing } = engine.keys.revoke(suspect).await?;
    trail::note(|facts| facts.keys.clone_from(&revoked));
    let signing: Vec<Value> = signing.iter().map(|(alg, kid)| json!({ "alg": alg, "kid": kid })).collect();
    Ok(NoStore(json!({ "issuer": engine.rules.issuer, "revoked": revoked, "signing": signing })))
}

/// The member `alg`: one of those this server has keys for.
fn alg(members: &Map<String, Value>) -> Result<Option<Alg>, Refusal> {
    let Some(name) = ask::text(members, "alg")? else { return Ok(None) };
    let known = DEFAULT_ALGS.into_iter().find(|alg| alg.as_str() == name);
    let unknown = || Refusal::invalid(format!("alg must be one of {}, or left out", DEFAULT_ALGS.map(Alg::as_str).join(", ")));
    known.map(Some).ok_or_else(unknown)
}

fn not_underway(keys: &[KeyEntry], algs: &[Alg], now: UnixTime) -> Result<(), Refusal> {
    match keys.iter().find(|key| algs.contains(&key.alg) && key.state(now) == Some(KeyState::Next)) {
        None => Ok(()),
        Some(next) => {
            let left = next.signs_from.since(now);
            Err(Refusal::conflict(format!(
                "a next {} key is already published and signs in {left} s; do it after that, or revoke that key first",
                next.alg.as_str()
            )))
        }
    }
}

/// By algorithm, and the newest first; those that were revoked at the end.
fn shown(engine: &Engine) -> Vec<Value> {
    let mut entries = engine.keys.entries();
    entries.sort_by(|a, b| (a.alg.as_str(), b.signs_from).cmp(&(b.alg.as_str(), a.signs_from)));
    let gone = |key: &RevokedKey| json!({ "kid": key.kid, "alg": key.alg, "state": "revoked", "since": key.at });
    entries.iter().filter_map(|key| entry(engine, key)).chain(engine.keys.revoked().iter().rev().map(gone)).collect()
}

fn entry(engine: &Engine, key: &KeyEntry) -> Option<Value> {
    let now = engine.now();
    Some(json!({
        "kid": key.kid, "alg": key.alg, "state": key.state(now)?, "since": key.since(now), "changes_at": engine.keys.changes_at(key), "origin": key.origin,
        "created_at": key.created_at, "signs_from": key.signs_from, "retired_at": key.retired_at, "gone_at": key.gone_at,
    }))
}
