//! `no-workload-routes`: encapsulation where the underlay asks for it, and only there.

use crate::fixture::{LIMIT, Lab};
use crate::support::wait_for;

fn pool(mode: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: blue}}\nspec: {{cidr: 10.65.0.0/16, vxlanMode: {mode}}}"
    )
}

/// `vxlan tunnel` or `as it is`.
fn way(lab: &Lab, to: &str) -> String {
    // Whether or not all is well.
    let status = lab.run("h1", &["sh", "-c", "routectl status; true"]);
    let table =
        status.lines().skip_while(|line| !line.starts_with("WAY TO")).skip(1).take_while(|line| !line.is_empty());
    let line = table.into_iter().find(|line| line.split_whitespace().next() == Some(to)).unwrap_or_default();
    if line.contains("vxlan tunnel") {
        "tunnel".into()
    } else if line.contains("as it is") {
        "native".into()
    } else {
        line.into()
    }
}

#[test]
fn the_tunnel_is_used_where_the_router_refuses_and_a_cable_makes_it_needless() {
    let lab = Lab::deploy("no-workload-routes");
    lab.apply("h1", "cluster.yaml");
    let w1 = lab.workload("h1", "w1", "blue", &[]);
    let w2 = lab.workload("h2", "w2", "blue", &[]);
    let w3 = lab.workload("h3", "w3", "blue", &[]);
    lab.well(&["h1", "h2", "h3"]);
    lab.reaches(&w1, &w2.ipv4);
    lab.reaches(&w1, &w3.ipv4);
    assert_eq!((way(&lab, "h2").as_str(), way(&lab, "h3").as_str()), ("native", "tunnel"));

    // The router does refuse: without the tunnel nothing passes.
    lab.apply_text("h1", &pool("Never"));
    wait_for("the router to stop it", LIMIT, || !lab.pings(&w1, &w3.ipv4));
    assert!(lab.pings(&w1, &w2.ipv4));
    lab.apply_text("h1", &pool("Auto"));
    lab.reaches(&w1, &w3.ipv4);

    let plug = || {
        for (host, to, from) in [("h1", "198.51.100.3", "192.0.2.1"), ("h3", "192.0.2.1", "198.51.100.3")] {
            lab.run(host, &["ip", "route", "add", to, "dev", "eth2", "src", from]);
        }
    };
    lab.outage("cable h1 - h3 plugged in", &w1, &w3.ipv4, plug, || way(&lab, "h3") == "native");
    let unplug = || lab.set_link("h1", "eth2", "down");
    lab.outage("the cable away", &w1, &w3.ipv4, unplug, || way(&lab, "h3") == "tunnel");
}
