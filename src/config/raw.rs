//! What the file says, key for key. `config/reference.toml` explains each; a test holds the two together.

use std::time::Duration;

use super::node::Node;
use super::problem::Findings;
use super::read::{Field, Json, OneOrMany, Placed, RawSecret, Read as _, raw_table};

type Texts = Vec<Placed<String>>;

raw_table! {
    /// The whole file.
    RawConfig {
        server: RawServer,
        store: RawStore,
        keys: RawKeys,
        http: RawHttp,
        fetch: RawFetch,
        audit: RawAudit,
        tracing: RawTracing,
        guess: RawGuess,
        issuer: Vec<Placed<RawIssuer>>,
        client: Vec<Placed<RawClient>>,
    }
}

raw_table! {
    /// What `--clients` reads.
    RawClients { client: Vec<Placed<RawClient>> }
}

raw_table! {
    /// `[server]`
    RawServer {
        listen: String,
        ops_listen: String,
        ops_allow_remote: bool,
        ops_token: RawSecret,
        ops_read_token: RawSecret,
        shutdown_grace: Duration,
        log: String,
        log_level: String,
        watch_config: bool,
        socket_mode: String,
        h2c: bool,
        trusted_proxies: Texts,
        forwarded_header: String,
        tls: RawTls,
        ops_tls: RawTls,
    }
}

raw_table! {
    /// `[server.tls]`, `[server.ops_tls]`
    RawTls { cert: String, key: String }
}

raw_table! {
    /// `[store]`
    RawStore {
        kind: String,
        path: String,
        durability: String,
        url: String,
        username: String,
        password: RawSecret,
        sentinel_username: String,
        sentinel_password: RawSecret,
        ca_file: String,
        key_prefix: String,
        response_timeout_ms: i64,
        max_in_flight: i64,
        wait_replicas: i64,
        wait_timeout_ms: i64,
    }
}

raw_table! {
    /// `[keys]`
    RawKeys { dir: String, seal_key: RawSecret }
}

raw_table! {
    /// `[http]`
    RawHttp {
        max_body_bytes: i64,
        max_authorize_bytes: i64,
        max_connections: i64,
        max_connections_per_address: i64,
        header_timeout: Duration,
        request_timeout: Duration,
        write_timeout: Duration,
        handshake_timeout: Duration,
        max_streams: i64,
    }
}

raw_table! {
    /// `[fetch]`
    RawFetch { max_bytes: i64, timeout: Duration, allow_private: bool }
}

raw_table! {
    /// `[audit]`
    RawAudit {
        enabled: bool,
        dir: String,
        node: String,
        durability: String,
        wait: bool,
        on_failure: String,
        max_file_bytes: i64,
        forward: RawForward,
    }
}

raw_table! {
    /// `[audit.forward]`
    RawForward { url: String, token: RawSecret, syslog: String }
}

raw_table! {
    /// `[tracing]`
    RawTracing { endpoint: String, allow_http: bool, service_name: String, sample_one_in: i64, trust_parent: bool, headers: RawSecret }
}

raw_table! {
    /// `[guess]`
    RawGuess { client_failures: i64, address_failures: i64, window: Duration, block: Duration, longest_block: Duration }
}

raw_table! {
    /// `[[issuer]]`
    RawIssuer {
        url: String,
        internal_urls: Texts,
        name: String,
        default_lang: String,
        login: Texts,
        frame_ancestors: Texts,
        code_ttl: Duration,
        launch_ttl: Duration,
        start_ttl: Duration,
        interaction_ttl: Duration,
        par_ttl: Duration,
        session_ttl: Duration,
        refresh_reuse_window: Duration,
        dpop_nonce: String,
        profile: String,
        require_par: bool,
        key_rotation: Duration,
        key_overlap: Duration,
        jwks_max_age: Duration,
        fhir: Vec<Placed<RawFhir>>,
        user: Vec<Placed<RawUser>>,
        exchange: Vec<Placed<RawExchange>>,
        trusted: Vec<Placed<RawTrusted>>,
        upstream: RawUpstream,
    }
}

raw_table! {
    /// `[[issuer.fhir]]`
    RawFhir { base: String, default: bool, token_claims: String, access_token_alg: String, resource_servers: Texts }
}

