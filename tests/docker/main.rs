//! Docker's networks: real dockerds with our driver, on hosts of their own.

#[path = "../support/cgroup.rs"]
mod cgroup;
mod dockerd;
#[path = "../agent/fixture.rs"]
#[allow(dead_code)]
mod fixture;
mod networks;
#[path = "../support/mod.rs"]
mod support;
