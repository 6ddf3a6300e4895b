//! By which of its URLs an issuer was reached. Proofs and assertions may name that one in place of the public one; nothing that leaves us does.
//!
//! It belongs to the task that serves the request, as its trail does (`audit::trail`), and is known only where it is not the public one.

use super::Engine;
use crate::protocol::internal_url::InternalUrl;

tokio::task_local! {
    static BY: InternalUrl;
}

/// Serves a request that came by an internal URL.
pub async fn by<T>(url: InternalUrl, request: impl Future<Output = T>) -> T {
    BY.scope(url, request).await
}

impl Engine {
    /// The internal URL this request came by. Only ever one of this issuer's own.
    pub(super) fn reached_by(&self) -> Option<InternalUrl> {
        BY.try_with(Clone::clone).ok().filter(|url| self.rules.internal_urls.contains(url))
    }
}
