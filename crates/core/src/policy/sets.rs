//! Set contents, counted by reference; their growth and shrinking in the order in which they must happen.
//!
//! Owned by the engine. A member stays as long as anybody has it; a set stays as long as a chain needs it. What a
//! batch of changes did and undid does not show.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::desired::{Member, SetKind, SetName, SetOp, SetSpec};
use crate::model::{Cidr, Family, NamedPort, NetworkName, Protocol, stable_hash};

use super::selector::Selector;
use super::subjects::Party;

/// A set of addresses that rules match, by what is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AddressSet {
    pub family: Family,
    pub source: AddressSource,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum AddressSource {
    /// Whom the selector matches.
    Selector(Selector),
    /// Written down in a rule.
    Nets(BTreeSet<Cidr>),
    /// Whoever is in the network.
    Network(NetworkName),
    /// Where those whom the selector matches have a port of that name.
    Port { selector: Selector, protocol: Option<Protocol>, name: String },
}

impl AddressSet {
    pub fn name(&self) -> SetName {
        let (kind, hash) = match &self.source {
            AddressSource::Selector(selector) => ("s", stable_hash([selector.to_string().as_str()], 20)),
            AddressSource::Nets(nets) => {
                let texts: Vec<String> = nets.iter().map(Cidr::to_string).collect();
                ("n", stable_hash(texts.iter().map(String::as_str), 20))
            }
            AddressSource::Network(network) => ("net", stable_hash([network.as_str()], 20)),
            AddressSource::Port { selector, protocol, name } => {
                let protocol = protocol.map(|protocol| protocol.to_string()).unwrap_or_default();
                ("p", stable_hash([selector.to_string().as_str(), &protocol, name], 20))
            }
        };
        format!("rn{}-{kind}-{hash}", self.family.digit())
    }

    pub fn kind(&self) -> SetKind {
        match self.source {
            AddressSource::Port { .. } => SetKind::HashIpPort,
            _ => SetKind::HashNet,
        }
    }

    /// The members that a party whom its selector matches has in it.
    pub fn each_member(&self, party: &impl Party, see: &mut impl FnMut(Member)) {
        let AddressSource::Port { protocol, name, .. } = &self.source else {
            party.each_net(&mut |net| members_of(net, self.family).for_each(&mut *see));
            return;
        };
        let meant = |port: &&NamedPort| port.name == *name && protocol.is_none_or(|protocol| protocol == port.protocol);
        for address in party.addresses().iter().filter(|address| Family::of(**address) == self.family) {
            let ports = party.ports().iter().filter(meant);
            let members: BTreeSet<Member> =
                ports.map(|port| Member::IpPort(*address, port.protocol, port.port)).collect();
            members.into_iter().for_each(&mut *see);
        }
    }
}

/// The names of the sets that are in use: a name is a digest, and the same few sets are asked for again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct SetNames(HashMap<AddressSet, SetName>);

impl SetNames {
    pub fn of(&self, set: &AddressSet) -> SetName {
        self.0.get(set).cloned().unwrap_or_else(|| set.name())
    }

    pub fn insert(&mut self, set: AddressSet, name: SetName) {
        self.0.insert(set, name);
    }

    pub fn remove(&mut self, set: &AddressSet) {
        self.0.remove(set);
    }
}

/// The prefix as members of a set of the family: none if it is of the other one, two halves for a /0, which the kernel
/// refuses in these sets.
pub(super) fn members_of(net: Cidr, family: Family) -> impl Iterator<Item = Member> {
    let halves = || {
        let upper = net.nth(net_half(family)).expect("a /0 has an upper half");
        [net.address(), upper].map(|a| Cidr::new(a, 1).expect("1 is a valid length"))
    };
    let (whole, parts) = match net.length() {
        _ if net.family() != family => (None, None),
        0 => (None, Some(halves())),
        _ => (Some(net), None),
    };
    whole.into_iter().chain(parts.into_iter().flatten()).map(Member::Net)
}

fn net_half(family: Family) -> u128 {
    1 << (family.bits() - 1)
}

/// When an entry is added, relative to the others of a batch; it is deleted in reverse. Addresses first, so that no
/// rule misses whom it names; then the group's own set, the sets above it from below, and last the leave to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Address,
    Group,
    /// By height: the deepest node first.
    Node(u8),
    Local,
}

#[derive(Clone, Debug)]
struct Content {
    family: Family,
    kind: SetKind,
    rank: Rank,
    holders: usize,
    members: Members,
}

/// Members, and how many have each; prefixes, of which there may be very many, take less room by themselves.
#[derive(Clone, Debug, Default)]
struct Members {
    nets: BTreeMap<Cidr, u32>,
    others: BTreeMap<Member, u32>,
}

impl Members {
    /// `true` if nobody had it.
    fn add(&mut self, member: &Member) -> bool {
        let count = match member {
            Member::Net(net) => self.nets.entry(*net).or_insert(0),
            other => self.others.entry(other.clone()).or_insert(0),
        };
        *count += 1;
        *count == 1
    }

    /// `true` if nobody has it any more, but somebody had.
    fn remove(&mut self, member: &Member) -> bool {
        let count = match member {
            Member::Net(net) => self.nets.get_mut(net),
            other => self.others.get_mut(other),
        };
        let Some(count) = count else { return false };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        match member {
            Member::Net(net) => self.nets.remove(net),
            other => self.others.remove(other),
        };
        true
    }

