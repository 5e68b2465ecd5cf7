//! `dual-stack`: both families, and a policy that holds in both.

use crate::fixture::{LIMIT, Lab};
use crate::support::wait_for;

#[test]
fn both_families_pass_and_are_denied_alike_and_a_host_loses_its_link() {
    let lab = Lab::deploy("dual-stack");
    lab.apply("h1", "cluster.yaml");
    let web = lab.workload("h1", "web", "blue", &["app=web"]);
    let plain = lab.workload("h2", "plain", "blue", &[]);
    let database = lab.workload("h3", "database", "blue", &["app=database"]);
    lab.well(&["h1", "h2", "h3"]);
    let both = |workload: &crate::fixture::Workload| [workload.ipv4.clone(), workload.ipv6.clone().expect("IPv6")];
    for address in both(&database) {
        lab.reaches(&web, &address);
        assert!(!lab.pings(&plain, &address), "only web may ping the database");
    }
    for address in both(&plain) {
        lab.reaches(&web, &address);
    }
    let [ipv4, ipv6] = both(&database);
    let away = |up: &dyn Fn()| {
        lab.set_link("switch", "eth3", "down");
        wait_for("h3 to be out of reach", LIMIT, || !lab.pings(&web, &ipv4) && !lab.pings(&web, &ipv6));
        up();
    };
    let up = || lab.set_link("switch", "eth3", "up");
    lab.outage("switch:eth3 away and back, IPv6", &web, &ipv6, || away(&up), || lab.pings(&web, &ipv4));
    assert!(!lab.pings(&plain, &ipv4) && !lab.pings(&plain, &ipv6));
}
