//! Where a request comes from, in one place: what failures are counted by, what is recorded, and the host it was sent to.
//!
//! That is the other end of the connection, unless a trusted proxy says for whom it asks. RFC 7239.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::listen::turns::Turns;
use crate::listen::{ForwardedHeader, Network, Peer, Proxies};
use crate::protocol::forwarded::{self, Hop, Node};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a trusted proxy said of a request; in its extensions where one did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Who asked.
    from: Option<IpAddr>,
    /// The host it asked for, in small letters.
    host: Option<String>,
    /// Whether it asked over TLS.
    secure: Option<bool>,
}

/// Who asks, as far as those we believe can tell. Nothing for somebody on this machine, through a socket file.
pub fn client(extensions: &Extensions) -> Option<IpAddr> {
    let told = extensions.get::<Told>().and_then(|told| told.from);
    told.or_else(|| extensions.get::<Peer>().and_then(|peer| peer.ip())).map(|address| address.to_canonical())
}

/// The same, as failures are counted.
pub fn network(extensions: &Extensions) -> Network {
    client(extensions).map_or(Network::UNIX, Network::of)
}

/// The host the client asked for, where a proxy we believe says so.
pub fn host(extensions: &Extensions) -> Option<&str> {
    extensions.get::<Told>().and_then(|told| told.host.as_deref())
}

/// Whether the client asked in the clear, as a proxy we believe says.
pub fn is_in_the_clear(extensions: &Extensions) -> bool {
    extensions.get::<Told>().is_some_and(|told| told.secure == Some(false))
}

/// Around everything, where there are proxies to believe. Those they ask for take turns among themselves, as connections do.
pub async fn behind(State((proxies, turns)): State<(Arc<Proxies>, Arc<Turns>)>, mut request: Request, next: Next) -> Response {
    if !listens(&proxies, &mut request) {
        return next.run(request).await;
    }
    // Whatever it says, and whether or not that can be read: its connection has no turns, and who asks may have written some of it.
    let network = network(request.extensions());
    turns.by_one_of_many(network, next.run(request)).await
}

/// Whether a request comes from a proxy that is believed. What that says is noted then, where it can be read.
fn listens(proxies: &Proxies, request: &mut Request) -> bool {
    let Some(peer) = request.extensions().get::<Peer>().copied().filter(|peer| proxies.trusts(peer.ip())) else { return false };
    if let Some(told) = told(proxies, peer, request.headers()) {
        request.extensions_mut().insert(told);
    }
    true
}

/// What a proxy that is believed says with its headers. Nothing where they cannot be read.
fn told(proxies: &Proxies, peer: Peer, headers: &HeaderMap) -> Option<Told> {
    let told = match proxies.header {
        ForwardedHeader::Forwarded => by_forwarded(proxies, headers),
        ForwardedHeader::XForwarded => by_x_forwarded(proxies, headers),
    };
    if told.is_none() {
        // Without its value: it is whoever's text.
        tracing::debug!(%peer, "a trusted proxy sent a header that cannot be read; it counts itself as who asks");
    }
    told
}

/// All values of a header as text, in order; `None` where one is none.
fn texts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Vec<&'h str>> {
    headers.get_all(name).iter().map(|value| value.to_str().ok()).collect()
}

/// A hop that cannot be read.
struct Unreadable;

/// Who asks, and the number of the hop that names them; no name where it was hidden from us.
type Asker = Option<(usize, Option<IpAddr>)>;

/// Each hop names who came to it: the last one that was not itself a proxy of ours is who asks. What is before it anybody may have written, so
/// it is not even read.
fn who_asks(proxies: &Proxies, hops: impl DoubleEndedIterator<Item = Result<Node, Unreadable>> + ExactSizeIterator) -> Result<Asker, Unreadable> {
    let mut last = None;
    for (index, node) in hops.enumerate().rev() {
        match node? {
            Node::Address(address) if proxies.trusts(Some(address)) => last = Some((index, Some(address))),
            Node::Address(address) => return Ok(Some((index, Some(address)))),
            // The proxy before it is the nearest to them that we know of.
            Node::Hidden => return Ok(Some((index, last.and_then(|(_, address)| address)))),
        }
    }
    // Everybody on the way is one of ours, so the first of them asked.
    Ok(last)
}

