//! Why a connection ends, and what that means for the routes of its session.

use std::fmt;

use super::Connection;
use crate::bgp::wire::{Notification, cease};

/// A NOTIFICATION, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Sent(Notification),
    Received(Notification),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Said::Sent(notification) => write!(f, "sent {notification}"),
            Said::Received(notification) => write!(f, "received {notification}"),
        }
    }
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Cause {
    /// We found a fault, or were told to: the words go out first.
    Sent(Notification),
    Received(Notification),
    /// The connection broke; in words.
    Broken(String),
    /// We close without a word, so that the neighbour keeps our routes (RFC 4724).
    Quiet,
}

impl Cause {
    /// RFC 8538 section 3.1: what is meant to end for good is said as a Hard Reset to who would keep the routes otherwise.
    pub fn between(self, connection: &Connection) -> Cause {
        match self {
            Cause::Sent(n) if connection.survives_notifications() && n.ends_for_good() => {
                Cause::Sent(Notification::hard_reset(&n))
            }
            other => other,
        }
    }

    pub fn is_hard(&self) -> bool {
        matches!(self, Cause::Sent(n) | Cause::Received(n)
            if (n.code, n.subcode) == (Notification::CEASE, cease::HARD_RESET))
    }

    pub fn is_collision(&self) -> bool {
        matches!(self, Cause::Sent(n) | Cause::Received(n)
            if (n.code, n.subcode) == (Notification::CEASE, cease::COLLISION_RESOLUTION))
    }
}
