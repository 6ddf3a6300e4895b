//! What is served at one path: a handler for each method, and what is known of the path before anybody asks for it.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::App;
use super::audit::{self, Decides};
use super::reply::NoStore;
use crate::engine::reached;
use crate::metrics::Route;
use crate::protocol::internal_url::InternalUrl;

/// An answer in the making.
type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

type Serve = Box<dyn Fn(Request, App) -> Answer + Send + Sync>;

/// The handlers of a path, by method.
#[derive(Default)]
pub struct Methods {
    served: Vec<(Method, Serve)>,
    /// Whatever the method.
    any: Option<Serve>,
}

/// Begins with the handler for GET, which answers HEAD too. RFC 9110 §9.3.2.
pub fn get<H: Handler<T, App, Future = Answer>, T: 'static>(handler: H) -> Methods {
    Methods::default().on(&[Method::GET], handler)
}

pub fn post<H: Handler<T, App, Future = Answer>, T: 'static>(handler: H) -> Methods {
    Methods::default().on(&[Method::POST], handler)
}

/// One handler for each of these methods.
pub fn on<H: Handler<T, App, Future = Answer>, T: 'static>(methods: &[Method], handler: H) -> Methods {
    Methods::default().on(methods, handler)
}

/// One handler, whatever the method.
pub fn any<H: Handler<T, App, Future = Answer>, T: 'static>(handler: H) -> Methods {
    Methods { any: Some(serve(handler)), ..Methods::default() }
}

fn serve<H: Handler<T, App, Future = Answer>, T: 'static>(handler: H) -> Serve {
    Box::new(move |request, app| handler.clone().call(request, app))
}

impl Methods {
    #[must_use]
    pub fn post<H: Handler<T, App, Future = Answer>, T: 'static>(self, handler: H) -> Self {
        self.on(&[Method::POST], handler)
    }

    #[must_use]
    pub fn options<H: Handler<T, App, Future = Answer>, T: 'static>(self, handler: H) -> Self {
        self.on(&[Method::OPTIONS], handler)
    }

    fn on<H: Handler<T, App, Future = Answer>, T: 'static>(mut self, methods: &[Method], handler: H) -> Self {
        self.served.extend(methods.iter().map(|method| (method.clone(), serve(handler.clone()))));
        self
    }

    fn of(&self, method: &Method) -> Option<&Serve> {
        let of = |wanted: &Method| self.served.iter().find(|(method, _)| method == wanted).map(|(_, serve)| serve);
        of(method).or_else(|| if *method == Method::HEAD { of(&Method::GET) } else { None }).or(self.any.as_ref())
    }

    /// What may be asked, as `Allow` says it. RFC 9110 §10.2.1.
    fn allowed(&self) -> HeaderValue {
        let mut names: Vec<&str> = Vec::new();
        for (method, _) in &self.served {
            names.push(method.as_str());
            if *method == Method::GET && !self.served.iter().any(|(method, _)| *method == Method::HEAD) {
                names.push(Method::HEAD.as_str());
            }
        }
        HeaderValue::from_str(&names.join(",")).unwrap_or(HeaderValue::from_static(""))
    }
}

/// A path, and all that its requests have in common.
pub struct Endpoint {
    /// Whose it is.
    pub app: App,
    /// The path as it stands in the table; never that of a request: start links and interactions are secrets.
    pub template: Box<str>,
    /// What its requests are counted with.
    pub counted: Route,
    /// What the standards call it: the name of its span.
    span: &'static str,
    decides: Option<Decides>,
    /// The URL it is reached by, where that is not the issuer's own.
    internal: Option<InternalUrl>,
    methods: Methods,
    allow: HeaderValue,
}

impl Endpoint {
    pub fn new(app: &App, template: &str, methods: Methods, internal: Option<&InternalUrl>) -> Self {
        Self {
            counted: app.engine.metrics.route(template, &app.path),
            span: named(template.strip_prefix(app.path.as_str()).unwrap_or(template)),
            decides: audit::public(template),
            internal: internal.cloned(),
            allow: methods.allowed(),
            methods,
            app: Arc::clone(app),
            template: template.into(),
        }
    }

    /// What a request of this method decides about, if anything.
    pub fn decides(&self, method: &Method) -> Option<Decides> {
        self.decides.filter(|_| *method != Method::OPTIONS)
    }

    pub fn span(&self, method: &Method) -> &'static str {
        if self.span == PAGE && *method == Method::OPTIONS { "cors" } else { self.span }
    }

    pub fn answer(&self, request: Request) -> Answer {
        let Some(serve) = self.methods.of(request.method()) else { return Box::pin(ready(self.method_not_allowed())) };
        let answer = serve(request, Arc::clone(&self.app));
        match &self.internal {
            None => answer,
            Some(url) => Box::pin(reached::by(url.clone(), answer)),
        }
    }

    fn method_not_allowed(&self) -> Response {
        let why = "this endpoint does not take that method";
        let body = NoStore(json!({ "error": "invalid_request", "error_description": why }));
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, self.allow.clone())], body).into_response()
    }
}

const PAGE: &str = "page";

/// By a path below that of the issuer.
fn named(below: &str) -> &'static str {
    match below {
        "/authorize" => "oauth.authorize",
        "/par" => "oauth.par",
        "/token" => "oauth.token",
        "/introspect" => "oauth.introspect",
        "/revoke" => "oauth.revoke",
        "/userinfo" => "oidc.userinfo",
        "/logout" => "oidc.logout",
        "/upstream/callback" => "oidc.upstream.callback",
        "/upstream/logout" => "oidc.upstream.logout",
        "/launches" => "smart.launch.create",
        "/launches/end-session" => "smart.launch.end_session",
        "/jwks" => "oauth.jwks",
        path if path.starts_with("/start/") => "smart.launch.start",
        path if path.starts_with("/interaction") => "oauth.authorize.interaction",
        path if path.starts_with("/gateway/") => "gateway",
        path if path.contains("/.well-known/") => "discovery",
        _ => PAGE,
    }
}
