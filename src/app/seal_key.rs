//! The key under which private keys are sealed in the store: a file of 32 random bytes that only its owner may read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::Keys;
use crate::jose::seal::SealKey;
use crate::random::Random;
use crate::secret::Secret;

/// The file in the keys directory.
const FILE: &str = "seal.key";

/// Why there is no seal key.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} is not a seal key: it must hold 32 bytes in base64 (openssl rand -base64 32)", .0.display())]
    Content(PathBuf),
    #[error("{} can be read by others; run chmod 600 on it", .0.display())]
    Mode(PathBuf),
}

/// The seal key the configuration names; made on the first start where the file is missing.
///
/// # Errors
/// [`SealKeyError`]; an existing file is never overwritten.
pub fn seal_key(keys: &Keys, random: &dyn Random) -> Result<SealKey, SealKeyError> {
    match keys {
        Keys::Given(bytes) => Ok(SealKey::from_bytes(bytes.expose()).expect("the configuration holds 32 bytes")),
        Keys::Directory(directory) => from_directory(directory, random),
    }
}

fn from_directory(directory: &Path, random: &dyn Random) -> Result<SealKey, SealKeyError> {
    let path = directory.join(FILE);
    let failed = |error| SealKeyError::Io { path: path.clone(), error };
    if !path.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let mut bytes = vec![0u8; 32];
        random.fill(&mut bytes);
        let text = Secret::new(STANDARD.encode(Secret::new(bytes).expose()));
        // `create_new`: of two processes that start at once one makes it and both read it.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => file.write_all(text.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    if fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(SealKeyError::Mode(path));
    }
    let text = Secret::new(fs::read_to_string(&path).map_err(failed)?);
    let bytes = STANDARD.decode(text.expose().trim()).map(Secret::new).map_err(|_| SealKeyError::Content(path.clone()))?;
    SealKey::from_bytes(bytes.expose()).map_err(|_| SealKeyError::Content(path))
}
