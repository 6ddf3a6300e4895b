//! What each profile asks of its clients. FAPI 2.0 Security Profile §5.3.2, §5.4; DESIGN §3, Profiles; SAL §8.18.

use helsebro::config::{self, SystemEnvironment, Text};
use helsebro::jose::{Alg, SigningKey};
use serde_json::json;

use crate::par::{app, config as text};
use crate::world::{ASSERTION_TYPE, Ask, Bare, Prover, Reply, Shows, VERIFIER, World, assertion, claims, client_key, header, jwks_toml};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";

fn fapi2(id: &str, key: &SigningKey, more: &str) -> String {
    app(id, &format!("auth = \"private_key_jwt\"\nprofile = \"fapi2\"\n{}\n{more}", jwks_toml(&[key])))
}

async fn world(own: &str, clients: &str) -> Bare {
    Bare::start(|origin, data| text(origin, data, own, clients)).await
}

fn token_proof(world: &Bare, key: &Prover) -> String {
    key.proof("POST", &format!("{}/token", world.origin), world.now())
}

#[tokio::test]
async fn a_fapi2_client_gets_bound_tokens_by_pushing_and_no_other_way() {
    let (key, prover) = (client_key(Alg::ES256), Prover::new());
    let world = world("", &fapi2("app", &key, "")).await;
    let ask = Ask::new(&world, "app", Shows::Key(&key), AT).unset("state").set("nonce", &"n".repeat(64)).set("scope", "openid offline_access user/*.rs");
    // FAPI 2.0 §5.3.2.2: no request that was not pushed, and none that was pushed by somebody who did not authenticate.
    assert_eq!(world.browser().get(&ask.url()).await.param("error").as_deref(), Some("invalid_request"));
    Ask::new(&world, "app", Shows::Name, AT).push().await.refused(401, "invalid_client");
    for wrong in [
        ask.clone().unset("code_challenge").unset("code_challenge_method"),
        ask.clone().set("code_challenge_method", "plain"),
        ask.clone().unset("redirect_uri"),
    ] {
        wrong.push().await.refused(400, "invalid_request");
    }
    let page = ask.reach(&mut world.browser(), &ask.url_of(&ask.pushed().await)).await;
    assert_eq!(page.reply.status, 303, "FAPI 2.0 §5.3.2.2: not 307");
    assert_eq!((page.param("iss").as_deref(), page.param("state")), (Some(world.origin.as_str()), None));
    let code = page.param("code").unwrap();
    ask.redeem(&code).await.refused(400, "invalid_dpop_proof");
    let proven = |proof: &str| ask.clone().header("dpop", proof);
    let tokens = proven(&token_proof(&world, &prover)).redeem(&code).await.is(200).json();
    assert_eq!(tokens["token_type"], "DPoP");
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!((header(access)["alg"].clone(), claims(access)["cnf"]["jkt"].clone()), (json!("ES256"), json!(prover.jkt())));
    let id_token = tokens["id_token"].as_str().unwrap();
    assert_eq!((header(id_token)["alg"].clone(), claims(id_token)["nonce"].clone()), (json!("ES256"), json!("n".repeat(64))));
    // §5.3.2.1: the refresh token is not rotated, and is good again.
    let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let again = proven(&token_proof(&world, &prover)).token(&[("grant_type", "refresh_token"), ("refresh_token", &refresh)]).await.is(200).json();
        assert!(again["refresh_token"].is_null() || again["refresh_token"] == tokens["refresh_token"]);
    }
    // §5.3.2.1: nothing with the person's password, and nothing unknown.
    let password = [("grant_type", "password"), ("username", "x"), ("password", "x")];
    proven(&token_proof(&world, &prover)).token(&password).await.refused(400, "unsupported_grant_type");
    // As a bearer token it opens nothing.
    let userinfo = |request: reqwest::RequestBuilder| async { Reply::of(request.send().await.unwrap()).await };
    let url = format!("{}/userinfo", world.origin);
    userinfo(world.http.get(&url).bearer_auth(access)).await.is(401);
    userinfo(world.http.post(&url).form(&[("access_token", access)])).await.is(401);
    let shown = world.http.get(&url).header("authorization", format!("DPoP {access}")).header("dpop", prover.beside("GET", &url, access, world.now()));
    userinfo(shown).await.is(200);
}

