//! `cargo xtask chaos` and `cargo xtask soak` run this. What they promise is in docs/testing.md.

mod ask;
mod browser;
mod cast;
mod checker;
mod crowds;
mod dice;
mod faults;
mod grants;
mod history;
mod load;
mod proc;
mod process;
mod proxy;
mod redis;
mod run;
mod soak;
mod upstream;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use cast::On;
use faults::Kind;
use run::Plan;

/// A failure ends a run, never the program's promise to end what it started.
type Failed = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "\
Usage: cargo xtask chaos [OPTIONS]

Breaks what the server stands on while it works, and checks every answer. Ends with 0 only where no promise was broken.

Options:
  --minutes N     How long, both stores together; 10 where left out
  --seconds N     The same in seconds
  --seed S        What is broken when; 1 where left out
  --store WHICH   embedded, redis or both; both where left out
  --keep DIR      Keep the history, the logs and the stores there
  --recovers N    How long after a fault its traces may be seen, in seconds; 5 where left out
  --only KINDS    These faults alone, by commas
  --wait-replicas N  Of the two there are; 2 where left out
  --planted       Break a promise on purpose (a fail-over without wait_replicas): ends with 0 only where the checker saw it";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Whoever installs a provider first wins; there is only this one to install.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match words.as_slice() {
        ["chaos", helsebro, rest @ ..] => runtime.block_on(chaos(Path::new(helsebro), rest)),
        ["soak", helsebro, rest @ ..] => runtime.block_on(soaked(Path::new(helsebro), rest)),
        ["crowds", helsebro] => runtime.block_on(crowds::run(Path::new(helsebro))),
        ["grants", helsebro] => runtime.block_on(grants::run(Path::new(helsebro), 1_000_000)),
        ["grants", helsebro, count] => count.parse().map_err(Failed::from).and_then(|count| runtime.block_on(grants::run(Path::new(helsebro), count))),
        // For `cargo xtask bench --scale`.
        ["fill", store, issuer, count] => {
            count.parse().map_err(Failed::from).and_then(|count| runtime.block_on(grants::fill(Path::new(store), issuer, count))).map(|()| true)
        }
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

const SOAK_USAGE: &str = "\
Usage: cargo xtask soak [OPTIONS]

Works the server at sixty percent of its capacity, which is measured first, and looks whether memory, file descriptors or tasks grow.

Options:
  --minutes N     How long; 15 where left out
  --rate R        Launches a second, with about nine requests each, or auto";

async fn soaked(helsebro: &Path, words: &[&str]) -> Result<bool, Failed> {
    let (mut lasts, mut rate) = (Duration::from_secs(900), None);
    let mut rest = words.iter();
    while let Some(option) = rest.next() {
        let value = rest.next().copied().ok_or_else(|| format!("{option} needs a value"));
        match *option {
            "--minutes" => lasts = Duration::from_secs_f64(value?.parse::<f64>()?.clamp(0.2, 1440.0) * 60.0),
            "--rate" => rate = Some(value?).filter(|rate| *rate != "auto").map(str::parse::<f64>).transpose()?,
            unknown => return Err(format!("{unknown} is no option\n\n{SOAK_USAGE}").into()),
        }
    }
    soak::run(helsebro, lasts, rate).await
}

/// What an optimised build is held to.
const RECOVERS: Duration = Duration::from_secs(5);

struct Options {
    lasts: Duration,
    seed: u64,
    embedded: bool,
    redis: bool,
    keep: Option<PathBuf>,
    only: Option<Vec<Kind>>,
    planted: bool,
    wait_replicas: u32,
    recovers: Duration,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self, Failed> {
        let mut options = Self {
            lasts: Duration::from_secs(600),
            seed: 1,
            embedded: true,
            redis: true,
            keep: None,
            only: None,
            planted: false,
            wait_replicas: 2,
            recovers: RECOVERS,
        };
        let mut rest = words.iter();
        while let Some(option) = rest.next() {
            let mut value = || rest.next().copied().ok_or_else(|| format!("{option} needs a value"));
            match *option {
                "--minutes" => options.lasts = Duration::from_secs_f64(value()?.parse::<f64>()?.clamp(0.1, 1440.0) * 60.0),
                "--seconds" => options.lasts = Duration::from_secs_f64(value()?.parse::<f64>()?.clamp(5.0, 86400.0)),
                "--seed" => options.seed = value()?.parse()?,
                "--store" => {
                    (options.embedded, options.redis) = match value()? {
                        "embedded" => (true, false),
                        "redis" => (false, true),
                        "both" => (true, true),
                        other => return Err(format!("--store: {other:?} is none of embedded, redis, both").into()),
                    };
                }
                "--keep" => options.keep = Some(value()?.into()),
                "--only" => options.only = Some(value()?.split(',').map(kind).collect::<Result<_, _>>()?),
                // All of them where left out: any may be the next primary. docs/operations.md, What a fail-over may undo.
                "--wait-replicas" => options.wait_replicas = value()?.parse()?,
                "--recovers" => options.recovers = Duration::from_secs_f64(value()?.parse::<f64>()?.clamp(1.0, 60.0)),
                "--planted" => options.planted = true,
                unknown => return Err(format!("{unknown} is no option\n\n{USAGE}").into()),
            }
        }
        Ok(options)
    }
}

fn kind(name: &str) -> Result<Kind, Failed> {
    Kind::ALL.iter().copied().find(|kind| format!("{kind:?}") == name).ok_or_else(|| format!("{name:?} is no fault; there are {:?}", Kind::ALL).into())
}

async fn chaos(helsebro: &Path, words: &[&str]) -> Result<bool, Failed> {
    let options = Options::parse(words)?;
    let redis = redis::program();
    if redis.is_none() && options.redis {
        println!("left out: everything on Redis: there is no redis-server here");
    }
    let mut casts = Vec::new();
    if options.planted {
        casts.push(On::Redis { wait_replicas: 0 });
    } else {
        if options.embedded {
            // One after the other by the seed: what a kill leaves differs.
            casts.push(On::Embedded { durability: if options.seed.is_multiple_of(2) { "process" } else { "power-loss" } });
        }
        if options.redis {
            casts.push(On::Redis { wait_replicas: options.wait_replicas });
        }
    }
    casts.retain(|on| !on.is_redis() || redis.is_some());
    let each = options.lasts / u32::try_from(casts.len().max(1))?;
    let mut held = true;
    for on in casts {
        let only = if options.planted {
            Some((vec![Kind::IsolatePrimary], Duration::from_secs(5)))
        } else {
            options.only.clone().map(|kinds| (kinds, Duration::from_secs(3)))
        };
        let plan =
            Plan { on, seed: options.seed, lasts: each, helsebro, redis: redis.as_deref(), keep: options.keep.as_deref(), only, recovers: options.recovers };
        let verdict = run::run(&plan).await?;
        let caught = verdict.violations.iter().any(|violation| violation.rule != "serves" && violation.rule != "recovers" && violation.rule != "answered");
        held &= if options.planted { caught } else { verdict.violations.is_empty() };
        if options.planted {
            println!("   {}", if caught { "the planted fault was caught" } else { "the planted fault was NOT caught" });
        }
    }
    Ok(held)
}
