//! Several connections with one neighbour: which of them stays (RFC 4271 6.8, RFC 4724 4.2).

use super::cause::Cause;
use super::connection::{ConnId, Connection, Direction, Phase};
use super::{Env, Negotiated, Session, timers};
use crate::bgp::wire::{Notification, cease};

impl Session {
    /// RFC 4271 6.8, once the OPEN of connection `id` has come. Ends the other connection where that one loses.
    pub(super) fn wins_collision(&mut self, env: &mut Env<'_>, id: ConnId, negotiated: &Negotiated) -> bool {
        let Some(this) = self.connections.iter().find(|connection| connection.id == id) else { return false };
        let other = self.connections.iter().find(|c| c.id != id && c.phase >= Phase::OpenConfirm);
        let Some(other) = other else { return true };
        let other_id = other.id;
        if other.phase == Phase::Established {
            // RFC 4724 4.2: a neighbour with graceful restart that connects anew has lost the old connection. Shortly
            // after Established, though, where one of the two is ours, it may be the loser of a collision that is still
            // on its way.
            let graceful = other.negotiated.as_ref().and_then(|negotiated| negotiated.graceful_restart.as_ref());
            let graceful = graceful.is_some_and(|theirs| !theirs.families.is_empty());
            let restarted = negotiated.graceful_restart.as_ref().is_some_and(|theirs| theirs.restarted);
            let old = env.now.since(self.turned) >= timers::COLLISION_WINDOW;
            let theirs = [this, other].iter().all(|connection| connection.direction == Direction::Incoming);
            if graceful && (restarted || old || theirs) {
                self.end(env, other_id, Cause::Quiet);
                return true;
            }
            return false;
        }
        if this.direction != self.staying(negotiated) {
            return false;
        }
        self.end(env, other_id, Cause::Sent(Notification::cease(cease::COLLISION_RESOLUTION)));
        true
    }

    /// The neighbour's KEEPALIVE has come: the session stands. But where another connection would win, and our OPEN is on its
    /// way there, the neighbour may be ending this one for it by now, and would end both if we ended the other: that is waited
    /// for a moment.
    pub(super) fn confirmed(&mut self, env: &mut Env<'_>, id: ConnId) {
        if !self.may_yet_lose(id) {
            return self.establish(env, id);
        }
        let until = env.now + timers::COLLISION_RESERVE;
        if let Some(connection) = self.connection(id) {
            connection.confirmed_until.get_or_insert(until);
        }
    }

    /// Establishes a connection that has waited long enough, or for nothing any more.
    pub(super) fn establish_confirmed(&mut self, env: &mut Env<'_>) {
        let waited = self.connections.iter().find(|connection| {
            let until = connection.confirmed_until;
            until.is_some_and(|until| until <= env.now || !self.may_yet_lose(connection.id))
        });
        if let Some(id) = waited.map(|connection| connection.id) {
            self.establish(env, id);
        }
    }

    fn may_yet_lose(&self, id: ConnId) -> bool {
        let this = self.connections.iter().find(|connection| connection.id == id);
        let Some((this, negotiated)) = this.and_then(|this| Some((this, this.negotiated.as_ref()?))) else {
            return false;
        };
        let stays = self.staying(negotiated);
        let wins = |other: &Connection| other.direction == stays && other.phase == Phase::OpenSent;
        this.direction != stays && self.connections.iter().any(wins)
    }

    /// The connection that the speaker with the higher identifier opened stays; by AS where they are equal (RFC 6286).
    fn staying(&self, negotiated: &Negotiated) -> Direction {
        let ours = (self.settings.router_id, self.settings.local_as);
        match ours > (negotiated.router_id, negotiated.as_number) {
            true => Direction::Outgoing,
            false => Direction::Incoming,
        }
    }
}
