//! The test command, step by step.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::chaos;
use crate::foreign;
use crate::machine::Installer;
use crate::options::{Group, Options};
use crate::tally::{Closing, Failures, Tally};

/// What of `Group` are tests, by a part of their names.
const TESTS: [(Group, &str); 6] = [
    (Group::Node, "foreign::node::"),
    (Group::Node, "fhir::schema::"),
    (Group::Python, "foreign::python::"),
    (Group::Browser, "pages::a_browser_finds_"),
    (Group::Redis, "on_redis"),
    (Group::Systemd, "packaging::systemd::"),
];

/// What is not run once more with every server's store in Redis: it knows no server of ours, or one that brings its own store. Parts of names. Everything else
/// is, and was compiled by then.
const ELSEWHERE_THAN_ON_REDIS: [&str; 18] = [
    "architecture::",
    "config::",
    "crash::",
    "docs::",
    "explain::",
    "fhir::",
    "foreign::node::",
    "foreign::python::",
    "fuzz::",
    "helseid::",
    "helseid_alone::",
    "on_redis::",
    "packaging::",
    "pages::",
    "store_contract::",
    "store_durability::",
    "store_moving::",
    "supply::",
];

/// Tests are built with everything there is, once. Lints look at the build without it too, which is the one that is shipped.
const FEATURES: [&str; 2] = ["--features", "helsebro/otel"];

/// Everything found so far.
#[derive(Default)]
struct Report {
    /// A check that failed, beside the tests themselves.
    broken: Vec<String>,
    skipped: Vec<(Group, String)>,
    tests: Tally,
    failures: Failures,
}

/// Where the interpreters are that tests need.
#[derive(Default)]
struct Found {
    node: Option<PathBuf>,
    python: Option<PathBuf>,
    chromium: Option<PathBuf>,
    redis: Option<PathBuf>,
    systemd: Option<PathBuf>,
}

/// Format and lints, what the foreign clients need, the tests, the demo; at the end one line for each group left out, and the plain line
/// `N passed, N failed, N skipped`. A check that fails counts as one failure. Fails, too, where no test ran.
pub fn run(options: &Options) -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let mut report = Report::default();
    let whole = options.filter.is_none();
    if whole && !options.no_lint {
        lint(root, &mut report);
    }
    let found = prepare(root, options, &mut report);
    test(root, options, &found, &mut report);
    if whole {
        if let Some(redis) = &found.redis {
            test_on_redis(root, redis, &mut report);
        }
        demo(root, &mut report);
        trouble(root, &found, &mut report);
    }
    close(options, &report)
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root).stdin(Stdio::null());
    command
}

fn heading(text: &str) {
    println!("── {text}");
}

