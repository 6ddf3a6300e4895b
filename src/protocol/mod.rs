//! The words on the wire: parse and print. No I/O, no clock, no policy.

pub mod claims;
pub mod claims_request;
pub mod client_auth;
pub mod dpop;
pub mod error;
pub mod exchange;
pub mod forwarded;
pub mod ids;
pub mod internal_url;
pub mod json;
pub mod lang;
pub mod launch;
pub mod launch_request;
pub mod params;
pub mod pkce;
pub mod r4;
pub mod scope;
pub mod token;
