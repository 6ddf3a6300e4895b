//! Pushed authorization requests. RFC 9126; FAPI 2.0 §5.3.2.2; SAL §8.7.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use helsebro::jose::Alg;
use serde_json::json;

use crate::world::{ASSERTION_TYPE, Ask, Bare, Prover, Reply, Shows, assertion, client_key, jwks_toml};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const URN: &str = "urn:ietf:params:oauth:request_uri:";

/// An issuer on loopback that people log in to by name; `own` are keys of it, `more` further clients.
pub fn config(origin: &str, data: &std::path::Path, own: &str, more: &str) -> String {
    let data = data.display();
    format!(
        "[store]\nkind = \"memory\"\n[keys]\ndir = \"{data}/keys\"\n[[issuer]]\nurl = \"{origin}\"\nlogin = [\"local\"]\n{own}\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\n\
         [[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n[[issuer.user]]\nname = \"Rolig Stetoskop\"\nfhir_user = \"Practitioner/rolig\"\n{more}\n"
    )
}

/// A client with a redirect URI; `registered` says how it proves itself.
pub fn app(id: &str, registered: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"{id}\"\nredirect_uris = [\"{AT}\"]\nscopes = \"openid fhirUser profile launch offline_access patient/*.rs user/*.rs\"\nconsent = \"pre-approved\"\n{registered}\n"
    )
}

fn secret(id: &str, more: &str) -> String {
    app(id, &format!("auth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{more}"))
}

async fn world(own: &str, more: &str) -> Bare {
    let clients = format!("{}{}{}{more}", secret("basic", ""), secret("other", ""), app("public", "auth = \"none\""));
    Bare::start(|origin, data| config(origin, data, own, &clients)).await
}

fn ask<'w>(world: &'w Bare, id: &str) -> Ask<'w> {
    let shows = if id == "public" { Shows::Name } else { Shows::Secret(SECRET) };
    Ask::new(world, id, shows, AT)
}

