//! Codes and refresh tokens in the wrong hands. RFC 9700 §4.4, §4.5, §4.8, §4.14.

use super::{AT, CLIENTS, SECRET, Trail, code, honest, open, tokens};
use crate::world::{Reply, Tokens, VERIFIER, World, basic};

const OTHER_VERIFIER: &str = "another-verifier-that-is-long-enough-0123456789";

async fn redeem(world: &World, authorization: Option<&str>, form: &[(&str, &str)]) -> Reply {
    let form: Vec<(&str, &str)> = [("grant_type", "authorization_code")].iter().chain(form).copied().collect();
    world.post("/token", authorization, &form).await
}

/// RFC 9700 §4.5: a stolen code, put into a session of the attacker's at the very app it was issued to.
#[tokio::test]
async fn code_injection() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    let honest_app = basic("honest", SECRET);
    // Through the honest app, whose session there has another verifier: nobody gets anything for that code any more.
    let stolen = code(&honest(&world)).await;
    let form = [("code", stolen.as_str()), ("redirect_uri", AT), ("code_verifier", OTHER_VERIFIER)];
    redeem(&world, Some(&honest_app), &form).await.refused(400, "invalid_grant");
    let record = trail.refused("another verifier", "token", "invalid_grant", "verifier").await;
    assert_eq!(record["client"], "honest");
    redeem(&world, Some(&honest_app), &[("code", &stolen), ("redirect_uri", AT), ("code_verifier", VERIFIER)]).await.refused(400, "invalid_grant");
    trail.refused("after it", "token", "invalid_grant", "").await;

    // Through the attacker's own app, or with no credentials: the owner's code stays good.
    let stolen = code(&honest(&world)).await;
    let own = [("code", stolen.as_str()), ("code_verifier", VERIFIER)];
    for (attack, authorization, more, status, error) in [
        ("as another client", None, vec![("client_id", "evil"), ("redirect_uri", AT)], 400, "invalid_grant"),
        ("as another client at its own address", None, vec![("client_id", "evil"), ("redirect_uri", "http://127.0.0.1:6666/cb")], 400, "invalid_grant"),
        ("without the secret", None, vec![("client_id", "honest"), ("redirect_uri", AT)], 401, "invalid_client"),
        ("with a guessed secret", Some(basic("honest", "wrong-wrong-wrong-wrong-wrong")), vec![("redirect_uri", AT)], 401, "invalid_client"),
    ] {
        let form: Vec<(&str, &str)> = own.iter().chain(&more).copied().collect();
        redeem(&world, authorization.as_deref(), &form).await.refused(status, error);
        trail.refused(attack, "token", error, "").await;
    }
    let good: Vec<(&str, &str)> = own.iter().copied().chain([("redirect_uri", AT)]).collect();
    let owner = Tokens(redeem(&world, Some(&honest_app), &good).await.is(200).json());
    assert!(world.is_active(owner.access()).await);
    trail.nothing_refused("the owner").await;
}

/// RFC 9700 §4.4: each answer says who answers, and what one issuer gave is nothing at another.
#[tokio::test]
async fn mix_up() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    let metadata = world.get("/.well-known/oauth-authorization-server").await.is(200).json();
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true, "RFC 9207 §3");
    for mode in ["query", "fragment", "form_post"] {
        let launch = world.ehr().client("honest").launch().await;
        let mut browser = world.browser();
        browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
        for (ask, said) in [(honest(&world).set("response_type", "token"), "error"), (honest(&world).launched(&launch), "code")] {
            let page = ask.set("response_mode", mode).authorize(&mut browser).await;
            let answer: String = match mode {
                "form_post" => page.reply.body.clone(),
                _ => page.reply.header("location").unwrap().to_owned(),
            };
            let iss = if mode == "form_post" { world.issuer().to_owned() } else { form_urlencoded::byte_serialize(world.issuer().as_bytes()).collect() };
            assert!(answer.contains(said) && answer.contains("iss") && answer.contains(&iss), "{mode} {said}: {answer}");
        }
    }
    trail.records().await;
    // The attacker's issuer made the app send it the code of the honest one: it is the hospital, which takes none of them.
    let hospital = world.demo.facts.hospital.as_ref().unwrap();
    let there = hospital.clients.values().find(|client| client.client_id != "fhir-server").unwrap();
    let credentials = basic(&there.client_id, there.client_secret.as_ref().unwrap().expose());
    let stolen = code(&honest(&world)).await;
    let form = [("grant_type", "authorization_code"), ("code", stolen.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
    for (attack, authorization, status, error) in [
        ("the code at the other issuer", credentials, 400, "unauthorized_client"),
        ("with the app's credentials of here", basic("honest", SECRET), 401, "invalid_client"),
    ] {
        let sent = world.http.post(format!("{}/token", hospital.issuer)).header("authorization", authorization).form(&form).send().await.unwrap();
        let reply = Reply::of(sent).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{attack}: {}", reply.body);
    }
    // And the code is still its owner's.
    redeem(&world, Some(&basic("honest", SECRET)), &form[1..]).await.is(200);
}

/// RFC 9700 §4.8.2, RFC 7636 §4.4.1, §7.2.
#[tokio::test]
async fn pkce_downgrade() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    let challenge = helsebro::protocol::pkce::CodeVerifier::parse(VERIFIER).unwrap().challenge();
    // The browser's request, changed on its way.
    for (attack, ask) in [
        ("stripped", honest(&world).unset("code_challenge").unset("code_challenge_method")),
        ("emptied", honest(&world).set("code_challenge", "").set("code_challenge_method", "")),
        ("without its method, which would be plain", honest(&world).unset("code_challenge_method")),
        ("plain", honest(&world).set("code_challenge", VERIFIER).set("code_challenge_method", "plain")),
        ("none", honest(&world).set("code_challenge_method", "none")),
        ("twice, the second plain", honest(&world).add("code_challenge_method", "plain")),
    ] {
        let page = ask.authorize(&mut world.browser()).await.is(303);
        assert_eq!(page.param("error").as_deref(), Some("invalid_request"), "{attack}");
        trail.refused(attack, "authorize", "invalid_request", "").await;
        let form: Vec<(&str, &str)> = ask.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        world.post("/par", Some(&basic("honest", SECRET)), &form).await.refused(400, "invalid_request");
        trail.refused(attack, "par", "invalid_request", "").await;
    }
    // The token request: nothing instead of the verifier, and nothing that could be known from the browser.
    for (attack, more) in [
        ("no verifier", vec![]),
        ("an empty one", vec![("code_verifier", "")]),
        ("the challenge for it", vec![("code_verifier", challenge.as_str())]),
        ("the challenge, said to be plain", vec![("code_verifier", challenge.as_str()), ("code_challenge_method", "plain")]),
        ("a challenge anew", vec![("code_verifier", OTHER_VERIFIER), ("code_challenge", OTHER_VERIFIER), ("code_challenge_method", "plain")]),
    ] {
        for (app, authorization) in [(honest(&world), Some(basic("honest", SECRET))), (open(&world), None)] {
            let code = code(&app).await;
            let mut form = vec![("code", code.as_str()), ("redirect_uri", app.redirect_uri.as_str()), ("client_id", app.id.as_str())];
            form.extend(&more);
            let reply = redeem(&world, authorization.as_deref(), &form).await;
            assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_grant")), "{attack} {}: {}", app.id, reply.body);
            trail.refused(attack, "token", "invalid_grant", "verifier").await;
        }
    }
}

