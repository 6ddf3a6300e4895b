//! What the mock of HelseID is told when it runs alone. `config/helseid.toml` explains each key; all may be left out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::fhir_config::{Checking, RawSecret};
use super::helseid_seed::{self, RawApi, RawOrganisation, RawUser};
use crate::config::{Environment, Findings, Place, SystemEnvironment};
use crate::helseid::quirks::Quirks;
use crate::helseid::seed::{AssertionForm, Client, DpopUse, Grant, RefreshUse, Seed, Tenancy, table};
use crate::jose::JwkSet;
use crate::protocol::ids::{Issuer, RedirectUri};
use crate::secret::Secret;

/// A mock of HelseID and where it listens.
#[derive(Clone, Debug)]
pub struct HelseidServerConfig {
    /// `http://` and the address it listens on, where left out.
    pub issuer: Option<Issuer>,
    pub listen: SocketAddr,
    /// Where the levers are, and what opens them; nowhere without a secret.
    pub admin: Option<(SocketAddr, Secret<String>)>,
    /// Where the sample API is, if anywhere.
    pub sample_api: Option<SocketAddr>,
    pub fresh_keys: bool,
    pub seed: Seed,
    pub quirks: Quirks,
}

/// What the command line says over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub port: Option<u16>,
    pub admin_port: Option<u16>,
    pub sample_api_port: Option<u16>,
    /// A file with the admin secret.
    pub admin_secret_file: Option<String>,
    pub fresh_keys: bool,
    pub listen_on_network: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHelseid {
    environment: Option<String>,
    issuer: Option<String>,
    listen: Option<String>,
    #[serde(default)]
    listen_on_network: bool,
    admin_listen: Option<String>,
    admin_secret: Option<RawSecret>,
    sample_api_listen: Option<String>,
    #[serde(default)]
    fresh_keys: bool,
    #[serde(default)]
    quirks: Quirks,
    #[serde(default)]
    organisation: Vec<RawOrganisation>,
    #[serde(default)]
    api: Vec<RawApi>,
    #[serde(default)]
    user: Vec<RawUser>,
    #[serde(default)]
    client: Vec<RawClient>,
}

