//! Tokens bound to a key, at every endpoint that gives or takes one. RFC 9449; SAL §8.8; helseid.md §2.7, §6.8 T6, T8, T14.

use helsebro::jose::Alg;
use helsebro::protocol::dpop::ProofClaims;
use helsebro::secret::Secret;
use serde_json::{Value, json};

use crate::world::{ASSERTION_TYPE, Bare, Prover, Reply, Tokens, VERIFIER, World, assertion, client_key, jwks_toml};

const PORTAL: &str = "regional-portal";
const SCOPE: &str = "launch openid fhirUser offline_access patient/Patient.rs patient/Encounter.rs patient/Condition.rs";
const AT: &str = "http://127.0.0.1:4567/cb";

/// Sends a form to the token endpoint, with any number of proofs.
async fn ask(world: &World, proofs: &[&str], form: &[(&str, &str)]) -> Reply {
    let mut request = world.http.post(world.token_endpoint()).form(form);
    for proof in proofs {
        request = request.header("dpop", *proof);
    }
    Reply::of(request.send().await.unwrap()).await
}

/// The same as the portal, with an assertion of its own each time.
async fn ask_as_portal(world: &World, proofs: &[&str], form: &[(&str, &str)]) -> Reply {
    let assertion = world.assertion(PORTAL);
    let mut form = form.to_vec();
    form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &assertion)]);
    ask(world, proofs, &form).await
}

/// A launch of the portal, to its code.
async fn portal_code(world: &World) -> (String, String) {
    let launch = world.ehr().client(PORTAL).launch().await;
    let app = world.app(PORTAL).set("scope", SCOPE);
    (app.open(&mut world.browser(), &launch).await, app.redirect_uri)
}

fn code_form<'a>(code: &'a str, redirect: &'a str) -> [(&'a str, &'a str); 4] {
    [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect), ("code_verifier", VERIFIER)]
}

async fn portal_tokens(world: &World, key: &Prover) -> Tokens {
    let (code, redirect) = portal_code(world).await;
    let proof = key.proof("POST", &world.token_endpoint(), world.now());
    Tokens(ask_as_portal(world, &[&proof], &code_form(&code, &redirect)).await.is(200).json())
}

/// A request to any URL with an `Authorization` and proofs.
async fn show(world: &World, method: &str, url: &str, authorization: &str, proofs: &[&str]) -> Reply {
    let mut request = world.http.request(method.parse().unwrap(), url).header("authorization", authorization);
    for proof in proofs {
        request = request.header("dpop", *proof);
    }
    Reply::of(request.send().await.unwrap()).await
}

/// RFC 9449 §7.1: 401, and a challenge of this scheme that names what was wrong and what proofs may be signed with.
#[track_caller]
fn challenged(reply: &Reply, error: &str, case: &str) {
    assert_eq!(reply.status, 401, "{case}: {}", reply.body);
    let lines: Vec<&str> = reply.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect();
    let [line] = lines.as_slice() else { panic!("{case}: {lines:?}") };
    assert!(line.starts_with("DPoP ") && line.contains(&format!("error=\"{error}\"")) && line.contains("algs=\"ES256 "), "{case}: {line}");
}

