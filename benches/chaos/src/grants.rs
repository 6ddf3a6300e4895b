//! A million live grants in the embedded store: how long a start takes, what each weighs, and what requests feel while all of them are swept.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use helsebro::random::{Random as _, SystemRandom};
use helsebro::store::embedded::{Durability, Embedded};
use helsebro::store::{Backend as _, Key, Kind};
use helsebro::time::{Clock as _, SystemClock, UnixTime};

use crate::Failed;
use crate::cast::{Cast, On};
use crate::load::Load;
use crate::proc::resident;
use crate::soak;

/// Writes under way at once: what one transaction takes along.
const AT_ONCE: usize = 1000;
const STARTS_WITHIN: Duration = Duration::from_secs(3);
const HELD_AT_MOST: Duration = Duration::from_millis(20);
/// Longer than any grant lives here.
const LATER_S: i64 = 14 * 3600;
/// What is compared with: about as long as the sweep takes, so that it meets what the machine and its disk do now and then as often.
const QUIET_FOR: Duration = Duration::from_secs(180);
const PATIENCE: Duration = Duration::from_secs(600);

pub async fn run(helsebro: &Path, count: usize) -> Result<bool, Failed> {
    let dir = tempfile::Builder::new().prefix("helsebro-grants-").tempdir()?;
    let mut cast = Cast::start(On::Embedded { durability: "power-loss" }, helsebro, None, dir.path()).await?;
    let few = soak::load(&cast)?;
    for _ in 0..20 {
        few.once().await;
    }
    cast.rest().await;
    let path = cast.store().ok_or("a cast has a store")?;
    let empty = taken(&path)?;
    let began = Instant::now();
    fill(&path, cast.http.issuer(), count).await?;
    let full = taken(&path)?;
    println!(
        "── {count} grants, made in {:.1} s: {} bytes each on disk",
        began.elapsed().as_secs_f64(),
        full.saturating_sub(empty) / u64::try_from(count.max(1))?
    );

    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        let took = cast.wake().await?;
        slowest = slowest.max(took);
        println!(
            "   first answer {} ms after the start, {:.1} MB resident",
            took.as_millis(),
            cast.pids().first().map_or(0.0, |pid| resident(*pid) as f64 / 1e6)
        );
        cast.rest().await;
    }
    // And after a kill: nothing was closed.
    cast.wake().await?;
    cast.kill();
    let killed = cast.wake().await?;
    println!("   after kill -9: {} ms", killed.as_millis());

    let load = soak::load(&cast)?;
    let late = Late::start();
    let (quiet, _) = felt(&load, |since| since > QUIET_FOR).await;
    println!(
        "   while nothing expires: slowest {:.1} ms, 99 % within {:.1} ms of {} requests; this process itself was woken up to {:.1} ms late",
        ms(&quiet, 1.0),
        ms(&quiet, 0.99),
        quiet.len(),
        late.most_ms()
    );
    let late = Late::start();
    cast.jump(LATER_S).await?;
    let log = cast.log();
    let swept = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("expired records forgotten"));
    let (busy, lasted) = felt(&load, |since| swept() || since > PATIENCE).await;
    println!(
        "   while all expire: swept in {:.1} s; slowest {:.1} ms, 99.9 % within {:.1} ms, 99 % within {:.1} ms of {} requests; woken up to {:.1} ms late",
        lasted.as_secs_f64(),
        ms(&busy, 1.0),
        ms(&busy, 0.999),
        ms(&busy, 0.99),
        busy.len(),
        late.most_ms()
    );
    let over = busy.iter().filter(|took| **took > HELD_AT_MOST + quiet.last().copied().unwrap_or_default()).count();
    println!("   {over} requests were held over {} ms longer than the slowest before", HELD_AT_MOST.as_millis());
    Ok(slowest < STARTS_WITHIN && killed < STARTS_WITHIN && over == 0)
}

/// What a file takes on the disk, in bytes. It is longer: it doubles when it is full, and what was never written takes nothing.
fn taken(path: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(path.metadata()?.blocks() * 512)
}

/// How late the machine wakes a thread that only sleeps: what requests feel that is nobody's doing here.
struct Late(Arc<AtomicU64>);

impl Late {
    const EVERY: Duration = Duration::from_millis(5);

    fn start() -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&most);
        std::thread::spawn(move || {
            while let Some(most) = watched.upgrade() {
                let begun = Instant::now();
                std::thread::sleep(Self::EVERY);
                let late = begun.elapsed().saturating_sub(Self::EVERY);
                most.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self(most)
    }

    fn most_ms(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1000.0
    }
}

/// Copies a grant the server made under new ids, all live for half a day.
pub async fn fill(path: &Path, issuer: &str, count: usize) -> Result<(), Failed> {
    let store = Arc::new(Embedded::open(path, Durability::Process)?);
    let space: helsebro::store::Space = issuer.into();
    let made = store.list(&space, Kind::Grant, None, 50).await?;
    let grant: Bytes = made.iter().map(|(_, record)| record.bytes.clone()).max_by_key(Bytes::len).ok_or("the server made no grant")?;
    println!("   a grant is {} bytes", grant.len());
    let now = SystemClock::shared().now();
    let mut left = count;
    while left > 0 {
        let portion = left.min(AT_ONCE);
        let writes: Vec<_> = (0..portion)
            .map(|n| {
                let (store, space, grant) = (Arc::clone(&store), Arc::clone(&space), grant.clone());
                let expires_at = UnixTime(now.0 + 12 * 3600 + i64::try_from(n).unwrap_or(0) % 3600);
                tokio::spawn(async move { store.write(&Key::new(&space, Kind::Grant, &SystemRandom.id()), None, Some(expires_at), grant).await })
            })
            .collect();
        for write in writes {
            let _applied = write.await??;
        }
        left -= portion;
    }
    Ok(store.close().await?)
}

/// What requests took, sorted, until it is over, and how long that was: launches with all that follows, one after the other.
async fn felt(load: &Arc<Load>, over: impl Fn(Duration) -> bool) -> (Vec<Duration>, Duration) {
    let begun = Instant::now();
    let before = load.asker.recorder.timed().len();
    while !over(begun.elapsed()) {
        load.once().await;
    }
    let mut took: Vec<Duration> = load.asker.recorder.timed().into_iter().skip(before).map(Duration::from_micros).collect();
    took.sort_unstable();
    (took, begun.elapsed())
}

fn ms(sorted: &[Duration], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.saturating_sub(1)).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}
