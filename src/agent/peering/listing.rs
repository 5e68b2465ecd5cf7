//! The speaker's answers in the words of the local API.

use std::time::Duration;

use routenet_core::bgp::speaker::detail::{Messages, PeerDetail, RouteDetail, Standing, TooLong, Untold};
use routenet_core::bgp::speaker::{PeerSource, PeerStatus, RouteStatus, State};
use routenet_core::bgp::wire::Origin;
use routenet_core::model::yaml::write_options;
use routenet_core::model::{Family, ImportPolicy};

use super::{PeeringStatus, Waiting, bfd, passwords};
use crate::api::listing::{
    BfdLine, Malformed, MessageCounts, NeighborLine, NeighborReply, Past, RouteLine, RouteReply, Stale,
};
use crate::api::status;
use crate::plane::interfaces;

/// For `routectl bgp neighbors`.
pub fn neighbor_lines(status: &PeeringStatus) -> Vec<NeighborLine> {
    let known =
        status.peers.iter().map(|peer| NeighborLine { bfd: bfd::line(&status.bfd, peer), ..neighbor_line(peer) });
    known.chain(status.waiting.iter().map(waiting_line)).collect()
}

/// One that is known by its interface, and is nowhere now.
pub fn waiting_line(waiting: &Waiting) -> NeighborLine {
    let peer = &waiting.link.peer;
    NeighborLine {
        name: peer.name.clone(),
        address: waiting.place(),
        port: peer.port,
        as_number: peer.as_number,
        source: source_word(peer.source).to_string(),
        passive: peer.passive,
        import: import_word(peer.import).to_string(),
        filters: peer.options.filters.clone(),
        state: State::Idle.to_string(),
        since_secs: waiting.since.as_secs(),
        router_id: None,
        hold_time: None,
        capabilities: Vec::new(),
        received: 0,
        accepted: 0,
        advertised: 0,
        sessions: 0,
        last_error: Some(format!("{} ({})", waiting.why, waiting.mend)),
        last_error_secs_ago: None,
        bfd: None,
    }
}

fn source_word(source: PeerSource) -> &'static str {
    match source {
        PeerSource::Node => "node",
        PeerSource::Peer => "peer",
        PeerSource::Config => "config",
        PeerSource::Range => "range",
    }
}

fn import_word(import: ImportPolicy) -> &'static str {
    match import {
        ImportPolicy::None => "none",
        ImportPolicy::Pools => "pools",
        ImportPolicy::All => "all",
    }
}

/// Without what BFD says.
fn neighbor_line(peer: &PeerStatus) -> NeighborLine {
    NeighborLine {
        name: peer.config.name.clone(),
        address: interfaces::words(peer.address),
        port: peer.config.port,
        as_number: peer.as_number,
        source: source_word(peer.config.source).to_string(),
        passive: peer.config.passive,
        import: import_word(peer.config.import).to_string(),
        filters: peer.config.options.filters.clone(),
        state: peer.state.to_string(),
        since_secs: peer.lasting.as_secs(),
        router_id: peer.router_id,
        hold_time: peer.hold_time,
        capabilities: peer.capabilities.clone(),
        received: peer.received,
        accepted: peer.accepted,
        advertised: peer.advertised,
        sessions: peer.sessions,
        last_error: trouble(peer),
        last_error_secs_ago: peer.last_error.as_ref().map(|(ago, _)| ago.as_secs()),
        bfd: None,
    }
}

/// For `routectl bgp neighbor`.
pub fn neighbor_reply(detail: &PeerDetail, bfd: Option<BfdLine>) -> NeighborReply {
    let past = |event: &(Duration, String)| Past { secs_ago: event.0.as_secs(), what: event.1.clone() };
    let last = detail.faults.last.as_ref().zip(detail.last_fault);
    let options = write_options(&detail.status.config.options);
    NeighborReply {
        line: NeighborLine { bfd, ..neighbor_line(&detail.status) },
        options: options.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
        messages_received: counts(&detail.messages_in),
        messages_sent: counts(&detail.messages_out),
        waiting: detail.waiting,
        retained: detail.status.retained,
        stale: detail.status.stale.map(|stale| Stale {
            since_secs: stale.since.as_secs(),
            left_secs: stale.left.as_secs(),
            long_lived: stale.long_lived,
        }),
        malformed: detail.faults.updates,
        treated_as_withdraw: detail.faults.withdrawn,
        attributes_discarded: detail.faults.discarded,
        prefixes_ignored: detail.faults.ignored,
        sessions_reset: detail.faults.resets,
        last_malformed: last.map(|((_, fault), ago)| Malformed {
            past: Past { secs_ago: ago.as_secs(), what: fault.what.clone() },
            bytes: hex(&fault.bytes),
            update: hex(&fault.message),
        }),
        last_notification_sent: detail.last_sent.as_ref().map(past),
        last_notification_received: detail.last_received.as_ref().map(past),
        notes: notes(detail),
        history: detail.history.iter().map(past).collect(),
    }
}

