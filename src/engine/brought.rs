//! A token of the provider's that the EPJ brings with a launch: looked at as an API would, kept sealed, and then a subject token there and
//! nothing else. DESIGN §3, The launch API; `reference/helseid.md` §2.11, §6.4.

use std::collections::BTreeSet;

use super::Engine;
use super::exchange::{AtUpstream, Failed};
use super::launch::{LaunchRefused, wrong};
use super::people::Unknown;
use super::upstream_session::{AccessError, Bridge, SESSION_ALG};
use crate::domain::dpop::{self, Proof, ProofError, ProofFor};
use crate::domain::exchange::{ExchangeRefusal, ExchangeRow};
use crate::domain::grant::Grant;
use crate::domain::launch::Launch;
use crate::domain::upstream::UpstreamSubject;
use crate::domain::upstream_session::BroughtToken;
use crate::jose::SigningKey;
use crate::protocol::dpop::Thumbprint;
use crate::protocol::ids::{FhirBase, SessionId};
use crate::protocol::launch_request::{LaunchRequest, Member, UpstreamProven};
use crate::secret::{Digest, Secret};
use crate::store::records::Replay;
use crate::store::{Commit, StoreError};
use crate::time::UnixTime;
use crate::upstream::{Details, ExchangeAsk, Holder, TokenFault, Tokens, UpstreamError, UpstreamToken};

/// A token that an API would take, of whomever, with the proof that whoever sends it holds its key.
pub(super) struct Taken {
    text: Secret<String>,
    token: UpstreamToken,
    subject: UpstreamSubject,
    auth_time: UnixTime,
    proof: Proof,
}

impl Taken {
    /// Until when it is good.
    pub fn until(&self) -> UnixTime {
        self.token.expires_at
    }
}

/// A kept token, open.
pub(super) struct Brought {
    id: SessionId,
    pub text: Secret<String>,
    /// What comes of it is bound to this.
    pub key: SigningKey,
    pub subject: UpstreamSubject,
}

impl Engine {
    /// The token of a launch request, once it is what an API takes: the provider's, for our API alone, in time, of a person, surely and
    /// lately logged in, and bound to a key that this request proves. What needs nobody else is looked at first.
    ///
    /// # Errors
    /// [`LaunchRefused::Member`] for the first thing that does not stand; the provider's keys or the store being out of reach.
    pub(super) async fn upstream_token_of(&self, ask: &LaunchRequest) -> Result<Option<Taken>, LaunchRefused> {
        let Some(UpstreamProven { token: text, proof }) = &ask.upstream else { return Ok(None) };
        let refused = |why| wrong(Member::UpstreamToken, why);
        let bridge = self.bridge().ok_or_else(|| refused("cannot be taken: this issuer has no upstream"))?;
        let proof = proof.as_ref().map(|proof| self.launch_proof(proof, text)).transpose()?;
        let rules = bridge.client.rules();
        let token = match bridge.client.verify_access_token(text, &rules.api_audience).await {
            Ok(token) => token,
            Err(UpstreamError::Token(fault)) => return Err(refused(said(fault))),
            Err(down) => return Err(LaunchRefused::Upstream(down)),
        };
        // RFC 9449 §7.1: a bearer token is anybody's who has seen it.
        let jkt = token.jkt.as_deref().and_then(Thumbprint::parse).ok_or_else(|| refused("is not bound to a key"))?;
        let proof = proof.ok_or_else(|| wrong(Member::UpstreamProof, "is missing: the token is bound to a key"))?;
        if !proof.is_of(&jkt) {
            return Err(wrong(Member::UpstreamProof, "is of another key than the token is bound to"));
        }
        token.person(rules, self.now()).map_err(|fault| refused(said(fault)))?;
        // P6: what came from an exchange is not exchanged again.
        if !token.actors.is_empty() {
            return Err(refused("came from an exchange"));
        }
        let (Some(subject), Some(auth_time)) = (token.subject.clone(), token.auth_time) else { return Err(refused("is not of a person")) };
        if self.upstream_denied(&rules.issuer, token.session.as_ref(), token.jti.as_str()).await? {
            return Err(refused("belongs to a session that ended"));
        }
        Ok(Some(Taken { text: text.clone(), token, subject, auth_time, proof }))
    }

