//! One request of an app's to an API of the provider's world, with our token and proof. `reference/helseid.md` §6.4, `gateway`; §2.11.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use super::Upstream;
use super::error::{Down, UpstreamError};
use super::signed::{ProofFor, proof};
use crate::fetch::outgoing::{self, BodyError};
use crate::jose::SigningKey;
use crate::secret::Secret;
use crate::trace;

/// The longest answer that is passed back.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// What goes there of an app's headers, besides what begins with `nhn-`. Nothing that says who somebody is.
const THERE: &[HeaderName] = &[ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH];

/// What comes back of the API's.
const BACK: &[HeaderName] = &[CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION, CACHE_CONTROL];

/// What to pass on.
pub struct Forward<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    pub access_token: &'a Secret<String>,
    /// What the token is bound to.
    pub key: &'a SigningKey,
    /// A header we add, and its value.
    pub added: Option<(&'a str, &'a Secret<String>)>,
    /// A header that is ours to add, and never the app's.
    pub withheld: Option<&'a str>,
}

/// What came back.
#[derive(Debug)]
pub struct Forwarded {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Upstream {
    /// Passes a request on. Asked for a nonce, it is sent once more with it: what is answered so was not done (RFC 9449 §9).
    ///
    /// # Errors
    /// [`UpstreamError::Down`] where the API does not answer, refuses our token, or sends us elsewhere.
    pub async fn forward(&self, forward: Forward<'_>) -> Result<Forwarded, UpstreamError> {
        let _turn = self.turn().await?;
        let mut bare = forward.url.clone();
        bare.set_query(None);
        let place = bare.to_string();
        let mut asked = false;
        loop {
            let nonce = self.inner.nonces.latest(&place);
            let request = self.passed_on(&forward, &place, nonce.as_deref())?;
            let limit = self.inner.rules.patience.attempt;
            let response = tokio::time::timeout(limit, trace::call("gateway.forward", async { request.headers(trace::onward()).send().await }))
                .await
                .map_err(|_| UpstreamError::Down(Down::Timeout))?;
            let response = response.map_err(|error| UpstreamError::Down(outgoing::failure(&error).into()))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let fresh = self.inner.nonces.keep(&place, &headers);
            if status == StatusCode::UNAUTHORIZED {
                let wants_nonce =
                    headers.get_all(http::header::WWW_AUTHENTICATE).iter().any(|value| value.as_bytes().windows(14).any(|part| part == b"use_dpop_nonce"));
                if wants_nonce && fresh && !asked {
                    asked = true;
                    continue;
                }
                // The app has nothing to do with our token, and can do nothing about it.
                tracing::error!(url = %place, "an API behind the gateway refuses our token");
                return Err(UpstreamError::Down(Down::Status(status.as_u16())));
            }
            if status.is_redirection() {
                return Err(UpstreamError::Down(Down::Redirect));
            }
            let body = tokio::time::timeout(limit, outgoing::read_body(response, LONGEST_ANSWER)).await.map_err(|_| UpstreamError::Down(Down::Timeout))?;
            let body = body.map_err(|error| match error {
                BodyError::TooLarge => UpstreamError::Down(Down::TooLarge),
                BodyError::Http(error) => UpstreamError::Down(outgoing::failure(&error).into()),
            })?;
            let headers = BACK.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect();
            return Ok(Forwarded { status, headers, body: body.into() });
        }
    }

    fn passed_on(&self, forward: &Forward<'_>, place: &str, nonce: Option<&str>) -> Result<reqwest::RequestBuilder, UpstreamError> {
        let inner = &*self.inner;
        let signing = |error| {
            tracing::error!(%error, "nothing can be signed for an API behind the gateway");
            UpstreamError::Signing
        };
        let what = ProofFor { method: forward.method.as_str(), url: place, nonce, access_token: Some(forward.access_token) };
        let proof = proof(forward.key, &what, self.now(), &*inner.random).map_err(signing)?;
        let mut headers = HeaderMap::new();
        for (name, value) in forward.headers {
            // T10: whom it is about is ours to say, whether this row says it or not.
            let ours = name.as_str().starts_with("nhn-patient") || forward.withheld.is_some_and(|withheld| name.as_str() == withheld);
            if !ours && (THERE.contains(name) || name.as_str().starts_with("nhn-")) {
                headers.append(name.clone(), value.clone());
            }
        }
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| UpstreamError::Signing)?;
            value.set_sensitive(true);
            Ok::<_, UpstreamError>(value)
        };
        headers.insert(AUTHORIZATION, secret(&format!("DPoP {}", forward.access_token.expose()))?);
        headers.insert("dpop", secret(&proof)?);
        if let Some((name, value)) = forward.added
            && let Ok(name) = HeaderName::try_from(name)
        {
            headers.insert(name, secret(value.expose())?);
        }
        Ok(inner.http.request(forward.method.clone(), forward.url.clone()).headers(headers).body(forward.body.clone()))
    }
}
