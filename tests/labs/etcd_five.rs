//! `etcd-five`: a store of three members, of which one may be lost, and a host that is lost.

use std::time::Instant;

use crate::fixture::{LIMIT, Lab};
use crate::support::wait_for;

#[test]
fn a_member_and_a_host_are_lost_and_the_others_go_on() {
    let lab = Lab::deploy("etcd-five");
    lab.apply("h1", "cluster.yaml");
    let w1 = lab.workload("h1", "w1", "blue", &[]);
    let w3 = lab.workload("h3", "w3", "blue", &[]);
    lab.well(&["h1", "h2", "h3", "h4", "h5"]);
    lab.reaches(&w1, &w3.ipv4);

    // h5 has no block yet: its first workload needs the store.
    let begun = Instant::now();
    lab.kill("e1");
    let mut w5 = None;
    wait_for("a block for h5 from the two members that are left", LIMIT, || {
        if lab.succeeds("h5", &["workload", "add", "w5", "blue"]) {
            w5 = lab.json("h5", &["endpoints", "--node", "h5"])[0]["addresses"][0].as_str().map(str::to_string);
        }
        w5.is_some()
    });
    println!("etcd-five: member e1 away: first block claimed after {} ms", begun.elapsed().as_millis());
    lab.reaches(&w1, &w5.expect("an address"));
    lab.well(&["h1", "h2", "h3", "h4", "h5"]);

    let begun = Instant::now();
    lab.kill("h3");
    wait_for("h1 to forget what h3 had", LIMIT, || lab.next_hops("h1", &w3.ipv4).is_empty());
    println!("etcd-five: host h3 away: its routes withdrawn after {} ms", begun.elapsed().as_millis());
    assert!(!lab.pings(&w1, &w3.ipv4));
    wait_for("h1 to say so", LIMIT, || !lab.succeeds("h1", &["routectl", "status"]));
}
