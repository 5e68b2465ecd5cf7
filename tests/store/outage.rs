//! The store's file is missing, damaged, newer, deleted, replaced: said by name, and come back from.

use std::path::Path;

use routenet::store::{ClusterStore, EmbeddedStore, StoreError, WatchEvent, Write};

use super::fixture::{Place, closed, next};

fn put(key: &str) -> Vec<Write> {
    vec![Write::Put { key: key.into(), value: b"1".to_vec() }]
}

/// A second store with one key, whole in its own file.
async fn other_file(path: &Path, key: &str) {
    let store = EmbeddedStore::new(path);
    store.transact(vec![], put(key)).await.unwrap();
    drop(store);
    closed(path).await;
}

fn remove(path: &Path) {
    for name in ["cluster.db", "cluster.db-wal", "cluster.db-shm"] {
        let _ = std::fs::remove_file(path.with_file_name(name));
    }
}

async fn refusal(store: &EmbeddedStore) -> String {
    match store.range("/").await {
        Err(error @ StoreError::Refused { .. }) => error.to_string(),
        other => panic!("expected a refusal: {other:?}"),
    }
}

#[tokio::test]
async fn a_damaged_file_is_named_and_its_replacement_is_taken_up() {
    let place = Place::new();
    let path = place.store_path();
    std::fs::write(&path, "garbage, and much of it".repeat(500)).unwrap();
    let store = EmbeddedStore::new(&path);
    let text = refusal(&store).await;
    assert!(text.contains("cluster.db is no SQLite database"), "{text}");
    assert!(text.contains("move it away, with its -wal and -shm, and put back a copy; agents go on"), "{text}");
    assert!(store.transact(vec![], put("/a")).await.is_err());

    let mut events = store.watch(0).await.unwrap();
    let WatchEvent::Away(why) = next(&mut events).await else { panic!("away") };
    assert!(why.contains("no SQLite database"), "{why}");
    let spare = place.directory.path().join("spare.db");
    other_file(&spare, "/saved").await;
    std::fs::rename(&spare, &path).unwrap();
    assert_eq!(next(&mut events).await, WatchEvent::Back);
    assert!(store.get("/saved").await.unwrap().is_some());
}

#[tokio::test]
async fn damage_in_the_middle_is_noticed_by_who_reads_it() {
    let place = Place::new();
    let path = place.store_path();
    let store = EmbeddedStore::new(&path);
    for number in 0..500 {
        let value = vec![7u8; 1000];
        store.transact(vec![], vec![Write::Put { key: format!("/k/{number:04}"), value }]).await.unwrap();
    }
    drop(store);
    closed(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4096).skip(3) {
        page[..200].fill(0xff);
    }
    std::fs::write(&path, bytes).unwrap();
    let text = refusal(&EmbeddedStore::new(&path)).await;
    assert!(text.contains("cluster store") && text.contains("cluster.db is damaged"), "{text}");
}

#[tokio::test]
async fn a_newer_file_is_refused_with_both_versions() {
    let place = Place::new();
    other_file(&place.store_path(), "/a").await;
    let conn = rusqlite::Connection::open(place.store_path()).unwrap();
    conn.pragma_update(None, "user_version", 9).unwrap();
    drop(conn);
    let text = refusal(&EmbeddedStore::new(&place.store_path())).await;
    assert!(text.contains("cluster.db has schema version 9, and this routenet knows versions up to 1"), "{text}");
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let place = Place::new();
    let store = EmbeddedStore::new(&place.directory.path().join("nowhere/cluster.db"));
    let text = refusal(&store).await;
    assert!(text.contains("nowhere does not exist (create") && text.contains("`store.path`"), "{text}");
    std::fs::create_dir(place.directory.path().join("nowhere")).unwrap();
    assert_eq!(store.probe().await, Ok(0), "mended while it runs");
}

#[tokio::test]
async fn a_deleted_file_is_noticed_and_never_written_to() {
    let place = Place::new();
    let path = place.store_path();
    let store = place.store();
    store.transact(vec![], put("/a")).await.unwrap();
    let mut events = store.watch(1).await.unwrap();
    remove(&path);
    let error = store.transact(vec![], put("/b")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Away(why) if why.contains("is gone")), "{error}");
    let WatchEvent::Away(why) = next(&mut events).await else { panic!("away") };
    assert!(why.contains("cluster.db is gone: it was deleted or moved (put it back"), "{why}");
    assert!(!path.exists(), "no empty store takes its place");
    std::fs::write(&path, "").unwrap();
    assert_eq!(next(&mut events).await, WatchEvent::Back);
    assert_eq!(next(&mut events).await, WatchEvent::Resync);
    assert_eq!(store.get("/a").await.unwrap(), None, "unless a person wants it so");
}

#[tokio::test]
async fn a_replaced_file_is_read_from_the_start() {
    let place = Place::new();
    let path = place.store_path();
    let store = place.store();
    store.transact(vec![], put("/old")).await.unwrap();
    let mut events = store.watch(1).await.unwrap();
    let spare = place.directory.path().join("spare.db");
    other_file(&spare, "/new").await;
    remove(&path);
    std::fs::rename(&spare, &path).unwrap();
    loop {
        match next(&mut events).await {
            WatchEvent::Resync => break,
            WatchEvent::Away(_) | WatchEvent::Back => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.get("/old").await.unwrap(), None);
    assert!(store.get("/new").await.unwrap().is_some());
    store.transact(vec![], put("/more")).await.unwrap();
    assert!(matches!(next(&mut events).await, WatchEvent::Changes { .. }));
}

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for() {
    let place = Place::new();
    let store = place.store();
    store.transact(vec![], put("/a")).await.unwrap();
    let conn = rusqlite::Connection::open(place.store_path()).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = tokio::spawn({
        let store = store.clone();
        async move { store.transact(vec![], put("/b")).await }
    });
    assert!(store.get("/a").await.unwrap().is_some(), "readers are not held up");
    assert!(!write.is_finished());
    conn.execute_batch("COMMIT").unwrap();
    write.await.unwrap().expect("it was its turn then");
}
