//! What a monitoring station hears (RFC 7854): every neighbour's coming and going, and its routes before policy. Written
//! only while somebody listens.

use std::net::IpAddr;
use std::time::Duration;

use super::Speaker;
use super::peer::Peer;
use crate::bgp::monitor::bmp::{self, Down, PeerHeader};
use crate::bgp::rib::{Slot, Walk};
use crate::bgp::wire::{Nlri, Update};
use crate::time::Time;

/// What was written, and when [`Time::ZERO`] was, since 1970.
#[derive(Debug)]
pub(super) struct Monitor {
    epoch: Duration,
    written: Vec<u8>,
}

/// Where a station that came later is in what was before it.
#[derive(Clone, Debug, Default)]
pub struct MonitorWalk {
    begun: bool,
    table: Walk,
}

impl Speaker {
    /// Begins (`epoch`: when [`Time::ZERO`] was, since 1970) or ends to write down what stations hear.
    pub fn monitor(&mut self, epoch: Option<Duration>) {
        match (&self.monitor, epoch) {
            (Some(_), Some(_)) => {}
            (_, epoch) => self.monitor = epoch.map(|epoch| Monitor { epoch, written: Vec::new() }),
        }
    }

    /// What happened since the last call, as BMP messages.
    pub fn take_monitored(&mut self) -> Vec<u8> {
        self.monitor.as_mut().map(|monitor| std::mem::take(&mut monitor.written)).unwrap_or_default()
    }

    /// Appends the next part of what a new station has to hear first: who is a neighbour, then at most `most` prefixes at a
    /// time, then the ends of the tables. `false` when that was all.
    pub fn monitor_walk(&self, walk: &mut MonitorWalk, most: Slot, now: Time, out: &mut Vec<u8>) -> bool {
        let Some(monitor) = &self.monitor else { return false };
        let up = || self.peers.iter().filter(|(_, peer)| peer.told);
        if !walk.begun {
            walk.begun = true;
            for (address, peer) in up() {
                put_up(&monitor.header(*address, peer, now), peer, out);
            }
            return true;
        }
        let portion = walk.table.portion(&self.rib.slots(), most);
        if portion.is_empty() {
            for (address, peer) in up() {
                let families = peer.negotiated.iter().flat_map(|negotiated| &negotiated.codec.families);
                for family in families {
                    bmp::end_of_rib(&monitor.header(*address, peer, now), *family, out);
                }
            }
            return false;
        }
        for destination in portion.map(|slot| self.rib.destination(slot)) {
            let prefix = destination.prefix();
            for candidate in destination.candidates() {
                let peer = candidate.source.peer.and_then(|address| Some((address, self.peers.get(&address)?)));
                // What is kept from before a restart is no word of the present session.
                let present = peer.filter(|(_, peer)| peer.told && peer.source.session == candidate.source.session);
                let Some((address, peer)) = present else { continue };
                let header = monitor.header(address, peer, now);
                let path = candidate.received();
                bmp::reachable(
                    &header,
                    &path.attributes,
                    &[(Nlri { prefix: *prefix, path_id: candidate.source.path_id }, path.next_hop)],
                    out,
                );
            }
        }
        true
    }

    pub(super) fn monitor_up(&mut self, address: IpAddr, now: Time) {
        let (Some(monitor), Some(peer)) = (&mut self.monitor, self.peers.get(&address)) else { return };
        let header = monitor.header(address, peer, now);
        put_up(&header, peer, &mut monitor.written);
    }

    pub(super) fn monitor_down(&mut self, address: IpAddr, now: Time) {
        let (Some(monitor), Some(peer)) = (&mut self.monitor, self.peers.get(&address)) else { return };
        let at_once = |said: Option<&(Time, crate::bgp::wire::Notification)>| {
            said.filter(|(at, _)| *at == now).map(|(_, notification)| notification.clone())
        };
        let [sent, received] = peer.session.notifications().map(at_once);
        let down = match (received, sent) {
            (Some(received), _) => Down::Remote(received),
            (None, Some(sent)) => Down::Local(sent),
            (None, None) if peer.session.is_closed() => Down::LocalQuiet,
            (None, None) => Down::RemoteQuiet,
        };
        let header = monitor.header(address, peer, now);
        bmp::peer_down(&header, &down, &mut monitor.written);
    }

    /// What an UPDATE came to before policy; what RFC 7606 treats as withdrawn is told as withdrawn.
    pub(super) fn monitor_update(&mut self, address: IpAddr, update: &Update, now: Time) {
        let (Some(monitor), Some(peer)) = (&mut self.monitor, self.peers.get(&address)) else { return };
        let header = monitor.header(address, peer, now);
        bmp::withdrawn(&header, &update.withdrawn, &mut monitor.written);
        if let Some(attributes) = &update.attributes {
            bmp::reachable(&header, attributes, &update.reachable, &mut monitor.written);
        }
        if let Some(family) = update.end_of_rib {
            bmp::end_of_rib(&header, family, &mut monitor.written);
        }
    }
}

impl Monitor {
    fn header(&self, address: IpAddr, peer: &Peer, now: Time) -> PeerHeader {
        PeerHeader {
            address,
            as_number: peer.as_number().unwrap_or(0),
            router_id: peer.source.router_id,
            at: self.epoch + now.since_origin(),
            path_ids: peer.negotiated.as_ref().map(|it| it.codec.path_ids.received.clone()).unwrap_or_default(),
        }
    }
}

fn put_up(header: &PeerHeader, peer: &Peer, out: &mut Vec<u8>) {
    if let Some(connection) = peer.session.established() {
        let [sent, received] = &connection.opens;
        bmp::peer_up(header, connection.local, sent, received, out);
    }
}
