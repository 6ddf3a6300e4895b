//! What mock FHIR servers are told that run alone, one or several in a process. `config/fhir.toml` explains each key.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::config::{Environment, Findings, Place, SystemEnvironment, estimated_bits};
use crate::fhir::{Compartment, DEFAULT_INTROSPECTION_CACHE, DataSource, FhirConfig, For, Kept, Origins, Policy, SupportingReads, Switches, UserPolicy};
use crate::protocol::ids::{FhirBase, Issuer, is_loopback};
use crate::random::Random;
use crate::secret::Secret;

/// The longest an introspection answer may be used again: a revoked token would be good that long.
const LONGEST_CACHE: Duration = Duration::from_secs(60);

/// A mock FHIR server and where it listens.
#[derive(Clone, Debug)]
pub struct FhirServerConfig {
    pub fhir: FhirConfig,
    pub listen: SocketAddr,
    pub ops_listen: SocketAddr,
}

impl FhirServerConfig {
    /// What the command line says goes before the file: other data, where there is any, and whether to begin afresh.
    pub fn override_with(&mut self, data: &[PathBuf], fresh: bool) {
        if !data.is_empty() {
            self.fhir.data = DataSource::Paths(data.to_vec());
        }
        if let Some(kept) = &mut self.fhir.kept {
            kept.fresh |= fresh;
        }
    }
}

/// Several servers in one file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServers {
    server: Vec<RawFhirServer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFhirServer {
    base: String,
    issuer: String,
    introspection_endpoint: Option<String>,
    client_id: String,
    client_secret: RawSecret,
    listen: Option<String>,
    ops_listen: Option<String>,
    ops_token: Option<RawSecret>,
    #[serde(default)]
    cors_origins: Vec<String>,
    #[serde(default)]
    client_origins: BTreeMap<String, Vec<String>>,
    introspection_cache: Option<String>,
    documentation: Option<String>,
    data: Option<Vec<String>>,
    kept: Option<String>,
    #[serde(default)]
    switches: RawSwitches,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a secret must be { file = \"…\" } or { env = \"…\" }, or a text where the issuer is on loopback")]
