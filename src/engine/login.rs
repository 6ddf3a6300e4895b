//! Sessions that begin with a login here. DESIGN §3, Who is the user.

use super::Engine;
use super::start::Browser;
use crate::audit::trail;
use crate::domain::audit::{Action, Person};
use crate::domain::interaction::KnownUser;
use crate::domain::issuer::LoginWay;
use crate::domain::launch::Launch;
use crate::domain::session::{Session, SessionWay};
use crate::protocol::ids::{FhirBase, Reference, SessionId};
use crate::secret::{Digest, Secret};
use crate::store::{Commit, StoreError};
use crate::time::UnixTime;

/// A session that was just made, and the cookie that shows it.
pub struct SignedIn {
    pub session: Session,
    pub cookie: Secret<String>,
}

/// What a login found out.
pub(super) struct LoginFacts {
    pub fhir_user: Reference,
    pub name: Option<String>,
    pub way: SessionWay,
    pub amr: Vec<String>,
    pub auth_time: UnixTime,
}

impl Engine {
    /// The live session a browser shows, if it began with a login here.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn browser_session(&self, browser: &Browser) -> Result<Option<Session>, StoreError> {
        let Some((id, secret)) = browser.session.as_ref().and_then(|cookie| cookie.expose().strip_prefix("sess_")).and_then(|rest| rest.split_once('_')) else {
            return Ok(None);
        };
        let Ok(id) = SessionId::parse(id) else { return Ok(None) };
        let shown = Digest::of(secret.as_bytes());
        Ok(self.live_session(&id).await?.filter(|session| session.cookie == Some(shown)))
    }

    /// Begins a session for a person on the `local` list; `None` for anybody else.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn sign_in_locally(&self, base: &FhirBase, fhir_user: &str) -> Result<Option<SignedIn>, StoreError> {
        if !self.rules.login.contains(&LoginWay::Local) {
            return Ok(None);
        }
        let known = Reference::parse(fhir_user).ok().and_then(|fhir_user| self.rules.local_user(&fhir_user).cloned());
        let Some(user) = known else {
            trail::also_refused(Action::Login, "login", "nobody on the list has this name", |facts| facts.way = Some(SessionWay::Local.as_str()));
            return Ok(None);
        };
        let facts = LoginFacts { fhir_user: user.fhir_user, name: Some(user.name), way: SessionWay::Local, amr: Vec::new(), auth_time: self.now() };
        let signed_in = self.new_session(base, facts);
        self.keep_session(&signed_in.session).await?;
        trail::logged_in(&signed_in.session);
        Ok(Some(signed_in))
    }

    /// A session with a cookie of its own, not kept yet.
    pub(super) fn new_session(&self, base: &FhirBase, facts: LoginFacts) -> SignedIn {
        let id = SessionId::parse(&self.random.id()).expect("hexadecimal is an id");
        let secret = self.new_secret();
        let session = Session {
            id: id.clone(),
            subject: self.subject(base, &facts.fhir_user),
            base: base.clone(),
            fhir_user: facts.fhir_user,
            name: facts.name,
            way: facts.way,
            amr: facts.amr,
            auth_time: facts.auth_time,
            ehr: None,
            cookie: Some(secret.digest()),
            ended_at: None,
            epoch: 0,
            logged_out_at: None,
            expires_at: self.now() + self.rules.lifetimes.session,
        };
        SignedIn { cookie: Secret::new(format!("sess_{id}_{}", secret.expose())), session }
    }

    pub(super) async fn keep_session(&self, session: &Session) -> Result<(), StoreError> {
        match self.store.create(session.id.as_str(), session).await? {
            Commit::Applied => Ok(()),
            Commit::Conflict => Err(StoreError::Corrupt("a session of 128 random bits was there already".to_owned())),
        }
    }

    /// The user of a session, as an interaction keeps it. What is granted in an EHR launch belongs to the EPJ's session.
    pub fn known_user(&self, session: &Session, launch: Option<&Launch>) -> KnownUser {
        let mut user = KnownUser::of(session, &self.rules.issuer);
        if let Some(launch) = launch {
            user.bind_to(launch);
        }
        user
    }

    /// Ends a session: one write, and everything that hangs on it is dead from then on. False where there is none.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn end_session(&self, id: &SessionId) -> Result<bool, StoreError> {
        loop {
            let Some(held) = self.store.load::<Session>(id.as_str()).await? else { return Ok(false) };
            trail::note(|facts| facts.user = Some(Person::Reference(held.value.fhir_user.clone())));
            if held.value.ended_at.is_some() {
                // Whoever ended it may not have come to this.
                self.tell_parties(id).await?;
                return Ok(true);
            }
            let ended = Session { ended_at: Some(self.now()), ..held.value.clone() };
            if self.store.replace(&held, &ended).await? == Commit::Applied {
                self.tell_parties(id).await?;
                return Ok(true);
            }
        }
    }
}
