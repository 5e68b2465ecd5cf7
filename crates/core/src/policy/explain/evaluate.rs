//! Judges a flow at both ends by the facts alone.

use std::net::IpAddr;

use crate::model::{
    Action, Cidr, Endpoint, EntityRule, Family, IcmpMatch, Isolation, NamedPort, NetworkName, NodeName, PolicyRule,
    PortMatch, Protocol, PublishedPort, TierAction,
};

use super::super::Direction;
use super::super::cluster::{Cluster, Profile};
use super::super::engine::is_closed;
use super::super::frame::NEIGHBOUR_DISCOVERY;
use super::super::scope::{ScopedPolicy, ScopedRule, ScopedSide};
use super::super::subjects::{Subject, SubjectKey};
use super::words::{rule_text, traffic_text};
use super::{End, Explanation, Flow, FlowError, RuleReference, Side, Verdict};

/// What policy can see of the first packet.
struct Packet<'a> {
    source: PacketSide<'a>,
    destination: PacketSide<'a>,
    protocol: Protocol,
    icmp: Option<IcmpMatch>,
}

struct PacketSide<'a> {
    address: IpAddr,
    port: Option<u16>,
    /// Everybody to whom the address belongs.
    holders: Vec<&'a Subject>,
}

/// An end, found in the facts.
struct Located<'a> {
    name: String,
    addresses: Vec<IpAddr>,
    node: Option<&'a NodeName>,
    /// The workload, unless it is a host or a stranger.
    workload: Option<&'a Subject>,
}

pub(super) fn explain(cluster: &Cluster, flow: &Flow) -> Result<Explanation, FlowError> {
    let source = locate(cluster, &flow.source)?;
    let destination = locate(cluster, &flow.destination)?;
    let (from, to) = common_family(flow, &source, &destination)?;
    let family = Family::of(from);
    let protocol = match (flow.protocol, family) {
        (Protocol::ICMP | Protocol::ICMPV6, Family::V4) => Protocol::ICMP,
        (Protocol::ICMP | Protocol::ICMPV6, Family::V6) => Protocol::ICMPV6,
        (other, _) => other,
    };
    if protocol.has_ports() && flow.port.is_none() {
        return Err(FlowError::PortMissing(protocol));
    }
    let echo = match family {
        Family::V4 => IcmpMatch { kind: 8, code: Some(0) },
        Family::V6 => IcmpMatch { kind: 128, code: Some(0) },
    };
    let is_icmp = matches!(protocol, Protocol::ICMP | Protocol::ICMPV6);
    let icmp = is_icmp.then(|| flow.icmp.unwrap_or(echo));
    let port = flow.port.filter(|_| protocol.has_ports());
    let side = |address, port| PacketSide { address, port, holders: holders(cluster, address) };
    let source_port = flow.source_port.filter(|_| protocol.has_ports());
    let packet = Packet { source: side(from, source_port), destination: side(to, port), protocol, icmp };
    let egress = leave(cluster, &source, &destination, &packet);
    let ingress = arrive(cluster, &source, &destination, &packet);
    Ok(Explanation {
        verdict: Verdict::of(egress.verdict == Verdict::Allow && ingress.verdict == Verdict::Allow),
        source: source.name,
        source_address: from,
        destination: destination.name,
        destination_address: to,
        traffic: traffic_text(protocol, port, icmp),
        egress,
        ingress,
    })
}

fn locate<'a>(cluster: &'a Cluster, side: &'a Side) -> Result<Located<'a>, FlowError> {
    Ok(match side {
        Side::Workload(node, key) => {
            let subject_key = SubjectKey::Endpoint(node.clone(), key.clone());
            let found = cluster.subjects.get(&subject_key);
            let Some((subject, endpoint)) = found.and_then(|subject| Some((subject, subject.as_endpoint()?))) else {
                return Err(FlowError::UnknownEndpoint(key.clone(), node.clone()));
            };
            Located {
                name: endpoint.display_name(),
                addresses: endpoint.addresses.clone(),
                node: Some(node),
                workload: Some(subject),
            }
        }
        Side::Host(node) => {
            let addresses: Vec<IpAddr> =
                Family::BOTH.into_iter().filter_map(|family| cluster.host_address(node, family)).collect();
            if addresses.is_empty() {
                return Err(FlowError::UnknownNode(node.clone()));
            }
            Located { name: format!("host {node}"), addresses, node: Some(node), workload: None }
        }
        Side::Address(address) => {
            Located { name: "a stranger".to_string(), addresses: vec![*address], node: None, workload: None }
        }
    })
}

