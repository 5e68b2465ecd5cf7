//! Objects from YAML and back, in the shapes that people already have.
//!
//! Reading never stops at the first error: a file's errors are all reported, each with line, object, field and mend.
//! Called by `routectl`'s side of the agent (`apply`, `delete -f`), by the reader of policy directories, and, for the
//! pieces below the objects, by the reader of the node's configuration.
//!
//! | file | owns |
//! |---|---|
//! | `tree` | text to a tree whose every node knows its line |
//! | `fields` | taking typed values out of the tree, errors on the side |
//! | `suggest` | the nearest known word |
//! | `object`, `pool`, `bgp`, `filter`, `policy` | one reader a kind |
//! | `write` | the way back |

mod bfd;
mod bgp;
mod error;
pub(crate) mod fields;
mod filter;
mod host;
mod kubernetes;
mod object;
mod peering;
mod policy;
pub(crate) mod pool;
mod scalar;
pub(crate) mod suggest;
pub(crate) mod tree;
mod workload;
mod write;

pub(crate) use bfd::read_bfd;
pub(crate) use bgp::{
    BGP_PORT, import_policy, import_word, read_as_number, read_hold_time, read_peer_as, read_place, read_router_id,
    read_transport, read_unnumbered,
};
pub use error::{YamlError, render_errors};
pub(crate) use filter::{filter_spec, read_filters};
pub(crate) use host::{read_failsafe_port, read_named_port};
pub use object::read_documents;
pub(crate) use object::read_labels;
pub(crate) use peering::read_long_lived;
pub(crate) use peering::read_options;
pub use peering::write_options;
pub(crate) use policy::{staged_action_word, tier_action_word};
pub(crate) use pool::{isolation_word, mode_field, mode_word};
pub use write::{object_to_value, object_to_yaml, objects_to_yaml};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    pub value: T,
    pub file: String,
    /// Counted from 1: the line on which the object begins.
    pub line: usize,
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod read_tests;

#[cfg(test)]
#[path = "write_tests.rs"]
mod write_tests;
