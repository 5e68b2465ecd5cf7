//! Both families, policy in both, and the second way when a cable goes.

use std::time::Instant;

use serde_json::json;

use crate::fixture::{Lab, PATIENCE};
use crate::stream::{Stream, back_after};
use crate::support::wait_for;

#[test]
fn both_families_keep_their_policy_and_take_the_second_way() {
    let lab = Lab::deploy("dual-stack");
    lab.apply("h1", "dual-stack/cluster.yaml");
    lab.apply("h1", "dual-stack/policy.yaml");
    lab.wait_for_sessions(&["h1", "h2"], 4);
    let front = lab.attach("h1", "front", "blue", json!({"app": "web", "role": "frontend"}));
    let batch = lab.attach("h1", "batch", "blue", json!({"app": "batch"}));
    let web = lab.attach("h2", "web", "blue", json!({"app": "web"}));
    let database = lab.attach("h2", "database", "blue", json!({"app": "database"}));
    let other = lab.attach("h2", "other", "green", json!({}));
    database.serves(80);
    let both = |workload: &crate::fixture::Workload<'_>| [workload.ipv4.clone(), workload.ipv6.clone()];
    for address in both(&web) {
        front.reaches(&address);
    }
    for address in both(&database) {
        wait_for("a front-end's connection", PATIENCE, || front.connects(&address, 80));
        assert!(!front.pings(&address), "only the port is open: {address}");
        assert!(!batch.connects(&address, 80), "no front-end: {address}");
    }
    for address in both(&other) {
        assert!(!front.pings(&address), "another network: {address}");
    }

    let ways = |host: &str, to: &str| {
        let family = if to.contains(':') { "-6" } else { "-4" };
        lab.run(host, &["ip", family, "route", "show", to]).matches("via ").count()
    };
    let everywhere = |count: usize| {
        both(&web).iter().all(|to| ways("h1", to) == count) && both(&front).iter().all(|to| ways("h2", to) == count)
    };
    wait_for("two ways in both hosts, in both families", PATIENCE, || everywhere(2));
    // Enough pairs of addresses that some of them go by either router.
    let flows = [(&web, &front), (&web, &batch), (&database, &front), (&database, &batch)];
    let streams = [0, 1].map(|family| flows.map(|(from, to)| Stream::start(from, &both(to)[family])));
    let fault = Instant::now();
    lab.run("r1", &["ip", "link", "set", "eth1", "down"]);
    wait_for("one way in both hosts, in both families", PATIENCE, || everywhere(1));
    for (family, streams) in ["IPv4", "IPv6"].iter().zip(&streams) {
        lab.says(&format!("link h1--r1 away: {family} traffic back"), back_after(streams, fault));
    }
    for address in both(&database) {
        assert!(front.connects(&address, 80) && !batch.connects(&address, 80), "the policy holds: {address}");
    }
    let mended = Instant::now();
    lab.run("r1", &["ip", "link", "set", "eth1", "up"]);
    wait_for("two ways again", PATIENCE, || everywhere(2));
    lab.says("link h1--r1 back: both ways in use", mended.elapsed());
    for (family, streams) in ["IPv4", "IPv6"].iter().zip(&streams) {
        lab.says(&format!("link h1--r1 back: {family} traffic back"), back_after(streams, mended));
    }
}
