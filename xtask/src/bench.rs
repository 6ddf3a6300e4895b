//! `cargo xtask bench`: builds what is measured and what measures, and lets the latter work. What it does is in `benches/load`.

use std::path::Path;
use std::process::{Command, ExitCode};

/// What is shipped is what is measured.
const PROFILE: &str = "release";

pub fn run(options: &[String]) -> ExitCode {
    let mut build = Command::new("cargo");
    build.args(["build", "--profile", PROFILE, "--locked", "-p", "helsebro", "-p", "helsebro-bench"]);
    if options.iter().any(|option| option == "--scale") {
        // It fills stores.
        build.args(["-p", "helsebro-chaos"]);
    }
    if !build.status().is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Into::into);
    let programs = target.join(PROFILE);
    let measured = Command::new(programs.join("helsebro-bench")).arg("run").arg(programs.join("helsebro")).args(options).status();
    if measured.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
