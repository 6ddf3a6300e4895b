//! Mock FHIR servers running alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fhir_config::FhirServerConfig;
use super::server::{StartError, bind};
use crate::fhir::{self, FhirError};
use crate::listen::{Limits, serve};
use crate::random::Random;
use crate::time::Clock;

/// How long requests under way may take to finish.
const GRACE: Duration = Duration::from_secs(5);

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum FhirStartError {
    #[error(transparent)]
    Listen(#[from] StartError),
    #[error(transparent)]
    Fhir(#[from] FhirError),
}

/// A FHIR server at work.
pub struct FhirRunning {
    pub public: SocketAddr,
    pub ops: SocketAddr,
    stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

/// # Errors
/// [`FhirStartError`]: an address that is taken, or data that cannot be read.
pub async fn start(config: FhirServerConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<FhirRunning, FhirStartError> {
    let (public, ops) = (bind(config.listen).await?, bind(config.ops_listen).await?);
    let (router, ops_router) = fhir::router(config.fhir, clock, random)?;
    let stop = CancellationToken::new();
    let (public_address, ops_address) = (public.local_addr(), ops.local_addr());
    let tasks = [
        tokio::spawn(serve(public, router, Limits::default(), stop.clone(), GRACE)),
        tokio::spawn(serve(ops, ops_router, Limits::default(), stop.clone(), GRACE)),
    ];
    Ok(FhirRunning { public: public_address, ops: ops_address, stop, tasks })
}

/// Starts several, or none: where one does not start, those before it stop.
///
/// # Errors
/// As [`start`].
pub async fn start_all(configs: Vec<FhirServerConfig>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Vec<FhirRunning>, FhirStartError> {
    let mut running = Vec::new();
    for config in configs {
        match start(config, Arc::clone(&clock), Arc::clone(&random)).await {
            Ok(one) => running.push(one),
            Err(why) => {
                stop_all(running).await;
                return Err(why);
            }
        }
    }
    Ok(running)
}

/// Stops all at once.
pub async fn stop_all(running: Vec<FhirRunning>) {
    running.iter().for_each(|one| one.stop.cancel());
    for one in running {
        one.stop().await;
    }
}

impl FhirRunning {
    /// Stops accepting and finishes what has begun.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            // A task that panicked has said so already; the other still gets its time.
            let _ended = task.await;
        }
    }
}