/// A client that is added, or what is different about one of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClient {
    client_id: String,
    name: Option<String>,
    tenancy: Option<RawTenancy>,
    grants: Option<Vec<RawGrant>>,
    dpop: Option<RawDpop>,
    refresh: Option<RawRefresh>,
    assertions: Option<RawAssertions>,
    scopes: Option<String>,
    redirect_uris: Option<Vec<String>>,
    post_logout_redirect_uris: Option<Vec<String>>,
    backchannel_logout_uri: Option<String>,
    may_be_exchanged_by: Option<BTreeSet<String>>,
    disabled: Option<bool>,
    jwks: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RawTenancy {
    Own(String),
    Single { parent: String, units: BTreeSet<String> },
    Multi { supplier: String },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawGrant {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
    TokenExchange,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawDpop {
    Required,
    Optional,
    Off,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawRefresh {
    OneTime,
    Reusable,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawAssertions {
    Strict,
    Legacy,
}

/// Reads and checks a file, or takes the defaults; paths in it are relative to it.
///
/// # Errors
/// A file that cannot be read as this, or every value in it that cannot stand.
pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<HelseidServerConfig, Findings> {
    let Some(path) = path else { return check("(no file)", "", &SystemEnvironment::of_file(Path::new("helseid.toml")), overrides) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let mut found = Findings::default();
        found.refuse(&Place::root(&name), format!("cannot be read: {error}"));
        found
    })?;
    check(&name, &text, &SystemEnvironment::of_file(path), overrides)
}

/// Checks a text that goes by the name `file`.
///
/// # Errors
/// As [`load`].
pub fn check(file: &str, text: &str, environment: &dyn Environment, overrides: &Overrides) -> Result<HelseidServerConfig, Findings> {
    let root = Place::root(file);
    let mut checking = Checking { root: root.clone(), environment, found: Findings::default() };
    let raw: RawHelseid = match toml::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            let line = text.get(..offset).unwrap_or_default().bytes().filter(|b| *b == b'\n').count() + 1;
            // Not the parser's own rendering: it quotes the line, and the line may hold a secret.
            checking.found.refuse(&Place { line: Some(line), ..root }, format!("{}; config/helseid.toml shows every key", error.message()));
            return Err(checking.found);
        }
    };
    let made = server(&mut checking, raw, overrides);
    match made {
        Some(config) if checking.found.problems.is_empty() => Ok(config),
        _ => Err(checking.found),
    }
}

fn server(checking: &mut Checking<'_>, raw: RawHelseid, overrides: &Overrides) -> Option<HelseidServerConfig> {
    match raw.environment.as_deref() {
        None | Some("test" | "development") => {}
        Some("production") => {
            return checking.refuse("environment", "is production: this is a mock, it logs anybody in as anybody, and does not start there");
        }
        Some(other) => return checking.refuse_value("environment", other, "must be \"test\" or \"development\""),
    }
    let network = raw.listen_on_network || overrides.listen_on_network;
    let listen = address(checking, "listen", raw.listen.as_deref(), 9403, overrides.port, network);
    let issuer = match raw.issuer {
        None => None,
        Some(text) => match Issuer::parse(&text) {
            Ok(issuer) => Some(issuer),
            Err(why) => return checking.refuse_value("issuer", &text, &why.to_string()),
        },
    };
    // What is no loopback issuer is reached by others: its secret is no text in a file.
    let local = issuer.as_ref().map_or(listen.is_some_and(|listen| listen.ip().is_loopback()), Issuer::is_loopback);
    let secret = match (&overrides.admin_secret_file, &raw.admin_secret) {
        (None, None) => None,
        (None, Some(secret)) => Some(checking.secret("admin_secret", secret, local)?),
        (Some(file), _) => match std::fs::read_to_string(file) {
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\n', '\r']).to_owned())),
            Err(error) => return checking.refuse_value("admin_secret", file, &format!("cannot be read: {error}")),
        },
    };
    let secret = secret.and_then(|secret| checking.strong("admin_secret", secret));
    let admin_listen = address(checking, "admin_listen", raw.admin_listen.as_deref(), 9404, overrides.admin_port, network);
    let sample_wanted = raw.sample_api_listen.is_some() || overrides.sample_api_port.is_some();
    let sample_api =
        sample_wanted.then(|| address(checking, "sample_api_listen", raw.sample_api_listen.as_deref(), 9408, overrides.sample_api_port, network)).flatten();
    let mut taken = BTreeSet::new();
    let own = secret.is_some().then_some(admin_listen).flatten();
    for (key, address) in [("listen", listen), ("admin_listen", own), ("sample_api_listen", sample_api)] {
        if address.is_some_and(|address| address.port() != 0 && !taken.insert(address)) {
            checking.refuse::<()>(key, "is where another listener is");
        }
    }
    let mut seed = match Seed::generate() {
        Ok(seed) => seed,
        Err(why) => return checking.refuse("client", why.to_string()),
    };
    helseid_seed::add(checking, &mut seed, raw.organisation, raw.api, raw.user);
    for (index, raw) in raw.client.into_iter().enumerate() {
        if let Some(client) = client(checking, index, raw, &seed) {
            seed.put_client(client);
        }
    }
    Some(HelseidServerConfig {
        issuer,
        listen: listen?,
        admin: secret.zip(admin_listen).map(|(secret, listen)| (listen, secret)),
        sample_api,
        fresh_keys: raw.fresh_keys || overrides.fresh_keys,
        seed,
        quirks: raw.quirks,
    })
}

fn address(checking: &mut Checking<'_>, key: &str, text: Option<&str>, port: u16, given: Option<u16>, network: bool) -> Option<SocketAddr> {
    let mut address = checking.address(key, text, port)?;
    if let Some(port) = given {
        address.set_port(port);
    }
    if network || address.ip().is_loopback() {
        return Some(address);
    }
    checking.refuse(key, "can be reached from other machines, and this mock logs anybody in as anybody; if that is wanted, write listen_on_network = true")
}

fn client(checking: &mut Checking<'_>, index: usize, raw: RawClient, seed: &Seed) -> Option<Client> {
    let place = checking.root.key("client").item(index);
    let known = seed.client(&raw.client_id).cloned();
    let tenancy = raw.tenancy.map(|tenancy| match tenancy {
        RawTenancy::Own(owner) => Tenancy::Own(owner),
        RawTenancy::Single { parent, units } => Tenancy::Single { parent, units },
        RawTenancy::Multi { supplier } => Tenancy::Multi { supplier },
    });
    let mut client = match (known, tenancy) {
        (Some(known), None) => known,
        (Some(known), Some(tenancy)) => Client { tenancy, ..known },
        (None, Some(tenancy)) => table::client(&raw.client_id, raw.name.as_deref().unwrap_or(&raw.client_id), tenancy, &[], BTreeSet::new()).ok()?,
        (None, None) => {
            checking.found.refuse(&place.key("tenancy"), "is missing for a new client; write tenancy = { own = \"310441201\" }");
            return None;
        }
    };
    if raw.client_id.is_empty() {
        checking.found.refuse(&place.key("client_id"), "is empty");
    }
    let named: Vec<&str> = match &client.tenancy {
        Tenancy::Own(owner) => vec![owner],
        Tenancy::Single { parent, units } => std::iter::once(parent).chain(units).map(String::as_str).collect(),
        Tenancy::Multi { supplier } => vec![supplier],
    };
    if let Some(unknown) = named.into_iter().find(|number| seed.organisation(number).is_none()) {
        checking.found.refuse_value(&place.key("tenancy"), unknown, "is no organisation of the mock");
    }
    if let Some(scopes) = raw.scopes {
        client.scopes = scopes.split_ascii_whitespace().map(str::to_owned).collect();
        let unknown = client.scopes.iter().find(|scope| !table::IDENTITY_SCOPES.contains(&scope.as_str()) && seed.api_of_scope(scope).is_none());
        if let Some(unknown) = unknown {
            checking.found.refuse_value(&place.key("scopes"), unknown, "is no scope of the mock");
        }
    }
    for (key, uris) in [("redirect_uris", &raw.redirect_uris), ("post_logout_redirect_uris", &raw.post_logout_redirect_uris)] {
        for (item, uri) in uris.iter().flatten().enumerate() {
            if let Err(why) = RedirectUri::parse(uri) {
                checking.found.refuse_value(&place.key(key).item(item), uri, why.to_string());
            }
        }
    }
    if let Some(jwks) = raw.jwks {
        match JwkSet::parse_registered(&jwks) {
            Ok(keys) => (client.keys, client.private_key) = (keys, None),
            Err(why) => checking.found.refuse(&place.key("jwks"), why.to_string()),
        }
    }
    client.name = raw.name.unwrap_or(client.name);
    client.grants = raw.grants.map_or(client.grants, |grants| grants.into_iter().map(grant).collect());
    client.dpop = raw.dpop.map_or(client.dpop, |dpop| match dpop {
        RawDpop::Required => DpopUse::Required,
        RawDpop::Optional => DpopUse::Optional,
        RawDpop::Off => DpopUse::Off,
    });
    client.refresh = raw.refresh.map_or(client.refresh, |refresh| match refresh {
        RawRefresh::OneTime => RefreshUse::OneTime,
        RawRefresh::Reusable => RefreshUse::Reusable,
    });
    client.assertions = raw.assertions.map_or(client.assertions, |form| match form {
        RawAssertions::Strict => AssertionForm::Strict,
        RawAssertions::Legacy => AssertionForm::Legacy,
    });
    client.redirect_uris = raw.redirect_uris.unwrap_or(client.redirect_uris);
    client.post_logout_redirect_uris = raw.post_logout_redirect_uris.unwrap_or(client.post_logout_redirect_uris);
    client.backchannel_logout_uri = raw.backchannel_logout_uri.or(client.backchannel_logout_uri);
    client.may_be_exchanged_by = raw.may_be_exchanged_by.unwrap_or(client.may_be_exchanged_by);
    client.disabled = raw.disabled.unwrap_or(client.disabled);
    Some(client)
}

fn grant(raw: RawGrant) -> Grant {
    match raw {
        RawGrant::AuthorizationCode => Grant::Code,
        RawGrant::RefreshToken => Grant::Refresh,
        RawGrant::ClientCredentials => Grant::ClientCredentials,
        RawGrant::TokenExchange => Grant::TokenExchange,
    }
}
