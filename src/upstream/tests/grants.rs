//! Refresh, exchange, userinfo, and one refresh of a session at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::Notify;

use super::stub::*;
use crate::domain::person::OrgNumber;
use crate::domain::upstream::{ActingFor, Tenancy, UpstreamSubject, UserinfoScheme};
use crate::jose::JwtError;
use crate::secret::{Digest, Secret};

use crate::upstream::{AfterRefresh, AnswerFault, Details, ExchangeAsk, Flights, Holder, RefreshAsk, Refusal, TokenFault, Tokens, UpstreamError};

fn for_child(child: &str) -> Details {
    let number = |text: &str| OrgNumber::parse(text).unwrap();
    Details::none().acting_for(Tenancy::Multi, &ActingFor { parent: number("310441007"), child: Some(number(child)) })
}

#[tokio::test]
async fn a_refresh_asks_for_one_resource_and_rotates() {
    let world = World::new().await;
    let details = for_child("310441015");
    let (old, scopes) = (Secret::new("rt-0".to_owned()), BTreeSet::from(["demo:kjerne/read".to_owned()]));
    let who = subject();
    let ask = RefreshAsk { resource: "demo:kjerne", ..world.refresh_ask(&old, &who, &scopes, &details) };
    world.stub.tweak(|made| {
        made.answer["scope"] = json!("demo:kjerne/read");
        made.answer.insert("rejected_scope".to_owned(), json!("demo:kjerne/write demo:kjerne/x"));
        drop(made.id.remove("nonce"));
    });
    let refreshed = world.upstream.refresh(&ask).await.unwrap();
    let sent = world.stub.each(TOKEN, |seen| {
        let form = ["grant_type", "refresh_token", "resource", "scope"].map(|name| seen.form.get(name).map(str::to_owned));
        (form, seen.assertion()["assertion_details"].clone())
    });
    let form = ["refresh_token", "rt-0", "demo:kjerne", "demo:kjerne/read"].map(|text| Some(text.to_owned()));
    assert_eq!(sent, [(form, details.to_claim().unwrap())]);
    assert_eq!((refreshed.refresh.secret.expose().as_str(), refreshed.refresh.expires_at), ("rt-1", Some(NOW + Duration::from_secs(28800))));
    assert_eq!((refreshed.tokens.token.audience.as_str(), refreshed.tokens.granted.len(), refreshed.tokens.rejected.len()), ("demo:kjerne", 1, 2));
    assert_eq!(refreshed.identity.unwrap().subject, who);
}

#[tokio::test]
async fn what_a_refresh_leaves_behind() {
    let world = World::new().await;
    type Row = (&'static str, fn(&mut Made), UpstreamError, bool);
    let rows: [Row; 7] = [
        ("upstream_bearer_downgrade", |made| made.answer["token_type"] = json!("Bearer"), AnswerFault::Bearer.into(), false),
        ("wrong_cnf", |made| made.access["cnf"]["jkt"] = json!("x"), TokenFault::Binding.into(), false),
        ("wrong_sub_after_refresh", |made| made.access["sub"] = json!("somebody-else"), TokenFault::Subject.into(), true),
        ("id_token of another", |made| made.id["sub"] = json!("somebody-else"), TokenFault::Subject.into(), true),
        ("old login", |made| made.id["auth_time"] = json!(NOW.0 - 13 * 3600), TokenFault::LoginTooOld.into(), true),
        ("another resource", |made| made.access["aud"] = json!("demo:kjerne"), TokenFault::Jwt(JwtError::Audience).into(), false),
        ("unknown key", |made| made.key = rsa(2), TokenFault::Jwt(JwtError::UnknownKey).into(), false),
    ];
    for (what, change, why, over) in rows {
        world.stub.tweak(change);
        let failed = world.refresh(&Details::none()).await.unwrap_err();
        assert_eq!(failed.why, why, "{what}");
        match failed.after {
            AfterRefresh::Over => assert!(over, "{what}"),
            AfterRefresh::Rotated(next) => assert!(!over && next.secret.expose().starts_with("rt-"), "{what}"),
            AfterRefresh::Unharmed => panic!("{what}: the refresh token was rotated"),
        }
    }
    for answer in [json!({}), json!({ "token_type": "DPoP" })] {
        world.stub.say(TOKEN, axum::Json(answer));
        let failed = world.refresh(&Details::none()).await.unwrap_err();
        assert!(matches!((failed.why, failed.after), (UpstreamError::Answer(AnswerFault::Missing(_)), AfterRefresh::Over)));
    }
    world.stub.tweak(|_| {});
    let failed = world.refresh(&for_child("310441023")).await.unwrap_err();
    // T16 `org_claim_differs_from_requested`.
    assert_eq!(failed.why, UpstreamError::Token(TokenFault::Organisation));
    world.refresh(&for_child("310441015")).await.unwrap();
}

#[tokio::test]
async fn a_refresh_may_give_neither_refresh_token_nor_id_token() {
    let world = World::new().await;
    world.stub.tweak(|made| {
        made.id.clear();
        made.answer.remove("refresh_token");
        made.answer["rt_expires_in"] = json!(0);
    });
    let refreshed = world.refresh(&Details::none()).await.unwrap();
    assert_eq!((refreshed.refresh.secret.expose().as_str(), refreshed.refresh.expires_at), ("rt-0", Some(NOW)));
    assert!(refreshed.identity.is_none());
}

fn exchange<'a>(world: &'a World, token: &'a Secret<String>, who: &'a UpstreamSubject, scopes: &'a BTreeSet<String>, details: &'a Details) -> ExchangeAsk<'a> {
    ExchangeAsk { subject_token: token, subject: Some(who), holder: Holder::Key(&world.key), scopes, audience: "demo:resept", details }
}

