//! What goes well. `reference/helseid.md` §7.6.

use std::collections::BTreeSet;

use helsebro::domain::person::OrgNumber;
use helsebro::domain::upstream::{ActingFor, RequestObject, RequestObjectTyp, Tenancy};
use helsebro::helseid::faults::Endpoint;
use helsebro::helseid::seed::table;
use helsebro::jose::{Alg, SigningKey};
use helsebro::upstream::details::{Attest, Code, DecisionRef, Purpose, ServiceOrPurpose};
use helsebro::upstream::{AfterRefresh, Circuit, Details, ExchangeAsk, Hid, Holder, Refusal, UpstreamError};

use super::world::{API, Bridge, Session};

fn acting(parent: &str, child: Option<&str>) -> Details {
    let number = |text: &str| OrgNumber::parse(text).unwrap();
    Details::none().acting_for(Tenancy::Multi, &ActingFor { parent: number(parent), child: child.map(number) })
}

fn attest() -> Attest {
    Attest {
        profession: Some("LE".to_owned()),
        legal_entity: OrgNumber::parse(table::NORDVIK).unwrap(),
        point_of_care: OrgNumber::parse(table::NORDVIK_LEGEVAKT).unwrap(),
        department: None,
        service: ServiceOrPurpose::Service(Code { code: "KX17".to_owned(), system: "urn:oid:2.16.578.1.12.4.1.1.8663".to_owned() }),
        purpose: Purpose::Treatment,
        decision_ref: DecisionRef::parse("enc-7f21c0").unwrap(),
        user_selected: true,
    }
}

#[tokio::test]
async fn a_doctor_logs_in_and_is_known() {
    let bridge = Bridge::start().await;
    let session = bridge.log_in("solveig").await;
    let who = &session.logged_in.identity;
    assert_eq!((who.person.secret().expose().as_str(), who.name.as_deref()), ("12837512040", Some("Solveig Fjæremo")));
    assert_eq!((who.hpr.as_ref().unwrap().secret().expose().as_str(), who.level.to_string().as_str()), ("990000101", "4"));
    let tokens = &session.logged_in.tokens;
    assert_eq!((tokens.token.audience.as_str(), tokens.token.jkt.as_deref()), (API, Some(session.key.public_jwk().thumbprint().as_str())));
    assert!(tokens.refresh.as_ref().unwrap().expires_at.is_some());

    // One nonce retry, with an assertion of its own; every assertion was accepted for the first time.
    let calls = bridge.asked(Endpoint::Token);
    assert_eq!(calls.iter().map(|entry| entry.error.as_deref()).collect::<Vec<_>>(), [Some("use_dpop_nonce"), None]);
    let all = [bridge.asked(Endpoint::Par), calls].concat();
    let jtis: BTreeSet<String> = all.iter().map(|entry| entry.client_assertion.as_ref().unwrap().to_string()).collect();
    assert_eq!(jtis.len(), 3);

    let details = bridge.upstream.userinfo(&tokens.access_token, &session.key, &who.subject).await.unwrap();
    assert_eq!((details.approvals[0].profession.as_str(), details.approvals[0].authorization.as_deref()), ("LE", Some("1")));
    assert!(details.number.unwrap().is_same(who.hpr.as_ref().unwrap()));
    let again = bridge.upstream.verify_access_token(&tokens.access_token, API).await.unwrap();
    again.person(bridge.upstream.rules(), helsebro::time::Clock::now(&*bridge.clock)).unwrap();
    assert_eq!(bridge.upstream.health().circuit, Circuit::Closed);
}

#[tokio::test]
async fn people_differ_in_what_is_known_of_them() {
    let bridge = Bridge::start().await;
    let lars = bridge.log_in("lars").await;
    assert!(lars.logged_in.identity.hpr.is_none());
    let dnr = bridge.log_in("dnr").await;
    assert!(dnr.logged_in.identity.person.is_d_number());
    let berit = bridge.log_in("berit").await;
    let details = bridge.upstream.userinfo(&berit.logged_in.tokens.access_token, &berit.key, &berit.logged_in.identity.subject).await.unwrap();
    assert!(details.approvals.is_empty(), "withdrawn");
    let (twin, solveig) = (bridge.log_in("twin").await, bridge.log_in("solveig").await);
    let (twin, solveig) = (twin.logged_in.identity, solveig.logged_in.identity);
    assert!(twin.name == solveig.name && !twin.person.is_same(&solveig.person) && twin.subject != solveig.subject);
}

