//! Policy: selectors, groups, compilation to sets and chains, and the one evaluator.
//!
//! | room | owns | called by |
//! |---|---|---|
//! | [`selector`] | the selector language: grammar, canonical form, matching | the readers of YAML, `scope` |
//! | [`check`] | which policies and rules have a meaning | the readers of YAML, `scope` |
//! | `scope` | a policy with its selectors read and limited to its namespace; the order of policies | `cluster` |
//! | `subjects` | who has which labels and addresses, found by label | `cluster` |
//! | `cluster` | the facts: subjects, policies, networks, pools, nodes | engine, explain |
//! | `frame` | names, marks, and the chains that never change | engine |
//! | `rules` | one policy in one direction and family, as rules of a chain | engine |
//! | `host` | the chains of this host's own interfaces | engine |
//! | `sets` | set contents, counted by reference; their growth and shrinking in order | engine |
//! | `tree` | groups of endpoints, and the tree of sets by which a packet finds its group | engine |
//! | [`engine`] | the above by delta: facts in, sets and chains out | [`crate::desired`] |
//! | [`compare`] | which verdicts a change would change | `routectl apply --diff` |
//! | [`suite`] | tests of policies, asked of the evaluator | `routectl policy test` |
//! | [`explain`] | the verdict on a flow, straight from the facts, with its reason | `routectl explain`, tests |

pub mod check;
mod cluster;
pub mod compare;
pub mod engine;
pub mod explain;
mod frame;
mod host;
mod rules;
mod scope;
pub mod selector;
mod sets;
mod subjects;
pub mod suite;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tree;

pub use engine::{PolicyEngine, PolicyProblem};
pub use explain::{Connection, End, Explanation, Flow, FlowError, RuleReference, Side, Verdict};
pub use frame::mark_bits;

use serde::{Deserialize, Serialize};

/// Which way a policy looks, as seen from the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What arrives at the workload.
    Ingress,
    /// What the workload sends.
    Egress,
}

impl Direction {
    pub const BOTH: [Direction; 2] = [Direction::Ingress, Direction::Egress];

    pub const fn name(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }
}
