//! etcd's own ways: compaction during an outage, keys of others, long ranges, a member of three that is killed.

use std::sync::Arc;
use std::time::Duration;

use routenet::agent::sync::{Batch, ClusterChange, ClusterSync, SyncState};
use routenet::store::{ClusterStore, EtcdStore, Snapshot, TxnOutcome, WatchEvent, Write};
use routenet_core::desired::FactDelta;
use routenet_core::model::keys::StoreKey;
use routenet_core::model::{Fact, Object};

use super::fixture::{Host, LIMIT, Place, Plan, key, next, node, pool, until};
use crate::etcd_server::{self, EtcdServer, answering, config};

fn put(key: &str, value: &str) -> Vec<Write> {
    vec![Write::Put { key: key.into(), value: value.into() }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_slept_through_a_compaction_reads_all_again_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = EtcdServer::start(directory.path());
    let store = Arc::new(EtcdStore::new(config(&[server.endpoint()])));
    answering(&store).await;
    let pools = |name: &str| vec![super::fixture::put(&fact(name))];
    store.transact(vec![], pools("before")).await.unwrap();
    let snapshot = Snapshot::open(&directory.path().join("snapshot.db")).unwrap();
    let mut sync = ClusterSync::spawn(store, snapshot, node("h1")).await;
    assert_eq!(names(&sync.initial), ["before"]);

    server.kill();
    until("the outage is noticed", async || matches!(sync.status.borrow().state, SyncState::Away(..))).await;
    // Others reach it meanwhile, change much, and it forgets how that came about.
    let port = std::mem::replace(&mut server.port, etcd_server::free_port());
    server.launch();
    let theirs = EtcdStore::new(config(&[server.endpoint()]));
    answering(&theirs).await;
    theirs.transact(vec![], pools("meanwhile")).await.unwrap();
    theirs.transact(vec![], vec![Write::Delete { key: StoreKey::of(&fact("before")).path() }]).await.unwrap();
    let TxnOutcome::Committed(last) = theirs.transact(vec![], put("/counter", "1")).await.unwrap() else { panic!() };
    let mut direct = etcd_client::Client::connect([server.endpoint()], None).await.unwrap();
    direct.compact(last as i64, None).await.unwrap();
    drop((direct, theirs));
    server.kill();
    server.port = port;
    server.launch();

    let mut told = Vec::new();
    while told.is_empty() {
        let batch = tokio::time::timeout(LIMIT, sync.batches.recv()).await.expect("a batch in time").unwrap();
        assert!(batch.resynced, "own blocks and published facts are compared again");
        told = names(&batch);
    }
    assert_eq!(told, ["-before", "meanwhile"]);
    assert_eq!(sync.status.borrow().state, SyncState::InSync(last));
    let store = EtcdStore::new(config(&[server.endpoint()]));
    store.transact(vec![], pools("after")).await.unwrap();
    let batch = tokio::time::timeout(LIMIT, sync.batches.recv()).await.expect("a batch in time").unwrap();
    assert_eq!((names(&batch), batch.resynced), (vec!["after".to_string()], false), "by the watch, as before");
}

fn fact(name: &str) -> Fact {
    Fact::Object(Object::IPPool(pool(name, "10.0.0.0/24", 26)))
}

/// The pools of a batch, `-` before those that are gone.
fn names(batch: &Batch) -> Vec<String> {
    let pool = |change: &ClusterChange| match change {
        ClusterChange::Fact(FactDelta::Pool(name, Some(_))) => name.to_string(),
        ClusterChange::Fact(FactDelta::Pool(name, None)) => format!("-{name}"),
        other => panic!("{other:?}"),
    };
    batch.changes.iter().map(pool).collect()
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
