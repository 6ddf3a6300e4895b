//! `cargo xtask chaos`, `soak`, `crowds` and `grants`: builds the server and what troubles it, and lets the latter work. What it does is in
//! `benches/chaos`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Optimised, without link-time optimisation: what a minute of building gives.
const PROFILE: &str = "bench-fast";

/// The words that lead here.
pub const TASKS: [&str; 4] = ["chaos", "soak", "crowds", "grants"];

pub fn run(task: &str, options: &[String]) -> ExitCode {
    let built = Command::new("cargo").args(["build", "--profile", PROFILE, "--locked", "-p", "helsebro", "-p", "helsebro-chaos"]).status();
    if !built.is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    let programs = target().join(PROFILE);
    let done = Command::new(programs.join("helsebro-chaos")).arg(task).arg(programs.join("helsebro")).args(options).status();
    if done.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Into::into)
}
