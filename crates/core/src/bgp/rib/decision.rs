//! The decision process (RFC 4271 9.1): which of several routes to one prefix is the best, and which are as good.

use std::net::IpAddr;

use super::path::{Candidate, DEFAULT_LOCAL_PREF};

/// At most so many next hops for one prefix.
pub const MAX_PATHS: usize = 64;

/// Puts the best candidate first, those that share its load (ECMP) behind it, then the rest; answers how many share.
/// 0: none is usable.
pub fn decide(candidates: &mut [Candidate]) -> usize {
    if let [only] = candidates {
        return usize::from(only.refused.is_none());
    }
    let mut left: Vec<usize> = (0..candidates.len()).filter(|&i| candidates[i].refused.is_none()).collect();
    keep_least(&mut left, |i| candidates[i].source.peer.is_some());
    keep_least(&mut left, |i| u32::MAX - candidates[i].path.attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF));
    keep_least(&mut left, |i| candidates[i].path.as_path_length());
    keep_least(&mut left, |i| candidates[i].path.attributes.origin);
    keep_least_med(&mut left, candidates);
    keep_least(&mut left, |i| !candidates[i].source.external);
    left.sort_by_key(|&i| tie_break(&candidates[i]));
    left.truncate(MAX_PATHS);
    let equal = left.len();
    reorder(candidates, left);
    equal
}

fn keep_least<K: Ord>(left: &mut Vec<usize>, key: impl Fn(usize) -> K) {
    if let Some(least) = left.iter().map(|&i| key(i)).min() {
        left.retain(|&i| key(i) == least);
    }
}

/// RFC 4271 9.1.2.2 c: MED compares routes of the same neighbouring AS only. Taking out every route that loses against
/// any other, all at once, does not depend on the order in which they came.
fn keep_least_med(left: &mut Vec<usize>, candidates: &[Candidate]) {
    if left.len() < 2 {
        return;
    }
    let med = |i: usize| candidates[i].path.attributes.med.unwrap_or(0);
    let neighbor = |i: usize| candidates[i].path.attributes.neighbor_as();
    let before = left.clone();
    left.retain(|&i| !before.iter().any(|&other| neighbor(other) == neighbor(i) && med(other) < med(i)));
}

/// RFC 4271 9.1.2.2 f and g, with RFC 4456 section 9 (ORIGINATOR_ID, then the shorter CLUSTER_LIST).
fn tie_break(candidate: &Candidate) -> (std::net::Ipv4Addr, usize, Option<IpAddr>) {
    let attributes = &candidate.path.attributes;
    let router_id = attributes.originator_id.unwrap_or(candidate.source.router_id);
    (router_id, attributes.cluster_list.len(), candidate.source.peer)
}

/// Brings the candidates of `first` to the front, in that order.
fn reorder(candidates: &mut [Candidate], first: Vec<usize>) {
    let mut order = first;
    for i in 0..candidates.len() {
        if !order.contains(&i) {
            order.push(i);
        }
    }
    let sorted: Vec<Candidate> = order.iter().map(|&i| candidates[i].clone()).collect();
    candidates.clone_from_slice(&sorted);
}

#[cfg(test)]
#[path = "decision_tests.rs"]
pub mod tests;
