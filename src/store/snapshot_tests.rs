use super::*;

fn change(whole: bool, revision: Revision, entries: &[(&str, Option<&str>)]) -> SnapshotChange {
    let entries = entries.iter().map(|(key, value)| (key.to_string(), value.map(|it| it.as_bytes().to_vec())));
    SnapshotChange { whole, revision, entries: entries.collect() }
}

fn keys(loaded: Option<(Vec<Entry>, Revision)>) -> (Vec<String>, Revision) {
    let (entries, revision) = loaded.expect("saved before");
    (entries.into_iter().map(|entry| entry.key).collect(), revision)
}

#[tokio::test]
async fn changes_add_up_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot.db");
    let snapshot = Snapshot::open(&path).unwrap();
    assert_eq!(snapshot.load().await.unwrap(), None);
    snapshot.save(change(true, 3, &[("/a", Some("1")), ("/b", Some("1"))])).await.unwrap();
    snapshot.save(change(false, 5, &[("/a", None), ("/c", Some("1"))])).await.unwrap();
    drop(snapshot);
    let snapshot = Snapshot::open(&path).unwrap();
    assert_eq!(keys(snapshot.load().await.unwrap()), (vec!["/b".into(), "/c".into()], 5));
    snapshot.save(change(true, 6, &[("/d", Some("1"))])).await.unwrap();
    assert_eq!(keys(snapshot.load().await.unwrap()), (vec!["/d".into()], 6));
}

#[tokio::test]
async fn a_damaged_one_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot.db");
    std::fs::write(&path, "no database at all, however long it is".repeat(200)).unwrap();
    let snapshot = Snapshot::open(&path).unwrap();
    assert_eq!(snapshot.load().await.unwrap(), None);
    snapshot.save(change(true, 1, &[("/a", Some("1"))])).await.unwrap();
}

#[test]
fn a_missing_directory_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let text = Snapshot::open(&directory.path().join("no/snapshot.db")).unwrap_err().to_string();
    assert!(text.contains("does not exist"), "{text}");
}
