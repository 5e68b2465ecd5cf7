//! The cluster as this agent knows it, for everything that is not the desired state: which pools a network draws from,
//! who the nodes and peers are, what they say of themselves. Filled by the loop from [`super::sync`]; read by attach,
//! peering and status.

use std::collections::BTreeMap;
use std::sync::{RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use routenet_core::desired::FactDelta;
use routenet_core::model::{
    BgpConfiguration, BgpFilter, BgpPeer, Block, Cidr, Endpoint, EndpointKey, Network, NetworkName, Node,
    NodeCondition, NodeName, Pool, PoolName, Reservation,
};
use tokio::sync::Notify;

use super::sync::ClusterChange;

/// What was read last of everything.
#[derive(Default)]
pub struct Known {
    pub networks: BTreeMap<NetworkName, Network>,
    pub pools: BTreeMap<PoolName, Pool>,
    pub nodes: BTreeMap<NodeName, Node>,
    pub peers: BTreeMap<String, BgpPeer>,
    pub bgp_filters: BTreeMap<String, BgpFilter>,
    pub bgp_configurations: BTreeMap<String, BgpConfiguration>,
    pub reservations: BTreeMap<String, Reservation>,
    pub blocks: BTreeMap<Cidr, Block>,
    /// Of other nodes.
    pub endpoints: BTreeMap<(NodeName, EndpointKey), Endpoint>,
    /// With when each was heard, by our clock: clocks of nodes differ.
    pub conditions: BTreeMap<NodeName, (Instant, NodeCondition)>,
}

/// Shared by the agent's parts; written by the loop, and where the node's file was read again.
#[derive(Default)]
pub struct ClusterView {
    known: RwLock<Known>,
    /// Told when a network changed.
    networks: Notify,
}

impl ClusterView {
    pub fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().expect("no panic while it is written")
    }

    pub fn take(&self, change: &ClusterChange) {
        let mut known = self.known.write().expect("no panic while it is written");
        match change {
            ClusterChange::Fact(FactDelta::Network(name, network)) => {
                set(&mut known.networks, name, network);
                self.networks.notify_waiters();
            }
            ClusterChange::Fact(FactDelta::Pool(name, pool)) => set(&mut known.pools, name, pool),
            ClusterChange::Fact(FactDelta::Node(name, node)) => set(&mut known.nodes, name, node),
            ClusterChange::Fact(FactDelta::Endpoint { node, key, endpoint }) => {
                set(&mut known.endpoints, &(node.clone(), key.clone()), endpoint);
            }
            ClusterChange::Fact(
                FactDelta::Policy(..)
                | FactDelta::NetworkSet(..)
                | FactDelta::Tier(..)
                | FactDelta::Namespace(..)
                | FactDelta::ServiceAccount(..)
                | FactDelta::Profile(..)
                | FactDelta::Staged(..)
                | FactDelta::HostEndpoint(..)
                | FactDelta::HostAddresses(..)
                | FactDelta::OwnBlock(..)
                | FactDelta::Learned(..)
                | FactDelta::OffLink(..)
                | FactDelta::Gateways(..)
                | FactDelta::TunnelAddress(..),
            ) => {}
            ClusterChange::Block(cidr, block) => set(&mut known.blocks, cidr, block),
            ClusterChange::Peer(name, peer) => set(&mut known.peers, name, peer),
            ClusterChange::Reservation(name, reservation) => set(&mut known.reservations, name, reservation),
            ClusterChange::BgpFilter(name, filter) => set(&mut known.bgp_filters, name, filter),
            ClusterChange::BgpConfiguration(name, configuration) => {
                set(&mut known.bgp_configurations, name, configuration);
            }
            ClusterChange::Cut(_) => {}
            ClusterChange::Condition(node, condition) => {
                let heard = condition.clone().map(|condition| (Instant::now(), condition));
                set(&mut known.conditions, node, &heard);
            }
        }
    }

    /// What is reserved, of all reservations.
    pub fn reserved(&self) -> Vec<Cidr> {
        self.read().reservations.values().flat_map(|reservation| reservation.cidrs.clone()).collect()
    }

    /// The network and all pools, as an allocation wants them.
    fn network(&self, name: &NetworkName) -> Option<(Network, BTreeMap<PoolName, Pool>)> {
        let known = self.read();
        known.networks.get(name).map(|network| (network.clone(), known.pools.clone()))
    }

    /// The same, with patience for a network that another node's user has only just made.
    pub async fn network_within(
        &self,
        limit: Duration,
        name: &NetworkName,
    ) -> Option<(Network, BTreeMap<PoolName, Pool>)> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let changed = self.networks.notified();
            if let Some(found) = self.network(name) {
                return Some(found);
            }
            tokio::time::timeout_at(deadline, changed).await.ok()?;
        }
    }
}

fn set<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, key: &K, value: &Option<V>) {
    match value {
        Some(value) => map.insert(key.clone(), value.clone()),
        None => map.remove(key),
    };
}
