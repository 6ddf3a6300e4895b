//! Addresses and parameters: where answers may go, and what one request may say. RFC 9700 §2.1, §4.1, §4.11; RFC 6749 §3.1; RFC 9110 §5.5.

use serde_json::{Value, json};

use super::{AT, CLIENTS, SECRET, Trail, honest};
use crate::world::{Reply, Tokens, World, basic};

/// `http://127.0.0.1:4567/cb` as somebody might write it who is not who was registered.
fn likenesses() -> Vec<(&'static str, String)> {
    let named = |what: &'static str, uri: &str| (what, uri.to_owned());
    let mut uris = vec![
        // Path, query, fragment.
        named("another path", "http://127.0.0.1:4567/evil"),
        named("a segment more", "http://127.0.0.1:4567/cb/evil"),
        named("a parameter of the path", "http://127.0.0.1:4567/cb;jsessionid=1"),
        named("dots that lead out", "http://127.0.0.1:4567/cb/../evil"),
        named("dots, encoded", "http://127.0.0.1:4567/cb/%2e%2e/evil"),
        named("a dot", "http://127.0.0.1:4567/./cb"),
        named("two slashes", "http://127.0.0.1:4567//cb"),
        named("a query", "http://127.0.0.1:4567/cb?next=http://evil.example"),
        named("a code in the query", "http://127.0.0.1:4567/cb?code=x"),
        named("a fragment", "http://127.0.0.1:4567/cb#@evil.example"),
        // Encoding.
        named("a letter encoded", "http://127.0.0.1:4567/c%62"),
        named("a slash encoded", "http://127.0.0.1:4567%2fcb"),
        named("encoded twice", "http://127.0.0.1:4567/%2563b"),
        named("an end", "http://127.0.0.1:4567/cb%00"),
        named("an end, raw", "http://127.0.0.1:4567/cb\0.evil.example"),
        named("a tab inside", "http://127.0.0.1:4567/c\tb"),
        named("a line break inside", "http://127.0.0.1:4567/cb\r\nSet-Cookie: a=b"),
        named("a line break, encoded", "http://127.0.0.1:4567/cb%0d%0aSet-Cookie:%20a=b"),
        named("a space before", " http://127.0.0.1:4567/cb"),
        named("a backslash for a slash", "http:\\\\127.0.0.1:4567\\cb"),
        named("a mark of order", "\u{feff}http://127.0.0.1:4567/cb"),
        // User information and port.
        named("a user", "http://user@127.0.0.1:4567/cb"),
        named("a user and a word", "http://user:pass@127.0.0.1:4567/cb"),
        named("an empty user", "http://@127.0.0.1:4567/cb"),
        named("the host as a user", "http://127.0.0.1:4567@evil.example/cb"),
        named("the host as a user, encoded", "http://127.0.0.1:4567%40evil.example/cb"),
        named("another port", "http://127.0.0.1:80/cb"),
        named("no port", "http://127.0.0.1/cb"),
        named("an empty port", "http://127.0.0.1:/cb"),
        named("a zero before the port", "http://127.0.0.1:04567/cb"),
        named("a port that wraps", "http://127.0.0.1:70103/cb"),
        // The same host, spelled otherwise.
        named("as a number", "http://2130706433:4567/cb"),
        named("in hexadecimal", "http://0x7f.0.0.1:4567/cb"),
        named("shortened", "http://127.1:4567/cb"),
        named("with a dot at its end", "http://127.0.0.1.:4567/cb"),
        named("as IPv6", "http://[::ffff:127.0.0.1]:4567/cb"),
        named("a longer name", "http://127.0.0.1.evil.example:4567/cb"),
        // Other schemes.
        named("another scheme", "https://127.0.0.1:4567/cb"),
        named("a script", "javascript://127.0.0.1:4567/cb%0aalert(1)"),
        named("data", "data:text/html,<script>alert(1)</script>"),
        named("no scheme", "//127.0.0.1:4567/cb"),
        named("only a path", "/cb"),
        // Names of other scripts: full width digits and dots, a Cyrillic letter, a dot of Chinese. UTS #46.
        named("full width", "http://１２７.0.0.1:4567/cb"),
        named("an ideographic full stop", "http://127。0。0。1:4567/cb"),
        named("a letter of another script", "http://127.0.0.1:4567/сb"),
        named("a name of another script", "http://аpp.example/cb"),
        named("the same in punycode", "http://xn--pp-6kc.example/cb"),
    ];
    uris.push(("very long", format!("{AT}{}", "x".repeat(5000))));
    uris
}

