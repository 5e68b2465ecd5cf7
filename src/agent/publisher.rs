//! Makes the cluster store say what this node says of itself: its endpoints, its Node object, its condition. Called
//! by the loop.
//!
//! Level-triggered: after an outage, and every now and then, what is published is read back and made equal to what
//! should be. What the store has forgotten goes on to the [`super::forget`] task, after which the cooldown of its addresses
//! begins.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use routenet_core::model::keys::{self, StoreKey};
use routenet_core::model::{Endpoint, EndpointKey, Fact};

use super::allocator::Allocator;
use super::forget::{Forget, Forgetter};
use crate::store::{Backoff, ClusterStore, StoreError, Write};

/// Writes in one transaction: so few that other agents' transactions are not kept waiting.
const BATCH: usize = 128;
/// How often what is published is read back.
const READ_BACK: Duration = Duration::from_secs(60);
/// Between two attempts while the store is away.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// How publishing stands; `None` in `failing`: all that should be published is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublisherStatus {
    pub failing: Option<String>,
}

/// A handle on the publishing task, which ends when all handles are dropped.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
    status: watch::Receiver<PublisherStatus>,
    _task: Arc<Task>,
}

#[derive(Default)]
struct Shared {
    /// What the node says of itself beside its endpoints; `None`: to be deleted.
    own: Mutex<BTreeMap<StoreKey, Option<Vec<u8>>>>,
    /// Whether what is published must be read back first.
    read_back: Mutex<bool>,
    news: Arc<Notify>,
}

struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Publisher {
    /// `forget` is called with addresses that the store has no more, before they can be given out again.
    pub fn spawn(store: Arc<dyn ClusterStore>, allocator: Arc<Allocator>, forget: Forget) -> Publisher {
        let shared = Arc::new(Shared::default());
        let (sender, status) = watch::channel(PublisherStatus::default());
        let forgetter = Forgetter::spawn(allocator.clone(), forget, shared.news.clone());
        let worker = Worker { store, allocator, shared: shared.clone(), status: sender, published: None, forgetter };
        Publisher { shared, status, _task: Arc::new(Task(tokio::spawn(worker.run()))) }
    }

    /// This node's object or condition, from now on and after every outage. The key follows from the fact.
    pub fn publish(&self, fact: &Fact) {
        let value = keys::encode_fact(fact);
        self.shared.own.lock().expect("no panic while locked").insert(StoreKey::of(fact), Some(value));
        self.shared.news.notify_one();
    }

    pub fn withdraw(&self, key: StoreKey) {
        self.shared.own.lock().expect("no panic while locked").insert(key, None);
        self.shared.news.notify_one();
    }

    /// The store was away, or is another one: read back what it has, and publish again what it lacks.
    pub fn read_back(&self) {
        *self.shared.read_back.lock().expect("no panic while locked") = true;
        self.shared.news.notify_one();
    }

    pub fn status(&self) -> watch::Receiver<PublisherStatus> {
        self.status.clone()
    }
}

struct Worker {
    store: Arc<dyn ClusterStore>,
    allocator: Arc<Allocator>,
    shared: Arc<Shared>,
    status: watch::Sender<PublisherStatus>,
    /// What the store has under our keys, as far as we know; `None`: to be read.
    published: Option<BTreeMap<String, Vec<u8>>>,
    forgetter: Forgetter,
}

