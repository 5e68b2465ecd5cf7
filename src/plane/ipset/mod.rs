//! Our ipsets (`rn4-*`, `rn6-*`), over nfnetlink and without a process: read, mirror, apply. Called by `plane::rules`.
//!
//! [`Client`] speaks the protocol; [`IpsetPlane`] knows what is wanted and what the kernel has, and makes the second
//! like the first. Sets of other names are never listed in full, changed or destroyed.

mod client;
mod mirror;
mod wire;

pub use client::{Client, KernelSet, NewSet, Step, StepError};
pub use mirror::IpsetPlane;

/// Whether a set of this name is ours.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("rn4-") || name.starts_with("rn6-")
}
