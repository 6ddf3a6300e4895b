//! What every back end of the store promises. A back end is done when this passes; adding one is one line at the end of this file.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use helsebro::random::SystemRandom;
use helsebro::store::embedded::{Durability, Embedded};
use helsebro::store::memory::Memory;
use helsebro::store::redis::{Redis, Servers};
use helsebro::store::{Backend, Commit, Key, Kind, Space, Store, StoreError, Stored, Version};
use helsebro::time::{Clock, FixedClock, UnixTime};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::on_redis::servers;

const NOW: UnixTime = UnixTime(1_790_000_000);

/// A back end to be tried, and a clock to move.
struct Bench {
    backend: Arc<dyn Backend>,
    clock: Arc<FixedClock>,
    _dir: Option<tempfile::TempDir>,
}

impl Bench {
    fn of(backend: impl Backend, dir: Option<tempfile::TempDir>) -> Self {
        Self { backend: Arc::new(backend), clock: Arc::new(FixedClock::at(NOW)), _dir: dir }
    }

    fn embedded(durability: Durability) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::of(Embedded::open(&dir.path().join("store"), durability).unwrap(), Some(dir))
    }

    /// A store of its own on servers that others use too, where there are any.
    async fn redis(servers: Option<Servers>) -> Option<Self> {
        let clock = Arc::new(FixedClock::at(NOW));
        let backend = Redis::open(&servers::options(servers?), Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(SystemRandom)).await.unwrap();
        Some(Self { backend: Arc::new(backend), clock, _dir: None })
    }

    fn store(&self, space: &str) -> Store {
        Store::new(Arc::clone(&self.backend), Arc::clone(&self.clock) as Arc<dyn Clock>, space.into())
    }

    fn key(&self, kind: Kind, id: &str) -> Key {
        Key::new(&Space::from("a"), kind, id)
    }

    async fn put(&self, key: &Key, expires_at: Option<UnixTime>) {
        assert_eq!(self.backend.write(key, None, expires_at, Bytes::from_static(b"\x01{}")).await.unwrap(), Commit::Applied);
    }

    async fn version(&self, key: &Key) -> Option<Version> {
        self.backend.read_many(std::slice::from_ref(key)).await.unwrap().remove(0).map(|record| record.version)
    }
}

macro_rules! stored {
    ($name:ident, $kind:ident) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        struct $name {
            count: u64,
            text: String,
            until: Option<UnixTime>,
        }

        impl $name {
            fn new(count: u64) -> Self {
                Self { count, text: String::new(), until: None }
            }

            #[allow(dead_code, reason = "not every kind is made to expire")]
            fn until(self, at: UnixTime) -> Self {
                Self { until: Some(at), ..self }
            }
        }

        impl Stored for $name {
            const KIND: Kind = Kind::$kind;
            const FORMAT: u8 = 2;
            fn expires_at(&self) -> Option<UnixTime> {
                self.until
            }
        }
    };
}
stored!(Grant, Grant);
stored!(Session, Session);

fn after(seconds: u64) -> UnixTime {
    NOW + Duration::from_secs(seconds)
}

async fn what_is_created_is_loaded(bench: Bench) {
    let store = bench.store("a");
    let grant = Grant { text: "æøå \u{1F3E5} \0".into(), ..Grant::new(7) };
    assert!(store.load::<Grant>("g").await.unwrap().is_none());
    assert_eq!(store.create("g", &grant).await.unwrap(), Commit::Applied);
    let held = store.load::<Grant>("g").await.unwrap().unwrap();
    assert_eq!((held.id(), &held.value), ("g", &grant));
    assert_eq!(store.create("g", &Grant::new(8)).await.unwrap(), Commit::Conflict);
    assert_eq!(store.load::<Grant>("g").await.unwrap().unwrap().value, grant);
}

