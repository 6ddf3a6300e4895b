//! Who is asking, and with which key: what every endpoint for clients does before its own work. §2.5, 2.7, M4–M6.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Uri};
use serde_json::{Map, Value};

use super::Idp;
use super::assertion::{self, AssertionError, Rules};
use super::dpop::{self, Fresh, ProofError};
use super::faults::{ClientAuthFault, DpopFault, Fault, Met, Nonces};
use super::organisation::{Details, DetailsError, container};
use super::quirks::NonceDemand;
use super::refusal::{Code, Refusal};
use super::seed::{Client, DpopUse};
use crate::protocol::params::Params;
use crate::time::UnixTime;

/// Why a request is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("parameters belong in the body, not in the URL")]
    Query,
    #[error("the body must be application/x-www-form-urlencoded")]
    ContentType,
    #[error("the body cannot be read")]
    Unreadable,
    #[error("a parameter is there twice")]
    Repeated,
}

impl From<FormError> for Refusal {
    fn from(reason: FormError) -> Self {
        match reason {
            FormError::Query | FormError::ContentType | FormError::Unreadable | FormError::Repeated => Self::new(Code::InvalidRequest, reason.to_string()),
        }
    }
}

/// The parameters of a POST: from the body alone, none twice. M4.
///
/// # Errors
/// [`FormError`]
pub fn form(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Params, FormError> {
    if uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(FormError::Query);
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(FormError::ContentType);
    }
    let params = Params::parse(body).map_err(|_| FormError::Unreadable)?;
    if params.repeated().is_some() { Err(FormError::Repeated) } else { Ok(params) }
}

/// A client that has shown who it is.
#[derive(Debug)]
pub struct Known {
    pub client: Arc<Client>,
    /// What its assertion says besides.
    claims: Map<String, Value>,
    jti: String,
}

impl Known {
    /// The structures in the assertion. §4.2.
    ///
    /// # Errors
    /// [`DetailsError`]
    pub fn details(&self, checksum: bool) -> Result<Details, DetailsError> {
        container(&self.claims)?.map_or(Ok(Details::default()), |container| Details::parse(container, checksum))
    }

    /// Lets the assertion be sent once more: with the nonce it had not. §2.5.
    pub fn give_back(&self, idp: &Idp) {
        idp.kept.forget(&mark(&self.client.id, &self.jti));
    }
}

fn mark<'a>(client: &'a str, jti: &'a str) -> [&'a str; 3] {
    ["assertion", client, jti]
}

/// Which client sent this form.
///
/// # Errors
/// `invalid_client`, whatever is wrong with the assertion.
pub fn authenticate(idp: &Idp, form: &Params, headers: &HeaderMap, met: &Met, now: UnixTime) -> Result<Known, Refusal> {
    let quirks = idp.quirks();
    known(idp, form, headers, met, now).map_err(|reason| reason.refusal(quirks.invalid_client_status))
}

fn known(idp: &Idp, form: &Params, headers: &HeaderMap, met: &Met, now: UnixTime) -> Result<Known, AssertionError> {
    let (quirks, seed) = (idp.quirks(), idp.seed());
    let text = assertion::in_form(form, headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or("basic ")))?;
    let has = |fault: ClientAuthFault| met.has(&Fault::ClientAuth(fault));
    let cap = met.all().iter().find_map(|fault| if let Fault::ClientAuth(ClientAuthFault::LifeCapS(seconds)) = fault { Some(*seconds) } else { None });
    let endpoints = [idp.url("/connect/token"), idp.url("/connect/par")];
    let endpoints: &[&str] = if has(ClientAuthFault::AssertionAudLegacyOff) { &[] } else { &[endpoints[0].as_str(), endpoints[1].as_str()] };
    let rules = Rules { issuer: idp.issuer.as_str(), endpoints, max_life_s: cap.unwrap_or(quirks.assertion_max_life_s), now };
    let checked = assertion::check(text, form.get("client_id"), |id| seed.client(id), &rules)?;
    if has(ClientAuthFault::ClientDisabled) {
        return Err(AssertionError::Disabled);
    }
    if has(ClientAuthFault::KeyExpired) {
        return Err(AssertionError::KeyExpired);
    }
    let once = quirks.assertion_jti_single_use || has(ClientAuthFault::JtiReplayStrict);
    if !idp.kept.is_new(&mark(&checked.client.id, &checked.jti), checked.until, now) && once {
        return Err(AssertionError::Replayed);
    }
    Ok(Known { client: Arc::new(checked.client.clone()), claims: checked.claims, jti: checked.jti })
}

