//! Configuration: `RawConfig` (what the file says) becomes [`Config`] (what we know to be true), or a list of everything that is wrong with it.

mod audit;
mod auth;
mod check;
mod client;
mod diff;
mod exchange;
mod explain;
mod explain_client;
mod helseid;
mod issuer;
mod listening;
mod node;
mod presets;
mod problem;
mod raw;
mod read;
mod redis;
mod report;
mod restart;
mod secrets;
mod tracing;
mod trusted;
mod types;
mod upstream;
mod values;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub use client::{Home, Registration, client_from_json};
pub use diff::{Loaded, Written, diff_report, differences, load_written};
pub use explain::{ExchangeQuestion, explain_exchange};
pub use explain_client::explain_client;
pub use presets::{NAMES as PRESETS, text as preset_text};
pub use problem::{Findings, Place, Problem};
pub use raw::TABLES;
pub use report::{check_report, check_report_of, reference};
pub use restart::needed as needs_restart;
pub use secrets::{Environment, SecretFile, SystemEnvironment, estimated_bits};
pub use types::{
    Audit, AuditForward, Config, Durability, Fetch, Http, IssuerConfig, KeySchedule, Keys, LogFormat, OnFailure, Redis, RedisServers, Server, Store, Tracing,
};

use crate::domain::client::HelseIdNeed;
pub use crate::domain::exchange::Direction;
use crate::protocol::ids::{ClientId, Issuer};
use helseid::Need;
use raw::{RawClient, RawClients, RawConfig};
use read::{Field, Placed};
use secrets::Source;

/// A text and the name it goes by in messages.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    pub file: &'a str,
    pub text: &'a str,
    /// What its references are relative to.
    pub environment: &'a dyn Environment,
}

/// A configuration that holds, and what the operator should know about it.
#[derive(Debug)]
pub struct Checked {
    pub config: Config,
    pub warnings: Vec<Problem>,
}

/// Checks a configuration and the client files beside it (`--clients`), which add clients or replace them by id.
///
/// # Errors
/// Everything that is wrong in any of them, at once, with the warnings.
pub fn check(main: Text<'_>, clients: &[Text<'_>]) -> Result<Checked, Findings> {
    let mut found = Findings::default();
    let config = check_into(main, clients, &mut found);
    let found = found.sorted();
    match config {
        Some(config) if found.problems.is_empty() => Ok(Checked { config, warnings: found.warnings }),
        _ => Err(found),
    }
}

fn check_into(main: Text<'_>, clients: &[Text<'_>], found: &mut Findings) -> Option<Config> {
    let raw = RawConfig::parse(main.file, main.text, found)?;
    let environment = main.environment;
    // Secrets may stand in the file where nobody else can reach what they open.
    let local = raw.issuer.get().is_some_and(|list| {
        !list.is_empty() && list.iter().all(|item| item.value.url.get().and_then(|url| Issuer::parse(url).ok()).is_some_and(|url| url.is_loopback()))
    });
    let (none_server, none_store, none_keys, none_http, none_fetch, none_guess, none_audit) = Default::default();
    let server = check::server(raw.server.get().unwrap_or(&none_server), environment, local, found);
    let store = check::store(raw.store.get().unwrap_or(&none_store), environment, local, found);
    let keys = check::keys(raw.keys.get().unwrap_or(&none_keys), environment, local, found);
    let http = check::http(raw.http.get().unwrap_or(&none_http), found);
    let fetch = check::fetch(raw.fetch.get().unwrap_or(&none_fetch), found);
    let audit = audit::check(raw.audit.get().unwrap_or(&none_audit), environment, local, found);
    let tracing = tracing::check(&raw.tracing, environment, local, cfg!(feature = "otel"), found);
    let guess = check::guess(raw.guess.get().unwrap_or(&none_guess), found);
    let before = found.problems.len();
    let mut issuers = issuer::check_all(&raw.issuer, &server, guess, environment, found);
    let all_known = found.problems.len() == before;
    let mut needs = add_clients(raw.client, &mut issuers, all_known, environment, found);
    for file in clients {
        if let Some(raw) = RawClients::parse(file.file, file.text, found) {
            needs.extend(add_clients(raw.client, &mut issuers, all_known, file.environment, found));
        }
    }
    issuer::internal_urls_apart(&raw.issuer, &issuers, found);
    issuer::bases_apart(&raw.issuer, &issuers, found);
    issuer::resource_servers(&raw.issuer, &issuers, found);
    exchange::check_all(&raw.issuer, &mut issuers, found);
    helseid::check_all(&needs, &issuers, found);
    Some(Config { server, store, keys, http, fetch, audit, tracing, issuers })
}

