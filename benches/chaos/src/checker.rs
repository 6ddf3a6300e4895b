//! Reads a history and says what must not be in it. Pure: the same history, the same words.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Answer, Came, Content, Entry, Goal, History, Id, Op, Span};

/// Whole seconds are the servers' measure, and two of them may be cut differently.
const SECOND_US: u64 = 1_000_000;

/// A node asks the Sentinels each second. For so long it may still listen to a primary that is none any more.
const STALE_US: u64 = 3 * SECOND_US;

/// A promise that was broken, with the requests that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
    /// Places in the history.
    pub shown_by: Vec<usize>,
}

/// What came of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub requests: usize,
    pub right: usize,
    pub honest_errors: usize,
}

#[derive(Debug)]
pub struct Verdict {
    pub counts: Counts,
    pub violations: Vec<Violation>,
    /// From the end of each fault to the first success at every node, or to the last failure of what hung on it; in microseconds, nothing where
    /// nobody asked.
    pub recoveries: Vec<(Span, Option<u64>)>,
}

/// Error codes a client may meet here: RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, RFC 8693 §2.2.2, OIDC Core §3.1.2.6, RFC 9126 §2.3.
const KNOWN_ERRORS: &[&str] = &[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "invalid_token",
    "insufficient_scope",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "login_required",
    "consent_required",
    "interaction_required",
    "invalid_request_uri",
    // The launch API's: a reference that does not exist.
    "invalid_launch",
    // A page of the authorization endpoint.
    "page",
];

struct Look<'a> {
    history: &'a History,
    /// Places of the entries of each flow.
    flows: BTreeMap<u64, Vec<usize>>,
    violations: Vec<Violation>,
}

pub fn check(history: &History) -> Verdict {
    let mut flows: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (place, entry) in history.entries.iter().enumerate() {
        flows.entry(entry.flow).or_default().push(place);
    }
    let mut look = Look { history, flows, violations: Vec::new() };
    let mut counts = Counts { requests: history.entries.len(), ..Counts::default() };
    for place in 0..history.entries.len() {
        let before = look.violations.len();
        let fine = look.answer(place);
        if look.violations.len() == before {
            if fine {
                counts.right += 1;
            } else {
                counts.honest_errors += 1;
            }
        }
    }
    look.used_twice();
    let flows: Vec<Vec<usize>> = look.flows.iter().filter(|(flow, _)| **flow != 0).map(|(_, places)| places.clone()).collect();
    for flow in flows {
        look.rotation(&flow);
        look.liveness(&flow);
    }
    let recoveries = look.recoveries();
    Verdict { counts, violations: look.violations, recoveries }
}

