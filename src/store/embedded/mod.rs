//! The embedded cluster store: one SQLite file that several agents share, each in its own process. Called by the agent.
//!
//! Three threads, each with its own connection, so that nothing waits on the async side: one reads, one writes, one
//! watches. The file is made at the first opening, unless the node has seen the cluster before; from then on a missing
//! or replaced file is noticed, the store is away until it is back, and watchers read all again.

mod file;
mod schema;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as jobs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{Check, ClusterStore, Entry, Revision, StoreError, TxnOutcome, WatchEvent, Write};
use file::StoreFile;
pub use schema::History;
use watch::{Command, Subscriber, Watcher};

type Job = Box<dyn FnOnce(&mut StoreFile) + Send>;

/// The store's handle. Its threads end when it is dropped.
pub struct EmbeddedStore {
    path: PathBuf,
    history: History,
    known: Arc<AtomicBool>,
    reader: jobs::Sender<Job>,
    writer: jobs::Sender<Job>,
    watcher: jobs::Sender<Command>,
}

impl EmbeddedStore {
    /// Never fails: a file that cannot be opened makes a store that is away, or refuses, until it can.
    /// [`EmbeddedStore::probe`] says how it stands.
    pub fn new(path: &Path) -> EmbeddedStore {
        EmbeddedStore::with_history(path, History::default())
    }

    pub fn with_history(path: &Path, history: History) -> EmbeddedStore {
        let known = Arc::new(AtomicBool::new(false));
        let (watcher, commands) = jobs::channel();
        let watched = Watcher::new(StoreFile::new(path, known.clone()));
        spawn("store-watch", move || watched.run(&commands));
        EmbeddedStore {
            path: path.to_path_buf(),
            history,
            reader: worker("store-read", StoreFile::new(path, known.clone())),
            writer: worker("store-write", StoreFile::new(path, known.clone())),
            known,
            watcher,
        }
    }

    /// The store's revision, or why it cannot be had.
    pub async fn probe(&self) -> Result<Revision, StoreError> {
        self.run(&self.reader, |file| file.with(|conn| schema::meta(conn))).await.map(|(revision, _)| revision)
    }

    async fn run<T: Send + 'static>(
        &self,
        thread: &jobs::Sender<Job>,
        work: impl FnOnce(&mut StoreFile) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |file| {
            // Nobody waits for the answer any more: fine.
            let _ = answer.send(work(file));
        });
        let ended = || StoreError::Away(format!("the thread of {} has ended", self.path.display()));
        thread.send(job).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name(name.into()).spawn(body).expect("a thread at start");
}

fn worker(name: &str, mut file: StoreFile) -> jobs::Sender<Job> {
    let (sender, receiver) = jobs::channel::<Job>();
    spawn(name, move || {
        for job in receiver {
            job(&mut file);
        }
    });
    sender
}

fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

#[async_trait]
impl ClusterStore for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_string();
        self.run(&self.reader, move |file| file.with(|conn| schema::get(conn, &key))).await
    }

    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let prefix = prefix.to_string();
        self.run(&self.reader, move |file| file.with(|conn| schema::range(conn, &prefix))).await
    }

    async fn transact(&self, checks: Vec<Check>, writes: Vec<Write>) -> Result<TxnOutcome, StoreError> {
        let history = self.history;
        let watcher = self.watcher.clone();
        self.run(&self.writer, move |file| {
            let outcome = file.with(|conn| schema::transact(conn, &checks, &writes, &history, unix_millis()));
            if matches!(outcome, Ok(TxnOutcome::Committed(_))) {
                // The watcher ends with this store only.
                let _ = watcher.send(Command::Look);
            }
            outcome
        })
        .await
    }

    async fn watch(&self, from: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        let (sender, receiver) = mpsc::channel(watch::BACKLOG);
        self.watcher
            .send(Command::Subscribe(Subscriber::new(sender, from)))
            .map_err(|_| StoreError::Away(format!("the watcher of {} has ended", self.path.display())))?;
        Ok(receiver)
    }

    fn expect_existing(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    fn writable(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("embedded {}", self.path.display())
    }
}
