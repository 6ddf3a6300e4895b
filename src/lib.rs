//! Helsebro: a SMART on FHIR EHR-launch authorization server, with the mocks to test it against.
//!
//! Data flows down this list and never back up; `tests/it/architecture.rs` holds the table of what may name what.
//!
//! ```text
//!   cli ─► app ─► http ─► engine ─► domain ─► jose ─► protocol
//!           │               ├─────► store ──► domain
//!           │               ├─────► fhir_client ─► fetch   (how we read the EHR's FHIR server)
//!           │               ├─────► fetch ─► jose          (documents of clients: their keys)
//!           │               ├─────► upstream ─► fetch      (the identity provider behind us, as its client)
//!           │               └─────► audit ─► fetch, domain (what was decided, in a chain of hashes)
//!           ├────► config ─► domain                        (what a file says, as domain types)
//!           └────► fhir, helseid, demo    peers on the other side of the wire; they share words, never rules
//!
//!   entry   every parser that reads from the network, by name: what fuzz targets run
//!   secret · time · random · listen · trace · metrics    the leaves, open to all
//! ```

pub mod listen;
pub mod metrics;
pub mod random;
pub mod secret;
pub mod time;
pub mod trace;

pub mod audit;
pub mod config;
pub mod domain;
pub mod engine;
pub mod fetch;
pub mod fhir_client;
pub mod http;
pub mod jose;
pub mod protocol;
pub mod store;
pub mod upstream;

pub mod demo;
pub mod fhir;
pub mod helseid;

pub mod app;
pub mod cli;
pub mod entry;
