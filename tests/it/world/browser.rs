//! A browser: a cookie jar that sees every hop, and fills in forms as a person would.

use std::collections::BTreeMap;

use scraper::{ElementRef, Html, Selector};
use url::Url;

use super::Reply;

#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    /// By host and name; our components have names of their own.
    pub cookies: BTreeMap<String, String>,
    /// Its person logs in by the list of names: HelseID's question in passing comes to nothing, and its button is not seen.
    by_name: bool,
}

/// What came back, and from where.
#[derive(Debug, Clone)]
pub struct Page {
    pub url: Url,
    pub reply: Reply,
}

impl Browser {
    pub fn new(http: reqwest::Client) -> Self {
        Self { http, cookies: BTreeMap::new(), by_name: false }
    }

    /// The browser of somebody who has no session at HelseID and wants none.
    pub fn by_name(self) -> Self {
        Self { by_name: true, ..self }
    }

    async fn send(&mut self, url: &Url, request: reqwest::RequestBuilder) -> Page {
        let mut page = self.exchange(url, request).await;
        if !self.by_name {
            return page;
        }
        // Where a page is next, whether it is first asked in passing: then the answer is what that led to.
        if let Some(next) = page.location().filter(|next| next.origin() == url.origin() && next.path().contains("/interaction/")) {
            let peeked = self.exchange(&next, self.http.get(next.clone())).await;
            if let Some(came) = self.asked_in_passing(&peeked).await
                && came.location() != Some(next)
            {
                page = came;
            }
        }
        if let Some(came) = self.asked_in_passing(&page).await {
            let next = came.location().unwrap();
            page = if next.origin() == url.origin() { self.exchange(&next, self.http.get(next.clone())).await } else { came };
        }
        page.reply.body = without_helseid(&page.reply.body);
        page
    }

    /// What our callback answered, where a page leads to HelseID.
    async fn asked_in_passing(&mut self, page: &Page) -> Option<Page> {
        let there = page.location().filter(|next| next.path() == "/connect/authorize")?;
        let back = self.exchange(&there, self.http.get(there.clone())).await;
        let back = back.location().unwrap_or_else(|| panic!("HelseID did not answer in passing: {}", back.reply.body));
        Some(self.exchange(&back, self.http.get(back.clone())).await)
    }

    async fn exchange(&mut self, url: &Url, request: reqwest::RequestBuilder) -> Page {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) };
        let reply = Reply::of(request.header("accept-language", "nb").send().await.unwrap()).await;
        for set in reply.headers.get_all("set-cookie") {
            let set = set.to_str().unwrap();
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            if set.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Page { url: url.clone(), reply }
    }

    pub async fn get(&mut self, url: &str) -> Page {
        let url = Url::parse(url).unwrap();
        let request = self.http.get(url.clone());
        self.send(&url, request).await
    }

    pub async fn post(&mut self, url: &str, form: &[(String, String)]) -> Page {
        let url = Url::parse(url).unwrap();
        let request = self.http.post(url.clone()).form(form);
        self.send(&url, request).await
    }

    /// Follows redirects as long as they stay at `origin`.
    pub async fn follow(&mut self, mut page: Page, origin: &str) -> Page {
        for _ in 0..10 {
            match page.location() {
                Some(next) if next.as_str().starts_with(origin) => page = self.get(next.as_str()).await,
                _ => return page,
            }
        }
        panic!("too many redirects, last {}", page.url)
    }

    /// Sends the first form of a page as it is filled in, with some fields changed or added.
    pub async fn submit(&mut self, page: &Page, change: &[(&str, &str)]) -> Page {
        self.submit_nth(page, 0, change).await
    }

    pub async fn submit_nth(&mut self, page: &Page, form: usize, change: &[(&str, &str)]) -> Page {
        let (action, mut fields) = form_fields(&page.reply.body, form);
        for (name, value) in change {
            fields.retain(|(known, _)| known != name);
            fields.push(((*name).to_owned(), (*value).to_owned()));
        }
        let url = page.url.join(&action).unwrap();
        self.post(url.as_str(), &fields).await
    }

    /// Goes on from a page to the app: follows, and presses the first button of whatever stands between.
    pub async fn reach_app(&mut self, mut page: Page, origin: &str) -> Page {
        for _ in 0..10 {
            page = self.follow(page, origin).await;
            if page.reply.status != 200 {
                return page;
            }
            page = self.submit(&page, &[]).await;
        }
        panic!("no way to the app, last {}: {}", page.url, page.reply.body)
    }
}

impl Page {
    /// Where it redirects to.
    pub fn location(&self) -> Option<Url> {
        self.reply.header("location").map(|location| self.url.join(location).unwrap())
    }

    /// A parameter of the redirect, from its query.
    #[track_caller]
    pub fn param(&self, name: &str) -> Option<String> {
        let location = self.location().unwrap_or_else(|| panic!("no redirect but {}: {}", self.reply.status, self.reply.body));
        location.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.reply.status, status, "{} to {:?} {}", self.url, self.location().map(String::from), self.reply.body);
        self
    }

    pub fn text(&self) -> String {
        Html::parse_document(&self.reply.body).root_element().text().collect::<Vec<_>>().join(" ")
    }
}

/// The page without the form that leads to HelseID.
fn without_helseid(page: &str) -> String {
    let Some(button) = page.find(r#"name="way" value="helseid""#) else { return page.to_owned() };
    let (start, end) = (page[..button].rfind("<form").unwrap(), button + page[button..].find("</form>").unwrap() + "</form>".len());
    format!("{}{}", &page[..start], &page[end..])
}

/// The action of a form of a page, and its fields as they would be sent.
#[track_caller]
pub fn form_fields(html: &str, form: usize) -> (String, Vec<(String, String)>) {
    let document = Html::parse_document(html);
    let forms = Selector::parse("form").unwrap();
    let form: ElementRef = document.select(&forms).nth(form).unwrap_or_else(|| panic!("no such form in {html}"));
    let inputs = Selector::parse("input").unwrap();
    let mut fields = Vec::new();
    for input in form.select(&inputs) {
        let attribute = |name: &str| input.value().attr(name);
        let Some(name) = attribute("name") else { continue };
        let chosen = !matches!(attribute("type"), Some("radio" | "checkbox")) || attribute("checked").is_some();
        if chosen {
            fields.push((name.to_owned(), attribute("value").unwrap_or_default().to_owned()));
        }
    }
    (form.value().attr("action").unwrap_or_default().to_owned(), fields)
}
