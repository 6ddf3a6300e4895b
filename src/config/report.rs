//! What `config check` and `config reference` print.

use std::fmt::Write as _;
use std::path::Path;

use super::problem::Findings;
use super::read::print_duration;
use super::types::{Config, Keys, RedisServers, Store};
use super::{Checked, Text, check, load};
use crate::domain::client::ConsentPolicy;
use crate::domain::issuer::LoginWay;

/// Every key with its default and unit, as a file that can be started from.
pub fn reference() -> &'static str {
    include_str!("../../config/reference.toml")
}

/// What `config check FILE` prints, and whether the file holds. The same code as at start.
pub fn check_report(path: &Path) -> (String, bool) {
    render(&path.display().to_string(), load(path, &[]))
}

/// The same for a text at hand.
pub fn check_report_of(text: Text<'_>) -> (String, bool) {
    render(text.file, check(text, &[]))
}

fn render(file: &str, checked: Result<Checked, Findings>) -> (String, bool) {
    match checked {
        Err(found) => (found.to_string(), false),
        Ok(Checked { config, warnings }) => {
            let warnings = Findings { problems: Vec::new(), warnings };
            (format!("{file} is good.\n{warnings}\n{}", summary(&config)), true)
        }
    }
}

/// What the configuration means, in a few lines. No secret is in it.
pub(super) fn summary(config: &Config) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_summary(&mut out, config);
    out
}

/// Where Redis is. There is no secret in it.
fn place(servers: &RedisServers) -> String {
    let listed = |nodes: &[(String, u16)]| nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(", ");
    match servers {
        RedisServers::Socket { path } => format!("at {}", path.display()),
        RedisServers::One { host, port, database } => format!("at {host}:{port}, database {database}"),
        RedisServers::Sentinel { sentinels, primary, .. } => format!("the primary {primary:?} of the Sentinels {}", listed(sentinels)),
        RedisServers::Cluster { members } => format!("the cluster of {}", listed(members)),
    }
}

fn write_summary(out: &mut String, config: &Config) -> std::fmt::Result {
    let tls = |files: &Option<_>| if files.is_some() { " (TLS)" } else { "" };
    let server = &config.server;
    writeln!(out, "Listens on {}{}; operations on {}{}.", server.listen, tls(&server.tls), server.ops_listen, tls(&server.ops_tls))?;
    match &config.store {
        Store::Embedded { path, .. } => writeln!(out, "Remembers in {}.", path.display())?,
        Store::Redis(redis) => writeln!(out, "Remembers in Redis, {}.", place(&redis.servers))?,
        Store::Memory => writeln!(out, "Remembers nothing once it stops.")?,
    }
    match &config.keys {
        Keys::Directory(path) => writeln!(out, "Keys are sealed under a file in {}.", path.display())?,
        Keys::Given(_) => writeln!(out, "Keys are sealed under the given key.")?,
    }
    for issuer in config.issuers.iter().map(|issuer| &issuer.rules) {
        writeln!(out, "\nIssuer {} ({})", issuer.issuer, issuer.name)?;
        let said = |way: &LoginWay| match way {
            LoginWay::Ehr => "the EPJ vouches",
            LoginWay::HelseId => "the upstream's login",
            LoginWay::Local => "a list of names",
        };
        let ways: Vec<_> = issuer.login.iter().map(said).collect();
        writeln!(out, "  login: {}", ways.join(", then "))?;
        for (index, base) in issuer.fhir.iter().enumerate() {
            let default = if index == 0 { " (default)" } else { "" };
            let servers: Vec<_> = base.resource_servers.iter().map(ToString::to_string).collect();
            let servers = if servers.is_empty() { "nobody by name".to_owned() } else { servers.join(", ") };
            writeln!(out, "  FHIR {}{default}; introspected by {servers}", base.base)?;
        }
        if let Some(upstream) = &issuer.upstream {
            let apis = upstream.resources.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            writeln!(out, "  upstream {} as {}, signing with {}; tokens for {apis}", upstream.issuer, upstream.client_id, upstream.client_key.alg())?;
        }
        let mut clients: Vec<_> = issuer.clients.values().collect();
        clients.sort_unstable_by_key(|client| &client.id);
        for client in clients {
            let redirects = client.redirect_uris.len();
            let disabled = if client.disabled { ", disabled" } else { "" };
            let consent = match (redirects, client.consent) {
                (0, _) => "",
                (_, ConsentPolicy::PreApproved) => ", pre-approved",
                (_, ConsentPolicy::Once) => ", asks once",
                (_, ConsentPolicy::Always) => ", asks each time",
            };
            let plural = if redirects == 1 { "" } else { "s" };
            writeln!(
                out,
                "  client {}: {}, {redirects} redirect URI{plural}{consent}, access tokens for {}{disabled}",
                client.id,
                client.auth.as_str(),
                print_duration(client.access_ttl)
            )?;
        }
    }
    Ok(())
}
