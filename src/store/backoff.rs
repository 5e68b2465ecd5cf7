//! The pause between two attempts to reach a store. Used by the stores themselves, and by the agent's tasks that follow
//! and write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Doubled from the first to the last, and each a little off, so that a cluster's agents do not all come at once to a
/// store that is back.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, last: Duration) -> Backoff {
        Backoff { first, last, next: first }
    }

    /// An attempt succeeded: the next failure is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let noise = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
        self.pause_with(noise)
    }

    fn pause_with(&mut self, noise: u32) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.last);
        pause - pause / 4 * (noise % NOISES) / NOISES
    }
}

/// So many different pauses between three quarters of one and all of it.
const NOISES: u32 = 1024;

#[cfg(test)]
#[path = "backoff_tests.rs"]
mod tests;
