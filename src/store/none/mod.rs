//! No store: the node's own YAML says it all. Kept in memory, with what this node publishes beside it. Called by the
//! agent.

mod directory;
mod memory;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::mpsc;

use routenet_core::model::config::StaticCluster;
use routenet_core::model::keys::{self, StoreKey};
use routenet_core::model::validate::{Invalid, check_objects};
use routenet_core::model::{Block, Cidr, Fact, Kind, NodeName, Object, ObjectKey};

use super::{Check, ClusterStore, Entry, Revision, StoreError, TxnOutcome, WatchEvent, Write};
use memory::Memory;

/// The node's static cluster as a [`ClusterStore`].
pub struct NoneStore {
    node: NodeName,
    memory: Memory,
    /// The pools and networks of the node's file.
    fixed: Vec<Object>,
    policies: Option<PathBuf>,
}

/// What the node's files say now, in place of all that there is of these kinds.
pub struct Reading {
    objects: Vec<Object>,
    kinds: Vec<Kind>,
}

impl NoneStore {
    /// What the node's file and its policies directory say. Blocks on the disk: for the agent's start.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: a block that lies in none of the pools, or whatever is wrong in the directory's files.
    pub fn new(node: &NodeName, cluster: &StaticCluster) -> Result<NoneStore, StoreError> {
        let pools = cluster.pools.iter().cloned().map(Object::IPPool);
        let networks = cluster.networks.iter().cloned().map(Object::Network);
        let fixed: Vec<Object> = pools.chain(networks).collect();
        let blocks = cluster.blocks.iter().map(|cidr| given_block(node, cluster, cidr));
        let blocks = blocks.collect::<Result<Vec<Fact>, StoreError>>()?;
        let store = NoneStore { node: node.clone(), memory: Memory::new(), fixed, policies: cluster.policies.clone() };
        let facts = store.fixed.iter().cloned().map(Fact::Object).chain(blocks);
        store.memory.transact(&[], facts.map(|fact| put(&fact)).collect());
        store.commit(store.read_again(cluster)?);
        Ok(store)
    }

    /// The peers of the node's file, and what its policies directory says now; another directory than the one that it
    /// started with waits for the next start. Blocks on the disk.
    ///
    /// # Errors
    /// Every error of every file.
    pub fn read_again(&self, cluster: &StaticCluster) -> Result<Reading, StoreError> {
        let (read, mut kinds) = match &self.policies {
            _ if cluster.policies != self.policies => (Vec::new(), Vec::new()),
            Some(directory) => (directory::read(directory)?, directory::KINDS.to_vec()),
            None => (Vec::new(), directory::KINDS.to_vec()),
        };
        kinds.push(Kind::BGPPeer);
        let peers = cluster.peers.iter().cloned().map(Object::BGPPeer);
        let objects: Vec<Object> = read.iter().map(|located| located.value.clone()).chain(peers).collect();
        check_objects(&self.fixed, &objects, &[]).map_err(|problems| {
            let located = |problem: &Invalid| problem.locate(&read).map_or(problem.to_string(), |it| it.to_string());
            directory::refused(&problems.iter().map(located).collect::<Vec<_>>())
        })?;
        Ok(Reading { objects, kinds })
    }

    /// Takes over what was read: what differs becomes one transaction.
    pub fn commit(&self, Reading { objects, kinds }: Reading) {
        let mut stale: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for kind in kinds {
            let (entries, _) = self.memory.range(&keys::objects_of(kind));
            stale.extend(entries.into_iter().map(|entry| (entry.key, entry.value)));
        }
        let mut writes = Vec::new();
        for object in objects {
            let Write::Put { key, value } = put(&Fact::Object(object)) else { continue };
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

fn given_block(node: &NodeName, cluster: &StaticCluster, cidr: &Cidr) -> Result<Fact, StoreError> {
    let pool = cluster.pools.iter().find(|pool| pool.cidr.covers(cidr)).ok_or_else(|| StoreError::Refused {
        what: format!("`store.blocks`: {cidr} lies in none of this file's pools"),
        mend: "correct the block, or add its pool to `store.pools`".into(),
    })?;
    Ok(Fact::Block(Block { cidr: *cidr, pool: pool.name.clone(), owner: node.clone(), epoch: 1 }))
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
                mend: "edit the node's configuration or its policies directory, and send the agent SIGHUP (or restart it, \
                       for pools, networks and blocks)"
                    .into(),
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
