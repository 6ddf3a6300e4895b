//! Reading and verifying what the server signed, with `openidconnect`: an independent client that shares no rule with the signer.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreGenderClaim, CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata};
use openidconnect::{AdditionalClaims, ClientId, IdToken, IdTokenVerifier, IssuerUrl, JsonWebKey as _, Nonce};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::demo::wire::{Wire, text_at};
use crate::time::Clock;

/// The claims SMART and NAV's draft add to an id_token. The HelseID claim's own token is not even read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SmartClaims {
    #[serde(rename = "fhirUser", skip_serializing_if = "Option::is_none")]
    pub fhir_user: Option<String>,
    #[serde(rename = "https://helseid.nhn.no", skip_serializing_if = "Option::is_none")]
    pub helseid: Option<HelseIdClaim>,
}

/// What may be shown of the claim that carries a HelseID token (NAV's draft convention, `nav.md` §3.10).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HelseIdClaim {
    pub issuer: Option<String>,
    pub scope: Option<String>,
    pub expires_in: Option<Value>,
}

impl AdditionalClaims for SmartClaims {}

/// An id_token of this server, as `openidconnect` types it.
pub type SmartIdToken = IdToken<SmartClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

/// Why something signed was not believed. No variant carries the token.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("the issuer's configuration could not be read: {0}")]
    Discovery(String),
    #[error("the id_token does not verify: {0}")]
    IdToken(String),
    #[error("the access token is not a JWT with a JSON header and payload")]
    NotAJwt,
    #[error("the access token says alg {0}, not RS256")]
    Algorithm(String),
    #[error("the access token names no key of the JWKS")]
    UnknownKey,
    #[error("the access token's signature does not verify")]
    Signature,
    #[error("the access token's iss is not the issuer")]
    Issuer,
    #[error("the access token has no exp, or it has passed")]
    Expired,
    #[error("the access token's nbf lies ahead")]
    NotYet,
}

/// The issuer's keys, as OIDC discovery led to them.
pub struct Keys {
    issuer: IssuerUrl,
    set: CoreJsonWebKeySet,
}

impl Keys {
    /// Reads `{issuer}/.well-known/openid-configuration`, which must name the same issuer, and the key set it points to. OIDC Discovery §4.
    ///
    /// # Errors
    /// [`SealError::Discovery`].
    pub async fn discover(wire: &Wire, issuer: &str) -> Result<Self, SealError> {
        let issuer = IssuerUrl::new(issuer.to_owned()).map_err(|why| SealError::Discovery(why.to_string()))?;
        let metadata = CoreProviderMetadata::discover_async(issuer.clone(), wire).await.map_err(|why| SealError::Discovery(why.to_string()))?;
        Ok(Self { issuer, set: metadata.jwks().clone() })
    }

    /// Verifies an id_token: signature (RS256), `iss`, `aud`, `exp` at our clock. OIDC Core §3.1.3.7. SMART's app sends no `nonce` (NAV-025),
    /// so one that turns up is from somebody else's request.
    ///
    /// # Errors
    /// [`SealError::IdToken`].
    pub fn verify_id_token(&self, token: &SmartIdToken, client_id: &str, clock: &Arc<dyn Clock>) -> Result<VerifiedId, SealError> {
        let clock = clock.clone();
        let verifier: IdTokenVerifier<'_, _> = IdTokenVerifier::new_public_client(ClientId::new(client_id.to_owned()), self.issuer.clone(), self.set.clone())
            .set_time_fn(move || (UNIX_EPOCH + Duration::from_secs(u64::try_from(clock.now().0).unwrap_or(0))).into());
        let no_nonce = |nonce: Option<&Nonce>| nonce.map_or(Ok(()), |_| Err("a nonce nobody asked for".to_owned()));
        let claims = token.claims(&verifier, no_nonce).map_err(|why| SealError::IdToken(why.to_string()))?;
        let aud_is_one_string = Brief::of(&token.to_string()).is_some_and(|brief| brief.payload.get("aud").is_some_and(Value::is_string));
        Ok(VerifiedId {
            sub: claims.subject().to_string(),
            fhir_user: claims.additional_claims().fhir_user.clone(),
            helseid: claims.additional_claims().helseid.clone(),
            aud_is_one_string,
            exp: claims.expiration().timestamp(),
        })
    }

    /// Verifies an access token as NAV's app does: a JWT under RS256 with a key of the JWKS, `iss` exact, `exp` and `nbf` without tolerance. NAV-038.
    ///
    /// # Errors
    /// One of the other variants of [`SealError`].
    pub fn verify_access_token(&self, token: &str, clock: &dyn Clock) -> Result<Brief, SealError> {
        let brief = Brief::of(token).ok_or(SealError::NotAJwt)?;
        let alg = brief.alg().unwrap_or("none");
        if alg != "RS256" {
            return Err(SealError::Algorithm(alg.chars().take(16).collect()));
        }
        let kid = brief.kid().ok_or(SealError::UnknownKey)?;
        let key = self.set.keys().iter().find(|key| key.key_id().is_some_and(|id| id.as_str() == kid)).ok_or(SealError::UnknownKey)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(SealError::NotAJwt)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| SealError::NotAJwt)?;
        key.verify_signature(&CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256, signed.as_bytes(), &signature).map_err(|_| SealError::Signature)?;
        if text_at(&brief.payload, "/iss") != Some(self.issuer.as_str()) {
            return Err(SealError::Issuer);
        }
        let now = clock.now().0;
        if brief.number("exp").is_none_or(|exp| exp <= now) {
            return Err(SealError::Expired);
        }
        if brief.number("nbf").is_some_and(|nbf| nbf > now) {
            return Err(SealError::NotYet);
        }
        Ok(brief)
    }
}

/// What a verified id_token said.
#[derive(Clone, Debug)]
pub struct VerifiedId {
    pub sub: String,
    pub fhir_user: Option<String>,
    pub helseid: Option<HelseIdClaim>,
    /// NAV-041: the validator calls an array an error.
    pub aud_is_one_string: bool,
    /// Seconds since 1970.
    pub exp: i64,
}

/// The header and payload of a JWT, decoded: enough to show, too little to trust.
pub struct Brief {
    pub header: Value,
    pub payload: Value,
}

impl Brief {
    pub fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok().filter(Value::is_object);
        Some(Self { header: read(header)?, payload: read(payload)? })
    }

    pub fn alg(&self) -> Option<&str> {
        text_at(&self.header, "/alg")
    }

    pub fn kid(&self) -> Option<&str> {
        text_at(&self.header, "/kid")
    }

    pub fn typ(&self) -> Option<&str> {
        text_at(&self.header, "/typ")
    }

    /// A NumericDate claim, in whole seconds.
    pub fn number(&self, claim: &str) -> Option<i64> {
        self.payload.get(claim)?.as_i64()
    }

    /// The names of the claims, for a page or a terminal that shows what kind of thing it is and nothing it says.
    pub fn claim_names(&self) -> String {
        self.payload.as_object().map(|members| members.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default()
    }
}
