//! `GET /audit`: the end of the log, for those who may see it.

use axum::extract::State;
use axum::http::Uri;
use serde_json::{Map, Value, json};

use super::{Ops, Refusal, ask};
use crate::audit::{Status, read};
use crate::http::reply::NoStore;

const LIMIT: usize = 100;
const LARGEST: usize = 1000;

/// `GET /audit?after=SEQ&limit=N`: the records after one, the oldest first; without `after` the last ones. They are as they stand in the
/// file, so that the chain can be checked.
pub async fn tail(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    let query = ask::query(&uri, &["after", "limit"])?;
    let limit = ask::limit(&query, LIMIT, LARGEST)?;
    let after = query.get("after").map(|text| ask::digits(text).ok_or_else(|| Refusal::invalid("after must be a number"))).transpose()?;
    let audit = ops.audit();
    let Some((dir, _)) = audit.followed() else { return Err(Refusal::not_found("this server keeps no audit log")) };
    // What was answered before this question is in the answer.
    audit.flush().await;
    let Some(Status { head, .. }) = audit.status() else { return Err(Refusal::not_found("this server keeps no audit log")) };
    let after = after.unwrap_or_else(|| head.seq.saturating_sub(limit as u64));
    let read = tokio::task::spawn_blocking(move || read::after(&dir, after, limit)).await;
    let lines = read.map_err(std::io::Error::other).flatten().map_err(|error| Refusal::unavailable(error.to_string()))?;
    let records: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(NoStore(json!({ "head": { "seq": head.seq, "hash": head.hash }, "records": records })))
}

/// How the log does, for `/health`.
pub(super) fn health(ops: &Ops) -> Option<Value> {
    let audit = ops.audit();
    let Status { head, failing, lost, waiting: _, forward } = audit.status()?;
    let forward =
        forward.map(|state| json!({ "forwarded": state.forwarded, "behind": head.seq.saturating_sub(state.forwarded), "last_error": state.last_error }));
    let status = if failing.is_some() { "failing" } else { "ok" };
    let mut health = Map::from_iter([("status".to_owned(), json!(status)), ("seq".to_owned(), json!(head.seq))]);
    health.extend([("head".to_owned(), json!(head.hash)), ("lost".to_owned(), json!(lost))]);
    health.extend(failing.map(|error| ("error".to_owned(), error.into())));
    health.extend(forward.map(|forward| ("forward".to_owned(), forward)));
    Some(Value::Object(health))
}
