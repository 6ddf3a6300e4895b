//! A store that is moved to another back end: nothing is lost, nothing is added, and what was revoked stays revoked. Also what an operator sees of a
//! store, and that what the first release wrote is read. `docs/adr/0011-record-formats.md`.

mod fixture;

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use helsebro::app::moving::MoveError;
use helsebro::engine::keeping::Keeping;
use helsebro::jose::seal::SealKey;
use helsebro::random::SystemRandom;
use helsebro::secret::Digest;
use helsebro::store::embedded::{Durability, Embedded};
use helsebro::store::memory::Memory;
use helsebro::store::moving::{self, ImportError, PURPOSE, Stamp};
use helsebro::store::read_only::{ReadOnly, mark, set_mark};
use helsebro::store::records::{AnyRecord, Mark};
use helsebro::store::redis::Redis;
use helsebro::store::survey::Walk;
use helsebro::store::{Backend, Commit, Key, Kind, Space, Store, StoreError, Stored};
use helsebro::time::{Clock, UnixTime};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::fixture::{ISSUER, MADE_AT, Served, checked, clock, embedded, export, files, import, make, opened, toml, works};
use crate::on_redis::servers;
use crate::world::{Browser, Reply};

/// What the first format was, as it was written then.
fn kept() -> PathBuf {
    of_format(1)
}

/// What was kept when a record's format was first this number.
fn of_format(number: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/fixtures/store-v{number}"))
}

/// Makes a fixture in a directory.
async fn written(dir: &Path) {
    let (config, hands) = make(dir).await;
    let (exported, held) = files(dir);
    export(&config, &exported).await;
    std::fs::write(held, serde_json::to_string_pretty(&hands).unwrap()).unwrap();
}

fn kinds_in(export: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(export).unwrap();
    let kind = |line: &str| serde_json::from_str::<Value>(line).unwrap()["k"].as_str().map(str::to_owned);
    text.lines().filter_map(kind).collect()
}

