//! The decision process (RFC 4271 9.1): which of several routes to one prefix is the best, which are as good, and at which
//! step each other one is taken out.

use std::net::IpAddr;

use super::path::{Candidate, DEFAULT_LOCAL_PREF};

/// At most so many next hops for one prefix.
pub const MAX_PATHS: usize = 64;

/// The steps, in their order, each with the best route's value and the loser's where there are such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ours goes before what others say.
    Own,
    /// What is marked LLGR_STALE is the last choice (RFC 9494 4.3).
    LongLivedStale,
    LocalPref {
        best: u32,
        lost: u32,
    },
    AsPathLength {
        best: usize,
        lost: usize,
    },
    Origin,
    /// Between routes of one neighbouring AS.
    Med {
        best: u32,
        lost: u32,
    },
    External,
    /// The cost of the way to the next hop.
    Metric {
        best: u32,
        lost: u32,
    },
    /// As good as the best, but beyond what shares a load.
    TooMany,
}

/// Puts the best candidate first, those that share its load (ECMP) behind it, then the rest; answers how many share.
/// 0: none is usable. `metric`: the cost of the way to its next hop; `None`: it takes no part.
pub fn decide(candidates: &mut [Candidate], metric: impl Fn(&Candidate) -> Option<u32>) -> usize {
    if let [only] = candidates {
        return usize::from(metric(only).is_some());
    }
    let left = contest(candidates, metric, |_, _| {});
    let equal = left.len();
    reorder(candidates, left);
    equal
}

/// Goes through the steps of RFC 4271 9.1.2.2, and names each candidate that one of them takes out, in the order of the
/// steps. Answers those that are left, the best first.
pub(super) fn contest(
    candidates: &[Candidate],
    metric: impl Fn(&Candidate) -> Option<u32>,
    lost: impl FnMut(usize, Step),
) -> Vec<usize> {
    let left = (0..candidates.len()).filter(|&i| metric(&candidates[i]).is_some()).collect();
    let mut contest = Contest { candidates, left, lost };
    contest.least(|c| c.source.peer.is_some(), |_, _| Step::Own);
    contest.least(|c| c.path.is_long_lived_stale(), |_, _| Step::LongLivedStale);
    // The highest is the best.
    let local_pref = |c: &Candidate| u32::MAX - c.path.attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
    contest.least(local_pref, |best, lost| Step::LocalPref { best: u32::MAX - best, lost: u32::MAX - lost });
    contest.least(|c| c.path.as_path_length(), |best, lost| Step::AsPathLength { best, lost });
    contest.least(|c| c.path.attributes.origin, |_, _| Step::Origin);
    contest.least_med();
    contest.least(|c| !c.source.external, |_, _| Step::External);
    contest.least(metric, |best, lost| Step::Metric { best: best.unwrap_or(0), lost: lost.unwrap_or(0) });
    let Contest { mut left, mut lost, .. } = contest;
    left.sort_by_key(|&i| tie_break(&candidates[i]));
    for beyond in left.drain(MAX_PATHS.min(left.len())..) {
        lost(beyond, Step::TooMany);
    }
    left
}

struct Contest<'a, F> {
    candidates: &'a [Candidate],
    left: Vec<usize>,
    lost: F,
}

impl<F: FnMut(usize, Step)> Contest<'_, F> {
    fn least<K: Ord + Copy>(&mut self, key: impl Fn(&Candidate) -> K, step: impl Fn(K, K) -> Step) {
        let key = |i: usize| key(&self.candidates[i]);
        let Some(best) = self.left.iter().map(|&i| key(i)).min() else { return };
        self.left.retain(|&i| {
            let stays = key(i) == best;
            if !stays {
                (self.lost)(i, step(best, key(i)));
            }
            stays
        });
    }

    /// RFC 4271 9.1.2.2 c: MED compares routes of the same neighbouring AS only. Taking out every route that loses against
    /// any other, all at once, does not depend on the order in which they came.
    fn least_med(&mut self) {
        if self.left.len() < 2 {
            return;
        }
        let med = |i: usize| self.candidates[i].path.attributes.med.unwrap_or(0);
        let neighbor = |i: usize| self.candidates[i].path.attributes.neighbor_as();
        let before = self.left.clone();
        self.left.retain(|&i| {
            let rivals = before.iter().filter(|&&other| neighbor(other) == neighbor(i));
            let best = rivals.map(|&other| med(other)).min().unwrap_or(0);
            if best < med(i) {
                (self.lost)(i, Step::Med { best, lost: med(i) });
            }
            best >= med(i)
        });
    }
}

/// RFC 4271 9.1.2.2 f and g, with RFC 4456 section 9 (ORIGINATOR_ID, then the shorter CLUSTER_LIST); of one neighbour the
/// lowest path identifier.
fn tie_break(candidate: &Candidate) -> (std::net::Ipv4Addr, usize, Option<IpAddr>, u32) {
    let attributes = &candidate.path.attributes;
    let router_id = attributes.originator_id.unwrap_or(candidate.source.router_id);
    (router_id, attributes.cluster_list.len(), candidate.source.peer, candidate.source.path_id)
}

/// The best `most` of the usable ones among `candidates`, which have been decided: each next one is the best without those
/// before it. Where all are wanted, their order says nothing.
pub fn best_of(
    candidates: &[Candidate],
    mut equal: usize,
    most: usize,
    metric: impl Fn(&Candidate) -> Option<u32>,
) -> Vec<Candidate> {
    if most >= candidates.len() {
        return candidates.iter().filter(|candidate| metric(candidate).is_some()).cloned().collect();
    }
    let mut left = candidates.to_vec();
    let mut best: Vec<Candidate> = Vec::new();
    while equal > 0 && best.len() < most {
        best.extend(left.drain(..equal));
        equal = decide(&mut left, &metric);
    }
    best.truncate(most);
    best
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
