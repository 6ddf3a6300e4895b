//! What this folder reads from the network, as functions of bytes: for `crate::entry`.

use http::header::{CACHE_CONTROL, EXPIRES, HeaderMap, HeaderValue};

use super::freshness::fresh_for;
use super::peer::endpoints;
use crate::protocol::ids::Issuer;

pub fn freshness(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    for name in [CACHE_CONTROL, EXPIRES] {
        let _ = fresh_for(&HeaderMap::from_iter([(name, value.clone())]));
    }
}

pub fn metadata(bytes: &[u8]) {
    let issuer = Issuer::parse("https://auth.example/epj").expect("an issuer");
    if let Ok(found) = endpoints(bytes, &issuer) {
        let home = |url: &str| url.starts_with("https://auth.example/");
        assert!(home(&found.jwks) && home(found.introspection.as_str()), "metadata sent us elsewhere");
    }
}
