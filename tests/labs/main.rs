//! The labs that come with the project: each is deployed, asked what it exists for, loses a link or a node, and says how long
//! traffic was away. Needs root.

mod dual_stack;
mod etcd_five;
mod fixture;
mod leaf_spine;
mod no_workload_routes;
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod three_node;
mod two_racks;
