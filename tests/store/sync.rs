//! The store as facts: at the start, by changes, from the snapshot while it is away, and over its return.

use std::sync::Arc;

use routenet::agent::sync::{Batch, ClusterChange, ClusterSync, SyncState};
use routenet::store::{ClusterStore, Snapshot, Write};
use routenet_core::desired::FactDelta;
use routenet_core::model::keys::StoreKey;
use routenet_core::model::{Fact, NetworkSet, Object, ObjectKey, Policy};

use super::fixture::{Kind, LIMIT, Place, closed, endpoint, key, node, pool, put, until};

fn set(name: &str, net: &str) -> Fact {
    let nets = vec![net.parse().unwrap()];
    Fact::Object(Object::GlobalNetworkSet(NetworkSet {
        namespace: None,
        name: name.into(),
        labels: Default::default(),
        nets,
    }))
}

fn pool_object(name: &str, cidr: &str) -> Fact {
    Fact::Object(Object::IPPool(pool(name, cidr, 26)))
}

async fn write(store: &dyn ClusterStore, writes: Vec<Write>) {
    store.transact(vec![], writes).await.unwrap();
}

fn delete(fact: &Fact) -> Write {
    Write::Delete { key: StoreKey::of(fact).path() }
}

fn snapshot(place: &Place) -> Snapshot {
    Snapshot::open(&place.directory.path().join("snapshot.db")).unwrap()
}

async fn spawn(place: &Place, store: Arc<dyn ClusterStore>) -> ClusterSync {
    ClusterSync::spawn(store, snapshot(place), node("h1")).await
}

async fn next(sync: &mut ClusterSync) -> Batch {
    tokio::time::timeout(LIMIT, sync.batches.recv()).await.expect("a batch in time").expect("the sync goes on")
}

