//! Discovery: `smart-configuration`, OpenID and RFC 8414 metadata, keys. SAL §2, §8.5; only what is true is listed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{App, cors};
use crate::domain::authorization::{Prompt, ResponseMode};
use crate::domain::dpop;
use crate::domain::issuer::{IssuerRules, LoginWay};
use crate::domain::keys::DEFAULT_ALGS;
use crate::engine::par::PUSH_PATH;
use crate::jose::Alg;
use crate::protocol::exchange::TOKEN_EXCHANGE;
use crate::protocol::lang::Lang;
use crate::secret::Digest;

/// How long others may keep the metadata, in seconds.
const KEPT_S: u32 = 300;

/// What both metadata documents and `smart-configuration` say alike.
fn common(rules: &IssuerRules) -> Map<String, Value> {
    let at = |path: &str| Value::from(rules.issuer.at(path));
    let algs: Vec<&str> = Alg::ALL.iter().map(|alg| alg.as_str()).collect();
    let auth_methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]);
    // RFC 8414 §2: token types may stand here too, and SMART's own way is a bearer token (SAL-124).
    let may_introspect = json!(["client_secret_basic", "client_secret_post", "private_key_jwt", "Bearer"]);
    let mut grants = vec!["authorization_code", "refresh_token", "client_credentials"];
    // Where no row of the policy permits an exchange, there is none to offer.
    grants.extend((!rules.exchange.is_empty()).then_some(TOKEN_EXCHANGE));
    let mut members = Map::from_iter([
        ("issuer".to_owned(), rules.issuer.as_str().into()),
        ("jwks_uri".to_owned(), at("/jwks")),
        ("authorization_endpoint".to_owned(), at("/authorize")),
        ("token_endpoint".to_owned(), at("/token")),
        ("pushed_authorization_request_endpoint".to_owned(), at(PUSH_PATH)),
        ("introspection_endpoint".to_owned(), at("/introspect")),
        ("revocation_endpoint".to_owned(), at("/revoke")),
        ("grant_types_supported".to_owned(), json!(grants)),
        ("response_types_supported".to_owned(), json!(["code"])),
        ("response_modes_supported".to_owned(), json!(ResponseMode::ALL.map(ResponseMode::as_str))),
        ("code_challenge_methods_supported".to_owned(), json!(["S256"])),
        ("token_endpoint_auth_methods_supported".to_owned(), auth_methods.clone()),
        ("token_endpoint_auth_signing_alg_values_supported".to_owned(), json!(algs)),
        ("introspection_endpoint_auth_methods_supported".to_owned(), may_introspect),
        ("introspection_endpoint_auth_signing_alg_values_supported".to_owned(), json!(algs)),
        ("revocation_endpoint_auth_methods_supported".to_owned(), auth_methods),
        ("revocation_endpoint_auth_signing_alg_values_supported".to_owned(), json!(algs)),
        ("authorization_response_iss_parameter_supported".to_owned(), true.into()),
        // RFC 9449 §5.1.
        ("dpop_signing_alg_values_supported".to_owned(), json!(dpop::ALGS)),
        ("scopes_supported".to_owned(), scopes(rules)),
    ]);
    // RFC 9126 §5: said where it is so.
    if rules.require_par {
        members.insert("require_pushed_authorization_requests".to_owned(), true.into());
    }
    members
}

/// Each of these really works; the list need not be exhaustive. SAL-148.
fn scopes(rules: &IssuerRules) -> Value {
    let mut scopes = vec![
        "openid",
        "fhirUser",
        "profile",
        "launch",
        "launch/patient",
        "launch/encounter",
        "offline_access",
        "online_access",
        "patient/*.cruds",
        "user/*.cruds",
        "system/*.cruds",
    ];
    scopes.extend(rules.gives_helseid().then(|| rules.helseid_name()));
    json!(scopes)
}

/// `{base}/.well-known/smart-configuration`. SAL-140…152.
pub fn smart_configuration(rules: &IssuerRules) -> Value {
    let mut members = common(rules);
    members.insert("management_endpoint".to_owned(), rules.issuer.at("/account/apps").into());
    members.insert("capabilities".to_owned(), capabilities(rules).into());
    Value::Object(members)
}

/// SAL §2.3: each only where it is true.
fn capabilities(rules: &IssuerRules) -> Vec<&'static str> {
    let mut capabilities = vec![
        "launch-ehr",
        "authorize-post",
        "client-public",
        "client-confidential-symmetric",
        "client-confidential-asymmetric",
        "sso-openid-connect",
        "context-banner",
        "context-style",
        "context-ehr-patient",
        "context-ehr-encounter",
        "permission-offline",
        "permission-online",
        "permission-patient",
        "permission-user",
        "permission-v1",
        "permission-v2",
    ];
    // Where the EPJ alone says who the user is, an app cannot begin by itself.
    if rules.login.iter().any(|way| *way != LoginWay::Ehr) {
        capabilities.extend(["launch-standalone", "context-standalone-patient", "context-standalone-encounter"]);
    }
    capabilities
}

