//! `cargo xtask test`: the one command that proves this repository. See [`test::run`] for what it does. `cargo xtask bench`: how fast it is.

mod bench;
mod foreign;
mod machine;
mod options;
mod tally;
mod test;

use std::process::ExitCode;

use options::Options;

const USAGE: &str = "\
Usage: cargo xtask test [OPTIONS]

Checks the format, lints, runs every test, and walks the demo through once.

Options:
  --no-install     Install nothing, whoever asks
  --no-browser     Leave out the tests in a real browser, and do not install one
  --no-lint        Leave out cargo fmt and cargo clippy
  --require LIST   Fail where one of these cannot be run, by commas: lint, node, python, browser, redis
  --filter TEXT    Only the tests whose name holds TEXT: no lint, no demo

Usage: cargo xtask bench [OPTIONS]

Measures the server beside a yardstick, a floor and a peer, and writes docs/performance.md. --quick, --only LIST and more: see --help.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((task, rest)) = arguments.split_first()
        && task == "bench"
    {
        return bench::run(rest);
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
