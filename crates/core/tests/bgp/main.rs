//! Several speakers in memory, with a virtual clock: what they come to agree on, and what they do when one misbehaves.

mod bfd;
#[path = "../../../../tests/support/dice.rs"]
mod dice;
mod filters;
mod garbage;
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
