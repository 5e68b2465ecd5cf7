//! etcd's own ways: compaction, a member of three that is killed, many processes that come back at once.

use std::time::Duration;

use routenet::store::{ClusterStore, EtcdStore, TxnOutcome, WatchEvent, Write};

use super::fixture::{Host, Place, Plan, key, next, pool};
use crate::etcd_server::{EtcdServer, answering, config};

fn put(key: &str, value: &str) -> Vec<Write> {
    vec![Write::Put { key: key.into(), value: value.into() }]
}

#[tokio::test]
async fn a_watch_begins_in_the_past_and_leaves_nothing_out() {
    let place = Place::new();
    let (here, there) = (place.store(), place.store());
    let mut last = 0;
    for round in 0..300 {
        let TxnOutcome::Committed(revision) = here.transact(vec![], put("/counter", &round.to_string())).await.unwrap()
        else {
            panic!("no checks, no conflict")
        };
        assert!(revision > last, "revisions grow");
        last = revision;
    }
    let mut events = there.watch(place.first_revision()).await.unwrap();
    for round in 300..320 {
        here.transact(vec![], put("/counter", &round.to_string())).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 320 {
        let WatchEvent::Changes { changes, .. } = next(&mut events).await else { panic!("changes") };
        seen.extend(changes.into_iter().map(|(_, value)| String::from_utf8(value.unwrap()).unwrap()));
    }
    assert!(seen.iter().enumerate().all(|(round, value)| *value == round.to_string()), "each, once, in order");
}

#[tokio::test]
async fn whoever_is_behind_what_was_compacted_reads_all_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = EtcdServer::start(directory.path());
    let store = EtcdStore::new(config(&[server.endpoint()]));
    answering(&store).await;
    for round in 0..20 {
        store.transact(vec![], put("/counter", &round.to_string())).await.unwrap();
    }
    let mut direct = etcd_client::Client::connect([server.endpoint()], None).await.unwrap();
    direct.compact(15, None).await.unwrap();
    let mut late = store.watch(3).await.unwrap();
    assert_eq!(next(&mut late).await, WatchEvent::Resync);
    let mut near = store.watch(18).await.unwrap();
    assert!(matches!(next(&mut near).await, WatchEvent::Changes { .. }), "history reaches so far");
}

#[tokio::test]
async fn keys_of_others_are_none_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let server = EtcdServer::start(directory.path());
    let store = EtcdStore::new(config(&[server.endpoint()]));
    answering(&store).await;
    let mut direct = etcd_client::Client::connect([server.endpoint()], None).await.unwrap();
    for key in ["/routenet2/x", "/other", "/routenetx"] {
        direct.put(key, "theirs", None).await.unwrap();
    }
    store.transact(vec![], put("/mine", "1")).await.unwrap();
    let (entries, _) = store.range("").await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["/mine"]);
    assert_eq!(direct.get("/routenet/mine", None).await.unwrap().kvs().len(), 1, "below the prefix");
}

#[tokio::test]
async fn a_range_is_whole_however_long_it_is() {
    let place = Place::new();
    let store = place.store();
    for hundred in 0..13 {
        let writes = (0..100).flat_map(|one| put(&format!("/many/{:04}", hundred * 100 + one), "x")).collect();
        store.transact(vec![], writes).await.unwrap();
    }
    let (entries, revision) = store.range("/many/").await.unwrap();
    assert_eq!((entries.len(), revision), (1300, 13 + place.first_revision()));
    assert!(entries.is_sorted_by(|one, other| one.key < other.key), "in key order, none twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_three_that_is_killed_is_not_missed() {
    let directory = tempfile::tempdir().unwrap();
    let mut members = EtcdServer::cluster(directory.path(), 3);
    let endpoints: Vec<String> = members.iter().map(EtcdServer::endpoint).collect();
    let store = std::sync::Arc::new(EtcdStore::new(config(&endpoints)));
    answering(&store).await;
    let (_, from) = store.range("").await.unwrap();
    let mut events = store.watch(from).await.unwrap();
    let plan = Plan::new(&[pool("p", "10.0.0.0/20", 30)]);
    plan.write_to(&*store).await;
    let host = Host::start(store.clone(), "h1", &directory.path().join("h1"), Duration::ZERO).await;
    let mut number = 0;
    for victim in &mut members {
        victim.kill();
        // Each needs a new block, so each goes to the store.
        for _ in 0..9 {
            number += 1;
            let id = key(&format!("c{number}"));
            // One call may meet an election; the runtime's next one does not.
            let mut tries = 0;
            while let Err(error) = host.allocator.allocate(&plan.request(&id)).await {
                tries += 1;
                assert!(error.try_again() && tries < 20, "{error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        victim.launch();
    }
    let claimed = store.range("/blocks/").await.unwrap().0;
    assert_eq!(claimed.len(), 7, "27 addresses, four a block");
    let mut told = std::collections::BTreeSet::new();
    while !claimed.iter().all(|entry| told.contains(&entry.key)) {
        if let WatchEvent::Changes { changes, .. } = next(&mut events).await {
            told.extend(changes.into_iter().map(|(key, _)| key));
        }
    }
}
