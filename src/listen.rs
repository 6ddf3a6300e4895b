//! The accept loop everything serves with: bounded in connections, also of one peer, in header size and header time, and in how long a
//! peer may take nothing of its answer; drained when told to stop.
//! HTTP/1.1 (RFC 9112) and, where TLS or a switch says so, HTTP/2 (RFC 9113); over TCP or a socket file.

mod address;
mod network;
mod places;
mod preface;
mod seats;
mod speak;
mod stall;
mod streams;
pub mod tls;
pub mod turns;
mod unix;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service;

pub use address::{Address, Peer};
pub use network::{ForwardedHeader, Network, Proxies, Range};
use places::Places;
use speak::Speech;
use stall::Stall;
use tls::Tls;
use turns::in_turn;
use unix::SocketFile;

/// Pause after an accept that failed because the machine is out of something (file descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one listener lets its peers take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest time from the end of one answer, or from connecting, to the end of the next request's headers. It is therefore
    /// also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// How long a peer may take none of what is sent to it.
    pub write_timeout: Duration,
    /// Connections at once. For one beyond, the one that has waited longest for a request is closed; where all are served it waits.
    pub max_connections: usize,
    /// Of which one [`Network`] may have so many. For one beyond, its own longest idle one is closed; where all are served the new one is.
    pub max_connections_per_address: usize,
    /// Request line and headers together, in bytes (at least 8192 count); more is answered with 431. RFC 6585 §5.
    pub max_header_bytes: usize,
    /// Header fields of a request; more is answered with 431.
    pub max_headers: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Requests that one HTTP/2 connection may have under way; those beyond are refused. RFC 9113 §5.1.2.
    pub max_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_connections: 4096,
            max_connections_per_address: 1024,
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            handshake_timeout: Duration::from_secs(10),
            max_streams: 100,
        }
    }
}

/// A bound address that nobody is served at yet; peers may connect and wait.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds; port 0 takes a free one, which [`Listener::local_addr`] tells.
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or not ours to bind.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::from_tcp(TcpListener::bind(address).await?)
    }

    /// # Errors
    /// When the operating system cannot say where the socket is bound.
    pub fn from_tcp(tcp: TcpListener) -> io::Result<Self> {
        let address = tcp.local_addr()?;
        Ok(Self { tcp, address })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl From<Listener> for TcpListener {
    fn from(listener: Listener) -> Self {
        listener.tcp
    }
}

/// A way in: a listener of one kind or the other, and what is spoken there.
#[derive(Debug)]
pub struct Entrance {
    socket: Socket,
    address: Address,
    tls: Option<Tls>,
    h2c: bool,
    proxies: Proxies,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "goes with the listener")] SocketFile),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Entrance {
    /// Listens on an address; `mode` is that of a socket file.
    ///
    /// # Errors
    /// When somebody else listens there, or we may not. [`io::ErrorKind::AlreadyExists`] where a file is in the way.
    pub async fn bind(address: &Address, mode: u32) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Listener::bind(address).await?.into()),
            Address::Unix(path) => Self::unix(path, mode),
        }
    }

    fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        let (listener, file) = unix::bind(path, mode)?;
        Ok(Self { socket: Socket::Unix(listener, file), address: Address::Unix(PathBuf::from(path)), tls: None, h2c: false, proxies: Proxies::NONE })
    }

    pub fn local_addr(&self) -> &Address {
        &self.address
    }

    /// Who asks here for others.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// The same, with TLS alone.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// The same; whether HTTP/2 is taken in the clear, from who begins with it. RFC 9113 §3.3.
    #[must_use]
    pub fn with_h2c(self, h2c: bool) -> Self {
        Self { h2c, ..self }
    }

    /// The same; who asks here for others, and is no flood however much that is.
    #[must_use]
    pub fn with_proxies(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }
}

impl From<Listener> for Entrance {
    fn from(Listener { tcp, address }: Listener) -> Self {
        Self { socket: Socket::Tcp(tcp), address: address.into(), tls: None, h2c: false, proxies: Proxies::NONE }
    }
}

/// What can be served: a router, or what is quicker than one.
pub trait Answers: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static {}

impl<S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static> Answers for S {}

/// Serves until `stop`. Then nothing new is accepted, idle connections are closed, requests under way are answered with
/// `Connection: close` (or after GOAWAY), and what is not done after `grace` is cut off. Returns when no connection is left; dropping
/// the future cuts all of them off at once.
pub async fn serve(entrance: impl Into<Entrance>, service: impl Answers, limits: Limits, stop: CancellationToken, grace: Duration) {
    let Entrance { socket, tls, h2c, proxies, .. } = entrance.into();
    let places = Places::new(limits.max_connections, limits.max_connections_per_address);
    let speech = Arc::new(Speech::new(limits, tls, h2c, proxies));

    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&socket) => accepted,
        };
        let Some((stream, peer)) = accepted else { continue };
        // Whoever comes through a socket file has no address to have a share by, and was let in by the file's mode.
        let share = match peer {
            Peer::Unix => None,
            Peer::Tcp(_) => Some(peer.network()),
        };
        let guest = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            guest = places.take(share) => guest,
        };
        let Some(guest) = guest.map(Arc::new) else {
            tracing::debug!(%peer, "closed: this peer has as many connections as it may");
            continue;
        };
        let (speech, service, stop) = (Arc::clone(&speech), service.clone(), stop.clone());
        // All that is done for a connection: handshakes, reading, answering, writing.
        connections.spawn(in_turn(speech.turns(peer), peer.network(), async move {
            match stream {
                Stream::Tcp(stream) => speech.with(Stall::new(stream, limits.write_timeout), peer, guest, service, stop).await,
                Stream::Unix(stream) => speech.with(Stall::new(stream, limits.write_timeout), peer, guest, service, stop).await,
            }
        }));
    }

    // Closed before draining, so that a balancer's next attempt is refused and goes elsewhere.
    drop(socket);
    let drained = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut off after the grace period");
        connections.shutdown().await;
    }
}

/// The next connection; `None` after a failure that says nothing about the next attempt.
async fn accept(socket: &Socket) -> Option<(Stream, Peer)> {
    let accepted = match socket {
        Socket::Tcp(tcp) => tcp.accept().await.map(|(stream, peer)| {
            // Answers are small and written whole: waiting for more to send only delays them. A socket that refuses is slower, not wrong.
            let _ = stream.set_nodelay(true);
            (Stream::Tcp(stream), Peer::Tcp(peer))
        }),
        Socket::Unix(unix, _) => unix.accept().await.map(|(stream, _)| (Stream::Unix(stream), Peer::Unix)),
    };
    match accepted {
        Ok(accepted) => Some(accepted),
        // The peer went away while it waited.
        Err(gone) if matches!(gone.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted) => None,
        Err(error) => {
            tracing::error!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

#[cfg(test)]
#[path = "listen/tests.rs"]
mod tests;
