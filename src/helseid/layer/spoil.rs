//! What transport faults do to an answer, or put in its place.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};

use super::super::faults::{Fault, Met, Transport};

const HTML: &str = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";

/// JSON white space, by the piece.
static BLANK: [u8; 64 * 1024] = [b' '; 64 * 1024];

/// The answer where nothing is to be done. The first such fault has its way.
pub(super) fn instead(met: &Met) -> Option<Response> {
    met.all().iter().find_map(|fault| match fault {
        Fault::Transport(Transport::Respond(respond)) => {
            let mut response = respond.body.clone().into_response();
            response.headers_mut().remove(CONTENT_TYPE);
            *response.status_mut() = StatusCode::from_u16(respond.status).ok()?;
            for (name, value) in &respond.headers {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
                    response.headers_mut().append(name, value);
                }
            }
            Some(response)
        }
        Fault::Transport(Transport::HtmlError) => Some((StatusCode::BAD_GATEWAY, [(CONTENT_TYPE, "text/html; charset=utf-8")], HTML).into_response()),
        Fault::Transport(Transport::Redirect302(to)) => {
            let to = HeaderValue::try_from(to.as_str()).ok()?;
            Some((StatusCode::FOUND, [(LOCATION, to)]).into_response())
        }
        Fault::Transport(Transport::DropBefore) => Some(StatusCode::OK.into_response()),
        _ => None,
    })
}

/// The answer as the faults leave it.
pub(super) async fn spoil(mut response: Response, met: &Met) -> Response {
    for fault in met.all() {
        let Fault::Transport(fault) = fault else { continue };
        response = match fault {
            Transport::DropBefore | Transport::DropAfter => broken(response),
            Transport::Truncate => truncated(response).await,
            Transport::WrongContentType => {
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
                response
            }
            Transport::HugeBody(bytes) => huge(response, *bytes),
            Transport::Drip(ms) => dripping(response, Duration::from_millis(*ms)).await,
            Transport::Respond(_) | Transport::DelayMs(_) | Transport::HtmlError | Transport::Redirect302(_) => response,
        };
    }
    response
}

fn cut() -> io::Error {
    io::Error::other("a fault was asked for")
}

/// A body that fails at its first byte ends the connection before anything was sent.
fn broken(response: Response) -> Response {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::from_stream(stream::once(async { Err::<Bytes, _>(cut()) })))
}

/// The whole length is promised, half of it comes.
async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let half = bytes.slice(..bytes.len() / 2);
    let rest = stream::once(async {
        // Once round the loop, so that the first half is on its way.
        tokio::task::yield_now().await;
        Err(cut())
    });
    Response::from_parts(parts, Body::from_stream(stream::once(async { Ok::<_, io::Error>(half) }).chain(rest)))
}

fn huge(response: Response, bytes: u64) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let piece = BLANK.len() as u64;
    let whole = stream::iter(0..bytes / piece).map(|_| Ok::<_, axum::Error>(Bytes::from_static(&BLANK)));
    let rest = usize::try_from(bytes % piece).unwrap_or_default();
    let rest = stream::once(async move { Ok(Bytes::from(vec![b' '; rest])) });
    Response::from_parts(parts, Body::from_stream(whole.chain(rest).chain(body.into_data_stream())))
}

async fn dripping(response: Response, pause: Duration) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let drops = stream::unfold(bytes, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some((Ok::<_, io::Error>(left.split_to(1)), left))
    });
    Response::from_parts(parts, Body::from_stream(drops))
}
