//! The cluster store's last synced state, kept beside the journal so that a node restarts with its policies while the
//! store is away. Called by the agent's sync.
//!
//! It is a cache: a damaged, foreign or newer one is begun anew, and commits need not survive a power cut. Each flush
//! is one transaction, so what is read back is always one revision of the cluster, never a mixture.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::sqlite::{self, FileKind};
use super::{Entry, Revision, StoreError};

const KIND: FileKind = FileKind {
    what: "snapshot",
    setting: "paths.state",
    application_id: 0x726e_7373,
    migrations: &["
        CREATE TABLE meta (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            revision INTEGER NOT NULL
        );
        CREATE TABLE entry (
            key TEXT PRIMARY KEY NOT NULL,
            value BLOB NOT NULL
        ) WITHOUT ROWID;
    "],
    synchronous: "NORMAL",
    damaged_mend: "delete it: it is made anew from the cluster store",
};

/// What changed since the last flush.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotChange {
    /// Forget what was there before.
    pub whole: bool,
    pub revision: Revision,
    /// New values by key; `None`: gone.
    pub entries: Vec<(String, Option<Vec<u8>>)>,
}

/// Everything that was saved, and the revision at which it was so.
type Saved = (Vec<Entry>, Revision);

enum Command {
    Save(SnapshotChange, oneshot::Sender<Result<(), StoreError>>),
    Load(oneshot::Sender<Result<Option<Saved>, StoreError>>),
}

/// The open snapshot, with a thread of its own. Whoever holds the journal's lock is its only writer.
#[derive(Clone, Debug)]
pub struct Snapshot {
    path: PathBuf,
    commands: mpsc::Sender<Command>,
}

impl Snapshot {
    /// Opens it, made if absent and begun anew if it cannot be read. Blocks on the disk: for the agent's start.
    pub fn open(path: &Path) -> Result<Snapshot, StoreError> {
        let conn = match sqlite::open(path, &KIND, true) {
            Ok(conn) => conn,
            Err(StoreError::Refused { what, .. }) if path.is_file() => {
                tracing::warn!(reason = %what, "the snapshot of the cluster is begun anew");
                remove(path)?;
                sqlite::open(path, &KIND, true)?
            }
            Err(error) => return Err(error),
        };
        let (commands, receiver) = mpsc::channel();
        let owned = path.to_path_buf();
        std::thread::Builder::new()
            .name("snapshot".into())
            .spawn(move || run(&owned, conn, &receiver))
            .expect("a thread at start");
        Ok(Snapshot { path: path.to_path_buf(), commands })
    }

    /// Done when it is written.
    pub async fn save(&self, change: SnapshotChange) -> Result<(), StoreError> {
        let (done, saved) = oneshot::channel();
        self.commands.send(Command::Save(change, done)).map_err(|_| self.ended())?;
        saved.await.map_err(|_| self.ended())?
    }

    /// All entries and their revision; `None` where none was ever saved.
    pub async fn load(&self) -> Result<Option<(Vec<Entry>, Revision)>, StoreError> {
        let (answer, loaded) = oneshot::channel();
        self.commands.send(Command::Load(answer)).map_err(|_| self.ended())?;
        loaded.await.map_err(|_| self.ended())?
    }

    fn ended(&self) -> StoreError {
        StoreError::Away(format!("the thread of snapshot {} has ended", self.path.display()))
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Refused {
                    what: format!("snapshot {} cannot be removed: {error}", name.display()),
                    mend: KIND.damaged_mend.into(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn run(path: &Path, mut conn: Connection, commands: &mpsc::Receiver<Command>) {
    for command in commands {
        // Whoever asked may have gone.
        match command {
            Command::Save(change, done) => {
                let outcome = save(&mut conn, &change);
                let _ = done.send(outcome.map_err(|error| sqlite::explain(path, &KIND, error.into())));
            }
            Command::Load(answer) => {
                let outcome = load(&mut conn);
                let _ = answer.send(outcome.map_err(|error| sqlite::explain(path, &KIND, error.into())));
            }
        }
    }
}

fn save(conn: &mut Connection, change: &SnapshotChange) -> rusqlite::Result<()> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if change.whole {
        transaction.execute("DELETE FROM entry", [])?;
    }
    for (key, value) in &change.entries {
        match value {
            Some(value) => transaction
                .prepare_cached("INSERT OR REPLACE INTO entry (key, value) VALUES (?1, ?2)")?
                .execute(params![key, value])?,
            None => transaction.prepare_cached("DELETE FROM entry WHERE key = ?1")?.execute([key])?,
        };
    }
    let revision = i64::try_from(change.revision).unwrap_or(i64::MAX);
    transaction.execute("INSERT OR REPLACE INTO meta (id, revision) VALUES (1, ?1)", [revision])?;
    transaction.commit()
}

fn load(conn: &mut Connection) -> rusqlite::Result<Option<(Vec<Entry>, Revision)>> {
    let transaction = conn.transaction()?;
    let revision: Option<i64> =
        transaction.query_row("SELECT revision FROM meta WHERE id = 1", [], |row| row.get(0)).optional()?;
    let Some(revision) = revision.and_then(|revision| u64::try_from(revision).ok()) else { return Ok(None) };
    let mut statement = transaction.prepare("SELECT key, value FROM entry ORDER BY key")?;
    let entries = statement
        .query_map([], |row| Ok(Entry { key: row.get(0)?, value: row.get(1)?, revision }))?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some((entries, revision)))
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
