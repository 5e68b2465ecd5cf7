//! The wire format (RFC 4271 section 4): our own types, and the quarantine of zettabgp.

pub mod types;

pub use types::*;
