//! A small authorization server and FHIR server for the tests here, written against the wire and against nothing else. It is right
//! unless it is told to be wrong in one way.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

use crate::random::{Random, SeededRandom};
use crate::secret::Digest;
use crate::time::{Clock, FixedClock, UnixTime};

pub const NOW: UnixTime = UnixTime(1_795_000_000);
pub const SECRET: &str = "hemmelig-nok-til-en-proeve";

/// One way of being wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    AcceptsUnknownPatient,
    AcceptsForeignAud,
    LosesState,
    OtherIdTokenAudience,
    ForeignSignature,
    OpaqueAccessToken,
    LeavesOutEncounter,
    LowerCaseBearer,
    ReadsOtherPatients,
    ReusesHandle,
    ReusesCode,
    ForgetsTheSecret,
    WidensRefresh,
    ContextInRefresh,
    RefreshEndsOldTokens,
    ForgetsLogout,
    MixesPatients,
    WritesForOthers,
    ChangesTheId,
    LosesDocuments,
    HidesTheLog,
    HidesTheJournal,
    GrantsNoWriting,
}

struct Grant {
    patient: String,
    encounter: Option<String>,
    fhir_user: String,
    session: Option<String>,
    scope: String,
    live: bool,
}

#[derive(Default)]
struct Memory {
    launches: HashMap<String, Value>,
    codes: HashMap<String, (usize, String)>,
    grants: Vec<Grant>,
    access: HashMap<String, usize>,
    refresh: HashMap<String, usize>,
    last_launch: Option<Value>,
    ended: Vec<String>,
    drawn: u64,
    ehr_tokens: usize,
    /// The latest last.
    documents: Vec<Value>,
}

pub struct Stub {
    pub issuer: String,
    pub fhir: String,
    pub app: String,
    pub clock: Arc<FixedClock>,
    fault: Fault,
    memory: Mutex<Memory>,
    random: SeededRandom,
}

type App = State<Arc<Stub>>;

static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

/// Serves a router on a free port and gives its origin.
pub async fn serve(listener: tokio::net::TcpListener, router: Router) {
    tokio::spawn(async move { axum::serve(listener, router).await });
}

pub async fn free_port() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    (listener, origin)
}

