//! The cluster store behind one trait, and this node's journal.
//!
//! Keys are paths (`/objects/ippool/NAME`, `/blocks/10.0.0.0-26`, `/endpoints/NODE/KEY`, `/conditions/NODE`), values
//! are JSON of [`routenet_core::model::Fact`]. Every write gets the store's next revision.

mod backoff;
mod embedded;
mod etcd;
mod journal;
mod none;
mod snapshot;
mod sqlite;

use async_trait::async_trait;
use tokio::sync::mpsc;

pub use backoff::Backoff;
pub use embedded::{EmbeddedStore, History};
pub use etcd::EtcdStore;
pub use journal::{Journal, JournalState, JournalWrite, Released};
pub use none::NoneStore;
pub use snapshot::{Snapshot, SnapshotChange};

/// The store's logical clock: grows with each transaction.
pub type Revision = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Vec<u8>,
    /// The revision of the last write to this key.
    pub revision: Revision,
}

/// A condition of a transaction: the key's last revision, 0 meaning that it must not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub key: String,
    pub revision: Revision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Put { key: String, value: Vec<u8> },
    Delete { key: String },
}

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    Committed(Revision),
    /// These checks failed; nothing was written.
    Conflict(Vec<String>),
}

/// What a watcher is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// The changes of one or more transactions, in order; `None` is a deletion.
    Changes { revision: Revision, changes: Vec<(String, Option<Vec<u8>>)> },
    /// History was compacted, or the connection was lost for longer than history is kept: read all again.
    Resync,
    /// The store cannot be reached; changes will follow when it can.
    Away(String),
    /// It can be reached again.
    Back,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Try again later.
    #[error("the store cannot be reached: {0}")]
    Away(String),
    /// A person must act.
    #[error("{what} ({mend})")]
    Refused { what: String, mend: String },
}

/// The cluster store.
#[async_trait]
pub trait ClusterStore: Send + Sync {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;
    /// All entries whose key starts with `prefix`, in key order, and the revision at which that was so.
    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError>;
    /// All checks hold and all writes are done, or nothing is.
    async fn transact(&self, checks: Vec<Check>, writes: Vec<Write>) -> Result<TxnOutcome, StoreError>;
    /// Everything after `from`, until the receiver is dropped.
    async fn watch(&self, from: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError>;
    /// This node has seen the cluster before: a store that cannot be found from now on is lost, not new.
    fn expect_existing(&self) {}
    /// Whether objects can be written by `routectl apply` (not with `none`: its YAML is the truth).
    fn writable(&self) -> bool;
    /// For `status`: `embedded /var/lib/...`.
    fn describe(&self) -> String;
}

/// 128 random bits, in hexadecimal digits.
pub(crate) fn random_id() -> String {
    use std::io::Read;
    let mut bytes = [0u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .expect("/dev/urandom is there wherever Linux runs programs");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
