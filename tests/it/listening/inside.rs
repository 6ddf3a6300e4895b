//! Internal URLs: what backends ask is answered there too, in the name of the public one; pages are not.

use helsebro::jose::{Alg, SigningKey};
use serde_json::Value;

use super::{NOW, Place, client, text, token};
use crate::world::{ASSERTION_TYPE, Prover, Reply, SECRET, assertion, client_key, jwks_toml};

const INSIDE: &str = "helsebro.internal:8080";

async fn place(key: &SigningKey) -> Place {
    let signs = |id: &str, more: &str| {
        format!(
            "[[client]]\nclient_id = \"{id}\"\nissuer = \"ISSUER\"\nauth = \"private_key_jwt\"\nscopes = \"launch:create\"\n{more}\n{}\n",
            jwks_toml(&[key])
        )
    };
    let clients = format!("{}{}", signs("signs", ""), signs("strict", "profile = \"fapi2\"\npar = \"required\"\ndpop = \"required\""));
    Place::start(tempfile::tempdir().unwrap(), |at, _| {
        let issuer = format!("http://{at}/a");
        let other = format!("[[issuer]]\nurl = \"http://{at}/b\"\ninternal_urls = [\"http://{INSIDE}/b\"]\n[[issuer.fhir]]\nbase = \"http://{at}/b/fhir\"\n");
        let first = text(&issuer, "", &format!("internal_urls = [\"http://{INSIDE}/a\", \"https://helsebro.internal/a\"]"), "");
        let first =
            first.replace("client_id = \"service\"", "client_id = \"service\"\nissuer = \"ISSUER\"").replace("[[client]]", &format!("{other}[[client]]"));
        format!("{first}{clients}").replace("ISSUER", &issuer)
    })
    .await
}

#[tokio::test]
async fn backends_are_answered_and_told_the_public_url() {
    let place = place(&client_key(Alg::ES384)).await;
    let issuer = place.at("/a");
    for host in [INSIDE, "helsebro.internal", "helsebro.internal:443"] {
        for path in ["/a/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/a", "/a/.well-known/smart-configuration"] {
            let inside = Reply::of(client().get(place.at(path)).header("host", host).send().await.unwrap()).await.is(200);
            let public = Reply::of(client().get(place.at(path)).send().await.unwrap()).await.is(200);
            assert_eq!(inside.body, public.body, "{host} {path}");
            assert!(!inside.body.contains("internal"));
        }
    }
    let tokens = token(&place.at("/a/token"), SECRET, &[("host", INSIDE)]).await.is(200).json();
    let claims = crate::world::claims(tokens["access_token"].as_str().unwrap());
    assert_eq!((claims["iss"].as_str(), claims["aud"].as_str()), (Some(issuer.as_str()), Some(issuer.as_str())));
    // A token from either is good at either: it is one issuer.
    let asked = client().post(place.at("/a/launches")).header("host", INSIDE).bearer_auth(tokens["access_token"].as_str().unwrap()).body("{}");
    assert_ne!(Reply::of(asked.send().await.unwrap()).await.status, 401);
    place.running.stop().await;
}

#[tokio::test]
async fn no_page_and_no_cookie_is_under_an_internal_url() {
    let place = place(&client_key(Alg::ES384)).await;
    for path in ["/a/authorize", "/a/interaction/x", "/a/start/x", "/a/logout", "/a/account/apps", "/a/upstream/callback", "/", "/a", "/style.css"] {
        let reply = Reply::of(client().get(place.at(path)).header("host", INSIDE).send().await.unwrap()).await.is(404);
        assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(reply.header("set-cookie"), None, "{path}");
    }
    let reply = Reply::of(client().get(place.at("/a/jwks")).header("host", INSIDE).send().await.unwrap()).await.is(200);
    assert_eq!(reply.header("strict-transport-security"), None, "RFC 6797 §7.2: it is http");
    for host in ["elsewhere.internal", "helsebro.internal:8081"] {
        Reply::of(client().get(place.at("/a/jwks")).header("host", host).send().await.unwrap()).await.is(421);
    }
    place.running.stop().await;
}

/// RFC 7523 §3, RFC 9449 §4.3: what a client signed for may be the name it asks by, of this issuer, and no other.
#[tokio::test]
async fn assertions_and_proofs_name_the_url_that_was_asked_or_the_public_one() {
    let key = client_key(Alg::ES256);
    let place = place(&key).await;
    let public = place.at("/a");
    let inside = format!("http://{INSIDE}/a");
    let ask = async |host: Option<&str>, client_id: &str, audience: &str, htu: Option<&str>| -> (u16, Value) {
        let (header, claims) = assertion(&key, client_id, audience, NOW);
        let jwt = key.sign_with_header(&header, &claims).unwrap();
        let form = [("grant_type", "client_credentials"), ("scope", "launch:create"), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &jwt)];
        let mut request = client().post(place.at("/a/token")).form(&form);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(htu) = htu {
            request = request.header("dpop", Prover::new().proof("POST", htu, NOW));
        }
        let reply = Reply::of(request.send().await.unwrap()).await;
        (reply.status, reply.json()["error"].clone())
    };
    let (at_public, at_inside) = (format!("{public}/token"), format!("{inside}/token"));
    let other = format!("http://{INSIDE}/b/token");
    for (host, client_id, audience, htu, status, error) in [
        (None, "signs", &at_public, None, 200, ""),
        (Some(INSIDE), "signs", &at_public, None, 200, ""),
        (Some(INSIDE), "signs", &public, None, 200, ""),
        (Some(INSIDE), "signs", &at_inside, None, 200, ""),
        (Some(INSIDE), "signs", &inside, None, 200, ""),
        // Not by the public name, nor by another internal one.
        (None, "signs", &at_inside, None, 401, "invalid_client"),
        (Some("helsebro.internal"), "signs", &at_inside, None, 401, "invalid_client"),
        (Some(INSIDE), "signs", &other, None, 401, "invalid_client"),
        // FAPI 2.0 §5.3.2.1: the issuer identifier, which is one.
        (Some(INSIDE), "strict", &inside, Some(&at_inside), 401, "invalid_client"),
        (Some(INSIDE), "strict", &public, Some(&at_inside), 200, ""),
        (Some(INSIDE), "signs", &at_public, Some(&at_public), 200, ""),
        (Some(INSIDE), "signs", &at_public, Some(&at_inside), 200, ""),
        (None, "signs", &at_public, Some(&at_inside), 400, "invalid_dpop_proof"),
        (Some(INSIDE), "signs", &at_public, Some(&other), 400, "invalid_dpop_proof"),
        (Some("helsebro.internal"), "signs", &at_public, Some(&at_inside), 400, "invalid_dpop_proof"),
    ] {
        let (got, said) = ask(host, client_id, audience, htu.map(String::as_str)).await;
        assert_eq!((got, said.as_str().unwrap_or_default()), (status, error), "{host:?} {client_id} {audience} {htu:?}");
    }
    place.running.stop().await;
}
