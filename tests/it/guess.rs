//! Who guesses is slowed down, and who knows is not. DESIGN §3, Guessing; RFC 6749 §10.10, RFC 6585 §4, SAL-107.

use std::path::Path;

use helsebro::jose::{Alg, SigningKey};

use crate::world::{ASSERTION_TYPE, Bare, Inside, Reply, VERIFIER, assertion, basic, client_key, jwks_toml};

const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const OPS: &str = "R3fQ8mVzT1kYb7WnLx5cHd9sJp2gAe4uKo6iNyPtZ_M";
const SERVICE: &[(&str, &str)] = &[("grant_type", "client_credentials"), ("scope", "launch:create")];
const REDIRECT: &str = "http://127.0.0.1:4567/cb";

/// Twenty failures for a client, sixty for an address.
fn text(origin: &str, data: &Path, keys: &str) -> String {
    let app = format!("redirect_uris = [\"{REDIRECT}\"]\nscopes = \"openid offline_access user/*.rs\"");
    format!(
        "[server]\nops_token = \"{OPS}\"\n[store]\nkind = \"memory\"\n[keys]\ndir = \"{data}/keys\"\n[guess]\nclient_failures = 20\naddress_failures = 60\n\
         [[issuer]]\nurl = \"{origin}\"\nlogin = [\"local\"]\n[[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n\
         [[issuer.fhir]]\nbase = \"{origin}/fhir\"\n\
         [[client]]\nclient_id = \"service\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nscopes = \"launch:create\"\n\
         [[client]]\nclient_id = \"posts\"\nauth = \"client_secret_post\"\nclient_secret = \"{SECRET}\"\nscopes = \"launch:create\"\n\
         [[client]]\nclient_id = \"signs\"\nauth = \"private_key_jwt\"\nscopes = \"launch:create\"\n{keys}\n\
         [[client]]\nclient_id = \"app\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{app}\n",
        data = data.display(),
    )
}

async fn bare() -> Bare {
    Bare::start(|origin, data| text(origin, data, &jwks_toml(&[&client_key(Alg::ES384)]))).await
}

/// The answers to the same request, made so often.
async fn times(often: usize, request: impl AsyncFn(usize) -> Reply) -> Vec<Reply> {
    let mut all = Vec::new();
    for n in 0..often {
        all.push(request(n).await);
    }
    all
}

/// So many answers of this status, and then 429 alone, with the wait.
#[track_caller]
fn limited(answers: &[Reply], after: usize, status: u16, wait: &str) {
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let expected: Vec<u16> = (0..answers.len()).map(|n| if n < after { status } else { 429 }).collect();
    assert_eq!(statuses, expected);
    for answer in &answers[after..] {
        assert_eq!(answer.header("retry-after"), Some(wait), "RFC 6585 §4");
    }
}

async fn service(world: &Bare, secret: &str) -> Reply {
    world.post("/token", Some(&basic("service", secret)), SERVICE).await
}

