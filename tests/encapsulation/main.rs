//! Tunnels between nodes (VXLAN, in namespaces), and what leaves the pools.

mod auto;
#[path = "../agent/fixture.rs"]
#[allow(dead_code)]
mod fixture;
mod modes;
mod mtu;
mod nat;
mod racks;
#[path = "../support/mod.rs"]
mod support;
