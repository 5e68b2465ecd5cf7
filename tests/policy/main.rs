//! Policy in a real kernel, held to the evaluator: compiled chains and sets programmed by the rules plane, packets of
//! every kind between every pair, both iptables back ends, both families. Needs root.

#[path = "../support/mod.rs"]
mod support;

mod cases;
mod cases_kernel;
mod differential;
mod forged;
mod hosts;
mod kubernetes;
mod matrix;
mod naive;
mod naive_selector;
mod probe;
mod random_cluster;
mod raw;
mod world;