impl Stub {
    /// Starts it for an app at `app`.
    pub async fn start(app: &str, fault: Fault) -> Arc<Self> {
        let (listener, issuer) = free_port().await;
        let stub = Arc::new(Self {
            fhir: format!("{issuer}/fhir"),
            issuer,
            app: app.to_owned(),
            clock: Arc::new(FixedClock::at(NOW)),
            fault,
            memory: Mutex::default(),
            random: SeededRandom::new(7),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/fhir/.well-known/smart-configuration", get(metadata))
            .route("/jwks", get(jwks))
            .route("/launches", post(launches))
            .route("/launches/end-session", post(end_session))
            .route("/start/{handle}", get(start))
            .route("/authorize", get(authorize))
            .route("/allow", post(allow))
            .route("/token", post(token))
            .route("/introspect", post(introspect))
            .route("/fhir/{kind}", get(search))
            .route("/fhir/{kind}/{id}", get(read).put(write))
            .with_state(stub.clone());
        serve(listener, router).await;
        stub
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The last context that was handed over.
    pub fn last_launch(&self) -> Value {
        self.memory.lock().unwrap().last_launch.clone().unwrap_or_default()
    }

    /// The EPJ sessions whose end was told.
    pub fn ended(&self) -> Vec<String> {
        self.memory.lock().unwrap().ended.clone()
    }

    /// What was written, the latest last.
    pub fn documents(&self) -> Vec<Value> {
        self.memory.lock().unwrap().documents.clone()
    }

    /// Something arrives in the journal now.
    pub fn arrives(&self, mut document: Value) {
        document["meta"] = json!({ "lastUpdated": jiff::Timestamp::from_second(self.clock.now().0).unwrap().to_string() });
        self.memory.lock().unwrap().documents.push(document);
    }

    /// How often the EPJ asked for a token.
    pub fn ehr_tokens(&self) -> usize {
        self.memory.lock().unwrap().ehr_tokens
    }

    fn sign(&self, key: &KeyPair, typ: &str, claims: &Value) -> String {
        let header = json!({ "alg": "RS256", "typ": typ, "kid": "k1" });
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn answer(&self, memory: &mut Memory, at: usize, refreshed: bool) -> Value {
        let now = self.clock.now().0;
        memory.drawn += 1;
        let claims = json!({ "iss": self.issuer, "sub": "u1", "aud": self.fhir, "iat": now, "exp": now + 3600, "jti": memory.drawn.to_string(), "client_id": "syk-inn" });
        let access = if self.is(Fault::OpaqueAccessToken) { format!("opaque-{}", memory.drawn) } else { self.sign(&KEY, "at+jwt", &claims) };
        memory.access.insert(access.clone(), at);
        let grant = &memory.grants[at];
        let kind = if self.is(Fault::LowerCaseBearer) { "bearer" } else { "Bearer" };
        let mut said = json!({ "access_token": access, "token_type": kind, "expires_in": 3600, "scope": grant.scope });
        if !refreshed || self.is(Fault::ContextInRefresh) {
            said["patient"] = json!(grant.patient);
            if !self.is(Fault::LeavesOutEncounter) {
                said["encounter"] = json!(grant.encounter);
            }
            said["need_patient_banner"] = json!(false);
        }
        if !refreshed {
            let aud = if self.is(Fault::OtherIdTokenAudience) { "another-app" } else { "syk-inn" };
            let id = json!({ "iss": self.issuer, "sub": "u1", "aud": aud, "iat": now, "exp": now + 3600, "fhirUser": grant.fhir_user,
                "https://helseid.nhn.no": { "access_token": "never-shown", "issuer": "https://helseid.example", "scope": "nhn:x", "expires_in": 300 } });
            let key = if self.is(Fault::ForeignSignature) { &OTHER_KEY } else { &KEY };
            said["id_token"] = json!(self.sign(key, "JWT", &id));
            let refresh = self.random.token().expose().clone();
            memory.refresh.insert(refresh.clone(), at);
            said["refresh_token"] = json!(refresh);
        }
        said
    }
}

fn pairs(text: &str) -> HashMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn refused(status: u16, code: &str) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"x\"")];
    (StatusCode::from_u16(status).unwrap(), challenge, Json(json!({ "error": code, "error_description": "as told" }))).into_response()
}

fn basic_of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?.to_owned();
    let pair = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    (secret == SECRET).then(|| id.to_owned())
}

fn bearer_of(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned())
}

async fn metadata(State(stub): App) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", stub.issuer);
    Json(json!({ "issuer": stub.issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"), "jwks_uri": at("/jwks"),
        "introspection_endpoint": at("/introspect"), "response_types_supported": ["code"], "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"], "capabilities": ["launch-ehr"],
        "grant_types_supported": ["authorization_code", "refresh_token"] }))
}

async fn jwks() -> Json<Value> {
    let public = rsa::RsaPublicKey::from_pkcs1_der(KEY.public_key().as_ref()).unwrap();
    let text = |number: &rsa::BigUint| URL_SAFE_NO_PAD.encode(number.to_bytes_be());
    Json(json!({ "keys": [ { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "n": text(public.n()), "e": text(public.e()) } ] }))
}

async fn launches(State(stub): App, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if bearer_of(&headers).as_deref() != Some("epj-token") {
        return refused(401, "invalid_token");
    }
    let patient = body["patient"].as_str().unwrap().to_owned();
    if !["p1", "p2"].contains(&patient.as_str()) && !stub.is(Fault::AcceptsUnknownPatient) {
        let said = json!({ "error": "invalid_launch", "error_description": "no such Patient", "member": "patient" });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(said)).into_response();
    }
    let handle = stub.random.token().expose().clone();
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("iss", &stub.fhir).append_pair("launch", &handle).finish();
    let mut memory = stub.memory.lock().unwrap();
    memory.last_launch = Some(body.clone());
    memory.launches.insert(handle.clone(), body);
    let said = json!({ "launch": handle, "iss": stub.fhir, "launch_url": format!("{}/fhir/launch?{query}", stub.app),
        "start_url": format!("{}/start/{handle}", stub.issuer), "expires_at": stub.clock.now().0 + 60 });
    (StatusCode::CREATED, Json(said)).into_response()
}