/// What is no problem, and may explain something.
fn notes(detail: &PeerDetail) -> Vec<String> {
    let open = detail.status.config.transport.password_file.iter().filter(|path| passwords::is_open(path));
    let open = open.map(|path| format!("everybody on this machine can read its password: {path}"));
    open.chain(detail.untold.iter().map(untold)).chain(detail.too_long.iter().map(too_long)).collect()
}

fn too_long((routes, one): &(usize, TooLong)) -> String {
    let others = match routes - 1 {
        0 => String::new(),
        1 => "; another one neither".to_string(),
        others => format!("; {others} others neither"),
    };
    format!("it is not told a route that no message can hold: {one}{others}")
}

fn untold(untold: &Untold) -> String {
    let family = match untold.family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let why = if untold.on_link {
        "this session has IPv6 link-local addresses, and does not carry IPv6 next hops of IPv4 routes (RFC 8950)"
            .to_string()
    } else {
        format!("this node has no {family} address (`address.{}`)", family.to_lowercase())
    };
    format!("it is told no {family} route by way of this node: {why}")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn counts(messages: &Messages) -> MessageCounts {
    let Messages { opens, updates, notifications, keepalives, refreshes } = *messages;
    MessageCounts { opens, updates, notifications, keepalives, refreshes }
}

/// For `routectl bgp route`.
pub fn route_reply(detail: &RouteDetail) -> RouteReply {
    let (standing, why) = match &detail.standing {
        Standing::Best { over } => ("best", over.as_ref().map(|step| format!("won by {step}"))),
        Standing::Equal => ("equal", Some("shares the load with the best (ECMP)".to_string())),
        Standing::Lost(step) => ("lost", Some(format!("lost to {step}"))),
        Standing::Refused(_) => ("refused", detail.route.refused.clone()),
    };
    RouteReply {
        line: route_line(&detail.route),
        standing: standing.to_string(),
        why,
        path_id: detail.path_id,
        told_as: detail.told_as,
        router_id: detail.router_id,
        external: detail.external,
        extended_communities: detail.extended_communities.iter().map(|community| hex(community)).collect(),
        large_communities: detail.large_communities.iter().map(|(a, b, c)| format!("{a}:{b}:{c}")).collect(),
        originator_id: detail.originator_id,
        cluster_list: detail.cluster_list.clone(),
        otc: detail.otc,
        aggregator: detail.aggregator.map(|(number, address)| format!("{number} {address}")),
        atomic_aggregate: detail.atomic_aggregate,
        unknown_attributes: detail.unknown.clone(),
    }
}

/// For `routectl status`.
pub fn peer_lines(status: &PeeringStatus) -> Vec<status::PeerStatus> {
    let waiting = status.waiting.iter().map(|waiting| {
        let line = waiting_line(waiting);
        status::PeerStatus {
            name: line.name,
            address: line.address,
            as_number: line.as_number,
            state: line.state,
            since_secs: line.since_secs,
            received: 0,
            advertised: 0,
            last_error: line.last_error,
        }
    });
    status.peers.iter().map(peer_line).chain(waiting).collect()
}

fn peer_line(peer: &PeerStatus) -> status::PeerStatus {
    status::PeerStatus {
        name: peer.config.name.clone(),
        address: interfaces::words(peer.address),
        as_number: peer.as_number,
        state: peer.state.to_string(),
        since_secs: peer.lasting.as_secs(),
        received: peer.accepted,
        advertised: peer.advertised,
        last_error: trouble(peer),
    }
}

/// What broke a session last or, while it stands, what was wrong with UPDATEs that it survived.
fn trouble(peer: &PeerStatus) -> Option<String> {
    let mended = peer.last_malformed.as_ref().filter(|_| peer.state == State::Established);
    let mended = mended.map(|what| format!("{} malformed UPDATEs (RFC 7606), the last: {what}", peer.malformed));
    mended.or_else(|| peer.last_error.as_ref().map(|(_, what)| what.clone()))
}

/// For `routectl bgp routes`.
pub fn route_line(route: &RouteStatus) -> RouteLine {
    let origin = match route.origin {
        Origin::Igp => "igp",
        Origin::Egp => "egp",
        Origin::Incomplete => "incomplete",
    };
    RouteLine {
        prefix: route.prefix,
        next_hop: route.next_hop.map(interfaces::words),
        from: route.from.as_ref().map(|(_, name)| name.clone()),
        as_path: route.as_path.clone(),
        origin: origin.to_string(),
        local_pref: route.local_pref,
        med: route.med,
        communities: route.communities.clone(),
        best: route.best,
        stale: route.stale,
        refused: route.refused.clone(),
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