    /// The proof of a token in a launch request. It is in the body, where no answer could bring a nonce.
    fn launch_proof(&self, proof: &Secret<String>, token: &Secret<String>) -> Result<Proof, LaunchRefused> {
        let url = self.rules.issuer.at("/launches");
        let inside = self.reached_by().map(|url| url.at("/launches"));
        let wanted = ProofFor { method: "POST", url: &url, or_url: inside.as_deref(), access_token: Some(token.expose()), nonces: None };
        dpop::check(proof.expose(), &wanted, self.now()).map_err(|reason| wrong(Member::UpstreamProof, misproved(reason)))
    }

    /// Whether the token is of the person the launch is for: found by both numbers, as at a login; for an organisation they work for, and
    /// the launch's where that names one. P7, P8, T16.
    ///
    /// # Errors
    /// [`LaunchRefused::Member`]; the FHIR server being out of reach.
    pub(super) async fn is_of_the_launching_user(&self, base: &FhirBase, ask: &LaunchRequest, taken: &Taken) -> Result<(), LaunchRefused> {
        let refused = |why| wrong(Member::UpstreamToken, why);
        let other = || refused("is of another person than fhir_user");
        let person = taken.token.person.as_ref().ok_or_else(other)?;
        match self.practitioner(base, person, taken.token.hpr.as_ref()).await {
            Ok(found) if found.reference().as_ref() == Some(&ask.fhir_user) => {}
            Ok(_) | Err(Unknown::Person | Unknown::Conflict) => return Err(other()),
            Err(Unknown::Fhir(down)) => return Err(down.into()),
            Err(Unknown::Keys(failed)) => return Err(failed.into()),
        }
        let Some(parent) = &taken.token.org_parent else { return Ok(()) };
        let fits = async {
            let theirs = self.works_for(base, &ask.fhir_user, parent, taken.token.org_child.as_ref()).await?;
            let here = match &ask.organization {
                Some(place) => self.belongs_to(base, place, parent).await?,
                None => true,
            };
            Ok(theirs && here)
        };
        match fits.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(Unknown::Person | Unknown::Conflict) => Err(refused("is for an organisation that is not this person's or this launch's")),
            Err(Unknown::Fhir(down)) => Err(down.into()),
            Err(Unknown::Keys(failed)) => Err(failed.into()),
        }
    }

    /// Uses the proof up, before anything comes of it. RFC 9449 §11.1.
    ///
    /// # Errors
    /// [`LaunchRefused::Member`] where it was used before; a store that cannot answer.
    pub(super) async fn use_proof_up(&self, taken: &Taken) -> Result<(), LaunchRefused> {
        match self.store.create(&taken.proof.mark.text(), &Replay { until: taken.proof.until }).await? {
            Commit::Applied => Ok(()),
            Commit::Conflict => Err(wrong(Member::UpstreamProof, misproved(ProofError::Replayed))),
        }
    }

    /// Keeps the token under the id of its launch, until its own end.
    ///
    /// # Errors
    /// A store that cannot answer; no key to be had.
    pub(super) async fn keep_brought(&self, id: &str, launch: &Launch, taken: &Taken) -> Result<(), LaunchRefused> {
        let bridge = self.bridge().ok_or_else(|| wrong(Member::UpstreamToken, "cannot be taken: this issuer has no upstream"))?;
        let key = SigningKey::generate(SESSION_ALG).and_then(|key| key.to_pkcs8_der()).map_err(|_| LaunchRefused::Upstream(UpstreamError::Signing))?;
        let record = BroughtToken {
            session: launch.session.clone(),
            session_epoch: launch.session_epoch,
            base: launch.base.clone(),
            subject: launch.subject.clone(),
            fhir_user: launch.fhir_user.clone(),
            upstream_subject: taken.subject.clone(),
            upstream_session: taken.token.session.clone(),
            jti: taken.token.jti.clone(),
            auth_time: taken.auth_time,
            token: bridge.seal("brought", id, taken.text.expose().as_bytes()),
            key: bridge.seal("key", id, key.expose()),
            expires_at: taken.token.expires_at,
        };
        match self.store.create(id, &record).await? {
            Commit::Applied => Ok(()),
            Commit::Conflict => Err(StoreError::Corrupt("a launch handle of 256 random bits was there already".to_owned()).into()),
        }
    }

    /// The token a grant's launch came with, while it is good: in time, of the same person, its EPJ session alive, not logged out there,
    /// and of a login young enough for the row. P7 and T11 are asked each time. `None` where none came along.
    ///
    /// # Errors
    /// [`ExchangeRefusal`] for the first of these that does not hold; a store that cannot answer.
    pub(super) async fn brought(&self, row: &ExchangeRow, grant: &Grant) -> Result<Option<Brought>, Failed> {
        let (Some(bridge), Some(id)) = (self.bridge(), &grant.brought) else { return Ok(None) };
        let held = self.store.load::<BroughtToken>(id).await?.ok_or(ExchangeRefusal::UpstreamSessionEnded)?;
        let (kept, now) = (&held.value, self.now());
        if kept.subject != grant.subject || kept.base != grant.base || Some(&kept.fhir_user) != grant.fhir_user.as_ref() {
            return Err(ExchangeRefusal::Person.into());
        }
        let alive = self.live_session(&kept.session).await?.is_some_and(|session| session.carries(kept.session_epoch, now));
        let issuer = &bridge.client.rules().issuer;
        if !alive || self.upstream_denied(issuer, kept.upstream_session.as_ref(), kept.jti.as_str()).await? {
            return Err(ExchangeRefusal::UpstreamSessionEnded.into());
        }
        if row.max_age.is_some_and(|longest| kept.auth_time + longest < now) {
            return Err(ExchangeRefusal::LoginTooOld.into());
        }
        let der = bridge.open("key", id, &kept.key).map_err(AccessError::from)?;
        Ok(Some(Brought {
            id: SessionId::parse(id).map_err(|_| AccessError::Unreadable)?,
            text: bridge.open_text("brought", id, &kept.token)?,
            key: SigningKey::from_pkcs8_der(der.expose(), SESSION_ALG).map_err(|_| AccessError::Unreadable)?,
            subject: kept.upstream_subject.clone(),
        }))
    }

    /// A token of the provider's for a row, by exchange of the one the EPJ brought: a kept one while it is good. §5.
    ///
    /// # Errors
    /// Whatever the provider says or fails to.
    pub(super) async fn exchange_brought(
        &self,
        brought: Brought,
        row: &ExchangeRow,
        scopes: &BTreeSet<String>,
        details: &Details,
    ) -> Result<AtUpstream, AccessError> {
        let bridge = self.bridge().ok_or(AccessError::NoSession)?;
        let digest = brought.digest(row, scopes, details);
        if let Some(tokens) = bridge.kept(&brought.id, &digest) {
            return Ok(AtUpstream { tokens, key: brought.key });
        }
        let tokens = brought.exchange(bridge, row, scopes, details).await?;
        bridge.keep(&brought.id, &digest, tokens.clone());
        Ok(AtUpstream { tokens, key: brought.key })
    }
}

