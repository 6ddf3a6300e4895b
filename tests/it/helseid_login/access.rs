//! Tokens of the provider's from a session that lives: kept while they are good, refreshed once, gone with the session.
//! `reference/helseid.md` §6.4, §2.8, T11, T18, T19.

use std::collections::BTreeSet;

use helsebro::domain::person::OrgNumber;
use helsebro::domain::upstream::{ActingFor, Tenancy, UpstreamSession};
use helsebro::engine::upstream_session::{AccessError, UpstreamAccess};
use helsebro::helseid::faults::Endpoint;
use helsebro::helseid::seed::table;
use helsebro::protocol::ids::{Issuer, SessionId};
use helsebro::upstream::{Details, Down, UpstreamError};
use serde_json::{Value, json};

use super::world::Fjord;
use crate::world::{Browser, claims};

const OWN: &str = "fjord:epj-api";
const KJERNE: &str = "demo:kjerne";

/// The session a grant belongs to: the EPJ's.
async fn session(fjord: &Fjord, browser: &mut Browser) -> (SessionId, Value) {
    let page = fjord.log_in(browser, &fjord.launch("epj-1").await, "solveig").await;
    let tokens = fjord.redeem(&page).await;
    let sid = claims(tokens["id_token"].as_str().unwrap())["sid"].as_str().unwrap().to_owned();
    fjord.idp().journal.clear();
    (SessionId::parse(&sid).unwrap(), tokens)
}

async fn access(fjord: &Fjord, session: &SessionId, resource: &str, details: &Details) -> Result<UpstreamAccess, AccessError> {
    fjord.site.engine.upstream_access(session, resource, &BTreeSet::new(), details).await
}

fn refreshes(fjord: &Fjord) -> usize {
    fjord.asked(Endpoint::Token).iter().filter(|entry| entry.status == 200).count()
}

#[tokio::test]
async fn a_token_is_kept_while_it_is_good_and_apart_from_others() {
    let fjord = Fjord::start().await;
    let (session, _) = session(&fjord, &mut fjord.browser()).await;
    let none = Details::none();
    let own = access(&fjord, &session, OWN, &none).await.unwrap();
    assert_eq!((own.tokens.token.audience.as_str(), refreshes(&fjord)), (OWN, 0), "the login's own token");
    assert_eq!(own.tokens.token.jkt.as_deref(), Some(own.key.public_jwk().thumbprint().as_str()));
    assert!(own.tokens.refresh.is_none() && own.login.fhir_user.to_string() == super::SOLVEIG);

    let kjerne = access(&fjord, &session, KJERNE, &none).await.unwrap();
    assert_eq!((kjerne.tokens.token.audience.as_str(), refreshes(&fjord)), (KJERNE, 1));
    let again = access(&fjord, &session, KJERNE, &none).await.unwrap();
    assert_eq!((again.tokens.token.jti, refreshes(&fjord)), (kjerne.tokens.token.jti.clone(), 1));
    let acting = Details::none().acting_for(Tenancy::Multi, &ActingFor { parent: OrgNumber::parse(table::NORDVIK).unwrap(), child: None });
    let other = access(&fjord, &session, KJERNE, &acting).await.unwrap();
    assert!(other.tokens.token.jti != kjerne.tokens.token.jti && other.tokens.token.org_parent.is_some(), "cache_isolation");
    assert!(matches!(access(&fjord, &session, "demo:resept", &none).await, Err(AccessError::NotPushed)));

    // Ten seconds before its end it is none any more.
    fjord.advance(49);
    assert_eq!(access(&fjord, &session, KJERNE, &none).await.unwrap().tokens.token.jti, kjerne.tokens.token.jti);
    fjord.advance(2);
    assert_ne!(access(&fjord, &session, KJERNE, &none).await.unwrap().tokens.token.jti, kjerne.tokens.token.jti);
    fjord.stop().await;
}

