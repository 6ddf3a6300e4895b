//! Telling clients that a session has ended. OIDC Back-Channel Logout.

use std::time::Duration;

/// How long one client may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The client for everything the mock sends: no proxy, no redirect, short.
///
/// # Errors
/// Where TLS cannot be set up.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy().build()
}
