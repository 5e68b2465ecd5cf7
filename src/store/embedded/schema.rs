//! The embedded store's tables and the statements on them. One connection, no threads: those are `worker`'s.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::store::sqlite::FileKind;
use crate::store::{Check, Entry, Revision, TxnOutcome, Write};

/// `meta` holds the revision of the last transaction, and up to where history was forgotten. `change` is that
/// history, for watchers; a NULL value is a deletion.
pub(super) const KIND: FileKind = FileKind {
    what: "cluster store",
    setting: "store.path",
    application_id: 0x726e_6373,
    migrations: &["
        CREATE TABLE meta (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            revision INTEGER NOT NULL,
            compacted INTEGER NOT NULL
        );
        INSERT INTO meta (id, revision, compacted) VALUES (1, 0, 0);
        CREATE TABLE kv (
            key TEXT PRIMARY KEY NOT NULL,
            value BLOB NOT NULL,
            revision INTEGER NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE change (
            revision INTEGER NOT NULL,
            ordinal INTEGER NOT NULL,
            key TEXT NOT NULL,
            value BLOB,
            at INTEGER NOT NULL,
            PRIMARY KEY (revision, ordinal)
        ) WITHOUT ROWID;
    "],
    synchronous: "FULL",
    damaged_mend: "move it away, with its -wal and -shm, and put back a copy; agents go on with what they know \
                   until then",
};

/// How long a watcher may fall behind before it must read all again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// So many revisions are always kept.
    pub revisions: u64,
    /// What is younger than this is always kept.
    pub age: std::time::Duration,
}

impl Default for History {
    fn default() -> Self {
        History { revisions: 10_000, age: std::time::Duration::from_secs(300) }
    }
}

/// History is looked at for what may be forgotten once in so many revisions.
const COMPACT_EVERY: u64 = 64;

pub(super) fn get(conn: &mut Connection, key: &str) -> rusqlite::Result<Option<Entry>> {
    conn.prepare_cached("SELECT value, revision FROM kv WHERE key = ?1")?
        .query_row([key], |row| Ok(Entry { key: key.to_string(), value: row.get(0)?, revision: unsigned(row.get(1)?) }))
        .optional()
}

pub(super) fn range(conn: &mut Connection, prefix: &str) -> rusqlite::Result<(Vec<Entry>, Revision)> {
    let transaction = conn.transaction()?;
    let (revision, _) = meta(&transaction)?;
    let entries = {
        // No UTF-8 text is greater than the prefix followed by the last code point, except that text itself.
        let mut statement = transaction
            .prepare_cached("SELECT key, value, revision FROM kv WHERE key >= ?1 AND key <= ?2 ORDER BY key")?;
        let rows = statement.query_map([prefix, &format!("{prefix}\u{10FFFF}")], |row| {
            Ok(Entry { key: row.get(0)?, value: row.get(1)?, revision: unsigned(row.get(2)?) })
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()?
    };
    Ok((entries, revision))
}

/// The revision of the last transaction, and the last one whose changes were forgotten.
pub(super) fn meta(conn: &Connection) -> rusqlite::Result<(Revision, Revision)> {
    conn.prepare_cached("SELECT revision, compacted FROM meta WHERE id = 1")?
        .query_row([], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))
}

pub(super) fn transact(
    conn: &mut Connection,
    checks: &[Check],
    writes: &[Write],
    history: &History,
    now_millis: u64,
) -> rusqlite::Result<TxnOutcome> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut failed = Vec::new();
    for check in checks {
        let have: Option<i64> = transaction
            .prepare_cached("SELECT revision FROM kv WHERE key = ?1")?
            .query_row([&check.key], |row| row.get(0))
            .optional()?;
        if have.map_or(0, unsigned) != check.revision {
            failed.push(check.key.clone());
        }
    }
    if !failed.is_empty() {
        return Ok(TxnOutcome::Conflict(failed));
    }
    let (current, _) = meta(&transaction)?;
    let next = current + 1;
    if !write_all(&transaction, writes, next, now_millis)? {
        return Ok(TxnOutcome::Committed(current));
    }
    transaction.prepare_cached("UPDATE meta SET revision = ?1 WHERE id = 1")?.execute([signed(next)])?;
    if next.is_multiple_of(COMPACT_EVERY) {
        compact(&transaction, next, history, now_millis)?;
    }
    transaction.commit()?;
    Ok(TxnOutcome::Committed(next))
}

/// Whether anything came of it: deleting what is not there is no change.
fn write_all(conn: &Connection, writes: &[Write], revision: Revision, now_millis: u64) -> rusqlite::Result<bool> {
    let mut ordinal = 0;
    for write in writes {
        let (key, value) = match write {
            Write::Put { key, value } => {
                conn.prepare_cached(
                    "INSERT INTO kv (key, value, revision) VALUES (?1, ?2, ?3)
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
                )?
                .execute(params![key, value, signed(revision)])?;
                (key, Some(value))
            }
            Write::Delete { key } => {
                if conn.prepare_cached("DELETE FROM kv WHERE key = ?1")?.execute([key])? == 0 {
                    continue;
                }
                (key, None)
            }
        };
        conn.prepare_cached("INSERT INTO change (revision, ordinal, key, value, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![signed(revision), ordinal, key, value, signed(now_millis)])?;
        ordinal += 1;
    }
    Ok(ordinal > 0)
}

fn compact(conn: &Connection, revision: Revision, history: &History, now_millis: u64) -> rusqlite::Result<()> {
    let by_count = revision.saturating_sub(history.revisions);
    let by_age = now_millis.saturating_sub(history.age.as_millis() as u64);
    let upto: Option<i64> = conn
        .prepare_cached("SELECT revision FROM change WHERE revision <= ?1 AND at < ?2 ORDER BY revision DESC LIMIT 1")?
        .query_row([signed(by_count), signed(by_age)], |row| row.get(0))
        .optional()?;
    if let Some(upto) = upto {
        conn.prepare_cached("DELETE FROM change WHERE revision <= ?1")?.execute([upto])?;
        conn.prepare_cached("UPDATE meta SET compacted = ?1 WHERE id = 1")?.execute([upto])?;
    }
    Ok(())
}

/// What a watcher at `from` is to be told.
#[derive(Debug, PartialEq)]
pub(super) enum Since {
    /// Whole transactions, in order; up to which revision.
    Changes(Revision, Vec<(String, Option<Vec<u8>>)>),
    /// History does not reach back (or forth) to it; where the store stands now.
    Lost(Revision),
}

/// The changes after `from`, at least one transaction and then up to `limit` changes; `None`: there are none.
pub(super) fn since(conn: &mut Connection, from: Revision, limit: usize) -> rusqlite::Result<Option<Since>> {
    let transaction = conn.transaction()?;
    let (revision, compacted) = meta(&transaction)?;
    if from < compacted || from > revision {
        return Ok(Some(Since::Lost(revision)));
    }
    if from == revision {
        return Ok(None);
    }
    let mut statement = transaction
        .prepare_cached("SELECT revision, key, value FROM change WHERE revision > ?1 ORDER BY revision, ordinal")?;
    let mut rows = statement.query([signed(from)])?;
    let mut changes = Vec::new();
    let mut last = from;
    while let Some(row) = rows.next()? {
        let at = unsigned(row.get(0)?);
        if at != last && changes.len() >= limit {
            return Ok(Some(Since::Changes(last, changes)));
        }
        last = at;
        changes.push((row.get(1)?, row.get(2)?));
    }
    Ok(Some(Since::Changes(revision, changes)))
}

/// SQLite's integers are signed; ours count up from 0 and never come near the sign.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
