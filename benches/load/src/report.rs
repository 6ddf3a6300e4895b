//! What was measured, as the table of `docs/performance.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::drive::Outcome;
use crate::question::{Hello, Place, Question};
use crate::rounds::Measured;

/// A part of the document that a measurement writes.
#[derive(Clone, Copy)]
pub struct Block {
    pub begin: &'static str,
    pub end: &'static str,
}

pub const MEASURED: Block = Block { begin: "<!-- measured: begin -->", end: "<!-- measured: end -->" };
pub const SCALED: Block = Block { begin: "<!-- scaled: begin -->", end: "<!-- scaled: end -->" };
pub const HALVED: Block = Block { begin: "<!-- halved: begin -->", end: "<!-- halved: end -->" };
pub const PROFILED: Block = Block { begin: "<!-- profiled: begin -->", end: "<!-- profiled: end -->" };

pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0) } else { values.get(middle).copied() }
}

fn of(outcomes: &[Outcome], what: impl Fn(&Outcome) -> f64) -> f64 {
    median(outcomes.iter().map(what)).unwrap_or(0.0)
}

/// Medians of the pieces of a floor: requests of `hello`, cryptography.
fn pieces(found: &Measured) -> BTreeMap<String, f64> {
    let mut pieces: BTreeMap<String, f64> = found.pieces.iter().filter_map(|(name, values)| Some((name.clone(), median(values.iter().copied())?))).collect();
    for (piece, question) in [("get", "hello-get"), ("post", "hello-post")] {
        if let Some(outcomes) = found.outcomes.get(question).and_then(|places| places.get(Place::Hello.name())) {
            pieces.insert(piece.to_owned(), of(outcomes, |outcome| outcome.server_micros));
        }
    }
    pieces
}

/// The tables, in Markdown.
pub fn tables(questions: &[Question], found: &Measured) -> String {
    let pieces = pieces(found);
    let mut text = format!(
        "{}; {} rounds in turn, {} s each after a warm-up, {} connections; load average before the rounds {}.\n\n",
        found.machine,
        found.rounds,
        found.seconds_each,
        found.connections,
        found.loads.iter().map(|load| format!("{load:.1}")).collect::<Vec<_>>().join(", ")
    );
    text.push_str("| question | on | CPU µs, median (best) | a CPU second | goal | of `hello` | floor µs | of the floor | goal | of the peer | p50 ms | p90 | p99 | p99.9 | MiB | errors |\n");
    text.push_str("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for question in questions {
        let Some(places) = found.outcomes.get(&question.name) else { continue };
        let peer = places.get(Place::Peer.name()).map(|outcomes| of(outcomes, |outcome| outcome.server_micros));
        let hello = pieces.get(match question.hello {
            Hello::Get => "get",
            Hello::Post => "post",
        });
        let floor = question.floor_micros(&pieces);
        for (at, place) in question.on.iter().chain([&Place::Peer]).enumerate() {
            let Some(outcomes) = places.get(place.name()) else { continue };
            let micros = of(outcomes, |outcome| outcome.server_micros);
            let best = outcomes.iter().map(|outcome| outcome.server_micros).fold(f64::INFINITY, f64::min);
            let milliseconds = |what: fn(&Outcome) -> u64| of(outcomes, |outcome| what(outcome) as f64) / 1e3;
            let goal = |goal: Option<f64>| if at == 0 { goal } else { None };
            let number = |value: Option<f64>, places: usize| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.places$}"));
            let ours = !matches!(place, Place::Hello | Place::Peer);
            let _ = writeln!(
                text,
                "| {} | {} | {micros:.1} ({best:.1}) | {:.0} | {} | {} | {} | {} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {} |",
                question.name,
                place.name(),
                1e6 / micros,
                number(goal(question.goal), 0),
                number(hello.map(|hello| hello / micros), 2),
                number(floor.filter(|_| ours), 1),
                number(floor.filter(|_| ours).map(|floor| floor / micros), 2),
                number(goal(question.goal_of_floor), 2),
                number(peer.filter(|_| ours).map(|peer| peer / micros), 1),
                milliseconds(|outcome| outcome.p50),
                milliseconds(|outcome| outcome.p90),
                milliseconds(|outcome| outcome.p99),
                milliseconds(|outcome| outcome.p999),
                of(outcomes, |outcome| outcome.memory_mib),
                outcomes.iter().map(|outcome| outcome.errors).sum::<u64>(),
            );
        }
    }
    text.push_str("\nWith one connection, in microseconds:\n\n| question | p50 | goal | p90 | p99 | CPU µs |\n|---|---:|---:|---:|---:|---:|\n");
    for question in questions {
        let Some(outcomes) = found.alone.get(&question.name) else { continue };
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} |",
            question.name,
            of(outcomes, |outcome| outcome.p50 as f64),
            question.goal_p50.unwrap_or(0.0),
            of(outcomes, |outcome| outcome.p90 as f64),
            of(outcomes, |outcome| outcome.p99 as f64),
            of(outcomes, |outcome| outcome.server_micros),
        );
    }
    text.push_str("\nFrom the start of the process to its first answer, and memory then:\n\n| on | ms, median (best) | MiB |\n|---|---:|---:|\n");
    for (place, starts) in &found.starts {
        let best = starts.iter().map(|(ms, _)| *ms).fold(f64::INFINITY, f64::min);
        let (ms, mib) = (median(starts.iter().map(|(ms, _)| *ms)).unwrap_or(0.0), median(starts.iter().map(|(_, mib)| *mib)).unwrap_or(0.0));
        let _ = writeln!(text, "| {place} | {ms:.0} ({best:.0}) | {mib:.1} |");
    }
    text.push_str("\nPieces the floors are made of, in microseconds of processor time: ");
    let named: Vec<String> = pieces.iter().map(|(name, micros)| format!("{name} {micros:.1}")).collect();
    text.push_str(&named.join(", "));
    text.push_str(".\n");
    if !found.left_out.is_empty() {
        text.push_str("\nNot measured:\n\n");
        for what in &found.left_out {
            let _ = writeln!(text, "- {what}");
        }
    }
    text
}

/// Puts a table where the last one of its kind was, or at the end of the document where there was none.
///
/// # Errors
/// A document that cannot be read or written.
pub fn write(document: &Path, block: Block, table: &str) -> std::io::Result<()> {
    std::fs::write(document, into_document(&std::fs::read_to_string(document)?, block, table))?;
    println!("written to {}", document.display());
    Ok(())
}

fn into_document(document: &str, Block { begin, end }: Block, table: &str) -> String {
    let block = format!("{begin}\n\n{table}\n{end}");
    match (document.split_once(begin), document.split_once(end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{block}{after}"),
        _ => format!("{}\n\n{block}\n", document.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_before_is_replaced() {
        let once = into_document("# Title\n", MEASURED, "first");
        let twice = into_document(&format!("{once}\nafter\n"), MEASURED, "second");
        assert!(twice.starts_with("# Title") && twice.contains("second") && !twice.contains("first") && twice.ends_with("after\n"), "{twice}");
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([]), None);
    }
}
