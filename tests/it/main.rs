//! Everything that is proved over the wire, in one binary.

mod cli;
mod config;
mod fhir;
mod fhir_config;
mod ops;
mod pages;
mod store_contract;
mod store_durability;
