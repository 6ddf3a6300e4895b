//! The demo: everything on loopback, and one launch walked through. DESIGN §2.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::demo_clients::{DemoClients, JOURNAL, Places, asks};
use super::demo_helseid::{DemoHelseid, HelseidPorts};
use super::demo_hospital::{self, Beside, DemoHospital, Known};
use super::helseid_server::{self, HelseidRunning, HelseidStartError};
use super::server::{self, Listeners, Running, StartError, bind};
use crate::config::{self, Findings, SystemEnvironment, Text};
use crate::demo::app::{AllowedServer, AppConfig, AppConfigError};
use crate::demo::epj::{EpjConfig, EpjConfigError, JournalConfig, OfferedApp};
use crate::demo::facts::{DemoFacts, PatientFacts, UserFacts};
use crate::demo::faults::Fault;
use crate::demo::levers::{Lever, Levers};
use crate::demo::walk::{WalkSummary, walk, walk_with_fault};
use crate::demo::wire::Wire;
use crate::demo::{app as nav_app, epj};
use crate::domain::client::Client;
use crate::domain::issuer::IssuerRules;
use crate::fhir::{self, DataSource, FhirConfig, FhirError, For, Kept, Origins, Switches};
use crate::jose::KeyError;
use crate::listen::{Limits, Listener, serve};
use crate::protocol::ids::{FhirBase, IdError, Issuer};
use crate::random::{Random, SystemRandom};
use crate::secret::Secret;
use crate::time::{Clock, SystemClock};

/// The ready launches of the data set, and the journals they open.
const INDEX: &str = include_str!("../../data/bundles/index.json");
const JOURNALS: &str = include_str!("../../data/bundles/patients.ndjson");
const DIRECTORY: &str = include_str!("../../data/bundles/00-directory.json");

