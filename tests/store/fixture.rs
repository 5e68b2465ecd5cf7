//! A cluster in a temporary directory: one store file, a state directory for each node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use routenet::agent::allocator::{Allocator, AllocatorConfig, Request};
use routenet::agent::forget::Forget;
use routenet::store::{
    ClusterStore, EmbeddedStore, EtcdStore, History, Journal, Revision, TxnOutcome, WatchEvent, Write,
};
use routenet_core::model::keys::{self, StoreKey};
use routenet_core::model::{
    Block, Endpoint, EndpointKey, Fact, InterfaceName, Isolation, Labels, Network, NetworkName, NodeName, Object, Pool,
    PoolName,
};

use crate::etcd_server::{self, EtcdServer};

/// Longer than anything here takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Addresses of these tests are in no kernel.
pub fn no_connections() -> Forget {
    Arc::new(|_| Ok(()))
}

pub fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub fn pool(name: &str, cidr: &str, block_size: u8) -> Pool {
    Pool {
        name: PoolName::new(name).unwrap(),
        cidr: cidr.parse().unwrap(),
        block_size,
        disabled: false,
        node_selector: String::new(),
        unreachable_route: true,
        encapsulation: Default::default(),
        nat_outgoing: false,
    }
}

pub fn key(id: &str) -> EndpointKey {
    EndpointKey {
        network: NetworkName::new("web").unwrap(),
        container_id: id.into(),
        ifname: InterfaceName::new("eth0").unwrap(),
    }
}

pub fn endpoint(on: &NodeName, key: &EndpointKey, addresses: &[IpAddr]) -> Endpoint {
    Endpoint {
        key: key.clone(),
        node: on.clone(),
        namespace: "default".into(),
        name: key.container_id.clone(),
        labels: Labels::from([("app".into(), "web".into())]),
        service_account: None,
        profiles: None,
        ports: Vec::new(),
        addresses: addresses.to_vec(),
        interface: None,
        attachment: None,
    }
}

pub fn put(fact: &Fact) -> Write {
    Write::Put { key: StoreKey::of(fact).path(), value: keys::encode_fact(fact) }
}

/// The pools of a cluster and the one network that draws from all of them.
#[derive(Clone)]
pub struct Plan {
    pub network: Network,
    pub pools: BTreeMap<PoolName, Pool>,
}

impl Plan {
    pub fn new(pools: &[Pool]) -> Plan {
        Plan {
            network: Network {
                name: NetworkName::new("web").unwrap(),
                pools: pools.iter().map(|pool| pool.name.clone()).collect(),
                isolation: Isolation::Network,
            },
            pools: pools.iter().map(|pool| (pool.name.clone(), pool.clone())).collect(),
        }
    }

    pub async fn write_to(&self, store: &dyn ClusterStore) {
        let writes = self.pools.values().map(|pool| put(&Fact::Object(Object::IPPool(pool.clone())))).collect();
        assert!(matches!(store.transact(vec![], writes).await, Ok(TxnOutcome::Committed(_))));
    }

    pub fn request<'a>(&'a self, key: &'a EndpointKey) -> Request<'a> {
        Request { key, network: &self.network, pools: &self.pools, wanted: &[], early: false }
    }
}

/// One node, as far as this room goes.
pub struct Host {
    pub store: Arc<dyn ClusterStore>,
    pub journal: Arc<Journal>,
    pub allocator: Arc<Allocator>,
}

impl Host {
    /// Opens the state directory, and compares it with the store.
    pub async fn start(store: Arc<dyn ClusterStore>, name: &str, state: &Path, cooldown: Duration) -> Host {
        let host = Host::start_apart(store, name, state, cooldown);
        host.allocator.reconcile().await.expect("the store can be reached");
        host
    }

    /// The same on a node with these labels.
    pub async fn start_labelled(
        store: Arc<dyn ClusterStore>,
        name: &str,
        state: &Path,
        cooldown: Duration,
        labels: Labels,
    ) -> Host {
        let host = Host::open(store, name, state, cooldown, labels);
        host.allocator.reconcile().await.expect("the store can be reached");
        host
    }

    /// The same without a look at the store.
    pub fn start_apart(store: Arc<dyn ClusterStore>, name: &str, state: &Path, cooldown: Duration) -> Host {
        Host::open(store, name, state, cooldown, Labels::new())
    }

    fn open(store: Arc<dyn ClusterStore>, name: &str, state: &Path, cooldown: Duration, labels: Labels) -> Host {
        let journal = Arc::new(Journal::open(&state.join("journal.db")).expect("the journal opens"));
        let config = AllocatorConfig { node: node(name), labels, cooldown };
        let allocator = Arc::new(Allocator::start(store.clone(), journal.clone(), config).expect("the journal loads"));
        Host { store, journal, allocator }
    }

    /// Allocates, and records an endpoint with what came of it.
    pub async fn attach(&self, plan: &Plan, key: &EndpointKey) -> Vec<IpAddr> {
        let make = |addresses: &[IpAddr]| endpoint(self.allocator.node(), key, addresses);
        self.allocator.attach(&plan.request(key), make).await.expect("an address").addresses
    }

