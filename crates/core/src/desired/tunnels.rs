//! Tunnel devices, and who may send through them. Called by [`super::Desired`].
//!
//! A device stands as long as some pool may need it, whether or not a route leads through it now: a node that changes over
//! finds its peers ready. Packets of tunnels are taken from nodes only, and from workloads never.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use super::encapsulation::overhead;
use super::{
    ChainKey, ChainRule, FactDelta, Hook, Member, RulesDelta, SetKind, SetName, SetSpec, Settings, Table, Tunnel,
    TunnelPeer,
};
use crate::model::{Cidr, EncapsulationMode, Family, Node, NodeName, Pool, PoolName, TunnelKind, stable_hash};

/// What comes in at the host: encapsulated packets of nodes, and of nobody else. Its name sorts before that of policy's
/// chain, and so does its hook: host endpoints govern what is inside.
const IN: &str = "rn-ENCAP-IN";
/// What the host sends: encapsulated packets to nodes, likewise.
const SENT: &str = "rn-ENCAP-OUT";
/// What comes from workloads: nothing encapsulated.
const OUT: &str = "rn-tunnel-out";

const HOOKS: [(Table, &str, &str); 3] =
    [(Table::Filter, "INPUT", IN), (Table::Filter, "OUTPUT", SENT), (Table::Raw, "PREROUTING", OUT)];

/// The tunnels of one host.
pub struct TunnelEngine {
    settings: Settings,
    pools: BTreeMap<PoolName, Pool>,
    nodes: BTreeMap<NodeName, Node>,
    addresses: BTreeMap<TunnelKind, BTreeSet<IpAddr>>,
    tunnels: BTreeMap<TunnelKind, Tunnel>,
    chains: BTreeMap<ChainKey, Vec<ChainRule>>,
    sets: BTreeMap<SetName, SetSpec>,
}

/// What a batch of facts changed.
#[derive(Default)]
pub struct TunnelsDelta {
    /// `None`: remove.
    pub tunnels: BTreeMap<TunnelKind, Option<Tunnel>>,
    pub rules: RulesDelta,
}

impl TunnelEngine {
    pub fn new(settings: Settings) -> TunnelEngine {
        let mut engine = TunnelEngine {
            settings,
            pools: BTreeMap::new(),
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
        };
        engine.chains = engine.wanted_chains();
        engine.sets = engine.wanted_sets();
        engine
    }

    pub fn tunnels(&self) -> &BTreeMap<TunnelKind, Tunnel> {
        &self.tunnels
    }

    pub fn chains(&self) -> &BTreeMap<ChainKey, Vec<ChainRule>> {
        &self.chains
    }

    pub fn sets(&self) -> &BTreeMap<SetName, SetSpec> {
        &self.sets
    }

    /// The jumps from the built-in chains; they never change.
    pub fn hooks() -> BTreeSet<Hook> {
        let of_family =
            |family| HOOKS.map(|(table, builtin, chain)| Hook { family, table, builtin, chain: chain.to_string() });
        Family::BOTH.into_iter().flat_map(of_family).collect()
    }

    /// Takes changes of facts; answers what should now differ.
    pub fn apply(&mut self, facts: &[FactDelta]) -> TunnelsDelta {
        let mut touched = false;
        for fact in facts {
            match fact {
                FactDelta::Pool(name, pool) => set(&mut self.pools, name, pool.as_ref()),
                FactDelta::Node(name, node) => set(&mut self.nodes, name, node.as_ref()),
                FactDelta::TunnelAddress(kind, address, held) => {
                    let addresses = self.addresses.entry(*kind).or_default();
                    if *held {
                        addresses.insert(*address)
                    } else {
                        addresses.remove(address)
                    };
                }
                _ => continue,
            }
            touched = true;
        }
        let mut delta = TunnelsDelta::default();
        if touched {
            self.settle(&mut delta);
        }
        delta
    }

    fn settle(&mut self, delta: &mut TunnelsDelta) {
        let wanted: BTreeMap<TunnelKind, Tunnel> =
            TunnelKind::ALL.into_iter().filter_map(|kind| Some((kind, self.tunnel(kind)?))).collect();
        for kind in TunnelKind::ALL {
            if self.tunnels.get(&kind) != wanted.get(&kind) {
                delta.tunnels.insert(kind, wanted.get(&kind).cloned());
            }
        }
        self.tunnels = wanted;
        let wanted = self.wanted_sets();
        delta.rules.change_members(&self.sets, &wanted);
        self.sets = wanted;
        for (key, rules) in self.wanted_chains() {
            if self.chains.get(&key) != Some(&rules) {
                self.chains.insert(key.clone(), rules.clone());
                delta.rules.chains.insert(key, Some(rules));
            }
        }
    }

