//! The rounds: every server in turn, every question it is asked in turn, again and again, so that what disturbs the machine disturbs all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drive::Outcome;
use crate::question::{Place, Question};
use crate::server::{Bench, OTHER_CORE, Running, SERVER_CORE, Turn, on_core};
use crate::{Failed, machine};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: usize,
    pub warm_up: Duration,
    pub measured: Duration,
    pub connections: usize,
    /// Only these places; all where empty.
    pub places: Vec<String>,
    /// Operations a second; as many as there can be where there is none.
    pub pace: Option<f64>,
    /// Written when the measuring begins.
    pub begun: Option<PathBuf>,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    pub machine: String,
    pub rounds: usize,
    pub seconds_each: f64,
    pub connections: usize,
    /// Load average before each round.
    pub loads: Vec<f64>,
    /// Microseconds of processor time of pieces of cryptography, a value a round.
    pub pieces: BTreeMap<String, Vec<f64>>,
    /// By question, then place: an outcome a round.
    pub outcomes: BTreeMap<String, BTreeMap<String, Vec<Outcome>>>,
    /// The same with one connection.
    pub alone: BTreeMap<String, Vec<Outcome>>,
    /// By place: milliseconds from start to first answer, and MiB then.
    pub starts: BTreeMap<String, Vec<(f64, f64)>>,
    /// What could not be measured, and why.
    pub left_out: BTreeSet<String>,
}

/// What is handed to the generator, which runs as a process of its own on its own core.
#[derive(Debug, Serialize, Deserialize)]
pub struct Errand {
    pub question: String,
    pub place: String,
    pub address: std::net::SocketAddr,
    pub setup_address: std::net::SocketAddr,
    pub known: BTreeMap<String, String>,
    pub keys: std::path::PathBuf,
    pub pid: u32,
    pub connections: usize,
    pub warm_up: f64,
    pub measured: f64,
    pub pace: Option<f64>,
    pub begun: Option<PathBuf>,
}

/// Measures everything, and prints a line for each run.
///
/// # Errors
/// When this program itself cannot work here.
pub fn measure(bench: &Bench, questions: &[Question], plan: &Plan) -> Result<Measured, Failed> {
    let mut found = Measured {
        machine: machine::describe(),
        rounds: plan.rounds,
        seconds_each: plan.measured.as_secs_f64(),
        connections: plan.connections,
        ..Measured::default()
    };
    let wanted = |place: Place| plan.places.is_empty() || plan.places.iter().any(|name| name == place.name());
    for round in 1..=plan.rounds {
        found.loads.push(machine::load());
        for (name, micros) in pieces(bench)? {
            found.pieces.entry(name).or_default().push(micros);
        }
        for place in [Place::Hello, Place::PowerLoss, Place::Process, Place::Memory, Place::Redis, Place::Fhir] {
            let asked: Vec<&Question> = questions.iter().filter(|question| question.on.contains(&place)).collect();
            if !asked.is_empty() && (wanted(place) || place == Place::Hello) {
                at_place(bench, place, "", &asked, plan, round, &mut found);
            }
        }
        let tokens: BTreeSet<&str> = questions.iter().filter_map(|question| Some(question.peer.as_ref()?.tokens.as_str())).collect();
        for tokens in tokens.into_iter().filter(|_| wanted(Place::Peer)) {
            let asked: Vec<&Question> = questions.iter().filter(|question| question.peer.as_ref().is_some_and(|peer| peer.tokens == tokens)).collect();
            at_place(bench, Place::Peer, tokens, &asked, plan, round, &mut found);
        }
        // Whoever is interrupted keeps the rounds that were whole.
        found.rounds = round;
        std::fs::write(bench.work.join(KEPT), serde_json::to_string_pretty(&found)?)?;
    }
    Ok(found)
}

/// Where a run keeps its rounds.
const KEPT: &str = "measured.json";

