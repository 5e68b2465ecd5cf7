//! The fewest line edits from the rules that a chain has to those that it should have.

use std::collections::{BTreeMap, BTreeSet};

use super::RuleId;

/// An edit of a chain. Positions count from 1 and hold at the moment of the edit, as iptables has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Take everything out.
    Flush,
    Delete {
        position: usize,
    },
    /// Put the wanted rule of this index (from 0) at this position.
    Insert {
        position: usize,
        rule: usize,
    },
    /// Put the wanted rule of this index (from 0) at the end.
    Append {
        rule: usize,
    },
}

/// The edits that make `have` into `want`; rules of the longest common subsequence are not touched, so they keep their
/// counters. `None` in `have` is a rule that is not ours. `want` has no two equal identities.
pub fn edits(have: &[Option<RuleId>], want: &[RuleId]) -> Vec<Edit> {
    let kept = common(have, want);
    let mut edits = Vec::new();
    if kept.is_empty() && !have.is_empty() {
        edits.push(Edit::Flush);
    } else {
        let positions: BTreeSet<usize> = kept.iter().map(|(have, _)| *have).collect();
        let gone = (0..have.len()).rev().filter(|index| !positions.contains(index));
        edits.extend(gone.map(|index| Edit::Delete { position: index + 1 }));
    }
    let stays: BTreeSet<usize> = kept.iter().map(|(_, want)| *want).collect();
    let missing = (0..want.len()).filter(|index| !stays.contains(index));
    for (length, index) in (kept.len()..).zip(missing) {
        edits.push(if index == length {
            Edit::Append { rule: index }
        } else {
            Edit::Insert { position: index + 1, rule: index }
        });
    }
    edits
}

/// The longest common subsequence as pairs of indices. Identities are unique in `want`, so it is the longest increasing
/// subsequence of their positions there: n log n instead of n times m.
fn common(have: &[Option<RuleId>], want: &[RuleId]) -> Vec<(usize, usize)> {
    let places: BTreeMap<RuleId, usize> = want.iter().enumerate().map(|(index, id)| (*id, index)).collect();
    let pairs: Vec<(usize, usize)> = have
        .iter()
        .enumerate()
        .filter_map(|(index, id)| id.and_then(|id| places.get(&id)).map(|place| (index, *place)))
        .collect();
    // tails[n]: the pair that ends the run of length n + 1 with the smallest end.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (at, (_, place)) in pairs.iter().enumerate() {
        let length = tails.partition_point(|tail| pairs[*tail].1 < *place);
        before.push(length.checked_sub(1).map(|previous| tails[previous]));
        if length == tails.len() {
            tails.push(at);
        } else if *place < pairs[tails[length]].1 {
            // Of two equal rules the first is kept.
            tails[length] = at;
        }
    }
    let mut run = Vec::with_capacity(tails.len());
    let mut next = tails.last().copied();
    while let Some(at) = next {
        run.push(pairs[at]);
        next = before[at];
    }
    run.reverse();
    run
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