async fn a_record_is_replaced_only_where_it_was_seen(bench: Bench) {
    let store = bench.store("a");
    assert_eq!(store.create("g", &Grant::new(0)).await.unwrap(), Commit::Applied);
    let (mine, theirs) = (store.load::<Grant>("g").await.unwrap().unwrap(), store.load::<Grant>("g").await.unwrap().unwrap());
    assert_eq!(store.replace(&theirs, &Grant::new(1)).await.unwrap(), Commit::Applied);
    assert_eq!(store.replace(&mine, &Grant::new(2)).await.unwrap(), Commit::Conflict);
    assert_eq!(store.replace(&theirs, &Grant::new(3)).await.unwrap(), Commit::Conflict, "what it wrote itself it has not seen");
    assert_eq!(store.load::<Grant>("g").await.unwrap().unwrap().value.count, 1);
}

async fn a_removed_record_is_gone_and_is_not_mistaken_for_its_successor(bench: Bench) {
    let store = bench.store("a");
    store.remove::<Grant>("g").await.unwrap();
    assert_eq!(store.create("g", &Grant::new(0)).await.unwrap(), Commit::Applied);
    let old = store.load::<Grant>("g").await.unwrap().unwrap();
    store.remove::<Grant>("g").await.unwrap();
    assert!(store.load::<Grant>("g").await.unwrap().is_none());
    assert_eq!(store.replace(&old, &Grant::new(1)).await.unwrap(), Commit::Conflict);
    assert_eq!(store.create("g", &Grant::new(2)).await.unwrap(), Commit::Applied);
    assert_eq!(store.replace(&old, &Grant::new(3)).await.unwrap(), Commit::Conflict);
    assert_eq!(store.load::<Grant>("g").await.unwrap().unwrap().value.count, 2);
}

async fn many_are_read_in_the_order_they_were_asked_for(bench: Bench) {
    for id in ["c", "a", "b"] {
        let bytes = Bytes::copy_from_slice(id.as_bytes());
        assert_eq!(bench.backend.write(&bench.key(Kind::Grant, id), None, None, bytes).await.unwrap(), Commit::Applied);
    }
    let keys = ["b", "missing", "a", "c", "b"].map(|id| bench.key(Kind::Grant, id));
    let read = bench.backend.read_many(&keys).await.unwrap();
    let texts: Vec<_> = read.iter().map(|record| record.as_ref().map(|record| record.bytes.as_ref())).collect();
    assert_eq!(texts, [Some(&b"b"[..]), None, Some(b"a"), Some(b"c"), Some(b"b")]);
    assert!(bench.backend.read_many(&[]).await.unwrap().is_empty());
}

async fn records_of_several_types_come_in_one_read(bench: Bench) {
    let store = bench.store("a");
    assert_eq!(store.create("x", &Grant::new(1)).await.unwrap(), Commit::Applied);
    assert_eq!(store.create("x", &Session::new(2).until(after(10))).await.unwrap(), Commit::Applied);
    let mut reads = store.reads();
    let (grant, session) = (reads.want::<Grant>("x"), reads.want_opt::<Session>(Some("x")));
    let (missing, unasked) = (reads.want::<Grant>("y"), reads.want_opt::<Session>(None));
    let found = reads.fetch().await.unwrap();
    let held = found.take(grant).unwrap().unwrap();
    assert_eq!((held.value.count, found.take(session).unwrap().unwrap().value.count), (1, 2));
    assert!(found.take(missing).unwrap().is_none() && found.take(unasked).unwrap().is_none());
    assert_eq!(store.replace(&held, &Grant::new(3)).await.unwrap(), Commit::Applied);

    bench.clock.advance(Duration::from_secs(10));
    let mut reads = store.reads();
    let session = reads.want::<Session>("x");
    assert!(reads.fetch().await.unwrap().take(session).unwrap().is_none(), "expired");
}

async fn a_list_is_paged_in_order(bench: Bench) {
    let store = bench.store("a");
    for n in (0..25).rev() {
        assert_eq!(store.create(&format!("{n:02}"), &Grant::new(n)).await.unwrap(), Commit::Applied);
    }
    let (mut seen, mut last) = (Vec::new(), None::<String>);
    loop {
        let page = store.list::<Grant>(last.as_deref(), 10).await.unwrap();
        last = page.last().map(|(id, _)| id.clone());
        seen.extend(page.iter().map(|(_, grant)| grant.count));
        if page.len() < 10 {
            break;
        }
    }
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
    assert_eq!(store.list::<Grant>(Some("07x"), 2).await.unwrap().iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["08", "09"]);
    assert!(store.list::<Grant>(None, 0).await.unwrap().is_empty());
    assert_eq!(store.list::<Grant>(None, 1000).await.unwrap().len(), 25);
}

