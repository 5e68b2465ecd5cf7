//! One policy, in one direction and family, as rules of a chain, with the sets that they need.
//!
//! A rule that cannot match in the family is left out. One that needs several ranges of ports becomes several rules of
//! which a packet meets one at most. What lets through or hands on goes (not jumps) to a chain that sets the mark, so
//! that one line matches once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::desired::{ChainRule, RuleOrigin, SetName};
use crate::model::config::LogRules;
use crate::model::{Action, Cidr, EntityRule, Family, IcmpMatch, ObjectKey, PolicyRule, PortMatch, Protocol};

use super::Direction;
use super::frame::{ALLOW, PASS};
use super::scope::{ScopedPolicy, ScopedRule, ScopedSide};
use super::selector::Selector;
use super::sets::{AddressSet, AddressSource, SetNames};

/// What stands in a policy's chain, and what it matches on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CompiledPolicy {
    pub rules: Vec<ChainRule>,
    pub sets: BTreeMap<SetName, AddressSet>,
}

pub(super) fn compile(
    policy: &ScopedPolicy,
    direction: Direction,
    family: Family,
    log: &LogRules,
    names: &SetNames,
) -> CompiledPolicy {
    let mut compiled = CompiledPolicy::default();
    let key = Arc::new(policy.policy.key.clone());
    for (index, (rule, scoped)) in policy.rules(direction).enumerate() {
        let origin = RuleOrigin { policy: key.clone(), ingress: direction == Direction::Ingress, index };
        let texts = match scoped {
            ScopedRule::Unsound(_) => vec!["-j DROP".to_string()],
            ScopedRule::Sound { source, destination } => {
                let mut matcher = Matcher { family, names, sets: BTreeMap::new() };
                let target = target(rule.action, &policy.policy.key, log);
                let texts = matcher.rule(rule, source, destination, &target).unwrap_or_default();
                if !texts.is_empty() {
                    compiled.sets.append(&mut matcher.sets);
                }
                texts
            }
        };
        let rule = |text: String| ChainRule { text: text.into(), origin: Some(origin.clone()) };
        compiled.rules.extend(texts.into_iter().map(rule));
    }
    compiled
}

/// The longest that iptables takes.
const LOG_PREFIX: usize = 29;

/// The line in the kernel log names the policy.
fn log_target(key: &ObjectKey, log: &LogRules) -> String {
    let name = match &key.namespace {
        Some(namespace) => format!("{namespace}/{}", key.name),
        None => key.name.clone(),
    };
    let mut prefix = format!("{} {name}", log.prefix);
    prefix.truncate(LOG_PREFIX - 2);
    let limit = match log.per_second {
        0 => String::new(),
        number => format!("-m limit --limit {number}/second "),
    };
    format!("{limit}-j LOG --log-prefix \"{prefix}: \"")
}

fn target(action: Action, key: &ObjectKey, log: &LogRules) -> String {
    match action {
        Action::Allow => format!("-g {ALLOW}"),
        Action::Deny => "-j DROP".to_string(),
        Action::Pass => format!("-g {PASS}"),
        Action::Log => log_target(key, log),
    }
}

/// No packet of the family can match.
struct Never;

struct Matcher<'a> {
    family: Family,
    names: &'a SetNames,
    sets: BTreeMap<SetName, AddressSet>,
}

