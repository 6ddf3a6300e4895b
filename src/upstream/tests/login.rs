//! Pushed request, callback, code.

use std::time::Duration;

use serde_json::json;
use url::Url;

use super::stub::*;
use crate::domain::person::OrgNumber;
use crate::domain::upstream::{ActingFor, RequestObject, Tenancy};
use crate::protocol::params::Params;
use crate::protocol::pkce::CodeVerifier;
use crate::secret::Secret;
use crate::upstream::{AnswerFault, CallbackError, CallbackRefusal, Details, LoginAsk, Prompt, TokenFault, UpstreamError};

fn ask<'a>(state: &'a Secret<String>, details: &'a Details) -> LoginAsk<'a> {
    LoginAsk { prompt: Prompt::AsNeeded, max_age: None, state, nonce: NONCE, code_challenge: "ch4llenge", dpop_jkt: None, details }
}

#[tokio::test]
async fn a_login_is_pushed_and_the_url_says_nothing_of_it() {
    let world = World::new().await;
    let (state, none) = (Secret::new("st4te".to_owned()), Details::none());
    let full = LoginAsk { prompt: Prompt::Force, max_age: Some(Duration::from_secs(60)), dpop_jkt: Some("thumb"), ..ask(&state, &none) };
    let url = Url::parse(&world.upstream.begin_login(&full).await.unwrap()).unwrap();
    assert_eq!(url.path(), "/connect/authorize");
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let expected = [("client_id", CLIENT), ("request_uri", "urn:ietf:params:oauth:request_uri:abc")];
    assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let pushed = world.stub.each(PAR, |seen| {
        let one = |name: &str| seen.form.get(name).map(str::to_owned);
        let names =
            ["response_type", "redirect_uri", "scope", "state", "nonce", "code_challenge_method", "acr_values", "max_age", "dpop_jkt", "prompt", "request"];
        (names.map(one), seen.form.all("resource").map(str::to_owned).collect::<Vec<_>>(), seen.assertion().get("assertion_details").cloned())
    });
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        pushed,
        [(
            [
                some("code"),
                some("http://127.0.0.1:9400/upstream/callback"),
                some("fjord:epj-api/exchange offline_access openid"),
                some("st4te"),
                some(NONCE),
                some("S256"),
                some("Level4"),
                some("60"),
                some("thumb"),
                some("login"),
                None
            ],
            vec!["demo:kjerne".to_owned(), API.to_owned()],
            None
        )]
    );
    world.upstream.begin_login(&LoginAsk { prompt: Prompt::Silent, ..ask(&state, &none) }).await.unwrap();
    assert_eq!(world.stub.each(PAR, |seen| seen.form.get("prompt").map(str::to_owned)).last(), Some(&some("none")));
}

#[tokio::test]
async fn an_organisation_goes_into_a_signed_request_object() {
    let world = World::new().await;
    let state = Secret::new("st4te".to_owned());
    let parent = OrgNumber::parse("310441007").unwrap();
    let details = Details::none().acting_for(Tenancy::Multi, &ActingFor { parent, child: None });
    world.upstream.begin_login(&ask(&state, &details)).await.unwrap();
    let object = world.stub.each(PAR, |seen| seen.form.get("request").unwrap().to_owned()).remove(0);
    let claims = payload(&object);
    assert_eq!((&claims["iss"], &claims["aud"], &claims["client_id"]), (&json!(CLIENT), &json!(world.issuer), &json!(CLIENT)));
    assert!(claims["exp"].as_i64().unwrap() - NOW.0 <= 60 && claims["nbf"] == json!(NOW) && claims["jti"].is_string());
    assert_eq!(claims["authorization_details"], details.to_claim().unwrap());
    assert_eq!(part(&object, 0)["typ"], "client-authentication+jwt");
    // Twice would be refused.
    assert!(world.stub.each(PAR, |seen| seen.assertion().get("assertion_details").is_none())[0]);

    let always = World::with(|rules| rules.request_object = RequestObject::Always).await;
    always.upstream.begin_login(&ask(&state, &Details::none())).await.unwrap();
    assert!(always.stub.each(PAR, |seen| seen.form.has("request"))[0]);
}

#[tokio::test]
async fn a_pushed_request_without_a_handle_is_no_login() {
    let world = World::new().await;
    let (state, none) = (Secret::new("s".to_owned()), Details::none());
    for answer in [json!({}), json!({ "request_uri": "" }), json!({ "request_uri": "a b" }), json!({ "request_uri": 1 })] {
        world.stub.say(PAR, axum::Json(answer));
        assert_eq!(world.upstream.begin_login(&ask(&state, &none)).await.unwrap_err(), UpstreamError::Answer(AnswerFault::Missing("request_uri")));
    }
}

