//! Names, mark bits, and the chains of a family that stand as long as the agent is installed.
//!
//! They close everything that no group knows: an interface of ours without an entry is dropped also while the agent
//! is dead. Packets that neither come from nor go to a workload return untouched, as long as no host endpoint of this
//! host has something to say of them ([`super::host`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::desired::{ChainKey, ChainRule, Hook, Settings, Table};
use crate::model::{Family, ObjectKey, stable_hash};

use super::Direction;
use super::host::Gate;

/// Our mark bits: the lowest three of the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// The part that was asked last lets the packet through.
    pub accept: u32,
    /// A policy hands the packet on to what comes after its tier.
    pub pass: u32,
    /// A packet of the host's own whose destination was translated: its interface is known after routing only.
    pub local: u32,
}

impl Marks {
    /// `mask` has three bits at least: the configuration is refused otherwise.
    pub fn new(mask: u32) -> Marks {
        let lowest = |bits: u32| bits & bits.wrapping_neg();
        let accept = lowest(mask);
        let pass = lowest(mask & !accept);
        Marks { accept, pass, local: lowest(mask & !accept & !pass) }
    }

    pub fn is_set(mark: u32) -> String {
        format!("-m mark --mark {mark:#x}/{mark:#x}")
    }

    pub fn is_clear(mark: u32) -> String {
        format!("-m mark --mark 0x0/{mark:#x}")
    }

    pub fn set(mark: u32) -> String {
        format!("-j MARK --set-xmark {mark:#x}/{mark:#x}")
    }

    /// Before the next tier, which may pass a packet on again.
    pub fn clear_pass(self) -> String {
        format!("-j MARK --set-xmark 0x0/{:#x}", self.pass)
    }

    /// Before a verdict is asked for.
    pub fn clear(self) -> String {
        format!("-j MARK --set-xmark 0x0/{:#x}", self.accept | self.pass)
    }

    /// Where a packet comes into the host's tables.
    fn clear_all(self) -> String {
        format!("-j MARK --set-xmark 0x0/{:#x}", self.accept | self.pass | self.local)
    }
}

/// The bits of the mask that our rules set and look at. `mask` has three bits at least.
pub fn mark_bits(mask: u32) -> u32 {
    let marks = Marks::new(mask);
    marks.accept | marks.pass | marks.local
}

/// Sets the accept mark; reached by goto, so that it returns to whoever asked.
pub(super) const ALLOW: &str = "rn-allow";
/// Sets the pass mark, likewise.
pub(super) const PASS: &str = "rn-pass";

/// The root of the tree in which a packet finds its group.
pub(super) const fn root_chain(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "rn-to-wl",
        Direction::Egress => "rn-from-wl",
    }
}

const fn letter(direction: Direction) -> char {
    match direction {
        Direction::Ingress => 'i',
        Direction::Egress => 'e',
    }
}

/// How a `hash:net,iface` set is asked in the direction.
pub(super) const fn pair(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "dst,dst",
        Direction::Egress => "src,src",
    }
}

pub(super) fn group_chain(direction: Direction, id: &str) -> String {
    format!("rn-g{}-{id}", letter(direction))
}

pub(super) fn group_set(family: Family, direction: Direction, id: &str) -> String {
    format!("rn{}-g{}-{id}", family.digit(), letter(direction))
}

pub(super) fn node_chain(direction: Direction, path: &str) -> String {
    format!("rn-n{}-{path}", letter(direction))
}

pub(super) fn node_set(family: Family, direction: Direction, path: &str) -> String {
    format!("rn{}-n{}-{path}", family.digit(), letter(direction))
}

pub(super) fn policy_chain(direction: Direction, key: &ObjectKey) -> String {
    let hash = stable_hash([key.kind.word(), key.namespace.as_deref().unwrap_or_default(), &key.name], 20);
    format!("rn-p{}-{hash}", letter(direction))
}

/// The set of (address, interface) of the local workloads.
pub(super) fn local_set(family: Family) -> String {
    format!("rn{}-local", family.digit())
}

/// The set of (address, port) of the local workloads that the host's ports lead to.
pub(super) fn published_set(family: Family) -> String {
    format!("rn{}-published", family.digit())
}

pub(super) fn chain_in(family: Family, table: Table, name: impl Into<String>) -> ChainKey {
    ChainKey { family, table, name: name.into() }
}

