//! Where a peer is, as far as it counts: who has one address of an IPv6 network has all of them. RFC 6177 §2.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, the /64 of an IPv6 address, or whoever comes through a socket file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(Option<IpAddr>);

impl Network {
    /// Everybody at a socket file: they have no address to tell them apart by.
    pub const UNIX: Self = Self(None);

    pub fn of(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        }))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(IpAddr::V4(address)) => address.fmt(f),
            Some(IpAddr::V6(network)) => write!(f, "{network}/64"),
            None => f.write_str("unix"),
        }
    }
}

/// A block of addresses: `10.0.0.0/8`, or one address alone. RFC 4632 §3.1, RFC 4291 §2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    /// How many bits in front are the block's.
    prefix: u32,
}

impl Range {
    /// Reads a block; `None` where it is none, or has bits set behind its prefix, which means that something else was meant.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first: IpAddr = address.parse().ok()?;
        let width = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(text) if !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok().filter(|prefix| *prefix <= width)?
            }
            Some(_) => return None,
        };
        let range = Self { first, prefix };
        (bits(first) & !range.mask() == 0).then_some(range)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && bits(address) & self.mask() == bits(self.first)
    }

    /// Whether it takes in every address there is.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    fn mask(&self) -> u128 {
        let unused = if self.first.is_ipv4() { 32 } else { 128 } - self.prefix;
        u128::MAX.checked_shl(unused).unwrap_or(0)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Which header a proxy writes down in where requests come from. One, never both: what the proxy does not write, its client may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `Forwarded`. RFC 7239.
    Forwarded,
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwarded,
}

/// Who is believed when it says for whom it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    pub ranges: Vec<Range>,
    /// Whoever comes through a socket file.
    pub unix: bool,
    pub header: ForwardedHeader,
}

impl Proxies {
    /// Nobody.
    pub const NONE: Self = Self { ranges: Vec::new(), unix: false, header: ForwardedHeader::XForwarded };

    pub fn is_nobody(&self) -> bool {
        self.ranges.is_empty() && !self.unix
    }

    /// `None` is the other end of a socket file.
    pub fn trusts(&self, address: Option<IpAddr>) -> bool {
        address.map_or(self.unix, |address| self.ranges.iter().any(|range| range.contains(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_with_its_network() {
        let of = |text: &str| Network::of(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("::1"), "::/64");
        assert_eq!(Network::UNIX.to_string(), "unix");
    }

    #[test]
    fn a_block_has_its_addresses_and_no_others() {
        for (block, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "a00::", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.6/31", "192.0.2.7", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
        ] {
            assert_eq!(Range::parse(block).unwrap().contains(address.parse().unwrap()), inside, "{address} in {block}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08x", "10.0/8", "::1/64", "::/129", "proxy.example", "10.0.0.0/8/8"]
        {
            assert_eq!(Range::parse(text), None, "{text}");
        }
        assert!(Range::parse("0.0.0.0/0").unwrap().is_everything() && Range::parse("::/0").unwrap().is_everything());
    }
}
