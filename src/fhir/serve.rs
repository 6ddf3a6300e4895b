//! One request from its first line to its last header. fhir-server.md §2.

mod page;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;

use super::access::{Access, Action, Decision, Denied, Ground, On};
use super::context::AccessContext;
use super::data::{Data, Snapshot};
use super::discovery::{SmartConfiguration, capability_statement};
use super::introspect::{Introspector, check_binding, read_authorization};
use super::journal::{Entry, Journal};
use super::refusal::Refusal;
use super::resource::{Key, Resource};
use super::route::{Interaction, Route};
use super::search::cursor::Cursors;
use super::search::{Query, names_a_person};
use super::table::TypeRow;
use super::wire::{self, FHIR_JSON};
use super::{FhirConfig, FhirError};
use crate::protocol::ids::FhirId;
use crate::random::Random;
use crate::secret::Digest;
use crate::time::Clock;

/// The largest body that is read, in bytes. DESIGN, "FHIR mock".
const MAX_BODY: usize = 16 * 1024 * 1024;

/// One FHIR server.
pub struct Server {
    pub config: FhirConfig,
    pub data: Data,
    pub introspector: Introspector,
    pub journal: Journal,
    pub ops_token: Digest,
    smart: SmartConfiguration,
    cursors: Cursors,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// The path of the base without a trailing slash.
    under: String,
}

/// What the journal is told about a request.
#[derive(Default)]
struct Note {
    context: Option<Arc<AccessContext>>,
    decision: &'static str,
    reason: String,
}

impl Note {
    fn set(&mut self, decision: &'static str, reason: impl Into<String>) {
        self.decision = decision;
        self.reason = reason.into();
    }

    fn allowed(&mut self, ground: &Ground) {
        let reason = match ground {
            Ground::Scope(scope) => scope.clone(),
            Ground::OwnUser => "it is the user's own".to_owned(),
            Ground::Supporting => "something visible refers to it".to_owned(),
        };
        self.set("allow", reason);
    }
}

type Pairs = Vec<(String, String)>;

