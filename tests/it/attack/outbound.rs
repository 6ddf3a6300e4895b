//! Being made to ask: `jwks_uri`, logout addresses, names that lead elsewhere. RFC 9700 §4.9; OWASP calls it SSRF. Every address is in `src/fetch/address.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::jose::Alg;
use serde_json::json;

use super::Trail;
use crate::world::{World, client_key};

/// Where nobody's keys are: this machine, its neighbours, the metadata services of clouds, and things that are no https.
const INSIDE: [&str; 22] = [
    "https://127.0.0.1/jwks",
    "https://127.1/jwks",
    "https://0x7f000001/jwks",
    "https://2130706433/jwks",
    "https://0177.0.0.1/jwks",
    "https://[::1]/jwks",
    "https://[::ffff:127.0.0.1]/jwks",
    "https://0.0.0.0/jwks",
    "https://[::]/jwks",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fe80::1]/jwks",
    "https://[fd00:ec2::254]/jwks",
    "https://10.0.0.1/jwks",
    "https://192.168.1.1/jwks",
    "https://172.16.0.1/jwks",
    "https://100.64.0.1/jwks",
    "https://[64:ff9b::7f00:1]/jwks",
    "https://[2002:7f00:1::]/jwks",
    "https://１２７.0.0.1/jwks",
    "https://127。0。0。1/jwks",
    "https://224.0.0.1/jwks",
    "https://localhost/jwks",
];

/// At an issuer on loopback every address of the table but those that loopback itself is allowed is refused when it would be asked; the client is told nothing.
#[tokio::test]
async fn ssrf_through_jwks_uri() {
    let key = client_key(Alg::ES384);
    let asked: Vec<&str> = INSIDE
        .iter()
        .copied()
        .filter(|uri| !["127", "0x7f0", "2130706433", "0177", "[::1]", "localhost", "１２７"].iter().any(|own| uri.starts_with(&format!("https://{own}"))))
        .collect();
    let clients: String = asked
        .iter()
        .enumerate()
        .map(|(n, uri)| format!("[[client]]\nclient_id = \"c{n}\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs\"\njwks_uri = \"{uri}\"\n\n"))
        .collect();
    let world = World::with_clients(&clients).await;
    let mut trail = Trail::new(&world).await;
    for (n, uri) in asked.iter().enumerate() {
        let id = format!("c{n}");
        let (header, claims) = crate::world::assertion(&key, &id, &world.token_endpoint(), world.now());
        let jwt = key.sign_with_header(&header, &claims).unwrap();
        let reply = world.token_with(&jwt, &[("grant_type", "client_credentials"), ("scope", "system/Patient.rs")]).await;
        reply.refused(401, "invalid_client");
        assert!(!reply.body.contains("network") && !reply.body.contains("jwks"), "{uri}: nothing of what is inside is told: {}", reply.body);
        let record = trail.refused(uri, "token", "invalid_client", "may not be asked").await;
        assert_eq!(record["about"], json!(id), "{uri}");
        world.advance(61);
    }
    // What is no https address of anybody's is not registered in the first place.
    for member in ["jwks_uri", "backchannel_logout_uri"] {
        for uri in [
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_FLUSHALL",
            "ftp://keys.example/jwks",
            "dict://127.0.0.1:11211/stats",
            "http://keys.example/jwks",
            "http://169.254.169.254/latest/meta-data/",
            "http://10.0.0.1/jwks",
            "https://user:pass@keys.example/jwks",
            "https://keys.example\\@127.0.0.1/jwks#",
            "//keys.example/jwks",
            "jwks",
            "",
        ] {
            let body = json!({ "client_id": "new", "auth": "private_key_jwt", "scopes": "openid launch", "redirect_uris": ["http://127.0.0.1:4567/new"], "jwks_uri": "https://keys.example/jwks", member: uri });
            let reply = world.operate("POST", "/clients", Some(body)).await;
            assert_eq!(reply.status, 400, "{member} {uri}: {}", reply.body);
            trail.refused(uri, "client-add", "invalid_client_metadata", member).await;
        }
    }
}

