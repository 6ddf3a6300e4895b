//! Token exchange at the token endpoint. RFC 8693; DESIGN §3; `reference/helseid.md` §6.3–6.8.

mod bridge;
mod foreign;
mod hospital;
mod ids;
mod limits;
mod own;
mod peer;
mod policy;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use helsebro::jose::{Alg, SigningKey, make_proof};
use helsebro::protocol::dpop::ProofClaims;
use serde_json::Value;

use crate::world::{App, Reply, Tokens, World};

pub const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub const PORTAL: &str = "regional-portal";
pub const PORTAL_SCOPES: &str = "launch openid fhirUser offline_access patient/Patient.rs patient/Encounter.rs patient/Condition.rs";

/// The portal with its two keys: one to authenticate with, one its tokens are bound to.
pub struct Portal<'w> {
    pub world: &'w World,
    pub proof_key: SigningKey,
}

impl<'w> Portal<'w> {
    pub fn new(world: &'w World) -> Self {
        Self { world, proof_key: SigningKey::generate(Alg::ES256).unwrap() }
    }

    /// A proof for the token endpoint by the portal's key.
    pub fn proof(&self) -> String {
        proof(self.world, &self.proof_key)
    }

    /// A token request of the portal's, with a proof of its key.
    pub async fn token(&self, form: &[(&str, &str)]) -> Reply {
        self.token_with(Some(&self.proof()), form).await
    }

    pub async fn token_with(&self, proof: Option<&str>, form: &[(&str, &str)]) -> Reply {
        let assertion = self.world.assertion(PORTAL);
        let mut form = form.to_vec();
        form.extend([("client_assertion_type", crate::world::ASSERTION_TYPE), ("client_assertion", &assertion)]);
        let mut request = self.world.http.post(self.world.token_endpoint()).form(&form);
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    /// From a launch to tokens that are bound to the portal's key.
    pub async fn launched(&self) -> Tokens {
        let launch = self.world.ehr().client(PORTAL).launch().await;
        let app = App::new(self.world, PORTAL).set("scope", PORTAL_SCOPES);
        let code = app.open(&mut self.world.browser(), &launch).await;
        let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", &app.redirect_uri), ("code_verifier", crate::world::VERIFIER)];
        Tokens(self.token(&form).await.is(200).json())
    }

    /// Exchanges a token for one for the demo's FHIR base.
    pub async fn exchange(&self, subject: &str, more: &[(&str, &str)]) -> Reply {
        self.token(&exchange_form(subject, self.world.fhir(), more)).await
    }
}

/// The form of an exchange; `more` replaces what is there before, and an empty value leaves it out.
pub fn exchange_form<'a>(subject: &'a str, audience: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![("grant_type", EXCHANGE), ("subject_token", subject), ("subject_token_type", ACCESS_TOKEN), ("audience", audience)];
    form.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    form.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    form
}

pub fn proof(world: &World, key: &SigningKey) -> String {
    let claims = ProofClaims {
        jti: helsebro::random::Random::id(&helsebro::random::SystemRandom),
        htm: "POST".to_owned(),
        htu: world.token_endpoint(),
        iat: helsebro::time::UnixTime(world.now()),
        ath: None,
        nonce: None,
    };
    make_proof(key, &claims).unwrap()
}

/// A JWT with one claim changed and its old signature.
pub fn tampered(jwt: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut parts = jwt.split('.').map(str::to_owned).collect::<Vec<_>>();
    let mut claims = crate::world::claims(jwt);
    change(&mut claims);
    parts[1] = URL_SAFE_NO_PAD.encode(claims.to_string());
    parts.join(".")
}
