//! Facts in by delta, sets and chains out by delta; the whole at any time.
//!
//! Called by [`crate::desired`]. Only what a change touches is computed again: the selectors that could match a changed
//! subject, the endpoints that a changed policy governs, the chains of policies and groups that stand on this host.
//! What no local endpoint needs is neither compiled nor kept. The same facts give the same state whatever the order in
//! which they came.

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::desired::{
    ChainKey, ChainRule, FactDelta, Hook, Member, RulesDelta, SetKind, SetName, SetSpec, Settings, Table,
};
use crate::model::{
    Cidr, Endpoint, EndpointKey, Family, InterfaceName, Kind, NetworkName, NodeName, ObjectKey, Policy, Profile,
    StagedAction, Tier,
};

use super::Direction;
use super::cluster::{Checkpoint, Cluster, Staged};
use super::frame::{self, Marks};
use super::host::HostChains;
use super::scope::ScopedPolicy;
use super::selector::{NAMESPACE_LABEL, SERVICE_ACCOUNT_LABEL, Selector};
use super::sets::{AddressSet, Rank, SetNames, SetTable};
use super::subjects::{
    Body, Party, SelectorIndex, Subject, SubjectKey, namespace_profile, profile_label, service_account_profile,
};
use super::tree::{GroupKey, TierKey, Tree};

/// A policy, or a rule of one, that cannot be done as written; what it does instead is said in `what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    pub policy: ObjectKey,
    pub what: String,
}

/// The policy of one host.
#[derive(Clone, Debug)]
pub struct PolicyEngine {
    pub(super) cluster: Cluster,
    marks: Marks,
    sets: SetTable,
    chains: BTreeMap<ChainKey, Vec<ChainRule>>,
    /// The chains that the batch changed, and what was there before.
    changed: BTreeMap<ChainKey, Option<Vec<ChainRule>>>,
    /// The address sets that some chain needs, each with the selector that says who is in it, if one does.
    addresses: BTreeMap<SetName, (AddressSet, Option<Selector>)>,
    set_names: SetNames,
    by_selector: SelectorIndex<SetName>,
    /// The policies that some group or host endpoint asks: how many do, and which sets their chain needs.
    policies: BTreeMap<PolicyAt, InUse>,
    /// The addresses of this host's interfaces.
    addresses_here: BTreeMap<InterfaceName, BTreeSet<IpAddr>>,
    hosts: HostChains,
    trees: BTreeMap<(Family, Direction), Tree>,
    locals: BTreeMap<EndpointKey, Placement>,
    /// The local endpoints of a container: its addresses may leave by each of its interfaces.
    containers: BTreeMap<String, BTreeSet<EndpointKey>>,
}

/// Where a policy's chain stands.
type PolicyAt = (Family, Table, Direction, ObjectKey);

#[derive(Clone, Debug, Default)]
struct InUse {
    holders: usize,
    sets: Vec<SetName>,
}

/// Where a local endpoint stands: its group in each direction, the entries there, in the set of local addresses and in
/// that of published ports.
#[derive(Clone, Debug, Default, PartialEq)]
struct Placement {
    groups: BTreeMap<(Family, Direction), (GroupKey, BTreeSet<Member>)>,
    local: BTreeMap<Family, BTreeSet<Member>>,
    published: BTreeMap<Family, BTreeSet<Member>>,
}

/// What a batch of deltas leaves to be computed.
#[derive(Default)]
struct Dirty {
    locals: BTreeSet<EndpointKey>,
    policies: BTreeSet<ObjectKey>,
    networks: BTreeSet<NetworkName>,
    hosts: bool,
}