#[tokio::test]
async fn an_exchange_is_made_as_the_actor() {
    let world = World::new().await;
    let (token, who, scopes, none) = (Secret::new("at-1".to_owned()), subject(), BTreeSet::from(["demo:resept/write".to_owned()]), Details::none());
    let ask = exchange(&world, &token, &who, &scopes, &none);
    world.stub.tweak(|made| drop(made.answer.insert("refresh_token".to_owned(), json!("rt-stray"))));
    let tokens: Tokens = world.upstream.exchange(&ask).await.unwrap();
    assert!(tokens.refresh.is_none(), "an exchange gives no session");
    assert_eq!((tokens.token.audience.as_str(), tokens.token.actors[0].client_id.as_str()), ("demo:resept", CLIENT));
    let sent =
        world.stub.each(TOKEN, |seen| ["grant_type", "subject_token", "subject_token_type", "scope"].map(|name| seen.form.get(name).unwrap().to_owned()));
    let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    assert_eq!(sent, [[grant, "at-1", "urn:ietf:params:oauth:token-type:access_token", "demo:resept/write"].map(str::to_owned)]);

    type Row = (&'static str, fn(&mut Made), UpstreamError);
    let rows: [Row; 7] = [
        ("nothing of what was asked", |made| made.answer["scope"] = json!("openid"), UpstreamError::Refused(Refusal::InvalidScope)),
        ("act_missing", |made| drop(made.access.remove("act")), TokenFault::Actor.into()),
        ("act_wrong", |made| made.access["act"]["client_id"] = json!("somebody-else"), TokenFault::Actor.into()),
        ("act of another issuer", |made| made.access["act"]["iss"] = json!("https://evil.example"), TokenFault::Actor.into()),
        ("other_user", |made| made.access["sub"] = json!("somebody-else"), TokenFault::Subject.into()),
        ("no_cnf", |made| drop(made.access.remove("cnf")), TokenFault::Binding.into()),
        (
            "another kind",
            |made| made.answer["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:jwt"),
            AnswerFault::Missing("issued_token_type").into(),
        ),
    ];
    for (what, change, why) in rows {
        world.stub.tweak(change);
        assert_eq!(world.upstream.exchange(&ask).await.map(drop), Err(why), "{what}");
    }
}

#[tokio::test]
async fn userinfo_is_about_the_same_person() {
    let world = World::new().await;
    let token = Secret::new("at-1".to_owned());
    let ask = async || world.upstream.userinfo(&token, &world.key, &subject()).await;
    world.stub.say(
        USERINFO,
        axum::Json(json!({
            "sub": SUBJECT, "helseid://claims/hpr/hpr_number": "990000101",
            "helseid://claims/hpr/hpr_details": { "hpr_number": 990_000_101, "no_hpr_number": false, "approvals": [{
                "profession": "LE", "authorization": { "value": "1", "description": "Autorisasjon" },
                "requisition_rights": [{ "value": "1", "description": "Full rekvisisjonsrett" }], "specialities": [{ "value": 1 }]
            }] }
        })),
    );
    let details = ask().await.unwrap();
    assert_eq!(details.number.unwrap().secret().expose().as_str(), "990000101");
    let approval = &details.approvals[0];
    assert_eq!((approval.profession.as_str(), approval.authorization.as_deref(), &approval.specialities[..]), ("LE", Some("1"), &["1".to_owned()][..]));
    assert_eq!(
        world.stub.each(USERINFO, |seen| (seen.headers["authorization"].clone(), seen.headers.contains_key("dpop"))),
        [("Bearer at-1".parse().unwrap(), false)]
    );

    for (body, approvals) in
        [(json!({ "sub": SUBJECT }), 0), (json!({ "sub": SUBJECT, "helseid://claims/hpr/hpr_details": { "no_hpr_number": true, "hpr_number": null } }), 0)]
    {
        world.stub.say(USERINFO, axum::Json(body));
        let details = ask().await.unwrap();
        assert!(details.number.is_none() && details.approvals.len() == approvals);
    }
    // `other_sub_than_userinfo`.
    world.stub.say(USERINFO, axum::Json(json!({ "sub": "somebody-else" })));
    assert_eq!(ask().await.unwrap_err(), UpstreamError::Answer(AnswerFault::Subject));
    world.stub.say(USERINFO, "text");
    assert_eq!(ask().await.unwrap_err(), UpstreamError::Answer(AnswerFault::NotJson));

    let bound = World::with(|rules| rules.userinfo_scheme = UserinfoScheme::Dpop).await;
    bound.upstream.userinfo(&token, &bound.key, &subject()).await.unwrap();
    let seen = bound.stub.each(USERINFO, |seen| (seen.headers["authorization"].clone(), seen.proof()));
    assert_eq!((&seen[0].0, &seen[0].1["htm"], &seen[0].1["ath"]), (&"DPoP at-1".parse().unwrap(), &json!("GET"), &json!(Digest::of(b"at-1").text())));
}

/// T19, `refresh_race_single_winner`: many ask for one session at once.
#[tokio::test]
async fn concurrent_refreshes_of_one_session_make_one_call() {
    let world = Arc::new(World::new().await);
    let flights: Flights<Option<String>> = Flights::default();
    let gate = Arc::new(Notify::new());
    world.stub.say.lock().unwrap().push((TOKEN, Say::After(Arc::clone(&gate))));
    let refresh = |world: &Arc<World>| {
        let world = Arc::clone(world);
        move || async move { world.refresh(&Details::none()).await.ok().map(|refreshed| refreshed.refresh.secret.expose().clone()) }
    };
    let what = Digest::of(b"one");
    let several = join_all((0..10).map(|_| flights.run("session-1", what, refresh(&world))));
    let let_go = async {
        while world.stub.asked(TOKEN) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(flights.under_way(), 1);
        gate.notify_one();
    };
    let (outcomes, ()) = futures_util::future::join(several, let_go).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(Some("rt-1".to_owned()))), "{outcomes:?}");
    assert_eq!(world.stub.asked(TOKEN), 1);
    assert_eq!(flights.under_way(), 0, "a session without a refresh takes no room");
    // Later is another refresh.
    assert_eq!(flights.run("session-1", what, refresh(&world)).await, Ok(Some("rt-2".to_owned())));
}

