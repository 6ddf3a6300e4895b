//! Everything that is proved over the wire, in one binary.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that meets the unexpected fails")]

mod architecture;
mod account;
mod authorize;
mod cli;
mod client_auth;
mod config;
mod cors;
mod crash;
mod discovery;
mod docs;
mod consent;
mod fhir;
mod fhir_config;
mod introspection;
mod foreign;
mod launch;
mod launch_api;
mod launch_context;
mod login;
mod ops;
mod pages;
mod races;
mod refresh;
mod people;
mod picker;
mod operated;
mod pages;
mod races;
mod refresh;
mod routes;
mod store_contract;
mod store_durability;
mod token;
mod world;