fn lint(root: &Path, report: &mut Report) {
    for (name, arguments) in [
        ("fmt", &["fmt", "--all", "--check"][..]),
        ("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        ("clippy", &["clippy", "--package", "helsebro", "--features", "otel", "--locked", "--", "-D", "warnings"]),
    ] {
        heading(&format!("cargo {}", arguments.join(" ")));
        let installed = cargo(root).args([name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !installed {
            let component = if name == "fmt" { "rustfmt" } else { name };
            report.skipped.push((Group::Lint, format!("cargo {name} is not installed; to have it: rustup component add {component}")));
        } else if !cargo(root).args(arguments).status().is_ok_and(|status| status.success()) {
            report.broken.push(format!("cargo {name}"));
        }
    }
}

/// Finds, or installs, what the tests of [`TESTS`] need. What cannot be had is noted as skipped.
fn prepare(root: &Path, options: &Options, report: &mut Report) -> Found {
    heading("clients from elsewhere");
    let mut installer = Installer::new(options.no_install);
    let clients = root.join("tests/foreign");
    let mut found = Found::default();
    let node = foreign::node(&mut installer);
    let packages = || ["node", "fhir-schema"].iter().try_for_each(|folder| foreign::npm_ci(&clients.join(folder)));
    match node.clone().and_then(|_| packages()) {
        Ok(()) => println!("   node     ready"),
        Err(why) => report.skipped.push((Group::Node, why)),
    }
    match foreign::python(&mut installer, &clients.join("python"), &root.join("target/xtask/venv")) {
        Ok(python) => {
            println!("   python   ready");
            found.python = Some(python);
        }
        Err(why) => report.skipped.push((Group::Python, why)),
    }
    let browser = if options.no_browser { Err("--no-browser was given".to_owned()) } else { node.clone().and_then(|_| foreign::chromium(&mut installer)) };
    match browser.and_then(|chromium| foreign::npm_ci(&clients.join("axe")).map(|()| chromium)) {
        Ok(chromium) => {
            println!("   browser  ready");
            found.chromium = Some(chromium);
        }
        Err(why) => report.skipped.push((Group::Browser, why)),
    }
    found.node = node.ok();
    match foreign::redis(&mut installer) {
        Ok(redis) => {
            println!("   redis    ready");
            found.redis = Some(redis);
        }
        Err(why) => report.skipped.push((Group::Redis, why)),
    }
    match foreign::systemd(&mut installer) {
        Ok(systemd) => {
            println!("   systemd  ready");
            found.systemd = Some(systemd);
        }
        Err(why) => report.skipped.push((Group::Systemd, why)),
    }
    found
}

fn test(root: &Path, options: &Options, found: &Found, report: &mut Report) {
    let mut command = cargo(root);
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(FEATURES).args(&options.filter).arg("--");
    for (_, tests) in TESTS.iter().filter(|(group, _)| report.skipped.iter().any(|(skipped, _)| skipped == group)) {
        command.args(["--skip", tests]);
    }
    let programs = [
        ("HELSEBRO_TEST_NODE", &found.node),
        ("HELSEBRO_TEST_PYTHON", &found.python),
        ("HELSEBRO_TEST_CHROMIUM", &found.chromium),
        ("HELSEBRO_TEST_REDIS", &found.redis),
        ("HELSEBRO_TEST_SYSTEMD", &found.systemd),
    ];
    command.env_remove("HELSEBRO_TEST_STORE");
    for (name, program) in programs {
        match program {
            Some(path) => command.env(name, path),
            None => command.env_remove(name),
        };
    }
    heading("cargo test --workspace --locked");
    let started = Instant::now();
    let ended_well = count_while_printing(command.stdout(Stdio::piped()), &mut report.tests, &mut report.failures);
    println!("   {} s", started.elapsed().as_secs());
    // A test binary that did not build, or died without a closing line.
    if !ended_well && report.tests.failed == 0 {
        report.broken.push("cargo test".to_owned());
    }
}

/// The same promises over HTTP, kept in Redis.
fn test_on_redis(root: &Path, redis: &Path, report: &mut Report) {
    heading("the same over HTTP, with the store in Redis");
    let mut command = cargo(root);
    command.args(["test", "--package", "helsebro", "--test", "it", "--locked"]).args(FEATURES).arg("--");
    command.args(ELSEWHERE_THAN_ON_REDIS.iter().flat_map(|tests| ["--skip", tests]));
    command.env("HELSEBRO_TEST_REDIS", redis).env("HELSEBRO_TEST_STORE", "redis");
    let started = Instant::now();
    let mut tally = Tally::default();
    let ended_well = count_while_printing(command.stdout(Stdio::piped()), &mut tally, &mut report.failures);
    println!("   {} s", started.elapsed().as_secs());
    // What the filters left out ran before.
    tally.filtered_out = 0;
    report.tests += tally;
    if !ended_well && tally.failed == 0 {
        report.broken.push("cargo test, with the store in Redis".to_owned());
    }
}

/// Passes on what the command prints, line by line, adds up its closing lines and keeps what failed tests said. False where it failed.
fn count_while_printing(command: &mut Command, tally: &mut Tally, failures: &mut Failures) -> bool {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cargo: {error}");
            return false;
        }
    };
    if let Some(stdout) = child.stdout.take() {
        // Bytes, not text: a test may print anything.
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            failures.read(&line);
            if let Some(found) = Tally::of_line(&line) {
                *tally += found;
            }
        }
    }
    child.wait().is_ok_and(|status| status.success())
}

/// One launch walked through, as a newcomer would.
fn demo(root: &Path, report: &mut Report) {
    heading("cargo run -- demo --once");
    let mut command = cargo(root);
    command
        .args(["run", "--quiet", "--locked"])
        .args(FEATURES)
        .args(["--", "demo", "--once", "--fresh", "--port-base", "0", "--data"])
        .arg(root.join("target/xtask/demo"));
    match command.output() {
        Ok(output) if output.status.success() => {
            let walked = String::from_utf8_lossy(&output.stdout);
            println!("   {}", walked.lines().last().unwrap_or_default());
        }
        Ok(output) => {
            println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            report.broken.push(format!("cargo run -- demo --once, which ended with {}", output.status));
        }
        Err(error) => report.broken.push(format!("cargo run -- demo --once: {error}")),
    }
}