#[tokio::test]
async fn another_resource_waits_and_another_session_does_not() {
    let flights: Flights<u8> = Flights::default();
    let (gate, began) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let first = tokio::spawn({
        let (flights, gate, began) = (flights.clone(), Arc::clone(&gate), Arc::clone(&began));
        async move {
            let work = || async move {
                began.notify_one();
                gate.notified().await;
                1
            };
            flights.run("a", Digest::of(b"one"), work).await
        }
    });
    began.notified().await;
    assert_eq!(flights.run("b", Digest::of(b"one"), || async { 2 }).await, Ok(2));
    let mut second = Box::pin(flights.run("a", Digest::of(b"two"), || async { 3 }));
    assert!(futures_util::poll!(&mut second).is_pending());
    gate.notify_one();
    assert_eq!(second.await, Ok(3), "something else of the same session is not shared");
    assert_eq!(first.await.unwrap(), Ok(1));
    assert_eq!(flights.under_way(), 0);
}

#[tokio::test]
async fn a_refresh_goes_on_when_nobody_waits_for_it() {
    let flights: Flights<u8> = Flights::default();
    let (gate, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let work = {
        let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
        || async move {
            gate.notified().await;
            done.notify_one();
            1
        }
    };
    let mut waiting = Box::pin(flights.run("a", Digest::of(b"one"), work));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(waiting);
    gate.notify_one();
    done.notified().await;
    let failed = flights.run("b", Digest::of(b"one"), || async { panic!("a bug") }).await;
    assert!(failed.is_err());
    while flights.under_way() > 0 {
        tokio::task::yield_now().await;
    }
}

/// T18, `cache_isolation`.
#[tokio::test]
async fn what_makes_two_tokens_of_a_session_the_same() {
    let (world, other) = (World::new().await, World::new().await);
    let (token, who, none) = (Secret::new("rt".to_owned()), subject(), Details::none());
    let (all, one) = (BTreeSet::new(), BTreeSet::from(["a".to_owned()]));
    let unit = for_child("310441015");
    let digests = [
        world.refresh_ask(&token, &who, &all, &none).digest("s1"),
        world.refresh_ask(&token, &who, &all, &none).digest("s2"),
        world.refresh_ask(&token, &who, &one, &none).digest("s1"),
        world.refresh_ask(&token, &who, &all, &unit).digest("s1"),
        other.refresh_ask(&token, &who, &all, &none).digest("s1"),
        RefreshAsk { resource: "demo:kjerne", ..world.refresh_ask(&token, &who, &all, &none) }.digest("s1"),
    ];
    let distinct: BTreeSet<String> = digests.iter().map(Digest::text).collect();
    assert_eq!(distinct.len(), digests.len());
    let later = Secret::new("rt-later".to_owned());
    assert_eq!(world.refresh_ask(&later, &who, &all, &none).digest("s1"), digests[0], "another refresh token, the same token asked for");
}
