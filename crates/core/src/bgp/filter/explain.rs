//! The way of a route through a neighbour's filters, rule by rule.

use super::matching::{self, Mismatch, Route};
use super::rules::{Direction, Filters, Place};

/// A rule that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub place: Place,
    /// `None`: it matched, and so was the last.
    pub mismatch: Option<Mismatch>,
}

impl Filters {
    /// Every rule up to the one that decides.
    pub fn explain(&self, direction: Direction, route: &Route<'_>) -> Vec<Asked> {
        let mut asked = Vec::new();
        for (place, rule) in self.rules(direction, route.prefix.family()) {
            let mismatch = matching::mismatch(rule, route);
            asked.push(Asked { place, mismatch });
            if mismatch.is_none() {
                break;
            }
        }
        asked
    }
}
