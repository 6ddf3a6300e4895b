//! Broken clients, one thing at a time, and the exact words they are refused with.

use super::{GOOD, LOCAL, Row, row};

#[rustfmt::skip]
pub const REFUSED: &[Row] = &[
    row("the name of the server itself", GOOD, (r#"client_id = "app""#, r#"client_id = "helsebro""#), &[
        r#"line 11  client[0].client_id  "helsebro"  is this server's own; choose another"#,
    ]),
    row("a name with a space", GOOD, (r#"client_id = "app""#, r#"client_id = "my app""#), &[
        r#"line 11  client[0].client_id  "my app"  must be 1 to 200 visible ASCII characters without spaces"#,
    ]),
    row("two clients of one name", GOOD, ("[[client]]", r#"[[client]]
client_id = "app"
auth = "none"
redirect_uris = ["https://b.example/"]
scopes = "openid"
[[client]]"#), &[
        r#"line 16  client[1].client_id  "app"  is the name of another client of this issuer; names are unique (RFC 6749 §2.2)"#,
    ]),
    row("no way to authenticate", GOOD, (r#"auth = "none""#, ""), &[
        r#"line 10  client[0].auth  is missing; write auth = "private_key_jwt", "client_secret_basic", "client_secret_post" or "none""#,
    ]),
    row("an unknown way to authenticate", GOOD, (r#"auth = "none""#, r#"auth = "client_secret_jwt""#), &[
        r#"line 12  client[0].auth  "client_secret_jwt"  must be one of "none", "client_secret_basic", "client_secret_post", "private_key_jwt""#,
    ]),
    row("a public client with a secret", GOOD, (r#"auth = "none""#, r#"auth = "none"
client_secret = { env = "STRONG" }"#), &[
        "line 13  client[0].client_secret  must go: a public client has none (RFC 6749 §2.1); or choose another auth",
    ]),
    row("a public client with keys", GOOD, (r#"auth = "none""#, r#"auth = "none"
jwks_uri = "https://app.example/jwks""#), &[
        r#"line 13  client[0].jwks_uri  has no use here: only auth = "private_key_jwt" signs (SAL §5.1)"#,
    ]),
    row("a confidential client without a secret", GOOD, (r#"auth = "none""#, r#"auth = "client_secret_basic""#), &[
        "line 10  client[0].client_secret  is missing: a confidential client needs one (RFC 6749 §2.3.1); make one with `openssl rand -base64 32`",
    ]),
    row("a secret in the file", GOOD, (r#"auth = "none""#, r#"auth = "client_secret_basic"
client_secret = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=""#), &[
        r#"line 13  client[0].client_secret  stands in the file itself, which only a loopback issuer may do; write { file = "…" } or { env = "…" }"#,
    ]),
    row("a weak secret", GOOD, (r#"auth = "none""#, r#"auth = "client_secret_post"
client_secret = { env = "WEAK" }"#), &[
        "line 13  client[0].client_secret  holds about 20 bits; must hold at least 128 (RFC 6749 §10.10); make one with `openssl rand -base64 32`",
    ]),
    row("a weak secret on loopback", LOCAL, (r#"auth = "none""#, r#"auth = "client_secret_post"
client_secret = "hemmelig""#), &[
        "line 13  client[0].client_secret  holds about 20 bits; must hold at least 128 (RFC 6749 §10.10); make one with `openssl rand -base64 32`",
    ]),
    row("a secret that is not there", GOOD, (r#"auth = "none""#, r#"auth = "client_secret_basic"
client_secrets = [{ env = "NOWHERE" }, { file = "secrets/nowhere" }]"#), &[
        r#"line 13  client[0].client_secrets[0]  "NOWHERE"  is not set in the environment, or not text"#,
        r#"line 13  client[0].client_secrets[1]  "/etc/helsebro/secrets/nowhere"  cannot be read: no such file"#,
    ]),
    row("three secrets", GOOD, (r#"auth = "none""#, r#"auth = "client_secret_basic"
client_secrets = [{ env = "STRONG" }, { env = "STRONG" }, { env = "STRONG" }]"#), &[
        "line 13  client[0].client_secrets  must be one secret, or the old and the new one while the app changes over",
    ]),
    row("two references in one", GOOD, (r#"auth = "none""#, r#"auth = "client_secret_basic"
client_secret = { env = "STRONG", file = "x" }"#), &[
        r#"line 13  client[0].client_secret  must be exactly one of { file = "…" } or { env = "…" }"#,
    ]),
    row("private_key_jwt without keys", GOOD, (r#"auth = "none""#, r#"auth = "private_key_jwt""#), &[
        r#"line 10  client[0].jwks_uri  is missing: private_key_jwt needs the app's public keys (SAL-005); write jwks_uri = "https://…" or jwks = { keys = [ … ] }"#,
    ]),
    row("private_key_jwt with both", GOOD, (r#"auth = "none""#, r#"auth = "private_key_jwt"
jwks_uri = "https://a.example/jwks"
jwks = { keys = [] }"#), &[
        "line 14  client[0].jwks  stands beside jwks_uri; keep exactly one of the two (RFC 7591 §2)",
    ]),
    row("private_key_jwt with a secret", GOOD, (r#"auth = "none""#, r#"auth = "private_key_jwt"
jwks_uri = "https://a.example/jwks"
client_secret = { env = "STRONG" }"#), &[
        "line 14  client[0].client_secret  must go: private_key_jwt needs no secret (SAL §5.1); or choose another auth",
    ]),
    row("keys over plain http", GOOD, (r#"auth = "none""#, r#"auth = "private_key_jwt"
jwks_uri = "http://a.example/jwks""#), &[
        r#"line 13  client[0].jwks_uri  "http://a.example/jwks"  must be https (RFC 7591 §2); write "https://a.example/jwks""#,
    ]),
    row("keys that are private, shared, nameless, twisted or none", GOOD, (r#"auth = "none""#, r#"auth = "private_key_jwt"
jwks = { keys = [{ kid = "1", d = "ZA", kty = "EC", crv = "P-256", x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }, { kty = "oct", kid = "2", k = "aw" }, { kty = "EC", crv = "P-256", x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }, { kid = "4", use = "enc", kty = "EC", crv = "P-256", x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }, { kid = "5", kty = "EC", crv = "P-256", x = "eA", y = "eQ" }, { kid = "6", kty = "OKP", crv = "Ed448", x = "eA" }, 7] }"#), &[
        "line 13  client[0].jwks.keys[0]  is refused: the key has the private member `d`; it must never leave the app: make a new key pair, and send the public half (SAL-009)",
        "line 13  client[0].jwks.keys[1]  is refused: a shared-secret key (kty `oct`) is no public key; send an EC or RSA key (SAL-009)",
        "line 13  client[0].jwks.keys[2]  is refused: the key has no `kid`; give it a name of its own (SAL-008)",
        r#"line 13  client[0].jwks.keys[3]  is refused: the key is not for signatures; its use must be "sig" (RFC 7517 §4.2)"#,
        "line 13  client[0].jwks.keys[4]  is refused: the point is not on the curve, or its coordinates have the wrong length (RFC 7518 §6)",
        "line 13  client[0].jwks.keys[5]  is refused: the key type or curve is not supported; send a key on P-256, P-384 or Ed25519, or an RSA key (SAL-008)",
        "line 13  client[0].jwks.keys[6]  is refused: not a JSON object with the members of a key (RFC 7518 §6)",
    ]),
    row("two keys of one name", GOOD, (r#"auth = "none""#, r#"auth = "private_key_jwt"
jwks = { keys = [{ kid = "1", kty = "EC", crv = "P-256", x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }, { kid = "1", kty = "EC", crv = "P-256", x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] }"#), &[
        "line 13  client[0].jwks  is refused: two keys have the same `kid` (SAL-009)",
    ]),
    row("no keys at all", GOOD, (r#"auth = "none""#, r#"auth = "private_key_jwt"
jwks = { keys = [] }"#), &[
        "line 13  client[0].jwks.keys  must be a list of at least one public key (RFC 7517 §5)",
    ]),
    row("an algorithm of shared secrets", GOOD, (r#"auth = "none""#, r#"auth = "private_key_jwt"
jwks_uri = "https://a.example/jwks"
token_endpoint_auth_signing_alg = ["HS256", "ES384"]"#), &[
        r#"line 14  client[0].token_endpoint_auth_signing_alg[0]  "HS256"  is no signature of a private key; write "ES384" or "RS384" (SAL-100)"#,
    ]),
    row("redirect URIs that are none", GOOD, (r#"redirect_uris = ["https://app.example/cb"]"#, r#"redirect_uris = ["http://app.example/cb", "https://app.example/*", "https://app.example/#x", "/cb", "http://localhost:1/", "https://a.example/", "https://a.example/"]"#), &[
        r#"line 13  client[0].redirect_uris[6]  "https://a.example/"  is listed twice; remove one"#,
        r#"line 13  client[0].redirect_uris[0]  "http://app.example/cb"  must be https (RFC 9700 §2.6); write "https://app.example/cb""#,
        r#"line 13  client[0].redirect_uris[1]  "https://app.example/*"  has a wildcard: only whole URIs are compared (RFC 9700 §2.1, SAL-001); list each one"#,
        r#"line 13  client[0].redirect_uris[2]  "https://app.example/#x"  has a fragment (RFC 6749 §3.1.2); write "https://app.example/""#,
        r#"line 13  client[0].redirect_uris[3]  "/cb"  must be an absolute URI without user information (RFC 6749 §3.1.2, RFC 9700 §2.1); write "https://app.example/callback""#,
        r#"line 13  client[0].redirect_uris[4]  "http://localhost:1/"  must be https: http on loopback is allowed where the issuer is on loopback too (RFC 9700 §2.6)"#,
    ]),
    row("plain http off loopback", LOCAL, (r#"redirect_uris = ["http://127.0.0.1:1/cb"]"#, r#"redirect_uris = ["http://app.example/cb"]"#), &[
        r#"line 13  client[0].redirect_uris[0]  "http://app.example/cb"  must be https, or http on 127.0.0.1, localhost or [::1] (RFC 9700 §2.6)"#,
    ]),
    row("a launch URL with a scheme of its own", GOOD, ("[[client]]", r#"[[client]]
launch_urls = ["no.nav.app:/launch"]"#), &[
        r#"line 11  client[0].launch_urls[0]  "no.nav.app:/launch"  must be https (SAL-004)"#,
    ]),
    row("no redirect URI", GOOD, (r#"redirect_uris = ["https://app.example/cb"]"#, ""), &[
        "line 10  client[0].redirect_uris  is missing: a public client can do nothing without one (SAL-001)",
    ]),
    row("scopes that are none", GOOD, (r#"scopes = "openid launch""#, r#"scopes = "openid patient/*.sr fhiruser patient/Pasient.rs""#), &[
        r#"line 14  client[0].scopes  "patient/*.sr"  the letters must be some of `cruds`, in that order, each at most once (SMART 2.2 scopes)"#,
        r#"line 14  client[0].scopes  "fhiruser"  not a scope SMART or OpenID Connect defines, and neither a full URI nor prefixed with `__`"#,
        r#"line 14  client[0].scopes  "patient/Pasient.rs"  the resource type is not one of FHIR R4"#,
    ]),
    row("no scopes", GOOD, (r#"scopes = "openid launch""#, ""), &[
        r#"line 10  client[0].scopes  is missing, so nothing could ever be granted; write scopes = "openid fhirUser launch patient/*.rs""#,
    ]),
    row("another issuer's introspection", GOOD, (r#"auth = "none"
redirect_uris = ["https://app.example/cb"]
scopes = "openid launch""#, r#"auth = "client_secret_basic"
client_secret = { env = "STRONG" }
scopes = "https://other.example/scopes/introspect""#), &[
        r#"line 14  client[0].scopes  "https://other.example/scopes/introspect"  is not this issuer's; write "https://auth.epj.example/scopes/introspect""#,
    ]),
    row("system/ scopes with a secret", GOOD, (r#"auth = "none"
redirect_uris = ["https://app.example/cb"]
scopes = "openid launch""#, r#"auth = "client_secret_basic"
client_secret = { env = "STRONG" }
scopes = "system/*.rs"
access_ttl = "1h""#), &[
        r#"line 14  client[0].scopes  has system/ scopes, which need auth = "private_key_jwt" (SAL-111)"#,
        r#"line 15  client[0].access_ttl  "1h"  must be "1s" to "5m" (SAL-116: short-lived where system/ scopes are)"#,
    ]),
    row("an EPJ with a secret", GOOD, (r#"auth = "none"
redirect_uris = ["https://app.example/cb"]
scopes = "openid launch""#, r#"auth = "client_secret_basic"
client_secret = { env = "STRONG" }
scopes = "launch:create""#), &[
        r#"line 14  client[0].scopes  has launch:create, which can speak for every doctor: outside loopback it needs auth = "private_key_jwt" (RFC 9700 §2.5)"#,
    ]),
    row("a public EPJ", GOOD, (r#"scopes = "openid launch""#, r#"scopes = "openid launch launch:create""#), &[
        "line 14  client[0].scopes  has a scope only client_credentials gives, which a public client cannot use (RFC 6749 §4.4)",
    ]),
    row("a public client under fapi2", GOOD, (r#"auth = "none""#, r#"auth = "none"
profile = "fapi2""#), &[
        r#"line 13  client[0].profile  needs a client that can authenticate; write auth = "private_key_jwt", or profile = "smart""#,
    ]),
    row("fapi2 with a secret", GOOD, (r#"auth = "none""#, r#"auth = "client_secret_basic"
client_secret = { env = "STRONG" }
profile = "fapi2""#), &[
        r#"line 14  client[0].profile  is "fapi2", which needs auth = "private_key_jwt" (FAPI 2.0 §5.3.2.1)"#,
    ]),
    row("trust in the handle of a public client", GOOD, (r#"auth = "none""#, r#"auth = "none"
launch_trust = "handle""#), &[
        r#"line 13  client[0].launch_trust  "handle" is for confidential clients only (DESIGN §3); write launch_trust = "session""#,
    ]),
    row("a policy for proofs that is none", GOOD, (r#"auth = "none""#, r#"auth = "none"
dpop = "always""#), &[
        r#"line 13  client[0].dpop  "always"  must be one of "required", "optional", "off""#,
    ]),
    row("tokens for too long", GOOD, (r#"auth = "none""#, r#"auth = "none"
access_ttl = "2h"
refresh_ttl = "0s""#), &[
        r#"line 13  client[0].access_ttl  "2h"  must be "1s" to "1h" (SAL §7.6)"#,
        r#"line 14  client[0].refresh_ttl  "0s"  must be "1s" to "365d""#,
    ]),
    row("words that are none", GOOD, (r#"auth = "none""#, r#"auth = "none"
consent = "preapproved"
fhir_user = "full"
requires = ["pasient"]
code_replay = "allow""#), &[
        r#"line 13  client[0].consent  "preapproved"  must be one of "pre-approved", "once", "always"; did you mean "pre-approved"?"#,
        r#"line 14  client[0].fhir_user  "full"  must be one of "relative", "absolute""#,
        r#"line 15  client[0].requires[0]  "pasient"  must be one of "patient", "encounter"; did you mean "patient"?"#,
        r#"line 16  client[0].code_replay  "allow"  must be one of "revoke", "refuse""#,
    ]),
    row("a preset that is none", GOOD, (r#"auth = "none""#, r#"auth = "none"
preset = "nav-syk-inn""#), &[
        r#"line 13  client[0].preset  "nav-syk-inn"  must be one of "nav-syk-inn-dev", "nav-syk-inn-prod", "nav-validator", "growth-chart", "lab-sync", "regional-portal", "fhir-server", "epj""#,
    ]),
    row("a preset that needs its URLs", GOOD, (r#"client_id = "app"
auth = "none"
redirect_uris = ["https://app.example/cb"]
scopes = "openid launch""#, r#"preset = "nav-syk-inn-prod"
client_secret = { file = "secrets/syk-inn" }
launch_urls = ["https://sykmelding.nav.example/launch"]"#), &[
        "line 10  client[0].redirect_uris  is missing: an app that is launched must be redirected back to (SAL-001)",
    ]),
    row("CORS for a page", GOOD, (r#"auth = "none""#, r#"auth = "none"
cors_origins = ["https://app.example/"]"#), &[
        r#"line 13  client[0].cors_origins[0]  "https://app.example/"  must be an origin, scheme and host alone (RFC 6454 §6.2); write "https://app.example""#,
    ]),
    row("one bracket for two, further in", GOOD, ("[[issuer.fhir]]", "[issuer.fhir]"), &[
        "line 8  issuer[0].fhir  is a table; must be a list of tables; write [[issuer.fhir]]",
    ]),
    row("an EPJ preset in production", GOOD, (r#"client_id = "app"
auth = "none"
redirect_uris = ["https://app.example/cb"]
scopes = "openid launch""#, r#"preset = "epj"
client_secret = { env = "STRONG" }"#), &[
        r#"line 10  client[0].scopes  has launch:create, which can speak for every doctor: outside loopback it needs auth = "private_key_jwt" (RFC 9700 §2.5)"#,
    ]),
];
