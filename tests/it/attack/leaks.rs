//! Nothing that opens anything, and nobody's number, in anything that is logged or answered with an error. The harness looks through everything the whole run
//! logs (`world::leaks`); here it is shown that it would find something, and everything known to be secret is looked for by itself. DESIGN §3, Failure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{AT, CLIENTS, SECRET};
use crate::world::{ASSERTION_TYPE, Log, Prover, Reply, Tokens, VERIFIER, World, basic, form_fields, leaks};

#[test]
fn a_leak_would_be_found() {
    let number = leaks::NUMBERS.iter().find(|number| number.len() == 11).unwrap();
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
    let secret = "Dc8sJmX0b1u2v3w4x5y6z7A8B9C0D1E2F3G4H5I6J7K";
    for text in [
        format!("token {jwt}"),
        format!("?id_token_hint={jwt}&x"),
        format!("code_0123456789abcdef_{secret}"),
        format!("grant=rt_0123456789abcdef_3_{secret}."),
        format!("cookie: helsebro-x-session=sess_0123456789abcdef_{secret}; a"),
        format!("/start/launch_{secret}.x"),
        format!("Patient?identifier=urn:oid:2.16.578.1.12.4.1.4.1|{number}"),
        "hpr=990001007".to_owned(),
        basic("client", SECRET),
        format!("Bearer {secret}"),
        "-----BEGIN PRIVATE KEY-----".to_owned(),
        r#"{"kty":"EC","d":"x"}"#.to_owned(),
    ] {
        assert!(leaks::secret_in(&text).is_some(), "{text}");
        assert_eq!(leaks::planted(|| tracing_write(&text)).len(), 1, "{text}");
    }
    for text in [
        "2026-11-22T06:36:31.123456Z  INFO helsebro::access: method=POST route=\"/token\" status=200 micros=1234567 request_id=\"0123456789abcdef0123456789abcdef\"",
        "code_challenge_methods_supported, authorization_code_grant",
        "Bearer realm=\"helsebro\", error=\"invalid_token\"",
        "12345678901",
        "eyJ is how it begins",
    ] {
        assert_eq!(leaks::secret_in(text), None, "{text}");
    }
}

/// As the subscriber writes an event.
fn tracing_write(text: &str) {
    std::io::Write::write_all(&mut leaks::Scan, text.as_bytes()).unwrap();
}

/// Everything that was answered with an error, and where it led.
#[derive(Default)]
struct Errors(Vec<String>);

impl Errors {
    fn keep(&mut self, reply: Reply) -> Reply {
        if reply.status >= 400 {
            self.0.push(format!("{} {:?}", reply.body, reply.headers));
        } else if let Some(location) = reply.header("location").filter(|to| to.contains("error=")) {
            self.0.push(location.to_owned());
        }
        reply
    }
}

