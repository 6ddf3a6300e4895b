//! The authorization endpoint: what it refuses and how, and that GET and POST are one. SAL §3.2.

use std::collections::BTreeMap;

use helsebro::protocol::pkce::CodeVerifier;
use serde_json::json;
use url::Url;

use crate::world::{App, Page, Reply, VERIFIER, World, claims, form_fields};

/// Clients of these tests: one that signs in without being asked, one that is switched off, one whose redirect URI has a query.
pub const CLIENTS: &str = r#"
[[client]]
client_id = "open"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb", "http://127.0.0.1:4567/other"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser profile launch launch/patient launch/encounter offline_access online_access patient/*.rs user/Practitioner.rs"
consent = "pre-approved"

[[client]]
client_id = "off"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/off"]
scopes = "openid"
disabled = true

[[client]]
client_id = "query"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb?tenant=a%20b&x=1"]
scopes = "openid"
consent = "pre-approved"
"#;

const CB: &str = "http://127.0.0.1:4567/cb";

/// A state nobody should have to send, and everybody may. SAL-024, SAL-317.
const STATE: &str = "a+b%2B=&\"é\\ x/~æ'?#<>";

enum Outcome {
    /// 400, and nothing sent anywhere.
    Page,
    /// An error redirect with this code and the state as it was sent.
    Error(&'static str),
    /// The same where the state is not known.
    Stateless(&'static str),
}

pub type Change = for<'w> fn(App<'w>) -> App<'w>;

struct Row(&'static str, &'static str, Change, Outcome);

use Outcome::{Error, Page as ToPage, Stateless};

/// A good request of `open` with a state that is hard to echo.
pub fn good(world: &World) -> App<'_> {
    world.app("open").at(CB).set("scope", "openid fhirUser").set("state", STATE)
}

#[track_caller]
fn is_page(what: &str, page: &Page) {
    assert_eq!(page.reply.status, 400, "{what}: {}", page.reply.body);
    assert!(page.reply.header("location").is_none(), "{what}");
    assert_eq!(page.reply.header("content-type"), Some("text/html; charset=utf-8"), "{what}");
}

