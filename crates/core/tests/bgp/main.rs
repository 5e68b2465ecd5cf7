//! Several speakers in memory, with a virtual clock: what they come to agree on, and what they do when one misbehaves.

mod bfd;
mod cluster;
#[path = "../../../../tests/support/dice.rs"]
mod dice;
mod filters;
mod garbage;
mod mesh;
mod model;
mod naive;
mod net;
mod options;
mod restart;
mod routes;
mod sessions;
mod world;