#[tokio::test]
async fn a_bound_token_works_with_its_proofs_everywhere() {
    let world = World::start().await;
    let (key, now) = (Prover::new(), world.now());
    let tokens = portal_tokens(&world, &key).await;
    assert_eq!((tokens.text("token_type"), &crate::world::claims(tokens.access())["cnf"]), ("DPoP", &json!({ "jkt": key.jkt() })));
    // RFC 9449 §6.2.
    let seen = world.introspect(tokens.access()).await;
    assert_eq!((&seen["active"], &seen["token_type"], &seen["cnf"]["jkt"]), (&json!(true), &json!("DPoP"), &json!(key.jkt())));

    let shown = format!("DPoP {}", tokens.access());
    let patient = format!("{}/Patient/{}", world.fhir(), tokens.text("patient"));
    for (method, url, status) in
        [("GET", format!("{}/userinfo", world.issuer()), 200), ("POST", format!("{}/userinfo", world.issuer()), 200), ("GET", patient, 200)]
    {
        let proof = key.beside(method, &url, tokens.access(), now);
        show(&world, method, &url, &shown, &[&proof]).await.is(status);
        challenged(&show(&world, method, &url, &shown, &[&proof]).await, "invalid_dpop_proof", "a proof is good once");
    }
    // A query is no part of what is proved. RFC 9449 §4.2.
    let search = format!("{}/Condition", world.fhir());
    let proof = key.beside("GET", &search, tokens.access(), now);
    show(&world, "GET", &format!("{search}?_count=1"), &shown, &[&proof]).await.is(200);
    // Right token, wrong scope: said under the scheme it came with.
    let outside = format!("{}/Observation", world.fhir());
    let reply = show(&world, "GET", &outside, &shown, &[&key.beside("GET", &outside, tokens.access(), now)]).await.is(403);
    assert!(reply.header("www-authenticate").unwrap().starts_with("DPoP ") && reply.body.contains("OperationOutcome"));

    // RFC 9449 §5: a confidential client's refresh token is bound by its authentication; the key may change.
    let other = Prover::new();
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())];
    let proof = other.proof("POST", &world.token_endpoint(), world.now());
    let fresh = Tokens(ask_as_portal(&world, &[&proof], &refresh).await.is(200).json());
    assert_eq!((fresh.text("token_type"), &crate::world::claims(fresh.access())["cnf"]["jkt"]), ("DPoP", &json!(other.jkt())));
    ask_as_portal(&world, &[], &refresh).await.refused(400, "invalid_dpop_proof");
    ask_as_portal(&world, &[&proof], &refresh).await.refused(400, "invalid_dpop_proof");
}

/// RFC 9449 §4.3, §5; helseid.md §2.7, T14.
#[tokio::test]
async fn a_proof_that_proves_nothing_gives_no_token_and_costs_no_code() {
    let world = World::start().await;
    let (code, redirect) = portal_code(&world).await;
    let form = code_form(&code, &redirect);
    let (key, url, now) = (Prover::new(), world.token_endpoint(), world.now());
    let fresh = || Prover::claims("POST", &url, now);
    let hs = |claims: &ProofClaims| {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
        let head = json!({ "typ": "dpop+jwt", "alg": "HS256", "jwk": { "kty": "oct", "k": B64.encode("k") } });
        let text = format!("{}.{}", B64.encode(head.to_string()), B64.encode(serde_json::to_vec(claims).unwrap()));
        let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"k"), text.as_bytes());
        format!("{text}.{}", B64.encode(tag.as_ref()))
    };
    let unsigned = |proof: &str| format!("{}.", proof.rsplit_once('.').unwrap().0);
    let rows: Vec<(&str, Vec<String>)> = vec![
        ("none", vec![]),
        ("two", vec![key.sign(&fresh()), key.sign(&fresh())]),
        ("the same twice", vec![key.sign(&fresh()); 2]),
        ("empty", vec![String::new()]),
        ("no JWT", vec!["proof".to_owned()]),
        ("an access token", vec![world.ehr().token().await]),
        ("another method", vec![key.proof("GET", &url, now)]),
        ("another URL", vec![key.proof("POST", &format!("{}/userinfo", world.issuer()), now)]),
        ("another host", vec![key.proof("POST", "http://other.example/token", now)]),
        ("old", vec![key.proof("POST", &url, now - 62)]),
        ("early", vec![key.proof("POST", &url, now + 12)]),
        ("proof_private_jwk", vec![key.broken(&fresh(), |header, _| header["jwk"] = key.0.to_private_jwk().unwrap())]),
        ("another's key", vec![key.broken(&fresh(), |header, _| header["jwk"] = json!(Prover::new().0.public_jwk()))]),
        ("alg none", vec![unsigned(&key.broken(&fresh(), |header, _| header["alg"] = json!("none")))]),
        ("no signature", vec![unsigned(&key.sign(&fresh()))]),
        ("HS256", vec![hs(&fresh())]),
        ("another typ", vec![key.broken(&fresh(), |header, _| header["typ"] = json!("JWT"))]),
        ("no jti", vec![key.broken(&fresh(), |_, claims| drop(claims.as_object_mut().unwrap().remove("jti")))]),
        ("no iat", vec![key.broken(&fresh(), |_, claims| drop(claims.as_object_mut().unwrap().remove("iat")))]),
    ];
    for (case, proofs) in rows {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let reply = ask_as_portal(&world, &proofs, &form).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_dpop_proof")), "{case}: {}", reply.body);
        assert_eq!((reply.header("www-authenticate"), reply.header("cache-control")), (None, Some("no-store")), "{case}");
    }
    // helseid.md §2.7: who the client is comes first, whatever the proof is worth.
    let mut stranger = form.to_vec();
    stranger.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", "e30.e30.e30")]);
    for proofs in [vec![], vec!["proof"]] {
        ask(&world, &proofs, &stranger).await.refused(401, "invalid_client");
    }
    let used = key.sign(&fresh());
    ask_as_portal(&world, &[&used], &code_form("code_0123_x", &redirect)).await.refused(400, "invalid_grant");
    ask_as_portal(&world, &[&used], &form).await.refused(400, "invalid_dpop_proof");
    ask_as_portal(&world, &[&key.sign(&fresh())], &form).await.is(200);
}