pub(super) enum RawSecret {
    Inline(Secret<String>),
    File(FileReference),
    Env(EnvReference),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileReference {
    file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvReference {
    env: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSwitches {
    supporting_reads: RawSupporting,
    user: RawUser,
    compartment: RawCompartment,
    nav_complete_codings: RawFor,
    nav_general_practitioner: RawFor,
    nav_batch: RawFor,
    nav_body_id: RawFor,
    nav_doubled_type: RawFor,
    nav_document_rules: RawFor,
    refuse_national_id_in_url: bool,
    terminology_aliases: bool,
    encounter_must_match: bool,
    block_documents: bool,
    require_if_match: bool,
    unchecked_references: bool,
    unchecked_structure: bool,
    no_delete: bool,
    author_must_be_user: bool,
    refuse_for_deceased: bool,
    professional_category: bool,
    dpop_nonce_always: bool,
    dpop_required: RawFor,
    protect_addresses: bool,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawSupporting {
    #[default]
    Referenced,
    Any,
    Scope,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawUser {
    All,
    #[default]
    Organization,
    CareRelation,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawCompartment {
    #[default]
    StrictSubject,
    R4,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be \"nobody\", \"everybody\" or a list of client ids")]
enum RawFor {
    Word(Word),
    Clients(Vec<String>),
}

impl Default for RawFor {
    fn default() -> Self {
        Self::Word(Word::Nobody)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Nobody,
    Everybody,
}

impl From<RawFor> for For {
    fn from(raw: RawFor) -> Self {
        match raw {
            RawFor::Word(Word::Nobody) => Self::Nobody,
            RawFor::Word(Word::Everybody) => Self::Everybody,
            RawFor::Clients(ids) => Self::Clients(ids.into_iter().collect()),
        }
    }
}

impl From<RawSwitches> for Switches {
    fn from(raw: RawSwitches) -> Self {
        let supporting_reads = match raw.supporting_reads {
            RawSupporting::Referenced => SupportingReads::Referenced,
            RawSupporting::Any => SupportingReads::Any,
            RawSupporting::Scope => SupportingReads::Scope,
        };
        let user = match raw.user {
            RawUser::All => UserPolicy::All,
            RawUser::Organization => UserPolicy::Organization,
            RawUser::CareRelation => UserPolicy::CareRelation,
        };
        let compartment = match raw.compartment {
            RawCompartment::StrictSubject => Compartment::StrictSubject,
            RawCompartment::R4 => Compartment::R4,
        };
        Self {
            policy: Policy { supporting_reads, user, compartment, encounter_must_match: raw.encounter_must_match, block_documents: raw.block_documents },
            nav_complete_codings: raw.nav_complete_codings.into(),
            nav_general_practitioner: raw.nav_general_practitioner.into(),
            nav_batch: raw.nav_batch.into(),
            nav_body_id: raw.nav_body_id.into(),
            nav_doubled_type: raw.nav_doubled_type.into(),
            nav_document_rules: raw.nav_document_rules.into(),
            require_if_match: raw.require_if_match,
            unchecked_references: raw.unchecked_references,
            unchecked_structure: raw.unchecked_structure,
            no_delete: raw.no_delete,
            author_must_be_user: raw.author_must_be_user,
            refuse_for_deceased: raw.refuse_for_deceased,
            professional_category: raw.professional_category,
            dpop_nonce_always: raw.dpop_nonce_always,
            dpop_required: raw.dpop_required.into(),
            protect_addresses: raw.protect_addresses,
            refuse_national_id_in_url: raw.refuse_national_id_in_url,
            terminology_aliases: raw.terminology_aliases,
        }
    }
}

/// Reads and checks a file; paths in it are relative to it.
///
/// # Errors
/// A file that cannot be read as this, or every value in it that cannot stand.
pub fn load(path: &Path, random: &dyn Random) -> Result<Vec<FhirServerConfig>, Findings> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let mut found = Findings::default();
        found.refuse(&Place::root(&name), format!("cannot be read: {error}"));
        found
    })?;
    check(&name, &text, &SystemEnvironment::of_file(path), random)
}

/// Checks a text that goes by the name `file`: one server, or one for each `[[server]]`. They share nothing but the process.
///
/// # Errors
/// As [`load`].
pub fn check(file: &str, text: &str, environment: &dyn Environment, random: &dyn Random) -> Result<Vec<FhirServerConfig>, Findings> {
    let root = Place::root(file);
    let several = toml::from_str::<toml::Table>(text).is_ok_and(|table| table.contains_key("server"));
    let raw = if several { toml::from_str::<RawServers>(text).map(|raw| raw.server) } else { toml::from_str::<RawFhirServer>(text).map(|raw| vec![raw]) };
    let raw = raw.map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let line = text.get(..offset).unwrap_or_default().bytes().filter(|b| *b == b'\n').count() + 1;
        let mut found = Findings::default();
        // Not the parser's own rendering: it quotes the line, and the line may hold a secret.
        found.refuse(&Place { line: Some(line), ..root.clone() }, format!("{}; config/fhir.toml shows every key", error.message()));
        found
    })?;
    let mut found = Findings::default();
    if raw.is_empty() {
        found.refuse(&root.key("server"), "is empty, so there would be nothing to serve");
    }
    let mut taken = Taken::default();
    let mut configs = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let place = if several { root.key("server").item(index) } else { root.clone() };
        let mut checking = Checking { root: place, environment, found };
        configs.extend(checking.server(raw, random).inspect(|config| checking.alone(config, &mut taken)));
        found = checking.found;
    }
    if found.problems.is_empty() { Ok(configs) } else { Err(found) }
}

/// What the servers before have for themselves.
#[derive(Default)]
struct Taken {
    bases: BTreeSet<String>,
    addresses: BTreeSet<SocketAddr>,
    files: BTreeSet<PathBuf>,
}