#[tokio::test]
async fn wrong_secrets_are_counted_and_the_right_one_is_served() {
    let world = bare().await;
    let answers = times(30, async |n| service(&world, &format!("wrong-{n}")).await).await;
    limited(&answers, 20, 401, "60");
    for answer in &answers[20..] {
        // As the endpoint refuses, so that a client's library still finds what to mend.
        assert_eq!(answer.json()["error"], "invalid_client");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    service(&world, SECRET).await.is(200);
    service(&world, "wrong again").await.is(429);
    // Another client from there has its own count.
    world.post("/token", Some(&basic("app", "wrong")), &[("grant_type", "refresh_token")]).await.is(401);
    // When the wait is over it is as before, and then twice as long.
    world.advance(60);
    let answers = times(22, async |_| service(&world, "wrong").await).await;
    limited(&answers, 20, 401, "120");
    service(&world, SECRET).await.is(200);
    world.stop().await;
}

#[tokio::test]
async fn the_count_is_one_over_all_endpoints_that_authenticate_clients() {
    let world = bare().await;
    let wrong = basic("service", "wrong");
    let paths = ["/token", "/introspect", "/revoke"];
    let answers = times(24, async |n| world.post(paths[n % 3], Some(&wrong), &[("token", "x"), ("grant_type", "client_credentials")]).await).await;
    limited(&answers, 20, 401, "60");
    world.post("/revoke", Some(&basic("service", SECRET)), &[("token", "x")]).await.is(200);
    world.stop().await;
}

#[tokio::test]
async fn names_that_are_made_up_count_like_others_and_together() {
    let world = bare().await;
    let unknown = async |name: &str| world.post("/token", Some(&basic(name, "wrong")), SERVICE).await;
    // Were an unknown name not limited like a known one, the limit would tell who is registered.
    limited(&times(25, async |_| unknown("nobody").await).await, 20, 401, "60");
    // The rest of the address's sixty: twenty-one were counted, and nothing while the limit held.
    limited(&times(45, async |n| unknown(&format!("nobody-{n}")).await).await, 39, 401, "60");
    // From then on whatever fails from there; what is right is served.
    service(&world, "wrong").await.is(429);
    service(&world, SECRET).await.is(200);
    world.get("/.well-known/smart-configuration").await.is(200);
    world.stop().await;
}

#[tokio::test]
async fn what_is_shown_as_a_token_a_code_or_a_handle_is_counted_by_address() {
    let world = bare().await;
    let bearer = |path: &'static str| {
        let request = world.http.request(if path == "/userinfo" { "GET" } else { "POST" }.parse().unwrap(), format!("{}{path}", world.origin));
        async move { Reply::of(request.bearer_auth("made.up.token").send().await.unwrap()).await }
    };
    for path in ["/userinfo", "/launches", "/launches/end-session"] {
        times(5, async |_| bearer(path).await.is(401)).await;
    }
    times(15, async |n| world.get(&format!("/start/handle{n}.token{n}")).await.is(400)).await;
    times(15, async |n| world.get(&format!("/interaction/guess-{n}")).await.is(400)).await;
    times(15, async |n| world.get(&format!("/authorize?kept=guess-{n}")).await.is(400)).await;
    // Sixty: JSON stays JSON, and a page a page.
    let answer = bearer("/userinfo").await.is(429);
    assert_eq!((answer.json()["error"].as_str(), answer.header("retry-after")), (Some("invalid_token"), Some("60")));
    let page = world.get("/start/one.more").await.is(429);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    // Nobody guesses who shows nothing.
    world.get("/userinfo").await.is(401);
    world.stop().await;
}

#[tokio::test]
async fn codes_and_refresh_tokens_that_are_not_the_clients_are_counted() {
    let world = bare().await;
    let app = basic("app", SECRET);
    let issuer = world.origin.clone();
    let code = world.code(&issuer, "app", REDIRECT, "openid offline_access").await;
    let redeem = async |code: &str| {
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)];
        world.post("/token", Some(&app), &form).await
    };
    let answers = times(25, async |n| if n % 2 == 0 { redeem(&format!("{n}-made-up")).await } else { refresh(&world, &app, "made-up").await }).await;
    limited(&answers, 20, 400, "60");
    assert!(answers.iter().all(|answer| answer.json()["error"] == "invalid_grant"));
    let tokens = redeem(&code).await.is(200).json();
    refresh(&world, &app, tokens["refresh_token"].as_str().unwrap()).await.is(200);
    world.stop().await;
}