#[tokio::test]
async fn redirect_manipulation() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    for (attack, uri) in likenesses() {
        let ask = honest(&world).set("redirect_uri", &uri);
        for by_post in [false, true] {
            let mut browser = world.browser();
            let page = if by_post { ask.authorize_by_post(&mut browser).await } else { ask.authorize(&mut browser).await };
            assert_eq!((page.reply.status, page.reply.header("location")), (400, None), "{attack}: {}", page.reply.body);
            assert!(!page.reply.body.contains("evil.example"), "{attack}");
            trail.refused(attack, "authorize", "page", "redirect_uri").await;
        }
        let form: Vec<(&str, &str)> = ask.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let pushed = world.post("/par", Some(&basic("honest", SECRET)), &form).await;
        assert_eq!((pushed.status, pushed.json()["error"].as_str()), (400, Some("invalid_request")), "{attack}: {}", pushed.body);
        trail.refused(attack, "par", "invalid_request", "").await;
        // Where the EHR says which address to open, and where a logout leads to.
        let launch = world.ehr().client("honest").with("launch_url", json!(uri)).send().await;
        assert!(launch.status == 422 || launch.status == 400, "{attack}: {}", launch.body);
        assert_eq!(launch.json()["member"], "launch_url", "{attack}");
        trail.refused(attack, "launch", "invalid_request", "launch_url").await;
        let logout = world.post("/logout", None, &[("client_id", "honest"), ("post_logout_redirect_uri", &uri)]).await;
        assert_eq!(logout.header("location"), None, "{attack}");
        trail.records().await;
    }
    // The same at the token endpoint, for a code that went where it should.
    for (attack, uri) in likenesses().into_iter().step_by(6) {
        let code = super::code(&honest(&world)).await;
        let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", uri.as_str()), ("code_verifier", crate::world::VERIFIER)];
        let reply = world.post("/token", Some(&basic("honest", SECRET)), &form).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_grant")), "{attack}: {}", reply.body);
        trail.refused(attack, "token", "invalid_grant", "").await;
        world.advance(5);
    }
}

/// RFC 9700 §4.11: whatever is asked, a `Location` leads to us, to the identity provider or to an address that was registered.
#[tokio::test]
async fn open_redirect() {
    let world = World::with_clients(CLIENTS).await;
    let launch = world.ehr().client("honest").launch().await;
    let tokens = {
        let form = [("grant_type", "authorization_code"), ("redirect_uri", AT), ("code_verifier", crate::world::VERIFIER)];
        let code = super::code(&honest(&world)).await;
        let form: Vec<(&str, &str)> = form.iter().copied().chain([("code", code.as_str())]).collect();
        Tokens(world.post("/token", Some(&basic("honest", SECRET)), &form).await.is(200).json())
    };
    let helseid = &world.demo.facts.helseid.as_ref().unwrap().issuer;
    let own = [
        format!("{}/", world.issuer()),
        format!("{helseid}/"),
        AT.to_owned(),
        "http://127.0.0.1:4567/bye".to_owned(),
        "http://127.0.0.1:4567/launch".to_owned(),
        "/".to_owned(),
    ];
    let evil = ["https://evil.example", "//evil.example", "/\\evil.example", "https:evil.example", "http://127.0.0.1:4567.evil.example", "javascript:alert(1)"];
    let names = [
        "redirect_uri",
        "post_logout_redirect_uri",
        "next",
        "url",
        "return_to",
        "kept",
        "request_uri",
        "target_link_uri",
        "iss",
        "lang",
        "ui_locales",
        "login_hint",
        "state",
        "logo",
    ];
    let paths = ["/authorize", "/logout", "/account/apps", "/start/x", "/interaction/x", "/upstream/callback", "/nowhere"];
    let start = launch["start_url"].as_str().unwrap().strip_prefix(world.issuer()).unwrap().to_owned();
    let mut redirects = 0;
    for path in paths.iter().map(|path| (*path).to_owned()).chain([start, "//evil.example/%2f..".to_owned(), "/https://evil.example".to_owned()]) {
        for to in evil {
            for name in names {
                let more = honest(&world).params;
                let hint = tokens.text("id_token");
                let pairs: Vec<(&str, &str)> = match path.as_str() {
                    "/authorize" if name != "redirect_uri" => {
                        more.iter().filter(|(known, _)| known != name).map(|(name, value)| (name.as_str(), value.as_str())).collect()
                    }
                    "/logout" => vec![("id_token_hint", hint), ("client_id", "honest")],
                    _ => vec![],
                };
                let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).append_pair(name, to).finish();
                let reply = world.get(&format!("{path}?{query}")).await;
                let Some(location) = reply.header("location") else { continue };
                redirects += 1;
                assert!(own.iter().any(|own| location.starts_with(own.as_str())) && !location.starts_with("//"), "{path} {name}={to}: {location}");
                assert!(!location.starts_with("/\\"), "{path} {name}={to}: {location}");
            }
        }
        world.advance(61);
    }
    assert!(redirects > 20, "{redirects}: nothing was tried");
}

