//! Requests of registered clients, and what registers them. The rules are those of the developer's configuration, which is in the program.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use url::Url;

use super::text;
use crate::config::{self, Environment, Home, SecretFile, Text};
use crate::domain::authorization::{self, Arrival};
use crate::domain::client::{Client, Profile};
use crate::domain::issuer::IssuerRules;
use crate::protocol::ids::{Issuer, is_loopback};
use crate::protocol::params::Params;
use crate::random::SeededRandom;
use crate::secret::Secret;

/// References of a configuration lead nowhere here: what is fuzzed must not read our files.
struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, _: &str) -> Option<Secret<String>> {
        None
    }

    fn secret_file(&self, _: &Path) -> io::Result<SecretFile> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn resolve(&self, path: &str) -> PathBuf {
        path.into()
    }
}

fn read(text: &str) -> Result<config::Checked, config::Findings> {
    config::check(Text { file: "entry.toml", text, environment: &Nowhere }, &[])
}

static RULES: LazyLock<IssuerRules> = LazyLock::new(|| {
    let checked = read(include_str!("../../config/dev.toml")).expect("the developer's configuration holds, which a test sees to");
    let issuer = checked.config.issuers.into_iter().next();
    issuer.expect("a configuration has an issuer").rules
});

pub(super) fn authorize(bytes: &[u8]) {
    let Ok(params) = Params::parse(bytes) else { return };
    let Ok(id) = authorization::client_id(&params) else { return };
    let known = RULES.clients.get(&id);
    for client in known.map_or_else(|| RULES.clients.values().collect(), |one: &Arc<Client>| vec![one]) {
        for arrival in [Arrival::Browser, Arrival::Pushed] {
            if let Ok(taken) = authorization::check(&params, client, &RULES, arrival) {
                // RFC 9700 §2.1: where the answer goes is registered, byte for byte.
                let registered = client.redirect_uris.contains(&taken.redirect);
                assert!(registered, "a request was taken whose answer goes to {}", taken.redirect);
            }
        }
    }
}

pub(super) fn registration(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let issuer = Issuer::parse("https://auth.example").expect("an issuer");
    let home = Home { issuer: &issuer, profile: Profile::Smart };
    if let Ok(taken) = config::client_from_json(&value, home, &SeededRandom::new(1)) {
        // RFC 9700 §2.6: nothing in clear outside loopback.
        let clear = taken.client.redirect_uris.iter().find(|uri| Url::parse(uri.as_str()).is_ok_and(|url| url.scheme() == "http" && !is_loopback(&url)));
        assert!(clear.is_none(), "a client was registered with {clear:?}");
    }
}

pub(super) fn config(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        let _ = read(text);
    }
}
