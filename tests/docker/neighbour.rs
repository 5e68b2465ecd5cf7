//! A dockerd that has its own networks beside us: the rules that it writes, and writes again.

use std::time::Duration;

use serde_json::json;

use crate::dockerd::Dockerd;
use crate::fixture::{Agent, CLUSTER, Site, attach};
use crate::support::hosts::segment;
use crate::support::{in_fresh_netns, wait_for};

const SOON: Duration = Duration::from_secs(15);

/// dockerd sets FORWARD to DROP where it is the one that switches forwarding on.
#[test]
fn a_dockerd_that_drops_in_forward_does_not_cut_workloads_of_cni() {
    in_fresh_netns(|| {
        let site = Site::new();
        let host = segment(1).pop().expect("a host");
        host.run("sysctl", &["-qw", "net.ipv4.ip_forward=0"]);
        let mut dockerd = Dockerd::prepare(&site, &host, 1);
        dockerd.launch();
        let forward = || host.run("iptables-nft", &["-S", "FORWARD"]);
        wait_for("dockerd's rules", SOON, || forward().contains("DOCKER-USER"));
        assert!(forward().starts_with("-P FORWARD DROP"), "{}", forward());

        let agent = Agent::start(&site, &host, 1, "iptables: {backend: nft}");
        agent.apply(CLUSTER);
        let blue = attach(&agent, "blue", "blue", json!({}));
        let also = attach(&agent, "also", "blue", json!({}));
        let green = attach(&agent, "green", "green", json!({}));
        blue.reaches(&also.ipv4);
        host.run("iptables-nft", &["-I", "DOCKER-USER", "-j", "DROP"]);
        assert!(blue.pings(&also.ipv4), "what users deny to Docker's networks is not said of ours");
        assert!(!green.pings(&blue.ipv4));

        let repairs = || agent.plane("iptables")["repairs"].as_u64().expect("a number");
        let is_first = || forward().lines().nth(1).is_some_and(|rule| rule.contains("-j rn-FORWARD"));
        let before = repairs();
        // It puts the rules of a network of its own before all others.
        dockerd.docker(&["network", "create", "theirs"]);
        wait_for("our hook to be first again", SOON, || is_first() && repairs() > before);
        dockerd.stop();
        dockerd.launch();
        wait_for("our hook to be first after a restart", SOON, is_first);
        assert!(forward().contains("-A FORWARD -j DOCKER-USER") && forward().contains("-j DOCKER\n"), "{}", forward());
        assert!(blue.pings(&also.ipv4));
        assert!(!green.pings(&blue.ipv4));
        let problems = agent.problems();
        assert!(problems.iter().all(|problem| problem["part"] != "neighbours"), "nothing to tell: {problems:?}");
    });
}
