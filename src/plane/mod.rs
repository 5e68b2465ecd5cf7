//! The planes: what of the kernel is ours. Each reads the kernel into a mirror, keeps the mirror true by the kernel's
//! notifications, and applies the difference between what is wanted and what is there.
//!
//! | room | owns |
//! |---|---|
//! | `ipset` | sets `rn4-*`, `rn6-*`, over nfnetlink |
//! | `iptables` | chains `rn-*` and the hooks into built-in chains, over one long-lived restore a family |
//! | `rules` | the worker that takes both in the order grow, chains, shrink |
//! | `link` | the veths of workloads |
//! | `route` | routes with our protocol ids |
//! | `tunnel` | the devices `rnt-ipip` and `rnt-vxlan`, and what is on them |
//!
//! Beside them: `conntrack` lists and ends connections, `sockets` ends their sockets, `namespace` enters workloads, `probe`
//! sends a packet and watches it, `sysctl` switches forwarding on, `reach` tells which nodes are behind a router,
//! `next_hops` which next hops this host's routes lead to, `interfaces` which addresses it has, `neighbours` what others keep
//! in the kernel.
//!
//! A plane is a worker thread of its own behind a handle. The handle takes the whole once (`start`), then deltas; each
//! call answers when the kernel has it, or with the error that keeps it out. What failed is retried with back-off.

pub mod conntrack;
pub mod interfaces;
pub mod ipset;
pub mod iptables;
pub mod link;
pub mod namespace;
pub mod neighbours;
mod netlink;
pub mod next_hops;
mod nexthop;
mod nfnetlink;
pub mod probe;
pub mod reach;
pub mod route;
pub mod rules;
pub mod sockets;
pub mod sysctl;
mod tracker;
pub mod tunnel;

use std::time::SystemTime;

/// How a plane is doing, for `routectl status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaneStatus {
    /// Whether the kernel is known to have all that is wanted.
    pub in_sync: bool,
    /// How many things are wanted (members, rules, links, routes).
    pub wanted: u64,
    /// How often something of ours was put back after somebody else removed or changed it.
    pub repairs: u64,
    /// What was repaired last, and when.
    pub last_repair: Option<(SystemTime, String)>,
    /// What does not work, since when; cleared when it does.
    pub failure: Option<(SystemTime, String)>,
}

/// Why a plane could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {what}")]
pub struct PlaneError {
    /// The set, chain and rule, link or route.
    pub object: String,
    pub what: String,
}