impl Brought {
    /// T18: what tells its results apart.
    fn digest(&self, row: &ExchangeRow, scopes: &BTreeSet<String>, details: &Details) -> Digest {
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let (details, key) = (details.digest(), self.key.public_jwk().thumbprint());
        Digest::of_parts(&[b"brought", self.id.as_str().as_bytes(), row.audience.as_bytes(), scopes.join(" ").as_bytes(), details.bytes(), key.as_bytes()])
    }

    async fn exchange(&self, bridge: &Bridge, row: &ExchangeRow, scopes: &BTreeSet<String>, details: &Details) -> Result<Tokens, UpstreamError> {
        let ask =
            ExchangeAsk { subject_token: &self.text, subject: Some(&self.subject), holder: Holder::Key(&self.key), scopes, audience: &row.audience, details };
        bridge.client.exchange(&ask).await
    }
}

/// What the EPJ is told of a token. It may know: it is its own.
fn said(fault: TokenFault) -> &'static str {
    use TokenFault as T;
    match fault {
        T::Level => "is of a login that is not sure enough",
        T::LoginTooOld | T::NoAuthTime => "is of a login that is too long ago, or nobody knows how long",
        T::NoPerson => "is not of a person",
        T::TooLongLived => "lives too long; at most 15 minutes may be left",
        T::TooLong
        | T::NoKeyId
        | T::Jwt(_)
        | T::Claim(_)
        | T::Nonce
        | T::AuthorizedParty
        | T::Old
        | T::AccessTokenHash
        | T::Subject
        | T::NotAnAccessToken
        | T::Binding
        | T::Organisation
        | T::Actor
        | T::NotALogoutToken => "is not an access token of the identity provider for this server's API, or not in time",
    }
}

fn misproved(reason: ProofError) -> &'static str {
    use ProofError as P;
    match reason {
        P::Replayed => "was used before",
        P::Method | P::Target => "is not for a POST to this URL",
        P::TooOld | P::IssuedAt => "is too old, or says not when it was made",
        P::AccessToken => "is not for this upstream_token",
        P::Missing | P::Several | P::Jwt(_) | P::Jti | P::NonceMissing | P::NonceWrong | P::OtherKey => "is no proof of possession (RFC 9449 §4.2)",
    }
}
