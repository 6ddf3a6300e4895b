//! Tells systemd how far we are, where it asked for that. <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::io;
use std::os::unix::net::UnixDatagram;

use crate::config::{Environment as _, SystemEnvironment};

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Ready,
    /// It was asked to stop.
    Stopping,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "READY=1",
            Self::Stopping => "STOPPING=1",
        }
    }
}

/// Tells whoever set `NOTIFY_SOCKET`; nobody where nobody did. What cannot be told is logged and no reason to stop.
pub fn tell(state: State) {
    let Some(socket) = SystemEnvironment::relative_to("").variable("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(socket.expose(), state) {
        tracing::warn!(%error, "the service manager could not be told {}", state.as_str());
    }
}

/// To a path, or to a name in the abstract namespace of Linux, which begins with `@`.
fn send(socket: &str, state: State) -> io::Result<()> {
    let datagram = UnixDatagram::unbound()?;
    match socket.strip_prefix('@') {
        None => datagram.send_to(state.as_str().as_bytes(), socket),
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            datagram.send_to_addr(state.as_str().as_bytes(), &std::os::unix::net::SocketAddr::from_abstract_name(name)?)
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(io::ErrorKind::Unsupported.into()),
    }
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut buffer = [0; 64];
        for (state, said) in [(State::Ready, "READY=1"), (State::Stopping, "STOPPING=1")] {
            send(path.to_str().unwrap(), state).unwrap();
            let length = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], said.as_bytes());
        }
        assert!(send(folder.path().join("nobody").to_str().unwrap(), State::Ready).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_told() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("helsebro-test-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(&format!("@{name}"), State::Ready).unwrap();
        let mut buffer = [0; 64];
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }
}
