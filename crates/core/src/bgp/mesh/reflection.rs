//! Who speaks with whom where a full mesh would be too large: a few nodes reflect (RFC 4456), every other node has two of
//! them, and all nodes come to the same plan without asking each other (rendezvous hashing).

use std::collections::{BTreeMap, BTreeSet};

use crate::model::stable_hash;

/// How many reflectors a node has: one may go without a route being lost.
pub const REFLECTORS_A_NODE: usize = 2;
/// Clients that one reflector takes on average, before there is another reflector.
const CLIENTS: usize = 250;
/// Fewer would leave nobody to choose from when one of them goes.
const REFLECTORS_LEAST: usize = 4;

/// How a node holds another in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// A plain internal neighbour: any in a full mesh, for a client its reflector, for a reflector another one.
    Plain,
    /// We reflect for it.
    Client,
}

/// The reflectors, and those of each other node, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reflection {
    pub reflectors: BTreeSet<String>,
    pub of: BTreeMap<String, BTreeSet<String>>,
}

impl Reflection {
    /// With whom a node has sessions, and how it holds them.
    pub fn peers(&self, node: &str) -> BTreeMap<&str, Hold> {
        if let Some(reflectors) = self.of.get(node) {
            return reflectors.iter().map(|reflector| (reflector.as_str(), Hold::Plain)).collect();
        }
        let others = self.reflectors.iter().filter(|other| *other != node).map(|other| (other.as_str(), Hold::Plain));
        let clients = self.of.iter().filter(|(_, reflectors)| reflectors.contains(node));
        let clients = clients.map(|(client, _)| (client.as_str(), Hold::Client));
        others.filter(|_| self.reflectors.contains(node)).chain(clients).collect()
    }
}

/// How many of so many nodes reflect.
pub fn reflector_count(nodes: usize) -> usize {
    nodes.div_ceil(CLIENTS / REFLECTORS_A_NODE).max(REFLECTORS_LEAST)
}

/// The plan for these nodes with so many reflectors. A node that comes or goes changes one reflector at most, and that moves
/// only the nodes whose reflector it is, or becomes.
pub fn reflectors<'a>(nodes: impl IntoIterator<Item = &'a str>, count: usize) -> Reflection {
    let nodes: BTreeSet<&str> = nodes.into_iter().collect();
    let reflectors = highest("reflector", nodes.iter().copied(), count);
    let others = nodes.iter().filter(|node| !reflectors.contains(**node));
    let of =
        others.map(|node| (node.to_string(), highest(node, reflectors.iter().map(String::as_str), REFLECTORS_A_NODE)));
    Reflection { of: of.collect(), reflectors }
}

/// Rendezvous hashing: those with the highest weights under the key. Another candidate takes the place of one, and moves no
/// other.
fn highest<'a>(key: &str, candidates: impl Iterator<Item = &'a str>, count: usize) -> BTreeSet<String> {
    let mut weighed: Vec<(String, &str)> =
        candidates.map(|candidate| (stable_hash([key, candidate], WEIGHT), candidate)).collect();
    weighed.sort_unstable_by(|a, b| b.cmp(a));
    weighed.into_iter().take(count).map(|(_, candidate)| candidate.to_string()).collect()
}

/// Digits of a weight: all of them equally long, so that their order is that of numbers.
const WEIGHT: usize = 16;

#[cfg(test)]
#[path = "reflection_tests.rs"]
mod tests;
