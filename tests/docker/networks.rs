//! Containers on two hosts, networks that are apart, policy by containers' labels.

use std::time::Duration;

use crate::dockerd::{Dockerd, docker_config, endpoints};
use crate::fixture::{Agent, Site};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for};

/// A host with its agent and its dockerd.
pub struct Host {
    pub docker: Dockerd,
    pub agent: Agent,
    pub namespace: Namespace,
}

pub fn hosts(count: usize, test: impl FnOnce(&Site, Vec<Host>) + Send + 'static) {
    in_fresh_netns(move || {
        let site = Site::new();
        let start = |(index, namespace): (usize, Namespace)| {
            let number = index + 1;
            let agent = Agent::start(&site, &namespace, number, &docker_config(&site, number));
            Host { docker: Dockerd::start(&site, &namespace, number), agent, namespace }
        };
        let hosts = segment(count).into_iter().enumerate().map(start).collect();
        test(&site, hosts);
    });
}

pub fn create(host: &Host, name: &str, subnet: &str) {
    host.docker.docker(&["network", "create", "-d", "routenet", "--ipam-driver", "routenet", "--subnet", subnet, name]);
}

const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: db-from-web}
spec:
  selector: app == 'db'
  ingress:
  - {action: Allow, source: {selector: app == 'web'}}
";

#[test]
fn containers_of_two_hosts_meet_networks_are_apart_and_labels_decide() {
    hosts(2, |_, hosts| {
        let (one, two) = (&hosts[0], &hosts[1]);
        for host in &hosts {
            create(host, "blue", "10.9.0.0/16");
            create(host, "red", "10.10.0.0/16");
        }
        one.agent.apply(POLICY);
        let db = two.docker.run("db", "blue", &["--label", "app=db"]);
        let web = one.docker.run("web", "blue", &["--label", "app=web"]);
        let other = one.docker.run("other", "blue", &[]);
        let red = two.docker.run("red", "red", &[]);
        let at = db.address("blue");
        assert!(at.starts_with("10.9."), "{at}");
        web.reaches(&at);
        assert!(!other.pings(&at), "the policy lets only app=web in");
        db.reaches(&other.address("blue"));
        let red_at = red.address("red");
        assert!(red_at.starts_with("10.10."), "{red_at}");
        assert!(!other.pings(&red_at) && !db.pings(&red_at), "two networks are apart");

        let known = endpoints(&two.agent, 2);
        let names: Vec<&str> = known.iter().filter_map(|line| line["name"].as_str()).collect();
        assert!(names.iter().any(|name| name.ends_with("db")), "{known:?}");

        let route = one.namespace.run("ip", &["route", "get", &at]);
        assert!(route.contains("via 192.0.2.2"), "{route}");

        for host in &hosts {
            let running = host.docker.docker(&["ps", "-q"]);
            host.docker.docker(&[&["rm", "-f"], running.split_whitespace().collect::<Vec<_>>().as_slice()].concat());
            host.docker.docker(&["network", "rm", "blue", "red"]);
        }
        for (number, host) in [(1, one), (2, two)] {
            assert!(endpoints(&host.agent, number).is_empty(), "no endpoint is left");
        }
        let left = one.agent.routectl(&["get", "all", "-o", "json"]);
        wait_for("no link", Duration::from_secs(10), || !two.namespace.run("ip", &["-o", "link"]).contains("rnw"));
        assert_eq!(left.exit, 0, "{}", left.stderr);
        assert!(!left.stdout.contains("10.9."), "what Docker made is gone with its last user: {}", left.stdout);
    });
}
