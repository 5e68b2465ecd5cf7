//! Groups of local endpoints, and the tree of sets by which a packet finds its group.
//!
//! Endpoints whose ordered policies and profile in a direction are equal share one chain. Each group has a set of
//! (address, interface); above it stand nodes, each a set of everything below it and a chain that asks its children.
//! Where a group stands follows from the digits of its id alone, so that adding one moves others only where a node
//! becomes too full, and the same groups make the same tree, whatever came before.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::{ChainRule, Member, SetKind};
use crate::model::{Family, ObjectKey, TierAction, stable_hash};

use super::Direction;
use super::cluster::{Checkpoint, Cluster, Profile};
use super::frame::{
    ALLOW, Marks, group_chain, group_set, node_chain, node_set, pair, plain, policy_chain, published_set, root_chain,
};
use super::sets::{AddressSet, AddressSource, Rank, SetTable};
use super::subjects::Subject;

/// The most children of a node.
const FAN_OUT: usize = 8;
/// The deepest node; what still shares a path there stands in one row (2^60 groups would be needed).
const MAX_DEPTH: usize = 20;

/// What the members of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey {
    pub direction: Direction,
    /// First asked first; none is empty.
    pub tiers: Vec<TierKey>,
    pub profile: Profile,
}

/// What of a tier governs the members of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TierKey {
    /// First asked first.
    pub policies: Vec<ObjectKey>,
    pub default_action: TierAction,
}

impl TierKey {
    /// What governs the subject at a checkpoint, first asked first.
    pub fn of(cluster: &Cluster, subject: &Subject, checkpoint: Checkpoint, direction: Direction) -> Vec<TierKey> {
        let enforced = BTreeMap::new();
        let tiers = cluster.policies_of(subject, checkpoint, direction, &enforced).into_iter();
        let tiers = tiers.map(|(tier, policies)| TierKey {
            policies: policies.into_iter().map(|policy| policy.policy.key.clone()).collect(),
            default_action: tier.default_action,
        });
        tiers.collect()
    }
}

impl GroupKey {
    /// 20 hexadecimal digits that follow from the content alone.
    fn id(&self) -> String {
        let mut parts = vec![self.direction.name()];
        match &self.profile {
            Profile::Closed => parts.push("closed"),
            Profile::Open => parts.push("open"),
            Profile::Network(network) => parts.extend(["network", network.as_str()]),
            Profile::Listed(keys) => {
                parts.push("listed");
                parts.extend(keys.iter().map(|key| key.name.as_str()));
            }
        }
        for tier in &self.tiers {
            parts.push(if tier.default_action == TierAction::Deny { "tier" } else { "passing tier" });
            for key in &tier.policies {
                parts.extend([key.kind.word(), key.namespace.as_deref().unwrap_or_default(), &key.name]);
            }
        }
        stable_hash(parts, 20)
    }

    /// Of all tiers, first asked first; then the Profiles.
    pub fn policies(&self) -> impl Iterator<Item = &ObjectKey> {
        let listed = match &self.profile {
            Profile::Listed(keys) => keys.as_slice(),
            _ => &[],
        };
        self.tiers.iter().flat_map(|tier| &tier.policies).chain(listed)
    }

    /// Whether it lets nothing through whatever comes, so that its members need no entry.
    pub fn is_closed(&self) -> bool {
        self.tiers.is_empty() && self.profile == Profile::Closed
    }

    /// The set of its network's members that the profile asks, if it does.
    pub fn network_set(&self, family: Family) -> Option<AddressSet> {
        match &self.profile {
            Profile::Network(network) => Some(AddressSet { family, source: AddressSource::Network(network.clone()) }),
            Profile::Closed | Profile::Open | Profile::Listed(_) => None,
        }
    }

    /// The group's chain. `may_pass` says of a policy whether it may hand a packet on to what comes after its tier.
    pub fn chain(&self, family: Family, marks: Marks, may_pass: &dyn Fn(&ObjectKey) -> bool) -> Vec<ChainRule> {
        let accepted = format!("{} -j RETURN", Marks::is_set(marks.accept));
        // While an endpoint moves between groups a packet may meet both: the first that accepts is enough.
        let mut rules = vec![accepted];
        let asking = Asking { direction: self.direction, marks, ends: true, may_pass, accepted: rules.clone() };
        if asking.tiers(&self.tiers, &mut rules) {
            match (&self.profile, self.network_set(family)) {
                (Profile::Open, _) => rules.push(format!("-g {ALLOW}")),
                (Profile::Listed(keys), _) => asking.profiles(keys, &mut rules),
                (_, Some(set)) => rules.extend([
                    format!("-m set --match-set {} src -g {ALLOW}", set.name()),
                    format!("-m set --match-set {} dst,dst -g {ALLOW}", published_set(family)),
                ]),
                (_, None) => {}
            }
        }
        rules.push("-j DROP".to_string());
        rules.into_iter().map(plain).collect()
    }
}