    fn contains(&self, member: &Member) -> bool {
        match member {
            Member::Net(net) => self.nets.contains_key(net),
            other => self.others.contains_key(other),
        }
    }

    fn is_empty(&self) -> bool {
        self.nets.is_empty() && self.others.is_empty()
    }

    /// Each once.
    fn iter(&self) -> impl Iterator<Item = Member> {
        self.nets.keys().copied().map(Member::Net).chain(self.others.keys().cloned())
    }

    fn to_vec(&self) -> Vec<Member> {
        let mut all = Vec::with_capacity(self.nets.len() + self.others.len());
        all.extend(self.iter());
        all
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct SetTable {
    sets: BTreeMap<SetName, Content>,
    /// What the batch touched of the sets that were there before it, and whether it was there.
    touched: BTreeMap<SetName, BTreeMap<Member, bool>>,
    created: BTreeSet<SetName>,
    unheld: BTreeSet<SetName>,
}

impl SetTable {
    /// Holds the set once more; `true` if it did not exist, so that it must be filled.
    pub fn hold(&mut self, name: &SetName, family: Family, kind: SetKind, rank: Rank) -> bool {
        if let Some(content) = self.sets.get_mut(name) {
            content.holders += 1;
            return false;
        }
        let members = Members::default();
        self.sets.insert(name.clone(), Content { family, kind, rank, holders: 1, members });
        self.created.insert(name.clone());
        true
    }

    /// Holds it once less; a set that nobody holds goes at the end of the batch.
    pub fn release(&mut self, name: &SetName) {
        let content = self.sets.get_mut(name).expect("a set is released only by who holds it");
        content.holders -= 1;
        if content.holders == 0 {
            self.unheld.insert(name.clone());
        }
    }

    pub fn add(&mut self, name: &SetName, member: Member) {
        let content = self.sets.get_mut(name).expect("a set is held before it grows");
        if content.members.add(&member) {
            self.touch(name, member, false);
        }
    }

    pub fn remove(&mut self, name: &SetName, member: &Member) {
        let content = self.sets.get_mut(name).expect("a set is held while it has members");
        if content.members.remove(member) {
            self.touch(name, member.clone(), true);
        }
    }

    /// Of a set that the batch made only the outcome counts.
    fn touch(&mut self, name: &SetName, member: Member, before: bool) {
        if self.created.contains(name) {
            return;
        }
        match self.touched.get_mut(name) {
            Some(members) => {
                members.entry(member).or_insert(before);
            }
            None => {
                self.touched.insert(name.clone(), BTreeMap::from([(member, before)]));
            }
        }
    }

    /// The members of a set, each once.
    pub fn members(&self, name: &SetName) -> Vec<Member> {
        self.sets.get(name).map(|content| content.members.to_vec()).unwrap_or_default()
    }

    pub fn is_empty(&self, name: &SetName) -> bool {
        self.sets.get(name).is_none_or(|content| content.members.is_empty())
    }

    pub fn exists(&self, name: &SetName) -> bool {
        self.sets.contains_key(name)
    }

    /// Everything, as the kernel should have it.
    pub fn specs(&self) -> BTreeMap<SetName, SetSpec> {
        let spec = |content: &Content| SetSpec {
            family: content.family,
            kind: content.kind,
            members: content.members.iter().collect(),
        };
        self.sets.iter().map(|(name, content)| (name.clone(), spec(content))).collect()
    }

    /// Ends the batch: the sets that went, growth and shrinking.
    pub fn finish(&mut self) -> (Vec<SetName>, Vec<SetOp>, Vec<SetOp>) {
        let mut gone = Vec::new();
        let mut destroyed = Vec::new();
        for name in std::mem::take(&mut self.unheld) {
            if self.sets.get(&name).is_none_or(|content| content.holders > 0) {
                continue;
            }
            self.sets.remove(&name);
            self.touched.remove(&name);
            if !self.created.remove(&name) {
                destroyed.push(SetOp::Destroy { name: name.clone() });
            }
            gone.push(name);
        }
        let mut grow = Vec::new();
        for name in std::mem::take(&mut self.created) {
            let content = &self.sets[&name];
            // No rule leads to it before all of this has happened, so that it may be full at once.
            let members = content.members.to_vec();
            grow.push(SetOp::Create { family: content.family, kind: content.kind, members, name });
        }
        let (mut added, mut deleted) = (Vec::new(), Vec::new());
        for (name, members) in std::mem::take(&mut self.touched) {
            let content = &self.sets[&name];
            for (member, before) in members {
                let name = name.clone();
                match (before, content.members.contains(&member)) {
                    (false, true) => added.push((content.rank, SetOp::Add { name, member })),
                    (true, false) => deleted.push((content.rank, SetOp::Delete { name, member })),
                    _ => {}
                }
            }
        }
        added.sort_by_key(|(rank, _)| *rank);
        deleted.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        grow.extend(added.into_iter().map(|(_, op)| op));
        let shrink = deleted.into_iter().map(|(_, op)| op).chain(destroyed).collect();
        (gone, grow, shrink)
    }
}

#[cfg(test)]
#[path = "sets_tests.rs"]
mod tests;
