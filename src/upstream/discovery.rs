//! The provider's metadata: endpoints and keys, and nothing else. What it says about algorithms, authentication, PKCE or PAR is not read,
//! so a downgraded document changes nothing. `reference/helseid.md` §1.3, T9, T15; OIDC Discovery §4.3.

use serde_json::{Map, Value};
use url::Url;

use super::error::MetadataFault;
use crate::protocol::ids::Issuer;

/// Where to ask. Every URL is at the issuer's own origin: a document cannot send our assertions and tokens elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    pub authorization: String,
    pub par: String,
    pub token: String,
    pub userinfo: String,
    pub jwks: String,
    pub end_session: Option<String>,
    pub revocation: Option<String>,
}

/// Where the document is. OIDC Discovery §4.
pub(super) fn address(issuer: &Issuer) -> String {
    issuer.at("/.well-known/openid-configuration")
}

impl Discovery {
    /// Reads the document of this issuer.
    ///
    /// # Errors
    /// [`MetadataFault`]
    pub fn read(document: &[u8], issuer: &Issuer) -> Result<Self, MetadataFault> {
        let document: Map<String, Value> = serde_json::from_slice(document).map_err(|_| MetadataFault::Malformed)?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        // OIDC Discovery §4.3: identical, byte for byte.
        if text("issuer").ok_or(MetadataFault::Missing("issuer"))? != issuer.as_str() {
            return Err(MetadataFault::Issuer);
        }
        let maybe = |name: &'static str| text(name).map(|url| endpoint(url, issuer).ok_or(MetadataFault::Endpoint(name))).transpose();
        let must = |name: &'static str| maybe(name)?.ok_or(MetadataFault::Missing(name));
        Ok(Self {
            authorization: must("authorization_endpoint")?,
            par: must("pushed_authorization_request_endpoint")?,
            token: must("token_endpoint")?,
            userinfo: must("userinfo_endpoint")?,
            jwks: must("jwks_uri")?,
            end_session: maybe("end_session_endpoint")?,
            revocation: maybe("revocation_endpoint")?,
        })
    }
}

/// The URL as it is compared in proofs: same origin as the issuer (so https, or loopback where the issuer is), no query, no fragment.
fn endpoint(text: &str, issuer: &Issuer) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    (plain && url.origin() == issuer.url().origin()).then(|| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ISSUER: &str = "https://helseid-mock.example.no";

    fn document() -> Value {
        let at = |path: &str| format!("{ISSUER}{path}");
        json!({
            "issuer": ISSUER, "jwks_uri": at("/.well-known/openid-configuration/jwks"), "authorization_endpoint": at("/connect/authorize"),
            "token_endpoint": at("/connect/token"), "userinfo_endpoint": at("/connect/userinfo"), "end_session_endpoint": at("/connect/endsession"),
            "pushed_authorization_request_endpoint": at("/connect/par"), "require_pushed_authorization_requests": false,
            "token_endpoint_auth_methods_supported": ["private_key_jwt"], "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["RS256"], "backchannel_logout_supported": "true",
            "expired_jwks_uri": at("/connect/expiredjwks")
        })
    }

    fn read(document: &Value) -> Result<Discovery, MetadataFault> {
        Discovery::read(document.to_string().as_bytes(), &Issuer::parse(ISSUER).unwrap())
    }

    fn with(name: &str, value: Value) -> Value {
        let mut changed = document();
        changed[name] = value;
        changed
    }

    #[test]
    fn endpoints_are_read_and_nothing_else() {
        let found = read(&document()).unwrap();
        assert_eq!(found.par, "https://helseid-mock.example.no/connect/par");
        let mut downgraded = document();
        for (name, value) in [
            ("code_challenge_methods_supported", json!(["plain"])),
            ("id_token_signing_alg_values_supported", json!(["none", "HS256"])),
            ("token_endpoint_auth_methods_supported", json!(["client_secret_post"])),
            ("dpop_signing_alg_values_supported", json!([])),
            ("authorization_response_iss_parameter_supported", json!(false)),
            ("expired_jwks_uri", json!("https://elsewhere.example/keys")),
        ] {
            downgraded[name] = value;
        }
        assert_eq!(read(&downgraded).unwrap(), found);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut no_par = document();
        no_par.as_object_mut().unwrap().remove("pushed_authorization_request_endpoint");
        let rows = [
            (with("issuer", json!("https://helseid-mock.example.no/")), MetadataFault::Issuer),
            (with("issuer", json!("https://evil.example")), MetadataFault::Issuer),
            (with("issuer", json!(1)), MetadataFault::Missing("issuer")),
            (no_par, MetadataFault::Missing("pushed_authorization_request_endpoint")),
            (with("token_endpoint", json!("https://evil.example/connect/token")), MetadataFault::Endpoint("token_endpoint")),
            (with("token_endpoint", json!("http://helseid-mock.example.no/connect/token")), MetadataFault::Endpoint("token_endpoint")),
            (with("jwks_uri", json!("https://169.254.169.254/keys")), MetadataFault::Endpoint("jwks_uri")),
            (with("userinfo_endpoint", json!("https://helseid-mock.example.no/u?x=1")), MetadataFault::Endpoint("userinfo_endpoint")),
            (with("end_session_endpoint", json!("/relative")), MetadataFault::Endpoint("end_session_endpoint")),
            (json!([]), MetadataFault::Malformed),
        ];
        for (changed, fault) in rows {
            assert_eq!(read(&changed), Err(fault), "{changed}");
        }
    }
}
