//! Everything that is proved over the wire, in one binary.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that meets the unexpected fails")]

mod account;
mod authorize;
mod config;
mod consent;
mod fhir;
mod launch;
mod launch_api;
mod launch_context;
mod login;
mod pages;
mod people;
mod picker;
mod store_contract;
mod store_durability;
mod world;