impl<'a> Look<'a> {
    fn entry(&self, place: usize) -> &'a Entry {
        &self.history.entries[place]
    }

    fn violated(&mut self, rule: &'static str, what: String, shown_by: Vec<usize>) {
        self.violations.push(Violation { rule, what, shown_by });
    }

    fn recovers(&self) -> u64 {
        self.history.setting.recovers_us
    }

    /// How long the machine did not let anybody run in this time.
    fn starved(&self, from: u64, to: u64) -> u64 {
        self.history.starved.iter().map(|starved| (starved.at + starved.for_us).min(to).saturating_sub(starved.at.max(from))).sum()
    }

    fn spans(&self, from: u64, to: u64) -> impl Iterator<Item = &'a Span> {
        self.history.spans.iter().filter(move |span| span.from <= to && span.to >= from)
    }

    /// Whether a fault may have met this request, or what a fault left behind for as long as that may be.
    fn troubled(&self, entry: &Entry) -> bool {
        self.history.spans.iter().any(|span| {
            let until = span.to + self.recovers();
            let until = until + self.starved(span.to, until);
            span.kind.touches(entry.op) && span.from <= entry.to && entry.from <= until
        }) || self.starved(entry.from, entry.to) > self.recovers()
    }

    /// Whether something made then may be gone now without anybody being to blame: its time was made to pass, or it was made anew and no
    /// replica had it.
    fn may_be_gone(&self, made: u64, now: u64) -> bool {
        self.spans(made.saturating_sub(self.recovers()), now).any(|span| span.kind.moves_clock() || (self.history.setting.redis && span.kind.fails_over()))
    }

    fn clock_moved(&self, from: u64, to: u64) -> bool {
        self.spans(from.saturating_sub(SECOND_US), to).any(|span| span.kind.moves_clock())
    }

    /// When this was given, where the history has it.
    fn given(&self, flow: u64, id: Id) -> Option<u64> {
        let places = self.flows.get(&flow)?;
        places.iter().map(|place| self.entry(*place)).filter(|entry| entry.served().is_some_and(|came| came.gave == Some(id))).map(|entry| entry.from).min()
    }

    /// One answer by itself. Whether it is what was wanted; else it is an honest error, or a violation was noted.
    fn answer(&mut self, place: usize) -> bool {
        let entry = self.entry(place);
        let came = match &entry.answer {
            Answer::Lost(_) if self.troubled(entry) => return false,
            Answer::Lost(why) => {
                self.violated("answered", format!("{:?} had no answer, and nothing was broken: {why}", entry.op), vec![place]);
                return false;
            }
            Answer::Came(came) => came,
        };
        if let Some(what) = dishonest(came) {
            self.violated("honest", format!("{:?}: {what}", entry.op), vec![place]);
            return false;
        }
        if entry.served().is_some() {
            if let Some(what) = differs(&entry.wanted, &came.said) {
                self.violated("right", format!("{:?}: {what}", entry.op), vec![place]);
            }
            return entry.goal != Goal::Refused;
        }
        if entry.goal == Goal::Refused || entry.goal == Goal::Either {
            // Refused as it should be, unless it is an outage.
            if came.status < 500 || self.troubled(entry) {
                return came.status < 500;
            }
        } else if came.status >= 500 || came.status == 408 || came.status == 429 || outage(came) {
            if self.troubled(entry) {
                return false;
            }
        } else {
            return self.refused(place, came);
        }
        self.violated("serves", format!("{:?} was answered {} {:?}, and nothing was broken", entry.op, came.status, came.error), vec![place]);
        false
    }

    /// What was right was refused: lost, then.
    fn refused(&mut self, place: usize, came: &Came) -> bool {
        let entry = self.entry(place);
        let said = format!("{} {}", came.status, came.error.as_deref().unwrap_or_default());
        let excused = match entry.op {
            // Rotation knows what refresh tokens may be lost by.
            Op::Refresh | Op::Probe => true,
            // What is asked of FHIR or HelseID and answered wrongly there is refused in many ways.
            Op::Launch | Op::Helseid => self.troubled(entry) || self.may_be_gone(entry.from, entry.to),
            Op::Redeem => {
                let shown = entry.shown.unwrap_or(Id::of(""));
                self.tried_before(place) || self.given(entry.flow, shown).is_none_or(|made| self.may_be_gone(made, entry.to))
            }
            // Consent is kept as what it is; only a login may be gone.
            Op::Silent => came.error.as_deref() == Some("login_required") && self.may_be_gone(0, entry.to),
            Op::Authorize => self.tried_before(place) || self.may_be_gone(entry.from.saturating_sub(60 * SECOND_US), entry.to),
            Op::Introspect | Op::Revoke | Op::Exchange => {
                self.ended_by(entry.flow, entry.to) || self.clock_moved(entry.from.saturating_sub(self.recovers()), entry.to)
            }
        };
        if !excused {
            let rule = if entry.op == Op::Silent { "consent kept" } else { "kept" };
            self.violated(rule, format!("{:?} was refused with {said}, and it was right", entry.op), vec![place]);
        }
        false
    }

    /// Any two requests of one kind that showed the same, in either order.
    fn pairs<'f>(&self, flow: &'f [usize]) -> impl Iterator<Item = (&'a Entry, &'a Entry)> + use<'a, 'f> {
        let history = self.history;
        let entry = |place: usize| &history.entries[place];
        let is_pair = |one: &Entry, other: &Entry| one.shown.is_some() && one.shown == other.shown && one.op == other.op;
        flow.iter()
            .flat_map(move |one| flow.iter().filter(move |other| *other != one).map(move |other| (entry(*one), entry(*other))))
            .filter(move |(one, other)| is_pair(one, other))
    }

    /// Whether the same was shown before, with whatever came of it.
    fn tried_before(&self, place: usize) -> bool {
        let entry = self.entry(place);
        self.flows.get(&entry.flow).is_some_and(|flow| self.pairs(flow).any(|(one, other)| std::ptr::eq(one, entry) && other.from <= one.to))
    }

    /// Whether somebody tried by then to end this grant, by asking or by showing something used.
    fn ended_by(&self, flow: u64, now: u64) -> bool {
        let ends = |entry: &Entry| entry.from <= now && (entry.op == Op::Revoke || (entry.op == Op::Refresh && entry.goal == Goal::Refused));
        self.flows.get(&flow).is_some_and(|places| places.iter().any(|place| ends(self.entry(*place))) || self.raced_for_too_long(places, now))
    }

    /// Codes and launch handles: once each.
    fn used_twice(&mut self) {
        let mut used: BTreeMap<(Op, Id), Vec<usize>> = BTreeMap::new();
        for (place, entry) in self.history.entries.iter().enumerate() {
            if let (Op::Redeem | Op::Authorize, Some(shown), Some(_)) = (entry.op, entry.shown, entry.served()) {
                used.entry((entry.op, shown)).or_default().push(place);
            }
        }
        for ((op, _), places) in used.into_iter().filter(|(_, places)| places.len() > 1) {
            let (rule, what) = if op == Op::Redeem { ("code once", "a code was redeemed") } else { ("launch once", "a launch handle gave a code") };
            self.violated(rule, format!("{what} {} times", places.len()), places);
        }
    }

    /// Refresh tokens of one grant: what was given is taken, and what was followed is not.
    fn rotation(&mut self, flow: &[usize]) {
        let reuse = self.history.setting.reuse_us;
        let refreshes: Vec<usize> = flow.iter().copied().filter(|place| matches!(self.entry(*place).op, Op::Refresh | Op::Probe)).collect();
        // By what was shown: when first tried, when first followed, and by what.
        let mut first_tried: BTreeMap<Id, u64> = BTreeMap::new();
        let mut followed: BTreeMap<Id, (u64, usize)> = BTreeMap::new();
        let mut successors: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
        for place in &refreshes {
            let entry = self.entry(*place);
            let Some(shown) = entry.shown else { continue };
            first_tried.entry(shown).or_insert(entry.from);
            if let Some(next) = entry.served().and_then(|came| came.gave).filter(|next| *next != shown) {
                let at = followed.entry(shown).or_insert((entry.to, *place));
                if entry.to < at.0 {
                    *at = (entry.to, *place);
                }
                if successors.entry(shown).or_default().insert(next) && successors[&shown].len() > 1 {
                    self.violated("one successor", "a refresh token was followed by two different ones".to_owned(), vec![at.1, *place]);
                }
            }
        }
        for place in refreshes {
            let entry = self.entry(place);
            let Some(shown) = entry.shown else { continue };
            if entry.served().is_some() {
                let Some((since, by)) = followed.get(&shown).copied() else { continue };
                // Followed, and the follower was followed as well: there is no grace for it any more.
                let twice = successors[&shown].iter().filter_map(|next| followed.get(next)).map(|(at, by)| (*at, *by)).find(|(at, _)| *at < entry.from);
                let late = since + reuse + 2 * SECOND_US < entry.from && !self.clock_moved(since, entry.to);
                if let Some((_, next)) = twice {
                    self.violated("rotated is spent", "a refresh token was taken that was followed twice".to_owned(), vec![by, next, place]);
                } else if late {
                    self.violated("rotated is spent", "a rotated refresh token was taken after its grace".to_owned(), vec![by, place]);
                }
                continue;
            }
            let refused = entry.came().is_some_and(|came| came.status == 400 || came.status == 401);
            if !refused || entry.goal != Goal::Served || self.ended_by(entry.flow, entry.to) {
                continue;
            }
            // An answer that was lost may have used it, and the grace be over.
            let tried = first_tried.get(&shown).copied().unwrap_or(entry.from);
            let lost_answer = tried < entry.from && (tried + reuse < entry.from + SECOND_US || self.clock_moved(tried, entry.to));
            if lost_answer || self.raced_with_the_clock(flow, entry.to) {
                continue;
            }
            // Its grant was made by an answer that came, so it was kept by what the docs promise.
            let given = flow.iter().copied().rfind(|other| self.entry(*other).served().is_some_and(|came| came.gave == Some(shown)));
            let mut shown_by: Vec<usize> = given.into_iter().collect();
            shown_by.push(place);
            self.violated("refresh kept", "a refresh token that was given is refused".to_owned(), shown_by);
        }
    }

    /// Whether a token was shown twice at once, and one of the two may have been looked at by then when the other had followed the token for longer than the
    /// grace, as one that was stolen is. Not where a later refresh was served: then the grant outlived the two.
    fn raced_for_too_long(&self, flow: &[usize], now: u64) -> bool {
        let reuse = self.history.setting.reuse_us;
        let refreshes = |place: &&usize| matches!(self.entry(**place).op, Op::Refresh | Op::Probe);
        let outlived = |one: &Entry| flow.iter().filter(refreshes).map(|place| self.entry(*place)).any(|later| later.from > one.to && later.served().is_some());
        self.pairs(flow).filter(|(one, _)| one.op == Op::Refresh && one.goal == Goal::Either && one.served().is_none()).any(|(one, other)| {
            let at_once = other.from <= one.to && one.from <= other.to;
            at_once && other.served().is_some() && other.from + reuse < one.to.min(now) && !outlived(one)
        })
    }

    /// Whether a token was shown twice by then while the clocks were moved, one after the other: nodes far apart in time disagree on what is late.
    fn raced_with_the_clock(&self, flow: &[usize], now: u64) -> bool {
        let refreshes = |op| matches!(op, Op::Refresh | Op::Probe);
        self.pairs(flow).any(|(one, other)| refreshes(one.op) && one.from <= now && other.from <= now && self.clock_moved(one.from, one.to + SECOND_US))
    }

    /// How long a node may not know of what was ended then: where a primary was cut off, and the node with it.
    fn stale(&self, since: u64, now: u64) -> u64 {
        let partition = self.history.setting.redis && self.spans(since.saturating_sub(self.recovers()), now).any(|span| span.kind.fails_over());
        if partition { STALE_US } else { 0 }
    }

    /// Access tokens of one grant: live until it ends, and not after.
    fn liveness(&mut self, flow: &[usize]) {
        let revoked = flow.iter().copied().find(|place| self.entry(*place).op == Op::Revoke && self.entry(*place).served().is_some());
        if let Some(revoked) = revoked {
            let since = self.entry(revoked).to;
            let taken = |place: &usize| self.entry(*place).op == Op::Refresh && self.entry(*place).served().is_some();
            let late = flow.iter().copied().filter(taken).find(|place| self.entry(*place).from > since + self.stale(since, self.entry(*place).to));
            if let Some(place) = late {
                self.violated("revoked is dead", "a refresh token was taken after its grant was revoked".to_owned(), vec![revoked, place]);
            }
        }
        let introspections: Vec<usize> = flow.iter().copied().filter(|place| self.entry(*place).op == Op::Introspect).collect();
        for place in introspections {
            let entry = self.entry(place);
            let Some(active) = entry.served().and_then(|came| came.active) else { continue };
            if active && let Some(revoked) = revoked {
                let since = self.entry(revoked).to;
                if entry.from > since + self.stale(since, entry.to) {
                    self.violated("revoked is inactive", "a token was active after its grant was revoked".to_owned(), vec![revoked, place]);
                }
            }
            if !active && !self.ended_by(entry.flow, entry.to) && !self.clock_moved(entry.from.saturating_sub(self.recovers()), entry.to) {
                self.violated("live is active", "a token that nobody ended was called inactive".to_owned(), vec![place]);
            }
        }
    }

    fn recoveries(&mut self) -> Vec<(Span, Option<u64>)> {
        let mut all = Vec::new();
        for span in &self.history.spans {
            let nodes = if span.kind.touches(Op::Probe) { (0..self.history.setting.nodes).map(Some).collect() } else { vec![None] };
            let mut slowest = Some(0);
            for node in nodes {
                let asks = |entry: &&Entry| {
                    entry.from >= span.to && if node.is_some() { entry.op == Op::Probe && Some(entry.node) == node } else { asks_upstream(span, entry) }
                };
                // A success that was asked for late says nothing of when it would have been one.
                let first = self.history.entries.iter().filter(asks).find(|entry| entry.served().is_some());
                let failed = self.history.entries.iter().filter(asks).take_while(|entry| entry.served().is_none()).last();
                let until = if node.is_some() { first } else { failed };
                let took = until.map_or_else(|| first.map(|_| 0), |entry| Some((entry.to - span.to).saturating_sub(self.starved(span.to, entry.to))));
                slowest = slowest.zip(took).map(|(one, other)| one.max(other));
                let watched = self.history.entries.last().map_or(0, |last| last.from).saturating_sub(span.to);
                if took.map_or(watched > self.recovers(), |took| took > self.recovers()) && self.alone_for(span) {
                    let what = format!(
                        "after {:?} {} served nothing for {:?} ms",
                        span.kind,
                        node.map_or_else(|| "nobody".to_owned(), |node| format!("node {node}")),
                        took.map(|took| took / 1000)
                    );
                    self.violated("recovers", what, Vec::new());
                }
            }
            all.push((span.clone(), slowest));
        }
        all
    }

    /// Whether no other fault began before it had time to recover.
    fn alone_for(&self, span: &Span) -> bool {
        !self.history.spans.iter().any(|other| other.from > span.from && other.from < span.to + self.recovers())
    }
}

