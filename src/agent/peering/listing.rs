//! The speaker's answers in the words of the local API.

use routenet_core::bgp::speaker::{PeerSource, PeerStatus, RouteStatus, State};
use routenet_core::bgp::wire::Origin;
use routenet_core::model::ImportPolicy;

use crate::api::listing::{NeighborLine, RouteLine};
use crate::api::status;

/// For `routectl bgp neighbors`.
pub fn neighbor_line(peer: &PeerStatus) -> NeighborLine {
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
