//! The keys of `[server]` about where we listen, in what manner, and whom we believe there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::problem::Findings;
use super::raw::{RawServer, RawTls};
use super::read::Field;
use super::secrets::Environment;
use super::values::{each_once, parsed, word_or};
use crate::listen::tls::{self, TlsFiles};
use crate::listen::{Address, ForwardedHeader, Proxies, Range};

/// What the system takes as the name of a socket is 107 bytes; we need some for a moment.
const LONGEST_SOCKET: usize = 90;

const SOCKET_MODE: u32 = 0o660;

/// `127.0.0.1:9400` or `unix:/run/helsebro/public.sock`.
pub(super) fn address(field: &Field<String>, port: u16, environment: &dyn Environment, found: &mut Findings) -> Address {
    let default = SocketAddr::from(([127, 0, 0, 1], port));
    let Field::Given(text, place) = field else { return default.into() };
    let Some(path) = text.strip_prefix("unix:") else {
        let wrong = |_| format!("must be an address and a port; write \"{default}\"");
        return parsed(text, place, |text| text.parse::<SocketAddr>().map_err(wrong), found).unwrap_or(default).into();
    };
    let file: PathBuf = environment.resolve(path);
    if path.is_empty() || path.contains('\0') || path.ends_with('/') {
        found.refuse_value(place, text, "must name a socket file; write \"unix:/run/helsebro/public.sock\"");
    } else if file.as_os_str().len() > LONGEST_SOCKET {
        found.refuse_value(place, text, format!("is longer than the system takes as the name of a socket; keep to {LONGEST_SOCKET} bytes"));
    }
    Address::Unix(file)
}

/// Whether two listeners would meet: the same file, or the same port and one address that takes in the other. Port 0 is a free one each time.
pub(super) fn overlap(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Unix(a), Address::Unix(b)) => a == b,
        (Address::Tcp(a), Address::Tcp(b)) => a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified()),
        (Address::Tcp(_), Address::Unix(_)) | (Address::Unix(_), Address::Tcp(_)) => false,
    }
}

/// The mode of socket files.
pub(super) fn socket_mode(raw: &RawServer, listeners: [&Address; 2], found: &mut Findings) -> u32 {
    let Field::Given(text, place) = &raw.socket_mode else { return SOCKET_MODE };
    if listeners.iter().all(|address| address.tcp().is_some()) {
        found.refuse(place, "has no meaning without a socket file; leave it out, or write listen = \"unix:…\"");
    }
    let octal = text.len() == 4 && text.starts_with('0') && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    // Connecting takes the right to write. unix(7).
    match u32::from_str_radix(text, 8).ok().filter(|mode| octal && mode & 0o200 != 0) {
        Some(mode) => mode,
        None => {
            found.refuse_value(place, text, "must be the mode of a file that its owner may write to, in octal; write \"0660\"");
            SOCKET_MODE
        }
    }
}

/// Certificate and key, read and compared. Nothing once what is wrong was noted.
pub(super) fn tls(field: &Field<RawTls>, environment: &dyn Environment, found: &mut Findings) -> Option<TlsFiles> {
    let Field::Given(raw, place) = field else { return None };
    let mut file = |field: &Field<String>, example: &str| match field {
        Field::Given(text, _) if !text.is_empty() && !text.contains('\0') => Some(environment.resolve(text)),
        Field::Given(_, place) | Field::Absent(place) => {
            found.refuse(place, format!("is missing; write \"{example}\", a file in PEM"));
            None
        }
        Field::Wrong(_) => None,
    };
    let (cert, key) = (file(&raw.cert, "tls/cert.pem"), file(&raw.key, "tls/key.pem"));
    let files = TlsFiles { cert: cert?, key: key? };
    let mut read = |path: &Path, field: &Field<String>, is_key: bool| match environment.secret_file(path) {
        Ok(file) if is_key && file.exposed => {
            found.refuse_value(field.place(), path.display().to_string(), "can be read by others; run chmod 600 on it");
            None
        }
        Ok(file) => Some(file.text),
        Err(error) => {
            found.refuse_value(field.place(), path.display().to_string(), format!("cannot be read: {error}"));
            None
        }
    };
    let (cert, key) = (read(&files.cert, &raw.cert, false), read(&files.key, &raw.key, true));
    match tls::check(&files, &cert?, &key?) {
        Ok(()) => Some(files),
        Err(error) => {
            found.refuse(place, format!("cannot be used: {error}"));
            None
        }
    }
}

/// Whether HTTP/2 is taken in the clear.
pub(super) fn h2c(raw: &RawServer, found: &mut Findings) -> bool {
    let h2c = raw.h2c.get().copied().unwrap_or(false);
    if h2c && raw.tls.get().is_some() {
        found.refuse(raw.h2c.place(), "has no meaning with [server.tls], where both sides agree on HTTP/2 by themselves; leave it out");
    }
    h2c
}

pub(super) fn proxies(raw: &RawServer, listeners: [&Address; 2], found: &mut Findings) -> Proxies {
    let header = word_or(
        &raw.forwarded_header,
        ForwardedHeader::XForwarded,
        &[("x-forwarded", ForwardedHeader::XForwarded), ("forwarded", ForwardedHeader::Forwarded)],
        found,
    );
    let (mut ranges, mut unix) = (Vec::new(), false);
    for item in each_once(&raw.trusted_proxies, found) {
        if item.value == "unix" {
            unix = true;
            if listeners.iter().all(|address| address.tcp().is_some()) {
                found.refuse_value(
                    &item.place,
                    &item.value,
                    "trusts who comes through a socket file, and there is none; leave it out, or write listen = \"unix:…\"",
                );
            }
            continue;
        }
        match Range::parse(&item.value) {
            Some(range) if range.is_everything() => {
                found.refuse_value(&item.place, &item.value, "trusts everybody to say who they are; name the proxies, as \"10.0.0.5\" or \"10.0.0.0/24\"");
            }
            Some(range) => ranges.push(range),
            None => found.refuse_value(
                &item.place,
                &item.value,
                "must be an address, a block of them with nothing set behind its prefix, or \"unix\"; write \"10.0.0.5\" or \"10.0.0.0/24\"",
            ),
        }
    }
    let proxies = Proxies { ranges, unix, header };
    if raw.trusted_proxies.get().is_none_or(Vec::is_empty) && !raw.forwarded_header.is_absent() {
        found.refuse(raw.forwarded_header.place(), "is read from nobody; write trusted_proxies = [\"10.0.0.5\"], or leave it out");
    }
    proxies
}
