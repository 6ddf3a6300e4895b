//! An app: makes authorization requests, redeems codes, refreshes.

use helsebro::protocol::pkce::CodeVerifier;
use serde_json::Value;
use url::Url;

use super::{Browser, Page, Reply, VERIFIER, World};

/// What NAV's app asks for. NAV §3.3.
pub const SCOPES: &str = "openid profile launch fhirUser offline_access patient/Patient.read patient/Encounter.read patient/Condition.read patient/DocumentReference.read patient/DocumentReference.write";

#[derive(Clone)]
pub struct App<'w> {
    pub world: &'w World,
    pub id: String,
    pub redirect_uri: String,
    pub params: Vec<(String, String)>,
}

/// A token answer that succeeded.
#[derive(Debug, Clone)]
pub struct Tokens(pub Value);

impl Tokens {
    #[track_caller]
    pub fn text(&self, member: &str) -> &str {
        self.0[member].as_str().unwrap_or_else(|| panic!("no {member} in {}", self.0))
    }

    pub fn access(&self) -> &str {
        self.text("access_token")
    }

    pub fn refresh(&self) -> &str {
        self.text("refresh_token")
    }
}

impl<'w> App<'w> {
    /// A good standalone request, to be changed with [`App::set`] and [`App::unset`].
    pub fn new(world: &'w World, id: &str) -> Self {
        let redirect_uri = world.demo.facts.clients.get(id).and_then(|client| client.redirect_uris.first()).cloned().unwrap_or_default();
        let challenge = CodeVerifier::parse(VERIFIER).unwrap().challenge();
        let params = [
            ("response_type", "code"),
            ("client_id", id),
            ("redirect_uri", &redirect_uri),
            ("scope", SCOPES),
            ("state", "state-1"),
            ("aud", world.fhir()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let params = params.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { world, id: id.to_owned(), redirect_uri, params }
    }

    /// A client that is not in the demo's facts.
    pub fn at(mut self, redirect_uri: &str) -> Self {
        self.redirect_uri = redirect_uri.to_owned();
        self.set("redirect_uri", redirect_uri)
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self = self.unset(name);
        self.add(name, value)
    }

    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn unset(mut self, name: &str) -> Self {
        self.params.retain(|(known, _)| known != name);
        self
    }

    /// With the handle of a launch.
    pub fn launched(self, launch: &Value) -> Self {
        self.set("launch", launch["launch"].as_str().unwrap())
    }

    pub fn url(&self) -> String {
        Url::parse_with_params(&format!("{}/authorize", self.world.issuer()), &self.params).unwrap().into()
    }

    /// The authorization request in a browser, and no further.
    pub async fn authorize(&self, browser: &mut Browser) -> Page {
        browser.get(&self.url()).await
    }

    /// The same by POST.
    pub async fn authorize_by_post(&self, browser: &mut Browser) -> Page {
        browser.post(&format!("{}/authorize", self.world.issuer()), &self.params).await
    }

    /// From a launch to the code: the browser opens `start_url`, then the app asks, and every page is answered with its first button.
    pub async fn open(&self, browser: &mut Browser, launch: &Value) -> String {
        browser.get(launch["start_url"].as_str().unwrap()).await.is(303);
        let page = self.clone().launched(launch).authorize(browser).await;
        let page = browser.reach_app(page, self.world.issuer()).await;
        page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()))
    }

    /// From a standalone request to the code.
    pub async fn sign_in(&self, browser: &mut Browser) -> String {
        let page = self.authorize(browser).await;
        let page = browser.reach_app(page, self.world.issuer()).await;
        page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()))
    }

    fn authorization(&self) -> Option<String> {
        let secret = self.world.demo.facts.clients.get(&self.id)?.client_secret.is_some();
        secret.then(|| self.world.basic(&self.id))
    }

    /// A token request as this client.
    pub async fn token(&self, form: &[(&str, &str)]) -> Reply {
        let mut form = form.to_vec();
        form.push(("client_id", &self.id));
        self.world.post("/token", self.authorization().as_deref(), &form).await
    }

    pub async fn redeem_with(&self, code: &str, verifier: &str) -> Reply {
        self.token(&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", &self.redirect_uri), ("code_verifier", verifier)]).await
    }

    pub async fn redeem(&self, code: &str) -> Tokens {
        Tokens(self.redeem_with(code, VERIFIER).await.is(200).json())
    }

    pub async fn refresh(&self, token: &str) -> Reply {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// From a launch to tokens, in a browser of its own.
    pub async fn tokens(&self, launch: &Value) -> Tokens {
        let code = self.open(&mut self.world.browser(), launch).await;
        self.redeem(&code).await
    }
}
