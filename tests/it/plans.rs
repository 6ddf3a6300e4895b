//! What the conformance plans of the OpenID Foundation ask of a server and no other test here does: Basic OP, and FAPI 2.0 Security Profile for
//! authorization servers. Each comment names the plan's own test.

use helsebro::jose::{Alg, SigningKey};
use serde_json::{Value, json};

use crate::par::config;
use crate::world::{ASSERTION_TYPE, Ask, Bare, Prover, Reply, Shows, VERIFIER, assertion, claims, client_key, jwks_toml};

const AT: &str = "http://127.0.0.1:4567/cb";
const QUERY: &str = "http://127.0.0.1:4567/cb?foo=bar&x=a%20b";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const SCOPES: &str = "openid profile offline_access user/*.rs";

/// Two clients as the suite registers them: a secret, no PKCE, no `state` unless the test is about it.
async fn basic_op() -> Bare {
    let client = |id: &str| {
        format!(
            "[[client]]\nclient_id = \"{id}\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nprofile = \"oidc\"\nredirect_uris = [\"{AT}\", \"{QUERY}\"]\n\
             scopes = \"{SCOPES}\"\nconsent = \"pre-approved\"\n"
        )
    };
    let clients = format!("{}{}", client("one"), client("two"));
    Bare::start(|origin, data| config(origin, data, "", &clients)).await
}

fn plain<'w>(world: &'w Bare, id: &str) -> Ask<'w> {
    let ask = Ask::new(world, id, Shows::Secret(SECRET), AT).unset("aud").unset("state").unset("code_challenge").unset("code_challenge_method");
    ask.set("scope", "openid")
}

/// As [`Ask::redeem`], without the verifier of a challenge that was not sent.
async fn redeem(ask: &Ask<'_>, code: &str, redirect: &str) -> Reply {
    ask.token(&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect)]).await
}

#[tokio::test]
async fn basic_op_scopes_and_parameters() {
    let world = basic_op().await;
    let mut browser = world.browser();
    let supported = world.get("/.well-known/openid-configuration").await.json()["scopes_supported"].clone();
    // oidcc-scope-email, -address, -phone, -all; oidcc-ensure-other-scope-order-succeeds: what is not listed is not given, and harms nothing.
    for (asked, granted) in [
        ("openid email", "openid"),
        ("openid address phone", "openid"),
        ("phone address email profile openid", "profile openid"),
        ("openid profile", "openid profile"),
    ] {
        let ask = plain(&world, "one").set("scope", asked);
        let tokens = redeem(&ask, &ask.reach(&mut browser, &ask.url()).await.param("code").unwrap(), AT).await.is(200).json();
        let told: std::collections::BTreeSet<&str> = tokens["scope"].as_str().unwrap().split(' ').collect();
        assert_eq!(told, granted.split(' ').collect(), "{asked}");
        assert!(told.iter().all(|scope| supported.as_array().unwrap().contains(&json!(scope))), "{asked}");
        let shown = world.http.get(format!("{}/userinfo", world.origin)).bearer_auth(tokens["access_token"].as_str().unwrap()).send().await.unwrap();
        let said: Value = shown.json().await.unwrap();
        assert_eq!((&said["sub"], said.get("name").is_some()), (&claims(tokens["id_token"].as_str().unwrap())["sub"], asked.contains("profile")), "{asked}");
        assert!(["email", "phone_number", "address"].iter().all(|name| said.get(name).is_none()), "{asked}");
    }
    // oidcc-display-page, -popup; oidcc-login-hint; oidcc-ui-locales; oidcc-claims-locales; oidcc-ensure-request-with-acr-values-succeeds.
    for (name, value) in [
        ("display", "page"),
        ("display", "popup"),
        ("display", "touch"),
        ("display", "wap"),
        ("login_hint", "buffy@example.com"),
        ("ui_locales", "se de"),
        ("claims_locales", "se"),
        ("acr_values", "1 2"),
        ("extra", "foobar"),
        ("nonce", "n"),
    ] {
        let ask = plain(&world, "one").set(name, value);
        assert!(ask.reach(&mut browser, &ask.url()).await.param("code").is_some(), "{name}={value}");
    }
    // oidcc-max-age-10000: no new login, and the time of the old one.
    let logged_in_at = world.now();
    world.advance(600);
    let ask = plain(&world, "one").set("max_age", "10000");
    let tokens = redeem(&ask, &browser.get(&ask.url()).await.param("code").unwrap(), AT).await.is(200).json();
    assert_eq!(claims(tokens["id_token"].as_str().unwrap())["auth_time"], logged_in_at);
    world.stop().await;
}

