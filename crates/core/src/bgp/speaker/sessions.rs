//! What follows from the neighbours' sessions: what they want done, and who is told our routes.

use std::net::{IpAddr, SocketAddr};

use super::peer::Peer;
use super::{ConnId, Event, Speaker, State};
use crate::bgp::rib::Source;
use crate::bgp::session::{Env, Negotiated, Output, Session};
use crate::bgp::wire::{Notification, cease};
use crate::time::Time;

impl Speaker {
    /// Runs a step of a neighbour's session, and does what follows from it. `None`: there is no such neighbour.
    pub(super) fn session<T>(
        &mut self,
        peer: IpAddr,
        now: Time,
        step: impl FnOnce(&mut Session, &mut Env<'_>) -> T,
    ) -> Option<T> {
        let mut out = Vec::new();
        let answer = {
            let held = self.peers.get_mut(&peer)?;
            let mut env = Env {
                now,
                rng: &mut self.rng,
                last_id: &mut self.last_id,
                restarting: self.progress.deferring(),
                preserved: self.progress.preserved(),
                out: &mut out,
            };
            let answer = step(&mut held.session, &mut env);
            self.speaking.extend(held.session.with_output());
            answer
        };
        for output in out {
            self.follow(peer, output, now);
        }
        self.report(peer, now);
        self.note_absence(peer, now);
        Some(answer)
    }

    /// Nothing will be written on this connection any more. Answers whose it was.
    pub(super) fn disconnected(&mut self, conn: ConnId) -> Option<IpAddr> {
        self.speaking.remove(&conn);
        self.connections.remove(&conn)
    }

    pub(super) fn every_session(&mut self, now: Time, mut step: impl FnMut(&mut Session, &mut Env<'_>)) {
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.session(peer, now, &mut step);
        }
    }

    fn follow(&mut self, address: IpAddr, output: Output, now: Time) {
        match output {
            Output::Connect(conn) => {
                self.connections.insert(conn, address);
                if let Some(peer) = self.peers.get(&address) {
                    let remote = SocketAddr::new(address, peer.config.port);
                    self.events.push_back(Event::Connect { conn, remote, local: peer.config.local_address });
                }
            }
            Output::Close { conn, last_words } => {
                self.disconnected(conn);
                self.events.push_back(Event::Close { conn, last_words });
            }
            Output::Established(negotiated) => {
                self.up(address, *negotiated, now);
                self.monitor_up(address, now);
            }
            Output::Down { graceful } => self.down(address, graceful, now),
            Output::Update { update, message } => self.update(address, *update, message, now),
            Output::Unreadable { notification, message } => self.unreadable(address, &notification, message, now),
            Output::Refresh(family) => self.refresh(address, family),
            Output::RefreshBegins(family) => self.refresh_begins(address, family, now),
            Output::RefreshEnds(family) => self.refresh_ends(address, family),
        }
    }

    fn report(&mut self, address: IpAddr, now: Time) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let state = peer.session.state();
        if state != peer.reported {
            let why = peer.session.last_error().filter(|_| state < peer.reported).map(|(_, what)| what.clone());
            let was_up = peer.reported == State::Established;
            peer.reported = state;
            let again = why.is_some() && why == peer.fell && !was_up;
            let because = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            // Between attempts its state changes all the time, which is no news, and nor is the hundredth refusal.
            if state == State::Established || (why.is_some() && !again) {
                peer.remember(now, format!("{state}{because}"));
            }
            if why.is_some() {
                peer.fell.clone_from(&why);
            }
            self.events.push_back(Event::State { peer: address, name: peer.config.name.clone(), state, why, again });
        }
    }

    /// RFC 5882 4.2 and RFC 9384: the session ends at once, and nothing of it is kept, for its routes lead nowhere.
    ///
    /// One that has ended already is another matter (RFC 5882 4.3). Where the neighbour's BFD goes down with its control
    /// plane, its silence is what a restart looks like: what graceful restart keeps stays. Where it does not, the path is
    /// broken, and the restart is called off.
    pub(super) fn bfd_down(&mut self, peer: IpAddr, independent: bool, now: Time) {
        self.session(peer, now, |session, env| session.fail(env, Notification::cease(cease::BFD_DOWN)));
        if independent && self.peers.get(&peer).is_some_and(Peer::is_away) {
            self.drop_stale(peer, None);
        }
    }

    fn up(&mut self, address: IpAddr, negotiated: Negotiated, now: Time) {
        if !self.has_room(address) {
            let full = Notification::cease(cease::CONNECTION_REJECTED);
            self.session(address, now, |session, env| session.fail(env, full));
            return;
        }
        self.last_session += 1;
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let source = Source {
            external: !negotiated.codec.ibgp,
            client: negotiated.codec.ibgp && peer.config.options.reflector_client,
            session: self.last_session,
            ..Source::own(negotiated.router_id)
        };
        peer.source = self.sources.get(&source, address, 0);
        peer.told = true;
        peer.negotiated = Some(negotiated);
        peer.end_of_rib.clear();
        peer.faults.new_session();
        peer.last_update = now;
        if let Some(policy) = self.policy(address) {
            self.outbound.join(address, policy, &self.rib);
            self.rib.set_scope(self.outbound.scope());
        }
        self.welcome_back(address, now);
    }

    /// Nothing where it is down already.
    pub(super) fn down(&mut self, address: IpAddr, graceful: bool, now: Time) {
        if self.peers.get(&address).is_none_or(Peer::is_away) {
            return;
        }
        self.monitor_down(address, now);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.told = false;
        peer.refreshing.clear();
        self.outbound.leave(address);
        self.rib.set_scope(self.outbound.scope());
        if graceful {
            self.retain(address, now);
        } else {
            self.retain_nothing(address);
        }
        self.trim();
    }
}
