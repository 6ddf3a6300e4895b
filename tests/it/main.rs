//! Everything that is proved over the wire, in one binary.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that meets the unexpected fails")]

mod authorize;
mod config;
mod fhir;
mod launch;
mod login;
mod pages;
mod store_contract;
mod store_durability;
mod world;