/// oidcc-redirect-uri-query-OK, -mismatch, -added; oidcc-ensure-registered-redirect-uri; oidcc-ensure-redirect-uri-in-authorization-request.
#[tokio::test]
async fn basic_op_redirect_uris_with_a_query() {
    let world = basic_op().await;
    let mut browser = world.browser();
    let ask = plain(&world, "one").set("redirect_uri", QUERY).set("state", "s");
    let page = ask.reach(&mut browser, &ask.url()).await;
    assert!(page.reply.header("location").unwrap().starts_with(&format!("{QUERY}&code=")), "{:?}", page.location());
    let code = page.param("code").unwrap();
    redeem(&ask, &code, QUERY).await.is(200);
    // The code was got for the one and not for the other.
    let code = browser.get(&ask.url()).await.param("code").unwrap();
    redeem(&ask, &code, AT).await.refused(400, "invalid_grant");
    for uri in [
        "http://127.0.0.1:4567/cb?foo=baz&x=a%20b",
        "http://127.0.0.1:4567/cb?foo=bar",
        "http://127.0.0.1:4567/cb?x=a%20b&foo=bar",
        "http://127.0.0.1:4567/cb?foo=bar&x=a+b",
    ] {
        let page = browser.get(&ask.clone().set("redirect_uri", uri).url()).await;
        assert_eq!((page.reply.status, page.location()), (400, None), "{uri}");
    }
    assert_eq!(browser.get(&ask.clone().unset("redirect_uri").url()).await.reply.status, 400);
    world.stop().await;
}

/// oidcc-codereuse, oidcc-codereuse-30seconds, oidcc-refresh-token.
#[tokio::test]
async fn basic_op_codes_and_refresh_tokens() {
    let world = basic_op().await;
    let mut browser = world.browser();
    let ask = plain(&world, "one").set("scope", "openid offline_access").set("prompt", "consent").set("nonce", "n-1");
    let code = ask.reach(&mut browser, &ask.url()).await.param("code").unwrap();
    let tokens = redeem(&ask, &code, AT).await.is(200).json();
    let before = claims(tokens["id_token"].as_str().unwrap());
    let form = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
    plain(&world, "two").token(&form).await.refused(400, "invalid_grant");
    world.advance(1);
    let again = ask.token(&form).await.is(200).json();
    let after = claims(again["id_token"].as_str().unwrap());
    // OIDC Core §12.2.
    for same in ["iss", "sub", "aud", "auth_time", "azp"] {
        assert_eq!(before.get(same), after.get(same), "{same}");
    }
    assert!(after["iat"].as_i64() > before["iat"].as_i64() && after.get("nonce").is_none_or(|nonce| nonce == "n-1"));
    assert_ne!(tokens["access_token"], again["access_token"]);
    // At once, and after half a minute: refused, and then what came of it is over.
    redeem(&ask, &code, AT).await.refused(400, "invalid_grant");
    world.advance(30);
    redeem(&ask, &code, AT).await.refused(400, "invalid_grant");
    for token in [&tokens, &again] {
        let shown = world.http.get(format!("{}/userinfo", world.origin)).bearer_auth(token["access_token"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(shown.status(), 401);
    }
    ask.token(&form).await.refused(400, "invalid_grant");
    world.stop().await;
}

struct Fapi {
    world: Bare,
    keys: [SigningKey; 2],
    prover: Prover,
}

impl Fapi {
    /// Two clients with a key each; the person is asked every time. The second is registered to lose nothing by a code that is used again.
    async fn start() -> Self {
        let keys = [client_key(Alg::ES256), client_key(Alg::ES256)];
        let client = |id: &str, key: &SigningKey, replay: &str| {
            format!(
                "[[client]]\nclient_id = \"{id}\"\nauth = \"private_key_jwt\"\nprofile = \"fapi2\"\nredirect_uris = [\"{AT}\"]\nscopes = \"{SCOPES}\"\nconsent = \"always\"\ncode_replay = \"{replay}\"\n{}\n",
                jwks_toml(&[key])
            )
        };
        let clients = format!("{}{}", client("one", &keys[0], "revoke"), client("two", &keys[1], "refuse"));
        let world = Bare::start(|origin, data| config(origin, data, "", &clients)).await;
        Self { world, keys, prover: Prover::new() }
    }

    fn ask(&self, n: usize) -> Ask<'_> {
        Ask::new(&self.world, ["one", "two"][n], Shows::Key(&self.keys[n]), AT).unset("aud").unset("state").set("scope", "openid profile")
    }

    fn proven<'w>(&'w self, ask: &Ask<'w>) -> Ask<'w> {
        let url = format!("{}/token", self.world.origin);
        ask.clone().header("dpop", &self.prover.proof("POST", &url, self.world.now()))
    }

    /// An assertion of the first client with one change, as the only credential.
    async fn asserted(&self, path: &str, key: &SigningKey, change: impl FnOnce(&mut Value, &mut Value)) -> Reply {
        let (mut header, mut claims) = assertion(key, "one", &self.world.origin, self.world.now());
        change(&mut header, &mut claims);
        let jwt = key.sign_with_header(&header, &claims).unwrap();
        let bare = Ask::new(&self.world, "one", Shows::Name, AT).unset("aud").set("client_assertion_type", ASSERTION_TYPE).set("client_assertion", &jwt);
        if path == "/par" {
            return bare.push().await;
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("code", "code_x_y"),
            ("redirect_uri", AT),
            ("code_verifier", VERIFIER),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &jwt),
        ];
        self.proven(&bare).token(&form).await
    }
}

