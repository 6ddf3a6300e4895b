//! Configuration: `RawConfig` (what the file says) becomes `Config` (what we know to be true).

mod types;

pub use types::{Config, Durability, Fetch, FhirConfig, Http, IssuerConfig, Keys, Lang, Lifetimes, LocalUser, LogFormat, LoginWay, Server, Store, TokenClaims};
