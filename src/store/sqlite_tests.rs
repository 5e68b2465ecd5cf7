use super::*;

const ONE: FileKind = FileKind {
    what: "thing",
    setting: "paths.thing",
    application_id: 77,
    migrations: &["CREATE TABLE a (x INTEGER)"],
    synchronous: "FULL",
    damaged_mend: "put back a copy",
};
const TWO: FileKind =
    FileKind { migrations: &[ONE.migrations[0], "ALTER TABLE a ADD COLUMN y TEXT DEFAULT 'new'"], ..ONE };

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("thing.db");
    (directory, path)
}

fn error(outcome: Result<Connection, StoreError>) -> String {
    outcome.expect_err("a refusal").to_string()
}

#[test]
fn a_new_file_is_in_wal_mode_and_carries_its_version() {
    let (_directory, path) = scratch();
    let conn = open(&path, &ONE, true).unwrap();
    let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    assert_eq!(pragma(&conn, "user_version").unwrap(), 1);
    assert_eq!(pragma(&conn, "synchronous").unwrap(), 2, "FULL");
    drop(conn);
    open(&path, &ONE, false).expect("it opens again");
}

#[test]
fn an_older_file_is_migrated_and_keeps_its_rows() {
    let (_directory, path) = scratch();
    open(&path, &ONE, true).unwrap().execute("INSERT INTO a VALUES (5)", []).unwrap();
    let conn = open(&path, &TWO, false).unwrap();
    let row: (i64, String) = conn.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(row, (5, "new".into()));
}

#[test]
fn a_newer_file_is_refused_and_left_as_it_is() {
    let (_directory, path) = scratch();
    drop(open(&path, &TWO, true).unwrap());
    let before = std::fs::read(&path).unwrap();
    let text = error(open(&path, &ONE, true));
    assert!(text.contains("thing.db has schema version 2, and this routenet knows versions up to 1"), "{text}");
    assert!(text.contains("run the newer routenet"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_strangers_file_and_garbage_are_refused_and_left_as_they_are() {
    let (_directory, path) = scratch();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let text = error(open(&path, &ONE, true));
    assert!(text.contains("is an SQLite file of something else"), "{text}");

    std::fs::write(&path, "certainly no database, but long enough to look at".repeat(100)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let text = error(open(&path, &ONE, true));
    assert!(text.contains("thing.db is no SQLite database (put back a copy)"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_missing_is_named_with_its_mend() {
    let (directory, path) = scratch();
    let nowhere = directory.path().join("no/thing.db");
    let text = error(open(&nowhere, &ONE, true));
    assert!(text.contains("/no does not exist (create ") && text.contains("`paths.thing`"), "{text}");

    assert!(matches!(open(&path, &ONE, false), Err(StoreError::Away(why)) if why.contains("is gone")));
    assert!(!path.exists(), "a lost file is not made anew");

    std::fs::create_dir(&path).unwrap();
    let text = error(open(&path, &ONE, true));
    assert!(text.contains("cannot be opened for writing"), "{text}");
}

#[test]
fn many_may_open_a_new_file_at_once() {
    let (_directory, path) = scratch();
    let path = &path;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(move || open(path, &TWO, true).map(drop))).collect();
        for thread in threads {
            thread.join().unwrap().expect("all open it");
        }
    });
}
