//! Hours of work in minutes: at sixty percent of what the machine can do, nothing may grow.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Failed;
use crate::ask::Asker;
use crate::browser::send;
use crate::cast::{Cast, On, REUSE, SECRET};
use crate::dice::Dice;
use crate::history::{Recorder, Setting};
use crate::load::Load;
use crate::proc::{descriptors, resident, threads};

const SHARE: f64 = 0.6;
const CAPACITY_FOR: Duration = Duration::from_secs(10);
const WORKERS: usize = 16;
const SAMPLES: Duration = Duration::from_secs(2);
/// What memory may grow by after the first third.
const GROWTH: f64 = 0.05;
/// Connections of the load come and go.
const SPARE: f64 = 16.0;

struct Sample {
    at: f64,
    resident: f64,
    descriptors: f64,
    tasks: Option<f64>,
}

/// The load on a cast of one node.
pub fn load(cast: &Cast) -> Result<Arc<Load>, Failed> {
    let setting = Setting { redis: false, nodes: 1, reuse_us: u64::try_from(REUSE.as_micros())?, recovers_us: 0 };
    let asker = Asker {
        http: cast.http.clone(),
        recorder: Recorder::that_counts(setting),
        base: cast.fhir.base.clone(),
        held_base: cast.fhir.held.clone(),
        dice: std::sync::Mutex::new(Dice::new(1)),
    };
    Ok(Load::new(asker))
}

pub async fn run(helsebro: &Path, lasts: Duration, rate: Option<f64>) -> Result<bool, Failed> {
    let dir = tempfile::Builder::new().prefix("helsebro-soak-").tempdir()?;
    let cast = Cast::start(On::Steady, helsebro, None, dir.path()).await?;
    let load = load(&cast)?;
    let pid = *cast.pids().first().ok_or("a cast has a node")?;
    let rate = match rate {
        Some(rate) => rate,
        None => SHARE * capacity(&load).await?,
    };
    println!("── soak: {}, {} s, {rate:.1} launches a second", On::Steady.name(), lasts.as_secs());
    let begun = Instant::now();
    let paced: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let load = Arc::clone(&load);
            tokio::spawn(async move {
                let mut every = tokio::time::interval(Duration::from_secs_f64(WORKERS as f64 / rate));
                every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                tokio::time::sleep(Duration::from_secs_f64(worker as f64 / rate)).await;
                while begun.elapsed() < lasts {
                    every.tick().await;
                    load.once().await;
                }
            })
        })
        .collect();
    let (mut samples, mut shown) = (Vec::new(), 0);
    while begun.elapsed() < lasts {
        tokio::time::sleep(SAMPLES).await;
        let tasks = tasks(cast.ops()).await;
        samples.push(Sample { at: begun.elapsed().as_secs_f64(), resident: resident(pid) as f64, descriptors: descriptors(pid) as f64, tasks });
        if begun.elapsed().as_secs() / 10 > shown {
            shown = begun.elapsed().as_secs() / 10;
            println!(
                "   {:>4} s  {} requests, {:.1} MB resident, {} descriptors, {} threads",
                begun.elapsed().as_secs(),
                load.asker.recorder.served(),
                resident(pid) as f64 / 1e6,
                descriptors(pid),
                threads(pid)
            );
        }
    }
    for worker in paced {
        worker.await?;
    }
    Ok(verdict(&load, &samples, lasts))
}

/// Launches a second, with nobody waiting between.
async fn capacity(load: &Arc<Load>) -> Result<f64, Failed> {
    let begun = Instant::now();
    let busy: Vec<_> = (0..WORKERS)
        .map(|_| {
            let load = Arc::clone(load);
            tokio::spawn(async move {
                let mut done = 0_u32;
                while begun.elapsed() < CAPACITY_FOR {
                    load.once().await;
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut all = 0;
    for worker in busy {
        all += worker.await?;
    }
    let a_second = f64::from(all) / begun.elapsed().as_secs_f64();
    println!(
        "── capacity: {a_second:.1} launches a second, {} requests each, load and server on one machine",
        load.asker.recorder.served() / u64::from(all.max(1))
    );
    Ok(a_second)
}

/// What the server says of its tasks, where it does.
async fn tasks(ops: u16) -> Option<f64> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().ok()?;
    let said = send(client.get(format!("http://127.0.0.1:{ops}/metrics")).bearer_auth(SECRET)).await.ok()?;
    said.body.lines().find(|line| !line.starts_with('#') && line.contains("alive_tasks"))?.split_whitespace().last()?.parse().ok()
}

/// By how much the line through what was seen after the first third rises until the end: at the start of it, and in all.
fn rise(samples: &[Sample], of: impl Fn(&Sample) -> Option<f64>) -> Option<(f64, f64)> {
    let points: Vec<(f64, f64)> = samples.iter().skip(samples.len() / 3).filter_map(|sample| Some((sample.at, of(sample)?))).collect();
    let count = points.len() as f64;
    let (first, last) = (points.first()?.0, points.last()?.0);
    let (x, y) = (points.iter().map(|point| point.0).sum::<f64>() / count, points.iter().map(|point| point.1).sum::<f64>() / count);
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread.max(f64::MIN_POSITIVE);
    Some((y + slope * (first - x), slope * (last - first)))
}

fn verdict(load: &Load, samples: &[Sample], lasts: Duration) -> bool {
    let mut held = true;
    let mut judge = |what: &str, unit: f64, of: &dyn Fn(&Sample) -> Option<f64>, may: &dyn Fn(f64) -> f64| {
        let Some((from, by)) = rise(samples, of) else {
            println!("   {what:<12} not told by this server");
            return;
        };
        let fine = by <= may(from);
        held &= fine;
        let percent = 100.0 * by / from.max(1.0);
        println!("   {what:<12} {:.1} after a third, {:+.1} until the end ({percent:+.1} %){}", from / unit, by / unit, if fine { "" } else { "   GROWS" });
    };
    judge("resident MB", 1e6, &|sample| Some(sample.resident), &|from| from * GROWTH);
    judge("descriptors", 1.0, &|sample| Some(sample.descriptors), &|_| SPARE);
    judge("tasks", 1.0, &|sample| sample.tasks, &|_| SPARE);
    let failed = load.asker.recorder.history();
    println!("   {} requests served in {} s, {} not", load.asker.recorder.served(), lasts.as_secs(), failed.entries.len());
    for entry in failed.entries.iter().take(5) {
        println!("      {}", serde_json::to_string(entry).unwrap_or_default());
    }
    held && failed.entries.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_seen_and_noise_is_not() {
        let samples =
            |of: fn(f64) -> f64| (0..90).map(|at| Sample { at: f64::from(at), resident: of(f64::from(at)), descriptors: 0.0, tasks: None }).collect::<Vec<_>>();
        let resident = |samples: &[Sample]| rise(samples, |sample| Some(sample.resident)).unwrap();
        // A warm-up alone is none.
        let flat = resident(&samples(|at| if at < 30.0 { at } else { 100.0 + (at % 3.0) }));
        assert!(flat.1.abs() < 1.0 && (flat.0 - 101.0).abs() < 1.0, "{flat:?}");
        let grows = resident(&samples(|at| 100.0 + at));
        assert!((grows.0 - 130.0).abs() < 0.01 && (grows.1 - 59.0).abs() < 0.01, "{grows:?}");
        assert_eq!(rise(&samples(|at| at), |sample| sample.tasks), None);
    }
}
