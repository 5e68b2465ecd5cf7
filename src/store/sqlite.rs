//! What every SQLite file of ours has in common: how it is opened, which version it has, and what its errors mean to
//! a person. Called by the embedded store, the journal and the snapshot.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::StoreError;

/// How long a statement waits for another process's lock before it counts as out of reach.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A kind of file: what it is called, how it is told from others, and how it comes to its newest schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileKind {
    /// As in "`FILE` is no {what}".
    pub what: &'static str,
    /// The setting that names the file, for mends.
    pub setting: &'static str,
    /// SQLite's `application_id`: tells our files from each other and from a stranger's.
    pub application_id: i32,
    /// Step `n` brings version `n` to `n + 1`; the newest version is their number.
    pub migrations: &'static [&'static str],
    /// What a commit promises: `FULL` survives a power cut, `NORMAL` may lose the last commits then.
    pub synchronous: &'static str,
    /// What a person does about a damaged file.
    pub damaged_mend: &'static str,
}

/// Which file it is, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that `path` names now, if any.
    pub(super) fn of(path: &Path) -> Option<FileId> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|meta| FileId { device: meta.dev(), inode: meta.ino() })
    }
}

/// What went wrong on the way: SQLite's word, or ours.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

/// Opens the file in WAL mode at its newest schema, made if `create` and absent.
pub(super) fn open(path: &Path, kind: &FileKind, create: bool) -> Result<Connection, StoreError> {
    check_directory(path, kind)?;
    if !create && !path.exists() {
        return Err(StoreError::Away(format!(
            "{} {} is gone: it was deleted or moved (put it back; an empty file in its place begins anew)",
            kind.what,
            path.display()
        )));
    }
    prepare(path, kind, create).map_err(|failure| explain(path, kind, failure))
}

fn check_directory(path: &Path, kind: &FileKind) -> Result<(), StoreError> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    if directory.is_dir() {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: format!("{} {}: the directory {} does not exist", kind.what, path.display(), directory.display()),
        mend: format!("create {}, or correct `{}` in the node's configuration", directory.display(), kind.setting),
    })
}

fn prepare(path: &Path, kind: &FileKind, create: bool) -> Result<Connection, Failure> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // Looked at before anything is written, so that a stranger's or a newer file stays as it is.
    check_identity(&conn, path, kind)?;
    wal_mode(&conn)?;
    conn.pragma_update(None, "synchronous", kind.synchronous)?;
    conn.pragma_update(None, "journal_size_limit", 16 << 20)?;
    migrate(&mut conn, path, kind)?;
    Ok(conn)
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i32> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

/// Application id, schema version and number of tables, all of one moment: another process may be making the file.
fn identity(conn: &Connection) -> rusqlite::Result<(i32, i32, i64)> {
    conn.execute_batch("SAVEPOINT identity")?;
    let read = || -> rusqlite::Result<(i32, i32, i64)> {
        let tables = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((pragma(conn, "application_id")?, pragma(conn, "user_version")?, tables))
    };
    let found = read();
    let released = conn.execute_batch("RELEASE identity");
    let found = found?;
    released.map(|()| found)
}

fn check_identity(conn: &Connection, path: &Path, kind: &FileKind) -> Result<i32, Failure> {
    let (application, version, tables) = identity(conn)?;
    let blank = application == 0 && version == 0 && tables == 0;
    if application != kind.application_id && !blank {
        return Err(Failure::Store(StoreError::Refused {
            what: format!("{} is an SQLite file of something else, not a {}", path.display(), kind.what),
            mend: format!("correct `{}` in the node's configuration", kind.setting),
        }));
    }
    let newest = kind.migrations.len() as i32;
    if version > newest {
        return Err(Failure::Store(StoreError::Refused {
            what: format!(
                "{} {} has schema version {version}, and this routenet knows versions up to {newest}",
                kind.what,
                path.display()
            ),
            mend: "run the newer routenet that wrote it, or put back a copy from before the upgrade".into(),
        }));
    }
    Ok(version)
}

/// SQLite calls no busy handler while it changes the journal mode, so the waiting is done here.
fn wal_mode(conn: &Connection) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        match conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Err(error) if is_busy(&error) && start.elapsed() < BUSY_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

fn migrate(conn: &mut Connection, path: &Path, kind: &FileKind) -> Result<(), Failure> {
    let newest = kind.migrations.len() as i32;
    if check_identity(conn, path, kind)? == newest {
        return Ok(());
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have come first while this one waited for the lock.
    let version = check_identity(&transaction, path, kind)?;
    for step in &kind.migrations[version as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", kind.application_id)?;
    transaction.pragma_update(None, "user_version", newest)?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// What a failure means: whether to try again, and who mends it.
pub(super) fn explain(path: &Path, kind: &FileKind, failure: Failure) -> StoreError {
    let error = match failure {
        Failure::Store(error) => return error,
        Failure::Sqlite(error) => error,
    };
    let file = format!("{} {}", kind.what, path.display());
    let refused = |what: String, mend: &str| StoreError::Refused { what, mend: mend.to_string() };
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => refused(format!("{file} is no SQLite database"), kind.damaged_mend),
        Some(ErrorCode::DatabaseCorrupt) => refused(format!("{file} is damaged: {error}"), kind.damaged_mend),
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => refused(
            format!("{file} cannot be opened for writing: {error}"),
            "it must be a file that the agent's user may read and write, in a directory where it may create files",
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Away(format!("{file} has been locked by another process for {} s", BUSY_TIMEOUT.as_secs()))
        }
        Some(ErrorCode::DiskFull) => StoreError::Away(format!("{file}: the disk is full")),
        _ => StoreError::Away(format!("{file}: {error}")),
    }
}

#[cfg(test)]
#[path = "sqlite_tests.rs"]
mod tests;
