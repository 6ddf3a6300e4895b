//! Planted faults: each history is right but for one thing, and the checker names it.

use super::*;
use crate::faults::Kind;
use crate::history::{Setting, Starved};

const MS: u64 = 1000;

/// A history of one flow, as it would go.
struct Story {
    history: History,
    now: u64,
}

fn id(name: &str) -> Option<Id> {
    Some(Id::of(name))
}

fn ok(gave: &str) -> Answer {
    let said = Content { patient: Some("p1".to_owned()), ..Content::default() };
    Answer::Came(Came { status: 200, form: true, gave: id(gave), said, ..Came::default() })
}

fn error(status: u16, error: &str) -> Answer {
    Answer::Came(Came { status, form: true, error: Some(error.to_owned()), retry_after: status == 503, ..Came::default() })
}

fn active(active: bool) -> Answer {
    Answer::Came(Came { status: 200, form: true, active: Some(active), ..Came::default() })
}

impl Story {
    fn on(redis: bool) -> Self {
        let setting = Setting { redis, nodes: 1, reuse_us: 2_000 * MS, recovers_us: 5_000 * MS };
        Self { history: History { setting, entries: Vec::new(), spans: Vec::new(), starved: Vec::new() }, now: 1_000_000 }
    }

    fn new() -> Self {
        Self::on(false)
    }

    fn asks(mut self, op: Op, goal: Goal, shown: &str, answer: Answer) -> Self {
        let entry = Entry { from: self.now, to: self.now + 5 * MS, node: 0, op, goal, flow: 1, shown: id(shown), wanted: Content::default(), answer };
        self.history.entries.push(entry);
        self.now += 10 * MS;
        self
    }

    fn wants(mut self, patient: &str) -> Self {
        self.history.entries.last_mut().unwrap().wanted.patient = Some(patient.to_owned());
        self
    }

    fn then(mut self, ms: u64) -> Self {
        self.now += ms * MS;
        self
    }

    fn breaks(mut self, kind: Kind, ms: u64) -> Self {
        self.history.spans.push(Span { kind, node: None, from: self.now, to: self.now + ms * MS });
        self.now += ms * MS;
        self
    }

    /// The last two.
    fn racers(&mut self) -> &mut [Entry] {
        let of = self.history.entries.len() - 2;
        &mut self.history.entries[of..]
    }

    /// Answers may be lost at any time.
    fn broken_throughout(mut self) -> Self {
        self.history.spans.push(Span { kind: Kind::LinkReset, node: None, from: 0, to: self.now + 1000 * MS });
        self
    }

    fn rules(&self) -> Vec<&'static str> {
        check(&self.history).violations.into_iter().map(|violation| violation.rule).collect()
    }
}

/// Launched, authorized, redeemed and refreshed once.
fn usual() -> Story {
    begun(Story::new())
}

fn begun(story: Story) -> Story {
    story
        .asks(Op::Authorize, Goal::Served, "launch", Answer::Came(Came { status: 303, form: true, gave: id("code"), ..Came::default() }))
        .asks(Op::Redeem, Goal::Served, "code", ok("r0"))
        .wants("p1")
        .asks(Op::Refresh, Goal::Served, "r0", ok("r1"))
}

#[test]
fn what_is_right_is_found_right() {
    let story = usual()
        .asks(Op::Redeem, Goal::Refused, "code", error(400, "invalid_grant"))
        .asks(Op::Introspect, Goal::Served, "a", active(true))
        .asks(Op::Refresh, Goal::Either, "r0", ok("r1"))
        .then(10_000)
        .asks(Op::Refresh, Goal::Refused, "r0", error(400, "invalid_grant"))
        .asks(Op::Introspect, Goal::Served, "a", active(false))
        .asks(Op::Refresh, Goal::Refused, "r1", error(400, "invalid_grant"));
    assert_eq!(story.rules(), [""; 0]);
    let counts = check(&story.history).counts;
    assert_eq!((counts.requests, counts.right, counts.honest_errors), (9, 9, 0));
}

