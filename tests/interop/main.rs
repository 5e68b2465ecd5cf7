//! What others understand of what we say: independent decoders and other BGP speakers, from Debian's packages.

#[allow(dead_code, reason = "the agent's tests use all of it")]
#[path = "../agent/fixture.rs"]
mod fixture;
#[path = "../support/mod.rs"]
mod support;

mod add_paths;
mod agent;
mod bfd;
mod bfd_load;
mod bird;
mod bmp;
mod cease;
mod crowd;
mod delay_open;
mod drain;
mod exabgp;
mod filters;
mod frr;
mod garbage;
mod gobgp;
mod long_lived;
mod next_hops;
mod openbgpd;
mod options;
mod protection;
mod reflection;
mod restart;
mod rig;
mod routes;
mod sent;
mod unnumbered;
mod wire_tshark;
