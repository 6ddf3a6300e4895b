//! Tokens that are real, in places they are not for: another issuer, another audience, another kind, another key. RFC 9068 §4, RFC 8725 §3.8–§3.12, RFC 9449 §11.1.

use serde_json::json;

use super::{AT, CLIENTS, SECRET, Trail, code, honest};
use crate::world::{ASSERTION_TYPE, Prover, Reply, Tokens, VERIFIER, World, basic, claims};

async fn show(world: &World, method: &str, url: &str, authorization: &str, proof: Option<&str>) -> Reply {
    let mut request = world.http.request(method.parse().unwrap(), url).header("authorization", authorization);
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    if method == "POST" {
        request = request.json(&world.ehr().body);
    }
    Reply::of(request.send().await.unwrap()).await
}

/// Everything that is ever handed out, at every place that takes something: only where it belongs does it open anything.
#[tokio::test]
async fn token_substitution_across_issuers_and_audiences() {
    let world = World::with_clients(CLIENTS).await;
    let app = honest(&world);
    let code = code(&app).await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
    let tokens = Tokens(world.post("/token", Some(&basic("honest", SECRET)), &form).await.is(200).json());
    let launch = world.ehr().client("honest").launch().await;
    // Another world is another issuer, with the same clients, people and token formats.
    let elsewhere = World::with_clients(CLIENTS).await;
    let theirs = elsewhere.app("syk-inn").tokens(&elsewhere.ehr().launch().await).await;
    let lab = world.token_with(&world.assertion("lab-sync"), &[("grant_type", "client_credentials"), ("scope", "system/Patient.rs")]).await.is(200).json();
    let held = [
        ("an app's access token", tokens.access().to_owned()),
        ("an id_token", tokens.text("id_token").to_owned()),
        ("a refresh token", tokens.refresh().to_owned()),
        ("a code", code.clone()),
        ("a launch handle", launch["launch"].as_str().unwrap().to_owned()),
        ("the EHR's token", world.ehr().token().await),
        ("a service's token", lab["access_token"].as_str().unwrap().to_owned()),
        ("a client's assertion", world.assertion("lab-sync")),
        ("another issuer's access token", theirs.access().to_owned()),
        ("another issuer's id_token", theirs.text("id_token").to_owned()),
        ("another issuer's EHR's token", elsewhere.ehr().token().await),
        ("a client's secret", SECRET.to_owned()),
    ];
    let hospital = world.demo.facts.hospital.as_ref().unwrap();
    let base = world.issuer().to_owned();
    /// Its name, how it is asked, what it takes, and what a refusal is recorded as.
    type Place<'a> = (&'a str, &'a str, String, &'a [&'a str], Option<&'a str>);
    let places: [Place<'_>; 7] = [
        ("userinfo", "GET", format!("{base}/userinfo"), &["an app's access token"], Some("userinfo")),
        ("the launch API", "POST", format!("{base}/launches"), &["the EHR's token"], Some("launch")),
        ("the end of a session", "POST", format!("{base}/launches/end-session"), &["the EHR's token"], Some("end-session")),
        ("the FHIR server", "GET", format!("{}/Patient/pasient-01", world.fhir()), &["an app's access token", "a service's token"], None),
        ("the hospital's userinfo", "GET", format!("{}/userinfo", hospital.issuer), &[], None),
        ("the hospital's launch API", "POST", format!("{}/launches", hospital.issuer), &[], None),
        ("the hospital's FHIR server", "GET", format!("{}/Patient/sykehus-4711", hospital.fhir), &[], None),
    ];
    let mut trail = Trail::new(&world).await;
    for (place, method, url, takes, action) in &places {
        for (what, token) in &held {
            let attack = format!("{what} at {place}");
            let reply = show(&world, method, url, &format!("Bearer {token}"), None).await;
            if takes.contains(what) {
                assert!(!matches!(reply.status, 401 | 403), "{attack}: {} {}", reply.status, reply.body);
                trail.records().await;
                continue;
            }
            assert!(matches!(reply.status, 401 | 403), "{attack}: {} {}", reply.status, reply.body);
            let challenge = reply.header("www-authenticate").unwrap_or_else(|| panic!("{attack}: no challenge"));
            let error = if reply.status == 401 { "invalid_token" } else { "insufficient_scope" };
            assert!(challenge.contains(error), "{attack}: {challenge}");
            match action {
                Some(action) => drop(trail.refused(&attack, action, error, "").await),
                None => drop(trail.records().await),
            }
        }
        world.advance(30);
    }
    // As what a resource server asks about: nothing but a live access token of this issuer is active, whatever is hinted.
    for (what, token) in held.iter().filter(|(what, _)| !["an app's access token", "a service's token"].contains(what)) {
        for hint in ["access_token", "refresh_token", "id_token"] {
            let form = [("token", token.as_str()), ("token_type_hint", hint)];
            let reply = world.post("/introspect", Some(&world.basic("fhir-server")), &form).await.is(200);
            assert_eq!(reply.json(), json!({ "active": false }), "{what} as {hint}");
        }
    }
    // As a code, as a refresh token, as a secret, as an assertion.
    trail.records().await;
    for (what, token) in held.iter().filter(|(what, _)| !["a refresh token", "a client's secret", "a client's assertion"].contains(what)) {
        let honest = basic("honest", SECRET);
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        world.post("/token", Some(&honest), &refresh).await.refused(400, "invalid_grant");
        trail.refused(what, "refresh", "invalid_grant", "").await;
        if *what != "a code" {
            let code = [("grant_type", "authorization_code"), ("code", token.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
            world.post("/token", Some(&honest), &code).await.refused(400, "invalid_grant");
            trail.refused(what, "token", "invalid_grant", "").await;
        }
        world.post("/token", Some(&basic("honest", token)), &refresh).await.refused(401, "invalid_client");
        trail.refused(what, "token", "invalid_client", "").await;
        let assertion = [("grant_type", "client_credentials"), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", token.as_str())];
        world.post("/token", None, &assertion).await.refused(401, "invalid_client");
        trail.refused(what, "token", "invalid_client", "").await;
        world.advance(20);
    }
}

/// RFC 9449 §11.1, §11.2: a proof that was seen, and a token with somebody else's.
#[tokio::test]
async fn dpop_proof_replay_and_key_swap() {
    let world = World::start().await;
    let (key, thief) = (Prover::new(), Prover::new());
    let app = world.app("regional-portal").set("scope", "openid fhirUser launch offline_access patient/Patient.rs");
    let launch = world.ehr().client("regional-portal").launch().await;
    let code = app.open(&mut world.browser(), &launch).await;
    let ask = async |proof: &str, form: &[(&str, &str)]| {
        let assertion = world.assertion("regional-portal");
        let more = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.as_str())];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form.iter().chain(&more)).finish();
        world.request("POST", "/token", &[("content-type", "application/x-www-form-urlencoded"), ("dpop", proof)], body).await
    };
    let mut trail = Trail::new(&world).await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", app.redirect_uri.as_str()), ("code_verifier", VERIFIER)];
    let seen = key.proof("POST", &world.token_endpoint(), world.now());
    let tokens = Tokens(ask(&seen, &form).await.is(200).json());
    assert_eq!(claims(tokens.access())["cnf"]["jkt"], key.jkt());
    trail.nothing_refused("the owner").await;
    ask(&seen, &[("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())]).await.refused(400, "invalid_dpop_proof");
    trail.refused("the token request's proof again", "token", "invalid_dpop_proof", "").await;

    let url = format!("{}/userinfo", world.issuer());
    let (token, dpop) = (tokens.access(), format!("DPoP {}", tokens.access()));
    let good = key.beside("GET", &url, token, world.now());
    show(&world, "GET", &url, &dpop, Some(&good)).await.is(200);
    trail.nothing_refused("the owner").await;
    let swapped = thief.broken(&Prover::claims("GET", &url, world.now()), |head, _| head["jwk"] = json!(key.0.public_jwk()));
    let body = |proof: &str| proof.split('.').nth(1).unwrap().to_owned();
    let moved = {
        let other = thief.beside("GET", &url, token, world.now());
        let parts: Vec<&str> = other.split('.').collect();
        format!("{}.{}.{}", parts[0], body(&key.beside("GET", &url, token, world.now())), parts[2])
    };
    for (attack, authorization, proof, error) in [
        ("replayed", dpop.clone(), Some(good.clone()), "invalid_dpop_proof"),
        ("replayed, its case changed", dpop.replacen("DPoP", "dpop", 1), Some(good.clone()), "invalid_dpop_proof"),
        ("replayed with a query", dpop.clone(), Some(good.clone()), "invalid_dpop_proof"),
        ("the thief's own key", dpop.clone(), Some(thief.beside("GET", &url, token, world.now())), "invalid_token"),
        ("the owner's key over the thief's signature", dpop.clone(), Some(swapped), "invalid_dpop_proof"),
        ("the owner's claims under the thief's key", dpop.clone(), Some(moved), "invalid_dpop_proof"),
        ("as a bearer", format!("Bearer {token}"), None, "invalid_token"),
        ("as a bearer with the owner's proof", format!("Bearer {token}"), Some(key.beside("GET", &url, token, world.now())), "invalid_token"),
        ("without a proof", dpop.clone(), None, "invalid_dpop_proof"),
        ("made for another URL", dpop.clone(), Some(key.beside("GET", &format!("{url}/x"), token, world.now())), "invalid_dpop_proof"),
        ("made for another host", dpop.clone(), Some(key.beside("GET", "http://evil.example/userinfo", token, world.now())), "invalid_dpop_proof"),
        ("made for another method", dpop.clone(), Some(key.beside("POST", &url, token, world.now())), "invalid_dpop_proof"),
        ("made ahead of time", dpop.clone(), Some(key.beside("GET", &url, token, world.now() + 3600)), "invalid_dpop_proof"),
    ] {
        let at = if attack.contains("query") { format!("{url}?a=b") } else { url.clone() };
        let reply = show(&world, "GET", &at, &authorization, proof.as_deref()).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (401, Some(error)), "{attack}: {}", reply.body);
        trail.refused(attack, "userinfo", error, "").await;
    }
    show(&world, "GET", &url, &dpop, Some(&key.beside("GET", &url, token, world.now()))).await.is(200);
}
