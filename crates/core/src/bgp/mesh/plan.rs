//! One node's part of the mesh: a pure function of the store's nodes and of the cluster's setting, so all nodes that have
//! read the same come to plans that fit.

use std::collections::{BTreeMap, BTreeSet};

use super::reflection::{Hold, Reflection, reflector_count, reflectors};
use crate::model::{MeshLayout, stable_hash};

/// Nodes may have reflectors in common where their sessions are internal (RFC 4456 is iBGP's) and all have an address of one
/// family. Nodes of different classes have sessions with each other whatever the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub as_number: u32,
    pub ipv4: bool,
}

/// What a node is in the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes no part, or the mesh is off.
    Apart,
    /// It has a session with every other node.
    Full,
    Reflector {
        clients: usize,
    },
    Client {
        of: BTreeSet<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What nodes of one class know the plan by: the same while the same nodes reflect, whoever their clients are.
    pub name: String,
    pub role: Role,
    /// With whom this node has sessions, and how it holds them.
    pub peers: BTreeMap<String, Hold>,
    /// The other nodes of its class: a session that the plan no longer has goes when all of them have what it has.
    pub members: BTreeSet<String>,
    /// Nodes of other classes, with sessions whatever the plan.
    pub strangers: usize,
    /// Up to how many nodes the mesh is full; `None`: always.
    pub limit: Option<u32>,
    /// The reflectors of the class, where it has any.
    pub reflection: Option<Reflection>,
}

impl Plan {
    /// Without a mesh.
    pub fn apart() -> Plan {
        Plan {
            name: "off".to_string(),
            role: Role::Apart,
            peers: BTreeMap::new(),
            members: BTreeSet::new(),
            strangers: 0,
            limit: None,
            reflection: None,
        }
    }

    /// The plan of `own` among the `others` that take part.
    pub fn new<'a>(own: (&str, Class), others: impl Iterator<Item = (&'a str, Class)>, layout: MeshLayout) -> Plan {
        let (name, class) = own;
        let (alike, strangers): (Vec<_>, Vec<_>) =
            others.filter(|(other, _)| *other != name).partition(|(_, other)| *other == class);
        let members: BTreeSet<String> = alike.into_iter().map(|(other, _)| other.to_string()).collect();
        let limit = match layout {
            MeshLayout::Full => None,
            MeshLayout::Auto { limit } => Some(limit),
        };
        let count = members.len() + 1;
        let too_many = limit.is_some_and(|limit| count > limit as usize);
        let all = members.iter().map(String::as_str).chain([name]);
        let reflection = too_many.then(|| reflectors(all, reflector_count(count)));
        let (plan, role, mut peers) = match &reflection {
            None => {
                let peers = members.iter().map(|other| (other.clone(), Hold::Plain)).collect();
                ("full".to_string(), Role::Full, peers)
            }
            Some(reflection) => {
                let peers: BTreeMap<String, Hold> =
                    reflection.peers(name).into_iter().map(|(other, hold)| (other.to_string(), hold)).collect();
                let role = match reflection.of.get(name) {
                    Some(of) => Role::Client { of: of.clone() },
                    None => Role::Reflector { clients: peers.values().filter(|hold| **hold == Hold::Client).count() },
                };
                (stable_hash(reflection.reflectors.iter().map(String::as_str), NAME), role, peers)
            }
        };
        peers.extend(strangers.iter().map(|(other, _)| (other.to_string(), Hold::Plain)));
        Plan { name: plan, role, peers, members, strangers: strangers.len(), limit, reflection }
    }

    /// Why the mesh is laid out so, in words.
    pub fn why(&self) -> String {
        let count = self.members.len() + 1;
        match (&self.role, self.limit) {
            (Role::Apart, _) => "the mesh is off, for this node or for all".to_string(),
            (Role::Full, None) => "the mesh is full whatever its size".to_string(),
            (Role::Full, Some(limit)) => format!("{count} nodes, and up to {limit} the mesh is full"),
            (_, limit) => format!("{count} nodes, and the mesh is full up to {} only", limit.unwrap_or_default()),
        }
    }
}

/// Digits of a plan's name.
const NAME: usize = 16;

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
