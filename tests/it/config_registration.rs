//! Clients that come as JSON over the administration API: checked like those of the file.

use super::*;

fn register(value: &serde_json::Value, issuer: &str) -> Result<config::Registration, Vec<String>> {
    client_from_json(value, Home { issuer: &Issuer::parse(issuer).unwrap(), profile: Profile::Smart }, &SeededRandom::new(7))
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn a_secret_is_made_for_who_brings_none() {
    let made = register(
        &json!({ "client_id": "app", "auth": "client_secret_basic", "redirect_uris": ["https://a.example/"], "scopes": "openid" }),
        "https://auth.example",
    )
    .unwrap();
    let secret = made.secret.unwrap();
    assert_eq!(secret.expose().len(), 43, "256 bits in base64url");
    let ClientAuthMethod::SecretBasic { secrets } = made.client.auth else { panic!("as asked") };
    assert_eq!(secrets, [secret.digest()]);

    let jwks = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "1", "x": POINT.0, "y": POINT.1 }] });
    let keyed = register(&json!({ "client_id": "app", "auth": "private_key_jwt", "jwks": jwks, "scopes": "system/*.rs" }), "https://auth.example").unwrap();
    assert!(keyed.secret.is_none());
    assert!(keyed.reminders[0].contains("SAL-007"), "{:?}", keyed.reminders);
    assert_eq!(keyed.client.profile, Profile::Smart);
}

#[test]
fn a_request_is_checked_like_the_file_and_reads_nothing_of_ours() {
    let refused = |value, issuer| register(&value, issuer).unwrap_err();
    let base = json!({ "client_id": "app", "auth": "client_secret_post", "redirect_uris": ["https://a.example/"], "scopes": "openid" });
    let with = |key: &str, value: serde_json::Value| {
        let mut changed = base.clone();
        changed[key] = value;
        changed
    };
    assert_eq!(
        refused(with("client_secret", json!({ "env": "PATH" })), "http://127.0.0.1:9400"),
        ["client_secret  refers to this server's own files or variables; leave it out and one of 256 bits is made"]
    );
    assert_eq!(
        refused(with("client_secret", json!(STRONG)), "https://auth.example"),
        ["client_secret  is chosen by the request, which only a loopback issuer allows; leave it out and one of 256 bits is made"]
    );
    assert!(register(&with("client_secret", json!(STRONG)), "http://localhost:1").is_ok());
    assert_eq!(
        refused(with("redirect_uris", json!(["http://a.example/", 7])), "https://auth.example"),
        [
            "redirect_uris[1]  is a number; must be a text in quotes",
            "redirect_uris[0]  \"http://a.example/\"  must be https (RFC 9700 §2.6); write \"https://a.example/\"",
        ]
    );
    assert_eq!(
        refused(with("issuer", json!("https://other.example")), "https://auth.example"),
        ["issuer  \"https://other.example\"  is not the issuer asked; leave it out, or write \"https://auth.example\""]
    );
    assert_eq!(refused(with("grant_types", json!([])), "https://auth.example").len(), 1);
    assert_eq!(refused(json!([]), "https://auth.example"), ["is a list; must be a table"]);
}
