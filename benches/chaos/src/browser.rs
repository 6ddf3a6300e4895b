//! A browser and an app's HTTP, at a node of choice: the issuer has one address and the nodes another.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER, SET_COOKIE};
use scraper::{Html, Selector};
use serde_json::Value;
use url::Url;

/// No request takes longer; the server's own limit is 30 s.
const PATIENCE: Duration = Duration::from_secs(12);

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Option<Value> {
        let is_json = self.headers.get("content-type").and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with("application/json"));
        if is_json { serde_json::from_str(&self.body).ok() } else { None }
    }

    pub fn is_page(&self) -> bool {
        self.headers.get("content-type").and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with("text/html"))
    }

    pub fn retry_after(&self) -> bool {
        self.headers.contains_key(RETRY_AFTER)
    }

    pub fn location(&self, from: &Url) -> Option<Url> {
        from.join(self.headers.get(LOCATION)?.to_str().ok()?).ok()
    }
}

/// Sends to nodes what is meant for the issuer.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    origin: String,
    issuer: String,
    /// `http://127.0.0.1:…` of each node.
    nodes: Vec<String>,
}

impl Http {
    /// `origin`: what the URLs of all issuers begin with.
    pub fn new(origin: &str, nodes: Vec<String>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(PATIENCE).build()?;
        Ok(Self { client, origin: origin.to_owned(), issuer: format!("{origin}/main"), nodes })
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The one with an identity provider behind it.
    pub fn held(&self) -> String {
        format!("{}/held", self.origin)
    }

    fn at(&self, node: usize, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        let host = self.origin.trim_start_matches("http://");
        match (url.strip_prefix(&self.origin), self.nodes.get(node)) {
            (Some(path), Some(node)) => self.client.request(method, format!("{node}{path}")).header("host", host),
            _ => self.client.request(method, url),
        }
    }

    pub fn get(&self, node: usize, url: &str) -> reqwest::RequestBuilder {
        self.at(node, reqwest::Method::GET, url)
    }

    pub fn post(&self, node: usize, url: &str) -> reqwest::RequestBuilder {
        self.at(node, reqwest::Method::POST, url)
    }
}

/// # Errors
/// Why there was no answer.
pub async fn send(request: reqwest::RequestBuilder) -> Result<Reply, String> {
    let told = |error: reqwest::Error| {
        let mut told = error.to_string();
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
        while let Some(deeper) = cause {
            told = deeper.to_string();
            cause = deeper.source();
        }
        told
    };
    let response = request.send().await.map_err(told)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.text().await.map_err(told)?;
    Ok(Reply { status, headers, body })
}

/// Where a walk through the authorization endpoint ended.
#[derive(Clone, Debug)]
pub enum End {
    /// At the app, with these parameters.
    App(BTreeMap<String, String>),
    /// At an answer that is no way on.
    Page(Reply),
    Lost(String),
}

#[derive(Clone, Default)]
pub struct Browser {
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    async fn exchange(&mut self, request: reqwest::RequestBuilder) -> Result<Reply, String> {
        let jar = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let request = if jar.is_empty() { request } else { request.header("cookie", jar) };
        let reply = send(request).await?;
        for set in reply.headers.get_all(SET_COOKIE).iter().filter_map(|set| set.to_str().ok()) {
            let Some((name, value)) = set.split(';').next().and_then(|pair| pair.split_once('=')) else { continue };
            if set.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(reply)
    }

    /// # Errors
    /// Why there was no answer.
    pub async fn get(&mut self, http: &Http, node: usize, url: &str) -> Result<Reply, String> {
        self.exchange(http.get(node, url)).await
    }

    /// From `url` to the app at `app`, pressing the first button of every page between, or the one that leads to the identity provider.
    /// `fill` are fields filled in wherever a form has them.
    pub async fn walk(&mut self, http: &Http, node: impl Fn() -> usize, url: &str, app: &str, fill: &[(&str, &str)]) -> End {
        let mut next: (String, Option<Vec<(String, String)>>) = (url.to_owned(), None);
        for _ in 0..20 {
            let Ok(url) = Url::parse(&next.0) else { return End::Lost(format!("no URL: {}", next.0)) };
            if next.0.starts_with(app) {
                return End::App(url.query_pairs().into_owned().collect());
            }
            let request = match &next.1 {
                Some(form) => http.post(node(), &next.0).form(form),
                None => http.get(node(), &next.0),
            };
            let reply = match self.exchange(request).await {
                Ok(reply) => reply,
                Err(why) => return End::Lost(why),
            };
            if let Some(to) = reply.location(&url) {
                next = (to.into(), None);
                continue;
            }
            if reply.status != 200 {
                return End::Page(reply);
            }
            let Some((action, mut fields)) = form(&reply.body) else { return End::Page(reply) };
            for (name, value) in &mut fields {
                if let Some((_, filled)) = fill.iter().find(|(field, _)| field == name) {
                    *value = (*filled).to_owned();
                }
            }
            let Ok(to) = url.join(&action) else { return End::Page(reply) };
            next = (to.into(), Some(fields));
        }
        End::Lost("too many redirects".to_owned())
    }
}

/// Action and fields of the form that goes on.
fn form(html: &str) -> Option<(String, Vec<(String, String)>)> {
    let document = Html::parse_document(html);
    let (forms, inputs) = (Selector::parse("form").ok()?, Selector::parse("input").ok()?);
    let read = |form: scraper::ElementRef<'_>| {
        let mut fields = Vec::new();
        for input in form.select(&inputs) {
            let attribute = |name: &str| input.value().attr(name);
            let Some(name) = attribute("name") else { continue };
            if !matches!(attribute("type"), Some("radio" | "checkbox")) || attribute("checked").is_some() {
                fields.push((name.to_owned(), attribute("value").unwrap_or_default().to_owned()));
            }
        }
        (form.value().attr("action").unwrap_or_default().to_owned(), fields)
    };
    let all: Vec<_> = document.select(&forms).map(read).collect();
    let leads_on = |(_, fields): &&(String, Vec<(String, String)>)| fields.iter().any(|(name, value)| name == "way" && value == "helseid");
    all.iter().find(leads_on).or_else(|| all.first()).cloned()
}
