//! What becomes known of a request on its way through the engine, until it is recorded where it is answered.
//!
//! The trail belongs to the task that serves the request, as the request's id does in the log: whoever learns something notes it, and nobody
//! has to carry it back through every refusal. Outside of a request nothing is noted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::audit::{Action, Facts, Outcome, Person};
use crate::domain::grant::Grant;
use crate::domain::launch::{Launch, LaunchId};
use crate::domain::session::Session;
use crate::protocol::claims::AccessTokenClaims;
use crate::protocol::ids::{ClientId, Issuer};
use crate::protocol::scope::Scope;

tokio::task_local! {
    static TRAIL: Shared;
}

/// As many characters of a launch's id keep it apart from others, and are not the id.
const LAUNCH_LENGTH: usize = 16;

/// A trail that its request and whoever records it have in common.
pub type Shared = Arc<Mutex<Trail>>;

/// What is known so far.
#[derive(Debug)]
pub struct Trail {
    pub action: Action,
    pub issuer: Option<Issuer>,
    /// A success of this request is a decision, and not just a page on the way to one.
    pub decided: bool,
    pub facts: Facts,
    /// Decisions made on the way.
    pub more: Vec<(Action, Outcome, Facts)>,
}

impl Trail {
    pub fn shared(action: Action, issuer: Option<Issuer>, decided: bool) -> Shared {
        Arc::new(Mutex::new(Self { action, issuer, decided, facts: Facts::default(), more: Vec::new() }))
    }
}

/// The trail itself. Whoever panicked while holding it left no half of anything: members are set one by one.
pub fn lock(trail: &Shared) -> MutexGuard<'_, Trail> {
    trail.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves a request with its trail.
pub async fn follow<T>(trail: Shared, request: impl Future<Output = T>) -> T {
    TRAIL.scope(trail, request).await
}

/// The same work, to go on in a task of its own: what it learns still belongs to the request it was begun for.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let trail = TRAIL.try_with(Arc::clone).ok();
    async move {
        match trail {
            Some(trail) => follow(trail, work).await,
            None => work.await,
        }
    }
}

fn with(change: impl FnOnce(&mut Trail)) {
    // Outside of a request there is none, which is no error.
    let _ = TRAIL.try_with(|trail| change(&mut lock(trail)));
}

/// Notes what was learned.
pub fn note(learn: impl FnOnce(&mut Facts)) {
    with(|trail| learn(&mut trail.facts));
}

/// Notes the scopes that were asked for. A word that is no scope and may be a secret or somebody's number in the wrong place is not repeated.
pub fn asked(scope: Option<&str>) {
    let may_be_said = |word: &str| Scope::parse(word).is_ok() || (word.len() < 24 && word.bytes().filter(u8::is_ascii_digit).count() < 7);
    let said = |text: &str| text.split(' ').map(|word| if may_be_said(word) { word } else { "…" }).collect::<Vec<_>>().join(" ");
    note(|facts| facts.asked = scope.map(said));
}

/// Notes who asks: a client that proved to be it.
pub fn by(client: &ClientId) {
    note(|facts| (facts.client, facts.about) = (Some(client.clone()), None));
}

/// Notes the grant a request is about, and whose it is.
pub fn grant(grant: &Grant) {
    note(|facts| {
        facts.grant = Some(grant.id.clone());
        facts.session.clone_from(&grant.session);
        facts.user = grant.fhir_user.clone().map(Person::Reference);
        facts.context(&grant.context);
    });
}

/// Notes a launch, by the beginning of the digest of its handle.
pub fn launch(id: &str, launch: &Launch) {
    note(|facts| {
        facts.about = Some(launch.client.clone()).filter(|about| facts.client.as_ref() != Some(about));
        facts.launch = Some(LaunchId::digest_in(id).chars().take(LAUNCH_LENGTH).collect());
        facts.session = Some(launch.session.clone());
        facts.user = Some(Person::Reference(launch.fhir_user.clone()));
        facts.context(&launch.context);
    });
}

/// Notes that somebody logged in.
pub fn logged_in(session: &Session) {
    also(Action::Login, Outcome::Allowed, |facts| {
        facts.way = Some(session.way.as_str());
        facts.session = Some(session.id.clone());
        facts.user = Some(Person::Reference(session.fhir_user.clone()));
    });
}

/// Notes a token by its name, never by itself.
pub fn token(claims: &AccessTokenClaims) {
    note(|facts| {
        facts.token = Some(claims.jti.clone());
        facts.audience = Some(claims.aud.clone());
        facts.jkt = claims.cnf.as_ref().map(|cnf| cnf.jkt.clone());
        facts.acting(claims.act.as_ref());
    });
}

/// Says more exactly what the request is about.
pub fn about(action: Action) {
    with(|trail| trail.action = action);
}

/// Says which issuer the request is about, where its address does not.
pub fn at(issuer: &Issuer) {
    with(|trail| trail.issuer = Some(issuer.clone()));
}

/// Says that this request decides, and what about.
pub fn decided(action: Action) {
    with(|trail| (trail.action, trail.decided) = (action, true));
}

/// Notes a decision of its own, made on the way to another; with what is known of the request so far and what `learn` adds.
pub fn also(action: Action, outcome: Outcome, learn: impl FnOnce(&mut Facts)) {
    with(|trail| {
        let mut facts = trail.facts.clone();
        learn(&mut facts);
        trail.more.push((action, outcome, facts));
    });
}

/// As [`also`], for a refusal.
pub fn also_refused(action: Action, error: &'static str, reason: impl Into<String>, learn: impl FnOnce(&mut Facts)) {
    also(action, Outcome::Refused { error, reason: reason.into() }, learn);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_noted_belongs_to_its_request_alone() {
        let (a, b) = (Trail::shared(Action::Token, None, true), Trail::shared(Action::Authorize, None, false));
        let work = |action: Action, way: &'static str| async move {
            note(|facts| facts.way = Some(way));
            tokio::task::yield_now().await;
            also_refused(Action::Login, "login", "no", |facts| facts.row = Some(way.to_owned()));
            about(action);
        };
        tokio::join!(follow(Arc::clone(&a), work(Action::Refresh, "a")), follow(Arc::clone(&b), work(Action::Consent, "b")));
        note(|facts| facts.way = Some("nobody"));
        for (trail, action, way) in [(a, Action::Refresh, "a"), (b, Action::Consent, "b")] {
            let trail = lock(&trail);
            assert_eq!((trail.action, trail.facts.way), (action, Some(way)));
            let [(also, _, facts)] = trail.more.as_slice() else { panic!("one more") };
            assert_eq!((*also, facts.way, facts.row.as_deref()), (Action::Login, Some(way), Some(way)));
        }
    }
}
