//! The pages a person meets, in the browser there is. M3; WCAG 2.2. tests/foreign/axe.

use super::world::{Browser, Client, Mock};

#[tokio::test]
async fn a_browser_finds_nothing_wrong() {
    let mock = Mock::start().await;
    let client = mock.smart_as();
    let mut pages: Vec<(&str, String)> = Vec::new();
    let mut browser = Browser::of(&mock);
    let posted = [Client::request(), vec![("response_mode", "form_post")]].concat();
    let login = browser.go(&client.start(&posted).await).await;
    let answer = browser.press(&login, "/connect/login", &[("user", "solveig")]).await;
    pages.push(("login", login.page));
    pages.push(("form-post", answer.page));
    pages.push(("logout", browser.go(&mock.url("/connect/endsession")).await.page));
    pages.push(("logged-out", Browser::of(&mock).go(&mock.url("/connect/endsession")).await.page));
    pages.push(("error", browser.go(&mock.url("/connect/authorize?scope=openid")).await.page));
    pages.push(("home", browser.go(&mock.url("/")).await.page));
    mock.idp().change_seed(|seed| seed.users.retain(|user| user.level < 4));
    pages.push(("nobody", Browser::of(&mock).go(&client.start(&Client::request()).await).await.page));
    let css = reqwest::get(mock.url("/helseid-mock.css")).await.unwrap().text().await.unwrap();
    // As links of the page's own site, which is where they are looked at.
    let here = pages.into_iter().map(|(name, page)| {
        assert!(page.contains("<h1>") && page.contains(">TEST</strong>"), "{name}: {page}");
        (format!("{name}.html"), page.replace(&mock.issuer, ""))
    });
    let files: Vec<(String, String)> = here.chain([("helseid-mock.css".to_owned(), css)]).collect();
    tokio::task::spawn_blocking(move || crate::pages::look_at(files)).await.unwrap();
}
