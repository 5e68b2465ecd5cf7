//! Facts in, what this host's kernel and peers should have out; by delta and from scratch.
//!
//! [`Desired::apply`] takes changes of facts and answers what should now differ; [`state`] has the words for that.
//! From scratch is the same function over all facts: a property test holds the two equal.

pub mod facts;
pub mod state;

pub use facts::*;
pub use state::*;
