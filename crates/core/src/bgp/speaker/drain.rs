//! A node that is drained: everything is withdrawn, then every neighbour hears Cease, and comes back when it is over.

use std::net::IpAddr;
use std::time::Duration;

use super::{Speaker, State};
use crate::bgp::wire::Notification;
use crate::time::Time;

/// How long a neighbour has to take its withdrawals when the node is drained, before it hears Cease all the same.
const DRAIN_MOST: Duration = Duration::from_secs(10);

impl Speaker {
    pub(super) fn drain(&mut self, now: Time) {
        if self.drained.is_some() {
            return;
        }
        self.drained = Some(now + DRAIN_MOST);
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            if self.peers.get(&peer).is_none_or(|peer| !peer.told) {
                self.shut_for_drain(peer, now);
            }
        }
        self.review_outbound();
    }

    pub(super) fn shut_for_drain(&mut self, peer: IpAddr, now: Time) {
        let farewell = Notification::administrative_shutdown("the node is being drained");
        self.session(peer, now, |session, env| session.shut(env, farewell));
    }

    /// Who has not taken its withdrawals in time hears Cease all the same.
    pub(super) fn end_drain(&mut self, now: Time) {
        let waiting = self.peers.iter().filter(|(_, peer)| peer.told);
        for peer in waiting.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.shut_for_drain(peer, now);
        }
    }

    pub(super) fn undrain(&mut self, now: Time) {
        if self.drained.take().is_none() {
            return;
        }
        self.review_outbound();
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            let established = self.peers.get(&peer).is_some_and(|peer| peer.session.state() == State::Established);
            if !established {
                self.session(peer, now, |session, env| session.start(env));
            }
        }
    }
}