impl Worker {
    async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let mut read_at = Instant::now();
        loop {
            if std::mem::take(&mut *self.shared.read_back.lock().expect("no panic while locked"))
                || read_at.elapsed() >= READ_BACK
            {
                self.published = None;
            }
            if self.published.is_none() {
                read_at = Instant::now();
            }
            match self.round().await {
                Ok(()) => {
                    backoff.reset();
                    self.tell(None);
                    tokio::select! {
                        () = self.allocator.changed() => {}
                        () = self.shared.news.notified() => {}
                        () = tokio::time::sleep_until(read_at + READ_BACK) => {}
                    }
                }
                Err(error) => {
                    self.published = None;
                    self.tell(Some(error.to_string()));
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    fn tell(&self, failing: Option<String>) {
        self.status.send_if_modified(|status| {
            if status.failing == failing {
                return false;
            }
            if let Some(why) = &failing {
                tracing::warn!(%why, "what this node says of itself cannot be published; retrying");
            }
            status.failing = failing;
            true
        });
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        // Taken before anything is read: an address released later waits for the next round.
        let under_way = self.forgetter.under_way();
        let mut resting = self.allocator.unacknowledged();
        resting.retain(|address, _| !under_way.contains(address));
        let dirty = self.allocator.take_dirty();
        let writes = match self.published.take() {
            Some(mut published) => {
                let writes = self.differences(&published, &dirty);
                self.write(&mut published, writes).await.map(|()| published)
            }
            None => {
                let mut published = self.read_published().await?;
                let writes = self.all_differences(&published);
                self.write(&mut published, writes).await.map(|()| published)
            }
        };
        let published = self.published.insert(writes?);
        let gone = withdrawn(&resting, published, self.allocator.node());
        if !gone.is_empty() {
            self.forgetter.take(gone);
        }
        Ok(())
    }

    async fn read_published(&self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let (entries, _) = self.store.range(&keys::endpoints_of(self.allocator.node())).await?;
        let mut published: BTreeMap<String, Vec<u8>> =
            entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        let own: Vec<String> =
            self.shared.own.lock().expect("no panic while locked").keys().map(StoreKey::path).collect();
        for key in own {
            if let Some(entry) = self.store.get(&key).await? {
                published.insert(entry.key, entry.value);
            }
        }
        Ok(published)
    }

    /// What differs of these endpoints, and of what else this node says.
    fn differences(&self, published: &BTreeMap<String, Vec<u8>>, dirty: &BTreeSet<EndpointKey>) -> Vec<Write> {
        let node = self.allocator.node();
        let mut wanted = self.wanted_own();
        for key in dirty {
            let path = StoreKey::Endpoint(node.clone(), key.clone()).path();
            wanted.insert(path, self.allocator.endpoint(key).filter(is_known).map(public_form));
        }
        differences(published, wanted)
    }

    fn all_differences(&self, published: &BTreeMap<String, Vec<u8>>) -> Vec<Write> {
        let mut wanted: BTreeMap<String, Option<Vec<u8>>> = published.keys().map(|key| (key.clone(), None)).collect();
        wanted.extend(self.wanted_own());
        for endpoint in self.allocator.endpoints().into_iter().filter(is_known) {
            let path = StoreKey::Endpoint(self.allocator.node().clone(), endpoint.key.clone()).path();
            wanted.insert(path, Some(public_form(endpoint)));
        }
        differences(published, wanted)
    }

    fn wanted_own(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let own = self.shared.own.lock().expect("no panic while locked");
        own.iter().map(|(key, value)| (key.path(), value.clone())).collect()
    }

    async fn write(&self, published: &mut BTreeMap<String, Vec<u8>>, writes: Vec<Write>) -> Result<(), StoreError> {
        for batch in writes.chunks(BATCH) {
            self.store.transact(Vec::new(), batch.to_vec()).await?;
            for write in batch.iter().cloned() {
                match write {
                    Write::Put { key, value } => published.insert(key, value),
                    Write::Delete { key } => published.remove(&key),
                };
            }
        }
        Ok(())
    }
}

/// One of whom nobody knows yet who he is would be published with no labels, which is not what he is.
fn is_known(endpoint: &Endpoint) -> bool {
    endpoint.attachment.as_ref().is_none_or(|attachment| !attachment.closed)
}

/// An endpoint as the cluster sees it: how it is plugged in is its node's business.
fn public_form(endpoint: Endpoint) -> Vec<u8> {
    keys::encode_fact(&Fact::Endpoint(Endpoint { attachment: None, ..endpoint }))
}

/// What makes the published values the wanted ones (`None`: absent).
fn differences(published: &BTreeMap<String, Vec<u8>>, wanted: BTreeMap<String, Option<Vec<u8>>>) -> Vec<Write> {
    let step = |(key, value): (String, Option<Vec<u8>>)| match value {
        Some(value) if published.get(&key) != Some(&value) => Some(Write::Put { key, value }),
        None if published.contains_key(&key) => Some(Write::Delete { key }),
        _ => None,
    };
    wanted.into_iter().filter_map(step).collect()
}

/// Those of the released addresses that no published endpoint has any more.
fn withdrawn(
    resting: &BTreeMap<IpAddr, EndpointKey>,
    published: &BTreeMap<String, Vec<u8>>,
    node: &routenet_core::model::NodeName,
) -> Vec<IpAddr> {
    let still_there = |address: &IpAddr, key: &EndpointKey| {
        let path = StoreKey::Endpoint(node.clone(), key.clone()).path();
        published.get(&path).is_some_and(|value| match keys::decode_fact(&path, value) {
            Ok(Fact::Endpoint(endpoint)) => endpoint.addresses.contains(address),
            _ => true,
        })
    };
    resting.iter().filter(|(address, key)| !still_there(address, key)).map(|(address, _)| *address).collect()
}
