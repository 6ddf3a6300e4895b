//! What clients read before anything else: metadata, keys, identity providers. §1, M1; OIDC Discovery, RFC 8414.
//!
//! The document says what the real one says, also where that misleads: PAR is demanded whatever its flag says, and of the algorithms,
//! methods and response types listed only a few are taken (§1.2).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::Idp;
use super::faults::{DiscoveryFault, Fault, KeyFault, Met};
use crate::jose::Alg;
use crate::secret::Digest;

/// Where the metadata is, below the issuer.
pub const METADATA: &str = "/.well-known/openid-configuration";
/// Where the keys are, below the issuer.
pub const JWKS: &str = "/.well-known/openid-configuration/jwks";

/// Metadata may be kept for a day (FK2); keys as well, yet an unknown `kid` is a reason to ask again.
const KEEP: &str = "public, max-age=86400";

/// What is listed; API scopes never are (§1.2).
pub use super::seed::table::IDENTITY_SCOPES;

/// The identity providers one can be sent to by `acr_values=idp:…`, with the name a person reads. §2.2.
pub const IDENTITY_PROVIDERS: [(&str, &str); 3] = [("testidpnew-oidc", "TestIDP"), ("idporten-oidc", "ID-porten"), ("buypass-oidc", "Buypass")];

const SIGNING: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"];

/// Whether clients may sign with it: RSA and ECDSA (§2.1).
pub(super) fn takes(alg: Alg) -> bool {
    SIGNING.contains(&alg.as_str())
}

