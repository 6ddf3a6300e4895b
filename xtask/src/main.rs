//! `cargo xtask test`: the one command that proves this repository. See [`test::run`] for what it does.

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
  --filter TEXT    Only the tests whose name holds TEXT: no lint, no demo";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
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
