//! `Forwarded`: what proxies say of the request they pass on. RFC 7239. And the headers that were there before it.

use std::net::IpAddr;

/// One proxy's word about the request it got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// Who asked it; nothing where it did not say.
    pub from: Option<Node>,
    pub proto: Option<String>,
    pub host: Option<String>,
}

/// RFC 7239 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Address(IpAddr),
    /// `unknown`, or a name that hides who it is.
    Hidden,
}

/// Reads the field values of all `Forwarded` headers, in their order: the last hop is the one nearest to us. RFC 7239 §4.
///
/// `None` where any of it is malformed.
pub fn forwarded<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Vec<Hop>> {
    let mut hops = Vec::new();
    for value in values {
        let mut rest = value;
        loop {
            let (found, after) = hop(rest)?;
            // An empty element of a list says nothing. RFC 9110 §5.6.1.2.
            hops.extend(found);
            match after.strip_prefix(',') {
                Some(after) => rest = after,
                None if after.is_empty() => break,
                None => return None,
            }
        }
    }
    Some(hops)
}

/// One element, and what follows it.
fn hop(text: &str) -> Option<(Option<Hop>, &str)> {
    let mut hop = Hop::default();
    let mut rest = space(text);
    if rest.is_empty() || rest.starts_with(',') {
        return Some((None, rest));
    }
    loop {
        // A pair may be left out. RFC 7239 §4.
        if rest.is_empty() || rest.starts_with([',', ';']) {
            match rest.strip_prefix(';') {
                Some(after) => {
                    rest = space(after);
                    continue;
                }
                None => return Some((Some(hop), rest)),
            }
        }
        let (name, after) = token(rest)?;
        let (value, after) = value(after.strip_prefix('=')?)?;
        let said_before = match name.to_ascii_lowercase().as_str() {
            "for" => hop.from.replace(node(&value)?).is_some(),
            "proto" => hop.proto.replace(value.to_ascii_lowercase()).is_some(),
            "host" => hop.host.replace(value.to_ascii_lowercase()).is_some(),
            _ => false,
        };
        // Each once. RFC 7239 §4.
        if said_before {
            return None;
        }
        let after = space(after);
        match after.strip_prefix(';') {
            Some(after) => rest = space(after),
            None => return Some((Some(hop), after)),
        }
    }
}

fn space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// RFC 9110 §5.6.2.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let length = text.bytes().take_while(|b| is_token(*b)).count();
    (length > 0).then(|| text.split_at_checked(length)).flatten()
}

/// A token or a quoted text. RFC 9110 §5.6.4.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else { return token(text).map(|(value, rest)| (value.to_owned(), rest)) };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            control if control.is_control() && control != '\t' => return None,
            plain => value.push(plain),
        }
    }
}

/// `192.0.2.43`, `192.0.2.43:47011`, `[2001:db8::17]`, `[2001:db8::17]:4711`, `unknown`, `_hidden`. RFC 7239 §6.
fn node(text: &str) -> Option<Node> {
    let hidden = |name: &str| {
        name.eq_ignore_ascii_case("unknown")
            || name.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)))
    };
    if let Some(address) = bracketed(text) {
        return Some(Node::Address(address));
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    if port.is_some_and(|port| !is_port(port) && !hidden(port)) {
        return None;
    }
    if hidden(name) {
        return Some(Node::Hidden);
    }
    name.parse::<std::net::Ipv4Addr>().ok().map(|v4| Node::Address(v4.into()))
}

fn bracketed(text: &str) -> Option<IpAddr> {
    let (inside, port) = text.strip_prefix('[')?.split_once(']')?;
    let plain_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    plain_port.then(|| inside.parse::<std::net::Ipv6Addr>().ok()).flatten().map(IpAddr::V6)
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// An entry of `X-Forwarded-For`, as proxies write it: as a [`Node`], or an IPv6 address without brackets.
pub fn x_forwarded_for(entry: &str) -> Option<Node> {
    let entry = entry.trim_matches([' ', '\t']);
    entry.parse::<IpAddr>().ok().map(Node::Address).or_else(|| node(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Hop {
        Hop { from: Some(Node::Address(address.parse().unwrap())), ..Hop::default() }
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let hidden = Hop { from: Some(Node::Hidden), ..Hop::default() };
        for (text, expected) in [
            ("for=\"_gazonk\"", vec![hidden.clone()]),
            ("For=\"[2001:db8:cafe::17]:4711\"", vec![from("2001:db8:cafe::17")]),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", vec![Hop { proto: Some("http".to_owned()), ..from("192.0.2.60") }]),
            ("for=192.0.2.43, for=198.51.100.17", vec![from("192.0.2.43"), from("198.51.100.17")]),
            ("for=_hidden, for=_SEVKISEK", vec![hidden.clone(), hidden.clone()]),
            ("for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown", vec![from("192.0.2.43"), from("2001:db8:cafe::17"), hidden]),
            ("for=\"192.0.2.43:47011\";host=\"Auth.Example:443\"", vec![Hop { host: Some("auth.example:443".to_owned()), ..from("192.0.2.43") }]),
            ("", vec![]),
            (", ,for=192.0.2.43 ,", vec![from("192.0.2.43")]),
            ("secret=x", vec![Hop::default()]),
            ("for=192.0.2.43;", vec![from("192.0.2.43")]),
            (";; for=192.0.2.43 ; ;by=_x, for=198.51.100.17", vec![from("192.0.2.43"), from("198.51.100.17")]),
        ] {
            assert_eq!(forwarded([text]), Some(expected), "{text}");
        }
        assert_eq!(forwarded(["for=192.0.2.43", "for=198.51.100.17"]).unwrap(), [from("192.0.2.43"), from("198.51.100.17")]);
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        for text in [
            "for",
            "for=",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "for=\"192.0.2.1",
            "for=2001:db8::1",
            "for=\"2001:db8::1\"",
            "for=\"[192.0.2.1]\"",
            "for=\"[2001:db8::1\"",
            "for=\"[2001:db8::1]4711\"",
            "for=auth.example",
            "for=192.0.2.1 for=192.0.2.2",
            "for=\"192.0.2.1:port\"",
            "=x",
            "for=192.0.2.1\0",
        ] {
            assert_eq!(forwarded([text]), None, "{text}");
        }
    }

    #[test]
    fn entries_as_proxies_write_them() {
        for (text, expected) in [
            (" 192.0.2.1 ", Some("192.0.2.1")),
            ("192.0.2.1:1234", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("", None),
            ("auth.example", None),
            ("192.0.2.1, 192.0.2.2", None),
        ] {
            let expected = expected.map(|address| Node::Address(address.parse().unwrap()));
            assert_eq!(x_forwarded_for(text), expected, "{text}");
        }
        assert_eq!(x_forwarded_for("unknown"), Some(Node::Hidden));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[ -~\\t]{0,64}") {
            let _ = forwarded([text.as_str()]);
            let _ = x_forwarded_for(&text);
        }

        #[test]
        fn what_is_said_is_read(v4: std::net::Ipv4Addr, v6: std::net::Ipv6Addr, port: u16) {
            let text = format!("for={v4}, for=\"[{v6}]:{port}\";proto=https");
            let hops = forwarded([text.as_str()]).unwrap();
            proptest::prop_assert_eq!(hops.iter().filter_map(|hop| hop.from).collect::<Vec<_>>(), vec![Node::Address(v4.into()), Node::Address(v6.into())]);
        }
    }
}
