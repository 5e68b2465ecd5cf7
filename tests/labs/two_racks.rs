//! `two-racks`: eBGP between hosts and ToRs of two makes, and between the ToRs over two cables.

use crate::fixture::{LIMIT, Lab};
use crate::support::wait_for;

#[test]
fn racks_meet_by_their_tors_and_lose_a_cable_and_a_host() {
    let lab = Lab::deploy("two-racks");
    lab.apply("h1", "cluster.yaml");
    let w1 = lab.workload("h1", "w1", "blue", &[]);
    let w2 = lab.workload("h2", "w2", "blue", &[]);
    let w3 = lab.workload("h3", "w3", "blue", &[]);
    let g4 = lab.workload("h4", "g4", "green", &[]);
    lab.well(&["h1", "h2", "h3", "h4"]);
    lab.reaches(&w1, &w2.ipv4);
    lab.reaches(&w1, &w3.ipv4);
    lab.reaches(&w3, &w2.ipv4);
    assert!(!lab.pings(&g4, &w1.ipv4) && !lab.pings(&w1, &g4.ipv4), "networks are apart");

    // Inside the rack directly, to the other one by the ToR, and between the ToRs by both cables.
    assert!(lab.next_hops("h1", &w2.ipv4)[0].starts_with("via 192.0.2.2 dev eth1"));
    assert!(lab.next_hops("h1", &w3.ipv4)[0].starts_with("via 192.0.2.254 dev eth1"));
    let both = || lab.next_hops("tor1", &w3.ipv4).len() == 2 && lab.next_hops("tor2", &w1.ipv4).len() == 2;
    wait_for("two next hops on either ToR", LIMIT, both);

    let one_left = || lab.next_hops("tor1", &w3.ipv4).len() == 1 && lab.next_hops("tor2", &w1.ipv4).len() == 1;
    lab.outage("cable tor1:eth3 - tor2:eth3 away", &w1, &w3.ipv4, || lab.set_link("tor1", "eth3", "down"), one_left);
    // FRR 8.4 knows both next hops again and leaves one of them out of the kernel; BIRD has both.
    let back = || lab.next_hops("tor1", &w3.ipv4).len() == 2;
    lab.outage("the cable back", &w1, &w3.ipv4, || lab.set_link("tor1", "eth3", "up"), back);

    lab.kill("h3");
    wait_for("h1 to forget what h3 had", LIMIT, || lab.next_hops("h1", &w3.ipv4).is_empty());
    assert!(lab.pings(&w1, &w2.ipv4));
}
