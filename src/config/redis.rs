//! `[store]` where it is Redis.

use std::time::Duration;

use super::problem::{Findings, Place};
use super::raw::RawStore;
use super::read::{Field, RawSecret};
use super::secrets::{Environment, Source};
use super::types::{Redis, RedisServers};
use super::values::{number, parsed};
use crate::protocol::ids::is_loopback;
use crate::secret::Secret;

const EXAMPLE: &str = "write \"rediss://redis.epj.example:6379\", \"rediss+sentinel://s1:26379,s2:26379,s3:26379/mymaster\" or \
                       \"rediss+cluster://r1:6379,r2:6379\"";

/// Keys that mean something for Redis alone, each with whether it is given.
pub(super) fn for_redis_alone(raw: &RawStore) -> [(&Place, bool); 11] {
    fn of<T>(field: &Field<T>) -> (&Place, bool) {
        (field.place(), !field.is_absent())
    }
    [
        of(&raw.url),
        of(&raw.username),
        of(&raw.password),
        of(&raw.sentinel_username),
        of(&raw.sentinel_password),
        of(&raw.ca_file),
        of(&raw.key_prefix),
        of(&raw.response_timeout_ms),
        of(&raw.max_in_flight),
        of(&raw.wait_replicas),
        of(&raw.wait_timeout_ms),
    ]
}

/// `local`: every issuer is on loopback, so secrets may stand in the file.
pub(super) fn redis(raw: &RawStore, environment: &dyn Environment, local: bool, found: &mut Findings) -> Redis {
    let (servers, tls) = servers(&raw.url, found);
    if !tls && servers.hosts().any(|host| !is_loopback_name(host)) {
        found.warn(raw.url.place(), "speaks in the clear with another machine: whoever listens reads sessions and passwords; write rediss");
    }
    let secret = |field: &Field<RawSecret>, found: &mut Findings| -> Option<Secret<String>> {
        let secret = field.get()?;
        Source::File(environment).resolve(secret, field.place(), local, found)
    };
    let password = secret(&raw.password, found);
    let sentinel_password = secret(&raw.sentinel_password, found);
    for (name, secret) in [(&raw.username, &raw.password), (&raw.sentinel_username, &raw.sentinel_password)] {
        if !name.is_absent() && secret.is_absent() {
            found.refuse(secret.place(), "is missing, and there is a user name; write { file = \"…\" }");
        }
    }
    if !matches!(servers, RedisServers::Sentinel { .. }) {
        let given = [(raw.sentinel_username.place(), raw.sentinel_username.is_absent()), (raw.sentinel_password.place(), raw.sentinel_password.is_absent())];
        for (place, _) in given.into_iter().filter(|(_, absent)| !absent) {
            found.refuse(place, "is for Sentinels, and the url names none; leave it out, or write redis+sentinel://");
        }
    }
    let authorities = authorities(&raw.ca_file, tls, environment, found);
    let prefix = match &raw.key_prefix {
        Field::Given(text, place) if text.is_empty() || text.len() > 40 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) => {
            found.refuse_value(place, text, "must be 1 to 40 letters, digits, dots, dashes and underscores; write \"helsebro\"");
            None
        }
        field => field.get().cloned(),
    };
    let wait_replicas = number(&raw.wait_replicas, 0, 0..=10, "replicas", found);
    if wait_replicas == 0 && !raw.wait_timeout_ms.is_absent() {
        found.refuse(raw.wait_timeout_ms.place(), "waits for nobody; write wait_replicas = 1, or leave it out");
    }
    let milliseconds = |field: &Field<i64>, default: usize, range, found: &mut Findings| {
        Duration::from_millis(u64::try_from(number(field, default, range, "milliseconds", found)).unwrap_or(u64::MAX))
    };
    Redis {
        servers,
        tls,
        authorities,
        username: raw.username.get().cloned(),
        password,
        sentinel_username: raw.sentinel_username.get().cloned(),
        sentinel_password,
        key_prefix: prefix.unwrap_or_else(|| "helsebro".to_owned()),
        response_timeout: milliseconds(&raw.response_timeout_ms, 500, 50..=10_000, found),
        max_in_flight: u32::try_from(number(&raw.max_in_flight, 1024, 16..=65_536, "requests", found)).unwrap_or(u32::MAX),
        wait_replicas,
        wait_timeout: milliseconds(&raw.wait_timeout_ms, 100, 10..=5_000, found),
    }
}

fn authorities(field: &Field<String>, tls: bool, environment: &dyn Environment, found: &mut Findings) -> Option<String> {
    let Field::Given(path, place) = field else { return None };
    if !tls {
        found.refuse(place, "is for TLS, and the url has none; write rediss, or leave it out");
        return None;
    }
    let path = environment.resolve(path);
    match environment.secret_file(&path) {
        Ok(file) if file.text.expose().contains("-----BEGIN CERTIFICATE-----") => Some(file.text.expose().clone()),
        Ok(_) => {
            found.refuse_value(place, path.display().to_string(), "holds no certificate in PEM");
            None
        }
        Err(error) => {
            found.refuse_value(place, path.display().to_string(), format!("cannot be read: {error}"));
            None
        }
    }
}

