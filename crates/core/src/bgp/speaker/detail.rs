//! What the speaker answers when asked about one neighbour or one prefix: all that it knows of it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::Speaker;
pub use super::faults::{Fault, Faults};
use super::peer::Peer;
use super::status::{PeerStatus, RouteStatus};
pub use crate::bgp::rib::decision::Step;
pub use crate::bgp::rib::outbound::TooLong;
pub use crate::bgp::rib::standing::Standing;
use crate::bgp::rib::{Candidate, Rib, Scope};
pub use crate::bgp::session::counters::Messages;
use crate::bgp::wire::AfiSafi;
use crate::model::scope::unscoped;
use crate::model::{Cidr, Family};
use crate::time::Time;

/// One neighbour, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerDetail {
    pub status: PeerStatus,
    /// Since it was configured.
    pub messages_in: Messages,
    pub messages_out: Messages,
    /// What was wrong with its UPDATEs (RFC 7606); the last one with how long ago it was.
    pub faults: Faults,
    pub last_fault: Option<Duration>,
    /// How long ago, and what, in words.
    pub last_sent: Option<(Duration, String)>,
    pub last_received: Option<(Duration, String)>,
    /// Whether it still has to be told something.
    pub waiting: bool,
    /// Families that were agreed on, and that it is told nothing of by way of this node, which has no next hop to offer.
    pub untold: Vec<Untold>,
    /// How many routes it is not told since no message can hold them, and one of them.
    pub too_long: Option<(usize, TooLong)>,
    /// What became of the session, the newest last.
    pub history: Vec<(Duration, String)>,
}

/// A family without a next hop of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold {
    pub family: Family,
    /// The session is over link-local addresses.
    pub on_link: bool,
}

/// One route of one source, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDetail {
    pub route: RouteStatus,
    pub standing: Standing,
    /// The path identifier that it came under (RFC 7911), and the one that it is told under to those who are told several.
    pub path_id: Option<u32>,
    pub told_as: Option<u32>,
    pub router_id: Option<Ipv4Addr>,
    pub external: bool,
    pub extended_communities: Vec<[u8; 8]>,
    pub large_communities: Vec<(u32, u32, u32)>,
    pub originator_id: Option<Ipv4Addr>,
    pub cluster_list: Vec<Ipv4Addr>,
    pub otc: Option<u32>,
    pub aggregator: Option<(u32, Ipv4Addr)>,
    pub atomic_aggregate: bool,
    /// Type codes of attributes that we pass on without knowing them.
    pub unknown: Vec<u8>,
}

impl Speaker {
    /// `None`: there is no such neighbour.
    pub fn neighbor(&self, address: IpAddr, now: Time) -> Option<PeerDetail> {
        let peer = self.peers.get(&address)?;
        let ago = |at: Time| now.since(at);
        let [sent, received] = peer.session.notifications().map(|n| n.map(|(at, what)| (ago(*at), what.to_string())));
        let holds = self.progress.holds_end_of_rib();
        Some(PeerDetail {
            status: self.peer_status(&address, peer, now),
            messages_in: peer.session.messages_in,
            messages_out: peer.session.messages_out,
            last_fault: peer.faults.last.as_ref().map(|(at, ..)| ago(*at)),
            faults: peer.faults.clone(),
            last_sent: sent,
            last_received: received,
            waiting: peer.told && self.outbound.has_news(address, &self.rib, holds),
            untold: self.untold(address, peer),
            too_long: {
                let mut routes = self.outbound.too_long(address);
                routes.next().map(|first| (1 + routes.count(), *first))
            },
            history: peer.history.iter().map(|(at, what)| (ago(*at), what.clone())).collect(),
        })
    }

    fn untold(&self, address: IpAddr, peer: &Peer) -> Vec<Untold> {
        let local = peer.session.established().and_then(|connection| connection.local);
        let Some((local, negotiated)) = local.zip(peer.negotiated.as_ref()) else { return Vec::new() };
        let export = self.export(address, local);
        let on_link = unscoped(local).1.is_some();
        let own = [(Family::V4, export.self4), (Family::V6, export.self6)];
        let agreed = |family| negotiated.codec.families.contains(&AfiSafi::unicast(family));
        let without = own.into_iter().filter(|(family, own)| own.is_none() && agreed(*family));
        without.map(|(family, _)| Untold { family, on_link }).collect()
    }

    /// Address, BGP identifier and AS of each neighbour; 0 while that is not known.
    pub fn neighbors(&self) -> impl Iterator<Item = (IpAddr, Ipv4Addr, u32)> {
        self.peers.iter().map(|(address, peer)| (*address, peer.source.router_id, peer.as_number().unwrap_or(0)))
    }

    pub fn rib(&self) -> &Rib {
        &self.rib
    }

    /// The identifier under which a neighbour sent it, where its session has such for this family.
    pub fn path_id(&self, prefix: &Cidr, candidate: &Candidate) -> Option<u32> {
        let peer = self.peers.get(&candidate.source.peer?)?;
        let with_ids = peer.negotiated.as_ref()?.codec.path_ids.received.contains(&AfiSafi::of(prefix));
        with_ids.then_some(candidate.source.path_id)
    }

    /// The neighbour of this name or address.
    pub fn find(&self, name: &str) -> Option<IpAddr> {
        let address = name.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let by_address = address.filter(|address| self.peers.contains_key(address));
        let named = || self.peers.iter().find(|(_, peer)| peer.config.name == name).map(|(address, _)| *address);
        by_address.or_else(named)
    }

    /// The longest prefix with a route that covers this one, and every route to it, the best first.
    pub fn route(&self, prefix: &Cidr) -> Vec<RouteDetail> {
        let covering = (0..=prefix.length()).rev().filter_map(|length| Cidr::new(prefix.address(), length).ok());
        let found = covering.filter_map(|prefix| {
            let destination = self.rib.get(&prefix).filter(|destination| !destination.candidates().is_empty())?;
            Some((prefix, destination))
        });
        let Some((prefix, destination)) = found.into_iter().next() else { return Vec::new() };
        let mut routes = Vec::new();
        self.routes_to(&prefix, destination, &mut routes);
        let standings = self.rib.standings(destination);
        let told = self.rib.scope() == Scope::All;
        let details = routes.into_iter().zip(standings).zip(destination.candidates());
        details
            .map(|((route, standing), candidate)| {
                let attributes = &candidate.path.attributes;
                RouteDetail {
                    route,
                    standing,
                    path_id: self.path_id(&prefix, candidate),
                    told_as: told.then(|| candidate.source.number.get()),
                    router_id: candidate.source.peer.map(|_| candidate.source.router_id),
                    external: candidate.source.external,
                    extended_communities: attributes.extended_communities.iter().copied().collect(),
                    large_communities: attributes.large_communities.iter().copied().collect(),
                    originator_id: attributes.originator_id,
                    cluster_list: attributes.cluster_list.clone(),
                    otc: attributes.otc,
                    aggregator: attributes.aggregator,
                    atomic_aggregate: attributes.atomic_aggregate,
                    unknown: attributes.unknown.iter().map(|(_, code, _)| *code).collect(),
                }
            })
            .collect()
    }
}