/// How the policies of a chain are asked.
pub(super) struct Asking<'a> {
    pub direction: Direction,
    pub marks: Marks,
    /// Whether tiers have an end that may deny.
    pub ends: bool,
    /// Whether a policy may hand a packet on to what comes after its tier.
    pub may_pass: &'a dyn Fn(&ObjectKey) -> bool,
    /// What stands behind the jump to a policy, for what it accepted.
    pub accepted: Vec<String>,
}

impl Asking<'_> {
    /// Adds the jumps to the policies of the tiers; answers whether a packet may get through all of them undecided.
    pub fn tiers(&self, tiers: &[TierKey], rules: &mut Vec<String>) -> bool {
        let not_passed = format!("{} ", Marks::is_clear(self.marks.pass));
        // Whether the pass mark may be set.
        let mut passed = false;
        for tier in tiers {
            if std::mem::take(&mut passed) {
                rules.push(self.marks.clear_pass());
            }
            for key in &tier.policies {
                let condition = if passed { not_passed.as_str() } else { "" };
                rules.push(format!("{condition}-j {}", policy_chain(self.direction, key)));
                rules.extend(self.accepted.iter().cloned());
                passed |= (self.may_pass)(key);
            }
            if !self.ends || tier.default_action == TierAction::Pass {
                continue;
            }
            if !passed {
                return false;
            }
            rules.push(format!("{not_passed}-j DROP"));
        }
        true
    }

    /// Adds the jumps to Profiles: what one passes on, or does not decide, the next one is asked.
    pub fn profiles(&self, keys: &[ObjectKey], rules: &mut Vec<String>) {
        for key in keys {
            rules.push(format!("-j {}", policy_chain(self.direction, key)));
            rules.extend(self.accepted.iter().cloned());
        }
    }
}

/// The groups of a direction and family.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    family: Family,
    direction: Direction,
    groups: BTreeMap<String, GroupKey>,
    /// The paths of the nodes below the root, in octal digits of the ids below them.
    nodes: BTreeSet<String>,
}

/// What a settled tree did to its groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    pub added: Vec<GroupKey>,
    pub removed: Vec<GroupKey>,
    pub removed_nodes: Vec<String>,
}

impl Tree {
    pub fn new(family: Family, direction: Direction) -> Tree {
        Tree { family, direction, groups: BTreeMap::new(), nodes: BTreeSet::new() }
    }

    pub fn groups(&self) -> impl Iterator<Item = &GroupKey> {
        self.groups.values()
    }

    pub fn chain_of(&self, group: &GroupKey) -> String {
        group_chain(self.direction, &group.id())
    }

    pub fn chain_of_node(&self, path: &str) -> String {
        node_chain(self.direction, path)
    }

    /// Adds an entry to the group and to the nodes above it.
    pub fn enter(&self, group: &GroupKey, entry: &Member, sets: &mut SetTable) {
        let id = group.id();
        let name = group_set(self.family, self.direction, &id);
        if !sets.exists(&name) {
            // The first entry makes the group; `settle` takes note of it.
            sets.hold(&name, self.family, SetKind::HashNetIface, Rank::Group);
        }
        sets.add(&name, entry.clone());
        for path in self.nodes_above(&id) {
            sets.add(&node_set(self.family, self.direction, path), entry.clone());
        }
    }

    pub fn leave(&self, group: &GroupKey, entry: &Member, sets: &mut SetTable) {
        let id = group.id();
        for path in self.nodes_above(&id) {
            sets.remove(&node_set(self.family, self.direction, path), entry);
        }
        sets.remove(&group_set(self.family, self.direction, &id), entry);
    }

