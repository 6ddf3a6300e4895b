//! Logout from the provider and to it. OIDC Back-Channel Logout §2.6, RP-Initiated Logout §2.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::stub::*;
use crate::jose::JwtError;
use crate::protocol::ids::RedirectUri;
use crate::secret::Secret;
use crate::upstream::{TokenFault, UpstreamError};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn notice(world: &World, typ: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Secret<String> {
    let mut claims = object(json!({
        "iss": world.issuer, "aud": CLIENT, "iat": NOW, "exp": NOW.0 + 120, "jti": "j-1", "sub": SUBJECT, "sid": "7E1D0C9B8A", "events": { EVENT: {} }
    }));
    change(&mut claims);
    Secret::new(rsa(0).sign(typ, &claims).unwrap())
}

#[tokio::test]
async fn a_notice_names_what_ended_and_is_refused_for_one_thing_wrong() {
    let world = World::new().await;
    let verify = async |typ: &str, change: fn(&mut Map<String, Value>)| world.upstream.verify_logout_token(&notice(&world, typ, change)).await;
    let ended = verify("logout+jwt", |_| {}).await.unwrap();
    assert_eq!((ended.subject, ended.session.unwrap().as_str(), ended.jti.as_str()), (Some(subject()), "7E1D0C9B8A", "j-1"));
    assert_eq!(ended.good_until, NOW + Duration::from_secs(300));
    let all = verify("JWT", |c| drop((c.remove("sid"), c.remove("exp")))).await.unwrap();
    assert_eq!((all.session, all.good_until), (None, NOW + Duration::from_secs(300)));
    verify("logout+jwt", |c| drop(c.remove("sub"))).await.unwrap();

    type Row = (&'static str, &'static str, fn(&mut Map<String, Value>), TokenFault);
    let rows: [Row; 11] = [
        ("an id_token's typ elsewhere", "at+jwt", |_| {}, TokenFault::Jwt(JwtError::Type)),
        ("another client's", "logout+jwt", |c| c["aud"] = json!("another-client"), TokenFault::Jwt(JwtError::Audience)),
        ("another issuer's", "logout+jwt", |c| c["iss"] = json!("https://evil.example"), TokenFault::Jwt(JwtError::Issuer)),
        ("expired", "logout+jwt", |c| c["exp"] = json!(NOW.0 - 6), TokenFault::Jwt(JwtError::Expired)),
        ("old", "logout+jwt", |c| c["iat"] = json!(NOW.0 - 300), TokenFault::Old),
        ("ahead", "logout+jwt", |c| c["iat"] = json!(NOW.0 + 6), TokenFault::Jwt(JwtError::NotYet)),
        ("a nonce", "logout+jwt", |c| drop(c.insert("nonce".into(), json!("n"))), TokenFault::NotALogoutToken),
        ("another event", "logout+jwt", |c| c["events"] = json!({ "urn:x": {} }), TokenFault::NotALogoutToken),
        ("an event that is no object", "logout+jwt", |c| c["events"] = json!({ EVENT: true }), TokenFault::NotALogoutToken),
        ("nobody", "logout+jwt", |c| drop((c.remove("sub"), c.remove("sid"))), TokenFault::NotALogoutToken),
        ("no jti", "logout+jwt", |c| drop(c.remove("jti")), TokenFault::Jwt(JwtError::Claims)),
    ];
    for (what, typ, change, fault) in rows {
        assert_eq!(verify(typ, change).await, Err(UpstreamError::Token(fault)), "{what}");
    }
    let id_token = world.id_token(|_| {});
    assert_eq!(world.upstream.verify_logout_token(&id_token).await, Err(UpstreamError::Token(TokenFault::Jwt(JwtError::Claims))));
}

#[tokio::test]
async fn logging_out_there_is_a_form_and_a_revocation() {
    let world = World::new().await;
    let secret = |text: &str| Secret::new(text.to_owned());
    let back = RedirectUri::parse("http://127.0.0.1:9400/logged-out").unwrap();
    let form = world.upstream.end_session(&secret("eyJ.id"), &back, &secret("st")).await.unwrap().unwrap();
    assert_eq!(form.action, world.issuer.at("/connect/endsession"), "no token in the address");
    let fields: Vec<(&str, &str)> = form.fields.iter().map(|(name, value)| (*name, value.expose().as_str())).collect();
    assert_eq!(fields, [("id_token_hint", "eyJ.id"), ("client_id", CLIENT), ("post_logout_redirect_uri", back.as_str()), ("state", "st")]);
    assert!(!format!("{form:?}").contains("eyJ.id"));

    world.upstream.revoke(&secret("rt-1")).await.unwrap();
    let sent = world.stub.each("/connect/revocation", |seen| (seen.form.get("token").map(str::to_owned), seen.form.has("client_assertion")));
    assert_eq!(sent, [(Some("rt-1".to_owned()), true)]);
    let bare = World::new().await;
    let mut document = bare.stub.document();
    for name in ["end_session_endpoint", "revocation_endpoint"] {
        document.as_object_mut().unwrap().remove(name);
    }
    *bare.stub.metadata.lock().unwrap() = Some(document);
    assert!(bare.upstream.end_session(&secret("x"), &back, &secret("st")).await.unwrap().is_none());
    bare.upstream.revoke(&secret("rt-1")).await.unwrap();
}
