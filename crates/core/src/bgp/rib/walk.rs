//! The whole table in portions, for readers that begin later than the log does.

use std::ops::Range;

use super::{Rib, Slot};

/// Where such a reader stands. The table may change between the portions: a prefix that comes meanwhile may be in the rest
/// or not, and one that stays is met once.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    next: Slot,
}

impl Walk {
    /// The slots of the next destinations, at most `most`, those without a route too.
    pub fn portion(&mut self, rib: &Rib, most: Slot) -> Range<Slot> {
        let portion = self.next..rib.slots().end.min(self.next.saturating_add(most));
        self.next = portion.end;
        portion
    }

    /// Whether none are left.
    pub fn is_over(&self, rib: &Rib) -> bool {
        self.next >= rib.slots().end
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
