//! What every HTTP client of ours has in common: one crypto provider, no proxy from the environment, no redirects, bounded bodies.

use std::error::Error as _;
use std::io;
use std::sync::Once;

use reqwest::{Client, ClientBuilder, Response};

static PROVIDER: Once = Once::new();

/// Builds a client from what `with` adds to the common settings. Trust comes from the system's certificate files; where there are
/// none the client trusts nobody, so that `https` fails and plain `http` to loopback still works.
pub(crate) fn client(with: impl Fn(ClientBuilder) -> ClientBuilder) -> Client {
    // Another part of the program may have installed it already, and it is the same one.
    PROVIDER.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
    let common = || {
        let builder = Client::builder().user_agent(concat!("helsebro/", env!("CARGO_PKG_VERSION")));
        with(builder.redirect(reqwest::redirect::Policy::none()).no_proxy().referer(false))
    };
    common().build().unwrap_or_else(|error| {
        tracing::warn!(%error, "no trusted certificates: https requests will fail");
        common().tls_certs_only([]).build().expect("a client that trusts nobody needs nothing from the system")
    })
}

/// Why an exchange failed below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Timeout,
    Tls,
    Unreachable,
    Broken,
}

/// Sorts what reqwest says. Its text names the URL, so it goes nowhere.
pub(crate) fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        Failure::Timeout
    } else if in_chain(error, |cause| cause.is::<rustls::Error>()) {
        Failure::Tls
    } else if error.is_connect() {
        Failure::Unreachable
    } else {
        Failure::Broken
    }
}

/// Whether any cause of `error` is the one looked for. An `io::Error` keeps what it wraps beside the chain, so that is looked into.
pub(crate) fn in_chain(error: &reqwest::Error, wanted: impl Fn(&(dyn std::error::Error + 'static)) -> bool) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if wanted(cause) {
            return true;
        }
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    false
}

/// Why a body could not be read.
#[derive(Debug)]
pub(crate) enum BodyError {
    TooLarge,
    Http(reqwest::Error),
}

/// Reads a body chunk by chunk and stops where it grows past `max_bytes`, whatever `Content-Length` said.
pub(crate) async fn read_body(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > max_bytes as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Http)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_client_without_trust_can_be_built() {
        // What `client` falls back to on a machine without certificate files.
        super::client(|builder| builder.tls_certs_only([]));
    }
}
