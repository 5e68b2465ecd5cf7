//! Set contents, counted by reference; their growth and shrinking in the order in which they must happen.
//!
//! Owned by the engine. A member stays as long as anybody has it; a set stays as long as a chain needs it. What a
//! batch of changes did and undid does not show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::desired::{Member, SetKind, SetName, SetOp, SetSpec};
use crate::model::{Cidr, Family, NamedPort, NetworkName, Protocol, stable_hash};

use super::selector::Selector;
use super::subjects::Subject;

/// A set of addresses that rules match, by what is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AddressSet {
    pub family: Family,
    pub source: AddressSource,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// The members that a subject whom its selector matches has in it.
    pub fn members_of(&self, subject: &Subject) -> Vec<Member> {
        let AddressSource::Port { protocol, name, .. } = &self.source else {
            return subject.nets().into_iter().flat_map(|net| members_of(net, self.family)).collect();
        };
        let meant = |port: &&NamedPort| port.name == *name && protocol.is_none_or(|protocol| protocol == port.protocol);
        let addresses = subject.addresses().iter().filter(|address| Family::of(**address) == self.family);
        let of = |address: &IpAddr| {
            let ports = subject.ports().iter().filter(meant);
            ports.map(|port| Member::IpPort(*address, port.protocol, port.port)).collect::<BTreeSet<_>>()
        };
        addresses.flat_map(of).collect()
    }
}

/// The prefix as members of a set of the family: none if it is of the other one, two halves for a /0, which the kernel
/// refuses in these sets.
pub(super) fn members_of(net: Cidr, family: Family) -> Vec<Member> {
    if net.family() != family {
        return Vec::new();
    }
    if net.length() > 0 {
        return vec![Member::Net(net)];
    }
    let upper = net.nth(net_half(family)).expect("a /0 has an upper half");
    [net.address(), upper].map(|a| Member::Net(Cidr::new(a, 1).expect("1 is a valid length"))).to_vec()
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
    members: BTreeMap<Member, u32>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct SetTable {
    sets: BTreeMap<SetName, Content>,
    /// What the batch touched, and whether it was there before.
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
        self.sets.insert(name.clone(), Content { family, kind, rank, holders: 1, members: BTreeMap::new() });
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
        let count = content.members.entry(member.clone()).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.touched.entry(name.clone()).or_default().entry(member).or_insert(false);
        }
    }

    pub fn remove(&mut self, name: &SetName, member: &Member) {
        let content = self.sets.get_mut(name).expect("a set is held while it has members");
        let Some(count) = content.members.get_mut(member) else { return };
        *count -= 1;
        if *count == 0 {
            content.members.remove(member);
            self.touched.entry(name.clone()).or_default().entry(member.clone()).or_insert(true);
        }
    }

    /// The members of a set, each once.
    pub fn members(&self, name: &SetName) -> Vec<Member> {
        self.sets.get(name).map(|content| content.members.keys().cloned().collect()).unwrap_or_default()
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
            members: content.members.keys().cloned().collect(),
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
            grow.push(SetOp::Create { family: content.family, kind: content.kind, name });
        }
        let (mut added, mut deleted) = (Vec::new(), Vec::new());
        for (name, members) in std::mem::take(&mut self.touched) {
            let content = &self.sets[&name];
            for (member, before) in members {
                let name = name.clone();
                match (before, content.members.contains_key(&member)) {
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
