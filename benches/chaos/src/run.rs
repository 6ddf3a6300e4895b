//! One run: the cast on stage, the load at work, one fault after the other, and what the checker says of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Failed;
use crate::ask::Asker;
use crate::cast::{Cast, On, REUSE};
use crate::checker::{self, Verdict};
use crate::dice::Dice;
use crate::faults::{Kind, Planned, Schedule};
use crate::history::{Recorder, Setting, Span, Starved};
use crate::load::Load;

const WORKERS: usize = 8;
/// How late this process may be woken before the machine counts as starved: what is less is part of what is measured.
const LATE: Duration = Duration::from_millis(250);
const HEARTBEAT: Duration = Duration::from_millis(20);
const PROGRESS: Duration = Duration::from_secs(10);
/// What is waited for after a fault before it is called unrecovered and the next one begins.
const WAITS: Duration = Duration::from_secs(12);

pub struct Plan<'a> {
    pub on: On,
    pub seed: u64,
    pub lasts: Duration,
    pub helsebro: &'a Path,
    pub redis: Option<&'a Path>,
    pub keep: Option<&'a Path>,
    /// These faults alone, one after the other, for so long each; else what the seed says.
    pub only: Option<(Vec<Kind>, Duration)>,
    /// How long after a fault its traces may be seen.
    pub recovers: Duration,
}

/// Notes when this process was not let run.
struct Heartbeat(Arc<AtomicBool>);

impl Heartbeat {
    fn start(recorder: Recorder) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let at = recorder.now();
                std::thread::sleep(HEARTBEAT);
                let late = Duration::from_micros(recorder.now() - at).saturating_sub(HEARTBEAT);
                if late > LATE {
                    let for_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                    recorder.with(|history| history.starved.push(Starved { at, for_us }));
                }
            }
        });
        Self(stop)
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs it; the verdict, printed.
pub async fn run(plan: &Plan<'_>) -> Result<Verdict, Failed> {
    let dir = tempfile::Builder::new().prefix("helsebro-chaos-").tempdir()?;
    let here = match plan.keep {
        Some(keep) => keep.join(format!("{}-{}", if plan.on.is_redis() { "redis" } else { "embedded" }, plan.seed)),
        None => dir.path().to_owned(),
    };
    if plan.keep.is_some() && here.exists() {
        std::fs::remove_dir_all(&here)?;
    }
    std::fs::create_dir_all(&here)?;
    println!("── {}, seed {}, {} s", plan.on.name(), plan.seed, plan.lasts.as_secs());
    let mut cast = Cast::start(plan.on, plan.helsebro, plan.redis, &here).await?;
    let recorder = Recorder::new(Setting {
        redis: plan.on.is_redis(),
        nodes: cast.nodes(),
        reuse_us: u64::try_from(REUSE.as_micros())?,
        recovers_us: u64::try_from(plan.recovers.as_micros())?,
    });
    let asker = Asker {
        http: cast.http.clone(),
        recorder: recorder.clone(),
        base: cast.fhir.base.clone(),
        held_base: cast.fhir.held.clone(),
        dice: std::sync::Mutex::new(Dice::new(plan.seed)),
    };
    let load = Load::new(asker);
    // Whether it serves before anything is broken is a matter of its start.
    load.warm_up().await;
    load.forget();
    recorder.with(|history| history.entries.clear());
    let heartbeat = Heartbeat::start(recorder.clone());
    let mut workers: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(Arc::clone(&load).work())).collect();
    workers.extend((0..cast.nodes()).map(|node| tokio::spawn(Arc::clone(&load).probe(node))));

    let ended = faults(plan, &mut cast, &load, &recorder).await;
    load.stop();
    for worker in workers {
        worker.await?;
    }
    load.audit().await;
    drop(heartbeat);
    let history = recorder.history();
    let verdict = checker::check(&history);
    report(&history, &verdict);
    if plan.keep.is_some() || !verdict.violations.is_empty() {
        let file = here.join("history.jsonl");
        history.keep(&file)?;
        println!("   the history is {}", file.display());
        if plan.keep.is_none() {
            // What the violations point at is not swept away.
            let _kept: PathBuf = dir.keep();
        }
    }
    ended?;
    Ok(verdict)
}

