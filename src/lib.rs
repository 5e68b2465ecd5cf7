//! The machine half of routenet: everything that touches a kernel, a file or a socket.
//!
//! ```text
//! facts                      desired state (routenet-core)      kernel
//! store (cluster) ─┐
//! journal (local) ─┼─>  Desired::apply(FactDelta)  ──────>  planes: ipset, iptables, link, tunnel, route
//! BGP speaker     ─┘                                        peering: announcements
//! ```
//!
//! | room | owns | called by |
//! |---|---|---|
//! | [`api`] | the words on the agent's socket, and its client | agent, cli |
//! | [`store`] | the cluster store behind one trait; the local journal | agent |
//! | [`plane`] | what of the kernel is ours: read, mirror, apply | agent |
//! | [`agent`] | the loop, peering, the local API | `routenetd` |
//! | [`frontend`] | dialects of attach and detach | agent |
//! | [`lab`] | containerlab topologies as namespaces of this machine | cli |
//! | [`cli`] | the commands of `routectl` | `routectl` |
//!
//! Imports go one way: bin -> cli, agent, frontend, lab -> api, store, plane -> core. Stores and planes never see
//! each other; `tests/house` holds that.

pub mod agent;
pub mod api;
pub mod cli;
pub mod frontend;
pub mod lab;
pub mod plane;
pub mod store;
