//! The cluster stores, the journal and what carries IPAM's decisions out: races between processes, crashes at any
//! point, outages; files that are damaged, newer, deleted or replaced; an etcd of one member and of three. One suite for
//! both stores. Needs no root.

#![allow(clippy::duplicate_mod, reason = "the suite is there once for each store")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/etcd_server.rs"]
#[allow(dead_code)]
mod etcd_server;

/// The suite on a file.
#[path = "."]
mod embedded {
    use crate::support;

    const KIND: fixture::Kind = fixture::Kind::Embedded;

    #[path = "allocate.rs"]
    mod allocate;
    #[path = "child.rs"]
    mod child;
    #[path = "crash.rs"]
    mod crash;
    #[path = "fixture.rs"]
    mod fixture;
    #[path = "outage.rs"]
    mod outage;
    #[path = "publish.rs"]
    mod publish;
    #[path = "sync.rs"]
    mod sync;
    #[path = "watch.rs"]
    mod watch;
}

/// The suite on etcd.
#[path = "."]
mod etcd {
    use crate::support;

    const KIND: fixture::Kind = fixture::Kind::Etcd;

    #[path = "allocate.rs"]
    mod allocate;
    #[path = "child.rs"]
    mod child;
    #[path = "crash.rs"]
    mod crash;
    #[path = "fixture.rs"]
    #[allow(dead_code)]
    mod fixture;
    #[path = "members.rs"]
    mod members;
    #[path = "publish.rs"]
    mod publish;
    #[path = "secured.rs"]
    mod secured;
    #[path = "sync.rs"]
    mod sync;
    #[path = "watch.rs"]
    mod watch;
}