async fn a_list_steps_over_expired_records(bench: Bench) {
    let store = bench.store("a");
    for n in 0..30 {
        let session = Session::new(n);
        let session = if n % 3 == 0 { session } else { session.until(after(5)) };
        assert_eq!(store.create(&format!("{n:02}"), &session).await.unwrap(), Commit::Applied);
    }
    bench.clock.advance(Duration::from_secs(5));
    let counts = |page: Vec<(String, Session)>| page.into_iter().map(|(_, session)| session.count).collect::<Vec<_>>();
    assert_eq!(counts(store.list(None, 4).await.unwrap()), [0, 3, 6, 9]);
    assert_eq!(counts(store.list(Some("09"), 100).await.unwrap()), [12, 15, 18, 21, 24, 27]);
}

async fn spaces_and_kinds_do_not_cross(bench: Bench) {
    // Spaces and ids chosen so that their texts run together the same way.
    let spaces = ["a", "ab", "https://ehr.example/a", "https://ehr.example/a/b", "", "a\0b"];
    let ids = ["b", "bc", "", "g\u{7}x", "/b"];
    for (n, space) in spaces.iter().enumerate() {
        let store = bench.store(space);
        for (m, id) in ids.iter().enumerate() {
            let count = (n * 10 + m) as u64;
            assert_eq!(store.create(id, &Grant::new(count)).await.unwrap(), Commit::Applied);
            assert_eq!(store.create(id, &Session::new(count + 1000)).await.unwrap(), Commit::Applied);
        }
    }
    for (n, space) in spaces.iter().enumerate() {
        let store = bench.store(space);
        for (m, id) in ids.iter().enumerate() {
            assert_eq!(store.load::<Grant>(id).await.unwrap().unwrap().value.count, (n * 10 + m) as u64);
            assert_eq!(store.load::<Session>(id).await.unwrap().unwrap().value.count, (n * 10 + m + 1000) as u64);
        }
        assert_eq!(store.list::<Grant>(None, 100).await.unwrap().len(), ids.len());
        assert_eq!(store.list::<Session>(None, 100).await.unwrap().len(), ids.len());
    }
    bench.store("a").remove::<Grant>("b").await.unwrap();
    assert!(bench.store("a").load::<Session>("b").await.unwrap().is_some());
    assert!(bench.store("ab").load::<Grant>("b").await.unwrap().is_some());
}

async fn expiry_is_by_our_clock(bench: Bench) {
    let store = bench.store("a");
    assert_eq!(store.create("g", &Grant::new(1).until(after(60))).await.unwrap(), Commit::Applied);
    bench.clock.advance(Duration::from_secs(59));
    assert!(store.load::<Grant>("g").await.unwrap().is_some());
    assert_eq!(store.create("g", &Grant::new(2)).await.unwrap(), Commit::Conflict);
    bench.clock.advance(Duration::from_secs(1));
    assert!(store.load::<Grant>("g").await.unwrap().is_none(), "`expires_at` is the first second without it");
}

async fn an_expired_leftover_does_not_block(bench: Bench) {
    let store = bench.store("a");
    assert_eq!(store.create("g", &Grant::new(1).until(after(60))).await.unwrap(), Commit::Applied);
    let old = store.load::<Grant>("g").await.unwrap().unwrap();
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(store.create("g", &Grant::new(2).until(after(120))).await.unwrap(), Commit::Applied);
    assert_eq!(store.load::<Grant>("g").await.unwrap().unwrap().value.count, 2);
    assert_eq!(store.replace(&old, &Grant::new(3)).await.unwrap(), Commit::Conflict);
    assert_eq!(bench.backend.sweep(after(60), 100).await.unwrap(), 0, "the expiry of the leftover went with it");
}

