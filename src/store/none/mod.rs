//! No store: the node's own YAML says it all. Kept in memory, with what this node publishes beside it. Called by the
//! agent.

mod memory;

use async_trait::async_trait;
use tokio::sync::mpsc;

use routenet_core::model::config::StaticCluster;
use routenet_core::model::keys::{self, StoreKey};
use routenet_core::model::{Block, Fact, Kind, NodeName, Object, ObjectKey};

use super::{Check, ClusterStore, Entry, Revision, StoreError, TxnOutcome, WatchEvent, Write};
use memory::Memory;

/// The node's static cluster as a [`ClusterStore`].
pub struct NoneStore {
    node: NodeName,
    memory: Memory,
    /// Where policies and network sets come from.
    policies: Option<std::path::PathBuf>,
}

impl NoneStore {
    /// What the node's file says, and the objects of its policies directory.
    ///
    /// # Errors
    /// A block that lies in none of the pools.
    pub fn new(node: &NodeName, cluster: &StaticCluster, policies: Vec<Object>) -> Result<NoneStore, StoreError> {
        let mut facts: Vec<Fact> = Vec::new();
        for cidr in &cluster.blocks {
            let pool = cluster.pools.iter().find(|pool| pool.cidr.covers(cidr)).ok_or_else(|| StoreError::Refused {
                what: format!("`store.blocks`: {cidr} lies in none of this file's pools"),
                mend: "correct the block, or add its pool to `store.pools`".into(),
            })?;
            facts.push(Fact::Block(Block { cidr: *cidr, pool: pool.name.clone(), owner: node.clone(), epoch: 1 }));
        }
        facts.extend(cluster.pools.iter().cloned().map(|pool| Fact::Object(Object::IPPool(pool))));
        facts.extend(cluster.networks.iter().cloned().map(|network| Fact::Object(Object::Network(network))));
        facts.extend(cluster.peers.iter().cloned().map(|peer| Fact::Object(Object::BGPPeer(peer))));
        let memory = Memory::new();
        memory.transact(&[], facts.iter().map(put).collect());
        let store = NoneStore { node: node.clone(), memory, policies: cluster.policies.clone() };
        store.replace_policies(policies);
        Ok(store)
    }

    /// The directory of policies and network sets, for whoever reads it at start and on SIGHUP.
    pub fn policies(&self) -> Option<&std::path::Path> {
        self.policies.as_deref()
    }

    /// Makes the policies and network sets exactly these, in one transaction that holds only the differences.
    pub fn replace_policies(&self, objects: Vec<Object>) {
        let mut stale: std::collections::BTreeMap<String, Vec<u8>> = std::collections::BTreeMap::new();
        for kind in [Kind::GlobalNetworkPolicy, Kind::NetworkPolicy, Kind::GlobalNetworkSet] {
            let (entries, _) = self.memory.range(&keys::objects_of(kind));
            stale.extend(entries.into_iter().map(|entry| (entry.key, entry.value)));
        }
        let mut writes = Vec::new();
        for object in objects {
            let fact = Fact::Object(object);
            let value = keys::encode_fact(&fact);
            let key = StoreKey::of(&fact).path();
            if stale.remove(&key).as_ref() != Some(&value) {
                writes.push(Write::Put { key, value });
            }
        }
        writes.extend(stale.into_keys().map(|key| Write::Delete { key }));
        self.memory.transact(&[], writes);
    }

    /// What a node says of itself may be published; the rest is the file's.
    fn may_write(&self, key: &str) -> bool {
        let own = ObjectKey { kind: Kind::Node, namespace: None, name: self.node.to_string() };
        key.starts_with(&keys::endpoints_of(&self.node))
            || key == StoreKey::Condition(self.node.clone()).path()
            || key == StoreKey::Object(own).path()
    }
}

fn put(fact: &Fact) -> Write {
    Write::Put { key: StoreKey::of(fact).path(), value: keys::encode_fact(fact) }
}

#[async_trait]
impl ClusterStore for NoneStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.memory.get(key))
    }

    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        Ok(self.memory.range(prefix))
    }

    async fn transact(&self, checks: Vec<Check>, writes: Vec<Write>) -> Result<TxnOutcome, StoreError> {
        let refused = writes.iter().find_map(|write| {
            let (Write::Put { key, .. } | Write::Delete { key }) = write;
            (!self.may_write(key)).then_some(key)
        });
        if let Some(key) = refused {
            return Err(StoreError::Refused {
                what: format!("{key} cannot be written: this node has no store, its own files say it all"),
                mend: "edit the node's configuration or its policies directory, and send the agent SIGHUP".into(),
            });
        }
        Ok(self.memory.transact(&checks, writes))
    }

    async fn watch(&self, from: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        Ok(self.memory.watch(from))
    }

    fn writable(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        match &self.policies {
            Some(directory) => format!("none, policies from {}", directory.display()),
            None => "none".into(),
        }
    }
}

#[cfg(test)]
#[path = "none_tests.rs"]
mod tests;
