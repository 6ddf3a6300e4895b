//! Broken configurations, one thing at a time, and the exact words they are refused with.

use super::checked;

#[path = "config_refused_clients.rs"]
mod clients;

/// A good configuration of production …
const GOOD: &str = r#"[server]
[store]
[keys]
[http]
[[issuer]]
url = "https://auth.epj.example"
login = ["ehr"]
[[issuer.fhir]]
base = "https://epj.example/fhir"
[[client]]
client_id = "app"
auth = "none"
redirect_uris = ["https://app.example/cb"]
scopes = "openid launch"
"#;

/// … and one of a laptop.
const LOCAL: &str = r#"[server]
[[issuer]]
url = "http://127.0.0.1:9400"
login = ["local"]
[[issuer.fhir]]
base = "http://127.0.0.1:9402/fhir"
[[issuer.user]]
name = "Live Testlege"
fhir_user = "Practitioner/lege-1"
[[client]]
client_id = "app"
auth = "none"
redirect_uris = ["http://127.0.0.1:1/cb"]
scopes = "openid"
"#;

struct Row {
    what: &'static str,
    base: &'static str,
    /// What of the base gives way to what.
    put: (&'static str, &'static str),
    lines: &'static [&'static str],
}

const fn row(what: &'static str, base: &'static str, put: (&'static str, &'static str), lines: &'static [&'static str]) -> Row {
    Row { what, base, put, lines }
}

