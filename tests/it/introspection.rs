//! What is known of a token, who may ask, revocation and userinfo. RFC 7662, RFC 7009, OIDC Core §5.3; SAL §5.6, SAL-120…126.

use helsebro::jose::Alg;
use serde_json::{Value, json};

use crate::world::{App, Bare, Reply, Tokens, VERIFIER, World, assertion, basic, claims, client_key, jwks_toml};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";

/// RFC 7662 §2.2, SAL-126: exactly this.
#[track_caller]
fn inactive(reply: &Reply, case: &str) {
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"active":false}"#), "{case}");
}

/// A challenge of the wanted scheme, and whether it says what was wrong. RFC 6750 §3.
#[track_caller]
fn challenged(reply: &Reply, status: u16, scheme: &str, error: Option<&str>, case: &str) {
    assert_eq!(reply.status, status, "{case}: {}", reply.body);
    let challenge = reply.header("www-authenticate").unwrap_or_else(|| panic!("{case}: no challenge"));
    assert!(challenge.starts_with(scheme), "{case}: {challenge}");
    let said = challenge.split_once("error=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(error, _)| error);
    assert_eq!(said, error, "{case}: {challenge}");
}

fn public(id: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"{id}\"\nauth = \"none\"\nredirect_uris = [\"{AT}\"]\nlaunch_urls = [\"http://127.0.0.1:4567/launch\"]\nscopes = \"openid fhirUser profile offline_access launch patient/*.rs user/*.rs\"\nconsent = \"pre-approved\"\n\n"
    )
}

async fn as_bearer(world: &World, bearer: &str, token: &str) -> Reply {
    world.post("/introspect", Some(&format!("Bearer {bearer}")), &[("token", token)]).await
}

