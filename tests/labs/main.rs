//! The labs that come with the project, each deployed under another name, asked what it is there for, and hurt: a link or a
//! node is taken away, and the time until traffic is back is printed. Needs root.

#[path = "../support/mod.rs"]
mod support;

mod dual_stack;
mod etcd_five;
mod fixture;
mod leaf_spine;
mod no_workload_routes;
mod schema;
mod stream;
mod three_node;
mod two_racks;
