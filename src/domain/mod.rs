//! The rules: plain functions of (state, request, now). No async, no traits, no I/O.

pub mod client;
pub mod keys;