/// A key set that leads on, that never ends, or that unpacks to more than it is.
#[tokio::test]
async fn ssrf_through_what_a_jwks_uri_answers() {
    let key = client_key(Alg::ES384);
    let inside = Arc::new(AtomicUsize::new(0));
    let keys = json!({ "keys": [key.public_jwk().to_value()] }).to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let packed = gzip(keys.as_bytes());
    let (count, there) = (Arc::clone(&inside), at.clone());
    let router = Router::new()
        .route(
            "/inside",
            axum::routing::any(move || {
                count.fetch_add(1, Ordering::SeqCst);
                async { "{\"keys\":[]}" }
            }),
        )
        .route(
            "/good",
            axum::routing::get({
                let keys = keys.clone();
                move || async move { keys }
            }),
        )
        .route(
            "/packed",
            axum::routing::get(move || {
                let packed = packed.clone();
                async move { ([("content-encoding", "gzip"), ("content-type", "application/json")], packed) }
            }),
        )
        .route(
            "/{status}",
            axum::routing::get(move |axum::extract::Path(status): axum::extract::Path<u16>| {
                let to = format!("{there}/inside");
                async move {
                    (
                        StatusCode::from_u16(status).unwrap(),
                        [("location", to.clone()), ("refresh", format!("0; url={to}")), ("link", format!("<{to}>; rel=preload"))],
                    )
                        .into_response()
                }
            }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let paths = ["good", "packed", "301", "302", "303", "307", "308", "300"];
    let clients: String = paths
        .iter()
        .map(|path| format!("[[client]]\nclient_id = \"{path}\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs\"\njwks_uri = \"{at}/{path}\"\n\n"))
        .collect();
    let world = World::with_clients(&clients).await;
    let mut trail = Trail::new(&world).await;
    for path in paths {
        let (header, claims) = crate::world::assertion(&key, path, &world.token_endpoint(), world.now());
        let jwt = key.sign_with_header(&header, &claims).unwrap();
        let reply = world.token_with(&jwt, &[("grant_type", "client_credentials"), ("scope", "system/Patient.rs")]).await;
        if path == "good" {
            reply.is(200);
            trail.nothing_refused(path).await;
            continue;
        }
        reply.refused(401, "invalid_client");
        trail.refused(path, "token", "invalid_client", "").await;
    }
    assert_eq!(inside.load(Ordering::SeqCst), 0, "a redirect was followed");
}

/// gzip with a stored block: what packs nothing needs no packer. RFC 1952 §2.3, RFC 1951 §3.2.4.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    let length = u16::try_from(bytes.len()).unwrap();
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(bytes);
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

/// An issuer that is not on loopback registers no address of this machine, in any spelling, for keys or for logout.
#[test]
fn ssrf_through_what_is_registered() {
    let registered = |member: &str, uri: &str| {
        let file = format!(
            "[[issuer]]\nurl = \"https://auth.epj.example\"\n[[issuer.fhir]]\nbase = \"https://epj.example/fhir\"\n[[client]]\nclient_id = \"app\"\nscopes = \"openid launch\"\nauth = \"private_key_jwt\"\nredirect_uris = [\"https://app.example/cb\"]\n{}{member} = \"{uri}\"\n",
            if member == "jwks_uri" { "" } else { "jwks_uri = \"https://app.example/jwks\"\n" }
        );
        let environment = SystemEnvironment::relative_to(std::path::Path::new(""));
        config::check(Text { file: "test", text: &file, environment: &environment }, &[]).err().map(|found| found.to_string())
    };
    for member in ["jwks_uri", "backchannel_logout_uri"] {
        assert_eq!(registered(member, "https://app.example/there"), None, "{member}");
        for uri in ["http://127.0.0.1:4567/jwks", "http://localhost/jwks", "http://[::1]/jwks", "file:///etc/passwd", "https://u:p@app.example/jwks"] {
            let told = registered(member, uri).unwrap_or_else(|| panic!("{member} {uri} was taken"));
            assert!(told.contains(member), "{told}");
        }
    }
}
