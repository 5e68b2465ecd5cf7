//! `natOutgoing`: what leaves the pools takes the host's address, what stays in them does not.

use serde_json::json;

use crate::fixture::{attach, two_hosts};
use crate::support::hosts::Namespace;
use crate::support::run;

const POOLS: &str = "
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: blue4}
spec: {cidr: 10.65.0.0/16, natOutgoing: true}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: blue6}
spec: {cidr: fd65::/64, natOutgoing: true}
";

/// From whom a stranger heard echo requests: each address once.
fn heard(stranger: &Namespace, family: &str) -> String {
    stranger.run("conntrack", &["-L", "-f", family])
}

#[test]
fn strangers_see_the_host_and_other_workloads_see_the_workload() {
    two_hosts(|hosts, one, two| {
        let stranger = Namespace::new();
        let pid = stranger.pid().to_string();
        run("ip", &["link", "add", "port9", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        run("ip", &["link", "set", "port9", "master", "segment", "up"]);
        stranger.run("ip", &["link", "set", "eth0", "up"]);
        stranger.run("ip", &["addr", "add", "192.0.2.9/24", "dev", "eth0"]);
        stranger.run("ip", &["addr", "add", "2001:db8::9/64", "dev", "eth0", "nodad"]);
        // Whoever is not seen as a host gets no answer: the stranger knows no way to workloads.
        for table in ["iptables", "ip6tables"] {
            stranger.run(table, &["-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT"]);
        }
        let here = attach(&one, "here", "blue", json!({}));
        let there = attach(&two, "there", "blue", json!({}));
        here.reaches(&there.ipv4);
        assert!(!here.pings("192.0.2.9"), "without NAT");

        one.apply(POOLS);
        here.reaches("192.0.2.9");
        here.reaches("2001:db8::9");
        let seen = heard(&stranger, "ipv4");
        assert!(seen.contains("src=192.0.2.1"), "{seen}");
        here.reaches(&there.ipv4);
        let seen = hosts[1].run("conntrack", &["-L"]);
        assert!(seen.contains(&format!("src={}", here.ipv4)), "inside the pools nothing changes: {seen}");
    });
}
