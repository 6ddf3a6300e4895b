//! The command line. Every command says what went wrong in one sentence and ends with 0, 1 (it failed) or 2 (it was called wrongly).

mod admin;
mod audit;
mod clients;
mod completions;
mod fhir;
mod found;
mod grants;
mod health;
mod helseid;
mod keys;
mod log;
mod notify;
mod pinned;
mod sessions;
mod show;
mod store;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::app::demo::{self, DemoOptions};
use crate::app::reload::{Reloader, Source};
use crate::app::server::{self, Listeners};
use crate::config::{self, Direction, ExchangeQuestion};
use crate::random::SystemRandom;
use crate::time::SystemClock;

/// Helsebro: a SMART on FHIR EHR-launch authorization server, with the mocks to test it against.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on loopback with synthetic data, and walk one launch through (the default)
    Demo(DemoArgs),
    /// Run the authorization server
    Serve(ServeArgs),
    /// Run the mock FHIR R4 server alone
    Fhir(fhir::FhirArgs),
    /// Run the mock of HelseID alone: an identity provider with synthetic people and faults on demand
    Helseid(helseid::HelseidArgs),
    /// Have a running server read its configuration again, and say what changed
    ///
    /// All of it is taken, or nothing: where something is wrong, or needs a restart, it is said.
    #[command(verbatim_doc_comment)]
    Reload(admin::Target),
    /// List and rotate signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Register, list and change clients
    #[command(subcommand)]
    Clients(clients::ClientsCommand),
    /// Find and end sessions: who is logged in
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Find and end grants: what apps were allowed
    #[command(subcommand)]
    Grants(grants::GrantsCommand),
    /// Look after the store, and move it to another back end
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Check and read the audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Check a configuration, or print its reference
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a running server whether it is well: exit code 0 where it is
    Health(health::HealthArgs),
    /// Print what a shell needs to complete these commands
    Completions(completions::CompletionsArgs),
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Exit after the walk-through: 0 only if every step held
    #[arg(long)]
    once: bool,
    /// Start without the walk-through
    #[arg(long, conflicts_with = "once")]
    no_walk: bool,
    /// Write addresses, clients and ready launches to this file (mode 0600) once everything listens
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where state lives
    #[arg(long, value_name = "DIR", default_value = ".data")]
    data: PathBuf,
    /// Wipe the state first
    #[arg(long)]
    fresh: bool,
    /// The first of the ports; 0 takes free ones
    #[arg(long, value_name = "N", default_value_t = 9400, value_parser = clap::value_parser!(u16).range(0..=65527))]
    port_base: u16,
    /// Add or replace clients: [[client]] tables, as in a configuration
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
    /// Add rows to the exchange policy: [[issuer.exchange]] tables; {issuer} and {fhir} in them stand for the demo's
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Walk with this fault on, and see it end well: a name of the EPJ page's list, or a kind of the mock's (docs/helseid-mock.md)
    #[arg(long, value_name = "NAME", conflicts_with = "no_walk")]
    fault: Option<String>,
}

impl Default for DemoArgs {
    fn default() -> Self {
        Self { once: false, no_walk: false, json: None, data: ".data".into(), fresh: false, port_base: 9400, clients: None, policy: None, fault: None }
    }
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The configuration; `helsebro config reference` prints every key
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Add or replace clients: [[client]] tables
    #[arg(long, value_name = "FILE")]
    clients: Vec<PathBuf>,
    /// Let the operations listener move the clock, where listeners and issuers are on loopback: for tests
    #[arg(long, hide = true)]
    test_clock: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say everything that is wrong with a configuration, and what it means
    Check {
        /// The configuration
        file: PathBuf,
    },
    /// Say what differs between two configurations, and what of it needs a restart
    Diff {
        old: PathBuf,
        new: PathBuf,
        /// Client files beside both, as given to `serve`
        #[arg(long, value_name = "FILE")]
        clients: Vec<PathBuf>,
    },
    /// Print every key with its default and unit
    Reference,
    /// Say which rules a client lives under, and where each comes from
    Explain {
        /// The client
        #[arg(value_name = "CLIENT_ID")]
        client: String,
        /// The configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Client files beside it, as given to `serve`
        #[arg(long, value_name = "FILE")]
        clients: Vec<PathBuf>,
        /// Which issuer of the file, where several have the client
        #[arg(long, value_name = "URL")]
        at: Option<String>,
    },
    /// Say which row of the exchange policy permits a token exchange, or why none does
    ExplainExchange(ExplainArgs),
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The configuration
    file: PathBuf,
    /// The client that would ask
    #[arg(long, value_name = "CLIENT_ID")]
    caller: String,
    /// The target, as `audience` or `resource` would have it
    #[arg(long, value_name = "TARGET")]
    audience: String,
    /// Only rows of this direction
    #[arg(long, value_parser = ["to-upstream", "from-upstream", "own", "foreign"])]
    direction: Option<String>,
    /// The issuer of the subject token, where it is a foreign one
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// What would be asked for
    #[arg(long, value_name = "SCOPES")]
    scope: Option<String>,
    /// Which issuer of the file; the first where left out
    #[arg(long, value_name = "URL")]
    at: Option<String>,
}

