//! Facts in, what this host's kernel and peers should have out; by delta and from scratch.

pub mod facts;
pub mod network;
pub mod state;

pub use facts::*;
pub use state::*;
