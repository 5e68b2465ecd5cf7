//! Three members of etcd and five hosts: a member dies, then a host.

use std::time::Instant;

use serde_json::json;

use crate::fixture::{Lab, PATIENCE};
use crate::stream::{Stream, back_after};
use crate::support::wait_for;

#[test]
fn a_member_dies_unnoticed_and_a_host_is_missed() {
    let lab = Lab::deploy("etcd-five");
    let hosts = ["h1", "h2", "h3", "h4", "h5"];
    lab.apply("h1", "etcd-five/cluster.yaml");
    lab.wait_for_sessions(&hosts, 4);
    let one = lab.attach("h1", "one", "blue", json!({}));
    let five = lab.attach("h5", "five", "blue", json!({}));
    let other = lab.attach("h5", "other", "green", json!({}));
    one.reaches(&five.ipv4);
    assert!(!other.pings(&one.ipv4) && !one.pings(&other.ipv4), "another network");

    let streams = [Stream::start(&one, &five.ipv4)];
    let fault = Instant::now();
    lab.kill("e1");
    // The first workload of a host: its block has to be claimed in etcd.
    let two = lab.attach("h2", "two", "blue", json!({}));
    lab.says("member e1 killed: an ADD that claims a block on h2 answered", fault.elapsed());
    let three = lab.attach("h3", "three", "blue", json!({}));
    lab.says("member e1 killed: a second one, on h3, answered", fault.elapsed());
    // Whoever watched at the member that died has gone on at another one.
    for (from, to) in [(&two, &three), (&three, &two), (&one, &two), (&five, &three)] {
        from.reaches(&to.ipv4);
    }
    assert!(!other.pings(&two.ipv4), "another network, for the new ones too");
    lab.says("member e1 killed: traffic back", back_after(&streams, fault));

    let fault = Instant::now();
    lab.kill("h5");
    for host in &hosts[..4] {
        wait_for("the lost host's routes to go", PATIENCE, || {
            lab.run(host, &["ip", "route", "show", &five.ipv4]).is_empty()
        });
    }
    lab.says("host h5 killed: its routes gone everywhere", fault.elapsed());
    assert!(!one.pings(&five.ipv4));
    one.reaches(&two.ipv4);
    assert_eq!(lab.established("h1"), 3);
}
