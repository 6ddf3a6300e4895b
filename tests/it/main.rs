//! Everything that is proved over the wire, in one binary.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that meets the unexpected fails")]

mod cli;
mod architecture;
mod config;
mod docs;
mod fhir;
mod launch;
mod fhir_config;
mod ops;
mod pages;
mod store_contract;
mod store_durability;
mod world;