/// RFC 9449 §7.1, §7.2; helseid.md T8.
#[tokio::test]
async fn a_bound_token_is_nothing_without_its_key() {
    let world = World::start().await;
    let (key, thief) = (Prover::new(), Prover::new());
    let tokens = portal_tokens(&world, &key).await;
    let plain = world.app("syk-inn").tokens(&world.ehr().launch().await).await;
    let (token, now) = (tokens.access(), world.now());
    let patient = format!("{}/Patient/{}", world.fhir(), tokens.text("patient"));
    let userinfo = format!("{}/userinfo", world.issuer());
    for url in [&userinfo, &patient] {
        let claims = || Prover::claims("GET", url, now);
        let beside = |claims: ProofClaims| key.sign(&claims.with_token(&Secret::new(token.to_owned())));
        let good = || key.beside("GET", url, token, now);
        let dpop = format!("DPoP {token}");
        let rows: Vec<(&str, String, Vec<String>, &str)> = vec![
            ("as Bearer", format!("Bearer {token}"), vec![], "invalid_token"),
            ("as Bearer, with a proof", format!("Bearer {token}"), vec![good()], "invalid_token"),
            ("a plain token as DPoP", format!("DPoP {}", plain.access()), vec![key.beside("GET", url, plain.access(), now)], "invalid_token"),
            ("no token at all of ours", "DPoP garbage".to_owned(), vec![key.beside("GET", url, "garbage", now)], "invalid_token"),
            ("another key", dpop.clone(), vec![thief.beside("GET", url, token, now)], "invalid_token"),
            ("no proof", dpop.clone(), vec![], "invalid_dpop_proof"),
            ("two proofs", dpop.clone(), vec![good(), good()], "invalid_dpop_proof"),
            ("no ath", dpop.clone(), vec![key.sign(&claims())], "invalid_dpop_proof"),
            ("another token's ath", dpop.clone(), vec![key.beside("GET", url, plain.access(), now)], "invalid_dpop_proof"),
            ("another method", dpop.clone(), vec![key.beside("POST", url, token, now)], "invalid_dpop_proof"),
            ("another URL", dpop.clone(), vec![key.beside("GET", &format!("{url}x"), token, now)], "invalid_dpop_proof"),
            ("the token endpoint's", dpop.clone(), vec![key.beside("POST", &world.token_endpoint(), token, now)], "invalid_dpop_proof"),
            ("old", dpop.clone(), vec![key.beside("GET", url, token, now - 62)], "invalid_dpop_proof"),
            ("early", dpop.clone(), vec![key.beside("GET", url, token, now + 12)], "invalid_dpop_proof"),
            ("a changed claim", dpop.clone(), vec![swapped(&good(), &beside(claims()))], "invalid_dpop_proof"),
        ];
        for (case, authorization, proofs, error) in rows {
            let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
            challenged(&show(&world, "GET", url, &authorization, &proofs).await, error, &format!("{case} at {url}"));
        }
        show(&world, "GET", url, &dpop, &[&good()]).await.is(200);
        // No token: both schemes are offered, and nothing is said to be wrong. RFC 6750 §3.
        let reply = Reply::of(world.http.get(url).send().await.unwrap()).await.is(401);
        let offered: Vec<&str> = reply.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect();
        assert!(matches!(offered.as_slice(), [one, two] if one.starts_with("Bearer ") && two.starts_with("DPoP ")), "{offered:?}");
        assert!(offered.iter().all(|line| !line.contains("error")), "{offered:?}");
    }
}

