//! Everything that is proved over the wire, in one binary.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that meets the unexpected fails")]

mod client_auth;
mod config;
mod cors;
mod crash;
mod discovery;
mod fhir;
mod introspection;
mod launch;
mod logs;
mod operated;
mod pages;
mod races;
mod refresh;
mod routes;
mod store_contract;
mod store_durability;
mod token;
mod world;
