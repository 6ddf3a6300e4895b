//! `cargo xtask bench` runs this: how fast the server is, beside what nothing could be faster than. See docs/performance.md.

mod client;
mod drive;
mod floor;
mod half;
mod hello;
mod histogram;
mod keys;
mod machine;
mod profile;
mod question;
mod report;
mod rounds;
mod scale;
mod script;
mod server;
mod template;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use drive::Run;
use question::{Place, Question};
use rounds::{Errand, Plan};
use server::{Bench, Size};

/// A failure ends a run, never the program's promise to stop what it started.
type Failed = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "\
Usage: cargo xtask bench [OPTIONS]

Asks the questions of benches/questions of hello, of the server on each store and of the peer, in turn, and writes docs/performance.md.

Options:
  --quick            Two short rounds; writes nothing to docs
  --write            Writes to docs all the same
  --only LIST        Questions by name, by commas; writes nothing to docs
  --on LIST          Places: power-loss, process, memory, redis, fhir, peer; writes nothing to docs
  --rounds N         5 where left out
  --seconds N        Of each run: 2 where left out
  --connections N    32 where left out
  --first            Go before everything else on the two cores, for a busy machine (root only)
  --scale            Some of the questions where there is much of everything instead: grants, clients, issuers, workers
  --half             How long operations take at half of capacity instead, beside hello
  --profile          Where the time of the hot operations goes instead, by perf and inferno: a table, and docs/profiles
  --last             Measures nothing: the tables of the last run, as far as it got, into docs
  --list             The questions, and nothing else";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["hello", port, workers] => hello_server(port, workers),
        ["pieces", keys] => pieces(Path::new(keys)),
        ["drive", errand] => drive(Path::new(errand)),
        ["run", helsebro, rest @ ..] => run(Path::new(helsebro), rest),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn hello_server(port: &str, workers: &str) -> Result<(), Failed> {
    let runtime = match workers.parse()? {
        1 => runtime()?,
        several => tokio::runtime::Builder::new_multi_thread().worker_threads(several).enable_all().build()?,
    };
    Ok(runtime.block_on(hello::serve(port.parse()?))?)
}

fn pieces(keys: &Path) -> Result<(), Failed> {
    println!("{}", serde_json::to_string(&floor::measure(keys)?)?);
    Ok(())
}

fn drive(errand: &Path) -> Result<(), Failed> {
    let errand: Errand = serde_json::from_str(&std::fs::read_to_string(errand)?)?;
    let place = if errand.place == Place::Peer.name() { Place::Peer } else { Place::Hello };
    let run = Run {
        script: Question::read(Path::new(&errand.question))?.script(place),
        address: errand.address,
        setup_address: errand.setup_address,
        known: errand.known,
        keys: errand.keys,
        pid: errand.pid,
        connections: errand.connections,
        warm_up: Duration::from_secs_f64(errand.warm_up),
        measured: Duration::from_secs_f64(errand.measured),
        pace: errand.pace,
        begun: errand.begun,
    };
    let local = tokio::task::LocalSet::new();
    // Always awake: what it costs to wake the generator is none of the server's cost, and none of its latency.
    local.spawn_local(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let outcome = runtime()?.block_on(local.run_until(run.go()))?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn run(helsebro: &Path, options: &[&str]) -> Result<(), Failed> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let mut questions = Question::all(&root.join("benches/questions"))?;
    let mut plan =
        Plan { rounds: 5, warm_up: Duration::from_secs(1), measured: Duration::from_secs(2), connections: 32, places: Vec::new(), pace: None, begun: None };
    let (mut only, mut writes, mut first, mut what) = (Vec::new(), true, false, What::Costs);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().copied().ok_or_else(|| format!("{option} needs a value"));
        match *option {
            "--quick" => {
                (plan.rounds, plan.warm_up, plan.measured) = (2, Duration::from_millis(400), Duration::from_millis(1000));
                writes = false;
            }
            "--write" => writes = true,
            "--only" => (only, writes) = (list(value()?), false),
            "--on" => (plan.places, writes) = (list(value()?), false),
            "--rounds" => plan.rounds = value()?.parse::<usize>()?.clamp(1, 50),
            "--seconds" => plan.measured = Duration::from_secs_f64(value()?.parse::<f64>()?.clamp(0.2, 60.0)),
            "--connections" => plan.connections = value()?.parse::<usize>()?.clamp(1, 1024),
            "--first" => first = true,
            "--scale" => what = What::Scale,
            "--profile" => what = What::Profile,
            "--half" => what = What::Half,
            "--last" => what = What::Last,
            "--list" => {
                questions.iter().for_each(|question| println!("{:<28} {}", question.name, question.ask));
                return Ok(());
            }
            unknown => return Err(format!("{unknown} is no option\n\n{USAGE}").into()),
        }
    }
    if let Some(unknown) = only.iter().find(|name| !questions.iter().any(|question| question.name == **name)) {
        return Err(format!("there is no benches/questions/{unknown}.toml").into());
    }
    let bench = bench_in(&root, helsebro, first)?;
    let (block, table) = match what {
        What::Scale => (report::SCALED, scale::measure(&bench, &questions, &plan)?),
        What::Half => (report::HALVED, half::measure(&bench, &questions, &plan)?),
        What::Profile => (report::PROFILED, profile::measure(&bench, &questions, &only, plan.connections)?),
        What::Costs | What::Last => {
            // The yardstick is always asked: without it nothing has a measure.
            questions.retain(|question| only.is_empty() || only.contains(&question.name) || question.on.contains(&Place::Hello));
            let found = if what == What::Last { rounds::last(&bench)? } else { rounds::measure(&bench, &questions, &plan)? };
            if writes {
                std::fs::write(root.join("docs/performance.json"), serde_json::to_string_pretty(&found)?)?;
            }
            (report::MEASURED, report::tables(&questions, &found))
        }
    };
    println!("\n{table}");
    if writes {
        report::write(&root.join("docs/performance.md"), block, &table)?;
    }
    Ok(())
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Costs,
    /// Nothing: the last run of it is written.
    Last,
    Scale,
    Half,
    Profile,
}

fn bench_in(root: &Path, helsebro: &Path, first: bool) -> Result<Bench, Failed> {
    let bench = Bench { work: root.join("target/bench"), root: root.to_owned(), helsebro: helsebro.canonicalize()?, first, size: Size::default() };
    std::fs::create_dir_all(&bench.work)?;
    Ok(bench)
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).collect()
}
