//! Sessions for those who administer: who is logged in, by whose word, since when; and its end. No cookie.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use serde_json::{Map, Value, json};

use super::{Ops, Refusal, ask};
use crate::audit::trail;
use crate::domain::session::Session;
use crate::engine::Engine;
use crate::engine::search::{SessionQuery, SessionStanding};
use crate::http::reply::NoStore;
use crate::protocol::ids::{ClientId, FhirBase, Reference, SessionId, Subject};

type Id = Result<Path<String>, PathRejection>;

const CRITERIA: &[&str] = &["issuer", "sub", "fhir_user", "base", "ehr", "after"];

/// `GET /sessions`: those that fit, with a cursor where there are more.
pub async fn list(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    let params = ask::query(&uri, &[CRITERIA, &["state", "limit"]].concat())?;
    let engine = &ops.site(params.get("issuer"))?.engine;
    let query = SessionQuery { over: ask::over(&params)?, ..query(|name| Ok(params.get(name).map(Cow::Borrowed)))? };
    let found = engine.find_sessions(&query, params.get("after"), ask::limit(&params, ask::ROWS, ask::MOST_ROWS)?).await?;
    let sessions: Vec<Value> = found.rows.iter().map(|(session, standing)| shown(session, *standing)).collect();
    Ok(NoStore(ask::page(engine, "sessions", sessions, found.next)))
}

/// `GET /sessions/{id}`
pub async fn show(State(ops): State<Ops>, id: Id, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    let params = ask::query(&uri, &["issuer"])?;
    let engine = &ops.site(params.get("issuer"))?.engine;
    current(engine, &session(id)?).await
}

/// `POST /sessions/{id}/revoke`: it is over, and so is what hangs on it. The person logs in again, or is launched again.
pub async fn revoke(State(ops): State<Ops>, id: Id, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    let params = ask::query(request.uri(), &["issuer"])?;
    let engine = &ops.site(params.get("issuer"))?.engine;
    let id = session(id)?;
    ask::members(request, &[]).await?;
    trail::at(&engine.rules.issuer);
    let ended = engine.revoke_session(&id).await?.ok_or_else(unknown)?;
    trail::note(|facts| facts.count = Some(u64::from(ended)));
    tracing::info!(issuer = %engine.rules.issuer, session = %id, "a session was ended");
    current(engine, &id).await
}

/// `POST /sessions/revoke`: all that fit, which the body must say.
pub async fn revoke_all(State(ops): State<Ops>, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    let params = ask::query(request.uri(), &["issuer"])?;
    let members = ask::members(request, CRITERIA).await?;
    let engine = &ops.site(ask::either(params.get("issuer"), ask::text(&members, "issuer")?, "issuer")?)?.engine;
    let query = query(|name| Ok(ask::criterion(&members, name)?.map(Cow::Borrowed)))?;
    if !query.says_which() {
        return Err(Refusal::invalid("say which: sub, fhir_user or ehr"));
    }
    trail::at(&engine.rules.issuer);
    let ended = engine.revoke_sessions(&query, ask::text(&members, "after")?).await?;
    trail::note(|facts| facts.count = Some(ended.count));
    tracing::info!(issuer = %engine.rules.issuer, count = ended.count, "sessions were ended");
    Ok(NoStore(ask::counted(engine, &ended)))
}

/// The criteria, by whatever says what is under a name.
fn query<'a>(said: impl Fn(&'static str) -> Result<Option<Cow<'a, str>>, Refusal>) -> Result<SessionQuery, Refusal> {
    Ok(SessionQuery {
        subject: ask::parsed(said("sub")?, "sub", Subject::parse)?,
        fhir_user: ask::parsed(said("fhir_user")?, "fhir_user", Reference::parse)?,
        base: ask::parsed(said("base")?, "base", FhirBase::parse)?,
        ehr: ask::parsed(said("ehr")?, "ehr", ClientId::parse)?,
        over: false,
    })
}

fn unknown() -> Refusal {
    Refusal::not_found("no session has this id")
}

fn session(id: Id) -> Result<SessionId, Refusal> {
    let Path(id) = id.map_err(|_| unknown())?;
    SessionId::parse(&id).map_err(|_| unknown())
}

async fn current(engine: &Engine, id: &SessionId) -> Result<NoStore<Value>, Refusal> {
    let (session, standing) = engine.find_session(id).await?.ok_or_else(unknown)?;
    Ok(NoStore(shown(&session, standing)))
}

fn shown(session: &Session, standing: SessionStanding) -> Value {
    let mut members = Map::new();
    let mut say = |name: &str, value: Value| {
        if !value.is_null() {
            members.insert(name.to_owned(), value);
        }
    };
    say("session", json!(session.id));
    say("state", json!(standing.as_str()));
    say("ended_at", json!(session.ended_at));
    say("way", json!(session.way.as_str()));
    say("ehr", json!(session.ehr));
    say("sub", json!(session.subject));
    say("fhir_user", json!(session.fhir_user.to_string()));
    say("base", json!(session.base));
    say("auth_time", json!(session.auth_time));
    say("expires_at", json!(session.expires_at));
    Value::Object(members)
}
