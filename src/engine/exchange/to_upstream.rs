//! (a) Ours becomes the upstream's: out of the session behind the grant, delivered as the row says. `reference/helseid.md` §6.4.

use std::collections::BTreeSet;

use super::{Engine, Failed};
use crate::domain::client::Client;
use crate::domain::exchange::{Ask, Delivery, ExchangeRefusal, ExchangeRow, Permit, permit};
use crate::domain::grant::Grant;
use crate::domain::upstream::{ActingFor, Tenancy};
use crate::domain::upstream_session::UpstreamLogin;
use crate::engine::brought::Brought;
use crate::engine::people::Unknown;
use crate::engine::upstream_session::AccessError;
use crate::jose::{SigningKey, UnverifiedJwt};
use crate::protocol::dpop::{BEARER, DPOP};
use crate::protocol::exchange::ExchangeRequest;
use crate::protocol::launch::LaunchContext;
use crate::protocol::scope::{Scope, ScopeSet};
use crate::protocol::token::TokenResponse;
use crate::secret::{Digest, Secret};
use crate::upstream::details::{Attest, Code, DecisionRef, Purpose, ServiceOrPurpose};
use crate::upstream::{Details, ExchangeAsk, Holder, Refusal, Tokens, UpstreamError};

/// Where a token of the upstream's comes from, and what goes along with the request for it.
struct Behind {
    source: Source,
    details: Details,
}

enum Source {
    Login(Box<UpstreamLogin>),
    Brought(Brought),
}

impl Source {
    /// As what the person is authorised, where the provider was asked.
    fn profession(&self) -> Option<&String> {
        match self {
            Self::Login(login) => login.professions.first(),
            Self::Brought(_) => None,
        }
    }
}

/// A token of the upstream's, and the key it is bound to.
pub(in crate::engine) struct AtUpstream {
    pub tokens: Tokens,
    pub key: SigningKey,
}

