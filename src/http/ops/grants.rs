//! Grants for those who administer: what was allowed, to which app, for whom; and its end. No code, no token, no proof of one.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use serde_json::{Map, Value, json};

use super::{Ops, Refusal, ask};
use crate::audit::trail;
use crate::domain::grant::{Grant, GrantState};
use crate::engine::Engine;
use crate::engine::search::{GrantQuery, GrantStanding};
use crate::http::reply::NoStore;
use crate::protocol::ids::{ClientId, FhirBase, FhirId, GrantId, Reference, SessionId, Subject};

type Id = Result<Path<String>, PathRejection>;

/// What a search may say, and where it goes on.
const CRITERIA: &[&str] = &["issuer", "sub", "fhir_user", "patient", "base", "client_id", "session", "after"];

/// `GET /grants`: those that fit, with a cursor where there are more.
pub async fn list(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    let params = ask::query(&uri, &[CRITERIA, &["state", "limit"]].concat())?;
    let engine = &ops.site(params.get("issuer"))?.engine;
    let query = GrantQuery { over: ask::over(&params)?, ..query(|name| Ok(params.get(name).map(Cow::Borrowed)))? };
    let found = engine.find_grants(&query, params.get("after"), ask::limit(&params, ask::ROWS, ask::MOST_ROWS)?).await?;
    let grants: Vec<Value> = found.rows.iter().map(|(grant, standing)| shown(grant, *standing)).collect();
    Ok(NoStore(ask::page(engine, "grants", grants, found.next)))
}

/// `GET /grants/{id}`
pub async fn show(State(ops): State<Ops>, id: Id, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    let params = ask::query(&uri, &["issuer"])?;
    let engine = &ops.site(params.get("issuer"))?.engine;
    current(engine, &grant(id)?).await
}

/// `POST /grants/{id}/revoke`: everything that came of it is dead from now on.
pub async fn revoke(State(ops): State<Ops>, id: Id, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    let params = ask::query(request.uri(), &["issuer"])?;
    let engine = &ops.site(params.get("issuer"))?.engine;
    let id = grant(id)?;
    ask::members(request, &[]).await?;
    trail::at(&engine.rules.issuer);
    let ended = engine.revoke_grant(&id).await?.ok_or_else(unknown)?;
    trail::note(|facts| facts.count = Some(u64::from(ended)));
    tracing::info!(issuer = %engine.rules.issuer, grant = %id, "a grant was ended");
    current(engine, &id).await
}

/// `POST /grants/revoke`: all that fit, which the body must say.
pub async fn revoke_all(State(ops): State<Ops>, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    let params = ask::query(request.uri(), &["issuer"])?;
    let members = ask::members(request, CRITERIA).await?;
    let engine = &ops.site(ask::either(params.get("issuer"), ask::text(&members, "issuer")?, "issuer")?)?.engine;
    let query = query(|name| Ok(ask::criterion(&members, name)?.map(Cow::Borrowed)))?;
    if !query.says_which() {
        return Err(Refusal::invalid("say which: sub, fhir_user, patient, client_id or session"));
    }
    trail::at(&engine.rules.issuer);
    let ended = engine.revoke_grants(&query, ask::text(&members, "after")?).await?;
    trail::note(|facts| facts.count = Some(ended.count));
    tracing::info!(issuer = %engine.rules.issuer, count = ended.count, "grants were ended");
    Ok(NoStore(ask::counted(engine, &ended)))
}

/// The criteria, by whatever says what is under a name.
fn query<'a>(said: impl Fn(&'static str) -> Result<Option<Cow<'a, str>>, Refusal>) -> Result<GrantQuery, Refusal> {
    Ok(GrantQuery {
        subject: ask::parsed(said("sub")?, "sub", Subject::parse)?,
        fhir_user: ask::parsed(said("fhir_user")?, "fhir_user", Reference::parse)?,
        patient: ask::parsed(said("patient")?, "patient", |text| FhirId::parse(text.strip_prefix("Patient/").unwrap_or(text)))?,
        base: ask::parsed(said("base")?, "base", FhirBase::parse)?,
        client: ask::parsed(said("client_id")?, "client_id", ClientId::parse)?,
        session: ask::parsed(said("session")?, "session", SessionId::parse)?,
        over: false,
    })
}

fn unknown() -> Refusal {
    Refusal::not_found("no grant has this id")
}

fn grant(id: Id) -> Result<GrantId, Refusal> {
    let Path(id) = id.map_err(|_| unknown())?;
    GrantId::parse(&id).map_err(|_| unknown())
}

async fn current(engine: &Engine, id: &GrantId) -> Result<NoStore<Value>, Refusal> {
    let (grant, standing) = engine.find_grant(id).await?.ok_or_else(unknown)?;
    Ok(NoStore(shown(&grant, standing)))
}

fn shown(grant: &Grant, standing: GrantStanding) -> Value {
    let mut members = Map::new();
    let mut say = |name: &str, value: Value| {
        if !value.is_null() {
            members.insert(name.to_owned(), value);
        }
    };
    say("grant", json!(grant.id));
    say("state", json!(standing.as_str()));
    if let GrantState::Ended { at, why, .. } = &grant.state {
        say("ended_at", json!(at));
        say("ended_because", json!(why));
    }
    say("client_id", json!(grant.client));
    say("sub", json!(grant.subject));
    say("fhir_user", json!(grant.fhir_user.as_ref().map(ToString::to_string)));
    say("base", json!(grant.base));
    say("patient", json!(grant.context.patient));
    say("encounter", json!(grant.context.encounter));
    say("organization", json!(grant.organization.as_ref().map(ToString::to_string)));
    say("scopes", json!(grant.scopes.to_string()));
    say("session", json!(grant.session));
    say("ends_with_session", json!(grant.ends_with_session));
    say("made_at", json!(grant.made_at));
    say("refresh_until", json!(grant.refresh_until));
    say("expires_at", json!(grant.expires_at));
    Value::Object(members)
}
