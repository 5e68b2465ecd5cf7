//! A connection that notices when its file was deleted or replaced, and comes back when the file does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, ErrorCode};

use super::schema::KIND;
use crate::store::StoreError;
use crate::store::sqlite::{self, FileId};

/// The file as one thread has it open.
pub(super) struct StoreFile {
    path: PathBuf,
    opened: Option<Opened>,
    /// Whether this node has seen the file: from then on a missing one is a loss, not a beginning. An agent that
    /// made an empty store in its place would take every policy away.
    known: Arc<AtomicBool>,
    /// Counts the openings: a watcher that sees it grow may have missed something.
    openings: u64,
}

struct Opened {
    conn: Connection,
    id: FileId,
}

impl StoreFile {
    pub(super) fn new(path: &Path, known: Arc<AtomicBool>) -> StoreFile {
        StoreFile { path: path.to_path_buf(), opened: None, known, openings: 0 }
    }

    pub(super) fn openings(&self) -> u64 {
        self.openings
    }

    /// Runs `work` on the file that the path names now.
    pub(super) fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        // A write into a deleted file would be committed, and lost: so the file is looked at each time.
        if self.opened.as_ref().is_some_and(|opened| FileId::of(&self.path) != Some(opened.id)) {
            self.opened = None;
        }
        if self.opened.is_none() {
            self.opened = Some(self.open()?);
            self.openings += 1;
        }
        let opened = self.opened.as_mut().expect("opened a line ago");
        work(&mut opened.conn).map_err(|error| {
            // After a mere lock the connection is as good as before; after anything else the next call begins anew.
            if !matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) {
                self.opened = None;
            }
            sqlite::explain(&self.path, &KIND, error.into())
        })
    }

    fn open(&self) -> Result<Opened, StoreError> {
        let conn = sqlite::open(&self.path, &KIND, !self.known.load(Ordering::Relaxed))?;
        let id = FileId::of(&self.path).ok_or_else(|| {
            StoreError::Away(format!("cluster store {} was deleted while it was being opened", self.path.display()))
        })?;
        self.known.store(true, Ordering::Relaxed);
        Ok(Opened { conn, id })
    }
}
