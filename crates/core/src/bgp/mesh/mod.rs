//! The node-to-node mesh: who speaks with whom, and how one plan follows another without a route being lost.
//!
//! | room | owns |
//! |---|---|
//! | [`reflection`] | which nodes reflect where a full mesh would be too large, and for whom (RFC 4456) |
//! | [`plan`] | this node's part: its neighbours in the mesh, and what it is to them |
//! | [`rollout`] | from one plan to the next: new sessions first, old ones go when every node has the new ones |

pub mod plan;
pub mod reflection;
pub mod rollout;

pub use plan::{Class, Plan, Role};
pub use reflection::{Hold, Reflection};
pub use rollout::{Facts, Rollout, Said, Standing};
