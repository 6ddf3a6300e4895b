//! (b) The upstream's becomes ours: a person's token, and the context a launch gives it. `reference/helseid.md` §6.5–6.6.

use std::sync::Arc;

use super::super::people::Unknown;
use super::grant::Made;
use super::{Basis, Engine, Failed};
use crate::audit::trail;
use crate::domain::client::Client;
use crate::domain::exchange::{Ask, ExchangeRefusal, ExchangeRow, Permit, Presenter, Subject, find, permit};
use crate::domain::grant::{AuthFacts, Grant};
use crate::domain::launch::{Launch, LaunchId, LaunchState};
use crate::domain::person::OrgNumber;
use crate::domain::upstream_session::Denied;
use crate::fhir_client::Resource;
use crate::protocol::claims::{Actor, Source};
use crate::protocol::dpop::Thumbprint;
use crate::protocol::exchange::ExchangeRequest;
use crate::protocol::ids::{FhirBase, Reference};
use crate::protocol::token::TokenResponse;
use crate::secret::{Digest, Secret};
use crate::store::records::Replay;
use crate::store::{Commit, Held};
use crate::time::UnixTime;
use crate::upstream::{UpstreamError, UpstreamToken};

/// How the person proved to be the person, as our tokens say it: at the upstream, as surely as it says.
const ACR: &str = "/acr/helseid";