pub(super) fn filter_chain(family: Family, name: impl Into<String>) -> ChainKey {
    chain_in(family, Table::Filter, name)
}

pub(super) fn plain(text: impl Into<Arc<str>>) -> ChainRule {
    ChainRule { text: text.into(), origin: None }
}

const HOOKS: [(Table, &str, &str); 7] = [
    (Table::Raw, "PREROUTING", "rn-PREROUTING"),
    (Table::Raw, "OUTPUT", "rn-OUTPUT"),
    (Table::Mangle, "PREROUTING", "rn-PREROUTING"),
    (Table::Mangle, "POSTROUTING", "rn-POSTROUTING"),
    (Table::Filter, "FORWARD", "rn-FORWARD"),
    (Table::Filter, "INPUT", "rn-INPUT"),
    (Table::Filter, "OUTPUT", "rn-OUTPUT"),
];

pub(super) fn hooks() -> BTreeSet<Hook> {
    Family::BOTH
        .into_iter()
        .flat_map(|family| {
            HOOKS.map(|(table, builtin, chain)| Hook { family, table, builtin, chain: chain.to_string() })
        })
        .collect()
}

/// The chains that hooks and other chains of the frame lead to; `hosts`: where host endpoints are asked. The roots of the
/// trees are not among them.
pub(super) fn chains(settings: &Settings, hosts: &BTreeSet<Gate>) -> BTreeMap<ChainKey, Vec<ChainRule>> {
    let marks = Marks::new(settings.mark_mask);
    let mut chains = BTreeMap::new();
    for family in Family::BOTH {
        let mut put = |table, name: &str, rules: Vec<String>| {
            let key = ChainKey { family, table, name: name.to_string() };
            chains.insert(key, rules.into_iter().map(plain).collect());
        };
        put(Table::Raw, "rn-PREROUTING", prerouting(family, marks, hosts));
        put(Table::Raw, "rn-OUTPUT", raw_output(marks, hosts));
        put(Table::Mangle, "rn-PREROUTING", pre_dnat(marks, hosts));
        put(Table::Mangle, "rn-POSTROUTING", translated(marks, hosts));
        if family == Family::V6 {
            put(Table::Raw, "rn-link-local", link_local());
        }
        put(Table::Filter, "rn-FORWARD", forward(marks, hosts));
        put(Table::Filter, "rn-INPUT", input(marks, hosts));
        put(Table::Filter, "rn-wl-to-host", workload_to_host(family, marks, settings.workload_to_host));
        put(Table::Filter, "rn-OUTPUT", output(marks, hosts));
        for table in
            std::iter::once(Table::Filter).chain(hosts.iter().map(|gate| gate.table())).collect::<BTreeSet<_>>()
        {
            put(table, ALLOW, vec![Marks::set(marks.accept)]);
            put(table, PASS, vec![Marks::set(marks.pass)]);
        }
    }
    chains
}

/// A workload speaks from its own addresses only. This stands before conntrack, which would let a forged packet of an
/// established connection through.
fn prerouting(family: Family, marks: Marks, hosts: &BTreeSet<Gate>) -> Vec<String> {
    let mut rules = Vec::new();
    if !hosts.is_empty() {
        rules.push(marks.clear_all());
    }
    if family == Family::V6 {
        for source in ["fe80::/10", "::/128"] {
            rules.push(format!("-i rnw+ -s {source} -g rn-link-local"));
        }
    }
    // The host's own services: an interface of ours takes loopback addresses where a port is published.
    if family == Family::V4 {
        rules.push("-i rnw+ -d 127.0.0.0/8 -j DROP".to_string());
    }
    rules.push(format!("-i rnw+ -m set ! --match-set {} src,src -j DROP", local_set(family)));
    rules.extend(Gate::UntrackedIn.jump(hosts));
    rules
}

fn raw_output(marks: Marks, hosts: &BTreeSet<Gate>) -> Vec<String> {
    let clear = (!hosts.is_empty()).then(|| marks.clear_all());
    clear.into_iter().chain(Gate::UntrackedOut.jump(hosts)).collect()
}

/// Only what begins a connection, and was not let through untracked.
fn pre_dnat(marks: Marks, hosts: &BTreeSet<Gate>) -> Vec<String> {
    let Some(jump) = Gate::PreDnat.jump(hosts) else { return Vec::new() };
    let known = "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN".to_string();
    vec![known, format!("{} -j RETURN", Marks::is_set(marks.accept)), jump]
}