/// T4, `callback_iss_mismatch`, and the callback faults of the mock.
#[tokio::test]
async fn a_callback_is_checked_in_order() {
    let world = World::new().await;
    let issuer = world.issuer.as_str();
    let slashed = format!("{issuer}/");
    let check = |pairs: &[(&str, &str)]| {
        let params = Params::from_pairs(pairs.iter().copied());
        world.upstream.check_callback(&params, &Secret::new("st4te".to_owned())).err()
    };
    let refused = |refusal| Some(CallbackError::Refused(refusal));
    let (good, code) = (("iss", issuer), ("code", "C0DE-1"));
    assert_eq!(check(&[good, ("state", "st4te"), code, ("session_state", "x"), ("extra", "y"), ("extra", "z")]), None);
    for (pairs, expected) in [
        (vec![("state", "st4te"), code], Some(CallbackError::Issuer)),
        (vec![("iss", "https://evil.example"), ("state", "st4te"), code], Some(CallbackError::Issuer)),
        (vec![("iss", slashed.as_str()), ("state", "st4te"), code], Some(CallbackError::Issuer)),
        // The issuer first, whatever else is wrong.
        (vec![("iss", "https://evil.example"), ("state", "other"), ("error", "access_denied")], Some(CallbackError::Issuer)),
        (vec![good, code], Some(CallbackError::State)),
        (vec![good, ("state", "other"), code], Some(CallbackError::State)),
        (vec![good, ("state", "other"), ("error", "access_denied")], Some(CallbackError::State)),
        (vec![good, ("state", "st4te")], Some(CallbackError::Empty)),
        (vec![good, ("state", "st4te"), ("code", "a b")], Some(CallbackError::Empty)),
        (vec![good, ("state", "st4te"), code, code], Some(CallbackError::Repeated)),
        (vec![good, good, ("state", "st4te"), code], Some(CallbackError::Repeated)),
        (vec![good, ("state", "st4te"), code, ("error", "access_denied")], refused(CallbackRefusal::AccessDenied)),
        (vec![good, ("state", "st4te"), ("error", "login_required")], refused(CallbackRefusal::LoginRequired)),
        (vec![good, ("state", "st4te"), ("error", "interaction_required")], refused(CallbackRefusal::InteractionRequired)),
        (vec![good, ("state", "st4te"), ("error", "temporarily_unavailable")], refused(CallbackRefusal::Unavailable)),
        (vec![good, ("state", "st4te"), ("error", "<script>")], refused(CallbackRefusal::Other)),
    ] {
        assert_eq!(check(&pairs), expected, "{pairs:?}");
    }
}

#[tokio::test]
async fn a_code_becomes_a_person_and_a_session() {
    let world = World::new().await;
    let logged_in = world.redeem().await.unwrap();
    let sent = world
        .stub
        .each(TOKEN, |seen| ["grant_type", "code", "redirect_uri", "resource", "client_id", "scope"].map(|name| seen.form.get(name).map(str::to_owned)));
    let some = |text: &str| Some(text.to_owned());
    let expected = [some("authorization_code"), some("AB12-1"), some("http://127.0.0.1:9400/upstream/callback"), some(API), some(CLIENT), None];
    assert_eq!(sent, [expected]);
    let verifier = world.stub.each(TOKEN, |seen| seen.form.get("code_verifier").unwrap().to_owned()).remove(0);
    assert!(CodeVerifier::parse(&verifier).is_some());

    let who = &logged_in.identity;
    assert_eq!((&who.subject, who.session.as_ref().unwrap().as_str()), (&subject(), "7E1D0C9B8A"));
    assert_eq!((who.person.secret().expose().as_str(), who.hpr.as_ref().unwrap().secret().expose().as_str()), ("12837512040", "990000101"));
    assert_eq!((who.level.to_string().as_str(), who.auth_time.0, &who.amr[..]), ("4", NOW.0 - 1000, &["pwd".to_owned()][..]));
    let refresh = logged_in.tokens.refresh.as_ref().unwrap();
    assert_eq!((refresh.secret.expose().as_str(), refresh.expires_at), ("rt-1", Some(NOW + Duration::from_secs(28800))));
    assert_eq!(logged_in.tokens.expires_at, NOW + Duration::from_secs(60));
    // Nothing of it shows.
    let shown = format!("{logged_in:?}");
    for secret in ["12837512040", "990000101", "rt-1", "eyJ"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_login_is_told_apart() {
    let world = World::new().await;
    type Row = (&'static str, fn(&mut Made), UpstreamError);
    let rows: [Row; 11] = [
        ("upstream_bearer_downgrade", |made| drop(made.answer.insert("token_type".to_owned(), json!("Bearer"))), AnswerFault::Bearer.into()),
        ("no type", |made| drop(made.answer.remove("token_type")), AnswerFault::Missing("token_type").into()),
        ("another key", |made| made.access["cnf"]["jkt"] = json!("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"), TokenFault::Binding.into()),
        ("no key", |made| drop(made.access.remove("cnf")), TokenFault::Binding.into()),
        ("no id_token", |made| made.id.clear(), AnswerFault::Missing("id_token").into()),
        ("wrong_nonce", |made| made.id["nonce"] = json!("other"), TokenFault::Nonce.into()),
        ("missing_nonce", |made| drop(made.id.remove("nonce")), TokenFault::Nonce.into()),
        ("two people", |made| made.access["sub"] = json!("somebody-else"), AnswerFault::Subject.into()),
        ("another access token", |made| drop(made.id.insert("at_hash".to_owned(), json!("77QmUPtjPfzWtF2AnpK9RQ"))), TokenFault::AccessTokenHash.into()),
        ("level_3", |made| made.id["helseid://claims/identity/security_level"] = json!("3"), TokenFault::Level.into()),
        ("expires_in a text", |made| made.answer["expires_in"] = json!("60"), AnswerFault::Missing("expires_in").into()),
    ];
    for (what, change, expected) in rows {
        world.stub.tweak(change);
        assert_eq!(world.redeem().await.unwrap_err(), expected, "{what}");
    }
    world.stub.tweak(|made| made.answer["token_type"] = json!("dpop"));
    world.redeem().await.unwrap();
}