/// OpenID Connect Discovery §3 and RFC 8414 §2: one document for both.
pub fn server_metadata(rules: &IssuerRules) -> Value {
    let mut members = common(rules);
    let acr: Vec<String> = rules.login.iter().map(|way| rules.issuer.at(&format!("/acr/{}", way.as_str()))).collect();
    let prompts: Vec<&str> = Prompt::ALL.iter().map(|prompt| prompt.as_str()).collect();
    let mut claims = vec!["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid", "fhirUser", "profile", "name"];
    claims.extend(rules.gives_helseid().then(|| rules.helseid_name()));
    members.extend([
        ("userinfo_endpoint".to_owned(), rules.issuer.at("/userinfo").into()),
        ("end_session_endpoint".to_owned(), rules.issuer.at("/logout").into()),
        ("backchannel_logout_supported".to_owned(), true.into()),
        ("backchannel_logout_session_supported".to_owned(), true.into()),
        // RFC 9728 §4: the FHIR servers these tokens are for.
        ("protected_resources".to_owned(), json!(rules.fhir.iter().map(|server| &server.base).collect::<Vec<_>>())),
        ("subject_types_supported".to_owned(), json!(["public"])),
        ("id_token_signing_alg_values_supported".to_owned(), json!(DEFAULT_ALGS)),
        ("claims_supported".to_owned(), json!(claims)),
        ("acr_values_supported".to_owned(), json!(acr)),
        ("prompt_values_supported".to_owned(), json!(prompts)),
        ("ui_locales_supported".to_owned(), json!(Lang::ALL.map(Lang::tag))),
        ("claims_parameter_supported".to_owned(), true.into()),
        ("request_parameter_supported".to_owned(), false.into()),
        ("request_uri_parameter_supported".to_owned(), false.into()),
    ]);
    Value::Object(members)
}

/// A document that was made once: its bytes and its `ETag`.
pub struct Document {
    body: axum::body::Bytes,
    etag: HeaderValue,
}

/// OpenAPI 3.1 of the launch API, at this issuer. `docs/api/launch.json`.
pub fn launch_api_document(rules: &IssuerRules) -> Value {
    let mut document: Value = serde_json::from_str(include_str!("../../docs/api/launch.json")).expect("a file of ours, which a test reads");
    if let Some(members) = document.as_object_mut() {
        members.insert("servers".to_owned(), json!([{ "url": rules.issuer, "description": "The issuer" }]));
    }
    document
}

/// `GET /launches/openapi.json`
pub async fn launch_api(State(app): State<App>, headers: HeaderMap) -> Response {
    app.launch_api.answer(&headers, KEPT_S)
}

impl Document {
    pub fn new(value: &Value) -> Self {
        let body = axum::body::Bytes::from(value.to_string());
        let tag: String = Digest::of(&body).text().chars().take(22).collect();
        Self { etag: HeaderValue::from_str(&format!("\"{tag}\"")).expect("base64url is visible ASCII"), body }
    }

    /// The document, or 304 where the caller has it. RFC 9110 §13.1.2.
    pub fn answer(&self, headers: &HeaderMap, kept_s: u32) -> Response {
        let has_it = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes());
        let mut response = if has_it { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(self.body.clone()).into_response() };
        let headers = response.headers_mut();
        if !has_it {
            // SAL-141: application/json, whatever `Accept` says.
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.insert(header::ETAG, self.etag.clone());
        let cache = format!("public, max-age={kept_s}");
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(&cache).unwrap_or(HeaderValue::from_static("no-cache")));
        cors::any_origin(response)
    }
}

pub async fn smart(State(app): State<App>, headers: HeaderMap) -> Response {
    app.smart.answer(&headers, KEPT_S)
}

pub async fn metadata(State(app): State<App>, headers: HeaderMap) -> Response {
    app.metadata.answer(&headers, KEPT_S)
}

/// The published keys, kept no longer than until they change. NAV-040.
pub async fn jwks(State(app): State<App>, headers: HeaderMap) -> Response {
    let (keys, kept) = app.engine.keys.published();
    let kept = u32::try_from(kept.as_secs()).unwrap_or(u32::MAX);
    // The set changes some times a year; it is written and digested when it does.
    if let Some(last) = &*app.jwks.load()
        && last.0 == keys
    {
        return last.1.answer(&headers, kept);
    }
    let document = Document::new(&json!(keys));
    let response = document.answer(&headers, kept);
    app.jwks.store(Some(Arc::new((keys, document))));
    response
}
