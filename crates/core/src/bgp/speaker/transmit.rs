//! From the RIB to the wire, in portions: what a connection may write next.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::peer::Peer;
use super::{ConnId, Event, Speaker};
use crate::bgp::filter::Export;
use crate::bgp::rib::outbound::Policy;
use crate::model::scope::unscoped;
use crate::time::Time;

/// How often in a minute it is reported of a neighbour that no message holds some route.
const REPORTS: u32 = 1;

impl Speaker {
    /// Whether there is something to write on this connection.
    pub fn wants_transmit(&self, conn: ConnId) -> bool {
        let Some(address) = self.connections.get(&conn) else { return false };
        let Some(peer) = self.peers.get(address) else { return false };
        if peer.session.has_output(conn) {
            return true;
        }
        let established = peer.session.established().is_some_and(|connection| connection.id == conn);
        let holds = self.progress.holds_end_of_rib();
        // Being drained, a neighbour that has all its withdrawals has still to hear Cease, whoever of its group was first.
        let farewell = self.is_withdrawn();
        established && peer.told && (farewell || self.outbound.has_news(*address, &self.rib, holds))
    }

    /// The connections on which there is something to write, of those that have room for it. News of which nobody is told
    /// anything is passed over here once, not by each neighbour.
    pub fn waiting(&mut self, has_room: impl Fn(ConnId) -> bool, now: Time) -> Vec<ConnId> {
        let peers = &self.peers;
        let of_peer = |peer: &Peer| {
            let connection = peer.session.established().filter(|_| peer.told)?;
            Some(connection.id).filter(|conn| has_room(*conn))
        };
        let told = |address: IpAddr| peers.get(&address).and_then(of_peer);
        let passed = self.outbound.prepare(&self.rib, |address| told(address).is_some());
        let holds = self.progress.holds_end_of_rib();
        let mut all: BTreeSet<ConnId> = self.speaking.iter().copied().filter(|conn| has_room(*conn)).collect();
        all.extend(self.outbound.due(holds).filter_map(told));
        if self.is_withdrawn() {
            all.extend(peers.values().filter_map(of_peer));
        }
        self.report_too_long(now);
        if passed {
            self.trim();
        }
        all.into_iter().collect()
    }

    /// Appends whole messages to `buffer`, until there is nothing more to say or it has grown by `budget` bytes (and at
    /// most one message more).
    pub fn poll_transmit(&mut self, conn: ConnId, buffer: &mut Vec<u8>, budget: usize, now: Time) {
        let Some(&address) = self.connections.get(&conn) else { return };
        let start = buffer.len();
        self.fill(address, conn, buffer, budget, now);
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.session.messages_out.count_all(&buffer[start..]);
        }
        self.peers.note_deadlines();
    }

    fn fill(&mut self, address: IpAddr, conn: ConnId, buffer: &mut Vec<u8>, budget: usize, now: Time) {
        let full = buffer.len() + budget;
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let Some(connection) = peer.session.connection(conn) else { return };
        connection.take_output(buffer);
        self.speaking.remove(&conn);
        if peer.session.established().is_none_or(|connection| connection.id != conn) || !peer.told {
            return;
        }
        let holds = self.progress.holds_end_of_rib();
        let all = self.outbound.transmit(address, &self.rib, holds, full, buffer);
        self.report_too_long(now);
        self.trim();
        if all && self.is_withdrawn() {
            self.shut_for_drain(address, now);
        }
    }

    /// Once in a while of one neighbour; its detail has the present.
    fn report_too_long(&mut self, now: Time) {
        for (address, route) in self.outbound.take_reports() {
            let Some(peer) = self.peers.get_mut(&address) else { continue };
            if peer.too_long.take(REPORTS, now).is_some() {
                let name = peer.config.name.clone();
                self.events.push_back(Event::TooLong { peer: address, name, what: route.to_string() });
            }
        }
    }

    /// What decides what the neighbour is told, while its session is Established.
    pub(super) fn policy(&self, address: IpAddr) -> Option<Policy> {
        let peer = self.peers.get(&address)?;
        let local = peer.session.established()?.local?;
        Some(Policy::new(self.export(address, local), peer.negotiated.as_ref()?.codec.clone()))
    }

    pub(super) fn export(&self, address: IpAddr, local: IpAddr) -> Export {
        let peer = self.peers.get(&address);
        let external = peer.is_some_and(|peer| peer.source.external);
        let options = peer.map(|peer| peer.config.options.clone()).unwrap_or_default();
        let on_link = unscoped(local).1.is_some();
        let own4 = if local.is_ipv4() { Some(local) } else { self.config.address4.filter(|_| !on_link) };
        let negotiated = peer.and_then(|peer| peer.negotiated.as_ref());
        let extended = negotiated.is_some_and(|negotiated| negotiated.codec.extended_next_hop);
        let mapped = || match local {
            IpAddr::V4(local) if !self.config.forwards => Some(local.to_ipv6_mapped().into()),
            _ => None,
        };
        Export {
            peer: address,
            external,
            transit: peer.is_some_and(|peer| peer.config.transit()),
            own_only: self.progress.deferring(),
            nothing: self.is_withdrawn(),
            leaving: self.is_leaving(),
            forwards: self.config.forwards,
            extended_next_hop: extended,
            long_lived: peer.is_some_and(|peer| peer.negotiated.as_ref().is_some_and(|theirs| theirs.long_lived_aware)),
            local_as: options.local_as.unwrap_or(self.config.as_number),
            cluster_id: self.config.cluster_id(),
            options,
            // On a link without an address of ours but the link-local one, it is the way to us for IPv4 too (RFC 8950).
            self4: own4.or_else(|| extended.then_some(local)),
            self6: if local.is_ipv6() { Some(local) } else { self.config.address6.or_else(mapped) },
            filters: peer.map(|peer| peer.config.filters.clone()).unwrap_or_default(),
        }
    }
}