async fn sweeping_takes_expired_records_only(bench: Bench) {
    let [stays, early, late, moved_on, moved_up, unbounded, removed] =
        ["stays", "early", "late", "on", "up", "unbounded", "removed"].map(|id| bench.key(Kind::Replay, id));
    bench.put(&stays, None).await;
    bench.put(&early, Some(after(10))).await;
    bench.put(&late, Some(after(20))).await;
    bench.put(&moved_on, Some(after(10))).await;
    bench.put(&moved_up, Some(after(50))).await;
    bench.put(&unbounded, Some(after(10))).await;
    bench.put(&removed, Some(after(10))).await;
    for (key, expires_at) in [(&moved_on, Some(after(30))), (&moved_up, Some(after(5))), (&unbounded, None)] {
        let seen = bench.version(key).await;
        assert_eq!(bench.backend.write(key, seen, expires_at, Bytes::from_static(b"\x01{}")).await.unwrap(), Commit::Applied);
    }
    bench.backend.remove(&removed).await.unwrap();

    assert_eq!(bench.backend.sweep(after(4), 100).await.unwrap(), 0);
    assert_eq!(bench.backend.sweep(after(10), 100).await.unwrap(), 2);
    for (key, there) in [(&stays, true), (&early, false), (&late, true), (&moved_on, true), (&moved_up, false), (&unbounded, true)] {
        assert_eq!(bench.version(key).await.is_some(), there, "{}", key.id);
    }
    assert_eq!(bench.backend.sweep(after(1000), 100).await.unwrap(), 2);
    assert_eq!(bench.backend.sweep(after(1000), 100).await.unwrap(), 0);
    assert!(bench.version(&stays).await.is_some() && bench.version(&unbounded).await.is_some());
}

async fn sweeping_stops_at_its_limit_and_takes_the_oldest_first(bench: Bench) {
    for n in 0..10 {
        bench.put(&bench.key(Kind::Replay, &format!("{n}")), Some(UnixTime(n - 5))).await;
    }
    assert_eq!(bench.backend.sweep(NOW, 4).await.unwrap(), 4);
    let left = bench.backend.list(&"a".into(), Kind::Replay, None, 100).await.unwrap();
    assert_eq!(left.iter().map(|(key, _)| &*key.id).collect::<Vec<_>>(), ["4", "5", "6", "7", "8", "9"]);
    assert_eq!(bench.backend.sweep(NOW, 4).await.unwrap(), 4);
    assert_eq!(bench.backend.sweep(NOW, 4).await.unwrap(), 2);
    assert_eq!(bench.backend.sweep(NOW, 0).await.unwrap(), 0);
}

async fn of_64_racing_replacements_one_wins(bench: Bench) {
    let store = bench.store("a");
    for round in 0..8 {
        let id = format!("g{round}");
        assert_eq!(store.create(&id, &Grant::new(1000)).await.unwrap(), Commit::Applied);
        let held = store.load::<Grant>(&id).await.unwrap().unwrap();
        let mut race = JoinSet::new();
        for racer in 0..64 {
            let (store, held) = (store.clone(), held.clone());
            race.spawn(async move { (racer, store.replace(&held, &Grant::new(racer)).await.unwrap()) });
        }
        let winners: Vec<_> = race.join_all().await.into_iter().filter(|(_, commit)| *commit == Commit::Applied).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(store.load::<Grant>(&id).await.unwrap().unwrap().value.count, winners[0].0);
    }
}

async fn of_64_racing_creations_one_wins(bench: Bench) {
    let store = bench.store("a");
    // Over nothing, and over an expired leftover.
    assert_eq!(store.create("leftover", &Grant::new(1000).until(after(1))).await.unwrap(), Commit::Applied);
    bench.clock.advance(Duration::from_secs(1));
    for id in ["new", "leftover"] {
        let mut race = JoinSet::new();
        for racer in 0..64 {
            let store = store.clone();
            race.spawn(async move { (racer, store.create(id, &Grant::new(racer)).await.unwrap()) });
        }
        let winners: Vec<_> = race.join_all().await.into_iter().filter(|(_, commit)| *commit == Commit::Applied).collect();
        assert_eq!(winners.len(), 1, "{id}");
        assert_eq!(store.load::<Grant>(id).await.unwrap().unwrap().value.count, winners[0].0);
    }
}

