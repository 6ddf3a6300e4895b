//! Keys over the operations listener: rotated, imported, revoked; and who may read what opens them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use helsebro::jose::{Alg, SigningKey};
use http::Method;
use serde_json::{Value, json};

use super::{World, member, read};

/// The `kid` a token was signed under.
fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_rotated_on_a_running_server_is_published_before_it_signs() {
    let world = World::start().await;
    let secret = world.demo.facts.clients["epj"].client_secret.clone().unwrap();
    let signed_by = async || kid(member(&world.own_token("epj", secret.expose(), "launch:create").await.is(200), "access_token"));
    let published = async || {
        let set = read(world.http.get(world.issuer("/jwks"))).await.is(200);
        set["keys"].as_array().unwrap().iter().map(|key| member(key, "kid").to_owned()).collect::<Vec<_>>()
    };
    let states = async || {
        let listed = world.get("/keys").await.is(200);
        let of = |key: &Value| (member(key, "alg").to_owned(), member(key, "state").to_owned());
        listed["keys"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(alg, state)| ((*alg).to_owned(), (*state).to_owned())).collect::<Vec<_>>();
    assert_eq!(states().await, pairs(&[("ES256", "current"), ("ES384", "current"), ("EdDSA", "current"), ("PS256", "current"), ("RS256", "current")]));
    let old = signed_by().await;

    let rotated = read(world.ops(Method::POST, "/keys/rotate").json(&json!({ "alg": "RS256" }))).await.is(200);
    assert_eq!(rotated["rotated"].as_array().unwrap().len(), 1);
    let new = member(&rotated["rotated"][0], "kid").to_owned();
    assert_eq!(published().await.len(), 6);
    assert!(published().await.contains(&new), "seen at once");
    assert_eq!(signed_by().await, old, "signs not yet");
    assert_eq!(
        states().await,
        pairs(&[("ES256", "current"), ("ES384", "current"), ("EdDSA", "current"), ("PS256", "current"), ("RS256", "next"), ("RS256", "current")])
    );
    let description = read(world.ops(Method::POST, "/keys/rotate").json(&json!({ "alg": "RS256" }))).await.refused(409, "conflict");
    assert!(description.contains("RS256 key is already published"), "{description}");
    world.post("/keys/rotate").await.refused(409, "conflict");
    assert_eq!(published().await.len(), 6, "all or nothing");

    world.demo.clock.set_offset(590);
    assert_eq!(signed_by().await, old);
    world.demo.clock.set_offset(601);
    assert_eq!(signed_by().await, new);
    assert_eq!(
        states().await,
        pairs(&[("ES256", "current"), ("ES384", "current"), ("EdDSA", "current"), ("PS256", "current"), ("RS256", "current"), ("RS256", "retired")])
    );
    assert!(published().await.contains(&old), "its tokens can still be verified");

    // Without an algorithm, each of them.
    let all = world.post("/keys/rotate").await.is(200);
    assert_eq!(all["rotated"].as_array().unwrap().len(), 5);
    assert_eq!(published().await.len(), 11);
    world.demo.stop().await;
}

#[tokio::test]
async fn keys_are_imported_revoked_and_replaced_over_the_listener() {
    let world = World::start().await;
    let post = async |path: &str, body: Value| read(world.ops(Method::POST, path).json(&body)).await;
    let own = SigningKey::generate(Alg::EdDSA).unwrap();
    let der = STANDARD.encode(own.to_pkcs8_der().unwrap().expose());
    let imported = post("/keys/import", json!({ "pkcs8": der })).await.is(200);
    let told = ["kid", "alg", "state", "origin"].map(|name| member(&imported["imported"], name).to_owned());
    assert_eq!(told, [own.kid(), "EdDSA", "next", "imported"]);
    assert!(!imported.to_string().contains(&der), "no private half comes back");
    post("/keys/import", json!({ "pkcs8": der, "sign": "now" })).await.refused(409, "conflict");

    // The one that waits takes over from the one that goes.
    let listed = world.get("/keys").await.is(200);
    let of = |state: &str| listed["keys"].as_array().unwrap().iter().find(|key| key["alg"] == "EdDSA" && key["state"] == state).unwrap().clone();
    let current = member(&of("current"), "kid").to_owned();
    assert_eq!(of("next")["changes_at"], of("current")["changes_at"]);
    let revoked = post(&format!("/keys/{current}/revoke"), json!({})).await.is(200);
    assert_eq!(revoked, json!({ "issuer": world.issuer(""), "revoked": [current], "signing": [{ "alg": "EdDSA", "kid": own.kid() }] }));
    post(&format!("/keys/{current}/revoke"), json!({})).await.refused(404, "not_found");
    let listed = world.get("/keys").await.is(200);
    let last = listed["keys"].as_array().unwrap().last().unwrap();
    assert_eq!((member(last, "kid"), member(last, "state")), (current.as_str(), "revoked"));

    let before = read(world.http.get(world.issuer("/jwks"))).await.is(200);
    let all = post("/keys/rotate", json!({ "emergency": true })).await.is(200);
    assert_eq!((all["revoked"].as_array().unwrap().len(), all["signing"].as_array().unwrap().len()), (5, 5));
    let after = read(world.http.get(world.issuer("/jwks"))).await.is(200);
    let kids = |set: &Value| set["keys"].as_array().unwrap().iter().map(|key| member(key, "kid").to_owned()).collect::<BTreeSet<_>>();
    assert!(kids(&before).is_disjoint(&kids(&after)) && kids(&after).len() == 5);
    post("/keys/import", json!({ "pkcs8": der })).await.refused(409, "conflict");

    for (what, body, says) in [
        ("no key", json!({}), "pkcs8 must be a text"),
        ("neither PEM nor base64", json!({ "pkcs8": "*" }), "neither PEM nor base64"),
        ("no PKCS#8", json!({ "pkcs8": "MAMCAQA=" }), "holds no private key"),
        ("encrypted", json!({ "pkcs8": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----" }), "decrypt it first"),
        ("another algorithm", json!({ "pkcs8": der, "alg": "ES256" }), "it can with EdDSA"),
        ("another moment", json!({ "pkcs8": der, "sign": "later" }), "\"next\" or \"now\""),
    ] {
        let description = post("/keys/import", body).await.refused(400, "invalid_request");
        assert!(description.contains(says), "{what}: {description}");
    }
    for body in [json!({ "kid": "x" }), json!({ "emergency": "yes" }), json!({ "emergency": true, "kid": "x", "alg": "ES256" })] {
        post("/keys/rotate", body).await.refused(400, "invalid_request");
    }
    world.demo.stop().await;
}

#[tokio::test]
async fn what_opens_the_private_keys_is_for_its_owner_alone() {
    let world = World::start().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.data.path().join("keys")), 0o700);
    assert_eq!(mode(&world.data.path().join("keys/seal.key")), 0o600);
    assert_eq!(mode(&world.data.path().join("helsebro.redb")), 0o600);
    let store = std::fs::read(world.data.path().join("helsebro.redb")).unwrap();
    // PKCS#8 of an EC key has the OID of id-ecPublicKey; the public halves are JWKs and have not.
    let oid = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    assert!(!store.windows(oid.len()).any(|window| window == oid), "a private key lies open in the store");
    world.demo.stop().await;
}