/// A page for the person, and nothing for anybody's app.
#[track_caller]
fn is_a_page(page: &crate::world::Page, case: &str) {
    assert_eq!((page.reply.status, page.location()), (400, None), "{case}");
    assert!(page.reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{case}");
}

#[tokio::test]
async fn what_was_pushed_is_answered_once_and_nothing_else_counts() {
    let world = world("", "").await;
    for id in ["basic", "public"] {
        let ask = ask(&world, id);
        let reply = ask.push().await.is(201);
        assert_eq!((reply.header("cache-control"), reply.json()["expires_in"].as_u64()), (Some("no-store"), Some(60)));
        assert_eq!(reply.json().as_object().unwrap().len(), 2);
        let uri = reply.json()["request_uri"].as_str().unwrap().to_owned();
        assert!(uri.strip_prefix(URN).is_some_and(|secret| secret.len() >= 43), "256 bits: {uri}");
        // RFC 9126 §4: what stands beside it is not looked at, not even where it would be wrong.
        let url = format!(
            "{}&state=evil&redirect_uri=https%3A%2F%2Fevil.example&response_type=token&scope=x&prompt=none&code_challenge=x&claims=x",
            ask.url_of(&uri)
        );
        let page = ask.reach(&mut world.browser(), &url).await.is(303);
        assert!(page.location().unwrap().as_str().starts_with(AT));
        assert_eq!((page.param("state").as_deref(), page.param("iss").as_deref()), (Some("state-1"), Some(world.origin.as_str())));
        let tokens = ask.redeem(&page.param("code").unwrap()).await.is(200).json();
        assert_eq!(tokens["scope"], "openid user/*.rs");
        // RFC 9126 §7.3.
        is_a_page(&world.browser().get(&ask.url_of(&uri)).await, "answered");
    }
}

#[tokio::test]
async fn a_request_uri_is_its_clients_alone_and_for_a_minute() {
    let world = world("", "").await;
    let basic = ask(&world, "basic");
    let uri = basic.pushed().await;
    let mut browser = world.browser();
    is_a_page(&browser.get(&ask(&world, "other").url_of(&uri)).await, "another client's");
    is_a_page(&browser.get(&format!("{}/authorize?request_uri={uri}", world.origin)).await, "no client_id");
    is_a_page(&browser.get(&format!("{}&request_uri={uri}", basic.url_of(&uri))).await, "twice");
    for unknown in
        [format!("{URN}{}", "x".repeat(43)), URN.to_owned(), format!("{uri}x"), uri[..uri.len() - 1].to_owned(), uri.replace(URN, &format!("{URN}{URN}"))]
    {
        is_a_page(&browser.get(&basic.url_of(&unknown)).await, &unknown);
    }
    // A kept request is none that was pushed, and the other way about.
    is_a_page(&browser.get(&format!("{}/authorize?kept={}", world.origin, uri.strip_prefix(URN).unwrap())).await, "as a kept one");
    let kept = browser.post(&format!("{}/authorize", world.origin), &basic.params).await.location().unwrap();
    let kept = kept.query_pairs().find(|(name, _)| name == "kept").unwrap().1.into_owned();
    is_a_page(&browser.get(&basic.url_of(&format!("{URN}{kept}"))).await, "a kept one");

    // None of that used it up. To the second:
    world.advance(59);
    let page = browser.get(&basic.url_of(&uri)).await.is(303);
    world.advance(1);
    is_a_page(&browser.get(&basic.url_of(&uri)).await, "expired");
    // Whoever came in time may take their time over the page.
    world.advance(300);
    let page = browser.reach_app(page, &world.origin).await;
    assert!(page.param("code").is_some());
    is_a_page(&browser.get(&basic.url_of(&uri)).await, "expired and answered");
}

#[tokio::test]
async fn looking_does_not_use_it_up_and_of_two_pages_one_is_answered() {
    let world = world("par_ttl = \"5m\"", "").await;
    let basic = ask(&world, "basic");
    assert_eq!(basic.push().await.json()["expires_in"], 300);
    let uri = basic.pushed().await;
    // FAPI 2.0 §5.3.2.2: whatever looks at a link before the person does.
    world.browser().get(&basic.url_of(&uri)).await.is(303);
    world.http.head(basic.url_of(&uri)).send().await.unwrap();
    let mut browser = world.browser();
    let first = browser.get(&basic.url_of(&uri)).await;
    let first = browser.follow(first, &world.origin).await.is(200);
    let second = browser.get(&basic.url_of(&uri)).await;
    let second = browser.follow(second, &world.origin).await.is(200);
    let done = browser.submit(&second, &[]).await;
    assert!(done.param("code").is_some(), "{:?}", done.location());
    is_a_page(&browser.submit(&first, &[]).await, "the other tab");
    // An answer that is a refusal is one too: the person said no.
    let always = secret("asks", "").replace("pre-approved", "always");
    let world = self::world("", &always).await;
    let asks = ask(&world, "asks");
    let uri = asks.pushed().await;
    let mut browser = world.browser();
    let page = browser.get(&asks.url_of(&uri)).await;
    let page = browser.follow(page, &world.origin).await.is(200);
    let page = browser.submit(&page, &[]).await;
    let consent = browser.follow(page, &world.origin).await.is(200);
    let denied = browser.submit(&consent, &[("decision", "deny")]).await;
    assert_eq!(denied.param("error").as_deref(), Some("access_denied"));
    is_a_page(&browser.get(&asks.url_of(&uri)).await, "denied");
    // By POST as by GET: the browser comes back with its cookies.
    let uri = asks.pushed().await;
    let form = vec![("client_id".to_owned(), "asks".to_owned()), ("request_uri".to_owned(), uri)];
    let page = browser.post(&format!("{}/authorize", world.origin), &form).await.is(303);
    assert!(page.location().unwrap().query().unwrap().starts_with("kept="));
    assert!(browser.reach_app(page, &world.origin).await.param("code").is_some());
}

/// Every row starts from a good request. The same is refused by redirect or page at the authorization endpoint.
#[tokio::test]
async fn what_is_wrong_with_a_request_is_refused_where_it_is_pushed() {
    type Change = for<'w> fn(Ask<'w>) -> Ask<'w>;
    const ROWS: &[(&str, Change, u16, &str)] = &[
        ("a request_uri inside: RFC 9126 §2.1", |a| a.set("request_uri", "urn:ietf:params:oauth:request_uri:x"), 400, "invalid_request"),
        ("a request object", |a| a.set("request", "eyJ.e30."), 400, "request_not_supported"),
        ("registration", |a| a.set("registration", "{}"), 400, "registration_not_supported"),
        ("client_id missing: RFC 9126 §2.1", |a| a.unset("client_id"), 400, "invalid_request"),
        ("client_id of another", |a| a.set("client_id", "other"), 401, "invalid_client"),
        ("client_id sent twice", |a| a.add("client_id", "basic"), 400, "invalid_request"),
        ("redirect_uri missing: FAPI 2.0 §5.3.2.2", |a| a.unset("redirect_uri"), 400, "invalid_request"),
        ("redirect_uri not registered", |a| a.set("redirect_uri", "http://127.0.0.1:4567/other"), 400, "invalid_request"),
        ("redirect_uri sent twice", |a| a.add("redirect_uri", AT), 400, "invalid_request"),
        ("scope sent twice", |a| a.add("scope", "openid"), 400, "invalid_request"),
        ("an unknown parameter sent twice", |a| a.add("x", "1").add("x", "1"), 400, "invalid_request"),
        ("response_type missing", |a| a.unset("response_type"), 400, "invalid_request"),
        ("response_type of another flow", |a| a.set("response_type", "code id_token"), 400, "unsupported_response_type"),
        ("state missing: SAL-023", |a| a.unset("state"), 400, "invalid_request"),
        ("no challenge", |a| a.unset("code_challenge"), 400, "invalid_request"),
        ("a plain challenge", |a| a.set("code_challenge_method", "plain"), 400, "invalid_request"),
        ("aud missing", |a| a.unset("aud"), 400, "invalid_request"),
        ("aud of somebody else", |a| a.set("aud", "https://evil.example/fhir"), 400, "invalid_request"),
        ("resource of somebody else", |a| a.set("resource", "https://evil.example/fhir"), 400, "invalid_target"),
        ("scope missing", |a| a.unset("scope"), 400, "invalid_scope"),
        ("nothing that can be granted", |a| a.set("scope", "email"), 400, "invalid_scope"),
        ("prompt=none and more", |a| a.set("prompt", "none login"), 400, "invalid_request"),
        ("max_age no number", |a| a.set("max_age", "soon"), 400, "invalid_request"),
        ("claims no JSON", |a| a.set("claims", "{"), 400, "invalid_request"),
        ("dpop_jkt no thumbprint", |a| a.set("dpop_jkt", "x"), 400, "invalid_request"),
        ("response_mode unknown", |a| a.set("response_mode", "jwt"), 400, "invalid_request"),
    ];
    let world = world("", "").await;
    for (case, change, status, error) in ROWS {
        let reply = change(ask(&world, "basic")).push().await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (*status, Some(*error)), "{case}: {}", reply.body);
        assert!(reply.json()["error_description"].is_string() && reply.json().get("request_uri").is_none(), "{case}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{case}");
    }
    // A handle is looked at where it is used: the browser may come with it yet. SAL §8.7.
    ask(&world, "basic").set("launch", "unknown").push().await.is(201);
    // Unknown ones are ignored, here as there.
    ask(&world, "basic").set("x-own", "1").push().await.is(201);
    // Credentials as at the token endpoint.
    let no = [("none", Shows::Name), ("a wrong secret", Shows::Secret("wrong"))];
    for (case, shows) in no {
        let reply = Ask::new(&world, "basic", shows, AT).push().await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (401, Some("invalid_client")), "{case}");
        assert!(reply.header("www-authenticate").is_some(), "{case}");
    }
    Ask::new(&world, "nobody", Shows::Name, AT).push().await.refused(401, "invalid_client");
    Ask::new(&world, "public", Shows::Secret(SECRET), AT).push().await.refused(401, "invalid_client");

    // The transport, as elsewhere.
    let url = format!("{}/par", world.origin);
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(world.http.request(method.parse().unwrap(), &url).send().await.unwrap().status(), 405, "{method}");
    }
    let as_json = world.http.post(&url).json(&json!({ "client_id": "public" })).send().await.unwrap();
    Reply::of(as_json).await.refused(400, "invalid_request");
    ask(&world, "public").set("nonce", &"x".repeat(70_000)).push().await.refused(413, "invalid_request");
    ask(&world, "public").set("nonce", &"x".repeat(5_000)).push().await.refused(400, "invalid_request");
}

