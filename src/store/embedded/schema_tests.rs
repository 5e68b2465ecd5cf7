use std::time::Duration;

use super::*;
use crate::store::sqlite;

const HISTORY: History = History { revisions: 10, age: Duration::from_secs(60) };

fn database() -> (tempfile::TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let conn = sqlite::open(&directory.path().join("cluster.db"), &KIND, true).unwrap();
    (directory, conn)
}

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.into(), value: value.into() }
}

fn delete(key: &str) -> Write {
    Write::Delete { key: key.into() }
}

fn write(conn: &mut Connection, writes: &[Write]) -> TxnOutcome {
    transact(conn, &[], writes, &HISTORY, 0).unwrap()
}

fn check(key: &str, revision: Revision) -> Check {
    Check { key: key.into(), revision }
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let (_directory, mut conn) = database();
    assert_eq!(write(&mut conn, &[put("/a", "1"), put("/b", "1")]), TxnOutcome::Committed(1));
    let checks = [check("/a", 1), check("/b", 7), check("/c", 1)];
    let outcome = transact(&mut conn, &checks, &[put("/a", "2")], &HISTORY, 0).unwrap();
    assert_eq!(outcome, TxnOutcome::Conflict(vec!["/b".into(), "/c".into()]));
    assert_eq!(get(&mut conn, "/a").unwrap().unwrap().value, b"1");
    let checks = [check("/a", 1), check("/c", 0)];
    assert_eq!(
        transact(&mut conn, &checks, &[put("/a", "2"), delete("/b")], &HISTORY, 0).unwrap(),
        TxnOutcome::Committed(2)
    );
    assert_eq!(get(&mut conn, "/a").unwrap().unwrap().revision, 2);
    assert_eq!(get(&mut conn, "/b").unwrap(), None);
}

#[test]
fn what_changes_nothing_makes_no_revision() {
    let (_directory, mut conn) = database();
    assert_eq!(write(&mut conn, &[delete("/a")]), TxnOutcome::Committed(0));
    assert_eq!(write(&mut conn, &[]), TxnOutcome::Committed(0));
    assert_eq!(since(&mut conn, 0, 10).unwrap(), None);
}

#[test]
fn a_range_is_a_prefix_in_key_order() {
    let (_directory, mut conn) = database();
    write(&mut conn, &[put("/b/2", "x"), put("/b/1", "x"), put("/a", "x"), put("/b", "x"), put("/c", "x")]);
    let (entries, revision) = range(&mut conn, "/b/").unwrap();
    assert_eq!(entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["/b/1", "/b/2"]);
    assert_eq!(revision, 1);
    assert_eq!(range(&mut conn, "/").unwrap().0.len(), 5);
    assert_eq!(range(&mut conn, "/x").unwrap().0.len(), 0);
}

#[test]
fn history_is_told_in_whole_transactions() {
    let (_directory, mut conn) = database();
    write(&mut conn, &[put("/a", "1"), put("/b", "1")]);
    write(&mut conn, &[put("/a", "2")]);
    write(&mut conn, &[delete("/b")]);
    let changes = |list: &[(&str, Option<&str>)]| {
        list.iter().map(|(key, value)| (key.to_string(), value.map(|it| it.as_bytes().to_vec()))).collect::<Vec<_>>()
    };
    let all = changes(&[("/a", Some("1")), ("/b", Some("1")), ("/a", Some("2")), ("/b", None)]);
    assert_eq!(since(&mut conn, 0, 100).unwrap(), Some(Since::Changes(3, all)));
    let first = changes(&[("/a", Some("1")), ("/b", Some("1"))]);
    assert_eq!(since(&mut conn, 0, 1).unwrap(), Some(Since::Changes(1, first)), "never half a transaction");
    let last = changes(&[("/b", None)]);
    assert_eq!(since(&mut conn, 2, 1).unwrap(), Some(Since::Changes(3, last)));
    assert_eq!(since(&mut conn, 3, 1).unwrap(), None);
    assert_eq!(since(&mut conn, 4, 1).unwrap(), Some(Since::Lost(3)), "a future that this file never had");
}

#[test]
fn history_is_bounded_by_number_and_age() {
    let (_directory, mut conn) = database();
    let minute = 60_000;
    for round in 0..COMPACT_EVERY {
        transact(&mut conn, &[], &[put("/a", &round.to_string())], &HISTORY, 1).unwrap();
    }
    assert_eq!(meta(&conn).unwrap().1, 0, "too young to be forgotten");
    for round in 0..COMPACT_EVERY {
        transact(&mut conn, &[], &[put("/a", &round.to_string())], &HISTORY, 3 * minute).unwrap();
    }
    let (revision, compacted) = meta(&conn).unwrap();
    assert_eq!((revision, compacted), (2 * COMPACT_EVERY, COMPACT_EVERY), "the old half, and not the young one");
    assert_eq!(since(&mut conn, compacted - 1, 10).unwrap(), Some(Since::Lost(revision)));
    assert!(matches!(since(&mut conn, compacted, 1000).unwrap(), Some(Since::Changes(at, _)) if at == revision));
    assert_eq!(get(&mut conn, "/a").unwrap().unwrap().revision, revision, "the present is not history");
}
