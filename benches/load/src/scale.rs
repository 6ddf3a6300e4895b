//! Whether an operation costs the same where there is much of everything: grants, clients, issuers, and more than one worker.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Failed;
use crate::machine;
use crate::question::{Place, Question};
use crate::report::median;
use crate::rounds::{Plan, drive};
use crate::server::{Bench, Running, SERVER_CORE, Size};

/// What is asked: a read, what many requests do, a signature, a write, and all of it.
const ASKED: [&str; 5] = ["discovery", "introspect-seen", "cc-es256", "refresh-rotated", "code-es256"];

const CLIENTS: usize = 10_000;
const ISSUERS: usize = 200;
const SOME_GRANTS: usize = 100_000;
const GRANTS: usize = 1_000_000;
/// The generator's too, which is always awake: the second worker has half of that one.
const BOTH_CORES: &str = "0,1";

/// What was found of a kind of server.
#[derive(Clone, Default)]
struct Found {
    /// By question: processor time, a value a round.
    micros: Vec<Vec<f64>>,
    /// The most memory it ever had, a value a round.
    peak_mib: Vec<f64>,
}

/// A server that has much of one thing.
struct Kind {
    name: String,
    place: Place,
    size: Size,
    grants: usize,
}

impl Kind {
    fn new(name: impl Into<String>, size: Size) -> Self {
        Self { name: name.into(), place: Place::PowerLoss, size, grants: 0 }
    }

    /// The smallest server there can be: what of a difference is the machine's.
    fn hello(name: &str, size: Size) -> Self {
        Self { place: Place::Hello, ..Self::new(name, size) }
    }
}

/// One worker and little comes first of each place: the others are held against it.
fn kinds() -> [Kind; 10] {
    let plain = Size::default();
    let (two, two_on_two) = (Size { workers: 2, ..plain }, Size { workers: 2, cores: BOTH_CORES, ..plain });
    [
        Kind::new("little", plain),
        Kind::new(format!("{CLIENTS} clients"), Size { clients: CLIENTS, ..plain }),
        Kind::new(format!("{ISSUERS} issuers"), Size { issuers: ISSUERS, ..plain }),
        Kind { grants: SOME_GRANTS, ..Kind::new(format!("{SOME_GRANTS} grants"), plain) },
        Kind { grants: GRANTS, ..Kind::new(format!("{GRANTS} grants"), plain) },
        Kind::new("two workers on one core", two),
        Kind::new("two workers on two cores", two_on_two),
        Kind::hello("`hello` (one answer)", plain),
        Kind::hello("`hello` (one answer), two workers on one core", two),
        Kind::hello("`hello` (one answer), two workers on two cores", two_on_two),
    ]
}

/// Measures, and answers the table.
///
/// # Errors
/// A server that does not start, or a question that it does not answer.
pub fn measure(bench: &Bench, questions: &[Question], plan: &Plan) -> Result<String, Failed> {
    let asked: Vec<&Question> = ASKED.iter().filter_map(|name| questions.iter().find(|question| question.name == *name)).collect();
    let hello: Vec<&Question> = questions.iter().filter(|question| question.name == "hello-get").collect();
    let kinds = kinds();
    let mut found = vec![Found { micros: vec![Vec::new(); asked.len()], ..Found::default() }; kinds.len()];
    let loads = (0..plan.rounds).map(|_| machine::load());
    for (round, load) in loads.enumerate() {
        println!("round {}, load {load:.1}", round + 1);
        for (kind, found) in kinds.iter().zip(&mut found) {
            let bench = Bench { size: kind.size, ..bench.clone() };
            let running = started(&bench, kind, &asked, plan)?;
            let asked = if kind.place == Place::Hello { &hello } else { &asked };
            let mut peak: f64 = 0.0;
            for (question, micros) in asked.iter().zip(&mut found.micros) {
                let outcome = drive(&bench, &running, question, kind.place, plan.connections, plan)?;
                println!("{:<34} {:<18} {:>8.1} µs cpu  errors {}", kind.name, question.name, outcome.server_micros, outcome.errors);
                micros.push(outcome.server_micros);
                peak = peak.max(outcome.peak_mib);
            }
            found.peak_mib.push(peak);
        }
    }
    Ok(table(&asked, &kinds, &found, plan))
}

fn started(bench: &Bench, kind: &Kind, asked: &[&Question], plan: &Plan) -> Result<Running, Failed> {
    let running = bench.start(kind.place, "")?;
    if kind.grants == 0 {
        return Ok(running);
    }
    // Some grants to copy.
    let launches = asked.last().ok_or("nothing is asked")?;
    let _few = drive(bench, &running, launches, Place::PowerLoss, 1, &Plan { measured: Duration::from_millis(300), ..plan.clone() })?;
    let (port, issuer) = (running.address.port(), running.known.get("issuer").cloned().unwrap_or_default());
    drop(running);
    let fills = std::env::current_exe()?.with_file_name("helsebro-chaos");
    let store = bench.work.join(Place::PowerLoss.name()).join("store.redb");
    let filled = Command::new(&fills).args([Path::new("fill"), &store, Path::new(&issuer)]).arg(kind.grants.to_string()).status();
    if !filled.is_ok_and(|status| status.success()) {
        return Err(format!("{} could not fill the store", fills.display()).into());
    }
    bench.again(Place::PowerLoss, SERVER_CORE, port)
}

fn table(asked: &[&Question], kinds: &[Kind], found: &[Found], plan: &Plan) -> String {
    let mut text = format!(
        "{}; {} rounds in turn, {} connections. Processor time for one operation in microseconds, median, and beside it how often that of a server with little; the most memory it had meanwhile.\n\n| |",
        machine::describe(),
        plan.rounds,
        plan.connections
    );
    let names: String = asked.iter().map(|question| format!(" {} |", question.name)).collect();
    let _written = writeln!(text, "{names} MiB |\n|---|{}", "---:|".repeat(asked.len() + 1));
    for (kind, found_here) in kinds.iter().zip(found) {
        let beside = kinds.iter().position(|other| other.place == kind.place).and_then(|first| found.get(first));
        let cells = found_here.micros.iter().zip(beside.into_iter().flat_map(|beside| &beside.micros)).map(|(here, little)| {
            match (median(here.iter().copied()), median(little.iter().copied())) {
                (Some(here), Some(little)) => format!(" {here:.1} ({:.2}) |", here / little),
                _ => " – |".to_owned(),
            }
        });
        let peak = median(found_here.peak_mib.iter().copied()).map_or_else(|| "–".to_owned(), |mib| format!("{mib:.0}"));
        let _written = writeln!(text, "| {} |{} {peak} |", kind.name, cells.collect::<String>());
    }
    text
}