#[test]
fn a_code_that_is_redeemed_twice() {
    assert_eq!(usual().asks(Op::Redeem, Goal::Either, "code", ok("other")).rules(), ["code once"]);
}

#[test]
fn a_launch_handle_that_gives_two_codes() {
    let again = Answer::Came(Came { status: 303, form: true, gave: id("another code"), ..Came::default() });
    assert_eq!(usual().asks(Op::Authorize, Goal::Either, "launch", again).rules(), ["launch once"]);
}

#[test]
fn a_rotated_token_that_is_taken_after_its_grace() {
    assert_eq!(usual().then(4_100).asks(Op::Refresh, Goal::Either, "r0", ok("r1")).rules(), ["rotated is spent"]);
    assert_eq!(usual().then(1_500).asks(Op::Refresh, Goal::Either, "r0", ok("r1")).rules(), [""; 0]);
    // Where a clock was moved nobody knows how long it was.
    assert_eq!(usual().then(2_000).breaks(Kind::ClockBehind, 2_000).then(100).asks(Op::Refresh, Goal::Either, "r0", ok("r1")).rules(), [""; 0]);
}

#[test]
fn a_token_two_generations_old_and_two_successors() {
    let story = usual().asks(Op::Refresh, Goal::Served, "r1", ok("r2")).asks(Op::Refresh, Goal::Either, "r0", ok("r1"));
    assert_eq!(story.rules(), ["rotated is spent"]);
    assert!(usual().asks(Op::Refresh, Goal::Either, "r0", ok("r1b")).rules().contains(&"one successor"));
}

#[test]
fn a_token_that_lives_after_its_grant_was_revoked() {
    let revoked = || usual().asks(Op::Revoke, Goal::Served, "r1", Answer::Came(Came { status: 200, form: true, ..Came::default() }));
    assert_eq!(revoked().asks(Op::Introspect, Goal::Served, "a", active(true)).rules(), ["revoked is inactive"]);
    assert_eq!(revoked().asks(Op::Introspect, Goal::Served, "a", active(false)).rules(), [""; 0]);
    assert_eq!(revoked().asks(Op::Refresh, Goal::Refused, "r1", ok("r2")).rules(), ["revoked is dead"]);
    // A revocation that was not answered is none to rely on.
    let unanswered = usual().breaks(Kind::KillNode, 100).asks(Op::Revoke, Goal::Served, "r1", Answer::Lost("reset".to_owned()));
    assert_eq!(unanswered.asks(Op::Introspect, Goal::Served, "a", active(true)).rules(), [""; 0]);
}

#[test]
fn a_revocation_that_a_fail_over_undid() {
    let revoked = Answer::Came(Came { status: 200, form: true, ..Came::default() });
    let story = |later| {
        let story = begun(Story::on(true)).asks(Op::Revoke, Goal::Served, "r1", revoked.clone()).breaks(Kind::KillPrimary, 1000);
        story.then(later).asks(Op::Introspect, Goal::Served, "a", active(true))
    };
    assert_eq!(story(1000).rules(), [""; 0], "its node may still be on the wrong side");
    assert_eq!(story(4000).rules(), ["revoked is inactive"]);
}

/// Two refreshes at once, both under way for so long: the first is served, the other is taken for a thief.
fn race(ms: u64) -> Story {
    let mut story = usual().asks(Op::Refresh, Goal::Either, "r1", ok("r2")).asks(Op::Refresh, Goal::Either, "r1", error(400, "invalid_grant"));
    for racer in story.history.entries.iter_mut().rev().take(2) {
        racer.to = racer.from + ms * MS;
    }
    story.then(ms)
}

/// The grant is gone.
fn ended(story: Story) -> Vec<&'static str> {
    story.asks(Op::Refresh, Goal::Served, "r2", error(400, "invalid_grant")).asks(Op::Introspect, Goal::Served, "a", active(false)).rules()
}

