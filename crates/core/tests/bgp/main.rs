//! Several speakers in memory, with a virtual clock: what they come to agree on, and what they do when one misbehaves.

mod bfd;
mod filters;
mod garbage;
mod options;
mod restart;
mod routes;
mod sessions;
mod world;
