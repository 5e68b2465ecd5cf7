//! `three-node`: the lab of the demo.

use crate::fixture::{LIMIT, Lab};
use crate::support::wait_for;

const CLUSTER: &str = include_str!("../../config/demo/cluster.yaml");

#[test]
fn three_hosts_on_a_segment_and_one_loses_its_link() {
    let lab = Lab::deploy("three-node");
    lab.apply_text("h1", CLUSTER);
    let w1 = lab.workload("h1", "w1", "blue", &[]);
    let w3 = lab.workload("h3", "w3", "blue", &[]);
    let green = lab.workload("h2", "green", "green", &[]);
    lab.well(&["h1", "h2", "h3"]);
    lab.reaches(&w1, &w3.ipv4);
    assert!(!lab.pings(&green, &w3.ipv4), "networks are apart");
    let flap = || {
        lab.set_link("segment", "h3", "down");
        wait_for("h3 to be out of reach", LIMIT, || !lab.pings(&w1, &w3.ipv4));
        lab.set_link("segment", "h3", "up");
    };
    lab.outage("segment:h3 away and back", &w1, &w3.ipv4, flap, || lab.pings(&w1, &w3.ipv4));
}