raw_table! {
    /// `[[issuer.user]]`
    RawUser { name: String, fhir_user: String }
}

raw_table! {
    /// `[[issuer.exchange]]`
    RawExchange {
        name: String,
        direction: String,
        caller: String,
        audience: String,
        issuer: String,
        scopes: String,
        delivery: String,
        gateway_url: String,
        patient_header: String,
        upstream_exchange: bool,
        attest_service: String,
        presenter: String,
        subject_audience: String,
        subject_client: String,
        organisations: Texts,
        once: bool,
        binding: String,
        semantics: String,
        actor_token: bool,
        subject_types: Texts,
        result_types: Texts,
        max_depth: i64,
        again: bool,
        max_ttl: Duration,
        max_age: Duration,
    }
}

raw_table! {
    /// `[issuer.upstream]`
    RawUpstream {
        issuer: String,
        client_id: String,
        client_key: RawSecret,
        scopes: String,
        resources: Texts,
        api_audience: String,
        extra_audiences: Texts,
        tenancy: String,
        request_object: String,
        request_object_typ: String,
        acr_values: String,
        min_level: String,
        max_auth_age: Duration,
        leeway: Duration,
        userinfo: String,
        claim: String,
        claim_issuer: String,
        timeout: Duration,
        retries: i64,
        longest_wait: Duration,
        max_calls: i64,
        circuit_failures: i64,
        circuit_open: Duration,
        claim_timeout: Duration,
    }
}

raw_table! {
    /// `[[issuer.trusted]]`
    RawTrusted { issuer: String, base: String, client_id: String, client_secret: RawSecret, clients: Texts, patient_systems: Texts, person_systems: Texts }
}

raw_table! {
    /// `[[client]]`, and the JSON of the administration API.
    RawClient {
        client_id: String,
        issuer: String,
        preset: String,
        name: String,
        auth: String,
        client_secret: RawSecret,
        client_secrets: Vec<Placed<RawSecret>>,
        jwks_uri: String,
        jwks: Json,
        token_endpoint_auth_signing_alg: OneOrMany,
        redirect_uris: Texts,
        launch_urls: Texts,
        post_logout_redirect_uris: Texts,
        backchannel_logout_uri: String,
        backchannel_logout_session_required: bool,
        cors_origins: Texts,
        scopes: String,
        requires: Texts,
        consent: String,
        profile: String,
        fhir_user: String,
        access_ttl: Duration,
        refresh_ttl: Duration,
        access_token_alg: String,
        id_token_signed_response_alg: String,
        code_replay: String,
        end_with_session: bool,
        launch_trust: String,
        dpop: String,
        par: String,
        refresh_context: bool,
        may_act: Texts,
        helseid: String,
        disabled: bool,
    }
}

impl RawConfig {
    /// Reads a file. What cannot be read is noted; `None` only where the text is not TOML at all.
    pub fn parse(file: &str, text: &str, found: &mut Findings) -> Option<Self> {
        Self::read(&Node::from_toml(file, text, found)?, found)
    }
}

impl RawClients {
    /// Reads a file that holds only `[[client]]` tables.
    pub fn parse(file: &str, text: &str, found: &mut Findings) -> Option<Self> {
        Self::read(&Node::from_toml(file, text, found)?, found)
    }
}

/// Every table by its name in the file, with its keys: what the reference must explain.
pub const TABLES: &[(&str, &[&str])] = &[
    ("server", RawServer::KEYS),
    ("store", RawStore::KEYS),
    ("keys", RawKeys::KEYS),
    ("http", RawHttp::KEYS),
    ("fetch", RawFetch::KEYS),
    ("audit", RawAudit::KEYS),
    ("audit.forward", RawForward::KEYS),
    ("server.tls", RawTls::KEYS),
    ("server.ops_tls", RawTls::KEYS),
    ("tracing", RawTracing::KEYS),
    ("guess", RawGuess::KEYS),
    ("issuer", RawIssuer::KEYS),
    ("issuer.fhir", RawFhir::KEYS),
    ("issuer.user", RawUser::KEYS),
    ("issuer.exchange", RawExchange::KEYS),
    ("issuer.trusted", RawTrusted::KEYS),
    ("issuer.upstream", RawUpstream::KEYS),
    ("client", RawClient::KEYS),
];
