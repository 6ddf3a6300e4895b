//! `GET /metrics`: what is counted, and what is looked up for the occasion. `docs/operations.md`, Metrics.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::{Ops, ready};
use crate::audit::Status;
use crate::domain::keys::KeyState;
use crate::engine::Engine;
use crate::http::reply::no_store;
use crate::metrics::{CONTENT_TYPE, Found, facts, look};
use crate::store::Depth;
use crate::upstream::{Circuit, Health};

pub async fn metrics(State(ops): State<Ops>) -> Response {
    let mut found = Found::default();
    look(&mut found);
    let ready = ready::problems(&ops).await.is_empty();
    found.say(facts::READY, f64::from(u8::from(ready)));
    store(&ops, &mut found);
    audit(&ops, &mut found);
    for site in &ops.sites {
        keys(&site.engine, &mut found);
        upstream(&site.engine, &mut found);
    }
    let waiting: usize = ops.sites.iter().map(|site| site.engine.logouts_waiting()).sum();
    found.say(facts::LOGOUTS_WAITING, number(waiting));
    let mut response = ops.metrics.text(found).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    no_store(response.headers_mut());
    response
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Sizes and sequences are read to a few digits.
#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts")]
fn large(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "seconds in a life of a key")]
fn seconds(span: i64) -> f64 {
    span as f64
}

fn store(ops: &Ops, found: &mut Found) {
    let Depth { waiting, bytes, records } = ops.store.depth();
    found.maybe(facts::STORE_WRITES_WAITING, waiting.map(number));
    found.maybe(facts::STORE_SIZE, bytes.map(large));
    found.maybe(facts::STORE_RECORDS, records.map(large));
}

fn audit(ops: &Ops, found: &mut Found) {
    let Some(Status { head, failing, lost, waiting, forward }) = ops.audit().status() else { return };
    found.say(facts::AUDIT_HEAD, large(head.seq));
    found.say(facts::AUDIT_WAITING, number(waiting));
    found.say(facts::AUDIT_FAILING, f64::from(u8::from(failing.is_some())));
    found.say(facts::AUDIT_LOST, large(lost));
    if let Some(forward) = forward {
        found.say(facts::AUDIT_BEHIND, large(head.seq.saturating_sub(forward.forwarded)));
        found.say(facts::AUDIT_FORWARD_FAILING, f64::from(u8::from(forward.last_error.is_some())));
    }
}

fn keys(engine: &Engine, found: &mut Found) {
    let (issuer, now) = (engine.rules.issuer.as_str(), engine.now());
    for key in engine.keys.entries().iter().filter(|key| key.state(now) == Some(KeyState::Current)) {
        let labels = [("issuer", issuer), ("alg", key.alg.as_str())];
        found.with(facts::KEY_AGE, &labels, seconds(now.since(key.signs_from)));
        if let Some(turn) = engine.keys.changes_at(key) {
            found.with(facts::KEY_TURN, &labels, seconds(turn.since(now)));
        }
    }
    found.with(facts::KEYS_READ_AGE, &[("issuer", issuer)], seconds(now.since(engine.keys.read_at())));
}

fn upstream(engine: &Engine, found: &mut Found) {
    let Some(upstream) = engine.upstream() else { return };
    let labels = [("issuer", engine.rules.issuer.as_str())];
    let Health { circuit, drift_s, .. } = upstream.health();
    let state = match circuit {
        Circuit::Closed => 0.0,
        Circuit::HalfOpen => 1.0,
        Circuit::Open { .. } => 2.0,
    };
    found.with(facts::UPSTREAM_CIRCUIT, &labels, state);
    found.with(facts::UPSTREAM_DRIFT, &labels, seconds(drift_s));
}
