use serde_json::json;

use super::*;
use crate::fhir::resource::Stamp;
use crate::fhir::table::TypeRow;

fn base() -> FhirBase {
    FhirBase::parse("https://epj.example/fhir").unwrap()
}

fn condition(id: &str, version: u64, encounter: &str) -> Arc<Resource> {
    let body = json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p"}, "encounter": {"reference": encounter}, "x": 5.0});
    let stamp = Stamp { id: id.into(), version, at: UnixTime(1_795_000_000), creator: None };
    Arc::new(Resource::written(&base(), TypeRow::named("Condition").unwrap(), stamp, body))
}

async fn put(data: &Data, resource: &Arc<Resource>) {
    data.write(|why| why, |_| Ok((Some(Edit::Put(Arc::clone(resource))), ()))).await.unwrap();
}

async fn delete(data: &Data, id: &str, version: u64) {
    let key = Key { kind: "Condition", id: id.into() };
    data.write(|why| why, |_| Ok((Some(Edit::Delete { key, version, at: UnixTime(1_795_000_009) }), ()))).await.unwrap();
}

fn numbers(data: &Data, id: &str) -> Vec<(u64, bool)> {
    data.snapshot().versions("Condition", id).iter().map(|version| (version.number, version.resource.is_some())).collect()
}

#[tokio::test]
async fn a_snapshot_stays_and_the_next_one_knows_its_past() {
    let data = Data::new(Snapshot::default(), None, &base()).unwrap();
    put(&data, &condition("c", 1, "Encounter/a")).await;
    let before = data.snapshot();
    put(&data, &condition("c", 2, "Encounter/b")).await;
    let key = |id: &str| Key { kind: "Encounter", id: id.into() };
    assert_eq!((before.find("Condition", "c").unwrap().version, before.referrers(&key("a")).count(), before.referrers(&key("b")).count()), (1, 1, 0));
    let now = data.snapshot();
    assert_eq!((now.find("Condition", "c").unwrap().version, now.referrers(&key("a")).count(), now.referrers(&key("b")).count()), (2, 0, 1));
    delete(&data, "c", 3).await;
    assert_eq!(numbers(&data, "c"), [(3, false), (2, true), (1, true)]);
    let (end, last) = data.snapshot().tombstone("Condition", "c").map(|(end, last)| (end, last.unwrap().version)).unwrap();
    assert_eq!((end, last, data.snapshot().len()), (3, 2, 0));
    data.reset().await.unwrap();
    assert!(numbers(&data, "c").is_empty());
}

#[tokio::test]
async fn what_is_kept_is_there_after_a_restart_even_when_the_last_line_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept { path: dir.path().join("deep/fhir.ndjson"), fresh: false, sync: true };
    let open = |kept: &Kept| Data::new(Snapshot::default(), Some(kept), &base()).unwrap();
    let data = open(&kept);
    put(&data, &condition("c", 1, "Encounter/a")).await;
    put(&data, &condition("d", 1, "Encounter/a")).await;
    delete(&data, "d", 2).await;
    put(&data, &condition("c", 2, "Encounter/b")).await;
    drop(data);
    use std::io::Write as _;
    std::fs::OpenOptions::new().append(true).open(&kept.path).unwrap().write_all(br#"{"put":{"resourceType":"Cond"#).unwrap();
    for _ in 0..2 {
        let data = open(&kept);
        assert_eq!((numbers(&data, "c"), numbers(&data, "d")), (vec![(2, true), (1, true)], vec![(2, false), (1, true)]));
        assert_eq!(data.snapshot().find("Condition", "c").unwrap().json, condition("c", 2, "Encounter/b").json);
    }
    assert!(open(&Kept { fresh: true, ..kept.clone() }).snapshot().is_empty());
    let data = open(&kept);
    assert!(data.snapshot().is_empty());
    put(&data, &condition("c", 1, "Encounter/a")).await;
    data.reset().await.unwrap();
    drop(data);
    assert!(open(&kept).snapshot().is_empty());
    std::fs::write(&kept.path, "nonsense\n{}\n").unwrap();
    assert!(Data::new(Snapshot::default(), Some(&kept), &base()).is_err());
}

