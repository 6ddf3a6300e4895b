//! Sessions that begin with a login here. DESIGN §3, Who is the user; HelseID joins with the bridge.

use super::Engine;
use super::start::Browser;
use crate::domain::interaction::KnownUser;
use crate::domain::issuer::LoginWay;
use crate::domain::launch::Launch;
use crate::domain::session::{Session, SessionWay};
use crate::protocol::ids::{FhirBase, Reference, SessionId};
use crate::secret::{Digest, Secret};
use crate::store::{Commit, StoreError};

/// A session that was just made, and the cookie that shows it.
pub struct SignedIn {
    pub session: Session,
    pub cookie: Secret<String>,
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
        let Some(user) = known else { return Ok(None) };
        let now = self.now();
        let id = SessionId::parse(&self.random.id()).expect("hexadecimal is an id");
        let secret = self.new_secret();
        let session = Session {
            id: id.clone(),
            subject: self.subject(base, &user.fhir_user),
            base: base.clone(),
            fhir_user: user.fhir_user,
            name: Some(user.name),
            way: SessionWay::Local,
            auth_time: now,
            ehr: None,
            cookie: Some(secret.digest()),
            ended_at: None,
            epoch: 0,
            logged_out_at: None,
            expires_at: now + self.rules.lifetimes.session,
        };
        match self.store.create(id.as_str(), &session).await? {
            Commit::Applied => Ok(Some(SignedIn { cookie: Secret::new(format!("sess_{id}_{}", secret.expose())), session })),
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

    /// Ends a session: one write, and everything that hangs on it is dead from then on.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn end_session(&self, id: &SessionId) -> Result<(), StoreError> {
        loop {
            let Some(held) = self.store.load::<Session>(id.as_str()).await? else { return Ok(()) };
            if held.value.ended_at.is_some() {
                return Ok(());
            }
            let ended = Session { ended_at: Some(self.now()), ..held.value.clone() };
            if self.store.replace(&held, &ended).await? == Commit::Applied {
                return Ok(());
            }
        }
    }
}
