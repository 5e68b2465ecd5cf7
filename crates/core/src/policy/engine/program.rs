//! From where endpoints belong to the chains and sets of this host: what is needed is held, compiled, and let go.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::{ChainKey, ChainRule, Member, RulesDelta, SetName, Table};
use crate::model::{Cidr, Family, NetworkName, ObjectKey};

use super::super::Direction;
use super::super::frame;
use super::super::host;
use super::super::rules::compile;
use super::super::selector::Selector;
use super::super::sets::{AddressSet, AddressSource, Rank, members_of};
use super::super::subjects::NETWORK_LABEL;
use super::super::tree::GroupKey;
use super::{PolicyAt, PolicyEngine};

impl PolicyEngine {
    /// Compiles the changed policies again, where groups ask them.
    pub(super) fn recompile(&mut self, dirty: &BTreeSet<ObjectKey>) {
        for key in dirty {
            for (family, table, direction) in everywhere() {
                let at = (family, table, direction, key.clone());
                if self.policies.contains_key(&at) {
                    self.compile_policy(&at);
                }
            }
        }
    }

    fn compile_policy(&mut self, at: &PolicyAt) {
        let (family, table, direction, key) = at;
        // A policy that is gone keeps its chain until its last group is gone too, later in the same batch.
        let Some(policy) = self.cluster.policies.get(key) else { return };
        let compiled = compile(policy, *direction, *family, &self.cluster.settings.log_rules, &self.set_names);
        self.put_chain(frame::chain_in(*family, *table, frame::policy_chain(*direction, key)), compiled.rules);
        let names = compiled.sets.keys().cloned().collect();
        for (name, set) in compiled.sets {
            self.hold_addresses(name, set);
        }
        let in_use = self.policies.get_mut(at).expect("compiled only while a group asks it");
        let before = std::mem::replace(&mut in_use.sets, names);
        before.iter().for_each(|name| self.sets.release(name));
    }

    fn hold_addresses(&mut self, name: SetName, set: AddressSet) {
        if !self.sets.hold(&name, set.family, set.kind(), Rank::Address) {
            return;
        }
        let selector = self.selector_of(&set);
        if let Some(selector) = &selector {
            self.by_selector.insert(selector, &name);
            let (subjects, sets) = (&self.cluster.subjects, &mut self.sets);
            let mut add = |member| sets.add(&name, member);
            subjects.whole_matching(selector).for_each(|(_, party)| set.each_member(party, &mut add));
            subjects.remote_matching(selector).for_each(|party| set.each_member(&party, &mut add));
        } else {
            for net in self.fixed_nets(&set.source) {
                members_of(net, set.family).for_each(|member| self.sets.add(&name, member));
            }
        }
        self.set_names.insert(set.clone(), name.clone());
        self.addresses.insert(name, (set, selector));
    }

    /// What is in a set that no selector fills.
    fn fixed_nets(&self, source: &AddressSource) -> BTreeSet<Cidr> {
        match source {
            AddressSource::Nets(nets) => nets.clone(),
            AddressSource::Network(network) => self.cluster.pool_nets(network),
            AddressSource::Selector(_) | AddressSource::Port { .. } => BTreeSet::new(),
        }
    }

    /// Brings trees, chains of groups and policies, and their holds on sets to what the placements demand.
    pub(super) fn settle(
        &mut self,
        touched: &BTreeMap<(Family, Direction), BTreeSet<GroupKey>>,
        dirty_policies: &BTreeSet<ObjectKey>,
    ) {
        let mut removed = Vec::new();
        for (at, groups) in touched {
            let tree = self.trees.get_mut(at).expect("a tree for each family and direction");
            let settled = tree.settle(groups, &mut self.sets);
            if settled.added.is_empty() && settled.removed.is_empty() {
                continue;
            }
            let tree = &self.trees[at];
            let chains = tree.chains();
            let gone = settled.removed_nodes.iter().map(|path| tree.chain_of_node(path));
            let gone: Vec<String> = gone.chain(settled.removed.iter().map(|group| tree.chain_of(group))).collect();
            for (name, rules) in chains {
                self.put_chain(frame::filter_chain(at.0, name), rules);
            }
            gone.into_iter().for_each(|name| self.remove_chain(&frame::filter_chain(at.0, name)));
            for group in settled.added {
                self.add_group(at.0, &group);
            }
            removed.extend(settled.removed.into_iter().map(|group| (at.0, group)));
        }
        for (family, group) in removed {
            self.remove_group(family, &group);
        }
        self.rewrite_groups(dirty_policies);
    }

    fn add_group(&mut self, family: Family, group: &GroupKey) {
        for key in group.policies() {
            self.hold_policy((family, Table::Filter, group.direction, key.clone()));
        }
        if let Some(set) = group.network_set(family) {
            self.hold_addresses(self.set_names.of(&set), set);
        }
        self.write_group(family, group);
    }

    fn remove_group(&mut self, family: Family, group: &GroupKey) {
        if let Some(set) = group.network_set(family) {
            self.sets.release(&set.name());
        }
        for key in group.policies() {
            self.release_policy((family, Table::Filter, group.direction, key.clone()));
        }
    }

    fn hold_policy(&mut self, at: PolicyAt) {
        let in_use = self.policies.entry(at.clone()).or_default();
        in_use.holders += 1;
        if in_use.holders == 1 {
            self.compile_policy(&at);
        }
    }