fn by_forwarded(proxies: &Proxies, headers: &HeaderMap) -> Option<Told> {
    let hops = forwarded::forwarded(texts(headers, &header::FORWARDED)?)?;
    let Some((index, from)) = who_asks(proxies, hops.iter().map(|hop| Ok(hop.from.unwrap_or(Node::Hidden)))).ok()? else { return Some(Told::default()) };
    // What was asked for, the proxy says that was asked.
    let Hop { proto, host, .. } = hops.into_iter().nth(index)?;
    Some(Told { from, host: host.as_deref().and_then(plain_host), secure: proto.as_deref().and_then(secure) })
}

fn by_x_forwarded(proxies: &Proxies, headers: &HeaderMap) -> Option<Told> {
    // Bytes that are no text may stand in what the client wrote itself; they hide nobody who comes after them.
    let lines: Vec<_> = headers.get_all(&X_FORWARDED_FOR).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    let entries: Vec<&str> = lines.iter().flat_map(|line| line.split(',')).collect();
    let asker = who_asks(proxies, entries.iter().map(|entry| forwarded::x_forwarded_for(entry).ok_or(Unreadable))).ok()?;
    // One value each: of several nobody knows whose is which.
    let one = |name: &HeaderName| match texts(headers, name)?.as_slice() {
        [one] => Some(one.trim_matches([' ', '\t']).to_ascii_lowercase()),
        _ => None,
    };
    let (host, proto) = (one(&X_FORWARDED_HOST), one(&X_FORWARDED_PROTO));
    Some(Told { from: asker.and_then(|(_, from)| from), host: host.as_deref().and_then(plain_host), secure: proto.as_deref().and_then(secure) })
}

/// `host` or `host:port` and nothing that means more.
fn plain_host(host: &str) -> Option<String> {
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    plain.then(|| host.to_owned())
}