#[tokio::test]
async fn each_caller_sees_what_it_may() {
    let key = client_key(Alg::ES384);
    let service = format!("[[client]]\nclient_id = \"watcher\"\nauth = \"private_key_jwt\"\nscopes = \"launch:create system/*.rs\"\n{}\n", jwks_toml(&[&key]));
    let world = World::with_clients(&format!("{}{service}", public("public"))).await;
    let app = world.app("syk-inn");
    let tokens = app.tokens(&world.ehr().launch().await).await;
    let access = tokens.access();

    // SAL-121, SAL-123: every member, each of its type.
    let reply = world.post("/introspect", Some(&world.basic("fhir-server")), &[("token", access), ("token_type_hint", "access_token")]).await.is(200);
    assert_eq!((reply.header("content-type"), reply.header("cache-control")), (Some("application/json"), Some("no-store")));
    let seen = reply.json();
    let (at, id) = (claims(access), claims(tokens.text("id_token")));
    let expected = json!({
        "active": true, "scope": tokens.0["scope"], "client_id": "syk-inn", "token_type": "Bearer", "exp": at["exp"], "iat": at["iat"], "sub": id["sub"],
        "aud": world.fhir(), "iss": id["iss"], "jti": at["jti"], "auth_time": id["auth_time"], "acr": id["acr"], "fhirUser": id["fhirUser"],
        "patient": "pasient-01", "encounter": "konsultasjon-01-3", "need_patient_banner": seen["need_patient_banner"],
    });
    let mut seen_without = seen.clone();
    if seen.get("need_patient_banner").is_none() {
        seen_without["need_patient_banner"] = Value::Null;
    }
    assert_eq!(seen_without, expected);
    assert_eq!(seen.get("need_patient_banner"), tokens.0.get("need_patient_banner"), "SAL-122: the same as in the token answer");
    // A wrong hint is only a hint: RFC 7662 §2.1.
    world.post("/introspect", Some(&world.basic("fhir-server")), &[("token", access), ("token_type_hint", "refresh_token")]).await.is(200);

    // Its own client sees its token; another confidential client does not; a public one may not ask.
    assert_eq!(world.post("/introspect", Some(&world.basic("syk-inn")), &[("token", access)]).await.is(200).json(), seen);
    inactive(&world.post("/introspect", Some(&world.basic("epj")), &[("token", access)]).await, "another client");
    challenged(&world.post("/introspect", None, &[("token", access), ("client_id", "public")]).await, 401, "Basic", None, "a public client");
    challenged(&world.post("/introspect", None, &[("token", access)]).await, 401, "Basic", None, "nobody");
    challenged(&world.post("/introspect", Some(&basic("fhir-server", SECRET)), &[("token", access)]).await, 401, "Basic", None, "a wrong secret");
    world.post("/introspect", Some(&world.basic("fhir-server")), &[]).await.refused(400, "invalid_request");
    world.post("/introspect", Some(&world.basic("fhir-server")), &[("token", "")]).await.refused(400, "invalid_request");
    world.post("/introspect", Some(&world.basic("fhir-server")), &[("token", access), ("token", access)]).await.refused(400, "invalid_request");
    // By assertion too.
    let (header, body) = assertion(&key, "watcher", &world.token_endpoint(), world.now());
    let jwt = key.sign_with_header(&header, &body).unwrap();
    let form = [("client_assertion_type", crate::world::ASSERTION_TYPE), ("client_assertion", &jwt), ("token", access)];
    inactive(&world.post("/introspect", None, &form).await, "not its token");

    // What is no live access token of this issuer. DESIGN §3: only access tokens are active.
    let other = World::start().await;
    let foreign = other.app("syk-inn").tokens(&other.ehr().launch().await).await;
    let (head, rest) = access.split_once('.').unwrap();
    let cut = &access[..access.len() - 2];
    let swapped = format!("{head}.{}", rest.replacen('.', "", 1));
    for (case, token) in [
        ("garbage", "garbage"),
        ("a space", " "),
        ("the refresh token", tokens.refresh()),
        ("the id_token", tokens.text("id_token")),
        ("another issuer's", foreign.access()),
        ("cut short", cut),
        ("two parts", &swapped),
        ("an assertion", &jwt),
    ] {
        inactive(&world.post("/introspect", Some(&world.basic("fhir-server")), &[("token", token)]).await, case);
    }
    // By bearer: SAL-124. One without the scope may not.
    challenged(&as_bearer(&world, access, access).await, 403, "Bearer", Some("insufficient_scope"), "an app's own token");
    challenged(&as_bearer(&world, &world.ehr().token().await, access).await, 403, "Bearer", Some("insufficient_scope"), "the EHR's token");
    challenged(&as_bearer(&world, "garbage", access).await, 401, "Bearer", Some("invalid_token"), "garbage");
    challenged(&as_bearer(&world, tokens.text("id_token"), access).await, 401, "Bearer", Some("invalid_token"), "an id_token");
    // Two ways at once: RFC 6749 §2.3.
    let both = [("token", access), ("client_id", "syk-inn"), ("client_secret", "x")];
    world.post("/introspect", Some(&format!("Bearer {access}")), &both).await.refused(400, "invalid_request");

    // Over when it is over, and the moment the grant is.
    world.advance(3580);
    assert!(world.is_active(access).await);
    let fresh = Tokens(app.refresh(tokens.refresh()).await.is(200).json());
    world.advance(30);
    inactive(&world.post("/introspect", Some(&world.basic("fhir-server")), &[("token", access)]).await, "expired");
    assert!(world.is_active(fresh.access()).await);
    world.post("/revoke", Some(&world.basic("syk-inn")), &[("token", tokens.refresh())]).await.is(200);
    inactive(&world.post("/introspect", Some(&world.basic("fhir-server")), &[("token", fresh.access())]).await, "its grant has ended");
}

