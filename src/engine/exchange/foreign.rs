//! (d) Another trusted issuer's becomes ours: what its token is worth here. DESIGN §3, Token exchange; `reference/helseid.md` §6.3.
//!
//! Its ids mean nothing here, so client, person and patient are each mapped ([`super::mapped`]). Whether the token is live is that
//! issuer's to say: it is introspected there at each exchange. What comes of it afterwards we do not hear, so a result is short-lived.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::grant::Made;
use super::{Basis, Engine, Failed};
use crate::domain::client::Client;
use crate::domain::exchange::{Ask, ExchangeRefusal, ExchangeRow, Subject, find, permit};
use crate::domain::grant::AuthFacts;
use crate::domain::trusted::TrustedIssuer;
use crate::fetch::{Peer, PeerDown};
use crate::fhir_client::FhirClient;
use crate::jose::{Alg, AudienceForm, Expect, UnverifiedJwt, numeric_date, verify};
use crate::protocol::claims::{ACCESS_TOKEN, Actor, Source};
use crate::protocol::dpop::{DPOP, Thumbprint};
use crate::protocol::exchange::{ExchangeRequest, TokenType};
use crate::protocol::ids::{ClientId, FhirBase, FhirId, Issuer, Reference};
use crate::protocol::launch::LaunchContext;
use crate::protocol::scope::ScopeSet;
use crate::protocol::token::TokenResponse;
use crate::secret::{Digest, Secret};
use crate::time::{Clock, UnixTime};

/// What another issuer may sign with: whatever SMART servers use, RFC 8725 §3.1, and nothing its metadata adds.
const ALGS: &[Alg] = &[Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::ES256, Alg::ES384, Alg::EdDSA];

/// How far its clock may be from ours. T21.
const LEEWAY: Duration = Duration::from_secs(5);

/// How long one of its FHIR servers may take.
const FHIR_TIMEOUT: Duration = Duration::from_secs(5);

/// The trusted issuers of an issuer of ours, by name.
pub(in crate::engine) type Peers = BTreeMap<Issuer, Trusted>;

/// One trusted issuer, and how we ask it.
pub(in crate::engine) struct Trusted {
    pub(super) rules: TrustedIssuer,
    peer: Peer,
    pub(super) fhir: FhirClient,
}

/// The trusted issuers of a configuration. Nobody is asked anything yet.
pub(in crate::engine) fn peers(trusted: &[TrustedIssuer], clock: &Arc<dyn Clock>) -> Peers {
    let one = |rules: &TrustedIssuer| Trusted {
        peer: Peer::new(&rules.issuer, &rules.client_id, &rules.client_secret, Arc::clone(clock)),
        fhir: FhirClient::new(&rules.base, FHIR_TIMEOUT),
        rules: rules.clone(),
    };
    trusted.iter().map(|rules| (rules.issuer.clone(), one(rules))).collect()
}

