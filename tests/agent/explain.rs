//! `routectl explain` against live agents: the verdict that packets meet, and whose route it tells.

use std::time::Duration;

use serde_json::json;

use crate::fixture::{attach, two_hosts};
use crate::support::wait_for;

#[test]
fn the_verdict_is_that_of_packets_and_the_route_names_its_node() {
    two_hosts(|_, one, two| {
        let here = attach(&one, "here", "blue", json!({}));
        let there = attach(&two, "there", "blue", json!({}));
        let green = attach(&two, "green", "green", json!({}));
        there.reaches(&here.ipv4);
        wait_for("h1 to know the workloads of h2", Duration::from_secs(10), || {
            one.routectl(&["explain", &green.ipv4, &here.ipv4, "icmp"]).stdout.contains("network green")
        });

        let denied = one.routectl(&["explain", &green.ipv4, &here.ipv4, "icmp"]);
        assert_eq!(denied.exit, 1, "{denied:?}");
        assert!(denied.stdout.contains("receives  denied: no policy applies to its ingress"), "{}", denied.stdout);
        assert!(!green.pings(&here.ipv4));

        let allowed = one.routectl(&["explain", &there.ipv4, &here.ipv4, "icmp"]);
        assert_eq!(allowed.exit, 0, "{allowed:?}");
        assert!(allowed.stdout.contains("from h1: local, dev rnw"), "{}", allowed.stdout);
        assert!(allowed.stdout.contains("ask on h2"), "{}", allowed.stdout);
        let at_the_sender = two.routectl(&["explain", &there.ipv4, &here.ipv4, "icmp"]);
        assert!(at_the_sender.stdout.contains("from h2: via 192.0.2.1 (BGP, "), "{}", at_the_sender.stdout);
        assert!(!at_the_sender.stdout.contains("ask on"), "{}", at_the_sender.stdout);
        assert!(there.pings(&here.ipv4));
    });
}