impl PolicyEngine {
    /// An engine without facts. The first [`apply`](Self::apply) creates the frame that stands without any.
    pub fn new(settings: &Settings) -> PolicyEngine {
        let mut engine = PolicyEngine {
            cluster: Cluster::new(settings),
            marks: Marks::new(settings.mark_mask),
            sets: SetTable::default(),
            chains: BTreeMap::new(),
            changed: BTreeMap::new(),
            addresses: BTreeMap::new(),
            set_names: SetNames::default(),
            by_selector: SelectorIndex::default(),
            policies: BTreeMap::new(),
            addresses_here: BTreeMap::new(),
            hosts: HostChains::default(),
            trees: BTreeMap::new(),
            locals: BTreeMap::new(),
            containers: BTreeMap::new(),
        };
        for (key, rules) in frame::chains(settings, &BTreeSet::new()) {
            engine.put_chain(key, rules);
        }
        for family in Family::BOTH {
            engine.sets.hold(&frame::local_set(family), family, SetKind::HashNetIface, Rank::Local);
            engine.sets.hold(&frame::published_set(family), family, SetKind::HashIpPort, Rank::Address);
            for direction in Direction::BOTH {
                let tree = Tree::new(family, direction);
                for (name, rules) in tree.chains() {
                    engine.put_chain(frame::filter_chain(family, name), rules);
                }
                engine.trees.insert((family, direction), tree);
            }
        }
        engine
    }

    /// Takes changes of facts and answers what should now differ. Facts of other rooms are ignored.
    pub fn apply(&mut self, deltas: &[FactDelta]) -> RulesDelta {
        let mut dirty = Dirty::default();
        for delta in deltas {
            self.take(delta, &mut dirty);
        }
        let touched = self.place(&dirty.locals);
        self.recompile(&dirty.policies);
        self.settle(&touched, &dirty.policies);
        if dirty.hosts {
            self.guard_host();
        }
        self.refill(&dirty.networks);
        self.finish()
    }

    pub fn settings(&self) -> &Settings {
        &self.cluster.settings
    }

