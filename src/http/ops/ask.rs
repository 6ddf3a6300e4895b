//! What an administration request says: its query, its body, and the client in its path. Nothing unknown passes in silence.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Uri;
use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::engine::Engine;
use crate::engine::search::EndedMany;
use crate::http::request;
use crate::protocol::ids::ClientId;
use crate::protocol::params::Params;

/// The largest body, in bytes: a registration with its key set is a few thousand.
const LARGEST_BODY: usize = 64 * 1024;

/// The parameters of the query, of which only `known` are taken.
pub fn query(uri: &Uri, known: &[&str]) -> Result<Params, Refusal> {
    let params = Params::parse(uri.query().unwrap_or_default().as_bytes()).map_err(|why| Refusal::invalid(why.to_string()))?;
    if let Some(name) = params.repeated() {
        return Err(Refusal::invalid(format!("the parameter {name:?} came more than once")));
    }
    // Of OAuth's requests what is empty is absent. Here it is a variable somebody forgot to set, and then the answer would be about everybody.
    if let Some((name, _)) =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).find(|(name, value)| value.is_empty() && known.contains(&name.as_ref()))
    {
        return Err(Refusal::invalid(format!("the parameter {name:?} is empty; leave it out, or say which")));
    }
    if let Some((name, _)) = params.pairs().find(|(name, _)| !known.contains(name)) {
        return Err(Refusal::invalid(format!("the parameter {name:?} is not known here; there is: {}", known.join(", "))));
    }
    Ok(params)
}

/// `true` or `false`; absent is `false`.
pub fn flag(params: &Params, name: &str) -> Result<bool, Refusal> {
    match params.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refusal::invalid(format!("{name} must be true or false"))),
    }
}

/// A body that is JSON.
pub async fn json(request: Request<Body>) -> Result<Value, Refusal> {
    let is_json = request::media_type(request.headers()).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(Refusal::unsupported_media_type());
    }
    let (parts, body) = request.into_parts();
    let bytes = request::body(&parts.headers, body, LARGEST_BODY).await?;
    // The text of a JSON error may quote what it did not expect, and that may be a secret; its place is enough.
    serde_json::from_slice(&bytes).map_err(|error| Refusal::invalid(format!("the body is not JSON: line {}, column {}", error.line(), error.column())))
}

/// A body that is a JSON object of which only `known` members are taken; nothing at all is an object without members.
pub async fn members(request: Request<Body>, known: &[&str]) -> Result<Map<String, Value>, Refusal> {
    let (parts, body) = request.into_parts();
    let bytes = request::body(&parts.headers, body, LARGEST_BODY).await?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    let Value::Object(members) = json(Request::from_parts(parts, bytes.into())).await? else { return Err(Refusal::invalid("the body must be a JSON object")) };
    if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
        let there_is = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Refusal::invalid(format!("the member {name:?} is not known here; there is: {there_is}")));
    }
    Ok(members)
}

/// A member that is a text.
pub fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::invalid(format!("{name} must be a text"))),
    }
}

/// A criterion of what is to be ended. `null` is a variable somebody forgot to set: left out in silence it would end more than was meant.
pub fn criterion<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match members.get(name) {
        Some(Value::Null) => Err(Refusal::invalid(format!("{name} is null; leave it out, or say which"))),
        _ => text(members, name),
    }
}

/// What both the query and the body may say; where both do, they must agree.
pub fn either<'a>(query: Option<&'a str>, body: Option<&'a str>, name: &str) -> Result<Option<&'a str>, Refusal> {
    match (query, body) {
        (Some(one), Some(other)) if one != other => Err(Refusal::invalid(format!("{name} is one in the query and another in the body"))),
        (query, body) => Ok(query.or(body)),
    }
}

/// The client a path names, percent-decoded already.
pub fn client_id(text: &str) -> Result<ClientId, Refusal> {
    ClientId::parse(text).map_err(|_| Refusal::not_found("no client has this id"))
}

/// Rows of a list of sessions or grants where the query does not say how many, and at most.
pub const ROWS: usize = 50;
pub const MOST_ROWS: usize = 200;

/// `limit`: from 1 to `most`.
pub fn limit(params: &Params, otherwise: usize, most: usize) -> Result<usize, Refusal> {
    let Some(text) = params.get("limit") else { return Ok(otherwise) };
    let limit = digits(text).and_then(|limit| usize::try_from(limit).ok()).filter(|limit| (1..=most).contains(limit));
    limit.ok_or_else(|| Refusal::invalid(format!("limit must be a number from 1 to {most}")))
}

/// A number written in digits alone.
pub fn digits(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `state`: `live` are those that something may come of, `all` those too that are over.
pub fn over(params: &Params) -> Result<bool, Refusal> {
    match params.get("state") {
        None | Some("live") => Ok(false),
        Some("all") => Ok(true),
        Some(_) => Err(Refusal::invalid("state must be live or all")),
    }
}

/// A value as one of our types. What does not parse is not repeated: it may be somebody's number in the wrong place.
pub fn parsed<T, E>(said: Option<Cow<'_, str>>, name: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, Refusal> {
    said.map(|text| parse(&text).map_err(|_| Refusal::invalid(format!("{name} cannot be read: look at its form in the documentation")))).transpose()
}

/// A part of a list, with the cursor to go on with where there may be more.
pub fn page(engine: &Engine, name: &str, rows: Vec<Value>, next: Option<String>) -> Value {
    let mut page = Map::from_iter([("issuer".to_owned(), Value::from(engine.rules.issuer.as_str())), (name.to_owned(), rows.into())]);
    page.extend(next.map(|next| ("next".to_owned(), next.into())));
    Value::Object(page)
}

/// How many were ended, with the cursor to go on with where there may be more.
pub fn counted(engine: &Engine, ended: &EndedMany) -> Value {
    let mut counted = Map::from_iter([("issuer".to_owned(), Value::from(engine.rules.issuer.as_str())), ("revoked".to_owned(), ended.count.into())]);
    counted.extend(ended.next.clone().map(|next| ("next".to_owned(), next.into())));
    Value::Object(counted)
}