/// Two bases, one with its context in the token; a caller with the introspection scope; no FHIR server, which `user/` scopes need none of.
fn two_bases(origin: &str, data: &std::path::Path, key: &str, disabled: bool) -> String {
    let client = |id: &str, more: &str| {
        format!("[[client]]\nclient_id = \"{id}\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nconsent = \"pre-approved\"\n{more}\n\n")
    };
    let app = format!("redirect_uris = [\"{AT}\"]\nscopes = \"openid fhirUser offline_access user/*.rs\"\ndisabled = {disabled}");
    format!(
        "[store]\npath = \"{data}/store.redb\"\ndurability = \"process\"\n[keys]\ndir = \"{data}/keys\"\n[[issuer]]\nurl = \"{origin}\"\nlogin = [\"local\"]\n\
         [[issuer.user]]\nname = \"Live Testlege\"\nfhir_user = \"Practitioner/live\"\n\
         [[issuer.fhir]]\nbase = \"{origin}/fhir\"\ndefault = true\ntoken_claims = \"context\"\naccess_token_alg = \"ES384\"\nresource_servers = [\"rs-1\"]\n\
         [[issuer.fhir]]\nbase = \"{origin}/other\"\nresource_servers = [\"rs-2\"]\n\
         {}{}{}[[client]]\nclient_id = \"watcher\"\nauth = \"private_key_jwt\"\nscopes = \"{origin}/scopes/introspect system/*.rs launch:create\"\n{key}\n",
        client("rs-1", ""),
        client("rs-2", ""),
        client("app", &app),
        data = data.display(),
    )
}

#[tokio::test]
async fn a_resource_server_sees_its_own_base_and_a_watcher_everything() {
    let key = client_key(Alg::RS384);
    let world = Bare::start(|origin, data| two_bases(origin, data, &jwks_toml(&[&key]), false)).await;
    let origin = world.origin.clone();
    let app = basic("app", SECRET);
    let code = world.code(&origin, "app", AT, "openid fhirUser offline_access user/Patient.rs").await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
    let tokens = Tokens(world.post("/token", Some(&app), &form).await.is(200).json());
    let access = tokens.access();
    // The base's wishes: its algorithm, and the context inside. DESIGN §3, Tokens.
    assert_eq!(crate::world::header(access)["alg"], "ES384");
    assert_eq!(claims(access)["fhirUser"], "Practitioner/live");
    let ask = async |who: &str, token: &str| world.post("/introspect", Some(&basic(who, SECRET)), &[("token", token)]).await;
    assert_eq!(ask("rs-1", access).await.json()["active"], true);
    inactive(&ask("rs-2", access).await, "another base");
    assert_eq!(ask("app", access).await.json()["active"], true);

    let watch = async |scope: &str| {
        let (header, claims) = assertion(&key, "watcher", &format!("{origin}/token"), world.now());
        let jwt = key.sign_with_header(&header, &claims).unwrap();
        let form =
            [("grant_type", "client_credentials"), ("scope", scope), ("client_assertion_type", crate::world::ASSERTION_TYPE), ("client_assertion", &jwt)];
        world.post("/token", None, &form).await
    };
    let scope = format!("{origin}/scopes/introspect");
    let watcher = Tokens(watch(&scope).await.is(200).json());
    assert_eq!((watcher.text("scope"), &claims(watcher.access())["aud"]), (scope.as_str(), &json!(origin)));
    watch(&format!("{scope} system/*.rs")).await.refused(400, "invalid_scope");
    // SAL-125; the scheme in any case (SAL-322); and its own token with itself (SAL §5.6).
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let seen = world.post("/introspect", Some(&format!("{scheme} {}", watcher.access())), &[("token", access)]).await.is(200).json();
        assert_eq!((&seen["active"], &seen["client_id"], &seen["fhirUser"]), (&json!(true), &json!("app"), &json!("Practitioner/live")));
    }
    let own = world.post("/introspect", Some(&format!("Bearer {}", watcher.access())), &[("token", watcher.access())]).await.is(200).json();
    let members: Vec<&str> = own.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["active", "scope", "client_id", "token_type", "exp", "iat", "sub", "aud", "iss", "jti"], "nobody's context");
    assert_eq!(own["sub"], "watcher");
    let system = Tokens(watch("system/*.rs").await.is(200).json());
    assert_eq!(ask("rs-1", system.access()).await.json()["client_id"], "watcher");
    inactive(&ask("rs-2", system.access()).await, "another base");
    world.advance(301);
    let late = world.post("/introspect", Some(&format!("Bearer {}", watcher.access())), &[("token", access)]).await;
    challenged(&late, 401, "Bearer", Some("invalid_token"), "an expired bearer");

    // The client is disabled: everything it holds is dead, and comes back with it.
    let code = world.code(&origin, "app", AT, "openid user/Patient.rs").await;
    let world = world.restart(|origin, data| two_bases(origin, data, &jwks_toml(&[&key]), true)).await;
    let ask = async |who: &str, token: &str| world.post("/introspect", Some(&basic(who, SECRET)), &[("token", token)]).await;
    inactive(&ask("rs-1", access).await, "its client is disabled");
    let redeem = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
    world.post("/token", Some(&app), &redeem).await.refused(401, "invalid_client");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())];
    world.post("/token", Some(&app), &refresh).await.refused(401, "invalid_client");
    let world = world.restart(|origin, data| two_bases(origin, data, &jwks_toml(&[&key]), false)).await;
    assert_eq!(world.post("/introspect", Some(&basic("rs-1", SECRET)), &[("token", access)]).await.json()["active"], true, "kept across two restarts");
    world.post("/token", Some(&app), &redeem).await.is(200);
    world.post("/token", Some(&app), &refresh).await.is(200);
    world.stop().await;
}

