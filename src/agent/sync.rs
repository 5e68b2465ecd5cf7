//! Turns the cluster store into facts: all of it at the start, then every change; and keeps the last synced state in
//! the snapshot, so that a node starts with its policies while the store is away. Called by the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use routenet_core::desired::FactDelta;
use routenet_core::model::keys::{self, StoreKey};
use routenet_core::model::{
    BgpConfiguration, BgpFilter, BgpPeer, Block, Cidr, EndpointKey, Fact, Kind, NetworkName, NetworkSetKey,
    NodeCondition, NodeName, Object, ObjectKey, Policy, PoolName, Reservation, staged_for,
};
use routenet_core::policy::check::check_policy;

use crate::store::{Backoff, ClusterStore, Entry, Revision, Snapshot, SnapshotChange, StoreError, WatchEvent};

/// How long changes gather before they are written to the snapshot.
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// How long the start waits for the store before it goes on with the snapshot.
const START_LIMIT: Duration = Duration::from_secs(6);
/// Between two attempts while the store is away.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Batches that wait for the loop.
const BACKLOG: usize = 64;

/// A change in the cluster. `None` takes it away.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterChange {
    /// For [`routenet_core::desired::Desired`]: objects, and the endpoints of other nodes (own ones are the journal's).
    Fact(FactDelta),
    /// For the allocator's `observe_block`.
    Block(Cidr, Option<Block>),
    Peer(String, Option<BgpPeer>),
    BgpFilter(String, Option<BgpFilter>),
    BgpConfiguration(String, Option<BgpConfiguration>),
    Reservation(String, Option<Reservation>),
    Condition(NodeName, Option<NodeCondition>),
    /// Connections that policy denies are to be ended: the name of that wish.
    Cut(String),
}

/// Changes that belong together: of one or more whole transactions, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub changes: Vec<ClusterChange>,
    pub revision: Revision,
    /// The store was away or is another one: own blocks and published facts want comparing with it.
    pub resynced: bool,
}

