//! Proofs of possession at our own endpoints: checked, and taken once. RFC 9449.

use super::Engine;
use super::live::ActiveToken;
use crate::audit::trail;
use crate::domain::client::Client;
use crate::domain::dpop::{self, DpopNonce, DpopPolicy, Nonces, ProofError, ProofFor, ProvenKey};
use crate::protocol::dpop::{ProofHeader, Scheme, ShownToken};
use crate::protocol::error::{Challenge, ErrorCode, OAuthError};
use crate::store::Commit;
use crate::store::records::Replay;

/// What a good proof gives.
#[derive(Debug)]
pub struct Proven {
    pub key: ProvenKey,
    /// The nonce to use from now on, where the one that was used is about to age out. RFC 9449 §8.2.
    pub nonce: Option<String>,
}

impl Engine {
    /// The key a client proves to hold in a POST to `path` of this issuer, as far as its registration asks. RFC 9449 §5.
    ///
    /// # Errors
    /// `invalid_dpop_proof`, `use_dpop_nonce` with the nonce; `temporarily_unavailable` when the store cannot answer.
    pub(super) async fn proven_by(&self, client: &Client, proof: ProofHeader<'_>, path: &str) -> Result<Option<Proven>, OAuthError> {
        match (client.dpop, proof) {
            (DpopPolicy::Off, _) | (DpopPolicy::Optional, ProofHeader::Absent) => Ok(None),
            (DpopPolicy::Required | DpopPolicy::Optional, _) => self.prove(proof, "POST", path, None).await.map(Some),
        }
    }

    /// The same where a proof only says which key a code is to be bound to. RFC 9449 §10.1.
    ///
    /// # Errors
    /// As [`Engine::proven_by`].
    pub(super) async fn proven_if_shown(&self, client: &Client, proof: ProofHeader<'_>, path: &str) -> Result<Option<Proven>, OAuthError> {
        if proof == ProofHeader::Absent { Ok(None) } else { self.proven_by(client, proof, path).await }
    }

    /// The live token behind a request to one of our own resources, once the way it was sent fits its binding. RFC 9449 §7.1, §7.2.
    ///
    /// # Errors
    /// 401: no token, a token that is not live, a bound one without its key's proof, an unbound one sent as if it were bound.
    pub(super) async fn shown(&self, shown: Option<ShownToken<'_>>, method: &str, path: &str) -> Result<ActiveToken, OAuthError> {
        let shown = shown.ok_or_else(OAuthError::token_missing)?;
        let invalid = || OAuthError::token_invalid().under(shown.scheme);
        let active = self.active(shown.token).await?.ok_or_else(invalid)?;
        trail::by(&active.claims.client_id);
        trail::token(&active.claims);
        if let Some(grant) = &active.grant {
            trail::grant(grant);
        }
        match (shown.scheme, &active.claims.cnf) {
            (Scheme::Bearer, None) => {}
            (Scheme::Bearer, Some(_)) => return Err(not_as_bound("the token is bound to a key and needs its proof")),
            (Scheme::DPoP, None) => return Err(not_as_bound("the token is not bound to a key")),
            (Scheme::DPoP, Some(cnf)) => {
                let proven = self.prove(shown.proof, method, path, Some(shown.token)).await.map_err(|error| error.under(Scheme::DPoP))?;
                if !proven.key.is(&cnf.jkt) {
                    return Err(not_as_bound("the proof is of another key than the token"));
                }
            }
        }
        Ok(active)
    }

    /// Checks the proof of one request to us and uses it up.
    async fn prove(&self, proof: ProofHeader<'_>, method: &str, path: &str, access_token: Option<&str>) -> Result<Proven, OAuthError> {
        let now = self.now();
        let url = self.rules.issuer.at(path);
        let nonces = match self.rules.dpop_nonce {
            DpopNonce::Never => None,
            DpopNonce::Always => Some(Nonces::at(now, |turn| self.keys.mac(&[b"dpop-nonce", turn]))),
        };
        let inside = self.reached_by().map(|url| url.at(path));
        let wanted = ProofFor { method, url: &url, or_url: inside.as_deref(), access_token, nonces: nonces.as_ref() };
        let proof = match dpop::only(proof).and_then(|proof| dpop::check(proof, &wanted, now)) {
            Ok(proof) => proof,
            Err(reason) => return Err(refused(reason, nonces)),
        };
        // RFC 9449 §11.1: the mark is kept before anything is answered, for as long as the proof would be taken.
        match self.store.create(&proof.mark.text(), &Replay { until: proof.until }).await? {
            Commit::Applied => {}
            Commit::Conflict => return Err(ProofError::Replayed.into()),
        }
        let nonce = nonces.filter(|_| proof.nonce_is_old).map(|nonces| nonces.current);
        Ok(Proven { key: proof.fresh(), nonce })
    }
}

/// A refusal, with the nonce to try again with where that is what was missing. RFC 9449 §8.
fn refused(reason: ProofError, nonces: Option<Nonces>) -> OAuthError {
    match (reason, nonces) {
        (ProofError::NonceMissing | ProofError::NonceWrong, Some(nonces)) => OAuthError::from(reason).with_nonce(nonces.current),
        (reason, _) => reason.into(),
    }
}

/// RFC 9449 §7.1: the way the token was sent does not fit its binding.
fn not_as_bound(why: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidToken, why).challenge(Challenge::DPoP { scope: None })
}
