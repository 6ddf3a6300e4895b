//! Clients for those who register them. A secret is in the one answer that made it and in no other.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Ops, Refusal, Registered, ask};
use crate::audit::trail;
use crate::domain::client::{Client, ClientAuthMethod, ClientKeys};
use crate::engine::Engine;
use crate::engine::clients::ClientsError;
use crate::http::reply::NoStore;
use crate::protocol::ids::ClientId;

type Id = Result<Path<String>, PathRejection>;

/// `GET /clients`
pub async fn list(State(ops): State<Ops>, uri: Uri) -> Result<NoStore<Value>, Refusal> {
    let query = ask::query(&uri, &["issuer"])?;
    let engine = &ops.site(query.get("issuer"))?.engine;
    let clients: Vec<Value> = engine.all_clients().await?.iter().map(|client| Value::Object(shown(engine, client))).collect();
    Ok(NoStore(json!({ "issuer": engine.rules.issuer, "clients": clients })))
}

/// `POST /clients`: a registration with the member names of the configuration. 201, with the secret where one was made. RFC 7591 §3.2.1.
pub async fn add(State(ops): State<Ops>, uri: Uri, request: Request<Body>) -> Result<Response, Refusal> {
    let query = ask::query(&uri, &["issuer"])?;
    let registration = ask::json(request).await?;
    let Value::Object(members) = &registration else { return Err(Refusal::invalid("the body must be a JSON object: the registration")) };
    let engine = &ops.site(ask::either(query.get("issuer"), ask::text(members, "issuer")?, "issuer")?)?.engine;
    let Registered { client, secret, reminders } = (ops.register)(&registration, &engine.rules).map_err(Refusal::metadata)?;
    let id = client.id.clone();
    change(engine, &id).await;
    engine.add_client(client).await?;
    change(engine, &id).await;
    tracing::info!(issuer = %engine.rules.issuer, client = %id, "a client was registered");
    let mut answer = current(engine, &id).await?;
    if let Some(secret) = secret {
        answer.insert("client_secret".to_owned(), secret.expose().as_str().into());
    }
    answer.insert("reminders".to_owned(), reminders.into());
    let location = format!("/clients/{}", percent_encoding::utf8_percent_encode(id.as_str(), percent_encoding::NON_ALPHANUMERIC));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], NoStore(answer)).into_response())
}

/// `GET /clients/{id}`
pub async fn show(State(ops): State<Ops>, id: Id, uri: Uri) -> Result<NoStore<Map<String, Value>>, Refusal> {
    let (engine, id) = asked(&ops, id, &uri).await?;
    Ok(NoStore(current(engine, &id).await?))
}

