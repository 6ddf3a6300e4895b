//! The binary itself as `helsebro helseid`: it says where it is, gives a machine a token, and ends when it is told to. docs/helseid-mock.md.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use helsebro::jose::SigningKey;
use helsebro::random::{Random as _, SystemRandom};
use helsebro::time::{Clock as _, SystemClock};
use reqwest::StatusCode;
use reqwest::header::HOST;
use serde_json::{Value, json};

use crate::crash::Held;

const SECRET: &str = "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=";
const BATCH: &str = "a0b7c2d1-0001-4a5e-9c11-5d1c8f0e7702";

/// The value of `name=` in a log line.
fn said<'l>(line: &'l str, name: &str) -> &'l str {
    line.split(&format!(" {name}=")).nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("{name} in {line}")).trim()
}

#[tokio::test]
async fn it_starts_answers_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("admin-secret");
    std::fs::write(&secret, SECRET).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_helsebro"));
    command.args(["helseid", "--port", "0", "--admin-port", "0", "--sample-api-port", "0", "--admin-secret-file"]).arg(&secret);
    let mut mock = Held(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(mock.0.stderr.take().unwrap()).lines();
    let mut warned = false;
    // A pipe holds the little it says afterwards.
    let ready = loop {
        let line = lines.next().expect("it says more before it ends").unwrap();
        warned |= line.contains("THIS IS A MOCK");
        if line.contains(" ready ") {
            break line;
        }
    };
    assert!(warned);
    let ready = &ready;
    let (issuer, admin) = (said(ready, "issuer").to_owned(), format!("http://{}", said(ready, "admin")));

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |url: String| http.get(url).bearer_auth(SECRET).send().await.unwrap().json::<Value>().await.unwrap();
    let metadata = get(format!("{issuer}/.well-known/openid-configuration")).await;
    assert_eq!(metadata["issuer"], issuer);
    let foreign = http.get(metadata["jwks_uri"].as_str().unwrap()).header(HOST, "rebound.example.net").send().await.unwrap();
    assert_eq!(foreign.status(), StatusCode::MISDIRECTED_REQUEST);

    let clients = get(format!("{admin}/__mock/clients")).await;
    let batch = clients["clients"].as_array().unwrap().iter().find(|client| client["client_id"] == BATCH).unwrap();
    let key = SigningKey::from_private_jwk(&batch["private_jwk"]).unwrap();
    let now = SystemClock::default().now().0;
    let claims = json!({"iss": BATCH, "sub": BATCH, "aud": issuer, "iat": now, "nbf": now, "exp": now + 10, "jti": SystemRandom.id()});
    let assertion = key.sign("client-authentication+jwt", &claims).unwrap();
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "demo:old/read"),
        ("client_id", BATCH),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", &assertion),
    ];
    let answer = http.post(metadata["token_endpoint"].as_str().unwrap()).form(&form).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(600)), "{answer}");
    let sample = format!("http://{}/old", said(ready, "sample_api"));
    let seen = http.get(sample).bearer_auth(answer["access_token"].as_str().unwrap()).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!((&seen["api"], &seen["user"]), (&json!("demo:old"), &json!(false)), "{seen}");
    assert_eq!(mock.stop(), Some(0));
}