    fn release_policy(&mut self, at: PolicyAt) {
        let in_use = self.policies.get_mut(&at).expect("in use as long as somebody asks it");
        in_use.holders -= 1;
        if in_use.holders > 0 {
            return;
        }
        let in_use = self.policies.remove(&at).expect("found a line ago");
        in_use.sets.iter().for_each(|name| self.sets.release(name));
        let (family, table, direction, key) = &at;
        self.remove_chain(&frame::chain_in(*family, *table, frame::policy_chain(*direction, key)));
    }

    /// Brings the chains of host endpoints, and what leads to them, to what the facts demand.
    pub(super) fn guard_host(&mut self) {
        let policies = &self.cluster.policies;
        let may_pass = |key: &ObjectKey, direction| policies.get(key).is_some_and(|policy| policy.may_pass(direction));
        let new = host::compile(&self.cluster, &self.addresses_here, self.marks, may_pass);
        if new == self.hosts {
            return;
        }
        let old = std::mem::replace(&mut self.hosts, new.clone());
        let everywhere = |asked: &(Table, Direction, ObjectKey)| {
            let (table, direction, key) = asked.clone();
            Family::BOTH.map(|family| (family, table, direction, key.clone()))
        };
        for at in new.policies.difference(&old.policies).flat_map(everywhere) {
            self.hold_policy(at);
        }
        let mut wanted = frame::chains(&self.cluster.settings, &new.gates);
        wanted.extend(new.chains);
        let before = frame::chains(&self.cluster.settings, &old.gates).into_keys().chain(old.chains.into_keys());
        let gone: Vec<ChainKey> = before.filter(|key| !wanted.contains_key(key)).collect();
        wanted.into_iter().for_each(|(key, rules)| self.put_chain(key, rules));
        gone.iter().for_each(|key| self.remove_chain(key));
        for at in old.policies.difference(&new.policies).flat_map(everywhere) {
            self.release_policy(at);
        }
    }

    /// Groups look at whether their policies may pass: a change of a policy may change their chains.
    fn rewrite_groups(&mut self, dirty: &BTreeSet<ObjectKey>) {
        if dirty.is_empty() {
            return;
        }
        let asking = |group: &&GroupKey| group.policies().any(|key| dirty.contains(key));
        let groups: Vec<(Family, GroupKey)> = self
            .trees
            .iter()
            .flat_map(|((family, _), tree)| tree.groups().filter(asking).map(|group| (*family, group.clone())))
            .collect();
        for (family, group) in groups {
            self.write_group(family, &group);
        }
    }

    fn write_group(&mut self, family: Family, group: &GroupKey) {
        let policies = &self.cluster.policies;
        let may_pass = |key: &ObjectKey| policies.get(key).is_some_and(|policy| policy.may_pass(group.direction));
        let rules = group.chain(family, self.marks, &may_pass);
        let name = self.trees[&(family, group.direction)].chain_of(group);
        self.put_chain(frame::filter_chain(family, name), rules);
    }

    /// Where networks are their pools, a change of either changes the sets.
    pub(super) fn refill(&mut self, dirty: &BTreeSet<NetworkName>) {
        if !self.cluster.settings.networks_by_pool {
            return;
        }
        for network in dirty {
            for family in Family::BOTH {
                let name = AddressSet { family, source: AddressSource::Network(network.clone()) }.name();
                if !self.sets.exists(&name) {
                    continue;
                }
                let nets = self.cluster.pool_nets(network);
                let wanted: BTreeSet<Member> = nets.into_iter().flat_map(|net| members_of(net, family)).collect();
                let present: BTreeSet<Member> = self.sets.members(&name).into_iter().collect();
                wanted.difference(&present).for_each(|member| self.sets.add(&name, member.clone()));
                present.difference(&wanted).for_each(|member| self.sets.remove(&name, member));
            }
        }
    }

    pub(super) fn put_chain(&mut self, key: ChainKey, rules: Vec<ChainRule>) {
        if self.chains.get(&key) != Some(&rules) {
            let before = self.chains.insert(key.clone(), rules);
            self.changed.entry(key).or_insert(before);
        }
    }

    fn remove_chain(&mut self, key: &ChainKey) {
        if let Some(before) = self.chains.remove(key) {
            self.changed.entry(key.clone()).or_insert(Some(before));
        }
    }

    pub(super) fn finish(&mut self) -> RulesDelta {
        let (gone, grow, shrink) = self.sets.finish();
        for name in gone {
            let Some((set, selector)) = self.addresses.remove(&name) else { continue };
            self.set_names.remove(&set);
            if let Some(selector) = selector {
                self.by_selector.remove(&selector, &name);
            }
        }
        let mut chains = BTreeMap::new();
        for (key, before) in std::mem::take(&mut self.changed) {
            let now = self.chains.get(&key).cloned();
            if now != before {
                chains.insert(key, now);
            }
        }
        RulesDelta { grow, chains, shrink }
    }

    /// The selector that says who is in a set, if one does.
    fn selector_of(&self, set: &AddressSet) -> Option<Selector> {
        match &set.source {
            AddressSource::Selector(selector) | AddressSource::Port { selector, .. } => Some(selector.clone()),
            AddressSource::Network(network) if !self.cluster.settings.networks_by_pool => {
                Some(Selector::equal(NETWORK_LABEL, network.as_str()))
            }
            AddressSource::Network(_) | AddressSource::Nets(_) => None,
        }
    }
}

/// Wherever a policy's chain may stand.
fn everywhere() -> impl Iterator<Item = (Family, Table, Direction)> {
    Family::BOTH.into_iter().flat_map(|family| {
        Table::ALL.into_iter().flat_map(move |table| Direction::BOTH.map(|direction| (family, table, direction)))
    })
}
