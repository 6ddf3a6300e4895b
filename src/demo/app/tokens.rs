//! The authorization request, the code exchange and the refresh, with the `oauth2` crate. `nav.md` §3.3, §3.4, §3.6.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use oauth2::basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, ErrorResponse, ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use openidconnect::IdTokenFields;
use openidconnect::core::{CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::demo::sealed::SmartClaims;
use crate::demo::wire::{Wire, WireError, text_at};
use crate::secret::Secret;

use super::discovery::SmartConfiguration;
use super::error::AppError;

/// Sends on, and notes how `token_type` was spelled: the validator compares it case-sensitively (NAV-036), and the crate reads it in lower case.
struct Noting<'a> {
    wire: &'a Wire,
    token_type: Mutex<Option<String>>,
}

impl<'c> oauth2::AsyncHttpClient<'c> for Noting<'_> {
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, WireError>> + Send + 'c>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let response = self.wire.call(request).await?;
            let said: Option<Value> = serde_json::from_slice(response.body()).ok();
            let spelled = said.as_ref().and_then(|said| text_at(said, "/token_type")).map(str::to_owned);
            *self.token_type.lock().unwrap_or_else(PoisonError::into_inner) = spelled;
            Ok(response)
        })
    }
}

/// The members SMART puts beside the tokens, as they came. SMART 2.2 launch context, SAL-071 ff.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Beside {
    pub patient: Option<Value>,
    pub encounter: Option<Value>,
    pub practitioner: Option<Value>,
    pub need_patient_banner: Option<Value>,
    pub intent: Option<Value>,
    pub smart_style_url: Option<Value>,
    pub tenant: Option<Value>,
    #[serde(rename = "fhirContext")]
    pub fhir_context: Option<Value>,
}

impl ExtraTokenFields for Beside {}

impl Beside {
    /// Every member that came, by name.
    pub fn members(&self) -> Vec<(&'static str, &Value)> {
        let all = [
            ("patient", &self.patient),
            ("encounter", &self.encounter),
            ("practitioner", &self.practitioner),
            ("need_patient_banner", &self.need_patient_banner),
            ("intent", &self.intent),
            ("smart_style_url", &self.smart_style_url),
            ("tenant", &self.tenant),
            ("fhirContext", &self.fhir_context),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect()
    }
}

type Fields = IdTokenFields<SmartClaims, Beside, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
/// A token response of this server.
pub type SmartTokens = StandardTokenResponse<Fields, BasicTokenType>;

type SmartClient = Client<BasicErrorResponse, SmartTokens, BasicTokenIntrospectionResponse, StandardRevocableToken, BasicRevocationErrorResponse>;

/// The app as it is registered: confidential, `client_secret_basic`.
pub struct Registration {
    pub client_id: String,
    pub secret: Secret<String>,
    pub redirect_uri: String,
    pub scopes: String,
}

impl Registration {
    fn client(&self) -> SmartClient {
        SmartClient::new(ClientId::new(self.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.secret.expose().clone()))
            .set_auth_type(AuthType::BasicAuth)
    }

    /// Where to send the browser: the parameters of NAV-025 and no others. `iss` goes untouched into `aud` (NAV-026).
    ///
    /// # Errors
    /// [`AppError::Discovery`] when the endpoint is no URL.
    pub fn authorize(&self, at: &SmartConfiguration, iss: &str, launch: &str, state: &str, verifier: &Secret<String>) -> Result<String, AppError> {
        let endpoint = AuthUrl::new(at.authorization_endpoint.clone()).map_err(not_a_url)?;
        let redirect = RedirectUrl::new(self.redirect_uri.clone()).map_err(not_a_url)?;
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.expose().clone()));
        let client = self.client().set_auth_uri(endpoint).set_redirect_uri(redirect);
        let state = state.to_owned();
        let (url, _) = client
            .authorize_url(|| CsrfToken::new(state))
            .add_scopes(self.scopes.split(' ').map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(challenge)
            .add_extra_param("aud", iss)
            .add_extra_param("launch", launch)
            .url();
        Ok(url.into())
    }

    /// The tokens, and `token_type` as it was spelled. `client_id` goes into the form too, beside Basic (NAV-033).
    ///
    /// # Errors
    /// [`AppError::Exchange`] with the server's error code.
    pub async fn redeem(&self, wire: &Wire, at: &SmartConfiguration, code: &str, verifier: &Secret<String>) -> Result<(SmartTokens, String), AppError> {
        let endpoint = TokenUrl::new(at.token_endpoint.clone()).map_err(not_a_url)?;
        let redirect = RedirectUrl::new(self.redirect_uri.clone()).map_err(not_a_url)?;
        let client = self.client().set_token_uri(endpoint).set_redirect_uri(redirect);
        let noting = Noting { wire, token_type: Mutex::default() };
        let tokens = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().clone()))
            .add_extra_param("client_id", self.client_id.clone())
            .request_async(&noting)
            .await
            .map_err(|why| AppError::Exchange(refusal(&why)))?;
        let spelled = noting.token_type.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((tokens, spelled.unwrap_or_default()))
    }

    /// No `scope`: what was granted stays (NAV-044).
    ///
    /// # Errors
    /// [`AppError::Exchange`] with the server's error code; `invalid_grant` means that access has ended.
    pub async fn refresh(&self, wire: &Wire, at: &SmartConfiguration, token: &Secret<String>) -> Result<SmartTokens, AppError> {
        let endpoint = TokenUrl::new(at.token_endpoint.clone()).map_err(not_a_url)?;
        let client = self.client().set_token_uri(endpoint);
        client
            .exchange_refresh_token(&RefreshToken::new(token.expose().clone()))
            .add_extra_param("client_id", self.client_id.clone())
            .request_async(wire)
            .await
            .map_err(|why| AppError::Exchange(refusal(&why)))
    }
}

fn not_a_url(_: oauth2::url::ParseError) -> AppError {
    AppError::Discovery("an endpoint is not a URL".into())
}

/// The error code of the server, or why there was none; never the body.
fn refusal(why: &RequestTokenError<WireError, BasicErrorResponse>) -> String {
    match why {
        RequestTokenError::ServerResponse(said) => error_code(said),
        RequestTokenError::Request(why) => why.to_string(),
        RequestTokenError::Parse(at, _) => format!("the answer cannot be read at {}", at.path()),
        RequestTokenError::Other(why) => why.chars().take(120).collect(),
    }
}

fn error_code<T: ErrorResponse + Serialize>(said: &T) -> String {
    let value = serde_json::to_value(said).unwrap_or_default();
    value.get("error").and_then(Value::as_str).unwrap_or("unknown").chars().take(60).collect()
}
