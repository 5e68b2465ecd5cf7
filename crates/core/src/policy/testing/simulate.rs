//! Executes compiled chains on a packet, one word of a rule at a time, and refuses words that it does not know.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::desired::{ChainKey, ChainRule, Member, SetName, SetSpec, Table};
use crate::model::{Cidr, Family};
use crate::policy::PolicyEngine;

#[derive(Clone, Debug)]
pub struct Packet {
    pub input: Option<String>,
    pub output: Option<String>,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub source_port: Option<u16>,
    pub port: Option<u16>,
    pub icmp: Option<(u8, u8)>,
    pub mark: u32,
    /// `NEW`, `ESTABLISHED`, `RELATED`, `INVALID`, `UNTRACKED`.
    pub state: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Accept,
    Drop,
    /// Nobody decided: the built-in chain goes on.
    Return,
}

pub struct Simulator {
    sets: BTreeMap<SetName, SetSpec>,
    chains: BTreeMap<ChainKey, Vec<ChainRule>>,
}

impl Simulator {
    pub fn new(engine: &PolicyEngine) -> Simulator {
        Simulator { sets: engine.sets(), chains: engine.chains().clone() }
    }

    /// What becomes of the packet on its way through the tables, with `chain` of filter.
    pub fn pass(&self, packet: &mut Packet, chain: &str) -> Fate {
        let before = match packet.input.is_some() {
            true => &[(Table::Raw, "rn-PREROUTING"), (Table::Mangle, "rn-PREROUTING")][..],
            false => &[(Table::Raw, "rn-OUTPUT")],
        };
        if before.iter().any(|(table, chain)| self.run(packet, *table, chain) == Fate::Drop) {
            return Fate::Drop;
        }
        let fate = self.run(packet, Table::Filter, chain);
        let leaves = fate != Fate::Drop && packet.output.is_some();
        if leaves && self.run(packet, Table::Mangle, "rn-POSTROUTING") == Fate::Drop {
            return Fate::Drop;
        }
        fate
    }

    fn run(&self, packet: &mut Packet, table: Table, name: &str) -> Fate {
        let key = ChainKey { family: Family::of(packet.source), table, name: name.to_string() };
        let rules = self.chains.get(&key).unwrap_or_else(|| panic!("{key} is not there"));
        for rule in rules {
            if let Some(fate) = self.rule(packet, table, &rule.text) {
                return fate;
            }
        }
        Fate::Return
    }

