//! Tunnels between nodes (VXLAN in namespaces, IPIP in a guest), and what leaves the pools.

mod auto;
#[path = "../agent/fixture.rs"]
#[allow(dead_code)]
mod fixture;
mod ipip;
mod modes;
mod mtu;
mod nat;
mod racks;
#[path = "../support/mod.rs"]
mod support;