/// SAL §5.4: under `smart` the URL of the endpoint itself, the token endpoint and the issuer; under `fapi2` the issuer as a string.
#[tokio::test]
async fn assertions_name_the_endpoint_the_token_endpoint_or_the_issuer() {
    let key = client_key(Alg::ES256);
    let registered = |profile: &str| format!("auth = \"private_key_jwt\"\nprofile = \"{profile}\"\n{}", jwks_toml(&[&key]));
    let clients = format!("{}{}{}", app("smart", &registered("smart")), app("oidc", &registered("oidc")), app("fapi2", &registered("fapi2")));
    let world = world("", &clients).await;
    let origin = &world.origin;
    let rows = [
        ("the issuer", json!(origin), true, true),
        ("the issuer in an array", json!([origin]), true, false),
        ("the token endpoint", json!(format!("{origin}/token")), true, false),
        ("this endpoint", json!(format!("{origin}/par")), true, false),
        ("two of ours", json!([origin, format!("{origin}/par")]), false, false),
        ("another endpoint", json!(format!("{origin}/introspect")), false, false),
        ("this endpoint with a slash", json!(format!("{origin}/par/")), false, false),
    ];
    for (case, aud, smart, fapi2) in rows {
        for (id, good) in [("smart", smart), ("oidc", smart), ("fapi2", fapi2)] {
            let (header, mut claims) = assertion(&key, id, origin, world.now());
            claims["aud"] = aud.clone();
            let jwt = key.sign_with_header(&header, &claims).unwrap();
            let ask = Ask::new(&world, id, Shows::Name, AT).set("client_assertion_type", ASSERTION_TYPE).set("client_assertion", &jwt);
            assert_eq!(ask.push().await.status, if good { 201 } else { 401 }, "{id}: {case}");
            if good {
                ask.push().await.refused(401, "invalid_client");
            }
        }
    }
    // The URL of this endpoint is no audience at any other.
    let (header, claims) = assertion(&key, "smart", &format!("{origin}/par"), world.now());
    let jwt = key.sign_with_header(&header, &claims).unwrap();
    let form = [("grant_type", "authorization_code"), ("code", "x"), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", jwt.as_str())];
    world.post("/token", None, &form).await.refused(401, "invalid_client");
}

/// RFC 9126 §5, §6.
#[tokio::test]
async fn who_must_push_is_told_so_and_everybody_where_the_issuer_says_it() {
    let world = world("", &secret("must", "par = \"required\"")).await;
    let metadata = world.get("/.well-known/openid-configuration").await.json();
    assert_eq!(metadata["pushed_authorization_request_endpoint"], format!("{}/par", world.origin));
    assert_eq!(metadata.get("require_pushed_authorization_requests"), None);
    let refused = async |ask: &Ask<'_>| {
        let page = ask.bare.browser().get(&ask.url()).await.is(303);
        assert_eq!((page.param("error").as_deref(), page.param("state").as_deref()), (Some("invalid_request"), Some("state-1")));
        assert_eq!(page.param("iss").as_deref(), Some(ask.bare.origin.as_str()));
    };
    let must = ask(&world, "must");
    refused(&must).await;
    is_a_page(&world.browser().get(&must.clone().set("redirect_uri", "https://evil.example").url()).await, "nowhere to redirect to");
    must.code().await;
    // Others may, and need not.
    let free = ask(&world, "basic");
    free.code().await;
    assert!(free.reach(&mut world.browser(), &free.url()).await.param("code").is_some());
    // A reference to a request kept elsewhere is none of ours. OIDC Core §6.2.
    let page = world.browser().get(&free.clone().set("request_uri", "https://app.example/request.jwt").url()).await;
    assert_eq!(page.param("error").as_deref(), Some("request_uri_not_supported"));

    let world = self::world("require_par = true", "").await;
    for document in ["openid-configuration", "oauth-authorization-server", "smart-configuration"] {
        assert_eq!(world.get(&format!("/.well-known/{document}")).await.json()["require_pushed_authorization_requests"], true, "{document}");
    }
    refused(&ask(&world, "basic")).await;
    refused(&ask(&world, "public")).await;
    ask(&world, "public").code().await;
}