/// RFC 9110 §5.5: what callers wrote ends up in no header as a line of its own, nor in a body as markup.
#[tokio::test]
async fn response_splitting() {
    let world = World::with_clients(CLIENTS).await;
    let breaks = [
        "a\r\nX-Injected: 1\r\n\r\n<script>",
        "a\nX-Injected: 1",
        "a\rX-Injected: 1",
        "a\u{2028}X-Injected: 1",
        "a\u{560d}\u{560a}X-Injected: 1",
        "a\0X-Injected: 1",
    ];
    let unharmed = |what: &str, reply: &Reply| {
        assert!(!reply.headers.contains_key("x-injected"), "{what}: {:?}", reply.headers);
        assert!(reply.headers.get_all("location").iter().count() <= 1, "{what}");
        assert!(!reply.body.contains("<script"), "{what}: {}", reply.body);
        for (name, value) in &reply.headers {
            assert!(value.as_bytes().iter().all(|b| *b >= 0x20 && *b != 0x7f), "{what}: {name}");
        }
    };
    for text in breaks {
        for name in [
            "state",
            "client_id",
            "redirect_uri",
            "scope",
            "response_mode",
            "ui_locales",
            "login_hint",
            "nonce",
            "kept",
            "launch",
            "prompt",
            "request_uri",
            "display",
        ] {
            let page = honest(&world).set(name, text).authorize(&mut world.browser()).await;
            unharmed(name, &page.reply);
            if name == "state" {
                let back = page.location().unwrap();
                assert!(page.reply.status == 303 && back.query_pairs().all(|(known, value)| known != "state" || value == text), "{back}");
            }
            for mode in ["fragment", "form_post"] {
                unharmed(
                    mode,
                    &honest(&world).set("response_mode", mode).set("response_type", "token").set(name, text).authorize(&mut world.browser()).await.reply,
                );
            }
        }
        for path in ["start", "interaction", "nowhere"] {
            let path: String = form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20") + path;
            unharmed(&path, &world.get(&format!("/{path}")).await);
        }
        let launch = world.ehr().client("honest").with("intent", json!(text)).with("tenant", json!(text)).send().await;
        unharmed("the launch API", &launch);
        unharmed("the end of a session", &world.ehr().end_session(text).await);
        let logout = world.post("/logout", None, &[("client_id", "honest"), ("post_logout_redirect_uri", "http://127.0.0.1:4567/bye"), ("state", text)]).await;
        unharmed("logout", &logout);
        unharmed("token", &world.post("/token", Some(&basic("honest", SECRET)), &[("grant_type", text), ("scope", text)]).await);
        unharmed("introspect", &world.post("/introspect", Some(&world.basic("fhir-server")), &[("token", text)]).await);
        world.advance(61);
    }
}

