//! Tokens that somebody made: another algorithm, no signature, a key that came along in the header. RFC 8725 §2.1, §3.1, §3.10; RFC 7515 §4.1.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use helsebro::jose::{Alg, SigningKey};
use serde_json::{Value, json};

use super::{CLIENTS, Trail, code, honest};
use crate::world::{ASSERTION_TYPE, Prover, Reply, Tokens, World, assertion, claims, client_key, header};

/// The attacker's server, with the attacker's keys at every path: nobody may ask it for anything.
struct Trap {
    host: String,
    asked: Arc<AtomicUsize>,
}

impl Trap {
    async fn start(key: &SigningKey) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let (count, keys) = (Arc::clone(&asked), json!({ "keys": [key.public_jwk().to_value()] }).to_string());
        let answer = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let keys = keys.clone();
            async move { ([("content-type", "application/json")], keys) }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
        Self { host, asked }
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn mac(alg: hmac::Algorithm, header: &Value, claims: &Value, secret: &[u8]) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(alg, secret), text.as_bytes()).as_ref()))
}

/// SubjectPublicKeyInfo of an RSA key in PEM, as tools print it: the classic secret of algorithm confusion.
fn pem(jwk: &Value) -> Option<String> {
    use rsa::pkcs8::EncodePublicKey as _;
    let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str()?).ok().map(|bytes| rsa::BigUint::from_bytes_be(&bytes));
    let key = rsa::RsaPublicKey::new(number("n")?, number("e")?).ok()?;
    key.to_public_key_pem(rsa::pkcs8::LineEnding::LF).ok()
}

/// A real token, made again by somebody without its key.
fn made_again(real: &str, public: &Value, own: &SigningKey, trap: &str) -> Vec<(String, String)> {
    let (head, body) = (header(real), claims(real));
    let (text, signature) = real.rsplit_once('.').unwrap();
    let with = |changes: &[(&str, Value)]| {
        let mut head = head.clone();
        changes.iter().for_each(|(name, value)| head[*name] = value.clone());
        head
    };
    let mut forged = Vec::new();
    // No signature, in every way of writing it.
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let text = format!("{}.{}", part(&with(&[("alg", json!(none))])), part(&body));
        forged.push((format!("alg `{none}`"), format!("{text}.")));
        forged.push((format!("alg `{none}` and a signature"), format!("{text}.{signature}")));
    }
    forged.push(("alg is absent".to_owned(), {
        let mut head = head.clone();
        head.as_object_mut().unwrap().remove("alg");
        format!("{}.{}.{signature}", part(&head), part(&body))
    }));
    forged.push(("no signature".to_owned(), format!("{text}.")));
    forged.push(("zeros".to_owned(), format!("{text}.{}", URL_SAFE_NO_PAD.encode([0u8; 256]))));
    // The public key as a shared secret.
    let secrets =
        [Some(public.to_string().into_bytes()), pem(public).map(String::into_bytes), pem(public).map(|pem| pem.trim_end().as_bytes().to_vec()), Some(vec![])];
    for (n, secret) in secrets.into_iter().enumerate() {
        let Some(secret) = secret else { continue };
        for (alg, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
            forged.push((format!("{alg} with the public key, {n}"), mac(algorithm, &with(&[("alg", json!(alg))]), &body, &secret)));
        }
    }
    // The attacker's key, brought along or pointed at.
    let jwk = own.public_jwk().to_value();
    let own_alg = ("alg", json!(own.alg().as_str()));
    let sign = |head: Value| own.sign_with_header(&head, &body).unwrap();
    let x5c = STANDARD.encode([0x30, 0x82, 0x01, 0x0a]);
    for (attack, changes) in [
        ("jwk", vec![("jwk", jwk.clone())]),
        (
            "jwk under our kid",
            vec![("jwk", {
                let mut jwk = jwk.clone();
                jwk["kid"] = head["kid"].clone();
                jwk
            })],
        ),
        ("jwk and its kid", vec![("jwk", jwk.clone()), ("kid", json!(own.kid()))]),
        ("a symmetric jwk", vec![("jwk", json!({ "kty": "oct", "k": "AAAA" }))]),
        ("jku", vec![("jku", json!(format!("{trap}/jwks")))]),
        ("jku and its kid", vec![("jku", json!(format!("{trap}/jwks"))), ("kid", json!(own.kid()))]),
        ("x5u", vec![("x5u", json!(format!("{trap}/cert.pem")))]),
        ("x5c", vec![("x5c", json!([x5c]))]),
        ("kid that is an address", vec![("kid", json!(format!("{trap}/jwks")))]),
        ("kid that is a path", vec![("kid", json!("../../../../dev/null"))]),
        ("kid that is a statement", vec![("kid", json!("x' UNION SELECT 'AA'--"))]),
        ("kid that is a list", vec![("kid", json!([head["kid"]]))]),
        ("a key of somebody's under our kid", vec![]),
        ("crit that nobody knows", vec![("crit", json!(["exp"])), ("exp", json!(0))]),
        ("b64 switched off", vec![("crit", json!(["b64"])), ("b64", json!(false))]),
        ("zip", vec![("zip", json!("DEF"))]),
    ] {
        let changes: Vec<(&str, Value)> = changes.into_iter().chain([own_alg.clone()]).collect();
        forged.push((attack.to_owned(), sign(with(&changes))));
    }
    // Two headers in one, and forms that are not the compact one.
    let twice = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"none",{}"#, head.to_string().trim_start_matches('{')));
    forged.push(("alg twice".to_owned(), format!("{twice}.{}.{signature}", part(&body))));
    let json_form = json!({ "payload": part(&body), "protected": part(&head), "signature": signature });
    forged.push(("the JSON form".to_owned(), json_form.to_string()));
    forged.push(("as if encrypted".to_owned(), format!("{}.{}.{}.{}.{}", part(&json!({ "alg": "dir", "enc": "A256GCM" })), "", "AAAA", part(&body), "AAAA")));
    // Real in part.
    let mut more = body.clone();
    more["scope"] = json!("launch:create system/*.cruds");
    more["exp"] = json!(4_000_000_000_i64);
    forged.push(("claims changed under a real signature".to_owned(), format!("{}.{}.{signature}", text.split_once('.').unwrap().0, part(&more))));
    forged
}