/// RFC 9449 §10, §10.1.
#[tokio::test]
async fn a_code_is_bound_to_the_key_its_request_was_pushed_with() {
    let world = world("", &secret("off", "dpop = \"off\"")).await;
    let (key, thief, url, at_token) = (Prover::new(), Prover::new(), format!("{}/par", world.origin), format!("{}/token", world.origin));
    let proof = |prover: &Prover| prover.proof("POST", &url, world.now());
    let plain = ask(&world, "basic");
    let rows = [
        ("dpop_jkt", plain.clone().set("dpop_jkt", &key.jkt())),
        ("a proof", plain.clone().header("dpop", &proof(&key))),
        ("both", plain.clone().set("dpop_jkt", &key.jkt()).header("dpop", &proof(&key))),
    ];
    for (case, ask) in rows {
        let code = ask.code().await;
        let shown = |prover: &Prover| plain.clone().header("dpop", &prover.proof("POST", &at_token, world.now()));
        plain.redeem(&code).await.refused(400, "invalid_dpop_proof");
        shown(&thief).redeem(&code).await.refused(400, "invalid_dpop_proof");
        assert_eq!(shown(&key).redeem(&code).await.is(200).json()["token_type"], "DPoP", "{case}");
    }
    let twice = proof(&key);
    plain.clone().header("dpop", &twice).push().await.is(201);
    let broken = [
        ("two that differ", plain.clone().set("dpop_jkt", &key.jkt()).header("dpop", &proof(&thief))),
        ("used before", plain.clone().header("dpop", &twice)),
        ("for another endpoint", plain.clone().header("dpop", &key.proof("POST", &at_token, world.now()))),
        ("two proofs", plain.clone().header("dpop", &proof(&key)).header("dpop", &proof(&key))),
        ("no proof at all", plain.clone().header("dpop", "x")),
    ];
    for (case, ask) in broken {
        let reply = ask.push().await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_dpop_proof")), "{case}: {}", reply.body);
    }
    // Who is not the client learns nothing about a proof.
    Ask::new(&world, "basic", Shows::Name, AT).header("dpop", "x").push().await.refused(401, "invalid_client");
    // A client whose tokens are never bound: passed over. SAL-315.
    let never = ask(&world, "off").set("dpop_jkt", "x").header("dpop", "x");
    let code = never.code().await;
    assert_eq!(ask(&world, "off").redeem(&code).await.is(200).json()["token_type"], "Bearer");
}

