//! The key ring for those who look after it. No private half is ever shown.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Uri;
use serde_json::{Value, json};

use super::{Ops, Refusal, ask};
use crate::audit::trail;
use crate::domain::keys::{DEFAULT_ALGS, KeyEntry, KeyState};
use crate::engine::Engine;
use crate::http::reply::NoStore;
use crate::time::UnixTime;

/// `GET /keys`
pub async fn list(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    let query = ask::query(&uri, &["issuer"])?;
    let engine = &ops.site(query.get("issuer"))?.engine;
    // Another process may have turned the ring.
    engine.keys.refresh().await?;
    Ok(NoStore(json!({ "issuer": engine.rules.issuer, "keys": shown(engine) })))
}

/// `POST /keys/rotate`: a new key for one algorithm, or for each; published now, and signing once others had time to see it. NAV-040.
pub async fn rotate(State(ops): State<Ops>, uri: Uri, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    let query = ask::query(&uri, &["issuer"])?;
    let members = ask::members(request, &["issuer", "alg"]).await?;
    let engine = &ops.site(ask::either(query.get("issuer"), ask::text(&members, "issuer")?, "issuer")?)?.engine;
    let algs = match ask::text(&members, "alg")? {
        None => DEFAULT_ALGS.to_vec(),
        Some(name) => match DEFAULT_ALGS.into_iter().find(|alg| alg.as_str() == name) {
            Some(alg) => vec![alg],
            None => return Err(Refusal::invalid("alg must be RS256, ES256 or ES384, or left out for all of them")),
        },
    };
    trail::at(&engine.rules.issuer);
    engine.keys.refresh().await?;
    let (before, now) = (engine.keys.entries(), engine.now());
    let waiting = |key: &&KeyEntry| algs.contains(&key.alg) && key.state(now) == Some(KeyState::Next);
    if let Some(next) = before.iter().find(waiting) {
        let left = next.signs_from.since(now);
        return Err(Refusal::conflict(format!("a next {} key is already published and signs in {left} s; rotate again after that", next.alg.as_str())));
    }
    let rotated = engine.keys.rotate(&algs).await?;
    let fresh: Vec<KeyEntry> = engine.keys.entries().into_iter().filter(|key| before.iter().all(|known| known.kid != key.kid)).collect();
    trail::note(|facts| facts.keys = fresh.iter().map(|key| key.kid.clone()).collect());
    for (alg, signs_from) in &rotated {
        tracing::info!(issuer = %engine.rules.issuer, alg = alg.as_str(), %signs_from, "a new signing key was published");
    }
    let now = engine.now();
    Ok(NoStore(json!({ "issuer": engine.rules.issuer, "rotated": fresh.iter().filter_map(|key| entry(key, now)).collect::<Vec<_>>() })))
}

/// By algorithm, and the newest first.
fn shown(engine: &Engine) -> Vec<Value> {
    let mut entries = engine.keys.entries();
    entries.sort_by(|a, b| (a.alg.as_str(), b.signs_from).cmp(&(b.alg.as_str(), a.signs_from)));
    entries.iter().filter_map(|key| entry(key, engine.now())).collect()
}

fn entry(key: &KeyEntry, now: UnixTime) -> Option<Value> {
    Some(json!({
        "kid": key.kid, "alg": key.alg, "state": key.state(now)?, "created_at": key.created_at, "signs_from": key.signs_from,
        "retired_at": key.retired_at, "gone_at": key.gone_at,
    }))
}
