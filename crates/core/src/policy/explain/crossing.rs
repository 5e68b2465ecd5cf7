//! The host endpoints that a connection passes: its first packet, and the answer to it.
//!
//! Where policies let packets through untracked, the answer is not known to belong to anything: it is judged by itself,
//! and what can only be an answer (all but UDP) is invalid.

use crate::model::config::FailsafePort;
use crate::model::{Family, HostInterface, NodeName, Protocol};

use super::super::Direction;
use super::super::cluster::Checkpoint;
use super::super::frame::LINK_DISCOVERY;
use super::super::subjects::Subject;
use super::evaluate::Located;
use super::judge::{Asked, Packet, ask, ask_profiles, judge, ungoverned};
use super::view::View;
use super::{End, HostEnd, Verdict};

/// One host on the way, its interface to the others, and who speaks behind it.
struct Crossing<'a> {
    cluster: &'a View<'a>,
    host: &'a Subject,
    name: &'a str,
    /// The workload behind it; without one it is the host itself.
    workload: Option<&'a Subject>,
    said: Vec<HostEnd>,
}

/// What the host endpoints say, in the order in which they are met, up to the first that denies.
pub(super) fn crossings(cluster: &View, source: &Located, destination: &Located, packet: &Packet) -> Vec<HostEnd> {
    let mut said = Vec::new();
    if source.node.is_some() && source.node == destination.node {
        return said;
    }
    for (end, direction) in [(source, Direction::Egress), (destination, Direction::Ingress)] {
        let Some(host) = end.node.and_then(|node| interface_of(cluster, node)) else { continue };
        let name = host.as_host_endpoint().map(|host| host.name.as_str()).unwrap_or_default();
        let mut crossing = Crossing { cluster, host, name, workload: end.workload.as_deref(), said: Vec::new() };
        match direction {
            Direction::Egress => crossing.leave(packet),
            Direction::Ingress => crossing.arrive(packet),
        };
        said.extend(crossing.said);
    }
    said
}

/// The host endpoint that a node's packets pass: the one that is of the node's own address, where there are several.
fn interface_of<'a>(cluster: &'a View<'a>, node: &'a NodeName) -> Option<&'a Subject> {
    let addresses = Family::BOTH.into_iter().filter_map(|family| cluster.host_address(node, family));
    let addresses: Vec<_> = addresses.collect();
    let all: Vec<_> = cluster.host_endpoints(node).collect();
    let by_address = all.iter().find(|(_, host)| host.expected_ips.iter().any(|address| addresses.contains(address)));
    let named = || all.iter().find(|(_, host)| host.interface != HostInterface::Every);
    by_address.or_else(named).or(all.first()).map(|(subject, _)| *subject)
}

/// `None`: denied.
type Goes<T> = Option<T>;