/// A file being checked; the other mock is checked with it too.
pub(super) struct Checking<'a> {
    pub(super) root: Place,
    pub(super) environment: &'a dyn Environment,
    pub(super) found: Findings,
}

impl Checking<'_> {
    pub(super) fn refuse<T>(&mut self, key: &str, why: impl Into<String>) -> Option<T> {
        let place = self.root.key(key);
        self.found.refuse(&place, why);
        None
    }

    pub(super) fn refuse_value<T>(&mut self, key: &str, value: &str, why: &str) -> Option<T> {
        let place = self.root.key(key);
        self.found.refuse_value(&place, value, why);
        None
    }

    /// Several servers share nothing: no base, no address, no file.
    fn alone(&mut self, config: &FhirServerConfig, taken: &mut Taken) {
        if !taken.bases.insert(config.fhir.base.as_str().to_owned()) {
            self.refuse_value::<()>("base", config.fhir.base.as_str(), "is another server's already");
        }
        for (key, address) in [("listen", config.listen), ("ops_listen", config.ops_listen)] {
            if address.port() != 0 && !taken.addresses.insert(address) {
                self.refuse_value::<()>(key, &address.to_string(), "is another server's already; each has its own");
            }
        }
        if let Some(kept) = &config.fhir.kept
            && !taken.files.insert(kept.path.clone())
        {
            self.refuse_value::<()>("kept", &kept.path.display().to_string(), "is another server's already; each keeps its own");
        }
    }

    fn server(&mut self, raw: RawFhirServer, random: &dyn Random) -> Option<FhirServerConfig> {
        let base = FhirBase::parse(&raw.base).map_err(|why| why.to_string()).or_else(|why| self.refuse_value("base", &raw.base, &why).ok_or(())).ok();
        let issuer = Issuer::parse(&raw.issuer).map_err(|why| why.to_string()).or_else(|why| self.refuse_value("issuer", &raw.issuer, &why).ok_or(())).ok();
        let local = issuer.as_ref().is_some_and(Issuer::is_loopback);
        let introspection_endpoint = match raw.introspection_endpoint {
            Some(text) => self.endpoint(text),
            None => issuer.as_ref().map(|issuer| issuer.at("/introspect")),
        };
        if raw.client_id.is_empty() {
            self.refuse::<()>("client_id", "is empty; write the client this server is registered as");
        }
        let client_secret = self.secret("client_secret", &raw.client_secret, local);
        let listen = self.address("listen", raw.listen.as_deref(), 9402);
        let ops_listen = self.address("ops_listen", raw.ops_listen.as_deref(), 9407);
        if listen.is_some_and(|listen| listen.port() != 0) && listen == ops_listen {
            self.refuse::<()>("ops_listen", "is where the public listener is; the levers never share it");
        }
        if ops_listen.is_some_and(|ops| !ops.ip().is_loopback()) {
            self.refuse::<()>("ops_listen", "can be reached from other machines, and the levers are for tests; write \"127.0.0.1:9407\"");
        }
        // Without a token the levers are closed: nobody knows this one.
        let ops_token = match &raw.ops_token {
            None => Some(random.token()),
            Some(secret) => self.secret("ops_token", secret, local).and_then(|token| self.strong("ops_token", token)),
        };
        self.origins(&self.root.key("cors_origins"), &raw.cors_origins);
        for (client_id, origins) in &raw.client_origins {
            self.origins(&self.root.key("client_origins").key(client_id), origins);
        }
        let introspection_cache = self.cache(raw.introspection_cache.as_deref());
        let documentation = raw.documentation.and_then(|text| self.page("documentation", text));
        let data = match raw.data {
            None => DataSource::BuiltIn,
            Some(paths) => DataSource::Paths(paths.iter().map(|path| self.environment.resolve(path)).collect()),
        };
        if matches!(&data, DataSource::Paths(paths) if paths.is_empty()) {
            self.refuse::<()>("data", "is empty, so there would be nothing to serve; leave it out for the built-in set");
        }
        let fhir = FhirConfig {
            base: base?,
            issuer: issuer?,
            introspection_endpoint: introspection_endpoint?,
            client_id: raw.client_id,
            client_secret: client_secret?,
            ops_token: ops_token?,
            cors_origins: Origins { of_all: raw.cors_origins, of_clients: raw.client_origins },
            introspection_cache: introspection_cache?,
            documentation,
            data,
            kept: raw.kept.as_deref().map(|path| Kept { path: self.environment.resolve(path), fresh: false, sync: true }),
            switches: raw.switches.into(),
        };
        Some(FhirServerConfig { fhir, listen: listen?, ops_listen: ops_listen? })
    }

    fn origins(&mut self, place: &Place, origins: &[String]) {
        for (index, origin) in origins.iter().enumerate() {
            if !url::Url::parse(origin).is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == *origin) {
                self.found.refuse_value(&place.item(index), origin, "must be an origin as browsers send it; write \"https://app.example\"");
            }
        }
    }

    fn endpoint(&mut self, text: String) -> Option<String> {
        let fits =
            url::Url::parse(&text).is_ok_and(|url| url.fragment().is_none() && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url))));
        if fits { Some(text) } else { self.refuse_value("introspection_endpoint", &text, "must be https, or http on loopback: our credentials go there") }
    }

    fn page(&mut self, key: &str, text: String) -> Option<String> {
        let fits = url::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if fits { Some(text) } else { self.refuse_value(key, &text, "must be the https address of a page; write \"https://epj.example/fhir-docs\"") }
    }

    pub(super) fn address(&mut self, key: &str, text: Option<&str>, port: u16) -> Option<SocketAddr> {
        let default = SocketAddr::from(([127, 0, 0, 1], port));
        let Some(text) = text else { return Some(default) };
        text.parse().ok().or_else(|| self.refuse_value(key, text, &format!("must be an address and a port; write \"{default}\"")))
    }

    pub(super) fn secret(&mut self, key: &str, raw: &RawSecret, local: bool) -> Option<Secret<String>> {
        let text = match raw {
            RawSecret::Inline(text) if local => text.clone(),
            RawSecret::Inline(_) => {
                return self.refuse(key, "stands in the file itself, which only a loopback issuer may do; write { file = \"…\" } or { env = \"…\" }");
            }
            RawSecret::Env(EnvReference { env }) => match self.environment.variable(env) {
                Some(text) => text,
                None => return self.refuse_value(key, env, "is not set in the environment, or not text"),
            },
            RawSecret::File(FileReference { file }) => {
                let path = self.environment.resolve(file);
                match self.environment.secret_file(&path) {
                    Ok(file) => file.text,
                    Err(error) => return self.refuse_value(key, &path.display().to_string(), &format!("cannot be read: {error}")),
                }
            }
        };
        let text = Secret::new(text.expose().trim_end_matches(['\n', '\r']).to_owned());
        if text.expose().is_empty() { self.refuse(key, "is empty") } else { Some(text) }
    }

    pub(super) fn strong(&mut self, key: &str, token: Secret<String>) -> Option<Secret<String>> {
        let bits = estimated_bits(token.expose());
        if bits >= 128 {
            Some(token)
        } else {
            self.refuse(key, format!("holds about {bits} bits; must hold at least 128: `openssl rand -base64 32` makes 256"))
        }
    }

    fn cache(&mut self, text: Option<&str>) -> Option<Duration> {
        let Some(text) = text else { return Some(DEFAULT_INTROSPECTION_CACHE) };
        let seconds = text.strip_suffix('s').and_then(|number| number.parse::<u64>().ok()).map(Duration::from_secs);
        let fits = seconds.filter(|time| *time <= LONGEST_CACHE);
        fits.or_else(|| self.refuse_value("introspection_cache", text, "must be 0s to 60s; write \"5s\""))
    }
}