/// The parameters of an error redirect to `to`, each once; the form of the answer is checked on the way.
#[track_caller]
fn error_at(what: &str, page: &Page, to: &str, issuer: &str) -> BTreeMap<String, String> {
    assert_eq!(page.reply.status, 303, "{what}: {}", page.reply.body);
    let location = page.reply.header("location").unwrap();
    let rest = location.strip_prefix(to).unwrap_or_else(|| panic!("{what}: {location}"));
    assert!(rest.starts_with(['?', '&', '#']), "{what}: {location}");
    let pairs: Vec<(String, String)> = form_urlencoded::parse(&rest.as_bytes()[1..]).into_owned().collect();
    let params: BTreeMap<String, String> = pairs.iter().cloned().collect();
    assert_eq!(pairs.len(), params.len(), "{what}: {location}");
    assert_eq!(params["iss"], issuer, "{what}");
    assert!(!params.contains_key("code"), "{what}: {location}");
    let description = params.get("error_description").unwrap_or_else(|| panic!("{what}: no description"));
    assert!(!description.is_empty() && description.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\'), "{what}: {description}");
    params
}

#[track_caller]
fn expect(row: &Row, page: &Page, issuer: &str) {
    let what = format!("{} ({})", row.0, row.1);
    let (code, state) = match row.3 {
        ToPage => return is_page(&what, page),
        Error(code) => (code, Some(STATE)),
        Stateless(code) => (code, None),
    };
    let params = error_at(&what, page, CB, issuer);
    assert_eq!((params["error"].as_str(), params.get("state").map(String::as_str)), (code, state), "{what}: {params:?}");
}

const REFUSED: &[Row] = &[
    // Row 1
    Row("client_id missing", "SAL-022", |r| r.unset("client_id"), ToPage),
    Row("client_id empty", "RFC 6749 §3.1", |r| r.set("client_id", ""), ToPage),
    Row("client_id unknown", "SAL §3.2 row 1", |r| r.set("client_id", "nobody"), ToPage),
    Row("client_id in other case", "SAL §3.2 row 1", |r| r.set("client_id", "OPEN"), ToPage),
    Row("client_id no id at all", "SAL §3.2 row 1", |r| r.set("client_id", "\u{1}\u{e9}"), ToPage),
    Row("client_id sent twice", "RFC 6749 §3.1", |r| r.add("client_id", "open"), ToPage),
    Row("client disabled", "SAL §3.2 row 1", |r| r.set("client_id", "off").set("redirect_uri", "http://127.0.0.1:4567/off"), ToPage),
    Row("client without the code flow", "SAL §3.2 row 8", |r| r.set("client_id", "lab-sync"), ToPage),
    // Row 2
    Row("redirect_uri missing", "SAL-022", |r| r.unset("redirect_uri"), ToPage),
    Row("redirect_uri sent twice", "RFC 6749 §3.1", |r| r.add("redirect_uri", CB), ToPage),
    Row("redirect_uri of another client", "SAL §3.2 row 2", |r| r.set("redirect_uri", "http://127.0.0.1:4567/off"), ToPage),
    // Row 3
    Row("scope sent twice", "RFC 6749 §3.1", |r| r.add("scope", "openid"), Error("invalid_request")),
    Row("state sent twice", "RFC 6749 §3.1", |r| r.add("state", "again"), Stateless("invalid_request")),
    Row("state sent twice alike", "RFC 6749 §3.1", |r| r.add("state", STATE), Stateless("invalid_request")),
    Row("response_type sent twice", "RFC 6749 §3.1", |r| r.add("response_type", "code"), Error("invalid_request")),
    Row("code_challenge sent twice", "RFC 6749 §3.1", |r| r.add("code_challenge", "x"), Error("invalid_request")),
    Row("aud sent twice", "RFC 6749 §3.1", |r| r.add("aud", "x"), Error("invalid_request")),
    Row("an unknown parameter sent twice", "RFC 6749 §3.1", |r| r.add("x", "1").add("x", "1"), Error("invalid_request")),
    Row("launch sent twice", "RFC 6749 §3.1", |r| r.add("launch", "a").add("launch", "b"), Error("invalid_request")),
    Row("prompt sent twice, once empty", "RFC 6749 §3.1", |r| r.add("prompt", "").add("prompt", "none"), Error("invalid_request")),
    // Row 4
    Row("response_type missing", "SAL-021", |r| r.unset("response_type"), Error("invalid_request")),
    Row("response_type empty", "RFC 6749 §3.1", |r| r.set("response_type", ""), Error("invalid_request")),
    Row("response_type=token", "SAL-021", |r| r.set("response_type", "token"), Error("unsupported_response_type")),
    Row("response_type=code id_token", "SAL-021", |r| r.set("response_type", "code id_token"), Error("unsupported_response_type")),
    Row("response_type=CODE", "SAL-021", |r| r.set("response_type", "CODE"), Error("unsupported_response_type")),
    // Row 5
    Row("state missing", "SAL-023", |r| r.unset("state"), Stateless("invalid_request")),
    Row("state empty", "RFC 6749 §3.1", |r| r.set("state", ""), Stateless("invalid_request")),
    // Row 6
    Row("no PKCE at all", "SAL-031", |r| r.unset("code_challenge").unset("code_challenge_method"), Error("invalid_request")),
    Row("code_challenge missing", "SAL-031", |r| r.unset("code_challenge"), Error("invalid_request")),
    Row("code_challenge_method missing", "SAL-031", |r| r.unset("code_challenge_method"), Error("invalid_request")),
    Row("code_challenge_method=plain", "SAL-030", |r| r.set("code_challenge_method", "plain"), Error("invalid_request")),
    Row("code_challenge_method=s256", "SAL-030", |r| r.set("code_challenge_method", "s256"), Error("invalid_request")),
    Row("challenge of 42 characters", "SAL §3.2 row 6", |r| r.set("code_challenge", &"a".repeat(42)), Error("invalid_request")),
    Row("challenge of 44 characters", "SAL §3.2 row 6", |r| r.set("code_challenge", &"a".repeat(44)), Error("invalid_request")),
    Row("challenge with padding", "SAL §3.2 row 6", |r| r.set("code_challenge", &format!("{}=", "a".repeat(43))), Error("invalid_request")),
    Row("challenge padded to 43", "SAL §3.2 row 6", |r| r.set("code_challenge", &format!("{}=", "a".repeat(42))), Error("invalid_request")),
    Row("challenge in base64", "SAL §3.2 row 6", |r| r.set("code_challenge", &format!("{}+/", "a".repeat(41))), Error("invalid_request")),
    // Row 7
    Row("aud missing", "SAL-027", |r| r.unset("aud"), Error("invalid_request")),
    Row("aud foreign", "SAL-027", |r| r.set("aud", "https://evil.example/fhir"), Error("invalid_request")),
    Row(
        "aud is the issuer",
        "SAL §0.1",
        |r| {
            let issuer = r.world.issuer().to_owned();
            r.set("aud", &issuer)
        },
        Error("invalid_request"),
    ),
    Row(
        "aud with two trailing slashes",
        "SAL-027",
        |r| {
            let aud = format!("{}//", r.world.fhir());
            r.set("aud", &aud)
        },
        Error("invalid_request"),
    ),
    Row(
        "aud with a longer path",
        "SAL-027",
        |r| {
            let aud = format!("{}/Patient", r.world.fhir());
            r.set("aud", &aud)
        },
        Error("invalid_request"),
    ),
    Row(
        "aud with a path in other case",
        "SAL-027",
        |r| {
            let aud = r.world.fhir().replace("/fhir", "/FHIR");
            r.set("aud", &aud)
        },
        Error("invalid_request"),
    ),
    Row(
        "aud with a query",
        "SAL-027",
        |r| {
            let aud = format!("{}?x", r.world.fhir());
            r.set("aud", &aud)
        },
        Error("invalid_request"),
    ),
    Row("aud that is no URL", "SAL-027", |r| r.set("aud", "fhir"), Error("invalid_request")),
    Row("resource foreign", "RFC 8707 §2", |r| r.unset("aud").set("resource", "https://evil.example/fhir"), Error("invalid_target")),
    Row("aud and a foreign resource", "SAL-309", |r| r.set("resource", "https://evil.example/fhir"), Error("invalid_target")),
    Row(
        "two resources",
        "RFC 8707 §2",
        |r| {
            let fhir = r.world.fhir().to_owned();
            r.add("resource", &fhir).add("resource", "https://evil.example/fhir")
        },
        Error("invalid_target"),
    ),
    // Row 9
    Row("scope missing", "SAL-023", |r| r.unset("scope"), Error("invalid_scope")),
    Row("scope empty", "SAL-023", |r| r.set("scope", ""), Error("invalid_scope")),
    Row("scope of spaces", "SAL §3.2 row 9", |r| r.set("scope", "   "), Error("invalid_scope")),
    Row("nothing known in scope", "SAL §4.8", |r| r.set("scope", "email address patient/Nonsense.rs"), Error("invalid_scope")),
    Row("nothing allowed in scope", "SAL §4.8", |r| r.set("scope", "user/Patient.rs patient/Patient.cud"), Error("invalid_scope")),
    Row("only system scopes", "SAL §4.8 step 3", |r| r.set("scope", "system/*.rs"), Error("invalid_scope")),
    Row("only online_access, standalone", "SAL §4.8 step 3", |r| r.set("scope", "online_access"), Error("invalid_scope")),
    Row("letters out of order", "SAL-042", |r| r.set("scope", "patient/Observation.sr"), Error("invalid_scope")),
    // Row 10
    Row("launch unknown", "SAL-028", |r| r.set("launch", "nonsense"), Error("invalid_request")),
    Row("launch unknown, silently", "SAL-028", |r| r.set("launch", "nonsense").set("prompt", "none"), Error("invalid_request")),
    // OpenID Connect
    Row("request object", "OIDC Core §3.1.2.6", |r| r.set("request", "x.y.z"), Error("request_not_supported")),
    Row("request_uri", "OIDC Core §3.1.2.6", |r| r.set("request_uri", "https://app.example/r"), Error("request_uri_not_supported")),
    Row("registration", "OIDC Core §3.1.2.6", |r| r.set("registration", "{}"), Error("registration_not_supported")),
    Row("unknown response_mode", "Multiple Response Types §2.1", |r| r.set("response_mode", "web_message"), Error("invalid_request")),
    Row("unknown prompt", "OIDC Core §3.1.2.1", |r| r.set("prompt", "create"), Error("invalid_request")),
    Row("prompt=none with another", "OIDC Core §3.1.2.1", |r| r.set("prompt", "none login"), Error("invalid_request")),
    Row("max_age negative", "OIDC Core §3.1.2.1", |r| r.set("max_age", "-1"), Error("invalid_request")),
    Row("max_age a word", "OIDC Core §3.1.2.1", |r| r.set("max_age", "soon"), Error("invalid_request")),
    // Rows 11 to 13, silently
    Row("nobody signed in", "OIDC Core §3.1.2.6", |r| r.set("prompt", "none"), Error("login_required")),
];

#[tokio::test]
async fn what_is_wrong_is_refused_by_get_and_by_post_alike() {
    let world = World::with_clients(CLIENTS).await;
    for row in REFUSED {
        let app = (row.2)(good(&world));
        let by_get = app.authorize(&mut world.browser()).await;
        expect(row, &by_get, world.issuer());
        let by_post = app.authorize_by_post(&mut world.browser()).await;
        // What needs the browser's cookies is found out when the browser comes back with them.
        let by_post = world.browser().follow(by_post, world.issuer()).await;
        expect(row, &by_post, world.issuer());
        assert_eq!(by_get.reply.header("location"), by_post.reply.header("location"), "{}", row.0);
    }
}

#[tokio::test]
async fn an_answer_goes_to_a_registered_uri_or_nowhere() {
    let world = World::with_clients(CLIENTS).await;
    let base = "http://127.0.0.1:4567";
    let wrong = [
        ("another path", format!("{base}/evil")),
        ("a path below", format!("{base}/cb/x")),
        ("a trailing slash", format!("{base}/cb/")),
        ("a query added", format!("{base}/cb?x=1")),
        ("an empty query", format!("{base}/cb?")),
        ("another case of the path", format!("{base}/CB")),
        ("another case of the scheme", "HTTP://127.0.0.1:4567/cb".to_owned()),
        ("the path encoded", format!("{base}/%63b")),
        ("the path encoded twice", format!("{base}/%2563b")),
        ("dots", format!("{base}/x/../cb")),
        ("another port", "http://127.0.0.1:4568/cb".to_owned()),
        ("no port", "http://127.0.0.1/cb".to_owned()),
        ("another name of the host", "http://localhost:4567/cb".to_owned()),
        ("a longer host", "http://127.0.0.1.evil.example:4567/cb".to_owned()),
        ("a fragment", format!("{base}/cb#x")),
        ("an empty fragment", format!("{base}/cb#")),
        ("user information", "http://a@127.0.0.1:4567/cb".to_owned()),
        ("the host as user information", "http://127.0.0.1:4567@evil.example/cb".to_owned()),
        ("another scheme", "https://127.0.0.1:4567/cb".to_owned()),
        ("no scheme", "//127.0.0.1:4567/cb".to_owned()),
        ("a script", "javascript:alert(1)".to_owned()),
        ("a line break", format!("{base}/cb\r\nLocation: http://evil.example")),
        ("a trailing space", format!("{base}/cb ")),
        ("a backslash", format!("{base}\\cb")),
        ("two at once", format!("{base}/cb {base}/cb")),
    ];
    for (what, uri) in &wrong {
        is_page(what, &good(&world).set("redirect_uri", uri).authorize(&mut world.browser()).await);
        is_page(what, &good(&world).set("redirect_uri", uri).authorize_by_post(&mut world.browser()).await);
        // Whatever else is wrong, the URI comes first.
        is_page(what, &good(&world).set("redirect_uri", uri).unset("state").set("response_type", "token").authorize(&mut world.browser()).await);
    }
    // The second of several is as good as the first, and a query of its own is kept as it is.
    let page = good(&world).at("http://127.0.0.1:4567/other").set("response_type", "token").authorize(&mut world.browser()).await;
    error_at("second URI", &page, "http://127.0.0.1:4567/other", world.issuer());
    let registered = "http://127.0.0.1:4567/cb?tenant=a%20b&x=1";
    let page = world.app("query").at(registered).set("response_type", "token").authorize(&mut world.browser()).await;
    assert!(page.reply.header("location").unwrap().starts_with(&format!("{registered}&error=")));
    error_at("own query", &page, registered, world.issuer());
}

#[tokio::test]
async fn the_order_of_the_checks_decides_between_two_faults() {
    let world = World::with_clients(CLIENTS).await;
    let rows: &[(&str, Change, &str)] = &[
        ("3 before 4", |r| r.set("response_type", "token").add("scope", "x"), "invalid_request"),
        ("4 before 5", |r| r.set("response_type", "token").unset("state"), "unsupported_response_type"),
        ("5 before 7", |r| r.unset("state").set("resource", "https://evil.example"), "invalid_request"),
        ("6 before 7", |r| r.unset("code_challenge").set("resource", "https://evil.example"), "invalid_request"),
        ("7 before 9", |r| r.set("resource", "https://evil.example").unset("scope"), "invalid_target"),
        ("9 before 10", |r| r.unset("scope").set("launch", "nonsense"), "invalid_scope"),
        ("10 before 11", |r| r.set("launch", "nonsense").set("prompt", "none"), "invalid_request"),
    ];
    for (what, change, code) in rows {
        let page = change(good(&world)).authorize(&mut world.browser()).await;
        assert_eq!(error_at(what, &page, CB, world.issuer())["error"], *code, "{what}");
    }
}

#[tokio::test]
async fn the_fhir_base_may_be_named_in_several_ways() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    good(&world).sign_in(&mut browser).await;
    let fhir = world.fhir().to_owned();
    let slash = format!("{fhir}/");
    let shouted = fhir.replace("http://", "HTTP://");
    for (what, aud, resource) in [
        ("aud", Some(&fhir), None),
        ("aud with a slash, SAL-308", Some(&slash), None),
        ("aud with the scheme in capitals, SAL-027", Some(&shouted), None),
        ("resource, SAL-026", None, Some(&fhir)),
        ("resource with a slash", None, Some(&slash)),
        ("both, SAL-309", Some(&fhir), Some(&fhir)),
        ("both, one with a slash", Some(&slash), Some(&fhir)),
    ] {
        let mut app = good(&world).unset("aud");
        app = aud.into_iter().fold(app, |app, aud| app.set("aud", aud));
        app = resource.into_iter().fold(app, |app, resource| app.set("resource", resource));
        let page = app.authorize(&mut browser).await.is(303);
        let tokens = app.redeem(&page.param("code").unwrap_or_else(|| panic!("{what}: {:?}", page.location()))).await;
        assert_eq!(claims(tokens.access())["aud"], json!(fhir), "{what}");
    }
}

