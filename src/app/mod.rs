//! The composition root: configuration in, running servers out. The only folder that knows everyone; nobody knows it but `cli`.

pub mod admin;
pub mod demo;
mod demo_clients;
mod demo_helseid;
mod demo_hospital;
pub mod fhir_config;
pub mod fhir_server;
pub mod helseid_config;
mod helseid_seed;
pub mod helseid_server;
pub mod moving;
pub mod open;
pub mod reload;
pub mod seal_key;
pub mod server;
mod sweeping;
