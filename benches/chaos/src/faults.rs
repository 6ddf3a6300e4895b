//! What is broken, in which order and for how long: all of it follows from the seed.

use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::history::Op;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    KillNode,
    PauseNode,
    KillPrimary,
    PausePrimary,
    PauseReplica,
    /// The primary is cut off from its replicas and Sentinels, not from the nodes.
    IsolatePrimary,
    /// One node's links to Redis: refused, swallowed, late, cut in the middle of what they carry.
    LinkRefused,
    LinkSilent,
    LinkSlow,
    LinkReset,
    /// What a node keeps may not grow, or not be written at all.
    DiskFull,
    DiskGone,
    /// The clock of all nodes is ahead, of one node ahead, of all behind.
    ClockAhead,
    ClockApart,
    ClockBehind,
    FhirSlow,
    FhirWrong,
    FhirDown,
    HelseidSlow,
    HelseidWrong,
    HelseidDown,
}

impl Kind {
    pub const ALL: &[Self] = &[
        Self::KillNode,
        Self::PauseNode,
        Self::KillPrimary,
        Self::PausePrimary,
        Self::PauseReplica,
        Self::IsolatePrimary,
        Self::LinkRefused,
        Self::LinkSilent,
        Self::LinkSlow,
        Self::LinkReset,
        Self::DiskFull,
        Self::DiskGone,
        Self::ClockAhead,
        Self::ClockApart,
        Self::ClockBehind,
        Self::FhirSlow,
        Self::FhirWrong,
        Self::FhirDown,
        Self::HelseidSlow,
        Self::HelseidWrong,
        Self::HelseidDown,
    ];

    pub fn of_redis(self) -> bool {
        use Kind as K;
        matches!(
            self,
            K::KillPrimary
                | K::PausePrimary
                | K::PauseReplica
                | K::IsolatePrimary
                | K::LinkRefused
                | K::LinkSilent
                | K::LinkSlow
                | K::LinkReset
                | K::ClockApart
        )
    }

    /// Only where a node has its store on its own disk.
    fn of_disk(self) -> bool {
        matches!(self, Self::DiskFull | Self::DiskGone)
    }

    fn of_helseid(self) -> bool {
        matches!(self, Self::HelseidSlow | Self::HelseidWrong | Self::HelseidDown)
    }

    fn of_fhir(self) -> bool {
        matches!(self, Self::FhirSlow | Self::FhirWrong | Self::FhirDown)
    }

    /// Whether it moves a clock, so that something may expire before its time.
    pub fn moves_clock(self) -> bool {
        matches!(self, Self::ClockAhead | Self::ClockApart | Self::ClockBehind)
    }

    /// Whether another primary may come of it, which may lack what was only made anew. docs/operations.md, What a fail-over may undo.
    pub fn fails_over(self) -> bool {
        matches!(self, Self::KillPrimary | Self::PausePrimary | Self::IsolatePrimary)
    }

    /// Whether such a request may come to nothing while it lasts.
    pub fn touches(self, op: Op) -> bool {
        if self.of_fhir() {
            return matches!(op, Op::Launch | Op::Helseid);
        }
        !self.of_helseid() || op == Op::Helseid
    }
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub kind: Kind,
    /// Drawn whether or not it needs one.
    pub node: usize,
    pub lasts_ms: u64,
    /// From when everything serves again.
    pub rest_ms: u64,
}

/// Faults without end: all there are for this store, shuffled, then all again.
pub struct Schedule {
    dice: Dice,
    redis: bool,
    nodes: usize,
    left: Vec<Kind>,
}

impl Schedule {
    pub fn new(seed: u64, redis: bool, nodes: usize) -> Self {
        Self { dice: Dice::new(seed ^ u64::from(redis)), redis, nodes, left: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        if self.left.is_empty() {
            self.left = Kind::ALL.iter().copied().filter(|kind| if self.redis { !kind.of_disk() } else { !kind.of_redis() }).collect();
            self.dice.shuffle(&mut self.left);
        }
        let kind = self.left.pop()?;
        // Long enough to be noticed: a Sentinel takes half a second to call a primary dead.
        let lasts_ms = self.dice.between(800, 3000);
        Some(Planned { kind, node: self.dice.below(self.nodes), lasts_ms, rest_ms: self.dice.between(300, 1200) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_everything_and_another_says_something_else() {
        let of = |seed| Schedule::new(seed, true, 3).take(40).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn every_kind_comes_where_it_can() {
        for redis in [false, true] {
            let met: std::collections::BTreeSet<Kind> = Schedule::new(7, redis, 3).take(Kind::ALL.len()).map(|fault| fault.kind).collect();
            for kind in Kind::ALL {
                assert_eq!(met.contains(kind), if redis { !kind.of_disk() } else { !kind.of_redis() }, "{kind:?}");
            }
        }
    }
}
