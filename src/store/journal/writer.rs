//! The journal's writer thread: whatever waits shares one commit.

use std::path::PathBuf;
use std::sync::mpsc;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::schema::{self, KIND};
use super::{JournalState, JournalWrite};
use crate::store::StoreError;
use crate::store::sqlite::{self, Failure};

/// At most so many units share a commit.
const BATCH: usize = 256;

pub(super) enum Command {
    Write { writes: Vec<JournalWrite>, done: oneshot::Sender<Result<(), StoreError>> },
    Load(mpsc::Sender<Result<JournalState, StoreError>>),
}

pub(super) struct Writer {
    path: PathBuf,
    conn: Connection,
}

type Unit = (Vec<JournalWrite>, oneshot::Sender<Result<(), StoreError>>);

impl Writer {
    pub(super) fn new(path: PathBuf, conn: Connection) -> Writer {
        Writer { path, conn }
    }

    pub(super) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            let mut units = Vec::new();
            let mut next = Some(first);
            while let Some(command) = next.take() {
                match command {
                    Command::Write { writes, done } => units.push((writes, done)),
                    Command::Load(answer) => {
                        self.commit(std::mem::take(&mut units));
                        let state = schema::load(&mut self.conn);
                        // Whoever asked may have given up.
                        let _ = answer.send(state.map_err(|failure| sqlite::explain(&self.path, &KIND, failure)));
                    }
                }
                if units.len() < BATCH {
                    next = commands.try_recv().ok();
                }
            }
            self.commit(units);
        }
    }

    fn commit(&mut self, units: Vec<Unit>) {
        if units.is_empty() {
            return;
        }
        if units.len() > 1 && self.write(units.iter().map(|(writes, _)| writes.as_slice())).is_ok() {
            for (_, done) in units {
                let _ = done.send(Ok(()));
            }
            return;
        }
        // One alone, or one of them is wrong: each by itself, so that it fails nobody else.
        for (writes, done) in units {
            let outcome = self.write(std::iter::once(writes.as_slice()));
            // The caller may have gone; the write stands all the same.
            let _ = done.send(outcome.map_err(|failure| sqlite::explain(&self.path, &KIND, failure)));
        }
    }

    fn write<'a>(&mut self, units: impl Iterator<Item = &'a [JournalWrite]>) -> Result<(), Failure> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for write in units.flatten() {
            schema::apply(&transaction, write)?;
        }
        transaction.commit()?;
        Ok(())
    }
}
