//! The store as a whole: what is in it, whether it holds, and moving it to another back end.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Ops, Refusal, ask};
use crate::engine::keeping::Keeping;
use crate::http::reply::NoStore;
use crate::store::StoreError;
use crate::store::check::Report;

/// So many pieces of an export wait for whoever takes it.
const PIECES: usize = 4;

fn keeping(ops: &Ops) -> Result<&Keeping, Refusal> {
    ops.control.keeping.as_ref().ok_or_else(|| Refusal::not_found("the store is not looked after from here"))
}

/// `GET /store/stats`: how much there is of what.
pub async fn stats(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    ask::query(&uri, &[])?;
    Ok(NoStore(keeping(&ops)?.stats().await?))
}

/// `GET /store/check`: every record is read, understood, and asked what it refers to.
pub async fn check(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    ask::query(&uri, &[])?;
    Ok(NoStore(report(&keeping(&ops)?.check().await?)))
}

/// What a check found, as JSON.
pub fn report(report: &Report) -> Value {
    let finding = |finding: &crate::store::check::Finding| {
        let issuer = (!finding.space.is_empty()).then_some(&*finding.space);
        json!({ "issuer": issuer, "kind": finding.kind.map(crate::store::Kind::as_str), "id": finding.id, "problem": finding.what })
    };
    json!({
        "status": if report.is_good() { "good" } else { "wrong" },
        "records": report.records,
        "expired": report.expired,
        "session_gone": report.dead,
        "problems": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "more_problems": report.more,
    })
}

/// `GET /store/export`: everything, as a stream, while the store is read-only.
pub async fn export(State(ops): State<Ops>, uri: Uri) -> Result<Response, Refusal> {
    ask::query(&uri, &[])?;
    let keeping = keeping(&ops)?.clone();
    if !keeping.store.is_on() {
        return Err(Refusal::conflict("the store is not read-only: what is written during the export would be lost; run `helsebro store read-only on` first"));
    }
    let (to, pieces) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let failed = to.clone();
        match keeping.export(to).await {
            Ok(done) => tracing::info!(records = done.records, expired = done.expired, "the store was exported"),
            Err(error) => {
                tracing::warn!(%error, "the store could not be exported");
                // Breaks the answer off: half an export is none.
                let _nobody = failed.send(Err(error)).await;
            }
        }
    });
    let body = Body::from_stream(stream::unfold(pieces, async |mut pieces: mpsc::Receiver<Result<Bytes, StoreError>>| Some((pieces.recv().await?, pieces))));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /store/read-only`
pub async fn is_read_only(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    ask::query(&uri, &[])?;
    Ok(NoStore(json!({ "read_only": keeping(&ops)?.store.is_on() })))
}

/// `PUT /store/read-only {"read_only": true}`: from the answer on nothing is written, or things are again.
pub async fn set_read_only(State(ops): State<Ops>, uri: Uri, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    ask::query(&uri, &[])?;
    let members = ask::members(request, &["read_only"]).await?;
    let Some(Value::Bool(on)) = members.get("read_only") else { return Err(Refusal::invalid("read_only must be true or false")) };
    keeping(&ops)?.switch(*on).await?;
    tracing::warn!(read_only = on, "the store was switched");
    Ok(NoStore(json!({ "read_only": on })))
}
