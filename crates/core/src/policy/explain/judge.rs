//! What policies and profiles say of a packet, by the facts alone.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::model::{
    Action, Cidr, Endpoint, EntityRule, IcmpMatch, Isolation, Kind, NamedPort, NetworkName, ObjectKey, PolicyRule,
    PortMatch, Protocol, PublishedPort, Tier, TierAction,
};

use super::super::Direction;
use super::super::cluster::{Checkpoint, Profile};
use super::super::engine::is_closed;
use super::super::scope::{ScopedPolicy, ScopedRule, ScopedSide};
use super::super::subjects::{Party, Subject};
use super::view::View;
use super::words::rule_text;
use super::{End, RuleReference, Verdict};

/// What policy can see of the first packet.
#[derive(Clone)]
pub(super) struct Packet<'a> {
    pub source: PacketSide<'a>,
    pub destination: PacketSide<'a>,
    pub protocol: Protocol,
    pub icmp: Option<IcmpMatch>,
}

#[derive(Clone)]
pub(super) struct PacketSide<'a> {
    pub address: IpAddr,
    pub port: Option<u16>,
    /// Everybody to whom the address belongs.
    pub holders: Vec<Cow<'a, Subject>>,
}

impl Packet<'_> {
    /// What answers it first.
    pub fn reply(&self) -> Packet<'_> {
        let answer = |icmp: IcmpMatch| {
            let kind = match icmp.kind {
                8 => 0,
                13 => 14,
                128 => 129,
                other => other,
            };
            IcmpMatch { kind, code: Some(0) }
        };
        Packet {
            source: self.destination.clone(),
            destination: self.source.clone(),
            protocol: self.protocol,
            icmp: self.icmp.map(answer),
        }
    }
}

/// What the policies of a checkpoint come to.
pub(super) enum Asked {
    Decided(Verdict),
    /// None has decided, and why that is.
    Open(String),
}

/// Asks the policies that govern the workload in the direction, then its profiles or that of its network.
pub(super) fn judge(cluster: &View, workload: &Subject, direction: Direction, packet: &Packet) -> End {
    let mut end = End::new();
    let Some(endpoint) = workload.as_endpoint() else {
        return ungoverned("no policy governs network sets");
    };
    if is_closed(endpoint) {
        let tiers = cluster.policies_of(workload, Checkpoint::Workload, direction, cluster.staged());
        end.policies = keys(&tiers);
        end.why = "closed until its runtime has said who it is".to_string();
        return end;
    }
    match ask(cluster, workload, Checkpoint::Workload, direction, packet, &mut end) {
        Asked::Decided(verdict) => end.verdict = verdict,
        Asked::Open(before) => {
            let (verdict, why) = match &endpoint.profiles {
                Some(names) => ask_profiles(cluster, names, direction, packet, &mut end),
                None => ask_network(cluster, endpoint, direction, packet),
            };
            end.verdict = verdict;
            end.why = format!("{before} to its {}; {why}", direction.name());
        }
    }
    end
}

/// The policies of these tiers, first asked first.
fn keys(tiers: &[(Tier, Vec<&ScopedPolicy>)]) -> Vec<ObjectKey> {
    tiers.iter().flat_map(|(_, policies)| policies).map(|policy| policy.policy.key.clone()).collect()
}

/// Asks the policies that govern the subject at the checkpoint.
pub(super) fn ask(
    cluster: &View,
    subject: &Subject,
    checkpoint: Checkpoint,
    direction: Direction,
    packet: &Packet,
    end: &mut End,
) -> Asked {
    let tiers = cluster.policies_of(subject, checkpoint, direction, cluster.staged());
    end.policies = keys(&tiers);
    let ends = !matches!(checkpoint, Checkpoint::PreDnat | Checkpoint::Untracked);
    let mut before = "no policy applies".to_string();
    for (tier, policies) in &tiers {
        let decision = policies.iter().find_map(|policy| decide(policy, direction, packet, &mut end.steps));
        match decision {
            Some((Action::Pass, _)) => before = "a policy passed it on".to_string(),
            Some((action, rule)) => {
                end.why = rule.to_string();
                end.rule = Some(rule);
                return Asked::Decided(Verdict::of(action == Action::Allow));
            }
            None => {
                let count = match policies.len() {
                    1 => "1 policy applies".to_string(),
                    count => format!("{count} policies apply"),
                };
                if ends && tier.default_action == TierAction::Deny {
                    let name = direction.name();
                    end.why =
                        format!("{count} to its {name} and none decided: denied at the end of tier {}", tier.name);
                    return Asked::Decided(Verdict::Deny);
                }
                before = format!("tier {} passed it on", tier.name);
            }
        }
    }
    Asked::Open(before)
}

/// Asks Profiles: what one passes on, or does not decide, the next one is asked.
pub(super) fn ask_profiles(
    cluster: &View,
    names: &[String],
    direction: Direction,
    packet: &Packet,
    end: &mut End,
) -> (Verdict, String) {
    for name in names {
        let Some(profile) = cluster.policies.get(&ObjectKey::global(Kind::Profile, name)) else {
            return (Verdict::Deny, format!("there is no Profile {name}, so nothing is let through"));
        };
        match decide(profile, direction, packet, &mut end.steps) {
            None | Some((Action::Pass, _)) => {}
            Some((action, rule)) => {
                let why = rule.to_string();
                end.rule = Some(rule);
                return (Verdict::of(action == Action::Allow), why);
            }
        }
    }
    let why = if names.is_empty() { "it has no profiles" } else { "none of its profiles decided" };
    (Verdict::Deny, format!("{why}: denied"))
}

pub(super) fn ungoverned(why: &str) -> End {
    End { verdict: Verdict::Allow, why: why.to_string(), ..End::new() }
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
    let holders = side.holders.iter().filter(|holder| scoped.wanted.as_ref().is_none_or(|of| of.matches(&***holder)));
    let ports: Vec<&NamedPort> = holders.flat_map(|holder| holder.ports()).collect();
    let is_named = |names: &[String]| {
        ports.iter().any(|port| port.protocol == protocol && Some(port.port) == side.port && names.contains(&port.name))
    };
    (entity.nets.is_empty() || in_nets(&entity.nets))
        && !in_nets(&entity.not_nets)
        && scoped.wanted.as_ref().is_none_or(|selector| side.holders.iter().any(|holder| selector.matches(&**holder)))
        && !scoped
            .unwanted
            .as_ref()
            .is_some_and(|selector| side.holders.iter().any(|holder| selector.matches(&**holder)))
        && (entity.ports.is_empty() && entity.named_ports.is_empty()
            || in_ports(&entity.ports)
            || is_named(&entity.named_ports))
        && !in_ports(&entity.not_ports)
        && !is_named(&entity.not_named_ports)
}

fn ask_network(cluster: &View, endpoint: &Endpoint, direction: Direction, packet: &Packet) -> (Verdict, String) {
    let network = &endpoint.key.network;
    match cluster.profile(endpoint, direction) {
        Profile::Closed | Profile::Listed(_) => {
            (Verdict::Deny, format!("network {network} is not known, so nothing of it is let through"))
        }
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

fn in_network(cluster: &View, network: &NetworkName, side: &PacketSide) -> bool {
    if cluster.settings.networks_by_pool {
        return cluster.pool_nets(network).iter().any(|net| net.contains(side.address));
    }
    side.holders.iter().filter_map(|holder| holder.as_endpoint()).any(|endpoint| endpoint.key.network == *network)
}
