//! The whole table in portions, for readers that begin later than the log does.

use std::ops::Range;

use super::Slot;

/// Where such a reader stands. The table may change between the portions: a prefix that comes meanwhile may be in the rest
/// or not, and one that stays is met once.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    next: Slot,
}

impl Walk {
    /// The next of `all`, at most `most`: of [`super::Rib::slots`], or of whatever list of them is gone through.
    pub fn portion(&mut self, all: &Range<Slot>, most: Slot) -> Range<Slot> {
        let portion = self.next..all.end.min(self.next.saturating_add(most));
        self.next = portion.end;
        portion
    }

    /// Whether none are left.
    pub fn is_over(&self, all: &Range<Slot>) -> bool {
        self.next >= all.end
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