/// The servers, and whether they speak TLS.
fn servers(field: &Field<String>, found: &mut Findings) -> (RedisServers, bool) {
    let nowhere = || (RedisServers::One { host: "localhost".to_owned(), port: 6379, database: 0 }, true);
    match field {
        Field::Given(text, place) if text.contains('@') => {
            // Not shown: what stands before the @ is a password.
            found.refuse(place, "holds a user or a password, which an address must not; write username and password = { file = \"…\" } beside it");
            nowhere()
        }
        Field::Given(text, place) => parsed(text, place, parse, found).unwrap_or_else(nowhere),
        Field::Absent(place) => {
            found.refuse(place, format!("is missing, and kind is \"redis\"; {EXAMPLE}"));
            nowhere()
        }
        Field::Wrong(_) => nowhere(),
    }
}

fn parse(text: &str) -> Result<(RedisServers, bool), String> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("is no address; {EXAMPLE}"))?;
    if rest.contains(['?', '#']) {
        return Err("takes no ? and no #; what else there is to say has keys of its own".to_owned());
    }
    let (tls, form) = match scheme.split_once('+').unwrap_or((scheme, "")) {
        ("redis", form) => (false, form),
        ("rediss", form) => (true, form),
        _ => return Err(format!("begins with a scheme that is not Redis's; {EXAMPLE}")),
    };
    if form == "unix" && !tls {
        return match rest.starts_with('/') {
            true => Ok((RedisServers::Socket { path: rest.into() }, false)),
            false => Err("must have three slashes and a path; write \"redis+unix:///run/redis/redis.sock\"".to_owned()),
        };
    }
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = if form == "sentinel" { 26379 } else { 6379 };
    let nodes = hosts.split(',').map(|host| node(host, port)).collect::<Result<Vec<_>, _>>()?;
    let database = |text: &str| match text {
        "" => Ok(0),
        _ => text.parse::<u16>().map(i64::from).map_err(|_| "must end in the number of a database; leave it out, or write /0".to_owned()),
    };
    let servers = match (form, nodes.as_slice()) {
        ("", [(host, port)]) => RedisServers::One { host: host.clone(), port: *port, database: database(path)? },
        ("", _) => return Err("names several servers; say how they stand together: redis+sentinel:// or redis+cluster://".to_owned()),
        ("sentinel", _) => {
            let (primary, number) = path.split_once('/').unwrap_or((path, ""));
            if primary.is_empty() {
                return Err("must end in the name the Sentinels know the primary by; write \"…/mymaster\"".to_owned());
            }
            RedisServers::Sentinel { sentinels: nodes, primary: primary.to_owned(), database: database(number)? }
        }
        ("cluster", _) if path.is_empty() => RedisServers::Cluster { members: nodes },
        ("cluster", _) => return Err("must end after the last host: a cluster has one database".to_owned()),
        _ => return Err(format!("begins with a scheme we do not know; {EXAMPLE}")),
    };
    Ok((servers, tls))
}

/// `host`, `host:port` or `[::1]:port`.
fn node(text: &str, default: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    let port = port.map_or(Some(default), |port| port.parse().ok().filter(|port| *port != 0));
    match (plain, port) {
        (true, Some(port)) => Ok((host.to_owned(), port)),
        _ => Err(format!("holds what is no host with a port; {EXAMPLE}")),
    }
}

fn is_loopback_name(host: &str) -> bool {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    url::Url::parse(&format!("http://{host}/")).is_ok_and(|url| is_loopback(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        let node = |host: &str, port| (host.to_owned(), port);
        for (text, servers, tls) in [
            ("redis://localhost", RedisServers::One { host: "localhost".to_owned(), port: 6379, database: 0 }, false),
            ("rediss://[::1]:7000/3", RedisServers::One { host: "::1".to_owned(), port: 7000, database: 3 }, true),
            ("redis+unix:///run/redis.sock", RedisServers::Socket { path: "/run/redis.sock".into() }, false),
            (
                "redis+sentinel://a,b:5/main",
                RedisServers::Sentinel { sentinels: vec![node("a", 26379), node("b", 5)], primary: "main".to_owned(), database: 0 },
                false,
            ),
            ("rediss+sentinel://a/main/2", RedisServers::Sentinel { sentinels: vec![node("a", 26379)], primary: "main".to_owned(), database: 2 }, true),
            ("rediss+cluster://a,b:7001", RedisServers::Cluster { members: vec![node("a", 6379), node("b", 7001)] }, true),
        ] {
            assert_eq!(parse(text), Ok((servers, tls)), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, why) in [
            ("localhost:6379", "no address"),
            ("http://localhost", "not Redis's"),
            ("redis+tunnel://localhost", "do not know"),
            ("redis://", "no host"),
            ("redis://a:0", "no host"),
            ("redis://a:b", "no host"),
            ("redis://a b", "no host"),
            ("redis://a,b", "several"),
            ("redis://a/x", "database"),
            ("redis://a?x=1", "no ?"),
            ("redis+unix://run/redis.sock", "three slashes"),
            ("redis+sentinel://a", "the name"),
            ("redis+cluster://a/1", "one database"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }
}
