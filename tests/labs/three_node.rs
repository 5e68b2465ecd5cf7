//! Three hosts on one segment: a host's cable is pulled and plugged in again.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::Lab;
use crate::stream::{Stream, back_after, resumed_after};

#[test]
fn a_cable_that_is_pulled_and_plugged_in_again() {
    let lab = Lab::deploy("three-node");
    lab.apply("h1", "../demo/cluster.yaml");
    lab.wait_for_sessions(&["h1", "h2", "h3"], 2);
    let [web1, web2, web3] =
        [("h1", "web1"), ("h2", "web2"), ("h3", "web3")].map(|(host, name)| lab.attach(host, name, "blue", json!({})));
    let batch = lab.attach("h3", "batch", "green", json!({}));
    web1.reaches(&web2.ipv4);
    web1.reaches(&web2.ipv6);
    assert!(!batch.pings(&web2.ipv4) && !batch.pings(&web2.ipv6), "another network");

    // The script for people attaches workloads of the same kind.
    let attached = lab.script("lab-workload", &["h2", "by-hand", "blue", "app=web"]);
    let by_hand: Vec<&str> = attached.lines().filter_map(|line| line.split('/').next()).collect();
    assert_eq!(by_hand.len(), 2, "{attached}");
    by_hand.iter().for_each(|address| web1.reaches(address));
    assert!(!batch.pings(by_hand[0]), "another network");
    assert!(lab.run("h2", &["routectl", "endpoints"]).contains("by-hand"));

    let cut = [Stream::start(&web1, &web2.ipv4), Stream::start(&web1, &web2.ipv6)];
    let beside = [Stream::start(&web3, &web2.ipv4)];
    let fault = Instant::now();
    lab.run("segment", &["ip", "link", "set", "h1", "down"]);
    cut.iter().for_each(Stream::wait_until_broken);
    let plugged = Instant::now();
    lab.run("segment", &["ip", "link", "set", "h1", "up"]);
    lab.says("link h1--segment back: traffic back", resumed_after(&cut, plugged));
    assert_eq!(back_after(&beside, fault), Duration::ZERO, "the others notice nothing");
    assert!(!batch.pings(&web1.ipv4), "and what is closed stays closed");
}