/// RFC 9449 §8, §10.1.
#[tokio::test]
async fn where_proofs_need_a_nonce_pushing_with_one_needs_it_too() {
    let world = world("dpop_nonce = \"always\"", "").await;
    let (key, url) = (Prover::new(), format!("{}/par", world.origin));
    let plain = ask(&world, "basic");
    plain.push().await.is(201);
    let refused = plain.clone().header("dpop", &key.proof("POST", &url, world.now())).push().await;
    refused.refused(400, "use_dpop_nonce");
    let nonce = refused.header("dpop-nonce").unwrap().to_owned();
    let claims = Prover::claims("POST", &url, world.now()).with_nonce(Some(&nonce));
    plain.header("dpop", &key.sign(&claims)).push().await.is(201);
}

/// Of all who come with one request_uri, one gets a code; the launch behind it is not spent by the others.
#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_at_once_one_gets_a_code() {
    let world = world("", "").await;
    let basic = ask(&world, "basic");
    let mut browser = world.browser();
    // Somebody who is logged in, so that nothing stands between.
    let session = basic.reach(&mut browser, &basic.url()).await;
    assert!(session.param("code").is_some());
    let url = basic.url_of(&basic.pushed().await);
    let pages = join_all((0..64).map(|_| {
        let (mut browser, url) = (browser.clone(), url.clone());
        async move { browser.get(&url).await }
    }))
    .await;
    let codes: BTreeSet<String> = pages.iter().filter(|page| page.reply.status == 303).filter_map(|page| page.param("code")).collect();
    assert_eq!(codes.len(), 1);
    for page in pages.iter().filter(|page| page.reply.status != 303) {
        is_a_page(page, "the others");
    }
    assert_eq!(pages.iter().filter(|page| page.reply.status == 303).count(), 1);
    basic.redeem(codes.first().unwrap()).await.is(200);
}

