//! A token of the provider's that the EPJ brings with a launch. DESIGN §3, The launch API; `reference/helseid.md` §2.11, §6.4.

use helsebro::helseid::seed::table;
use helsebro::protocol::dpop::ProofClaims;
use serde_json::{Value, json};

use super::{DOCTOR, asked_since, fault, mark, merge, mint, second, text, with_second};
use crate::world::{App, Ehr, Log, Prover, Reply, Tokens, VERIFIER, World, claims};

const CLAIM: &str = "https://helseid.nhn.no";
const SCOPE: &str = "openid fhirUser launch offline_access patient/Patient.read https://helseid.nhn.no";

/// The EPJ, logged in at HelseID by a client of its own kind there.
struct Epj<'w> {
    world: &'w World,
    prover: Prover,
}

impl<'w> Epj<'w> {
    fn of(world: &'w World) -> Self {
        Self { world, prover: Prover::new() }
    }

    fn url(&self) -> String {
        format!("{}/launches", self.world.issuer())
    }

    /// A good token, but for `change`.
    async fn token(&self, change: Value) -> String {
        let mut ask = json!({ "audience": "fjord:epj-api", "jkt": self.prover.jkt(), "user": { "id": DOCTOR } });
        merge(&mut ask, &change);
        mint(self.world, ask).await
    }

    fn proof(&self, token: &str) -> String {
        self.prover.beside("POST", &self.url(), token, self.world.now())
    }

    /// A launch request with the token and a proof of it.
    fn with(&self, token: &str) -> Ehr<'w> {
        let proof = self.proof(token);
        self.world.ehr().with("upstream_token", json!(token)).with("upstream_proof", json!(proof))
    }

    async fn brings(&self, change: Value) -> Reply {
        self.with(&self.token(change).await).send().await
    }
}

fn claim(tokens: &Tokens) -> Option<Value> {
    claims(tokens.text("id_token")).get(CLAIM).cloned()
}

fn syk_inn(world: &World) -> App<'_> {
    App::new(world, "syk-inn").set("scope", SCOPE)
}

