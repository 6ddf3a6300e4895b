//! The mock FHIR server over HTTP: an authorization server of a few lines beside it, and a clock that is moved.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod batch;
mod discovery;
mod dpop;
mod history;
mod levers;
mod metadata;
mod nav;
mod oracle;
mod overlays;
mod refusals;
mod running;
mod schema;
mod searches;
mod tokens;
mod validate;
mod world;
mod write;
