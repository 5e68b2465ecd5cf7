//! Why the best route of a prefix is the best, and at which step of the decision each other one lost, in words.

use std::fmt;

use super::decision::{MAX_PATHS, Step, contest};
use super::path::Candidate;
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

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Own => f.write_str("this node's own goes first"),
            Step::LongLivedStale => f.write_str("not being long-lived stale (RFC 9494)"),
            Step::LocalPref { best, lost } => write!(f, "LOCAL_PREF {best} over {lost}"),
            Step::AsPathLength { best, lost } => write!(f, "an AS_PATH of {best} over {lost}"),
            Step::Origin => f.write_str("the lower ORIGIN (igp, egp, incomplete)"),
            Step::Med { best, lost } => write!(f, "MED {best} over {lost} of the same neighbouring AS"),
            Step::External => f.write_str("eBGP over iBGP"),
            Step::Metric { best, lost } => write!(f, "IGP metric {best} against {lost}"),
            Step::TooMany => write!(f, "no more than {MAX_PATHS} share a load"),
        }
    }
}

/// What became of each candidate. `metric`: the cost of the way to its next hop, or why it takes no part.
pub fn standings(candidates: &[Candidate], metric: impl Fn(&Candidate) -> Result<u32, Refusal>) -> Vec<Standing> {
    let mut standings = vec![Standing::Equal; candidates.len()];
    let mut over = None;
    let left = contest(
        candidates,
        |candidate| metric(candidate).ok(),
        |index, step| {
            over = Some(step.clone());
            standings[index] = Standing::Lost(step);
        },
    );
    if let Some(&best) = left.first() {
        standings[best] = Standing::Best { over };
    }
    for (standing, candidate) in standings.iter_mut().zip(candidates) {
        if let Err(refusal) = metric(candidate) {
            *standing = Standing::Refused(refusal);
        }
    }
    standings
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