/// Puts the clients of one file where they belong. Twice in one file is a mistake; again in a later one replaces.
///
/// `all_known` is false where something about the issuers was wrong: a client that names one we could not read is then not to blame.
/// Answers which of them cannot do without HelseID, for a look at them once the rest is known.
fn add_clients(
    list: Field<Vec<Placed<RawClient>>>,
    issuers: &mut [IssuerConfig],
    all_known: bool,
    environment: &dyn Environment,
    found: &mut Findings,
) -> Vec<Need> {
    let mut needs = Vec::new();
    let Field::Given(list, _) = list else { return needs };
    let mut seen: BTreeSet<(Issuer, ClientId)> = BTreeSet::new();
    for Placed { value, place } in list {
        let raw = client::with_preset(value, &place, found);
        let Some(index) = issuer_of(&raw, issuers, all_known, found) else { continue };
        let Some(issuer) = issuers.get_mut(index) else { continue };
        let Some(client) = client::check(&raw, &place, Home::of(&issuer.rules), Source::File(environment), found) else { continue };
        let who = (issuer.url().clone(), client.id.clone());
        if !seen.insert(who) {
            found.refuse_value(raw.client_id.place(), client.id.as_str(), "is the name of another client of this issuer; names are unique (RFC 6749 §2.2)");
            continue;
        }
        if client.helseid == HelseIdNeed::Required {
            needs.push(Need { issuer: issuer.url().clone(), client: client.id.clone(), place: raw.helseid.place().clone() });
        }
        issuer.rules.clients.insert(client.id.clone(), Arc::new(client));
    }
    needs
}

/// Which issuer a client belongs to: the only one, or the one it names.
fn issuer_of(raw: &RawClient, issuers: &[IssuerConfig], all_known: bool, found: &mut Findings) -> Option<usize> {
    let known = || issuers.iter().map(|issuer| format!("\"{}\"", issuer.url())).collect::<Vec<_>>().join(", ");
    match (&raw.issuer, issuers) {
        (_, []) | (Field::Wrong(_), _) => None,
        (Field::Absent(_), [_]) => Some(0),
        (Field::Absent(place), _) => {
            found.refuse(place, format!("is missing, and there are several; write one of {}", known()));
            None
        }
        (Field::Given(text, place), _) => {
            let index = issuers.iter().position(|issuer| issuer.url().as_str() == text);
            if index.is_none() && all_known {
                found.refuse_value(place, text, format!("is not an issuer here; write one of {}", known()));
            }
            index
        }
    }
}

/// Reads and checks a file and the client files beside it; references are relative to the file they stand in.
///
/// # Errors
/// Everything that is wrong in any of them, or that a file cannot be read.
pub fn load(path: &Path, clients: &[&Path]) -> Result<Checked, Findings> {
    let mut found = Findings::default();
    let mut read = |path: &Path| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| found.refuse(&Place::root(&name), format!("cannot be read: {error}"))).ok();
        (name, text, SystemEnvironment::of_file(path))
    };
    let main = read(path);
    let beside: Vec<_> = clients.iter().map(|path| read(path)).collect();
    let texts: Option<Vec<Text<'_>>> =
        std::iter::once(&main).chain(&beside).map(|(file, text, environment)| Some(Text { file, text: text.as_deref()?, environment })).collect();
    match texts.as_deref() {
        Some([main, beside @ ..]) => check(*main, beside),
        _ => Err(found),
    }
}