const NOT_EXCUSED: [&str; 2] = ["refresh kept", "live is active"];

#[test]
fn a_racer_that_stood_still_for_longer_than_the_grace_is_taken_for_a_thief() {
    assert_eq!(ended(race(2900)), [""; 0]);
    let mut lost = race(2900);
    lost.racers()[1].answer = Answer::Lost("reset".to_owned());
    assert_eq!(ended(lost.broken_throughout()), [""; 0], "what it did is done, answer or not");
}

#[test]
fn no_other_race_ends_a_grant() {
    assert_eq!(ended(race(1500)), NOT_EXCUSED, "within the grace");
    let but = |change: fn(&mut [Entry])| {
        let mut story = race(2900);
        change(story.racers());
        ended(story)
    };
    assert!(but(|racers| racers[1].goal = Goal::Served).ends_with(&NOT_EXCUSED), "it was no racer");
    assert_eq!(but(|racers| racers[1].answer = ok("r2")), NOT_EXCUSED, "it was served");
    assert_eq!(but(|racers| racers[0].shown = id("r")), NOT_EXCUSED, "another token");
    assert_eq!(but(|racers| racers[0].answer = error(400, "invalid_grant")), NOT_EXCUSED, "nobody followed the token");
    assert_eq!(but(|racers| racers[0].to = racers[1].from - 1), NOT_EXCUSED, "one after the other");
    assert_eq!(but(|racers| racers[0].from = racers[1].to - 1500 * MS), NOT_EXCUSED, "the other came late enough to be waited for");
    assert_eq!(ended(race(2900).asks(Op::Refresh, Goal::Served, "r2", ok("r2"))), NOT_EXCUSED, "the grant was there afterwards");
    // Whoever looked before it can have ended.
    let mut early = race(2900);
    early.now -= 1200 * MS;
    assert_eq!(ended(early), NOT_EXCUSED);
}

#[test]
fn a_refresh_token_that_was_lost() {
    for kind in [Kind::KillNode, Kind::DiskGone, Kind::ClockAhead] {
        let story = usual().breaks(kind, 1000).asks(Op::Refresh, Goal::Served, "r1", error(400, "invalid_grant"));
        assert_eq!(story.rules(), ["refresh kept"], "{kind:?}");
    }
    let on_redis = begun(Story::on(true)).breaks(Kind::KillPrimary, 1000).asks(Op::Refresh, Goal::Served, "r1", error(400, "invalid_grant"));
    assert_eq!(on_redis.rules(), ["refresh kept"]);
    // Not where it was used by a request whose answer was lost, too long ago.
    let lost = |ms| {
        let story = usual().breaks(Kind::KillNode, 100).asks(Op::Refresh, Goal::Served, "r1", Answer::Lost("reset".to_owned()));
        story.then(ms).asks(Op::Refresh, Goal::Served, "r1", error(400, "invalid_grant"))
    };
    assert_eq!(lost(2000).rules(), [""; 0]);
    assert_eq!(lost(100).rules(), ["refresh kept"]);
}

#[test]
fn consent_that_was_lost() {
    let silent = |error_code| usual().breaks(Kind::KillNode, 1000).asks(Op::Silent, Goal::Served, "", error(303, error_code));
    assert_eq!(silent("consent_required").rules(), ["consent kept"]);
    assert_eq!(silent("login_required").rules(), ["consent kept"]);
    let on_redis = begun(Story::on(true)).breaks(Kind::KillPrimary, 1000).asks(Op::Silent, Goal::Served, "", error(303, "login_required"));
    assert_eq!(on_redis.rules(), [""; 0], "a login is made anew, and no replica is waited for");
}

