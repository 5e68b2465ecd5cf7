//! The facts that policy follows from: subjects, policies, networks, pools and nodes.
//!
//! Owned by the engine, which changes it by delta; the evaluator only reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::desired::Settings;
use crate::model::{
    Cidr, Endpoint, Family, Isolation, Network, NetworkName, Node, NodeName, PolicyKey, Pool, PoolName,
};

use super::Direction;
use super::scope::{ScopedPolicy, precedence};
use super::subjects::{SelectorIndex, Subject, SubjectKey, Subjects};

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub settings: Settings,
    pub subjects: Subjects,
    pub policies: BTreeMap<PolicyKey, ScopedPolicy>,
    /// Policies whose selector cannot be read, and why: they govern all that they could, and let nothing through.
    pub unreadable: BTreeMap<PolicyKey, String>,
    pub governing: SelectorIndex<PolicyKey>,
    pub networks: BTreeMap<NetworkName, Network>,
    pub pools: BTreeMap<PoolName, Pool>,
    pub nodes: BTreeMap<NodeName, Node>,
}

/// What decides where no policy does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Profile {
    /// Accepts nothing: the network is unknown.
    Closed,
    Open,
    /// Accepts what comes from the network's own addresses.
    Network(NetworkName),
}

impl Cluster {
    pub fn new(settings: &Settings) -> Cluster {
        Cluster {
            settings: settings.clone(),
            subjects: Subjects::default(),
            policies: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            governing: SelectorIndex::default(),
            networks: BTreeMap::new(),
            pools: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// The underlay address of a node; this node's own comes from its settings.
    pub fn host_address(&self, node: &NodeName, family: Family) -> Option<IpAddr> {
        let settings = &self.settings;
        let own = match family {
            _ if *node != settings.node => None,
            Family::V4 => settings.address4.map(IpAddr::V4),
            Family::V6 => settings.address6.map(IpAddr::V6),
        };
        own.or_else(|| self.nodes.get(node)?.address(family))
    }

    pub fn endpoints(&self) -> impl Iterator<Item = (&NodeName, &Endpoint)> {
        self.subjects.iter().filter_map(|(key, subject)| match (key, subject) {
            (SubjectKey::Endpoint(node, _), Subject::Endpoint(endpoint)) => Some((node, &**endpoint)),
            _ => None,
        })
    }

    /// The policies that govern the endpoint in a direction, first asked first.
    pub fn policies_of(&self, subject: &Subject, direction: Direction) -> Vec<&ScopedPolicy> {
        let mut found: Vec<&ScopedPolicy> = self
            .governing
            .candidates(subject)
            .iter()
            .filter_map(|key| self.policies.get(key))
            .filter(|policy| policy.governs(direction) && policy.applies_to.matches(subject))
            .collect();
        found.sort_by(|a, b| precedence(&a.policy, &b.policy));
        found
    }

    pub fn profile(&self, network: &NetworkName, direction: Direction) -> Profile {
        match self.networks.get(network).map(|network| network.isolation) {
            None => Profile::Closed,
            Some(Isolation::Network) if direction == Direction::Ingress => Profile::Network(network.clone()),
            Some(Isolation::Network | Isolation::Open) => Profile::Open,
        }
    }

    /// The prefixes of a network's pools.
    pub fn pool_nets(&self, network: &NetworkName) -> BTreeSet<Cidr> {
        let pools = self.networks.get(network).map(|network| network.pools.as_slice()).unwrap_or_default();
        pools.iter().filter_map(|name| self.pools.get(name)).map(|pool| pool.cidr).collect()
    }

    /// Replaces a policy and answers the old one.
    pub fn replace_policy(&mut self, key: &PolicyKey, new: Option<ScopedPolicy>) -> Option<ScopedPolicy> {
        let old = self.policies.remove(key);
        if let Some(old) = &old {
            self.governing.remove(&old.applies_to, key);
        }
        if let Some(new) = new {
            self.governing.insert(&new.applies_to, key);
            self.policies.insert(key.clone(), new);
        }
        old
    }
}
