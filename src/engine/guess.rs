//! Counting failures, for all nodes together. DESIGN §3, Guessing; RFC 6749 §10.10, RFC 9700 §4.
//!
//! Nothing here is touched while credentials are right. What fails is counted in memory and brought to the store in bundles, so that
//! a flood of failures is not a flood of writes: a limit of N costs some sixteen writes on the way there, one for the block, and none
//! while it runs. Nodes therefore know of each other's failures within a bundle, and of each other's blocks within [`READ_AGAIN`].

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Engine;
use crate::domain::guess::{Counted, Failures, GuessLimits};
use crate::listen::Network;
use crate::protocol::ids::ClientId;
use crate::secret::Digest;
use crate::store::records::ClientChange;
use crate::store::{Commit, Store, StoreError};
use crate::time::{Clock, UnixTime};

/// How many clients and addresses are counted at once in this process; beyond that the ones that failed longest ago are forgotten here,
/// though not in the store. One entry is about 150 bytes.
const KNOWN: usize = 16_384;

/// A limit is brought to the store in so many bundles.
const BUNDLES: u32 = 16;

/// How old the last look at the store may be.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// How often a count is tried again where another node was faster. Then it stays in this process.
const ATTEMPTS: usize = 4;

/// The failures of one issuer.
pub struct Guesses {
    limits: GuessLimits,
    store: Store,
    clock: Arc<dyn Clock>,
    known: Arc<quick_cache::sync::Cache<[u8; 32], Arc<Mutex<Known>>>>,
}

/// What this process knows of one count.
struct Known {
    state: Failures,
    /// Counted in `state`, and not yet in the store.
    pending: u32,
    read_at: Option<UnixTime>,
}

/// What a failure has to do besides being counted here.
enum Next {
    Answer(Option<Duration>),
    Read,
    Write(u32),
}

/// The client a request says it is from.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    pub id: &'a ClientId,
    /// It stands in the configuration.
    pub configured: bool,
}

/// One thing that is counted.
struct Tally<'a> {
    counted: Counted,
    client: Option<Named<'a>>,
    network: Network,
    id: Digest,
}

impl<'a> Tally<'a> {
    fn of_client(named: Named<'a>, network: Network) -> Self {
        let id = Digest::of_parts(&[b"client", named.id.as_str().as_bytes(), network.to_string().as_bytes()]);
        Self { counted: Counted::PerClient, client: Some(named), network, id }
    }

    fn of_address(network: Network) -> Self {
        // Not the address itself: it may be somebody's home.
        let id = Digest::of_parts(&[b"address", network.to_string().as_bytes()]);
        Self { counted: Counted::PerAddress, client: None, network, id }
    }
}

impl Engine {
    /// Counts a failure of a request that named this client; how long further ones from there get 429, if they do.
    pub async fn failed(&self, named: Option<&ClientId>, network: Network) -> Option<Duration> {
        let named = named.map(|id| Named { id, configured: self.rules.clients.contains_key(id) });
        let wait = self.guesses.failed(named, network).await;
        if wait.is_some() {
            self.metrics.guess_refused();
        }
        wait
    }
}

impl Guesses {
    pub fn new(limits: GuessLimits, store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { limits, store, clock, known: Arc::new(quick_cache::sync::Cache::new(KNOWN)) }
    }

    /// The same counts under other limits. A block that runs goes on.
    pub fn under(&self, limits: GuessLimits) -> Self {
        Self { limits, store: self.store.clone(), clock: Arc::clone(&self.clock), known: Arc::clone(&self.known) }
    }

    /// Counts a failure; how long further ones from there get 429, where a limit was passed with this one or before.
    ///
    /// `named` is the client the request named, known or not: were only known ones counted, the limit would tell which are. A store
    /// that cannot answer changes nothing about the answer; this process then counts alone.
    pub async fn failed(&self, named: Option<Named<'_>>, network: Network) -> Option<Duration> {
        let now = self.clock.now();
        let address = Tally::of_address(network);
        let client = named.map(|named| Tally::of_client(named, network));
        // While one runs nothing is counted: neither memory nor the store grows with names that somebody makes up.
        let running = [Some(&address), client.as_ref()].into_iter().flatten().filter_map(|tally| self.running(tally, now)).max();
        if running.is_some() {
            return running;
        }
        let by_client = match &client {
            Some(tally) => self.count(tally, now).await,
            None => None,
        };
        by_client.max(self.count(&address, now).await)
    }

