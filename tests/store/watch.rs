//! Watches: across processes, over compaction, by slow readers.

use routenet::store::{ClusterStore, Revision, TxnOutcome, WatchEvent, Write};

use super::child::{self, Job};
use super::fixture::{Kind, Place, next};

/// Changes that a watch has to make up for: on a file more than come in one event.
const BEHIND: u64 = match super::KIND {
    Kind::Embedded => 2500,
    Kind::Etcd => 300,
};

async fn put(store: &dyn ClusterStore, key: &str, value: &str) -> Revision {
    let writes = vec![Write::Put { key: key.into(), value: value.into() }];
    match store.transact(vec![], writes).await.unwrap() {
        TxnOutcome::Committed(revision) => revision,
        TxnOutcome::Conflict(keys) => panic!("no checks, no conflict: {keys:?}"),
    }
}

#[tokio::test]
async fn a_change_of_another_process_is_seen() {
    let place = Place::new();
    let store = place.store();
    let (_, revision) = store.range("/").await.unwrap();
    let mut events = store.watch(revision).await.unwrap();
    let mut writer = child::spawn(&Job::Write { store: place.spec(), key: "/from/afar".into() });
    let WatchEvent::Changes { revision, changes } = next(&mut events).await else { panic!("changes") };
    let expected = vec![("/from/afar".into(), Some(b"1".to_vec()))];
    assert_eq!((revision, changes), (1 + place.first_revision(), expected));
    assert!(writer.0.wait().unwrap().success());
}

#[tokio::test]
async fn a_watch_begins_in_the_past_and_leaves_nothing_out() {
    let place = Place::new();
    let (here, there) = (place.store(), place.store());
    let mut last = place.first_revision();
    for round in 0..BEHIND {
        let revision = put(&*here, "/counter", &round.to_string()).await;
        assert!(revision > last, "revisions grow");
        last = revision;
    }
    let mut events = there.watch(place.first_revision()).await.unwrap();
    for round in BEHIND..BEHIND + 100 {
        put(&*here, "/counter", &round.to_string()).await;
    }
    let mut seen = Vec::new();
    while (seen.len() as u64) < BEHIND + 100 {
        let WatchEvent::Changes { changes, .. } = next(&mut events).await else { panic!("changes") };
        seen.extend(changes.into_iter().map(|(_, value)| String::from_utf8(value.unwrap()).unwrap()));
    }
    assert!(seen.iter().enumerate().all(|(round, value)| *value == round.to_string()), "each, once, in order");
}

#[tokio::test]
async fn whoever_is_too_far_behind_reads_all_again_and_goes_on() {
    let place = Place::new();
    let store = place.forgetful_store();
    let mut last = 0;
    for round in 0..300 {
        last = put(&*store, "/counter", &round.to_string()).await;
    }
    place.compact(last - 50).await;
    let mut late = store.watch(3).await.unwrap();
    assert_eq!(next(&mut late).await, WatchEvent::Resync);
    let mut near = store.watch(last - 1).await.unwrap();
    let WatchEvent::Changes { revision, .. } = next(&mut near).await else { panic!("history reaches so far") };
    assert_eq!(revision, last);

    let (entries, read) = store.range("/").await.unwrap();
    assert_eq!((entries[0].value.as_slice(), read), (b"299".as_slice(), last));
    let mut again = store.watch(read).await.unwrap();
    let newest = put(&*store, "/counter", "new").await;
    let WatchEvent::Changes { revision, changes } = next(&mut again).await else { panic!("it goes on from there") };
    assert_eq!((revision, changes), (newest, vec![("/counter".into(), Some(b"new".to_vec()))]));
}

#[tokio::test]
async fn a_slow_reader_loses_nothing_and_holds_nobody_up() {
    let place = Place::new();
    let store = place.store();
    let first = place.first_revision();
    let mut slow = store.watch(first).await.unwrap();
    let mut quick = store.watch(first).await.unwrap();
    // Each is told on its own, so that more events wait than the slow one has room for.
    for round in 1..=200u64 {
        let written = put(&*store, "/counter", &round.to_string()).await;
        assert_eq!(written, first + round);
        let mut reached = 0;
        while reached < written {
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
