//! The facts that policy follows from: subjects, policies, networks, pools and nodes.
//!
//! Owned by the engine, which changes it by delta; the evaluator only reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::desired::Settings;
use crate::model::{
    Cidr, Endpoint, Family, Isolation, Network, NetworkName, Node, NodeName, PolicyKey, Pool, PoolName, Tier,
    TierAction,
};

use super::Direction;
use super::scope::{ScopedPolicy, precedence, tier_precedence};
use super::subjects::{Places, SelectorIndex, Subject, SubjectKey, Subjects};

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub settings: Settings,
    pub subjects: Subjects,
    pub places: Places,
    pub policies: BTreeMap<PolicyKey, ScopedPolicy>,
    /// Policies whose selector cannot be read, and why: they govern all that they could, and let nothing through.
    pub unreadable: BTreeMap<PolicyKey, String>,
    pub governing: SelectorIndex<PolicyKey>,
    pub tiers: BTreeMap<String, Tier>,
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
            places: Places::default(),
            policies: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            governing: SelectorIndex::default(),
            tiers: BTreeMap::new(),
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
        self.subjects.iter().filter_map(|(key, subject)| match key {
            SubjectKey::Endpoint(node, _) => Some((node, subject.as_endpoint()?)),
            SubjectKey::NetworkSet(_) => None,
        })
    }

    /// A tier of that name: applied, built in, or, where policies name one that is not there, the last and denying.
    pub fn tier(&self, name: &str) -> Tier {
        let unknown = || Tier { name: name.to_string(), order: None, default_action: TierAction::Deny };
        self.tiers.get(name).cloned().or_else(|| Tier::built_in(name)).unwrap_or_else(unknown)
    }

    /// The policies that govern the endpoint in a direction, by tier, first asked first.
    pub fn policies_of(&self, subject: &Subject, direction: Direction) -> Vec<(Tier, Vec<&ScopedPolicy>)> {
        let candidates = self.governing.candidates(subject);
        let found = candidates
            .iter()
            .filter_map(|key| self.policies.get(key))
            .filter(|policy| policy.governs(direction) && policy.applies_to.matches(subject));
        let mut by_tier: BTreeMap<&str, Vec<&ScopedPolicy>> = BTreeMap::new();
        for policy in found {
            by_tier.entry(&policy.policy.tier).or_default().push(policy);
        }
        let mut tiers: Vec<(Tier, Vec<&ScopedPolicy>)> =
            by_tier.into_iter().map(|(name, policies)| (self.tier(name), policies)).collect();
        tiers.sort_by(|(a, _), (b, _)| tier_precedence(a, b));
        for (_, policies) in &mut tiers {
            policies.sort_by(|a, b| precedence(&a.policy, &b.policy));
        }
        tiers
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
