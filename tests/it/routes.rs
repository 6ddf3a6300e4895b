//! Every route without credentials; what every answer carries; how much and how long the server listens. DESIGN §3, Failure; SAL §8.1.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Version};
use helsebro::app::open::open;
use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::http::{HttpLimits, Site, router};
use helsebro::jose::{Alg, SigningKey};
use helsebro::random::SystemRandom;
use helsebro::time::{FixedClock, UnixTime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::world::{Bare, Reply};

const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const FORM: &str = "application/x-www-form-urlencoded";

/// An issuer with a path, so that every route there can be is in the table.
fn text(origin: &str, data: &Path) -> String {
    static KEY: LazyLock<String> = LazyLock::new(|| SigningKey::generate(Alg::ES384).unwrap().to_private_jwk().unwrap().to_string());
    let app = "redirect_uris = [\"http://127.0.0.1:4567/cb\"]\nscopes = \"openid offline_access user/*.rs\"";
    format!(
        "[store]\nkind = \"memory\"\n[keys]\ndir = \"{data}/keys\"\n\
         [[issuer]]\nurl = \"{origin}/a\"\nlogin = [\"ehr\", \"local\"]\n[[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\n\
         [issuer.upstream]\nissuer = \"http://127.0.0.1:9\"\nclient_id = \"us\"\nclient_key = '{key}'\napi_audience = \"our:api\"\n\
         [[client]]\nclient_id = \"app\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{app}\n[[client]]\nclient_id = \"public\"\nauth = \"none\"\n{app}\n",
        data = data.display(),
        key = *KEY,
    )
}

/// The same, which waits for nobody.
fn impatient(origin: &str, data: &Path) -> String {
    format!("[http]\nheader_timeout = \"1s\"\nrequest_timeout = \"1s\"\n{}", text(origin, data))
}

/// What GET and POST answer to somebody with no credentials, no cookie and no parameters; `None`: 405. And what the answer is for.
const EXPECTED: &[(&str, Option<u16>, Option<u16>)] = &[
    // A request without a client: a page, and no redirect. SAL-022.
    ("/a/authorize", Some(400), Some(400)),
    // Pages of somebody else's, or of nobody: they are gone.
    ("/a/interaction/{id}", Some(400), Some(400)),
    ("/a/start/{link}", Some(400), Some(400)),
    ("/a/par", None, Some(401)),
    ("/a/token", None, Some(401)),
    ("/a/introspect", None, Some(401)),
    ("/a/revoke", None, Some(401)),
    ("/a/userinfo", Some(401), Some(401)),
    ("/a/launches", None, Some(401)),
    ("/a/launches/end-session", None, Some(401)),
    // What the two take, for everyone.
    ("/a/launches/openapi.json", Some(200), None),
    // Logging out needs no credentials: it asks.
    ("/a/logout", Some(200), Some(200)),
    // A page to sign in at; a form that was not shown before is refused.
    ("/a/account/apps", Some(200), Some(400)),
    // Answers to nobody's question, and notices without a token.
    ("/a/upstream/callback", Some(400), None),
    ("/a/upstream/logout", None, Some(400)),
    ("/a/jwks", Some(200), None),
    ("/a/.well-known/openid-configuration", Some(200), None),
    ("/a/.well-known/oauth-authorization-server", Some(200), None),
    ("/a/.well-known/smart-configuration", Some(200), None),
    ("/.well-known/oauth-authorization-server/a", Some(200), None),
    ("/.well-known/openid-configuration/a", Some(200), None),
    ("/fhir/.well-known/smart-configuration", Some(200), None),
];

#[track_caller]
fn is_guarded(reply: &Reply, case: &str) {
    for (name, value) in [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")] {
        assert_eq!(reply.header(name), Some(value), "{case}: {name}");
    }
    for name in ["content-security-policy", "cache-control", "x-request-id"] {
        assert!(reply.header(name).is_some(), "{case}: no {name}");
    }
    assert!(reply.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{case}");
    assert!(reply.header("server").is_none() && reply.header("x-powered-by").is_none(), "{case}");
}

async fn send(world: &Bare, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Reply {
    let mut request = world.http.request(method.parse().unwrap(), format!("{}{path}", world.origin)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::of(request.send().await.unwrap()).await
}

/// An issuer that is not served yet.
async fn site(world: &Bare) -> Arc<Site> {
    let data = tempfile::tempdir().unwrap();
    let environment = SystemEnvironment::relative_to(data.path());
    let text = text(&world.origin, data.path());
    let checked = config::check(Text { file: "test", text: &text, environment: &environment }, &[]).unwrap_or_else(|found| panic!("{found}"));
    let opened = open(&checked.config, Arc::new(FixedClock::at(UnixTime(0))), Arc::new(SystemRandom)).await.unwrap();
    Arc::new(Site::new(opened.engines.into_iter().next().unwrap(), HttpLimits { body: 1024, authorize: 1024 }))
}

#[tokio::test]
async fn every_route_has_an_answer_for_somebody_without_credentials() {
    let world = Bare::start(text).await;
    let expected: BTreeMap<&str, (Option<u16>, Option<u16>)> = EXPECTED.iter().map(|(path, get, post)| (*path, (*get, *post))).collect();
    let mut known: Vec<String> = router::paths(&site(&world).await);
    known.sort();
    assert_eq!(
        known.iter().map(String::as_str).collect::<Vec<_>>(),
        expected.keys().copied().collect::<Vec<_>>(),
        "a route without an expectation, or the other way"
    );
    for (template, (get, post)) in expected {
        let path = template.replace("{id}", "0123456789abcdef0123456789abcdef").replace("{link}", "start_x");
        // Looking without reading must not open a link or answer an app.
        let head = get.filter(|_| !["authorize", "start", "callback"].iter().any(|acts| template.contains(acts)));
        for (method, status) in [("GET", get), ("HEAD", head), ("POST", post), ("PUT", None), ("DELETE", None), ("PATCH", None), ("PROPFIND", None)] {
            let headers: &[(&str, &str)] = if method == "POST" { &[("content-type", FORM)] } else { &[] };
            let reply = send(&world, method, &path, headers, "").await;
            assert_eq!(reply.status, status.unwrap_or(405), "{method} {template}: {}", reply.body);
            is_guarded(&reply, &format!("{method} {template}"));
            assert_eq!(reply.header("location"), None, "{method} {template}");
            if reply.status == 405 {
                let allow = reply.header("allow").unwrap_or_else(|| panic!("{method} {template}: RFC 9110 §15.5.6"));
                assert_eq!((allow.contains("GET"), allow.contains("POST")), (get.is_some(), post.is_some()), "{method} {template}: {allow}");
            }
            if reply.status == 401 {
                assert!(reply.header("www-authenticate").is_some(), "{method} {template}: RFC 9110 §15.5.2");
            }
            // Only what anybody may know may be kept.
            let open = template.contains("well-known") || template.ends_with("/jwks") || template.ends_with("/openapi.json");
            assert_eq!(reply.header("cache-control").unwrap().contains("no-store"), !(open && status.is_some()), "{method} {template}");
        }
    }
    world.stop().await;
}

/// HTTP/1.1 leaves a body out by itself; HTTP/2 sends what it is given.
#[tokio::test]
async fn what_head_is_answered_has_no_body_and_its_length() {
    let world = Bare::start(text).await;
    let service = router::service(&[site(&world).await], Duration::from_secs(30));
    let host = world.origin.strip_prefix("http://").unwrap();
    let long = format!("http://{host}/{}", "x".repeat(5000));
    for (url, status) in [
        (format!("http://{host}/a/jwks").as_str(), 200),
        (format!("http://{host}/a/token").as_str(), 405),
        (format!("http://{host}/nothing").as_str(), 404),
        ("http://evil.example/a/jwks", 421),
        (long.as_str(), 414),
    ] {
        let asked = async |method: &str| {
            let request = Request::builder().method(method).uri(url).version(Version::HTTP_2).body(Body::empty()).unwrap();
            let answer = service.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{method} {url}");
            let length = answer.headers().get("content-length").map(|length| length.to_str().unwrap().parse::<usize>().unwrap());
            (length, to_bytes(answer.into_body(), 1 << 20).await.unwrap().len())
        };
        let ((_, whole), (length, nothing)) = (asked("GET").await, asked("HEAD").await);
        assert_eq!((length, nothing), (Some(whole), 0), "{url}");
        assert!(whole > 0, "{url}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_browser_that_asks_for_an_icon_gets_none_and_no_error() {
    let world = Bare::start(text).await;
    let reply = send(&world, "GET", "/favicon.ico", &[], "").await;
    assert_eq!((reply.status, reply.body.as_str()), (204, ""));
    is_guarded(&reply, "/favicon.ico");
    world.stop().await;
}

#[tokio::test]
async fn paths_that_lead_nowhere_end_at_a_page() {
    let world = Bare::start(text).await;
    for path in
        ["/", "/a", "/a/", "/b", "/token", "/a/token/", "/a//token", "/a/TOKEN", "/a/token/x", "/a/../a/nothing", "/a/%74oken%00", "/a/favicon.ico", "/a/%ff"]
    {
        for method in ["GET", "POST"] {
            let reply = send(&world, method, path, &[("accept", "application/json")], "").await;
            assert_eq!(reply.status, 404, "{method} {path}: {}", reply.body);
            assert!(reply.header("content-type").unwrap().starts_with("text/html"), "{path}");
            assert!(!reply.body.contains("nothing") && !reply.body.contains("%ff"), "{path}: a page does not repeat what was asked");
            is_guarded(&reply, path);
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_request_id_is_kept_where_it_is_a_plain_word() {
    let world = Bare::start(text).await;
    for path in ["/a/jwks", "/a/token", "/nowhere", "/a/account/apps"] {
        for given in ["0123abcd", "a-Request_id-09", &"x".repeat(64)] {
            let reply = send(&world, "GET", path, &[("x-request-id", given)], "").await;
            assert_eq!(reply.header("x-request-id"), Some(given), "{path}");
        }
        let mut made = std::collections::BTreeSet::new();
        for given in ["short", "two words", "<script>alert(1)</script>", "a\tb-and-more", &"x".repeat(65), "12345678;drop", ""] {
            let reply = send(&world, "GET", path, &[("x-request-id", given)], "").await;
            let id = reply.header("x-request-id").unwrap().to_owned();
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{path} {given}: {id}");
            assert!(made.insert(id), "an id of its own each time");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn more_than_is_listened_to_is_said_so() {
    let world = Bare::start(text).await;
    // 413 by the length that is declared, before anything is sent; the connection is not left half read.
    for (path, bytes) in [("/a/token", 1_048_577), ("/a/introspect", 1_048_577), ("/a/revoke", 1_048_577), ("/a/authorize", 65_537)] {
        let reply = send(&world, "POST", path, &[("content-type", FORM)], "x".repeat(bytes)).await;
        assert_eq!(reply.status, 413, "{path}: {}", reply.body);
        is_guarded(&reply, path);
    }
    // The same where nothing is declared: read no further than the limit.
    let host = world.origin.strip_prefix("http://").unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let endless = format!("POST /a/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(17));
    let answer = talk(&world, endless.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // As many parameters, and as deep, as nobody needs.
    let many = vec!["a=1"; 101].join("&");
    send(&world, "POST", "/a/token", &[("content-type", FORM)], many).await.refused(400, "invalid_request");
    // SAL-316: 64 kB is taken.
    let reply = send(&world, "POST", "/a/authorize", &[("content-type", FORM)], format!("scope={}", "x".repeat(60_000))).await;
    assert_eq!(reply.status, 400, "read, and refused for what it lacks: {}", reply.body);
    let wide = "x".repeat(70_000);
    let many: Vec<String> = (0..120).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    for (case, headers) in [("a wide header", vec![("x-wide", wide.as_str())]), ("many headers", many)] {
        let answer = world.http.get(format!("{}/a/jwks", world.origin));
        let answer = headers.into_iter().fold(answer, |request, (name, value)| request.header(name, value)).send().await.unwrap();
        assert_eq!(answer.status(), 431, "{case}: RFC 6585 §5");
    }
    // And the server is well.
    send(&world, "GET", "/a/jwks", &[], "").await.is(200);
    world.stop().await;
}

/// Sends these bytes, and everything that comes back until the server closes.
async fn talk(world: &Bare, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.origin.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    let _reset = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_and_broken_requests_hang_nobody() {
    let world = Bare::start(impatient).await;
    let host = world.origin.strip_prefix("http://").unwrap().to_owned();
    let head = format!("POST /a/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: {FORM}\r\n");
    let rows: Vec<(&str, String, &[&str])> = vec![
        ("nothing at all", String::new(), &[""]),
        ("half a request line", "GET /a/jw".to_owned(), &["", "HTTP/1.1 408"]),
        ("half a head", format!("GET /a/jwks HTTP/1.1\r\nHost: {host}\r\nX-Sl"), &["", "HTTP/1.1 408"]),
        ("half a body", format!("{head}Content-Length: 100\r\n\r\ngrant_type="), &["HTTP/1.1 503", "HTTP/1.1 408"]),
        ("half a chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\n50\r\ngrant"), &["HTTP/1.1 503", "HTTP/1.1 408"]),
        ("no chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), &["HTTP/1.1 400"]),
        ("no HTTP", "hello\r\n\r\n".to_owned(), &["", "HTTP/1.1 400"]),
        ("two lengths", format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), &["HTTP/1.1 400"]),
        ("two hosts", format!("GET /a/jwks HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), &["HTTP/1.1 400"]),
        ("no host (RFC 9112 §3.2)", "GET /a/jwks HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), &["HTTP/1.1 400"]),
        ("an empty host", "GET /a/jwks HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n".to_owned(), &["HTTP/1.1 421"]),
        ("a foreign host", "GET /a/jwks HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), &["HTTP/1.1 421"]),
        ("a host that is none", "GET /a/jwks HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n".to_owned(), &["HTTP/1.1 421"]),
        ("HTTP/1.0 without a host", "GET /a/jwks HTTP/1.0\r\n\r\n".to_owned(), &["HTTP/1.0 421", "HTTP/1.1 421"]),
        ("HTTP/1.0 with one", format!("GET /a/jwks HTTP/1.0\r\nHost: {host}\r\n\r\n"), &["HTTP/1.0 200", "HTTP/1.1 200"]),
        ("our own absolute URL", format!("GET http://{host}/a/jwks HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), &["HTTP/1.1 200"]),
        ("an authority", format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), &["HTTP/1.1 404", "HTTP/1.1 405"]),
        ("an asterisk", format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), &["HTTP/1.1 404"]),
        ("two media types", format!("{head}Content-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), &["HTTP/1.1 400"]),
        (
            "two credentials",
            format!("{head}Authorization: Basic YTpi\r\nAuthorization: Bearer x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            &["HTTP/1.1 400"],
        ),
        ("a packed body", format!("{head}Content-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"), &["HTTP/1.1 415"]),
        ("a long path", format!("GET /a/{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", "x".repeat(4096)), &["HTTP/1.1 414"]),
        ("a coding nobody knows", format!("{head}Transfer-Encoding: gzip\r\n\r\nabc"), &["HTTP/1.1 400"]),
        ("chunked, and then not", format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), &["HTTP/1.1 400"]),
        ("a header that goes on in the next line", format!("{head}X-Fold: a\r\n b\r\nContent-Length: 0\r\n\r\n"), &["HTTP/1.1 400"]),
        ("a space before the colon", format!("{head}Content-Length : 0\r\n\r\n"), &["HTTP/1.1 400"]),
        // RFC 9112 §6.1: what came behind such a message is not read as another one; the connection ends with one answer.
        (
            "a length beside a transfer coding",
            format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /a/jwks HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            &["HTTP/1.1 401", "HTTP/1.1 400"],
        ),
        ("a foreign absolute URL", format!("GET http://evil.example/a/jwks HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), &["HTTP/1.1 421"]),
    ];
    let all = rows.iter().map(async |(case, sent, good)| {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(20), talk(&world, sent.as_bytes())).await;
        let answer = answer.unwrap_or_else(|_| panic!("{case}: the connection is still open"));
        assert!(good.iter().any(|start| if start.is_empty() { answer.is_empty() } else { answer.starts_with(start) }), "{case}: {answer}");
        assert!(answer.matches("HTTP/1.").count() <= 1, "{case}: more than one answer: {answer}");
    });
    futures_util::future::join_all(all).await;
    send(&world, "GET", "/a/jwks", &[], "").await.is(200);
    world.stop().await;
}

/// A value that means something, or anything.
fn value() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "app",
        "public",
        "rt_0123456789abcdef0123456789abcdef_0_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "rt__0_",
        "code_0123456789abcdef0123456789abcdef_x",
        "eyJhbGciOiJSUzI1NiJ9.e30.AA",
        "eyJhbGciOiJub25lIn0.eyJpc3MiOiJhcHAifQ.",
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "openid patient/*.rs system/Patient.rs?x=y|z",
        "http://127.0.0.1:4567/cb",
        SECRET,
    ]);
    prop_oneof![known.prop_map(str::to_owned), "\\PC{0,40}", "[\\x00-\\x7f]{0,40}"]
}

fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "grant_type",
        "code",
        "redirect_uri",
        "code_verifier",
        "refresh_token",
        "scope",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "token",
        "token_type_hint",
        "resource",
        "audience",
    ]);
    prop_oneof![9 => known.prop_map(str::to_owned), 1 => "\\PC{0,20}"]
}

/// A form as a client writes it, or bytes.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let form = prop::collection::vec((name(), value()), 0..8)
        .prop_map(|pairs| form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes());
    prop_oneof![8 => form, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

fn authorization() -> impl Strategy<Value = Option<Vec<u8>>> {
    let scheme = prop::sample::select(vec!["Basic", "basic", "Bearer", "DPoP", "Digest", ""]);
    let encoded = (scheme.clone(), "\\PC{0,20}", value()).prop_map(|(scheme, id, secret)| {
        use base64::Engine as _;
        format!("{scheme} {}", base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"))).into_bytes()
    });
    let raw =
        (scheme, prop::collection::vec(prop_oneof![0x20u8..0x7f, 0x80u8..=0xff], 0..60)).prop_map(|(scheme, bytes)| [scheme.as_bytes(), b" ", &bytes].concat());
    prop::option::of(prop_oneof![encoded, raw])
}

#[test]
fn no_form_and_no_header_is_ever_our_fault() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(Bare::start(text));
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let paths = prop::sample::select(vec!["/a/token", "/a/introspect", "/a/revoke", "/a/userinfo", "/a/launches"]);
    let outcome = runner.run(&(paths, authorization(), body()), |(path, authorization, body)| {
        let reply = runtime.block_on(async {
            let mut request = world.http.post(format!("{}{path}", world.origin)).header("content-type", FORM).body(body);
            if let Some(value) = &authorization {
                request = request.header("authorization", reqwest::header::HeaderValue::from_bytes(value).unwrap());
            }
            Reply::of(request.send().await.unwrap()).await
        });
        prop_assert!(reply.status < 500, "{path}: {} {}", reply.status, reply.body);
        // Nobody here has a right to anything: `public` may revoke what it does not have, and that is all.
        prop_assert!(reply.status >= 400 || path == "/a/revoke", "{path}: {} {}", reply.status, reply.body);
        prop_assert!(reply.body.is_empty() || reply.json()["error"].is_string(), "{path}: {}", reply.body);
        prop_assert!(reply.header("cache-control") == Some("no-store"));
        Ok(())
    });
    runtime.block_on(world.stop());
    outcome.unwrap();
}
