//! What the embedded store keeps when its process is killed or its disk is full, and what it does with files it cannot read.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use helsebro::random::{Random as _, SeededRandom};
use helsebro::store::embedded::{Durability, Embedded};
use helsebro::store::{Backend, Commit, Key, Kind, Space, StoreError};
use helsebro::time::UnixTime;

/// Set for a test that was started again as the process to be killed; holds the store's path.
const VICTIM: &str = "HELSEBRO_TEST_STORE_VICTIM";
const TASKS: usize = 16;

#[expect(clippy::disallowed_methods, reason = "the one thing a test tells itself in another process")]
fn victim_of() -> Option<PathBuf> {
    std::env::var(VICTIM).ok().map(PathBuf::from)
}

fn key(kind: Kind, id: &str) -> Key {
    Key::new(&Space::from("https://ehr.example"), kind, id)
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// The running test again, in a process of its own.
fn this_test_again(test: &str, store: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(VICTIM, store);
    command
}

/// Ends the child when the test does, however it does.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says on stderr, in one piece, what was answered; stdout belongs to the test harness.
fn say(line: &str) {
    std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Counts in as many records as there are tasks, and leaves a mark for each number, until it is killed.
async fn count_until_killed(path: PathBuf, durability: Durability) {
    let store = Arc::new(Embedded::open(&path, durability).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let counter = key(Kind::Grant, &format!("{task}"));
            loop {
                let record = store.read_many(std::slice::from_ref(&counter)).await.unwrap().remove(0);
                let next = record.as_ref().map_or(0, |record| number(&record.bytes)) + 1;
                // Marks first: an answered count vouches for its mark as well.
                let mark = key(Kind::Replay, &format!("{task}-{next}"));
                let _ = store.write(&mark, None, Some(UnixTime(next as i64)), Bytes::from(vec![7; 300])).await.unwrap();
                let count = Bytes::copy_from_slice(&next.to_be_bytes());
                assert_eq!(store.write(&counter, record.map(|record| record.version), None, count).await.unwrap(), Commit::Applied);
                say(&format!("kept {task} {next}"));
            }
        });
    }
    tasks.join_all().await;
}