/// Names of what a batch changes, `-` before what it takes away.
fn words(batch: &Batch) -> Vec<String> {
    let word = |name: String, there: bool| if there { name } else { format!("-{name}") };
    let mut words: Vec<String> = batch
        .changes
        .iter()
        .map(|change| match change {
            ClusterChange::Fact(FactDelta::Pool(name, value)) => word(format!("pool {name}"), value.is_some()),
            ClusterChange::Fact(FactDelta::NetworkSet(key, value)) => {
                word(format!("set {}", key.name), value.is_some())
            }
            ClusterChange::Fact(FactDelta::Endpoint { node, key, endpoint }) => {
                word(format!("endpoint {node} {}", key.container_id), endpoint.is_some())
            }
            ClusterChange::Fact(FactDelta::Policy(key, value)) => word(
                match value {
                    Some(policy) if policy.selector.is_empty() => format!("{key} sealed"),
                    _ => key.to_string(),
                },
                value.is_some(),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    words.sort();
    words
}

async fn wait_saved(place: &Place, revision: i64) {
    let path = place.directory.path().join("snapshot.db");
    until("the snapshot is written", async || {
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.query_row("SELECT revision FROM meta", [], |row| row.get::<_, i64>(0)).is_ok_and(|at| at >= revision)
    })
    .await;
}

#[tokio::test]
async fn all_at_the_start_then_every_change_but_not_ones_own_endpoints() {
    let place = Place::new();
    let store = place.store();
    let own = Fact::Endpoint(endpoint(&node("h1"), &key("own"), &[]));
    let theirs = Fact::Endpoint(endpoint(&node("h2"), &key("theirs"), &[]));
    write(&*store, vec![put(&pool_object("p", "10.0.0.0/24")), put(&own), put(&theirs)]).await;
    let mut sync = spawn(&place, store.clone()).await;
    assert_eq!(words(&sync.initial), ["endpoint h2 theirs", "pool p"]);
    assert_eq!(sync.status.borrow().state, SyncState::InSync(1 + place.first_revision()));

    write(&*store, vec![delete(&theirs), delete(&own), put(&set("s", "192.0.2.0/24"))]).await;
    let batch = next(&mut sync).await;
    assert_eq!(words(&batch), ["-endpoint h2 theirs", "set s"]);
    assert!(!batch.resynced);
}

#[tokio::test]
async fn a_node_starts_from_its_snapshot_while_the_store_is_away() {
    let place = Place::new();
    let store = place.store();
    write(&*store, vec![put(&pool_object("p", "10.0.0.0/24")), put(&set("s", "192.0.2.0/24"))]).await;
    let mut sync = spawn(&place, store.clone()).await;
    write(&*store, vec![put(&set("t", "198.51.100.0/24"))]).await;
    next(&mut sync).await;
    let first = place.first_revision();
    wait_saved(&place, 2 + first as i64).await;
    drop((sync, store));

    if super::KIND == Kind::Embedded {
        closed(&place.store_path()).await;
    }
    place.take_away().await;
    let mut sync = spawn(&place, place.store()).await;
    assert_eq!(words(&sync.initial), ["pool p", "set s", "set t"]);
    let state = sync.status.borrow().state.clone();
    assert!(matches!(&state, SyncState::Stale(at, why) if *at == 2 + first && !why.is_empty()), "{state:?}");

    assert!(!place.store_path().exists(), "no empty store takes its place");
    place.change_while_away(vec![delete(&set("s", "192.0.2.0/24"))]).await;
    place.bring_back().await;
    let batch = next(&mut sync).await;
    assert_eq!((words(&batch), batch.resynced), (vec!["-set s".to_string()], true));
    assert_eq!(sync.status.borrow().state, SyncState::InSync(3 + first));
}

#[tokio::test]
async fn without_store_and_snapshot_it_says_so_and_waits() {
    let place = Place::new();
    match super::KIND {
        Kind::Embedded => std::fs::create_dir(place.store_path()).unwrap(),
        Kind::Etcd => place.take_away().await,
    }
    let mut sync = spawn(&place, place.store()).await;
    assert_eq!(sync.initial.changes, []);
    assert!(matches!(&sync.status.borrow().state, SyncState::Waiting(why) if !why.is_empty()));
    match super::KIND {
        Kind::Embedded => std::fs::remove_dir(place.store_path()).unwrap(),
        Kind::Etcd => place.bring_back().await,
    }
    let batch = next(&mut sync).await;
    assert!(batch.resynced && batch.changes.is_empty());
    assert_eq!(sync.status.borrow().state, SyncState::InSync(place.first_revision()));
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_named_and_the_last_good_one_stays() {
    let place = Place::new();
    let store = place.store();
    write(&*store, vec![put(&set("s", "192.0.2.0/24"))]).await;
    let mut sync = spawn(&place, store.clone()).await;
    let bad = "/objects/globalnetworkset/s".to_string();
    let nonsense = Write::Put { key: bad.clone(), value: b"{\"type\":\"Nonsense\"}".to_vec() };
    let strange = Write::Put { key: "/guards/objects".into(), value: b"1".to_vec() };
    write(&*store, vec![nonsense, strange, put(&set("t", "198.51.100.0/24"))]).await;
    assert_eq!(words(&next(&mut sync).await), ["set t"]);
    let malformed = sync.status.borrow().malformed.clone();
    assert_eq!(malformed.keys().collect::<Vec<_>>(), [&bad]);
    write(&*store, vec![put(&set("s", "203.0.113.0/24"))]).await;
    assert_eq!(words(&next(&mut sync).await), ["set s"]);
    assert!(sync.status.borrow().malformed.is_empty());
}

fn policy(selector: &str) -> Fact {
    let key = ObjectKey::global(routenet_core::model::Kind::GlobalNetworkPolicy, "p");
    let policy = Policy { selector: selector.into(), ..Policy::sealed(key) };
    Fact::Object(Object::GlobalNetworkPolicy(policy))
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_leaves_the_last_good_one_and_is_sealed_where_there_was_none() {
    let place = Place::new();
    let store = place.store();
    let path = StoreKey::of(&policy("")).path();
    let nonsense = || Write::Put { key: path.clone(), value: b"{\"type\":\"Nonsense\"}".to_vec() };
    write(&*store, vec![put(&policy("app == 'db'"))]).await;
    let mut sync = spawn(&place, store.clone()).await;
    for bad in [nonsense(), put(&policy("app = 'db'"))] {
        write(&*store, vec![bad, put(&set("s", "192.0.2.0/24"))]).await;
        assert!(!words(&next(&mut sync).await).iter().any(|word| word.contains("Policy")), "the last good one stays");
        assert_eq!(sync.status.borrow().malformed.keys().collect::<Vec<_>>(), [&path]);
        write(&*store, vec![delete(&set("s", "192.0.2.0/24"))]).await;
        next(&mut sync).await;
    }
    write(&*store, vec![Write::Delete { key: path.clone() }]).await;
    assert_eq!(words(&next(&mut sync).await), ["-GlobalNetworkPolicy p"]);

    write(&*store, vec![nonsense()]).await;
    assert_eq!(words(&next(&mut sync).await), ["GlobalNetworkPolicy p sealed"]);
    wait_saved(&place, 7).await;
    drop(sync);
    let mut sync = spawn(&place, store.clone()).await;
    assert_eq!(words(&sync.initial), ["GlobalNetworkPolicy p sealed"], "over a restart too");
    write(&*store, vec![put(&policy("app = 'db'"))]).await;
    assert_eq!(words(&next(&mut sync).await), ["GlobalNetworkPolicy p"], "as far as it can be read");
    assert!(sync.status.borrow().malformed[&path].contains("spec.selector"), "{:?}", sync.status.borrow());
    write(&*store, vec![put(&policy("app == 'db'"))]).await;
    assert_eq!(words(&next(&mut sync).await), ["GlobalNetworkPolicy p"]);
    assert!(sync.status.borrow().malformed.is_empty());
    write(&*store, vec![Write::Delete { key: path }]).await;
    assert_eq!(words(&next(&mut sync).await), ["-GlobalNetworkPolicy p"]);
}

#[tokio::test]
async fn the_store_going_away_and_coming_back_is_told() {
    let place = Place::new();
    let store = place.store();
    write(&*store, vec![put(&set("s", "192.0.2.0/24"))]).await;
    let mut sync = spawn(&place, store.clone()).await;
    place.take_away().await;
    let mut status = sync.status.clone();
    let away = status.wait_for(|status| matches!(status.state, SyncState::Away(..)));
    tokio::time::timeout(LIMIT, away).await.unwrap().unwrap();
    place.bring_back().await;
    let batch = next(&mut sync).await;
    assert!(batch.resynced && batch.changes.is_empty(), "nothing differs, and who cares is told: {batch:?}");
    assert_eq!(sync.status.borrow().state, SyncState::InSync(1 + place.first_revision()));
    write(&*store, vec![delete(&set("s", "192.0.2.0/24"))]).await;
    // That it is back may be said twice: once reached, and once read.
    let mut batch = next(&mut sync).await;
    while batch.changes.is_empty() {
        batch = next(&mut sync).await;
    }
    assert_eq!(words(&batch), ["-set s"]);
}
