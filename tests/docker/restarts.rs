//! Restarts and sudden ends of dockerd and of the agent: what runs goes on, nothing is orphaned, nothing is held twice.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::dockerd::{Dockerd, IMAGE, docker_config, endpoints};
use crate::fixture::{Agent, Site};
use crate::networks::{create, hosts};
use crate::proxy::{Moment, Proxy};
use crate::support::hosts::segment;
use crate::support::{in_fresh_netns, wait_for};

#[test]
fn a_restart_of_dockerd_or_of_the_agent_changes_nothing() {
    hosts(1, |_, mut hosts| {
        let mut host = hosts.pop().expect("a host");
        create(&host, "blue", "10.9.0.0/16");
        let at = host.docker.run("one", "blue", &["--ip", "10.9.0.9", "-p", "8080:80"]).address("blue");
        host.docker.run("two", "blue", &[]).reaches(&at);
        let links = |host: &crate::networks::Host| host.namespace.run("ip", &["-o", "link"]);
        let before = links(&host);

        host.docker.stop();
        host.docker.launch();
        host.docker.container("two").reaches(&at);
        host.agent.terminate();
        assert!(host.docker.container("two").pings(&at), "the agent is away");
        host.agent.launch(&host.namespace);
        host.docker.container("two").reaches(&at);
        host.agent.kill();
        assert!(host.docker.container("two").pings(&at), "the agent is dead");
        host.agent.launch(&host.namespace);
        assert_eq!(links(&host), before);
        assert_eq!(endpoints(&host.agent, 1).len(), 2);
        assert!(host.namespace.run("iptables-save", &["-t", "nat"]).contains("--dport 8080"), "still published");

        host.docker.docker(&["restart", "-t", "0", "one"]);
        host.docker.container("two").reaches(&at);
        host.docker.docker(&["rm", "-f", "one", "two"]);
        host.docker.docker(&["network", "rm", "blue"]);
        assert!(endpoints(&host.agent, 1).is_empty());
        wait_for("no link", Duration::from_secs(10), || !links(&host).contains("rnw"));
    });
}

#[test]
fn an_agent_that_is_killed_within_a_call_leaves_nothing_behind() {
    in_fresh_netns(|| {
        let site = Site::new();
        let namespace = Arc::new(segment(1).pop().expect("a host"));
        let plugins = site.path("plugins-h1");
        std::fs::create_dir_all(&plugins).expect("a folder");
        let config = docker_config(&site, 1).replace("plugins-h1/routenet.sock", "driver.sock");
        let agent = Arc::new(Mutex::new(Agent::start(&site, &namespace, 1, &config)));
        let proxy = Proxy::start(&plugins.join("routenet.sock"), site.path("driver.sock"));
        let docker = Dockerd::start(&site, &namespace, 1);
        let network =
            ["network", "create", "-d", "routenet", "--ipam-driver", "routenet", "--subnet", "10.9.0.0/16", "blue"];
        docker.docker(&network);
        let other = docker.run("other", "blue", &[]);
        for method in ["RequestAddress", "CreateEndpoint", "Join", "Leave", "DeleteEndpoint", "ReleaseAddress"] {
            // Between the commits of one call, as near as one gets from outside.
            let within = [200, 600, 1200].map(|micros| Moment::Within(Duration::from_micros(micros)));
            let within = within.into_iter().filter(|_| ["RequestAddress", "Join"].contains(&method));
            for moment in [Moment::Before, Moment::After].into_iter().chain(within) {
                let (dying, host) = (agent.clone(), namespace.clone());
                proxy.interrupt(method, moment, move || {
                    let mut agent = dying.lock().expect("the agent");
                    agent.kill();
                    agent.launch(&host);
                });
                let run = [
                    "run",
                    "-d",
                    "--name",
                    "victim",
                    "--network",
                    "blue",
                    "--ip",
                    "10.9.0.50",
                    IMAGE,
                    "/bin/sleep",
                    "600",
                ];
                let first = docker.try_docker(&run);
                docker.try_docker(&["rm", "-f", "victim"]);
                assert!(proxy.has_acted(), "{method} was never called: {}", String::from_utf8_lossy(&first.stderr));
                // The same again, to its end.
                docker.docker(&run);
                other.reaches("10.9.0.50");
                docker.docker(&["rm", "-f", "victim"]);
            }
        }
        docker.docker(&["rm", "-f", "other"]);
        let agent = agent.lock().expect("the agent");
        wait_for("every endpoint to be gone", Duration::from_secs(60), || endpoints(&agent, 1).is_empty());
        wait_for("no link", Duration::from_secs(10), || !namespace.run("ip", &["-o", "link"]).contains("rn"));
        docker.docker(&["network", "rm", "blue"]);
        wait_for("no address to be held", Duration::from_secs(60), || {
            let check = agent.routectl(&["ipam", "check"]).stdout;
            let shown = agent.routectl(&["ipam", "show", "-o", "json"]).json();
            let held = |block: &serde_json::Value| block["allocated"].as_u64().unwrap_or(0);
            let held: u64 = shown["blocks"].as_array().into_iter().flatten().map(held).sum();
            check.contains("were looked at") && !check.contains("is held for") && held == 0
        });
    });
}

#[test]
fn what_docker_drops_while_the_agent_is_dead_is_collected() {
    hosts(1, |_, mut hosts| {
        let mut host = hosts.pop().expect("a host");
        create(&host, "blue", "10.9.0.0/16");
        host.docker.run("lost", "blue", &["--ip", "10.9.0.9"]);
        host.agent.kill();
        // Docker gives up after a while and forgets the endpoint.
        host.docker.docker(&["rm", "-f", "lost"]);
        host.agent.launch(&host.namespace);
        host.docker.run("next", "blue", &[]);
        wait_for("the endpoint to be collected", Duration::from_secs(60), || endpoints(&host.agent, 1).len() == 1);
        host.docker.docker(&["rm", "-f", "next"]);
        let again = host.docker.run("again", "blue", &["--ip", "10.9.0.9"]);
        assert_eq!(again.address("blue"), "10.9.0.9");
    });
}

#[test]
fn dockerd_starts_without_the_agent_and_works_once_it_is_there() {
    hosts(1, |_, mut hosts| {
        let mut host = hosts.pop().expect("a host");
        create(&host, "blue", "10.9.0.0/16");
        let at = host.docker.run("stays", "blue", &[]).address("blue");
        host.docker.stop();
        host.agent.kill();
        host.docker.launch();
        let refused = host.docker.refuses(&["run", "--rm", "--network", "blue", IMAGE, "/bin/sleep", "1"]);
        assert!(refused.contains("routenet"), "{refused}");
        host.agent.launch(&host.namespace);
        host.docker.run("next", "blue", &[]).reaches(&at);
    });
}