/// The header and claims of one proof under the signature of another.
fn swapped(one: &str, other: &str) -> String {
    format!("{}.{}", one.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1)
}

/// RFC 9449 §7 for what is meant for this server: the EHR's and the resource server's own tokens.
#[tokio::test]
async fn tokens_for_this_server_are_bound_too() {
    let own = client_key(Alg::ES384);
    let service = |id: &str, scope: &str| {
        format!("[[client]]\nclient_id = {id:?}\nauth = \"private_key_jwt\"\ndpop = \"required\"\nscopes = {scope:?}\n{}\n\n", jwks_toml(&[&own]))
    };
    let world = World::with_clients(&service("bound-epj", "launch:create")).await;
    let (key, now) = (Prover::new(), world.now());
    let (header, claims) = assertion(&own, "bound-epj", &world.token_endpoint(), now);
    let jwt = own.sign_with_header(&header, &claims).unwrap();
    let form = [("grant_type", "client_credentials"), ("scope", "launch:create"), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)];
    let reply = ask(&world, &[&key.proof("POST", &world.token_endpoint(), now)], &form).await.is(200);
    let token = reply.json()["access_token"].as_str().unwrap().to_owned();
    let url = format!("{}/launches", world.issuer());
    let send = async |authorization: String, proof: Option<String>| {
        let mut request = world.http.post(&url).header("authorization", authorization).json(&world.ehr().body);
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        Reply::of(request.send().await.unwrap()).await
    };
    challenged(&send(format!("Bearer {token}"), None).await, "invalid_token", "as Bearer");
    challenged(&send(format!("DPoP {token}"), None).await, "invalid_dpop_proof", "no proof");
    let elsewhere = key.beside("POST", &format!("{url}/end-session"), &token, now);
    challenged(&send(format!("DPoP {token}"), Some(elsewhere)).await, "invalid_dpop_proof", "the other path");
    send(format!("DPoP {token}"), Some(key.beside("POST", &url, &token, now))).await.is(201);

    // At introspection as the credential of whoever asks: enough to be known, not enough to see.
    let url = format!("{}/introspect", world.issuer());
    let look = async |authorization: String, proof: Option<String>| {
        let mut request = world.http.post(&url).header("authorization", authorization).form(&[("token", token.as_str())]);
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        Reply::of(request.send().await.unwrap()).await
    };
    challenged(&look(format!("Bearer {token}"), None).await, "invalid_token", "as Bearer");
    challenged(&look(format!("DPoP {token}"), None).await, "invalid_dpop_proof", "no proof");
    let reply = look(format!("DPoP {token}"), Some(key.beside("POST", &url, &token, now))).await;
    reply.refused(403, "insufficient_scope");
    assert!(reply.header("www-authenticate").unwrap().starts_with("DPoP "), "{:?}", reply.headers);
}

fn public(id: &str, more: &str) -> String {
    format!(
        "[[client]]\nclient_id = {id:?}\nauth = \"none\"\nredirect_uris = [{AT:?}]\nlaunch_urls = [\"http://127.0.0.1:4567/launch\"]\nscopes = \"openid offline_access launch patient/*.rs\"\nconsent = \"pre-approved\"\n{more}\n\n"
    )
}

