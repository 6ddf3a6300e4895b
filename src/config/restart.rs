//! What of a configuration only a restart changes: what is opened once, and what connections were accepted with.
//!
//! Every struct is taken apart whole, so that a new key does not compile until somebody says which it is.

use super::types::{Audit, AuditForward, Config, Http, Keys, Redis, Server, Store, Tracing};

/// The keys that differ and need a restart.
pub fn needed(old: &Config, new: &Config) -> Vec<&'static str> {
    // Issuers, clients, policies, limits on guessing and on fetching are read anew.
    let Config { server, store, keys, http, fetch: _, audit, tracing, issuers: _ } = old;
    let mut found = of_server(server, &new.server);
    found.extend(of_http(http, &new.http));
    if !same_store(store, &new.store) {
        found.push("store");
    }
    if !same_keys(keys, &new.keys) {
        found.push("keys");
    }
    if !same_audit(audit.as_ref(), new.audit.as_ref()) {
        found.push("audit");
    }
    if !same_tracing(tracing.as_ref(), new.tracing.as_ref()) {
        found.push("tracing");
    }
    found
}

fn of_server(old: &Server, new: &Server) -> Vec<&'static str> {
    let Server {
        listen,
        ops_listen,
        socket_mode,
        tls,
        ops_tls,
        h2c,
        proxies,
        ops_token: _,
        ops_read_token: _,
        shutdown_grace,
        log,
        log_level: _,
        watch_config: _,
    } = old;
    let rows = [
        ("server.listen", *listen != new.listen),
        ("server.ops_listen", *ops_listen != new.ops_listen),
        ("server.socket_mode", *socket_mode != new.socket_mode),
        ("server.tls", *tls != new.tls),
        ("server.ops_tls", *ops_tls != new.ops_tls),
        ("server.h2c", *h2c != new.h2c),
        ("server.trusted_proxies", *proxies != new.proxies),
        ("server.shutdown_grace", *shutdown_grace != new.shutdown_grace),
        ("server.log", *log != new.log),
    ];
    rows.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

fn of_http(old: &Http, new: &Http) -> Vec<&'static str> {
    let Http {
        max_body_bytes: _,
        max_authorize_bytes: _,
        max_connections,
        max_connections_per_address,
        header_timeout,
        request_timeout: _,
        write_timeout,
        handshake_timeout,
        max_streams,
    } = old;
    let rows = [
        ("http.max_connections", *max_connections != new.max_connections),
        ("http.max_connections_per_address", *max_connections_per_address != new.max_connections_per_address),
        ("http.header_timeout", *header_timeout != new.header_timeout),
        ("http.write_timeout", *write_timeout != new.write_timeout),
        ("http.handshake_timeout", *handshake_timeout != new.handshake_timeout),
        ("http.max_streams", *max_streams != new.max_streams),
    ];
    rows.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

fn same_store(old: &Store, new: &Store) -> bool {
    let (old, new) = match (old, new) {
        (Store::Memory, Store::Memory) => return true,
        (Store::Embedded { path, durability }, Store::Embedded { path: to, durability: kept }) => return path == to && durability == kept,
        (Store::Redis(old), Store::Redis(new)) => (old, new),
        (Store::Memory | Store::Embedded { .. } | Store::Redis(_), _) => return false,
    };
    let Redis {
        servers,
        tls,
        authorities,
        username,
        password,
        sentinel_username,
        sentinel_password,
        key_prefix,
        response_timeout,
        max_in_flight,
        wait_replicas,
        wait_timeout,
    } = &**old;
    (servers, tls, authorities, username, key_prefix) == (&new.servers, &new.tls, &new.authorities, &new.username, &new.key_prefix)
        && (sentinel_username, response_timeout, max_in_flight) == (&new.sentinel_username, &new.response_timeout, &new.max_in_flight)
        && (wait_replicas, wait_timeout) == (&new.wait_replicas, &new.wait_timeout)
        && digest(password) == digest(&new.password)
        && digest(sentinel_password) == digest(&new.sentinel_password)
}

fn digest(secret: &Option<crate::secret::Secret<String>>) -> Option<crate::secret::Digest> {
    secret.as_ref().map(crate::secret::Secret::digest)
}

fn same_keys(old: &Keys, new: &Keys) -> bool {
    match (old, new) {
        (Keys::Directory(old), Keys::Directory(new)) => old == new,
        (Keys::Given(old), Keys::Given(new)) => crate::secret::same(old.expose(), new.expose()),
        (Keys::Directory(_), Keys::Given(_)) | (Keys::Given(_), Keys::Directory(_)) => false,
    }
}

fn same_audit(old: Option<&Audit>, new: Option<&Audit>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return old.is_none() && new.is_none() };
    let Audit { dir, node, durability, wait, on_failure, max_file_bytes, forward } = old;
    (dir, node, durability, wait, on_failure, max_file_bytes) == (&new.dir, &new.node, &new.durability, &new.wait, &new.on_failure, &new.max_file_bytes)
        && match (forward, &new.forward) {
            (None, None) => true,
            (Some(AuditForward::Http { url, token }), Some(AuditForward::Http { url: to, token: shown })) => url == to && digest(token) == digest(shown),
            (Some(AuditForward::SyslogTcp(old)), Some(AuditForward::SyslogTcp(new)))
            | (Some(AuditForward::SyslogUdp(old)), Some(AuditForward::SyslogUdp(new))) => old == new,
            _ => false,
        }
}

fn same_tracing(old: Option<&Tracing>, new: Option<&Tracing>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return old.is_none() && new.is_none() };
    let Tracing { endpoint, service_name, one_in, trust_parent, headers } = old;
    let shown = |headers: &[(String, crate::secret::Secret<String>)]| headers.iter().map(|(name, value)| (name.clone(), value.digest())).collect::<Vec<_>>();
    (endpoint, service_name, one_in, trust_parent) == (&new.endpoint, &new.service_name, &new.one_in, &new.trust_parent)
        && shown(headers) == shown(&new.headers)
}