#[tokio::test]
async fn another_api_by_refresh_with_organisation_and_attest() {
    let bridge = Bridge::start().await;
    let session = bridge.log_in("solveig").await;
    let details = acting(table::NORDVIK, Some(table::NORDVIK_LEGEVAKT)).attest(&attest());
    let first = bridge.refresh(&session, session.refresh_token(), "demo:kjerne", &details).await.unwrap();
    assert_eq!(first.tokens.token.audience, "demo:kjerne");
    let attested = first.tokens.token.attest.as_ref().expect("the attest that was sent");
    assert_eq!(attested["care_relationship"]["decision_ref"]["id"], "enc-7f21c0");
    assert!(first.tokens.token.acts_for(details.expected_organisation().unwrap()));
    // The next one says nothing, and has none.
    let next = bridge.refresh(&session, &first.refresh.secret, "demo:kjerne", &Details::none()).await.unwrap();
    assert!(next.tokens.token.attest.is_none());
    // What was spent ends in a refusal.
    let spent = bridge.refresh(&session, session.refresh_token(), API, &Details::none()).await.unwrap_err();
    assert_eq!(spent.why, UpstreamError::Refused(Refusal::InvalidGrant));
    assert!(matches!(spent.after, AfterRefresh::Over));
}

#[tokio::test]
async fn a_token_is_exchanged_as_the_actor() {
    let bridge = Bridge::start().await;
    let session = bridge.log_in("solveig").await;
    let subject = &session.logged_in.identity.subject;
    let scopes = BTreeSet::from(["demo:resept/write".to_owned()]);
    let none = Details::none();
    let subject_token = &session.logged_in.tokens.access_token;
    let ask = ExchangeAsk { subject_token, subject: None, holder: Holder::Key(&session.key), scopes: &scopes, audience: "demo:resept", details: &none };
    let token = bridge.upstream.exchange(&ask).await.unwrap().token;
    assert_eq!((token.audience.as_str(), token.actors.len()), ("demo:resept", 1));
    assert_eq!(token.original_client_id.unwrap().as_str(), table::SMART_AS);
    assert_eq!(token.jkt.as_deref(), Some(session.key.public_jwk().thumbprint().as_str()));
    assert_eq!(token.subject.as_ref(), Some(subject));
}

#[tokio::test]
async fn an_organisation_we_may_not_act_for() {
    let bridge = Bridge::start().await;
    let session = bridge.log_in("solveig").await;
    let failed = bridge.refresh(&session, session.refresh_token(), API, &acting(table::UTENFOR, None)).await.unwrap_err();
    assert_eq!(failed.why, UpstreamError::Refused(Refusal::Organisation(Hid::ParentNotListed)));
    assert!(matches!(failed.after, AfterRefresh::Unharmed));
    assert!(!format!("{failed:?}").contains(table::UTENFOR));
    bridge.refresh(&session, session.refresh_token(), API, &Details::none()).await.unwrap();
}

#[tokio::test]
async fn a_signed_request_object_is_taken_in_either_typ() {
    for typ in [RequestObjectTyp::ClientAuthentication, RequestObjectTyp::RequestObject] {
        let bridge = Bridge::with(|rules| (rules.request_object, rules.request_object_typ) = (RequestObject::Always, typ)).await;
        bridge.log_in("solveig").await;
    }
}

#[tokio::test]
async fn a_login_for_an_organisation_is_one_for_the_whole_session() {
    let bridge = Bridge::start().await;
    let details = acting(table::NORDVIK, Some(table::NORDVIK_LEGEVAKT));
    let begun = bridge.begin_with(&details).await.unwrap();
    let code = bridge.visit("solveig", &begun).await.unwrap();
    let key = SigningKey::generate(Alg::ES256).unwrap();
    let logged_in = bridge.redeem(&code, &begun, &key).await.unwrap();
    assert!(logged_in.tokens.token.acts_for(details.expected_organisation().unwrap()));
    let session = Session { key, logged_in };
    let next = bridge.refresh(&session, session.refresh_token(), "demo:kjerne", &Details::none()).await.unwrap();
    assert!(next.tokens.token.acts_for(details.expected_organisation().unwrap()));
}

#[tokio::test]
async fn a_session_that_was_revoked_is_over() {
    let bridge = Bridge::start().await;
    let session = bridge.log_in("solveig").await;
    bridge.upstream.revoke(session.refresh_token()).await.unwrap();
    let failed = bridge.refresh(&session, session.refresh_token(), API, &Details::none()).await.unwrap_err();
    assert!(matches!(failed.after, AfterRefresh::Over));
}