#[tokio::test]
async fn what_a_crash_left_at_the_end_is_cut_off_and_a_fault_in_the_middle_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept { path: dir.path().join("fhir.ndjson"), fresh: false, sync: false };
    let open = |kept: &Kept| Data::new(Snapshot::default(), Some(kept), &base());
    let data = open(&kept).unwrap();
    put(&data, &condition("c", 1, "Encounter/a")).await;
    put(&data, &condition("d", 1, "Encounter/a")).await;
    drop(data);
    let whole = std::fs::read(&kept.path).unwrap();
    let second = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    for tail in [&b"{"[..], b"\0\0\0\0", b"\0\0\n\0{\n", b"{\"put\":{\"resourceType\":\"Condition\"}}\n", &whole[..second - 1], b"\xff\xfe\n"] {
        std::fs::write(&kept.path, [&whole, tail].concat()).unwrap();
        assert_eq!(open(&kept).unwrap().snapshot().len(), 2, "{tail:?}");
        assert_eq!(std::fs::read(&kept.path).unwrap(), whole, "{tail:?}");
    }
    // Wherever the end is cut, everything before it is there.
    for end in 0..whole.len() {
        std::fs::write(&kept.path, &whole[..end]).unwrap();
        assert_eq!(open(&kept).unwrap().snapshot().len(), usize::from(end >= second), "{end}");
    }
    std::fs::write(&kept.path, [&whole[..second], b"nonsense\n", &whole[second..]].concat()).unwrap();
    let told = open(&kept).unwrap_err().to_string();
    assert!(told.ends_with("fhir.ndjson:2: this line is not a write"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_at_once_waits_together_and_all_of_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept { path: dir.path().join("fhir.ndjson"), fresh: false, sync: true };
    let data = Arc::new(Data::new(Snapshot::default(), Some(&kept), &base()).unwrap());
    let all: Vec<_> = (0..200)
        .map(|n| {
            let data = Arc::clone(&data);
            tokio::spawn(async move {
                put(&data, &condition(&format!("c{n}"), 1, "Encounter/a")).await;
                // Who is answered sees it.
                assert!(data.snapshot().find("Condition", &format!("c{n}")).is_some());
            })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    let seen = data.snapshot();
    drop(data);
    let again = Data::new(Snapshot::default(), Some(&kept), &base()).unwrap().snapshot();
    assert_eq!((seen.len(), again.len()), (200, 200));
}

#[tokio::test]
async fn what_cannot_be_kept_has_not_happened() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept { path: dir.path().join("fhir.ndjson"), fresh: false, sync: true };
    let mut data = Data::new(Snapshot::default(), Some(&kept), &base()).unwrap();
    put(&data, &condition("c", 1, "Encounter/a")).await;
    data.keeper = Some(Keeper::start(Log::deaf(&kept.path).unwrap(), Arc::clone(&data.now), Arc::clone(&data.head)).unwrap());
    let write = async |version: u64| {
        let edit = Edit::Put(condition("c", version, "Encounter/b"));
        data.write(Some, |_| Ok((Some(edit), ()))).await
    };
    for version in 2..5 {
        assert!(write(version).await.unwrap_err().is_some());
        assert_eq!(numbers(&data, "c"), [(1, true)]);
        // Nor is the next one decided over it.
        let stands =
            data.write(Some, |head| Err::<(Option<Edit>, ()), _>(Some(std::io::Error::other(head.find("Condition", "c").unwrap().version.to_string()))));
        assert_eq!(stands.await.unwrap_err().unwrap().to_string(), "1");
    }
    assert!(data.reset().await.is_err());
    assert_eq!(numbers(&data, "c"), [(1, true)]);
    drop(data);
    assert_eq!(numbers(&Data::new(Snapshot::default(), Some(&kept), &base()).unwrap(), "c"), [(1, true)]);
}
