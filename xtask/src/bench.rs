//! `cargo xtask bench`: builds what is measured and what measures, and lets the latter work. What it does is in `benches/load`.

use std::path::Path;
use std::process::{Command, ExitCode};

/// What is shipped is what is measured.
const PROFILE: &str = "release";

pub fn run(options: &[String]) -> ExitCode {
    let has = |wanted: &str| options.iter().any(|option| option == wanted);
    let mut target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Into::into);
    let mut build = Command::new("cargo");
    build.args(["build", "--profile", PROFILE, "--locked", "-p", "helsebro", "-p", "helsebro-bench"]);
    if has("--scale") {
        // It fills stores.
        build.args(["-p", "helsebro-chaos"]);
    }
    if has("--profile") {
        // Who looks into it walks frame pointers, which are no part of what is shipped.
        target.push("profiled");
        build.env("RUSTFLAGS", "-C force-frame-pointers=yes").env("CFLAGS", "-fno-omit-frame-pointer").env("CARGO_TARGET_DIR", &target);
    }
    if !build.status().is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    let programs = target.join(PROFILE);
    let measured = Command::new(programs.join("helsebro-bench")).arg("run").arg(programs.join("helsebro")).args(options).status();
    if measured.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