    /// The addresses of this host, all that is known of.
    pub(super) fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let settings = &self.cluster.settings;
        let configured = settings.address4.map(IpAddr::V4).into_iter().chain(settings.address6.map(IpAddr::V6));
        configured.chain(self.addresses_here.values().flatten().copied())
    }

    /// The endpoints of all nodes, by node and key.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> =
            self.cluster.subjects.endpoints().map(|(_, endpoint)| endpoint.into_owned()).collect();
        endpoints.sort_by(|a, b| (&a.node, &a.key).cmp(&(&b.node, &b.key)));
        endpoints
    }

    /// Where a rule of a policy stands in this host's filter table: its chain, and what it was compiled to. Nothing where
    /// no local endpoint asks the policy.
    pub fn compiled_rule(
        &self,
        family: Family,
        direction: Direction,
        policy: &ObjectKey,
        index: usize,
    ) -> Option<(ChainKey, Vec<String>)> {
        let key = frame::filter_chain(family, frame::policy_chain(direction, policy));
        let rules = self.chains.get(&key)?;
        let is_it = |rule: &&ChainRule| rule.origin.as_ref().is_some_and(|origin| origin.index == index);
        let texts: Vec<String> = rules.iter().filter(is_it).map(|rule| rule.text.to_string()).collect();
        Some((key, texts))
    }

    /// Every set of this host.
    pub fn sets(&self) -> BTreeMap<SetName, SetSpec> {
        self.sets.specs()
    }

    /// Every chain of this host.
    pub fn chains(&self) -> &BTreeMap<ChainKey, Vec<ChainRule>> {
        &self.chains
    }

    /// The jumps from the built-in chains; they never change.
    pub fn hooks(&self) -> BTreeSet<Hook> {
        frame::hooks()
    }

    /// Policies that cannot be done as written. The readers of YAML refuse such; an object written by a newer version
    /// may get here all the same.
    pub fn problems(&self) -> Vec<PolicyProblem> {
        let unreadable = self.cluster.unreadable.iter().map(|(key, error)| PolicyProblem {
            policy: key.clone(),
            what: format!(
                "its selector cannot be read, so it governs all that it could and lets nothing through: {error}"
            ),
        });
        let unsound = self.cluster.policies.values().flat_map(|policy| {
            policy.unsound_rules().map(|(direction, index, error)| PolicyProblem {
                policy: policy.policy.key.clone(),
                what: format!("{}[{index}].{error}; the rule denies everything instead", direction.name()),
            })
        });
        unreadable.chain(unsound).collect()
    }

    fn take(&mut self, delta: &FactDelta, dirty: &mut Dirty) {
        match delta {
            FactDelta::Endpoint { node, key, endpoint } => self.take_endpoint(node, key, endpoint.as_ref(), dirty),
            FactDelta::Policy(key, policy) => self.take_policy(key, policy.as_ref(), dirty),
            FactDelta::Tier(name, tier) => self.take_tier(name, tier.as_ref(), dirty),
            FactDelta::NetworkSet(key, set) => {
                let subject = set.clone().map(|set| self.cluster.places.network_set(set));
                self.take_subject(SubjectKey::NetworkSet(key.clone()), subject);
            }
            FactDelta::Namespace(name, labels) => {
                self.cluster.places.set_namespace(name, labels.clone());
                self.take_profile(&namespace_profile(name), None, dirty);
                self.retake(self.cluster.subjects.with_given(NAMESPACE_LABEL, name), dirty);
            }
            FactDelta::ServiceAccount(namespace, name, labels) => {
                self.cluster.places.set_service_account(namespace, name, labels.clone());
                self.take_profile(&service_account_profile(namespace, name), None, dirty);
                self.retake(self.cluster.subjects.with_given(SERVICE_ACCOUNT_LABEL, name), dirty);
            }
            FactDelta::Staged(key, staged) => {
                let staged = staged.as_ref().and_then(|staged| match staged.action {
                    StagedAction::Set => {
                        let policy = Policy { key: staged.key(), ..staged.policy.clone() };
                        // The door refuses one that cannot be read; nothing that is enforced depends on it.
                        ScopedPolicy::new(&policy, &mut self.cluster.rules)
                            .ok()
                            .map(|policy| Staged::Set(Box::new(policy)))
                    }
                    StagedAction::Delete => Some(Staged::Delete),
                    StagedAction::Learn | StagedAction::Ignore => None,
                });
                replace(&mut self.cluster.staged, key, staged);
            }
            FactDelta::Profile(name, profile) => {
                let labels = profile.as_ref().map(|profile| profile.labels_to_apply.clone());
                self.cluster.places.set_profile(name, labels);
                self.take_profile(name, profile.as_ref(), dirty);
            }
            FactDelta::HostEndpoint(name, host) => {
                dirty.hosts = true;
                let subject = host.clone().map(|host| self.cluster.places.host_endpoint(host));
                self.take_subject(SubjectKey::HostEndpoint(name.clone()), subject);
            }
            FactDelta::HostAddresses(interface, addresses) => {
                dirty.hosts |= replace(&mut self.addresses_here, interface, addresses.clone()) != *addresses;
            }
            FactDelta::Network(name, network) => {
                replace(&mut self.cluster.networks, name, network.clone());
                dirty.networks.insert(name.clone());
                dirty.locals.extend(self.locals.keys().filter(|key| key.network == *name).cloned());
            }
            FactDelta::Pool(name, pool) => {
                replace(&mut self.cluster.pools, name, pool.clone());
                let users = self.cluster.networks.values().filter(|network| network.pools.contains(name));
                dirty.networks.extend(users.map(|network| network.name.clone()));
            }
            FactDelta::Node(name, node) => drop(replace(&mut self.cluster.nodes, name, node.clone())),
            FactDelta::OwnBlock(..)
            | FactDelta::Learned(..)
            | FactDelta::OffLink(..)
            | FactDelta::Gateways(..)
            | FactDelta::TunnelAddress(..) => {}
        }
    }

    fn take_endpoint(&mut self, node: &NodeName, key: &EndpointKey, endpoint: Option<&Endpoint>, dirty: &mut Dirty) {
        let subject_key = SubjectKey::Endpoint(node.clone(), key.clone());
        match endpoint {
            Some(endpoint) if endpoint.node == *node && endpoint.key == *key => self.keep(subject_key, endpoint),
            other => {
                let subject = other.cloned().map(|endpoint| self.cluster.places.endpoint(endpoint));
                self.take_subject(subject_key, subject);
            }
        }
        if *node != self.cluster.settings.node {
            return;
        }
        let siblings = self.containers.entry(key.container_id.clone()).or_default();
        dirty.locals.extend(siblings.iter().cloned());
        dirty.locals.insert(key.clone());
        if endpoint.is_some() {
            siblings.insert(key.clone());
            self.locals.entry(key.clone()).or_default();
        } else {
            siblings.remove(key);
            if siblings.is_empty() {
                self.containers.remove(&key.container_id);
            }
        }
    }

    /// The labels of the place where these are have changed.
    fn retake(&mut self, keys: Vec<SubjectKey>, dirty: &mut Dirty) {
        for key in keys {
            let Some(subject) = self.cluster.subjects.get(&key) else { continue };
            let body = subject.into_owned().body;
            if let SubjectKey::Endpoint(node, endpoint) = &key
                && *node == self.cluster.settings.node
            {
                dirty.locals.insert(endpoint.clone());
            }
            let places = &self.cluster.places;
            let subject = match body {
                Body::Endpoint(endpoint) => {
                    self.keep(key, &endpoint);
                    continue;
                }
                Body::NetworkSet(set) => places.network_set(set),
                Body::HostEndpoint(host) => {
                    dirty.hosts = true;
                    places.host_endpoint(*host)
                }
            };
            self.take_subject(key, Some(subject));
        }
    }

    /// Keeps an endpoint in the way in which one of its kind is kept.
    fn keep(&mut self, key: SubjectKey, endpoint: &Endpoint) {
        let Cluster { subjects, places, .. } = &mut self.cluster;
        if !subjects.is_small(endpoint) {
            let subject = places.endpoint(endpoint.clone());
            self.take_subject(key, Some(subject));
            return;
        }
        let place = places.of_endpoint(endpoint);
        if subjects.is_known(endpoint, &place) {
            return;
        }
        self.forget(&key);
        let subjects = &mut self.cluster.subjects;
        subjects.insert_remote(endpoint, &place);
        if let Some(party) = subjects.remote(&key) {
            let (sets, known) = (&mut self.sets, &self.addresses);
            each_membership(&self.by_selector, known, &party, |name, member| sets.add(name, member));
        }
    }

    /// Replaces a subject that is kept whole, and its addresses in the sets whose selector matched the old one or matches
    /// the new one.
    fn take_subject(&mut self, key: SubjectKey, new: Option<Subject>) {
        if new.is_some() && self.cluster.subjects.whole(&key) == new.as_ref() {
            return;
        }
        self.forget(&key);
        let Some(new) = new else { return };
        let (sets, known) = (&mut self.sets, &self.addresses);
        each_membership(&self.by_selector, known, &new, |name, member| sets.add(name, member));
        self.cluster.subjects.insert(key, new);
    }

    /// Takes a subject away, and its addresses out of the sets whose selector matched it.
    fn forget(&mut self, key: &SubjectKey) {
        let subjects = &mut self.cluster.subjects;
        let (sets, known) = (&mut self.sets, &self.addresses);
        let mut leave = |name: &SetName, member| sets.remove(name, &member);
        if let Some(old) = subjects.whole(key) {
            each_membership(&self.by_selector, known, old, &mut leave);
        } else if let Some(old) = subjects.remote(key) {
            each_membership(&self.by_selector, known, &old, &mut leave);
        }
        subjects.remove(key);
    }

    fn take_policy(&mut self, key: &ObjectKey, policy: Option<&Policy>, dirty: &mut Dirty) {
        self.cluster.unreadable.remove(key);
        let scoped = policy.map(|policy| {
            ScopedPolicy::new(policy, &mut self.cluster.rules).unwrap_or_else(|error| {
                self.cluster.unreadable.insert(key.clone(), error.to_string());
                ScopedPolicy::sealed(policy)
            })
        });
        self.take_scoped(key, scoped, dirty);
    }

    /// The Profile of the name is now this one; without one, what namespaces and service accounts bring by themselves.
    fn take_profile(&mut self, name: &str, profile: Option<&Profile>, dirty: &mut Dirty) {
        let places = &self.cluster.places;
        if profile.is_none() && places.has_profile(name) {
            return;
        }
        let built_in = || places.built_in_profile(name);
        let profile = profile.cloned().or_else(built_in);
        let scoped = profile.as_ref().map(|profile| ScopedPolicy::of_profile(profile, &mut self.cluster.rules));
        self.take_scoped(&ObjectKey::global(Kind::Profile, name), scoped, dirty);
        self.retake(self.cluster.subjects.with_given(&profile_label(name), ""), dirty);
    }

    fn take_scoped(&mut self, key: &ObjectKey, scoped: Option<ScopedPolicy>, dirty: &mut Dirty) {
        let old = self.cluster.replace_policy(key, scoped);
        let new = self.cluster.policies.get(key);
        if old.as_ref() == new {
            return;
        }
        dirty.policies.insert(key.clone());
        for policy in [old.as_ref(), new].into_iter().flatten() {
            for (key, subject) in self.cluster.subjects.whole_matching(&policy.applies_to) {
                let here = &self.cluster.settings.node;
                match key {
                    SubjectKey::Endpoint(node, key) if node == here => drop(dirty.locals.insert(key.clone())),
                    SubjectKey::HostEndpoint(_) => {
                        dirty.hosts |= subject.as_host_endpoint().is_some_and(|host| host.node == *here);
                    }
                    SubjectKey::Endpoint(..) | SubjectKey::NetworkSet(_) => {}
                }
            }
        }
    }

    /// Order and default action of a tier stand in the groups of whom its policies govern.
    fn take_tier(&mut self, name: &str, tier: Option<&Tier>, dirty: &mut Dirty) {
        let old = replace(&mut self.cluster.tiers, &name.to_string(), tier.cloned());
        if old.as_ref() == tier {
            return;
        }
        dirty.hosts = true;
        let policies = &self.cluster.policies;
        let of_tier = |key: &ObjectKey| policies.get(key).is_some_and(|policy| policy.policy.tier == name);
        let governed =
            |placement: &Placement| placement.groups.values().any(|(group, _)| group.policies().any(of_tier));
        let locals = self.locals.iter().filter(|(_, placement)| governed(placement));
        dirty.locals.extend(locals.map(|(key, _)| key.clone()));
    }

    /// Moves the local endpoints to where they now belong; the groups that gained or lost entries.
    fn place(&mut self, dirty: &BTreeSet<EndpointKey>) -> BTreeMap<(Family, Direction), BTreeSet<GroupKey>> {
        let mut touched: BTreeMap<_, BTreeSet<GroupKey>> = BTreeMap::new();
        for key in dirty {
            let new = self.placement(key);
            let old = replace(&mut self.locals, key, new.clone()).unwrap_or_default();
            let new = new.unwrap_or_default();
            if old == new {
                continue;
            }
            for (at, (group, entries)) in &new.groups {
                entries.iter().for_each(|entry| self.trees[at].enter(group, entry, &mut self.sets));
                touched.entry(*at).or_default().insert(group.clone());
            }
            for (at, (group, entries)) in &old.groups {
                entries.iter().for_each(|entry| self.trees[at].leave(group, entry, &mut self.sets));
                touched.entry(*at).or_default().insert(group.clone());
            }
            for family in Family::BOTH {
                let of =
                    |entries: &BTreeMap<Family, BTreeSet<Member>>| entries.get(&family).cloned().unwrap_or_default();
                let changes = [
                    (frame::local_set(family), of(&new.local), of(&old.local)),
                    (frame::published_set(family), of(&new.published), of(&old.published)),
                ];
                for (name, new, old) in changes {
                    new.into_iter().for_each(|entry| self.sets.add(&name, entry));
                    old.iter().for_each(|entry| self.sets.remove(&name, entry));
                }
            }
        }
        touched
    }

    fn placement(&self, key: &EndpointKey) -> Option<Placement> {
        let subject_key = SubjectKey::Endpoint(self.cluster.settings.node.clone(), key.clone());
        let subject = self.cluster.subjects.whole(&subject_key)?;
        let endpoint = subject.as_endpoint()?;
        let own = BTreeSet::from([endpoint.host_interface()]);
        let siblings = self.containers.get(&key.container_id).into_iter().flatten();
        let all: BTreeSet<InterfaceName> = match endpoint.interface {
            Some(_) => own.clone(),
            None => siblings.map(EndpointKey::host_interface).collect(),
        };
        let entries = |family: Family, interfaces: &BTreeSet<InterfaceName>| {
            let addresses = endpoint.addresses.iter().copied().filter(|a| Family::of(*a) == family);
            let pairs =
                addresses.flat_map(|a| interfaces.iter().map(move |i| Member::NetIface(Cidr::host(a), i.clone())));
            pairs.collect::<BTreeSet<Member>>()
        };
        let mut placement = Placement::default();
        for direction in Direction::BOTH {
            let tiers = TierKey::of(&self.cluster, subject, Checkpoint::Workload, direction);
            let group = GroupKey { direction, tiers, profile: self.cluster.profile(endpoint, direction) };
            for family in Family::BOTH {
                let entries = match direction {
                    Direction::Ingress => entries(family, &own),
                    Direction::Egress => entries(family, &all),
                };
                if !entries.is_empty() && !group.is_closed() && !is_closed(endpoint) {
                    placement.groups.insert((family, direction), (group.clone(), entries));
                }
            }
        }
        for family in Family::BOTH {
            placement.local.insert(family, entries(family, &all));
            placement.published.insert(family, published(endpoint, family));
        }
        Some(placement)
    }
}

