//! Leaves and spines: both ways are used, and one is enough.

use std::time::Instant;

use serde_json::{Value, json};

use crate::fixture::{Lab, PATIENCE};
use crate::stream::{Stream, back_after};
use crate::support::wait_for;

/// How many packets leaf 1 has sent to either spine.
fn by_spine(lab: &Lab) -> [u64; 2] {
    ["eth2", "eth3"].map(|uplink| {
        let said = lab.run("leaf1", &["ip", "-s", "-j", "link", "show", uplink]);
        let all: Value = serde_json::from_str(&said).expect("JSON");
        all[0]["stats64"]["tx"]["packets"].as_u64().expect("a count")
    })
}

#[test]
fn flows_spread_over_the_spines_and_one_spine_is_enough() {
    let lab = Lab::deploy("leaf-spine");
    lab.apply("h1", "leaf-spine/cluster.yaml");
    lab.wait_for_sessions(&["h1", "h2"], 1);
    let one = lab.attach("h1", "one", "blue", json!({}));
    let two = lab.attach("h2", "two", "blue", json!({}));
    let other = lab.attach("h2", "other", "green", json!({}));
    one.reaches(&two.ipv4);
    assert!(!one.pings(&other.ipv4) && !other.pings(&one.ipv4), "another network");

    let ways = |leaf: &str, to: &str| lab.run(leaf, &["ip", "route", "show", to]).matches("via 203.0.113.").count();
    wait_for("two ways in the kernels of both leaves", PATIENCE, || {
        ways("leaf1", &two.ipv4) == 2 && ways("leaf2", &one.ipv4) == 2
    });

    // Many flows: connections from ports of their own.
    two.serves(80);
    wait_for("the server", PATIENCE, || one.connects(&two.ipv4, 80));
    let before = by_spine(&lab);
    for _ in 0..24 {
        assert!(one.connects(&two.ipv4, 80), "a connection over one of the spines");
    }
    let after = by_spine(&lab);
    // Sessions send keepalives; a connection takes five packets at least.
    for spine in [0, 1] {
        let by_this = after[spine] - before[spine];
        assert!(by_this >= 15, "spine{} has carried next to nothing: {before:?} {after:?}", spine + 1);
    }
    lab.says_text(&format!(
        "24 connections: {} packets by spine1, {} by spine2",
        after[0] - before[0],
        after[1] - before[1]
    ));

    let streams = [Stream::start(&one, &two.ipv4), Stream::start(&two, &one.ipv4)];
    // The spine that carries the ping is the one to lose.
    let before = by_spine(&lab);
    streams[0].wait_until_whole(Instant::now());
    let after = by_spine(&lab);
    let [left, right] = [0, 1].map(|spine| after[spine] - before[spine]);
    assert!(left.abs_diff(right) >= 5, "one of them carries the ping: {left} {right}");
    let spine = if left > right { "spine1" } else { "spine2" };
    let fault = Instant::now();
    lab.kill(spine);
    wait_for("the leaves to go by the other spine", PATIENCE, || {
        ways("leaf1", &two.ipv4) == 1 && ways("leaf2", &one.ipv4) == 1
    });
    lab.says(&format!("{spine} killed: traffic back"), back_after(&streams, fault));
    lab.wait_for_sessions(&["h1", "h2"], 1);
    assert!(!one.pings(&other.ipv4), "still another network");
}