/// One fault after the other until the time is up.
async fn faults(plan: &Plan<'_>, cast: &mut Cast, load: &Load, recorder: &Recorder) -> Result<(), Failed> {
    let begun = Instant::now();
    let mut shown = begun;
    let mut cannot = Vec::new();
    // A start without trouble, so that there is something to lose.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let planned: Box<dyn Iterator<Item = Planned>> = match &plan.only {
        Some((kinds, lasts)) => {
            let lasts_ms = u64::try_from(lasts.as_millis())?;
            Box::new(kinds.clone().into_iter().map(move |kind| Planned { kind, node: 0, lasts_ms, rest_ms: 1000 }))
        }
        None => Box::new(Schedule::new(plan.seed, plan.on.is_redis(), cast.nodes())),
    };
    for fault in planned {
        if begun.elapsed() + Duration::from_millis(fault.lasts_ms) > plan.lasts || cannot.contains(&fault.kind) && cannot.len() > 3 {
            break;
        }
        cast.ready_for(fault.kind).await?;
        let from = recorder.now();
        if !cast.break_it(fault).await? {
            if !cannot.contains(&fault.kind) {
                println!("   left out: {:?}: prlimit does not work here", fault.kind);
                cannot.push(fault.kind);
            }
            continue;
        }
        // Written before it ends, so that what is asked meanwhile is never judged without it.
        let place = recorder.with(|history| {
            history.spans.push(Span { kind: fault.kind, node: Some(fault.node), from, to: u64::MAX / 4 });
            history.spans.len() - 1
        });
        tokio::time::sleep(Duration::from_millis(fault.lasts_ms)).await;
        cast.mend(fault).await?;
        let to = recorder.now();
        recorder.with(|history| {
            if let Some(span) = history.spans.get_mut(place) {
                span.to = to;
            }
        });
        recovered(load).await;
        tokio::time::sleep(Duration::from_millis(fault.rest_ms)).await;
        if let Some(node) = cast.fallen() {
            return Err(format!("node {node} ended by itself after {:?}", fault.kind).into());
        }
        if shown.elapsed() > PROGRESS {
            shown = Instant::now();
            let (requests, faults) = recorder.with(|history| (history.entries.len(), history.spans.len()));
            println!("   {:>4} s  {requests} requests, {faults} faults, last {:?}", begun.elapsed().as_secs(), fault.kind);
        }
    }
    Ok(())
}

/// Waits until every node has served something that was begun since.
async fn recovered(load: &Load) {
    let before: Vec<u64> = load.probed.iter().map(|probed| probed.load(Ordering::SeqCst)).collect();
    let begun = Instant::now();
    while begun.elapsed() < WAITS {
        // Two, for the first may have been begun before.
        if load.probed.iter().zip(&before).all(|(probed, before)| probed.load(Ordering::SeqCst) > before + 1) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn report(history: &crate::history::History, verdict: &Verdict) {
    let counts = verdict.counts;
    let mut slowest: BTreeMap<Kind, (usize, u64)> = BTreeMap::new();
    for (span, took) in &verdict.recoveries {
        let row = slowest.entry(span.kind).or_default();
        row.0 += 1;
        row.1 = row.1.max(took.unwrap_or(0));
    }
    println!("   requests {}   right {}   honest errors {}   violations {}", counts.requests, counts.right, counts.honest_errors, verdict.violations.len());
    println!("   {:<16} {:>6}  {:>16}", "fault", "times", "slowest recovery");
    for (kind, (times, took)) in slowest {
        println!("   {:<16} {times:>6}  {:>13} ms", format!("{kind:?}"), took / 1000);
    }
    let starved: u64 = history.starved.iter().map(|starved| starved.for_us).sum();
    if starved > 0 {
        println!("   the machine let nobody run for {} ms in all; that is taken off", starved / 1000);
    }
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in &verdict.violations {
        *rules.entry(violation.rule).or_default() += 1;
    }
    for (rule, times) in rules {
        println!("   broken {times} times: {rule}");
    }
    for violation in verdict.violations.iter().take(20) {
        println!("   VIOLATION {}: {}", violation.rule, violation.what);
        for entry in violation.shown_by.iter().filter_map(|place| history.entries.get(*place)) {
            println!("      {}", serde_json::to_string(entry).unwrap_or_default());
        }
        let near = violation.shown_by.last().and_then(|place| history.entries.get(*place)).map_or(0, |entry| entry.from);
        for span in history.spans.iter().filter(|span| span.from <= near).rev().take(2) {
            println!("      {} ms before: {:?} for {} ms", (near - span.from) / 1000, span.kind, (span.to - span.from) / 1000);
        }
    }
    if verdict.violations.len() > 20 {
        println!("   … and {} more", verdict.violations.len() - 20);
    }
}