/// Why a foreign token is not believed, beyond what is told of it.
#[derive(Debug, thiserror::Error)]
enum Disbelief {
    #[error("{0}")]
    Jwt(#[from] crate::jose::JwtError),
    #[error("the issuer says at introspection that it is not active")]
    Inactive,
    #[error("the token and its introspection differ in `{0}`")]
    Differs(&'static str),
    #[error("`{0}` is missing or has the wrong form")]
    Form(&'static str),
}

/// A verified token beside what its issuer says of it now: who of both says something says the same.
struct Told {
    claims: Map<String, Value>,
    answer: Map<String, Value>,
}

impl Told {
    fn member(&self, name: &'static str) -> Result<Option<&Value>, Disbelief> {
        match (self.claims.get(name), self.answer.get(name)) {
            (Some(claim), Some(said)) if claim != said => Err(Disbelief::Differs(name)),
            (one, other) => Ok(one.or(other)),
        }
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, Disbelief> {
        self.member(name)?.map(|value| value.as_str().ok_or(Disbelief::Form(name))).transpose()
    }

    fn moment(&self, name: &'static str) -> Result<Option<UnixTime>, Disbelief> {
        let read = |value: &Value| numeric_date(value).ok_or(Disbelief::Form(name));
        match (self.claims.get(name).map(read).transpose()?, self.answer.get(name).map(read).transpose()?) {
            (Some(claim), Some(said)) if claim != said => Err(Disbelief::Differs(name)),
            (one, other) => Ok(one.or(other)),
        }
    }

    fn scopes(&self) -> Result<ScopeSet, Disbelief> {
        let read = |value: &Value| value.as_str().map(ScopeSet::parse_request).ok_or(Disbelief::Form("scope"));
        match (self.claims.get("scope").map(read).transpose()?, self.answer.get("scope").map(read).transpose()?) {
            // The same access, in whatever order.
            (Some(claim), Some(said)) if !(claim.covers(&said) && said.covers(&claim)) => Err(Disbelief::Differs("scope")),
            (one, other) => one.or(other).ok_or(Disbelief::Form("scope")),
        }
    }

    /// The key it is bound to. A binding that we cannot check is not taken for none. RFC 9449 §6, RFC 8705 §3.1.
    fn bound_to(&self) -> Result<Option<Thumbprint>, Disbelief> {
        match self.member("cnf")? {
            Some(cnf) => cnf.get("jkt").and_then(Value::as_str).and_then(Thumbprint::parse).map(Some).ok_or(Disbelief::Form("cnf")),
            None if self.answer.get("token_type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case(DPOP)) => Err(Disbelief::Form("cnf")),
            None => Ok(None),
        }
    }

    /// Those who acted there. A name without issuer is that issuer's, and is told so from ours.
    fn act(&self, issuer: &Issuer) -> Result<Option<Actor>, Disbelief> {
        let Some(value) = self.member("act")? else { return Ok(None) };
        let mut act = Actor::deserialize(value).map_err(|_| Disbelief::Form("act"))?;
        let mut next = Some(&mut act);
        while let Some(actor) = next {
            actor.iss.get_or_insert_with(|| issuer.to_string());
            next = actor.act.as_deref_mut();
        }
        Ok(Some(act))
    }

    fn fhir_user(&self, base: &FhirBase) -> Result<Option<Reference>, Disbelief> {
        let read = |value: &Value| {
            let text = value.as_str()?;
            let relative = text.strip_prefix(base.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
            Reference::parse(relative).ok()
        };
        let parsed = |value: Option<&Value>| value.map(|value| read(value).ok_or(Disbelief::Form("fhirUser"))).transpose();
        match (parsed(self.claims.get("fhirUser"))?, parsed(self.answer.get("fhirUser"))?) {
            (Some(claim), Some(said)) if claim != said => Err(Disbelief::Differs("fhirUser")),
            (one, other) => Ok(one.or(other)),
        }
    }

    /// The issuers in its history, as far as it tells. `reference/helseid.md` §6.5, `src`.
    fn came_from(&self) -> Result<Vec<String>, Disbelief> {
        let Some(value) = self.member("src")? else { return Ok(Vec::new()) };
        let several = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        several.iter().map(|source| source.get("iss").and_then(Value::as_str).map(str::to_owned).ok_or(Disbelief::Form("src"))).collect()
    }
}

/// What a foreign token says that is carried over, once it is mapped.
pub(super) struct Carried {
    pub(super) user: Reference,
    pub(super) patient: Option<FhirId>,
    auth: Option<AuthFacts>,
    source: Source,
}

impl Engine {
    /// Answers an exchange of another issuer's token.
    ///
    /// # Errors
    /// [`ExchangeRefusal`] for a token, client, person or patient that is not found good there and here; an issuer, FHIR server or store
    /// that does not answer.
    pub(super) async fn foreign<'a>(
        &'a self,
        caller: &Client,
        ask: &ExchangeRequest,
        asked: &Ask<'_>,
        trusted: &Trusted,
    ) -> Result<(&'a ExchangeRow, TokenResponse), Failed> {
        // Before anybody is asked: who has no row makes us call nobody. T2.
        find(&self.rules.exchange, asked)?;
        let told = self.told(trusted, &ask.subject.token).await?;
        let (facts, carried) = self.judged(trusted, &told, caller, &ask.subject.token).await?;
        let mut permit = permit(&self.rules.exchange, asked, &facts, self.now())?;
        // Its FHIR server wants a proof by the key the token is bound to, and that key is the app's: who it is about cannot be read.
        if facts.bound_to.is_some() {
            return Err(ExchangeRefusal::SubjectBound.into());
        }
        if carried.patient.is_none() {
            permit.without_patient()?;
        }
        let base = self.rules.fhir_named(&permit.row.audience).map(|server| server.base.clone()).ok_or(ExchangeRefusal::NoRow)?;
        let here = self.mapped(trusted, &base, &ask.subject.token, &carried).await?;
        // An id_token has no scopes, but says of the person what the subject's allow.
        let ceiling = permit.row.scopes.narrow(&caller.scopes);
        let scopes = if permit.result == TokenType::IdToken { facts.scopes.as_ref().map(|scopes| scopes.narrow(&ceiling)) } else { None };
        let grant = self.make_grant(Made {
            caller,
            base: &base,
            fhir_user: here.user,
            user_name: here.name,
            scopes: scopes.unwrap_or_else(|| permit.scopes.clone()),
            // The encounter is theirs: nothing here corresponds to it.
            context: LaunchContext { patient: here.patient, ..LaunchContext::default() },
            session: None,
            auth: carried.auth.clone(),
            until: permit.expires_at,
        });
        let basis = Basis {
            sub: grant.subject.clone(),
            grant: Some(Arc::new(grant.clone())),
            sid: None,
            auth: carried.auth,
            sources: vec![carried.source],
            act: facts.act,
        };
        let response = self.own_result(caller, ask, &mut permit, basis).await?;
        self.keep_grant(&grant).await?;
        Ok((permit.row, response))
    }

    /// The token verified with its issuer's keys, and what that issuer says of it now.
    async fn told(&self, trusted: &Trusted, token: &Secret<String>) -> Result<Told, Failed> {
        let issuer = &trusted.rules.issuer;
        let disbelieved = |why: Disbelief| {
            tracing::info!(%issuer, reason = %why, "a foreign subject token is not believed");
            ExchangeRefusal::Subject
        };
        let unverified = UnverifiedJwt::parse(token.expose()).map_err(|why| disbelieved(why.into()))?;
        let keys = trusted.peer.keys(unverified.key_id_hint()).await?;
        let expect = Expect {
            issuer: Some(issuer.as_str()),
            audiences: &[trusted.rules.base.as_str()],
            audience_form: AudienceForm::SingleString,
            typ: &[ACCESS_TOKEN],
            algs: ALGS,
            leeway: LEEWAY,
            ..Expect::default()
        };
        let now = self.now();
        let claims: Map<String, Value> = match verify(&unverified, &keys, &expect, now) {
            Ok(verified) => verified.into_claims(),
            Err(why @ crate::jose::JwtError::Audience) => {
                disbelieved(why.into());
                return Err(ExchangeRefusal::SubjectAudience.into());
            }
            Err(why) => return Err(disbelieved(why.into()).into()),
        };
        if ["iat", "nbf"].iter().any(|name| claims.get(*name).and_then(numeric_date).is_some_and(|at| at > now + LEEWAY)) {
            return Err(disbelieved(crate::jose::JwtError::NotYet.into()).into());
        }
        let Some(answer) = trusted.peer.introspect(token).await? else {
            disbelieved(Disbelief::Inactive);
            return Err(ExchangeRefusal::SubjectEnded.into());
        };
        let told = Told { claims, answer };
        for name in ["iss", "sub", "aud", "jti"] {
            told.member(name).map_err(disbelieved)?;
        }
        Ok(told)
    }

    /// What the policy looks at, and what is carried over.
    async fn judged(&self, trusted: &Trusted, told: &Told, caller: &Client, token: &Secret<String>) -> Result<(Subject, Carried), Failed> {
        let TrustedIssuer { issuer, base, .. } = &trusted.rules;
        let read = || -> Result<_, Disbelief> {
            let theirs = told.text("client_id")?.and_then(|text| ClientId::parse(text).ok()).ok_or(Disbelief::Form("client_id"))?;
            let patient = told.text("patient")?.map(|id| FhirId::parse(id).map_err(|_| Disbelief::Form("patient"))).transpose()?;
            let expires_at = told.moment("exp")?.ok_or(Disbelief::Form("exp"))?;
            let may_act = told.member("may_act")?.map(|value| Actor::deserialize(value).map_err(|_| Disbelief::Form("may_act"))).transpose()?;
            let auth_time = told.moment("auth_time")?;
            let acr = told.text("acr")?.map(str::to_owned);
            Ok((
                theirs,
                patient,
                expires_at,
                may_act,
                auth_time,
                acr,
                told.scopes()?,
                told.bound_to()?,
                told.act(issuer)?,
                told.came_from()?,
                told.fhir_user(base)?,
            ))
        };
        let (theirs, patient, expires_at, may_act, auth_time, acr, scopes, bound_to, act, came_from, user) = read().map_err(|why| {
            tracing::info!(%issuer, reason = %why, "a foreign subject token is not believed");
            ExchangeRefusal::Subject
        })?;
        // P6: what was ours does not come back to us by way of another issuer.
        if came_from.iter().any(|source| source == self.rules.issuer.as_str()) {
            return Err(ExchangeRefusal::RoundTrip.into());
        }
        // §6.6: one client of theirs is one of ours, or none.
        let ours = trusted.rules.clients.get(&theirs).ok_or(ExchangeRefusal::OtherClient)?;
        let client = self.client_anew(ours).await?.filter(|client| !client.disabled).ok_or(ExchangeRefusal::SubjectEnded)?;
        let may_act_claim = may_act.map(|actor| self.actor_here(trusted, &actor)).transpose();
        let may_act_claim = match may_act_claim {
            Ok(claim) => claim,
            // It names somebody who is nobody here; to the holder itself that does not matter.
            Err(_) if *ours == caller.id => None,
            Err(refusal) => return Err(refusal.into()),
        };
        let amr = told.claims.get("amr").and_then(Value::as_array).into_iter().flatten();
        let auth = auth_time.zip(acr).map(|(auth_time, acr)| AuthFacts { auth_time, acr, amr: amr.filter_map(Value::as_str).map(str::to_owned).collect() });
        let name = told.claims.get("jti").and_then(Value::as_str).unwrap_or(token.expose()).as_bytes();
        let jti_hash = Digest::of(&self.keys.mac(&[b"foreign", issuer.as_str().as_bytes(), name])).text();
        let facts = Subject {
            person: true,
            client: Some(ours.clone()),
            may_act: client.may_act.clone(),
            may_act_claim,
            scopes: Some(scopes),
            expires_at,
            auth_time,
            exchanged: act.is_some() || !came_from.is_empty(),
            act,
            came_from,
            bound_to,
            may_write: true,
        };
        let source = Source { iss: issuer.to_string(), jti: None, jti_hash: Some(jti_hash), sid_hash: None, client_id: Some(ours.clone()) };
        Ok((facts, Carried { user: user.ok_or(ExchangeRefusal::Machine)?, patient, auth, source }))
    }

    /// The party a foreign `may_act` names, by its name here. RFC 8693 §4.4.
    fn actor_here(&self, trusted: &Trusted, actor: &Actor) -> Result<Actor, ExchangeRefusal> {
        let sub = match actor.iss.as_deref() {
            Some(iss) if iss == self.rules.issuer.as_str() => actor.sub.clone(),
            Some(iss) if iss != trusted.rules.issuer.as_str() => return Err(ExchangeRefusal::MayAct),
            Some(_) | None => {
                let theirs = ClientId::parse(&actor.sub).map_err(|_| ExchangeRefusal::MayAct)?;
                trusted.rules.clients.get(&theirs).ok_or(ExchangeRefusal::MayAct)?.to_string()
            }
        };
        Ok(Actor { sub, iss: Some(self.rules.issuer.to_string()), client_id: None, act: None })
    }
}

impl From<PeerDown> for Failed {
    fn from(down: PeerDown) -> Self {
        Self::Peer(down)
    }
}
