//! The agent as its users meet it: real agents, real workloads attached by the real plugin, real packets.

mod address;
mod attach;
mod bad_input;
mod by_hand;
mod check;
mod cni;
mod crowd;
mod cut;
mod etcd;
#[path = "../support/etcd_server.rs"]
#[allow(dead_code)]
mod etcd_server;
mod explain;
mod filters;
mod firewalls;
mod fixture;
mod ipam;
mod load;
mod mesh;
mod neighbours;
mod never;
mod policy;
mod refused;
mod repair;
mod restart;
mod speaker_only;
mod storeless;
#[path = "../support/mod.rs"]
mod support;
