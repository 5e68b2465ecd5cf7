//! Docker's networks: real dockerds with our driver, on hosts of their own.

#[path = "../support/busybox.rs"]
mod busybox;
#[path = "../support/cgroup.rs"]
mod cgroup;
mod closed;
mod compose;
mod dockerd;
mod errors;
#[path = "../agent/fixture.rs"]
#[allow(dead_code)]
mod fixture;
mod life;
mod neighbour;
mod networks;
mod options;
mod ports;
mod proxy;
mod repeated;
mod restarts;
#[path = "../support/mod.rs"]
mod support;