/// How far the facts can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// Neither the store nor a snapshot could be read yet: nothing may be written to the kernel.
    Waiting(String),
    /// The snapshot of that revision counts, until the store can be reached.
    Stale(Revision, String),
    InSync(Revision),
    /// In sync up to that revision; the store went away since.
    Away(Revision, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncStatus {
    pub state: SyncState,
    /// Entries that cannot be read, by key, and why; what they said before stays. A policy that said nothing readable
    /// before is sealed.
    pub malformed: BTreeMap<String, String>,
}

/// The running sync; its task ends when it is dropped.
pub struct ClusterSync {
    /// Everything that is known at the start, from the store or the snapshot.
    pub initial: Batch,
    pub batches: mpsc::Receiver<Batch>,
    pub status: watch::Receiver<SyncStatus>,
}

impl ClusterSync {
    /// Reads the store, or the snapshot while it is away, and follows it from there.
    pub async fn spawn(store: Arc<dyn ClusterStore>, snapshot: Snapshot, node: NodeName) -> ClusterSync {
        let waiting = SyncState::Waiting("the cluster store was not read yet".into());
        let (status, status_receiver) = watch::channel(SyncStatus { state: waiting, malformed: BTreeMap::new() });
        let (sender, batches) = mpsc::channel(BACKLOG);
        let mut follower = Follower {
            store,
            snapshot,
            node,
            sender,
            status,
            mirror: Mirror::default(),
            revision: 0,
            unsaved: Unsaved::default(),
            begun: false,
            missed: None,
        };
        let begun = follower.begin().await;
        let initial = Batch { changes: follower.everything(), revision: follower.revision, resynced: true };
        tokio::spawn(follower.run(begun));
        ClusterSync { initial, batches, status: status_receiver }
    }
}

/// The last good value of each entry that concerns this node.
#[derive(Default)]
struct Mirror {
    entries: BTreeMap<String, Vec<u8>>,
    malformed: BTreeMap<String, String>,
    /// Policies that cannot be read and never could, as the store has them, and what stands in for them.
    sealed: BTreeMap<String, (Vec<u8>, Policy)>,
}

#[derive(Default)]
struct Unsaved {
    whole: bool,
    entries: BTreeMap<String, Option<Vec<u8>>>,
    since: Option<Instant>,
}

struct Follower {
    store: Arc<dyn ClusterStore>,
    snapshot: Snapshot,
    node: NodeName,
    sender: mpsc::Sender<Batch>,
    status: watch::Sender<SyncStatus>,
    mirror: Mirror,
    revision: Revision,
    unsaved: Unsaved,
    /// Something was read before: a wish to end connections that differs from it is a new one.
    begun: bool,
    /// A wish to end connections that was written while the agent was away.
    missed: Option<ClusterChange>,
}

/// Why following ended.
enum End {
    /// Read all again at once.
    Resync,
    Failed(String),
    /// Nobody listens.
    Closed,
}

impl Follower {
    /// The snapshot, then the store over it. Whether the store was read.
    async fn begin(&mut self) -> bool {
        match self.snapshot.load().await {
            Ok(Some((entries, revision))) => {
                if !entries.is_empty() {
                    self.store.expect_existing();
                }
                self.replace(entries);
                self.unsaved = Unsaved::default();
                self.revision = revision;
            }
            Ok(None) => self.unsaved.whole = true,
            Err(error) => {
                tracing::warn!(%error, "the snapshot cannot be read");
                self.unsaved.whole = true;
            }
        }
        let why = match tokio::time::timeout(START_LIMIT, self.store.range("/")).await {
            Ok(Ok((entries, revision))) => {
                let changes = self.replace(entries);
                self.missed = changes.into_iter().find(|change| matches!(change, ClusterChange::Cut(_)));
                self.revision = revision;
                self.tell(SyncState::InSync(revision));
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", START_LIMIT.as_secs()),
        };
        tracing::warn!(%why, "the cluster store cannot be read at the start");
        self.tell(self.unreachable(why));
        false
    }

    fn unreachable(&self, why: String) -> SyncState {
        let before = self.status.borrow().state.clone();
        match before {
            SyncState::InSync(revision) | SyncState::Away(revision, _) => SyncState::Away(revision, why),
            SyncState::Stale(revision, _) => SyncState::Stale(revision, why),
            SyncState::Waiting(_) if self.unsaved.whole => SyncState::Waiting(why),
            SyncState::Waiting(_) => SyncState::Stale(self.revision, why),
        }
    }

    fn tell(&self, state: SyncState) {
        let status = SyncStatus { state, malformed: self.mirror.malformed.clone() };
        self.status.send_if_modified(|told| {
            let differs = *told != status;
            *told = status;
            differs
        });
    }

    async fn run(mut self, mut fresh: bool) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        if let Some(missed) = self.missed.take() {
            let batch = Batch { changes: vec![missed], revision: self.revision, resynced: false };
            let _ = self.sender.send(batch).await;
        }
        loop {
            if !fresh && let Err(error) = self.read_again().await {
                self.tell(self.unreachable(error.to_string()));
                if !self.pause(backoff.pause()).await {
                    return;
                }
                continue;
            }
            fresh = false;
            backoff.reset();
            match self.follow().await {
                End::Resync => {}
                End::Closed => return,
                End::Failed(why) => {
                    self.tell(self.unreachable(why));
                    if !self.pause(backoff.pause()).await {
                        return;
                    }
                }
            }
        }
    }

    /// Whether anybody still listens afterwards.
    async fn pause(&self, length: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(length) => true,
            () = self.sender.closed() => false,
        }
    }

    async fn read_again(&mut self) -> Result<(), StoreError> {
        let (entries, revision) = self.store.range("/").await?;
        let changes = self.replace(entries);
        self.revision = revision;
        self.tell(SyncState::InSync(revision));
        // Sent even if it is empty: that the store is back concerns more than its facts. A closed channel is
        // noticed by the follower.
        let _ = self.sender.send(Batch { changes, revision, resynced: true }).await;
        Ok(())
    }

    async fn follow(&mut self) -> End {
        let mut events = match self.store.watch(self.revision).await {
            Ok(events) => events,
            Err(error) => return End::Failed(error.to_string()),
        };
        loop {
            let save_at = self.unsaved.since.map(|since| since + SAVE_AFTER);
            let event = tokio::select! {
                event = events.recv() => event,
                () = sleep_until(save_at) => { self.save().await; continue }
                () = self.sender.closed() => return End::Closed,
            };
            match event {
                Some(WatchEvent::Changes { revision, changes }) => {
                    let changes = changes.into_iter().flat_map(|(key, value)| self.change(key, value)).collect();
                    self.revision = revision;
                    self.tell(SyncState::InSync(revision));
                    if self.sender.send(Batch { changes, revision, resynced: false }).await.is_err() {
                        return End::Closed;
                    }
                }
                Some(WatchEvent::Resync) => return End::Resync,
                Some(WatchEvent::Away(why)) => self.tell(self.unreachable(why)),
                Some(WatchEvent::Back) => {
                    self.tell(SyncState::InSync(self.revision));
                    // As in [`ClusterSync::read_again`]: that it is back concerns more than its facts.
                    let back = Batch { changes: Vec::new(), revision: self.revision, resynced: true };
                    if self.sender.send(back).await.is_err() {
                        return End::Closed;
                    }
                }
                None => return End::Failed("the store ended the watch".into()),
            }
        }
    }

    async fn save(&mut self) {
        let unsaved = std::mem::take(&mut self.unsaved);
        let change = SnapshotChange {
            whole: unsaved.whole,
            revision: self.revision,
            entries: unsaved.entries.into_iter().collect(),
        };
        if let Err(error) = self.snapshot.save(change).await {
            tracing::warn!(%error, "the snapshot cannot be written; all of it is written with the next change");
            let sealed = self.mirror.sealed.iter().map(|(key, (value, _))| (key, value));
            let all = self.mirror.entries.iter().filter(|(key, _)| !is_passing(key)).chain(sealed);
            self.unsaved.entries = all.map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
            self.unsaved.whole = true;
        }
    }

    /// Takes over a whole reading; what differs from before.
    fn replace(&mut self, entries: Vec<Entry>) -> Vec<ClusterChange> {
        let mut gone: Vec<String> = self.mirror.entries.keys().chain(self.mirror.sealed.keys()).cloned().collect();
        gone.retain(|key| entries.binary_search_by(|entry| entry.key.as_str().cmp(key)).is_err());
        self.mirror.malformed.clear();
        let taken = gone.into_iter().map(|key| (key, None));
        let given = entries.into_iter().map(|entry| (entry.key, Some(entry.value)));
        let all: Vec<_> = taken.chain(given).collect();
        let changes = all.into_iter().flat_map(|(key, value)| self.change(key, value)).collect();
        self.begun = true;
        changes
    }

    /// Takes over one entry; what it means, if it means anything new.
    fn change(&mut self, key: String, value: Option<Vec<u8>>) -> impl Iterator<Item = ClusterChange> + use<> {
        let before = self.workload_endpoint(&key);
        let meaning = self.take(key.clone(), value);
        // An endpoint is known by more than its object's name: by its node and network, too.
        let moved = before.filter(|before| self.workload_endpoint(&key).as_ref() != Some(before));
        let gone = moved.map(|(node, key)| ClusterChange::Fact(FactDelta::Endpoint { node, key, endpoint: None }));
        gone.into_iter().chain(meaning)
    }

    /// Whose endpoint an object says to be where, if it is one that does.
    fn workload_endpoint(&self, key: &str) -> Option<(NodeName, EndpointKey)> {
        let value = self.mirror.entries.get(key).filter(|_| key.starts_with(keys::WORKLOAD_ENDPOINTS))?;
        match keys::decode_fact(key, value) {
            Ok(Fact::Object(Object::WorkloadEndpoint(it))) => Some((it.endpoint.node, it.endpoint.key)),
            _ => None,
        }
    }

    fn take(&mut self, key: String, value: Option<Vec<u8>>) -> Option<ClusterChange> {
        self.mirror.malformed.remove(&key);
        let sealed = self.mirror.sealed.remove(&key);
        if !is_known(&key) || (sealed.is_none() && self.mirror.entries.get(&key) == value.as_ref()) {
            return None;
        }
        let meaning = match &value {
            _ if key == keys::CUT => return self.take_cut(key, value),
            Some(value) => match read(&key, value) {
                Ok(fact) => Some(change_of(fact)),
                Err(error) => return self.take_malformed(key, value, error, sealed.as_ref().map(|(_, policy)| policy)),
            },
            None => removal_of(StoreKey::parse(&key).ok()?),
        };
        self.remember(&key, value.as_deref());
        match value {
            Some(value) => self.mirror.entries.insert(key, value),
            None => self.mirror.entries.remove(&key),
        };
        meaning.filter(|meaning| self.concerns(meaning))
    }

    fn take_cut(&mut self, key: String, value: Option<Vec<u8>>) -> Option<ClusterChange> {
        self.remember(&key, value.as_deref());
        let Some(value) = value else {
            self.mirror.entries.remove(&key);
            return None;
        };
        let id = String::from_utf8_lossy(&value).into_owned();
        self.mirror.entries.insert(key, value);
        self.begun.then_some(ClusterChange::Cut(id))
    }

    /// What the entry said before stays; a policy that said nothing readable before is sealed, since without it the
    /// endpoints that it was to protect would be open.
    fn take_malformed(
        &mut self,
        key: String,
        value: &[u8],
        error: Malformed,
        sealed: Option<&Policy>,
    ) -> Option<ClusterChange> {
        tracing::warn!(
            key,
            error = error.what,
            "an entry of the cluster store cannot be read; what it said before stays"
        );
        self.mirror.malformed.insert(key.clone(), error.what);
        let policy = *error.policy.filter(|_| !self.mirror.entries.contains_key(&key))?;
        self.remember(&key, Some(value));
        let change = (sealed != Some(&policy)).then(|| policy_change(policy.clone()));
        self.mirror.sealed.insert(key, (value.to_vec(), policy));
        change
    }

    /// For the snapshot.
    fn remember(&mut self, key: &str, value: Option<&[u8]>) {
        if !is_passing(key) {
            self.unsaved.entries.insert(key.to_string(), value.map(<[u8]>::to_vec));
            self.unsaved.since.get_or_insert_with(Instant::now);
        }
    }

    /// Endpoints of this node are the journal's, but for those that people wrote.
    fn concerns(&self, change: &ClusterChange) -> bool {
        !matches!(change, ClusterChange::Fact(FactDelta::Endpoint { node, key, .. }) if *node == self.node && !key.is_by_hand())
    }

    fn everything(&self) -> Vec<ClusterChange> {
        let facts = self.mirror.entries.iter().filter_map(|(key, value)| keys::decode_fact(key, value).ok());
        let sealed = self.mirror.sealed.values().map(|(_, policy)| policy_change(policy.clone()));
        facts.map(change_of).filter(|change| self.concerns(change)).chain(sealed).collect()
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What is wrong with an entry and, if it is a policy's, what stands in for it where no good one was read before.
struct Malformed {
    what: String,
    policy: Option<Box<Policy>>,
}

/// A fact that means something: of a policy, the selectors and rules too.
fn read(key: &str, value: &[u8]) -> Result<Fact, Malformed> {
    let fact = keys::decode_fact(key, value).map_err(|error| {
        let policy = match StoreKey::parse(key) {
            Ok(StoreKey::Object(ObjectKey {
                kind: kind @ (Kind::GlobalNetworkPolicy | Kind::NetworkPolicy | Kind::KubernetesNetworkPolicy),
                namespace,
                name,
            })) => Some(Box::new(Policy::sealed(ObjectKey { kind, namespace, name }))),
            _ => None,
        };
        Malformed { what: error.what, policy }
    })?;
    if let Fact::Object(Object::GlobalNetworkPolicy(policy) | Object::NetworkPolicy(policy)) = &fact {
        check_policy(policy)
            .map_err(|error| Malformed { what: format!("spec.{error}"), policy: Some(Box::new(policy.clone())) })?;
    }
    Ok(fact)
}

/// Others may keep keys of their own in the store.
fn is_known(key: &str) -> bool {
    key == keys::CUT
        || [keys::OBJECTS, keys::BLOCKS, keys::ENDPOINTS, keys::CONDITIONS].iter().any(|prefix| key.starts_with(prefix))
}

/// What is not worth keeping over a restart.
fn is_passing(key: &str) -> bool {
    key.starts_with(keys::CONDITIONS)
}

fn policy_change(policy: Policy) -> ClusterChange {
    ClusterChange::Fact(FactDelta::Policy(policy.key.clone(), Some(policy)))
}

fn change_of(fact: Fact) -> ClusterChange {
    match fact {
        Fact::Block(block) => ClusterChange::Block(block.cidr, Some(block)),
        Fact::Condition(condition) => ClusterChange::Condition(condition.node.clone(), Some(condition)),
        Fact::Endpoint(endpoint) => ClusterChange::Fact(FactDelta::Endpoint {
            node: endpoint.node.clone(),
            key: endpoint.key.clone(),
            endpoint: Some(endpoint),
        }),
        Fact::Object(object) => match FactDelta::of_object(object).map_err(|object| *object) {
            Ok(fact) => ClusterChange::Fact(fact),
            Err(Object::BGPPeer(it)) => ClusterChange::Peer(it.name.clone(), Some(it)),
            Err(Object::BGPFilter(it)) => ClusterChange::BgpFilter(it.name.clone(), Some(it)),
            Err(Object::BGPConfiguration(it)) => ClusterChange::BgpConfiguration(it.name.clone(), Some(it)),
            Err(Object::IPReservation(it)) => ClusterChange::Reservation(it.name.clone(), Some(it)),
            Err(other) => unreachable!("{} is a fact", other.key()),
        },
    }
}

/// `None` where what goes is known by what the entry said.
fn removal_of(key: StoreKey) -> Option<ClusterChange> {
    Some(match key {
        StoreKey::Block(cidr) => ClusterChange::Block(cidr, None),
        StoreKey::Condition(node) => ClusterChange::Condition(node, None),
        StoreKey::Endpoint(node, key) => ClusterChange::Fact(FactDelta::Endpoint { node, key, endpoint: None }),
        StoreKey::Object(ObjectKey { kind, namespace, name }) => {
            let is_one = "an entry of the mirror was read as an object of the kind, so its name is one";
            match kind {
                Kind::IPPool => ClusterChange::Fact(FactDelta::Pool(PoolName::new(name).expect(is_one), None)),
                Kind::Node => ClusterChange::Fact(FactDelta::Node(NodeName::new(name).expect(is_one), None)),
                Kind::Network => ClusterChange::Fact(FactDelta::Network(NetworkName::new(name).expect(is_one), None)),
                Kind::StagedGlobalNetworkPolicy | Kind::StagedNetworkPolicy | Kind::StagedKubernetesNetworkPolicy => {
                    let staged = staged_for(&ObjectKey { kind, namespace, name }).expect("of a staged kind");
                    ClusterChange::Fact(FactDelta::Staged(staged, None))
                }
                Kind::GlobalNetworkPolicy | Kind::NetworkPolicy | Kind::KubernetesNetworkPolicy => {
                    ClusterChange::Fact(FactDelta::Policy(ObjectKey { kind, namespace, name }, None))
                }
                Kind::GlobalNetworkSet | Kind::NetworkSet => {
                    ClusterChange::Fact(FactDelta::NetworkSet(NetworkSetKey { namespace, name }, None))
                }
                Kind::WorkloadEndpoint => return None,
                Kind::HostEndpoint => ClusterChange::Fact(FactDelta::HostEndpoint(name, None)),
                Kind::Profile => ClusterChange::Fact(FactDelta::Profile(name, None)),
                Kind::Namespace => ClusterChange::Fact(FactDelta::Namespace(name, None)),
                Kind::ServiceAccount => {
                    ClusterChange::Fact(FactDelta::ServiceAccount(namespace.unwrap_or_default(), name, None))
                }
                Kind::Tier => ClusterChange::Fact(FactDelta::Tier(name, None)),
                Kind::BGPPeer => ClusterChange::Peer(name, None),
                Kind::BGPFilter => ClusterChange::BgpFilter(name, None),
                Kind::BGPConfiguration => ClusterChange::BgpConfiguration(name, None),
                Kind::IPReservation => ClusterChange::Reservation(name, None),
            }
        }
    })
}
