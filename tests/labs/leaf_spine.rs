//! `leaf-spine`: every way of equal length is used, by hosts as by leaves, and any one may be lost.

use crate::fixture::{LIMIT, Lab, Workload};
use crate::support::wait_for;

/// Packets that an interface has sent.
fn sent(lab: &Lab, node: &str, interface: &str) -> u64 {
    let path = format!("/sys/class/net/{interface}/statistics/tx_packets");
    lab.run(node, &["cat", &path]).trim().parse().expect("a number")
}

/// So many flows of one datagram each.
fn flows(lab: &Lab, from: &Workload, to: &str, count: usize) {
    let script = format!("for port in $(seq 20000 {}); do echo x >/dev/udp/{to}/$port; done", 20000 + count - 1);
    // What comes back for a closed port is no failure of sending.
    lab.run(from.host, &["workload", "exec", from.name, "bash", "-c", &format!("{script} 2>/dev/null; true")]);
}

#[test]
fn flows_take_every_way_and_survive_a_spine_and_a_cable() {
    let lab = Lab::deploy("leaf-spine");
    lab.apply("h1", "cluster.yaml");
    let w1 = lab.workload("h1", "w1", "blue", &[]);
    let w2 = lab.workload("h2", "w2", "blue", &[]);
    lab.well(&["h1", "h2"]);
    lab.reaches(&w1, &w2.ipv4);
    let ways = |node: &str, count: usize| lab.next_hops(node, &w2.ipv4).len() == count;
    wait_for("two ways from h1", LIMIT, || ways("h1", 2));
    wait_for("two ways from its leaves", LIMIT, || ways("leaf1", 2) && ways("leaf2", 2));

    let count = || {
        [("h1", "eth1"), ("h1", "eth2"), ("leaf1", "eth2"), ("leaf1", "eth3")]
            .map(|(node, port)| sent(&lab, node, port))
    };
    let before = count();
    flows(&lab, &w1, &w2.ipv4, 128);
    let used: Vec<u64> = count().iter().zip(before).map(|(after, before)| after - before).collect();
    println!("leaf-spine: 128 flows: {used:?} by h1:eth1, h1:eth2, leaf1:eth2, leaf1:eth3");
    assert!(used[0] >= 20 && used[1] >= 20, "both cables of the host: {used:?}");
    assert!(used[2] >= 5 && used[3] >= 5, "both spines: {used:?}");

    lab.outage("spine1 away", &w1, &w2.ipv4, || lab.kill("spine1"), || ways("leaf1", 1) && ways("leaf2", 1));
    let cable = || lab.set_link("h1", "eth1", "down");
    lab.outage("cable h1:eth1 - leaf1:eth1 away", &w1, &w2.ipv4, cable, || ways("h1", 1));
    lab.outage("the cable back", &w1, &w2.ipv4, || lab.set_link("h1", "eth1", "up"), || ways("h1", 2));
    lab.kill("spine2");
    wait_for("nothing to be left", LIMIT, || !lab.pings(&w1, &w2.ipv4));
}
