//! The rules: plain functions of (state, request, now). No async, no traits, no I/O.

pub mod authorization;
pub mod backchannel;
pub mod client;
pub mod client_auth;
pub mod consent;
pub mod dpop;
pub mod exchange;
pub mod grant;
pub mod guess;
pub mod interaction;
pub mod issuer;
pub mod keys;
pub mod launch;
pub mod person;
pub mod session;
pub mod trusted;
pub mod upstream;
pub mod upstream_attempt;
pub mod upstream_session;
