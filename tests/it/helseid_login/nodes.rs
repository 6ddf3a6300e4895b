//! Several nodes over one store: what is used at one is used at all, and one session is refreshed by one node at a time. T6, T7, T19.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use helsebro::engine::upstream_session::{AccessError, UpstreamAccess};
use helsebro::helseid::faults::Endpoint;
use helsebro::http::Site;
use helsebro::jose::Alg;
use helsebro::protocol::ids::SessionId;
use helsebro::upstream::Details;
use serde_json::json;

use super::world::Fjord;
use crate::world::{ASSERTION_TYPE, Inside, Prover, Reply, assertion, claims, client_key, jwks_toml, node};

const KJERNE: &str = "demo:kjerne";

/// T7 `assertion_reuse_across_instances`, T6 `te_proof_replay`: at whichever node it was used first.
#[tokio::test]
async fn assertion_reuse_across_instances() {
    let key = client_key(Alg::ES256);
    let keys = jwks_toml(&[&key]);
    let Inside { bare, site, store } = Inside::start(|origin, data| {
        format!(
            "[keys]\ndir = \"{}/keys\"\n[[issuer]]\nurl = \"{origin}\"\nlogin = [\"ehr\"]\n[[issuer.fhir]]\nbase = \"{origin}/fhir\"\n\
             [[client]]\nclient_id = \"service\"\nauth = \"private_key_jwt\"\nscopes = \"system/*.rs\"\ndpop = \"optional\"\n{keys}\n",
            data.display()
        )
    })
    .await;
    let (_other, at) = node(&site, &store, &bare.clock).await;
    let host = bare.origin.strip_prefix("http://").unwrap().to_owned();
    let endpoint = format!("{}/token", bare.origin);
    let ask = async |at: &str, assertion: &str, proof: &str| {
        let form =
            [("grant_type", "client_credentials"), ("scope", "system/Patient.rs"), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)];
        let request = bare.http.post(format!("{at}/token")).header("host", &host).header("dpop", proof).form(&form);
        Reply::of(request.send().await.unwrap()).await
    };
    let signed = || {
        let (header, claims) = assertion(&key, "service", &endpoint, bare.now());
        key.sign_with_header(&header, &claims).unwrap()
    };
    let prover = Prover::new();
    let proof = || prover.proof("POST", &endpoint, bare.now());
    for (first, second) in [(bare.origin.as_str(), at.as_str()), (&at, &bare.origin)] {
        let (once, shown) = (signed(), proof());
        ask(first, &once, &shown).await.is(200);
        ask(second, &once, &proof()).await.refused(401, "invalid_client");
        ask(second, &signed(), &shown).await.refused(400, "invalid_dpop_proof");
        // And at both in the same moment one wins.
        let once = signed();
        let (one, two) = (proof(), proof());
        let (one, two) = join(ask(first, &once, &one), ask(second, &once, &two)).await;
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401], "{} {}", one.body, two.body);
    }
    bare.stop().await;
}

async fn session(fjord: &Fjord) -> SessionId {
    let page = fjord.log_in(&mut fjord.browser(), &fjord.launch("epj-1").await, "solveig").await;
    let tokens = fjord.redeem(&page).await;
    fjord.idp().journal.clear();
    SessionId::parse(claims(tokens["id_token"].as_str().unwrap())["sid"].as_str().unwrap()).unwrap()
}

async fn access(site: &Site, session: &SessionId) -> Result<UpstreamAccess, AccessError> {
    site.engine.upstream_access(session, KJERNE, &BTreeSet::new(), &Details::none()).await
}

/// T19 `refresh_race_single_winner`: each node refreshes in its turn, with the token the other one got, and none is used twice.
#[tokio::test]
async fn two_nodes_refresh_one_session_one_after_the_other() {
    let fjord = Fjord::start().await;
    let (other, _) = node(&fjord.site, &fjord.store, &fjord.bare.clock).await;
    let session = session(&fjord).await;
    let all = join_all((0..16).map(|n| access(if n % 2 == 0 { &fjord.site } else { &other }, &session))).await;
    let jtis: BTreeSet<String> = all.into_iter().map(|access| access.unwrap().tokens.token.jti.as_str().to_owned()).collect();
    let asked = fjord.asked(Endpoint::Token);
    let refreshed: Vec<_> = asked.iter().filter(|entry| entry.status == 200).collect();
    assert_eq!((jtis.len(), refreshed.len()), (2, 2), "one for each node");
    assert!(asked.iter().all(|entry| entry.error.as_deref() != Some("invalid_grant")), "a refresh token was used twice");
    // And both go on from there.
    fjord.advance(55);
    access(&fjord.site, &session).await.unwrap();
    fjord.advance(55);
    access(&other, &session).await.unwrap();
    fjord.stop().await;
}

/// T19 `refresh_response_lost`: what one node lost, no other tries again.
#[tokio::test]
async fn a_refresh_that_one_node_lost_is_not_repeated_by_another() {
    let fjord = Fjord::start().await;
    let (other, _) = node(&fjord.site, &fjord.store, &fjord.bare.clock).await;
    let session = session(&fjord).await;
    fjord.fault(json!({ "endpoint": "token", "grant_type": "refresh_token" }), json!({ "kind": "drop_after" }));
    assert!(matches!(access(&fjord.site, &session).await, Err(AccessError::Upstream(_))));
    fjord.idp().faults.clear();
    fjord.idp().journal.clear();
    for site in [&other, &fjord.site] {
        assert!(matches!(access(site, &session).await, Err(AccessError::NoSession)));
    }
    assert!(fjord.asked(Endpoint::Token).is_empty());
    fjord.stop().await;
}

/// T11 `te_after_logout`: logged out at one, over at the other, which had a token of its own in memory.
#[tokio::test]
async fn what_ended_at_one_node_has_ended_at_the_other() {
    let fjord = Fjord::start().await;
    let (other, _) = node(&fjord.site, &fjord.store, &fjord.bare.clock).await;
    let session = session(&fjord).await;
    access(&other, &session).await.unwrap();
    fjord.epj_logs_out("epj-1").await;
    fjord.idp().journal.clear();
    assert!(matches!(access(&other, &session).await, Err(AccessError::NoSession)));
    assert!(fjord.asked(Endpoint::Token).is_empty());
    fjord.stop().await;
}