fn common_family(flow: &Flow, source: &Located, destination: &Located) -> Result<(IpAddr, IpAddr), FlowError> {
    let of = |side: &Located, family| side.addresses.iter().copied().find(|address| Family::of(*address) == family);
    Family::BOTH
        .into_iter()
        .filter(|family| flow.family.is_none_or(|wanted| wanted == *family))
        .find_map(|family| Some((of(source, family)?, of(destination, family)?)))
        .ok_or_else(|| FlowError::NoCommonFamily {
            source_name: source.name.clone(),
            destination_name: destination.name.clone(),
            family: flow.family,
        })
}

fn holders(cluster: &Cluster, address: IpAddr) -> Vec<&Subject> {
    cluster.subjects.iter().map(|(_, subject)| subject).filter(|subject| subject.holds(address)).collect()
}

impl Located<'_> {
    fn is_host_of(&self, other: &Located) -> bool {
        self.workload.is_none() && other.workload.is_some() && self.node.is_some() && self.node == other.node
    }
}

fn leave(cluster: &Cluster, source: &Located, destination: &Located, packet: &Packet) -> End {
    let Some(workload) = source.workload else {
        return ungoverned("no policy governs what it sends");
    };
    if !destination.is_host_of(source) {
        return judge(cluster, workload, Direction::Egress, packet);
    }
    let discovery =
        packet.protocol == Protocol::ICMPV6 && packet.icmp.is_some_and(|icmp| NEIGHBOUR_DISCOVERY.contains(&icmp.kind));
    if discovery {
        return ungoverned("neighbour discovery with its own host is always allowed");
    }
    let end = judge(cluster, workload, Direction::Egress, packet);
    if end.verdict == Verdict::Deny || cluster.settings.workload_to_host {
        return end;
    }
    let why = "workloads may not open connections to their own host (`workloads.toHost` of the node is off)";
    End { verdict: Verdict::Deny, rule: None, why: why.to_string(), ..end }
}

fn arrive(cluster: &Cluster, source: &Located, destination: &Located, packet: &Packet) -> End {
    match destination.workload {
        None => ungoverned("no policy governs what it accepts"),
        Some(_) if source.is_host_of(destination) => ungoverned("a host reaches its own workloads"),
        Some(workload) => judge(cluster, workload, Direction::Ingress, packet),
    }
}

fn ungoverned(why: &str) -> End {
    End { verdict: Verdict::Allow, rule: None, policies: Vec::new(), why: why.to_string(), steps: Vec::new() }
}

/// Asks the policies that govern the workload in the direction, then the profile of its network.
fn judge(cluster: &Cluster, workload: &Subject, direction: Direction, packet: &Packet) -> End {
    let Some(endpoint) = workload.as_endpoint() else {
        return ungoverned("no policy governs network sets");
    };
    let tiers = cluster.policies_of(workload, direction);
    let policies = tiers.iter().flat_map(|(_, policies)| policies);
    let mut end = End {
        verdict: Verdict::Deny,
        rule: None,
        policies: policies.map(|policy| policy.policy.key.clone()).collect(),
        why: String::new(),
        steps: Vec::new(),
    };
    if is_closed(endpoint) {
        end.why = "closed until its runtime has said who it is".to_string();
        return end;
    }
    let mut before = "no policy applies".to_string();
    for (tier, policies) in &tiers {
        let decision = policies.iter().find_map(|policy| decide(policy, direction, packet, &mut end.steps));
        match decision {
            Some((Action::Pass, _)) => before = "a policy passed it on".to_string(),
            Some((action, rule)) => {
                end.verdict = Verdict::of(action == Action::Allow);
                end.why = rule.to_string();
                end.rule = Some(rule);
                return end;
            }
            None => {
                let count = match policies.len() {
                    1 => "1 policy applies".to_string(),
                    count => format!("{count} policies apply"),
                };
                if tier.default_action == TierAction::Deny {
                    let name = direction.name();
                    end.why =
                        format!("{count} to its {name} and none decided: denied at the end of tier {}", tier.name);
                    return end;
                }
                before = format!("tier {} passed it on", tier.name);
            }
        }
    }
    let (verdict, why) = ask_profile(cluster, endpoint, direction, packet);
    end.verdict = verdict;
    end.why = format!("{before} to its {}; {why}", direction.name());
    end
}