/// `refresh_race_single_winner`.
#[tokio::test]
async fn of_many_at_once_one_refreshes_and_all_have_it() {
    let fjord = Fjord::start().await;
    let (session, _) = session(&fjord, &mut fjord.browser()).await;
    let none = Details::none();
    let all = futures_util::future::join_all((0..16).map(|n| access(&fjord, &session, if n % 2 == 0 { KJERNE } else { OWN }, &none))).await;
    let jtis: BTreeSet<_> = all.into_iter().map(|access| access.unwrap().tokens.token.jti).collect();
    assert_eq!((jtis.len(), refreshes(&fjord)), (2, 1));
    fjord.stop().await;
}

/// `refresh_response_lost`: never a second time with the old token.
#[tokio::test]
async fn a_lost_refresh_ends_the_session_there_and_a_refused_one_too() {
    for kind in ["drop_after", "refused"] {
        let fjord = Fjord::start().await;
        let (session, tokens) = session(&fjord, &mut fjord.browser()).await;
        let none = Details::none();
        if kind == "refused" {
            fjord.idp().kept.families.clear();
        } else {
            fjord.fault(json!({ "endpoint": "token", "grant_type": "refresh_token" }), json!({ "kind": kind }));
        }
        assert!(matches!(access(&fjord, &session, KJERNE, &none).await, Err(AccessError::Upstream(_))), "{kind}");
        fjord.idp().faults.clear();
        fjord.idp().journal.clear();
        assert!(matches!(access(&fjord, &session, KJERNE, &none).await, Err(AccessError::NoSession)), "{kind}");
        assert!(matches!(access(&fjord, &session, OWN, &none).await, Err(AccessError::NoSession)), "{kind}: nor the token that was kept");
        assert_eq!(fjord.asked(Endpoint::Token).len(), 0, "{kind}");
        // The app's own grant is none of this.
        assert!(fjord.is_active(&tokens).await);
        fjord.stop().await;
    }
}

#[tokio::test]
async fn a_provider_that_is_down_harms_no_session() {
    let fjord = Fjord::start().await;
    let (session, _) = session(&fjord, &mut fjord.browser()).await;
    fjord.fault(json!({ "endpoint": "token" }), json!({ "kind": "respond", "status": 503, "headers": { "Retry-After": "0" }, "body": "" }));
    let down = access(&fjord, &session, KJERNE, &Details::none()).await;
    assert!(matches!(down, Err(AccessError::Upstream(UpstreamError::Down(Down::Status(503))))), "{down:?}");
    fjord.idp().faults.clear();
    access(&fjord, &session, KJERNE, &Details::none()).await.unwrap();
    fjord.stop().await;
}

/// T11, `te_after_logout`, `te_after_backchannel_logout`.
#[tokio::test]
async fn what_ends_gives_no_more_tokens_and_is_refused_from_others() {
    let none = Details::none();
    for how in ["here", "there", "epj"] {
        let fjord = Fjord::start().await;
        let mut browser = fjord.browser();
        let (session, _) = session(&fjord, &mut browser).await;
        let own = access(&fjord, &session, OWN, &none).await.unwrap().tokens.token;
        let (sid, _) = fjord.only_login();
        let issuer = Issuer::parse(fjord.idp().issuer.as_str()).unwrap();
        let named = UpstreamSession::parse(&sid).unwrap();
        let denied = async |sid: Option<&UpstreamSession>| fjord.site.engine.upstream_denied(&issuer, sid, own.jti.as_str()).await.unwrap();
        assert!(!denied(Some(&named)).await);
        match how {
            "here" => {
                let page = browser.get(&format!("{}/logout", fjord.bare.origin)).await.is(200);
                browser.submit(&page, &[]).await.is(200);
            }
            "there" => drop(fjord.tell(&fjord.logout_token(|claims| claims["sid"] = json!(sid))).await.is(200)),
            _ => fjord.epj_logs_out("epj-1").await,
        }
        fjord.idp().journal.clear();
        for resource in [OWN, KJERNE] {
            assert!(matches!(access(&fjord, &session, resource, &none).await, Err(AccessError::NoSession)), "{how}");
        }
        assert_eq!(fjord.asked(Endpoint::Token).len(), 0, "{how}");
        assert_eq!((denied(Some(&named)).await, denied(None).await), (how == "there", how == "there"), "{how}: by session, and by the token itself");
        fjord.stop().await;
    }
}