impl ExplainArgs {
    fn explain(&self) -> (String, bool) {
        let directions = [Direction::ToUpstream, Direction::FromUpstream, Direction::Own, Direction::Foreign];
        let direction = self.direction.as_deref().and_then(|word| directions.into_iter().find(|direction| direction.as_str() == word));
        let question = ExchangeQuestion {
            at: self.at.as_deref(),
            caller: &self.caller,
            target: &self.audience,
            direction,
            from: self.from.as_deref(),
            scope: self.scope.as_deref(),
        };
        config::explain_exchange(&self.file, &question)
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Demo(DemoArgs::default())) {
        Command::Config(ConfigCommand::Reference) => print(config::reference(), true),
        Command::Config(ConfigCommand::Check { file }) => {
            let (report, ok) = config::check_report(&file);
            print(&report, ok)
        }
        Command::Config(ConfigCommand::Diff { old, new, clients }) => {
            let clients: Vec<&Path> = clients.iter().map(PathBuf::as_path).collect();
            let (report, ok) = config::diff_report(&old, &new, &clients);
            print(&report, ok)
        }
        Command::Config(ConfigCommand::Explain { client, config, clients, at }) => {
            let clients: Vec<&Path> = clients.iter().map(PathBuf::as_path).collect();
            let (report, ok) = config::explain_client(&config, &clients, at.as_deref(), &client);
            print(&report, ok)
        }
        Command::Config(ConfigCommand::ExplainExchange(args)) => {
            let (report, ok) = args.explain();
            print(&report, ok)
        }
        Command::Demo(args) => on_runtime(run_demo(args)),
        Command::Serve(args) => on_runtime(run_server(args)),
        Command::Fhir(args) => on_runtime(fhir::run(args)),
        Command::Helseid(args) => on_runtime(helseid::run(args)),
        Command::Audit(command) => audit::run(command),
        Command::Health(args) => on_runtime(ended(health::run(args))),
        Command::Completions(args) => print(&completions::script::<Cli>(&args), true),
        Command::Reload(target) => on_runtime(ended(reload(target))),
        Command::Store(command) => on_runtime(store::run(command)),
        Command::Keys(command) => on_runtime(ended(keys::run(command))),
        Command::Clients(command) => on_runtime(ended(clients::run(command))),
        Command::Sessions(command) => on_runtime(ended(sessions::run(command))),
        Command::Grants(command) => on_runtime(ended(grants::run(command))),
    }
}

fn print(text: &str, ok: bool) -> ExitCode {
    // Whoever stops reading early has seen enough.
    let _closed = io::stdout().write_all(text.as_bytes());
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A worker looks for new events at least after so many steps of tasks: a step is up to a signature long, and whoever comes in a crowd waits that often for
/// one (`listen/turns.rs`). Looking takes a microsecond.
const LOOKS_EVERY: u32 = 24;

fn on_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().event_interval(LOOKS_EVERY).enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => fail(&error),
    }
}

/// What a command prints, or why it failed.
async fn ended<E: std::fmt::Display>(work: impl Future<Output = Result<String, E>>) -> ExitCode {
    match work.await {
        Ok(text) => print(&text, true),
        Err(error) => fail(&error),
    }
}