async fn nothing_answered_is_lost(test: &str, durability: Durability) {
    if let Some(path) = victim_of() {
        return count_until_killed(path, durability).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut kept = HashMap::<String, u64>::new();
    for round in 0..20 {
        let mut child = Held(this_test_again(test, &path).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
        let mut answered = 0;
        for line in lines {
            let line = line.unwrap();
            let Some(("kept", rest)) = line.split_once(' ') else { panic!("the child said {line}") };
            let (task, count) = rest.split_once(' ').unwrap();
            kept.insert(task.to_owned(), count.parse().unwrap());
            answered += 1;
            // Somewhere in the middle, elsewhere each time; what it says after that still counts.
            if answered == 16 + 5 * round {
                assert!(matches!(Embedded::open(&path, durability), Err(StoreError::Locked { .. })), "the child has it");
                child.0.kill().unwrap();
            }
        }
        drop(child);
        assert!(answered >= 16 + 5 * round, "the child ended by itself after {answered}");

        let store = Embedded::open(&path, durability).unwrap();
        for (task, count) in &kept {
            let record = store.read_many(&[key(Kind::Grant, task)]).await.unwrap().remove(0).unwrap();
            let found = number(&record.bytes);
            assert!(found == *count || found == count + 1, "round {round}: task {task} was told {count}, the store has {found}");
            let marks: Vec<_> = (1..=found).map(|n| key(Kind::Replay, &format!("{task}-{n}"))).collect();
            assert!(store.read_many(&marks).await.unwrap().iter().all(Option::is_some), "round {round}: task {task} has lost a mark");
        }
        store.close().await.unwrap();
    }
    assert_eq!(kept.len(), TASKS);

    // The index of expiries was kept together with the records.
    let store = Embedded::open(&path, durability).unwrap();
    let marks = store.list(&"https://ehr.example".into(), Kind::Replay, None, usize::MAX).await.unwrap().len();
    assert_eq!(store.sweep(UnixTime(i64::MAX), usize::MAX).await.unwrap(), marks);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_keeps_what_it_answered_through_kill_9() {
    nothing_answered_is_lost("store_durability::power_loss_keeps_what_it_answered_through_kill_9", Durability::PowerLoss).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_keeps_what_it_answered_through_kill_9() {
    nothing_answered_is_lost("store_durability::process_keeps_what_it_answered_through_kill_9", Durability::Process).await;
}

/// Writes until there is no more room, and checks that everything answered is still there to be read.
async fn write_until_full(path: PathBuf) {
    let store = Embedded::open(&path, Durability::PowerLoss).unwrap();
    let row = |n: usize| key(Kind::Audit, &format!("{n:04}"));
    // Nothing that packing makes shorter.
    let bytes = |n: usize| {
        let mut bytes = vec![0; 64 * 1024];
        SeededRandom::new(n as u64).fill(&mut bytes);
        bytes
    };
    for n in 0..4_000 {
        match store.write(&row(n), None, None, Bytes::from(bytes(n))).await {
            Ok(commit) => assert_eq!(commit, Commit::Applied),
            Err(full) => {
                assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
                let records = store.read_many(&(0..n).map(row).collect::<Vec<_>>()).await.unwrap();
                assert!(records.iter().enumerate().all(|(n, record)| record.as_ref().unwrap().bytes[..] == bytes(n)));
                say(&format!("full {n}"));
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_passes() {
    if let Some(path) = victim_of() {
        return write_until_full(path).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    // A limit on the size of files fails writes the way a full disk does, without anyone's privileges.
    let again = this_test_again("store_durability::a_full_disk_is_an_error_that_passes", &path);
    let output = Command::new("/bin/sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\""])
        .arg(again.get_program())
        .args(again.get_args())
        .env(VICTIM, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let kept: usize = said.lines().find_map(|line| line.strip_prefix("full ")).expect(&said).parse().unwrap();

    let store = Embedded::open(&path, Durability::PowerLoss).unwrap();
    assert_eq!(store.list(&"https://ehr.example".into(), Kind::Audit, None, 10_000).await.unwrap().len(), kept);
    assert_eq!(store.write(&key(Kind::Audit, "more"), None, None, Bytes::from_static(b"x")).await.unwrap(), Commit::Applied);
    store.close().await.unwrap();
}

/// A store with a few hundred records, closed in good order.
async fn filled(path: &Path) {
    let store = Embedded::open(path, Durability::Process).unwrap();
    let rows = (0..400_u64).map(|n| {
        let (store, key) = (&store, key(Kind::Grant, &format!("{n}")));
        async move { store.write(&key, None, Some(UnixTime(n as i64)), Bytes::from(n.to_be_bytes().repeat(20))).await.unwrap() }
    });
    assert!(futures_util::future::join_all(rows).await.iter().all(|commit| *commit == Commit::Applied));
    store.close().await.unwrap();
}

/// Opening must fail, for both durabilities, and leave the file as it was.
fn refused(path: &Path) -> StoreError {
    let before = fs::read(path).unwrap();
    let failures = [Durability::PowerLoss, Durability::Process].map(|durability| Embedded::open(path, durability).err().expect("refused"));
    assert_eq!(failures[0], failures[1]);
    assert!(fs::read(path).unwrap() == before, "{}: the file was changed", failures[0]);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "something was left beside the file");
    failures[0].clone()
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let shown = path.display().to_string();
    let text = |what: &str| format!("{shown} is not a store of this server ({what}); it was left as it is: point the configuration at another file");

    for bytes in [&b"x"[..], b"SQLite format 3\0", &[0; 9000], "helsebro store".as_bytes()] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(refused(&path).to_string(), text("it is some other kind of file"));
    }

    fs::remove_file(&path).unwrap();
    drop(redb::Database::create(&path).unwrap());
    assert_eq!(refused(&path).to_string(), text("it is another program's redb file"));

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let directory = Embedded::open(&path, Durability::PowerLoss).err().unwrap();
    assert_eq!(directory.to_string(), text("it is a directory"));
    let device = Embedded::open(Path::new("/dev/null"), Durability::PowerLoss).err().unwrap();
    assert_eq!(device, StoreError::Foreign { path: "/dev/null".into(), what: "it is not a regular file" });
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    filled(&path).await;
    let mut bytes = fs::read(&path).unwrap();
    bytes[16..20].copy_from_slice(&3_u32.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    let text = format!("{} has format 3, this program knows up to 2: run the version that wrote it, or a newer one", path.display());
    assert_eq!(refused(&path).to_string(), text);
}

#[tokio::test]
async fn a_damaged_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    filled(&path).await;
    let good = fs::read(&path).unwrap();
    type Damage = fn(&mut Vec<u8>);
    let damages: &[(&str, Damage)] = &[
        ("cut inside the first page", |bytes| bytes.truncate(18)),
        ("cut after the first page and a bit", |bytes| bytes.truncate(5000)),
        ("cut in half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("format 0", |bytes| bytes[16..20].fill(0)),
        ("inner magic", |bytes| bytes[4096..4100].fill(b'x')),
        ("both commit slots", |bytes| bytes[4096 + 64..4096 + 320].fill(0x55)),
        ("all behind the inner header", |bytes| bytes[8192..].fill(0)),
        ("other bytes behind the inner header", |bytes| bytes[8192..].iter_mut().for_each(|byte| *byte ^= 0xa5)),
    ];
    for (what, damage) in damages {
        let mut bytes = good.clone();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let failure = refused(&path);
        assert!(matches!(failure, StoreError::Corrupt(_)), "{what}: {failure:?}");
        let text = failure.to_string();
        assert!(text.starts_with("the store is damaged: ") && text.contains(path.to_str().unwrap()), "{what}: {text}");
        assert!(text.ends_with("; nothing was changed: move it aside and restore a backup"), "{what}: {text}");
    }
}

/// Damages one page after the other; how many openings were refused. Those that were not must find what was written, but for the
/// newest commit where `crashed`: a page of it that cannot be read makes it one that never ended.
async fn damage_each_page(path: &Path, good: &[u8], crashed: bool) -> usize {
    let mut noticed = 0;
    for page in 2..good.len() / 4096 {
        if good[page * 4096..(page + 1) * 4096].iter().all(|byte| *byte == 0) {
            continue; // never used
        }
        let mut bytes = good.to_vec();
        bytes[page * 4096 + 100..page * 4096 + 116].iter_mut().for_each(|byte| *byte = !*byte);
        fs::write(path, &bytes).unwrap();
        match Embedded::open(path, Durability::Process) {
            Err(StoreError::Corrupt(_)) => {
                noticed += 1;
                assert!(fs::read(path).unwrap() == bytes, "page {page}: the file was changed");
            }
            Err(other) => panic!("page {page}: {other}"),
            Ok(store) => {
                let records = store.list(&"https://ehr.example".into(), Kind::Grant, None, 1000).await.unwrap();
                assert!(records.iter().all(|(key, record)| number(&record.bytes).to_string() == *key.id), "page {page}");
                assert!(records.len() == 400 || crashed && records.len() == 399, "page {page}: {} records", records.len());
                store.close().await.unwrap();
            }
        }
    }
    noticed
}

#[tokio::test]
async fn a_damaged_page_is_noticed_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    filled(&path).await;
    let closed = fs::read(&path).unwrap();
    let noticed = damage_each_page(&path, &closed, false).await;
    assert!(noticed >= 20, "only {noticed} pages mattered");

    fs::write(&path, &closed).unwrap();
    let store = Embedded::open(&path, Durability::Process).unwrap();
    store.remove(&key(Kind::Grant, "399")).await.unwrap();
    let rewritten = Bytes::from(399_u64.to_be_bytes().to_vec());
    assert_eq!(store.write(&key(Kind::Grant, "399"), None, None, rewritten).await.unwrap(), Commit::Applied);
    let crashed = fs::read(&path).unwrap();
    store.close().await.unwrap();
    let noticed = damage_each_page(&path, &crashed, true).await;
    assert!(noticed >= 10, "only {noticed} pages mattered");
}

#[tokio::test]
async fn a_locked_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Embedded::open(&path, Durability::PowerLoss).unwrap();
    let text = format!("{} is in use by another process: stop that one first, or give this one its own file", path.display());
    assert_eq!(refused(&path).to_string(), text);
    assert_eq!(store.write(&key(Kind::Grant, "g"), None, None, Bytes::from_static(b"x")).await.unwrap(), Commit::Applied);
    store.close().await.unwrap();
    let again = Embedded::open(&path, Durability::PowerLoss).unwrap();
    assert!(again.read_many(&[key(Kind::Grant, "g")]).await.unwrap()[0].is_some());
    again.close().await.unwrap();
}

#[tokio::test]
async fn a_new_file_is_nobody_elses_business() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/of/issuer/store");
    let store = Embedded::open(&path, Durability::PowerLoss).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    for made in ["state", "state/of", "state/of/issuer"] {
        assert_eq!(mode(&dir.path().join(made)), 0o700);
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "only the file itself is left");
    store.close().await.unwrap();
}

#[test]
fn of_several_that_open_a_new_file_one_gets_it() {
    for empty in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        if empty {
            fs::write(&path, b"").unwrap();
        }
        let start = std::sync::Barrier::new(8);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        Embedded::open(&path, Durability::PowerLoss)
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|store| store.is_ok()).count(), 1);
        assert!(opened.iter().filter_map(|store| store.as_ref().err()).all(|failure| matches!(failure, StoreError::Locked { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "what the others made is gone");
    }
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fs::write(&path, b"").unwrap();
    let store = Embedded::open(&path, Durability::PowerLoss).unwrap();
    assert_eq!(store.write(&key(Kind::Grant, "g"), None, None, Bytes::from_static(b"x")).await.unwrap(), Commit::Applied);
    store.close().await.unwrap();
    assert!(fs::read(&path).unwrap().starts_with(b"helsebro store\r\n\0\0\0\x02"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
