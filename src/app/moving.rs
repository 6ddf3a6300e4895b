//! The store of a configuration where no server runs: counted, checked, switched, moved.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::admin::OfflineError;
use super::open::{open_backend, open_store};
use super::seal_key::{SealKeyError, seal_key};
use crate::config::{Config, Redis, Store as StoreConfig};
pub use crate::engine::keeping::Keeping;
pub use crate::http::ops::store::report;
use crate::random::Random;
use crate::store::moving::{self, ImportError, Imported, PURPOSE, Stamp};
use crate::store::{Space, StoreError};
use crate::time::Clock;

/// So many writes of an import are under way at once where one thread writes them together.
const TOGETHER: usize = 512;

/// Why an import did not come about.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Seal(#[from] SealKeyError),
    #[error("the store cannot be opened: {0}")]
    Store(StoreError),
    #[error("a server holds {}: stop it first", .0.display())]
    Held(PathBuf),
    #[error("the store of this configuration is in memory, where nothing stays: name another kind")]
    Memory,
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: {error}", path.display())]
    Import { path: PathBuf, error: ImportError },
}

/// Opens the store of a configuration without anything that stands on it.
///
/// # Errors
/// [`OfflineError`]
pub async fn keeping(config: &Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Keeping, OfflineError> {
    if matches!(config.store, StoreConfig::Memory) {
        return Err(OfflineError::Memory);
    }
    Ok(open_store(config, clock, random).await?)
}

/// Takes an export into the store of a configuration. `progress` hears how many of how many records were read.
///
/// # Errors
/// [`MoveError`]
pub async fn import(
    config: &Config,
    path: &Path,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Imported, MoveError> {
    let width = match &config.store {
        StoreConfig::Memory => return Err(MoveError::Memory),
        StoreConfig::Embedded { .. } => TOGETHER,
        StoreConfig::Redis(redis) => of_redis(redis),
    };
    let stamp = Stamp::new(seal_key(&config.keys, &*random)?.derive(PURPOSE));
    let failed = |error| MoveError::Import { path: path.to_owned(), error };
    let read = || File::open(path).map(BufReader::new).map_err(|error| MoveError::File { path: path.to_owned(), error });
    // Before the store is touched: what cannot be taken leaves no file behind.
    let plan = moving::verify(read()?, &stamp).map_err(failed)?;
    let store = open_backend(config, Arc::clone(&clock), random).await.map_err(|error| match error {
        StoreError::Locked { path } => MoveError::Held(path),
        other => MoveError::Store(other),
    })?;
    let known: Vec<Space> = config.issuers.iter().map(|issuer| issuer.url().as_str().into()).collect();
    let into = moving::Into { store: &*store, known: &known, width, now: clock.now() };
    let done = moving::import(&plan, read()?, &into, |read| progress(read, plan.records)).await;
    let closed = store.close().await;
    let done = done.map_err(failed)?;
    closed.map_err(MoveError::Store)?;
    Ok(done)
}

/// Half of what may wait for Redis: one more than that is refused there.
fn of_redis(redis: &Redis) -> usize {
    (redis.max_in_flight as usize / 2).clamp(1, 64)
}
