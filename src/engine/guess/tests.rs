use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::store::memory::Memory;
use crate::store::{Backend, Key, Kind, Record, Space, Version};
use crate::time::FixedClock;

const START: UnixTime = UnixTime(1_795_000_000);

/// Counts what is asked of the store, which may be down.
#[derive(Default)]
struct Watched {
    kept: Memory,
    reads: AtomicUsize,
    writes: AtomicUsize,
    down: std::sync::atomic::AtomicBool,
}

impl Watched {
    fn up(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) { Err(StoreError::Unreachable("down".to_owned())) } else { Ok(()) }
    }

    fn seen(&self) -> (usize, usize) {
        (self.reads.load(Ordering::SeqCst), self.writes.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Backend for Watched {
    async fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, StoreError> {
        self.up()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.kept.read_many(keys).await
    }

    async fn write(&self, key: &Key, seen: Option<Version>, expires_at: Option<UnixTime>, bytes: Bytes) -> Result<Commit, StoreError> {
        self.up()?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.kept.write(key, seen, expires_at, bytes).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.kept.remove(key).await
    }

    async fn list(&self, space: &Space, kind: Kind, after: Option<&str>, limit: usize) -> Result<Vec<(Key, Record)>, StoreError> {
        self.kept.list(space, kind, after, limit).await
    }

    async fn sweep(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
        self.kept.sweep(now, limit).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.kept.close().await
    }
}

struct World {
    backend: Arc<Watched>,
    clock: Arc<FixedClock>,
}

impl World {
    fn new() -> Self {
        Self { backend: Arc::default(), clock: Arc::new(FixedClock::at(START)) }
    }

    fn node(&self) -> Guesses {
        let store = Store::new(self.backend.clone(), self.clock.clone(), "https://auth.example".into());
        Guesses::new(GuessLimits::default(), store, self.clock.clone())
    }
}

async fn failed(node: &Guesses, named: &str, from: Network) -> Option<Duration> {
    let id = ClientId::parse(named).unwrap();
    node.failed(Some(Named { id: &id, configured: true }), from).await
}

fn from(address: &str) -> Network {
    Network::of(address.parse().unwrap())
}

/// How many failures are answered as what they are before the first 429.
async fn put_up_with(node: &Guesses, named: &str, from: Network) -> usize {
    for tries in 0..5000 {
        if failed(node, named, from).await.is_some() {
            return tries;
        }
    }
    panic!("there is no limit");
}

#[tokio::test]
async fn a_limit_is_passed_with_the_failure_after_the_last_one_allowed() {
    let world = World::new();
    let node = world.node();
    assert_eq!(put_up_with(&node, "app", from("192.0.2.1")).await, 100);
    assert_eq!(failed(&node, "app", from("192.0.2.1")).await, Some(Duration::from_secs(60)));
    assert_eq!(failed(&node, "app", from("192.0.2.2")).await, None, "the same client from elsewhere");
    assert_eq!(failed(&node, "other", from("192.0.2.1")).await, None, "another client from there");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(put_up_with(&node, "app", from("192.0.2.1")).await, 100);
    assert_eq!(failed(&node, "app", from("192.0.2.1")).await, Some(Duration::from_secs(120)), "the second time twice as long");
}

#[tokio::test]
async fn names_that_are_made_up_do_not_help() {
    let world = World::new();
    let node = world.node();
    let mut tries = 0;
    // As many addresses as one likes, of one network.
    while failed(&node, &format!("made-up-{tries}"), from(&format!("2001:db8::{tries:x}"))).await.is_none() {
        tries += 1;
        assert!(tries <= 1000);
    }
    assert_eq!(tries, 1000);
    let before = world.backend.seen();
    for n in 0..2000 {
        assert!(failed(&node, &format!("later-{n}"), from("2001:db8::1")).await.is_some());
    }
    assert_eq!(world.backend.seen(), before, "during a block nothing is read or written");
}

#[tokio::test]
async fn a_flood_of_failures_is_no_flood_of_writes() {
    let world = World::new();
    let node = world.node();
    put_up_with(&node, "app", from("192.0.2.1")).await;
    for _ in 0..1000 {
        failed(&node, "app", from("192.0.2.1")).await;
    }
    let (reads, writes) = world.backend.seen();
    assert!(writes <= 20 && reads <= 30, "{reads} reads, {writes} writes");

    // One failure each from very many places: looked up, never written.
    let before = world.backend.seen();
    for n in 0..500 {
        node.failed(None, from(&format!("2001:db8:0:{n:x}::1"))).await;
    }
    let after = world.backend.seen();
    assert_eq!((after.0 - before.0, after.1 - before.1), (500, 0));
}

#[tokio::test]
async fn nodes_count_together() {
    let world = World::new();
    let (one, other) = (world.node(), world.node());
    let (mut turns, place) = (0, from("192.0.2.1"));
    loop {
        let node = if turns % 2 == 0 { &one } else { &other };
        if failed(node, "app", place).await.is_some() {
            break;
        }
        turns += 1;
    }
    // What one has not brought to the store yet, the other cannot know.
    assert!((90..=112).contains(&turns), "{turns}");
    world.clock.advance(READ_AGAIN);
    for node in [&one, &other, &world.node()] {
        assert!(failed(node, "app", place).await.is_some(), "a block holds at every node");
    }
}

#[tokio::test]
async fn what_is_counted_expires_by_itself() {
    let world = World::new();
    put_up_with(&world.node(), "app", from("192.0.2.1")).await;
    let space: Space = "https://auth.example".into();
    assert_eq!(world.backend.list(&space, Kind::Failures, None, 10).await.unwrap().len(), 2);
    world.clock.advance(Duration::from_secs(3600));
    world.backend.sweep(world.clock.now(), 10).await.unwrap();
    assert_eq!(world.backend.list(&space, Kind::Failures, None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn without_a_store_a_node_counts_alone() {
    let world = World::new();
    world.backend.down.store(true, Ordering::SeqCst);
    let node = world.node();
    assert_eq!(put_up_with(&node, "app", from("192.0.2.1")).await, 100);
    assert_eq!(failed(&node, "app", from("192.0.2.1")).await, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn of_many_at_once_none_is_lost() {
    let world = World::new();
    let node = Arc::new(world.node());
    let tasks: Vec<_> = (0..300)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move { failed(&node, "app", from("192.0.2.1")).await.is_some() })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        refused += usize::from(task.await.unwrap());
    }
    assert_eq!(refused, 200);
}