#[tokio::test]
async fn no_secret_and_no_number_in_any_log_or_error() {
    let log = Log::begin();
    let world = World::with_clients(CLIENTS).await;
    let facts = &world.demo.facts;
    let mut errors = Errors::default();
    let mut secrets: BTreeSet<String> = [SECRET, VERIFIER].map(str::to_owned).into();
    // What was there before anything happened.
    let hospital = facts.hospital.as_ref().unwrap();
    for client in facts.clients.values().chain(hospital.clients.values()) {
        secrets.extend(client.client_secret.iter().map(|secret| secret.expose().clone()));
        if let Some(jwk) = &client.private_jwk {
            let jwk: Value = serde_json::from_str(jwk.expose()).unwrap();
            secrets.extend(["d", "p", "q", "dp", "dq", "qi"].iter().filter_map(|name| jwk[*name].as_str()).map(str::to_owned));
        }
    }
    secrets.extend([facts.ops_token.expose().clone(), facts.helseid.as_ref().unwrap().admin_secret.expose().clone()]);
    // The whole demo: launches, HelseID in both directions, the hospital, the EPJ's page and the app.
    world.walk().await;
    // A launch of our own, of which everything is known.
    let launch = world.ehr().client("honest").launch().await;
    let start = launch["start_url"].as_str().unwrap();
    secrets.insert(launch["launch"].as_str().unwrap().to_owned());
    secrets.insert(start.rsplit_once('.').unwrap().1.to_owned());
    let mut browser = world.browser();
    let app = super::honest(&world);
    let code = app.open(&mut browser, &launch).await;
    let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
    let tokens = Tokens(world.post("/token", Some(&basic("honest", SECRET)), &form).await.is(200).json());
    let asks = super::asks(&world).set("scope", "openid launch/patient patient/Patient.rs");
    let page = asks.authorize(&mut browser).await;
    let login = browser.follow(page, world.issuer()).await.is(200);
    secrets.extend(form_fields(&login.reply.body, 0).1.into_iter().filter(|(name, _)| name == "csrf").map(|(_, value)| value));
    let next = browser.submit(&login, &[]).await;
    let picker = browser.follow(next, world.issuer()).await.is(200);
    let number = leaks::NUMBERS.iter().find(|number| number.len() == 11).unwrap().clone();
    errors.keep(browser.submit(&picker, &[("decision", "search"), ("identity_number", &number), ("name", &number)]).await.reply);
    errors.keep(browser.submit(&picker, &[("patient", &number)]).await.reply);
    secrets.extend(browser.cookies.values().cloned());
    secrets.extend([code, tokens.access().to_owned(), tokens.refresh().to_owned(), tokens.text("id_token").to_owned(), world.ehr().token().await]);
    let signature = tokens.access().rsplit_once('.').unwrap().1.to_owned();
    secrets.insert(signature);
    let prover = Prover::new();
    let proof = prover.proof("POST", &world.token_endpoint(), world.now());
    secrets.extend([proof.clone(), world.assertion("lab-sync")]);
    // Each of them, and numbers of people, everywhere they do not belong.
    let strays: Vec<String> = secrets.iter().filter(|secret| secret.len() >= 16).cloned().chain([number.clone(), "990001007".to_owned()]).collect();
    for stray in &strays {
        let s = stray.as_str();
        let honest = basic("honest", SECRET);
        for (path, authorization, form) in [
            ("/token", None, vec![("client_id", s), ("client_secret", s), ("grant_type", s)]),
            ("/token", Some(basic(s, s)), vec![("grant_type", "refresh_token"), ("refresh_token", s)]),
            ("/token", Some(honest.clone()), vec![("grant_type", s), ("scope", s)]),
            ("/token", Some(honest.clone()), vec![("grant_type", "authorization_code"), ("code", s), ("redirect_uri", s), ("code_verifier", s)]),
            ("/token", Some(honest.clone()), vec![(s, s), (s, s)]),
            ("/token", None, vec![("client_assertion_type", ASSERTION_TYPE), ("client_assertion", s), ("client_id", s)]),
            (
                "/token",
                Some(honest.clone()),
                vec![
                    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                    ("subject_token", s),
                    ("subject_token_type", s),
                    ("audience", s),
                    ("requested_token_type", s),
                ],
            ),
            ("/introspect", Some(world.basic("fhir-server")), vec![("token", s), ("token_type_hint", s)]),
            ("/introspect", Some(format!("Bearer {s}")), vec![("token", s)]),
            ("/revoke", Some(honest.clone()), vec![("token", s), ("token_type_hint", s)]),
            ("/par", Some(honest.clone()), vec![("client_id", s), ("redirect_uri", s), ("state", s), ("scope", s), ("request_uri", s)]),
            ("/logout", None, vec![("id_token_hint", s), ("client_id", s), ("post_logout_redirect_uri", s), ("state", s)]),
            ("/upstream/logout", None, vec![("logout_token", s)]),
            ("/authorize", None, vec![("client_id", s), ("redirect_uri", s)]),
        ] {
            errors.keep(world.post(path, authorization.as_deref(), &form).await);
        }
        for name in [
            "launch",
            "scope",
            "aud",
            "resource",
            "prompt",
            "max_age",
            "claims",
            "id_token_hint",
            "login_hint",
            "nonce",
            "request",
            "request_uri",
            "acr_values",
            "response_mode",
            "code_challenge",
            "kept",
        ] {
            errors.keep(app.clone().set(name, s).authorize(&mut world.browser()).await.reply);
        }
        let encoded: String = form_urlencoded::byte_serialize(s.as_bytes()).collect();
        for path in [
            format!("/{encoded}"),
            format!("/start/{encoded}"),
            format!("/start/{encoded}.{encoded}"),
            format!("/interaction/{encoded}"),
            format!("/userinfo?access_token={encoded}"),
            format!("/upstream/callback?state={encoded}&code={encoded}&iss={encoded}&error={encoded}&error_description={encoded}"),
            format!("/account/apps?{encoded}={encoded}"),
        ] {
            errors.keep(world.get(&path).await);
        }
        for headers in [
            [("authorization", format!("Bearer {s}")), ("dpop", proof.clone())],
            [("authorization", format!("DPoP {s}")), ("dpop", s.to_owned())],
            [("cookie", format!("helsebro-x-session={s}")), ("x-request-id", "a-request-id".to_owned())],
        ] {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            errors.keep(world.request("GET", "/userinfo", &headers, "").await);
            errors.keep(world.request("GET", "/account/apps", &headers, "").await);
        }
        for member in [
            "client_id",
            "patient",
            "encounter",
            "fhir_user",
            "launch_url",
            "fhir_base",
            "organization",
            "fhir_context",
            "upstream_token",
            "upstream_proof",
            "ttl",
            "smart_style_url",
            s,
        ] {
            errors.keep(world.ehr().client("honest").with(member, json!(s)).send().await);
        }
        for path in [
            format!("Patient/{encoded}"),
            format!("Patient?identifier=urn:oid:2.16.578.1.12.4.1.4.1|{encoded}"),
            format!("{encoded}/1"),
            format!("Patient?{encoded}=1"),
            format!("Condition?patient={encoded}"),
        ] {
            errors.keep(world.read(tokens.access(), &path).await);
            errors.keep(world.read(s, &path).await);
        }
        for (method, path, body) in [
            ("POST", "/clients".to_owned(), json!({ "client_id": s, s: s, "client_secret": s, "jwks_uri": s })),
            ("POST", format!("/clients/{encoded}/disable"), json!({})),
            ("POST", "/keys/rotate".to_owned(), json!({ "alg": s })),
            ("POST", format!("/{encoded}"), json!({ s: s })),
        ] {
            errors.keep(world.operate(method, &path, Some(body)).await);
        }
        world.advance(61);
    }
    assert!(errors.0.len() > strays.len() * 20, "{} errors", errors.0.len());
    // Libraries write what they like below warnings, and a server leaves it out: `cli::log`.
    let said = log.text();
    let said: Vec<&str> = said.lines().filter(|line| line.contains(" helsebro::") || line.contains(" WARN ") || line.contains(" ERROR ")).collect();
    assert!(said.iter().filter(|line| line.contains("helsebro::access")).count() > 500, "{} lines", said.len());
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let forms: Vec<String> = secrets.iter().flat_map(|secret| [secret.clone(), encoded(secret)]).collect();
    for line in said.iter().copied().chain(errors.0.iter().map(String::as_str)) {
        assert_eq!(leaks::secret_in(line), None, "{line}");
        for secret in forms.iter().filter(|secret| secret.len() >= 12) {
            assert!(!line.contains(secret.as_str()), "{secret} in {line}");
        }
    }
    // What operators keep is no better a place. `docs/audit.md`.
    let mut seen = 0;
    loop {
        let records = world.audit(seen).await;
        let Some(last) = records.last() else { break };
        seen = last["seq"].as_u64().unwrap();
        for record in &records {
            let text = record.to_string();
            assert_eq!(leaks::secret_in(&text), None, "{text}");
            for secret in forms.iter().filter(|secret| secret.len() >= 12) {
                assert!(!text.contains(secret.as_str()), "{secret} in {text}");
            }
        }
    }
    assert!(seen > 500, "{seen} records");
}
