//! The tables about the process itself: `[server]`, `[store]`, `[keys]`, `[http]`, `[fetch]`, `[guess]`.

use std::time::Duration;

use super::listening::{self, address, overlap};
use super::problem::Findings;
use super::raw::{RawFetch, RawGuess, RawHttp, RawKeys, RawServer, RawStore};
use super::read::{Field, RawSecret};
use super::redis::{for_redis_alone, redis};
use super::secrets::{Environment, Source};
use super::types::{Durability, Fetch, Http, Keys, LogFormat, Server, Store};
use super::values::{duration, number, word_or};
use crate::domain::guess::GuessLimits;

const SECOND: Duration = Duration::from_secs(1);

/// `local`: every issuer is on loopback, so secrets may stand in the file.
pub(super) fn server(raw: &RawServer, environment: &dyn Environment, local: bool, found: &mut Findings) -> Server {
    let listen = address(&raw.listen, 9400, environment, found);
    let ops_listen = address(&raw.ops_listen, 9401, environment, found);
    if overlap(&listen, &ops_listen) {
        found.refuse(raw.ops_listen.place(), format!("is where the public listener is ({listen}): operations never share it; write \"127.0.0.1:9401\""));
    }
    let ops_token = raw.ops_token.get().and_then(|secret| Source::File(environment).resolve_strong(secret, raw.ops_token.place(), local, found));
    let ops_read_token = raw.ops_read_token.get().and_then(|secret| Source::File(environment).resolve_strong(secret, raw.ops_read_token.place(), local, found));
    if let (Some(all), Some(read)) = (&ops_token, &ops_read_token)
        && all.digest() == read.digest()
    {
        found.refuse(raw.ops_read_token.place(), "is the same as ops_token, so whoever may look may change everything; make another: openssl rand -base64 32");
    }
    if !ops_listen.is_local() {
        if !raw.ops_allow_remote.get().copied().unwrap_or(false) {
            found.refuse_value(
                raw.ops_listen.place(),
                ops_listen.to_string(),
                "can be reached from other machines; write \"127.0.0.1:9401\", or ops_allow_remote = true if that is meant",
            );
        }
        if raw.ops_token.is_absent() {
            found.refuse(raw.ops_token.place(), "is missing, and the operations listener can be reached from other machines; write { file = \"…\" }");
        }
    }
    let socket_mode = listening::socket_mode(raw, [&listen, &ops_listen], found);
    let proxies = listening::proxies(raw, [&listen, &ops_listen], found);
    if listen.tcp().is_none() && !proxies.unix {
        found.warn(raw.listen.place(), "is a socket file, and trusted_proxies has no \"unix\": all who come through it count as one when guesses are limited");
    }
    Server {
        socket_mode,
        tls: listening::tls(&raw.tls, environment, found),
        ops_tls: listening::tls(&raw.ops_tls, environment, found),
        h2c: listening::h2c(raw, found),
        proxies,
        listen,
        ops_listen,
        ops_token,
        watch_config: raw.watch_config.get().copied().unwrap_or(false),
        ops_read_token,
        shutdown_grace: duration(&raw.shutdown_grace, 20 * SECOND, Duration::ZERO..=300 * SECOND, "", found),
        log: word_or(&raw.log, LogFormat::Text, &[("text", LogFormat::Text), ("json", LogFormat::Json)], found),
        log_level: word_or(
            &raw.log_level,
            tracing::Level::INFO,
            &[
                ("error", tracing::Level::ERROR),
                ("warn", tracing::Level::WARN),
                ("info", tracing::Level::INFO),
                ("debug", tracing::Level::DEBUG),
                ("trace", tracing::Level::TRACE),
            ],
            found,
        ),
    }
}

/// `local`: every issuer is on loopback, so secrets may stand in the file.
pub(super) fn store(raw: &RawStore, environment: &dyn Environment, local: bool, found: &mut Findings) -> Store {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Embedded,
        Memory,
        Redis,
    }
    let durability = word_or(&raw.durability, Durability::PowerLoss, &[("power-loss", Durability::PowerLoss), ("process", Durability::Process)], found);
    let kind = word_or(&raw.kind, Kind::Embedded, &[("embedded", Kind::Embedded), ("redis", Kind::Redis), ("memory", Kind::Memory)], found);
    if kind != Kind::Redis {
        for (place, _) in for_redis_alone(raw).into_iter().filter(|(_, given)| *given) {
            found.refuse(place, "is for Redis; leave it out, or write kind = \"redis\"");
        }
    }
    match kind {
        Kind::Redis => {
            for (place, absent) in [(raw.path.place(), raw.path.is_absent()), (raw.durability.place(), raw.durability.is_absent())] {
                if !absent {
                    found.refuse(place, "has no meaning with Redis; leave it out, or write kind = \"embedded\"");
                }
            }
            Store::Redis(Box::new(redis(raw, environment, local, found)))
        }
        Kind::Embedded => {
            if durability == Durability::Process {
                found.warn(raw.durability.place(), "\"process\" loses the last moments at a power cut: a spent code or assertion may be good once more");
            }
            let path = path(&raw.path, "data/helsebro.redb", found);
            Store::Embedded { path: environment.resolve(path), durability }
        }
        Kind::Memory => {
            for (place, absent) in [(raw.path.place(), raw.path.is_absent()), (raw.durability.place(), raw.durability.is_absent())] {
                if !absent {
                    found.refuse(place, "has no meaning in memory; leave it out, or write kind = \"embedded\"");
                }
            }
            found.warn(raw.kind.place(), "\"memory\" forgets every session, grant and key when the process ends");
            Store::Memory
        }
    }
}

