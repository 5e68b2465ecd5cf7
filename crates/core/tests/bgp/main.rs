//! Several speakers in memory, with a virtual clock: what they come to agree on, and what they do when one misbehaves.

mod add_paths;
mod bfd;
mod cluster;
mod delay_open;
#[path = "../../../../tests/support/dice.rs"]
mod dice;
mod drain;
mod extended_next_hop;
mod faults;
mod filters;
mod garbage;
mod long_lived;
mod mesh;
mod model;
mod naive;
mod net;
mod next_hops;
mod options;
mod policy;
mod reserve;
mod restart;
mod routes;
mod scenario;
mod sessions;
mod too_long;
mod waiting;
mod world;
