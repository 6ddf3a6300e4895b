//! What belongs to one session, person, app or encounter never reaches another; and audience and age of a subject in (a). T3, T18, P7.

use helsebro::jose::Alg;
use helsebro::jose::SigningKey;
use serde_json::{Value, json};

use super::{Caller, DOCTOR, asked_since, mark, sample_calls, text, through_helseid_as};
use crate::world::{ASSERTION_TYPE, App, Browser, Inside, Log, Prover, Reply, SECRET, VERIFIER, World, assertion, claims, jwks_toml};

const KJERNE: &[(&str, &str)] = &[("scope", "demo:kjerne/read"), ("audience", "demo:kjerne")];
const OTHER: &str = "other-app";
const OTHER_AT: &str = "http://127.0.0.1:4567/other";

/// One launch of one app in one browser, and its handle.
struct Context<'w> {
    name: &'static str,
    caller: Caller<'w>,
    row: &'static str,
    handle: String,
}

impl Context<'_> {
    /// What the national API sees of whoever it is about.
    async fn seen(&self) -> Value {
        let url = format!("{}/gateway/{}/kjerne", self.caller.world.issuer(), self.row);
        self.caller.call("GET", &url, &self.handle, &[]).await.is(200).json()
    }
}

async fn context<'w>(
    name: &'static str,
    world: &'w World,
    key: &SigningKey,
    (id, row): (&'static str, &'static str),
    browser: &mut Browser,
    (user, patient): (&str, usize),
) -> Context<'w> {
    let key = if id == OTHER { key.clone() } else { world.key(id) };
    let caller = Caller { world, id, key, prover: Prover::new() };
    let launch = world.ehr().client(id).ready(patient).launch().await;
    let app = if id == OTHER { App::new(world, id).at(OTHER_AT) } else { App::new(world, id) };
    let app = app.set("scope", "launch openid fhirUser patient/Patient.rs").launched(&launch);
    let code = through_helseid_as(world, &app, browser, user).await;
    let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", &app.redirect_uri), ("code_verifier", VERIFIER)];
    let subject = text(&caller.token(&form).await.is(200).json(), "access_token");
    let handle = text(&caller.exchange(&subject, KJERNE).await.is(200).json(), "access_token");
    Context { name, caller, row, handle }
}

/// T18 `cache_isolation`, `cache_attest_change`: over every pair of sessions, people, apps and encounters, in either order.
#[tokio::test]
async fn cache_isolation() {
    let key = SigningKey::generate(Alg::ES384).unwrap();
    let client = format!(
        "[[client]]\nclient_id = \"{OTHER}\"\nauth = \"private_key_jwt\"\n{}\nredirect_uris = [\"{OTHER_AT}\"]\nlaunch_urls = [\"http://127.0.0.1:4567/launch\"]\n\
         scopes = \"launch openid fhirUser patient/Patient.rs demo:kjerne/read\"\nconsent = \"pre-approved\"\ndpop = \"required\"\n",
        jwks_toml(&[&key])
    );
    let policy = format!(
        "[[issuer.exchange]]\nname = \"other-gateway\"\ndirection = \"to-upstream\"\ncaller = \"{OTHER}\"\naudience = \"demo:kjerne\"\nscopes = \"demo:kjerne/read\"\n\
         gateway_url = \"{{sample_api}}\"\n"
    );
    let world = World::with(&client, &policy).await;
    let vikar = world.demo.facts.patients.iter().position(|one| one.fhir_user == "Practitioner/lege-vikar").unwrap();
    let browser = || Browser::new(world.http.clone());
    let (mut first, portal, other) = (browser(), (super::PORTAL, "portal-gateway"), (OTHER, "other-gateway"));
    let all = [
        context("the first encounter", &world, &key, portal, &mut first, (DOCTOR, 0)).await,
        context("another encounter in the same session", &world, &key, portal, &mut first, (DOCTOR, 1)).await,
        context("the same encounter in another session", &world, &key, portal, &mut browser(), (DOCTOR, 0)).await,
        context("another person", &world, &key, portal, &mut browser(), ("lege-vikar", vikar)).await,
        context("another app", &world, &key, other, &mut browser(), (DOCTOR, 0)).await,
    ];
    let whose = |seen: &Value| {
        let of = |name: &str| seen["claims"][name].clone();
        json!({ "person": of("helseid://claims/identity/pid"), "attest": of("nhn:tillitsrammeverk:parameters"), "jti": of("jti"), "key": seen["dpop"]["jkt"], "patient": seen["headers"]["nhn-patient-nin"] })
    };
    let mut own = Vec::new();
    for one in &all {
        own.push(whose(&one.seen().await));
    }
    for (i, one) in all.iter().enumerate() {
        for (j, another) in all.iter().enumerate() {
            assert_eq!((whose(&one.seen().await), whose(&another.seen().await)), (own[i].clone(), own[j].clone()), "{} and {}", one.name, another.name);
            if i != j {
                assert_ne!(own[i]["jti"], own[j]["jti"], "{} and {} share a token", one.name, another.name);
                // A handle is good by its own key, at its own row.
                let url = format!("{}/gateway/{}/kjerne", world.issuer(), another.row);
                let reply = another.caller.call("GET", &url, &one.handle, &[]).await;
                assert_eq!(reply.status, 401, "{} with the key of {}: {}", one.name, another.name, reply.body);
            }
        }
    }
    // The encounter changes the attest and nothing else of the session; a session has a key of its own.
    assert_eq!((&own[0]["person"], &own[0]["key"]), (&own[1]["person"], &own[1]["key"]));
    assert_ne!(own[0]["attest"], own[1]["attest"]);
    assert_ne!(own[0]["key"], own[2]["key"]);
    assert_ne!(own[0]["person"], own[3]["person"]);
    assert_eq!(own[4]["attest"], Value::Null, "the other row sends none");
}