async fn end_session(State(stub): App, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if bearer_of(&headers).as_deref() != Some("epj-token") {
        return refused(401, "invalid_token");
    }
    let session = body["session"].as_str().map(str::to_owned);
    stub.memory.lock().unwrap().ended.extend(session.clone());
    if !stub.is(Fault::ForgetsLogout) {
        stub.memory.lock().unwrap().grants.iter_mut().filter(|grant| grant.session == session).for_each(|grant| grant.live = false);
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn start(State(stub): App, Path(handle): Path<String>) -> Response {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("iss", &stub.fhir).append_pair("launch", &handle).finish();
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, HeaderValue::try_from(format!("{}/fhir/launch?{query}", stub.app)).unwrap());
    headers.insert(header::SET_COOKIE, HeaderValue::from_static("stub=1; Path=/; HttpOnly"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (StatusCode::SEE_OTHER, headers).into_response()
}

async fn authorize(State(stub): App, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let asked = pairs(&query);
    if asked.get("redirect_uri") != Some(&format!("{}/fhir/callback", stub.app)) {
        return (StatusCode::BAD_REQUEST, Html("<p>no")).into_response();
    }
    assert!(headers.get(header::COOKIE).is_some_and(|cookies| cookies.to_str().unwrap().contains("stub=1")), "the browser brings its cookie");
    let body = stub.memory.lock().unwrap().launches.get(asked.get("launch").map_or("", |launch| launch)).cloned();
    // For the second patient somebody has to press a button.
    if body.is_some_and(|body| body["patient"] == "p2") {
        return Html(format!(
            "<form method=post action=/allow><input type=hidden name=query value=\"{}\"><button>Ja</button></form>",
            query.replace('&', "&amp;")
        ))
        .into_response();
    }
    decide(&stub, &asked)
}

async fn allow(State(stub): App, body: String) -> Response {
    decide(&stub, &pairs(&pairs(&body)["query"]))
}

fn decide(stub: &Stub, asked: &HashMap<String, String>) -> Response {
    let mut memory = stub.memory.lock().unwrap();
    let aud_ok = asked["aud"] == stub.fhir || stub.is(Fault::AcceptsForeignAud);
    let launch =
        if stub.is(Fault::ReusesHandle) || !aud_ok { memory.launches.get(&asked["launch"]).cloned() } else { memory.launches.remove(&asked["launch"]) };
    let mut back = form_urlencoded::Serializer::new(String::new());
    let state = if stub.is(Fault::LosesState) { "lost" } else { &asked["state"] };
    back.append_pair("state", state).append_pair("iss", &stub.issuer);
    match launch.filter(|_| aud_ok) {
        None => back.append_pair("error", "invalid_request"),
        Some(body) => {
            let text = |name: &str| body[name].as_str().map(str::to_owned);
            let scope: Vec<&str> = asked["scope"]
                .split(' ')
                .filter(|scope| !(scope.contains("Questionnaire") || stub.is(Fault::GrantsNoWriting) && scope.contains(".write")))
                .collect();
            memory.grants.push(Grant {
                patient: if stub.is(Fault::MixesPatients) { "p1".into() } else { text("patient").unwrap() },
                encounter: text("encounter"),
                fhir_user: text("fhir_user").unwrap(),
                session: text("session"),
                scope: scope.join(" "),
                live: true,
            });
            let code = stub.random.token().expose().clone();
            let at = memory.grants.len() - 1;
            memory.codes.insert(code.clone(), (at, asked["code_challenge"].clone()));
            back.append_pair("code", &code)
        }
    };
    (StatusCode::FOUND, [(header::LOCATION, format!("{}/fhir/callback?{}", stub.app, back.finish()))]).into_response()
}

async fn token(State(stub): App, headers: HeaderMap, body: Bytes) -> Response {
    let asked = pairs(std::str::from_utf8(&body).unwrap());
    let client = if stub.is(Fault::ForgetsTheSecret) { Some("syk-inn".into()) } else { basic_of(&headers) };
    let no_store = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
    if asked["grant_type"] == "client_credentials" && asked.contains_key("client_assertion") {
        let payload = asked["client_assertion"].split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        let left = claims["exp"].as_i64().unwrap() - stub.clock.now().0;
        let good = claims["iss"] == "epj-journal" && claims["sub"] == claims["iss"] && claims["aud"] == format!("{}/token", stub.issuer) && left <= 300;
        if !good || asked["scope"] != "system/DocumentReference.rs system/AuditEvent.rs" {
            return refused(401, "invalid_client");
        }
        let said = json!({ "access_token": "journal-token", "token_type": "Bearer", "expires_in": 300, "scope": asked["scope"] });
        return (no_store, Json(said)).into_response();
    }
    if asked["grant_type"] == "client_credentials" {
        stub.memory.lock().unwrap().ehr_tokens += 1;
        let said = json!({ "access_token": "epj-token", "token_type": "Bearer", "expires_in": 300, "scope": asked["scope"] });
        return (no_store, Json(said)).into_response();
    }
    if client.as_deref() != Some("syk-inn") {
        return refused(401, "invalid_client");
    }
    let mut memory = stub.memory.lock().unwrap();
    if asked["grant_type"] == "authorization_code" {
        let found = if stub.is(Fault::ReusesCode) { memory.codes.get(&asked["code"]).cloned() } else { memory.codes.remove(&asked["code"]) };
        let Some((at, challenge)) = found else { return refused(400, "invalid_grant") };
        if Digest::of(asked["code_verifier"].as_bytes()).text() != challenge {
            return refused(400, "invalid_grant");
        }
        return (no_store, Json(stub.answer(&mut memory, at, false))).into_response();
    }
    let at = memory.refresh.get(&asked["refresh_token"]).copied();
    let Some(at) = at.filter(|at| memory.grants[*at].live) else { return refused(400, "invalid_grant") };
    if asked.get("scope").is_some_and(|scope| scope.contains("user/")) && !stub.is(Fault::WidensRefresh) {
        return refused(400, "invalid_scope");
    }
    if stub.is(Fault::RefreshEndsOldTokens) {
        memory.access.clear();
    }
    (no_store, Json(stub.answer(&mut memory, at, true))).into_response()
}

async fn introspect(State(stub): App, headers: HeaderMap, body: String) -> Response {
    if basic_of(&headers).as_deref() != Some("fhir-server") {
        return refused(401, "invalid_client");
    }
    let memory = stub.memory.lock().unwrap();
    let grant = memory.access.get(&pairs(&body)["token"]).map(|at| &memory.grants[*at]).filter(|grant| grant.live);
    let Some(grant) = grant else { return Json(json!({ "active": false })).into_response() };
    Json(json!({ "active": true, "scope": grant.scope, "client_id": "syk-inn", "exp": stub.clock.now().0 + 3600, "patient": grant.patient,
        "encounter": grant.encounter, "fhirUser": grant.fhir_user }))
    .into_response()
}

fn outcome(status: u16) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
    (StatusCode::from_u16(status).unwrap(), challenge, Json(json!({ "resourceType": "OperationOutcome" }))).into_response()
}

fn patient_of(stub: &Stub, headers: &HeaderMap) -> Option<String> {
    let memory = stub.memory.lock().unwrap();
    let grant = &memory.grants[*memory.access.get(&bearer_of(headers)?)?];
    grant.live.then(|| grant.patient.clone())
}

async fn read(State(stub): App, Path((kind, id)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(patient) = patient_of(&stub, &headers) else { return outcome(401) };
    let number = |system: &str, value: &str| json!([{ "system": format!("urn:oid:2.16.578.1.12.4.1.4.{system}"), "value": value }]);
    let found = match (kind.as_str(), id.as_str()) {
        ("Patient", "p1") => {
            json!({ "identifier": number("1", "14839219696"), "name": [{ "family": "Fjellrev", "given": ["Tapper"] }], "birthDate": "1992-03-14" })
        }
        ("Patient", "p2") => json!({ "identifier": number("2", "42878712921"), "name": [{ "family": "Seilduk", "given": ["Munter"] }] }),
        ("Practitioner", "lege") => json!({ "identifier": number("4", "990001007"), "name": [{ "family": "Stetoskop", "given": ["Rolig"] }] }),
        ("Encounter", "e1" | "e2") => {
            let subject = format!("Patient/{}", id.replace('e', "p"));
            json!({ "status": "in-progress", "subject": { "reference": subject }, "serviceProvider": { "reference": "Organization/org" } })
        }
        ("Organization", "org") => {
            json!({ "identifier": number("101", "313000028"), "name": "Fjellbris", "telecom": [{ "system": "phone", "value": "55550100" }] })
        }
        ("DocumentReference", id) => {
            let memory = stub.memory.lock().unwrap();
            return match memory.documents.iter().find(|document| document["id"] == id) {
                Some(document) => Json(document.clone()).into_response(),
                None => outcome(404),
            };
        }
        _ => return outcome(404),
    };
    if kind == "Patient" && id != patient && !stub.is(Fault::ReadsOtherPatients) {
        return outcome(404);
    }
    let mut found = found;
    found["resourceType"] = json!(kind);
    found["id"] = json!(id);
    Json(found).into_response()
}

async fn write(State(stub): App, Path((kind, id)): Path<(String, String)>, headers: HeaderMap, Json(mut body): Json<Value>) -> Response {
    let Some(patient) = patient_of(&stub, &headers) else { return outcome(401) };
    assert_eq!((kind.as_str(), body["id"].as_str()), ("DocumentReference", Some(id.as_str())));
    assert_eq!((headers[header::CONTENT_TYPE].to_str().unwrap(), headers.get("prefer")), ("application/json", None), "NAV-093");
    if body["subject"]["reference"] != format!("Patient/{patient}") && !stub.is(Fault::WritesForOthers) {
        return outcome(403);
    }
    body["meta"] = json!({ "versionId": "1", "lastUpdated": jiff::Timestamp::from_second(stub.clock.now().0).unwrap().to_string() });
    let location = [(header::LOCATION, format!("{}/DocumentReference/{id}/_history/1", stub.fhir))];
    if !stub.is(Fault::LosesDocuments) {
        stub.memory.lock().unwrap().documents.push(body.clone());
    }
    if stub.is(Fault::ChangesTheId) {
        body["id"] = json!("another");
    }
    (StatusCode::CREATED, location, Json(body)).into_response()
}

/// Of one kind: the documents, or the log of who wrote them.
fn journal(stub: &Stub, kind: &str, query: &str) -> Response {
    let about = format!("Patient/{}", pairs(query)["patient"]);
    let memory = stub.memory.lock().unwrap();
    let found = memory.documents.iter().rev().filter(|document| document["subject"]["reference"] == about);
    let told = |document: &Value| {
        let what = format!("DocumentReference/{}", document["id"].as_str().unwrap());
        json!({ "resourceType": "AuditEvent", "outcome": "0", "agent": [{ "who": { "identifier": { "value": "syk-inn" } } }],
            "entity": [{ "what": { "reference": about } }, { "what": { "reference": what } }] })
    };
    let resources: Vec<Value> = if kind == "AuditEvent" { found.map(told).collect() } else { found.cloned().collect() };
    let entries: Vec<Value> = resources.into_iter().map(|resource| json!({ "resource": resource })).collect();
    Json(json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries })).into_response()
}

async fn search(State(stub): App, Path(kind): Path<String>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    if bearer_of(&headers).as_deref() == Some("journal-token") {
        let hidden = stub.is(Fault::HidesTheJournal) || (kind == "AuditEvent" && stub.is(Fault::HidesTheLog));
        return if hidden { outcome(403) } else { journal(&stub, &kind, &query) };
    }
    if kind == "DocumentReference" && patient_of(&stub, &headers).is_some() {
        return journal(&stub, &kind, &query);
    }
    let Some(patient) = patient_of(&stub, &headers) else { return outcome(401) };
    let coding = json!([{ "system": "urn:oid:2.16.578.1.12.4.1.1.7170", "code": "L03", "display": "Korsrygg symptomer/plager" }]);
    let condition = json!({ "resourceType": "Condition", "subject": { "reference": format!("Patient/{patient}") }, "code": { "coding": coding } });
    Json(json!({ "resourceType": "Bundle", "type": "searchset", "entry": [{ "resource": condition }] })).into_response()
}