/// The document of §1.3, member for member.
pub fn document(idp: &Idp) -> Value {
    let at = |path: &str| idp.url(path);
    let with_hmac: Vec<&str> = SIGNING.into_iter().chain(["HS256", "HS384", "HS512"]).collect();
    json!({
        "issuer": idp.issuer.as_str(),
        "jwks_uri": at(JWKS),
        "authorization_endpoint": at("/connect/authorize"),
        "token_endpoint": at("/connect/token"),
        "userinfo_endpoint": at("/connect/userinfo"),
        "end_session_endpoint": at("/connect/endsession"),
        "check_session_iframe": at("/connect/checksession"),
        "revocation_endpoint": at("/connect/revocation"),
        "introspection_endpoint": at("/connect/introspect"),
        "device_authorization_endpoint": at("/connect/deviceauthorization"),
        "backchannel_authentication_endpoint": at("/connect/ciba"),
        "pushed_authorization_request_endpoint": at("/connect/par"),
        "require_pushed_authorization_requests": false,
        "frontchannel_logout_supported": true,
        "frontchannel_logout_session_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "scopes_supported": IDENTITY_SCOPES,
        "claims_supported": [
            "name",
            "given_name",
            "middle_name",
            "family_name",
            "helseid://claims/identity/pid",
            "helseid://claims/identity/pid_pseudonym",
            "helseid://claims/identity/security_level",
            "helseid://claims/identity/assurance_level",
            "helseid://claims/identity/network",
            "helseid://claims/hpr/hpr_number",
            "helseid://claims/client/client_name",
            "helseid://claims/client/client_tenancy",
            "helseid://claims/client/claims/orgnr_parent",
            "helseid://claims/client/claims/orgnr_child",
            "helseid://claims/client/claims/orgnr_supplier",
            "client_amr"
        ],
        "grant_types_supported": [
            "authorization_code",
            "client_credentials",
            "refresh_token",
            "implicit",
            "urn:ietf:params:oauth:grant-type:device_code",
            "urn:openid:params:grant-type:ciba",
            "urn:ietf:params:oauth:grant-type:token-exchange"
        ],
        "response_types_supported": ["code", "token", "id_token", "id_token token", "code id_token", "code token", "code id_token token"],
        "response_modes_supported": ["form_post", "query", "fragment"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "subject_types_supported": ["public"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "request_parameter_supported": true,
        "request_object_signing_alg_values_supported": with_hmac,
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "authorization_response_iss_parameter_supported": true,
        "backchannel_token_delivery_modes_supported": ["poll"],
        "backchannel_user_code_parameter_supported": true,
        "dpop_signing_alg_values_supported": SIGNING,
        "expired_jwks_uri": at("/connect/expiredjwks"),
        "available_idps": at("/connect/availableidps")
    })
}

/// A document with an entity tag, or 304 to who has it already. RFC 9110 §13.1.2.
fn cached(headers: &HeaderMap, document: &Value) -> Response {
    let text = document.to_string();
    let tag = format!("\"{}\"", Digest::of(text.as_bytes()).text());
    let has = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(','));
    let fresh = has.map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    let Ok(tag) = HeaderValue::try_from(tag) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let about = [(ETAG, tag), (CACHE_CONTROL, HeaderValue::from_static(KEEP))];
    if fresh {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// `GET /connect/availableidps`.
pub async fn available_idps(headers: HeaderMap) -> Response {
    cached(&headers, &json!(IDENTITY_PROVIDERS.map(|(name, text)| json!({"name": name, "displayName": text}))))
}

/// `GET /connect/expiredjwks`: for old signed material, never for live tokens.
pub async fn expired_jwks(State(idp): State<Arc<Idp>>, headers: HeaderMap) -> Response {
    cached(&headers, &idp.keys.expired())
}

/// `GET /.well-known/openid-configuration`
pub async fn metadata(State(idp): State<Arc<Idp>>, Extension(met): Extension<Met>, headers: HeaderMap) -> Response {
    let mut document = document(&idp);
    let mut stale = false;
    for fault in met.all() {
        if let Fault::Discovery(fault) = fault {
            stale |= *fault == DiscoveryFault::StaleCache;
            spoil(&mut document, fault);
        }
    }
    let mut response = cached(&headers, &document);
    if stale {
        // Two days old at the last place it was kept. RFC 9111 §5.1.
        response.headers_mut().insert(AGE, HeaderValue::from_static("172800"));
    }
    response
}

/// The document with one thing wrong. §7.3, Discovery.
fn spoil(document: &mut Value, fault: &DiscoveryFault) {
    let Some(members) = document.as_object_mut() else { return };
    match fault {
        DiscoveryFault::IssuerMismatch => drop(members.insert("issuer".to_owned(), json!("https://another-issuer.example.no"))),
        DiscoveryFault::MissingField(name) => drop(members.shift_remove(name)),
        DiscoveryFault::StringBooleans => {
            for value in members.values_mut() {
                if let Value::Bool(flag) = value {
                    *value = json!(flag.to_string());
                }
            }
        }
        DiscoveryFault::Downgraded => {
            members.shift_remove("pushed_authorization_request_endpoint");
            members.shift_remove("dpop_signing_alg_values_supported");
            members.insert("code_challenge_methods_supported".to_owned(), json!(["plain"]));
            members.insert("token_endpoint_auth_methods_supported".to_owned(), json!(["client_secret_post"]));
            members.insert("id_token_signing_alg_values_supported".to_owned(), json!(["none", "HS256"]));
        }
        DiscoveryFault::HttpEndpoints => {
            for (name, value) in members.iter_mut().filter(|(name, _)| name.as_str() != "issuer") {
                if let Some(text) = value.as_str() {
                    let other = text.replacen("https://", "http://", 1);
                    // On loopback all are http already: a host that is not loopback makes them as bad.
                    let other = if other == text && name.ends_with("_endpoint") { text.replacen("127.0.0.1", "192.0.2.1", 1) } else { other };
                    *value = json!(other);
                }
            }
        }
        DiscoveryFault::StaleCache => {}
    }
}

/// `GET /.well-known/openid-configuration/jwks`
pub async fn jwks(State(idp): State<Arc<Idp>>, Extension(met): Extension<Met>, headers: HeaderMap) -> Response {
    let has = |fault: KeyFault| met.has(&Fault::Key(fault));
    if has(KeyFault::Jwks503) {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")]).into_response();
    }
    if has(KeyFault::EmptyJwks) {
        return Json(json!({"keys": []})).into_response();
    }
    cached(&headers, &idp.keys.published())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_the_document_is_one() {
        let good = json!({"issuer": "https://a", "token_endpoint": "https://a/t", "request_parameter_supported": true,
            "pushed_authorization_request_endpoint": "https://a/par", "code_challenge_methods_supported": ["plain", "S256"]});
        let spoiled = |fault| {
            let mut document = good.clone();
            spoil(&mut document, &fault);
            document
        };
        assert_eq!(spoiled(DiscoveryFault::StaleCache), good);
        assert_ne!(spoiled(DiscoveryFault::IssuerMismatch)["issuer"], good["issuer"]);
        assert!(spoiled(DiscoveryFault::MissingField("token_endpoint".to_owned())).get("token_endpoint").is_none());
        assert_eq!(spoiled(DiscoveryFault::StringBooleans)["request_parameter_supported"], "true");
        let downgraded = spoiled(DiscoveryFault::Downgraded);
        assert_eq!(downgraded["code_challenge_methods_supported"], json!(["plain"]));
        assert!(downgraded.get("pushed_authorization_request_endpoint").is_none());
        let plain = spoiled(DiscoveryFault::HttpEndpoints);
        assert_eq!((&plain["token_endpoint"], &plain["issuer"]), (&json!("http://a/t"), &good["issuer"]));
    }
}
