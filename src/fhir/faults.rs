//! Faults on demand, so that an app can be seen coping. Set on the operations listener, each for certain requests. fhir-server.md §17.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Which requests a fault meets, and what happens to them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Given by the server.
    #[serde(default, skip_deserializing)]
    pub id: u64,
    /// The method, any without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The resource type in the path, any without.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The first request of those that match that is met, from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many in a row are met.
    #[serde(default = "one")]
    pub count: u64,
    /// Answered with this status, 400 to 599, and nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Answered this much later, in milliseconds, at most [`MAX_DELAY_MS`].
    #[serde(default)]
    pub delay_ms: u64,
    /// Done, and the body of the answer breaks off in the middle.
    #[serde(default)]
    pub malformed: bool,
    /// A token is worth what it was when it was last asked about.
    #[serde(default)]
    pub stale_introspection: bool,
    /// Done, and the connection ends without an answer.
    #[serde(default)]
    pub drop: bool,
    /// How many matched so far.
    #[serde(default, skip_deserializing)]
    pub seen: u64,
}

fn one() -> u64 {
    1
}

/// What happens to one request. Several faults add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub status: Option<u16>,
    pub delay_ms: u64,
    pub malformed: bool,
    pub stale_introspection: bool,
    pub drop: bool,
}

impl Fault {
    fn effect(&self) -> Effect {
        Effect { status: self.status, delay_ms: self.delay_ms, malformed: self.malformed, stale_introspection: self.stale_introspection, drop: self.drop }
    }
}

/// The longest delay, in milliseconds.
pub const MAX_DELAY_MS: u64 = 60_000;
/// How many faults can be set at once.
const MOST: usize = 100;

/// Why a fault is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    #[error("a fault needs an effect: status, delay_ms, malformed, stale_introspection or drop")]
    Effect,
    #[error("status must be 400 to 599, delay_ms at most 60000, nth and count at least 1")]
    Range,
    #[error("100 faults are set already")]
    Many,
}

#[derive(Default)]
pub struct Faults {
    any: AtomicBool,
    set: Mutex<Set>,
}

#[derive(Default)]
struct Set {
    last: u64,
    faults: Vec<Fault>,
}

impl Faults {
    /// # Errors
    /// [`FaultError`]
    pub fn add(&self, mut fault: Fault) -> Result<Fault, FaultError> {
        if fault.effect() == Effect::default() {
            return Err(FaultError::Effect);
        }
        let status = fault.status.is_none_or(|status| (400..600).contains(&status));
        if !status || fault.delay_ms > MAX_DELAY_MS || fault.nth == 0 || fault.count == 0 {
            return Err(FaultError::Range);
        }
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        if set.faults.len() >= MOST {
            return Err(FaultError::Many);
        }
        set.last += 1;
        fault.id = set.last;
        set.faults.push(fault.clone());
        self.any.store(true, Ordering::Release);
        Ok(fault)
    }

    pub fn list(&self) -> Vec<Fault> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).faults.clone()
    }

    pub fn clear(&self) {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).faults.clear();
        self.any.store(false, Ordering::Release);
    }

    /// What meets this request; counts it.
    pub fn meet(&self, method: &str, kind: Option<&str>) -> Effect {
        let mut all = Effect::default();
        if !self.any.load(Ordering::Acquire) {
            return all;
        }
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        for fault in &mut set.faults {
            let matches = fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && fault.kind.as_deref().is_none_or(|wanted| kind == Some(wanted));
            if !matches {
                continue;
            }
            fault.seen += 1;
            if fault.seen < fault.nth || fault.seen - fault.nth >= fault.count {
                continue;
            }
            let effect = fault.effect();
            all.status = all.status.or(effect.status);
            all.delay_ms = all.delay_ms.max(effect.delay_ms);
            all.malformed |= effect.malformed;
            all.stale_introspection |= effect.stale_introspection;
            all.drop |= effect.drop;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_fault_meets_the_nth_of_its_requests_and_as_many_as_it_says() {
        let faults = Faults::default();
        faults.add(fault(r#"{"method": "put", "type": "DocumentReference", "nth": 2, "count": 2, "status": 503}"#)).unwrap();
        let met: Vec<bool> = (0..5).map(|_| faults.meet("PUT", Some("DocumentReference")).status == Some(503)).collect();
        assert_eq!(met, [false, true, true, false, false]);
        assert_eq!(faults.meet("GET", Some("DocumentReference")), Effect::default());
        assert_eq!((faults.list()[0].seen, faults.list()[0].id), (5, 1));
        faults.add(fault(r#"{"delay_ms": 5, "drop": true, "count": 99}"#)).unwrap();
        assert_eq!(faults.meet("GET", None), Effect { delay_ms: 5, drop: true, ..Effect::default() });
        faults.clear();
        assert_eq!(faults.meet("GET", None), Effect::default());
    }

    #[test]
    fn what_makes_no_sense_is_not_set() {
        let faults = Faults::default();
        for (text, why) in [
            ("{}", FaultError::Effect),
            (r#"{"status": 200}"#, FaultError::Range),
            (r#"{"status": 500, "nth": 0}"#, FaultError::Range),
            (r#"{"delay_ms": 60001}"#, FaultError::Range),
        ] {
            assert_eq!(faults.add(fault(text)).unwrap_err(), why, "{text}");
        }
        assert!(faults.list().is_empty());
    }
}