    /// What is left of a block this process knows of.
    fn running(&self, tally: &Tally<'_>, now: UnixTime) -> Option<Duration> {
        let known = self.known.get(tally.id.bytes())?;
        let state = known.lock().expect("nothing panics while holding this lock").state;
        state.blocked_for(now, &self.limits)
    }

    async fn count(&self, tally: &Tally<'_>, now: UnixTime) -> Option<Duration> {
        let known = self.known_as(tally, now);
        let next = self.count_here(&known, tally, now);
        let shared = match next {
            Next::Answer(left) => return left,
            Next::Read => self.store.load::<Failures>(&tally.id.text()).await.map(|held| held.map(|held| held.value)),
            Next::Write(failures) => self.bring(tally, failures, now).await.map(Some),
        };
        let mut known = known.lock().expect("nothing panics while holding this lock");
        match shared {
            // What all nodes know, with what was counted here and is still to be brought. A block that began here meanwhile stays.
            Ok(Some(shared)) if known.state.blocked_for(now, &self.limits).is_none() || shared.blocked_for(now, &self.limits).is_some() => {
                known.state = shared.with(known.pending, self.limits.at_most(tally.counted), &self.limits, now);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "failures are counted in this process alone"),
        }
        known.state.blocked_for(now, &self.limits)
    }

    fn known_as(&self, tally: &Tally<'_>, now: UnixTime) -> Arc<Mutex<Known>> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Known { state: Failures::none(now), pending: 0, read_at: None })));
        let Ok(known) = self.known.get_or_insert_with(tally.id.bytes(), fresh);
        known
    }

    fn count_here(&self, known: &Mutex<Known>, tally: &Tally<'_>, now: UnixTime) -> Next {
        let at_most = self.limits.at_most(tally.counted);
        let mut known = known.lock().expect("nothing panics while holding this lock");
        if let Some(left) = known.state.blocked_for(now, &self.limits) {
            return Next::Answer(Some(left));
        }
        known.state = known.state.with(1, at_most, &self.limits, now);
        known.pending += 1;
        let passed = known.state.blocked_for(now, &self.limits).is_some();
        if passed || known.pending >= (at_most / BUNDLES).max(1) {
            known.read_at = Some(now);
            return Next::Write(std::mem::take(&mut known.pending));
        }
        let is_fresh = known.read_at.is_some_and(|at| at <= now && now < at + READ_AGAIN);
        if is_fresh {
            return Next::Answer(None);
        }
        known.read_at = Some(now);
        Next::Read
    }

    /// Adds failures to what all nodes know. Whoever begins a block says so, once.
    async fn bring(&self, tally: &Tally<'_>, failures: u32, now: UnixTime) -> Result<Failures, StoreError> {
        let (id, at_most) = (tally.id.text(), self.limits.at_most(tally.counted));
        let mut next = Failures::none(now);
        for _ in 0..ATTEMPTS {
            let held = self.store.load::<Failures>(&id).await?;
            let before = held.as_ref().map_or_else(|| Failures::none(now), |held| held.value);
            if before.blocked_for(now, &self.limits).is_some() {
                return Ok(before);
            }
            next = before.with(failures, at_most, &self.limits, now);
            let commit = match &held {
                Some(held) => self.store.replace(held, &next).await?,
                None => self.store.create(&id, &next).await?,
            };
            if commit == Commit::Applied {
                self.say(tally, next, now).await;
                break;
            }
        }
        Ok(next)
    }

    /// One line when a block begins and none for what it refuses: an attacker must not fill the disk.
    async fn say(&self, tally: &Tally<'_>, state: Failures, now: UnixTime) {
        let Some(left) = state.blocked_for(now, &self.limits) else { return };
        let client = match &tally.client {
            Some(named) if named.configured || self.store.load::<ClientChange>(named.id.as_str()).await.is_ok_and(|held| held.is_some()) => named.id.as_str(),
            // Whatever was sent as a name may be a secret that was put in the wrong place.
            Some(_) => "not a registered one",
            None => "any",
        };
        let (network, seconds, times) = (tally.network, left.as_secs(), state.blocks());
        tracing::warn!(target: "helsebro::guess", client, %network, seconds, times, "too many failures: further ones get 429, right credentials are served");
    }
}

#[cfg(test)]
#[path = "guess/tests.rs"]
mod tests;
