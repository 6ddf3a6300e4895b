//! One request from its first line to its last header. fhir-server.md §2.

mod batch;
mod body;
mod change;
mod page;
mod read;
mod validate;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;

use super::access::Ground;
use super::audit::{self, Audit};
use super::clinician::Clinician;
use super::context::{AccessContext, Binding};
use super::data::{Data, Snapshot};
use super::discovery::{SmartConfiguration, capability_statement, protected_resource};
use super::dpop::{self, Proofs};
use super::faults::{Effect, Faults};
use super::introspect::{Introspector, check_binding, read_authorization};
use super::journal::{Entry, Journal};
use super::overlay::{For, Switches};
use super::refusal::{Refusal, TokenFault, Upstream};
use super::resource::Resource;
use super::route::{Interaction, Route};
use super::search::cursor::Cursors;
use super::search::names_a_person;
use super::table::TypeRow;
use super::wire::{self, Audience, FHIR_JSON};
use super::write::Payload;
use super::{FhirConfig, FhirError};
use crate::protocol::dpop::Scheme;
use crate::random::Random;
use crate::secret::Digest;
use crate::time::Clock;

/// One FHIR server.
pub struct Server {
    pub config: FhirConfig,
    pub data: Data,
    pub introspector: Introspector,
    pub proofs: Proofs,
    pub journal: Journal,
    pub audit: Audit,
    pub faults: Faults,
    pub ops_token: Digest,
    switches: ArcSwap<Switches>,
    smart: SmartConfiguration,
    cursors: Cursors,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// The path of the base without a trailing slash.
    under: String,
    /// Where RFC 9728 metadata is, as challenges name it.
    metadata_url: String,
}

/// What the journal is told about a request.
#[derive(Default)]
struct Note {
    context: Option<Arc<AccessContext>>,
    decision: &'static str,
    reason: Cow<'static, str>,
    interaction: Option<Interaction>,
    /// The id the server gave what was created.
    created: Option<String>,
    /// Whose the resource is that was disclosed or changed, where it is somebody's.
    about: Option<Arc<[Arc<str>]>>,
    /// Whose resources a search or a history showed: each has an event of their own, for nobody else's may stand in a patient's log.
    disclosed: BTreeSet<Arc<str>>,
}

impl Note {
    fn set(&mut self, decision: &'static str, reason: impl Into<Cow<'static, str>>) {
        self.decision = decision;
        self.reason = reason.into();
    }

    fn disclose<'a>(&mut self, shown: impl IntoIterator<Item = &'a Resource>) {
        self.disclosed.extend(shown.into_iter().flat_map(|resource| resource.patients()).flat_map(|all| all.iter().cloned()));
    }

    /// The patients of each event that this leaves.
    fn patients(&mut self, context: &AccessContext) -> Vec<Arc<[Arc<str>]>> {
        match self.about.take() {
            Some(about) => vec![about],
            None if self.disclosed.is_empty() => vec![context.patient.iter().cloned().collect()],
            None => std::mem::take(&mut self.disclosed).into_iter().map(|patient| Arc::from([patient])).collect(),
        }
    }

    fn allowed(&mut self, ground: &Ground) {
        match ground {
            Ground::Scope(scope) => self.set("allow", scope.clone()),
            Ground::OwnUser => self.set("allow", "it is the user's own"),
            Ground::Supporting => self.set("allow", "something visible refers to it"),
        }
    }
}

type Pairs = Vec<(String, String)>;

impl Server {
    pub fn new(config: FhirConfig, http: reqwest::Client, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, FhirError> {
        let data = Data::new(Snapshot::load(&config.data, &config.base)?, config.kept.as_ref(), &config.base)?;
        let url = url::Url::parse(config.base.as_str());
        let under = url.as_ref().map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        // RFC 9728 §3.1
        let origin = config.base.as_str().strip_suffix(under.as_str()).unwrap_or_default();
        let metadata_url = format!("{origin}/.well-known/oauth-protected-resource{under}");
        Ok(Self {
            data,
            introspector: Introspector::new(&config, http.clone(), Arc::clone(&clock)),
            proofs: Proofs::new(&*random),
            smart: SmartConfiguration::new(&config.issuer, http, Arc::clone(&clock)),
            journal: Journal::default(),
            audit: Audit::new(&*random),
            faults: Faults::default(),
            switches: ArcSwap::from_pointee(config.switches.clone()),
            metadata_url,
            cursors: Cursors::default(),
            ops_token: config.ops_token.digest(),
            clock,
            random,
            under,
            config,
        })
    }

    /// The switches as they stand now.
    pub fn switches(&self) -> Arc<Switches> {
        self.switches.load_full()
    }

    /// The clinician who decides about tasks.
    pub fn clinician(&self) -> Clinician<'_> {
        Clinician { data: &self.data, audit: &self.audit, base: &self.config.base, random: &*self.random, now: self.clock.now() }
    }

