//! A node that is drained: neighbours are told that it is about to go, so that they move away first; then everything is
//! withdrawn; then every neighbour hears Cease, and comes back when it is over.

use std::net::IpAddr;
use std::time::Duration;

use super::{Speaker, State};
use crate::bgp::wire::Notification;
use crate::time::Time;

/// How long a neighbour has to take its withdrawals when the node is drained, before it hears Cease all the same.
const DRAIN_MOST: Duration = Duration::from_secs(10);

/// How far it has got.
#[derive(Clone, Copy, Debug)]
pub(super) enum Drain {
    /// Everything is told with GRACEFUL_SHUTDOWN, as the last choice (RFC 8326 section 4.2), until then.
    Leaving(Time),
    /// Everything is withdrawn; neighbours have to take it until then.
    Withdrawn(Time),
}

impl Speaker {
    /// `notice`: how long neighbours have to find other ways.
    pub(super) fn drain(&mut self, notice: Duration, now: Time) {
        let until = now + notice;
        match self.drained {
            Some(Drain::Withdrawn(_)) => return,
            Some(Drain::Leaving(before)) => self.drained = Some(Drain::Leaving(before.min(until))),
            None => {
                self.drained = Some(Drain::Leaving(until));
                self.shut_where(now, |told| !told);
                self.review_outbound();
            }
        }
        self.go_on_draining(now);
    }

    pub(super) fn shut_for_drain(&mut self, peer: IpAddr, now: Time) {
        let farewell = Notification::administrative_shutdown("the node is being drained");
        self.session(peer, now, |session, env| session.shut(env, farewell));
    }

    fn shut_where(&mut self, now: Time, which: impl Fn(bool) -> bool) {
        let chosen = self.peers.iter().filter(|(_, peer)| which(peer.told));
        for peer in chosen.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.shut_for_drain(peer, now);
        }
    }

    /// What is due: the withdrawals, and the last words to who has not taken these in time.
    pub(super) fn go_on_draining(&mut self, now: Time) {
        match self.drained {
            Some(Drain::Leaving(until)) if until <= now || self.peers.values().all(|peer| !peer.told) => {
                self.drained = Some(Drain::Withdrawn(now + DRAIN_MOST));
                self.shut_where(now, |told| !told);
                self.review_outbound();
            }
            Some(Drain::Withdrawn(until)) if until <= now => self.shut_where(now, |told| told),
            _ => {}
        }
    }

    pub(super) fn drain_deadline(&self) -> Option<Time> {
        match self.drained? {
            Drain::Leaving(until) => Some(until),
            Drain::Withdrawn(until) => self.peers.values().any(|peer| peer.told).then_some(until),
        }
    }

    /// Whether neighbours are told nothing any more.
    pub(super) fn is_withdrawn(&self) -> bool {
        matches!(self.drained, Some(Drain::Withdrawn(_)))
    }

    /// Whether neighbours are told everything, but as the last choice.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.drained, Some(Drain::Leaving(_)))
    }

    pub(super) fn undrain(&mut self, now: Time) {
        if self.drained.take().is_none() {
            return;
        }
        self.review_outbound();
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            if self.peers.get(&peer).is_some_and(|peer| peer.session.state() != State::Established) {
                self.session(peer, now, |session, env| session.start(env));
            }
        }
    }
}