/// Requests to the provider since then, of whatever kind.
async fn told_since(world: &World, mark: u64) -> Vec<Value> {
    world.lever(reqwest::Method::GET, &format!("journal?since={mark}"), None).await["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_token_the_epj_brings_stands_behind_the_launch() {
    let world = World::start().await;
    let epj = Epj::of(&world);
    let token = epj.token(json!({})).await;
    let at = mark(&world).await;
    let launch = epj.with(&token).send().await.is(201).json();
    assert!(!launch.to_string().contains(&token), "{launch}");
    let tokens = syk_inn(&world).tokens(&launch).await;
    let claim = claim(&tokens).unwrap_or_else(|| panic!("no claim in {}", claims(tokens.text("id_token"))));
    let given = claims(claim["access_token"].as_str().unwrap());
    assert_eq!((&given["aud"], &given["sub"]), (&json!("nav-like:app"), &claims(&token)["sub"]));
    assert_eq!(given["act"]["client_id"], table::SMART_AS, "we stand between");
    assert_ne!(given["cnf"]["jkt"], json!(epj.prover.jkt()), "bound to a key of ours");
    assert_eq!((&claim["scope"], &claim["token_type"]), (&json!("nav-like:app/identity"), &json!("DPoP")));
    assert!(!tokens.0.to_string().contains(&token), "the token itself is given to nobody");
    // No login in passing: one exchange, with a nonce first.
    let told = told_since(&world, at).await;
    assert!(told.iter().all(|entry| entry["endpoint"] != "par" && entry["endpoint"] != "authorize"), "{told:?}");
    assert!(asked_since(&world, at).await >= 1);
}

/// The other use: exchanges of the grant, delivered as the row says.
#[tokio::test]
async fn an_exchange_of_the_grant_may_stand_on_it() {
    let (world, key) = with_second().await;
    let caller = second(&world, key);
    let epj = Epj::of(&world);
    let token = epj.token(json!({})).await;
    let launch = epj.with(&token).client(super::SECOND).send().await.is(201).json();
    let app = App::new(&world, super::SECOND).at(super::SECOND_AT).set("scope", "launch openid fhirUser patient/Patient.rs");
    let code = app.open(&mut world.browser(), &launch).await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", super::SECOND_AT), ("code_verifier", VERIFIER)];
    let subject = text(&caller.token(&form).await.is(200).json(), "access_token");
    let asked = [("scope", "nav-like:app/identity"), ("audience", "nav-like:app")];
    let first = text(&caller.exchange(&subject, &asked).await.is(200).json(), "access_token");
    assert_eq!(claims(&first)["aud"], "nav-like:app");
    // A good one is kept, and not asked for again.
    let at = mark(&world).await;
    assert_eq!(text(&caller.exchange(&subject, &asked).await.is(200).json(), "access_token"), first);
    assert_eq!(asked_since(&world, at).await, 0);
    // Its own end is the end of it, whatever else lives on, and what came of it too.
    world.advance(61);
    let at = mark(&world).await;
    let refused = caller.exchange(&subject, &asked).await;
    refused.refused(400, "invalid_request");
    assert!(refused.body.contains("upstream_session_ended"), "{}", refused.body);
    assert_eq!(asked_since(&world, at).await, 0);
    assert!(world.is_active(&subject).await);
}

/// What is wrong with a token, and what is asked of the mock's token maker for it.
fn spoiled() -> Vec<(&'static str, Value)> {
    let defect = |name: &str| json!({ "defects": [name] });
    vec![
        ("for another API", json!({ "audience": "demo:kjerne" })),
        ("for several", json!({ "claims": { "aud": ["fjord:epj-api", "demo:kjerne"] } })),
        ("another issuer", json!({ "issuer": "https://evil.example" })),
        ("expired", json!({ "expires_in": -30 })),
        ("lives too long", json!({ "expires_in": 1000 })),
        ("not yet valid", defect("not_yet_valid")),
        ("alg none", defect("alg_none")),
        ("alg HS256", defect("alg_hs256")),
        ("bad signature", defect("bad_signature")),
        ("signed by another key", defect("signed_by_other_key")),
        ("typ of a proof", json!({ "typ": "dpop+jwt" })),
        ("an id_token: it has a nonce", json!({ "typ": "JWT", "claims": { "nonce": "n" } })),
        ("an id_token: it has no scope", json!({ "typ": "JWT", "claims": { "scope": null } })),
        ("a machine's", json!({ "machine": true })),
        ("level 3", json!({ "user": { "security_level": "3" } })),
        ("no level", json!({ "claims": { "helseid://claims/identity/security_level": null } })),
        ("another doctor's", json!({ "user": { "id": "lege-vikar" } })),
        ("nobody's here", json!({ "user": { "id": "torgeir" }, "client": { "orgnr_parent": "376213609" } })),
        ("another HPR number", json!({ "user": { "hpr_number": "990001014" } })),
        ("no HPR number, though registered", json!({ "claims": { "helseid://claims/hpr/hpr_number": null } })),
        ("no identity number", json!({ "claims": { "helseid://claims/identity/pid": null } })),
        ("an organisation the doctor does not work for", json!({ "client": { "orgnr_parent": table::SKAGEN } })),
        ("a login too long ago", json!({ "user": { "auth_time": 1_000_000_000 } })),
        ("a login nobody knows when", json!({ "claims": { "auth_time": null } })),
        ("it came from an exchange", json!({ "act": { "iss": "https://a.example", "client_id": "a" } })),
        ("bound to no key", json!({ "jkt": null })),
    ]
}

#[tokio::test]
async fn what_is_wrong_with_the_token_is_said_of_the_token() {
    let world = World::start().await;
    let epj = Epj::of(&world);
    // The keys are at hand: what follows asks nobody.
    epj.brings(json!({})).await.is(201);
    for (what, change) in spoiled() {
        let ehr = epj.with(&epj.token(change).await);
        let at = mark(&world).await;
        let reply = ehr.send().await;
        let body = reply.json();
        assert_eq!((reply.status, &body["error"], &body["member"]), (422, &json!("invalid_request"), &json!("upstream_token")), "{what}: {body}");
        assert!(body.get("launch").is_none(), "{what}");
        assert_eq!(asked_since(&world, at).await, 0, "{what}");
    }
    let unfit = |token: &str| epj.with(token);
    for text in ["x.y.z", "x", &format!("{}.x.y", "x".repeat(20_000))] {
        let reply = unfit(text).send().await;
        assert_eq!((reply.status, &reply.json()["member"]), (422, &json!("upstream_token")), "{}", reply.body);
    }
    let number = world.ehr().with("upstream_token", json!(7)).send().await;
    assert_eq!((number.status, &number.json()["member"]), (400, &json!("upstream_token")), "{}", number.body);
    // The place of work of the launch is another one's.
    for (place, status) in [("org-solbakken-legekontor", 422), ("org-fjordvik-legesenter", 201)] {
        let ehr = epj.with(&epj.token(json!({})).await).with("organization", json!(format!("Organization/{place}")));
        assert_eq!(ehr.send().await.status, status, "{place}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_proof_is_said_of_the_proof() {
    let world = World::start().await;
    let epj = Epj::of(&world);
    let token = epj.token(json!({})).await;
    let now = world.now();
    let secret = helsebro::secret::Secret::new(token.clone());
    let made = |method: &str, url: &str, at: i64| epj.prover.sign(&Prover::claims(method, url, at).with_token(&secret));
    let broken = |change: fn(&mut Value, &mut Value)| epj.prover.broken(&ProofClaims::with_token(Prover::claims("POST", &epj.url(), now), &secret), change);
    let proofs = [
        ("no proof", None),
        ("for GET", Some(made("GET", &epj.url(), now))),
        ("for the token endpoint", Some(made("POST", &world.token_endpoint(), now))),
        ("too old", Some(made("POST", &epj.url(), now - 61))),
        ("from the future", Some(made("POST", &epj.url(), now + 30))),
        ("without ath", Some(epj.prover.proof("POST", &epj.url(), now))),
        ("for another token", Some(epj.prover.beside("POST", &epj.url(), "another", now))),
        ("of another key", Some(Prover::new().beside("POST", &epj.url(), &token, now))),
        ("without jti", Some(broken(|_, claims| drop(claims.as_object_mut().unwrap().remove("jti"))))),
        ("of another typ", Some(broken(|header, _| header["typ"] = json!("JWT")))),
        ("no JWT", Some("x".to_owned())),
    ];
    for (what, proof) in proofs {
        let ehr = world.ehr().with("upstream_token", json!(token)).with("upstream_proof", json!(proof));
        let reply = ehr.send().await;
        assert_eq!((reply.status, &reply.json()["member"]), (422, &json!("upstream_proof")), "{what}: {}", reply.body);
    }
    let alone = world.ehr().with("upstream_proof", json!(epj.proof(&token))).send().await;
    assert_eq!((alone.status, &alone.json()["member"]), (422, &json!("upstream_proof")), "{}", alone.body);

    // Once: a launch that comes to nothing for another reason has not used it up.
    let good = epj.with(&token);
    let same = || good.body.as_object().unwrap().iter().fold(world.ehr(), |ehr, (member, value)| ehr.with(member, value.clone()));
    let (again, astray) = (same(), same().with("patient", json!("pasient-99")));
    assert_eq!(astray.send().await.is(422).json()["member"], "patient");
    good.send().await.is(201);
    assert_eq!(again.send().await.is(422).json()["member"], "upstream_proof");
}

/// The keys cannot be had: that is nobody's fault, and no launch either.
#[tokio::test]
async fn a_provider_out_of_reach_is_503() {
    let world = World::start().await;
    let epj = Epj::of(&world);
    let token = epj.token(json!({})).await;
    for endpoint in ["discovery", "jwks"] {
        fault(&world, json!({ "endpoint": endpoint }), json!({ "kind": "respond", "status": 503, "headers": {}, "body": "" })).await;
    }
    let reply = epj.with(&token).send().await;
    reply.refused(503, "temporarily_unavailable");
    assert!(reply.header("retry-after").is_some());
    // Without the token nobody is needed.
    world.ehr().launch().await;
}

/// DESIGN §3: a launch that still works, the claim absent, a line in the log.
#[tokio::test]
async fn a_launch_goes_on_in_silence_where_the_provider_says_no() {
    for no in [json!({ "kind": "respond", "status": 503, "headers": { "Retry-After": "0" }, "body": "" }), json!({ "kind": "not_permitted" })] {
        let log = Log::begin();
        let world = World::start().await;
        let epj = Epj::of(&world);
        let token = epj.token(json!({})).await;
        let launch = epj.with(&token).send().await.is(201).json();
        fault(&world, json!({ "endpoint": "token" }), no.clone()).await;
        let tokens = syk_inn(&world).tokens(&launch).await;
        assert_eq!(claim(&tokens), None, "{no}");
        assert!(world.is_active(tokens.access()).await && tokens.text("scope").contains(CLAIM));
        let said = log.text();
        assert!(said.contains("an id_token goes without the HelseID claim"), "{no}: {said}");
        for secret in [&token, &epj.proof(&token)] {
            assert!(!said.contains(secret.rsplit_once('.').unwrap().1), "a token is in the log");
        }
        assert!(!said.contains(claims(&token)["helseid://claims/identity/pid"].as_str().unwrap()), "a number is in the log");
    }
}

/// A token of a session that ended there is not taken, and one that was taken is used no more. Nobody is asked.
#[tokio::test]
async fn a_logout_there_ends_it() {
    let world = World::start().await;
    let epj = Epj::of(&world);
    let launch = epj.brings(json!({ "user": { "sid": "S-1" } })).await.is(201).json();
    let other = epj.brings(json!({ "user": { "sid": "S-2" } })).await.is(201).json();
    let events = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let notice = json!({ "audience": table::SMART_AS, "typ": "logout+jwt", "user": { "sid": "S-1" }, "claims": { "events": events } });
    let notice = mint(&world, notice).await;
    world.post("/upstream/logout", None, &[("logout_token", &notice)]).await.is(200);
    let at = mark(&world).await;
    let tokens = syk_inn(&world).tokens(&launch).await;
    assert_eq!(claim(&tokens), None);
    assert_eq!(asked_since(&world, at).await, 0);
    assert!(claim(&syk_inn(&world).tokens(&other).await).is_some());
    let reply = epj.brings(json!({ "user": { "sid": "S-1" } })).await;
    assert_eq!((reply.status, &reply.json()["member"]), (422, &json!("upstream_token")), "{}", reply.body);
}

/// With the EPJ's session it ends, though a grant may outlive that.
#[tokio::test]
async fn the_epjs_logout_ends_it() {
    let at = "http://127.0.0.1:4567/cb";
    let client = format!(
        "[[client]]\nclient_id = \"stays\"\nauth = \"client_secret_basic\"\nclient_secret = \"{}\"\nredirect_uris = [\"{at}\"]\nlaunch_urls = [\"http://127.0.0.1:4567/launch\"]\n\
         scopes = \"{SCOPE}\"\nconsent = \"pre-approved\"\n",
        crate::world::SECRET
    );
    let row = "[[issuer.exchange]]\nname = \"stays-identity\"\ndirection = \"to-upstream\"\ncaller = \"stays\"\naudience = \"nav-like:app\"\nscopes = \"nav-like:app/identity\"\ndelivery = \"identity\"\n";
    let world = World::with(&client, row).await;
    let epj = Epj::of(&world);
    let token = epj.token(json!({ "expires_in": 600 })).await;
    let launch = epj.with(&token).client("stays").with("session", json!("epj-1")).send().await.is(201).json();
    let app = App::new(&world, "stays").at(at).set("scope", SCOPE);
    let code = app.open(&mut world.browser(), &launch).await;
    let basic = crate::world::basic("stays", crate::world::SECRET);
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", at), ("code_verifier", VERIFIER)];
    let tokens = Tokens(world.post("/token", Some(&basic), &form).await.is(200).json());
    assert!(claim(&tokens).is_some());
    let refresh =
        async || Tokens(world.post("/token", Some(&basic), &[("grant_type", "refresh_token"), ("refresh_token", tokens.refresh())]).await.is(200).json());
    assert!(claim(&refresh().await).is_some(), "while it lives, a refresh brings one too");
    world.ehr().end_session("epj-1").await.is(204);
    let at = mark(&world).await;
    assert_eq!(claim(&refresh().await), None);
    assert_eq!(asked_since(&world, at).await, 0);
}