/// Half a minute of faults, always the same, and one that must be caught. Without Redis the store is a file alone. `cargo xtask crowds` is not among
/// these: a flood is not fair to others yet, and it says so.
fn trouble(root: &Path, found: &Found, report: &mut Report) {
    let programs = chaos::target().join("debug");
    let built = cargo(root).args(["build", "--quiet", "--locked", "-p", "helsebro", "-p", "helsebro-chaos"]).status();
    if !built.is_ok_and(|status| status.success()) {
        report.broken.push("cargo build -p helsebro-chaos".to_owned());
        return;
    }
    let store = if found.redis.is_some() { "both" } else { "embedded" };
    // Unoptimised, on whatever there is: this asks what is kept. How soon everything serves again, an optimised build is asked.
    let mut runs = vec![vec!["chaos", "--seconds", "30", "--seed", "1", "--recovers", "20", "--store", store]];
    if found.redis.is_some() {
        runs.push(vec!["chaos", "--planted", "--seconds", "10"]);
    } else {
        println!("   chaos on Redis is left out: there is none");
    }
    for run in runs {
        heading(&format!("cargo xtask {}", run.join(" ")));
        let (task, options) = run.split_first().unwrap_or((&"chaos", &[]));
        let mut command = Command::new(programs.join("helsebro-chaos"));
        command.arg(task).arg(programs.join("helsebro")).args(options).stdin(Stdio::null());
        // Where it was installed a moment ago, it is on the path.
        if !command.status().is_ok_and(|status| status.success()) {
            report.broken.push(format!("cargo xtask {}", run.join(" ")));
        }
    }
}

fn close(options: &Options, report: &Report) -> ExitCode {
    print!("{}", report.failures);
    heading("result");
    let mut broken = report.broken.clone();
    for (group, why) in &report.skipped {
        println!("skipped: {group}: {why}");
        if options.require.contains(group) {
            broken.push(format!("{group}, which --require names, could not be run"));
        }
    }
    let tests = report.tests;
    if tests.passed + tests.failed == 0 {
        broken.push("no test ran".to_owned());
    }
    for what in &broken {
        println!("failed: {what}");
    }
    let filtered = if options.filter.is_some() { 0 } else { tests.filtered_out };
    let closing = Closing { passed: tests.passed, failed: tests.failed + u64::try_from(broken.len()).unwrap_or(u64::MAX), skipped: tests.ignored + filtered };
    println!("{closing}");
    if closing.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_that_may_be_left_out_exist() {
        let (foreign, pages, fhir) =
            (include_str!("../../tests/it/foreign.rs"), include_str!("../../tests/it/pages.rs"), include_str!("../../tests/it/fhir.rs"));
        let all = include_str!("../../tests/it/main.rs");
        for (group, tests, there) in [
            (Group::Node, "foreign::node::", foreign.contains("\nmod node {")),
            (Group::Node, "fhir::schema::", fhir.contains("mod schema;")),
            (Group::Python, "foreign::python::", foreign.contains("\nmod python {")),
            (Group::Browser, "pages::a_browser_finds_", pages.contains("\nfn a_browser_finds_")),
            (Group::Redis, "on_redis", all.contains("\nmod on_redis;")),
            (Group::Systemd, "packaging::systemd::", include_str!("../../tests/it/packaging.rs").contains("\nmod systemd {")),
        ] {
            assert!(there && TESTS.contains(&(group, tests)), "{tests}");
        }
        // Filters are parts of names: these two are left out with `config::`, and know no server of ours either.
        let also: Vec<&str> = all
            .lines()
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
            .filter(|module| ELSEWHERE_THAN_ON_REDIS.iter().any(|tests| format!("{module}::").ends_with(tests) && **tests != format!("{module}::")))
            .collect();
        assert_eq!(also, ["fhir_config", "helseid_config"]);
        for tests in ELSEWHERE_THAN_ON_REDIS {
            let module = tests.split("::").next().unwrap_or(tests);
            assert!(all.contains(&format!("\nmod {module};")), "{tests}");
        }
    }
}
