//! What follows a failure: it is counted, and past the limit it is answered with 429. DESIGN §3, Guessing; RFC 6585 §4.
//!
//! Handlers look at credentials first and say with [`mark`] that what they refuse may have been a guess. So a right credential is served
//! whatever came before it, and nothing of this costs those who have one.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::App;
use super::page::{Asked, RequestId, Trouble, trouble};
use super::peer;
use crate::engine::Engine;
use crate::listen::Network;
use crate::protocol::ids::ClientId;

/// On an answer: what is refused with it may have been a guess, in the name of this client where one was named.
#[derive(Clone, Debug)]
pub struct Guessed(Option<ClientId>);

/// Says of an answer that it refuses what may have been a guess.
pub fn mark(mut response: Response, named: Option<ClientId>) -> Response {
    response.extensions_mut().insert(Guessed(named));
    response
}

/// What comes of a request to an issuer, once its failures are counted.
pub async fn counted<S: Future<Output = Response>>(app: &App, id: &RequestId, request: Request, serve: impl FnOnce(Request) -> S) -> Response {
    let from = peer::network(request.extensions());
    let lang = request.headers().get(header::ACCEPT_LANGUAGE).cloned();
    let response = serve(request).await;
    let Some(guessed) = guessed(&response) else { return response };
    // Boxed: hardly any request comes here, and every one would keep room for it.
    match Box::pin(over(&app.engine, guessed, from)).await {
        None => response,
        // The app is not told by way of the browser: who guesses there is the browser's user.
        Some(wait) if response.status().is_redirection() => {
            let headers: HeaderMap = lang.map(|lang| (header::ACCEPT_LANGUAGE, lang)).into_iter().collect();
            let asked = Asked::new(app, &headers, id, None);
            refuse(trouble(app, &asked, StatusCode::TOO_MANY_REQUESTS, Trouble::TooMany, "too many failures from there".to_owned()), wait)
        }
        Some(wait) => refuse(response, wait),
    }
}

/// What an answer says about itself.
pub fn guessed(response: &Response) -> Option<Guessed> {
    response.extensions().get().cloned()
}

/// Counts a failure; how long to wait where there were too many.
pub async fn over(engine: &Engine, Guessed(named): Guessed, from: Network) -> Option<Duration> {
    engine.failed(named.as_ref(), from).await
}

/// The same answer, its `error` included, as a 429. No registered error code says it (RFC 6749 §5.2), and one that did would tell
/// clients less about what to mend.
pub fn refuse(mut response: Response, wait: Duration) -> Response {
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    response
}
