//! The pure half of routenet: what a cluster is, and what follows from it.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time and seeds are arguments. The lint in
//! `clippy.toml` beside this crate enforces it, and the crate depends on nothing that could.
//!
//! | room | owns | called by |
//! |---|---|---|
//! | [`model`] | the words of the cluster: node, pool, network, endpoint, policy, peer; YAML in | everybody |
//! | [`ipam`] | which block and which address, as values | the agent's attach path |
//! | [`policy`] | selectors, groups, compilation to sets and chains, the evaluator | [`desired`], `routectl explain` |
//! | [`bgp`] | wire format, session FSM, RIB, speaker | the agent's peering |
//! | [`bfd`] | whether a neighbour is there, within a fraction of a second | the agent's peering |
//! | [`desired`] | facts in, the wanted state of this host out | the agent's loop |

pub mod bfd;
pub mod bgp;
pub mod desired;
pub mod ipam;
pub mod model;
pub mod policy;
pub mod time;
