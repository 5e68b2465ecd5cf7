//! The agent as its users meet it: real agents, real workloads attached by the real plugin, real packets.

mod attach;
mod fixture;
mod restart;
#[path = "../support/mod.rs"]
mod support;