fn asks_upstream(span: &Span, entry: &Entry) -> bool {
    span.kind.touches(entry.op) && matches!(entry.op, Op::Launch | Op::Helseid)
}

fn outage(came: &Came) -> bool {
    matches!(came.error.as_deref(), Some("server_error" | "temporarily_unavailable"))
}

/// What no answer may be, whatever is broken.
fn dishonest(came: &Came) -> Option<String> {
    let error = came.error.as_deref();
    if !came.form {
        return Some(format!("{} in a form this endpoint does not speak", came.status));
    }
    if came.status == 500 || came.status > 504 {
        return Some(format!("{} {error:?}", came.status));
    }
    match error {
        Some(_) if (200..=299).contains(&came.status) => Some(format!("{} with an error inside", came.status)),
        Some(error) if !KNOWN_ERRORS.contains(&error) => Some(format!("{} with the unknown error {error:?}", came.status)),
        None if came.status >= 400 => Some(format!("{} without an error code", came.status)),
        _ if came.status == 503 && !came.retry_after => Some("503 without Retry-After".to_owned()),
        _ => None,
    }
}

/// What is said otherwise than it should be. A scope may be narrower, never wider.
fn differs(wanted: &Content, said: &Content) -> Option<String> {
    for (name, wanted, said) in
        [("patient", &wanted.patient, &said.patient), ("issuer", &wanted.issuer, &said.issuer), ("audience", &wanted.audience, &said.audience)]
    {
        if let Some(wanted) = wanted
            && said.as_ref() != Some(wanted)
        {
            return Some(format!("{name} is {said:?} and should be {wanted:?}"));
        }
    }
    let (wanted, said) = (wanted.scope.as_deref()?, said.scope.as_deref()?);
    let most: BTreeSet<&str> = wanted.split(' ').collect();
    said.split(' ').find(|scope| !most.contains(scope)).map(|scope| format!("scope {scope} was not asked for"))
}

#[cfg(test)]
mod tests;
