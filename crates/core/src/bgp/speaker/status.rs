//! What the speaker answers when asked how it is: its neighbours and its routes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::Speaker;
use super::config::PeerConfig;
use super::peer::Peer;
use super::restart::StaleStatus;
use crate::bgp::filter::{Direction, Refusal};
use crate::bgp::rib::Destination;
use crate::bgp::rib::path::Path;
use crate::bgp::session::{Said, State};
use crate::bgp::wire::{AsSegment, Origin};
use crate::model::scope::unscoped;
use crate::model::{Cidr, Family};
use crate::time::Time;

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub address: IpAddr,
    pub config: PeerConfig,
    /// `None`: its OPEN has yet to say it.
    pub as_number: Option<u32>,
    pub state: State,
    /// How long it has been Established, or has not been.
    pub lasting: Duration,
    /// Of the present session, as are the next two.
    pub router_id: Option<Ipv4Addr>,
    /// Seconds; 0: none runs.
    pub hold_time: Option<u16>,
    /// `ipv4-unicast`, `four-octet-as`, `graceful-restart`, ...
    pub capabilities: Vec<String>,
    /// Prefixes it sent, those of them that import accepted, and prefixes that it was told.
    pub received: u64,
    pub accepted: u64,
    /// Of the family that it sent most of, in the present session or the last.
    pub received_most: u64,
    pub advertised: u64,
    /// How often the session was Established.
    pub sessions: u64,
    /// Whether routes from before its restart are kept (RFC 4724), and more of that.
    pub retained: bool,
    pub stale: Option<StaleStatus>,
    /// UPDATEs with faults in the present session, or else the last one (RFC 7606), and the last such one in words.
    pub malformed: u64,
    pub last_malformed: Option<String>,
    /// How long ago, and what, in words: what we sent, what it said, or how the connection broke.
    pub last_error: Option<(Duration, String)>,
    /// While there is no session: how long ago, and what, either side said last by NOTIFICATION since there was one.
    pub refusal: Option<(Duration, Said)>,
}

/// One route of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    pub prefix: Cidr,
    /// The neighbour's address and name; `None` for our own.
    pub from: Option<(IpAddr, String)>,
    pub next_hop: Option<IpAddr>,
    /// As text: `64513 64514 {64515 64516}`.
    pub as_path: String,
    pub origin: Origin,
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    pub communities: Vec<String>,
    /// The best, or of equal rank with it (ECMP).
    pub best: bool,
    /// Kept from before the neighbour's restart.
    pub stale: bool,
    /// Why it takes no part in the decision, in words.
    pub refused: Option<String>,
}

impl Speaker {
    /// Whether the session with this neighbour stands.
    pub fn is_established(&self, address: IpAddr) -> bool {
        self.peers.get(&address).is_some_and(|peer| peer.session.state() == State::Established)
    }

    /// Every configured neighbour, by address.
    pub fn status(&self, now: Time) -> Vec<PeerStatus> {
        self.peers.iter().map(|(address, peer)| self.peer_status(address, peer, now)).collect()
    }

    pub(super) fn peer_status(&self, address: &IpAddr, peer: &Peer, now: Time) -> PeerStatus {
        let counts = self.rib.counts(*address);
        let negotiated = peer.session.established().and_then(|connection| connection.negotiated.as_ref());
        let last_fault = peer.faults.last.as_ref().filter(|_| peer.faults.of_session > 0);
        PeerStatus {
            address: *address,
            config: peer.config.clone(),
            as_number: peer.as_number(),
            state: peer.session.state(),
            lasting: now.since(peer.session.turned()),
            router_id: negotiated.map(|n| n.router_id),
            hold_time: negotiated.map(|n| n.hold_time),
            capabilities: negotiated.map(|n| n.words()).unwrap_or_default(),
            received: counts.received,
            accepted: counts.accepted,
            received_most: Family::BOTH
                .map(|family| self.rib.counts_in(*address, family, peer.source.session).received)
                .into_iter()
                .max()
                .unwrap_or(0),
            advertised: self.outbound.told(*address),
            sessions: peer.session.sessions(),
            retained: peer.stale.is_active(),
            stale: peer.stale.status(now),
            malformed: peer.faults.of_session,
            last_malformed: last_fault.map(|(_, fault)| fault.what.clone()),
            last_error: peer.session.last_error().map(|(at, what)| (now.since(*at), what.clone())),
            refusal: peer.session.refusal().map(|(at, said)| (now.since(*at), said.clone())),
        }
    }

    /// Every route to every prefix, the best of a prefix first.
    pub fn routes(&self) -> Vec<RouteStatus> {
        let mut routes = Vec::new();
        for (prefix, destination) in self.rib.iter() {
            self.routes_to(prefix, destination, &mut routes);
        }
        routes
    }

    /// The routes to one prefix, the best first.
    pub(super) fn routes_to(&self, prefix: &Cidr, destination: &Destination, routes: &mut Vec<RouteStatus>) {
        let equal = destination.equal();
        for (index, candidate) in destination.candidates().iter().enumerate() {
            let peer = candidate.source.peer;
            let from = peer.and_then(|address| Some((address, self.peers.get(&address)?)));
            let attributes = &candidate.path.attributes;
            routes.push(RouteStatus {
                prefix: *prefix,
                from: from.map(|(address, peer)| (address, peer.config.name.clone())),
                next_hop: peer.map(|_| candidate.path.next_hop.way()),
                as_path: as_path_words(&candidate.path),
                origin: attributes.origin,
                local_pref: attributes.local_pref,
                med: attributes.med,
                communities: attributes.communities.iter().map(|c| format!("{}:{}", c >> 16, c & 0xffff)).collect(),
                best: index < equal,
                stale: from.is_some_and(|(_, peer)| peer.source.session != candidate.source.session || peer.is_away()),
                refused: self.rib.refused(prefix, candidate).map(|refusal| match (refusal, from) {
                    (Refusal::Filtered(place), Some((_, peer))) => {
                        let rule = peer.config.filters.words(Direction::Import, prefix.family(), place);
                        format!("{rule} rejects it")
                    }
                    (Refusal::NextHop(why), _) => {
                        let (hop, _) = unscoped(candidate.path.next_hop.way());
                        format!("its next hop {hop} does not resolve: {why}; {}", why.mend())
                    }
                    (refusal, _) => refusal.to_string(),
                }),
            });
        }
    }
}

pub(super) fn as_path_words(path: &Path) -> String {
    let join = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let segments = path.attributes.as_path.iter().map(|segment| match segment {
        AsSegment::Sequence(numbers) => join(numbers),
        AsSegment::Set(numbers) => format!("{{{}}}", join(numbers)),
    });
    segments.collect::<Vec<_>>().join(" ")
}
