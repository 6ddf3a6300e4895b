//! How clients prove who they are, each row of SAL §5.3, and RFC 6749 §2.3. NAV §3.4.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use helsebro::jose::{Alg, SigningKey};
use serde_json::{Value, json};

use crate::world::{ASSERTION_TYPE, Prover, Reply, World, assertion, basic, client_key, jwks_toml};

const SERVICE: [(&str, &str); 2] = [("grant_type", "client_credentials"), ("scope", "system/Patient.rs")];

/// Any failure is `invalid_client`, 401, with a challenge. SAL-107, RFC 6749 §5.2.
#[track_caller]
fn refused(reply: &Reply, case: &str) {
    assert_eq!((reply.status, reply.json()["error"].as_str()), (401, Some("invalid_client")), "{case}: {}", reply.body);
    assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"helsebro\", charset=\"UTF-8\""), "{case}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{case}");
}

#[track_caller]
fn accepted(reply: &Reply, case: &str) {
    assert_eq!(reply.status, 200, "{case}: {}", reply.body);
}

fn service(id: &str, keys: &str) -> String {
    format!("[[client]]\nclient_id = \"{id}\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs\"\n{keys}\n\n")
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// T7 `assertion_jti_reuse`, `assertion_exp_too_far`.
#[tokio::test]
async fn every_algorithm_and_every_way_an_assertion_can_be_wrong() {
    let keys: Vec<SigningKey> = Alg::ALL.iter().map(|alg| client_key(*alg)).collect();
    let of = |alg: Alg| keys.iter().find(|key| key.alg() == alg).unwrap();
    let stranger = client_key(Alg::ES384);
    let es384_only = service("narrow", &format!("token_endpoint_auth_signing_alg = \"ES384\"\n{}", jwks_toml(&[of(Alg::ES384), of(Alg::ES256)])));
    let strict = "[[client]]\nclient_id = \"strict\"\nauth = \"private_key_jwt\"\nprofile = \"fapi2\"\nscopes = \"system/*.rs\"\n".to_owned();
    let strict = format!("{strict}{}\n\n", jwks_toml(&[of(Alg::ES256)]));
    let many = service("many", &jwks_toml(&keys.iter().collect::<Vec<_>>()));
    let world = World::with_clients(&format!("{many}{es384_only}{strict}")).await;
    let (endpoint, issuer) = (world.token_endpoint(), world.issuer().to_owned());
    let send = async |jwt: &str| world.token_with(jwt, &SERVICE).await;

    // SAL-100, NAV §3.4: whatever the client chooses, each time anew.
    for key in &keys {
        let (header, claims) = assertion(key, "many", &endpoint, world.now());
        accepted(&send(&key.sign_with_header(&header, &claims).unwrap()).await, key.alg().as_str());
    }

    let key = of(Alg::ES384);
    let now = world.now();
    // A change to the header and the claims, and whether it is then taken.
    type Change<'a> = Box<dyn Fn(&mut Value, &mut Value) + 'a>;
    let head = |name: &'static str, value: Value| -> Change<'_> { Box::new(move |header, _| header[name] = value.clone()) };
    let claim = |name: &'static str, value: Value| -> Change<'_> { Box::new(move |_, claims| claims[name] = value.clone()) };
    let drop_claim = |name: &'static str| -> Change<'_> { Box::new(move |_, claims| drop(claims.as_object_mut().unwrap().remove(name))) };
    let drop_head = |name: &'static str| -> Change<'_> { Box::new(move |header, _| drop(header.as_object_mut().unwrap().remove(name))) };
    let rows: Vec<(&str, Change<'_>, bool)> = vec![
        // §5.4
        ("aud: the token endpoint in an array of one", claim("aud", json!([endpoint])), true),
        ("aud: the issuer", claim("aud", json!(issuer)), true),
        ("aud: the issuer in an array of one", claim("aud", json!([issuer])), true),
        ("aud: two of ours", claim("aud", json!([endpoint, issuer])), false),
        ("aud: ours and another", claim("aud", json!([endpoint, "https://other.example"])), false),
        ("aud: a slash more", claim("aud", json!(format!("{endpoint}/"))), false),
        ("aud: the issuer with a slash", claim("aud", json!(format!("{issuer}/"))), false),
        ("aud: another case", claim("aud", json!(endpoint.to_uppercase())), false),
        ("aud: another endpoint", claim("aud", json!(format!("{issuer}/introspect"))), false),
        ("aud: the FHIR base", claim("aud", json!(world.fhir())), false),
        ("aud: empty array", claim("aud", json!([])), false),
        ("aud: a number", claim("aud", json!(1)), false),
        ("aud: missing", drop_claim("aud"), false),
        // §5.2, SAL-312
        ("typ: absent", drop_head("typ"), true),
        ("typ: jwt", head("typ", json!("jwt")), true),
        ("typ: application/jwt", head("typ", json!("application/jwt")), true),
        ("typ: client-authentication+jwt", head("typ", json!("client-authentication+jwt")), true),
        ("typ: at+jwt", head("typ", json!("at+jwt")), false),
        ("typ: dpop+jwt", head("typ", json!("dpop+jwt")), false),
        ("typ: logout+jwt", head("typ", json!("logout+jwt")), false),
        ("typ: a number", head("typ", json!(1)), false),
        // SAL-106
        ("exp: 5 min ahead and 9 s", claim("exp", json!(now + 309)), true),
        ("exp: 5 min ahead and 30 s", claim("exp", json!(now + 330)), false),
        ("exp: 10 min ahead", claim("exp", json!(now + 600)), false),
        ("exp: with fractions (RFC 7519 §2)", claim("exp", json!(now as f64 + 60.5)), true),
        ("exp: just past, clocks differ", claim("exp", json!(now - 5)), true),
        ("exp: past", claim("exp", json!(now - 30)), false),
        ("exp: text", claim("exp", json!((now + 60).to_string())), false),
        ("exp: missing", drop_claim("exp"), false),
        ("exp: huge", claim("exp", json!(i64::MAX)), false),
        ("nbf: now", claim("nbf", json!(now)), true),
        ("nbf: 8 s ahead", claim("nbf", json!(now + 8)), true),
        ("nbf: 70 s ahead", claim("nbf", json!(now + 70)), false),
        ("iat: now", claim("iat", json!(now)), true),
        ("iat: an hour ago", claim("iat", json!(now - 3600)), true),
        ("iat: 70 s ahead", claim("iat", json!(now + 70)), false),
        ("iat: text", claim("iat", json!("now")), false),
        ("jti: missing", drop_claim("jti"), false),
        ("jti: empty", claim("jti", json!("")), false),
        ("jti: a number", claim("jti", json!(7)), false),
        ("more claims", claim("authorization_details", json!([{ "type": "x" }])), true),
        // SAL-104
        ("iss: unknown", claim("iss", json!("nobody")), false),
        ("iss: another client", claim("iss", json!("narrow")), false),
        ("iss: missing", drop_claim("iss"), false),
        ("iss: an array", claim("iss", json!(["many"])), false),
        ("sub: another", claim("sub", json!("narrow")), false),
        ("sub: missing", drop_claim("sub"), false),
        // SAL-105
        ("kid: unknown", head("kid", json!("nobody's")), false),
        ("kid: of another algorithm", head("kid", json!(of(Alg::RS384).kid())), false),
        ("kid: of the other curve", head("kid", json!(of(Alg::ES256).kid())), false),
        ("kid: a number", head("kid", json!(1)), false),
        ("jku: keys are inline", head("jku", json!("https://app.example/jwks.json")), false),
        ("jwk in the header changes nothing", head("jwk", stranger.public_jwk().to_value()), true),
        ("alg: another", head("alg", json!("ES256")), false),
        ("alg: RS384 with an EC key", head("alg", json!("RS384")), false),
        ("alg: lower case (RFC 7515 §4.1.1)", head("alg", json!("es384")), false),
        ("alg: EdDSA", head("alg", json!("EdDSA")), false),
        ("alg: missing", drop_head("alg"), false),
        ("crit: RFC 7515 §4.1.11", head("crit", json!(["exp"])), false),
        ("crit: empty", head("crit", json!([])), false),
        ("b64: false", head("crit", json!(["b64"])), false),
    ];
    for (case, change, good) in &rows {
        let (mut header, mut claims) = assertion(key, "many", &endpoint, now);
        change(&mut header, &mut claims);
        let jwt = key.sign_with_header(&header, &claims).unwrap();
        let reply = send(&jwt).await;
        if *good {
            accepted(&reply, case);
            refused(&send(&jwt).await, &format!("{case}, replayed: SAL-103"));
        } else {
            refused(&reply, case);
        }
    }

    // What the signature is worth: RFC 8725 §3.
    let good = |key: &SigningKey| {
        let (header, claims) = assertion(key, "many", &endpoint, now);
        key.sign_with_header(&header, &claims).unwrap()
    };
    let (header, claims) = assertion(key, "many", &endpoint, now);
    let signed = |header: &Value, secret: &[u8]| {
        let text = format!("{}.{}", part(header), part(&claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    let hs256 = json!({ "alg": "HS256", "kid": of(Alg::RS256).kid(), "typ": "JWT" });
    let public = of(Alg::RS256).public_jwk().to_value();
    let modulus = URL_SAFE_NO_PAD.decode(public["n"].as_str().unwrap()).unwrap();
    let jwt = good(key);
    let (text, signature) = jwt.rsplit_once('.').unwrap();
    let mut other_claims = claims.clone();
    other_claims["exp"] = json!(now + 61);
    let (head_part, _) = text.split_once('.').unwrap();
    let rs = good(of(Alg::RS384));
    for (case, jwt) in [
        ("a stranger's key under our kid", stranger.sign_with_header(&header, &claims).unwrap()),
        ("none, no signature", format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(&claims))),
        ("None with a signature", format!("{}.{}.{signature}", part(&json!({ "alg": "None", "kid": key.kid() })), part(&claims))),
        ("HS256 with the public JWK as the secret", signed(&hs256, public.to_string().as_bytes())),
        ("HS256 with the modulus as the secret", signed(&hs256, &modulus)),
        ("HS256 with nothing as the secret", signed(&hs256, b"")),
        ("other claims under a good signature", format!("{head_part}.{}.{signature}", part(&other_claims))),
        ("no signature", format!("{text}.")),
        ("two parts", text.to_owned()),
        ("four parts", format!("{jwt}.x")),
        ("five parts, as an encrypted one", format!("{jwt}.x.y")),
        ("padded base64", format!("{jwt}=")),
        ("a signature cut short", jwt[..jwt.len() - 4].to_owned()),
        ("an ES384 signature of zeros", format!("{text}.{}", URL_SAFE_NO_PAD.encode([0u8; 96]))),
        ("a signature in DER", format!("{text}.{}", URL_SAFE_NO_PAD.encode([0x30; 104]))),
        ("another algorithm's signature", format!("{text}.{}", rs.rsplit_once('.').unwrap().1)),
        ("not JSON", format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode("{"), part(&claims))),
        ("a list for claims", format!("{}.{}.{signature}", part(&header), URL_SAFE_NO_PAD.encode("[]"))),
        ("a member twice", {
            let head = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES384","alg":"none","kid":"{}"}}"#, key.kid()));
            format!("{head}.{}.{signature}", part(&claims))
        }),
        ("text", "garbage".to_owned()),
        ("huge", format!("{}.{}.{}", part(&header), "A".repeat(40_000), "A".repeat(128))),
    ] {
        refused(&send(&jwt).await, case);
    }

    // What surrounds it: SAL §5.3 row 1, RFC 7521 §4.2.
    let full = |jwt: String| vec![("grant_type", "client_credentials".to_owned()), ("scope", "system/Patient.rs".to_owned()), ("client_assertion", jwt)];
    let with = |jwt: String, more: &[(&'static str, &str)]| {
        let mut form = full(jwt);
        form.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        form
    };
    let post = async |form: &[(&'static str, String)]| {
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.post("/token", None, &form).await
    };
    refused(&post(&full(good(key))).await, "no client_assertion_type");
    refused(&post(&with(good(key), &[("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer")])).await, "SAML");
    refused(&post(&with(good(key), &[("client_assertion_type", &ASSERTION_TYPE.to_uppercase())])).await, "another case");
    refused(&world.post("/token", None, &[SERVICE[0], SERVICE[1], ("client_assertion_type", ASSERTION_TYPE)]).await, "no client_assertion");
    accepted(&post(&with(good(key), &[("client_assertion_type", ASSERTION_TYPE), ("client_id", "many")])).await, "client_id repeated: SAL-310");
    refused(&post(&with(good(key), &[("client_assertion_type", ASSERTION_TYPE), ("client_id", "narrow")])).await, "client_id of another: SAL-104");
    let two = post(&with(good(key), &[("client_assertion_type", ASSERTION_TYPE), ("client_id", "many"), ("client_secret", "x")])).await;
    two.refused(400, "invalid_request");

    // Algorithms by registration: SAL §5.3.
    let narrow = |key: &SigningKey| {
        let (header, claims) = assertion(key, "narrow", &endpoint, now);
        key.sign_with_header(&header, &claims).unwrap()
    };
    accepted(&send(&narrow(of(Alg::ES384))).await, "registered for ES384");
    refused(&send(&narrow(of(Alg::ES256))).await, "its own key, but another algorithm");
    // DESIGN §3, Profiles: under `fapi2` the issuer as a string and nothing else.
    for (case, aud, good) in [("the issuer", json!(issuer), true), ("in an array", json!([issuer]), false), ("the token endpoint", json!(endpoint), false)] {
        let (header, mut claims) = assertion(of(Alg::ES256), "strict", &endpoint, now);
        claims["aud"] = aud;
        let jwt = of(Alg::ES256).sign_with_header(&header, &claims).unwrap();
        // FAPI 2.0 §5.3.2.1: no token without a proof.
        let form = [SERVICE[0], SERVICE[1], ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let proof = Prover::new().proof("POST", &endpoint, now);
        let reply = world.request("POST", "/token", &[("content-type", "application/x-www-form-urlencoded"), ("dpop", &proof)], body).await;
        if good { accepted(&reply, case) } else { refused(&reply, case) }
    }

    // RFC 7523 everywhere alike: the same assertion is spent at any endpoint.
    let jwt = good(key);
    let form = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", jwt.as_str()), ("token", "x")];
    world.post("/revoke", None, &form).await.is(200);
    refused(&world.post("/introspect", None, &form).await, "spent at another endpoint: SAL-103");

    // The mark is kept exactly as long as the assertion could be taken.
    let (header, mut claims) = assertion(key, "many", &endpoint, world.now());
    claims["exp"] = json!(world.now() + 300);
    let jwt = key.sign_with_header(&header, &claims).unwrap();
    accepted(&send(&jwt).await, "first");
    for wait in [150, 149, 8, 10, 60, 3600] {
        world.advance(wait);
        refused(&send(&jwt).await, &format!("{wait} s later: SAL-103"));
    }
    // One jti for two clients is two marks.
    let now = world.now();
    let (header, mut claims) = assertion(key, "many", &endpoint, now);
    claims["jti"] = json!("shared");
    accepted(&send(&key.sign_with_header(&header, &claims).unwrap()).await, "many's");
    (claims["iss"], claims["sub"]) = (json!("narrow"), json!("narrow"));
    accepted(&send(&key.sign_with_header(&header, &claims).unwrap()).await, "narrow's");
    // An assertion that is wrong in something else does not use up its jti.
    let (header, mut claims) = assertion(key, "many", &endpoint, now);
    claims["sub"] = json!("narrow");
    refused(&send(&key.sign_with_header(&header, &claims).unwrap()).await, "another sub");
    claims["sub"] = json!("many");
    accepted(&send(&key.sign_with_header(&header, &claims).unwrap()).await, "the same jti, now right");
}

/// What the stub of a client's key set answers.
struct Published {
    asked: AtomicUsize,
    accept: Mutex<Option<String>>,
    answer: Mutex<(StatusCode, Option<&'static str>, String)>,
}

impl Published {
    fn say(&self, status: StatusCode, cache: Option<&'static str>, body: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, cache, body.into());
    }

    fn keys(&self, cache: Option<&'static str>, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public_jwk().to_value()).collect();
        self.say(StatusCode::OK, cache, json!({ "keys": keys }).to_string());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn publish(State(stub): State<Arc<Published>>, headers: HeaderMap) -> Response {
    stub.asked.fetch_add(1, Ordering::SeqCst);
    *stub.accept.lock().unwrap() = headers.get("accept").map(|value| value.to_str().unwrap().to_owned());
    let (status, cache, body) = stub.answer.lock().unwrap().clone();
    let mut response = (status, body).into_response();
    if let Some(cache) = cache {
        response.headers_mut().insert("cache-control", cache.parse().unwrap());
    }
    if status.is_redirection() {
        response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
    }
    response
}

#[tokio::test]
async fn keys_at_an_address_are_fetched_kept_and_looked_for_again() {
    let stub = Arc::new(Published { asked: AtomicUsize::new(0), accept: Mutex::default(), answer: Mutex::new((StatusCode::OK, None, String::new())) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/jwks.json", get(publish)).route("/elsewhere", get(publish)).with_state(Arc::clone(&stub));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    // A port nobody listens at: taken and given back.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let uri = |at: &str| format!("jwks_uri = \"{at}\"");
    let clients = [
        service("remote", &uri(&format!("{host}/jwks.json"))),
        service("gone", &uri(&format!("http://{closed}/jwks.json"))),
        service("inside", &uri("https://10.11.12.13/jwks.json")),
        service("metadata", &uri("https://169.254.169.254/jwks.json")),
    ];
    let world = World::with_clients(&clients.concat()).await;
    let endpoint = world.token_endpoint();
    let (first, second, third) = (client_key(Alg::RS384), client_key(Alg::ES384), client_key(Alg::ES256));
    let sign = |client: &str, key: &SigningKey, jku: Option<&str>| {
        let (mut header, claims) = assertion(key, client, &endpoint, world.now());
        if let Some(jku) = jku {
            header["jku"] = json!(jku);
        }
        key.sign_with_header(&header, &claims).unwrap()
    };
    let send = async |client: &str, key: &SigningKey, jku: Option<&str>| world.token_with(&sign(client, key, jku), &SERVICE).await;

    stub.keys(Some("max-age=600"), &[&first]);
    accepted(&send("remote", &first, None).await, "keys at an address: SAL-005");
    assert_eq!(stub.accept.lock().unwrap().as_deref(), Some("application/json"), "SAL-109");
    accepted(&send("remote", &first, Some(&format!("{host}/jwks.json"))).await, "jku: the registered address");
    assert_eq!(stub.asked(), 1, "kept as long as it says: SAL-108");
    for jku in [format!("{host}/elsewhere"), format!("{host}/jwks.json?x=1"), "https://evil.example/jwks.json".to_owned(), String::new()] {
        refused(&send("remote", &first, Some(&jku)).await, &format!("jku {jku}: SAL-105"));
    }
    assert_eq!(stub.asked(), 1, "no other address was asked");
    // SAL-314: a new key without notice is found at once.
    stub.keys(Some("max-age=600"), &[&first, &second]);
    accepted(&send("remote", &second, None).await, "a new kid");
    assert_eq!(stub.asked(), 2);
    // Forged kids do not make us ask each time.
    for _ in 0..5 {
        refused(&send("remote", &third, None).await, "an unknown kid");
    }
    assert!(stub.asked() <= 3, "asked {} times", stub.asked());
    // SAL-108: not longer than allowed. A key taken away is good no more.
    stub.keys(Some("max-age=5"), &[&second]);
    world.advance(601);
    refused(&send("remote", &first, None).await, "a withdrawn key");
    accepted(&send("remote", &second, None).await, "the one left");
    world.advance(6);
    stub.keys(Some("no-store"), &[&third]);
    accepted(&send("remote", &third, None).await, "rotated after max-age: SAL-108");
    let before = stub.asked();
    accepted(&send("remote", &third, None).await, "again");
    assert_eq!(stub.asked(), before + 1, "no-store: asked each time");
    // Two keys of one kid: SAL-105.
    let twice = json!({ "keys": [third.public_jwk().to_value(), third.public_jwk().to_value()] });
    stub.say(StatusCode::OK, Some("no-store"), twice.to_string());
    refused(&send("remote", &third, None).await, "a kid twice");
    // Keys we cannot use do not spoil the others: RFC 7517 §5.
    let mixed = json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": third.kid() }, { "kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "e" }, third.public_jwk().to_value()] });
    stub.say(StatusCode::OK, Some("no-store"), mixed.to_string());
    accepted(&send("remote", &third, None).await, "beside others");
    // What cannot be had: SAL §5.3. Each failure is remembered for some seconds.
    let large = format!("{{\"keys\":[],\"padding\":\"{}\"}}", "x".repeat(70_000));
    for (case, status, body) in [
        ("500", StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        ("404", StatusCode::NOT_FOUND, String::new()),
        ("a redirect", StatusCode::FOUND, String::new()),
        ("not JSON", StatusCode::OK, "<html>".to_owned()),
        ("no set", StatusCode::OK, "{}".to_owned()),
        ("too large", StatusCode::OK, large),
    ] {
        world.advance(10);
        stub.say(status, Some("no-store"), body);
        refused(&send("remote", &third, None).await, case);
    }
    world.advance(10);
    stub.keys(None, &[&third]);
    accepted(&send("remote", &third, None).await, "back again, without Cache-Control: SAL-314");
    for client in ["gone", "inside", "metadata"] {
        let reply = tokio::time::timeout(Duration::from_secs(8), send(client, &third, None)).await.unwrap();
        refused(&reply, client);
    }
}

/// A secret with every character that has two readings. SAL-311.
const ODD: &str = "x7+Qp%41z:Lw9!kd82Vb/eR.t0 mNc5Jh6Ys3Ga";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";
const NEW: &str = "Kp3sW8xE1rT6yU0iO5aD2fG7hJ4kL9zQ";

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// What is sent besides.
type Form = Vec<(&'static str, &'static str)>;

#[tokio::test]
async fn secrets_in_every_way_they_are_sent() {
    let at = "redirect_uris = [\"http://127.0.0.1:4567/cb\"]\nscopes = \"openid offline_access patient/*.rs\"";
    let client = |id: &str, auth: &str, secret: &str| format!("[[client]]\nclient_id = \"{id}\"\nauth = \"{auth}\"\n{secret}\n{at}\n\n");
    let one = |secret: &str| format!("client_secret = \"{secret}\"");
    let clients = [
        client("odd", "client_secret_basic", &one(ODD)),
        client("https://app.example/smart", "client_secret_basic", &one(SECRET)),
        client("poster", "client_secret_post", &one(SECRET)),
        client("two", "client_secret_basic", &format!("client_secrets = [\"{SECRET}\", \"{NEW}\"]")),
        client("off", "client_secret_basic", &format!("{}\ndisabled = true", one(SECRET))),
        client("open", "none", ""),
        client("open-off", "none", "disabled = true"),
        service("keyed", &jwks_toml(&[&client_key(Alg::ES384)])),
    ];
    let world = World::with_clients(&clients.concat()).await;
    // An authenticated client is told that its token is none; anybody else is told nothing.
    let send = async |authorization: &[&str], form: &[(&str, &str)]| {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("grant_type", "refresh_token").append_pair("refresh_token", "x").extend_pairs(form);
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        headers.extend(authorization.iter().map(|value| ("authorization", *value)));
        world.request("POST", "/token", &headers, body.finish()).await
    };
    let raw = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let plain = basic("two", SECRET);
    let bare = plain.strip_prefix("Basic ").unwrap().to_owned();
    let good: Vec<(&str, String, Form)> = vec![
        ("raw: SAL-110, NAV-033", basic("odd", ODD), vec![]),
        ("encoded: RFC 6749 §2.3.1", raw(&format!("odd:{}", encoded(ODD))), vec![]),
        ("encoded with %20", raw(&format!("odd:{}", encoded(ODD).replace('+', "%20"))), vec![]),
        ("client_id repeated: SAL-063", basic("odd", ODD), vec![("client_id", "odd")]),
        ("client_id empty", basic("odd", ODD), vec![("client_id", "")]),
        ("an id with a colon, encoded", raw(&format!("{}:{SECRET}", encoded("https://app.example/smart"))), vec![("client_id", "https://app.example/smart")]),
        ("lower case scheme: RFC 9110 §11.1", format!("basic {bare}"), vec![]),
        ("upper case scheme", format!("BASIC {bare}"), vec![]),
        ("the old secret of two", plain.clone(), vec![]),
        ("the new secret of two", basic("two", NEW), vec![]),
    ];
    for (case, header, form) in &good {
        let reply = send(&[header], form).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_grant")), "{case}: {}", reply.body);
    }
    send(&[], &[("client_id", "poster"), ("client_secret", SECRET)]).await.refused(400, "invalid_grant");
    send(&[], &[("client_id", "open")]).await.refused(400, "invalid_grant");

    let rows: Vec<(&str, Option<String>, Form)> = vec![
        ("a wrong secret", Some(basic("odd", SECRET)), vec![]),
        ("an empty secret", Some(raw("odd:")), vec![]),
        ("the secret cut at its second colon", Some(raw(&format!("odd:{}", ODD.split_once(':').unwrap().0))), vec![]),
        ("encoded twice", Some(raw(&format!("odd:{}", encoded(&encoded(ODD))))), vec![]),
        ("another client's secret", Some(basic("two", ODD)), vec![]),
        ("an unknown client", Some(basic("nobody", SECRET)), vec![]),
        ("a disabled client", Some(basic("off", SECRET)), vec![]),
        ("a disabled public client", None, vec![("client_id", "open-off")]),
        ("client_id of another: NAV-033", Some(basic("odd", ODD)), vec![("client_id", "two")]),
        ("no colon", Some(raw("odd")), vec![]),
        ("no base64", Some("Basic ???".to_owned()), vec![]),
        ("nothing after the scheme", Some("Basic".to_owned()), vec![]),
        ("base64 of no UTF-8", Some(format!("Basic {}", STANDARD.encode([0xff, b':', 0xfe]))), vec![]),
        ("another scheme", Some("Digest username=\"odd\"".to_owned()), vec![]),
        ("post, registered for basic", None, vec![("client_id", "two"), ("client_secret", SECRET)]),
        ("basic, registered for post", Some(basic("poster", SECRET)), vec![]),
        ("none, registered for basic: SAL-064", None, vec![("client_id", "two")]),
        ("none, registered for a key", None, vec![("client_id", "keyed")]),
        ("basic, registered for a key", Some(basic("keyed", SECRET)), vec![]),
        ("a secret for a public client", None, vec![("client_id", "open"), ("client_secret", SECRET)]),
        ("basic for a public client", Some(raw("open:")), vec![]),
        ("wrong secret in the body", None, vec![("client_id", "poster"), ("client_secret", NEW)]),
        ("a secret and no client_id", None, vec![("client_secret", SECRET)]),
        ("a client_id that is none", None, vec![("client_id", "two words")]),
        ("nobody at all", None, vec![]),
        // Nothing of a bearer token speaks for a client here.
        ("a bearer", Some("Bearer x".to_owned()), vec![("client_id", "two")]),
    ];
    for (case, header, form) in &rows {
        let headers: Vec<&str> = header.iter().map(String::as_str).collect();
        refused(&send(&headers, form).await, case);
    }
    // RFC 6749 §2.3: one method in one request, one header.
    for (case, headers, form) in [
        ("basic and post", vec![plain.as_str()], vec![("client_id", "two"), ("client_secret", SECRET)]),
        ("basic and an assertion", vec![&plain], vec![("client_assertion_type", ASSERTION_TYPE), ("client_assertion", "x")]),
        ("post and an assertion", vec![], vec![("client_id", "poster"), ("client_secret", SECRET), ("client_assertion", "x")]),
        ("two Authorization headers", vec![&plain, &plain], vec![]),
        ("two secrets", vec![], vec![("client_id", "poster"), ("client_secret", SECRET), ("client_secret", SECRET)]),
    ] {
        let reply = send(&headers, &form).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_request")), "{case}: {}", reply.body);
    }
}

#[tokio::test]
async fn what_a_client_gets_for_itself() {
    let key = client_key(Alg::ES384);
    let registry = service("registry", &jwks_toml(&[&key]));
    let mixed = "[[client]]\nclient_id = \"mixed\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs launch:create openid patient/*.rs\"\n".to_owned()
        + &jwks_toml(&[&key]);
    let world = World::with_clients(&format!("{registry}{mixed}\n")).await;
    let ask = async |client: &str, form: &[(&str, &str)]| {
        let (header, claims) = assertion(&key, client, &world.token_endpoint(), world.now());
        let mut form = form.to_vec();
        form.insert(0, ("grant_type", "client_credentials"));
        world.token_with(&key.sign_with_header(&header, &claims).unwrap(), &form).await
    };
    // SAL-113, SAL-115…117: scope asked, scope given.
    for (asked, given) in [
        ("system/*.rs", "system/*.rs"),
        ("system/Observation.rs system/Patient.r", "system/Observation.rs system/Patient.r"),
        ("system/*.cruds", "system/*.rs"),
        ("system/Patient.cud system/Patient.r", "system/Patient.r"),
        ("system/Patient.read system/Patient.sr x y", "system/Patient.read"),
        ("openid patient/*.rs offline_access system/Patient.s", "system/Patient.s"),
    ] {
        let reply = ask("mixed", &[("scope", asked)]).await.is(200);
        let answer = reply.json();
        let names: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["access_token", "token_type", "expires_in", "scope"], "{asked}");
        assert_eq!((&answer["token_type"], &answer["expires_in"], &answer["scope"]), (&json!("Bearer"), &json!(300), &json!(given)), "{asked}");
        assert_eq!((reply.header("cache-control"), reply.header("pragma")), (Some("no-store"), Some("no-cache")));
        let claims = crate::world::claims(answer["access_token"].as_str().unwrap());
        assert_eq!((&claims["sub"], &claims["client_id"], &claims["aud"]), (&json!("mixed"), &json!("mixed"), &json!(world.fhir())));
    }
    for (case, form, error) in [
        ("no scope: SAL-112", vec![], "invalid_scope"),
        ("nothing allowed: SAL §5.3", vec![("scope", "system/Patient.cud")], "invalid_scope"),
        ("nothing understood", vec![("scope", "everything")], "invalid_scope"),
        ("no person: SAL-117", vec![("scope", "patient/*.rs openid")], "invalid_scope"),
        ("for us and for FHIR: RFC 9068 §3", vec![("scope", "launch:create system/*.rs")], "invalid_scope"),
        ("an unknown resource: RFC 8707", vec![("scope", "system/*.rs"), ("resource", "https://evil.example/fhir")], "invalid_target"),
        ("FHIR scopes for us", vec![("scope", "system/*.rs"), ("resource", world.issuer())], "invalid_target"),
        ("our scope for FHIR", vec![("scope", "launch:create"), ("resource", world.fhir())], "invalid_target"),
        ("two resources", vec![("scope", "system/*.rs"), ("resource", world.fhir()), ("resource", world.issuer())], "invalid_target"),
    ] {
        let reply = ask("mixed", &form).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some(error)), "{case}: {}", reply.body);
    }
    ask("mixed", &[("scope", "system/*.rs"), ("resource", world.fhir())]).await.is(200);
    ask("mixed", &[("scope", "system/*.rs"), ("resource", &format!("{}/", world.fhir()))]).await.is(200);
    ask("mixed", &[("scope", "launch:create"), ("resource", world.issuer())]).await.is(200);
    ask("registry", &[("scope", "launch:create")]).await.refused(400, "invalid_scope");
    // A code client may not: SAL §5.3. Nor may a service use what it is not registered for.
    let basic = world.basic("syk-inn");
    world.post("/token", Some(&basic), &[("grant_type", "client_credentials"), ("scope", "patient/*.rs")]).await.refused(400, "unauthorized_client");
    let public = [("grant_type", "client_credentials"), ("scope", "patient/*.rs"), ("client_id", "growth-chart")];
    world.post("/token", None, &public).await.refused(400, "unauthorized_client");
    ask("registry", &[("grant_type", "x")]).await.refused(400, "invalid_request");

    // The demo's own service reads FHIR; the EHR's token opens nothing there, and the service's nothing here.
    let lab = world.token_with(&world.assertion("lab-sync"), &SERVICE).await.is(200).json();
    let lab = lab["access_token"].as_str().unwrap();
    world.read(lab, "Patient/pasient-01").await.is(200);
    let ehr = world.ehr();
    let epj = ehr.token().await;
    assert_eq!(crate::world::claims(&epj)["aud"], json!(world.issuer()));
    world.read(&epj, "Patient/pasient-01").await.is(401);
    let launches = world.http.post(format!("{}/launches", world.issuer())).bearer_auth(lab).json(&ehr.body).send().await.unwrap();
    assert!(matches!(launches.status().as_u16(), 401 | 403), "{}", launches.status());
    // SAL-116: over after five minutes.
    world.advance(301);
    world.read(lab, "Patient/pasient-01").await.is(401);
    assert!(!world.is_active(lab).await);
}