/// What became of a proof.
#[derive(Debug, Default)]
pub struct Proven {
    /// The thumbprint of its key; none where no proof is needed and none was sent.
    pub jkt: Option<String>,
    /// `DPoP-Nonce` of the answer.
    pub nonce: Option<String>,
}

/// Where a proof is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Token,
    /// Taken if it is sent; needed where the switch says so. No nonce is asked for. §2.2.
    Par,
}

/// Which key the sender holds. After [`authenticate`], as the product has it (§2.7).
///
/// # Errors
/// `invalid_dpop_proof`, `use_dpop_nonce`.
pub fn prove(idp: &Idp, client: &Client, headers: &HeaderMap, at: At, met: &Met, now: UnixTime) -> Result<Proven, Refusal> {
    let quirks = idp.quirks();
    let asked = met.all().iter().find_map(|fault| if let Fault::Dpop(DpopFault::ProofRejected(text)) = fault { Some(text.clone()) } else { None });
    if let Some(text) = asked {
        return Err(ProofError::Asked(text).into());
    }
    let needed = match at {
        At::Token => client.dpop == DpopUse::Required,
        At::Par => client.dpop == DpopUse::Required && quirks.par_requires_dpop,
    };
    let mut proofs = headers.get_all("dpop").iter();
    let proof = match (proofs.next(), proofs.next(), client.dpop) {
        (_, _, DpopUse::Off) => return Ok(Proven::default()),
        (None, _, DpopUse::Required | DpopUse::Optional) if needed => return Err(ProofError::Missing.into()),
        (None, _, DpopUse::Required | DpopUse::Optional) => return Ok(Proven::default()),
        (Some(_), Some(_), DpopUse::Required | DpopUse::Optional) => return Err(ProofError::Several.into()),
        (Some(proof), None, DpopUse::Required | DpopUse::Optional) => proof.to_str().map_err(|_| ProofError::Malformed)?,
    };
    let url = idp.url(match at {
        At::Token => "/connect/token",
        At::Par => "/connect/par",
    });
    let ask = dpop::Ask { method: "POST", url: &url, access_token: None, now, skew_s: quirks.dpop_skew_s, life_s: quirks.dpop_proof_life_s };
    let checked = dpop::check(proof, &ask)?;
    let demands = |nonces: Nonces| met.has(&Fault::Dpop(DpopFault::NonceDemand(nonces)));
    let demand = match at {
        At::Par => NonceDemand::Never,
        At::Token if demands(Nonces::Always) => NonceDemand::Always,
        At::Token => quirks.dpop_nonce,
    };
    let fresh = if demands(Nonces::Once) || demands(Nonces::Loop) {
        Fresh::Needed
    } else {
        idp.nonces.judge(checked.nonce.as_deref(), demand, quirks.dpop_nonce_life_s, now)
    };
    let stale = met.has(&Fault::Dpop(DpopFault::StaleNonce));
    let issued = || {
        let at = if stale { UnixTime(now.0 - i64::from(quirks.dpop_nonce_life_s) - 60) } else { now };
        idp.nonces.issue(at, &*idp.random)
    };
    let changes = met.has(&Fault::Dpop(DpopFault::NonceOnSuccessChanges));
    let nonce = match fresh {
        Fresh::Needed => return Err(Refusal::use_nonce(issued())),
        Fresh::Good { worn } => (worn || changes).then(issued),
        Fresh::NotNeeded => changes.then(issued),
    };
    if !idp.kept.is_new(&["proof", &checked.jkt, &checked.jti], checked.until, now) {
        return Err(ProofError::Replayed.into());
    }
    Ok(Proven { jkt: Some(checked.jkt), nonce })
}