#[tokio::test]
async fn the_state_comes_back_byte_for_byte_with_a_code_too() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    good(&world).sign_in(&mut browser).await;
    let long = "s".repeat(2048);
    for state in [STATE, "%2B", "+", "a=b=c", "æøå 漢字 🩺", "\"'<script>", "\u{1}\n\t\u{7f}", " ", "&&;;", long.as_str()] {
        for mode in ["query", "fragment"] {
            let page = good(&world).set("state", state).set("response_mode", mode).authorize(&mut browser).await.is(303);
            let location = page.location().unwrap();
            let (sent, other) = if mode == "query" { (location.query(), location.fragment()) } else { (location.fragment(), location.query()) };
            assert!(other.is_none(), "{location}");
            let params: BTreeMap<String, String> = form_urlencoded::parse(sent.unwrap().as_bytes()).into_owned().collect();
            assert_eq!((params["state"].as_str(), params["iss"].as_str()), (state, world.issuer()), "{mode}");
            // NAV-031: the code travels unencoded.
            assert!(params["code"].bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~')), "{}", params["code"]);
        }
    }
}

#[tokio::test]
async fn form_post_answers_with_a_form_for_the_app() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    good(&world).sign_in(&mut browser).await;
    let fields = |page: &Page| -> (String, BTreeMap<String, String>) {
        let (action, fields) = form_fields(&page.reply.body, 0);
        (action, fields.into_iter().collect())
    };
    let page = good(&world).set("response_mode", "form_post").authorize(&mut browser).await.is(200);
    let (action, sent) = fields(&page);
    assert_eq!((action.as_str(), sent["state"].as_str(), sent["iss"].as_str()), (CB, STATE, world.issuer()));
    assert_eq!(sent.len(), 3);
    assert!(page.reply.header("content-security-policy").unwrap().contains("form-action 'self' http://127.0.0.1:4567"), "{:?}", page.reply.headers);
    assert_eq!(page.reply.header("cache-control"), Some("no-store"));
    good(&world).redeem(&sent["code"]).await;
    // A refusal travels the same way.
    let page = good(&world).set("response_mode", "form_post").set("response_type", "token").authorize(&mut browser).await.is(200);
    let (action, sent) = fields(&page);
    assert_eq!((action.as_str(), sent["error"].as_str(), sent["state"].as_str()), (CB, "unsupported_response_type", STATE));
    // And so does the answer at the end of the pages.
    let mut fresh = world.browser();
    let page = good(&world).set("response_mode", "form_post").authorize(&mut fresh).await;
    let login = fresh.follow(page, world.issuer()).await.is(200);
    let page = fresh.submit(&login, &[]).await.is(200);
    assert_eq!(fields(&page).0, CB);
}

