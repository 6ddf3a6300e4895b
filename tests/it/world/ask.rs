//! An authorization request at a [`Bare`] server, by whichever way it goes there: pushed, or with the browser.

use helsebro::jose::SigningKey;
use helsebro::protocol::pkce::CodeVerifier;
use url::Url;

use super::{ASSERTION_TYPE, Bare, Browser, Page, Reply, VERIFIER, assertion, basic};

/// How a client shows who it is.
#[derive(Clone, Copy)]
pub enum Shows<'k> {
    Name,
    Secret(&'k str),
    Key(&'k SigningKey),
}

#[derive(Clone)]
pub struct Ask<'w> {
    pub bare: &'w Bare,
    pub id: String,
    shows: Shows<'w>,
    pub params: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
}

impl<'w> Ask<'w> {
    /// A good request, to be changed with [`Ask::set`] and [`Ask::unset`].
    pub fn new(bare: &'w Bare, id: &str, shows: Shows<'w>, redirect_uri: &str) -> Self {
        let challenge = CodeVerifier::parse(VERIFIER).unwrap().challenge();
        let params = [
            ("response_type", "code"),
            ("client_id", id),
            ("redirect_uri", redirect_uri),
            ("scope", "openid user/*.rs"),
            ("state", "state-1"),
            ("aud", &format!("{}/fhir", bare.origin)),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let params = params.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { bare, id: id.to_owned(), shows, params, headers: Vec::new() }
    }

    pub fn set(self, name: &str, value: &str) -> Self {
        self.unset(name).add(name, value)
    }

    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn unset(mut self, name: &str) -> Self {
        self.params.retain(|(known, _)| known != name);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What shows who it is, as parameters and as an `Authorization` header.
    fn credentials(&self) -> (Vec<(String, String)>, Option<String>) {
        match self.shows {
            Shows::Name => (Vec::new(), None),
            Shows::Secret(secret) => (Vec::new(), Some(basic(&self.id, secret))),
            Shows::Key(key) => {
                let (header, claims) = assertion(key, &self.id, &self.bare.origin, self.bare.now());
                let jwt = key.sign_with_header(&header, &claims).unwrap();
                (vec![("client_assertion_type".to_owned(), ASSERTION_TYPE.to_owned()), ("client_assertion".to_owned(), jwt)], None)
            }
        }
    }

    async fn send(&self, path: &str, params: Vec<(String, String)>) -> Reply {
        let (mut form, authorization) = self.credentials();
        form.extend(params);
        let mut request = self.bare.http.post(format!("{}{path}", self.bare.origin)).form(&form);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    pub async fn push(&self) -> Reply {
        self.send("/par", self.params.clone()).await
    }

    /// Pushes, which must succeed, and returns the `request_uri`.
    pub async fn pushed(&self) -> String {
        self.push().await.is(201).json()["request_uri"].as_str().unwrap().to_owned()
    }

    /// Where the browser is sent with a request that was pushed.
    pub fn url_of(&self, request_uri: &str) -> String {
        let params = [("client_id", self.id.as_str()), ("request_uri", request_uri)];
        Url::parse_with_params(&format!("{}/authorize", self.bare.origin), params).unwrap().into()
    }

    /// Where the browser is sent with the request itself.
    pub fn url(&self) -> String {
        Url::parse_with_params(&format!("{}/authorize", self.bare.origin), &self.params).unwrap().into()
    }

    /// From a URL to the app, pressing the first button of whatever stands between.
    pub async fn reach(&self, browser: &mut Browser, url: &str) -> Page {
        let page = browser.get(url).await;
        browser.reach_app(page, &self.bare.origin).await
    }

    /// Pushes and goes on to the code.
    pub async fn code(&self) -> String {
        let page = self.reach(&mut self.bare.browser(), &self.url_of(&self.pushed().await)).await;
        page.param("code").unwrap_or_else(|| panic!("no code but {:?}", page.location()))
    }

    /// A token request; the headers of the request go along.
    pub async fn token(&self, form: &[(&str, &str)]) -> Reply {
        let mut form: Vec<(String, String)> = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        form.push(("client_id".to_owned(), self.id.clone()));
        self.send("/token", form).await
    }

    pub async fn redeem(&self, code: &str) -> Reply {
        let redirect = self.params.iter().find(|(name, _)| name == "redirect_uri").map(|(_, value)| value.clone()).unwrap_or_default();
        self.token(&[("grant_type", "authorization_code"), ("code", code), ("redirect_uri", &redirect), ("code_verifier", VERIFIER)]).await
    }
}
