//! One bounded GET.

use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT;
use reqwest::Client;
use reqwest::dns::Resolve;
use url::Url;

use super::address::{Allowed, Refused};
use super::freshness::fresh_for;
use super::outgoing::{self, BodyError, Failure};
use super::{FetchError, FetchLimits};

/// A document and how long it may be used again.
pub(super) struct Document {
    pub(super) body: Vec<u8>,
    pub(super) fresh_for: Duration,
}

pub(super) struct Getter {
    client: Client,
    allowed: Allowed,
    limits: FetchLimits,
}

/// A client for addresses that were registered. No connection is kept: the next fetch of the same address is minutes away and resolves the name anew.
pub(super) fn resolved_by<R: Resolve + 'static>(resolver: Arc<R>) -> Client {
    outgoing::client(|builder| builder.dns_resolver(Arc::clone(&resolver)).pool_max_idle_per_host(0))
}

impl Getter {
    pub(super) fn new(limits: FetchLimits) -> Self {
        let allowed = Allowed::by(&limits);
        Self::resolving(limits, Arc::new(allowed))
    }

    /// By another resolver.
    pub(super) fn resolving<R: Resolve + 'static>(limits: FetchLimits, resolver: Arc<R>) -> Self {
        Self { client: resolved_by(resolver), allowed: Allowed::by(&limits), limits }
    }

    /// The URL, if it may be asked.
    pub(super) fn check(&self, url: &str) -> Result<Url, FetchError> {
        self.allowed.url(url)
    }

    pub(super) async fn get(&self, url: Url) -> Result<Document, FetchError> {
        tokio::time::timeout(self.limits.timeout, self.unhurried(url)).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn unhurried(&self, url: Url) -> Result<Document, FetchError> {
        // SAL-109.
        let response = self.client.get(url).header(ACCEPT, "application/json").send().await.map_err(|error| reason(&error))?;
        match response.status().as_u16() {
            200 => {}
            300..=399 => return Err(FetchError::Redirect),
            other => return Err(FetchError::Status(other)),
        }
        let fresh_for = fresh_for(response.headers()).min(self.limits.kept_at_most);
        let body = outgoing::read_body(response, self.limits.max_bytes).await.map_err(|error| match error {
            BodyError::TooLarge => FetchError::TooLarge,
            BodyError::Http(error) => reason(&error),
        })?;
        Ok(Document { body, fresh_for })
    }
}

/// Why an exchange failed below HTTP.
pub(super) fn reason(error: &reqwest::Error) -> FetchError {
    if outgoing::in_chain(error, |cause| cause.is::<Refused>()) {
        return FetchError::Address;
    }
    match outgoing::failure(error) {
        Failure::Timeout => FetchError::Timeout,
        Failure::Tls => FetchError::Tls,
        Failure::Unreachable => FetchError::Unreachable,
        Failure::Broken => FetchError::Broken,
    }
}
