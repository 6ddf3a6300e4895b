//! A socket file: made with its mode, in place of one that nobody listens at any more, gone when the listener is.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A file we made; removed when dropped, unless somebody put another in its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    made: Identity,
}

/// Which file it is, whatever its name.
type Identity = (u64, u64);

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.made)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket file could not be removed");
        }
    }
}

/// Listens at a path. What is made has its mode before anybody can connect by that name.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] where somebody answers there, [`io::ErrorKind::AlreadyExists`] where a file is that is no socket.
pub(super) fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    // Of a process with our number that is no more.
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    // A link, where renaming would take the place of whatever came to be there in the meantime.
    let named = fs::set_permissions(&beside, Permissions::from_mode(mode)).and_then(|()| fs::hard_link(&beside, path));
    let unlinked = fs::remove_file(&beside);
    named.map_err(|error| if error.kind() == io::ErrorKind::AlreadyExists { io::ErrorKind::AddrInUse.into() } else { error })?;
    let file = SocketFile { path: path.to_owned(), made: identity(path)? };
    unlinked?;
    Ok((listener, file))
}

/// Makes room where nobody listens any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        // Refused by the system itself: the file outlived its listener. Anything else may be somebody's who is busy, or not ours to judge.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match identity(path) {
            Ok(still) if still == (there.dev(), there.ino()) => fs::remove_file(path),
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        },
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_has_its_mode_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        for wanted in [0o660, 0o600, 0o666] {
            let (listener, file) = bind(&path, wanted).unwrap();
            assert_eq!(mode(&path), wanted);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
            drop((listener, file));
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn who_answers_stays_and_who_does_not_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (listener, file) = bind(&path, 0o660).unwrap();
        assert_eq!(bind(&path, 0o660).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists(), "the one that answers is left alone");
        // As after `kill -9`: the file is there, and nobody behind it.
        std::mem::forget(file);
        drop(listener);
        let (_listener, again) = bind(&path, 0o660).unwrap();
        // Somebody else's file in our place is not ours to remove.
        fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(again);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path, 0o660).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(bind(&link, 0o660).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
