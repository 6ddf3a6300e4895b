//! Where the processor time of each hot operation goes: a flame graph of each, and a table of shares.
//!
//! By `perf`, which walks frame pointers: the server must have been built with them, which `cargo xtask bench --profile` does. The flame graphs are drawn
//! by `inferno` (`cargo install inferno`), where there is one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failed;
use crate::machine;
use crate::question::{Place, Question};
use crate::rounds::{Plan, drive};
use crate::server::{Bench, Running};

/// What is looked into, and on which store.
const ASKED: [(&str, Place); 10] = [
    ("discovery", Place::PowerLoss),
    ("introspect-seen", Place::PowerLoss),
    ("introspect-first", Place::PowerLoss),
    ("cc-es256", Place::PowerLoss),
    ("cc-assertion-rs384", Place::PowerLoss),
    ("exchange-seen", Place::PowerLoss),
    ("refresh-rotated", Place::PowerLoss),
    ("code-es256", Place::Process),
    ("code-rs256", Place::Process),
    ("fhir-read", Place::Fhir),
];

/// Samples a second: no multiple of anything that happens at whole milliseconds.
const SAMPLES: &str = "4001";

/// How long is looked: some questions have no more to ask with.
const LOOKED: Duration = Duration::from_secs(2);

/// What comes before, signing assertions for one, takes no longer.
const PREPARED: Duration = Duration::from_secs(120);

/// Looks into each, draws its flame graph, and answers the table.
///
/// # Errors
/// Without `perf`, or where a server or the generator fails.
pub fn measure(bench: &Bench, questions: &[Question], only: &[String], connections: usize) -> Result<String, Failed> {
    let mut found: Vec<(&str, BTreeMap<&'static str, usize>)> = Vec::new();
    let drawn = bench.root.join("docs/profiles");
    fs::create_dir_all(&drawn)?;
    for (name, place) in ASKED.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|wanted| wanted == name)) {
        let question = questions.iter().find(|question| question.name == *name).ok_or_else(|| format!("there is no question {name}"))?;
        let running = bench.start(*place, "")?;
        let data = bench.work.join(format!("{name}.perf"));
        sample(bench, &running, question, *place, connections, &data)?;
        let mut shares = BTreeMap::new();
        for stack in stacks(&data)? {
            *shares.entry(part_of(&stack)).or_default() += 1;
        }
        println!("{name}: {} samples", shares.values().sum::<usize>());
        draw(&data, &format!("{name} on {}", place.name()), &drawn.join(format!("{name}.svg")))?;
        found.push((name, shares));
    }
    Ok(table(&found))
}

/// Asks the question for as long as it is looked, and a little before and after.
fn sample(bench: &Bench, running: &Running, question: &Question, place: Place, connections: usize, data: &Path) -> Result<(), Failed> {
    let (second, begun) = (Duration::from_secs(1), bench.work.join("begun"));
    let _left = fs::remove_file(&begun);
    let plan = Plan { rounds: 1, warm_up: second / 2, measured: LOOKED + second, connections, places: Vec::new(), pace: None, begun: Some(begun.clone()) };
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| drive(bench, running, question, place, connections, &plan).map(|_| ()).map_err(|error| error.to_string()));
        let since = Instant::now();
        while !begun.exists() && !asked.is_finished() && since.elapsed() < PREPARED {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !begun.exists() {
            asked.join().map_err(|_| "the generator's thread ended badly")??;
            return Err(format!("{}: nothing was measured in time", question.name).into());
        }
        let mut perf = Command::new("perf");
        perf.args(["record", "-q", "-F", SAMPLES, "--call-graph", "fp", "-p", &running.pid.to_string(), "-o"]).arg(data);
        let looked = perf.args(["--", "sleep", &LOOKED.as_secs().to_string()]).stdout(Stdio::null()).stderr(Stdio::piped()).output();
        asked.join().map_err(|_| "the generator's thread ended badly")??;
        let looked = looked.map_err(|error| format!("perf (Debian: linux-perf): {error}"))?;
        if looked.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&looked.stderr).trim().to_owned().into()) }
    })
}

/// One sample: the name of its thread, then its functions from the innermost out.
type Stack = Vec<String>;

fn stacks(data: &Path) -> Result<Vec<Stack>, Failed> {
    let script = Command::new("perf").args(["script", "-F", "comm,ip,sym", "-i"]).arg(data).stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&script.stdout);
    let of = |sample: &str| -> Stack {
        let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
        let thread = lines.next().unwrap_or_default().trim().to_owned();
        // An address, then the function.
        let functions = lines.map(|line| line.trim().split_once(' ').map_or("", |(_, function)| function).to_owned());
        std::iter::once(thread).chain(functions).collect()
    };
    Ok(text.split("\n\n").map(of).filter(|stack| stack.len() > 1).collect())
}

const SYSTEM: &str = "the system: sending, receiving, waiting";
const SIGNATURES: &str = "signatures and digests";
const STORE: &str = "store";
const AUDIT: &str = "audit log";
const LOG: &str = "log line";
const ALLOCATOR: &str = "allocator";
const OTHER: &str = "other";

