use super::*;
use crate::domain::audit::{Action, Facts, Outcome};
use crate::random::SeededRandom;
use crate::secret::Secret;

const NOON: UnixTime = UnixTime(1_795_003_200);

fn keeping(dir: &Path, max_file: u64) -> Keeping {
    Keeping { dir: dir.to_owned(), max_file, durable: false, node: None }
}

fn open(dir: &Path) -> (Files, Before) {
    Files::open(keeping(dir, 1 << 20), &SeededRandom::new(1)).unwrap()
}

fn events(ways: &[&'static str]) -> Vec<AuditEvent> {
    let event = |way: &&'static str| {
        let facts = Facts { way: Some(way), ..Facts::default() };
        AuditEvent { time: NOON, action: Action::Log, outcome: Outcome::Allowed, issuer: None, request: None, source: None, facts }
    };
    ways.iter().map(event).collect()
}

fn persons() -> Persons {
    Persons::new(&Secret::new([1; 32]))
}

fn verified(dir: &Path) -> Result<(u64, usize), String> {
    super::super::verify::verify(dir, None).map(|found| (found.records, found.files)).map_err(|broken| broken.why.to_string())
}

#[test]
fn a_log_goes_on_where_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, before) = open(dir.path());
    assert_eq!(before, Before { clean: true, ..Before::default() });
    files.commit(&events(&["started", "stopped"]), &persons(), NOON).unwrap();
    let head = files.head();
    assert_eq!(head.seq, 2);
    assert!(Files::open(keeping(dir.path(), 1 << 20), &SeededRandom::new(2)).is_err(), "one writer a directory");
    drop(files);
    let (mut files, before) = open(dir.path());
    assert_eq!((before, files.head()), (Before { clean: true, ..Before::default() }, head));
    files.commit(&events(&["started"]), &persons(), NOON).unwrap();
    drop(files);
    assert!(!open(dir.path()).1.clean, "the last process did not say that it stopped");
    assert_eq!(verified(dir.path()), Ok((3, 1)));
}

#[test]
fn a_torn_line_is_cut_off_wherever_it_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, _) = open(dir.path());
    files.commit(&events(&["a", "b", "c"]), &persons(), NOON).unwrap();
    drop(files);
    let path = dir.path().join(file_name(1));
    let whole = fs::read(&path).unwrap();
    for cut in 1..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (mut files, before) = open(dir.path());
        let lines = whole[..cut].iter().filter(|b| **b == b'\n').count() as u64;
        assert_eq!(files.head().seq, lines.saturating_sub(1), "cut at {cut}");
        assert_eq!(before.unsound, None);
        assert_eq!(before.cut > 0, whole[cut - 1] != b'\n', "cut at {cut}");
        files.commit(&events(&["after"]), &persons(), NOON).unwrap();
        assert_eq!(verified(dir.path()), Ok((lines.saturating_sub(1) + 1, 1)), "cut at {cut}");
    }
}

#[test]
fn what_was_changed_stays_as_it_is_and_the_log_goes_on_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, _) = open(dir.path());
    files.commit(&events(&["aaa", "bbb", "ccc"]), &persons(), NOON).unwrap();
    drop(files);
    let path = dir.path().join(file_name(1));
    let text = fs::read_to_string(&path).unwrap().replace("\"bbb\"", "\"xxx\"");
    fs::write(&path, &text).unwrap();
    let (mut files, before) = open(dir.path());
    assert_eq!(before.unsound, Some(1));
    files.commit(&events(&["after"]), &persons(), NOON).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(list(dir.path()).unwrap().len(), 2);
    assert!(verified(dir.path()).unwrap_err().contains("was changed"));
}

#[test]
fn the_next_file_begins_by_size_and_by_day() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, _) = Files::open(keeping(dir.path(), 600), &SeededRandom::new(1)).unwrap();
    for _ in 0..4 {
        files.commit(&events(&["one", "two"]), &persons(), NOON).unwrap();
    }
    let by_size = list(dir.path()).unwrap().len();
    assert!(by_size >= 3, "{by_size}");
    drop(files);
    let (mut files, _) = open(dir.path());
    files.commit(&events(&["same day"]), &persons(), UnixTime(NOON.0 + 3600)).unwrap();
    assert_eq!(list(dir.path()).unwrap().len(), by_size);
    files.commit(&events(&["next day"]), &persons(), UnixTime(NOON.0 + DAY_S)).unwrap();
    assert_eq!(list(dir.path()).unwrap().len(), by_size + 1);
    assert_eq!(verified(dir.path()), Ok((10, by_size + 1)));
}

#[test]
fn what_cannot_be_written_leaves_the_log_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let away = dir.path().join("away");
    let here = dir.path().join("log");
    let (mut files, _) = open(&here);
    files.commit(&events(&["a"]), &persons(), NOON).unwrap();
    fs::rename(&here, &away).unwrap();
    let head = files.head();
    assert!(files.commit(&events(&["b"]), &persons(), NOON).is_err());
    assert_eq!(files.head(), head);
    fs::rename(&away, &here).unwrap();
    files.commit(&events(&["b"]), &persons(), NOON).unwrap();
    // Another file of the same name is not the log.
    let path = here.join(file_name(1));
    fs::copy(&path, here.join("copy")).unwrap();
    fs::rename(here.join("copy"), &path).unwrap();
    assert!(files.commit(&events(&["c"]), &persons(), NOON).is_err());
}
