//! Real container runtimes as clients of the CNI plugin.

#[path = "../support/busybox.rs"]
mod busybox;
#[path = "../support/cgroup.rs"]
mod cgroup;
mod cnitool;
mod containerd;
#[path = "../agent/fixture.rs"]
#[allow(dead_code)]
mod fixture;
mod podman;
#[path = "../support/mod.rs"]
mod support;
