//! Bound tokens with every algorithm at every endpoint that looks at proofs, under both names of the one on Ed25519. RFC 9449 §4.3, §5.1; RFC 9864 §2.2.

use helsebro::jose::{Alg, SigningKey};
use helsebro::protocol::dpop::ProofClaims;
use helsebro::secret::Secret;
use serde_json::{Value, json};

use crate::par::config;
use crate::world::{Ask, Bare, Prover, Reply, Shows, basic, claims};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";

/// Two apps and an EPJ with a secret, at an issuer that wants `own`.
async fn world(own: &str) -> Bare {
    let client = |id: &str, more: &str| format!("[[client]]\nclient_id = \"{id}\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n{more}\n");
    let app = format!("redirect_uris = [\"{AT}\"]\nscopes = \"openid profile offline_access user/*.rs\"\nconsent = \"pre-approved\"\nprofile = \"oidc\"\n");
    let clients =
        format!("{}{}{}", client("app", &app), client("strict", &format!("{app}dpop = \"required\"\n")), client("epj", "scopes = \"launch:create\"\n"));
    Bare::start(|origin, data| config(origin, data, own, &clients)).await
}

/// A key, and the name its proofs give their algorithm.
struct Named {
    key: Prover,
    alg: &'static str,
}

impl Named {
    fn all() -> Vec<Self> {
        let of = |alg: Alg, name| Self { key: Prover(SigningKey::generate(alg).unwrap()), alg: name };
        let mut all: Vec<Self> = helsebro::domain::dpop::ALGS.iter().map(|alg| of(*alg, alg.as_str())).collect();
        all.push(of(Alg::EdDSA, "Ed25519"));
        all
    }

    fn sign(&self, claims: &ProofClaims) -> String {
        self.key.broken(claims, |header, _| {
            header["alg"] = json!(self.alg);
            // A key that says what it is for says so under the same name. RFC 7517 §4.4.
            header["jwk"]["alg"] = json!(self.alg);
        })
    }

    fn proof(&self, world: &Bare, url: &str) -> String {
        self.sign(&Prover::claims("POST", url, world.now()))
    }

    fn beside(&self, world: &Bare, url: &str, token: &str) -> String {
        self.sign(&Prover::claims("POST", url, world.now()).with_token(&Secret::new(token.to_owned())))
    }
}