/// Scripts of registered origins push as they ask for tokens; nobody's script reads the authorization endpoint (FAPI 2.0 §5.3.2.2).
#[tokio::test]
async fn browser_apps_push_and_no_script_reads_the_authorization_endpoint() {
    let world = world("", "").await;
    const OWN: &str = "http://127.0.0.1:4567";
    const EVIL: &str = "https://evil.example";
    let allowed = |reply: &Reply| reply.header("access-control-allow-origin").map(str::to_owned);
    let preflight = async |path: &str, origin: &str| {
        let request = world.http.request(reqwest::Method::OPTIONS, format!("{}{path}", world.origin));
        Reply::of(request.header("origin", origin).header("access-control-request-method", "POST").send().await.unwrap()).await
    };
    assert_eq!(allowed(&preflight("/par", OWN).await).as_deref(), Some(OWN));
    assert_eq!(allowed(&preflight("/par", EVIL).await), None);
    assert_eq!(allowed(&preflight("/authorize", OWN).await), None);
    let public = ask(&world, "public");
    for ask in [public.clone(), public.clone().unset("state")] {
        assert_eq!(allowed(&ask.clone().header("origin", OWN).push().await).as_deref(), Some(OWN), "answers and refusals");
        assert_eq!(allowed(&ask.header("origin", EVIL).push().await), None);
    }
    let read = Reply::of(world.http.get(public.url()).header("origin", OWN).send().await.unwrap()).await;
    assert_eq!(allowed(&read), None);
}

/// OIDC Core §3.1.2.1; FAPI 2.0 §5.3.2.2: an answer that nobody was asked for uses nothing up.
#[tokio::test]
async fn a_pushed_hint_counts_and_a_silent_refusal_uses_nothing_up() {
    let world = world("", "").await;
    let basic = ask(&world, "basic");
    let mut browser = world.browser();
    let code = basic.reach(&mut browser, &basic.url()).await.param("code").unwrap();
    let id_token = basic.redeem(&code).await.is(200).json()["id_token"].as_str().unwrap().to_owned();
    // OIDC Core §3.1.2.1: the hint of a pushed request is a hint as any.
    let hinted = basic.clone().set("id_token_hint", &id_token).set("prompt", "none");
    let uri = hinted.pushed().await;
    assert!(browser.get(&hinted.url_of(&uri)).await.param("code").is_some());
    let uri = hinted.pushed().await;
    let nobody = world.browser().get(&hinted.url_of(&uri)).await;
    assert_eq!(nobody.param("error").as_deref(), Some("login_required"));
    // That was no answer of the person's: the same may come again and be answered.
    assert!(browser.get(&hinted.url_of(&uri)).await.param("code").is_some());
}