#[tokio::test]
async fn revocation_ends_what_the_token_stands_for() {
    let world = World::with_clients(&public("public")).await;
    let (app, other) = (world.app("syk-inn"), world.app("public").at(AT).set("scope", "launch openid offline_access patient/Patient.rs"));
    let (mine, theirs) = (world.basic("syk-inn"), [("client_id", "public")]);
    let revoke = async |authorization: Option<&str>, token: &str, more: &[(&str, &str)]| {
        let mut form = vec![("token", token)];
        form.extend(more);
        world.post("/revoke", authorization, &form).await
    };
    let launch = |app: App<'_>| {
        let ehr = world.ehr().client(&app.id);
        let app = App { world: &world, ..app };
        async move { app.tokens(&ehr.launch().await).await }
    };
    let (tokens, foreign) = (launch(app.clone()).await, launch(other.clone()).await);

    // Another's token: refused, and nothing happens. SAL §8.4.
    revoke(Some(&mine), foreign.refresh(), &[]).await.refused(400, "invalid_grant");
    revoke(Some(&mine), foreign.access(), &[]).await.refused(400, "invalid_grant");
    revoke(None, tokens.refresh(), &theirs).await.refused(400, "invalid_grant");
    assert!(world.is_active(foreign.access()).await && world.is_active(tokens.access()).await);
    // Unknown, forged or of no use: done. RFC 7009 §2.2.
    let forged = format!("{}x", &tokens.refresh()[..tokens.refresh().len() - 1]);
    for token in ["garbage", tokens.text("id_token"), &forged, "rt_0000_0_AAAA", "code_0000_x"] {
        let reply = revoke(Some(&mine), token, &[("token_type_hint", "unheard_of")]).await.is(200);
        assert_eq!((reply.body.as_str(), reply.header("cache-control")), ("", Some("no-store")), "{token}");
    }
    // Credentials as at the token endpoint.
    revoke(None, tokens.refresh(), &[]).await.refused(401, "invalid_client");
    revoke(None, tokens.refresh(), &[("client_id", "syk-inn")]).await.refused(401, "invalid_client");
    revoke(Some(&mine), "", &[]).await.refused(400, "invalid_request");
    assert!(world.is_active(tokens.access()).await);

    // An access token: that one alone.
    let second = Tokens(app.refresh(tokens.refresh()).await.is(200).json());
    for _ in 0..2 {
        revoke(Some(&mine), tokens.access(), &[("token_type_hint", "refresh_token")]).await.is(200);
        assert!(!world.is_active(tokens.access()).await);
    }
    world.read(tokens.access(), "Patient/pasient-01").await.is(401);
    assert!(world.is_active(second.access()).await);
    let third = Tokens(app.refresh(tokens.refresh()).await.is(200).json());
    // A refresh token: the grant with everything of it.
    for _ in 0..2 {
        revoke(Some(&mine), tokens.refresh(), &[]).await.is(200);
    }
    for tokens in [&second, &third] {
        assert!(!world.is_active(tokens.access()).await);
    }
    app.refresh(tokens.refresh()).await.refused(400, "invalid_grant");
    // A public client says who it is, and a rotated token still stands for its grant.
    let newer = Tokens(other.refresh(foreign.refresh()).await.is(200).json());
    revoke(None, foreign.refresh(), &theirs).await.is(200);
    assert!(!world.is_active(newer.access()).await);
    other.refresh(newer.refresh()).await.refused(400, "invalid_grant");
}

