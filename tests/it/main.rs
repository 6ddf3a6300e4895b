//! Everything that is proved over the wire, in one binary.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that meets the unexpected fails")]

mod account;
mod architecture;
mod authorize;
mod cli;
mod client_auth;
mod config;
mod consent;
mod cors;
mod crash;
mod discovery;
mod docs;
mod fhir;
mod fhir_config;
mod foreign;
mod introspection;
mod launch;
mod launch_api;
mod launch_context;
mod login;
mod logs;
mod operated;
mod ops;
mod pages;
mod people;
mod picker;
mod races;
mod refresh;
mod routes;
mod store_contract;
mod store_durability;
mod token;
mod upstream;
mod world;
