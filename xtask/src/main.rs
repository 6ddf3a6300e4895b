//! `cargo xtask test`: the one command that proves this repository. See [`test::run`] for what it does.
//! `cargo xtask sbom`: what the program is made of. See [`sbom::document`].
//! `cargo xtask bench`: how fast it is. See [`bench::run`].
//! `cargo xtask chaos`, `soak`, `crowds`, `grants`: what it survives. See [`chaos::run`].

mod bench;
mod chaos;
mod foreign;
mod machine;
mod options;
mod sbom;
mod tally;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use options::Options;

const USAGE: &str = "\
Usage: cargo xtask test [OPTIONS]
       cargo xtask sbom [--target TRIPLE] [FILE]
       cargo xtask bench [OPTIONS]
       cargo xtask chaos [--minutes N] [--seed S] [--store WHICH] [OPTIONS]
       cargo xtask soak [--minutes N] [--rate R]
       cargo xtask crowds
       cargo xtask grants [COUNT]

test: checks the format, lints, runs every test, and walks the demo through once.

Options:
  --no-install     Install nothing, whoever asks
  --no-browser     Leave out the tests in a real browser, and do not install one
  --no-lint        Leave out cargo fmt and cargo clippy
  --require LIST   Fail where one of these cannot be run, by commas: lint, node, python, browser, redis, systemd
  --filter TEXT    Only the tests whose name holds TEXT: no lint, no demo

sbom: writes a bill of materials (CycloneDX 1.5, JSON) of the program for this machine or for TRIPLE, by default to target/helsebro.cdx.json.

bench: measures the server beside a yardstick, a floor and a peer, and writes docs/performance.md. --quick, --only LIST and more: see --help.

chaos: breaks what the server stands on while it works (nodes, Redis, links, disks, clocks, FHIR, HelseID) and checks every answer. --help tells more.

soak: works it at sixty percent of its capacity and looks whether anything grows. crowds: ten thousand idle connections, five hundred slow ones and a
flood. grants: a million of them in the store (or COUNT), how long a start takes and what requests feel while all are swept.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((task, rest)) = arguments.split_first()
        && task == "sbom"
    {
        return match bill_of_materials(rest) {
            Ok(file) => {
                println!("{}", file.display());
                ExitCode::SUCCESS
            }
            Err(problem) => {
                eprintln!("{problem}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some((task, rest)) = arguments.split_first()
        && task == "bench"
    {
        return bench::run(rest);
    }
    if let Some((task, rest)) = arguments.split_first()
        && chaos::TASKS.contains(&task.as_str())
    {
        return chaos::run(task, rest);
    }
    let wanted = match arguments.split_first() {
        Some((task, rest)) if task == "test" => Options::parse(rest),
        Some((task, _)) => Err(format!("no task is called {task:?}")),
        None => Err("which task?".to_owned()),
    };
    match wanted {
        Ok(options) => test::run(&options),
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Writes the bill and says where.
fn bill_of_materials(arguments: &[String]) -> Result<PathBuf, String> {
    let (target, file) = match arguments {
        [] => (None, None),
        [file] if !file.starts_with('-') => (None, Some(file)),
        [option, target] if option == "--target" => (Some(target), None),
        [option, target, file] if option == "--target" => (Some(target), Some(file)),
        _ => return Err(USAGE.to_owned()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no folder above it")?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root).args(sbom::TREE);
    if let Some(target) = target {
        cargo.args(["--target", target]);
    }
    let tree = machine::run(&mut cargo)?;
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).map_err(|error| format!("Cargo.lock: {error}"))?;
    let file = file.map_or_else(|| root.join("target/helsebro.cdx.json"), PathBuf::from);
    std::fs::write(&file, sbom::document(&tree, &lock)?).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}
