//! Everything that is proved over the wire, in one binary.

mod architecture;
mod config;
mod fhir;
mod pages;
mod store_contract;
mod store_durability;
