//! Two racks by eBGP: hosts to ToRs, BIRD to FRR, and what happens when cables go.

use std::time::Instant;

use serde_json::{Value, json};

use crate::fixture::{Lab, PATIENCE, Workload};
use crate::stream::{Stream, back_after, resumed_after};
use crate::support::wait_for;

#[test]
fn workloads_of_two_racks_reach_each_other_over_both_tors() {
    let lab = Lab::deploy("two-racks");
    lab.apply("h1", "two-racks/cluster.yaml");
    let hosts = ["h1", "h2", "h3", "h4"];
    lab.wait_for_sessions(&hosts, 1);
    let one = lab.attach("h1", "one", "blue", json!({}));
    let two = lab.attach("h2", "two", "blue", json!({}));
    let three = lab.attach("h3", "three", "blue", json!({}));
    let other = lab.attach("h4", "other", "green", json!({}));
    one.reaches(&three.ipv4);
    two.reaches(&three.ipv4);
    one.reaches(&two.ipv4);
    wait_for("a route to the other network's workload too", PATIENCE, || {
        lab.run("h1", &["ip", "route", "show", &other.ipv4]).contains("via 192.0.2.254")
    });
    assert!(!other.pings(&one.ipv4) && !one.pings(&other.ipv4), "another network");

    // Host, ToR, ToR, host: each AS has put itself in front.
    let routes = lab.run("h1", &["routectl", "bgp", "routes"]);
    let line = routes.lines().find(|line| line.contains(&three.ipv4)).unwrap_or_else(|| panic!("{routes}"));
    assert!(line.contains("65101 65102 65003"), "{line}");
    assert!(lab.run("tor1", &["birdc", "show", "route", &format!("{}/32", three.ipv4)]).contains("cable"));
    let bgp = lab.run("tor2", &["vtysh", "-c", &format!("show bgp ipv4 unicast {}/32", one.ipv4)]);
    assert!(bgp.contains("65101 65001"), "{bgp}");

    let streams = [Stream::start(&one, &three.ipv4), Stream::start(&two, &three.ipv4)];
    let paths = || lab.run("tor1", &["ip", "route", "show", &three.ipv4]).matches("203.0.113.").count();
    wait_for("both cables in the ToR's kernel", PATIENCE, || paths() == 2);
    let fault = Instant::now();
    lab.run("tor1", &["ip", "link", "set", "eth3", "down"]);
    wait_for("the ToR to go by the other cable", PATIENCE, || paths() == 1);
    lab.says("link tor1--tor2 away: traffic back", back_after(&streams, fault));

    // Without the second cable there is no way; with it, there is one again.
    lab.run("tor1", &["ip", "link", "set", "eth4", "down"]);
    streams.iter().for_each(Stream::wait_until_broken);
    one.reaches(&two.ipv4);
    let mended = Instant::now();
    lab.run("tor1", &["ip", "link", "set", "eth4", "up"]);
    lab.says("both links away, one back: traffic back", resumed_after(&streams, mended));

    // A host's own cable: nobody else may take its traffic, and the ToR says so when the hold time is over.
    let fault = Instant::now();
    lab.run("tor1", &["ip", "link", "set", "eth1", "down"]);
    wait_for("the lost host's route to go in the other rack", PATIENCE, || {
        lab.run("h3", &["ip", "route", "show", &one.ipv4]).is_empty()
    });
    lab.says("link h1--tor1 away: its routes gone from h3", fault.elapsed());
    streams[1].wait_until_whole(fault);
    let mended = Instant::now();
    lab.run("tor1", &["ip", "link", "set", "eth1", "up"]);
    lab.says("link h1--tor1 back: traffic back", resumed_after(&streams[..1], mended));
    an_automatic_pool_goes_as_the_tors_announce_it(&lab, &one, &three);
}

const AUTOMATIC: &str = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: blue-v4}, spec: {cidr: 10.65.0.0/16, vxlanMode: Auto}}";

/// The other rack is behind routers, and these have announced the way: nothing is wrapped.
fn an_automatic_pool_goes_as_the_tors_announce_it(lab: &Lab, one: &Workload<'_>, three: &Workload<'_>) {
    for host in ["h1", "h3"] {
        lab.run(host, &["iptables", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", "4789"]);
    }
    let wrapped = |host| {
        let listed = lab.run(host, &["iptables", "-t", "raw", "-nvxL", "PREROUTING"]);
        let line = listed.lines().find(|line| line.contains("dpt:4789")).unwrap_or_else(|| panic!("{listed}"));
        line.split_whitespace().next().and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    lab.apply_text("h1", AUTOMATIC);
    for host in ["h1", "h3"] {
        wait_for("the way, and why", PATIENCE, || {
            let ways = lab.status(host)["node"]["ways"].as_array().cloned().unwrap_or_default();
            let announced = |way: &Value| {
                way["pool"] == "blue-v4"
                    && way["tunnel"].is_null()
                    && way["why"] == "the underlay has announced the way"
            };
            !ways.is_empty() && ways.iter().all(announced)
        });
        wait_for("the device, ready", PATIENCE, || {
            lab.output(host, &["ip", "link", "show", "rnt-vxlan"]).status.success()
        });
    }
    one.reaches(&three.ipv4);
    three.reaches(&one.ipv4);
    assert_eq!((wrapped("h1"), wrapped("h3")), (0, 0), "no packet of a tunnel");
    // What one would have looked like.
    lab.run("tor1", &["sh", "-c", "echo wrapped | socat - UDP4-SENDTO:192.0.2.1:4789"]);
    wait_for("the counter to count", PATIENCE, || wrapped("h1") == 1);
}