/// The public key of ours that a token names.
async fn public_of(world: &World, token: &str) -> Value {
    let keys = world.get("/jwks").await.is(200).json();
    keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header(token)["kid"]).unwrap().clone()
}

/// RFC 8725 §2.1; `jwk`, `jku`, `x5u`, `x5c`: RFC 8725 §3.10. At every place that takes a token of ours.
#[tokio::test]
async fn algorithm_confusion_and_jwk_injection() {
    let world = World::with_clients(CLIENTS).await;
    let own = client_key(Alg::RS256);
    let trap = Trap::start(&own).await;
    let app = honest(&world);
    let form = |code: String| {
        vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("redirect_uri", super::AT.to_owned()),
            ("code_verifier", crate::world::VERIFIER.to_owned()),
        ]
    };
    let form = form(code(&app).await);
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let tokens = Tokens(world.post("/token", Some(&crate::world::basic("honest", super::SECRET)), &form).await.is(200).json());
    let ehr = world.ehr().token().await;
    let mut trail = Trail::new(&world).await;

    // As a credential: of a user, of the EHR, of whoever introspects.
    for (attack, forged) in made_again(tokens.access(), &public_of(&world, tokens.access()).await, &own, &trap.host) {
        let Ok(shown) = axum::http::HeaderValue::from_str(&format!("Bearer {forged}")) else { continue };
        let reply = Reply::of(world.http.get(format!("{}/userinfo", world.issuer())).header("authorization", shown.clone()).send().await.unwrap()).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (401, Some("invalid_token")), "{attack} at userinfo: {}", reply.body);
        trail.refused(&attack, "userinfo", "invalid_token", "").await;
        assert!(!world.is_active(&forged).await, "{attack} at introspection");
        trail.records().await;
        let read = Reply::of(world.http.get(format!("{}/Patient/pasient-01", world.fhir())).header("authorization", shown).send().await.unwrap()).await;
        assert_eq!(read.status, 401, "{attack} at the FHIR server: {}", read.body);
        trail.records().await;
        // Slowly, for what is guessed is counted.
        world.advance(3);
    }
    for (attack, forged) in made_again(&ehr, &public_of(&world, &ehr).await, &own, &trap.host) {
        for path in ["/launches", "/launches/end-session"] {
            let sent =
                world.http.post(format!("{}{path}", world.issuer())).header("authorization", format!("Bearer {forged}")).json(&world.ehr().body).send().await;
            let reply = Reply::of(sent.unwrap()).await;
            assert_eq!((reply.status, reply.json()["error"].as_str()), (401, Some("invalid_token")), "{attack} at {path}: {}", reply.body);
            trail.refused(&attack, path.rsplit_once('/').unwrap().1.trim_end_matches("es"), "invalid_token", "").await;
        }
        world.advance(3);
    }
    // As a hint of who is to be logged out, or answered without a page.
    let id_token = tokens.text("id_token");
    for (attack, forged) in made_again(id_token, &public_of(&world, id_token).await, &own, &trap.host) {
        let reply = world.post("/logout", None, &[("id_token_hint", &forged), ("post_logout_redirect_uri", "http://127.0.0.1:4567/bye")]).await;
        assert_eq!(reply.header("location"), None, "{attack} as id_token_hint");
        let page = app.clone().set("scope", "openid").set("prompt", "none").set("id_token_hint", &forged).authorize(&mut world.browser()).await;
        assert!(page.param("code").is_none(), "{attack}");
    }
    assert!(world.is_active(tokens.access()).await, "nobody was logged out");
    assert_eq!(trap.asked.load(Ordering::SeqCst), 0, "the attacker's server was asked");
}

