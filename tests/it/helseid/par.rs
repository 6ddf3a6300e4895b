//! Pushed requests and request objects. §2.2, 2.3, M2.

use serde_json::{Value, json};

use super::world::{Browser, Client, Mock};

type Change = fn(&mut Vec<(&'static str, &'static str)>);

fn set(request: &mut Vec<(&'static str, &'static str)>, name: &'static str, value: &'static str) {
    request.retain(|(known, _)| *known != name);
    request.push((name, value));
}

fn drop(request: &mut Vec<(&'static str, &'static str)>, name: &str) {
    request.retain(|(known, _)| *known != name);
}

const REFUSED: &[(&str, Change, &str)] = &[
    ("RFC 9126 §2.1: a request_uri", |r| set(r, "request_uri", "urn:x"), "invalid_request"),
    ("§2.2: bare authorization_details", |r| set(r, "authorization_details", "[]"), "invalid_request"),
    ("a parameter twice", |r| r.push(("state", "2")), "invalid_request"),
    ("no redirect_uri", |r| drop(r, "redirect_uri"), "invalid_request"),
    ("a redirect_uri that is not registered", |r| set(r, "redirect_uri", "https://smart-as.example.no/upstream/callback/"), "invalid_request"),
    ("no response_type", |r| drop(r, "response_type"), "invalid_request"),
    ("another response_type", |r| set(r, "response_type", "code id_token"), "unsupported_response_type"),
    ("no scope", |r| drop(r, "scope"), "invalid_scope"),
    ("an unknown scope", |r| set(r, "scope", "openid nhn:unknown/api"), "invalid_scope"),
    ("no challenge", |r| drop(r, "code_challenge"), "invalid_request"),
    ("plain, which metadata lists", |r| set(r, "code_challenge_method", "plain"), "invalid_request"),
    ("no method", |r| drop(r, "code_challenge_method"), "invalid_request"),
    ("half a challenge", |r| set(r, "code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSst"), "invalid_request"),
    ("a resource no scope belongs to", |r| r.push(("resource", "demo:resept")), "invalid_target"),
    ("an unknown resource", |r| r.push(("resource", "x")), "invalid_target"),
    ("a consent nobody shows", |r| set(r, "prompt", "consent"), "invalid_request"),
    ("an unknown identity provider", |r| set(r, "acr_values", "idp:x"), "invalid_request"),
    ("RFC 9101: no request object", |r| set(r, "request", "not.a.jwt"), "invalid_request_object"),
];

#[tokio::test]
async fn what_is_wrong_is_refused_here() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    for (what, change, error) in REFUSED {
        let mut request = Client::request();
        change(&mut request);
        let answer = client.push(&request).await;
        assert_eq!((answer.status.as_u16(), answer.error()), (400, *error), "{what}: {}", answer.body);
    }
    client.push(&Client::request()).await.ok();
}

#[tokio::test]
async fn who_does_not_show_who_it_is_gets_nowhere() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let post = |query: &str| mock.http.post(mock.url(&format!("/connect/par{query}")));
    let answer = post("").form(&Client::request()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"].clone()), (400, json!("invalid_client")));
    let answer = post("").basic_auth(&client.id, Some("secret")).form(&Client::request()).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], "invalid_client");
    let answer = post("?response_type=code").form(&Client::request()).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], "invalid_request", "parameters belong in the body");
    let machine = mock.client(helsebro::helseid::seed::table::BATCH);
    machine.push(&Client::request()).await.refused("unauthorized_client");
}

fn organisation(value: &str) -> Value {
    json!({"type": "helseid_authorization", "practitioner_role": {"organization": {"identifier": {"system": "urn:oid:1.0.6523", "type": "ENH", "value": value}}}})
}

