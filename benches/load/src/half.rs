//! How long an operation takes where the server has as much to do as half of what it can, held against `hello` in the same round.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::Failed;
use crate::drive::Outcome;
use crate::machine;
use crate::question::{Place, Question};
use crate::report::median;
use crate::rounds::{Plan, drive, pieces};
use crate::server::Bench;

const ASKED: [(&str, Place); 7] = [
    ("hello-get", Place::Hello),
    ("discovery", Place::PowerLoss),
    ("introspect-seen", Place::PowerLoss),
    ("introspect-first", Place::PowerLoss),
    ("cc-es256", Place::PowerLoss),
    ("refresh-rotated", Place::Process),
    ("code-es256", Place::Process),
];

/// How much slower than `hello` the slow ones may be, besides the operation's own signatures.
const TIMES: f64 = 2.0;

/// Measures, and answers the table.
///
/// # Errors
/// A server that does not start, or a question that it does not answer.
pub fn measure(bench: &Bench, questions: &[Question], plan: &Plan) -> Result<String, Failed> {
    let mut found: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
    let mut signatures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..plan.rounds {
        println!("round {}, load {:.1}", round + 1, machine::load());
        let pieces = pieces(bench)?;
        for (name, place) in ASKED {
            let question = questions.iter().find(|question| question.name == name).ok_or_else(|| format!("there is no question {name}"))?;
            let running = bench.start(place, "")?;
            let all = drive(bench, &running, question, place, plan.connections, &Plan { measured: Duration::from_secs(1), ..plan.clone() })?;
            let pace = all.operations as f64 / all.seconds / 2.0;
            let outcome = drive(bench, &running, question, place, plan.connections, &Plan { pace: Some(pace), ..plan.clone() })?;
            println!("{name:<18} {pace:>8.0}/s p50 {:>6} p99 {:>6} p99.9 {:>6} errors {}", outcome.p50, outcome.p99, outcome.p999, outcome.errors);
            found.entry(name).or_default().push(outcome);
            signatures.entry(name).or_default().push(question.signatures_micros(&pieces));
        }
    }
    Ok(table(&found, &signatures, plan))
}

fn table(found: &BTreeMap<&str, Vec<Outcome>>, signatures: &BTreeMap<&str, Vec<f64>>, plan: &Plan) -> String {
    let mut text = format!(
        "{}; {} rounds, {} s each, {} connections. Medians, in microseconds from when an operation was due; permitted is twice what `hello` has, and the operation's own signatures.\n\n",
        machine::describe(),
        plan.rounds,
        plan.measured.as_secs_f64(),
        plan.connections
    );
    text.push_str("| question | operations a second | p50 | p99 | permitted | p99.9 | permitted | errors |\n|---|---:|---:|---:|---:|---:|---:|---:|\n");
    let of = |name: &str, what: fn(&Outcome) -> u64| median(found.get(name).into_iter().flatten().map(|outcome| what(outcome) as f64)).unwrap_or(0.0);
    for (name, _) in ASKED {
        let outcomes = || found.get(name).into_iter().flatten();
        let (rate, errors) = (
            median(outcomes().map(|outcome| outcome.operations as f64 / outcome.seconds)).unwrap_or(0.0),
            outcomes().map(|outcome| outcome.errors).sum::<u64>(),
        );
        let own = median(signatures.get(name).into_iter().flatten().copied()).unwrap_or(0.0);
        let permitted = |what: fn(&Outcome) -> u64| if name == ASKED[0].0 { "–".to_owned() } else { format!("{:.0}", TIMES * of(ASKED[0].0, what) + own) };
        let _written = writeln!(
            text,
            "| {name} | {rate:.0} | {:.0} | {:.0} | {} | {:.0} | {} | {errors} |",
            of(name, |outcome| outcome.p50),
            of(name, |outcome| outcome.p99),
            permitted(|outcome| outcome.p99),
            of(name, |outcome| outcome.p999),
            permitted(|outcome| outcome.p999),
        );
    }
    text
}