/// What a party has in the sets whose selector matches it.
fn each_membership(
    by_selector: &SelectorIndex<SetName>,
    addresses: &BTreeMap<SetName, (AddressSet, Option<Selector>)>,
    party: &impl Party,
    mut see: impl FnMut(&SetName, Member),
) {
    for name in by_selector.candidates(party) {
        let (set, selector) = &addresses[name];
        if selector.as_ref().is_some_and(|selector| selector.matches(party)) {
            set.each_member(party, &mut |member| see(name, member));
        }
    }
}

/// Puts the new value in the place of the old one, which is returned; `None` takes it away.
fn replace<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, new: Option<V>) -> Option<V> {
    match new {
        Some(new) => map.insert(key.clone(), new),
        None => map.remove(key),
    }
}

/// Whether nothing may pass, whatever policy says.
pub(super) fn is_closed(endpoint: &Endpoint) -> bool {
    endpoint.attachment.as_ref().is_some_and(|attachment| attachment.closed)
}

fn published(endpoint: &Endpoint, family: Family) -> BTreeSet<Member> {
    let ports = endpoint.attachment.iter().flat_map(|attachment| &attachment.published);
    let addresses = endpoint.addresses.iter().filter(|address| Family::of(**address) == family);
    addresses.flat_map(|at| ports.clone().map(|port| Member::IpPort(*at, port.protocol, port.port))).collect()
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