#[tokio::test]
async fn a_request_by_post_keeps_the_session_though_its_form_came_without_cookies() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    good(&world).sign_in(&mut browser).await;
    // SAL-300: another site's form is sent without our cookies; the redirect that follows has them.
    let sent = good(&world).set("prompt", "none").authorize_by_post(&mut world.browser()).await.is(303);
    let back = sent.location().unwrap();
    assert!(back.as_str().starts_with(&format!("{}/authorize?", world.issuer())), "{back}");
    assert!(!back.as_str().contains("state"), "{back}");
    let page = browser.get(back.as_str()).await.is(303);
    assert_eq!(page.param("state").as_deref(), Some(STATE));
    good(&world).redeem(&page.param("code").unwrap()).await;
    // A browser that is not signed in gets nothing out of it, and it does not last.
    assert_eq!(world.browser().get(back.as_str()).await.param("error").as_deref(), Some("login_required"));
    world.advance(301);
    is_page("a request kept too long", &browser.get(back.as_str()).await);
    is_page("a request nobody kept", &browser.get(&format!("{}/authorize?kept=nonsense", world.issuer())).await);
}

#[tokio::test]
async fn long_requests_go_by_post_and_other_bodies_nowhere() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    good(&world).sign_in(&mut browser).await;
    // SAL-316
    let scope = format!("openid fhirUser {}", (0..1700).map(|n| format!("https://app.example/{n:05}")).collect::<Vec<_>>().join(" "));
    assert!(scope.len() > 40_000 && scope.len() < 60_000, "{}", scope.len());
    let app = good(&world).set("scope", &scope);
    let page = app.authorize_by_post(&mut browser).await;
    let page = browser.reach_app(page, world.issuer()).await;
    assert_eq!(app.redeem(&page.param("code").unwrap()).await.text("scope"), "openid fhirUser");

    let endpoint = format!("{}/authorize", world.issuer());
    let huge = good(&world).set("scope", &"x ".repeat(200_000)).authorize_by_post(&mut browser).await;
    assert_eq!((huge.reply.status, huge.reply.header("content-type")), (413, Some("text/html; charset=utf-8")));
    let send = async |request: reqwest::RequestBuilder| Page { url: Url::parse(&endpoint).unwrap(), reply: Reply::of(request.send().await.unwrap()).await };
    let body = serde_json::to_string(&good(&world).params.into_iter().collect::<BTreeMap<_, _>>()).unwrap();
    is_page("JSON", &send(world.http.post(&endpoint).header("content-type", "application/json").body(body)).await);
    is_page("no content type", &send(world.http.post(&endpoint).body("client_id=open")).await);
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(good(&world).params).finish();
    let typed = |kind: &str| world.http.post(&endpoint).header("content-type", kind.to_owned()).body(form.clone());
    assert_eq!(send(typed("application/x-www-form-urlencoded; charset=UTF-8")).await.reply.status, 303);
    is_page("multipart", &send(typed("multipart/form-data; boundary=x")).await);
    is_page("not UTF-8", &send(world.http.get(format!("{endpoint}?client_id=open&state=%ff"))).await);
    is_page("not UTF-8", &send(world.http.post(&endpoint).header("content-type", "application/x-www-form-urlencoded").body("client_id=%ff")).await);
    let many = (0..101).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
    is_page("too many parameters", &send(world.http.get(format!("{endpoint}?{many}"))).await);
    // On POST only the body counts. SAL §3.1
    let query = good(&world).url();
    is_page("parameters in the query of a POST", &send(world.http.post(&query).header("content-type", "application/x-www-form-urlencoded").body("")).await);
}