impl Server {
    pub fn new(config: FhirConfig, http: reqwest::Client, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, FhirError> {
        let data = Data::new(Snapshot::load(&config.data, &config.base)?);
        let under = url::Url::parse(config.base.as_str()).map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        Ok(Self {
            data,
            introspector: Introspector::new(&config, http.clone(), Arc::clone(&clock)),
            smart: SmartConfiguration::new(&config.issuer, http, Arc::clone(&clock)),
            journal: Journal::default(),
            cursors: Cursors::default(),
            ops_token: config.ops_token.digest(),
            clock,
            random,
            under,
            config,
        })
    }

    async fn handle(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let route = Route::of(parts.uri.path(), &self.under);
        let request_id = wire::request_id(&parts.headers, &*self.random);
        let preflight = parts.method == Method::OPTIONS;
        let mut note = Note::default();
        let answered = if preflight { Ok(self.options(&route)) } else { self.answer(&route, &parts, body, &mut note).await };
        let mut response = answered.unwrap_or_else(|refusal| {
            // Access may have been open and the request still no good.
            if matches!(note.decision, "" | "allow") {
                note.set("refuse", refusal.to_string());
            }
            refusal.into_response()
        });
        let headers = response.headers_mut();
        wire::cors(&parts.headers, headers, route.audience(), &self.config.cors_origins, preflight);
        if !route.is_public() {
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        }
        headers.insert(wire::REQUEST_ID, request_id.clone());
        if !preflight {
            self.note(&parts, &route, response.status(), &request_id, note);
        }
        response
    }

    fn note(&self, parts: &Parts, route: &Route, status: StatusCode, request_id: &HeaderValue, note: Note) {
        let context = note.context.as_deref();
        let entry = Entry {
            at: 0,
            request_id: request_id.to_str().unwrap_or_default().to_owned(),
            method: parts.method.to_string(),
            route: route.template(),
            status: status.as_u16(),
            client_id: context.map(|context| context.client_id.clone()),
            scopes: context.map(|context| context.scopes.clone()),
            decision: if note.decision.is_empty() { "allow" } else { note.decision },
            reason: note.reason,
        };
        tracing::info!(
            method = entry.method,
            route = entry.route,
            status = entry.status,
            decision = entry.decision,
            reason = entry.reason,
            request_id = entry.request_id
        );
        self.journal.add(entry, self.clock.now());
    }

    fn options(&self, route: &Route) -> Response {
        (StatusCode::NO_CONTENT, [(ALLOW, route.allow())]).into_response()
    }

    async fn answer(&self, route: &Route, parts: &Parts, body: Body, note: &mut Note) -> Result<Response, Refusal> {
        if *route == Route::Unknown {
            return Err(Refusal::UnknownPath);
        }
        let query: Pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        if route.is_public() {
            return match route.interaction(&parts.method)? {
                Interaction::Capabilities => self.capabilities(parts, &query).await,
                Interaction::SmartConfiguration => self.smart_configuration().await,
                Interaction::Read(..) | Interaction::Search(_) | Interaction::SearchCompartment(..) | Interaction::SearchByPost(_) => Err(Refusal::UnknownPath),
            };
        }
        let context = self.authorize(parts, &query).await?;
        note.context = Some(Arc::clone(&context));
        match route.interaction(&parts.method)? {
            Interaction::Capabilities | Interaction::SmartConfiguration => Err(Refusal::UnknownPath),
            Interaction::Read(row, id) => self.read(row, &id, &context, parts, &query, note),
            Interaction::Search(row) => {
                wire::check_format(&parts.headers, &query)?;
                self.keep_identity_out_of_urls(&query)?;
                self.search(row, &query, &context, parts, note)
            }
            Interaction::SearchCompartment(patient, row) => {
                wire::check_format(&parts.headers, &query)?;
                self.keep_identity_out_of_urls(&query)?;
                self.search_within(&patient, row, &query, &context, parts, note)
            }
            Interaction::SearchByPost(row) => {
                wire::check_format(&parts.headers, &query)?;
                let pairs = read_form(parts, body, query).await?;
                self.search(row, &pairs, &context, parts, note)
            }
        }
    }

    fn keep_identity_out_of_urls(&self, query: &Pairs) -> Result<(), Refusal> {
        let named = self.config.switches.refuse_national_id_in_url && query.iter().any(|(_, value)| names_a_person(value));
        if named { Err(Refusal::IdentityInUrl) } else { Ok(()) }
    }

    /// Only the `Authorization` header carries a token. SAL-216: without it the request is simply not authenticated (RFC 6750 §3); with it,
    /// a second token in the query is a malformed request (§3.1).
    async fn authorize(&self, parts: &Parts, query: &Pairs) -> Result<Arc<AccessContext>, Refusal> {
        let (scheme, token) = read_authorization(&parts.headers)?;
        if query.iter().any(|(name, _)| name == "access_token") {
            return Err(Refusal::TwoTokens);
        }
        let context = self.introspector.context(&token).await?;
        check_binding(scheme, &context).map_err(Refusal::Token)?;
        Ok(context)
    }

    async fn capabilities(&self, parts: &Parts, query: &Pairs) -> Result<Response, Refusal> {
        wire::check_format(&parts.headers, query)?;
        // What this server can do does not depend on the authorization server being up.
        let smart = self.smart.get().await.ok();
        let statement = capability_statement(&self.config.base, smart.as_deref().map(|document| &document.value));
        Ok(json_response(StatusCode::OK, statement.to_string().into_bytes(), query))
    }

    async fn smart_configuration(&self) -> Result<Response, Refusal> {
        let document = self.smart.get().await?;
        Ok(([(CONTENT_TYPE, "application/json")], document.text.clone()).into_response())
    }

    fn read(&self, row: &'static TypeRow, id: &str, context: &AccessContext, parts: &Parts, query: &Pairs, note: &mut Note) -> Result<Response, Refusal> {
        let data = self.data.snapshot();
        let access = Access::new(context, &data, &self.config.base, self.config.switches.policy);
        let found = FhirId::parse(id).ok().and_then(|id| data.get(&Key { kind: row.name, id: id.as_str().into() }));
        let decision = access.decide(Action::Read, found.map_or(On::Type(row), |resource| On::Resource(resource)));
        match (decision, found) {
            (Decision::Deny(Denied::Scope(scope)), _) => {
                note.set("deny", format!("no scope covers this; {scope} would"));
                Err(Refusal::Scope { scope })
            }
            (Decision::Hide, _) => {
                note.set("hide", "the resource is outside what the token reaches");
                Err(Refusal::NotFound)
            }
            (Decision::Allow(_), None) => Err(Refusal::NotFound),
            (Decision::Allow(ground), Some(resource)) => {
                note.allowed(&ground);
                self.serve(resource, context, &data, parts, query)
            }
        }
    }

    fn serve(&self, resource: &Resource, context: &AccessContext, data: &Snapshot, parts: &Parts, query: &Pairs) -> Result<Response, Refusal> {
        let raw = raw_content(resource).filter(|(kind, _)| wire::wants_raw(&parts.headers, query, kind));
        if raw.is_none() {
            wire::check_format(&parts.headers, query)?;
        }
        let mut response = if wire::is_known(&parts.headers, resource) {
            StatusCode::NOT_MODIFIED.into_response()
        } else if let Some((kind, bytes)) = raw {
            let mut response = bytes.into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::try_from(kind).map_err(|_| Refusal::NotAcceptable)?);
            headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        } else {
            let json = self.config.switches.serve(&context.client_id, resource, data, &self.config.base);
            let subset = Query::subset_of_read(query)?;
            json_response(StatusCode::OK, subset.of(resource.row.name, resource.row.name, json), query)
        };
        let headers = response.headers_mut();
        if let Ok(etag) = HeaderValue::try_from(resource.etag()) {
            headers.insert(ETAG, etag);
        }
        if let Some(at) = wire::http_date(resource.last_updated) {
            headers.insert(LAST_MODIFIED, at);
        }
        Ok(response)
    }
}