#[rustfmt::skip]
const REFUSED: &[Row] = &[
    row("not TOML", GOOD, (r#"login = ["ehr"]"#, r#"login = ["ehr""#), &[
        "line 8  column 1  is not TOML: missing comma between array elements, expected `,`; nothing after it was checked",
    ]),
    row("unknown table", GOOD, ("[server]", "[servr]"), &[
        "line 1  servr  is not a key here; did you mean `server`?",
    ]),
    row("unknown key", GOOD, (r#"login = ["ehr"]"#, r#"logins = ["ehr"]"#), &[
        "line 7  issuer[0].logins  is not a key here; did you mean `login`?",
    ]),
    row("unknown key nowhere near", GOOD, (r#"login = ["ehr"]"#, "captcha = true"), &[
        "line 7  issuer[0].captcha  is not a key here; there are: url, internal_urls, name, default_lang, login, frame_ancestors, code_ttl, launch_ttl, start_ttl, interaction_ttl, par_ttl, session_ttl, refresh_reuse_window, dpop_nonce, profile, require_par, key_rotation, key_overlap, jwks_max_age, fhir, user, exchange, trusted, upstream",
    ]),
    row("the RFC's name for a key", GOOD, (r#"auth = "none""#, r#"token_endpoint_auth_method = "none""#), &[
        r#"line 10  client[0].auth  is missing; write auth = "private_key_jwt", "client_secret_basic", "client_secret_post" or "none""#,
        "line 12  client[0].token_endpoint_auth_method  is not a key here; did you mean `auth`?",
    ]),
    row("a text for a number", GOOD, ("[http]", r#"[http]
max_body_bytes = "1 MiB""#), &[
        "line 5  http.max_body_bytes  is a text; must be a whole number, without quotes",
    ]),
    row("a number for a duration", GOOD, (r#"login = ["ehr"]"#, "code_ttl = 60"), &[
        r#"line 7  issuer[0].code_ttl  is a number; must be a number and a unit (s, m, h or d) in quotes, such as "60s""#,
    ]),
    row("an unknown unit", GOOD, (r#"login = ["ehr"]"#, r#"code_ttl = "1 min""#), &[
        r#"line 7  issuer[0].code_ttl  "1 min"  must be a whole number and a unit (s, m, h or d); write "60s", "10m", "12h" or "90d""#,
    ]),
    row("a text for a list", GOOD, (r#"login = ["ehr"]"#, r#"login = "ehr""#), &[
        r#"line 7  issuer[0].login  is a text; must be a list in square brackets, such as ["…"]"#,
    ]),
    row("one bracket for two", GOOD, ("[[client]]", "[client]"), &[
        "line 10  client  is a table; must be a list of tables; write [[client]]",
    ]),
    row("listen is no address", GOOD, ("[server]", r#"[server]
listen = "localhost:9400""#), &[
        r#"line 2  server.listen  "localhost:9400"  must be an address and a port; write "127.0.0.1:9400""#,
    ]),
    row("one listener for both", GOOD, ("[server]", r#"[server]
ops_listen = "127.0.0.1:9400""#), &[
        r#"line 2  server.ops_listen  is where the public listener is (127.0.0.1:9400): operations never share it; write "127.0.0.1:9401""#,
    ]),
    row("one port on all addresses", GOOD, ("[server]", r#"[server]
listen = "0.0.0.0:9401""#), &[
        r#"line 1  server.ops_listen  is where the public listener is (0.0.0.0:9401): operations never share it; write "127.0.0.1:9401""#,
    ]),
    row("operations in the open", GOOD, ("[server]", r#"[server]
ops_listen = "10.0.0.5:9401""#), &[
        r#"line 1  server.ops_token  is missing, and the operations listener can be reached from other machines; write { file = "…" }"#,
        r#"line 2  server.ops_listen  "10.0.0.5:9401"  can be reached from other machines; write "127.0.0.1:9401", or ops_allow_remote = true if that is meant"#,
    ]),
    row("operations in the open, meant, without a token", GOOD, ("[server]", r#"[server]
ops_listen = "10.0.0.5:9401"
ops_allow_remote = true"#), &[
        r#"line 1  server.ops_token  is missing, and the operations listener can be reached from other machines; write { file = "…" }"#,
    ]),
    row("one token to look and to change", GOOD, ("[server]", r#"[server]
ops_token = { env = "STRONG" }
ops_read_token = { env = "STRONG" }"#), &[
        "line 3  server.ops_read_token  is the same as ops_token, so whoever may look may change everything; make another: openssl rand -base64 32",
    ]),
    row("proxies that are everybody, and nobody", GOOD, ("[server]", r#"[server]
trusted_proxies = ["0.0.0.0/0", "10.0.0.1/8", "unix"]"#), &[
        r#"line 2  server.trusted_proxies[0]  "0.0.0.0/0"  trusts everybody to say who they are; name the proxies, as "10.0.0.5" or "10.0.0.0/24""#,
        r#"line 2  server.trusted_proxies[1]  "10.0.0.1/8"  must be an address, a block of them with nothing set behind its prefix, or "unix"; write "10.0.0.5" or "10.0.0.0/24""#,
        r#"line 2  server.trusted_proxies[2]  "unix"  trusts who comes through a socket file, and there is none; leave it out, or write listen = "unix:…""#,
    ]),
    row("a header read from nobody, and a mode of nothing", GOOD, ("[server]", r#"[server]
socket_mode = "0660"
forwarded_header = "forwarded""#), &[
        r#"line 2  server.socket_mode  has no meaning without a socket file; leave it out, or write listen = "unix:…""#,
        r#"line 3  server.forwarded_header  is read from nobody; write trusted_proxies = ["10.0.0.5"], or leave it out"#,
    ]),
    row("sockets with no name, and with too long a one", GOOD, ("[server]", r#"[server]
listen = "unix:/run/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
ops_listen = "unix:""#), &[
        r#"line 2  server.listen  is longer than the system takes as the name of a socket; keep to 90 bytes"#,
        r#"line 3  server.ops_listen  "unix:"  must name a socket file; write "unix:/run/helsebro/public.sock""#,
    ]),
    row("a certificate without a key", GOOD, ("[server]", r#"[server]
h2c = true
[server.tls]
cert = "cert.pem""#), &[
        "line 2  server.h2c  has no meaning with [server.tls], where both sides agree on HTTP/2 by themselves; leave it out",
        r#"line 3  server.tls.key  is missing; write "tls/key.pem", a file in PEM"#,
    ]),
    row("a certificate that is not there, and a key for everybody", GOOD, ("[server]", r#"[server]
[server.tls]
cert = "no-cert.pem"
key = "secrets/open""#), &[
        r#"line 3  server.tls.cert  "/etc/helsebro/no-cert.pem"  cannot be read: no such file"#,
        r#"line 4  server.tls.key  "/etc/helsebro/secrets/open"  can be read by others; run chmod 600 on it"#,
    ]),
    row("internal URLs that cannot be told apart", GOOD, (r#"login = ["ehr"]"#, r#"internal_urls = ["http://auth.epj.example", "https://inside/", "https://inside/clinic", "https://a.inside", "http://a.inside"]"#), &[
        r#"line 7  issuer[0].internal_urls[1]  "https://inside/"  must be an http or https URL without query, fragment, user or trailing slash"#,
        r#"line 7  issuer[0].internal_urls[2]  "https://inside/clinic"  has another path than https://auth.epj.example; write "https://inside""#,
        r#"line 7  issuer[0].internal_urls[4]  "http://a.inside"  has the host of another internal URL of this issuer; each has its own"#,
        r#"line 7  issuer[0].internal_urls  "http://auth.epj.example"  has the host of https://auth.epj.example, where pages and cookies are; an internal URL has a host of its own"#,
    ]),
    row("a log nobody reads", GOOD, ("[server]", r#"[server]
log = "jsn"
log_level = "verbose""#), &[
        r#"line 2  server.log  "jsn"  must be one of "text", "json"; did you mean "json"?"#,
        r#"line 3  server.log_level  "verbose"  must be one of "error", "warn", "info", "debug", "trace""#,
    ]),
    row("a body too small", GOOD, ("[http]", "[http]\nmax_authorize_bytes = 100\nmax_body_bytes = -1"), &[
        r#"line 5  http.max_authorize_bytes  "100"  must be 65536 to 1048576 bytes"#,
        r#"line 6  http.max_body_bytes  "-1"  must be 65536 to 16777216 bytes"#,
    ]),
    row("a path in memory", GOOD, ("[store]", r#"[store]
kind = "memory"
path = "x""#), &[
        r#"line 4  store.path  has no meaning in memory; leave it out, or write kind = "embedded""#,
    ]),
    row("an address of Redis without Redis", GOOD, ("[store]", r#"[store]
url = "redis://localhost""#), &[
        r#"line 3  store.url  is for Redis; leave it out, or write kind = "redis""#,
    ]),
    row("Redis nowhere", GOOD, ("[store]", r#"[store]
kind = "redis""#), &[
        r#"line 2  store.url  is missing, and kind is "redis"; write "rediss://redis.epj.example:6379", "rediss+sentinel://s1:26379,s2:26379,s3:26379/mymaster" or "rediss+cluster://r1:6379,r2:6379""#,
    ]),
    row("Redis, with everything wrong, and no password shown", GOOD, ("[store]", r#"[store]
kind = "redis"
path = "x"
url = "redis://admin:hemmelig@r1"
username = "u"
key_prefix = "{a}"
wait_timeout_ms = 50
max_in_flight = 1
password = "hemmelig""#), &[
        r#"line 4  store.path  has no meaning with Redis; leave it out, or write kind = "embedded""#,
        r#"line 5  store.url  holds a user or a password, which an address must not; write username and password = { file = "…" } beside it"#,
        r#"line 7  store.key_prefix  "{a}"  must be 1 to 40 letters, digits, dots, dashes and underscores; write "helsebro""#,
        r#"line 8  store.wait_timeout_ms  waits for nobody; write wait_replicas = 1, or leave it out"#,
        r#"line 9  store.max_in_flight  "1"  must be 16 to 65536 requests"#,
        r#"line 10  store.password  stands in the file itself, which only a loopback issuer may do; write { file = "…" } or { env = "…" }"#,
    ]),
    row("Redis with what its address leaves no use for", GOOD, ("[store]", r#"[store]
kind = "redis"
url = "redis+cluster://localhost:7001,localhost"
ca_file = "ca.pem"
sentinel_username = "u"
username = "u""#), &[
        r#"line 2  store.password  is missing, and there is a user name; write { file = "…" }"#,
        r#"line 2  store.sentinel_password  is missing, and there is a user name; write { file = "…" }"#,
        r#"line 5  store.ca_file  is for TLS, and the url has none; write rediss, or leave it out"#,
        r#"line 6  store.sentinel_username  is for Sentinels, and the url names none; leave it out, or write redis+sentinel://"#,
    ]),
    row("a seal key of the wrong size", GOOD, ("[keys]", r#"[keys]
seal_key = { env = "WEAK" }"#), &[
        "line 4  keys.seal_key  must be 32 bytes in base64; make one with `openssl rand -base64 32`",
    ]),
    row("two places for the seal key", GOOD, ("[keys]", r#"[keys]
dir = "keys"
seal_key = { env = "STRONG" }"#), &[
        "line 5  keys.seal_key  stands beside dir, where the seal key would be kept; keep one of the two",
    ]),
    row("no issuer", "", ("", ""), &[
        r#"issuer  is missing; write [[issuer]], url = "https://auth.epj.example" and below it [[issuer.fhir]]"#,
    ]),
    row("issuer without a URL", GOOD, (r#"url = "https://auth.epj.example""#, ""), &[
        r#"line 5  issuer[0].url  is missing; write url = "https://auth.epj.example""#,
    ]),
    row("issuer with a slash", GOOD, (r#"url = "https://auth.epj.example""#, r#"url = "https://Auth.epj.example/""#), &[
        r#"line 6  issuer[0].url  "https://Auth.epj.example/"  must be an https URL without query, fragment or trailing slash (http only on loopback; RFC 8414 §2); write "https://auth.epj.example""#,
    ]),
    row("issuer without TLS", GOOD, (r#"url = "https://auth.epj.example""#, r#"url = "http://auth.epj.example""#), &[
        r#"line 6  issuer[0].url  "http://auth.epj.example"  must be an https URL without query, fragment or trailing slash (http only on loopback; RFC 8414 §2); write "https://auth.epj.example""#,
    ]),
    row("the same issuer twice", GOOD, ("[[client]]", r#"[[issuer]]
url = "https://auth.epj.example"
[[issuer.fhir]]
base = "https://b.example/fhir"
[[client]]
issuer = "https://auth.epj.example""#), &[
        r#"line 11  issuer[1].url  "https://auth.epj.example"  is the URL of another issuer here too; each has its own"#,
    ]),
    row("an issuer inside another", GOOD, ("[[client]]", r#"[[issuer]]
url = "https://auth.epj.example/klinikk"
[[issuer.fhir]]
base = "https://b.example/fhir"
[[client]]
issuer = "https://auth.epj.example""#), &[
        r#"line 11  issuer[1].url  "https://auth.epj.example/klinikk"  and "https://auth.epj.example" lie inside each other, so one's paths and cookies reach the other; write "https://auth.epj.example/a" and "https://auth.epj.example/b""#,
    ]),
    row("a client of no issuer in particular", GOOD, ("[[client]]", r#"[[issuer]]
url = "https://b.example"
[[issuer.fhir]]
base = "https://b.example/fhir"
[[client]]"#), &[
        r#"line 14  client[0].issuer  is missing, and there are several; write one of "https://auth.epj.example", "https://b.example""#,
    ]),
    row("a client of an issuer elsewhere", GOOD, (r#"client_id = "app""#, r#"client_id = "app"
issuer = "https://auth.epj.exmaple""#), &[
        r#"line 12  client[0].issuer  "https://auth.epj.exmaple"  is not an issuer here; write one of "https://auth.epj.example""#,
    ]),
    row("no FHIR base", GOOD, (r#"[[issuer.fhir]]
base = "https://epj.example/fhir""#, ""), &[
        r#"line 5  issuer[0].fhir  is missing: an issuer decides about at least one FHIR server; write [[issuer.fhir]] and base = "https://epj.example/fhir""#,
    ]),
    row("a FHIR base without TLS", GOOD, (r#"base = "https://epj.example/fhir""#, r#"base = "http://epj.example/fhir""#), &[
        r#"line 9  issuer[0].fhir[0].base  "http://epj.example/fhir"  must be an https URL without query or fragment (http only on loopback), such as https://epj.example/fhir"#,
    ]),
    row("the same base twice", GOOD, ("[[client]]", r#"[[issuer.fhir]]
base = "https://EPJ.example/fhir/"
default = true
[[client]]"#), &[
        r#"line 11  issuer[0].fhir[1].base  "https://EPJ.example/fhir/"  is listed before: a FHIR base belongs to one issuer, once (SAL-027)"#,
    ]),
    row("a base where another issuer is", GOOD, ("[[client]]", r#"[[issuer]]
url = "https://epj.example/fhir"
[[issuer.fhir]]
base = "https://b.example/fhir"
[[client]]
issuer = "https://auth.epj.example""#), &[
        r#"line 8  issuer[0].fhir  "https://epj.example/fhir"  is the URL of another issuer, https://epj.example/fhir; its discovery document is there"#,
    ]),
    row("a base with braces", GOOD, (r#"base = "https://epj.example/fhir""#, r#"base = "https://epj.example/{fhir}""#), &[
        r#"line 9  issuer[0].fhir[0].base  "https://epj.example/{fhir}"  must be an https URL without query or fragment (http only on loopback), such as https://epj.example/fhir"#,
    ]),
    row("no default base", GOOD, ("[[client]]", r#"[[issuer.fhir]]
base = "https://b.example/fhir"
[[client]]"#), &[
        "line 8  issuer[0].fhir  has several bases and no default one; write default = true on one of them",
    ]),
    row("two default bases", GOOD, ("[[client]]", r#"default = true
[[issuer.fhir]]
base = "https://b.example/fhir"
default = true
[[client]]"#), &[
        "line 13  issuer[0].fhir[1].default  is set on another base of this issuer too; keep one",
    ]),
    row("a resource server nobody knows", GOOD, ("[[client]]", r#"resource_servers = ["fhir-server"]
[[client]]"#), &[
        r#"line 10  issuer[0].fhir[0].resource_servers[0]  "fhir-server"  is not a client of this issuer; write a [[client]] for it (preset = "fhir-server")"#,
    ]),
    row("a resource server without credentials", GOOD, ("[[client]]", r#"resource_servers = ["app"]
[[client]]"#), &[
        r#"line 10  issuer[0].fhir[0].resource_servers[0]  "app"  is a public client: a resource server must authenticate (RFC 7662 §2.1); write auth = "client_secret_basic""#,
    ]),
    row("HelseID without HelseID", GOOD, (r#"login = ["ehr"]"#, r#"login = ["ehr", "helseid"]"#), &[
        r#"line 7  issuer[0].login  has "helseid" and there is no [issuer.upstream]: nobody to send people to"#,
    ]),
    row("a login nobody knows", GOOD, (r#"login = ["ehr"]"#, r#"login = ["her", "ehr", "ehr"]"#), &[
        r#"line 7  issuer[0].login[2]  "ehr"  is listed twice; remove one"#,
        r#"line 7  issuer[0].login[0]  "her"  must be one of "ehr", "helseid", "local""#,
    ]),
    row("nobody can log in", GOOD, (r#"login = ["ehr"]"#, "login = []"), &[
        r#"line 7  issuer[0].login  is empty, so nobody could log in; write ["ehr"]"#,
    ]),
    row("local login in the open", GOOD, (r#"login = ["ehr"]"#, r#"login = ["local"]
[[issuer.user]]
name = "A"
fhir_user = "Practitioner/a""#), &[
        r#"line 7  issuer[0].login[0]  "local"  lets anybody be anybody and is for loopback issuers only, not https://auth.epj.example; leave it out"#,
    ]),
    row("local login on an open address", LOCAL, ("[server]", r#"[server]
listen = "0.0.0.0:9400""#), &[
        r#"line 5  issuer[0].login[0]  "local"  lets anybody be anybody, and 0.0.0.0:9400 can be reached from other machines; write server.listen = "127.0.0.1:9400""#,
    ]),
    row("local login without names", LOCAL, (r#"[[issuer.user]]
name = "Live Testlege"
fhir_user = "Practitioner/lege-1""#, ""), &[
        r#"line 2  issuer[0].user  is missing: login has "local" and nobody to choose; write [[issuer.user]] with name and fhir_user"#,
    ]),
    row("a user who is no reference", LOCAL, (r#"fhir_user = "Practitioner/lege-1""#, r#"fhir_user = "lege-1""#), &[
        r#"line 9  issuer[0].user[0].fhir_user  "lege-1"  must be a relative reference such as Practitioner/lege-1"#,
    ]),
    row("frames from a page", GOOD, (r#"login = ["ehr"]"#, r#"frame_ancestors = ["https://epj.example/app", "http://epj.example", "*"]"#), &[
        r#"line 7  issuer[0].frame_ancestors[0]  "https://epj.example/app"  must be an origin, scheme and host alone (RFC 6454 §6.2); write "https://epj.example""#,
        r#"line 7  issuer[0].frame_ancestors[1]  "http://epj.example"  must be https outside loopback; write "https://epj.example""#,
        r#"line 7  issuer[0].frame_ancestors[2]  "*"  must be an origin, scheme and host alone (RFC 6454 §6.2); write "https://epj.example""#,
    ]),
    row("lifetimes out of bounds", GOOD, (r#"login = ["ehr"]"#, r#"code_ttl = "2m"
launch_ttl = "10m"
key_overlap = "1m""#), &[
        r#"line 7  issuer[0].code_ttl  "2m"  must be "1s" to "60s" (SAL §7.3)"#,
        r#"line 8  issuer[0].launch_ttl  "10m"  must be "1s" to "5m" (SAL-013)"#,
        r#"line 9  issuer[0].key_overlap  "60s"  must be "10m" to "7d" (NAV-040: others keep our keys for ten minutes)"#,
    ]),
    row("a lead longer than the key", GOOD, (r#"login = ["ehr"]"#, r#"key_rotation = "1h"
key_overlap = "2h""#), &[
        "line 8  issuer[0].key_overlap  must be shorter than key_rotation: the next key is published while this one still signs",
    ]),
    row("a set that is kept longer than a lead", GOOD, (r#"login = ["ehr"]"#, r#"jwks_max_age = "10m""#), &[
        r#"line 7  issuer[0].jwks_max_age  is too long for this key_overlap: who kept the set would meet a key that is not in it; make key_overlap "11m" at least (NAV-040)"#,
    ]),
    row("a FHIR base that is none", GOOD, (r#"base = "https://epj.example/fhir""#, r#"base = "fhir""#), &[
        r#"line 9  issuer[0].fhir[0].base  "fhir"  must be an https URL without query or fragment (http only on loopback), such as https://epj.example/fhir"#,
    ]),
    row("the same user twice", LOCAL, ("[[client]]", r#"[[issuer.user]]
name = "B"
fhir_user = "Practitioner/lege-1"
[[issuer.user]]
[[client]]"#), &[
        r#"line 12  issuer[0].user[1].fhir_user  "Practitioner/lege-1"  is another user too; each is somebody else"#,
        r#"line 13  issuer[0].user[2].name  is missing; write name = "Live Testlege""#,
        r#"line 13  issuer[0].user[2].fhir_user  is missing; write fhir_user = "Practitioner/lege-1""#,
    ]),
    row("a secret that is no text", GOOD, (r#"auth = "none""#, r#"auth = "client_secret_basic"
client_secret = 12345"#), &[
        r#"line 13  client[0].client_secret  is a number; must be { file = "…" } or { env = "…" }"#,
    ]),
    row("a wrong issuer hides nothing else", GOOD, (r#"url = "https://auth.epj.example"
login = ["ehr"]"#, r#"url = "auth.epj.example"
login = ["erh"]
code_ttl = "1h""#), &[
        r#"line 6  issuer[0].url  "auth.epj.example"  must be an https URL without query, fragment or trailing slash (http only on loopback; RFC 8414 §2)"#,
        r#"line 7  issuer[0].login[0]  "erh"  must be one of "ehr", "helseid", "local""#,
        r#"line 8  issuer[0].code_ttl  "1h"  must be "1s" to "60s" (SAL §7.3)"#,
    ]),
    row("a launched app without a redirect URI", GOOD, (r#"redirect_uris = ["https://app.example/cb"]"#, r#"redirect_uris = []
launch_urls = ["https://app.example/launch"]"#), &[
        "line 13  client[0].redirect_uris  is missing: an app that is launched must be redirected back to (SAL-001)",
    ]),
    row("a key with tricks in it", GOOD, (r#"login = ["ehr"]"#, r#""\u001b[2J" = 1"#), &[
        r#"line 7  issuer[0]."\u{1b}[2J"  is not a key here; there are: url, internal_urls, name, default_lang, login, frame_ancestors, code_ttl, launch_ttl, start_ttl, interaction_ttl, par_ttl, session_ttl, refresh_reuse_window, dpop_nonce, profile, require_par, key_rotation, key_overlap, jwks_max_age, fhir, user, exchange, trusted, upstream"#,
    ]),
    row("an app of another kind of list", GOOD, (r#"redirect_uris = ["https://app.example/cb"]"#, r#"redirect_uris = "https://app.example/cb""#), &[
        r#"line 13  client[0].redirect_uris  is a text; must be a list in square brackets, such as ["…"]"#,
    ]),
    row("tokens we have no key for", GOOD, (r#"auth = "none""#, r#"auth = "none"
access_token_alg = "RS384"
id_token_signed_response_alg = "RS512""#), &[
        r#"line 13  client[0].access_token_alg  "RS384"  must be one of "RS256", "PS256", "ES256", "ES384", "EdDSA"; did you mean "ES384"?"#,
        r#"line 14  client[0].id_token_signed_response_alg  "RS512"  must be one of "RS256", "PS256", "ES256", "ES384", "EdDSA""#,
    ]),
];

#[test]
fn each_mistake_is_named_with_its_place_and_its_remedy() {
    for base in [GOOD, LOCAL] {
        assert!(checked(base).is_ok(), "{}", checked(base).unwrap_err());
    }
    let mut wrong = Vec::new();
    for Row { what, base, put: (from, to), lines } in REFUSED.iter().chain(clients::REFUSED) {
        assert!(base.contains(from), "{what}: the base has no {from}");
        let found = checked(&base.replacen(from, to, 1)).err();
        let told: Vec<String> = found.iter().flat_map(|found| &found.problems).map(ToString::to_string).collect();
        if told != *lines {
            wrong.push(format!("## {what}\n{}", told.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "these say something else now:\n{}", wrong.join("\n"));
}
