//! One bounded POST to an address a client registered: its answer is a status and nothing else.

use std::sync::Arc;

use reqwest::Client;

use super::address::Allowed;
use super::get::{reason, resolved_by};
use super::{FetchError, FetchLimits};
use crate::secret::Secret;

/// Sends forms to registered addresses, under the limits of everything that is fetched from them. Cheap to clone.
#[derive(Clone)]
pub struct Poster {
    client: Client,
    allowed: Allowed,
    limits: FetchLimits,
}

impl Poster {
    pub fn new(limits: FetchLimits) -> Self {
        let allowed = Allowed::by(&limits);
        Self { client: resolved_by(Arc::new(allowed)), allowed, limits }
    }

    /// The status of the answer, whatever it is; its body is not read.
    ///
    /// # Errors
    /// An address that may not be asked, or no answer in time.
    pub async fn post_form(&self, url: &str, form: &[(&str, &Secret<String>)]) -> Result<u16, FetchError> {
        let url = self.allowed.url(url)?;
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.expose().as_str())).collect();
        let sent = self.client.post(url).form(&form).send();
        match tokio::time::timeout(self.limits.timeout, sent).await {
            Ok(answer) => answer.map(|answer| answer.status().as_u16()).map_err(|error| reason(&error)),
            Err(_) => Err(FetchError::Timeout),
        }
    }
}
