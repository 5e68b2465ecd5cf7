//! What others understand of what we say: independent decoders and other BGP speakers, from Debian's packages.

#[path = "../support/mod.rs"]
mod support;

mod bird;
mod frr;
mod garbage;
mod restart;
mod rig;
mod routes;
mod wire_tshark;