/// RFC 6749 §3.1, §3.2: one request says one thing, in one place, once.
#[tokio::test]
async fn parameter_pollution() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    let honest_app = basic("honest", SECRET);
    let code = super::code(&honest(&world)).await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", crate::world::VERIFIER)];
    trail.records().await;
    for name in ["grant_type", "code", "redirect_uri", "code_verifier", "scope", "client_id", "x"] {
        for value in ["", "x", "honest", AT] {
            let mut polluted = form.to_vec();
            polluted.extend([(name, value), (name, value)]);
            world.post("/token", Some(&honest_app), &polluted).await.refused(400, "invalid_request");
            trail.refused(name, "token", "invalid_request", "").await;
        }
    }
    let raw = async |path: &str, body: String| {
        world.request("POST", path, &[("content-type", "application/x-www-form-urlencoded"), ("authorization", &honest_app)], body).await
    };
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    // Names that only look the same are other names; what is in the query does not count.
    for (attack, path, body, error) in [
        ("an array", "/token", body.replacen("code=", "code%5B%5D=", 1), "invalid_request"),
        ("another case", "/token", body.replacen("code=", "CODE=", 1), "invalid_request"),
        ("a name with a space", "/token", body.replacen("code=", "code+=", 1), "invalid_request"),
        ("a name that ends early", "/token", body.replacen("code=", "code%00=", 1), "invalid_request"),
        ("semicolons", "/token", body.replace('&', ";"), "unsupported_grant_type"),
        ("in the query", "/token?code=x", body.replacen("&code=", "&y=", 1), "invalid_request"),
        ("everything in the query", &format!("/token?{body}"), String::new(), "invalid_request"),
    ] {
        let reply = raw(path, body).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some(error)), "{attack}: {}", reply.body);
        trail.refused(attack, "token", error, "").await;
    }
    for path in ["/introspect", "/revoke", "/par"] {
        let reply = raw(path, "token=a&token=b".to_owned()).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_request")), "{path}: {}", reply.body);
        trail.refused(path, &path[1..], "invalid_request", "").await;
    }
    // The query beside the body of an authorization request, and two of everything.
    for (name, _) in honest(&world).params {
        let page = honest(&world).add(&name, "x").authorize(&mut world.browser()).await;
        assert!(page.location().is_none_or(|to| to.query_pairs().all(|(name, _)| name != "code")), "{name}");
        let records = trail.records().await;
        assert!(records.len() == 1 && records[0]["outcome"] == "refused", "{name}: {records:#?}");
    }
    // JSON with a member twice: whoever looked at it before us may have read the other. RFC 8259 §4.
    let token = world.ehr().token().await;
    let post = async |path: &str, body: String| {
        let request = world.http.post(format!("{}{path}", world.issuer())).bearer_auth(&token).header("content-type", "application/json").body(body);
        Reply::of(request.send().await.unwrap()).await
    };
    let launch = world.ehr().client("honest").body.to_string();
    trail.records().await;
    for (attack, path, body, action) in [
        ("two patients", "/launches", launch.replacen('{', "{\"patient\":\"pasient-02\",", 1), "launch"),
        ("two patients, one escaped", "/launches", launch.replacen('{', "{\"\\u0070atient\":\"pasient-02\",", 1), "launch"),
        ("two users", "/launches", launch.replacen('{', "{\"fhir_user\":\"Practitioner/x\",", 1), "launch"),
        ("two sessions", "/launches/end-session", "{\"session\":\"a\",\"session\":\"b\"}".to_owned(), "end-session"),
        ("two documents", "/launches", format!("{launch}{launch}"), "launch"),
        ("a comment", "/launches", format!("{launch}// patient"), "launch"),
        ("very deep", "/launches", format!("{}{}", "{\"fhir_context\":".repeat(5000), "[".repeat(5000)), "launch"),
    ] {
        post(path, body).await.refused(400, "invalid_request");
        trail.refused(attack, action, "invalid_request", "").await;
    }
    assert_eq!(post("/launches", launch).await.status, 201);
    // Whatever was tried, the code is there for whoever asks properly.
    let good: Value = world.post("/token", Some(&honest_app), &form).await.is(200).json();
    assert!(good["access_token"].is_string());
}
