//! What an exchange does not tell, does not log, and does not let through in a race. `reference/helseid.md` §6.8 T11, T22, T23, T25.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use super::hospital::{Hospital, NUMBERS, PATIENT};
use super::{ID_TOKEN, JWT, PORTAL_SCOPES, Portal, exchange_form, tampered};
use crate::world::{Log, Reply, SECRET, World, basic, claims};

fn token(answer: &Value) -> &str {
    answer["access_token"].as_str().unwrap_or_else(|| panic!("no token in {answer}"))
}

/// T22 no_secret_in_logs, over both systems: the log tells each exchange, and neither a token nor a number.
#[tokio::test]
async fn no_secret_in_logs_of_a_foreign_exchange() {
    let log = Log::begin();
    let hospital = Hospital::start().await;
    let scope = "openid fhirUser launch patient/Patient.rs";
    let mut secrets = vec![SECRET.to_owned(), NUMBERS.0.to_owned(), NUMBERS.1.to_owned(), basic("next-hospital", SECRET), basic("portal-here", SECRET)];
    let mut tell = |text: &str| {
        secrets.push(text.to_owned());
        secrets.push(text.rsplit_once('.').unwrap().1.to_owned());
    };
    for patient in [PATIENT.0, "pasient-03", "pasient-04"] {
        let first = hospital.launched("portal-there", patient, scope).await;
        let reply = hospital.exchange("portal-here", token(&first), &[]).await;
        assert_eq!(reply.status, if patient == PATIENT.0 { 200 } else { 400 }, "{}", reply.body);
        assert!(!reply.body.contains(NUMBERS.0) && !reply.body.contains("21907911230"), "{}", reply.body);
        tell(token(&first));
        tell(first["id_token"].as_str().unwrap());
        if reply.status == 200 {
            tell(token(&reply.json()));
        }
        let wrong = tampered(token(&first), |claims| claims["scope"] = json!("user/*.rs"));
        hospital.exchange("portal-here", &wrong, &[]).await.refused(400, "invalid_request");
        hospital.exchange("stranger", token(&first), &[("audience", "https://stray-secret.example")]).await.refused(400, "invalid_target");
        tell(&wrong);
    }
    secrets.extend(["21907911230", "09851880620", "stray-secret"].map(str::to_owned));
    let said = log.text();
    for secret in &secrets {
        assert!(!said.contains(secret.as_str()), "{secret} is in the log");
    }
    // P12: one line for each, allowed or refused, and why.
    assert_eq!(said.matches("token exchanged").count(), 1);
    assert_eq!(said.matches("token exchange refused").count(), 8);
    for expected in ["portal-brings", "not found here by identifier", "the signature does not verify", "no row of the policy permits"] {
        assert!(said.contains(expected), "{expected} is not in the log");
    }
    hospital.stop().await;
}

/// T25: whoever tries a token that is not his learns nothing from the answer.
#[tokio::test]
async fn te_errors_indistinguishable() {
    let log = Log::begin();
    let world = World::start().await;
    let portal = Portal::new(&world);
    let first = portal.launched().await;
    let (subject, refresh, id_token) = (first.access(), first.refresh(), first.text("id_token"));
    let other = {
        let launch = world.ehr().launch().await;
        world.app("syk-inn").tokens(&launch).await
    };
    let thief = Portal::new(&world);
    let bent = tampered(subject, |claims| claims["scope"] = json!("patient/*.cruds"));
    let foreign = tampered(subject, |claims| claims["iss"] = json!("https://auth.example"));
    let upper = tampered(subject, |claims| claims["iss"] = json!(world.issuer().to_uppercase()));
    let mut answers: Vec<(&str, Reply)> = Vec::new();
    for (case, subject, more) in [
        ("tampered", &*bent, [].as_slice()),
        ("of an issuer we do not know", &foreign, &[]),
        ("of nearly our issuer", &upper, &[]),
        ("no token", "x.y.z", &[]),
        ("nothing like one", "x", &[]),
        ("a refresh token", refresh, &[]),
        ("an id_token", id_token, &[]),
        ("an id_token as jwt", id_token, &[("subject_token_type", JWT)]),
        ("an id_token as such, where the row takes none", id_token, &[("subject_token_type", ID_TOKEN)]),
        ("an access token as id_token", subject, &[("subject_token_type", ID_TOKEN)]),
        ("another app's", other.access(), &[]),
        ("an actor where none is taken", subject, &[("actor_token", subject), ("actor_token_type", JWT)]),
        ("a result of another type", subject, &[("requested_token_type", ID_TOKEN)]),
    ] {
        answers.push((case, portal.exchange(subject, more).await));
    }
    answers.push(("another key", thief.exchange(subject, &[]).await));
    let once = portal.exchange(subject, &[]).await.is(200).json();
    answers.push(("exchanged before", portal.exchange(token(&once), &[]).await));
    let assertion = world.assertion("regional-portal");
    let revoke = [("token", refresh), ("client_assertion_type", crate::world::ASSERTION_TYPE), ("client_assertion", &assertion)];
    world.post("/revoke", None, &revoke).await.is(200);
    answers.push(("ended", portal.exchange(subject, &[]).await));
    let expected = json!({ "error": "invalid_request", "error_description": "a token of this request, or what it was sent with, is not acceptable" });
    for (case, reply) in &answers {
        assert_eq!((reply.status, reply.json()), (400, expected.clone()), "{case}");
        let names: Vec<_> = reply.headers.keys().map(|name| name.as_str().to_owned()).collect();
        let first: Vec<_> = answers[0].1.headers.keys().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(names, first, "{case}");
    }
    // T23 big_jwt: refused for its length alone.
    let big = format!("{subject}{}", "a".repeat(16 * 1024));
    portal.exchange(&big, &[]).await.refused(400, "invalid_request");
    // T22: what the wire does not tell, the log does, without the tokens.
    let said = log.text();
    for secret in [subject, refresh, id_token, token(&once), other.access(), &bent] {
        // The end of the signature or of the seal: it may hold a `_` of its own.
        let end = &secret[secret.len() - 24..];
        assert!(!said.contains(secret) && !said.contains(end), "a token is in the log");
    }
    for reason in ["another client", "another key", "came from an exchange", "has ended", "not signed by an issuer we know", "takes no actor_token"] {
        assert!(said.contains(reason), "{reason} is not in the log");
    }
}

/// T11 in a race: whatever was exchanged while the subject was being revoked is dead once it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn te_after_logout_in_a_race() {
    let world = World::start().await;
    let portal = Portal::new(&world);
    assert!(PORTAL_SCOPES.contains("offline_access"));
    for ended in ["access_token", "refresh_token"] {
        let first = portal.launched().await;
        let assertion = world.assertion("regional-portal");
        let form = [("token", first.text(ended)), ("client_assertion_type", crate::world::ASSERTION_TYPE), ("client_assertion", &assertion)];
        let exchanges = join_all((0..32).map(|_| async { portal.exchange(first.access(), &[("scope", "patient/Patient.rs")]).await }));
        let (replies, revoked) = join(exchanges, world.post("/revoke", None, &form)).await;
        revoked.is(200);
        let mut names = std::collections::BTreeSet::new();
        for reply in replies {
            if reply.status != 200 {
                reply.refused(400, "invalid_request");
                continue;
            }
            let answer = reply.json();
            assert!(names.insert(claims(token(&answer))["jti"].to_string()), "two results of one name");
            assert!(!world.is_active(token(&answer)).await, "{ended}: a result outlived its subject");
        }
        portal.token(&exchange_form(first.access(), world.fhir(), &[])).await.refused(400, "invalid_request");
    }
}