async fn contended_counting_loses_nothing(bench: Bench) {
    let store = bench.store("a");
    assert_eq!(store.create("n", &Grant::new(0)).await.unwrap(), Commit::Applied);
    let mut race = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        race.spawn(async move {
            for _ in 0..10 {
                loop {
                    let held = store.load::<Grant>("n").await.unwrap().unwrap();
                    if store.replace(&held, &Grant::new(held.value.count + 1)).await.unwrap() == Commit::Applied {
                        break;
                    }
                }
            }
        });
    }
    race.join_all().await;
    assert_eq!(store.load::<Grant>("n").await.unwrap().unwrap().value.count, 80);
}

async fn ten_thousand_records_are_kept_apart(bench: Bench) {
    let store = bench.store("a");
    let mut writers = JoinSet::new();
    for writer in 0..100_u64 {
        let store = store.clone();
        writers.spawn(async move {
            let all = (0..100).map(|n| {
                let (store, n) = (store.clone(), writer * 100 + n);
                async move { store.create(&format!("{n:05}"), &Grant { text: "x".repeat(100), ..Grant::new(n) }.until(after(n))).await.unwrap() }
            });
            for commit in futures_util::future::join_all(all).await {
                assert_eq!(commit, Commit::Applied);
            }
        });
    }
    writers.join_all().await;
    assert_eq!(store.load::<Grant>("04711").await.unwrap().unwrap().value.count, 4711);
    let live = store.list::<Grant>(None, 20_000).await.unwrap();
    assert_eq!(live.len(), 9_999, "the first has expired");
    assert!(live.iter().zip(1..).all(|((_, grant), n)| grant.count == n));
    let mut swept = 0;
    while let count @ 1.. = bench.backend.sweep(after(4_999), 1_000).await.unwrap() {
        swept += count;
    }
    assert_eq!(swept, 5_000);
    assert_eq!(store.list::<Grant>(None, 20_000).await.unwrap().first().unwrap().1.count, 5_000);
}

async fn a_large_value_comes_back_whole(bench: Bench) {
    let store = bench.store("a");
    let large = Grant { text: "0123456789abcdef".repeat(256 * 1024 / 16), ..Grant::new(1) };
    assert_eq!(store.create("g", &large).await.unwrap(), Commit::Applied);
    let held = store.load::<Grant>("g").await.unwrap().unwrap();
    assert_eq!(held.value, large);
    assert_eq!(store.replace(&held, &Grant::new(2)).await.unwrap(), Commit::Applied);
    assert_eq!(store.load::<Grant>("g").await.unwrap().unwrap().value, Grant::new(2));
}

