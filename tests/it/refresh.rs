//! Refreshing: rotation, reuse, narrowing, and what ends it. SAL §3.7, SAL-085…090; NAV-044…049; DESIGN §3, Tokens, Ending.

use serde_json::json;

use crate::world::{App, Reply, SCOPES, Tokens, VERIFIER, World, basic, claims};

const AT: &str = "http://127.0.0.1:4567/cb";
const SECRET: &str = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe";

const CLIENTS: &str = r#"
[[client]]
client_id = "plain"
auth = "client_secret_basic"
client_secret = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser profile offline_access online_access launch launch/patient patient/*.rs user/*.rs"
consent = "pre-approved"

[[client]]
client_id = "reporting"
auth = "client_secret_basic"
client_secret = "vXh2kQ9s7LpT4mZc8RbN1wYd6JfG3aUe"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid offline_access launch patient/*.rs"
consent = "pre-approved"
refresh_context = true
refresh_ttl = "1h"

[[client]]
client_id = "public"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid fhirUser profile offline_access online_access launch launch/patient patient/*.rs user/*.rs"
consent = "pre-approved"

[[client]]
client_id = "no-refresh"
auth = "none"
redirect_uris = ["http://127.0.0.1:4567/cb"]
launch_urls = ["http://127.0.0.1:4567/launch"]
scopes = "openid launch patient/*.rs"
consent = "pre-approved"
"#;

/// One of the clients, with what it asks for.
struct Party<'w> {
    app: App<'w>,
    secret: bool,
}

impl<'w> Party<'w> {
    fn new(world: &'w World, id: &str, scope: &str) -> Self {
        Self { app: world.app(id).at(AT).set("scope", scope), secret: matches!(id, "plain" | "reporting") }
    }

    async fn post(&self, form: &[(&str, &str)]) -> Reply {
        let mut form = form.to_vec();
        let authorization = self.secret.then(|| basic(&self.app.id, SECRET));
        if !self.secret {
            form.push(("client_id", &self.app.id));
        }
        self.app.world.post("/token", authorization.as_deref(), &form).await
    }

    async fn redeem(&self, code: &str) -> Tokens {
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", AT), ("code_verifier", VERIFIER)];
        Tokens(self.post(&form).await.is(200).json())
    }

    /// Launched in the EPJ's session of that name.
    async fn launched(&self, session: &str) -> Tokens {
        let launch = self.app.world.ehr().client(&self.app.id).with("session", json!(session)).launch().await;
        let code = self.app.open(&mut self.app.world.browser(), &launch).await;
        self.redeem(&code).await
    }

    async fn refresh(&self, token: &str) -> Reply {
        self.post(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    async fn refresh_for(&self, token: &str, scope: &str) -> Reply {
        self.post(&[("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)]).await
    }
}

const ASKED: &str = "launch openid fhirUser profile offline_access patient/Patient.rs patient/Encounter.rs";

#[tokio::test]
async fn a_confidential_client_keeps_its_refresh_token() {
    let world = World::with_clients(CLIENTS).await;
    let launch = world.ehr().launch().await;
    let app = world.app("syk-inn");
    let first = app.tokens(&launch).await;
    let reply = app.refresh(first.refresh()).await.is(200);
    assert_eq!((reply.header("cache-control"), reply.header("pragma")), (Some("no-store"), Some("no-cache")), "SAL-067");
    let second = Tokens(reply.json());
    // SAL-088, NAV-044, NAV-045.
    let names: Vec<&str> = second.0.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"]);
    assert_eq!((&second.0["token_type"], &second.0["expires_in"], second.text("scope")), (&json!("Bearer"), &json!(3600), SCOPES));
    assert_eq!(second.refresh(), first.refresh(), "not rotated: DESIGN §3");
    assert_ne!(second.access(), first.access());
    // Both access tokens are good, with the same context: NAV-046, SAL §3.7.
    for tokens in [&first, &second] {
        let seen = world.introspect(tokens.access()).await;
        assert_eq!(
            (&seen["patient"], &seen["encounter"], &seen["fhirUser"]),
            (&json!("pasient-01"), &json!("konsultasjon-01-3"), &json!("Practitioner/lege-fastlege"))
        );
        world.read(tokens.access(), "Patient/pasient-01").await.is(200);
    }
    // OIDC Core §12.2.
    world.advance(100);
    let third = Tokens(app.refresh(first.refresh()).await.is(200).json());
    let (before, after) = (claims(first.text("id_token")), claims(third.text("id_token")));
    for same in ["iss", "sub", "aud", "auth_time", "sid", "acr", "amr", "fhirUser", "profile", "name"] {
        assert_eq!(before[same], after[same], "{same}");
        assert!(!after[same].is_null(), "{same}");
    }
    assert!(after.get("nonce").is_none());
    assert!(after["iat"].as_i64() >= before["iat"].as_i64().map(|at| at + 100));
    // Twelve hours from the grant, not from the last use: DESIGN §3, NAV-047.
    world.advance(11 * 3600 + 3400);
    app.refresh(first.refresh()).await.is(200);
    world.advance(200);
    app.refresh(first.refresh()).await.refused(400, "invalid_grant");

    // SAL-328 the other way; and a life of its own.
    let reporting = Party::new(&world, "reporting", "launch openid offline_access patient/Patient.rs");
    let first = reporting.launched("one").await;
    let again = Tokens(reporting.refresh(first.refresh()).await.is(200).json());
    assert_eq!((again.text("patient"), again.text("encounter")), ("pasient-01", "konsultasjon-01-3"));
    world.advance(3601);
    reporting.refresh(first.refresh()).await.refused(400, "invalid_grant");
}

#[tokio::test]
async fn a_public_client_gets_a_new_one_each_time() {
    let world = World::with_clients(CLIENTS).await;
    let public = Party::new(&world, "public", ASKED);
    let first = public.launched("one").await;
    let second = Tokens(public.refresh(first.refresh()).await.is(200).json());
    assert_ne!(second.refresh(), first.refresh());
    assert!(second.0.get("patient").is_none(), "NAV-045");
    // A lost answer, or a second tab: the same successor for half a minute.
    for wait in [0, 10, 18] {
        world.advance(wait);
        let again = Tokens(public.refresh(first.refresh()).await.is(200).json());
        assert_eq!(again.refresh(), second.refresh(), "after {wait} s more");
    }
    // NAV-049: a public client's token says whose it is.
    let nameless = world.post("/token", None, &[("grant_type", "refresh_token"), ("refresh_token", second.refresh())]).await;
    let third = Tokens(nameless.is(200).json());
    assert_ne!(third.refresh(), second.refresh());
    // Two generations back is a stolen token, however soon. RFC 9700 §4.14.2.
    assert!(world.is_active(first.access()).await, "earlier access tokens stay good");
    public.refresh(first.refresh()).await.refused(400, "invalid_grant");
    for tokens in [&first, &second, &third] {
        assert!(!world.is_active(tokens.access()).await, "the grant has ended");
        public.refresh(tokens.refresh()).await.refused(400, "invalid_grant");
    }

    // One generation back, but late.
    let first = public.launched("two").await;
    let second = Tokens(public.refresh(first.refresh()).await.is(200).json());
    world.advance(34);
    assert!(world.is_active(second.access()).await);
    public.refresh(first.refresh()).await.refused(400, "invalid_grant");
    assert!(!world.is_active(second.access()).await, "the grant has ended");
    public.refresh(second.refresh()).await.refused(400, "invalid_grant");

    // The life is the grant's: rotating does not lengthen it.
    let mut tokens = public.launched("three").await;
    for _ in 0..11 {
        world.advance(3600);
        tokens = Tokens(public.refresh(tokens.refresh()).await.is(200).json());
    }
    world.advance(3601);
    public.refresh(tokens.refresh()).await.refused(400, "invalid_grant");
}

#[tokio::test]
async fn a_refresh_asks_for_as_much_or_less_and_less_does_not_stick() {
    let world = World::with_clients(CLIENTS).await;
    for id in ["plain", "public"] {
        let party = Party::new(&world, id, ASKED);
        let mut tokens = party.launched("one").await;
        assert_eq!(tokens.text("scope"), ASKED);
        // SAL-086, SAL-087, SAL-318.
        for (asked, given) in [
            ("patient/Patient.rs", "patient/Patient.rs"),
            ("patient/Patient.r", "patient/Patient.r"),
            ("patient/Patient.rs?identifier=x", "patient/Patient.rs?identifier=x"),
            (ASKED, ASKED),
            ("offline_access  openid", "offline_access openid"),
            ("", ASKED),
        ] {
            let reply = party.refresh_for(tokens.refresh(), asked).await;
            assert_eq!(reply.status, 200, "{id} {asked}: {}", reply.body);
            tokens = Tokens(reply.json());
            assert_eq!(tokens.text("scope"), given, "{id} {asked}");
            let seen = world.introspect(tokens.access()).await;
            assert_eq!((&seen["scope"], &seen["patient"]), (&json!(given), &json!("pasient-01")), "SAL §5.6, after a refresh");
            assert_eq!(tokens.0.get("id_token").is_some(), given.contains("openid"), "{id} {asked}");
        }
        // What was not asked for is not told.
        let narrow = Tokens(party.refresh_for(tokens.refresh(), "openid").await.is(200).json());
        let said = claims(narrow.text("id_token"));
        assert!(said.get("fhirUser").is_none() && said.get("name").is_none() && said.get("profile").is_none(), "{said}");
        world.read(narrow.access(), "Patient/pasient-01").await.is(403);
        tokens = narrow;
        for (case, asked) in [
            ("a wider type", "patient/*.rs"),
            ("wider letters", "patient/Patient.cruds"),
            ("another level", "user/Patient.rs"),
            ("one too many", "patient/Patient.rs patient/Condition.rs"),
            ("an unknown one", "patient/Patient.rs everything"),
            ("letters out of order", "patient/Patient.sr"),
            ("v1 that says more", "patient/Patient.*"),
            ("context of another kind", "launch/patient"),
            ("online besides offline", "online_access"),
        ] {
            let reply = party.refresh_for(tokens.refresh(), asked).await;
            assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("invalid_scope")), "{id} {case}: {}", reply.body);
        }
        // A refused refresh changes nothing: the token is good still.
        party.refresh(tokens.refresh()).await.is(200);
    }
}

#[tokio::test]
async fn nobody_else_can_use_or_end_it() {
    let world = World::with_clients(CLIENTS).await;
    let (plain, public) = (Party::new(&world, "plain", ASKED), Party::new(&world, "public", ASKED));
    let (of_plain, of_public) = (plain.launched("one").await, public.launched("two").await);
    // SAL-085.
    public.refresh(of_plain.refresh()).await.refused(400, "invalid_grant");
    plain.refresh(of_public.refresh()).await.refused(400, "invalid_grant");
    // A confidential client's token without its credentials: SAL-064.
    world.post("/token", None, &[("grant_type", "refresh_token"), ("refresh_token", of_plain.refresh())]).await.refused(401, "invalid_client");
    // Forged: another proof, another generation, another grant, another letter.
    let token = of_public.refresh();
    let mut parts: Vec<&str> = token.splitn(4, '_').collect();
    assert_eq!(parts.len(), 4, "rt_GRANT_GENERATION_PROOF");
    let other = of_plain.refresh().split('_').nth(1).unwrap().to_owned();
    let zeros = "A".repeat(parts[3].len());
    for (place, forged) in [(3, zeros.as_str()), (2, "1"), (2, "4294967295"), (2, "00"), (1, other.as_str()), (0, "RT"), (3, "")] {
        let kept = std::mem::replace(&mut parts[place], forged);
        let forged = parts.join("_");
        public.refresh(&forged).await.refused(400, "invalid_grant");
        let nameless = world.post("/token", None, &[("grant_type", "refresh_token"), ("refresh_token", &forged)]).await;
        assert!(matches!(nameless.status, 400 | 401), "{forged}: {}", nameless.body);
        parts[place] = kept;
    }
    // A code, an access token or an id_token is no refresh token.
    for wrong in [of_public.access(), of_public.text("id_token")] {
        public.refresh(wrong).await.refused(400, "invalid_grant");
    }
    // None of it ended anything.
    plain.refresh(of_plain.refresh()).await.is(200);
    public.refresh(of_public.refresh()).await.is(200);
    // And no scope, no token: SAL §3.7, SAL-089.
    let none = Party::new(&world, "no-refresh", "launch openid offline_access patient/Patient.rs");
    let tokens = none.launched("three").await;
    assert!(tokens.0.get("refresh_token").is_none());
    assert_eq!(tokens.text("scope"), "launch openid patient/Patient.rs");
    none.refresh(of_public.refresh()).await.refused(400, "unauthorized_client");
    let unasked = Party::new(&world, "plain", "launch openid patient/Patient.rs").launched("four").await;
    assert!(unasked.0.get("refresh_token").is_none(), "neither offline nor online was asked for");
}

#[tokio::test]
async fn online_ends_with_the_session_and_offline_where_it_is_registered_so() {
    let world = World::with_clients(CLIENTS).await;
    for id in ["plain", "public"] {
        let online = Party::new(&world, id, "launch openid online_access patient/Patient.rs");
        let offline = Party::new(&world, id, ASKED);
        let session = format!("epj-{id}");
        let (on, off) = (online.launched(&session).await, offline.launched(&session).await);
        assert_eq!(on.text("scope"), "launch openid online_access patient/Patient.rs");
        let on = Tokens(online.refresh(on.refresh()).await.is(200).json());
        let other = online.launched(&format!("{session}-other")).await;
        world.ehr().end_session(&session).await.is(204);
        // SAL-090.
        online.refresh(on.refresh()).await.refused(400, "invalid_grant");
        assert!(!world.is_active(on.access()).await);
        world.read(on.access(), "Patient/pasient-01").await.is(401);
        offline.refresh(off.refresh()).await.is(200);
        assert!(world.is_active(off.access()).await);
        online.refresh(other.refresh()).await.is(200);
    }
    // A session ends by itself too: twelve hours after it began.
    let online = Party::new(&world, "plain", "launch openid online_access patient/Patient.rs");
    let tokens = online.launched("epj-long").await;
    world.advance(11 * 3600);
    let tokens = Tokens(online.refresh(tokens.refresh()).await.is(200).json());
    world.advance(3500);
    assert!(world.is_active(tokens.access()).await);
    world.advance(200);
    assert!(!world.is_active(tokens.access()).await, "good for another hour, but for the session");
    online.refresh(tokens.refresh()).await.refused(400, "invalid_grant");
    // DESIGN §3, Ending: NAV's apps end with the EPJ session whatever they were granted.
    let launch = world.ehr().with("session", json!("epj-nav")).launch().await;
    let app = world.app("syk-inn");
    let tokens = app.tokens(&launch).await;
    world.ehr().end_session("epj-nav").await.is(204);
    app.refresh(tokens.refresh()).await.refused(400, "invalid_grant");
    assert!(!world.is_active(tokens.access()).await);
    // Standalone knows no online access: SAL-090.
    let app = Party::new(&world, "plain", "launch/patient openid online_access patient/Patient.rs");
    let code = app.app.sign_in(&mut world.browser()).await;
    let tokens = app.redeem(&code).await;
    assert!(!tokens.text("scope").contains("online_access") && tokens.0.get("refresh_token").is_none(), "{}", tokens.0);
}
