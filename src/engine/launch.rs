//! The launch API: the EHR hands over who opens what for whom. DESIGN §3, The launch API.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde::Serialize;

use super::Engine;
use super::brought::Taken;
use super::keys::KeysError;
use super::live::ActiveToken;
use super::start::StartLink;
use crate::audit::trail;
use crate::domain::audit::Person;
use crate::domain::client::{Client, LAUNCH_CREATE, Required};
use crate::domain::issuer::{FhirServer, LONGEST_LAUNCH};
use crate::domain::launch::{Launch, LaunchId, LaunchState, Start, new_handle};
use crate::domain::session::{Session, SessionWay};
use crate::domain::upstream_session::UpstreamEnd;
use crate::fhir_client::{Belongs, FhirDown, Resource};
use crate::metrics::LaunchEvent;
use crate::protocol::dpop::ShownToken;
use crate::protocol::error::{Challenge, ErrorCode, OAuthError};
use crate::protocol::ids::{ClientId, FhirBase, Issuer, RedirectUri, Reference, SessionId};
use crate::protocol::launch_request::{LaunchRequest, Member};
use crate::secret::{Digest, Secret};
use crate::store::{Commit, StoreError};
use crate::time::since_the_epoch;
use crate::trace;
use crate::upstream::UpstreamError;

/// What the EHR gets back.
#[derive(Debug, Serialize)]
pub struct NewLaunch {
    /// The handle. Whoever has it and the launching user's session gets the context.
    #[serde(serialize_with = "shown")]
    pub launch: Secret<String>,
    pub iss: FhirBase,
    /// The app's launch URL with `iss` and `launch`.
    #[serde(serialize_with = "shown")]
    pub launch_url: Secret<String>,
    /// What the EHR opens in the user's browser: once, within 60 s.
    #[serde(serialize_with = "shown")]
    pub start_url: Secret<String>,
    /// Seconds since 1970.
    pub expires_at: i64,
}

fn shown<S: serde::Serializer>(secret: &Secret<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose())
}

