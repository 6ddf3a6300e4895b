//! `cargo xtask bench`: builds what is measured and what measures, and lets the latter work. What it does is in `benches/load`.

use std::path::Path;
use std::process::{Command, ExitCode};

/// Optimised, without link-time optimisation: what a minute of building gives.
const PROFILE: &str = "bench-fast";

pub fn run(options: &[String]) -> ExitCode {
    let built = Command::new("cargo").args(["build", "--profile", PROFILE, "--locked", "-p", "helsebro", "-p", "helsebro-bench"]).status();
    if !built.is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Into::into);
    let programs = target.join(PROFILE);
    let measured = Command::new(programs.join("helsebro-bench")).arg("run").arg(programs.join("helsebro")).args(options).status();
    if measured.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