/// FAPI 2.0 §5.3.2.1, §5.4.1: the issuer as a string; ten seconds ahead taken, more than sixty not; PS256, ES256 or EdDSA; no `jku`.
#[tokio::test]
async fn a_fapi2_client_signs_as_fapi_has_it() {
    let keys: Vec<SigningKey> = Alg::ALL.iter().map(|alg| client_key(*alg)).collect();
    let clients = app("app", &format!("auth = \"private_key_jwt\"\nprofile = \"fapi2\"\n{}", jwks_toml(&keys.iter().collect::<Vec<_>>())));
    let world = world("", &clients).await;
    let push = async |jwt: String| {
        let ask = Ask::new(&world, "app", Shows::Name, AT).set("client_assertion_type", ASSERTION_TYPE).set("client_assertion", &jwt);
        ask.push().await.status
    };
    for key in &keys {
        let (head, claims) = assertion(key, "app", &world.origin, world.now());
        let good = ["PS256", "ES256", "EdDSA"].contains(&key.alg().as_str());
        assert_eq!(push(key.sign_with_header(&head, &claims).unwrap()).await, if good { 201 } else { 401 }, "{}", key.alg());
    }
    let key = keys.iter().find(|key| key.alg() == Alg::ES256).unwrap();
    let now = world.now();
    for claim in ["iat", "nbf"] {
        for (ahead, good) in [(0, true), (8, true), (10, true), (61, false), (3600, false), (-3600, true)] {
            let (head, mut claims) = assertion(key, "app", &world.origin, now);
            claims[claim] = json!(now + ahead);
            assert_eq!(push(key.sign_with_header(&head, &claims).unwrap()).await == 201, good, "{claim} {ahead} s ahead");
        }
    }
    let (mut head, claims) = assertion(key, "app", &world.origin, now);
    head["jku"] = json!("https://app.example/jwks.json");
    assert_eq!(push(key.sign_with_header(&head, &claims).unwrap()).await, 401, "jku");
    // Proofs have the same window.
    let prover = Prover::new();
    let url = format!("{}/par", world.origin);
    for (ahead, good) in [(10, true), (61, false)] {
        let ask = Ask::new(&world, "app", Shows::Key(key), AT).header("dpop", &prover.proof("POST", &url, now + ahead));
        assert_eq!(ask.push().await.status == 201, good, "a proof {ahead} s ahead");
    }
}

/// DESIGN §3, Profiles: without a FHIR base of its own choice a client gets no patient.
#[tokio::test]
async fn without_a_fhir_base_named_there_is_no_patient() {
    let key = client_key(Alg::ES256);
    let oidc = app("oidc", &format!("auth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nprofile = \"oidc\""));
    let world = world("", &format!("{oidc}{}", fapi2("fapi2", &key, ""))).await;
    for (id, shows) in [("oidc", Shows::Secret(SECRET)), ("fapi2", Shows::Key(&key))] {
        let ask = Ask::new(&world, id, shows, AT).unset("aud").unset("state").set("scope", "openid launch launch/patient patient/*.rs user/Patient.rs");
        let code = ask.code().await;
        let prover = Prover::new();
        let tokens = ask.clone().header("dpop", &token_proof(&world, &prover)).redeem(&code).await.is(200).json();
        assert_eq!(tokens["scope"], "openid user/Patient.rs", "{id}");
        assert_eq!(claims(tokens["access_token"].as_str().unwrap())["aud"], format!("{}/fhir", world.origin), "{id}");
        ask.clone().set("scope", "launch patient/*.rs").push().await.refused(400, "invalid_scope");
    }
}

