//! Reading the configuration again.

use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};

use super::{Ops, Refusal, Reload, Reloaded, ask};
use crate::http::reply::NoStore;

fn reloads(ops: &Ops) -> Result<&dyn Reload, Refusal> {
    ops.control.reload.as_deref().ok_or_else(|| Refusal::not_found("this server was not started from a configuration file"))
}

/// `POST /reload`: 200 with what differs, or 422 with everything that is wrong, and then nothing is changed.
pub async fn now(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    ask::query(&uri, &[])?;
    match reloads(&ops)?.reload().await {
        Reloaded::Unchanged => Ok(NoStore(json!({ "status": "unchanged", "changes": [] }))),
        Reloaded::Taken(changes) => Ok(NoStore(json!({ "status": "taken", "changes": changes }))),
        Reloaded::Refused(problems) => Err(Refusal::problems("the configuration was not taken, and nothing was changed", problems)),
    }
}

/// `GET /reload`: what came of the last time.
pub async fn last(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    ask::query(&uri, &[])?;
    Ok(NoStore(match reloads(&ops)?.last() {
        None => json!({ "status": "never" }),
        Some((at, Reloaded::Unchanged)) => json!({ "status": "unchanged", "at": at }),
        Some((at, Reloaded::Taken(changes))) => json!({ "status": "taken", "at": at, "changes": changes }),
        Some((at, Reloaded::Refused(problems))) => json!({ "status": "refused", "at": at, "problems": problems }),
    }))
}
