//! The planes against a real kernel, each test in a network namespace of its own. Needs root.

#[path = "../support/mod.rs"]
mod support;

mod conntrack;
mod links;
mod machine;
mod nexthops;
mod resolution;
mod routes;
mod rules;
mod sets;
