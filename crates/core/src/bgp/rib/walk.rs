//! The whole table in portions, for readers that begin later than the log does.

use super::{Destination, Rib, Slot};

/// Where such a reader stands. The table may change between the portions: a prefix that comes meanwhile may be in the rest
/// or not, and one that stays is met once.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    next: Slot,
}

impl Walk {
    /// The next destinations, at most `most`, those without a route too; `None` when there was none left.
    pub fn portion<'a>(&mut self, rib: &'a Rib, most: Slot) -> Option<impl Iterator<Item = &'a Destination> + use<'a>> {
        let portion = self.next..rib.slots().end.min(self.next.saturating_add(most));
        self.next = portion.end;
        (!portion.is_empty()).then(|| portion.map(|slot| rib.destination(slot)))
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