impl Engine {
    /// Exchanges a token of ours for one of the upstream's, or for a handle of the gateway's.
    ///
    /// # Errors
    /// [`ExchangeRefusal`] with the rule that stands against it; whatever the upstream says or fails to.
    pub(super) async fn to_upstream<'a>(
        &'a self,
        caller: &Client,
        request: &ExchangeRequest,
        ask: &Ask<'_>,
    ) -> Result<(&'a ExchangeRow, TokenResponse), Failed> {
        let mut found = self.own_subject_token(caller, request).await?;
        // SMART scopes are of another world; the row and the registration are the ceiling.
        found.facts.scopes = None;
        let mut permitted = permit(&self.rules.exchange, ask, &found.facts, self.now())?;
        let row = permitted.row;
        let grant = found.basis.grant.as_deref().ok_or(ExchangeRefusal::Machine)?;
        let got = match row.delivery {
            Delivery::Gateway | Delivery::Identity => self.at_upstream(row, grant, &permitted.scopes).await?.tokens,
            Delivery::Handover => self.handed_over(&permitted, grant, request.upstream_proof.as_ref()).await?,
        };
        permitted.scopes = granted(&permitted.scopes, &got)?;
        match row.delivery {
            // The token stays here; what the caller gets is good at our gateway alone.
            Delivery::Gateway => {
                let act = self.actor(caller, None, found.basis.act.take()).await?;
                self.access_token_result(caller, &permitted, found.basis, Some(act)).map(|response| (row, response))
            }
            Delivery::Identity | Delivery::Handover => {
                // P4: a token that cannot be shortened and outlives what it was given for is not given. By what is permitted now that the token is there: it
                // was made after we asked, and lives as long as was permitted from then on.
                if got.expires_at > permit(&self.rules.exchange, ask, &found.facts, self.now())?.expires_at {
                    return Err(ExchangeRefusal::NoTimeLeft.into());
                }
                Ok((row, handed(&permitted, got, self.now())))
            }
        }
    }

    /// A token of the upstream's for a row, out of the session behind a grant. P7 is asked each time.
    ///
    /// # Errors
    /// [`ExchangeRefusal`] where no session of this person stands behind the grant; whatever the upstream says or fails to.
    pub(in crate::engine) async fn at_upstream(&self, row: &ExchangeRow, grant: &Grant, scopes: &ScopeSet) -> Result<AtUpstream, Failed> {
        let Behind { source, details } = self.behind(row, grant).await?;
        let scopes = named(scopes);
        let login = match source {
            Source::Brought(brought) => return Ok(self.exchange_brought(brought, row, &scopes, &details).await?),
            Source::Login(login) => login,
        };
        let session = grant.session.as_ref().ok_or(ExchangeRefusal::NoUpstreamSession)?;
        match self.upstream_access(session, &row.audience, &scopes, &details).await {
            Ok(access) => Ok(AtUpstream { tokens: access.tokens, key: access.key }),
            // §6.4: what was not named at the login can be had by exchange, where the row says so.
            Err(AccessError::NotPushed) if row.upstream_exchange => {
                let (subject_token, key) = self.for_ourselves(grant, &details).await?;
                let upstream = self.upstream().ok_or(ExchangeRefusal::NoUpstreamSession)?;
                let ask = ExchangeAsk {
                    subject_token: &subject_token,
                    subject: Some(&login.upstream_subject),
                    holder: Holder::Key(&key),
                    scopes: &scopes,
                    audience: &row.audience,
                    details: &details,
                };
                Ok(AtUpstream { tokens: upstream.exchange(&ask).await?, key })
            }
            Err(failed) => Err(failed.into()),
        }
    }

    /// A token bound to the caller's own key, by the proof it made for the upstream; we add who we are. §6.4, `handover`.
    async fn handed_over(&self, permitted: &Permit<'_>, grant: &Grant, proof: Option<&Secret<String>>) -> Result<Tokens, Failed> {
        let (proof, jkt) = (proof.ok_or(ExchangeRefusal::NoProof)?, permitted.bound_to.as_ref().ok_or(ExchangeRefusal::NoProof)?);
        // The same key here and there, before anybody is asked.
        let brought = UnverifiedJwt::parse(proof.expose()).and_then(|proof| proof.proof_key()).map_err(|_| ExchangeRefusal::NoProof)?;
        if brought.thumbprint() != jkt.as_str() {
            return Err(ExchangeRefusal::OtherKey.into());
        }
        let Behind { source, details } = self.behind(permitted.row, grant).await?;
        let (subject_token, subject) = match source {
            Source::Brought(brought) => (brought.text, brought.subject),
            Source::Login(login) => (self.for_ourselves(grant, &details).await?.0, login.upstream_subject),
        };
        let upstream = self.upstream().ok_or(ExchangeRefusal::NoUpstreamSession)?;
        let ask = ExchangeAsk {
            subject_token: &subject_token,
            subject: Some(&subject),
            holder: Holder::Proof { proof, jkt: jkt.as_str() },
            scopes: &named(&permitted.scopes),
            audience: &permitted.row.audience,
            details: &details,
        };
        match upstream.exchange(&ask).await {
            // The proof is the app's, and so is what is wrong with it.
            Err(UpstreamError::Refused(Refusal::InvalidProof)) => Err(ExchangeRefusal::NoProof.into()),
            outcome => Ok(outcome?),
        }
    }

    /// The session's token for our own API there: what we exchange as the actor.
    async fn for_ourselves(&self, grant: &Grant, details: &Details) -> Result<(Secret<String>, SigningKey), Failed> {
        let upstream = self.upstream().ok_or(ExchangeRefusal::NoUpstreamSession)?;
        let session = grant.session.as_ref().ok_or(ExchangeRefusal::NoUpstreamSession)?;
        let audience = upstream.rules().api_audience.clone();
        let access = self.upstream_access(session, &audience, &BTreeSet::new(), details).await?;
        Ok((access.tokens.access_token, access.key))
    }

    /// What stands behind a grant, of the same person, and what we say of the circumstances: a login, which can be refreshed, before a token
    /// the EPJ brought, which cannot.
    async fn behind(&self, row: &ExchangeRow, grant: &Grant) -> Result<Behind, Failed> {
        let upstream = self.upstream().ok_or(ExchangeRefusal::NoUpstreamSession)?;
        let session = grant.session.as_ref().ok_or(ExchangeRefusal::NoUpstreamSession)?;
        let source = match self.upstream_login(session).await? {
            Some(login) if login.subject != grant.subject || Some(&login.fhir_user) != grant.fhir_user.as_ref() => return Err(ExchangeRefusal::Person.into()),
            // Asked again for each request through the gateway and each claim: a handle may be younger than the login is allowed to be.
            Some(login) if row.max_age.is_some_and(|max_age| login.auth_time + max_age < self.now()) => return Err(ExchangeRefusal::LoginTooOld.into()),
            Some(login) => Source::Login(Box::new(login)),
            None => Source::Brought(self.brought(row, grant).await?.ok_or(ExchangeRefusal::NoUpstreamSession)?),
        };
        let tenancy = upstream.rules().tenancy;
        if tenancy == Tenancy::Own && row.attest_service.is_none() {
            return Ok(Behind { source, details: Details::none() });
        }
        let who = self.acting_for(grant).await?.ok_or(ExchangeRefusal::Organisation)?;
        let details = Details::none().acting_for(tenancy, &who);
        let details = if row.delivery == Delivery::Identity { details.may_name_none() } else { details };
        let details = match &row.attest_service {
            None => details,
            Some((system, code)) => details.attest(&self.attest(source.profession(), grant, &who, system, code)?),
        };
        Ok(Behind { source, details })
    }

    /// The attest of this launch. §3.4: the EPJ made the context, so the person did not select it by themselves.
    fn attest(&self, profession: Option<&String>, grant: &Grant, who: &ActingFor, system: &str, code: &str) -> Result<Attest, Failed> {
        // Opaque there: which encounter it is can be found again here, and by nobody else.
        let about = grant.context.encounter.as_ref().map_or(grant.id.as_str(), |encounter| encounter.as_str());
        let opaque = Digest::of(&self.keys.mac(&[b"decision-ref", about.as_bytes()])).text();
        Ok(Attest {
            profession: profession.cloned(),
            legal_entity: who.parent.clone(),
            point_of_care: who.child.clone().unwrap_or_else(|| who.parent.clone()),
            department: None,
            service: ServiceOrPurpose::Service(Code { code: code.to_owned(), system: system.to_owned() }),
            purpose: Purpose::Treatment,
            decision_ref: DecisionRef::parse(&opaque).ok_or(ExchangeRefusal::Organisation)?,
            user_selected: false,
        })
    }
}

