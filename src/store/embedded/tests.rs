//! The writer on a disk that misbehaves when told to.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use redb::{Database, StorageBackend};

use super::disk::{Disk, Medium, StoreFile, database};
use super::layout::{expiry_key, split_expiry};
use super::*;
use crate::store::check;
use crate::store::survey::Walk;

const WELL: u8 = 0;
const NO_ROOM: u8 = 1;
const BROKEN: u8 = 2;
const NO_SYNC: u8 = 3;
const PANICS: u8 = 4;

#[derive(Debug, Default)]
struct Mood {
    now: AtomicU8,
    syncs: AtomicUsize,
    at_gate: AtomicBool,
    /// While it is held, syncs wait.
    gate: Mutex<()>,
}

impl Mood {
    fn set(&self, mood: u8) {
        self.now.store(mood, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Moody {
    disk: Disk,
    mood: Arc<Mood>,
}

impl StorageBackend for Moody {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.mood.at_gate.store(true, Ordering::SeqCst);
        drop(self.mood.gate.lock().unwrap());
        self.mood.syncs.fetch_add(1, Ordering::SeqCst);
        match self.mood.now.load(Ordering::SeqCst) {
            NO_SYNC => self.disk.sync_failed(io::Error::other("the disk is gone")),
            _ => self.disk.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.mood.now.load(Ordering::SeqCst) {
            NO_ROOM => Err(io::ErrorKind::StorageFull.into()),
            BROKEN => Err(io::Error::other("the cable is loose")),
            PANICS => panic!("a defect"),
            _ => self.disk.write(offset, data),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.disk.close()
    }
}

struct MoodyFile {
    file: StoreFile,
    mood: Arc<Mood>,
}

impl Medium for MoodyFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn open(&self) -> Result<Database, StoreError> {
        let moody = Moody { disk: self.file.disk()?, mood: Arc::clone(&self.mood) };
        catch_unwind(AssertUnwindSafe(|| database(moody, true)))
            .unwrap_or_else(|_| Err(redb::Error::Corrupted("panicked".to_owned())))
            .map_err(|failure| explain(self.file.path(), failure))
    }

    fn wants_quick_repair(&self) -> bool {
        self.file.wants_quick_repair()
    }

    fn may_reopen(&self) -> bool {
        self.file.may_reopen()
    }

    fn raise(&self) -> Result<(), StoreError> {
        self.file.raise()
    }
}

struct Bench {
    store: Arc<Embedded>,
    mood: Arc<Mood>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    /// With the file there is.
    fn on(dir: tempfile::TempDir) -> Self {
        let mood = Arc::<Mood>::default();
        let file = StoreFile::new(&dir.path().join("store"), Durability::PowerLoss);
        let store = Embedded::start(MoodyFile { file, mood: Arc::clone(&mood) }).unwrap();
        Self { store: Arc::new(store), mood, dir }
    }

    async fn put(&self, id: &str) -> Result<Commit, StoreError> {
        self.store.write(&key(id), None, None, Bytes::from_static(b"x")).await
    }

    async fn has(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.store.read_many(&[key(id)]).await?.remove(0).is_some())
    }
}

fn key(id: &str) -> Key {
    Key::new(&Space::from("a"), Kind::Grant, id)
}

#[tokio::test]
async fn a_failed_write_is_told_and_the_store_goes_on_when_it_can() {
    for (mood, text) in [(NO_ROOM, "free some space"), (BROKEN, "the cable is loose"), (PANICS, "ran into a contradiction")] {
        let bench = Bench::new();
        assert_eq!(bench.put("before").await.unwrap(), Commit::Applied);
        bench.mood.set(mood);
        let failure = bench.put("during").await.unwrap_err().to_string();
        assert!(failure.contains(text), "{failure}");
        assert!(bench.put("during").await.is_err());
        bench.mood.set(WELL);
        assert_eq!(bench.put("after").await.unwrap(), Commit::Applied);
        assert!(bench.has("before").await.unwrap() && bench.has("after").await.unwrap());
        bench.store.close().await.unwrap();

        let again = Embedded::open(&bench.dir.path().join("store"), Durability::PowerLoss).unwrap();
        assert!(again.read_many(&[key("before"), key("after")]).await.unwrap().iter().all(Option::is_some));
        again.close().await.unwrap();
    }
}

#[tokio::test]
async fn reading_alone_brings_a_failed_store_back() {
    let bench = Bench::new();
    assert_eq!(bench.put("before").await.unwrap(), Commit::Applied);
    bench.mood.set(NO_ROOM);
    assert!(bench.put("during").await.is_err());
    bench.mood.set(WELL);
    // Each failed read makes the writer look.
    let back = async {
        while bench.has("before").await != Ok(true) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), back).await.expect("the store comes back");
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_trusted_until_a_restart() {
    let bench = Bench::new();
    assert_eq!(bench.put("before").await.unwrap(), Commit::Applied);
    bench.mood.set(NO_SYNC);
    assert!(bench.put("during").await.unwrap_err().to_string().ends_with("the disk is gone; see to the disk, then restart the server"));
    bench.mood.set(WELL);
    for _ in 0..3 {
        assert!(matches!(bench.put("after").await, Err(StoreError::Unreachable(_))));
        assert!(matches!(bench.has("before").await, Err(StoreError::Unreachable(_))));
    }
    bench.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_together_is_committed_together() {
    let bench = Bench::new();
    let waiting = || bench.store.jobs.max_capacity() - bench.store.jobs.capacity();
    let write = |n: usize| {
        let (store, key) = (Arc::clone(&bench.store), key(&format!("{n}")));
        tokio::spawn(async move { store.write(&key, None, None, Bytes::from_static(b"x")).await })
    };
    bench.mood.at_gate.store(false, Ordering::SeqCst);
    let before = bench.mood.syncs.load(Ordering::SeqCst);
    let gate = bench.mood.gate.lock().unwrap();
    let mut writes = vec![write(0)];
    while !bench.mood.at_gate.load(Ordering::SeqCst) {
        std::thread::yield_now(); // until the first of them, alone, is being committed
    }
    writes.extend((1..=300).map(write));
    while waiting() < 300 {
        std::thread::yield_now();
    }
    drop(gate);
    for write in futures_util::future::join_all(writes).await {
        assert_eq!(write.unwrap().unwrap(), Commit::Applied);
    }
    assert_eq!(bench.mood.syncs.load(Ordering::SeqCst) - before, 2, "one commit for the first, one for the rest");
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn closing_finishes_what_was_asked_before_and_refuses_the_rest() {
    let bench = Bench::new();
    let (first, second, close, late) = tokio::join!(bench.put("a"), bench.put("b"), bench.store.close(), bench.put("late"));
    assert_eq!((first.unwrap(), second.unwrap()), (Commit::Applied, Commit::Applied));
    close.unwrap();
    assert_eq!(late.unwrap_err(), StoreError::closed());
    let again = Embedded::open(&bench.dir.path().join("store"), Durability::PowerLoss).unwrap();
    assert!(again.read_many(&[key("a"), key("b")]).await.unwrap().iter().all(Option::is_some));
    again.close().await.unwrap();
}

/// A file as the first format had it: the bytes of its records as they are.
fn first_format(path: &Path, id: &str, bytes: &[u8]) {
    put_as_it_is(path, id, bytes);
    set_format(path, 1);
}

/// These bytes, packed or not.
fn put_as_it_is(path: &Path, id: &str, bytes: &[u8]) {
    put_value(path, id, &[&7_u64.to_be_bytes()[..], &i64::MAX.to_be_bytes(), bytes].concat());
}

fn put_value(path: &Path, id: &str, value: &[u8]) {
    let file = StoreFile::new(path, Durability::PowerLoss);
    let database = file.open().unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(RECORDS).unwrap().insert(record_key(&key(id)).as_slice(), value).unwrap();
    write.commit().unwrap();
    database.close().unwrap();
}

const FORMAT_AT: u64 = 16;

fn set_format(path: &Path, format: u32) {
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(&format.to_be_bytes(), FORMAT_AT).unwrap();
}

fn format_of(path: &Path) -> u32 {
    let mut bytes = [0; 4];
    std::fs::File::open(path).unwrap().read_exact_at(&mut bytes, FORMAT_AT).unwrap();
    u32::from_be_bytes(bytes)
}

#[tokio::test]
async fn a_file_of_the_first_format_is_read_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let old = format!("\u{1}{{\"scopes\":\"{}\"}}", "patient/Observation.rs ".repeat(20));
    first_format(&path, "old", old.as_bytes());
    first_format(&path, "older", old.as_bytes());
    let store = Embedded::open(&path, Durability::PowerLoss).unwrap();
    let found = store.read_many(&[key("old")]).await.unwrap().remove(0).unwrap();
    assert_eq!(&found.bytes[..], old.as_bytes());
    let new = Bytes::from(old.replace("rs", "cruds"));
    // Whatever writes no record leaves the way back open.
    check::check(&store, &[], UnixTime(0), |_, _| None).await.unwrap();
    store.remove(&key("older")).await.unwrap();
    store.sweep(UnixTime(0), 10).await.unwrap();
    assert_eq!(store.write(&key("old"), None, None, new.clone()).await.unwrap(), Commit::Conflict);
    store.close().await.unwrap();
    assert_eq!((format_of(&path), store.about().format), (1, Some(1)));

    let store = Embedded::open(&path, Durability::PowerLoss).unwrap();
    assert!(store.read_many(&[key("older")]).await.unwrap().remove(0).is_none());
    assert_eq!(store.write(&key("old"), Some(found.version), None, new.clone()).await.unwrap(), Commit::Applied);
    assert_eq!((format_of(&path), store.about().format), (2, Some(2)), "an older program would not understand what is written from now on");
    store.close().await.unwrap();

    let again = Embedded::open(&path, Durability::PowerLoss).unwrap();
    assert_eq!(again.read_many(&[key("old")]).await.unwrap().remove(0).unwrap().bytes, new);
    again.close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_the_first_format_outlives_failures_before_it_is_raised() {
    for mood in [NO_ROOM, BROKEN, PANICS] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        first_format(&path, "old", b"\x01{}");
        let bench = Bench::on(dir);
        bench.mood.set(mood);
        assert!(bench.store.remove(&key("old")).await.is_err());
        bench.mood.set(WELL);
        // It is opened anew, which this process must not be in the way of.
        bench.store.remove(&key("none")).await.unwrap();
        assert!(bench.has("old").await.unwrap());
        assert_eq!(format_of(&path), 1);
        bench.mood.set(mood);
        assert!(bench.put("new").await.is_err());
        assert_eq!(format_of(&path), 2, "first the number, then what it is for");
        bench.mood.set(WELL);
        assert_eq!(bench.put("new").await.unwrap(), Commit::Applied);
        assert!(bench.has("old").await.unwrap() && bench.has("new").await.unwrap());
        bench.store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_file_of_the_first_format_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    first_format(&path, "old", &[b'x'; 3000]);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(100).position(|window| window == [b'x'; 100]).unwrap();
    bytes[at + 50] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(Embedded::open(&path, Durability::PowerLoss), Err(StoreError::Corrupt(_))));
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[tokio::test]
async fn one_record_that_cannot_be_read_is_named_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    put_as_it_is(&path, "a", b"\x01not a grant");
    put_as_it_is(&path, "b", &[0, 1, 0, 0, 0, 9, 0]);
    put_as_it_is(&path, "c", b"\x01not a grant");
    put_value(&path, "d", b"short");
    let store = Embedded::open(&path, Durability::PowerLoss).unwrap();
    let said = |found: Result<Vec<(Key, Record)>, StoreError>| found.unwrap_err().to_string();
    let unpacks = "the store is damaged: grant b of a: a record does not unpack; ";
    assert!(said(store.list(&Space::from("a"), Kind::Grant, None, 10).await).starts_with(unpacks));
    assert!(said(Walk::new(&store, &[Space::from("a")]).next().await).starts_with(unpacks), "an export leaves nothing out");
    assert!(store.read_many(&[key("a"), key("b")]).await.unwrap_err().to_string().starts_with(unpacks));
    assert!(store.read_many(&[key("a")]).await.unwrap().remove(0).is_some());
    let report = check::check(&store, &[], UnixTime(0), |_, _| None).await.unwrap();
    let found: Vec<String> = report.findings.iter().map(|finding| format!("{} {} {}", finding.kind.unwrap(), finding.id, finding.what)).collect();
    assert_eq!(
        found,
        [
            "grant a a record of kind grant, format 1, cannot be understood",
            "grant b a record does not unpack",
            "grant c a record of kind grant, format 1, cannot be understood",
            "grant d a record is cut short",
        ]
    );
    assert_eq!(report.records, 4);
    store.close().await.unwrap();
}

#[test]
fn expiries_order_as_numbers_do() {
    let times = [i64::MIN, -1, 0, 1, 255, 256, 1_790_000_000, i64::MAX].map(UnixTime);
    let keys = times.map(|at| expiry_key(at, b"key"));
    assert!(keys.is_sorted());
    for (at, key) in times.iter().zip(&keys) {
        assert!(matches!(split_expiry(key), Ok((same, b"key")) if same == *at));
    }
}

#[test]
fn kinds_have_the_codes_they_always_had() {
    let codes: Vec<_> = Kind::ALL.iter().map(|kind| format!("{}={}", kind.as_str(), kind.code())).collect();
    assert_eq!(
        codes.join(" "),
        "key_ring=1 client=2 user=3 session=4 launch=5 interaction=6 grant=7 consent=8 replay=9 revoked_token=10 pushed=11 browser=12 audit=13 upstream_login=14 upstream_link=15 upstream_attempt=16 logout_party=18 logout_notice=20 brought_token=30 failures=17 store_mark=23"
    );
    assert!(Kind::ALL.iter().all(|kind| Kind::from_code(kind.code()) == Some(*kind)) && Kind::from_code(0).is_none());
}
