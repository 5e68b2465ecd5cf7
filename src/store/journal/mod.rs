//! This node's journal: which addresses are given out, to which endpoints, which blocks it owns. It is the truth for a
//! live node, and committed (`synchronous=FULL`) before an ADD is answered. Called by the agent's allocator.
//!
//! One thread writes. What came in while it was committing shares the next commit, so concurrent ADDs pay for one
//! `fsync` together. The last synced state of the cluster store is beside it, in [`super::snapshot`]: large, often
//! written and worth nothing once lost, it must not delay an ADD.

mod lock;
mod schema;
mod writer;

use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use routenet_core::model::{Block, Cidr, Endpoint, EndpointKey};
use routenet_core::time::Time;
use tokio::sync::oneshot;

use super::sqlite::{self, Failure};
use super::{StoreError, random_id};
use lock::Lock;
use schema::KIND;
use writer::Command;

/// A change of the journal. Times count from the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub enum JournalWrite {
    /// These addresses belong to the endpoint from now on. Fails if one belongs to another.
    Allocate { key: EndpointKey, addresses: Vec<IpAddr> },
    /// Adds or replaces the endpoint.
    PutEndpoint(Box<Endpoint>),
    /// The endpoint is gone, its addresses rest. Nothing happens if it is unknown.
    Release { key: EndpointKey, at: Time },
    /// The store has acknowledged that these addresses are published no more: their cooldown runs from now.
    Acknowledge { addresses: Vec<IpAddr>, at: Time },
    /// This node owns the block.
    PutBlock(Block),
    /// It does not any more; what rested in it is forgotten.
    RemoveBlock(Cidr),
    /// What belonged to the first belongs to the second from now on.
    Transfer { from: EndpointKey, to: EndpointKey },
    /// What a front-end must not forget, under a name of its own; `None`: it may.
    Note { front_end: String, name: String, text: Option<String> },
}

/// An address that was released and not given out again since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    pub address: IpAddr,
    /// Whose it was.
    pub key: EndpointKey,
    pub released: Time,
    /// When the store acknowledged the withdrawal; `None`: not yet.
    pub acknowledged: Option<Time>,
}

/// Everything in the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JournalState {
    pub endpoints: Vec<Endpoint>,
    pub allocations: Vec<(IpAddr, EndpointKey)>,
    pub released: Vec<Released>,
    pub blocks: Vec<Block>,
    /// Front-end, name, text.
    pub notes: Vec<(String, String, String)>,
}

impl JournalState {
    /// Whether nothing was ever written: a new node, or one whose state directory was lost.
    pub fn is_blank(&self) -> bool {
        *self == JournalState::default()
    }
}

/// The open journal; no other process can open it meanwhile.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    incarnation: String,
    commands: mpsc::Sender<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
    _lock: Lock,
}

impl Journal {
    /// Opens the journal, made if absent, its directory too. Blocks on the disk: for the agent's start.
    ///
    /// # Errors
    /// [`StoreError::Refused`], naming the file and what mends it: another agent has it open (with that agent's pid);
    /// it is damaged, no journal, or of a newer version. The file is left as it is.
    pub fn open(path: &Path) -> Result<Journal, StoreError> {
        make_directory(path)?;
        let lock = Lock::take(path)?;
        let conn = sqlite::open(path, &KIND, true)?;
        let prepared = schema::check_whole(&conn).and_then(|()| schema::incarnation(&conn, &random_id()));
        let incarnation = prepared.map_err(|failure| sqlite::explain(path, &KIND, failure))?;
        let (commands, receiver) = mpsc::channel();
        let writer = writer::Writer::new(path.to_path_buf(), conn);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(&receiver))
            .expect("a thread at start");
        Ok(Journal { path: path.to_path_buf(), incarnation, commands, thread: Some(thread), _lock: lock })
    }

    /// What this state directory calls itself: made at random, once. Two agents with one node name differ in it.
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Queues the writes, in the order of the calls, as one unit; the future ends when they are on the disk. They are
    /// written whether or not it is awaited.
    pub fn submit(&self, writes: Vec<JournalWrite>) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let (done, committed) = oneshot::channel();
        let queued = self.commands.send(Command::Write { writes, done }).is_ok();
        let path = self.path.clone();
        async move {
            let ended = || StoreError::Refused {
                what: format!("the thread of journal {} has ended", path.display()),
                mend: "restart the agent".into(),
            };
            if !queued {
                return Err(ended());
            }
            committed.await.map_err(|_| ended())?
        }
    }

    /// Writes all or none; done when it is on the disk.
    pub async fn record(&self, writes: Vec<JournalWrite>) -> Result<(), StoreError> {
        self.submit(writes).await
    }

    /// Everything in it, after what was submitted before. Blocks: for the agent's start.
    pub fn load(&self) -> Result<JournalState, StoreError> {
        let (answer, loaded) = mpsc::channel();
        let ended = |_| StoreError::Away(format!("the thread of journal {} has ended", self.path.display()));
        self.commands.send(Command::Load(answer)).map_err(|_| ()).map_err(ended)?;
        loaded.recv().map_err(|_| ()).map_err(ended)?
    }
}

impl Drop for Journal {
    /// Waits for what was submitted, so that the lock is never free before the last write is done.
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel();
        drop(std::mem::replace(&mut self.commands, closed));
        if let Some(thread) = self.thread.take() {
            // A panicked writer has already failed its callers.
            let _ = thread.join();
        }
    }
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    let Some(directory) = path.parent().filter(|parent| *parent != Path::new("")) else { return Ok(()) };
    std::fs::create_dir_all(directory).map_err(|error| StoreError::Refused {
        what: format!("the state directory {} cannot be made: {error}", directory.display()),
        mend: "create it, or correct `paths.state` in the node's configuration".into(),
    })
}

fn refused(path: &Path, what: &str) -> Failure {
    Failure::Store(StoreError::Refused {
        what: format!("journal {}: {what}", path.display()),
        mend: KIND.damaged_mend.into(),
    })
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
