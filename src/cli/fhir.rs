//! `helsebro fhir`: the mock FHIR server alone.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::{fail, log, stop_signal};
use crate::app::{fhir_config, fhir_server};
use crate::random::SystemRandom;
use crate::time::SystemClock;

#[derive(Debug, Args)]
pub struct FhirArgs {
    /// What it serves and whose tokens it takes; config/fhir.toml explains each key
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub async fn run(args: FhirArgs) -> ExitCode {
    log::for_mock();
    let config = match fhir_config::load(&args.config, &SystemRandom) {
        Ok(config) => config,
        Err(found) => {
            eprint!("{found}");
            return ExitCode::FAILURE;
        }
    };
    let (base, issuer) = (config.fhir.base.clone(), config.fhir.issuer.clone());
    let running = match fhir_server::start(config, SystemClock::shared(), Arc::new(SystemRandom)).await {
        Ok(running) => running,
        Err(error) => return fail(&error),
    };
    tracing::info!(listen = %running.public, operations = %running.ops, %base, %issuer, "ready");
    stop_signal().await;
    running.stop().await;
    ExitCode::SUCCESS
}
