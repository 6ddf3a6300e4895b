//! `helsebro helseid`: the mock of HelseID alone.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::{fail, log, stop_signal};
use crate::app::helseid_config::{self, Overrides};
use crate::app::helseid_server;
use crate::random::SystemRandom;
use crate::time::SystemClock;

#[derive(Debug, Args)]
pub struct HelseidArgs {
    /// What it serves; config/helseid.toml explains each key. Without, the defaults hold
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The port it listens on, 9403 by default; 0 takes a free one
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// The port of the admin calls, 9404 by default; they are off without a secret
    #[arg(long, value_name = "N")]
    admin_port: Option<u16>,
    /// A file with the secret that opens the admin calls
    #[arg(long, value_name = "FILE")]
    admin_secret_file: Option<String>,
    /// Play the sample API too, on this port
    #[arg(long, value_name = "N")]
    sample_api_port: Option<u16>,
    /// Sign with new keys instead of the test keys everybody has
    #[arg(long)]
    fresh_keys: bool,
    /// Let other machines reach it, where the configuration says such an address
    #[arg(long)]
    listen_on_network: bool,
}

pub async fn run(args: HelseidArgs) -> ExitCode {
    log::for_mock();
    let overrides = Overrides {
        port: args.port,
        admin_port: args.admin_port,
        sample_api_port: args.sample_api_port,
        admin_secret_file: args.admin_secret_file,
        fresh_keys: args.fresh_keys,
        listen_on_network: args.listen_on_network,
    };
    let config = match helseid_config::load(args.config.as_deref(), &overrides) {
        Ok(config) => config,
        Err(found) => {
            eprint!("{found}");
            return ExitCode::FAILURE;
        }
    };
    let running = match helseid_server::start_alone(config, SystemClock::shared(), Arc::new(SystemRandom)).await {
        Ok(running) => running,
        Err(error) => return fail(&error),
    };
    tracing::warn!("THIS IS A MOCK OF HELSEID: synthetic people, no passwords, keys everybody has. It must never stand in front of anything real");
    let or_off = |address: Option<std::net::SocketAddr>| address.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let (admin, sample_api) = (or_off(running.admin), or_off(running.sample_api));
    tracing::info!(listen = %running.mock.public, %admin, %sample_api, issuer = %running.mock.idp.issuer, "ready");
    stop_signal().await;
    running.mock.stop().await;
    ExitCode::SUCCESS
}
