//! What becomes known of a request on its way through the engine, until it is recorded where it is answered.
//!
//! The trail belongs to the task that serves the request, as the request's id does in the log: whoever learns something notes it, and nobody
//! has to carry it back through every refusal. Outside of a request nothing is noted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::audit::{Action, Facts, Outcome};
use crate::protocol::ids::Issuer;

tokio::task_local! {
    static TRAIL: Shared;
}

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

fn with(change: impl FnOnce(&mut Trail)) {
    // Outside of a request there is none, which is no error.
    let _ = TRAIL.try_with(|trail| change(&mut lock(trail)));
}

/// Notes what was learned.
pub fn note(learn: impl FnOnce(&mut Facts)) {
    with(|trail| learn(&mut trail.facts));
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