/// Why there is no launch.
#[derive(Debug, thiserror::Error)]
pub enum LaunchRefused {
    /// 422: a member does not stand. Nothing reaches the app.
    #[error("{member}: {why}")]
    Member { member: Member, why: &'static str },
    /// 503
    #[error(transparent)]
    Fhir(#[from] FhirDown),
    /// 503 where the identity provider's keys cannot be had.
    #[error(transparent)]
    Upstream(UpstreamError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

pub(super) fn wrong(member: Member, why: &'static str) -> LaunchRefused {
    LaunchRefused::Member { member, why }
}

/// FHIR types that can be a user. SAL-082.
const USERS: &[&str] = &["Practitioner", "PractitionerRole", "Patient", "RelatedPerson", "Person"];

impl Engine {
    /// The EHR client behind a token of scope `launch:create`, shown by POST at `path` of this issuer.
    ///
    /// # Errors
    /// 401 without a good token or the proof it needs, 403 without the scope, 503 without a store.
    pub async fn ehr_caller(&self, shown: Option<ShownToken<'_>>, path: &str) -> Result<Arc<Client>, OAuthError> {
        let active = self.shown(shown, "POST", path).await?;
        Self::as_ehr(&self.rules.issuer, active).map_err(|error| shown.map_or(error.clone(), |shown| error.under(shown.scheme)))
    }

    fn as_ehr(issuer: &Issuer, active: ActiveToken) -> Result<Arc<Client>, OAuthError> {
        if active.claims.aud != issuer.as_str() || active.grant.is_some() {
            return Err(OAuthError::token_invalid());
        }
        if !active.claims.scope.has_extension(LAUNCH_CREATE) {
            let error = OAuthError::new(ErrorCode::InsufficientScope, "the token does not carry launch:create");
            return Err(error.challenge(Challenge::Bearer { scope: Some(LAUNCH_CREATE) }));
        }
        active.client.ok_or_else(OAuthError::token_invalid)
    }

    /// Makes a launch, once everything it names exists and belongs together.
    ///
    /// # Errors
    /// [`LaunchRefused`]
    pub async fn create_launch(&self, ehr: &Client, ask: LaunchRequest) -> Result<NewLaunch, LaunchRefused> {
        trail::note(|facts| {
            facts.user = Some(Person::Reference(ask.fhir_user.clone()));
            facts.context(&ask.context);
        });
        let client = self.launched_client(&ask).await?;
        trail::note(|facts| facts.about = Some(client.id.clone()));
        let server = self.launched_base(&ask)?;
        let launch_url = launch_url(&client, &ask)?;
        let ttl = match ask.ttl {
            None => self.rules.lifetimes.launch,
            Some(seconds) if (1..=LONGEST_LAUNCH.as_secs()).contains(&seconds) => Duration::from_secs(seconds),
            Some(_) => return Err(wrong(Member::Ttl, "must be 1 to 300 seconds")),
        };
        for (required, there, member) in
            [(Required::Patient, ask.context.patient.is_some(), Member::Patient), (Required::Encounter, ask.context.encounter.is_some(), Member::Encounter)]
        {
            if client.requires.contains(&required) && !there {
                return Err(wrong(member, "this app cannot work without it"));
            }
        }
        let taken = self.upstream_token_of(&ask).await?;
        let found = trace::step("smart.launch.resolve", self.resolve(server, &ask)).await?;
        if let Some(taken) = &taken {
            self.is_of_the_launching_user(&server.base, &ask, taken).await?;
            self.use_proof_up(taken).await?;
        }
        let subject = self.subject(&server.base, &ask.fhir_user);
        let now = self.now();
        let (session, session_epoch) = self.ehr_session(ehr, &ask, server, &subject, found.user_name.clone()).await?;
        let handle = new_handle(since_the_epoch(), &self.new_secret());
        let start = self.new_secret();
        let id = LaunchId::of(handle.expose());
        let id = id.as_str();
        let launch = Launch {
            client: client.id.clone(),
            base: server.base.clone(),
            fhir_user: ask.fhir_user.clone(),
            user_name: found.user_name,
            subject,
            context: ask.context.clone(),
            patient_name: found.patient_name,
            patient_birth_date: found.patient_birth_date,
            organization: ask.organization.clone(),
            launch_url: launch_url.clone(),
            session,
            session_epoch,
            brought_until: taken.as_ref().map(Taken::until),
            ehr: ehr.id.clone(),
            created_at: now,
            opens_until: now + ttl,
            start: Start::Waiting { token: start.digest(), until: now + self.rules.lifetimes.start },
            state: LaunchState::Issued,
        };
        // Before there is a handle to use it with.
        if let Some(taken) = &taken {
            self.keep_brought(id, &launch, taken).await?;
        }
        if self.store.create(id, &launch).await? == Commit::Conflict {
            return Err(StoreError::Corrupt("a launch handle of 256 random bits was there already".to_owned()).into());
        }
        trail::launch(id, &launch);
        self.metrics.launch(LaunchEvent::Made);
        Ok(NewLaunch {
            launch_url: Secret::new(launch_url.with_query(&[("iss", server.base.as_str()), ("launch", handle.expose())])),
            iss: server.base.clone(),
            start_url: Secret::new(self.rules.issuer.at(&format!("/start/{}", StartLink::print(&handle, &start).expose()))),
            expires_at: launch.opens_until.0,
            launch: handle,
        })
    }

    async fn launched_client(&self, ask: &LaunchRequest) -> Result<Arc<Client>, LaunchRefused> {
        let client = self.client_anew(&ask.client_id).await?.filter(|client| !client.disabled);
        client.ok_or_else(|| wrong(Member::ClientId, "no client of this id is registered here"))
    }

    fn launched_base(&self, ask: &LaunchRequest) -> Result<&FhirServer, LaunchRefused> {
        match (&ask.fhir_base, self.rules.fhir.as_slice()) {
            (Some(named), _) => self.rules.fhir_named(named).ok_or_else(|| wrong(Member::FhirBase, "is not a FHIR base of this issuer")),
            (None, [only]) => Ok(only),
            (None, _) => Err(wrong(Member::FhirBase, "is needed: this issuer has several")),
        }
    }

    /// Reads everything the request names, at once, and checks that it belongs together.
    async fn resolve(&self, server: &FhirServer, ask: &LaunchRequest) -> Result<Resolved, LaunchRefused> {
        let mut reads: Vec<(Member, Reference)> = vec![(Member::FhirUser, ask.fhir_user.clone())];
        if !USERS.contains(&ask.fhir_user.kind.as_str()) {
            return Err(wrong(Member::FhirUser, "must be a Practitioner, PractitionerRole, Patient, RelatedPerson or Person"));
        }
        if let Some(patient) = &ask.context.patient {
            reads.push((Member::Patient, Reference::to("Patient", patient)));
        }
        if let Some(encounter) = &ask.context.encounter {
            reads.push((Member::Encounter, Reference::to("Encounter", encounter)));
        }
        if let Some(organization) = &ask.organization {
            if organization.kind.as_str() != "Organization" {
                return Err(wrong(Member::Organization, "must be a reference such as Organization/1"));
            }
            reads.push((Member::Organization, organization.clone()));
        }
        reads.extend(ask.context.fhir_context.iter().filter_map(|item| item.target()).map(|target| (Member::FhirContext, target)));
        let also: BTreeSet<String> =
            reads.iter().filter(|(member, _)| *member == Member::FhirContext).map(|(_, target)| target.kind.as_str().to_owned()).collect();
        let token = self.own_token(&server.base, &also)?;
        let fhir = self.fhir.get(&server.base).ok_or_else(|| wrong(Member::FhirBase, "is not a FHIR base of this issuer"))?;
        let found: Vec<Option<Resource>> = try_join_all(reads.iter().map(|(_, what)| fhir.read(&token, what))).await?;
        let mut resolved = Resolved::default();
        for ((member, what), resource) in reads.iter().zip(found) {
            let resource = resource.ok_or_else(|| wrong(*member, "does not exist at the FHIR server"))?;
            match member {
                Member::Patient => {
                    let patient = resource.patient_summary();
                    resolved.patient_birth_date = patient.as_ref().and_then(|patient| patient.birth_date.clone());
                    resolved.patient_name = patient.and_then(|patient| patient.name);
                }
                Member::FhirUser => {
                    // A patient opens their own journal, a relative the one they are related to.
                    let tied = matches!(what.kind.as_str(), "Patient" | "RelatedPerson");
                    if tied && ask.context.patient.as_ref().is_some_and(|patient| resource.belongs_to(patient) != Belongs::Yes) {
                        return Err(wrong(Member::FhirUser, "has nothing to do with this patient"));
                    }
                    resolved.user_name = resource.person_name();
                }
                Member::Encounter => {
                    let of = resource.encounter().and_then(|encounter| encounter.subject);
                    if ask.context.patient.is_none() || of.map(|of| of.id) != ask.context.patient {
                        return Err(wrong(Member::Encounter, "is not an encounter of this patient"));
                    }
                }
                Member::FhirContext => {
                    // What is about a patient must be about the one in the launch; a Patient or Encounter in a role of its own need not be.
                    let own_role = matches!(what.kind.as_str(), "Patient" | "Encounter");
                    if !own_role && ask.context.patient.as_ref().is_some_and(|patient| resource.belongs_to(patient) == Belongs::No) {
                        return Err(wrong(Member::FhirContext, "points at a resource of another patient"));
                    }
                }
                _ => {}
            }
        }
        Ok(resolved)
    }

    /// The session this launch belongs to: the EPJ's own where it names one, else one for this launch alone.
    async fn ehr_session(
        &self,
        ehr: &Client,
        ask: &LaunchRequest,
        server: &FhirServer,
        subject: &crate::protocol::ids::Subject,
        name: Option<String>,
    ) -> Result<(SessionId, u32), LaunchRefused> {
        let id = match &ask.session {
            Some(named) => ehr_session_id(&ehr.id, &server.base, named.expose()),
            None => SessionId::parse(&self.random.id()).expect("hexadecimal is an id"),
        };
        let now = self.now();
        let fresh = Session {
            id: id.clone(),
            subject: subject.clone(),
            base: server.base.clone(),
            fhir_user: ask.fhir_user.clone(),
            name,
            way: SessionWay::Ehr,
            amr: Vec::new(),
            auth_time: now,
            ehr: Some(ehr.id.clone()),
            cookie: None,
            ended_at: None,
            // Never an epoch of a session of the same name before: what ended with that one stays dead.
            epoch: u32::try_from(now.0).unwrap_or(0),
            logged_out_at: None,
            expires_at: now + self.rules.lifetimes.session,
        };
        loop {
            let Some(held) = self.store.load::<Session>(id.as_str()).await? else {
                match self.store.create(id.as_str(), &fresh).await? {
                    Commit::Applied => return Ok((id, fresh.epoch)),
                    Commit::Conflict => continue,
                }
            };
            let known = &held.value;
            if known.fhir_user != ask.fhir_user {
                return Err(wrong(Member::Session, "belongs to another user"));
            }
            // What ended or ran out stays so: nothing that hung on it may come back to life.
            if !known.is_live(now) {
                return Err(wrong(Member::Session, "has ended; the EHR's next session has another id"));
            }
            // The person is at work: the session lives on from now, unless it has plenty of time left.
            let fresh_enough = known.expires_at >= now + self.rules.lifetimes.session / 2;
            if fresh_enough || self.store.replace(&held, &Session { expires_at: fresh.expires_at, ..known.clone() }).await? == Commit::Applied {
                return Ok((id, known.epoch));
            }
        }
    }

    /// The EPJ's logout: one write, and everything that hangs on the session is dead; a login at the identity provider that was made under it
    /// ends too. No error where there is no such session.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn end_ehr_session(&self, ehr: &Client, session: &str) -> Result<(), StoreError> {
        for server in &self.rules.fhir {
            let id = ehr_session_id(&ehr.id, &server.base, session);
            if self.end_session(&id).await? {
                trail::note(|facts| facts.session = Some(id.clone()));
            }
            self.end_upstream_of(&id, UpstreamEnd::EpjEnded).await?;
        }
        Ok(())
    }
}

/// The EPJ's session under an id of ours: two EPJs may use the same text, and one EPJ may use it at several bases, where the
/// same reference is another person.
fn ehr_session_id(ehr: &ClientId, base: &FhirBase, session: &str) -> SessionId {
    let digest = Digest::of_parts(&[b"ehr session", ehr.as_str().as_bytes(), base.as_str().as_bytes(), session.as_bytes()]);
    SessionId::parse(&digest.text()).expect("base64url is an id")
}

fn launch_url(client: &Client, ask: &LaunchRequest) -> Result<RedirectUri, LaunchRefused> {
    match &ask.launch_url {
        None => client.launch_urls.first().cloned().ok_or_else(|| wrong(Member::LaunchUrl, "this client has no registered launch URL")),
        Some(asked) => {
            let registered = client.launch_urls.iter().find(|url| url.as_str() == asked).cloned();
            registered.ok_or_else(|| wrong(Member::LaunchUrl, "is not registered for this client"))
        }
    }
}

/// What the FHIR server told us for our pages.
#[derive(Default)]
struct Resolved {
    user_name: Option<String>,
    patient_name: Option<String>,
    patient_birth_date: Option<String>,
}
