//! Until Docker has said who a container is, nothing of it passes.

use std::time::Duration;

use crate::dockerd::{Dockerd, IMAGE, docker_config};
use crate::fixture::{Agent, Site};
use crate::networks::{Host, create, hosts};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for};

const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: quarantine}
spec:
  selector: app == 'suspect'
  types: [Ingress, Egress]
";

/// How many packets from the address have come to the host.
fn packets(host: &Namespace, from: &str) -> u64 {
    let listed = host.run("iptables", &["-t", "raw", "-nvxL", "PREROUTING"]);
    let line = listed.lines().find(|line| line.contains(from)).unwrap_or_else(|| panic!("no counter:\n{listed}"));
    line.split_whitespace().next().and_then(|count| count.parse().ok()).expect("a count")
}

#[test]
fn no_packet_of_a_container_that_is_to_be_denied_ever_passes() {
    hosts(2, |_, hosts| {
        let (one, two) = (&hosts[0], &hosts[1]);
        hosts.iter().for_each(|host| create(host, "blue", "10.9.0.0/16"));
        one.agent.apply(POLICY);
        let target = two.docker.run("target", "blue", &[]);
        let at = target.address("blue");
        let flood = format!("while true; do /bin/ping -c 5 -A -W 1 {at}; done");
        for (name, address, label) in [("suspect", "10.9.200.1", "app=suspect"), ("plain", "10.9.200.2", "app=plain")] {
            two.namespace.run("iptables", &["-t", "raw", "-I", "PREROUTING", "-s", address]);
            let run = ["run", "-d", "--name", name, "--network", "blue", "--ip", address, "--label", label];
            one.docker.docker(&[run.as_slice(), &[IMAGE, "/bin/sh", "-c", &flood]].concat());
        }
        wait_for("packets of the one that may", Duration::from_secs(15), || packets(&two.namespace, "10.9.200.2") > 20);
        for _ in 0..3 {
            one.docker.docker(&["restart", "-t", "0", "suspect"]);
        }
        assert_eq!(packets(&two.namespace, "10.9.200.1"), 0);
    });
}

#[test]
fn a_docker_that_cannot_be_asked_keeps_its_containers_closed_and_status_says_so() {
    in_fresh_netns(|| {
        let site = Site::new();
        let namespace = segment(1).pop().expect("a host");
        let elsewhere = site.path("elsewhere.sock");
        let config = docker_config(&site, 1).replace("docker-h1.sock", "elsewhere.sock");
        let agent = Agent::start(&site, &namespace, 1, &config);
        let host = Host { docker: Dockerd::start(&site, &namespace, 1), agent, namespace };
        create(&host, "blue", "10.9.0.0/16");
        let a = host.docker.run("one", "blue", &[]);
        let b = host.docker.run("two", "blue", &[]);
        let at = b.address("blue");
        wait_for("the status to say so", Duration::from_secs(15), || {
            host.agent.routectl(&["status"]).stdout.contains("elsewhere.sock")
        });
        assert!(!a.pings(&at), "both are closed");
        std::os::unix::fs::symlink(site.path("docker-h1.sock"), &elsewhere).expect("a link");
        a.reaches(&at);
        wait_for("the status to be well", Duration::from_secs(15), || host.agent.routectl(&["status"]).exit == 0);
    });
}

#[test]
fn an_address_of_another_a_moment_ago_opens_when_nobody_can_take_its_holder_for_that_one() {
    in_fresh_netns(|| {
        let site = Site::new();
        let namespace = segment(1).pop().expect("a host");
        let more = format!("{}\nworkloads: {{addressCooldown: 6}}", docker_config(&site, 1));
        let agent = Agent::start(&site, &namespace, 1, &more);
        let host = Host { docker: Dockerd::start(&site, &namespace, 1), agent, namespace };
        create(&host, "blue", "10.9.0.0/16");
        let watcher = host.docker.run("watcher", "blue", &[]);
        let run = |name: &str, label: &str| {
            host.docker.run(name, "blue", &["--ip", "10.9.0.50", "--label", label]);
        };
        run("first", "app=a");
        watcher.reaches("10.9.0.50");
        host.docker.docker(&["rm", "-f", "first"]);
        run("same", "app=a");
        let begun = std::time::Instant::now();
        watcher.reaches("10.9.0.50");
        assert!(begun.elapsed() < Duration::from_secs(4), "equal labels, equal rights");
        host.docker.docker(&["rm", "-f", "same"]);
        run("other", "app=b");
        assert!(!watcher.pings("10.9.0.50"), "somebody else, and too soon");
        watcher.reaches("10.9.0.50");
    });
}
