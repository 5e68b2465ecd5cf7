//! In which order many routes are written.

use routenet_core::desired::RouteKey;

/// Sorted keys, the first half and the second in turn, and so on within each half (positions with their bits reversed).
///
/// The kernel's IPv4 table is a trie whose root doubles as prefixes come in ascending order, each time at the cost of all that
/// is there: 100,000 routes in that order take it a third longer. Prefixes from everywhere have it grow below its root.
pub(super) fn spread(keys: Vec<RouteKey>) -> Vec<RouteKey> {
    if keys.len() < 3 {
        return keys;
    }
    let bits = usize::BITS - (keys.len() - 1).leading_zeros();
    let reversed = |position: usize| position.reverse_bits() >> (usize::BITS - bits);
    (0..1 << bits).filter_map(|position| keys.get(reversed(position)).copied()).collect()
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
