//! Logout by the browser. §2.4, M13; OIDC RP-Initiated Logout.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, Method, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::Idp;
use super::authorize::{is_own_form, live_session, redirect};
use super::cookie::{self, Kind};
use super::id_token;
use super::journal::Notes;
use super::logout;
use super::pages::{self, LogoutPage, MessagePage};
use crate::jose::{Alg, Expect, Expiry, UnverifiedJwt, verify};
use crate::protocol::params::Params;
use crate::secret::same;
use crate::time::UnixTime;

/// What an `id_token_hint` says, whoever sent it: it is signed by us.
struct Hint {
    client_id: String,
    sid: String,
}

/// `GET` or `POST /connect/endsession`
pub async fn endpoint(State(idp): State<Arc<Idp>>, Extension(notes): Extension<Notes>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let asked = if method == Method::POST { Params::parse(&body) } else { Params::parse(uri.query().unwrap_or("").as_bytes()) };
    let Ok(asked) = asked else { return message(&idp, "Forespørselen er ikke gyldig", "Parametrene kan ikke leses.", StatusCode::BAD_REQUEST, "") };
    let now = idp.now();
    let session = live_session(&idp, &headers, now);
    let hint = asked.get("id_token_hint").and_then(|text| read_hint(&idp, text, now));
    let back = way_back(&idp, &asked, hint.as_ref());
    let confirmed = method == Method::POST && is_own_form(&idp, &headers) && is_confirmed(&idp, &asked, &headers);
    match (&session, &hint) {
        // The client whose session it is asks: no question. With another session, or no hint, the person is asked (§2).
        (Some((_, session)), hint) if confirmed || hint.as_ref().is_some_and(|hint| hint.sid == session.login.sid) => {
            logout::end(&idp, |login| login.sid == session.login.sid);
            notes.add("ended", session.login.sid.as_str());
        }
        (Some((_, session)), _) => return ask(&idp, &session.login.user, &asked, &headers, back.as_deref()),
        (None, Some(hint)) if logout::end(&idp, |login| login.sid == hint.sid) > 0 => notes.add("ended", hint.sid.as_str()),
        (None, Some(_) | None) => {}
    }
    let mut response = match &back {
        Some(uri) => redirect(uri, None),
        None => message(&idp, "Du er logget ut", "Lukk gjerne nettleseren.", StatusCode::OK, ""),
    };
    response.headers_mut().append(SET_COOKIE, cookie::clear(&idp.issuer, Kind::Session));
    response
}

fn message(idp: &Idp, heading: &str, text: &str, status: StatusCode, back: &str) -> Response {
    pages::html(status, &MessagePage { css: idp.url(pages::STYLE_SHEET), heading, text, detail: "", back }, None)
}

/// The signature and whose it is; an id_token may be long past its end. OIDC RP-Initiated Logout §2.
fn read_hint(idp: &Idp, text: &str, now: UnixTime) -> Option<Hint> {
    let expect = Expect { issuer: Some(idp.issuer.as_str()), typ: &[id_token::TYPE], algs: &[Alg::RS256], expiry: Expiry::Ignored, ..Expect::default() };
    let claims = verify::<Map<String, Value>>(&UnverifiedJwt::parse(text).ok()?, &idp.keys.set(), &expect, now).ok()?.into_claims();
    let claim = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Hint { client_id: claim("aud")?, sid: claim("sid")? })
}

/// The registered URI to go back to, with `state`: only for the client of the hint.
fn way_back(idp: &Idp, asked: &Params, hint: Option<&Hint>) -> Option<String> {
    let uri = asked.get("post_logout_redirect_uri")?;
    let seed = idp.seed();
    let client = seed.client(&hint?.client_id).filter(|client| client.takes_post_logout(uri))?;
    if asked.get("client_id").is_some_and(|named| named != client.id) {
        return None;
    }
    let joint = if uri.contains('?') { '&' } else { '?' };
    Some(asked.get("state").map_or_else(|| uri.to_owned(), |state| format!("{uri}{joint}state={}", utf8_percent_encode(state, NON_ALPHANUMERIC))))
}

/// The form of [`ask`] carries what only the session's own browser knows.
fn is_confirmed(idp: &Idp, asked: &Params, headers: &HeaderMap) -> bool {
    let known = cookie::read(headers, &idp.issuer, Kind::Session).map(|cookie| cookie.digest().text());
    matches!((known, asked.get("confirm")), (Some(known), Some(sent)) if same(known.as_bytes(), sent.as_bytes()))
}

fn ask(idp: &Idp, user: &str, asked: &Params, headers: &HeaderMap, back: Option<&str>) -> Response {
    let seed = idp.seed();
    let Some(session) = cookie::read(headers, &idp.issuer, Kind::Session) else { return StatusCode::BAD_REQUEST.into_response() };
    let carried = ["id_token_hint", "post_logout_redirect_uri", "state", "client_id"];
    let page = LogoutPage {
        css: idp.url(pages::STYLE_SHEET),
        name: &seed.user(user).map_or_else(String::new, |user| user.name.full()),
        action: idp.url("/connect/endsession"),
        confirm: &session.digest().text(),
        carried: carried.into_iter().filter_map(|name| asked.get(name).map(|value| (name, value))).collect(),
    };
    pages::html(StatusCode::OK, &page, back)
}
