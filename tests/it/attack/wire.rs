//! Messages that two readers read differently, that are too long, packed or slow. RFC 9112 §11, RFC 9110 §17; what `routes` and `listen` try is not repeated here.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{CLIENTS, SECRET, Trail, honest};
use crate::world::{Reply, World, basic};

const FORM: &str = "application/x-www-form-urlencoded";

/// Sends these bytes, and everything that comes back until the server closes.
async fn talk(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.issuer().strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// What a proxy may have been told is not believed: host, scheme, path, method and address are those of the connection.
#[tokio::test]
async fn header_smuggling() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    let plain = world.get("/.well-known/openid-configuration").await.is(200);
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "666"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-server", "evil.example"),
        ("forwarded", "host=evil.example;proto=https;for=10.0.0.1"),
        ("x-host", "evil.example"),
        ("x-original-host", "evil.example"),
        ("x-original-url", "/jwks"),
        ("x-rewrite-url", "/jwks"),
        ("x-http-method-override", "DELETE"),
        ("x-method-override", "DELETE"),
    ] {
        let told = world.request("GET", "/.well-known/openid-configuration", &[(name, value)], "").await.is(200);
        assert_eq!(told.body, plain.body, "{name}");
        let page = world.http.get(honest(&world).set("response_type", "token").url()).header(name, value).send().await.unwrap();
        let page = Reply::of(page).await.is(303);
        assert!(page.header("location").unwrap().starts_with(super::AT) && !page.header("location").unwrap().contains("evil"), "{name}");
        let record = trail.refused(name, "authorize", "unsupported_response_type", "").await;
        assert_eq!(record["issuer"], world.issuer(), "{name}");
    }
    // Who fails from where is not for the caller to say.
    for (name, value) in [("x-forwarded-for", "192.0.2.7"), ("x-real-ip", "192.0.2.7"), ("forwarded", "for=192.0.2.7"), ("client-ip", "192.0.2.7")] {
        let headers = [("content-type", FORM), ("authorization", &basic("honest", "wrong-wrong-wrong-wrong-wrong")), (name, value)];
        world.request("POST", "/token", &headers, "grant_type=refresh_token").await.refused(401, "invalid_client");
        assert_eq!(trail.refused(name, "token", "invalid_client", "").await["source"], "127.0.0.1", "{name}");
    }
    // Two messages in one: the second is never read, and the connection ends.
    let host = world.issuer().strip_prefix("http://").unwrap().to_owned();
    let body = "grant_type=client_credentials&client_id=evil";
    let head = format!("POST /token HTTP/1.1\r\nHost: {host}\r\nContent-Type: {FORM}\r\n");
    let second = format!("GET /jwks HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for (attack, message) in [
        ("CL.TE", format!("{head}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}")),
        ("TE.CL", format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n{second}\r\n0\r\n\r\n")),
        ("TE with a space", format!("{head}Transfer-Encoding : chunked\r\nContent-Length: {}\r\n\r\n{body}{second}", body.len())),
        ("TE twice", format!("{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{second}")),
        ("TE hidden", format!("{head}X: y\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n{second}")),
        ("CL twice", format!("{head}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{body}{second}", body.len())),
        ("CL in a list", format!("{head}Content-Length: 0, {}\r\n\r\n{body}{second}", body.len())),
        ("CL with a sign", format!("{head}Content-Length: +0\r\n\r\n{second}")),
        ("a chunk that is too long to count", format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{second}")),
        ("a chunk with an extension that ends a line", format!("{head}Transfer-Encoding: chunked\r\n\r\n0;a=\n\r\n\r\n{second}")),
        ("a name with a null", format!("{head}X\0: y\r\nContent-Length: 0\r\n\r\n{second}")),
    ] {
        let answer = talk(&world, message.as_bytes()).await;
        assert!(!answer.contains("\"keys\""), "{attack}: the second request was answered: {answer}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{attack}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{attack}: {answer}");
    }
    world.get("/jwks").await.is(200);
}

/// RFC 9110 §15.5.14, §15.5.16: what is too long or packed is refused before it is read, and recorded.
#[tokio::test]
async fn oversized_and_compressed_bodies() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    let (honest_app, ehr) = (basic("honest", SECRET), format!("Bearer {}", world.ehr().token().await));
    trail.records().await;
    for (path, kind, authorization, action, error) in [
        ("/token", FORM, &honest_app, "token", "invalid_request"),
        ("/par", FORM, &honest_app, "par", "invalid_request"),
        ("/introspect", FORM, &honest_app, "introspect", "invalid_request"),
        ("/revoke", FORM, &honest_app, "revoke", "invalid_request"),
        ("/launches", "application/json", &ehr, "launch", "invalid_request"),
        ("/launches/end-session", "application/json", &ehr, "end-session", "invalid_request"),
        ("/authorize", FORM, &honest_app, "authorize", "page"),
    ] {
        let common = [("content-type", kind), ("authorization", authorization.as_str())];
        let large = world.request("POST", path, &common, "a".repeat(2 << 20)).await;
        assert_eq!(large.status, 413, "{path}: {}", large.body);
        trail.refused("too large", action, error, "").await;
        for coding in ["gzip", "br", "deflate", "zstd", "identity, gzip", "x-gzip"] {
            // What it would unpack to does not matter: nobody unpacks it.
            let headers = [common[0], common[1], ("content-encoding", coding)];
            let packed = world.request("POST", path, &headers, vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).await;
            assert_eq!(packed.status, 415, "{path} {coding}: {}", packed.body);
            trail.refused(coding, action, error, "compressed").await;
        }
    }
}
