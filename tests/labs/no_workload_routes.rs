//! An underlay that refuses workload addresses: the tunnel passes where packets as they are do not.

use std::time::Instant;

use serde_json::{Value, json};

use crate::fixture::{Lab, PATIENCE};
use crate::stream::{Stream, back_after};
use crate::support::wait_for;

/// How a host says that it sends to a node, in the pool of network blue: the tunnel, and why.
fn way(lab: &Lab, host: &str, node: &str) -> (Value, String) {
    let status = lab.status(host);
    let ways = status["node"]["ways"].as_array().cloned().unwrap_or_default();
    let found = ways.into_iter().find(|way| way["node"] == node && way["pool"] == "blue-v4").unwrap_or_default();
    (found["tunnel"].clone(), found["why"].as_str().unwrap_or_default().to_string())
}

const POOL: &str = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: blue-v4}, spec: {cidr: 10.65.0.0/17, vxlanMode: MODE}}";

#[test]
fn the_tunnel_passes_where_the_router_refuses_workloads() {
    let lab = Lab::deploy("no-workload-routes");
    lab.apply("h1", "no-workload-routes/cluster.yaml");
    lab.wait_for_sessions(&["h1", "h2", "h3"], 2);
    let one = lab.attach("h1", "one", "blue", json!({}));
    let two = lab.attach("h2", "two", "blue", json!({}));
    let three = lab.attach("h3", "three", "blue", json!({}));
    let other = lab.attach("h3", "other", "green", json!({}));
    one.reaches(&two.ipv4);
    two.reaches(&three.ipv4);
    one.reaches(&three.ipv4);
    assert!(!other.pings(&two.ipv4), "another network, tunnel or not");
    let router = (json!("vxlan"), "it is behind a router".to_string());
    let link = (Value::Null, "it is on a link of this host".to_string());
    assert_eq!(way(&lab, "h2", "h3"), router);
    assert_eq!(way(&lab, "h2", "h1"), link);
    assert_eq!(way(&lab, "h1", "h3"), link, "by the cable");

    let streams = [Stream::start(&one, &three.ipv4), Stream::start(&two, &three.ipv4)];
    let fault = Instant::now();
    lab.run("h1", &["ip", "link", "set", "eth2", "down"]);
    wait_for("the tunnel", PATIENCE, || way(&lab, "h1", "h3") == router && way(&lab, "h3", "h1") == router);
    lab.says("link h1--h3 away: traffic back", back_after(&streams, fault));
    let mended = Instant::now();
    lab.run("h1", &["ip", "link", "set", "eth2", "up"]);
    lab.run("h1", &["ip", "route", "add", "198.51.100.3/32", "dev", "eth2", "src", "192.0.2.1"]);
    wait_for("the cable", PATIENCE, || way(&lab, "h1", "h3") == link && way(&lab, "h3", "h1") == link);
    lab.says("link h1--h3 back: traffic back", back_after(&streams, mended));

    // As it is, nothing passes the router: what passed was the tunnel.
    lab.apply_text("h1", &POOL.replace("MODE", "Never"));
    wait_for("the router to refuse", PATIENCE, || !two.pings(&three.ipv4));
    one.reaches(&two.ipv4);
    lab.apply_text("h1", &POOL.replace("MODE", "Auto"));
    two.reaches(&three.ipv4);
}