/// ensure-client-assertion-with-*, ensure-signed-client-assertion-with-RS256-fails, ensure-request-without-client-assertion-fails, at both endpoints.
#[tokio::test]
async fn fapi_client_assertions_are_for_this_issuer_by_this_client_and_now() {
    let fapi = Fapi::start().await;
    let origin = fapi.world.origin.clone();
    let now = fapi.world.now();
    type Change = Box<dyn Fn(&mut Value, &mut Value)>;
    let claim = |name: &'static str, value: Value| -> Change { Box::new(move |_, claims| claims[name] = value.clone()) };
    let without = |name: &'static str| -> Change { Box::new(move |_, claims| drop(claims.as_object_mut().unwrap().remove(name))) };
    let rows: Vec<(&str, Change, bool)> = vec![
        ("as it should be", claim("iat", json!(now)), true),
        ("iat and nbf 8 s ahead", Box::new(move |_, claims| (claims["iat"], claims["nbf"]) = (json!(now + 8), json!(now + 8))), true),
        ("exp 5 min ago", claim("exp", json!(now - 300)), false),
        ("iat an hour ahead", claim("iat", json!(now + 3600)), false),
        ("no sub", without("sub"), false),
        ("another sub", claim("sub", json!("two")), false),
        ("another iss", claim("iss", json!("two")), false),
        ("no iss", without("iss"), false),
        ("no aud", without("aud"), false),
        ("no exp", without("exp"), false),
        ("no jti", without("jti"), false),
        ("aud is the token endpoint", claim("aud", json!(format!("{origin}/token"))), false),
        ("aud is the endpoint for pushed requests", claim("aud", json!(format!("{origin}/par"))), false),
        ("aud is an array", claim("aud", json!([origin])), false),
        ("alg is none", Box::new(|header, _| header["alg"] = json!("none")), false),
        ("alg is another", Box::new(|header, _| header["alg"] = json!("RS256")), false),
    ];
    for path in ["/par", "/token"] {
        for (case, change, good) in &rows {
            let reply = fapi.asserted(path, &fapi.keys[0], change).await;
            match (good, path) {
                (true, "/par") => assert_eq!(reply.status, 201, "{case}: {}", reply.body),
                (true, _) => reply.refused(400, "invalid_grant"),
                (false, _) => assert_eq!((reply.status, reply.json()["error"].as_str()), (401, Some("invalid_client")), "{path} {case}: {}", reply.body),
            }
        }
        fapi.asserted(path, &fapi.keys[1], |_, _| ()).await.refused(401, "invalid_client");
    }
    // No assertion at all.
    let bare = Ask::new(&fapi.world, "one", Shows::Name, AT);
    bare.push().await.refused(401, "invalid_client");
    fapi.proven(&bare).redeem("code_x_y").await.refused(401, "invalid_client");
    fapi.world.stop().await;
}

