//! Watches: across processes, over compaction, by slow readers.

use std::time::Duration;

use routenet::store::{ClusterStore, EmbeddedStore, History, TxnOutcome, WatchEvent, Write};

use super::child::{self, Job};
use super::fixture::{Place, next};

fn put(key: &str, value: &str) -> Vec<Write> {
    vec![Write::Put { key: key.into(), value: value.into() }]
}

#[tokio::test]
async fn a_change_of_another_process_is_seen() {
    let place = Place::new();
    let store = EmbeddedStore::new(&place.store_path());
    let revision = store.probe().await.unwrap();
    let mut events = store.watch(revision).await.unwrap();
    let mut writer = child::spawn(&Job::Write { store: place.spec(), key: "/from/afar".into() });
    let WatchEvent::Changes { revision, changes } = next(&mut events).await else { panic!("changes") };
    assert_eq!((revision, changes), (1, vec![("/from/afar".into(), Some(b"1".to_vec()))]));
    assert!(writer.0.wait().unwrap().success());
}

#[tokio::test]
async fn a_watch_begins_in_the_past_and_leaves_nothing_out() {
    let place = Place::new();
    let (here, there) = (place.store(), place.store());
    for round in 0..2500 {
        here.transact(vec![], put("/counter", &round.to_string())).await.unwrap();
    }
    let mut events = there.watch(0).await.unwrap();
    for round in 2500..2600 {
        here.transact(vec![], put("/counter", &round.to_string())).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 2600 {
        let WatchEvent::Changes { changes, .. } = next(&mut events).await else { panic!("changes") };
        seen.extend(changes.into_iter().map(|(_, value)| String::from_utf8(value.unwrap()).unwrap()));
    }
    assert!(seen.iter().enumerate().all(|(round, value)| *value == round.to_string()), "each, once, in order");
}

#[tokio::test]
async fn whoever_is_too_far_behind_reads_all_again_and_goes_on() {
    let place = Place::new();
    let history = History { revisions: 50, age: Duration::ZERO };
    let store = EmbeddedStore::with_history(&place.store_path(), history);
    for round in 0..300 {
        store.transact(vec![], put("/counter", &round.to_string())).await.unwrap();
    }
    let mut late = store.watch(3).await.unwrap();
    assert_eq!(next(&mut late).await, WatchEvent::Resync);
    let mut near = store.watch(299).await.unwrap();
    assert!(matches!(next(&mut near).await, WatchEvent::Changes { revision: 300, .. }), "history reaches so far");
    store.transact(vec![], put("/counter", "new")).await.unwrap();
    assert!(matches!(next(&mut late).await, WatchEvent::Changes { revision: 301, .. }), "it goes on from there");
}

#[tokio::test]
async fn a_slow_reader_loses_nothing_and_holds_nobody_up() {
    let place = Place::new();
    let store = place.store();
    let mut slow = store.watch(0).await.unwrap();
    let mut quick = store.watch(0).await.unwrap();
    // Each is told on its own, so that more events wait than the slow one has room for.
    for round in 1..=200u64 {
        let outcome = store.transact(vec![], put("/counter", &round.to_string())).await.unwrap();
        assert_eq!(outcome, TxnOutcome::Committed(round));
        let mut reached = 0;
        while reached < round {
            let WatchEvent::Changes { revision, .. } = next(&mut quick).await else { panic!("changes") };
            reached = revision;
        }
    }
    let mut count = 0;
    while count < 200 {
        let WatchEvent::Changes { changes, .. } = next(&mut slow).await else { panic!("changes") };
        count += changes.len();
    }
    assert_eq!(count, 200);
}