/// The same client in an EHR launch, whole: it names its base and gets its patient.
#[tokio::test]
async fn a_fapi2_client_is_launched_like_any_other() {
    let key = client_key(Alg::ES256);
    let clients = fapi2("app", &key, "launch_urls = [\"http://127.0.0.1:4567/launch\"]");
    let world = World::with_clients(&clients).await;
    let launch = world.ehr().client("app").launch().await;
    let mut browser = world.browser();
    browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
    let ask = world.app("app").at(AT).set("scope", "openid fhirUser launch patient/Patient.rs").launched(&launch);
    let (head, claims) = assertion(&key, "app", world.issuer(), world.now());
    let jwt = key.sign_with_header(&head, &claims).unwrap();
    let mut form: Vec<(&str, &str)> = ask.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)]);
    let pushed = world.post("/par", None, &form).await.is(201).json();
    let url = format!("{}/authorize?client_id=app&request_uri={}", world.issuer(), pushed["request_uri"].as_str().unwrap());
    let code = browser.get(&url).await.param("code").unwrap();
    let (head, claims) = assertion(&key, "app", world.issuer(), world.now());
    let jwt = key.sign_with_header(&head, &claims).unwrap();
    let prover = Prover::new();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", AT),
        ("code_verifier", VERIFIER),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &jwt),
    ];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let proof = prover.proof("POST", &world.token_endpoint(), world.now());
    let tokens = world.request("POST", "/token", &[("content-type", "application/x-www-form-urlencoded"), ("dpop", &proof)], body).await.is(200).json();
    assert_eq!(tokens["patient"], world.demo.facts.patients[0].patient);
    // The launch is spent, and so is the request: a page, not a redirect.
    browser.get(&url).await.is(400);
}

/// DESIGN §3, Profiles: confidential only, PKCE checked if sent, `state` optional.
#[tokio::test]
async fn an_oidc_client_needs_neither_pkce_nor_state_and_keeps_to_what_it_sends() {
    let oidc = app("oidc", &format!("auth = \"client_secret_basic\"\nclient_secret = \"{SECRET}\"\nprofile = \"oidc\""));
    let world = world("", &oidc).await;
    let plain = Ask::new(&world, "oidc", Shows::Secret(SECRET), AT).unset("state").unset("aud").unset("code_challenge").unset("code_challenge_method");
    let code = async |ask: &Ask<'_>| ask.reach(&mut world.browser(), &ask.url()).await.param("code").unwrap();
    let form = |code: &str| vec![("grant_type", "authorization_code".to_owned()), ("code", code.to_owned()), ("redirect_uri", AT.to_owned())];
    let redeem = async |form: Vec<(&'static str, String)>| {
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        plain.token(&form).await
    };
    redeem(form(&code(&plain).await)).await.is(200);
    // RFC 9700 §2.1.1: a verifier nobody asked for.
    let mut asked = form(&code(&plain).await);
    asked.push(("code_verifier", VERIFIER.to_owned()));
    redeem(asked).await.refused(400, "invalid_grant");
    // Sent, it counts.
    let with = Ask::new(&world, "oidc", Shows::Secret(SECRET), AT);
    redeem(form(&code(&with).await)).await.refused(400, "invalid_grant");
    with.redeem(&code(&with).await).await.is(200);
    for wrong in
        [plain.clone().set("code_challenge_method", "S256"), with.clone().unset("code_challenge_method"), with.clone().set("code_challenge_method", "plain")]
    {
        let page = world.browser().get(&wrong.url()).await;
        assert_eq!(page.param("error").as_deref(), Some("invalid_request"));
    }
}

fn checked(own: &str, client: &str) -> Result<config::Checked, Vec<String>> {
    let file = format!(
        "[[issuer]]\nurl = \"https://auth.epj.example\"\n{own}\n[[issuer.fhir]]\nbase = \"https://epj.example/fhir\"\naccess_token_alg = \"RS256\"\n[[client]]\nclient_id = \"app\"\nscopes = \"openid launch\"\n{client}\n"
    );
    let environment = SystemEnvironment::relative_to(std::path::Path::new(""));
    config::check(Text { file: "test", text: &file, environment: &environment }, &[]).map_err(|found| found.problems.iter().map(ToString::to_string).collect())
}

const KEYS: &str = "jwks_uri = \"https://app.example/jwks.json\"";