/// RFC 9449 §5: refresh tokens of public clients; §10: codes of anybody who asks for it.
#[tokio::test]
async fn codes_and_refresh_tokens_are_bound_to_the_key_they_were_got_with() {
    let world = World::with_clients(&format!("{}{}", public("browser-app", ""), public("never", "dpop = \"off\""))).await;
    let (key, thief, url, now) = (Prover::new(), Prover::new(), world.token_endpoint(), world.now());
    let launch = async |id: &str| world.ehr().client(id).launch().await;
    let app = |id: &str| world.app(id).at(AT).set("scope", "openid offline_access launch patient/Patient.rs");
    let send = async |id: &str, prover: Option<&Prover>, form: &[(&str, &str)]| {
        let proof = prover.map(|prover| prover.proof("POST", &url, now));
        let mut form = form.to_vec();
        form.push(("client_id", id));
        ask(&world, &proof.iter().map(String::as_str).collect::<Vec<_>>(), &form).await
    };

    let bound = app("browser-app").set("dpop_jkt", &key.jkt());
    let code = bound.open(&mut world.browser(), &launch("browser-app").await).await;
    for wrong in [None, Some(&thief)] {
        send("browser-app", wrong, &code_form(&code, AT)).await.refused(400, "invalid_dpop_proof");
    }
    let tokens = Tokens(send("browser-app", Some(&key), &code_form(&code, AT)).await.is(200).json());
    assert_eq!(tokens.text("token_type"), "DPoP");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())];
    for wrong in [None, Some(&thief)] {
        send("browser-app", wrong, &refresh).await.refused(400, "invalid_dpop_proof");
    }
    let second = Tokens(send("browser-app", Some(&key), &refresh).await.is(200).json());
    assert_eq!((second.text("token_type"), &crate::world::claims(second.access())["cnf"]["jkt"]), ("DPoP", &json!(key.jkt())));
    assert!(world.is_active(second.access()).await, "what was refused ended nothing");

    // Unbound until a refresh brings a key, and bound from then on.
    let code = app("browser-app").open(&mut world.browser(), &launch("browser-app").await).await;
    let plain = Tokens(send("browser-app", None, &code_form(&code, AT)).await.is(200).json());
    assert_eq!(plain.text("token_type"), "Bearer");
    let form = |token| [("grant_type", "refresh_token"), ("refresh_token", token)];
    let first = Tokens(send("browser-app", Some(&key), &form(plain.refresh())).await.is(200).json());
    assert_eq!(first.text("token_type"), "DPoP");
    send("browser-app", None, &form(first.refresh())).await.refused(400, "invalid_dpop_proof");
    send("browser-app", Some(&key), &form(first.refresh())).await.is(200);

    // A client whose tokens are never bound: proofs and `dpop_jkt` are passed over. SAL-315.
    let code = app("never").set("dpop_jkt", "x").open(&mut world.browser(), &launch("never").await).await;
    let never = Tokens(send("never", Some(&key), &code_form(&code, AT)).await.is(200).json());
    assert_eq!((never.text("token_type"), crate::world::claims(never.access()).get("cnf")), ("Bearer", None));

    for bad in ["x", &key.jkt()[1..], &format!("{}=", key.jkt())] {
        let page = app("browser-app").set("dpop_jkt", bad).authorize(&mut world.browser()).await;
        assert_eq!(page.param("error").as_deref(), Some("invalid_request"), "{bad}");
    }
}

/// RFC 9449 §11.1: of the same proof at the same moment one is taken.
#[tokio::test(flavor = "multi_thread")]
async fn of_one_proof_sent_many_times_at_once_one_is_taken() {
    let world = World::start().await;
    let key = Prover::new();
    let tokens = portal_tokens(&world, &key).await;
    for url in [format!("{}/userinfo", world.issuer()), format!("{}/Patient/{}", world.fhir(), tokens.text("patient"))] {
        let proof = key.beside("GET", &url, tokens.access(), world.now());
        let (shown, proofs) = (format!("DPoP {}", tokens.access()), [proof.as_str()]);
        let replies = futures_util::future::join_all((0..16).map(|_| show(&world, "GET", &url, &shown, &proofs))).await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1, "{url}");
        assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 401)), "{url}");
    }
}

fn with_nonces(origin: &str, data: &std::path::Path, keys: &str) -> String {
    format!(
        "[server]\nlisten = \"{}\"\nops_listen = \"127.0.0.1:0\"\n[store]\nkind = \"memory\"\n[keys]\ndir = {:?}\n[[issuer]]\nurl = {origin:?}\nlogin = [\"ehr\"]\ndpop_nonce = \"always\"\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\n[[client]]\nclient_id = \"service\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs {origin}/scopes/introspect\"\n{keys}\n",
        origin.strip_prefix("http://").unwrap(),
        data.join("keys"),
    )
}

