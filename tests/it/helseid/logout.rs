//! Sessions end. §2.4, M13.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use helsebro::helseid::seed::table;
use http::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;

use super::world::{Browser, Client, Mock, Place};

fn end(mock: &Mock, pairs: &[(&str, &str)]) -> String {
    mock.url(&format!("/connect/endsession?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()))
}

async fn logged_in<'m>(mock: &'m Mock, client: &Client<'m>) -> (Browser<'m>, super::world::Answer) {
    let mut browser = Browser::of(mock);
    mock.idp().set_next_user(Some("solveig".to_owned()));
    let back = browser.go(&client.start(&Client::request()).await).await.callback();
    mock.idp().set_next_user(None);
    let tokens = client.redeem(&back["code"]).await.ok();
    (browser, tokens)
}

async fn asks(browser: &mut Browser<'_>, client: &Client<'_>) -> bool {
    browser.go(&client.start(&Client::request()).await).await.status == 200
}

#[tokio::test]
async fn with_its_id_token_a_client_ends_the_session_and_gets_the_browser_back() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let (mut browser, tokens) = logged_in(&mock, &client).await;
    mock.clock.advance(std::time::Duration::from_secs(4000));
    let (hint, to) = (tokens.text("id_token"), "https://smart-as.example.no/");
    let gone = browser.go(&end(&mock, &[("id_token_hint", &hint), ("post_logout_redirect_uri", to), ("state", "s 1")])).await;
    assert_eq!((gone.status, gone.url.as_str()), (303, "https://smart-as.example.no/?state=s%201"));
    assert!(asks(&mut browser, &client).await);
    client.refresh(&tokens.text("refresh_token"), &[]).await.refused("invalid_grant");
    let elsewhere = browser.go(&end(&mock, &[("id_token_hint", &hint), ("post_logout_redirect_uri", "https://evil.example/")])).await;
    assert_eq!(elsewhere.status, 200, "only where it is registered");
}

#[tokio::test]
async fn without_one_the_person_is_asked() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let (mut browser, tokens) = logged_in(&mock, &client).await;
    let page: Place = browser.go(&end(&mock, &[])).await;
    assert!(page.page.contains("Vil du logge ut?") && page.page.contains("Solveig"), "{}", page.page);
    assert!(!asks(&mut browser, &client).await, "asking ends nothing");
    let forged = Place { page: page.page.replace("name=\"confirm\" value=\"", "name=\"confirm\" value=\"x"), ..page };
    assert!(browser.press(&forged, "/connect/endsession", &[]).await.page.contains("Vil du logge ut?"));
    client.refresh(&tokens.text("refresh_token"), &[]).await.ok();
    let page = browser.go(&end(&mock, &[])).await;
    assert!(browser.press(&page, "/connect/endsession", &[]).await.page.contains("Du er logget ut"));
    assert!(asks(&mut browser, &client).await);
    assert_eq!(client.userinfo(&tokens.text("access_token")).await.status.as_u16(), 401, "userinfo knows");
}

/// A client that is told, and fails at first.
async fn told(State((tries, tell)): State<(Arc<Mutex<u32>>, mpsc::UnboundedSender<String>)>, body: Bytes) -> StatusCode {
    let mut tries = tries.lock().unwrap();
    *tries += 1;
    if *tries == 1 {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let pairs: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let [(_, token)] = pairs.try_into().unwrap();
    tell.send(token).unwrap();
    StatusCode::OK
}

#[tokio::test]
async fn every_client_of_the_session_is_told_and_told_again() {
    let (tell, mut heard) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/backchannel", listener.local_addr().unwrap());
    let router = Router::new().route("/backchannel", post(told)).with_state((Arc::default(), tell));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mock = Mock::start_with(|settings| settings.seed.clients.get_mut(table::SMART_AS).unwrap().backchannel_logout_uri = Some(uri)).await;
    let client = mock.smart_as();
    let tokens = client.log_in("solveig").await;
    let id = mock.claims(&tokens.text("id_token"), "JWT").await;
    assert_eq!(helsebro::helseid::logout::end(&mock.running.idp, |login| login.user == "solveig"), 1);
    let token = heard.recv().await.unwrap();
    let claims = mock.claims(&token, "logout+jwt").await;
    assert_eq!((&claims["aud"], &claims["sid"], &claims["sub"]), (&json!(client.id), &id["sid"], &id["sub"]));
    assert_eq!(claims["events"], json!({"http://schemas.openid.net/event/backchannel-logout": {}}));
    assert!(claims.get("nonce").is_none());
    assert_eq!(helsebro::helseid::logout::end(&mock.running.idp, |_| true), 0);
}
