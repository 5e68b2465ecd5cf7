//! Neighbours that nobody named one by one: whoever connects from a range is one, as long as there is room.

use std::net::IpAddr;
use std::time::Duration;

use super::config::{ListenRange, PeerConfig, SpeakerConfig};
use super::peer::Peer;
use super::{Event, Speaker, State};
use crate::model::Cidr;
use crate::model::scope::unscoped;
use crate::time::Time;

/// How long one without a connection is remembered, with its last error and the rest that errors earned it.
const REMEMBERED: Duration = Duration::from_secs(60);

impl ListenRange {
    /// What a neighbour of this address is.
    pub fn peer(&self, address: IpAddr) -> PeerConfig {
        let name = match unscoped(address) {
            (address, Some(link)) => format!("{address}%{link}"),
            (address, None) => address.to_string(),
        };
        PeerConfig { name, passive: true, ..self.template.clone() }
    }
}

impl Speaker {
    /// Makes a neighbour of who connects from a range. Where the range is full, the one that has been gone longest is forgotten
    /// early, of those of which nothing is kept. Ghosts count for nothing here: anybody can connect.
    pub(super) fn welcome(&mut self, remote: IpAddr, now: Time) {
        if self.peers.contains_key(&remote) || self.drained.is_some() {
            return;
        }
        let ranges = self.config.ranges.iter().filter(|range| range.prefix.covers(&Cidr::host(remote)));
        let Some(range) = ranges.max_by_key(|range| range.prefix.length()).cloned() else { return };
        let present = self.peers.iter().filter(|(_, peer)| peer.range == Some(range.prefix) && !peer.is_ghost());
        if present.count() >= range.limit as usize {
            let Some(gone) = self.longest_gone(range.prefix, Peer::may_be_forgotten) else { return };
            self.forget_peer(gone);
            self.trim();
        }
        let config = range.peer(remote);
        let settings = self.config.settings(&config);
        self.config.peers.insert(remote, config.clone());
        let mut peer = Peer::new(remote, config, settings, now);
        peer.range = Some(range.prefix);
        self.peers.insert(remote, peer);
    }

    /// Whether a neighbour whose session comes up has its place: where its range is full of others, the ghost that has been
    /// gone longest makes room.
    pub(super) fn has_room(&mut self, address: IpAddr) -> bool {
        let Some(prefix) = self.peers.get(&address).and_then(|peer| peer.range) else { return true };
        let Some(range) = self.config.ranges.iter().find(|range| range.prefix == prefix) else { return true };
        let others = self.peers.iter().filter(|(other, peer)| **other != address && peer.range == Some(prefix));
        let holds = |peer: &Peer| peer.stale.is_active() || peer.session.established().is_some();
        if others.filter(|(_, peer)| holds(peer)).count() < range.limit as usize {
            return true;
        }
        let Some(ghost) = self.longest_gone(prefix, Peer::is_ghost) else { return false };
        self.give_way(ghost, prefix, address);
        true
    }

    /// Of the neighbours of a range that are such, the one that left first.
    fn longest_gone(&self, range: Cidr, such: impl Fn(&Peer) -> bool) -> Option<IpAddr> {
        let gone = self.peers.iter().filter(|(_, peer)| peer.range == Some(range) && such(peer));
        gone.min_by_key(|(_, peer)| peer.left).map(|(address, _)| *address)
    }

    /// Those of a range that is still there stay, by what it says now; one that has a configuration of its own is no longer
    /// the range's.
    pub(super) fn keep_ranges(&mut self, config: &mut SpeakerConfig) {
        for (address, peer) in self.peers.iter_mut() {
            let Some(prefix) = peer.range else { continue };
            match config.ranges.iter().find(|range| range.prefix == prefix) {
                _ if config.peers.contains_key(address) => (peer.range, peer.left) = (None, None),
                Some(range) => _ = config.peers.insert(*address, range.peer(*address)),
                None => {}
            }
        }
    }

    /// Notes since when a neighbour of a range has no connection.
    pub(super) fn note_absence(&mut self, address: IpAddr, now: Time) {
        let Some(peer) = self.peers.get_mut(&address).filter(|peer| peer.range.is_some()) else { return };
        peer.left = match (peer.session.is_connected(), peer.left) {
            (true, _) => None,
            (false, left) => left.or(Some(now)),
        };
    }

    /// Forgets a neighbour of a range that has been gone for long enough.
    pub(super) fn forget_if_gone(&mut self, address: IpAddr, now: Time) {
        if self.peers.get(&address).and_then(Peer::forget_at).is_some_and(|at| at <= now) {
            self.forget_peer(address);
        }
    }

    /// Forgets a ghost for one that is there, and says so.
    fn give_way(&mut self, gone: IpAddr, range: Cidr, to: IpAddr) {
        if let Some(peer) = self.peers.get(&gone) {
            let routes = self.rib.counts(gone).received;
            let name = peer.config.name.clone();
            let why = format!(
                "forgotten with its {routes} long-lived stale routes: the range {range} is full, and {} is there",
                unscoped(to).0
            );
            self.events.push_back(Event::State { peer: gone, name, state: State::Idle, why: Some(why), again: false });
        }
        self.forget_peer(gone);
        self.trim();
    }

    fn forget_peer(&mut self, address: IpAddr) {
        self.rib.forget_all(address, |_, _| true);
        self.peers.remove(&address);
        self.config.peers.remove(&address);
    }
}

impl Peer {
    /// One of a range that is gone, and of which nothing is kept for its return.
    fn may_be_forgotten(&self) -> bool {
        self.range.is_some() && self.left.is_some() && !self.stale.is_active()
    }

    /// Whether it goes where another one needs its place. What is kept for a restart time is kept for a promise and not for
    /// long (RFC 4724); what is long-lived is the last choice of all, and kept for hours (RFC 9494).
    fn is_ghost(&self) -> bool {
        self.range.is_some() && self.left.is_some() && self.stale.is_long_lived()
    }

    /// When it is to be.
    pub(super) fn forget_at(&self) -> Option<Time> {
        self.left.filter(|_| self.may_be_forgotten()).map(|left| left + REMEMBERED)
    }
}