/// RFC 9449 §8, §8.2, §9; helseid.md §2.7.
#[tokio::test]
async fn where_a_nonce_is_wanted_it_is_given_and_ages_out() {
    let own = client_key(Alg::ES256);
    let world = Bare::start(|origin, data| with_nonces(origin, data, &jwks_toml(&[&own]))).await;
    let (key, url) = (Prover::new(), format!("{}/token", world.origin));
    let scope = format!("{}/scopes/introspect", world.origin);
    let claims = |method: &str, url: &str, nonce: Option<&str>| Prover::claims(method, url, world.now()).with_nonce(nonce);
    let send = async |nonce: Option<&str>, proved: bool| {
        let (header, assertion_claims) = assertion(&own, "service", &url, world.now());
        let jwt = own.sign_with_header(&header, &assertion_claims).unwrap();
        let form = [("grant_type", "client_credentials"), ("scope", &scope), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)];
        let mut request = world.http.post(&url).form(&form);
        if proved {
            request = request.header("dpop", key.sign(&claims("POST", &url, nonce)));
        }
        Reply::of(request.send().await.unwrap()).await
    };
    let given = |reply: &Reply| reply.header("dpop-nonce").map(str::to_owned);

    assert_eq!(send(None, false).await.is(200).json()["token_type"], "Bearer", "no proof, no nonce");
    // The first try, without one or with an empty one.
    let reply = send(None, true).await;
    reply.refused(400, "use_dpop_nonce");
    assert_eq!(reply.header("www-authenticate"), None);
    let nonce = given(&reply).unwrap();
    send(Some(""), true).await.refused(400, "use_dpop_nonce");
    send(Some("made-up"), true).await.refused(400, "use_dpop_nonce");
    let reply = send(Some(&nonce), true).await.is(200);
    assert_eq!(given(&reply), None, "the nonce is still the current one");
    let token = reply.json()["access_token"].as_str().unwrap().to_owned();

    // At a resource of ours: 401, and a nonce all the same.
    let at = format!("{}/introspect", world.origin);
    let look = async |nonce: Option<&str>| {
        let proof = key.sign(&claims("POST", &at, nonce).with_token(&Secret::new(token.clone())));
        let request = world.http.post(&at).header("authorization", format!("DPoP {token}")).header("dpop", proof).form(&[("token", &token)]);
        Reply::of(request.send().await.unwrap()).await
    };
    let reply = look(None).await;
    challenged(&reply, "use_dpop_nonce", "no nonce");
    let seen = look(given(&reply).as_deref()).await.is(200).json();
    assert_eq!((&seen["active"], &seen["token_type"]), (&Value::Bool(true), &json!("DPoP")));

    // Used late it still does, and the answer brings its successor.
    world.advance(120);
    let reply = send(Some(&nonce), true).await.is(200);
    let next = given(&reply).unwrap();
    assert_ne!(next, nonce);
    assert_eq!(given(&send(Some(&next), true).await.is(200)), None);
    world.advance(120);
    let reply = send(Some(&nonce), true).await;
    reply.refused(400, "use_dpop_nonce");
    assert!(given(&reply).is_some_and(|latest| latest != nonce && latest != next));
}

/// A browser app reads the nonce and the challenge across origins. SAL §7.2.
#[tokio::test]
async fn browser_apps_may_send_proofs_and_read_nonces() {
    let world = World::with_clients(&public("browser-app", "")).await;
    let origin = ("origin", "http://127.0.0.1:4567");
    let wants = ("access-control-request-headers", "authorization,dpop");
    for path in ["/token", "/userinfo"] {
        let reply = world.request("OPTIONS", path, &[origin, ("access-control-request-method", "POST"), wants], "").await;
        assert!(reply.header("access-control-allow-headers").unwrap().contains("DPoP"), "{path}");
        let reply = world.request("POST", path, &[origin], "").await;
        let exposed = reply.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("DPoP-Nonce") && exposed.contains("WWW-Authenticate"), "{path}: {exposed}");
    }
}