    /// Whether some pool may send by such a tunnel.
    fn is_used(&self, kind: TunnelKind) -> bool {
        let uses =
            |pool: &&Pool| pool.encapsulation.mode != EncapsulationMode::Never && pool.encapsulation.device == kind;
        self.pools.values().any(|pool| uses(&pool))
    }

    /// The outer address of this host.
    fn local(&self, kind: TunnelKind) -> Option<IpAddr> {
        let v6 = self.settings.address6.map(IpAddr::V6).filter(|_| kind == TunnelKind::Vxlan);
        self.settings.address4.map(IpAddr::V4).or(v6)
    }

    fn tunnel(&self, kind: TunnelKind) -> Option<Tunnel> {
        let local = self.local(kind).filter(|_| self.is_used(kind))?;
        let others = self.nodes.values().filter(|node| node.name != self.settings.node);
        let peer = |node: &Node| {
            let addresses = Family::BOTH.into_iter().filter_map(|family| node.address(family));
            let outer = addresses.clone().find(|address| address.is_ipv4() == local.is_ipv4())?;
            let hops = addresses.map(|address| inner_hop(&node.name, address)).collect();
            Some((node.name.clone(), TunnelPeer { mac: vtep_mac(&node.name), outer, hops }))
        };
        Some(Tunnel {
            kind,
            local,
            mtu: self.settings.underlay_mtu.saturating_sub(overhead(kind, local.is_ipv4())),
            addresses: self.addresses.get(&kind).cloned().unwrap_or_default(),
            mac: vtep_mac(&self.settings.node),
            port: self.settings.vxlan_port,
            peers: if kind == TunnelKind::Vxlan { others.filter_map(peer).collect() } else { BTreeMap::new() },
        })
    }

    fn wanted_sets(&self) -> BTreeMap<SetName, SetSpec> {
        let set = |family| {
            let addresses = self.nodes.values().filter_map(|node: &Node| node.address(family));
            let members = addresses.map(|address| Member::Net(Cidr::host(address))).collect();
            (nodes_set(family), SetSpec { family, kind: SetKind::HashNet, members })
        };
        Family::BOTH.map(set).into()
    }

    fn wanted_chains(&self) -> BTreeMap<ChainKey, Vec<ChainRule>> {
        let mut chains = BTreeMap::new();
        for family in Family::BOTH {
            let carried = self.carriers(family);
            let nodes = nodes_set(family);
            let taken = carried.iter().flat_map(|carrier| {
                [format!("{carrier} -m set --match-set {nodes} src -j ACCEPT"), format!("{carrier} -j DROP")]
            });
            let sent = carried.iter().map(|carrier| format!("{carrier} -m set --match-set {nodes} dst -j ACCEPT"));
            let refused = carried.iter().map(|carrier| format!("-i rnw+ {carrier} -j DROP"));
            for (table, name, rules) in [
                (Table::Filter, IN, taken.collect()),
                (Table::Filter, SENT, sent.collect()),
                (Table::Raw, OUT, refused.collect::<Vec<String>>()),
            ] {
                let key = ChainKey { family, table, name: name.to_string() };
                chains
                    .insert(key, rules.into_iter().map(|text| ChainRule { text: text.into(), origin: None }).collect());
            }
        }
        chains
    }

    /// How encapsulated packets look on the wire, in the tunnels that are used.
    fn carriers(&self, family: Family) -> Vec<String> {
        let mut carriers = Vec::new();
        if self.is_used(TunnelKind::Ipip) && family == Family::V4 {
            carriers.push("-p 4".to_string());
        }
        if self.is_used(TunnelKind::Vxlan) {
            carriers.push(format!("-p udp -m udp --dport {}", self.settings.vxlan_port));
        }
        carriers
    }
}

/// The set of the nodes' underlay addresses.
fn nodes_set(family: Family) -> SetName {
    format!("rn{}-nodes", family.digit())
}

/// The MAC address of a node's end of the VXLAN tunnel: locally administered, and known to all without asking.
fn vtep_mac(node: &NodeName) -> [u8; 6] {
    let hash = u64::from_str_radix(&stable_hash(["vtep", node.as_str()], 10), 16).unwrap_or(0);
    let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
    [0x02, a, b, c, d, e]
}

/// What routes through a tunnel name as their next hop, for a node that is reached by this address. For IPv6 it is an
/// address of the tunnel's own: the kernel takes none that is also on another link.
pub(super) fn inner_hop(node: &NodeName, address: IpAddr) -> IpAddr {
    if address.is_ipv4() {
        return address;
    }
    let [a, b, c, d, e, f] = vtep_mac(node).map(u16::from);
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, a << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f))
}

fn set<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, key: &K, value: Option<&V>) {
    match value {
        Some(value) => map.insert(key.clone(), value.clone()),
        None => map.remove(key),
    };
}

#[cfg(test)]
#[path = "tunnels_tests.rs"]
mod tests;
