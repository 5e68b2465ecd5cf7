//! An agent that starts before its host has an address.

use std::time::Duration;

use crate::fixture::{Agent, CLUSTER, Site};
use crate::support::hosts::segment;
use crate::support::{in_fresh_netns, wait_for};

#[test]
fn it_waits_for_its_address_says_so_and_goes_on_when_it_comes() {
    in_fresh_netns(|| {
        let site = Site::new();
        let hosts = segment(1);
        let config = site.node_config(1, "").replace("192.0.2.1,", "198.51.100.77,");
        let agent = Agent::start_with(&site, &hosts[0], 1, &config);
        let waiting = agent.routectl(&["status"]);
        assert_ne!(waiting.exit, 0);
        let said = waiting.stdout + &waiting.stderr;
        assert!(said.contains("waits for the host's address") && said.contains("198.51.100.77"), "{said}");
        assert_ne!(agent.try_apply(CLUSTER).exit, 0, "nothing is done meanwhile");
        let untouched = hosts[0].run("iptables-save", &[]);
        assert!(!untouched.contains("rn-"), "{untouched}");

        hosts[0].run("ip", &["address", "add", "198.51.100.77/24", "dev", "eth0"]);
        wait_for("the agent", Duration::from_secs(20), || agent.routectl(&["status"]).exit == 0);
        agent.apply(CLUSTER);
        assert!(hosts[0].run("iptables-save", &[]).contains("rn-"));
    });
}