pub(super) fn path<'a>(field: &'a Field<String>, default: &'static str, found: &mut Findings) -> &'a str {
    match field {
        Field::Given(text, place) if text.is_empty() || text.contains('\0') => {
            found.refuse_value(place, text, format!("must be a path; write \"{default}\""));
            default
        }
        Field::Given(text, _) => text,
        Field::Absent(_) | Field::Wrong(_) => default,
    }
}

pub(super) fn keys(raw: &RawKeys, environment: &dyn Environment, local: bool, found: &mut Findings) -> Keys {
    let directory = Keys::Directory(environment.resolve(path(&raw.dir, "keys", found)));
    let Field::Given(secret, place) = &raw.seal_key else { return directory };
    if !raw.dir.is_absent() {
        found.refuse(place, "stands beside dir, where the seal key would be kept; keep one of the two");
    }
    let inline = local && matches!(secret, RawSecret::Inline(_));
    Source::File(environment).resolve_key(secret, place, inline, found).map_or(directory, Keys::Given)
}

pub(super) fn http(raw: &RawHttp, found: &mut Findings) -> Http {
    const KIB: usize = 1024;
    let max_connections = number(&raw.max_connections, 4096, 16..=65536, "connections", found);
    let per_address = number(&raw.max_connections_per_address, 1024.min(max_connections), 1..=65536, "connections", found);
    if per_address > max_connections {
        let place = raw.max_connections_per_address.place();
        found.refuse_value(place, per_address.to_string(), format!("is more than max_connections, which is {max_connections}"));
    }
    Http {
        max_body_bytes: number(&raw.max_body_bytes, KIB * KIB, 64 * KIB..=16 * KIB * KIB, "bytes", found),
        max_authorize_bytes: number(&raw.max_authorize_bytes, 64 * KIB, 64 * KIB..=KIB * KIB, "bytes", found),
        max_connections,
        max_connections_per_address: per_address,
        header_timeout: duration(&raw.header_timeout, 30 * SECOND, SECOND..=300 * SECOND, "", found),
        request_timeout: duration(&raw.request_timeout, 30 * SECOND, SECOND..=300 * SECOND, "", found),
        write_timeout: duration(&raw.write_timeout, 30 * SECOND, SECOND..=300 * SECOND, "", found),
        handshake_timeout: duration(&raw.handshake_timeout, 10 * SECOND, SECOND..=60 * SECOND, "", found),
        max_streams: u32::try_from(number(&raw.max_streams, 100, 1..=1000, "requests", found)).unwrap_or(u32::MAX),
    }
}

pub(super) fn guess(raw: &RawGuess, found: &mut Findings) -> GuessLimits {
    let default = GuessLimits::default();
    let mut failures = |field, default| u32::try_from(number(field, default as usize, 10..=1_000_000, "failures", found)).unwrap_or(default);
    let per_client = failures(&raw.client_failures, default.per_client);
    let per_address = failures(&raw.address_failures, default.per_address.max(per_client));
    if per_address < per_client {
        let place = raw.address_failures.place();
        found.refuse_value(place, per_address.to_string(), format!("is less than client_failures, which is {per_client}: it would be passed first"));
    }
    let window = duration(&raw.window, default.window, SECOND..=3600 * SECOND, "", found);
    let block = duration(&raw.block, default.block, SECOND..=3600 * SECOND, "", found);
    let longest_block = duration(&raw.longest_block, default.longest_block.max(block), SECOND..=24 * 3600 * SECOND, "", found);
    if longest_block < block {
        found.refuse(raw.longest_block.place(), "is shorter than block, with which it begins");
    }
    GuessLimits { per_client, per_address, window, block, longest_block }
}

pub(super) fn fetch(raw: &RawFetch, found: &mut Findings) -> Fetch {
    let allow_private = raw.allow_private.get().copied().unwrap_or(false);
    if allow_private {
        found.warn(raw.allow_private.place(), "lets whoever registers a jwks_uri make this server call machines of your own network");
    }
    Fetch {
        max_bytes: number(&raw.max_bytes, 64 * 1024, 1024..=1024 * 1024, "bytes", found),
        timeout: duration(&raw.timeout, 5 * SECOND, SECOND..=30 * SECOND, "", found),
        allow_private,
    }
}
