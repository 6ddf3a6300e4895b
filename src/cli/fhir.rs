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
    /// Bundles or resources to serve instead of those of the configuration: JSON, NDJSON or a directory of them; may be repeated
    #[arg(long, value_name = "FILE|DIR")]
    data: Vec<PathBuf>,
    /// Forget what earlier runs kept
    #[arg(long)]
    fresh: bool,
}

pub async fn run(args: FhirArgs) -> ExitCode {
    log::for_mock();
    let mut configs = match fhir_config::load(&args.config, &SystemRandom) {
        Ok(configs) => configs,
        Err(found) => {
            eprint!("{found}");
            return ExitCode::FAILURE;
        }
    };
    for config in &mut configs {
        config.override_with(&args.data, args.fresh);
    }
    let told: Vec<_> = configs.iter().map(|config| (config.fhir.base.clone(), config.fhir.issuer.clone())).collect();
    let running = match fhir_server::start_all(configs, SystemClock::shared(), Arc::new(SystemRandom)).await {
        Ok(running) => running,
        Err(error) => return fail(&error),
    };
    for (one, (base, issuer)) in running.iter().zip(&told) {
        tracing::info!(listen = %one.public, operations = %one.ops, %base, %issuer, "ready");
    }
    stop_signal().await;
    fhir_server::stop_all(running).await;
    ExitCode::SUCCESS
}