/// user-rejects-authentication, ensure-request-without-state-success, ensure-authorization-request-with-long-nonce, -state-with-special-chars,
/// ensure-response-mode-query, ensure-other-scope-order-succeeds, par-attempt-reuse-request_uri, par-attempt-to-use-request_uri-for-different-client.
#[tokio::test]
async fn fapi_authorization_answers() {
    let fapi = Fapi::start().await;
    let world = &fapi.world;
    let mut browser = world.browser();
    let state = format!("{}-._~!$&'()*+,;=:@/?\\\" %", "s".repeat(128));
    let ask = fapi.ask(0).set("state", &state).set("response_mode", "query").set("scope", "profile openid").set("nonce", &"n".repeat(64));
    let uri = ask.pushed().await;
    // Somebody else's request is a page, and stays the owner's.
    let foreign = browser.get(&fapi.ask(1).url_of(&uri)).await;
    assert_eq!((foreign.reply.status, foreign.location()), (400, None));
    let login = browser.get(&ask.url_of(&uri)).await;
    let login = browser.follow(login, &world.origin).await;
    let consent = browser.submit(&login, &[]).await;
    let consent = browser.follow(consent, &world.origin).await.is(200);
    let denied = browser.submit_nth(&consent, 1, &[]).await;
    let told = |page: &crate::world::Page| ["error", "state", "iss"].map(|name| page.param(name));
    assert_eq!(told(&denied), [Some("access_denied".to_owned()), Some(state), Some(world.origin.clone())], "{:?}", denied.location());
    assert_eq!(browser.get(&ask.url_of(&uri)).await.reply.status, 400, "answered");

    // Without a state none comes back; RFC 9207 all the same.
    let ask = fapi.ask(0);
    let uri = ask.pushed().await;
    // par-ensure-reused-request-uri-prior-to-auth-completion-succeeds.
    assert_eq!(browser.get(&ask.url_of(&uri)).await.reply.status, 303);
    let page = ask.reach(&mut browser, &ask.url_of(&uri)).await;
    assert_eq!((page.param("iss"), page.param("state")), (Some(world.origin.clone()), None));
    let code = page.param("code").unwrap();
    let again = browser.get(&ask.url_of(&uri)).await;
    assert_eq!((again.reply.status, again.location()), (400, None));
    // ensure-authorization-code-is-bound-to-client; it is still its owner's.
    fapi.proven(&fapi.ask(1)).redeem(&code).await.refused(400, "invalid_grant");
    let tokens = fapi.proven(&ask).redeem(&code).await.is(200).json();
    // access-token-type-header-case-sensitivity: the name of a scheme has no case. RFC 9110 §11.1.
    let url = format!("{}/userinfo", world.origin);
    let access = tokens["access_token"].as_str().unwrap();
    for scheme in ["DPoP", "dpop", "DPOP"] {
        let proof = fapi.prover.beside("GET", &url, access, world.now());
        let shown = world.http.get(&url).header("authorization", format!("{scheme} {access}")).header("dpop", proof).send().await.unwrap();
        assert_eq!(shown.status(), 200, "{scheme}");
    }
    fapi.world.stop().await;
}

/// par-incorrect-pkce-code-verifier-rejected, par-pkce-code-verifier-missing; each with a code of its own, for a wrong one burns it.
#[tokio::test]
async fn fapi_verifiers_are_needed_and_right() {
    let fapi = Fapi::start().await;
    let wrong = VERIFIER.replace('q', "r");
    for (case, verifier) in [("another", Some(wrong.as_str())), ("none", None)] {
        let ask = fapi.ask(0);
        let code = ask.code().await;
        let mut form = vec![("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT)];
        form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
        let reply = fapi.proven(&ask).token(&form).await;
        assert!(reply.status == 400 && ["invalid_grant", "invalid_request"].contains(&reply.json()["error"].as_str().unwrap()), "{case}: {}", reply.body);
        assert!(reply.json().get("access_token").is_none(), "{case}");
    }
    // The mix of the profile's own demands: a key for the proof that is not the one it was pushed with.
    let ask = fapi.ask(0);
    let at_par = Prover::new();
    let pushed = ask.clone().header("dpop", &at_par.proof("POST", &format!("{}/par", fapi.world.origin), fapi.world.now())).pushed().await;
    let code = ask.reach(&mut fapi.world.browser(), &ask.url_of(&pushed)).await.param("code").unwrap();
    fapi.proven(&ask).redeem(&code).await.refused(400, "invalid_dpop_proof");
    fapi.world.stop().await;
}

/// attempt-reuse-authorization-code-after-one-second: no answer is taken for lost here. RFC 6749 §4.1.2. But a client's registration may say otherwise.
#[tokio::test]
async fn fapi_a_code_that_is_used_again_takes_its_tokens_along() {
    let fapi = Fapi::start().await;
    let url = format!("{}/userinfo", fapi.world.origin);
    let userinfo = async |access: &str| {
        let proof = fapi.prover.beside("GET", &url, access, fapi.world.now());
        fapi.world.http.get(&url).header("authorization", format!("DPoP {access}")).header("dpop", proof).send().await.unwrap().status()
    };
    for (ask, afterwards) in [(fapi.ask(0), 401), (fapi.ask(1), 200)] {
        let code = ask.code().await;
        let tokens = fapi.proven(&ask).redeem(&code).await.is(200).json();
        let access = tokens["access_token"].as_str().unwrap();
        assert_eq!(userinfo(access).await, 200);
        fapi.world.advance(1);
        fapi.proven(&ask).redeem(&code).await.refused(400, "invalid_grant");
        assert_eq!(userinfo(access).await, afterwards);
    }
    // The page for a request that was used speaks of that.
    let ask = fapi.ask(0);
    let pushed = ask.pushed().await;
    let mut browser = fapi.world.browser();
    ask.reach(&mut browser, &ask.url_of(&pushed)).await;
    let page = browser.get(&ask.url_of(&pushed)).await.is(400);
    assert!(page.text().contains("request_uri"), "{}", page.text());
    fapi.world.stop().await;
}