impl Crossing<'_> {
    /// From the host, or a workload of it, to elsewhere; then the answer in.
    fn leave(&mut self, packet: &Packet) -> Goes<()> {
        let tracked = match self.workload {
            None => {
                let untracked = self.untracked(Direction::Egress, packet, false)?;
                if !untracked {
                    self.host(Direction::Egress, packet, false)?;
                }
                !untracked
            }
            Some(_) => {
                self.forward(Direction::Egress, packet, false)?;
                true
            }
        };
        let answer = packet.reply();
        if self.untracked(Direction::Ingress, &answer, true)? {
            return match self.workload {
                None => Some(()),
                Some(workload) => self.workload(workload, Direction::Ingress, &answer),
            };
        }
        if tracked {
            return Some(());
        }
        self.unknown(&answer)?;
        match self.pre_dnat(&answer, true)? {
            true => Some(()),
            false => self.host(Direction::Ingress, &answer, true),
        }
    }

    /// From elsewhere to the host, or a workload of it; then the answer out.
    fn arrive(&mut self, packet: &Packet) -> Goes<()> {
        let untracked = self.untracked(Direction::Ingress, packet, false)?;
        if !untracked && !self.pre_dnat(packet, false)? {
            match self.workload {
                None => self.host(Direction::Ingress, packet, false)?,
                Some(_) => self.forward(Direction::Ingress, packet, false)?,
            }
        }
        let answer = packet.reply();
        match self.workload {
            None => {
                if self.untracked(Direction::Egress, &answer, true)? || !untracked {
                    return Some(());
                }
                self.unknown(&answer)?;
                self.host(Direction::Egress, &answer, true)
            }
            Some(_) if !untracked => Some(()),
            Some(workload) => {
                self.unknown(&answer)?;
                self.workload(workload, Direction::Egress, &answer)?;
                self.forward(Direction::Egress, &answer, true)
            }
        }
    }

    /// Whether it is let through untracked.
    fn untracked(&mut self, direction: Direction, packet: &Packet, answer: bool) -> Goes<bool> {
        let ports = &self.cluster.settings.failsafe;
        let (own, others) = match direction {
            Direction::Ingress => (&ports.inbound, &ports.outbound),
            Direction::Egress => (&ports.outbound, &ports.inbound),
        };
        let turned = packet.reply();
        let opposite = match direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        if is_failsafe(own, direction, packet) || is_failsafe(others, opposite, &turned) {
            return Some(false);
        }
        self.optional(Checkpoint::Untracked, "untracked", direction, packet, answer)
    }

    /// Whether it is let through before addresses are translated.
    fn pre_dnat(&mut self, packet: &Packet, answer: bool) -> Goes<bool> {
        if is_failsafe(&self.cluster.settings.failsafe.inbound, Direction::Ingress, packet) {
            return Some(false);
        }
        self.optional(Checkpoint::PreDnat, "before translation", Direction::Ingress, packet, answer)
    }

    /// Asks where no decision is no verdict.
    fn optional(
        &mut self,
        checkpoint: Checkpoint,
        place: &str,
        direction: Direction,
        packet: &Packet,
        answer: bool,
    ) -> Goes<bool> {
        let mut end = End::new();
        match ask(self.cluster, self.host, checkpoint, direction, packet, &mut end) {
            Asked::Open(_) => Some(false),
            Asked::Decided(verdict) => {
                end.verdict = verdict;
                self.say(place, direction, answer, end).map(|()| true)
            }
        }
    }

    fn host(&mut self, direction: Direction, packet: &Packet, answer: bool) -> Goes<()> {
        let ports = &self.cluster.settings.failsafe;
        let own = if direction == Direction::Ingress { &ports.inbound } else { &ports.outbound };
        if is_failsafe(own, direction, packet) {
            return self.say(
                "",
                direction,
                answer,
                ungoverned("a failsafe port of its node, or discovery on its link"),
            );
        }
        let mut end = End::new();
        end.verdict = match ask(self.cluster, self.host, Checkpoint::Host, direction, packet, &mut end) {
            Asked::Decided(verdict) => verdict,
            Asked::Open(before) => {
                let profiles = self.host.as_host_endpoint().map(|host| host.profiles.as_slice()).unwrap_or_default();
                let (verdict, why) = ask_profiles(self.cluster, profiles, direction, packet, &mut end);
                end.why = format!("{before} to its {}; {why}", direction.name());
                verdict
            }
        };
        self.say("", direction, answer, end)
    }

    fn forward(&mut self, direction: Direction, packet: &Packet, answer: bool) -> Goes<()> {
        let mut end = End::new();
        match ask(self.cluster, self.host, Checkpoint::Forward, direction, packet, &mut end) {
            Asked::Open(_) => Some(()),
            Asked::Decided(verdict) => {
                end.verdict = verdict;
                self.say("forward", direction, answer, end)
            }
        }
    }

    /// The workload's own policy on an answer that is not known to be one.
    fn workload(&mut self, workload: &Subject, direction: Direction, packet: &Packet) -> Goes<()> {
        let end = judge(self.cluster, workload, direction, packet);
        match end.verdict {
            Verdict::Allow => Some(()),
            Verdict::Deny => self.say("to its workload", direction, true, end),
        }
    }

    /// The first packet that is tracked of a connection is an answer.
    fn unknown(&mut self, packet: &Packet) -> Goes<()> {
        let alone = matches!(packet.protocol, Protocol::TCP | Protocol::SCTP | Protocol::ICMP | Protocol::ICMPV6);
        if !alone {
            return Some(());
        }
        let why = "the request was let through untracked, so its answer belongs to no connection".to_string();
        let direction = Direction::Egress;
        self.say("", direction, true, End { why, ..End::new() })
    }

    fn say(&mut self, place: &str, direction: Direction, answer: bool, end: End) -> Goes<()> {
        let way = if direction == Direction::Ingress { "in" } else { "out" };
        let place = [place, way].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let place = if answer { format!("{place}, of the answer") } else { place };
        let verdict = end.verdict;
        self.said.push(HostEnd { host_endpoint: self.name.to_string(), place, end });
        (verdict == Verdict::Allow).then_some(())
    }
}

/// What policies of host endpoints cannot close: the failsafe ports, and discovery on the link.
fn is_failsafe(ports: &[FailsafePort], direction: Direction, packet: &Packet) -> bool {
    if packet.protocol == Protocol::ICMPV6 && packet.icmp.is_some_and(|icmp| LINK_DISCOVERY.contains(&icmp.kind)) {
        return true;
    }
    let other_end = match direction {
        Direction::Ingress => packet.source.address,
        Direction::Egress => packet.destination.address,
    };
    ports.iter().any(|port| {
        port.protocol == packet.protocol
            && packet.destination.port == Some(port.port)
            && port.net.is_none_or(|net| net.contains(other_end))
    })
}
