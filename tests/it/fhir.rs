//! The mock FHIR server over HTTP: an authorization server of a few lines beside it, and a clock that is moved.

mod discovery;
mod refusals;
mod searches;
mod tokens;
mod world;
