//! The traffic that rules tell apart: ranges of ports between which no rule draws a line.

use std::collections::{BTreeMap, BTreeSet};

use super::classes::Party;
use crate::model::{IcmpMatch, PolicyRule, Protocol};

/// Traffic that all rules treat alike; the first stands for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub protocol: Protocol,
    pub port: Option<u16>,
    /// The last of the range that `port` begins.
    pub last: u16,
    pub icmp: Option<IcmpMatch>,
}

impl Range {
    pub fn text(&self) -> String {
        let protocol = self.protocol;
        match (self.port, self.icmp) {
            (Some(first), _) if first == self.last => format!("{protocol}/{first}"),
            (Some(first), _) => format!("{protocol}/{first}-{}", self.last),
            (None, Some(icmp)) => format!("{protocol} type {}", icmp.kind),
            (None, None) => protocol.to_string(),
        }
    }
}

/// What the rules, and the ports that parties give names to, tell apart.
pub fn ranges(rules: &[PolicyRule], parties: &[Party]) -> Vec<Range> {
    let mut protocols = BTreeSet::from([Protocol::TCP, Protocol::UDP]);
    let mut lines: BTreeSet<u32> = BTreeSet::from([1]);
    let mut icmp: BTreeMap<u8, Option<u8>> = BTreeMap::from([(8, Some(0))]);
    for rule in rules {
        protocols.extend(rule.protocol.into_iter().chain(rule.not_protocol));
        for side in [&rule.source, &rule.destination] {
            for range in side.ports.iter().chain(&side.not_ports) {
                lines.extend([u32::from(range.first.max(1)), u32::from(range.last) + 1]);
            }
        }
        for kind in rule.icmp.iter().chain(&rule.not_icmp) {
            icmp.insert(kind.kind, kind.code);
        }
    }
    for port in parties.iter().filter_map(|party| party.endpoint.as_ref()).flat_map(|endpoint| &endpoint.ports) {
        lines.extend([u32::from(port.port), u32::from(port.port) + 1]);
    }
    lines.retain(|line| *line <= u32::from(u16::MAX));
    let starts: Vec<u16> = lines.iter().map(|line| *line as u16).collect();
    let mut ranges = Vec::new();
    for protocol in protocols.iter().filter(|protocol| !matches!(**protocol, Protocol::ICMP | Protocol::ICMPV6)) {
        if !protocol.has_ports() {
            ranges.push(Range { protocol: *protocol, port: None, last: 0, icmp: None });
            continue;
        }
        for (index, first) in starts.iter().enumerate() {
            let last = starts.get(index + 1).map_or(u16::MAX, |next| next - 1);
            ranges.push(Range { protocol: *protocol, port: Some(*first), last, icmp: None });
        }
    }
    for (kind, code) in icmp {
        let icmp = Some(IcmpMatch { kind, code: code.or(Some(0)) });
        ranges.push(Range { protocol: Protocol::ICMP, port: None, last: 0, icmp });
    }
    ranges
}
