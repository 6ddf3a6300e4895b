//! Where a registered address may lead. Checked after name resolution, on the very addresses that are then connected to: a name
//! that resolves differently a moment later gains nothing. RFC 9700 §4.9, IANA special-purpose address registries (RFC 6890).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::{FetchError, FetchLimits};
use crate::protocol::ids::is_loopback;

/// What kind of network an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Public,
    /// RFC 1918, RFC 4193, RFC 6598 (carrier-grade NAT).
    Private,
    Loopback,
    /// Link-local (with it the metadata services of clouds), multicast, documentation, tunnels and everything reserved.
    Never,
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [127, ..] => Reach::Loopback,
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Reach::Private,
        // "This" network, link-local, IETF protocols, documentation (three), 6to4 relays, benchmarking, multicast and reserved.
        [0, ..] | [169, 254, ..] | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [224..=255, ..] => {
            Reach::Never
        }
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if address == Ipv6Addr::LOCALHOST {
        return Reach::Loopback;
    }
    match address.segments() {
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // NAT64 (RFC 6052): all of the IPv4 internet, where the network has no other way to it.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => match reach_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))) {
            Reach::Public => Reach::Public,
            Reach::Private | Reach::Loopback | Reach::Never => Reach::Never,
        },
        // IETF protocols with Teredo and ORCHID, documentation (two), 6to4.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x2002, ..] => Reach::Never,
        [0x2000..=0x3fff, ..] => Reach::Public,
        // Only 2000::/3 is global unicast. With the rest go mapped and compatible IPv4, link-local and multicast.
        _ => Reach::Never,
    }
}

/// Which networks may be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    private: bool,
    loopback: bool,
}

impl Allowed {
    pub(super) fn by(limits: &FetchLimits) -> Self {
        Self { private: limits.allow_private, loopback: limits.allow_loopback }
    }

    fn address(self, address: IpAddr) -> bool {
        match reach(address) {
            Reach::Public => true,
            Reach::Private => self.private,
            Reach::Loopback => self.loopback,
            Reach::Never => false,
        }
    }

    /// Those of a name's addresses that may be connected to.
    fn fit(self, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let fit: Vec<SocketAddr> = found.into_iter().filter(|found| self.address(found.ip())).collect();
        if fit.is_empty() { Err(Refused) } else { Ok(fit) }
    }

    /// The URL to ask, if it may be asked as far as its text tells. A literal address never meets the resolver, so it is judged here.
    pub(super) fn url(self, text: &str) -> Result<Url, FetchError> {
        let url = Url::parse(text).map_err(|_| FetchError::Url)?;
        let scheme = match url.scheme() {
            "https" => true,
            "http" => self.loopback && is_loopback(&url),
            _ => false,
        };
        if !scheme || !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Url);
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(FetchError::Url),
        };
        if literal.is_none_or(|address| self.address(address)) { Ok(url) } else { Err(FetchError::Address) }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// All addresses of a name are ones that may not be asked.
#[derive(Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to a network that may not be asked")
    }
}
impl std::error::Error for Refused {}

