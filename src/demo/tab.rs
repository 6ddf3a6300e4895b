//! A browser tab for the tests: one router, one cookie jar, no redirects followed.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use scraper::{Html, Selector};
use tower::ServiceExt as _;

pub struct Tab {
    router: Router,
    host: String,
    cookies: Vec<(String, String)>,
}

pub struct Page {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Page {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn location(&self) -> &str {
        self.header("location")
    }

    pub fn html(&self) -> Html {
        Html::parse_document(&self.text)
    }

    /// The value of the first element a selector finds.
    pub fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        self.html().select(&Selector::parse(selector).unwrap()).next()?.attr(name).map(str::to_owned)
    }

    pub fn count(&self, selector: &str) -> usize {
        self.html().select(&Selector::parse(selector).unwrap()).count()
    }

    pub fn csrf(&self) -> String {
        self.attribute("input[name=csrf]", "value").expect("a form with a token")
    }
}

impl Tab {
    pub fn new(router: Router, origin: &str) -> Self {
        Self { router, host: origin.trim_start_matches("http://").to_owned(), cookies: Vec::new() }
    }

    pub async fn get(&mut self, target: &str) -> Page {
        self.send(Request::get(path_of(target)).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&mut self, target: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = Request::post(target).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub async fn send(&mut self, mut request: Request<Body>) -> Page {
        let line = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        if !line.is_empty() {
            request.headers_mut().insert(header::COOKIE, line.parse().unwrap());
        }
        request.headers_mut().entry(header::HOST).or_insert(self.host.parse().unwrap());
        let response = self.router.clone().oneshot(request).await.unwrap();
        for line in response.headers().get_all(header::SET_COOKIE) {
            let (name, value) = line.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(kept, _)| kept != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Page { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }
}

/// Path and query of an address, absolute or not.
fn path_of(target: &str) -> String {
    match url::Url::parse(target) {
        Ok(url) => format!("{}?{}", url.path(), url.query().unwrap_or("")),
        Err(_) => target.to_owned(),
    }
}
