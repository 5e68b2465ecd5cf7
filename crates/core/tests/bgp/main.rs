//! Several speakers in memory, with a virtual clock: what they come to agree on, and what they do when one misbehaves.

mod bfd;
mod delay_open;
#[path = "../../../../tests/support/dice.rs"]
mod dice;
mod drain;
mod extended_next_hop;
mod filters;
mod garbage;
mod long_lived;
mod model;
mod naive;
mod net;
mod options;
mod policy;
mod restart;
mod routes;
mod scenario;
mod sessions;
mod world;