    fn nodes_above<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a String> + use<'a> {
        let path = octal(id);
        (1..=path.len()).filter_map(move |length| self.nodes.get(&path[..length]))
    }

    /// Takes note of the groups that got their first entry or lost their last one, among `touched`, and brings the
    /// nodes into the shape that the groups demand.
    pub fn settle(&mut self, touched: &BTreeSet<GroupKey>, sets: &mut SetTable) -> Settled {
        let mut settled = Settled::default();
        for group in touched {
            let id = group.id();
            let name = group_set(self.family, self.direction, &id);
            let known = self.groups.contains_key(&id);
            if sets.is_empty(&name) {
                if sets.exists(&name) {
                    sets.release(&name);
                }
                if known {
                    self.groups.remove(&id);
                    settled.removed.push(group.clone());
                }
            } else if !known {
                self.groups.insert(id, group.clone());
                settled.added.push(group.clone());
            }
        }
        if !settled.added.is_empty() || !settled.removed.is_empty() {
            settled.removed_nodes = self.reshape(sets);
        }
        settled
    }

    fn reshape(&mut self, sets: &mut SetTable) -> Vec<String> {
        let paths: Vec<(String, &String)> = self.groups.keys().map(|id| (octal(id), id)).collect();
        let shape = shape(&paths.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>());
        for path in shape.difference(&self.nodes) {
            let name = node_set(self.family, self.direction, path);
            let height = (MAX_DEPTH - path.len()) as u8;
            sets.hold(&name, self.family, SetKind::HashNetIface, Rank::Node(height));
            for (_, id) in paths.iter().filter(|(group, _)| group.starts_with(path.as_str())) {
                for member in sets.members(&group_set(self.family, self.direction, id)) {
                    sets.add(&name, member);
                }
            }
        }
        let removed: Vec<String> = self.nodes.difference(&shape).cloned().collect();
        for path in &removed {
            sets.release(&node_set(self.family, self.direction, path));
        }
        self.nodes = shape;
        removed
    }

    /// The chains of the root and the nodes, each with the name of the chain.
    pub fn chains(&self) -> BTreeMap<String, Vec<ChainRule>> {
        let mut chains = BTreeMap::from([(root_chain(self.direction).to_string(), Vec::new())]);
        let asked = pair(self.direction);
        let chain_at = |path: Option<&str>| match path {
            Some(path) => node_chain(self.direction, path),
            None => root_chain(self.direction).to_string(),
        };
        for path in &self.nodes {
            chains.entry(chain_at(Some(path))).or_default();
            // Not a goto: while an endpoint moves to a group that is new below this node, its old group is still
            // found by the rules that follow.
            let rule = format!(
                "-m set --match-set {} {asked} -j {}",
                node_set(self.family, self.direction, path),
                node_chain(self.direction, path)
            );
            let parent = self.parent(path, path.len() - 1);
            chains.entry(chain_at(parent)).or_default().push(plain(rule));
        }
        for id in self.groups.keys() {
            let rule = format!(
                "-m set --match-set {} {asked} -g {}",
                group_set(self.family, self.direction, id),
                group_chain(self.direction, id)
            );
            let parent = self.parent(&octal(id), MAX_DEPTH).map(str::to_string);
            chains.entry(chain_at(parent.as_deref())).or_default().push(plain(rule));
        }
        chains
    }

    /// The deepest node above the path, of at most this depth; `None` is the root.
    fn parent(&self, path: &str, depth: usize) -> Option<&str> {
        (1..=depth.min(path.len())).rev().find_map(|length| self.nodes.get(&path[..length])).map(String::as_str)
    }
}

/// The first digits of an id in base 8.
fn octal(id: &str) -> String {
    let bits: String = id.chars().filter_map(|c| c.to_digit(16)).map(|digit| format!("{digit:04b}")).collect();
    let digit = |chunk: &[u8]| chunk.iter().fold(0, |value, bit| value * 2 + u32::from(bit - b'0'));
    bits.as_bytes().chunks_exact(3).take(MAX_DEPTH).filter_map(|chunk| char::from_digit(digit(chunk), 8)).collect()
}

/// The nodes that these (sorted) paths of groups demand: wherever more than [`FAN_OUT`] groups would stand in a row,
/// those that share the next digit get a node of their own.
fn shape(paths: &[&str]) -> BTreeSet<String> {
    let mut nodes = BTreeSet::new();
    let mut full = vec![(0, paths)];
    while let Some((depth, row)) = full.pop() {
        if row.len() <= FAN_OUT || depth == MAX_DEPTH {
            continue;
        }
        for below in row.chunk_by(|a, b| a[..=depth] == b[..=depth]).filter(|below| below.len() > 1) {
            nodes.insert(below[0][..=depth].to_string());
            full.push((depth + 1, below));
        }
    }
    nodes
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