    /// `None`: the next rule.
    fn rule(&self, packet: &mut Packet, table: Table, text: &str) -> Option<Fate> {
        let mut words = text.split_whitespace();
        let mut not = false;
        for option in ["-s", "-d", "-p", "-i", "-o"] {
            assert!(text.split_whitespace().filter(|word| *word == option).count() < 2, "{text}: {option} twice");
        }
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{text}: {word} needs a value"));
            let matched = match word {
                "!" => {
                    not = true;
                    continue;
                }
                "-m" => {
                    value();
                    continue;
                }
                "-j" => {
                    let target = value();
                    return self.jump(packet, table, target, words.next().map(|option| (option, words.next())));
                }
                "-g" => return Some(self.run(packet, table, value())),
                "-i" => interface(&packet.input, value()),
                "-o" => interface(&packet.output, value()),
                "-s" => net(value()).contains(packet.source),
                "-d" => net(value()).contains(packet.destination),
                "-p" => packet.protocol == protocol(value()),
                "--match-set" => self.in_set(packet, value(), words.next().expect("directions")),
                "--mark" => masked(value(), |bits, mask| packet.mark & mask == bits),
                "--ctstate" => value().split(',').any(|state| state == packet.state),
                "--limit" => {
                    value();
                    true
                }
                "--sport" => ports(value(), packet.source_port),
                "--dport" => ports(value(), packet.port),
                "--sports" => ports(value(), packet.source_port),
                "--dports" => ports(value(), packet.port),
                "--icmp-type" | "--icmpv6-type" => icmp(value(), packet.icmp),
                other => panic!("{text}: what is {other}?"),
            };
            if matched == std::mem::take(&mut not) {
                return None;
            }
        }
        panic!("{text}: no target")
    }

    fn jump(
        &self,
        packet: &mut Packet,
        table: Table,
        target: &str,
        option: Option<(&str, Option<&str>)>,
    ) -> Option<Fate> {
        match (target, option) {
            ("ACCEPT", None) => Some(Fate::Accept),
            ("DROP", None) => Some(Fate::Drop),
            ("RETURN", None) => Some(Fate::Return),
            ("LOG", Some(("--log-prefix", Some(_)))) => None,
            ("CT", Some(("--notrack", None))) => {
                packet.state = "UNTRACKED";
                None
            }
            ("MARK", Some(("--set-xmark", Some(value)))) => {
                let mark = packet.mark;
                packet.mark = masked(value, |bits, mask| (mark & !mask) ^ bits);
                None
            }
            (chain, None) => match self.run(packet, table, chain) {
                Fate::Return => None,
                fate => Some(fate),
            },
            other => panic!("what is {other:?}?"),
        }
    }

    fn in_set(&self, packet: &Packet, name: &str, directions: &str) -> bool {
        let set = self.sets.get(name).unwrap_or_else(|| panic!("{name} is not there"));
        let (address, interface, asked_port) = match directions {
            "src" => (packet.source, None, None),
            "dst" => (packet.destination, None, None),
            "src,src" => (packet.source, Some(&packet.input), packet.source_port),
            "dst,dst" => (packet.destination, Some(&packet.output), packet.port),
            other => panic!("what is {other}?"),
        };
        set.members.iter().any(|member| match (member, interface) {
            (Member::Net(net), None) => net.contains(address),
            (Member::NetIface(net, name), Some(interface)) => {
                net.contains(address) && interface.as_deref() == Some(name.as_str())
            }
            (Member::IpPort(held, protocol, port), Some(_)) => {
                *held == address && protocol.0 == packet.protocol && Some(*port) == asked_port
            }
            _ => panic!("{name} is asked by {directions}"),
        })
    }
}

fn interface(actual: &Option<String>, wanted: &str) -> bool {
    match (actual, wanted.strip_suffix('+')) {
        (Some(actual), Some(prefix)) => actual.starts_with(prefix),
        (Some(actual), None) => actual == wanted,
        (None, _) => false,
    }
}

fn net(text: &str) -> Cidr {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn protocol(text: &str) -> u8 {
    match text {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" => 58,
        "sctp" => 132,
        "udplite" => 136,
        number => number.parse().unwrap_or_else(|_| panic!("what protocol is {number}?")),
    }
}

fn masked<T>(text: &str, then: impl Fn(u32, u32) -> T) -> T {
    let number = |hex: &str| u32::from_str_radix(hex.trim_start_matches("0x"), 16).expect("a hexadecimal number");
    let (bits, mask) = text.split_once('/').expect("MARK/MASK");
    then(number(bits), number(mask))
}

fn ports(list: &str, port: Option<u16>) -> bool {
    let parts: Vec<&str> = list.split(',').collect();
    let cost: usize = parts.iter().map(|part| if part.contains(':') { 2 } else { 1 }).sum();
    assert!(cost <= 15, "{list}: multiport takes 15 at most");
    let number = |text: &str| text.parse::<u16>().expect("a port");
    port.is_some_and(|port| {
        parts.iter().any(|part| match part.split_once(':') {
            Some((first, last)) => (number(first)..=number(last)).contains(&port),
            None => number(part) == port,
        })
    })
}

fn icmp(wanted: &str, actual: Option<(u8, u8)>) -> bool {
    let number = |text: &str| text.parse::<u8>().expect("a type or code");
    let (kind, code) = match wanted.split_once('/') {
        Some((kind, code)) => (number(kind), Some(number(code))),
        None => (number(wanted), None),
    };
    actual.is_some_and(|actual| actual.0 == kind && code.is_none_or(|code| code == actual.1))
}