/// The system's resolver, minus the addresses that may not be asked.
impl Resolve for Allowed {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> = if is_localhost(name.as_str()) {
                // Never a question to the network. RFC 6761 §6.3.
                vec![(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()]
            } else {
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect()
            };
            Ok(Box::new(allowed.fit(found)?.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::get::Getter;
    use super::*;

    const NOTHING: Allowed = Allowed { private: false, loopback: false };
    const LOOPBACK: Allowed = Allowed { private: false, loopback: true };
    const PRIVATE: Allowed = Allowed { private: true, loopback: false };

    #[test]
    fn every_special_range_is_told_apart() {
        let cases: &[(Reach, &[&str])] = &[
            (Reach::Public, &["1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255"]),
            (Reach::Public, &["2a00:1450::1", "2001:200::1", "2606:4700::1", "3ffe::1", "64:ff9b::101:101"]),
            (Reach::Private, &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "fc00::1", "fdff::1"]),
            (Reach::Loopback, &["127.0.0.1", "127.255.255.254", "::1"]),
            (Reach::Never, &["0.0.0.0", "0.1.2.3", "169.254.169.254", "192.0.0.8", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1"]),
            (Reach::Never, &["198.18.0.1", "198.19.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"]),
            (Reach::Never, &["::", "::ffff:127.0.0.1", "::ffff:1.1.1.1", "::7f00:1", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1"]),
            (Reach::Never, &["2002:7f00:1::", "3fff:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "5f00::1"]),
        ];
        for (expected, addresses) in cases {
            for address in *addresses {
                assert_eq!(reach(address.parse().unwrap()), *expected, "{address}");
            }
        }
    }

    /// DNS rebinding: a name that leads where it may at first, then inside, then to both.
    struct Flips {
        allowed: Allowed,
        asked: AtomicUsize,
    }

    impl Resolve for Flips {
        fn resolve(&self, _: Name) -> Resolving {
            let inside: SocketAddr = (Ipv4Addr::new(169, 254, 169, 254), 0).into();
            let found = match self.asked.fetch_add(1, Ordering::SeqCst) {
                0 => vec![(Ipv4Addr::LOCALHOST, 0).into()],
                1 => vec![inside],
                _ => vec![inside, (Ipv4Addr::LOCALHOST, 0).into()],
            };
            let fit = self.allowed.fit(found);
            Box::pin(async move { Ok(Box::new(fit?.into_iter()) as Addrs) })
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_a_moment_later_gains_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://keys.example:{}/", listener.local_addr().unwrap().port())).unwrap();
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(|| async { "{}" })).await });
        let limits = FetchLimits { allow_loopback: true, ..FetchLimits::default() };
        let flips = Arc::new(Flips { allowed: Allowed::by(&limits), asked: AtomicUsize::new(0) });
        let getter = Getter::resolving(limits, Arc::clone(&flips));
        assert!(getter.get(url.clone()).await.is_ok(), "where it may");
        assert_eq!(getter.get(url.clone()).await.err(), Some(FetchError::Address), "looked up anew, and judged anew");
        assert!(getter.get(url).await.is_ok(), "of several addresses the one that may be asked");
        assert_eq!(flips.asked.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn link_local_is_refused_whatever_is_allowed() {
        let all = Allowed { private: true, loopback: true };
        for address in ["169.254.169.254", "fe80::1", "::ffff:127.0.0.1", "0.0.0.0"] {
            assert!(!all.address(address.parse().unwrap()), "{address}");
        }
        assert!(all.address("10.0.0.1".parse().unwrap()) && !NOTHING.address("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_url_is_judged_by_scheme_and_literal_address() {
        let cases = [
            (NOTHING, "https://keys.example/jwks", None),
            (NOTHING, "http://keys.example/jwks", Some(FetchError::Url)),
            (NOTHING, "http://127.0.0.1/jwks", Some(FetchError::Url)),
            (NOTHING, "https://user@keys.example/", Some(FetchError::Url)),
            (NOTHING, "https://:p@keys.example/", Some(FetchError::Url)),
            (NOTHING, "file:///etc/passwd", Some(FetchError::Url)),
            (NOTHING, "jwks", Some(FetchError::Url)),
            (NOTHING, "https://127.0.0.1/", Some(FetchError::Address)),
            // Other spellings of 127.0.0.1.
            (NOTHING, "https://0x7f.1/", Some(FetchError::Address)),
            (NOTHING, "https://2130706433/", Some(FetchError::Address)),
            (NOTHING, "https://[::1]/", Some(FetchError::Address)),
            (NOTHING, "https://[::ffff:10.0.0.1]/", Some(FetchError::Address)),
            (NOTHING, "https://10.1.2.3/", Some(FetchError::Address)),
            (PRIVATE, "https://10.1.2.3/", None),
            (PRIVATE, "http://10.1.2.3/", Some(FetchError::Url)),
            (PRIVATE, "https://127.0.0.1/", Some(FetchError::Address)),
            (LOOPBACK, "http://127.0.0.1:4567/jwks.json", None),
            (LOOPBACK, "http://localhost:4567/jwks.json", None),
            (LOOPBACK, "http://[::1]:4567/", None),
            (LOOPBACK, "http://keys.example/", Some(FetchError::Url)),
            (LOOPBACK, "https://192.168.0.1/", Some(FetchError::Address)),
        ];
        for (allowed, text, expected) in cases {
            assert_eq!(allowed.url(text).err(), expected, "{allowed:?} {text}");
        }
    }
}