/// What the last run found, in the rounds that were whole.
///
/// # Errors
/// Where none was.
pub fn last(bench: &Bench) -> Result<Measured, Failed> {
    let path = bench.work.join(KEPT);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn at_place(bench: &Bench, place: Place, tokens: &str, asked: &[&Question], plan: &Plan, round: usize, found: &mut Measured) {
    let running = match bench.start(place, tokens) {
        Ok(running) => running,
        Err(why) => {
            println!("{:<26} {:<11} left out: {why}", "", place.name());
            found.left_out.insert(format!("{}: {why}", place.name()));
            return;
        }
    };
    let at_rest = machine::memory_mib(running.pid, "VmRSS:");
    found.starts.entry(place.name().to_owned()).or_default().push((running.started_in.as_secs_f64() * 1e3, at_rest));
    for question in asked {
        let mut runs = vec![plan.connections];
        if question.goal_p50.is_some() && question.on.first() == Some(&place) {
            runs.push(1);
        }
        for connections in runs {
            match drive(bench, &running, question, place, connections, plan) {
                Ok(outcome) => {
                    println!(
                        "{:<26} {:<11} {connections:>3} {:>8.0}/s {:>8.1} µs cpu  p50 {:>6} p99 {:>7}  errors {:<4} server {:>3.0}% generator {:>3.0}% others {:>3.0}%  {round}",
                        question.name,
                        place.name(),
                        outcome.operations as f64 / outcome.seconds,
                        outcome.server_micros,
                        outcome.p50,
                        outcome.p99,
                        outcome.errors,
                        outcome.server_share * 100.0,
                        outcome.generator_share * 100.0,
                        outcome.others_share * 100.0,
                    );
                    if let Some(error) = &outcome.first_error {
                        println!("    {error}");
                    }
                    let into = if connections == 1 && plan.connections != 1 {
                        found.alone.entry(question.name.clone()).or_default()
                    } else {
                        found.outcomes.entry(question.name.clone()).or_default().entry(place.name().to_owned()).or_default()
                    };
                    into.push(outcome);
                }
                Err(why) => {
                    println!("{:<26} {:<11} failed: {why}", question.name, place.name());
                    found.left_out.insert(format!("{} on {}: {why}", question.name, place.name()));
                }
            }
        }
    }
}

/// Asks one question of a server, once.
///
/// # Errors
/// What the generator says went wrong.
pub fn drive(bench: &Bench, running: &Running, question: &Question, place: Place, connections: usize, plan: &Plan) -> Result<Outcome, Failed> {
    let errand = Errand {
        question: bench.root.join(format!("benches/questions/{}.toml", question.name)).display().to_string(),
        place: place.name().to_owned(),
        address: running.address,
        setup_address: running.setup_address,
        known: running.known.clone(),
        keys: bench.keys(),
        pid: running.pid,
        connections,
        warm_up: plan.warm_up.as_secs_f64(),
        measured: plan.measured.as_secs_f64(),
        pace: plan.pace,
        begun: plan.begun.clone(),
    };
    let path = bench.work.join("errand.json");
    std::fs::write(&path, serde_json::to_string(&errand)?)?;
    let answer = this_program(OTHER_CORE, turn(bench), &["drive"], Some(&path))?;
    Ok(serde_json::from_str(&answer)?)
}

/// What pieces of cryptography cost here.
///
/// # Errors
/// What they say went wrong.
pub fn pieces(bench: &Bench) -> Result<BTreeMap<String, f64>, Failed> {
    Ok(serde_json::from_str(&this_program(SERVER_CORE, turn(bench), &["pieces"], Some(&bench.keys()))?)?)
}

fn turn(bench: &Bench) -> Turn {
    if bench.first { Turn::First } else { Turn::Waits }
}

/// What this program prints with other arguments, on a core of its own.
fn this_program(core: &str, turn: Turn, arguments: &[&str], path: Option<&Path>) -> Result<String, Failed> {
    let mut command = on_core(core, turn, &std::env::current_exe()?);
    let output = command.args(arguments).args(path).stdout(Stdio::piped()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
