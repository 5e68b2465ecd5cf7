//! The facts that policy follows from: subjects, policies, networks, pools and nodes.
//!
//! Owned by the engine, which changes it by delta; the evaluator only reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::desired::Settings;
use crate::model::{
    Cidr, Endpoint, Family, HostEndpoint, Isolation, Kind, Network, NetworkName, Node, NodeName, ObjectKey, Policy,
    PolicyStage, Pool, PoolName, Tier, TierAction,
};

use super::Direction;
use super::scope::{ScopedPolicy, SharedRules, precedence, tier_precedence};
use super::subjects::{Places, SelectorIndex, Subject, Subjects};

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub settings: Settings,
    pub subjects: Subjects,
    pub places: Places,
    /// Policies, and the rules of Profiles.
    pub policies: BTreeMap<ObjectKey, ScopedPolicy>,
    pub rules: SharedRules,
    /// Policies whose selector cannot be read, and why: they govern all that they could, and let nothing through.
    pub unreadable: BTreeMap<ObjectKey, String>,
    pub governing: SelectorIndex<ObjectKey>,
    /// What is staged, by the key of the policy that it is staged for.
    pub staged: BTreeMap<ObjectKey, Staged>,
    pub tiers: BTreeMap<String, Tier>,
    pub networks: BTreeMap<NetworkName, Network>,
    pub pools: BTreeMap<PoolName, Pool>,
    pub nodes: BTreeMap<NodeName, Node>,
}

/// What would become of a policy.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Staged {
    Set(Box<ScopedPolicy>),
    Delete,
}

/// What decides where no policy does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Profile {
    /// Accepts nothing: the network is unknown.
    Closed,
    Open,
    /// Accepts what comes from the network's own addresses.
    Network(NetworkName),
    /// What the Profiles say that its endpoint names, asked in this order; nothing behind the last.
    Listed(Vec<ObjectKey>),
}

/// Where on its way a packet is judged. All but the first are of host endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Checkpoint {
    Workload,
    /// Between the interface and the host itself.
    Host,
    /// Between the interface and other interfaces.
    Forward,
    PreDnat,
    Untracked,
}

impl Checkpoint {
    fn asks(self, policy: &Policy) -> bool {
        let stage = match self {
            Checkpoint::Workload | Checkpoint::Host => PolicyStage::Filter,
            Checkpoint::Forward if !policy.apply_on_forward => return false,
            Checkpoint::Forward => PolicyStage::Filter,
            Checkpoint::PreDnat => PolicyStage::PreDnat,
            Checkpoint::Untracked => PolicyStage::Untracked,
        };
        policy.stage == stage
    }
}

impl Cluster {
    pub fn new(settings: &Settings) -> Cluster {
        Cluster {
            settings: settings.clone(),
            subjects: Subjects::of_node(&settings.node),
            places: Places::default(),
            policies: BTreeMap::new(),
            rules: SharedRules::default(),
            unreadable: BTreeMap::new(),
            governing: SelectorIndex::default(),
            staged: BTreeMap::new(),
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

    /// The host endpoints of a node, by name.
    pub fn host_endpoints<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = (&'a Subject, &'a HostEndpoint)> {
        let all = self.subjects.of_hosts().filter_map(|subject| Some((subject, subject.as_host_endpoint()?)));
        all.filter(move |(_, host)| host.node == *node)
    }

    /// A tier of that name: applied, built in, or, where policies name one that is not there, the last and denying.
    pub fn tier(&self, name: &str) -> Tier {
        let unknown = || Tier { name: name.to_string(), order: None, default_action: TierAction::Deny };
        self.tiers.get(name).cloned().or_else(|| Tier::built_in(name)).unwrap_or_else(unknown)
    }

    /// The policies that govern the endpoint at a checkpoint in a direction, by tier, first asked first. `staged`: as if
    /// these were enforced.
    pub fn policies_of<'a>(
        &'a self,
        subject: &Subject,
        checkpoint: Checkpoint,
        direction: Direction,
        staged: &'a BTreeMap<ObjectKey, Staged>,
    ) -> Vec<(Tier, Vec<&'a ScopedPolicy>)> {
        let candidates = self.governing.candidates(subject);
        let set = staged.values().filter_map(|staged| match staged {
            Staged::Set(policy) => Some(&**policy),
            Staged::Delete => None,
        });
        let found = candidates
            .iter()
            .filter(|key| !staged.contains_key(key))
            .filter_map(|key| self.policies.get(key))
            .chain(set)
            .filter(|policy| policy.governs(direction) && checkpoint.asks(&policy.policy))
            .filter(|policy| policy.applies_to.matches(subject));
        let mut by_tier: BTreeMap<&str, Vec<&ScopedPolicy>> = BTreeMap::new();
        for policy in found {
            by_tier.entry(&policy.policy.tier).or_default().push(policy);
        }
        let mut tiers: Vec<(Tier, Vec<&ScopedPolicy>)> =
            by_tier.into_iter().map(|(name, policies)| (self.tier(name), policies)).collect();
        tiers.sort_by(|(a, _), (b, _)| tier_precedence(a, b));
        for (_, policies) in &mut tiers {
            policies.sort_by_cached_key(|policy| precedence(&policy.policy));
        }
        tiers
    }

    pub fn profile(&self, endpoint: &Endpoint, direction: Direction) -> Profile {
        if let Some(names) = &endpoint.profiles {
            return self.listed_profile(names);
        }
        let network = &endpoint.key.network;
        match self.networks.get(network).map(|network| network.isolation) {
            None => Profile::Closed,
            Some(Isolation::Network) if direction == Direction::Ingress => Profile::Network(network.clone()),
            Some(Isolation::Network | Isolation::Open) => Profile::Open,
        }
    }

    /// Those of the names up to the first of which there is no Profile: who knows what it would have denied?
    pub fn listed_profile(&self, names: &[String]) -> Profile {
        let keys = names.iter().map(|name| ObjectKey::global(Kind::Profile, name));
        match keys.take_while(|key| self.policies.contains_key(key)).collect::<Vec<_>>() {
            none if none.is_empty() => Profile::Closed,
            keys => Profile::Listed(keys),
        }
    }

    /// The prefixes of a network's pools.
    pub fn pool_nets(&self, network: &NetworkName) -> BTreeSet<Cidr> {
        let pools = self.networks.get(network).map(|network| network.pools.as_slice()).unwrap_or_default();
        pools.iter().filter_map(|name| self.pools.get(name)).map(|pool| pool.cidr).collect()
    }

    /// Replaces a policy and answers the old one.
    pub fn replace_policy(&mut self, key: &ObjectKey, new: Option<ScopedPolicy>) -> Option<ScopedPolicy> {
        let old = self.policies.remove(key);
        if let Some(old) = old.as_ref().filter(|_| key.kind != Kind::Profile) {
            self.governing.remove(&old.applies_to, key);
        }
        if let Some(new) = new {
            if key.kind != Kind::Profile {
                self.governing.insert(&new.applies_to, key);
            }
            self.policies.insert(key.clone(), new);
        }
        old
    }
}
