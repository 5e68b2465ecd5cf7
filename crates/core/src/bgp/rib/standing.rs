//! Why the best route of a prefix is the best, and at which step of the decision each other one lost (RFC 4271 9.1.2.2).

use std::fmt;

use super::decision::MAX_PATHS;
use super::path::{Candidate, DEFAULT_LOCAL_PREF};
use crate::bgp::filter::Refusal;

/// What became of one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is told to others; `over`: the last step that took another one out, if there was another.
    Best { over: Option<Step> },
    /// As good as the best: it shares the load.
    Equal,
    /// It lost at this step.
    Lost(Step),
    /// It took no part.
    Refused(Refusal),
}

/// The steps, in their order, each with the best route's value and the loser's where there are such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ours goes before what others say.
    Own,
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
    /// As good as the best, but beyond what shares a load.
    TooMany,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Own => f.write_str("this node's own goes first"),
            Step::LocalPref { best, lost } => write!(f, "LOCAL_PREF {best} over {lost}"),
            Step::AsPathLength { best, lost } => write!(f, "an AS_PATH of {best} over {lost}"),
            Step::Origin => f.write_str("the lower ORIGIN (igp, egp, incomplete)"),
            Step::Med { best, lost } => write!(f, "MED {best} over {lost} of the same neighbouring AS"),
            Step::External => f.write_str("eBGP over iBGP"),
            Step::TooMany => write!(f, "no more than {MAX_PATHS} share a load"),
        }
    }
}

/// What became of each of `candidates`, which have been decided: those as good as the best, `equal` of them, come first.
pub fn standings(candidates: &[Candidate], equal: usize) -> Vec<Standing> {
    let lost = lost_at(candidates);
    let over = lost.iter().flatten().max_by_key(|step| rank(step)).cloned();
    let standing = |(index, candidate): (usize, &Candidate)| match (&candidate.refused, &lost[index]) {
        (Some(refusal), _) => Standing::Refused(*refusal),
        (None, Some(step)) => Standing::Lost(step.clone()),
        (None, None) if index == 0 => Standing::Best { over: over.clone() },
        (None, None) if index < equal => Standing::Equal,
        (None, None) => Standing::Lost(Step::TooMany),
    };
    candidates.iter().enumerate().map(standing).collect()
}

/// The step at which each candidate is taken out; `None` for those that stay, and for refused ones.
fn lost_at(candidates: &[Candidate]) -> Vec<Option<Step>> {
    let local_pref = |i: usize| candidates[i].path.attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
    let length = |i: usize| candidates[i].path.as_path_length();
    let mut round = Round {
        left: (0..candidates.len()).filter(|&i| candidates[i].refused.is_none()).collect(),
        lost: vec![None; candidates.len()],
    };
    round.least(|i| candidates[i].source.peer.is_some(), |_, _| Step::Own);
    round.least(
        |i| u32::MAX - local_pref(i),
        |best, lost| Step::LocalPref { best: u32::MAX - best, lost: u32::MAX - lost },
    );
    round.least(length, |best, lost| Step::AsPathLength { best, lost });
    round.least(|i| candidates[i].path.attributes.origin, |_, _| Step::Origin);
    let med = |i: usize| candidates[i].path.attributes.med.unwrap_or(0);
    let neighbor = |i: usize| candidates[i].path.attributes.neighbor_as();
    let before = round.left.clone();
    for i in before.iter().copied() {
        let rivals = before.iter().copied().filter(|&other| neighbor(other) == neighbor(i));
        if let Some(best) = rivals.map(med).min().filter(|best| *best < med(i)) {
            round.take_out(i, Step::Med { best, lost: med(i) });
        }
    }
    round.least(|i| !candidates[i].source.external, |_, _| Step::External);
    round.lost
}

struct Round {
    left: Vec<usize>,
    lost: Vec<Option<Step>>,
}

impl Round {
    fn least<K: Ord + Copy>(&mut self, key: impl Fn(usize) -> K, step: impl Fn(K, K) -> Step) {
        let Some(best) = self.left.iter().map(|&i| key(i)).min() else { return };
        for i in self.left.clone() {
            if key(i) > best {
                self.take_out(i, step(best, key(i)));
            }
        }
    }

    fn take_out(&mut self, index: usize, step: Step) {
        self.left.retain(|&i| i != index);
        self.lost[index] = Some(step);
    }
}

fn rank(step: &Step) -> u8 {
    match step {
        Step::Own => 0,
        Step::LocalPref { .. } => 1,
        Step::AsPathLength { .. } => 2,
        Step::Origin => 3,
        Step::Med { .. } => 4,
        Step::External => 5,
        Step::TooMany => 6,
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