#[test]
fn a_code_that_nobody_knows_any_more() {
    let code = |story: Story| story.asks(Op::Authorize, Goal::Served, "l", Answer::Came(Came { status: 303, form: true, gave: id("c"), ..Came::default() }));
    let refused = |story: Story| story.asks(Op::Redeem, Goal::Served, "c", error(400, "invalid_grant")).rules();
    assert_eq!(refused(code(Story::new())), ["kept"]);
    assert_eq!(refused(code(Story::new()).breaks(Kind::KillNode, 1000)), ["kept"]);
    assert_eq!(refused(code(Story::new()).breaks(Kind::ClockAhead, 1000)), [""; 0]);
    assert_eq!(refused(code(Story::on(true)).breaks(Kind::KillPrimary, 1000)), [""; 0]);
}

#[test]
fn somebody_elses_patient() {
    assert_eq!(usual().asks(Op::Refresh, Goal::Served, "r1", ok("r2")).wants("p2").rules(), ["right"]);
    let wide = Content { scope: Some("a b".to_owned()), ..Content::default() };
    let narrow = Content { scope: Some("a".to_owned()), ..Content::default() };
    assert!(differs(&narrow, &wide).is_some() && differs(&wide, &narrow).is_none());
}

#[test]
fn errors_that_are_not_honest() {
    let odd = [
        error(500, "server_error"),
        error(200, "server_error"),
        error(400, "something_else"),
        Answer::Came(Came { status: 503, form: true, ..Came::default() }),
        Answer::Came(Came { status: 503, form: true, error: Some("temporarily_unavailable".to_owned()), ..Came::default() }),
        Answer::Came(Came { status: 200, form: false, ..Came::default() }),
    ];
    for answer in odd {
        // Whatever is broken meanwhile.
        assert_eq!(usual().breaks(Kind::KillNode, 100).asks(Op::Refresh, Goal::Either, "r1", answer.clone()).rules(), ["honest"], "{answer:?}");
    }
}

#[test]
fn an_outage_without_a_cause_and_with_one() {
    let down = || error(503, "temporarily_unavailable");
    let lost = || Answer::Lost("refused".to_owned());
    assert_eq!(usual().asks(Op::Introspect, Goal::Served, "a", down()).rules(), ["serves"]);
    assert_eq!(usual().asks(Op::Introspect, Goal::Served, "a", lost()).rules(), ["answered"]);
    for answer in [down(), lost()] {
        let shortly = usual().breaks(Kind::PauseNode, 1000).then(4_000).asks(Op::Introspect, Goal::Served, "a", answer.clone());
        assert_eq!(shortly.rules(), [""; 0]);
        let long_after = usual().breaks(Kind::PauseNode, 1000).then(6_000).asks(Op::Introspect, Goal::Served, "a", answer);
        assert_ne!(long_after.rules(), [""; 0]);
    }
    // What FHIR suffers from is no excuse for a refresh.
    assert_eq!(usual().breaks(Kind::FhirDown, 1000).asks(Op::Refresh, Goal::Served, "r1", down()).rules(), ["serves"]);
}

#[test]
fn a_server_that_does_not_recover() {
    let down = || error(503, "temporarily_unavailable");
    let story = usual().breaks(Kind::DiskFull, 1000).asks(Op::Probe, Goal::Served, "p", down()).then(5_500).asks(Op::Probe, Goal::Served, "p", ok("p"));
    assert_eq!(story.rules(), ["recovers"]);
    let mut starved = story;
    let at = starved.history.spans[0].to + MS;
    starved.history.starved.push(Starved { at, for_us: 3_000 * MS });
    assert_eq!(starved.rules(), [""; 0], "the machine stood still meanwhile");
    let soon = usual().breaks(Kind::DiskFull, 1000).asks(Op::Probe, Goal::Served, "p", down()).then(700).asks(Op::Probe, Goal::Served, "p", ok("p"));
    assert_eq!(soon.rules(), [""; 0]);
    assert!(check(&soon.history).recoveries[0].1.is_some_and(|took| (700 * MS..800 * MS).contains(&took)));
}

#[test]
fn a_live_token_that_is_called_inactive() {
    assert_eq!(usual().breaks(Kind::KillNode, 1000).asks(Op::Introspect, Goal::Served, "a", active(false)).rules(), ["live is active"]);
}