/// §6.7: a row's `max_age` is asked at each exchange and at each request through the gateway.
#[tokio::test]
async fn a_login_grows_too_old_under_a_handle() {
    let log = Log::begin();
    let row = "[[issuer.exchange]]\nname = \"portal-gateway\"\ndirection = \"to-upstream\"\ncaller = \"regional-portal\"\naudience = \"demo:kjerne\"\n\
               scopes = \"demo:kjerne/read\"\ngateway_url = \"{sample_api}\"\nmax_age = \"2m\"\n";
    let world = World::with("", row).await;
    let portal = Caller::portal(&world);
    let subject = portal.subject().await;
    let handle = text(&portal.exchange(&subject, KJERNE).await.is(200).json(), "access_token");
    let url = format!("{}/gateway/portal-gateway/kjerne", world.issuer());
    portal.call("GET", &url, &handle, &[]).await.is(200);
    world.advance(121);
    let (calls, at) = (sample_calls(&world).await, mark(&world).await);
    portal.call("GET", &url, &handle, &[]).await.refused(400, "invalid_request");
    portal.exchange(&subject, KJERNE).await.refused(400, "invalid_request");
    assert_eq!((sample_calls(&world).await, asked_since(&world, at).await), (calls, 0));
    assert!(log.text().contains("the person logged in too long ago"));
}

/// T3 `te_wrong_aud`, `te_multi_aud`, `te_aud_trailing_slash`, `te_aud_case` for tokens of our own in (a): signed by us, and for somebody else.
#[tokio::test]
async fn a_token_of_ours_for_another_audience_does_not_become_the_upstreams() {
    let log = Log::begin();
    let key = SigningKey::generate(Alg::ES384).unwrap();
    let upstream_key = SigningKey::generate(Alg::ES384).unwrap().to_private_jwk().unwrap();
    let jwks = jwks_toml(&[&key]);
    // Whoever asked this identity provider anything would hear that nobody is there, and the app would be told 503.
    let Inside { bare, site, .. } = Inside::start(|origin, data| {
        format!(
            "[keys]\ndir = \"{}/keys\"\n[[issuer]]\nurl = \"{origin}\"\nlogin = [\"ehr\"]\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\n\
             [issuer.upstream]\nissuer = \"http://127.0.0.1:9\"\nclient_id = \"us\"\nclient_key = '{upstream_key}'\napi_audience = \"us:api\"\n\
             scopes = \"us:api/exchange demo:kjerne/read\"\nresources = [\"demo:kjerne\"]\n\
             [[issuer.exchange]]\nname = \"kjerne\"\ndirection = \"to-upstream\"\ncaller = \"portal\"\naudience = \"demo:kjerne\"\nscopes = \"demo:kjerne/read\"\n\
             gateway_url = \"http://127.0.0.1:9\"\n\
             [[client]]\nclient_id = \"portal\"\nauth = \"private_key_jwt\"\n{jwks}\nscopes = \"system/Patient.rs demo:kjerne/read\"\ndpop = \"required\"\n\
             [[client]]\nclient_id = \"rs\"\nauth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\n",
            data.display()
        )
    })
    .await;
    let base = format!("{}/fhir", bare.origin);
    let endpoint = format!("{}/token", bare.origin);
    let prover = Prover::new();
    let signed = || {
        let (header, own) = assertion(&key, "portal", &endpoint, bare.now());
        key.sign_with_header(&header, &own).unwrap()
    };
    // Live, and signed by us: what is signed anew below has everything of it but the audience.
    let form =
        [("grant_type", "client_credentials"), ("scope", "system/Patient.rs"), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &signed())];
    let request = bare.http.post(&endpoint).header("dpop", prover.proof("POST", &endpoint, bare.now())).form(&form);
    let live = text(&Reply::of(request.send().await.unwrap()).await.is(200).json(), "access_token");
    for (case, aud, reason) in [
        // The sound one fails for what comes after: it is the app's own, and nobody logged in.
        ("sound", json!(base), "the person logged in too long ago, or nobody knows when"),
        ("te_wrong_aud", json!("https://fhir.elsewhere.example/r4"), "another audience"),
        ("the issuer itself", json!(bare.origin), "another audience"),
        ("the gateway", json!(format!("{}/gateway/kjerne", bare.origin)), "another audience"),
        ("another service", json!("rs"), "another audience"),
        ("te_multi_aud", json!([base, "https://fhir.elsewhere.example/r4"]), ""),
        ("te_aud_trailing_slash", json!(format!("{base}/")), "another audience"),
        ("te_aud_case", json!(base.replace("/fhir", "/FHIR")), "another audience"),
        ("no audience", Value::Null, ""),
    ] {
        let now = bare.now();
        let mut claims = claims(&live);
        claims["aud"] = aud;
        if claims["aud"].is_null() {
            drop(claims.as_object_mut().unwrap().remove("aud"));
        }
        let subject = site.engine.keys.sign(Alg::RS256, "at+jwt", &claims).unwrap();
        let assertion = signed();
        let mut form = super::exchange_form(subject.expose(), "demo:kjerne", &[("scope", "demo:kjerne/read")]);
        form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &assertion)]);
        log.clear();
        let request = bare.http.post(&endpoint).header("dpop", prover.proof("POST", &endpoint, now)).form(&form);
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(
            (reply.status, reply.json()),
            (400, json!({ "error": "invalid_request", "error_description": "a token of this request, or what it was sent with, is not acceptable" })),
            "{case}"
        );
        assert!(log.text().contains("token exchange refused") && log.text().contains(reason), "{case}: {}", log.text());
    }
    bare.stop().await;
}