fn secure(proto: &str) -> Option<bool> {
    match proto {
        "https" => Some(true),
        "http" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::listen::Range;

    fn proxies(header: ForwardedHeader) -> Proxies {
        let ranges = ["10.0.0.0/8", "::1", "2001:db8:1::/48"].map(|range| Range::parse(range).unwrap()).to_vec();
        Proxies { ranges, unix: true, header }
    }

    fn tcp(address: &str) -> Peer {
        Peer::Tcp((address.parse::<IpAddr>().unwrap(), 1234).into())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    /// Who is taken to ask: with the headers of a request from `peer`.
    fn from(header: ForwardedHeader, peer: Peer, pairs: &[(&'static str, &str)]) -> Option<String> {
        client(request(&proxies(header), peer, pairs).0.extensions()).map(|address| address.to_string())
    }

    /// A request as it is after we listened, and whether there was somebody to listen to.
    fn request(proxies: &Proxies, peer: Peer, pairs: &[(&'static str, &str)]) -> (Request, bool) {
        let mut request = Request::default();
        *request.headers_mut() = headers(pairs);
        request.extensions_mut().insert(peer);
        let listened = listens(proxies, &mut request);
        (request, listened)
    }

    const X: ForwardedHeader = ForwardedHeader::XForwarded;
    const F: ForwardedHeader = ForwardedHeader::Forwarded;

    #[test]
    fn the_last_that_is_not_a_proxy_of_ours_asks() {
        let (proxy, stranger) = (tcp("10.0.0.1"), tcp("203.0.113.9"));
        for (header, peer, pairs, expected) in [
            (X, proxy, &[("x-forwarded-for", "192.0.2.7")][..], "192.0.2.7"),
            (X, stranger, &[("x-forwarded-for", "192.0.2.7")], "203.0.113.9"),
            (X, stranger, &[("x-forwarded-for", "10.0.0.1")], "203.0.113.9"),
            (X, proxy, &[], "10.0.0.1"),
            // What the client wrote itself stands before its own address.
            (X, proxy, &[("x-forwarded-for", "1.1.1.1, 192.0.2.7")], "192.0.2.7"),
            (X, proxy, &[("x-forwarded-for", "garbage \"; , 192.0.2.7")], "192.0.2.7"),
            (X, proxy, &[("x-forwarded-for", "ÿ, 192.0.2.7")], "192.0.2.7"),
            (X, proxy, &[("x-forwarded-for", "192.0.2.7, ÿ")], "10.0.0.1"),
            (X, proxy, &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7")], "192.0.2.7"),
            // Two proxies, and a client behind them that lies.
            (X, proxy, &[("x-forwarded-for", "1.1.1.1, 192.0.2.7, 10.9.9.9")], "192.0.2.7"),
            (X, proxy, &[("x-forwarded-for", "10.2.2.2, 10.3.3.3")], "10.2.2.2"),
            (X, proxy, &[("x-forwarded-for", "192.0.2.7, garbage")], "10.0.0.1"),
            (X, proxy, &[("x-forwarded-for", "")], "10.0.0.1"),
            (X, proxy, &[("x-forwarded-for", "unknown, 10.3.3.3")], "10.3.3.3"),
            (X, proxy, &[("x-forwarded-for", "2001:db8:2::1, 2001:db8:1::1")], "2001:db8:2::1"),
            (X, proxy, &[("x-forwarded-for", "::ffff:192.0.2.7")], "192.0.2.7"),
            (X, tcp("::ffff:10.0.0.1"), &[("x-forwarded-for", "192.0.2.7")], "192.0.2.7"),
            // The other header is the client's own, whatever it says.
            (X, proxy, &[("forwarded", "for=1.1.1.1")], "10.0.0.1"),
            (X, proxy, &[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "192.0.2.7")], "192.0.2.7"),
            (F, proxy, &[("forwarded", "for=192.0.2.7"), ("x-forwarded-for", "1.1.1.1")], "192.0.2.7"),
            (F, proxy, &[("x-forwarded-for", "1.1.1.1")], "10.0.0.1"),
            (F, stranger, &[("forwarded", "for=192.0.2.7")], "203.0.113.9"),
            (F, proxy, &[("forwarded", "for=1.1.1.1, for=\"[2001:db8:2::1]:99\";proto=https, for=10.3.3.3")], "2001:db8:2::1"),
            (F, proxy, &[("forwarded", "for=\"1.1.1.1, for=192.0.2.7")], "10.0.0.1"),
            (F, proxy, &[("forwarded", "for=_hidden, for=10.3.3.3")], "10.3.3.3"),
            (F, proxy, &[("forwarded", "proto=https")], "10.0.0.1"),
        ] {
            assert_eq!(from(header, peer, pairs).as_deref(), Some(expected), "{header:?} {peer} {pairs:?}");
        }
        assert_eq!(from(X, Peer::Unix, &[]), None);
        assert_eq!(from(X, Peer::Unix, &[("x-forwarded-for", "192.0.2.7")]).as_deref(), Some("192.0.2.7"));
        let nobody = Proxies { unix: false, ..proxies(X) };
        let (unheard, listened) = request(&nobody, Peer::Unix, &[("x-forwarded-for", "192.0.2.7")]);
        assert!(!listened && unheard.extensions().get::<Told>().is_none());
    }

    #[test]
    fn who_comes_through_a_proxy_is_of_its_network_where_nobody_can_read_whose_they_are() {
        let unreadable = [("forwarded", "for=1.1.1.1;for=2")];
        let (unread, listened) = request(&proxies(F), tcp("10.0.0.1"), &unreadable);
        assert!(listened && unread.extensions().get::<Told>().is_none());
        assert_eq!(network(unread.extensions()), tcp("10.0.0.1").network());
        assert!(!request(&proxies(F), tcp("203.0.113.9"), &unreadable).1);
    }

    #[test]
    fn host_and_scheme_are_those_the_client_asked_for() {
        let said = |header, pairs: &[(&'static str, &str)]| {
            let told = told(&proxies(header), tcp("10.0.0.1"), &headers(pairs)).unwrap();
            (told.host, told.secure)
        };
        let chain = "for=1.1.1.1;host=spoofed;proto=http, for=192.0.2.7;host=Auth.Example;proto=HTTPS, for=10.3.3.3;host=inner;proto=http";
        assert_eq!(said(F, &[("forwarded", chain)]), (Some("auth.example".to_owned()), Some(true)));
        assert_eq!(said(F, &[("forwarded", "for=192.0.2.7;host=\"a/b\";proto=gopher")]), (None, None));
        let one = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-host", "Auth.Example:443"), ("x-forwarded-proto", "http")];
        assert_eq!(said(X, &one), (Some("auth.example:443".to_owned()), Some(false)));
        assert_eq!(said(X, &[("x-forwarded-host", "auth.example, spoofed"), ("x-forwarded-proto", "https,http")]), (None, None));
        assert_eq!(said(X, &[("x-forwarded-host", "a"), ("x-forwarded-host", "b")]), (None, None));
    }
}