    pub fn own_blocks(&self) -> Vec<String> {
        self.allocator.own_blocks().borrow().iter().map(ToString::to_string).collect()
    }
}

/// Which store the suite runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    Etcd,
}

/// Where a store is, for another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum StoreSpec {
    Embedded(PathBuf),
    Etcd(String),
}

impl StoreSpec {
    pub fn open(&self) -> Arc<dyn ClusterStore> {
        match self {
            StoreSpec::Embedded(path) => Arc::new(EmbeddedStore::new(path)),
            StoreSpec::Etcd(endpoint) => Arc::new(EtcdStore::new(etcd_server::config(std::slice::from_ref(endpoint)))),
        }
    }
}

/// A directory with a store in it, of the suite's kind.
pub struct Place {
    pub directory: tempfile::TempDir,
    server: Option<Mutex<EtcdServer>>,
}

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let server = (super::KIND == Kind::Etcd).then(|| Mutex::new(EtcdServer::start(directory.path())));
        Place { directory, server }
    }

    /// Of the embedded store.
    pub fn store_path(&self) -> PathBuf {
        self.directory.path().join("cluster.db")
    }

    pub fn state(&self, node: &str) -> PathBuf {
        self.directory.path().join("state").join(node)
    }

    pub fn spec(&self) -> StoreSpec {
        match &self.server {
            Some(server) => StoreSpec::Etcd(server.lock().unwrap().endpoint()),
            None => StoreSpec::Embedded(self.store_path()),
        }
    }

    pub fn store(&self) -> Arc<dyn ClusterStore> {
        self.spec().open()
    }

    /// One that keeps 50 revisions, where a store keeps a number of them by itself; else [`Place::compact`] does it.
    pub fn forgetful_store(&self) -> Arc<dyn ClusterStore> {
        if self.server.is_some() {
            return self.store();
        }
        let history = History { revisions: 50, age: Duration::ZERO };
        Arc::new(EmbeddedStore::with_history(&self.store_path(), history))
    }

    /// What came before the revision is history that is kept no more.
    pub async fn compact(&self, before: Revision) {
        let Some(endpoint) = self.server.as_ref().map(|server| server.lock().unwrap().endpoint()) else { return };
        let mut direct = etcd_client::Client::connect([endpoint], None).await.unwrap();
        direct.compact(i64::try_from(before).unwrap(), None).await.unwrap();
    }

    /// The revision of a store that nobody has written to.
    pub fn first_revision(&self) -> u64 {
        if self.server.is_some() { 1 } else { 0 }
    }

    fn aside(&self) -> PathBuf {
        self.directory.path().join("aside.db")
    }

    /// Nobody reaches the store from now on. Handles that wrote to it must be closed before where it is a file.
    pub async fn take_away(&self) {
        match &self.server {
            Some(server) => server.lock().unwrap().kill(),
            None => std::fs::rename(self.store_path(), self.aside()).unwrap(),
        }
    }

    /// Somebody else changes it meanwhile.
    pub async fn change_while_away(&self, writes: Vec<Write>) {
        let spec = match &self.server {
            Some(server) => {
                let mut server = server.lock().unwrap();
                let port = std::mem::replace(&mut server.port, etcd_server::free_port());
                server.launch();
                let spec = StoreSpec::Etcd(server.endpoint());
                server.port = port;
                spec
            }
            None => StoreSpec::Embedded(self.aside()),
        };
        let store = spec.open();
        until("the store answers its other user", async || store.transact(vec![], writes.clone()).await.is_ok()).await;
        drop(store);
        match &self.server {
            Some(server) => server.lock().unwrap().kill(),
            None => closed(&self.aside()).await,
        }
    }

    pub async fn bring_back(&self) {
        match &self.server {
            Some(server) => server.lock().unwrap().launch(),
            None => std::fs::rename(self.aside(), self.store_path()).unwrap(),
        }
    }
}

pub async fn blocks(store: &dyn ClusterStore) -> Vec<Block> {
    let (entries, _) = store.range(keys::BLOCKS).await.unwrap();
    let decode = |entry: &routenet::store::Entry| match keys::decode_fact(&entry.key, &entry.value) {
        Ok(Fact::Block(block)) => block,
        other => panic!("{}: {other:?}", entry.key),
    };
    entries.iter().map(decode).collect()
}

/// The next event; panics when none comes in time.
pub async fn next(events: &mut mpsc::Receiver<WatchEvent>) -> WatchEvent {
    tokio::time::timeout(LIMIT, events.recv()).await.expect("an event in time").expect("the watch goes on")
}

/// Waits until the condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds().await {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nobody has the state directory: tasks let go of it a little after their handles.
pub async fn let_go(state: &Path) {
    let journal = state.join("journal.db");
    until("the journal is let go", async || Journal::open(&journal).is_ok()).await;
}

/// Waits until a store whose handle was dropped is closed, and all of it is in the one file.
pub async fn closed(path: &Path) {
    let log = path.with_extension("db-wal");
    until("the store is closed", async || {
        // Whoever closes it last empties the log, unless two close it at once: so one more does.
        drop(rusqlite::Connection::open(path).and_then(|conn| conn.query_row("PRAGMA user_version", [], |_| Ok(()))));
        !log.exists()
    })
    .await;
}
