//! The end of a connection: the last words, what is remembered of it, and what it means for the session.

use super::cause::{Cause, Said};
use super::connection::{ConnId, Phase};
use super::{Env, Output, Session, timers};
use crate::bgp::wire::{Notification, cease};
use crate::time::Time;

impl Session {
    pub(super) fn end_all(&mut self, env: &mut Env<'_>, cause: impl Fn() -> Cause) {
        while let Some(connection) = self.connections.first() {
            let id = connection.id;
            self.end(env, id, cause());
        }
    }

    /// Ends one connection, and decides when to try again.
    pub(super) fn end(&mut self, env: &mut Env<'_>, id: ConnId, cause: Cause) {
        let Some(index) = self.connections.iter().position(|connection| connection.id == id) else { return };
        let connection = self.connections.remove(index);
        let phase = connection.phase;
        let collision = cause.is_collision();
        let broken = matches!(cause, Cause::Broken(_) | Cause::Quiet);
        let cause = cause.between(&connection);
        let graceful = broken || (connection.survives_notifications() && !cause.is_hard());
        let error = match &cause {
            Cause::Sent(notification) if may_say(phase, notification) => Some(format!("sent {notification}")),
            Cause::Sent(notification) => Some(notification.to_string()),
            Cause::Received(notification) => Some(format!("received {notification}")),
            Cause::Broken(why) => Some(why.clone()),
            Cause::Quiet => None,
        };
        if !collision && let Some(error) = error {
            self.note(env.now, phase, error);
        }
        match &cause {
            Cause::Sent(n) if may_say(phase, n) => {
                self.last_sent = Some((env.now, n.clone()));
                self.refuse(env.now, collision, Said::Sent(n.clone()));
            }
            Cause::Received(n) => {
                self.last_received = Some((env.now, n.clone()));
                self.refuse(env.now, collision, Said::Received(n.clone()));
            }
            Cause::Sent(_) | Cause::Broken(_) | Cause::Quiet => {}
        }
        match cause {
            Cause::Sent(n) if !may_say(phase, &n) => env.out.push(Output::Close { conn: id, last_words: vec![] }),
            Cause::Sent(n) => {
                let last_words = connection.last_words(&n);
                self.messages_out.count_all(&last_words);
                env.out.push(Output::Close { conn: id, last_words });
            }
            Cause::Received(_) | Cause::Quiet => env.out.push(Output::Close { conn: id, last_words: vec![] }),
            Cause::Broken(_) => {}
        }
        if phase == Phase::Established {
            env.out.push(Output::Down { graceful });
            if env.now.since(self.turned) >= timers::STEADY {
                self.failures = 0;
            }
        }
        self.schedule(env, phase, broken, collision);
    }

    /// More of why the last attempt failed than a NOTIFICATION has room for.
    pub(super) fn explain(&mut self, why: &str) {
        if let Some((_, error)) = &mut self.attempt_error {
            error.push_str(": ");
            error.push_str(why);
        }
    }

    fn refuse(&mut self, now: Time, collision: bool, said: Said) {
        if !collision {
            self.refusal = Some((now, said));
        }
    }

    /// Keeps what ended a connection in this phase, unless the session goes on without it: then it lost a collision (RFC 4271
    /// 6.8), of which the neighbour may tell us no more than a closed connection.
    fn note(&mut self, now: Time, phase: Phase, error: String) {
        if phase == Phase::Established {
            self.session_error = Some((now, error));
            self.attempt_error = None;
        } else if self.established().is_none() {
            self.attempt_error = Some((now, error));
        }
    }
}

/// Before TCP stands there is nobody to speak to. Before our OPEN only what was wrong with the neighbour's words is said
/// (RFC 4271 8.1.1, SendNOTIFICATIONwithoutOPEN; events 21 and 22), and that another connection stays (6.8).
fn may_say(phase: Phase, notification: &Notification) -> bool {
    match phase {
        Phase::Connecting => false,
        Phase::Delayed => matches!(
            (notification.code, notification.subcode),
            (Notification::HEADER_ERROR | Notification::OPEN_ERROR, _)
                | (Notification::CEASE, cease::COLLISION_RESOLUTION)
        ),
        Phase::OpenSent | Phase::OpenConfirm | Phase::Established => true,
    }
}
