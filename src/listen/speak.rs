//! What is spoken on a connection once it is accepted: TLS or not, HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::places::Guest;
use super::preface;
use super::streams::{Fate, Serving, Streams, Tasks, Watched};
use super::tls::Tls;
use super::turns::Turns;
use super::{Answers, Limits, Peer, Proxies};

/// The least buffer the HTTP parser works with, in bytes.
const SMALLEST_BUFFER: usize = 8 * 1024;

/// Streams that a peer may open and reset before we have seen them, or that we may have to reset for its mistakes; then the connection ends. What
/// is called rapid reset: a request that costs its sender nothing. RFC 9113 §10.5.
const RESETS: usize = 20;

/// How much of the answers of one stream waits to be sent. Bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// Whether a peer that says nothing is still there is asked so often.
const PING_EVERY: Duration = Duration::from_secs(20);

/// How often a connection of HTTP/2 is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How connections of one listener are spoken with.
pub(super) struct Speech {
    limits: Limits,
    tls: Option<Tls>,
    h2c: bool,
    http1: http1::Builder,
    turns: Arc<Turns>,
    proxies: Proxies,
}

impl Speech {
    pub fn new(limits: Limits, tls: Option<Tls>, h2c: bool, proxies: Proxies) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.max_header_bytes.max(SMALLEST_BUFFER))
            .max_header_size(limits.max_header_bytes.max(SMALLEST_BUFFER))
            .max_headers(limits.max_headers);
        Self { limits, tls, h2c, http1, turns: Turns::new(), proxies }
    }

    /// The turns a peer's connections are served in. Whoever asks for others has none: those take turns among themselves.
    pub fn turns(&self, peer: Peer) -> Option<Arc<Turns>> {
        (!self.proxies.trusts(peer.ip())).then(|| Arc::clone(&self.turns))
    }

    /// Serves one connection to its end. Until `stop` or until its place goes to another, then as much as is under way.
    pub async fn with<S>(&self, stream: S, peer: Peer, guest: Arc<Guest>, service: impl Answers, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match &self.tls {
            Some(tls) => {
                let handshake = tls.acceptor().accept(stream);
                let Some(stream) = self.within(self.limits.handshake_timeout, peer, &guest, "TLS handshake", handshake, &stop).await else {
                    return;
                };
                // A client that does not choose speaks HTTP/1.1. RFC 7301 §3.1, RFC 9113 §3.2.
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    self.http2(stream, peer, guest, service, stop).await;
                } else {
                    self.http1(stream, peer, guest, service, stop).await;
                }
            }
            None if self.h2c => match self.within(self.limits.header_timeout, peer, &guest, "first bytes", preface::look(stream), &stop).await {
                Some((true, stream)) => self.http2(stream, peer, guest, service, stop).await,
                Some((false, stream)) => self.http1(stream, peer, guest, service, stop).await,
                None => {}
            },
            None => self.http1(stream, peer, guest, service, stop).await,
        }
    }

    /// What comes before the first request; nothing is lost by giving it up.
    async fn within<T>(
        &self,
        longest: Duration,
        peer: Peer,
        guest: &Guest,
        what: &'static str,
        step: impl Future<Output = std::io::Result<T>>,
        stop: &CancellationToken,
    ) -> Option<T> {
        tokio::select! {
            () = stop.cancelled() => None,
            _ = guest.must_leave() => None,
            done = timeout(longest, step) => match done {
                Ok(Ok(done)) => Some(done),
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "{what} failed");
                    None
                }
                Err(_) => {
                    tracing::debug!(%peer, "{what} took too long");
                    None
                }
            },
        }
    }

    async fn http1<S>(&self, stream: S, peer: Peer, guest: Arc<Guest>, service: impl Answers, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let place = Arc::clone(&guest);
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            let under_way = place.begin();
            request.extensions_mut().insert(peer);
            let answered = answer(service.clone(), request.map(Body::new));
            async move {
                let answered = answered.await;
                drop(under_way);
                answered
            }
        });
        let mut connection = std::pin::pin!(self.http1.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            within = guest.must_leave() => {
                connection.as_mut().graceful_shutdown();
                timeout(within, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            // The peer's doing, mostly: malformed requests, time-outs, resets.
            tracing::debug!(%peer, %error, "connection ended early");
        }
    }

    async fn http2<S>(&self, stream: S, peer: Peer, guest: Arc<Guest>, service: impl Answers, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.limits;
        let (tasks, streams) = (Tasks::new(self.turns(peer), peer.network()), Streams::new());
        let _ending = tasks.ending();
        let mut http2 = http2::Builder::new(tasks);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes.max(SMALLEST_BUFFER)).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(limits.write_timeout);
        let (begun, place) = (streams.clone(), Arc::clone(&guest));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let under_way = place.begin();
            request.extensions_mut().insert(peer);
            let answered = answer_stream(service.clone(), request.map(Body::new), begun.begin(), limits.max_headers);
            async move {
                let answered = answered.await;
                drop(under_way);
                answered
            }
        });
        let mut connection = std::pin::pin!(http2.serve_connection(TokioIo::new(stream), service));
        // No seldomer than the shortest of what is looked for.
        let mut look = tokio::time::interval(LOOK_EVERY.min(limits.header_timeout / 2).min(limits.write_timeout / 2).max(Duration::from_millis(1)));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = None;
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = stop.cancelled(), if last.is_none() => {
                    // GOAWAY. RFC 9113 §6.8. What is under way has as long as `serve` gives it.
                    connection.as_mut().graceful_shutdown();
                    break connection.await;
                }
                within = guest.must_leave() => {
                    connection.as_mut().graceful_shutdown();
                    break timeout(within, connection).await.unwrap_or(Ok(()));
                }
                _ = look.tick() => match streams.fate(tokio::time::Instant::now(), limits.header_timeout, limits.write_timeout) {
                    Fate::Stalls => {
                        tracing::debug!(%peer, "cut off: nothing of an answer was taken");
                        return;
                    }
                    Fate::Ends if last.is_none() => {
                        connection.as_mut().graceful_shutdown();
                        last = Some(tokio::time::Instant::now());
                    }
                    // Requests under way are bounded by themselves; what is left is what the peer does not take.
                    Fate::Ends | Fate::Stays if last.is_some_and(|since| since.elapsed() >= limits.write_timeout.max(limits.header_timeout)) => {
                        tracing::debug!(%peer, "cut off: it did not go");
                        return;
                    }
                    Fate::Ends | Fate::Stays => {}
                },
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended early");
        }
    }
}

async fn answer(service: impl Answers, request: Request<Body>) -> Result<Response, Infallible> {
    // A length beside a transfer coding is gone when we see the request; two parties that read such a message differently have nothing
    // to disagree about where nothing follows it. RFC 9112 §6.1.
    let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = service.oneshot(request).await?;
    if is_last {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn answer_stream(service: impl Answers, request: Request<Body>, serving: Serving, max_headers: usize) -> Result<Response<Watched>, Infallible> {
    // HTTP/2 itself counts bytes alone. RFC 6585 §5.
    let response = if request.headers().len() > max_headers {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        response
    } else {
        service.oneshot(request).await?
    };
    Ok(response.map(|body| serving.answer(body)))
}