async fn show(world: &Bare, url: &str, token: &str, proof: &str, body: Option<Value>) -> Reply {
    let request = world.http.post(url).header("authorization", format!("DPoP {token}")).header("dpop", proof);
    let request = match body {
        Some(body) => request.json(&body),
        None => request.form(&[("token", token)]),
    };
    Reply::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn every_algorithm_and_both_names_of_ed25519_bind_tokens_at_every_endpoint() {
    let world = world("").await;
    let url = |path: &str| format!("{}{path}", world.origin);
    for named in Named::all() {
        let case = named.alg;
        let proven = |path: &str| named.proof(&world, &url(path));
        // Pushed with a proof, redeemed with another of the same key.
        let ask = Ask::new(&world, "strict", Shows::Secret(SECRET), AT).set("scope", "openid profile offline_access user/*.rs").set("prompt", "consent");
        let pushed = ask.clone().header("dpop", &proven("/par")).push().await.is(201).json()["request_uri"].as_str().unwrap().to_owned();
        let page = ask.reach(&mut world.browser(), &ask.url_of(&pushed)).await;
        let code = page.param("code").unwrap_or_else(|| panic!("{case}: {:?}", page.location()));
        let thief = Prover::new();
        ask.clone().header("dpop", &thief.proof("POST", &url("/token"), world.now())).redeem(&code).await.refused(400, "invalid_dpop_proof");
        let tokens = ask.clone().header("dpop", &proven("/token")).redeem(&code).await.is(200).json();
        let token = tokens["access_token"].as_str().unwrap();
        assert_eq!((&tokens["token_type"], &claims(token)["cnf"]["jkt"]), (&json!("DPoP"), &json!(named.key.jkt())), "{case}");
        let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
        let again = ask.clone().header("dpop", &proven("/token")).token(&refresh).await.is(200).json();
        assert_eq!(claims(again["access_token"].as_str().unwrap())["cnf"]["jkt"], json!(named.key.jkt()), "{case}");

        let userinfo = url("/userinfo");
        let said = show(&world, &userinfo, token, &named.beside(&world, &userinfo, token), None).await.is(200).json();
        assert_eq!(said["name"], "Live Testlege", "{case}");
        // Its own proof and nobody else's, here as everywhere.
        show(&world, &userinfo, token, &thief.beside("POST", &userinfo, token, world.now()), None).await.refused(401, "invalid_token");

        // A service's own token, at the launch API and as the credential of whoever asks about tokens.
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
        let request = world.http.post(url("/token")).header("authorization", basic("epj", SECRET)).header("dpop", proven("/token")).form(&form);
        let own = Reply::of(request.send().await.unwrap()).await.is(200).json();
        let own = own["access_token"].as_str().unwrap();
        for (path, body, status) in [
            ("/launches/end-session", Some(json!({ "session": "s" })), 204),
            // Known, and told what the body lacks.
            ("/launches", Some(json!({})), 400),
            // Known, and without the scope to see.
            ("/introspect", None, 403),
        ] {
            let proof = named.beside(&world, &url(path), own);
            show(&world, &url(path), own, &proof, body.clone()).await.is(status);
            show(&world, &url(path), own, &proof, body.clone()).await.refused(401, "invalid_dpop_proof");
            let bearer = world.http.post(url(path)).bearer_auth(own).header("dpop", named.beside(&world, &url(path), own));
            let bearer = if let Some(body) = &body { bearer.json(body) } else { bearer.form(&[("token", own)]) };
            Reply::of(bearer.send().await.unwrap()).await.refused(401, "invalid_token");
        }
    }
    world.stop().await;
}

/// RFC 9449 §4.3 (5), §5.1: what the metadata do not name is not taken, and what they name is what challenges name.
#[tokio::test]
async fn an_algorithm_that_is_not_listed_proves_nothing() {
    let world = world("").await;
    let url = format!("{}/token", world.origin);
    let listed = world.get("/.well-known/oauth-authorization-server").await.json()["dpop_signing_alg_values_supported"].clone();
    let ask = Ask::new(&world, "app", Shows::Secret(SECRET), AT);
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    for alg in Alg::ALL.iter().filter(|alg| !listed.as_array().unwrap().contains(&json!(alg))) {
        let key = Prover(SigningKey::generate(*alg).unwrap());
        let reply = ask.clone().header("dpop", &key.proof("POST", &url, world.now())).token(&form).await;
        reply.refused(400, "invalid_dpop_proof");
        assert!(reply.body.contains("dpop_signing_alg_values_supported"), "{alg}: {}", reply.body);
    }
    // The name alone changes nothing about the key it is for.
    let key = Prover::new();
    for name in ["Ed25519", "EdDSA", "Ed448", "ed25519", "ES384", "RS256"] {
        let proof = key.broken(&Prover::claims("POST", &url, world.now()), |header, _| header["alg"] = json!(name));
        ask.clone().header("dpop", &proof).token(&form).await.refused(400, "invalid_dpop_proof");
    }
    world.stop().await;
}

/// RFC 9449 §8: at every endpoint of an issuer that wants nonces, with one nonce for all of them.
#[tokio::test]
async fn a_nonce_is_wanted_at_every_endpoint_and_good_at_each() {
    let world = world("dpop_nonce = \"always\"").await;
    let key = Prover::new();
    let url = |path: &str| format!("{}{path}", world.origin);
    let claims = |path: &str, nonce: Option<&str>| Prover::claims("POST", &url(path), world.now()).with_nonce(nonce);
    let ask = Ask::new(&world, "strict", Shows::Secret(SECRET), AT).set("scope", "openid profile");
    let first = ask.clone().header("dpop", &key.sign(&claims("/par", None))).push().await;
    first.refused(400, "use_dpop_nonce");
    let nonce = first.header("dpop-nonce").unwrap().to_owned();
    let with = |path: &str| key.sign(&claims(path, Some(&nonce)));
    let pushed = ask.clone().header("dpop", &with("/par")).push().await.is(201).json()["request_uri"].as_str().unwrap().to_owned();
    let code = ask.reach(&mut world.browser(), &ask.url_of(&pushed)).await.param("code").unwrap();
    let without = ask.clone().header("dpop", &key.sign(&claims("/token", None))).redeem(&code).await;
    without.refused(400, "use_dpop_nonce");
    assert!(without.header("dpop-nonce").is_some());
    let tokens = ask.clone().header("dpop", &with("/token")).redeem(&code).await.is(200).json();
    let token = tokens["access_token"].as_str().unwrap();
    let form = [("grant_type", "client_credentials"), ("scope", "launch:create")];
    let request = world.http.post(url("/token")).header("authorization", basic("epj", SECRET)).header("dpop", with("/token")).form(&form);
    let own = Reply::of(request.send().await.unwrap()).await.is(200).json()["access_token"].as_str().unwrap().to_owned();
    for (path, token, body, status) in [
        ("/userinfo", token, None, 200),
        ("/launches/end-session", own.as_str(), Some(json!({ "session": "s" })), 204),
        ("/introspect", own.as_str(), None, 403),
    ] {
        let beside = |nonce: Option<&str>| key.sign(&claims(path, nonce).with_token(&Secret::new(token.to_owned())));
        let refused = show(&world, &url(path), token, &beside(None), body.clone()).await;
        refused.refused(401, "use_dpop_nonce");
        assert_eq!(refused.header("dpop-nonce"), Some(nonce.as_str()), "{path}");
        show(&world, &url(path), token, &beside(Some(&nonce)), body).await.is(status);
    }
    world.stop().await;
}
