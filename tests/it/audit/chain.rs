//! Whether the log tells that it was touched, and what a process that died leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use helsebro::audit::persons::Persons;
use helsebro::audit::verify::{Why, verify};
use helsebro::audit::{Audit, Keeping, OnFailure, Options};
use helsebro::domain::audit::{Action, Facts};
use helsebro::random::SystemRandom;
use helsebro::secret::Secret;
use helsebro::time::{FixedClock, UnixTime};

use crate::crash::Place;

pub fn options(dir: &Path) -> Options {
    let keeping = Keeping { dir: dir.to_owned(), max_file: 64 * 1024, durable: true, node: Some("node-1".to_owned()) };
    Options { keeping, on_failure: OnFailure::Refuse, wait: false }
}

/// A log of so many records, and its only file.
async fn log(dir: &Path, records: u64) -> PathBuf {
    let clock = Arc::new(FixedClock::at(UnixTime(1_795_000_000)));
    let audit = Audit::start(options(dir), Persons::new(&Secret::new([1; 32])), clock, &SystemRandom).unwrap();
    for count in 0..records {
        audit.record_own(Action::KeyChange, None, Facts { count: Some(count), ..Facts::default() }).await;
    }
    audit.close().await;
    dir.join("audit-000001.jsonl")
}

#[tokio::test]
async fn whatever_is_done_to_a_log_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = log(dir.path(), 6).await;
    let whole = fs::read_to_string(&path).unwrap();
    let found = verify(&path, None).unwrap();
    // With "started" and "stopped".
    assert_eq!((found.records, found.first, found.last, found.files), (8, 1, 8, 1));
    let lines: Vec<&str> = whole.lines().collect();
    let other = tempfile::tempdir().unwrap();
    let foreign = fs::read_to_string(log(other.path(), 6).await).unwrap();
    let foreign: Vec<&str> = foreign.lines().collect();
    let join = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let without = |at: usize| join(&lines.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, line)| *line).collect::<Vec<_>>());
    let mut swapped = lines.clone();
    swapped.swap(3, 4);
    let mut replaced = lines.clone();
    replaced[4] = foreign[4];
    let twice: Vec<&str> = lines[..5].iter().chain(&lines[4..]).copied().collect();
    let cases: [(&str, String, u64, &str); 8] = [
        ("a byte", whole.replacen("\"count\":2", "\"count\":3", 1), 5, "was changed"),
        ("a line removed", without(3), 4, "record 3 is missing"),
        ("two lines swapped", join(&swapped), 4, "record 3 is missing"),
        ("a line twice", join(&twice), 6, "record 4 stands where record 5 belongs"),
        ("a line of another log", join(&replaced), 5, "does not follow"),
        ("the end of a line cut", whole[..whole.len() - 9].to_owned(), 9, "is not whole"),
        ("the first line removed", without(0), 1, "does not begin"),
        ("something else", "hello\n".to_owned(), 1, "does not begin"),
    ];
    for (what, text, line, why) in cases {
        fs::write(&path, text).unwrap();
        let broken = verify(&path, None).unwrap_err();
        assert_eq!(broken.line, Some(line), "{what}: {broken}");
        assert!(broken.why.to_string().contains(why), "{what}: {broken}");
    }
    // Whole lines gone from the end are noticed by whoever noted the head.
    fs::write(&path, join(&lines[..6])).unwrap();
    verify(&path, None).unwrap();
    assert!(matches!(verify(&path, Some(&found.head)).unwrap_err().why, Why::HeadMissing));
    fs::write(&path, &whole).unwrap();
    verify(&path, Some(&found.head)).unwrap();
    // A file of another log beside it.
    fs::write(dir.path().join("audit-000002.jsonl"), join(&foreign)).unwrap();
    assert!(matches!(verify(dir.path(), None).unwrap_err().why, Why::Foreign(_)));
    assert!(matches!(verify(&other.path().join("nothing"), None).unwrap_err().why, Why::Io(_)));
}

#[tokio::test]
async fn the_command_line_verifies_and_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = log(dir.path(), 3).await;
    let run = |args: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_helsebro")).arg("audit").args(args).output().unwrap();
        (run.status.code().unwrap(), String::from_utf8(run.stdout).unwrap() + &String::from_utf8(run.stderr).unwrap())
    };
    let (code, said) = run(&["verify", dir.path().to_str().unwrap()]);
    assert!(code == 0 && said.starts_with("The log holds: 5 records, 1 to 5, in 1 files.\n"), "{said}");
    let config = dir.path().join("helsebro.toml");
    let text = format!(
        "[audit]\ndir = {:?}\n[[issuer]]\nurl = \"http://127.0.0.1:9\"\nlogin = [\"ehr\"]\n[[issuer.fhir]]\nbase = \"http://127.0.0.1:9/fhir\"\n",
        dir.path()
    );
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let (code, said) = run(&["tail", "--config", config, "--action", "key-change", "-n", "2"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{said}");
    assert!(lines[1].contains("key-change") && lines[1].contains("count=2"), "{said}");
    let (code, said) = run(&["tail", "--config", config, "--json", "--refused"]);
    assert_eq!((code, said.as_str()), (0, ""));
    let (code, first) = run(&["hash", "--config", config, "Patient/pasient-01"]);
    assert_eq!((code, first.trim().len()), (0, 22), "{first}");
    assert_eq!(run(&["hash", "--config", config, "Patient/pasient-01"]).1, first);
    assert_ne!(run(&["hash", "--config", config, "Patient/pasient-02"]).1, first);
    assert_eq!(run(&["hash", "--config", config, "somebody"]).0, 1);
    let (code, said) = run(&["fhir", dir.path().to_str().unwrap(), "--after", "2"]);
    assert_eq!((code, said.lines().count()), (0, 3), "{said}");
    fs::write(&path, fs::read_to_string(&path).unwrap().replacen("\"count\":1", "\"count\":9", 1)).unwrap();
    let (code, said) = run(&["verify", path.to_str().unwrap()]);
    assert!(code == 1 && said.contains("audit-000001.jsonl:4: was changed"), "{said}");
}

#[tokio::test]
async fn a_killed_server_leaves_a_log_that_holds() {
    let place = Place::new("process", "info");
    let dir = place.dir().join("data/audit");
    let mut last = 0;
    for round in 0..4 {
        let mut server = place.start().await;
        // Refusals are the cheapest to make, and recorded like anything else.
        let asks = (0..40).map(|_| place.token("secret", &[("grant_type", "refresh_token"), ("refresh_token", "nonsense")]));
        let work = futures_util::future::join_all(asks);
        tokio::select! {
            answered = work => assert!(answered.iter().flatten().all(|(status, _)| *status == 400)),
            () = tokio::time::sleep(std::time::Duration::from_millis(10 + 15 * round)) => {}
        }
        server.0.kill().unwrap();
        server.0.wait().unwrap();
        // What was cut off is mended by the next to start.
        let server = place.start().await;
        drop(server);
        let server = place.start().await;
        let found = verify(&dir, None).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(found.last > last, "{} after {last}", found.last);
        last = found.last;
        drop(server);
    }
    let text: String = fs::read_dir(&dir).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(text.contains("started-after-crash"), "{text}");
}
