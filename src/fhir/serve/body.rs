//! What comes with a request, read within limits of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};

use super::Pairs;
use crate::fhir::refusal::Refusal;
use crate::fhir::write::Payload;

/// The largest body that is read, in bytes. DESIGN, "FHIR mock".
const MAX_BODY: usize = 16 * 1024 * 1024;
/// How long a body may take to come.
pub const TIME: Duration = Duration::from_secs(60);
/// The largest body that is taken and thrown away, in bytes, and how long it may take.
const MAX_UNREAD: usize = 64 * 1024;
const UNREAD_TIME: Duration = Duration::from_secs(2);

/// The whole body.
///
/// # Errors
/// [`Refusal::TooLarge`] past [`MAX_BODY`], [`Refusal::Slow`] where it takes longer than `within`, [`Refusal::Body`] where it breaks off, [`Refusal::MediaType`] where it is packed: nothing is
/// unpacked here (RFC 9110 §8.4).
pub async fn read(parts: &Parts, body: Body, within: Duration) -> Result<Bytes, Refusal> {
    if parts.headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::MediaType);
    }
    if told(parts).is_some_and(|length| length > MAX_BODY) {
        return Err(Refusal::TooLarge);
    }
    let limited = Limited::new(body, MAX_BODY);
    match tokio::time::timeout(within, limited.collect()).await.map_err(|_| Refusal::Slow)? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(why) if why.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLarge),
        Err(_) => Err(Refusal::Body),
    }
}

/// Takes a body nobody asked for before the request is refused: a connection with an unread body has to be closed, and the client's next
/// request on it would be lost. What waits for `100 Continue` is not sent yet, and what is large is not worth it.
pub async fn discard(parts: &Parts, body: Body) {
    if !parts.headers.contains_key(EXPECT) && told(parts).is_none_or(|length| length <= MAX_UNREAD) {
        drop(tokio::time::timeout(UNREAD_TIME, Limited::new(body, MAX_UNREAD).collect()).await);
    }
}

/// `Content-Length`
fn told(parts: &Parts) -> Option<usize> {
    parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok())
}

/// The parameters of the query and of the body together: both count.
///
/// # Errors
/// [`Refusal::MediaType`], [`Refusal::Body`] or [`Refusal::TwoTokens`].
pub fn read_form(parts: &Parts, payload: Payload, mut query: Pairs) -> Result<Pairs, Refusal> {
    let Payload::Bytes(bytes) = payload else { return Err(Refusal::MediaType) };
    let kind = parts.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let is_form = kind.is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")));
    if !is_form && !bytes.is_empty() {
        return Err(Refusal::MediaType);
    }
    let form = std::str::from_utf8(&bytes).map_err(|_| Refusal::Body)?;
    query.extend(form_urlencoded::parse(form.as_bytes()).into_owned());
    // The header already carried one. RFC 6750 §2.
    if query.iter().any(|(name, _)| name == "access_token") { Err(Refusal::TwoTokens) } else { Ok(query) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let (parts, ()) = http::Request::new(()).into_parts();
        let never = || Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(&parts, never(), Duration::from_millis(1)).await, Err(Refusal::Slow));
        assert_eq!(read(&parts, Body::from("x"), TIME).await.unwrap(), "x");
    }
}
