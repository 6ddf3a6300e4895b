//! Everything that is proved over the wire, in one binary.

mod config;
mod fhir;
mod foreign;
mod pages;
mod store_contract;
mod store_durability;
