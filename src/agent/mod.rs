//! The agent: one per host. It holds the facts, asks what should be, and has planes and peers make it so.
//!
//! | room | owns |
//! |---|---|
//! | [`allocator`] | blocks and addresses of this node, and its endpoints |
//! | [`publisher`] | what this node says of itself, in the cluster store |
//! | [`sync`] | the cluster store as facts |
//! | [`local_api`] | the socket on which the CNI plugin and `routectl` ask |
//! | [`peering`] | sockets and a clock for the BGP speaker |

pub mod allocator;
pub mod local_api;
pub mod peering;
pub mod publisher;
pub mod sync;