fn all_kinds() -> BTreeSet<String> {
    AnyRecord::FORMATS.iter().map(|(kind, _)| kind.to_string()).filter(|kind| kind != Kind::Mark.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_first_release_kept_still_works() {
    assert_eq!(kinds_in(&files(&kept()).0), all_kinds(), "every kind is in the fixture, or was not there when it was made");
    works(&kept(), |dir| embedded(dir, "new.redb")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_in_the_second_format_still_works() {
    works(&of_format(2), |dir| embedded(dir, "new.redb")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_now_has_every_kind_and_works_after_moving() {
    // Where it stays is where the fixture of a new format is taken from.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("store-fixture");
    let _none_yet = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    written(&dir).await;
    assert_eq!(kinds_in(&files(&dir).0), all_kinds(), "a new kind needs a place in the fixture");
    works(&dir, |dir| embedded(dir, "new.redb")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_first_release_kept_works_on_redis() {
    let Some(server) = servers::alone() else { return };
    let prefix = format!("moved-{}", helsebro::random::Random::id(&SystemRandom));
    works(&kept(), |_| format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\nkey_prefix = \"{prefix}\"", server.port)).await;
}

fn stamp(byte: u8) -> Stamp {
    Stamp::new(SealKey::from_bytes(&[byte; 32]).unwrap().derive(PURPOSE))
}

fn keeping(backend: Arc<dyn Backend>, store: ReadOnly) -> Keeping {
    drop(backend);
    let seal = Arc::new(SealKey::from_bytes(&[7; 32]).unwrap());
    Keeping {
        store: Arc::new(store),
        metrics: helsebro::metrics::Metrics::new(),
        seal,
        clock: clock(),
        random: Arc::new(SystemRandom),
        known: vec![ISSUER.into(), "b".into()],
        served: false,
    }
}

async fn exported(backend: Arc<dyn Backend>) -> Vec<u8> {
    let store = ReadOnly::around(Arc::clone(&backend)).await.unwrap();
    let keeping = keeping(backend, store);
    let (send, mut pieces) = tokio::sync::mpsc::channel(4);
    let exporting = tokio::spawn(async move { keeping.export(send).await });
    let mut whole = Vec::new();
    while let Some(piece) = pieces.recv().await {
        whole.extend_from_slice(&piece.unwrap());
    }
    exporting.await.unwrap().unwrap();
    whole
}

async fn imported(export: &[u8], backend: &dyn Backend) -> Result<moving::Imported, ImportError> {
    let plan = moving::verify(Cursor::new(export), &stamp(7))?;
    let known = [Space::from(ISSUER)];
    let into = moving::Into { store: backend, known: &known, width: 8, now: MADE_AT };
    moving::import(&plan, Cursor::new(export), &into, |_| {}).await
}

type Told = (Key, Option<UnixTime>, Bytes);

/// Everything of a store but the versions, which are each store's own.
async fn everything(backend: &dyn Backend) -> Vec<Told> {
    let mut walk = Walk::new(backend, &[Space::from("b"), Space::from(ISSUER)]);
    let mut all = Vec::new();
    loop {
        let page = walk.next().await.unwrap();
        if page.is_empty() {
            all.sort_by(|(a, ..): &Told, (b, ..)| a.cmp(b));
            return all;
        }
        all.extend(page.into_iter().map(|(key, record)| (key, record.expires_at, record.bytes)));
    }
}

/// A store in memory with what the first release kept, many records of one kind beside it, and odd ids.
async fn full() -> Arc<dyn Backend> {
    let memory: Arc<dyn Backend> = Arc::new(Memory::new());
    imported(&std::fs::read(files(&kept()).0).unwrap(), &*memory).await.unwrap();
    for n in 0..700 {
        let expires = MADE_AT.0 + 60 + n;
        let key = Key::new(&Space::from("b"), Kind::Replay, &format!("æ \u{1F3E5} \"{n}\" \\ \n"));
        let bytes = format!("\u{1}{{\"until\":{expires}}}");
        assert_eq!(memory.write(&key, None, Some(UnixTime(expires)), bytes.into()).await.unwrap(), Commit::Applied);
    }
    memory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_the_same_byte_for_byte_after_each_move() {
    let dir = tempfile::tempdir().unwrap();
    let first = full().await;
    let told = everything(&*first).await;
    assert!(told.len() > 700, "{}", told.len());
    let file = |name: &str| -> Arc<dyn Backend> { Arc::new(Embedded::open(&dir.path().join(name), Durability::Process).unwrap()) };
    let mut stations: Vec<Arc<dyn Backend>> = vec![file("one")];
    if let Some(server) = servers::alone() {
        let clock = clock() as Arc<dyn Clock>;
        stations.push(Arc::new(Redis::open(&servers::options(server.servers()), clock, Arc::new(SystemRandom)).await.unwrap()));
    }
    stations.push(file("two"));
    stations.push(Arc::new(Memory::new()));
    let mut before = first;
    for (number, next) in stations.into_iter().enumerate() {
        let export = exported(Arc::clone(&before)).await;
        let done = imported(&export, &*next).await.unwrap_or_else(|error| panic!("station {number}: {error}"));
        assert_eq!((done.records, done.expired, done.there), (told.len() as u64, 0, 0), "station {number}");
        assert_eq!(everything(&*next).await, told, "station {number}");
        assert!(mark(&*next, Mark::FILLING).await.unwrap().is_none(), "station {number} is whole");
        before = next;
    }
}

#[tokio::test]
async fn an_export_that_is_not_what_was_written_is_not_taken() {
    let good = std::fs::read_to_string(files(&kept()).0).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let (first, last) = (lines[0].to_owned(), lines[lines.len() - 1].to_owned());
    let with_first = |first: &str| joined(&[&[first], &lines[1..]].concat());
    let grant = lines.iter().position(|line| line.contains("\"k\":\"grant\"")).unwrap();
    let other_line = |line: &str| joined(&[&lines[..grant], &[line], &lines[grant + 1..]].concat());
    let newer_grant = {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::STANDARD;
        let mut row: Value = serde_json::from_str(lines[grant]).unwrap();
        let mut bytes = engine.decode(row["v"].as_str().unwrap()).unwrap();
        bytes[0] = 200;
        row["v"] = engine.encode(bytes).into();
        row.to_string()
    };
    let here = format!("line {} is not a record", grant + 1);
    let rows: Vec<(&str, String, &str)> = vec![
        ("something else", "{\"hello\":1}\n".to_owned(), "no export of a store"),
        ("nothing", String::new(), "no export of a store"),
        ("a form of the future", with_first(&first.replace("store_export\":1", "store_export\":2")), "run the version that wrote it"),
        ("a record of the future", other_line(&newer_grant), "has format 200, this program knows up to 1"),
        ("a kind of the future", other_line(&lines[grant].replace("\"grant\"", "\"wallet\"")), "a kind of record this program does not know"),
        ("no record", other_line("{\"s\":0}"), &here),
        ("a space that is not in the list", other_line(&lines[grant].replace("\"s\":0", "\"s\":9")), "is not a record"),
        ("cut off after a line", joined(&lines[..grant]), "cut short"),
        ("cut off within a line", good[..good.len() - 10].to_owned(), "cut short"),
        ("a record left out", joined(&[&lines[..grant], &lines[grant + 1..]].concat()), "and says that it has"),
        ("another expiry", other_line(&lines[grant].replace("\"x\":1", "\"x\":2")), "its digest does not fit"),
        ("something behind the end", format!("{good}{last}\n"), "its digest does not fit"),
    ];
    for (name, export, expected) in rows {
        let memory = Memory::new();
        let error = imported(export.as_bytes(), &memory).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(memory.spaces().await.unwrap().unwrap().is_empty(), "{name}: nothing was written");
        assert!(!error.contains("Testlege"), "{name}");
    }
    let foreign = moving::verify(Cursor::new(good.as_bytes()), &stamp(8)).err().unwrap();
    assert!(matches!(foreign, ImportError::SealKey), "{foreign}");
    // Whoever can mend a digest still has no seal key to make the code with.
    let mut forged = moving::verify(Cursor::new(good.as_bytes()), &stamp(7)).map(|_| lines.clone()).unwrap();
    let mended = lines[grant].replace("\"x\":1", "\"x\":2");
    forged[grant] = &mended;
    let body = joined(&forged[..forged.len() - 1]);
    let mut end: Value = serde_json::from_str(&last).unwrap();
    end["end"]["sha256"] = Digest::of(body.as_bytes()).text().into();
    let error = imported(format!("{body}{end}\n").as_bytes(), &Memory::new()).await.unwrap_err();
    assert!(matches!(error, ImportError::Altered), "{error}");
}

#[tokio::test]
async fn an_import_wants_an_empty_store_and_goes_on_where_it_stopped() {
    let export = exported(full().await).await;
    let memory: Arc<dyn Backend> = Arc::new(Memory::new());
    // As a crash leaves it: the mark, and some of the records.
    let plan = moving::verify(Cursor::new(&export), &stamp(7)).unwrap();
    imported(&export, &*memory).await.unwrap();
    let error = imported(&export, &*memory).await.unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty(_)), "{error}");

    let crashed: Arc<dyn Backend> = Arc::new(Memory::new());
    let filling = {
        // The digest is the one of the last line.
        let last: Value = serde_json::from_slice(export.split(|byte| *byte == b'\n').rev().nth(1).unwrap()).unwrap();
        Mark::Filling { export: Digest::parse(last["end"]["sha256"].as_str().unwrap()).unwrap() }
    };
    assert_eq!(set_mark(&*crashed, &filling, None).await.unwrap(), Commit::Applied);
    for (key, expires, bytes) in everything(&*memory).await.into_iter().take(300) {
        assert_eq!(crashed.write(&key, None, expires, bytes).await.unwrap(), Commit::Applied);
    }
    let refused = ReadOnly::around(Arc::clone(&crashed)).await.err().unwrap();
    assert_eq!(refused, StoreError::HalfFilled, "no server starts on half a store");
    let other = exported(Arc::new(Memory::new())).await;
    assert!(matches!(imported(&other, &*crashed).await.unwrap_err(), ImportError::OtherExport));
    let done = imported(&export, &*crashed).await.unwrap();
    assert_eq!((done.there, done.records), (300, plan.records - 300));
    assert_eq!(everything(&*crashed).await, everything(&*memory).await);
    ReadOnly::around(crashed).await.unwrap();
}

#[tokio::test]
async fn what_has_expired_is_left_out_on_either_side() {
    let memory: Arc<dyn Backend> = Arc::new(Memory::new());
    for (id, at) in [("gone", MADE_AT.0), ("going", MADE_AT.0 + 10), ("staying", MADE_AT.0 + 100)] {
        let key = Key::new(&Space::from(ISSUER), Kind::Replay, id);
        assert_eq!(memory.write(&key, None, Some(UnixTime(at)), format!("\u{1}{{\"until\":{at}}}").into()).await.unwrap(), Commit::Applied);
    }
    let export = exported(memory).await;
    let end: Value = serde_json::from_str(String::from_utf8(export.clone()).unwrap().lines().last().unwrap()).unwrap();
    assert_eq!((&end["end"]["records"], &end["end"]["expired"]), (&json!(2), &json!(1)));
    let plan = moving::verify(Cursor::new(&export), &stamp(7)).unwrap();
    let new = Memory::new();
    let into = moving::Into { store: &new, known: &[], width: 8, now: UnixTime(MADE_AT.0 + 10) };
    let done = moving::import(&plan, Cursor::new(&export), &into, |_| {}).await.unwrap();
    assert_eq!((done.records, done.expired), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_answers_what_only_reads_and_says_no_to_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let service = helsebro::jose::SigningKey::generate(helsebro::jose::Alg::ES256).unwrap().to_private_jwk().unwrap();
    let config = checked(dir.path(), &toml(dir.path(), &embedded(dir.path(), "old.redb"), &service));
    let served = Served::start(&config, clock()).await;
    let ops = async |method: Method, path: &str, body: Option<Value>| {
        let request = served.ops(method, path);
        Reply::of(body.map_or(request.try_clone().unwrap(), |body| request.json(&body)).send().await.unwrap()).await
    };
    let mut browser = Browser::new(served.http.clone());
    let tokens = served.redeem(&served.code(&mut browser).await).await.is(200).json();
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let waiting = served.code(&mut browser).await;
    ops(Method::GET, "/store/export", None).await.refused(409, "conflict");
    assert_eq!(ops(Method::GET, "/ready", None).await.is(200).json()["status"], "ready");

    ops(Method::PUT, "/store/read-only", Some(json!({ "read_only": true }))).await.is(200);
    assert_eq!(ops(Method::GET, "/ready", None).await.is(200).json()["status"], "read_only");
    assert!(served.is_active(access).await);
    assert!(!served.is_active("nonsense").await);
    served.get("/jwks").await.is(200);
    served.get("/.well-known/smart-configuration").await.is(200);
    let userinfo = served.http.get(format!("{ISSUER}/userinfo")).bearer_auth(access).send().await.unwrap();
    assert_eq!(userinfo.status(), 200);
    let refused = served.redeem(&waiting).await.is(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    served.post("/revoke", Some("app"), &[("token", refresh)]).await.is(503);
    let page = Browser::new(served.http.clone()).get(&format!("{ISSUER}/authorize?response_type=code&client_id=app")).await;
    assert!(page.reply.status >= 400, "{}", page.reply.status);
    ops(Method::POST, "/keys/rotate", None).await.refused(503, "temporarily_unavailable");

    let export = ops(Method::GET, "/store/export", None).await.is(200);
    assert_eq!(export.header("cache-control"), Some("no-store"));
    assert!(!export.body.contains("Testlege") && !export.body.contains("PRIVATE"), "values are not for reading");
    let stats = ops(Method::GET, "/store/stats", None).await.is(200).json();
    assert_eq!((&stats["read_only"], &stats["store"], &stats["file_format"]), (&json!(true), &json!("embedded"), &json!(2)), "{stats}");
    let row = stats["kinds"].as_array().unwrap().iter().find(|row| row["kind"] == "grant").unwrap();
    assert_eq!((&row["records"], &row["issuer"]), (&json!(2), &json!(ISSUER)), "{stats}");

    // It is the store that is read-only, not the process.
    served.running.stop().await;
    let served = Served::start(&config, clock()).await;
    served.redeem(&waiting).await.is(503);
    Reply::of(served.ops(Method::PUT, "/store/read-only").json(&json!({ "read_only": false })).send().await.unwrap()).await.is(200);
    served.redeem(&waiting).await.is(200);
    served.running.stop().await;

    // What was exported is the store as it was meanwhile: the code is good once there, too.
    let new = tempfile::tempdir().unwrap();
    let file = new.path().join("export.jsonl");
    std::fs::write(&file, &export.body).unwrap();
    let config = checked(new.path(), &toml(new.path(), &embedded(new.path(), "new.redb"), &service));
    import(&config, &file).await.unwrap();
    let served = Served::start(&config, clock()).await;
    served.redeem(&waiting).await.is(200);
    served.refresh(refresh).await.is(200);
    served.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_shared_store_follow_the_switch() {
    let Some(server) = servers::alone() else { return };
    let options = servers::options(server.servers());
    let node = async || {
        let backend: Arc<dyn Backend> = Arc::new(Redis::open(&options, clock() as Arc<dyn Clock>, Arc::new(SystemRandom)).await.unwrap());
        Arc::new(ReadOnly::around(backend).await.unwrap())
    };
    let (one, two) = (node().await, node().await);
    let switching = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.switch(true, MADE_AT).await }
    });
    let key = Key::new(&Space::from(ISSUER), Kind::Replay, "r");
    let write = async |node: &ReadOnly| node.write(&key, None, Some(UnixTime(MADE_AT.0 + 60)), Bytes::from_static(b"\x01{\"until\":1}")).await;
    // What the server does each second.
    while !two.is_on() {
        two.follow().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(write(&two).await, Err(StoreError::ReadOnly));
    switching.await.unwrap().unwrap();
    assert_eq!(write(&one).await, Err(StoreError::ReadOnly));
    assert!(node().await.is_on(), "a node that starts meanwhile, too");
    one.switch(false, MADE_AT).await.unwrap();
    two.follow().await.unwrap();
    assert_eq!(write(&two).await, Ok(Commit::Applied));
}

#[tokio::test]
async fn a_check_finds_what_is_wrong_and_tells_no_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let hands: Value = serde_json::from_str(&std::fs::read_to_string(files(&kept()).1).unwrap()).unwrap();
    let config = checked(dir.path(), &toml(dir.path(), &embedded(dir.path(), "broken.redb"), &hands["service_jwk"]));
    import(&config, &files(&kept()).0).await.unwrap();
    let keeping = opened(&config).await;
    assert!(keeping.check().await.unwrap().is_good());
    let space = Space::from(ISSUER);
    let all = everything(&*keeping.store).await;
    let of = |kind: Kind| all.iter().find(|(key, ..)| key.kind == kind).unwrap().clone();
    let put = async |key: &Key, expires: Option<UnixTime>, bytes: Bytes| {
        let seen = keeping.store.read_many(std::slice::from_ref(key)).await.unwrap().remove(0).map(|record| record.version);
        assert_eq!(keeping.store.write(key, seen, expires, bytes).await.unwrap(), Commit::Applied);
    };
    let (grant, expires, bytes) = of(Kind::Grant);
    put(&Key::new(&space, Kind::Grant, "another"), expires, bytes.clone()).await;
    put(&grant, expires.map(|at| UnixTime(at.0 + 1)), bytes).await;
    let (launch, expires, bytes) = of(Kind::Launch);
    put(&launch, expires, String::from_utf8(bytes.to_vec()).unwrap().replace("epj-session-01", "epj-session-02").into()).await;
    put(&Key::new(&space, Kind::Session, "secret-session"), None, Bytes::from_static(b"\x01{\"hemmelig\":1}")).await;
    put(&Key::new(&space, Kind::Consent, "future"), None, Bytes::from_static(b"\xc8{}")).await;
    let (login, expires, bytes) = of(Kind::UpstreamLogin);
    let mut value: Value = serde_json::from_slice(&bytes[1..]).unwrap();
    value["state"]["live"]["key"] = value["state"]["live"]["refresh"].clone();
    put(&login, expires, [b"\x01", value.to_string().as_bytes()].concat().into()).await;
    let report = keeping.check().await.unwrap();
    let told: Vec<String> = report.findings.iter().map(|finding| format!("{} {} {}", finding.kind.unwrap(), finding.id, finding.what)).collect();
    let text = told.join("\n");
    for expected in [
        "grant another says of itself that it is another one",
        "does not expire when it says",
        "launch #",
        "refers to a record of kind session that is not there",
        "a record of kind session, format 1, cannot be understood",
        "a record of kind consent has format 200",
        "what is sealed in it does not open",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert_eq!(told.len(), 6, "{text}");
    assert!(!text.contains("secret-session") && !text.contains("hemmelig") && !text.contains("Testlege"), "{text}");
    // Under another seal key nothing opens.
    let other = Keeping { seal: Arc::new(SealKey::from_bytes(&[9; 32]).unwrap()), ..keeping.clone() };
    let sealed = other.check().await.unwrap().findings.iter().filter(|finding| finding.what.contains("does not open")).count();
    assert_eq!(sealed, 4, "the ring, the login, the brought token and the attempt");
    keeping.close().await.unwrap();
}

/// A record that was told in other words before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Upgraded {
    seconds: u64,
}

impl Stored for Upgraded {
    const KIND: Kind = Kind::Consent;
    const FORMAT: u8 = 3;

    fn expires_at(&self) -> Option<UnixTime> {
        None
    }

    fn upgrade(from: u8, mut value: Value) -> Value {
        if from < 3 {
            let minutes = value["minutes"].as_u64().unwrap_or_default();
            value["seconds"] = (minutes * 60).into();
        }
        value
    }
}

#[tokio::test]
async fn a_record_of_an_older_format_is_read_in_todays_words_and_one_of_a_newer_is_refused() {
    let memory: Arc<dyn Backend> = Arc::new(Memory::new());
    let store = Store::new(Arc::clone(&memory), clock() as Arc<dyn Clock>, "a".into());
    for (id, bytes) in [("old", &b"\x02{\"minutes\":2}"[..]), ("now", b"\x03{\"seconds\":7}"), ("new", b"\x04{\"seconds\":7}")] {
        let key = Key::new(&Space::from("a"), Kind::Consent, id);
        assert_eq!(memory.write(&key, None, None, Bytes::from_static(bytes)).await.unwrap(), Commit::Applied);
    }
    let load = async |id: &str| store.load::<Upgraded>(id).await.map(|held| held.unwrap());
    let old = load("old").await.unwrap();
    assert_eq!((old.value.seconds, load("now").await.unwrap().value.seconds), (120, 7));
    assert!(matches!(load("new").await.unwrap_err(), StoreError::NewerFormat { found: 4, known: 3, .. }));
    // Once it is written again it is of today's format.
    assert_eq!(store.replace(&old, &old.value).await.unwrap(), Commit::Applied);
    let written = memory.read_many(&[Key::new(&Space::from("a"), Kind::Consent, "old")]).await.unwrap().remove(0).unwrap();
    assert_eq!(&written.bytes[..], b"\x03{\"seconds\":120}");
}

fn helsebro(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_helsebro")).args(args).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_operator_moves_a_store_whose_server_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    // Ports nobody has: found, and let go of.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (public, ops) = (free(), free());
    for name in ["old", "new"] {
        let text = format!(
            "[server]\nlisten = \"{public}\"\nops_listen = \"{ops}\"\n[store]\npath = \"{name}.redb\"\n[keys]\ndir = \"keys\"\n[audit]\ndir = \"audit\"\n\
             [[issuer]]\nurl = \"http://{public}\"\n[[issuer.fhir]]\nbase = \"http://{public}/fhir\"\n"
        );
        std::fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
    }
    let (old, new, file) = (path("old.toml"), path("new.toml"), path("moved.jsonl"));
    let listed = helsebro(&["keys", "list", "--config", &old]);
    assert_eq!(listed.0, Some(0), "{}", listed.2);
    let exported = helsebro(&["store", "export", &file, "--config", &old]);
    assert_eq!(exported.0, Some(0), "{}", exported.2);
    assert!(exported.1.contains("worth as much as a backup") && exported.2.contains("1 records"), "{exported:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = helsebro(&["store", "export", &file, "--config", &old]);
    assert!(again.0 == Some(1) && again.2.contains("never takes the place of anything"), "{again:?}");
    let piped = helsebro(&["store", "export", "-", "--config", &old]);
    assert_eq!(piped.1.lines().count(), 3, "{piped:?}");

    let imported = helsebro(&["store", "import", &file, "--config", &new]);
    assert_eq!((imported.0, imported.1.as_str()), (Some(0), "1 records are in the store.\n"), "{}", imported.2);
    let twice = helsebro(&["store", "import", &file, "--config", &new]);
    assert!(twice.0 == Some(1) && twice.2.contains("the store is not empty"), "{twice:?}");
    assert_eq!(helsebro(&["keys", "list", "--config", &new]).1, listed.1, "the same keys");
    let stats = helsebro(&["store", "stats", "--config", &new]);
    assert!(stats.1.contains("key_ring") && stats.1.contains("file format"), "{stats:?}");
    let stats = helsebro(&["store", "stats", "--config", &new, "--output", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&stats.1).unwrap()["records"], 1);
    let check = helsebro(&["store", "check", "--config", &new]);
    assert!(check.0 == Some(0) && check.1.ends_with("Nothing is wrong.\n"), "{check:?}");
    let switched = helsebro(&["store", "read-only", "on", "--config", &new]);
    assert!(switched.0 == Some(0) && switched.1.contains("is read-only"), "{switched:?}");
    let rotate = helsebro(&["keys", "rotate", "--config", &new]);
    assert!(rotate.0 == Some(1) && rotate.2.contains("read-only while it is moved"), "{rotate:?}");
    assert_eq!(helsebro(&["store", "read-only", "off", "--config", &new]).0, Some(0));

    // Half an import: no server, no administration.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Embedded::open(&dir.path().join("new.redb"), Durability::Process).unwrap();
        assert_eq!(set_mark(&store, &Mark::Filling { export: Digest::of(b"another") }, None).await.unwrap(), Commit::Applied);
        store.close().await.unwrap();
    });
    let refused = helsebro(&["serve", "--config", &new]);
    assert!(refused.0 == Some(1) && refused.2.contains("half filled"), "{refused:?}");
    let other = helsebro(&["store", "import", &file, "--config", &new]);
    assert!(other.0 == Some(1) && other.2.contains("another export"), "{other:?}");
    let wrong = helsebro(&["store", "check", "--config", &new]);
    assert_eq!(wrong.0, Some(1), "{wrong:?}");
    // A broken record: told, and an exit code that says so.
    runtime.block_on(async {
        let store = Embedded::open(&dir.path().join("old.redb"), Durability::Process).unwrap();
        let key = Key::new(&Space::from(format!("http://{public}").as_str()), Kind::Grant, "g1");
        assert_eq!(store.write(&key, None, None, Bytes::from_static(b"\x01{}")).await.unwrap(), Commit::Applied);
        store.close().await.unwrap();
    });
    let wrong = helsebro(&["store", "check", "--config", &old]);
    assert!(wrong.0 == Some(1) && wrong.1.contains("grant g1: a record of kind grant") && wrong.1.ends_with("Something is wrong.\n"), "{wrong:?}");
}

#[test]
fn an_import_says_what_is_in_its_way() {
    let error = MoveError::Memory.to_string();
    assert!(error.contains("name another kind"), "{error}");
}
