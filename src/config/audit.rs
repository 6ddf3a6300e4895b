//! `[audit]` and `[audit.forward]`.

use url::Url;

use super::check::path;
use super::problem::Findings;
use super::raw::{RawAudit, RawForward};
use super::read::Field;
use super::secrets::{Environment, Source};
use super::types::{Audit, AuditForward, Durability, OnFailure};
use super::values::{number, word_or};
use crate::protocol::ids::is_loopback;

const MIB: usize = 1024 * 1024;

/// `local`: every issuer is on loopback.
pub(super) fn check(raw: &RawAudit, environment: &dyn Environment, local: bool, found: &mut Findings) -> Option<Audit> {
    let on_failure = word_or(&raw.on_failure, OnFailure::Refuse, &[("refuse", OnFailure::Refuse), ("continue", OnFailure::Continue)], found);
    let audit = Audit {
        dir: environment.resolve(path(&raw.dir, "data/audit", found)),
        node: node(&raw.node, found),
        durability: word_or(&raw.durability, Durability::PowerLoss, &[("power-loss", Durability::PowerLoss), ("process", Durability::Process)], found),
        wait: raw.wait.get().copied().unwrap_or(false),
        on_failure,
        max_file_bytes: number(&raw.max_file_bytes, 64 * MIB, 64 * 1024..=1024 * MIB, "bytes", found) as u64,
        forward: raw.forward.get().and_then(|raw| forward(raw, environment, local, found)),
    };
    if !raw.enabled.get().copied().unwrap_or(true) {
        found.warn(raw.enabled.place(), "nobody can tell afterwards who was given access to what");
        return None;
    }
    if on_failure == OnFailure::Continue && !local {
        found.warn(raw.on_failure.place(), "\"continue\" gives access that no record tells of, for as long as the log cannot be written");
    }
    Some(audit)
}

fn node(field: &Field<String>, found: &mut Findings) -> Option<String> {
    let Field::Given(text, place) = field else { return None };
    let plain = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !plain {
        found.refuse_value(place, text, "must be 1 to 64 letters, digits, `-`, `_` or `.`");
    }
    plain.then(|| text.clone())
}

fn forward(raw: &RawForward, environment: &dyn Environment, local: bool, found: &mut Findings) -> Option<AuditForward> {
    match (&raw.url, &raw.syslog) {
        (Field::Given(text, place), Field::Absent(_)) => {
            let token = raw.token.get().and_then(|secret| Source::File(environment).resolve_strong(secret, raw.token.place(), local, found));
            let url = Url::parse(text).ok().filter(|url| url.host().is_some() && url.username().is_empty() && url.password().is_none());
            match url {
                Some(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => Some(AuditForward::Http { url, token }),
                _ => {
                    found.refuse_value(place, text, "must be an https URL (http on loopback) without credentials; a token stands in `token`");
                    None
                }
            }
        }
        (Field::Absent(_), Field::Given(text, place)) => {
            if !raw.token.is_absent() {
                found.refuse(raw.token.place(), "has no meaning for syslog; leave it out");
            }
            let parts =
                text.split_once("://").filter(|(_, at)| at.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()));
            match parts {
                Some(("tcp", at)) => Some(AuditForward::SyslogTcp(at.to_owned())),
                Some(("udp", at)) => Some(AuditForward::SyslogUdp(at.to_owned())),
                _ => {
                    found.refuse_value(place, text, "must be a protocol, host and port; write \"tcp://127.0.0.1:601\" or \"udp://127.0.0.1:514\"");
                    None
                }
            }
        }
        (Field::Wrong(_), _) | (_, Field::Wrong(_)) => None,
        (Field::Given(_, place), Field::Given(..)) => {
            found.refuse(place, "stands beside syslog; keep one of the two");
            None
        }
        (Field::Absent(place), Field::Absent(_)) => {
            found.refuse(place, "is missing; write an https URL, or syslog = \"tcp://host:601\"");
            None
        }
    }
}
