//! From the RIB to the wire, in portions: what a connection may write next.

use std::net::IpAddr;

use super::{ConnId, Speaker};
use crate::bgp::filter::Export;
use crate::bgp::rib::outbound::Next;
use crate::bgp::wire;
use crate::time::Time;

impl Speaker {
    /// Whether there is something to write on this connection.
    pub fn wants_transmit(&self, conn: ConnId) -> bool {
        let Some(peer) = self.connections.get(&conn).and_then(|address| self.peers.get(address)) else { return false };
        if peer.session.has_output(conn) {
            return true;
        }
        let established = peer.session.established().is_some_and(|connection| connection.id == conn);
        let holds = self.progress.holds_end_of_rib();
        established && peer.outbound.as_ref().is_some_and(|outbound| outbound.has_news(&self.rib, holds))
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
    }

    fn fill(&mut self, address: IpAddr, conn: ConnId, buffer: &mut Vec<u8>, budget: usize, now: Time) {
        let full = buffer.len() + budget;
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let Some(connection) = peer.session.connection(conn) else { return };
        connection.take_output(buffer);
        let established = peer.session.established().filter(|connection| connection.id == conn);
        let Some(local) = established.and_then(|connection| connection.local) else { return };
        let export = self.export(address, local);
        let holds = self.progress.holds_end_of_rib();
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let (Some(outbound), Some(negotiated)) = (&mut peer.outbound, &peer.negotiated) else { return };
        let mut drained = false;
        while buffer.len() < full {
            match outbound.next(&self.rib, &export, &mut self.interner, holds) {
                Next::EndOfRib(family) => wire::encode_end_of_rib(family, buffer),
                Next::Nothing => {
                    drained = self.drained.is_some();
                    break;
                }
                Next::Group(group) => {
                    let left = &group.prefixes[group.sent..];
                    let fitted = match &group.path {
                        None => Ok(wire::encode_withdraw(left, buffer)),
                        Some(path) => {
                            wire::encode_reach(&path.attributes, &path.next_hop, left, &negotiated.codec, buffer)
                        }
                    };
                    match fitted {
                        Ok(fitted) => outbound.sent(fitted),
                        // Attributes beyond what a message holds: the neighbour must not keep an older path either.
                        Err(_) => outbound.unsayable(),
                    }
                }
            }
        }
        self.trim();
        if drained {
            self.shut_for_drain(address, now);
        }
    }

    fn export(&self, address: IpAddr, local: IpAddr) -> Export {
        let peer = self.peers.get(&address);
        let external = peer.is_some_and(|peer| peer.source.external);
        let options = peer.map(|peer| peer.config.options.clone()).unwrap_or_default();
        let mapped = || match local {
            IpAddr::V4(local) if self.config.mapped_next_hop => Some(local.to_ipv6_mapped().into()),
            _ => None,
        };
        Export {
            peer: address,
            external,
            transit: peer.is_some_and(|peer| peer.config.transit()),
            own_only: self.progress.deferring(),
            nothing: self.drained.is_some(),
            local_as: options.local_as.unwrap_or(self.config.as_number),
            cluster_id: self.config.cluster_id(),
            options,
            self4: if local.is_ipv4() { Some(local) } else { self.config.address4 },
            self6: if local.is_ipv6() { Some(local) } else { self.config.address6.or_else(mapped) },
        }
    }
}