impl Engine {
    /// Exchanges a token of the upstream's for one of ours.
    ///
    /// # Errors
    /// [`ExchangeRefusal`] with the rule that stands against it; the upstream's keys, the FHIR server or the store being out of reach.
    pub(super) async fn taken_from_upstream<'a>(
        &'a self,
        caller: &Client,
        request: &ExchangeRequest,
        ask: &Ask<'_>,
    ) -> Result<(&'a ExchangeRow, TokenResponse), Failed> {
        let row = find(&self.rules.exchange, ask)?;
        let base = &self.rules.fhir_named(&row.audience).ok_or(ExchangeRefusal::NoRow)?.base;
        let token = self.upstream_token(row, &request.subject.token).await?;
        let facts = self.upstream_facts(row, caller, &token)?;
        self.not_denied(&token, row).await?;
        let permitted = permit(&self.rules.exchange, ask, &facts, self.now())?;
        let (person, hpr) = (token.person.as_ref().ok_or(ExchangeRefusal::Machine)?, token.hpr.as_ref());
        let practitioner = self.practitioner(base, person, hpr).await?;
        let fhir_user = practitioner.reference().ok_or(ExchangeRefusal::Person)?;
        // P8; the token's legal entity was compared with the row's already.
        if !self.works_for(base, &fhir_user, parent(&token)?, token.org_child.as_ref()).await? {
            return Err(ExchangeRefusal::Organisation.into());
        }
        let launch = match &request.launch {
            None => None,
            Some(handle) => Some(self.launch_for(caller, base, &fhir_user, parent(&token)?, handle).await?),
        };
        let once = row.once.then(|| token.expires_at.max(permitted.expires_at));
        let context = launch.as_ref().map(|held| &held.value);
        let (response, grant) = self.upstream_result(caller, base, permitted, &token, &practitioner, context).await?;
        // Nothing is used up for an answer that cannot be made.
        if let Some(until) = once {
            self.use_up(&token, until).await?;
        }
        if let Some(held) = launch
            && self.store.replace(&held, &held.value.spend(self.now())).await? == Commit::Conflict
        {
            return Err(ExchangeRefusal::Launch.into());
        }
        self.keep_grant(&grant).await?;
        Ok((row, response))
    }

    /// The presented token, verified as an API would: signature, issuer, one audience, lifetime. §2.11.
    async fn upstream_token(&self, row: &ExchangeRow, token: &Secret<String>) -> Result<UpstreamToken, Failed> {
        let upstream = self.upstream().ok_or(ExchangeRefusal::Subject)?;
        let audience = row.subject_audience.as_deref().unwrap_or(&upstream.rules().api_audience);
        match upstream.verify_access_token(token, audience).await {
            Ok(token) => Ok(token),
            Err(UpstreamError::Token(fault)) => {
                tracing::info!(%fault, "an upstream token was not taken");
                Err(ExchangeRefusal::Subject.into())
            }
            Err(down) => Err(Failed::Upstream(down)),
        }
    }

    /// What policy looks at, and what no policy can allow: a machine, a lower level, another organisation. P9, T16, T17.
    fn upstream_facts(&self, row: &ExchangeRow, caller: &Client, token: &UpstreamToken) -> Result<Subject, ExchangeRefusal> {
        let upstream = self.upstream().ok_or(ExchangeRefusal::Subject)?;
        if token.is_machine() {
            return Err(ExchangeRefusal::Machine);
        }
        if token.level.is_none_or(|level| level < upstream.rules().min_level) {
            return Err(ExchangeRefusal::Level);
        }
        if !token.org_parent.as_ref().is_some_and(|parent| row.organisations.contains(parent)) {
            return Err(ExchangeRefusal::Organisation);
        }
        let jkt = token.jkt.as_deref().map(|jkt| Thumbprint::parse(jkt).ok_or(ExchangeRefusal::Subject)).transpose()?;
        let (client, bound_to) = match row.presenter {
            // One to one, and the key of the token is the key of this request: without one nothing tells holder from thief.
            Presenter::Holder => {
                if row.subject_client.as_ref() != Some(&token.client_id) {
                    return Err(ExchangeRefusal::OtherClient);
                }
                (caller.id.clone(), Some(jkt.ok_or(ExchangeRefusal::OtherKey)?))
            }
            // The row names the caller and the audience it has there; whose proof came with the token, the caller has seen and we cannot.
            Presenter::Actor => (caller.id.clone(), None),
        };
        Ok(Subject {
            person: true,
            client: Some(client),
            may_act: Vec::new(),
            may_act_claim: None,
            // §6.6: upstream scopes are never ours, one to one. The row is the ceiling.
            scopes: None,
            expires_at: token.expires_at,
            auth_time: token.auth_time,
            act: chain(token),
            exchanged: !token.actors.is_empty(),
            came_from: vec![upstream.rules().issuer.to_string()],
            bound_to,
            may_write: token.hpr.is_some(),
        })
    }

    /// Upstream tokens cannot be recalled: what a logout there told us is remembered here. §6.5.
    async fn not_denied(&self, token: &UpstreamToken, row: &ExchangeRow) -> Result<(), Failed> {
        let issuer = &self.upstream().ok_or(ExchangeRefusal::Subject)?.rules().issuer;
        let denied = self.upstream_denied(issuer, token.session.as_ref(), token.jti.as_str()).await?;
        let used = row.once && self.store.load::<Replay>(&self.once_mark(token)).await?.is_some();
        if denied || used { Err(ExchangeRefusal::UpstreamToken.into()) } else { Ok(()) }
    }

    /// A keyed hash of a token's id: what we remember and tell of it.
    fn jti_hash(&self, token: &UpstreamToken) -> String {
        Digest::of(&self.keys.mac(&[b"upstream jti", token.jti.as_str().as_bytes()])).text()
    }

    fn once_mark(&self, token: &UpstreamToken) -> String {
        format!("once.{}", self.jti_hash(token))
    }

    async fn use_up(&self, token: &UpstreamToken, until: UnixTime) -> Result<(), Failed> {
        match self.store.create(&self.once_mark(token), &Replay { until }).await? {
            Commit::Applied => Ok(()),
            Commit::Conflict => Err(ExchangeRefusal::UpstreamToken.into()),
        }
    }

    /// The launch behind a handle, for this client, person and organisation, of a session that lives; to be spent with the answer. T10.
    async fn launch_for(
        &self,
        caller: &Client,
        base: &FhirBase,
        fhir_user: &Reference,
        organisation: &OrgNumber,
        handle: &Secret<String>,
    ) -> Result<Held<Launch>, Failed> {
        let held: Held<Launch> = self.store.load(LaunchId::of(handle.expose()).as_str()).await?.ok_or(ExchangeRefusal::Launch)?;
        trail::launch(held.id(), &held.value);
        let launch = &held.value;
        let now = self.now();
        let theirs = launch.client == caller.id && launch.base == *base && launch.fhir_user == *fhir_user;
        // A browser has it already, or had it: two ways of using one handle are one too many.
        let unused = launch.state == LaunchState::Issued && now < launch.opens_until;
        if !theirs || !unused {
            return Err(ExchangeRefusal::Launch.into());
        }
        if let Some(place) = &launch.organization
            && !self.belongs_to(base, place, organisation).await?
        {
            return Err(ExchangeRefusal::Launch.into());
        }
        // T11: what the EPJ ended gives nothing, not even a token that is dead from the start.
        if !self.live_session(&launch.session).await?.is_some_and(|session| session.carries(launch.session_epoch, now)) {
            return Err(ExchangeRefusal::Launch.into());
        }
        Ok(held)
    }

    async fn upstream_result(
        &self,
        caller: &Client,
        base: &FhirBase,
        mut permitted: Permit<'_>,
        token: &UpstreamToken,
        practitioner: &Resource,
        launch: Option<&Launch>,
    ) -> Result<(TokenResponse, Grant), Failed> {
        // §6.5: no launch, no patient.
        if launch.is_none_or(|launch| launch.context.patient.is_none()) {
            permitted.without_patient()?;
        }
        let auth = token.auth_time.map(|auth_time| AuthFacts { auth_time, acr: self.rules.issuer.at(ACR), amr: token.amr.clone() });
        let session = launch.map(|launch| (launch.session.clone(), launch.session_epoch));
        let fhir_user = practitioner.reference().ok_or(ExchangeRefusal::Person)?;
        let made = Made {
            caller,
            base,
            fhir_user,
            user_name: practitioner.practitioner_name(),
            scopes: permitted.scopes.clone(),
            context: launch.map(|launch| launch.context.clone()).unwrap_or_default(),
            session,
            auth,
            until: permitted.expires_at,
        };
        let grant = self.make_grant(made);
        let issuer = self.upstream().ok_or(ExchangeRefusal::Subject)?.rules().issuer.clone();
        let source = Source {
            jti: None,
            jti_hash: Some(self.jti_hash(token)),
            sid_hash: token.session.as_ref().map(|sid| Denied::Session(sid.as_str()).id(&issuer)),
            iss: issuer.to_string(),
            client_id: None,
        };
        let act = self.actor(caller, None, chain(token)).await?;
        let basis = Basis {
            sub: grant.subject.clone(),
            sid: grant.session.clone(),
            auth: grant.auth.clone(),
            sources: vec![source],
            act: None,
            grant: Some(Arc::new(grant.clone())),
        };
        Ok((self.access_token_result(caller, &permitted, basis, Some(act))?, grant))
    }
}

/// The legal entity a token was issued for.
fn parent(token: &UpstreamToken) -> Result<&OrgNumber, ExchangeRefusal> {
    token.org_parent.as_ref().ok_or(ExchangeRefusal::Organisation)
}

/// The upstream's own chain of actors, the newest outside, to be nested below ours. §6.6.
fn chain(token: &UpstreamToken) -> Option<Actor> {
    token
        .actors
        .iter()
        .rev()
        .fold(None, |inner, link| Some(Actor { sub: link.client_id.to_string(), iss: link.issuer.clone(), client_id: None, act: inner.map(Box::new) }))
}

impl From<Unknown> for Failed {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Person | Unknown::Conflict => Self::Refused(ExchangeRefusal::Person),
            Unknown::Fhir(down) => Self::Fhir(down),
            Unknown::Keys(failed) => Self::Keys(failed),
        }
    }
}