/// The content of a Binary and its type.
fn raw_content(resource: &Resource) -> Option<(&str, Vec<u8>)> {
    use base64::Engine as _;
    if resource.row.name != "Binary" {
        return None;
    }
    let text = |name: &str| resource.body.get(name).and_then(Value::as_str);
    Some((text("contentType")?, base64::engine::general_purpose::STANDARD.decode(text("data")?).ok()?))
}

/// `_pretty=true` is for people: the text is read and written again.
fn json_response(status: StatusCode, json: impl Into<bytes::Bytes>, pairs: &[(String, String)]) -> Response {
    let mut json: bytes::Bytes = json.into();
    let pretty = pairs.iter().any(|(name, value)| name == "_pretty" && value == "true");
    if let Some(text) = pretty.then(|| serde_json::from_slice::<Value>(&json).ok()).flatten().and_then(|value| serde_json::to_vec_pretty(&value).ok()) {
        json = text.into();
    }
    (status, [(CONTENT_TYPE, FHIR_JSON)], json).into_response()
}

/// The parameters of the query and of the body together: both count.
async fn read_form(parts: &Parts, body: Body, mut query: Pairs) -> Result<Pairs, Refusal> {
    let kind = parts.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let bytes = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| Refusal::TooLarge)?;
    let is_form = kind.is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")));
    if !is_form && !bytes.is_empty() {
        return Err(Refusal::MediaType);
    }
    let form = std::str::from_utf8(&bytes).map_err(|_| Refusal::Body)?;
    query.extend(form_urlencoded::parse(form.as_bytes()).into_owned());
    // The header already carried one. RFC 6750 §2.
    if query.iter().any(|(name, _)| name == "access_token") { Err(Refusal::TwoTokens) } else { Ok(query) }
}

/// The public router: everything goes through one door, so that every answer looks like FHIR.
pub fn router(server: Arc<Server>) -> Router {
    let handle = |State(server): State<Arc<Server>>, request: Request| async move { server.handle(request).await };
    Router::new().fallback(handle).with_state(server).layer(CatchPanicLayer::custom(|_| Refusal::Internal.into_response()))
}