#[tokio::test]
async fn a_request_object_says_whom_the_session_is_for() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let object = client.request_object(json!({"authorization_details": organisation("NO:ORGNR:310441007:310441015")}));
    let mut request = Client::request();
    request.push(("request", &object));
    let tokens = client.log_in_with("solveig", &request).await;
    let claims = mock.claims(&tokens.text("access_token"), "at+jwt").await;
    assert_eq!(claims["helseid://claims/client/claims/orgnr_parent"], "310441007");
    assert_eq!(claims["helseid://claims/client/claims/orgnr_child"], "310441015");
    client.push(&request).await.refused("invalid_request_object");
    // §2.5: one official sample writes it as text, in whatever it signs.
    let object = client.request_object(json!({"iat": mock.clock_now().to_string()}));
    client.push(&[Client::request(), vec![("request", object.as_str())]].concat()).await.ok();
}

#[tokio::test]
async fn a_request_object_that_is_not_one_is_refused() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let now = mock.clock_now();
    for (what, members, error, hid) in [
        ("another issuer", json!({"iss": "x"}), "invalid_request_object", "HID-1007"),
        ("another audience", json!({"aud": "https://x"}), "invalid_request_object", "HID-1007"),
        ("another client_id", json!({"client_id": "x"}), "invalid_request_object", "HID-1007"),
        ("§2.3: exp more than 60 s ahead", json!({"exp": now + 120}), "invalid_request_object", "HID-1007"),
        ("too old", json!({"exp": now - 30, "nbf": now - 60}), "invalid_request_object", "HID-1007"),
        ("a request_uri inside", json!({"request_uri": "urn:x"}), "invalid_request_object", "HID-1007"),
        ("iat as words", json!({"iat": "now"}), "invalid_request_object", "HID-1007"),
        ("no jti", json!({"jti": ""}), "invalid_request_object", "HID-1007"),
        ("not delegated", json!({"authorization_details": organisation("NO:ORGNR:310441600")}), "invalid_request", "HID-1001"),
        ("another's child", json!({"authorization_details": organisation("NO:ORGNR:310441007:310441228")}), "invalid_request", "HID-1003"),
        ("not a number", json!({"authorization_details": organisation("NO:ORGNR:31044100")}), "invalid_request", "HID-1004"),
    ] {
        let object = client.request_object(members);
        let mut request = Client::request();
        request.push(("request", &object));
        let answer = client.push(&request).await;
        assert_eq!((answer.error(), answer.text("error_description").contains(hid)), (error, true), "{what}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_request_is_good_once_and_for_ten_minutes() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let at = client.start(&Client::request()).await;
    let mut browser = Browser::of(&mock);
    assert_eq!(browser.go(&at).await.status, 200, "somebody is asked to log in");
    assert_eq!(browser.go(&at).await.status, 400, "a spent request_uri is a page");
    let at = client.start(&Client::request()).await;
    mock.clock.advance(std::time::Duration::from_secs(600));
    assert_eq!(browser.go(&at).await.status, 400);
    let at = client.start(&Client::request()).await;
    assert_eq!(browser.go(&at.replace(&client.id, helsebro::helseid::seed::table::PORTAL)).await.status, 400, "another client's");
    assert_eq!(browser.go(&format!("{at}&scope=openid")).await.status, 400, "nothing beside client_id and request_uri");
    assert_eq!(browser.go(&at).await.status, 200, "and it was not spent by that");
}

#[tokio::test]
async fn a_proof_at_par_binds_the_code_and_is_not_demanded() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let other = mock.smart_as();
    let jkt = other.jkt();
    let mut request = Client::request();
    request.push(("dpop_jkt", &jkt));
    mock.idp().set_next_user(Some("solveig".to_owned()));
    let back = Browser::of(&mock).go(&client.start(&request).await).await.callback();
    client.redeem(&back["code"]).await.refused("invalid_grant");
    mock.idp().change_quirks(|quirks| quirks.par_requires_dpop = true);
    client.push(&Client::request()).await.refused("invalid_dpop_proof");
}