async fn refresh(world: &Bare, app: &str, token: &str) -> Reply {
    world.post("/token", Some(app), &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

#[tokio::test]
async fn a_launch_handle_that_is_guessed_ends_at_a_page_and_no_longer_at_the_app() {
    let world = bare().await;
    let challenge = helsebro::protocol::pkce::CodeVerifier::parse(VERIFIER).unwrap().challenge();
    let ask = async |launch: usize| {
        let (base, launch) = (format!("{}/fhir", world.origin), format!("guess-{launch}"));
        let query = [
            ("response_type", "code"),
            ("client_id", "app"),
            ("redirect_uri", REDIRECT),
            ("scope", "openid launch"),
            ("state", "s"),
            ("aud", &base),
            ("launch", &launch),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>())).collect();
        world.get(&format!("/authorize?{}", query.join("&"))).await
    };
    let answers = times(62, ask).await;
    limited(&answers, 60, 303, "60");
    assert!(answers[0].header("location").unwrap().contains("error=invalid_request"));
    let last = &answers[61];
    assert!(last.header("location").is_none() && last.body.contains("For mange forsøk"), "{}", last.body);
    world.stop().await;
}

/// What an answer says, apart from which request it is for.
fn said(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let headers = reply.headers.iter().filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    (reply.status, headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect(), reply.body.clone())
}

async fn signed(world: &Bare, key: &SigningKey, client: &str) -> Reply {
    let (header, claims) = assertion(key, client, &format!("{}/token", world.origin), world.now());
    let jwt = key.sign_with_header(&header, &claims).unwrap();
    let form = [SERVICE, &[("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)]].concat();
    world.post("/token", None, &form).await
}

#[tokio::test]
async fn whatever_is_wrong_with_credentials_is_answered_with_the_same_bytes_and_the_same_work() {
    let (key, stranger) = (client_key(Alg::ES384), client_key(Alg::ES384));
    let inside = Inside::start(|origin, data| text(origin, data, &jwks_toml(&[&key]))).await;
    let world = &inside.bare;
    let decoys = || inside.site.engine.decoys.made();
    let post = async |id: &str, secret: &str| world.post("/token", None, &[SERVICE, &[("client_id", id), ("client_secret", secret)]].concat()).await;

    let first = said(&service(world, "wrong").await);
    assert_eq!(first.0, 401);
    // Credentials, and how often a client that is not there had to be stood in for.
    let mut before = decoys();
    let mut like_the_first = |case: &str, reply: Reply, stood_in: u64| {
        assert_eq!(said(&reply), first, "{case}");
        let now = decoys();
        assert_eq!(now - before, stood_in, "{case}");
        before = now;
    };
    like_the_first("a secret by Basic of nobody", world.post("/token", Some(&basic("nobody", "wrong")), SERVICE).await, 1);
    like_the_first("a secret in the body, wrong", post("posts", "wrong").await, 0);
    like_the_first("a secret in the body of nobody", post("nobody", "wrong").await, 1);
    like_the_first("the right secret the wrong way", post("service", SECRET).await, 0);
    like_the_first("the other wrong way", world.post("/token", Some(&basic("posts", SECRET)), SERVICE).await, 0);
    like_the_first("a name alone", world.post("/token", None, &[SERVICE, &[("client_id", "service")]].concat()).await, 0);
    like_the_first("an assertion of a stranger's key", signed(world, &stranger, "signs").await, 0);
    like_the_first("an assertion of nobody", signed(world, &stranger, "nobody").await, 1);
    like_the_first("an assertion for a client with a secret", signed(world, &stranger, "service").await, 1);
    like_the_first(
        "no assertion at all",
        world.post("/token", None, &[SERVICE, &[("client_assertion_type", ASSERTION_TYPE), ("client_assertion", "x.y.z")]].concat()).await,
        0,
    );
    like_the_first("Basic that is none", world.post("/token", Some("Basic ???"), SERVICE).await, 0);

    let before = decoys();
    signed(world, &key, "signs").await.is(200);
    service(world, SECRET).await.is(200);
    assert_eq!(decoys(), before, "whoever is there is not stood in for");
}

#[tokio::test]
async fn the_operations_token_is_not_for_guessing_either() {
    let world = crate::ops::World::start().await;
    let token = world.demo.facts.ops_token.expose().clone();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |token: &str| Reply::of(http.get(format!("{}/keys", world.demo.facts.ops)).bearer_auth(token).send().await.unwrap()).await;
    let answers = times(1002, async |n| ask(&format!("wrong-{n}")).await).await;
    assert_eq!(answers[999].status, 401);
    assert_eq!((answers[1001].status, answers[1001].json()["error"].as_str().map(str::to_owned)), (429, Some("invalid_token".to_owned())));
    assert!(answers[1001].header("retry-after").is_some_and(|wait| wait.parse::<u64>().unwrap() <= 60));
    assert_eq!(ask(&token).await.status, 200);
}
