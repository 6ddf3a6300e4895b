//! The regional portal: a system of its own with two keys here, one to say who it is and one its tokens are bound to, and a registration at
//! HelseID. RFC 7523 §2.2, RFC 9449; `reference/helseid.md` §2.4–2.7, §6.5.

use serde_json::{Value, json};

use crate::demo::facts::ClientFacts;
use crate::demo::levers::ClientThere;
use crate::demo::wire::{Answer, secret_at, text_at};
use crate::jose::{Alg, SigningKey, make_proof};
use crate::protocol::dpop::ProofClaims;
use crate::secret::{Digest, Secret};

use super::Walker;
use super::report::Look;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// How long an assertion is good for, in seconds.
const ASSERTION_S: i64 = 30;
/// What the portal asks of HelseID: who it is, how sure, and a token for this server's own API there.
const SCOPES_THERE: &str =
    "openid helseid://scopes/identity/pid helseid://scopes/identity/security_level helseid://scopes/hpr/hpr_number fjord:epj-api/exchange";

pub(super) struct Portal<'a> {
    pub client: &'a ClientFacts,
    key: SigningKey,
    /// What its tokens are bound to, here and there.
    proof_key: SigningKey,
    there: ClientThere,
}

impl<'a> Portal<'a> {
    /// `None` where the facts have no private key of it, or none can be made.
    pub fn new(client: &'a ClientFacts, there: ClientThere) -> Option<Self> {
        let jwk: Value = serde_json::from_str(client.private_jwk.as_ref()?.expose()).ok()?;
        Some(Self { client, key: SigningKey::from_private_jwk(&jwk).ok()?, proof_key: SigningKey::generate(Alg::ES256).ok()?, there })
    }
}

impl Walker<'_> {
    fn assertion(&self, key: &SigningKey, client_id: &str, audience: &str, typ: &str) -> String {
        let now = self.clock.now().0;
        let claims = json!({ "iss": client_id, "sub": client_id, "aud": audience, "iat": now, "nbf": now, "exp": now + ASSERTION_S, "jti": self.random.id() });
        let header = json!({ "typ": typ, "alg": key.alg().as_str(), "kid": key.kid() });
        key.sign_with_header(&header, &claims).unwrap_or_default()
    }

    fn proof(&self, key: &SigningKey, method: &str, url: &str, token: Option<&Secret<String>>, nonce: Option<&str>) -> String {
        let mut claims = ProofClaims::new(method, url, self.random.id(), self.clock.now());
        if let Some(token) = token {
            claims = claims.with_token(token);
        }
        claims.nonce = nonce.map(str::to_owned);
        make_proof(key, &claims).unwrap_or_default()
    }

    /// A form to a token endpoint with a new assertion and a proof; once more where a nonce is wanted. RFC 9449 §8.
    async fn proven(&self, look: &mut Look, url: &str, who: (&SigningKey, &str, &str, &str), proof_key: &SigningKey, form: &[(&str, &str)]) -> Answer {
        let (key, client_id, audience, typ) = who;
        let names: Vec<String> = form
            .iter()
            .map(|(name, value)| if matches!(*name, "grant_type" | "scope" | "audience") { format!("{name}={value}") } else { format!("{name}=…") })
            .collect();
        look.request(format!("POST {url}  client_assertion=…  DPoP: …  {}", names.join("&")));
        let send = async |look: &mut Look, nonce: Option<&str>| {
            let assertion = self.assertion(key, client_id, audience, typ);
            let mut form = form.to_vec();
            form.extend([("client_id", client_id), ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", &assertion)]);
            let request = self.wire.post(url).header("dpop", self.proof(proof_key, "POST", url, None, nonce)).header("accept", "application/json");
            self.send(look, request.form(&form)).await
        };
        let answer = send(look, None).await;
        let wanted = answer.json().is_some_and(|said| text_at(&said, "/error") == Some("use_dpop_nonce"));
        match answer.header("dpop-nonce") {
            Some(nonce) if wanted => {
                look.response(format!("{} use_dpop_nonce, so once more with it", answer.status));
                send(look, Some(nonce)).await
            }
            Some(_) | None => answer,
        }
    }

    /// A token request of the portal's here.
    pub(super) async fn portal_token(&self, look: &mut Look, portal: &Portal<'_>, endpoint: &str, form: &[(&str, &str)]) -> Answer {
        let who = (&portal.key, portal.client.client_id.as_str(), endpoint, "JWT");
        self.proven(look, endpoint, who, &portal.proof_key, form).await
    }

    /// A request with a token that is bound to the portal's key. RFC 9449 §7.1.
    pub(super) async fn portal_get(&self, look: &mut Look, portal: &Portal<'_>, url: &str, token: &Secret<String>) -> Answer {
        look.request(format!("GET {url}  Authorization: DPoP …  DPoP: …"));
        let bare = url.split(['?', '#']).next().unwrap_or(url);
        let proof = self.proof(&portal.proof_key, "GET", bare, Some(token), None);
        let request = self.wire.get(url).header("authorization", format!("DPoP {}", token.expose())).header("dpop", proof);
        self.send(look, request.header("accept", "application/fhir+json, application/json")).await
    }

    /// The portal's own login at HelseID, in the browser as it is: nobody is asked where somebody is logged in there. Gives its token.
    pub(super) async fn portal_at_helseid(&mut self, look: &mut Look, portal: &Portal<'_>, issuer: &str) -> Option<Secret<String>> {
        let redirect_uri = portal.there.redirect_uris.iter().find(|uri| uri.starts_with(&self.facts.app))?.clone();
        let who = (&portal.there.key, portal.there.id.as_str(), issuer, "client-authentication+jwt");
        let verifier = self.random.token();
        let challenge = Digest::of(verifier.expose().as_bytes()).text();
        let (state, nonce) = (self.random.token(), self.random.id());
        let pushed = [
            ("response_type", "code"),
            ("scope", SCOPES_THERE),
            ("redirect_uri", redirect_uri.as_str()),
            ("state", state.expose()),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let answer = self.proven(look, &format!("{issuer}/connect/par"), who, &portal.proof_key, &pushed).await;
        look.answer(&answer, &["error", "error_description"]);
        look.status(&answer, &[201]);
        let said = answer.json()?;
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_id", portal.there.id.as_str()), ("request_uri", text_at(&said, "/request_uri")?)])
            .finish();
        let landing = self.browse(look, &format!("{issuer}/connect/authorize?{query}"), Some(&redirect_uri)).await?;
        look.expect(landing.answer.is_none(), "HelseID asks who it is, though she is logged in there");
        let code = landing.url.query_pairs().find(|(name, _)| name == "code").map(|(_, code)| code.into_owned())?;
        let form =
            [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", redirect_uri.as_str()), ("code_verifier", verifier.expose())];
        let answer = self.proven(look, &format!("{issuer}/connect/token"), who, &portal.proof_key, &form).await;
        look.answer(&answer, &["access_token", "token_type", "expires_in", "scope", "error", "error_description"]);
        look.status(&answer, &[200]);
        secret_at(&answer.json()?, "/access_token")
    }
}
