//! The accept loop everything serves with: bounded in connections, also of one peer, in header size and header time, and in how long a
//! peer may take nothing of its answer; drained when told to stop.
//! HTTP/1.1 only; whoever needs TLS or HTTP/2 puts a proxy before it. RFC 9112.

mod network;
mod places;
mod seats;
mod stall;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub use network::Network;
use places::{Guest, Places};
use stall::Stall;

/// Pause after an accept that failed because the machine is out of something (file descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The least buffer the HTTP parser works with, in bytes.
const SMALLEST_BUFFER: usize = 8 * 1024;

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
        }
    }
}

/// The address at the other end of the connection, in the extensions of every request: `Extension(PeerAddr(peer))`.
/// Behind a proxy it is the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

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

/// Serves until `stop`. Then nothing new is accepted, idle connections are closed, requests under way are answered with
/// `Connection: close`, and what is not done after `grace` is cut off. Returns when no connection is left; dropping the future
/// cuts all of them off at once.
pub async fn serve(listener: impl Into<TcpListener>, service: Router, limits: Limits, stop: CancellationToken, grace: Duration) {
    let listener = listener.into();
    let places = Places::new(limits.max_connections, limits.max_connections_per_address);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes.max(SMALLEST_BUFFER))
        .max_header_size(limits.max_header_bytes.max(SMALLEST_BUFFER))
        .max_headers(limits.max_headers);

    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        let Some((stream, peer)) = accepted else { continue };
        let guest = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            guest = places.take(Network::of(peer.ip())) => guest,
        };
        let Some(guest) = guest else {
            tracing::debug!(%peer, "closed: this peer has as many connections as it may");
            continue;
        };
        connections.spawn(connection(Stall::new(stream, limits.write_timeout), peer, guest.into(), service.clone(), http.clone(), stop.clone()));
    }

    // Closed before draining, so that a balancer's next attempt is refused and goes elsewhere.
    drop(listener);
    let drained = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut off after the grace period");
        connections.shutdown().await;
    }
}

/// The next connection; `None` after a failure that says nothing about the next attempt.
async fn accept(tcp: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match tcp.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and written whole: waiting for more to send only delays them. A socket that refuses is slower, not wrong.
            let _ = stream.set_nodelay(true);
            Some((stream, peer))
        }
        // The peer went away while it waited.
        Err(gone) if matches!(gone.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted) => None,
        Err(error) => {
            tracing::error!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(stream: Stall<TcpStream>, peer: SocketAddr, guest: Arc<Guest>, service: Router, http: http1::Builder, stop: CancellationToken) {
    let place = Arc::clone(&guest);
    let service = tower::service_fn(move |mut request: http::Request<Incoming>| {
        let under_way = place.begin();
        request.extensions_mut().insert(PeerAddr(peer));
        let answered = answer(service.clone(), request.map(Body::new));
        async move {
            let answered = answered.await;
            drop(under_way);
            answered
        }
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        within = guest.must_leave() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(within, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        // The peer's doing, mostly: malformed requests, time-outs, resets.
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

async fn answer(service: Router, request: http::Request<Body>) -> Result<Response, Infallible> {
    // A length beside a transfer coding is gone when we see the request; two parties that read such a message differently have nothing
    // to disagree about where nothing follows it. RFC 9112 §6.1.
    let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = service.oneshot(request).await?;
    if is_last {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

#[cfg(test)]
#[path = "listen/tests.rs"]
mod tests;