/// The scopes as the upstream takes them.
fn named(scopes: &ScopeSet) -> BTreeSet<String> {
    scopes.iter().map(ToString::to_string).collect()
}

/// What was given of what was asked: an organisation that has not signed the terms gets less. §2.6.
fn granted(asked: &ScopeSet, got: &Tokens) -> Result<ScopeSet, ExchangeRefusal> {
    let mut left = asked.clone();
    left.retain(|scope| matches!(scope, Scope::Extension(name) if got.granted.contains(&**name)));
    if left.is_empty() { Err(ExchangeRefusal::NothingLeft) } else { Ok(left) }
}

fn handed(permitted: &Permit<'_>, got: Tokens, now: crate::time::UnixTime) -> TokenResponse {
    TokenResponse {
        access_token: got.access_token,
        token_type: if got.token.jkt.is_some() { DPOP } else { BEARER },
        expires_in: u64::try_from(got.expires_at.since(now)).unwrap_or(0),
        scope: permitted.scopes.to_string(),
        issued_token_type: Some(permitted.result.as_str()),
        refresh_token: None,
        id_token: None,
        context: LaunchContext::default(),
    }
}

impl From<AccessError> for Failed {
    fn from(failed: AccessError) -> Self {
        match failed {
            AccessError::NoSession => Self::Refused(ExchangeRefusal::NoUpstreamSession),
            AccessError::Ended(_) | AccessError::Upstream(UpstreamError::Refused(Refusal::InvalidGrant)) => {
                Self::Refused(ExchangeRefusal::UpstreamSessionEnded)
            }
            AccessError::NotPushed => Self::Refused(ExchangeRefusal::UpstreamTarget),
            AccessError::Upstream(failed) => Self::Upstream(failed),
            AccessError::Store(down) => Self::Store(down),
            failed @ (AccessError::Seal(_) | AccessError::Unreadable | AccessError::Busy) => Self::Access(failed),
        }
    }
}

impl Engine {
    /// For which organisation a grant's person acts: that of the launch, else of the encounter; with the legal entity above it. P8.
    async fn acting_for(&self, grant: &Grant) -> Result<Option<ActingFor>, Unknown> {
        let Some(place) = self.place_of(grant).await? else { return Ok(None) };
        let numbers = self.numbers_upwards(&grant.base, &place).await?;
        let (Some(child), Some(parent)) = (numbers.first().cloned(), numbers.last().cloned()) else { return Ok(None) };
        let Some(person) = &grant.fhir_user else { return Ok(None) };
        if !self.works_for(&grant.base, person, &parent, None).await? {
            return Ok(None);
        }
        Ok(Some(ActingFor { child: (child != parent).then_some(child), parent }))
    }
}