async fn reload(target: admin::Target) -> Result<String, admin::AdminError> {
    let server = match admin::find(&target).await? {
        admin::Found::Server(server) => server,
        admin::Found::Nobody { at, .. } => return Err(admin::AdminError::NobodyRuns(at)),
    };
    let answer = server.ask(reqwest::Method::POST, "/reload", None).await?;
    if target.output == admin::Output::Json {
        return Ok(show::json(&answer));
    }
    let changes: Vec<String> = answer.get("changes").and_then(serde_json::Value::as_array).into_iter().flatten().map(show::text).collect();
    Ok(if changes.is_empty() { "Nothing differs.\n".to_owned() } else { changes.iter().map(|change| format!("{change}\n")).collect() })
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("helsebro: {error}");
    ExitCode::FAILURE
}

async fn run_demo(args: DemoArgs) -> ExitCode {
    log::for_demo();
    let options = DemoOptions { port_base: args.port_base, data: args.data, fresh: args.fresh, json: args.json, clients: args.clients, policy: args.policy };
    let demo = match demo::start(&options).await {
        Ok(demo) => demo,
        Err(error) => return fail(&error),
    };
    let mut held = true;
    if !args.no_walk {
        let summary = match &args.fault {
            None => demo.walk(&mut io::stdout()).await,
            Some(name) => demo.walk_with_fault(name, &mut io::stdout()).await,
        };
        held = summary.failed == 0;
    }
    if !args.once {
        println!("\n{}\nStop with Ctrl-C.", demo.where_to_go());
        stop_signal().await;
    }
    demo.stop().await;
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run_server(args: ServeArgs) -> ExitCode {
    let clients: Vec<&Path> = args.clients.iter().map(PathBuf::as_path).collect();
    let loaded = match config::load_written(&args.config, &clients) {
        Ok(loaded) => loaded,
        Err(found) => {
            eprint!("{found}");
            return ExitCode::FAILURE;
        }
    };
    let checked = &loaded.checked;
    let (_log, set_level) = match log::for_server(&checked.config) {
        Ok(log) => log,
        Err(error) => return fail(&error),
    };
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    if args.test_clock && !is_for_tests(&checked.config) {
        return fail(&"--test-clock is for tests: listen, ops_listen and every issuer must be on loopback");
    }
    let clock = SystemClock::shared();
    let test_clock = args.test_clock.then(|| clock.clone());
    let started = match Listeners::of(&checked.config).await {
        Ok(listeners) => server::start(&checked.config, listeners, clock, Arc::new(SystemRandom), test_clock).await,
        Err(error) => Err(error),
    };
    let running = match started {
        Ok(running) => running,
        Err(error) => return fail(&error),
    };
    for issuer in &checked.config.issuers {
        tracing::info!(issuer = %issuer.url(), clients = issuer.rules.clients.len(), "serving");
    }
    let reloader = Arc::clone(&running.reloader);
    reloader.follow(Source { config: args.config.clone(), clients: args.clients.clone(), set_level }, loaded).await;
    // Before anybody hears that we are ready: without it the signal ends the process.
    let hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    let reloading = tokio::spawn(on_hangup(hangup, reloader));
    tracing::info!(listen = %running.public, operations = %running.ops, "ready");
    notify::tell(notify::State::Ready);
    stop_signal().await;
    notify::tell(notify::State::Stopping);
    reloading.abort();
    tracing::info!("stopping: no new connections, requests under way are finished");
    running.stop().await;
    ExitCode::SUCCESS
}

/// Whether nobody but this machine is served. A socket file may have a proxy before it, and then its issuer has a name.
fn is_for_tests(config: &config::Config) -> bool {
    config.server.listen.is_local() && config.server.ops_listen.is_local() && config.issuers.iter().all(|issuer| issuer.url().is_loopback())
}

/// SIGHUP reads the configuration again, each time.
async fn on_hangup(hangup: io::Result<tokio::signal::unix::Signal>, reloader: Arc<Reloader>) {
    let mut hangup = match hangup {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be waited for; `helsebro reload` reads the configuration again");
            return;
        }
    };
    while hangup.recv().await.is_some() {
        let _told = reloader.reload_on_signal().await;
    }
}

/// SIGTERM or Ctrl-C.
async fn stop_signal() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be waited for; Ctrl-C stops the server");
            let _interrupted = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