    pub fn turn(&self, switches: Switches) {
        self.switches.store(Arc::new(switches));
    }

    async fn handle(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let mut body = Some(body);
        let route = Route::of(parts.uri.path(), &self.under);
        let request_id = wire::request_id(&parts.headers, &*self.random);
        let preflight = parts.method == Method::OPTIONS;
        let mut note = Note::default();
        let fault = if preflight { Effect::default() } else { self.faults.meet(parts.method.as_str(), route.kind()) };
        if fault.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
        }
        let answered = match fault.status.and_then(|status| StatusCode::from_u16(status).ok()) {
            _ if preflight => Ok(self.options(&route)),
            Some(status) => Err(Refusal::Fault(status)),
            None => self.answer(&route, &parts, &mut body, &fault, &mut note).await,
        };
        if let Some(unread) = body {
            body::discard(&parts, unread).await;
        }
        let mut response = answered.unwrap_or_else(|refusal| note.refused(refusal));
        self.point_to_metadata(&mut response);
        let headers = response.headers_mut();
        let client_id = note.context.as_deref().map(|context| context.client_id.as_str());
        let audience = if route.is_public() { Audience::Anybody } else { Audience::Registered(client_id) };
        wire::cors(&parts.headers, headers, audience, &self.config.cors_origins, preflight);
        if !route.is_public() {
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        }
        headers.insert(wire::REQUEST_ID, request_id.clone());
        if !preflight {
            self.note(parts.method, route, response.status(), request_id, note);
        }
        if fault.drop || fault.malformed { spoil(response, &fault).await } else { response }
    }

    /// RFC 9728 §5.1
    fn point_to_metadata(&self, response: &mut Response) {
        if response.status() != StatusCode::UNAUTHORIZED {
            return;
        }
        let headers = response.headers_mut();
        // Where no bearer token is taken, none is asked for.
        if self.switches().dpop_required == For::Everybody && headers.get_all(WWW_AUTHENTICATE).iter().count() > 1 {
            let bound: Vec<HeaderValue> = headers.get_all(WWW_AUTHENTICATE).iter().filter(|value| value.as_bytes().starts_with(b"DPoP ")).cloned().collect();
            headers.remove(WWW_AUTHENTICATE);
            for challenge in bound {
                headers.append(WWW_AUTHENTICATE, challenge);
            }
        }
        rewrite_challenges(response, |challenge| format!(r#"{challenge}, resource_metadata="{}""#, self.metadata_url));
    }

    fn note(&self, method: Method, route: Route, status: StatusCode, request_id: HeaderValue, mut note: Note) {
        let at = self.clock.now();
        let decision = if note.decision.is_empty() { "allow" } else { note.decision };
        tracing::info!(
            %method,
            route = %format_args!("{}", route.template()),
            status = status.as_u16(),
            decision,
            reason = &*note.reason,
            request_id = request_id.to_str().unwrap_or_default()
        );
        if let (Some(context), Some(interaction)) = (note.context.clone(), note.interaction.take()) {
            let (code, row) = interaction.told();
            // What was refused is named by its type alone.
            let id = if decision == "allow" { note.created.take().or_else(|| interaction.id().map(str::to_owned)) } else { None };
            let (kind, status) = (row.map(|row| row.name), status.as_u16());
            for patients in note.patients(&context) {
                self.audit.add(audit::Access { at, context: Arc::clone(&context), interaction: code, patients, kind, id: id.clone(), status });
            }
        }
        self.journal.add(Entry { at, request_id, method, route, status, context: note.context, decision, reason: note.reason });
    }

    fn options(&self, route: &Route) -> Response {
        (StatusCode::NO_CONTENT, [(ALLOW, route.allow())]).into_response()
    }

    /// Takes the body where it is read.
    async fn answer(&self, route: &Route, parts: &Parts, body: &mut Option<Body>, fault: &Effect, note: &mut Note) -> Result<Response, Refusal> {
        if *route == Route::Unknown {
            return Err(Refusal::UnknownPath);
        }
        let query: Pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        if route.is_public() {
            return match route.interaction(&parts.method)? {
                Interaction::SmartConfiguration => self.smart_configuration(parts).await,
                Interaction::ProtectedResource => self.protected_resource(parts).await,
                _ => self.capabilities(parts, &query).await,
            };
        }
        let context = self.authorize(parts, &query, fault).await?;
        note.context = Some(Arc::clone(&context));
        let interaction = route.interaction(&parts.method)?;
        note.interaction = Some(interaction.clone());
        let payload = match body.take_if(|_| interaction.takes_body()) {
            Some(body) => body::read(parts, body, body::TIME).await?,
            None => Bytes::new(),
        };
        self.interact(&interaction, parts, query, Payload::Bytes(payload), &context, note).await
    }

    /// What is asked for, with a token that is good. Entries of a batch come in here too.
    async fn interact(
        &self,
        interaction: &Interaction,
        parts: &Parts,
        query: Pairs,
        payload: Payload,
        context: &AccessContext,
        note: &mut Note,
    ) -> Result<Response, Refusal> {
        self.keep_identity_out_of_urls(&query)?;
        match interaction {
            Interaction::Capabilities | Interaction::SmartConfiguration | Interaction::ProtectedResource => Err(Refusal::UnknownPath),
            Interaction::Read(row, id) => self.read(row, id, context, parts, &query, note),
            Interaction::ReadVersion(row, id, version) => self.read_version(row, id, version, context, parts, &query, note),
            Interaction::History(row, id) => self.history(row, id, context, parts, &query, note),
            Interaction::Search(row) => {
                wire::check_format(&parts.headers, &query)?;
                self.search(row, &query, context, parts, note)
            }
            Interaction::SearchCompartment(patient, row) => {
                wire::check_format(&parts.headers, &query)?;
                self.search_within(patient, row, &query, context, parts, note)
            }
            Interaction::SearchByPost(row) => {
                let pairs = body::read_form(parts, payload, query)?;
                wire::check_format(&parts.headers, &pairs)?;
                self.search(row, &pairs, context, parts, note)
            }
            Interaction::Create(row) => self.create(row, parts, &query, payload, context, note).await,
            Interaction::Update(row, id) => self.update(row, id, parts, &query, payload, context, note).await,
            Interaction::ConditionalUpdate(row) => self.update_match(row, parts, &query, payload, context, note).await,
            Interaction::Delete(row, id) => self.delete(row, id, parts, &query, context, note).await,
            Interaction::Validate(row, id) => self.validate(row, id.as_deref(), parts, &query, payload, context, note),
            Interaction::Batch => self.batch(parts, &query, payload, context, note).await,
            Interaction::BatchAtBundle => self.batch_at_bundle(parts, &query, payload, context, note).await,
        }
    }

    fn keep_identity_out_of_urls(&self, query: &Pairs) -> Result<(), Refusal> {
        let named = self.switches().refuse_national_id_in_url && query.iter().any(|(_, value)| names_a_person(value));
        if named { Err(Refusal::IdentityInUrl) } else { Ok(()) }
    }

    /// The resources of this moment; for the log with what was logged.
    fn snapshot_for(&self, row: &TypeRow) -> Arc<Snapshot> {
        let data = self.data.snapshot();
        if row.name == "AuditEvent" { Arc::new(self.audit.over(&data, &self.config.base)) } else { data }
    }

    /// Only the `Authorization` header carries a token. SAL-216: without it the request is simply not authenticated (RFC 6750 §3); with it,
    /// a second token in the query is a malformed request (§3.1).
    async fn authorize(&self, parts: &Parts, query: &Pairs, fault: &Effect) -> Result<Arc<AccessContext>, Refusal> {
        let (scheme, token) = read_authorization(&parts.headers)?;
        if query.iter().any(|(name, _)| name == "access_token") {
            return Err(Refusal::TwoTokens);
        }
        let asked = if fault.stale_introspection { self.introspector.stale_context(&token).await } else { self.introspector.context(&token).await };
        let context = asked.map_err(|refusal| match (scheme, refusal) {
            (Scheme::DPoP, Refusal::Token(fault)) => Refusal::BoundToken(fault),
            (_, refusal) => refusal,
        })?;
        let switches = self.switches();
        let bound = check_binding(scheme, &context, switches.dpop_required.holds(&context.client_id)).map_err(|fault| {
            if fault == TokenFault::MustBeBound {
                tracing::info!(switch = "dpop_required", client_id = &*context.client_id, "a token without a key was refused");
            }
            Refusal::BoundToken(fault)
        });
        if let Some(jkt) = bound? {
            let origin = self.config.base.as_str().strip_suffix(self.under.as_str()).unwrap_or_default();
            let url = format!("{origin}{}", parts.uri.path());
            let wants_nonce = switches.dpop_nonce_always;
            let request = dpop::Request { headers: &parts.headers, method: parts.method.as_str(), url: &url, token: &token, jkt, wants_nonce };
            self.proofs.check(request, self.clock.now()).map_err(|refused| match refused {
                dpop::Refused::Proof(fault) => Refusal::Proof(fault),
                dpop::Refused::OtherKey => Refusal::BoundToken(TokenFault::OtherKey),
                dpop::Refused::Nonce(nonce) => Refusal::Nonce(nonce),
                dpop::Refused::Full => Refusal::Unavailable(Upstream::Proofs),
            })?;
        }
        Ok(context)
    }

    async fn capabilities(&self, parts: &Parts, query: &Pairs) -> Result<Response, Refusal> {
        wire::check_format(&parts.headers, query)?;
        // What this server can do does not depend on the authorization server being up.
        let smart = self.smart.get().await.ok();
        let statement = capability_statement(&self.config.base, smart.as_deref().map(|document| &document.value), &self.switches());
        Ok(json_response(StatusCode::OK, statement.to_string().into_bytes(), query))
    }

    async fn smart_configuration(&self, parts: &Parts) -> Result<Response, Refusal> {
        let document = self.smart.get().await?;
        Ok(wire::open_document(&parts.headers, document.text.clone(), "application/json"))
    }

    async fn protected_resource(&self, parts: &Parts) -> Result<Response, Refusal> {
        let smart = self.smart.get().await.ok();
        let document = protected_resource(&self.config, smart.as_deref().map(|document| &document.value), &self.switches());
        Ok(wire::open_document(&parts.headers, document.to_string().into(), "application/json"))
    }
}

impl Note {
    /// Writes down why, and answers.
    fn refused(&mut self, refusal: Refusal) -> Response {
        match &refusal {
            Refusal::Scope { scope } => self.set("deny", format!("no scope covers this; {scope} would")),
            Refusal::Outside => self.set("deny", refusal.to_string()),
            Refusal::NotFound if self.decision.is_empty() => self.set("hide", "the resource is outside what the token reaches"),
            // Access may have been open and the request still no good.
            _ if matches!(self.decision, "" | "allow") => self.set("refuse", refusal.to_string()),
            _ => {}
        }
        let mut response = refusal.into_response();
        // RFC 9449 §7.1: what is said of a token is said under the scheme it came with.
        if self.context.as_ref().is_some_and(|context| matches!(context.binding, Binding::Key(_))) {
            rewrite_challenges(&mut response, |challenge| challenge.strip_prefix("Bearer ").map_or(challenge.to_owned(), |rest| format!("DPoP {rest}")));
        }
        response
    }
}

/// Each line of `WWW-Authenticate` in other words.
fn rewrite_challenges(response: &mut Response, change: impl Fn(&str) -> String) {
    let headers = response.headers_mut();
    let texts: Vec<String> = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).map(change).collect();
    headers.remove(WWW_AUTHENTICATE);
    for value in texts.into_iter().filter_map(|text| HeaderValue::try_from(text).ok()) {
        headers.append(WWW_AUTHENTICATE, value);
    }
}

/// The answer as the fault leaves it.
async fn spoil(response: Response, fault: &Effect) -> Response {
    let (mut parts, body) = response.into_parts();
    if fault.drop {
        // A body that fails at its first byte ends the connection before anything was sent.
        let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("a fault was asked for")) });
        return Response::from_parts(parts, Body::from_stream(broken));
    }
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(bytes.slice(..bytes.len() / 2)))
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

/// The public router: everything goes through one door, so that every answer looks like FHIR.
pub fn router(server: Arc<Server>) -> Router {
    let handle = |State(server): State<Arc<Server>>, request: Request| async move { server.handle(request).await };
    Router::new().fallback(handle).with_state(server).layer(CatchPanicLayer::custom(|_| Refusal::Internal.into_response()))
}