#[tokio::test]
async fn userinfo_tells_what_was_granted() {
    let world = World::with_clients(&public("public")).await;
    let app = world.app("public").at(AT);
    let tokens = async |scope: &str| {
        let launch = world.ehr().client("public").launch().await;
        app.clone().set("scope", scope).tokens(&launch).await
    };
    let whole = tokens("launch openid fhirUser profile offline_access patient/Patient.rs").await;
    let sub = claims(whole.text("id_token"))["sub"].clone();
    let bearer = format!("Bearer {}", whole.access());
    for method in ["GET", "POST"] {
        for scheme in ["Bearer", "bearer"] {
            let value = format!("{scheme} {}", whole.access());
            let reply = world.request(method, "/userinfo", &[("authorization", &value)], "").await.is(200);
            assert_eq!((reply.header("content-type"), reply.header("cache-control")), (Some("application/json"), Some("no-store")), "SAL §7.6");
            let said = reply.json();
            assert_eq!((&said["sub"], &said["fhirUser"]), (&sub, &json!("Practitioner/lege-fastlege")));
            assert_eq!(said["profile"], json!(format!("{}/Practitioner/lege-fastlege", world.fhir())));
            assert!(said["name"].is_string() && said.as_object().unwrap().len() == 4, "{said}");
        }
    }
    let plain = tokens("launch openid patient/Patient.rs").await;
    let said = world.request("GET", "/userinfo", &[("authorization", &format!("Bearer {}", plain.access()))], "").await.is(200).json();
    assert_eq!(said, json!({ "sub": sub }));
    // RFC 6750 §3.
    let oauth = tokens("launch patient/Patient.rs").await;
    let get = async |headers: &[(&str, &str)], query: &str| world.request("GET", &format!("/userinfo{query}"), headers, "").await;
    challenged(&get(&[], "").await, 401, "Bearer", None, "no token");
    challenged(&get(&[("authorization", &world.basic("syk-inn"))], "").await, 401, "Bearer", None, "another scheme");
    challenged(&get(&[("authorization", "Bearer garbage")], "").await, 401, "Bearer", Some("invalid_token"), "garbage");
    challenged(&get(&[("authorization", &format!("Bearer {}", whole.text("id_token")))], "").await, 401, "Bearer", Some("invalid_token"), "an id_token");
    challenged(&get(&[("authorization", &format!("Bearer {}", whole.refresh()))], "").await, 401, "Bearer", Some("invalid_token"), "a refresh token");
    challenged(&get(&[("authorization", &format!("Bearer {}", oauth.access()))], "").await, 403, "Bearer", Some("insufficient_scope"), "no openid");
    challenged(&get(&[("authorization", &format!("Bearer {}", world.ehr().token().await))], "").await, 403, "Bearer", Some("insufficient_scope"), "no person");
    // SAL-216: never in the query; in a form it may be at this one endpoint (OIDC Core §5.3.1).
    challenged(&get(&[], &format!("?access_token={}", whole.access())).await, 401, "Bearer", None, "in the query");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let in_body = world.request("POST", "/userinfo", &form, format!("access_token={}", whole.access())).await;
    assert_eq!(in_body.is(200).json()["sub"], json!(sub));
    get(&[("authorization", &bearer), ("authorization", &bearer)], "").await.refused(400, "invalid_request");
    world.request("PUT", "/userinfo", &[("authorization", &bearer)], "").await.is(405);
    world.advance(3601);
    challenged(&get(&[("authorization", &bearer)], "").await, 401, "Bearer", Some("invalid_token"), "expired");
}