/// A function belongs to the first of these that has a part of its name, and a sample to its innermost function that belongs anywhere.
const PARTS: [(&str, &[&str]); 10] = [
    (SIGNATURES, &["aws_lc", "ecp_nistz", "ecdsa", "sha256", "sha512", "rsaz", "bn_", "jsonwebtoken::crypto", "RAND_"]),
    (STORE, &["redb", "helsebro::store", "lz4", "quick_cache", "redis"]),
    (AUDIT, &["helsebro::audit", "http::audit"]),
    (LOG, &["tracing", "cli::log", "around::log"]),
    ("FHIR client", &["reqwest", "fhir_client", "hyper_util::client", "client::conn", "try_join_all"]),
    ("JSON", &["serde", "protocol::json"]),
    ("forms and credentials", &["params::", "client_auth", "request::form", "request::body"]),
    ("engine, rules, tokens", &["helsebro::engine", "helsebro::domain", "helsebro::protocol", "helsebro::jose", "helsebro::fhir"]),
    ("headers, endpoints, answers", &["helsebro::http", "http::header", "axum", "matchit"]),
    ("HTTP and runtime", &["hyper", "httparse", "tokio", "mio", "helsebro::listen", "tower", "futures"]),
];

/// What a sample is a part of.
fn part_of(stack: &Stack) -> &'static str {
    let (thread, functions) = stack.split_first().map_or(("", [].as_slice()), |(thread, functions)| (thread.as_str(), functions));
    match thread {
        "store-writer" => return STORE,
        "audit" => return AUDIT,
        "log" => return LOG,
        _ => {}
    }
    if functions.iter().any(|function| function.contains("do_syscall_64") || function.contains("entry_SYSCALL") || function.starts_with("asm_")) {
        return SYSTEM;
    }
    if functions.first().is_some_and(|function| ["mi_", "_mi_", "malloc", "__rust_alloc", "cfree"].iter().any(|name| function.starts_with(name))) {
        return ALLOCATOR;
    }
    let part = |function: &String| PARTS.iter().find(|(_, names)| names.iter().any(|name| function.contains(name))).map(|(part, _)| *part);
    functions.iter().find_map(part).unwrap_or(OTHER)
}

/// Draws a flame graph, where there is something to draw with.
fn draw(data: &Path, title: &str, to: &Path) -> Result<(), Failed> {
    let drawing = format!(
        "perf script -i '{}' 2>/dev/null | inferno-collapse-perf 2>/dev/null | inferno-flamegraph --title '{title}' --minwidth 0.5 --fontsize 11 > '{}'",
        data.display(),
        to.display()
    );
    let drawn = Command::new("bash").args(["-o", "pipefail", "-c", &drawing]).stderr(Stdio::null()).status()?;
    if !drawn.success() {
        // What is half drawn is worth nothing; that it is not there is no error.
        let _removed = fs::remove_file(to);
        println!("{} is not drawn: inferno-collapse-perf and inferno-flamegraph are needed (cargo install inferno)", to.display());
        return Ok(());
    }
    Ok(fs::write(to, still(&fs::read_to_string(to)?))?)
}

/// The picture alone: without the drawing program's script, which would be somebody else's code in this repository, its remarks and its buttons.
fn still(svg: &str) -> String {
    let mut svg = svg.replace(r#" onload="init(evt)""#, "");
    for (begin, end) in [
        ("<script", "</script>"),
        ("<!--", "-->"),
        (r#"<text id="unzoom""#, "</text>"),
        (r#"<text id="search""#, "</text>"),
        (r#"<text id="matched""#, "</text>"),
    ] {
        while let Some((before, rest)) = svg.split_once(begin)
            && let Some((_, after)) = rest.split_once(end)
        {
            svg = format!("{before}{after}");
        }
    }
    svg
}

fn table(found: &[(&str, BTreeMap<&'static str, usize>)]) -> String {
    let mut parts: Vec<&str> = std::iter::once(SYSTEM).chain(PARTS.iter().map(|(part, _)| *part)).chain([ALLOCATOR, OTHER]).collect();
    let of = |shares: &BTreeMap<&'static str, usize>, part: &str| {
        100.0 * shares.get(part).copied().unwrap_or(0) as f64 / shares.values().sum::<usize>().max(1) as f64
    };
    // Those that take most come first.
    let whole = |part: &str| found.iter().map(|(_, shares)| of(shares, part)).sum::<f64>();
    parts.sort_by(|a, b| whole(b).total_cmp(&whole(a)));
    let mut text =
        format!("{}; {} samples a second of all threads of the server, for {} s each. Per cent.\n\n|", machine::describe(), SAMPLES, LOOKED.as_secs());
    for (name, _) in found {
        let _written = write!(text, " | [{name}](profiles/{name}.svg)");
    }
    let _written = writeln!(text, " |\n|---|{}", "---:|".repeat(found.len()));
    for part in parts {
        let cells: String = found.iter().map(|(_, shares)| format!(" {:.0} |", of(shares, part))).collect();
        let _written = writeln!(text, "| {part} |{cells}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_moves_nothing() {
        let drawn = r#"<svg onload="init(evt)"><!--a--><script>x<y</script><text id="search" x="1">S</text><g><title>f</title></g><!--b--></svg>"#;
        assert_eq!(still(drawn), "<svg><g><title>f</title></g></svg>");
    }

    #[test]
    fn a_sample_belongs_to_its_innermost_function_that_belongs_anywhere() {
        let part = |stack: &[&str]| part_of(&stack.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(part(&["tokio-rt-worker", "memmove", "serde_json::ser::x", "helsebro::engine::token"]), "JSON");
        assert_eq!(part(&["tokio-rt-worker", "mi_free", "serde_json::ser::x"]), ALLOCATOR);
        assert_eq!(part(&["tokio-rt-worker", "tcp_sendmsg", "do_syscall_64", "hyper::x"]), SYSTEM);
        assert_eq!(part(&["store-writer", "pwrite"]), STORE);
        assert_eq!(part(&["tokio-rt-worker", "nobody::knows"]), OTHER);
    }
}