/// FAPI 2.0 §5.3.2, §5.4: whatever contradicts it is told, all at once.
#[test]
fn what_contradicts_fapi2_is_refused_before_anything_starts() {
    let wrong = "profile = \"fapi2\"\nauth = \"private_key_jwt\"\ntoken_endpoint_auth_signing_alg = [\"RS256\", \"ES384\"]\nredirect_uris = [\"https://app.example/cb\", \"com.example.app:/cb\"]\n\
                 dpop = \"optional\"\npar = \"optional\"\nlaunch_trust = \"handle\"\naccess_token_alg = \"RS256\"\nid_token_signed_response_alg = \"ES384\"";
    let told = checked("", &format!("{wrong}\n{KEYS}")).unwrap_err();
    let keys = [
        "token_endpoint_auth_signing_alg[0]",
        "token_endpoint_auth_signing_alg[1]",
        "redirect_uris[1]",
        "].dpop",
        "].par",
        "].launch_trust",
        "].access_token_alg",
        "].id_token_signed_response_alg",
    ];
    for key in keys {
        assert_eq!(told.iter().filter(|line| line.contains(key)).count(), 1, "{key}: {told:#?}");
    }
    assert_eq!(told.len(), keys.len(), "{told:#?}");
    let redirects = "redirect_uris = [\"https://app.example/cb\"]";
    for (auth, more) in [("none", ""), ("client_secret_basic", "client_secret = { env = \"NO_SUCH\" }")] {
        let told = checked("", &format!("profile = \"fapi2\"\nauth = \"{auth}\"\n{more}\n{redirects}")).unwrap_err();
        assert!(told.iter().any(|line| line.contains("private_key_jwt")), "{told:#?}");
    }
    for http in ["http://127.0.0.1:4567/cb", "http://app.example/cb"] {
        let told = checked("", &format!("profile = \"fapi2\"\nauth = \"private_key_jwt\"\n{KEYS}\nredirect_uris = [\"{http}\"]")).unwrap_err();
        assert!(told.len() == 1 && told[0].contains("must be https"), "{told:#?}");
    }
    for ttl in ["600s", "4s", "1h"] {
        assert!(checked(&format!("par_ttl = \"{ttl}\""), &format!("auth = \"none\"\n{redirects}")).is_err(), "{ttl}");
    }
    assert!(checked("code_ttl = \"61s\"", &format!("auth = \"none\"\n{redirects}")).is_err(), "FAPI 2.0 §5.3.2.1: codes of at most 60 s");
    assert!(checked("", &format!("profile = \"oidc\"\nauth = \"none\"\n{redirects}")).unwrap_err()[0].contains("needs a client that can authenticate"));
}

#[test]
fn an_issuer_names_the_profile_of_clients_that_name_none() {
    use helsebro::domain::client::{ParPolicy, Profile};
    use helsebro::domain::dpop::DpopPolicy;
    let redirects = "redirect_uris = [\"https://app.example/cb\"]";
    let of = |own: &str, client: &str| {
        let checked = checked(own, &format!("{client}\n{redirects}")).unwrap();
        let client = checked.config.issuers[0].rules.clients.values().next().unwrap().clone();
        (client.profile, client.par, client.dpop, client.id_token_alg, client.access_alg(Some(Alg::RS256)))
    };
    let asymmetric = format!("auth = \"private_key_jwt\"\n{KEYS}");
    let strict = (Profile::Fapi2, ParPolicy::Required, DpopPolicy::Required, Alg::ES256, Alg::ES256);
    let loose = (Profile::Smart, ParPolicy::Optional, DpopPolicy::Optional, Alg::RS256, Alg::RS256);
    assert_eq!(of("profile = \"fapi2\"", &asymmetric), strict, "never RS256, whatever the FHIR base asks");
    assert_eq!(of("", &format!("{asymmetric}\nprofile = \"fapi2\"")), strict);
    assert_eq!(of("profile = \"fapi2\"", &format!("{asymmetric}\nprofile = \"smart\"")), loose, "its own word goes first");
    assert_eq!(of("", &asymmetric), loose);
    // What the issuer's profile does not take, a client must say otherwise itself.
    let told = checked("profile = \"fapi2\"", &format!("auth = \"none\"\n{redirects}")).unwrap_err();
    assert!(told.len() == 1 && told[0].contains("profile = \"smart\""), "{told:#?}");
    assert!(checked("profile = \"fapi\"", &format!("auth = \"none\"\n{redirects}")).unwrap_err()[0].contains("did you mean \"fapi2\""));
}
