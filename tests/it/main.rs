//! Everything that is proved over the wire, in one binary.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that meets the unexpected fails")]

mod architecture;
mod cli;
mod authorize;
mod config;
mod docs;
mod fhir;
mod fhir_config;
mod client_auth;
mod config;
mod cors;
mod crash;
mod discovery;
mod fhir;
mod introspection;
mod launch;
mod ops;
mod login;
mod pages;
mod races;
mod refresh;
mod store_contract;
mod store_durability;
mod token;
mod world;
