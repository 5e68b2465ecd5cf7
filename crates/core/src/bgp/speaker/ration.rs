//! How often something is reported of one neighbour, whatever it does.

use std::time::Duration;

use crate::time::Time;

const WINDOW: Duration = Duration::from_secs(60);

/// What has been reported of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ration {
    since: Option<Time>,
    reported: u32,
    /// What was not, since the last that was.
    kept_back: u64,
}

impl Ration {
    /// Whether this one is to be reported, where `most` in a minute are, and how many before it were not.
    pub fn take(&mut self, most: u32, now: Time) -> Option<u64> {
        if self.since.is_none_or(|since| now.since(since) >= WINDOW) {
            (self.since, self.reported) = (Some(now), 0);
        }
        if self.reported == most {
            self.kept_back += 1;
            return None;
        }
        self.reported += 1;
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
#[path = "ration_tests.rs"]
mod tests;
