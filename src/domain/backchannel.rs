//! Telling apps that a session of theirs has ended. OpenID Connect Back-Channel Logout 1.0.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::protocol::ids::{ClientId, SessionId, Subject};
use crate::time::UnixTime;

/// The pauses after an attempt that failed; after the last there is none more.
const PAUSES: [Duration; 5] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(2 * 60), Duration::from_secs(10 * 60), Duration::from_secs(30 * 60)];

/// How long one attempt belongs to whoever began it: longer than any attempt takes, so that two nodes never send the same notice at once.
const LEASE: Duration = Duration::from_secs(30);

/// How long a notice is kept at most. All attempts fit in.
const KEPT: Duration = Duration::from_secs(2 * 3600);

/// A client that got an id_token in a session and is registered to be told when that ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutParty {
    pub client: ClientId,
    pub session: SessionId,
    pub subject: Subject,
    /// Until when the session, or what came of it, may still be good.
    pub until: UnixTime,
}

impl LogoutParty {
    /// The id of its record: those of one session stand beside each other.
    pub fn id(&self) -> String {
        format!("{}{}", Self::prefix(&self.session), self.client)
    }

    /// What the ids of all parties of a session begin with.
    pub fn prefix(session: &SessionId) -> String {
        format!("{session}.")
    }
}

/// A logout that one client is still to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutNotice {
    pub client: ClientId,
    pub session: SessionId,
    pub subject: Subject,
    pub ended_at: UnixTime,
    /// Attempts that were begun.
    pub attempts: u8,
    /// Not before this.
    pub next_at: UnixTime,
    pub until: UnixTime,
}

impl LogoutNotice {
    pub fn new(party: LogoutParty, now: UnixTime) -> Self {
        let LogoutParty { client, session, subject, .. } = party;
        Self { client, session, subject, ended_at: now, attempts: 0, next_at: now, until: now + KEPT }
    }

    pub fn is_due(&self, now: UnixTime) -> bool {
        now >= self.next_at
    }

    /// An attempt begins. Whoever writes this makes it; where it dies of it, somebody tries again after the lease.
    #[must_use]
    pub fn begun(&self, now: UnixTime) -> Self {
        Self { attempts: self.attempts.saturating_add(1), next_at: now + LEASE, ..self.clone() }
    }

    /// The attempt failed in a way that may pass; `None` where it was the last.
    #[must_use]
    pub fn again(&self, now: UnixTime) -> Option<Self> {
        let pause = PAUSES.get(usize::from(self.attempts).saturating_sub(1))?;
        Some(Self { next_at: now + *pause, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_to_an_end_within_the_life_of_the_notice() {
        let now = UnixTime(1_790_000_000);
        let party = LogoutParty {
            client: ClientId::parse("app").unwrap(),
            session: SessionId::parse("s1").unwrap(),
            subject: Subject::parse("p1").unwrap(),
            until: now,
        };
        let mut notice = LogoutNotice::new(party, now);
        let (mut at, mut sent) = (now, 0);
        loop {
            assert!(notice.is_due(at) && at < notice.until);
            notice = notice.begun(at);
            assert!(!notice.is_due(at), "nobody else begins while one is under way");
            sent += 1;
            match notice.again(at) {
                Some(next) => {
                    assert!(!next.is_due(at));
                    (at, notice) = (next.next_at, next);
                }
                None => break,
            }
        }
        assert_eq!(sent, 6);
    }
}
