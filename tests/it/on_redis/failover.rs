//! A primary that is lost, and what its replica knew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use helsebro::random::SystemRandom;
use helsebro::store::redis::{Acknowledged, Options, Redis, Servers};
use helsebro::store::{Backend, Commit, Key, Kind, StoreError};
use helsebro::time::{FixedClock, UnixTime};

use super::servers::{Cluster, Watched, options, program, text, until};

const NOW: UnixTime = UnixTime(1_790_000_000);

async fn open(options: &Options) -> Redis {
    Redis::open(options, Arc::new(FixedClock::at(NOW)), Arc::new(SystemRandom)).await.unwrap()
}

fn grant(id: &str) -> Key {
    Key::new(&"https://ehr.example".into(), Kind::Grant, id)
}

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// One store as two callers see it, who both wait for a replica: one patiently, as it may only be slow on a busy machine, and one
/// briefly, where it is known to be away.
async fn patient_and_hasty(servers: Servers) -> (Redis, Redis) {
    let waiting = |within| Some(Acknowledged { replicas: 1, within });
    let patient = Options { acknowledged: waiting(Duration::from_secs(4)), ..options(servers) };
    let hasty = Options { acknowledged: waiting(Duration::from_millis(300)), ..patient.clone() };
    (open(&patient).await, open(&hasty).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spent_is_refused_where_no_replica_has_it_and_stays_spent_where_one_has() {
    let Some(program) = program() else { return };
    let mut watched = Watched::start(&program, 1);
    let (store, hasty) = patient_and_hasty(watched.servers()).await;
    let (code, other) = (grant("code"), grant("other"));
    for key in [&code, &other] {
        assert_eq!(store.write(key, None, None, value("issued")).await.unwrap(), Commit::Applied);
    }
    let seen = |records: Vec<Option<helsebro::store::Record>>| records.into_iter().map(|record| record.unwrap().version).collect::<Vec<_>>();
    let versions = seen(store.read_many(&[code.clone(), other.clone()]).await.unwrap());
    // The replica is there: spent is spent.
    assert_eq!(store.write(&code, Some(versions[0]), None, value("spent")).await.unwrap(), Commit::Applied);
    // It is not: what is only made anew goes on, what spends or marks does not.
    watched.replicas[0].process.as_ref().unwrap().pause();
    assert_eq!(hasty.write(&grant("new"), None, None, value("issued")).await.unwrap(), Commit::Applied);
    let refused = hasty.write(&other, Some(versions[1]), None, value("spent")).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unreachable(why) if why.contains("fewer than 1 replicas had the write within 300 ms")), "{refused}");
    let mark = Key::new(&"https://ehr.example".into(), Kind::Replay, "jti");
    assert!(hasty.write(&mark, None, None, value("used")).await.is_err());
    assert!(hasty.remove(&grant("new")).await.is_err());
    watched.replicas[0].process.as_ref().unwrap().go_on();

    // The primary dies; the replica that had everything takes its place, and nothing spent is good again.
    let died = Instant::now();
    watched.primary.stop();
    let mut back = None;
    until("the replica serves", || {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(async { back = store.read_many(std::slice::from_ref(&code)).await.ok() }));
        back.is_some()
    });
    println!("read again {} ms after the primary died", died.elapsed().as_millis());
    let back = back.unwrap().remove(0).unwrap();
    assert_eq!(&back.bytes[..], b"spent");
    assert_eq!(store.write(&code, Some(versions[0]), None, value("spent again")).await.unwrap(), Commit::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_waiting_the_last_writes_are_lost_with_the_primary() {
    let Some(program) = program() else { return };
    let mut watched = Watched::start(&program, 1);
    let store = open(&options(watched.servers())).await;
    let codes: Vec<Key> = (0..200).map(|n| grant(&format!("code{n}"))).collect();
    for key in &codes {
        assert_eq!(store.write(key, None, None, value("issued")).await.unwrap(), Commit::Applied);
    }
    until("the replica has them all", || {
        let offset = |info: &str, name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).map(str::to_owned);
        let (here, there) = (text(&watched.primary.ask(&["INFO", "replication"])), text(&watched.replicas[0].ask(&["INFO", "replication"])));
        offset(&here, "master_repl_offset") == offset(&there, "slave_repl_offset")
    });
    let versions: Vec<_> = store.read_many(&codes).await.unwrap().into_iter().map(|record| record.unwrap().version).collect();
    // The network between the two breaks; what stands in a socket would still arrive.
    watched.replicas[0].process.as_ref().unwrap().pause();
    watched.primary.ask(&["CLIENT", "KILL", "TYPE", "replica"]);
    for (key, version) in codes.iter().zip(versions) {
        assert_eq!(store.write(key, Some(version), None, value("spent")).await.unwrap(), Commit::Applied);
    }
    watched.primary.stop();
    watched.replicas[0].process.as_ref().unwrap().go_on();
    let mut back = None;
    until("the replica serves", || {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(async { back = store.read_many(&codes).await.ok() }));
        back.is_some()
    });
    let again = back.unwrap().into_iter().filter(|record| record.as_ref().is_some_and(|record| &record.bytes[..] == b"issued")).count();
    assert_eq!(again, codes.len(), "this is what wait_replicas is for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_waits_too_and_goes_on_without_a_primary() {
    let Some(program) = program() else { return };
    let mut cluster = Cluster::start(&program);
    let (store, hasty) = patient_and_hasty(cluster.servers()).await;
    let keys: Vec<Key> = (0..40).map(|n| grant(&format!("g{n}"))).collect();
    for key in &keys {
        assert_eq!(store.write(key, None, None, value("issued")).await.unwrap(), Commit::Applied);
        let seen = store.read_many(std::slice::from_ref(key)).await.unwrap()[0].as_ref().unwrap().version;
        assert_eq!(store.write(key, Some(seen), None, value("spent")).await.unwrap(), Commit::Applied);
    }
    for replica in &cluster.members[3..] {
        replica.process.as_ref().unwrap().pause();
    }
    let seen = store.read_many(&keys[..1]).await.unwrap()[0].as_ref().unwrap().version;
    assert!(hasty.write(&keys[0], Some(seen), None, value("ended")).await.is_err());
    for replica in &cluster.members[3..] {
        replica.process.as_ref().unwrap().go_on();
    }
    cluster.members[0].stop();
    let mut back = None;
    until("a replica took over", || {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(async { back = store.read_many(&keys).await.ok() }));
        back.is_some()
    });
    for record in back.unwrap() {
        assert_ne!(&record.unwrap().bytes[..], b"issued");
    }
}
