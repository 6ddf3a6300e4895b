//! The calls of `reference/helseid.md` §7.2, and that nobody else makes them.

use reqwest::Method;
use serde_json::{Value, json};

use super::levers::{Levers, SECRET};
use super::world::{Browser, Client, NOW};

#[tokio::test]
async fn without_the_secret_nothing_moves() {
    let levers = Levers::start().await;
    let url = |path: &str| format!("{}/__mock/{path}", levers.admin);
    for (how, header) in [("none", None), ("another", Some("Bearer x".to_owned())), ("as Basic", Some(format!("Basic {SECRET}")))] {
        let mut request = levers.mock.http.delete(url("faults"));
        if let Some(header) = header {
            request = request.header("Authorization", header);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401, "{how}");
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer "));
    }
    assert_eq!(levers.mock.http.get(url("health")).send().await.unwrap().status().as_u16(), 200);
    assert_eq!(levers.mock.http.get(levers.mock.url("/__mock/journal")).send().await.unwrap().status().as_u16(), 404, "the public listener has no levers");
    assert_eq!(levers.call(Method::GET, "nothing", &Value::Null).await.0, 404);
    assert_eq!(levers.call(Method::GET, "reset", &Value::Null).await.0, 405);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_says_why() {
    let levers = Levers::start().await;
    let wrong = [
        (Method::PUT, "clock", json!({"now": 1, "offset_s": 1}), "either"),
        (Method::PUT, "clock", json!({"time": 1}), "unknown field `time`"),
        (Method::PUT, "clock", json!({"offset_s": 10_000_000_000_i64}), "300 years"),
        (Method::POST, "clock/advance", json!({"seconds": "61"}), "seconds"),
        (Method::PUT, "next-user", json!({"user": "nobody"}), "no such user"),
        (Method::PUT, "next-user", json!({"name": "solveig"}), "unknown field `name`"),
        (Method::POST, "keys/rotate", json!({"mode": "backwards"}), "mode"),
        (Method::POST, "faults", json!({"action": {"kind": "tls_bad_cert"}}), "plain HTTP"),
        (Method::PATCH, "quirks", json!({"te_cap": true}), "unknown field `te_cap`"),
        (Method::PATCH, "quirks", json!({"invalid_client_status": 403}), "400 or 401"),
        (Method::POST, "users/nobody/block", Value::Null, "no such user"),
        (Method::POST, "sessions/NOPE/end", Value::Null, "no such session"),
        (Method::POST, "test-token", json!({"audiense": "x"}), "unknown field `audiense`"),
        (Method::POST, "test-token", json!({"user": {"id": "nobody"}}), "nobody"),
        (Method::POST, "test-token", json!({"defects": ["drop_after"]}), "no defect"),
        (Method::GET, "journal?since=x", Value::Null, "since"),
        (Method::GET, "sample-api/calls?since=x", Value::Null, "since"),
        (Method::PUT, "sample-api/nonce", json!({"demand": "sometimes"}), "sometimes"),
    ];
    for (method, path, body, why) in wrong {
        let (status, answer) = levers.call(method, path, &body).await;
        assert!(matches!(status, 404 | 422), "{path} {body}: {status}");
        assert!(answer["error_description"].as_str().unwrap().contains(why), "{path} {body}: {answer}");
    }
    assert_eq!(levers.get("clock").await, json!({"now": NOW.0, "offset_s": 0}));
}

#[tokio::test]
async fn the_clock_the_keys_and_the_switches_turn_and_are_as_before_after_a_reset() {
    let levers = Levers::start().await;
    let kids = async || levers.mock.get("/.well-known/openid-configuration/jwks").await["keys"].as_array().unwrap().len();
    assert_eq!(levers.put("clock", json!({"now": 1_790_000_000})).await.1["now"], 1_790_000_000);
    assert_eq!(levers.post("clock/advance", json!({"seconds": 61})).await.1["now"], 1_790_000_061);
    assert_eq!(levers.mock.idp().now().0, 1_790_000_061);
    assert_eq!(levers.post("keys/rotate", json!({"mode": "promote"})).await.0, 200);
    assert_eq!(levers.post("keys/rotate", json!({"mode": "retire"})).await.0, 200);
    assert_eq!((levers.post("keys/rotate", json!({"mode": "retire"})).await.0, kids().await), (409, 1));
    assert_eq!(levers.call(Method::PATCH, "quirks", &json!({"te_max_exchanges": 5})).await.1["te_max_exchanges"], 5);
    assert_eq!(levers.post("faults", json!({"action": {"kind": "delay_ms:1"}})).await.1["id"], 1);
    assert_eq!(levers.post("users/berit/block", Value::Null).await.0, 200);
    assert!(levers.mock.idp().seed().user("berit").unwrap().blocked);

    assert_eq!(levers.post("reset", Value::Null).await.0, 204);
    assert_eq!((levers.get("clock").await["offset_s"].as_i64(), kids().await), (Some(0), 2));
    assert_eq!(levers.get("quirks").await["te_max_exchanges"], 2);
    assert_eq!(levers.get("faults").await["faults"], json!([]));
    assert!(!levers.mock.idp().seed().user("berit").unwrap().blocked);
}

#[tokio::test]
async fn the_next_user_logs_in_without_a_page_and_a_blocked_one_not_at_all() {
    let levers = Levers::start().await;
    let client = levers.mock.smart_as();
    assert_eq!(levers.put("next-user", json!({"user": "solveig"})).await.0, 204);
    let back = Browser::of(&levers.mock).go(&client.start(&Client::request()).await).await.callback();
    let tokens = client.redeem(&back["code"]).await.ok();
    let refresh = tokens.text("refresh_token");
    assert_eq!(levers.post("users/solveig/block", Value::Null).await.1["sessions_ended"], 1);
    client.refresh(&refresh, &[]).await.refused("invalid_grant");
}

#[tokio::test]
async fn the_journal_tells_what_was_asked_and_nothing_that_opens() {
    let levers = Levers::start().await;
    let client = levers.mock.smart_as();
    let tokens = client.log_in("solveig").await;
    let all = levers.get("journal").await;
    let entries = all["entries"].as_array().unwrap();
    let token = entries.iter().rfind(|entry| entry["endpoint"] == "token").unwrap();
    assert_eq!((&token["status"], &token["grant_type"]), (&json!(200), &json!("authorization_code")));
    assert_eq!(token["client_assertion"]["claims"]["iss"], json!(client.id));
    assert_eq!(token["dpop"]["claims"]["htm"], "POST");
    let first = entries.iter().find(|entry| entry["endpoint"] == "token").unwrap();
    assert_eq!(first["error"], "use_dpop_nonce");
    assert_ne!(first["client_assertion"]["claims"]["jti"], token["client_assertion"]["claims"]["jti"]);
    let pushed = entries.iter().find(|entry| entry["endpoint"] == "par").unwrap();
    assert_eq!(pushed["params"]["resource"], json!(["fjord:epj-api", "demo:kjerne"]));
    let text = all.to_string();
    for secret in [tokens.text("access_token"), tokens.text("refresh_token"), "12837512040".to_owned(), super::world::VERIFIER.to_owned()] {
        assert!(!text.contains(&secret), "{secret} is in the journal");
    }
    let since = levers.get(&format!("journal?since={}", all["last"])).await;
    assert_eq!((&since["entries"], &since["last"]), (&json!([]), &all["last"]));
}

#[tokio::test]
async fn whoever_tests_can_play_any_client_and_sees_no_numbers_of_people() {
    let levers = Levers::start().await;
    let clients = levers.get("clients").await;
    assert!(clients["clients"].as_array().unwrap().iter().all(|client| client["private_jwk"]["d"].is_string()));
    let users = levers.get("users").await;
    assert!(users["users"].as_array().unwrap().iter().any(|user| user["id"] == "lege-fastlege"));
    assert!(!users.to_string().contains("12837512040"));
}

#[tokio::test]
async fn the_sample_api_asks_for_nonces_and_remembers_what_it_saw() {
    let levers = Levers::start().await;
    let url = format!("{}/kjerne", levers.sample);
    let made = levers.token(json!({"audience": "demo:kjerne", "dpop": {"htm": "GET", "htu": url}})).await;
    let token = made["access_token"].as_str().unwrap();
    let key = helsebro::jose::SigningKey::from_private_jwk(&made["dpop"]["private_jwk"]).unwrap();
    let call = async |jti: &str, nonce: Option<&str>| {
        let mut claims = json!({"jti": jti, "htm": "GET", "htu": url, "iat": levers.mock.clock_now(), "ath": super::world::ath(token)});
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        let proof = key.sign_with_header(&json!({"typ": "dpop+jwt", "alg": key.alg().as_str(), "jwk": key.public_jwk()}), &claims).unwrap();
        let answer = levers.mock.http.get(&url).header("Authorization", format!("DPoP {token}")).header("DPoP", proof).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), header("dpop-nonce"), header("www-authenticate"))
    };
    assert_eq!(call("1", None).await, (200, None, None), "not unless it is told to");
    assert_eq!(levers.put("sample-api/nonce", json!({"demand": "always"})).await.0, 204);
    let (status, nonce, challenge) = call("2", None).await;
    assert!(status == 401 && challenge.unwrap().starts_with(r#"DPoP error="use_dpop_nonce""#));
    assert_eq!(call("3", nonce.as_deref()).await.0, 200);
    levers.mock.advance(31);
    let (status, next, _) = call("4", nonce.as_deref()).await;
    assert!(status == 200 && next.is_some() && next != nonce, "a worn nonce is followed by a new one");
    levers.mock.advance(20);
    assert_eq!(call("4", next.as_deref()).await.0, 401, "the proof was used before");

    let told = levers.get("sample-api/calls?since=1").await;
    let calls = told["calls"].as_array().unwrap();
    assert_eq!((calls.iter().map(|call| call["status"].as_u64().unwrap()).collect::<Vec<_>>(), &told["last"]), (vec![401, 200, 200, 401], &json!(5)));
    assert_eq!((&calls[0]["answer"]["error"], &calls[1]["answer"]["api"]), (&json!("use_dpop_nonce"), &json!("demo:kjerne")));
    assert!(!told.to_string().contains("12837512040") && !told.to_string().contains(token), "no identity number, no token");
    levers.post("reset", Value::Null).await;
    assert_eq!(levers.get("sample-api/calls").await["calls"], json!([]));
}