#[tokio::test]
async fn unknown_parameters_do_no_harm() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    good(&world).sign_in(&mut browser).await;
    // SAL-047, SAL-315
    for (name, value) in [
        ("nonce", "n"),
        ("display", "popup"),
        ("ui_locales", "nb-NO fr"),
        ("login_hint", "x"),
        ("dpop_jkt", "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        ("acr_values", "x"),
        ("id_token_hint", "x"),
        ("vendor", "%00"),
        ("response_mode", "query"),
        ("claims", "{}"),
        ("", "x"),
    ] {
        let page = good(&world).set(name, value).authorize(&mut browser).await.is(303);
        assert!(page.param("code").is_some(), "{name}: {:?}", page.location());
    }
}

#[tokio::test]
async fn a_verifier_of_any_legal_length_redeems_its_code() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    good(&world).sign_in(&mut browser).await;
    for verifier in ["a".repeat(43), "-._~".repeat(32), VERIFIER.to_owned()] {
        let challenge = CodeVerifier::parse(&verifier).unwrap().challenge();
        let app = good(&world).set("code_challenge", &challenge);
        let page = app.authorize(&mut browser).await.is(303);
        app.redeem_with(&page.param("code").unwrap(), &verifier).await.is(200);
    }
}

/// DESIGN §3, Profiles: a plain OpenID Connect client need not know SMART, and gets no patient.
#[tokio::test]
async fn a_plain_openid_client_leaves_things_out() {
    let clients = r#"
[[client]]
client_id = "oidc"
auth = "client_secret_basic"
client_secret = "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe_Unols"
redirect_uris = ["http://127.0.0.1:4567/cb"]
scopes = "openid profile launch launch/patient patient/*.rs user/Patient.rs"
consent = "pre-approved"
profile = "oidc"
"#;
    let world = World::with_clients(clients).await;
    let app = world.app("oidc").at(CB).set("scope", "openid launch launch/patient patient/*.rs user/Patient.rs");
    let bare = app.clone().unset("state").unset("aud").unset("code_challenge").unset("code_challenge_method");
    let mut browser = world.browser();
    let page = bare.authorize(&mut browser).await;
    let page = browser.reach_app(page, world.issuer()).await;
    assert_eq!(page.param("state"), None);
    let form = [("grant_type", "authorization_code"), ("code", &page.param("code").unwrap()), ("redirect_uri", CB)];
    let tokens = world.post("/token", Some(&crate::world::basic("oidc", "K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe_Unols")), &form).await.is(200).json();
    assert_eq!(tokens["scope"], json!("openid user/Patient.rs"));
    assert_eq!(claims(tokens["access_token"].as_str().unwrap())["aud"], json!(world.fhir()));
    assert!(tokens.get("patient").is_none());
    // What is sent is held to all the same.
    let rows: &[(&str, Change)] = &[
        ("half of PKCE", |r| r.set("code_challenge", &"a".repeat(43))),
        ("the other half", |r| r.set("code_challenge_method", "S256")),
        ("plain", |r| r.set("code_challenge", &"a".repeat(43)).set("code_challenge_method", "plain")),
        ("a foreign aud", |r| r.set("aud", "https://evil.example/fhir")),
    ];
    for (what, change) in rows {
        let page = change(bare.clone()).authorize(&mut browser).await;
        let params = error_at(what, &page, CB, world.issuer());
        assert_eq!((params["error"].as_str(), params.get("state")), ("invalid_request", None), "{what}");
    }
}