/// What the host sends to a translated destination, now that its interface is known.
fn translated(marks: Marks, hosts: &BTreeSet<Gate>) -> Vec<String> {
    let jump = Gate::TranslatedOut.jump(hosts);
    jump.map(|jump| format!("{} {jump}", Marks::is_set(marks.local))).into_iter().collect()
}

fn input(marks: Marks, hosts: &BTreeSet<Gate>) -> Vec<String> {
    let mut rules = vec!["-i rnw+ -g rn-wl-to-host".to_string()];
    if let Some(jump) = Gate::HostIn.jump(hosts) {
        let accepted = format!("{} -j ACCEPT", Marks::is_set(marks.accept));
        rules.extend([accepted.clone(), marks.clear(), jump, accepted]);
    }
    rules
}

fn output(marks: Marks, hosts: &BTreeSet<Gate>) -> Vec<String> {
    let mut rules = vec!["-o rnw+ -j ACCEPT".to_string()];
    if let Some(jump) = Gate::HostOut.jump(hosts) {
        let accepted = format!("{} -j ACCEPT", Marks::is_set(marks.accept));
        let translated = format!("-m conntrack --ctstate DNAT {}", Marks::set(marks.local));
        rules.extend([accepted.clone(), marks.clear(), translated]);
        rules.push(format!("{} {jump}", Marks::is_clear(marks.local)));
        rules.push(accepted);
    }
    rules
}

/// Neighbour discovery with the host, and nothing else: an ICMPv6 error, say, could speak of other people's connections.
fn link_local() -> Vec<String> {
    let discovery = NEIGHBOUR_DISCOVERY.map(|kind| format!("-p icmpv6 -m icmp6 --icmpv6-type {kind} -j RETURN"));
    discovery.into_iter().chain(["-j DROP".to_string()]).collect()
}

fn forward(marks: Marks, hosts: &BTreeSet<Gate>) -> Vec<String> {
    let mut rules = Vec::new();
    // What was let through before connections are tracked, or addresses translated, has passed its host endpoint.
    rules.extend(Gate::ForwardIn.jump(hosts).map(|jump| format!("{} {jump}", Marks::is_clear(marks.accept))));
    for end in ["-i rnw+", "-o rnw+"] {
        rules.push(format!("{end} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
        rules.push(format!("{end} -m conntrack --ctstate INVALID -j DROP"));
    }
    for (end, direction) in [("-i rnw+", Direction::Egress), ("-o rnw+", Direction::Ingress)] {
        rules.push(format!("{end} {}", marks.clear()));
        rules.push(format!("{end} -j {}", root_chain(direction)));
        rules.push(format!("{end} {} -j DROP", Marks::is_clear(marks.accept)));
    }
    rules.extend(Gate::ForwardOut.jump(hosts));
    // Not a return: other people's FORWARD policy may be DROP (dockerd sets it).
    rules.extend(["-i rnw+ -j ACCEPT".to_string(), "-o rnw+ -j ACCEPT".to_string()]);
    if hosts.contains(&Gate::ForwardIn) || hosts.contains(&Gate::ForwardOut) {
        rules.push(format!("{} -j ACCEPT", Marks::is_set(marks.accept)));
    }
    rules
}

/// Router solicitation, neighbour solicitation and neighbour advertisement (RFC 4861).
pub(super) const NEIGHBOUR_DISCOVERY: [u8; 3] = [133, 135, 136];

/// These and router advertisement: without them nobody on a link finds a host, nor the host anybody, and the failsafe ports
/// would be of no use. Host endpoints let them pass as they let ARP.
pub(super) const LINK_DISCOVERY: [u8; 4] = [133, 134, 135, 136];

fn workload_to_host(family: Family, marks: Marks, open: bool) -> Vec<String> {
    let mut rules = vec!["-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_string()];
    if family == Family::V6 {
        for kind in NEIGHBOUR_DISCOVERY {
            rules.push(format!("-p icmpv6 -m icmp6 --icmpv6-type {kind} -j ACCEPT"));
        }
    }
    rules.push("-m conntrack --ctstate INVALID -j DROP".to_string());
    rules.push(marks.clear());
    rules.push(format!("-j {}", root_chain(Direction::Egress)));
    rules.push(format!("{} -j DROP", Marks::is_clear(marks.accept)));
    rules.push(if open { "-j ACCEPT" } else { "-j DROP" }.to_string());
    rules
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