/// The same for what clients sign: assertions and proofs.
#[tokio::test]
async fn algorithm_confusion_and_jwk_injection_by_clients() {
    let world = World::start().await;
    let own = client_key(Alg::ES384);
    let trap = Trap::start(&own).await;
    let key = world.key("lab-sync");
    let mut trail = Trail::new(&world).await;
    let real = || {
        let (head, body) = assertion(&key, "lab-sync", &world.token_endpoint(), world.now());
        key.sign_with_header(&head, &body).unwrap()
    };
    let forged = || made_again(&real(), &key.public_jwk().to_value(), &own, &trap.host);
    let form = [("grant_type", "client_credentials"), ("scope", "system/Patient.rs")];
    for place in 0..forged().len() {
        // Made anew each time, slowly: what is guessed is counted, and an assertion is good for a minute.
        world.advance(61);
        let (attack, forged) = forged().swap_remove(place);
        world.token_with(&forged, &form).await.refused(401, "invalid_client");
        trail.refused(&attack, "token", "invalid_client", "").await;
    }
    world.token_with(&real(), &form).await.is(200);
    trail.nothing_refused("the real one").await;

    // A proof carries its key, and no other way to one.
    let prover = Prover::new();
    let fresh = || Prover::claims("POST", &world.token_endpoint(), world.now());
    let real = prover.sign(&fresh());
    let thief = Prover::new();
    let public = prover.0.public_jwk().to_value();
    let forged = made_again(&real, &public, &thief.0, &trap.host);
    let changed: [(&str, String); 3] = [
        (
            "jku beside jwk",
            thief.broken(&fresh(), |header, _| {
                header["jku"] = json!(trap.host);
                header["jwk"] = public.clone();
            }),
        ),
        (
            "kid for jwk",
            prover.broken(&fresh(), |header, _| {
                header.as_object_mut().unwrap().remove("jwk");
                header["kid"] = json!("x");
            }),
        ),
        (
            "x5u for jwk",
            prover.broken(&fresh(), |header, _| {
                header.as_object_mut().unwrap().remove("jwk");
                header["x5u"] = json!(trap.host);
            }),
        ),
    ];
    // A key swapped in whole makes a proof of its own, which is good for the thief's key and nothing else.
    let ours = |attack: &str| !matches!(attack, "jwk" | "jwk under our kid" | "jwk and its kid");
    for (attack, proof) in forged.into_iter().filter(|(attack, _)| ours(attack)).chain(changed.map(|(attack, proof)| (attack.to_owned(), proof))) {
        // A header that is no header value is nothing to send.
        let assertion = world.assertion("regional-portal");
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("grant_type", "authorization_code"),
                ("code", "code_x"),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", &assertion),
            ])
            .finish();
        let reply = world.request("POST", "/token", &[("content-type", "application/x-www-form-urlencoded"), ("dpop", &proof)], body).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_dpop_proof")), "{attack}: {}", reply.body);
        trail.refused(&attack, "token", "invalid_dpop_proof", "").await;
    }
    assert_eq!(trap.asked.load(Ordering::SeqCst), 0, "the attacker's server was asked");
}