/// The first rule of a policy that decides, if one does.
fn decide(
    policy: &ScopedPolicy,
    direction: Direction,
    packet: &Packet,
    steps: &mut Vec<String>,
) -> Option<(Action, RuleReference)> {
    let key = &policy.policy.key;
    for (index, (rule, scoped)) in policy.rules(direction).enumerate() {
        let (matched, text) = match scoped {
            ScopedRule::Unsound(error) => (true, format!("Deny everything, since {error}")),
            ScopedRule::Sound { source, destination } => {
                (rule_matches(rule, source, destination, packet), rule_text(rule))
            }
        };
        if !matched {
            continue;
        }
        let reference =
            RuleReference { policy: key.clone(), tier: policy.policy.tier.clone(), number: index + 1, text };
        steps.push(reference.to_string());
        match (scoped, rule.action) {
            (ScopedRule::Unsound(_), _) => return Some((Action::Deny, reference)),
            (_, Action::Log) => {}
            (_, action) => return Some((action, reference)),
        }
    }
    steps.push(format!("{key}: no rule of its {} decides", direction.name()));
    None
}

fn rule_matches(rule: &PolicyRule, source: &ScopedSide, destination: &ScopedSide, packet: &Packet) -> bool {
    let version = if packet.source.address.is_ipv4() { 4 } else { 6 };
    let is_icmp = |wanted: IcmpMatch| {
        packet.icmp.is_some_and(|icmp| {
            icmp.kind == wanted.kind && wanted.code.is_none_or(|code| icmp.code.unwrap_or(0) == code)
        })
    };
    rule.ip_version.is_none_or(|wanted| wanted == version)
        && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
        && rule.not_protocol != Some(packet.protocol)
        && rule.icmp.is_none_or(is_icmp)
        && !rule.not_icmp.is_some_and(is_icmp)
        && side_matches(&rule.source, source, &packet.source, packet.protocol)
        && side_matches(&rule.destination, destination, &packet.destination, packet.protocol)
}

fn side_matches(entity: &EntityRule, scoped: &ScopedSide, side: &PacketSide, protocol: Protocol) -> bool {
    let in_nets = |nets: &[Cidr]| nets.iter().any(|net| net.contains(side.address));
    let in_ports = |ranges: &[PortMatch]| {
        side.port.is_some_and(|port| ranges.iter().any(|range| range.first <= port && port <= range.last))
    };
    let holders = side.holders.iter().filter(|holder| scoped.wanted.as_ref().is_none_or(|of| of.matches(**holder)));
    let ports: Vec<&NamedPort> = holders.filter_map(|holder| holder.as_endpoint()).flat_map(|e| &e.ports).collect();
    let is_named = |names: &[String]| {
        ports.iter().any(|port| port.protocol == protocol && Some(port.port) == side.port && names.contains(&port.name))
    };
    (entity.nets.is_empty() || in_nets(&entity.nets))
        && !in_nets(&entity.not_nets)
        && scoped.wanted.as_ref().is_none_or(|selector| side.holders.iter().any(|holder| selector.matches(*holder)))
        && !scoped.unwanted.as_ref().is_some_and(|selector| side.holders.iter().any(|holder| selector.matches(*holder)))
        && (entity.ports.is_empty() && entity.named_ports.is_empty()
            || in_ports(&entity.ports)
            || is_named(&entity.named_ports))
        && !in_ports(&entity.not_ports)
        && !is_named(&entity.not_named_ports)
}

fn ask_profile(cluster: &Cluster, endpoint: &Endpoint, direction: Direction, packet: &Packet) -> (Verdict, String) {
    let network = &endpoint.key.network;
    match cluster.profile(network, direction) {
        Profile::Closed => (Verdict::Deny, format!("network {network} is not known, so nothing of it is let through")),
        Profile::Open => {
            let isolation = cluster.networks.get(network).map(|network| network.isolation).unwrap_or_default();
            let text = match isolation {
                Isolation::Open => format!("the profile of network {network} is open"),
                Isolation::Network => format!("the profile of network {network} lets it send anywhere"),
            };
            (Verdict::Allow, text)
        }
        Profile::Network(_) => {
            if is_published(endpoint, packet) {
                return (Verdict::Allow, "it is a port that its host has published".to_string());
            }
            let inside = in_network(cluster, network, &packet.source);
            let seen = if inside { "and it does" } else { "and it does not" };
            let text = format!("the profile of network {network} accepts what comes from network {network}, {seen}");
            (Verdict::of(inside), text)
        }
    }
}

fn is_published(endpoint: &Endpoint, packet: &Packet) -> bool {
    let ports = endpoint.attachment.iter().flat_map(|attachment| &attachment.published);
    let meant = |port: &PublishedPort| port.protocol == packet.protocol && packet.destination.port == Some(port.port);
    ports.into_iter().any(meant)
}

fn in_network(cluster: &Cluster, network: &NetworkName, side: &PacketSide) -> bool {
    if cluster.settings.networks_by_pool {
        return cluster.pool_nets(network).iter().any(|net| net.contains(side.address));
    }
    side.holders.iter().filter_map(|holder| holder.as_endpoint()).any(|endpoint| endpoint.key.network == *network)
}
