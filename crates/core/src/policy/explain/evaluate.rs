//! Judges a flow at both ends, and at the host endpoints that it passes.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::model::{Family, IcmpMatch, NodeName, Protocol};

use super::super::Direction;
use super::super::frame::NEIGHBOUR_DISCOVERY;
use super::super::subjects::{Subject, SubjectKey};
use super::crossing::crossings;
use super::judge::{Packet, PacketSide, judge, ungoverned};
use super::view::View;
use super::words::traffic_text;
use super::{End, Explanation, Flow, FlowError, Side, Verdict};

/// An end, found in the facts.
pub(super) struct Located<'a> {
    name: String,
    addresses: Vec<IpAddr>,
    pub node: Option<&'a NodeName>,
    /// The workload, unless it is a host or a stranger.
    pub workload: Option<Cow<'a, Subject>>,
}

pub(super) fn explain(cluster: &View, flow: &Flow) -> Result<Explanation, FlowError> {
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
    let side = |address, port| PacketSide { address, port, holders: cluster.holders(address) };
    let source_port = flow.source_port.filter(|_| protocol.has_ports());
    let packet = Packet { source: side(from, source_port), destination: side(to, port), protocol, icmp };
    let egress = leave(cluster, &source, &destination, &packet);
    let ingress = arrive(cluster, &source, &destination, &packet);
    let hosts = crossings(cluster, &source, &destination, &packet);
    let allowed = [&egress, &ingress].into_iter().chain(hosts.iter().map(|host| &host.end));
    let verdict = Verdict::of(allowed.map(|end| end.verdict).all(|verdict| verdict == Verdict::Allow));
    Ok(Explanation {
        verdict,
        source: source.name,
        source_address: from,
        destination: destination.name,
        destination_address: to,
        traffic: traffic_text(protocol, port, icmp),
        egress,
        ingress,
        hosts,
    })
}

fn locate<'a>(cluster: &'a View, side: &'a Side) -> Result<Located<'a>, FlowError> {
    Ok(match side {
        Side::Workload(node, key) => {
            let subject_key = SubjectKey::Endpoint(node.clone(), key.clone());
            let found = cluster.subjects.get(&subject_key);
            let Some((subject, (name, addresses))) = found.and_then(|subject| {
                let endpoint = subject.as_endpoint()?;
                let said = (endpoint.display_name(), endpoint.addresses.clone());
                Some((subject, said))
            }) else {
                return Err(FlowError::UnknownEndpoint(key.clone(), node.clone()));
            };
            Located { name, addresses, node: Some(node), workload: Some(subject) }
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

impl Located<'_> {
    fn is_host_of(&self, other: &Located) -> bool {
        self.workload.is_none() && other.workload.is_some() && self.node.is_some() && self.node == other.node
    }
}

fn leave(cluster: &View, source: &Located, destination: &Located, packet: &Packet) -> End {
    let Some(workload) = &source.workload else {
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

fn arrive(cluster: &View, source: &Located, destination: &Located, packet: &Packet) -> End {
    match &destination.workload {
        None => ungoverned("no policy governs what it accepts"),
        Some(_) if source.is_host_of(destination) => ungoverned("a host reaches its own workloads"),
        Some(workload) => judge(cluster, workload, Direction::Ingress, packet),
    }
}
