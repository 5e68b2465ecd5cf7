//! The speaker's answers in the words of the local API.

use routenet_core::bfd::engine::Status;
use routenet_core::bfd::packet::{Diagnostic, State as Up};
use routenet_core::bgp::speaker::{PeerSource, PeerStatus, RouteStatus, State};
use routenet_core::bgp::wire::Origin;
use routenet_core::model::ImportPolicy;

use super::PeeringStatus;
use crate::api::listing::{BfdLine, NeighborLine, RouteLine};
use crate::api::status;

/// For `routectl bgp neighbors`.
pub fn neighbor_lines(status: &PeeringStatus) -> Vec<NeighborLine> {
    status.peers.iter().map(|peer| neighbor_line(peer, bfd_line(status, peer))).collect()
}

/// `None`: it is not configured.
fn bfd_line(status: &PeeringStatus, peer: &PeerStatus) -> Option<BfdLine> {
    let multihop = peer.config.bfd?.multihop;
    let mut sessions = status.bfd.sessions.iter();
    let found = sessions.find(|(neighbor, _)| neighbor.address == peer.address && neighbor.multihop == multihop);
    let Some((neighbor, bfd)) = found else {
        return Some(BfdLine {
            state: "Down".to_string(),
            why: Some("there is no session".to_string()),
            ..BfdLine::default()
        });
    };
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Some(BfdLine {
        state: bfd.state.to_string(),
        since_secs: bfd.lasting.as_secs(),
        why: why_down(bfd, status.bfd.unsent.get(neighbor)),
        remote_state: bfd.remote.map(|(state, _)| state.to_string()),
        transmit_interval_ms: millis(bfd.transmit_interval),
        detection_time_ms: bfd.detection_time.map(millis),
        sessions: bfd.ups,
        discarded: bfd.discarded,
        last_discard: bfd.last_discard.map(|discard| discard.to_string()),
    })
}

/// Nothing while it is Up.
fn why_down(bfd: &Status, unsent: Option<&String>) -> Option<String> {
    if bfd.state == Up::Up {
        return None;
    }
    if let Some(error) = unsent {
        return Some(format!("packets do not go out: {error}"));
    }
    if bfd.ended_by_neighbor {
        return Some("the neighbour's administrator ended it".to_string());
    }
    let heard = match (bfd.remote, bfd.last_discard) {
        (Some((state, diagnostic)), _) if diagnostic != Diagnostic::NONE => {
            format!("; the neighbour says {state} ({diagnostic})")
        }
        (Some((state, _)), _) => format!("; the neighbour says {state}"),
        (None, Some(discard)) => format!("; the last packet was not taken: {discard}"),
        (None, None) => "; nothing is heard from the neighbour".to_string(),
    };
    Some(match bfd.diagnostic {
        Diagnostic::NONE => format!("never up{heard}"),
        diagnostic => format!("{diagnostic}{heard}"),
    })
}

fn neighbor_line(peer: &PeerStatus, bfd: Option<BfdLine>) -> NeighborLine {
    let source = match peer.config.source {
        PeerSource::Node => "node",
        PeerSource::Peer => "peer",
        PeerSource::Config => "config",
    };
    let import = match peer.config.import {
        ImportPolicy::None => "none",
        ImportPolicy::Pools => "pools",
        ImportPolicy::All => "all",
    };
    NeighborLine {
        name: peer.config.name.clone(),
        address: peer.address,
        port: peer.config.port,
        as_number: peer.config.as_number,
        source: source.to_string(),
        passive: peer.config.passive,
        import: import.to_string(),
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
        bfd,
    }
}

/// For `routectl status`.
pub fn peer_line(peer: &PeerStatus) -> status::PeerStatus {
    status::PeerStatus {
        name: peer.config.name.clone(),
        address: peer.address,
        as_number: peer.config.as_number,
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
        next_hop: route.next_hop,
        from: route.from.as_ref().map(|(_, name)| name.clone()),
        as_path: route.as_path.clone(),
        origin: origin.to_string(),
        local_pref: route.local_pref,
        med: route.med,
        communities: route.communities.clone(),
        best: route.best,
        stale: route.stale,
        refused: route.refused.map(|refusal| refusal.to_string()),
    }
}
