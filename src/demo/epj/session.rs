//! A browser's session with the EPJ: who sits there, which EPJ session that is, and what was opened lately.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::random::Random;
use crate::secret::{Digest, Secret, same};
use crate::time::UnixTime;

/// How many launches the panel shows.
const REMEMBERED: usize = 8;
/// How many browsers are kept; beyond that the oldest starts over.
const MOST_SESSIONS: usize = 1000;

/// One line of the panel. The handle is not kept.
#[derive(Clone)]
pub struct Recent {
    pub at: UnixTime,
    /// The patient's id, and name.
    pub id: String,
    pub patient: String,
    pub app: String,
    pub handed_over: bool,
}

struct Inner {
    fhir_user: String,
    ehr_session: String,
    handed_over: bool,
    recent: VecDeque<Recent>,
}

/// A session as the handlers hold it: cheap to clone, shared by every tab of one browser.
#[derive(Clone)]
pub struct Session {
    csrf: Arc<Secret<String>>,
    inner: Arc<Mutex<Inner>>,
}

impl Session {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token the forms carry.
    pub fn csrf(&self) -> &str {
        self.csrf.expose()
    }

    pub fn csrf_is(&self, sent: &str) -> bool {
        same(sent.as_bytes(), self.csrf.expose().as_bytes())
    }

    /// `Practitioner/…` of who sits there.
    pub fn fhir_user(&self) -> String {
        self.inner().fhir_user.clone()
    }

    /// The id the launch API gets as `session`.
    pub fn ehr_session(&self) -> String {
        self.inner().ehr_session.clone()
    }

    /// Somebody sits down: a new EPJ session that has handed over nothing.
    pub fn sign_in(&self, fhir_user: &str, ehr_session: String) {
        let mut inner = self.inner();
        inner.fhir_user = fhir_user.to_owned();
        inner.ehr_session = ehr_session;
        inner.handed_over = false;
    }

    /// The server has been told of this EPJ session, and must be told of its end.
    pub fn handed_over(&self) {
        self.inner().handed_over = true;
    }

    pub fn was_handed_over(&self) -> bool {
        self.inner().handed_over
    }

    pub fn remember(&self, recent: Recent) {
        let mut inner = self.inner();
        inner.recent.push_front(recent);
        inner.recent.truncate(REMEMBERED);
    }

    /// When an app was last opened for this patient.
    pub fn opened(&self, patient: &str) -> Option<UnixTime> {
        self.inner().recent.iter().find(|recent| recent.handed_over && recent.id == patient).map(|recent| recent.at)
    }

    /// The latest first.
    pub fn recent(&self) -> Vec<Recent> {
        self.inner().recent.iter().cloned().collect()
    }
}

/// All sessions, by the digest of the cookie.
pub struct Sessions {
    random: Arc<dyn Random>,
    first_user: String,
    held: Mutex<HashMap<[u8; 32], (UnixTime, Session)>>,
}

impl Sessions {
    pub fn new(random: Arc<dyn Random>, first_user: String) -> Self {
        Self { random, first_user, held: Mutex::default() }
    }

    pub fn load(&self, id: &str) -> Option<Session> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(Digest::of(id.as_bytes()).bytes()).map(|(_, session)| session.clone())
    }

    pub fn create(&self, now: UnixTime) -> (Secret<String>, Session) {
        let id = self.random.token();
        let inner = Inner { fhir_user: self.first_user.clone(), ehr_session: self.new_ehr_session(), handed_over: false, recent: VecDeque::new() };
        let session = Session { csrf: Arc::new(self.random.token()), inner: Arc::new(Mutex::new(inner)) };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST_SESSIONS {
            let oldest = held.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| *key);
            oldest.and_then(|key| held.remove(&key));
        }
        held.insert(*id.digest().bytes(), (now, session.clone()));
        (id, session)
    }

    pub fn new_ehr_session(&self) -> String {
        self.random.id()
    }
}
