//! Metadata and keys. §1, M1, M7.

use helsebro::helseid::keys::Rotate;
use serde_json::{Value, json};

use super::world::Mock;

const METADATA: &str = "/.well-known/openid-configuration";

/// §1.3, with `HOST` for the placeholder host.
const DOCUMENT: &str = r#"{
  "issuer": "HOST", "jwks_uri": "HOST/.well-known/openid-configuration/jwks", "authorization_endpoint": "HOST/connect/authorize",
  "token_endpoint": "HOST/connect/token", "userinfo_endpoint": "HOST/connect/userinfo", "end_session_endpoint": "HOST/connect/endsession",
  "check_session_iframe": "HOST/connect/checksession", "revocation_endpoint": "HOST/connect/revocation",
  "introspection_endpoint": "HOST/connect/introspect", "device_authorization_endpoint": "HOST/connect/deviceauthorization",
  "backchannel_authentication_endpoint": "HOST/connect/ciba", "pushed_authorization_request_endpoint": "HOST/connect/par",
  "require_pushed_authorization_requests": false,
  "frontchannel_logout_supported": true, "frontchannel_logout_session_supported": true, "backchannel_logout_supported": true,
  "backchannel_logout_session_supported": true,
  "scopes_supported": ["openid", "profile", "offline_access", "helseid://scopes/identity/pid", "helseid://scopes/identity/pid_pseudonym",
    "helseid://scopes/identity/security_level", "helseid://scopes/identity/assurance_level", "helseid://scopes/identity/network",
    "helseid://scopes/hpr/hpr_number", "helseid://scopes/client/info", "helseid://scopes/client/client_name",
    "nhn:tillitsrammeverk:parameters", "nhn:sfm:journal-id"],
  "claims_supported": ["name", "given_name", "middle_name", "family_name", "helseid://claims/identity/pid", "helseid://claims/identity/pid_pseudonym",
    "helseid://claims/identity/security_level", "helseid://claims/identity/assurance_level", "helseid://claims/identity/network",
    "helseid://claims/hpr/hpr_number", "helseid://claims/client/client_name", "helseid://claims/client/client_tenancy",
    "helseid://claims/client/claims/orgnr_parent", "helseid://claims/client/claims/orgnr_child", "helseid://claims/client/claims/orgnr_supplier",
    "client_amr"],
  "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token", "implicit", "urn:ietf:params:oauth:grant-type:device_code",
    "urn:openid:params:grant-type:ciba", "urn:ietf:params:oauth:grant-type:token-exchange"],
  "response_types_supported": ["code", "token", "id_token", "id_token token", "code id_token", "code token", "code id_token token"],
  "response_modes_supported": ["form_post", "query", "fragment"],
  "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
  "id_token_signing_alg_values_supported": ["RS256"], "subject_types_supported": ["public"], "code_challenge_methods_supported": ["plain", "S256"],
  "request_parameter_supported": true,
  "request_object_signing_alg_values_supported": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512"],
  "prompt_values_supported": ["none", "login", "consent", "select_account"], "authorization_response_iss_parameter_supported": true,
  "backchannel_token_delivery_modes_supported": ["poll"], "backchannel_user_code_parameter_supported": true,
  "dpop_signing_alg_values_supported": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"],
  "expired_jwks_uri": "HOST/connect/expiredjwks", "available_idps": "HOST/connect/availableidps"
}"#;

#[tokio::test]
async fn the_document_is_the_one_of_the_reference_member_for_member() {
    let mock = Mock::start().await;
    let wanted: Value = serde_json::from_str(&DOCUMENT.replace("HOST", &mock.issuer)).unwrap();
    assert_eq!(mock.get(METADATA).await, wanted);
}

#[tokio::test]
async fn who_has_the_document_is_told_so() {
    let mock = Mock::start().await;
    for path in [METADATA, "/.well-known/openid-configuration/jwks", "/connect/expiredjwks", "/connect/availableidps"] {
        let first = mock.http.get(mock.url(path)).send().await.unwrap();
        assert_eq!(first.headers()["cache-control"], "public, max-age=86400", "{path}");
        let tag = first.headers()["etag"].clone();
        let again = mock.http.get(mock.url(path)).header("If-None-Match", &tag).send().await.unwrap();
        assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &tag), "{path}");
        let other = mock.http.get(mock.url(path)).header("If-None-Match", "\"x\"").send().await.unwrap();
        assert_eq!(other.status().as_u16(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_retired_key_moves_to_the_expired_ones() {
    let mock = Mock::start().await;
    let kids = |set: &Value| set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let before = kids(&mock.get("/.well-known/openid-configuration/jwks").await);
    assert_eq!(before.len(), 2);
    mock.idp().keys.rotate(Rotate::Promote).unwrap();
    mock.idp().keys.rotate(Rotate::Retire).unwrap();
    assert_eq!(kids(&mock.get("/.well-known/openid-configuration/jwks").await), [before[1].clone()]);
    assert!(kids(&mock.get("/connect/expiredjwks").await).contains(&before[0]));
}

#[tokio::test]
async fn flows_that_are_only_listed_are_not_here() {
    let mock = Mock::start().await;
    for path in ["/connect/ciba", "/connect/deviceauthorization"] {
        let answer = mock.http.post(mock.url(path)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 404, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], "unsupported_grant_type", "{path}");
    }
}

#[tokio::test]
async fn the_document_lies_when_it_is_asked_to() {
    let mock = Mock::start().await;
    for (kind, member, wrong) in [
        (json!({"kind": "issuer_mismatch"}), "issuer", json!("https://another-issuer.example.no")),
        (json!({"kind": "missing_field:token_endpoint"}), "token_endpoint", Value::Null),
        (json!({"kind": "string_booleans"}), "request_parameter_supported", json!("true")),
        (json!({"kind": "downgraded"}), "code_challenge_methods_supported", json!(["plain"])),
    ] {
        mock.fault(json!({"match": {"endpoint": "discovery"}, "action": kind}));
        assert_eq!(mock.get(METADATA).await[member], wrong, "{kind}");
        assert_ne!(mock.get(METADATA).await[member], wrong, "once: {kind}");
    }
}
