//! What one browser has open: logins under way, by `state`, and patients, by id. Two patients in two tabs are two records (`nav.md` §3.7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::demo::sealed::VerifiedId;
use crate::random::Random;
use crate::secret::{Digest, Secret, same};
use crate::time::UnixTime;

use super::checks::Check;
use super::discovery::SmartConfiguration;

/// Thirty days, as NAV's app.
pub const SESSION_S: u32 = 30 * 24 * 3600;
/// How long a login may be under way, in seconds.
const LOGIN_S: i64 = 15 * 60;
/// Bounds on what a browser may make us remember.
const MOST_LOGINS: usize = 16;
const MOST_PATIENTS: usize = 32;
const MOST_SESSIONS: usize = 1000;

/// A login between the launch and the callback.
pub struct Login {
    pub state: String,
    pub verifier: Secret<String>,
    /// As the launch spelled it; `aud` was the same.
    pub iss: String,
    pub at: UnixTime,
}

/// What may be shown of an access token.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    pub alg: String,
    pub typ: String,
    pub kid: String,
    pub claims: String,
    /// Seconds.
    pub lifetime: i64,
}

/// How the last refresh went.
#[derive(Clone)]
pub struct Refreshed {
    pub at: UnixTime,
    pub checks: Vec<Check>,
}

/// A document the journal took.
#[derive(Clone)]
pub struct Receipt {
    pub id: String,
    pub title: String,
    /// The code of its type.
    pub kind: &'static str,
    /// The HTTP status of the write, and the `Location` that came with it.
    pub status: u16,
    pub location: String,
    pub at: UnixTime,
    pub checks: Vec<Check>,
}

/// A patient open in this browser, with the tokens that were given for that patient and no other.
#[derive(Clone)]
pub struct OpenPatient {
    pub server_name: String,
    pub iss: String,
    pub description: Arc<SmartConfiguration>,
    pub access: Secret<String>,
    pub refresh: Secret<String>,
    pub patient: String,
    pub encounter: String,
    pub fhir_user: String,
    pub granted: Vec<String>,
    /// Context members as they came, for showing.
    pub context: Vec<(String, String)>,
    pub id: VerifiedId,
    /// End of the access token.
    pub expires_at: UnixTime,
    pub shown: Shown,
    pub checks: Vec<Check>,
    pub refreshed: Option<Refreshed>,
    /// What was written to the journal since the patient was opened.
    pub written: Vec<Receipt>,
    /// The patient's name, once it was read.
    pub name: String,
}

#[derive(Default)]
struct Browser {
    since: i64,
    csrf: Option<Secret<String>>,
    logins: Vec<Login>,
    patients: Vec<OpenPatient>,
}

/// All browsers, by the digest of their cookie.
pub struct Sessions {
    random: Arc<dyn Random>,
    held: Mutex<HashMap<[u8; 32], Browser>>,
}

fn key(id: &str) -> [u8; 32] {
    *Digest::of(id.as_bytes()).bytes()
}

impl Sessions {
    pub fn new(random: Arc<dyn Random>) -> Self {
        Self { random, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<[u8; 32], Browser>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new browser's cookie.
    pub fn create(&self, now: UnixTime) -> Secret<String> {
        let id = self.random.token();
        let mut held = self.held();
        if held.len() >= MOST_SESSIONS {
            let oldest = held.iter().min_by_key(|(_, browser)| browser.since).map(|(key, _)| *key);
            oldest.and_then(|key| held.remove(&key));
        }
        held.insert(key(id.expose()), Browser { since: now.0, csrf: Some(self.random.token()), ..Browser::default() });
        id
    }

    pub fn exists(&self, id: &str) -> bool {
        self.held().contains_key(&key(id))
    }

    /// The token this browser's forms carry.
    pub fn csrf(&self, id: &str) -> Option<Secret<String>> {
        self.held().get(&key(id))?.csrf.clone()
    }

    pub fn csrf_is(&self, id: &str, sent: &str) -> bool {
        self.csrf(id).is_some_and(|token| same(token.expose().as_bytes(), sent.as_bytes()))
    }

    pub fn begin(&self, id: &str, login: Login) {
        if let Some(browser) = self.held().get_mut(&key(id)) {
            browser.logins.retain(|other| login.at.since(other.at) < LOGIN_S);
            if browser.logins.len() >= MOST_LOGINS {
                browser.logins.remove(0);
            }
            browser.logins.push(login);
        }
    }

    /// The login with this state, once: a second callback finds none.
    pub fn take(&self, id: &str, state: &str, now: UnixTime) -> Option<Login> {
        let mut held = self.held();
        let logins = &mut held.get_mut(&key(id))?.logins;
        let at = logins.iter().position(|login| same(login.state.as_bytes(), state.as_bytes()))?;
        let login = logins.remove(at);
        (now.since(login.at) < LOGIN_S).then_some(login)
    }

    /// Opens a patient. The same patient opened again replaces the record; other patients stay.
    pub fn open(&self, id: &str, patient: OpenPatient) {
        if let Some(browser) = self.held().get_mut(&key(id)) {
            browser.patients.retain(|other| other.patient != patient.patient);
            if browser.patients.len() >= MOST_PATIENTS {
                browser.patients.remove(0);
            }
            browser.patients.push(patient);
        }
    }

    pub fn patient(&self, id: &str, patient: &str) -> Option<OpenPatient> {
        self.held().get(&key(id))?.patients.iter().find(|open| open.patient == patient).cloned()
    }

    /// Changes the record in place, if the patient is still open.
    pub fn change(&self, id: &str, patient: &str, change: impl FnOnce(&mut OpenPatient)) {
        if let Some(open) = self.held().get_mut(&key(id)).and_then(|browser| browser.patients.iter_mut().find(|open| open.patient == patient)) {
            change(open);
        }
    }

    pub fn close(&self, id: &str, patient: &str) {
        if let Some(browser) = self.held().get_mut(&key(id)) {
            browser.patients.retain(|open| open.patient != patient);
        }
    }

    /// Id and name of every patient open here, the latest last.
    pub fn open_patients(&self, id: &str) -> Vec<(String, String)> {
        let held = self.held();
        let named = |open: &OpenPatient| (open.patient.clone(), if open.name.is_empty() { open.patient.clone() } else { open.name.clone() });
        held.get(&key(id)).map(|browser| browser.patients.iter().map(named).collect()).unwrap_or_default()
    }
}