/// `DELETE /clients/{id}`: one that was added at run time, with all it was granted. 204.
pub async fn remove(State(ops): State<Ops>, id: Id, uri: Uri) -> Result<StatusCode, Refusal> {
    let (engine, id) = asked(&ops, id, &uri).await?;
    engine.remove_client(&id).await?;
    tracing::info!(issuer = %engine.rules.issuer, client = %id, "a client was removed");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /clients/{id}/disable`: its tokens are inactive from now on, its requests are refused.
pub async fn disable(State(ops): State<Ops>, id: Id, request: Request<Body>) -> Result<NoStore<Map<String, Value>>, Refusal> {
    switch(&ops, id, request, true).await
}

/// `POST /clients/{id}/enable`: what it was granted before is good again, as far as its time goes.
pub async fn enable(State(ops): State<Ops>, id: Id, request: Request<Body>) -> Result<NoStore<Map<String, Value>>, Refusal> {
    switch(&ops, id, request, false).await
}

async fn switch(ops: &Ops, id: Id, request: Request<Body>, disabled: bool) -> Result<NoStore<Map<String, Value>>, Refusal> {
    let (engine, id) = asked(ops, id, request.uri()).await?;
    ask::members(request, &[]).await?;
    engine.set_client_disabled(&id, disabled).await?;
    tracing::info!(issuer = %engine.rules.issuer, client = %id, disabled, "a client was switched");
    Ok(NoStore(current(engine, &id).await?))
}

/// `POST /clients/{id}/rotate-secret`: the answer is the only time the secret is seen. `?immediately=true` ends the old ones at once.
pub async fn rotate_secret(State(ops): State<Ops>, id: Id, request: Request<Body>) -> Result<NoStore<Value>, Refusal> {
    let query = ask::query(request.uri(), &["issuer", "immediately"])?;
    let engine = &ops.site(query.get("issuer"))?.engine;
    let (id, immediately) = (client(id)?, ask::flag(&query, "immediately")?);
    change(engine, &id).await;
    ask::members(request, &[]).await?;
    let fresh = engine.rotate_client_secret(&id, immediately).await?;
    tracing::info!(issuer = %engine.rules.issuer, client = %id, immediately, "a client secret was made");
    Ok(NoStore(json!({ "client_id": id, "client_secret": fresh.secret.expose(), "old_secrets_until": fresh.old_until })))
}

fn client(id: Id) -> Result<ClientId, Refusal> {
    let Path(id) = id.map_err(|_| Refusal::invalid("the client id in the path is not UTF-8"))?;
    ask::client_id(&id)
}

async fn asked<'a>(ops: &'a Ops, id: Id, uri: &Uri) -> Result<(&'a Engine, ClientId), Refusal> {
    let query = ask::query(uri, &["issuer"])?;
    let (engine, id) = (&ops.site(query.get("issuer"))?.engine, client(id)?);
    change(engine, &id).await;
    Ok((engine, id))
}

/// Notes whom a change is about. A name that is no client's is somebody's text, and may be a secret in the wrong place: it is not recorded.
async fn change(engine: &Engine, id: &ClientId) {
    trail::at(&engine.rules.issuer);
    if matches!(engine.client(id).await, Ok(Some(_))) {
        trail::note(|facts| facts.about = Some(id.clone()));
    }
}

async fn current(engine: &Engine, id: &ClientId) -> Result<Map<String, Value>, Refusal> {
    let client = engine.client_anew(id).await?.ok_or(ClientsError::Unknown)?;
    Ok(shown(engine, &client))
}

/// A client with the member names it is registered with; of its secrets only how many there are.
fn shown(engine: &Engine, client: &Client) -> Map<String, Value> {
    let seconds = |ttl: std::time::Duration| format!("{}s", ttl.as_secs());
    let mut members = Map::new();
    let mut say = |name: &str, value: Value| {
        if !value.is_null() {
            members.insert(name.to_owned(), value);
        }
    };
    say("client_id", json!(client.id));
    say("issuer", json!(engine.rules.issuer));
    say("registered", json!(if engine.is_configured(&client.id) { "configuration" } else { "run-time" }));
    say("name", json!(client.name));
    say("disabled", json!(client.disabled));
    say("auth", json!(client.auth.as_str()));
    match &client.auth {
        ClientAuthMethod::None => {}
        ClientAuthMethod::SecretBasic { secrets } | ClientAuthMethod::SecretPost { secrets } => say("secrets", json!(secrets.len())),
        ClientAuthMethod::PrivateKeyJwt { keys, algs } => {
            match keys {
                ClientKeys::Uri(uri) => say("jwks_uri", json!(uri)),
                ClientKeys::Inline(set) => say("jwks", json!({ "keys": set.keys.iter().map(|key| key.to_value()).collect::<Vec<_>>() })),
            }
            say("token_endpoint_auth_signing_alg", json!(algs));
        }
    }
    say("redirect_uris", json!(client.redirect_uris));
    say("launch_urls", json!(client.launch_urls));
    say("post_logout_redirect_uris", json!(client.post_logout_redirect_uris));
    say("backchannel_logout_uri", json!(client.backchannel_logout_uri));
    say("cors_origins", json!(client.cors_origins));
    say("scopes", json!(client.scopes.to_string()));
    say("requires", json!(client.requires));
    say("consent", json!(client.consent));
    say("profile", json!(client.profile));
    say("fhir_user", json!(client.fhir_user));
    say("access_ttl", json!(seconds(client.access_ttl)));
    say("refresh_ttl", json!(seconds(client.refresh_ttl)));
    say("access_token_alg", json!(client.access_token_alg));
    say("id_token_signed_response_alg", json!(client.id_token_alg));
    say("code_replay", json!(client.code_replay));
    say("end_with_session", json!(client.end_with_session));
    say("launch_trust", json!(client.launch_trust));
    say("dpop", json!(client.dpop));
    say("par", json!(client.par));
    say("helseid", json!(client.helseid));
    say("refresh_context", json!(client.refresh_context));
    members
}
