//! The cluster store, the journal and what carries IPAM's decisions out: races between processes, crashes at any
//! point, files that are damaged, newer, deleted or replaced. Needs no root.

#[path = "../support/mod.rs"]
mod support;

mod allocate;
mod child;
mod crash;
mod fixture;
mod outage;
mod publish;
mod sync;
mod watch;