/// RFC 9700 §4.14.2: who shows a token that was replaced ends it for both, and the record says so.
#[tokio::test]
async fn refresh_token_theft() {
    let world = World::with_clients(CLIENTS).await;
    let mut trail = Trail::new(&world).await;
    let app = open(&world);
    // The owner is ahead of the thief.
    let first = tokens(&app).await;
    let second = Tokens(app.refresh(first.refresh()).await.is(200).json());
    let third = Tokens(app.refresh(second.refresh()).await.is(200).json());
    trail.nothing_refused("the owner").await;
    app.refresh(first.refresh()).await.refused(400, "invalid_grant");
    let record = trail.refused("the thief is late", "refresh", "invalid_grant", "").await;
    assert!(record["grant"].is_string() && record["client"] == "open", "{record}");
    for dead in [&first, &second, &third] {
        assert!(!world.is_active(dead.access()).await);
        app.refresh(dead.refresh()).await.refused(400, "invalid_grant");
        trail.refused("after it", "refresh", "invalid_grant", "").await;
    }
    // The thief is ahead of the owner: then the owner's next try gives the theft away.
    let stolen = tokens(&app).await;
    let thief = Tokens(app.refresh(stolen.refresh()).await.is(200).json());
    let further = Tokens(app.refresh(thief.refresh()).await.is(200).json());
    trail.nothing_refused("the thief, so far").await;
    app.refresh(stolen.refresh()).await.refused(400, "invalid_grant");
    trail.refused("the owner is late", "refresh", "invalid_grant", "").await;
    assert!(!world.is_active(thief.access()).await && !world.is_active(further.access()).await, "the thief has nothing left");
    // A confidential app's is nothing without its credentials, and as another client's own.
    let app = honest(&world);
    let credentials = basic("honest", SECRET);
    let form = [("grant_type", "authorization_code"), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
    let code = code(&app).await;
    let form: Vec<(&str, &str)> = form.iter().copied().chain([("code", code.as_str())]).collect();
    let owner = Tokens(world.post("/token", Some(&credentials), &form).await.is(200).json());
    let ask = [("grant_type", "refresh_token"), ("refresh_token", owner.refresh())];
    trail.records().await;
    for (attack, authorization, client, status, error) in [
        ("nobody", None, None, 401, "invalid_client"),
        ("by name alone", None, Some("honest"), 401, "invalid_client"),
        ("with a guess", Some(basic("honest", "wrong-wrong-wrong-wrong-wrong")), None, 401, "invalid_client"),
        ("as the attacker's app", None, Some("evil"), 400, "invalid_grant"),
    ] {
        let mut form = ask.to_vec();
        form.extend(client.map(|client| ("client_id", client)));
        let reply = world.post("/token", authorization.as_deref(), &form).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (status, Some(error)), "{attack}: {}", reply.body);
        trail.refused(attack, if error == "invalid_client" { "token" } else { "refresh" }, error, "").await;
    }
    assert!(world.is_active(owner.access()).await, "trying ended nothing");
    world.post("/token", Some(&credentials), &ask).await.is(200);
}
