//! Where people are: pages, their headers and languages, and what is not for scripts. DESIGN §3, Pages; SAL §7.1, §7.2.

use crate::authorize::{CLIENTS, good};
use crate::world::{Browser, Reply, World};

/// Whatever a browser says it wants, a person is at the other end.
#[tokio::test]
async fn pages_are_html_and_carry_their_headers() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    let page = good(&world).authorize(&mut browser).await.is(303);
    let login = page.location().unwrap().to_string();
    let start = format!("{}/start/nonsense", world.issuer());
    let urls = [
        (good(&world).set("client_id", "nobody").url(), 400),
        (login, 200),
        (start, 400),
        (format!("{}/interaction/nonsense", world.issuer()), 400),
        (format!("{}/account/apps", world.issuer()), 200),
        (format!("{}/logout", world.issuer()), 200),
        (format!("{}/nowhere", world.issuer()), 404),
    ];
    let cookies: String = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    for (url, status) in &urls {
        for accept in ["application/json", "*/*", "text/html", "image/png"] {
            let request = world.http.get(url).header("accept", accept).header("origin", "https://evil.example").header("cookie", &cookies);
            let reply = Reply::of(request.send().await.unwrap()).await.is(*status);
            assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"), "{url}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{url}");
            assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{url}");
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{url}");
            assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{url}");
            assert_eq!(reply.header("content-language"), Some("nb"), "{url}");
            let policy = reply.header("content-security-policy").unwrap();
            for part in ["default-src 'none'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
                assert!(policy.contains(part), "{url}: {policy}");
            }
            assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{url}: {policy}");
            assert!(!reply.body.contains("<script") && !reply.body.contains("style="), "{url}");
            assert!(reply.header("access-control-allow-origin").is_none(), "{url}");
        }
    }
}

/// SAL §7.2: no script ever fetches these.
#[tokio::test]
async fn there_is_no_cors_where_people_are() {
    let world = World::with_clients(CLIENTS).await;
    for path in ["/authorize", "/interaction/x", "/start/x", "/account/apps", "/logout", "/launches", "/introspect"] {
        let request = world.http.request(reqwest::Method::OPTIONS, format!("{}{path}", world.issuer()));
        let reply = Reply::of(request.header("origin", "http://127.0.0.1:4567").header("access-control-request-method", "POST").send().await.unwrap()).await;
        assert_eq!(reply.status, 405, "{path}");
        assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{path}: {:?}", reply.headers);
    }
    let reply = Reply::of(world.http.get(good(&world).url()).header("origin", "http://127.0.0.1:4567").send().await.unwrap()).await;
    assert!(reply.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn other_methods_are_refused() {
    let world = World::with_clients(CLIENTS).await;
    for path in ["/authorize", "/interaction/x", "/start/x", "/account/apps", "/logout"] {
        for method in [reqwest::Method::PUT, reqwest::Method::DELETE, reqwest::Method::PATCH] {
            let reply = Reply::of(world.http.request(method.clone(), format!("{}{path}", world.issuer())).send().await.unwrap()).await;
            assert_eq!(reply.status, 405, "{method} {path}");
            assert!(reply.header("location").is_none());
        }
    }
}

#[tokio::test]
async fn a_look_ahead_uses_nothing_up() {
    let world = World::with_clients(CLIENTS).await;
    let launch = world.ehr().client("open").launch().await;
    let start = launch["start_url"].as_str().unwrap();
    assert_eq!(world.http.head(start).send().await.unwrap().status(), 405);
    let mut browser: Browser = world.browser();
    browser.get(start).await.is(303);
    let app = good(&world).set("scope", "openid launch").launched(&launch);
    let cookies: String = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    let ahead = world.http.head(app.url()).header("cookie", cookies).send().await.unwrap();
    assert!(ahead.status() == 405 && ahead.headers().get("location").is_none());
    assert!(app.authorize(&mut browser).await.param("code").is_some());
}

#[tokio::test]
async fn languages() {
    let world = World::with_clients(CLIENTS).await;
    let (nb, en) = ("Hvem er du?", "Who are you?");
    for (ui_locales, accept, title) in [
        (None, "nb", nb),
        (None, "nn-NO, en;q=0.5", nb),
        (None, "en", en),
        (None, "fr", nb),
        (Some("en"), "nb", en),
        (Some("fr en nb"), "nb", en),
        (Some("no"), "en", nb),
        (Some("xx"), "en", en),
    ] {
        let app = ui_locales.into_iter().fold(good(&world), |app, list| app.set("ui_locales", list));
        let mut browser = world.browser();
        let page = app.authorize(&mut browser).await.is(303);
        let cookies: String = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let request = world.http.get(page.location().unwrap()).header("cookie", cookies).header("accept-language", accept);
        let reply = Reply::of(request.send().await.unwrap()).await.is(200);
        assert!(reply.body.contains(title), "{ui_locales:?} {accept}");
        let tag = if title == nb { "nb" } else { "en" };
        assert_eq!(reply.header("content-language"), Some(tag));
        assert!(reply.body.contains(&format!("<html lang=\"{tag}\">")));
        assert!(reply.header("vary").unwrap().contains("Accept-Language"));
    }
}

#[tokio::test]
async fn the_language_a_person_switched_to_stays() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    let page = good(&world).set("scope", "openid launch/patient patient/Patient.rs").authorize(&mut browser).await;
    let login = browser.follow(page, world.issuer()).await.is(200);
    assert!(login.text().contains("Hvem er du?"));
    let switch = login.reply.body.split("href=\"").find_map(|rest| rest.split('"').next().filter(|href| href.contains("lang=en"))).unwrap().to_owned();
    let login = browser.get(login.url.join(&switch).unwrap().as_str()).await.is(200);
    assert!(login.text().contains("Who are you?"));
    let page = browser.submit(&login, &[]).await;
    let picker = browser.follow(page, world.issuer()).await.is(200);
    assert!(picker.text().contains("Choose a patient"), "{}", picker.text());
}

#[tokio::test]
async fn odd_ids_and_cookies_are_nobodys() {
    let world = World::with_clients(CLIENTS).await;
    let mut browser = world.browser();
    let page = good(&world).authorize(&mut browser).await.is(303);
    let login = page.location().unwrap().to_string();
    // Longer than any path of ours.
    assert_eq!(browser.get(&format!("{}/interaction/{}", world.issuer(), "x".repeat(5000))).await.reply.status, 414);
    for odd in ["x", "%00", "..%2f..", "%ff%fe", "a%20b", &"x".repeat(4000), "'\"<>", "%E2%80%AE"] {
        for path in ["interaction", "start"] {
            let url = format!("{}/{path}/{odd}", world.issuer());
            let page = browser.get(&url).await;
            assert!(
                page.reply.status == 400 && page.reply.header("content-type") == Some("text/html; charset=utf-8"),
                "{url}: {} {}",
                page.reply.status,
                page.reply.body
            );
        }
    }
    let name = browser.cookies.keys().next().unwrap().clone();
    for odd in ["", "x", "a=b", "\"quoted\"", "%00", &"x".repeat(4000)] {
        let request = world.http.get(&login).header("cookie", format!("{name}={odd}; ; =; {name}"));
        assert_eq!(Reply::of(request.send().await.unwrap()).await.status, 400, "{odd}");
    }
    browser.get(&login).await.is(200);
}