/// What the demo is asked to do.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The first of the ports; 0 takes whatever is free, each on its own.
    pub port_base: u16,
    /// Where state lives.
    pub data: PathBuf,
    /// Wipe the state first.
    pub fresh: bool,
    /// Where the facts are written, mode 0600.
    pub json: Option<PathBuf>,
    /// Clients to add or replace.
    pub clients: Option<PathBuf>,
    /// `[[issuer.exchange]]` and `[[issuer.trusted]]` rows besides the demo's own, or in the place of those that permit the same. `{issuer}`, `{fhir}` and `{sample_api}` in it stand for the demo's.
    pub policy: Option<PathBuf>,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Config(Box<Findings>),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Fhir(#[from] FhirError),
    #[error(transparent)]
    App(#[from] AppConfigError),
    #[error(transparent)]
    Epj(#[from] EpjConfigError),
    #[error(transparent)]
    Helseid(#[from] HelseidStartError),
    #[error(transparent)]
    Ready(#[from] epj::ReadyError),
    #[error("an address of the demo is wrong: {0}")]
    Address(#[from] IdError),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
}

/// The demo at work.
pub struct Demo {
    pub facts: DemoFacts,
    pub clock: Arc<SystemClock>,
    server: Running,
    helseid: HelseidRunning,
    stop: CancellationToken,
    parties: Vec<JoinHandle<()>>,
}

/// The listeners of the parties, by their offset from the port base. DESIGN §2.
struct Ports {
    server: Listeners,
    fhir: Listener,
    fhir_ops: Listener,
    helseid: HelseidPorts,
    epj: Listener,
    app: Listener,
}

impl Ports {
    async fn bind(base: u16) -> Result<Self, StartError> {
        let at = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, if base == 0 { 0 } else { base.saturating_add(offset) }));
        Ok(Self {
            server: Listeners { public: bind(at(0)).await?, ops: bind(at(1)).await? },
            fhir: bind(at(2)).await?,
            fhir_ops: bind(at(7)).await?,
            helseid: HelseidPorts { public: bind(at(3)).await?, admin: bind(at(4)).await?, sample_api: bind(at(8)).await? },
            epj: bind(at(5)).await?,
            app: bind(at(6)).await?,
        })
    }
}

fn url(listener: &Listener) -> String {
    format!("http://{}", listener.local_addr())
}

/// Starts every part of the demo; the facts are written once all of them listen.
///
/// # Errors
/// [`DemoError`]
pub async fn start(options: &DemoOptions) -> Result<Demo, DemoError> {
    start_on(options, None).await
}

/// The same, with another store than the file in its directory.
///
/// # Errors
/// [`DemoError`]
pub async fn start_on(options: &DemoOptions, store: Option<config::Store>) -> Result<Demo, DemoError> {
    let clock = SystemClock::shared();
    let shared_clock: Arc<dyn Clock> = clock.clone();
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    // Ports first: where another demo runs, its state is not touched.
    let ports = Ports::bind(options.port_base).await?;
    prepare(&options.data, options.fresh)?;
    let (issuer, fhir_base, app, epj_url) = (url(&ports.server.public), format!("{}/fhir", url(&ports.fhir)), url(&ports.app), url(&ports.epj));
    let clients = DemoClients::make(&Places { app: &app }, &*random)?;
    let ready = epj::ready_launches(INDEX, JOURNALS)?;
    let ours: Vec<&str> = ready.iter().map(|launch| launch.fhir_user.as_str()).collect();
    let helseid = DemoHelseid::make(ports.helseid, &issuer, &app, &ours, &*random)?;
    // The first patient goes on to the hospital, where another is known too, and the second is not.
    let known: Vec<&str> = ready.iter().step_by(2).take(2).map(|launch| launch.patient.as_str()).collect();
    let beside = Beside {
        issuer: &issuer,
        fhir: &fhir_base,
        app: &app,
        public: &ports.server.public,
        ops: &ports.server.ops,
        fhir_listener: &ports.fhir,
        data: &options.data,
    };
    let practitioner = ours.first().copied().unwrap_or_default();
    let hospital = DemoHospital::make(&beside, &Known { patients: &known, practitioner, records: [JOURNALS, DIRECTORY] }, &*random)?;
    let ops_token = random.token();
    let users: BTreeSet<(String, String)> = ready.iter().map(|launch| (launch.fhir_user.clone(), launch.practitioner_name.clone())).collect();
    let policy = options
        .policy
        .as_deref()
        .map(read)
        .transpose()?
        .unwrap_or_default()
        .replace("{issuer}", &issuer)
        .replace("{fhir}", &fhir_base)
        .replace("{sample_api}", &helseid.sample_api);
    let toml = config_text(options, &ports.server, &issuer, &fhir_base, &ops_token, &users, &helseid, &hospital, &policy, &clients.toml);
    let environment = SystemEnvironment::relative_to(Path::new(""));
    let extra = options.clients.as_deref().map(|path| read(path).map(|text| (path, text))).transpose()?;
    let extra_environment = options.clients.as_deref().map(SystemEnvironment::of_file);
    let extra: Vec<(String, String)> = extra.into_iter().map(|(path, text)| (path.display().to_string(), text)).collect();
    let texts: Vec<Text<'_>> = extra.iter().zip(&extra_environment).map(|((file, text), environment)| Text { file, text, environment }).collect();
    let main = Text { file: "the demo's configuration", text: toml.expose(), environment: &environment };
    let mut checked = config::check(main, &texts).map_err(|found| DemoError::Config(Box::new(found)))?;
    if let Some(store) = store {
        checked.config.store = store;
    }

    let client_secret = |id: &str| clients.facts.get(id).and_then(|client| client.client_secret.clone()).unwrap_or_else(|| Secret::new(String::new()));
    let rules = checked.config.issuers.first().map(|issuer| &issuer.rules);
    let of_clients = rules.iter().flat_map(|rules| &rules.clients).map(|(id, client)| (id.to_string(), client.cors_origins.iter().cloned().collect()));
    let nav_clients = || For::Clients(["syk-inn", "nav-validator"].map(str::to_owned).into());
    let fhir_config = FhirConfig {
        base: FhirBase::parse(&fhir_base)?,
        issuer: Issuer::parse(&issuer)?,
        introspection_endpoint: format!("{issuer}/introspect"),
        client_id: "fhir-server".to_owned(),
        client_secret: client_secret("fhir-server"),
        ops_token: ops_token.clone(),
        cors_origins: Origins { of_all: Vec::new(), of_clients: of_clients.collect() },
        introspection_cache: Duration::ZERO,
        documentation: None,
        data: DataSource::BuiltIn,
        kept: Some(Kept { path: options.data.join("fhir.ndjson"), fresh: options.fresh, sync: false }),
        switches: Switches {
            nav_complete_codings: nav_clients(),
            nav_general_practitioner: nav_clients(),
            nav_batch: nav_clients(),
            nav_document_rules: nav_clients(),
            nav_body_id: For::Clients(["nav-validator".to_owned()].into()),
            nav_doubled_type: For::Clients(["nav-validator".to_owned()].into()),
            ..Switches::default()
        },
    };
    let (fhir_router, fhir_ops_router) = fhir::router(fhir_config, shared_clock.clone(), random.clone())?;
    let (hospital_router, _its_levers) = fhir::router(hospital.fhir, shared_clock.clone(), random.clone())?;
    let fhir_router = fhir_router.route_service(demo_hospital::UNDER, hospital_router.into_service());
    let epj_config = EpjConfig {
        public_url: epj_url.clone(),
        issuer: issuer.clone(),
        client_id: "epj".to_owned(),
        client_secret: client_secret("epj"),
        journal: JournalConfig { fhir_base: fhir_base.clone(), client_id: JOURNAL.to_owned(), key: clients.journal_key.clone() },
        launches: ready.clone(),
        apps: rules.map(|rules| offered(rules, &clients)).unwrap_or_default(),
        on_the_way: vec![helseid.facts.issuer.clone()],
        levers: Some(Levers::new(
            Wire::new(),
            Lever { url: helseid.facts.admin.clone(), secret: helseid.facts.admin_secret.clone() },
            Lever { url: url(&ports.fhir_ops), secret: ops_token.clone() },
        )),
    };
    let epj_router = epj::router(epj_config, shared_clock.clone(), random.clone())?;
    let app_config = AppConfig {
        public_url: app.clone(),
        client_id: "syk-inn".to_owned(),
        client_secret: client_secret("syk-inn"),
        servers: vec![AllowedServer { name: "Demo-EPJ".to_owned(), fhir_base: fhir_base.clone() }],
        scopes: nav_app::NAV_SCOPES.to_owned(),
    };
    let app_router = nav_app::router(app_config, shared_clock.clone(), random.clone())?;

    let facts = DemoFacts {
        issuer,
        ops: url(&ports.server.ops),
        ops_token,
        fhir: fhir_base,
        fhir_ops: url(&ports.fhir_ops),
        helseid: Some(helseid.facts.clone()),
        epj: epj_url,
        app,
        sample_api: Some(helseid.sample_api.clone()),
        hospital: Some(hospital.facts),
        clients: clients.facts,
        users: users.into_iter().map(|(fhir_user, name)| UserFacts { name, helseid_user: helseid.user(&fhir_user), fhir_user }).collect(),
        patients: ready
            .iter()
            .map(|launch| PatientFacts { patient: launch.patient.clone(), encounter: launch.encounter.clone(), fhir_user: launch.fhir_user.clone() })
            .collect(),
    };
    let helseid = helseid_server::start(helseid.parts, shared_clock.clone(), random.clone()).await?;
    let server = server::start_beside(&checked.config, Some(&hospital.config), ports.server, shared_clock, random, Some(clock.clone())).await?;
    let stop = CancellationToken::new();
    let party = |listener: Listener, router: Router| tokio::spawn(serve(listener, router, Limits::default(), stop.clone(), Duration::from_secs(2)));
    let parties = vec![party(ports.fhir, fhir_router), party(ports.fhir_ops, fhir_ops_router), party(ports.epj, epj_router), party(ports.app, app_router)];
    if let Some(path) = &options.json {
        write_facts(path, &facts)?;
    }
    Ok(Demo { facts, clock, server, helseid, stop, parties })
}

impl Demo {
    /// Walks a launch through and prints each step.
    pub async fn walk(&self, out: &mut (dyn io::Write + Send)) -> WalkSummary {
        let colour = io::stdout().is_terminal() && !no_colour();
        walk(&self.facts, self.clock.clone(), Arc::new(SystemRandom), out, colour).await
    }

    /// Puts a fault on, walks where it shows, takes it off and walks again.
    pub async fn walk_with_fault(&self, name: &str, out: &mut (dyn io::Write + Send)) -> WalkSummary {
        let colour = io::stdout().is_terminal() && !no_colour();
        walk_with_fault(&self.facts, &Fault::named(name), self.clock.clone(), Arc::new(SystemRandom), out, colour).await
    }

    /// Where a person goes from here.
    pub fn where_to_go(&self) -> String {
        let facts = &self.facts;
        let helseid = facts.helseid.as_ref().map(|helseid| helseid.issuer.as_str()).unwrap_or_default();
        let hospital = facts.hospital.as_ref().map(|hospital| hospital.issuer.as_str()).unwrap_or_default();
        format!(
            "The EPJ            {}   open a patient, then an app\nThe app            {}\nAuthorization      {}/.well-known/openid-configuration\nFHIR               {}/metadata\nAllowed apps       {}/account/apps\nHelseID, the mock  {}/.well-known/openid-configuration\nThe hospital       {}/.well-known/openid-configuration\nOperations         {}/health\n",
            facts.epj, facts.app, facts.issuer, facts.fhir, facts.issuer, helseid, hospital, facts.ops
        )
    }

    pub async fn stop(self) {
        self.stop.cancel();
        for party in self.parties {
            // A party that panicked has said so; the others still end.
            let _ended = party.await;
        }
        self.server.stop().await;
        self.helseid.mock.stop().await;
    }
}

/// The apps on the EPJ page: the one that runs here, and those that were brought along. The other presets have nobody behind their addresses.
fn offered(rules: &IssuerRules, presets: &DemoClients) -> Vec<OfferedApp> {
    let ours = |id: &str| presets.facts.contains_key(id) || demo_hospital::CLIENTS.contains(&id);
    let brought = |client: &Client| client.id.as_str() == "syk-inn" || !ours(client.id.as_str());
    let mut launched: Vec<_> =
        rules.clients.values().filter(|client| brought(client)).filter_map(|client| Some((client, client.launch_urls.first()?))).collect();
    launched.sort_unstable_by_key(|(client, _)| &client.id);
    launched
        .into_iter()
        .map(|(client, launch_url)| OfferedApp {
            client_id: client.id.to_string(),
            name: client.name.clone(),
            launch_url: launch_url.to_string(),
            asks: asks(&client.scopes),
        })
        .collect()
}

/// <https://no-color.org>
#[expect(clippy::disallowed_methods, reason = "a setting of the terminal, not of the server")]
fn no_colour() -> bool {
    std::env::var("NO_COLOR").is_ok_and(|value| !value.is_empty())
}

fn read(path: &Path) -> Result<String, DemoError> {
    fs::read_to_string(path).map_err(|error| DemoError::File { path: path.to_owned(), error })
}

/// Only what the demo makes is wiped; whatever else lies in the directory stays.
fn prepare(data: &Path, fresh: bool) -> Result<(), DemoError> {
    if fresh {
        for (path, is_dir) in [(data.join("helsebro.redb"), false), (data.join("keys"), true), (data.join("hospital-keys"), true), (data.join("audit"), true)] {
            let wiped = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match wiped {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(DemoError::File { path, error }),
                Ok(()) | Err(_) => {}
            }
        }
    }
    fs::create_dir_all(data).map_err(|error| DemoError::File { path: data.to_owned(), error })
}

fn write_facts(path: &Path, facts: &DemoFacts) -> Result<(), DemoError> {
    let failed = |error| DemoError::File { path: path.to_owned(), error };
    let text = Secret::new(serde_json::to_string_pretty(facts).map_err(|error| failed(io::Error::other(error)))?);
    // Written beside and moved into place: who waits for the file never reads half of it.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(failed)?;
    file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

/// The demo's configuration as an operator would write it, so that it goes through the same check.
#[expect(clippy::too_many_arguments, reason = "each fills one blank of the text")]
fn config_text(
    options: &DemoOptions,
    listeners: &Listeners,
    issuer: &str,
    fhir: &str,
    ops_token: &Secret<String>,
    users: &BTreeSet<(String, String)>,
    helseid: &DemoHelseid,
    hospital: &DemoHospital,
    policy: &str,
    clients: &Secret<String>,
) -> Secret<String> {
    let data = options.data.display().to_string();
    let users: String = users.iter().map(|(fhir_user, name)| format!("[[issuer.user]]\nname = {name:?}\nfhir_user = {fhir_user:?}\n\n")).collect();
    Secret::new(format!(
        r#"[server]
listen = "{public}"
ops_listen = "{ops}"
ops_token = "{token}"

[store]
kind = "embedded"
path = {store:?}

[keys]
dir = {keys:?}

[audit]
dir = {audit:?}

[[issuer]]
url = "{issuer}"
name = "Helsebro demo"
login = ["ehr", "helseid", "local"]

[[issuer.fhir]]
base = "{fhir}"
resource_servers = ["fhir-server", "{hospital_here}"]

{users}{upstream}
{rows}{hospital_row}
{policy}

{clients}
{hospital_clients}"#,
        public = listeners.public.local_addr(),
        ops = listeners.ops.local_addr(),
        token = ops_token.expose(),
        store = format!("{data}/helsebro.redb"),
        keys = format!("{data}/keys"),
        audit = format!("{data}/audit"),
        upstream = helseid.upstream.expose(),
        rows = helseid.rows(fhir, policy),
        clients = clients.expose(),
        hospital_here = demo_hospital::AS_CLIENT,
        hospital_row = hospital.row,
        hospital_clients = hospital.clients.expose(),
    ))
}
