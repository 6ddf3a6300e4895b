//! What the built server writes about its work: a line for each request, and nothing that opens anything. DESIGN §3, Failure; STYLE §5.

use serde_json::json;

use crate::crash::{AT, Place, SECRET};
use crate::world::{VERIFIER, basic, claims};

#[tokio::test]
async fn the_log_tells_what_happened_and_no_secret() {
    let place = Place::new("process", "trace");
    let server = place.start().await;
    let mut secrets: Vec<String> = vec![SECRET.to_owned(), VERIFIER.to_owned()];
    for (client, person) in [("secret", 3), ("public", 4)] {
        let (code, cookies) = place.sign_in(client, person).await.unwrap();
        secrets.extend(cookies.split("; ").map(|cookie| cookie.split_once('=').unwrap().1.to_owned()));
        let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
        let (status, tokens) = place.token(client, &form).await.unwrap();
        assert_eq!(status, 200);
        // Again, so that there is something to complain about; and forged.
        assert_eq!(place.token(client, &form).await.unwrap().0, 400);
        let refresh = tokens["refresh_token"].as_str().unwrap();
        assert_eq!(place.token(client, &[("grant_type", "refresh_token"), ("refresh_token", refresh)]).await.unwrap().0, 200);
        assert_eq!(place.token(client, &[("grant_type", "refresh_token"), ("refresh_token", &format!("{refresh}x"))]).await.unwrap().0, 400);
        secrets.push(code);
        for member in ["access_token", "refresh_token", "id_token"] {
            secrets.push(tokens[member].as_str().unwrap().to_owned());
        }
        // The signature alone is what makes a token one.
        secrets.push(tokens["access_token"].as_str().unwrap().rsplit_once('.').unwrap().1.to_owned());
        secrets.push(claims(tokens["access_token"].as_str().unwrap())["sub"].as_str().unwrap().to_owned());
    }
    // Secrets where they do not belong, and wrong ones where they do.
    let stray = "stray-secret-0123456789-abcdefghijk";
    secrets.push(stray.to_owned());
    let url = |path: &str| format!("{}{path}", place.origin);
    for request in [
        place.http.post(url("/token")).header("authorization", basic("secret", stray)).form(&[("grant_type", "refresh_token"), ("refresh_token", stray)]),
        place.http.post(url("/token")).form(&[("client_id", stray), ("client_secret", stray), ("grant_type", stray)]),
        place.http.post(url(&format!("/token?client_secret={stray}"))).form(&[("client_assertion", stray), ("client_assertion_type", stray)]),
        place.http.post(url("/introspect")).header("authorization", basic("secret", SECRET)).form(&[("token", stray)]),
        place.http.post(url("/introspect")).bearer_auth(stray).form(&[("token", stray)]),
        place.http.post(url("/revoke")).header("authorization", basic("secret", SECRET)).form(&[("token", stray)]),
        place.http.get(url("/userinfo")).bearer_auth(stray),
        place.http.get(url(&format!("/userinfo?access_token={stray}"))),
        place.http.get(url(&format!("/start/{stray}"))),
        place.http.get(url(&format!("/interaction/{stray}"))),
        place.http.get(url(&format!("/{stray}"))),
        place.http.get(url(&format!("/authorize?client_id=secret&redirect_uri={AT}&state={stray}&launch={stray}&login_hint={stray}"))),
        place.http.get(url(&format!("/logout?id_token_hint={stray}"))),
        place.http.post(url("/launches")).bearer_auth(stray).json(&json!({ "patient": stray })),
    ] {
        request.header("x-request-id", "request-of-this-test").send().await.unwrap();
    }
    // SIGTERM: what was begun is finished, and the process ends well.
    assert_eq!(tokio::task::spawn_blocking(|| server.stop()).await.unwrap(), Some(0));
    let said = place.said.lock().unwrap().join("\n");
    for secret in &secrets {
        assert!(!said.contains(secret.as_str()), "{secret} is in the log");
    }
    // Encoded as they travel in `Authorization`, too.
    for (id, secret) in [("secret", SECRET), ("secret", stray)] {
        assert!(!said.contains(basic(id, secret).strip_prefix("Basic ").unwrap()), "{secret} is in the log, encoded");
    }
    assert_eq!(said.matches("request-of-this-test").count(), 14, "a line for each request:\n{said}");
    for expected in ["client=\"secret\"", "client=\"public\"", "status=200", "status=401", "error=\"invalid_grant\"", "route=\"/token\"", "method=POST"] {
        assert!(said.contains(expected), "{expected} is not in the log:\n{said}");
    }
}
