//! The agent: one per host. It holds the facts, asks what should be, and has planes and peers make it so.
//!
//! | room | owns |
//! |---|---|
//! | [`local_api`] | the socket on which the CNI plugin and `routectl` ask |

pub mod local_api;
