//! What of the FSM happens when: attempts to connect, the waits between them, what is due, and the state that it comes to.

use super::cause::Cause;
use super::connection::{ConnId, Direction, Phase};
use super::{Connection, Env, Output, Session, State, timers};
use crate::bgp::wire::Notification;
use crate::time::Time;

impl Session {
    /// Runs whatever is due.
    pub fn timeout(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let expired: Vec<ConnId> = self.connections.iter().filter(|c| due(c.hold_at)).map(|c| c.id).collect();
        for id in expired {
            self.end(env, id, Cause::Sent(Notification::hold_timer_expired()));
        }
        // Event 12: the DelayOpenTimer has expired.
        let delayed: Vec<ConnId> = self.connections.iter().filter(|c| due(c.open_at)).map(|c| c.id).collect();
        for id in delayed {
            self.say_open(env, id);
        }
        for connection in self.connections.iter_mut().filter(|connection| due(connection.keepalive_at)) {
            connection.keepalive(now, env.rng);
        }
        if due(self.idle_until) {
            self.idle_until = None;
        }
        if due(self.attempt_at) && self.idle_until.is_none() {
            self.attempt(env);
        }
        self.settle(env);
    }

    pub fn next_deadline(&self) -> Option<Time> {
        let timers = self.connections.iter().flat_map(|c| [c.open_at, c.hold_at, c.keepalive_at, c.confirmed_until]);
        timers.chain([self.idle_until, self.attempt_at]).flatten().min()
    }

    fn attempt(&mut self, env: &mut Env<'_>) {
        // Incoming ones that say nothing may be dead, or somebody else's.
        let under_way = |c: &Connection| c.direction == Direction::Outgoing || c.phase != Phase::OpenSent;
        if !self.connections.iter().any(under_way) {
            self.attempt_at = None;
            let id = self.open_connection(env, Direction::Outgoing);
            env.out.push(Output::Connect(id));
        } else {
            self.attempt_at = Some(env.now + env.rng.jitter(self.settings.connect_retry));
        }
    }

    /// When to try again after a connection has ended in this phase.
    pub(super) fn schedule(&mut self, env: &mut Env<'_>, phase: Phase, broken: bool, collision: bool) {
        if self.established().is_some() {
            return;
        }
        let wait = match phase {
            Phase::Established if broken => timers::RECONNECT,
            _ if collision => self.settings.connect_retry,
            Phase::Connecting => self.settings.connect_retry,
            // Event 18 while the DelayOpenTimer runs.
            Phase::Delayed if broken => self.settings.connect_retry,
            _ => {
                self.failures = self.failures.saturating_add(1);
                timers::back_off(self.failures, self.settings.connect_retry)
            }
        };
        let again = env.now + env.rng.jitter(wait);
        let harmless =
            collision || (broken && matches!(phase, Phase::Established | Phase::Connecting | Phase::Delayed));
        // Whoever errs is let in again at once: he may have been mended. One that does little else has to wait a little.
        if !harmless && !self.patience.take(env.now) && self.connections.is_empty() {
            self.idle_until = Some(env.now + timers::REST);
        }
        self.attempt_at = (!self.settings.passive).then_some(again);
    }

    /// Establishes what waits no longer, and notes a change of state.
    pub(super) fn settle(&mut self, env: &mut Env<'_>) {
        self.establish_confirmed(env);
        let furthest = self.connections.iter().max_by_key(|connection| connection.phase);
        let state = match furthest.map(|connection| connection.phase) {
            Some(Phase::Established) => State::Established,
            Some(Phase::OpenConfirm) => State::OpenConfirm,
            Some(Phase::OpenSent) => State::OpenSent,
            Some(Phase::Delayed) if furthest.is_some_and(|c| c.direction == Direction::Incoming) => State::Active,
            Some(Phase::Connecting | Phase::Delayed) => State::Connect,
            None if self.is_closed() || self.idle_until.is_some() => State::Idle,
            None => State::Active,
        };
        if (state == State::Established) != (self.state == State::Established) {
            self.turned = env.now;
        }
        self.state = state;
    }
}