impl Matcher<'_> {
    fn rule(
        &mut self,
        rule: &PolicyRule,
        source: &ScopedSide,
        destination: &ScopedSide,
        target: &str,
    ) -> Result<Vec<String>, Never> {
        if rule.ip_version.is_some_and(|version| version != if self.family == Family::V4 { 4 } else { 6 }) {
            return Err(Never);
        }
        let mut matches = Vec::new();
        self.protocol(rule, &mut matches)?;
        self.addresses("-s", "src", &rule.source, source, &mut matches)?;
        self.addresses("-d", "dst", &rule.destination, destination, &mut matches)?;
        not_ports("--sports", &rule.source.not_ports, &mut matches);
        not_ports("--dports", &rule.destination.not_ports, &mut matches);
        for (side, entity, scoped) in [("src", &rule.source, source), ("dst", &rule.destination, destination)] {
            for name in &entity.not_named_ports {
                let set = self.port_set(name, rule.protocol, scoped);
                matches.push(format!("-m set ! --match-set {set} {side},{side}"));
            }
        }
        icmp(rule, &mut matches);
        let mut texts = Vec::new();
        let all_sports = self.ports("--sports", "src", &rule.source, rule.protocol, source);
        let all_dports = self.ports("--dports", "dst", &rule.destination, rule.protocol, destination);
        for sports in &all_sports {
            for dports in &all_dports {
                let parts = matches.iter().map(String::as_str).chain(sports.as_deref()).chain(dports.as_deref());
                texts.push(parts.chain([target]).collect::<Vec<_>>().join(" "));
            }
        }
        Ok(texts)
    }

    /// ICMP is not a protocol of IPv6, nor ICMPv6 one of IPv4.
    fn protocol(&self, rule: &PolicyRule, matches: &mut Vec<String>) -> Result<(), Never> {
        let foreign = match self.family {
            Family::V4 => Protocol::ICMPV6,
            Family::V6 => Protocol::ICMP,
        };
        match (rule.protocol, rule.not_protocol) {
            (Some(protocol), not) if protocol == foreign || not == Some(protocol) => return Err(Never),
            (Some(protocol), _) => matches.push(format!("-p {protocol}")),
            (None, Some(not)) if not != foreign => matches.push(format!("! -p {not}")),
            (None, _) => {}
        }
        Ok(())
    }

    fn addresses(
        &mut self,
        option: &str,
        side: &str,
        entity: &EntityRule,
        scoped: &ScopedSide,
        matches: &mut Vec<String>,
    ) -> Result<(), Never> {
        let nets = self.own(&entity.nets);
        if !entity.nets.is_empty() && !nets.iter().any(|net| net.length() == 0) {
            self.nets(option, side, "", nets, matches).ok_or(Never)?;
        }
        self.nets(option, side, "! ", self.own(&entity.not_nets), matches);
        if let Some(selector) = &scoped.wanted {
            let name = self.set(AddressSource::Selector(selector.clone()));
            matches.push(format!("-m set --match-set {name} {side}"));
        }
        if let Some(selector) = &scoped.unwanted {
            let name = self.set(AddressSource::Selector(selector.clone()));
            matches.push(format!("-m set ! --match-set {name} {side}"));
        }
        Ok(())
    }

    fn own(&self, nets: &[Cidr]) -> BTreeSet<Cidr> {
        nets.iter().copied().filter(|net| net.family() == self.family).collect()
    }

    /// `None` if there are no nets to match.
    fn nets(
        &mut self,
        option: &str,
        side: &str,
        not: &str,
        nets: BTreeSet<Cidr>,
        matches: &mut Vec<String>,
    ) -> Option<()> {
        let first = *nets.first()?;
        // iptables takes an option once.
        let taken = matches.iter().any(|text| text.split_whitespace().any(|word| word == option));
        matches.push(if nets.len() == 1 && !taken {
            format!("{not}{option} {first}")
        } else {
            format!("-m set {not}--match-set {} {side}", self.set(AddressSource::Nets(nets)))
        });
        Some(())
    }

    /// The alternatives for the ports of a side: one that matches anything if there is none.
    fn ports(
        &mut self,
        option: &str,
        side: &str,
        entity: &EntityRule,
        protocol: Option<Protocol>,
        scoped: &ScopedSide,
    ) -> Vec<Option<String>> {
        let mut found: Vec<Option<String>> =
            port_lists(&entity.ports).into_iter().map(|list| Some(format!("-m multiport {option} {list}"))).collect();
        for name in &entity.named_ports {
            let set = self.port_set(name, protocol, scoped);
            found.push(Some(format!("-m set --match-set {set} {side},{side}")));
        }
        if found.is_empty() {
            found.push(None);
        }
        found
    }

    fn port_set(&mut self, name: &str, protocol: Option<Protocol>, scoped: &ScopedSide) -> String {
        let selector = scoped.wanted.clone().unwrap_or_else(Selector::all);
        self.set(AddressSource::Port { selector, protocol, name: name.to_string() })
    }

    fn set(&mut self, source: AddressSource) -> String {
        let set = AddressSet { family: self.family, source };
        let name = self.names.of(&set);
        self.sets.insert(name.clone(), set);
        name
    }
}

fn icmp(rule: &PolicyRule, matches: &mut Vec<String>) {
    let option = |icmp: IcmpMatch, not: &str| {
        let (module, option) = match rule.protocol {
            Some(Protocol::ICMPV6) => ("icmp6", "icmpv6-type"),
            _ => ("icmp", "icmp-type"),
        };
        let code = icmp.code.map(|code| format!("/{code}")).unwrap_or_default();
        format!("-m {module} {not}--{option} {}{code}", icmp.kind)
    };
    matches.extend(rule.icmp.map(|icmp| option(icmp, "")));
    matches.extend(rule.not_icmp.map(|icmp| option(icmp, "! ")));
}

/// How many ports one `multiport` takes; a range counts twice.
const MULTIPORT: usize = 15;

fn not_ports(option: &str, ports: &[PortMatch], matches: &mut Vec<String>) {
    matches.extend(port_lists(ports).into_iter().map(|list| format!("-m multiport ! {option} {list}")));
}

/// The ranges, merged where they meet, in lists that one `multiport` takes.
fn port_lists(ports: &[PortMatch]) -> Vec<String> {
    let mut sorted = ports.to_vec();
    sorted.sort();
    let mut merged: Vec<PortMatch> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => last.last = last.last.max(range.last),
            _ => merged.push(range),
        }
    }
    let mut lists: Vec<(usize, String)> = Vec::new();
    for range in merged {
        let (cost, text) = if range.first == range.last {
            (1, range.first.to_string())
        } else {
            (2, format!("{}:{}", range.first, range.last))
        };
        match lists.last_mut() {
            Some((used, list)) if *used + cost <= MULTIPORT => {
                *used += cost;
                list.push(',');
                list.push_str(&text);
            }
            _ => lists.push((cost, text)),
        }
    }
    lists.into_iter().map(|(_, list)| list).collect()
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