async fn a_record_that_is_not_understood_is_an_outage(bench: Bench) {
    let store = bench.store("a");
    let secret = br#"{"count":"a-secret","text":"","until":null}"#;
    let rows: &[(&str, Vec<u8>, &str)] = &[
        (
            "newer",
            [&[3], &secret[..]].concat(),
            "a record of kind grant has format 3, this program knows up to 2: run the version that wrote it, or a newer one",
        ),
        ("none", [&[0], &secret[..]].concat(), "the store is damaged: a record of kind grant has no format; "),
        ("empty", vec![], "the store is damaged: a record of kind grant is empty; "),
        ("other", [&[2], &secret[..]].concat(), "the store is damaged: a record of kind grant, format 2, cannot be understood; "),
    ];
    for (id, bytes, text) in rows {
        let key = bench.key(Kind::Grant, id);
        assert_eq!(bench.backend.write(&key, None, None, bytes.clone().into()).await.unwrap(), Commit::Applied);
        let failure = store.load::<Grant>(id).await.unwrap_err();
        assert!(failure.to_string().starts_with(text), "{id}: {failure}");
        assert!(!failure.to_string().contains("a-secret"));
        assert!(store.list::<Grant>(None, 10).await.is_err(), "never left out silently");
        assert_eq!(store.create(id, &Grant::new(1)).await.unwrap(), Commit::Conflict, "nor written over");
        store.remove::<Grant>(id).await.unwrap();
    }
    let earlier = Bytes::from_static(br#"_{"count":5,"text":"","until":null}"#);
    let earlier = [&[1], &earlier[1..]].concat().into();
    assert_eq!(bench.backend.write(&bench.key(Kind::Grant, "earlier"), None, None, earlier).await.unwrap(), Commit::Applied);
    assert_eq!(store.load::<Grant>("earlier").await.unwrap().unwrap().value.count, 5);
}

async fn tagged_and_flattened_types_keep_their_numbers(bench: Bench) {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "state")]
    enum Step {
        Waiting { until: UnixTime, tries: u32, share: f64 },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Launch {
        #[serde(flatten)]
        step: Step,
        claims: serde_json::Value,
    }
    impl Stored for Launch {
        const KIND: Kind = Kind::Launch;
        const FORMAT: u8 = 1;
        fn expires_at(&self) -> Option<UnixTime> {
            None
        }
    }
    // More digits than any of Rust's numbers: what came in as JSON goes out the same.
    let claims = serde_json::from_str(r#"{"z":1,"a":3.14159265358979323846264338327950288,"b":[1e400]}"#).unwrap();
    let launch = Launch { step: Step::Waiting { until: NOW, tries: 3, share: 0.5 }, claims };
    let store = bench.store("a");
    assert_eq!(store.create("l", &launch).await.unwrap(), Commit::Applied);
    assert_eq!(store.load::<Launch>("l").await.unwrap().unwrap().value, launch);
}

async fn a_closed_store_says_so(bench: Bench) {
    let key = bench.key(Kind::Grant, "g");
    bench.put(&key, None).await;
    bench.backend.close().await.unwrap();
    bench.backend.close().await.unwrap();
    let closed = |failure: StoreError| assert_eq!(failure.to_string(), "the store does not answer: it was closed");
    closed(bench.backend.read_many(std::slice::from_ref(&key)).await.unwrap_err());
    closed(bench.backend.write(&key, None, None, Bytes::new()).await.unwrap_err());
    closed(bench.backend.remove(&key).await.unwrap_err());
    closed(bench.backend.list(&key.space, key.kind, None, 10).await.unwrap_err());
    closed(bench.backend.list(&key.space, key.kind, None, 1000).await.unwrap_err());
    closed(bench.backend.sweep(NOW, 10).await.unwrap_err());
}

macro_rules! each {
    ($bench:expr => $($proof:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $proof() {
            if let Some(bench) = $bench {
                super::$proof(bench).await;
            }
        })+
    };
}
macro_rules! back_end {
    ($name:ident, $bench:expr) => {
        mod $name {
            use super::*;
            each! { $bench =>
                what_is_created_is_loaded
                a_record_is_replaced_only_where_it_was_seen
                a_removed_record_is_gone_and_is_not_mistaken_for_its_successor
                many_are_read_in_the_order_they_were_asked_for
                records_of_several_types_come_in_one_read
                a_list_is_paged_in_order
                a_list_steps_over_expired_records
                spaces_and_kinds_do_not_cross
                expiry_is_by_our_clock
                an_expired_leftover_does_not_block
                sweeping_takes_expired_records_only
                sweeping_stops_at_its_limit_and_takes_the_oldest_first
                of_64_racing_replacements_one_wins
                of_64_racing_creations_one_wins
                contended_counting_loses_nothing
                ten_thousand_records_are_kept_apart
                a_large_value_comes_back_whole
                a_record_that_is_not_understood_is_an_outage
                tagged_and_flattened_types_keep_their_numbers
                a_closed_store_says_so
            }
        }
    };
}

back_end!(memory, Some(Bench::of(Memory::new(), None)));
back_end!(power_loss, Some(Bench::embedded(Durability::PowerLoss)));
back_end!(process, Some(Bench::embedded(Durability::Process)));
back_end!(on_redis_alone, Bench::redis(servers::alone().map(servers::Server::servers)).await);
back_end!(on_redis_sentinel, Bench::redis(servers::watched().map(servers::Watched::servers)).await);
back_end!(on_redis_cluster, Bench::redis(servers::cluster().map(servers::Cluster::servers)).await);
