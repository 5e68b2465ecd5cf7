//! Restarts and sudden ends of dockerd and of the agent: what runs goes on, nothing is orphaned, nothing is held twice.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::dockerd::{Dockerd, IMAGE, docker_config, endpoints};
use crate::fixture::{Agent, Site};
use crate::networks::{Host, create, hosts};
use crate::ports::fetched;
use crate::proxy::{Call, Moment, Proxy};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for};

#[test]
fn a_restart_of_dockerd_or_of_the_agent_changes_nothing() {
    hosts(1, |_, mut hosts| {
        let mut host = hosts.pop().expect("a host");
        create(&host, "blue", "10.9.0.0/16");
        let run = ["run", "-d", "--name", "one", "--network", "blue", "--ip", "10.9.0.9", "-p", "8080:80", IMAGE];
        host.docker.docker(&[run.as_slice(), &["/bin/httpd", "-f", "-p", "80", "-h", "/bin"]].concat());
        let at = host.docker.container("one").address("blue");
        let published = |host: &Host, when: &str| {
            wait_for(&format!("an answer at the published port {when}"), Duration::from_secs(10), || {
                ["127.0.0.1:8080", "192.0.2.1:8080"].iter().all(|at| fetched(&host.namespace, at))
            });
        };
        published(&host, "at first");
        host.docker.run("two", "blue", &[]).reaches(&at);
        let links = |host: &Host| host.namespace.run("ip", &["-o", "link"]);
        let before = links(&host);

        host.docker.stop();
        host.docker.launch();
        host.docker.container("two").reaches(&at);
        published(&host, "after a restart of dockerd");
        host.agent.terminate();
        assert!(host.docker.container("two").pings(&at), "the agent is away");
        host.agent.launch(&host.namespace);
        host.docker.container("two").reaches(&at);
        host.agent.kill();
        assert!(host.docker.container("two").pings(&at), "the agent is dead");
        assert!(fetched(&host.namespace, "127.0.0.1:8080"), "and the port is published");
        host.agent.launch(&host.namespace);
        assert_eq!(links(&host), before);
        assert_eq!(endpoints(&host.agent, 1).len(), 2);
        published(&host, "after restarts of the agent");

        host.docker.docker(&["restart", "-t", "0", "one"]);
        host.docker.container("two").reaches(&at);
        published(&host, "after a restart of the container");
        host.docker.docker(&["rm", "-f", "one", "two"]);
        host.docker.docker(&["network", "rm", "blue"]);
        assert!(endpoints(&host.agent, 1).is_empty());
        wait_for("no link", Duration::from_secs(10), || !links(&host).contains("rnw"));
    });
}

/// Calls that have no body by themselves.
const BARE: [&str; 3] = ["Plugin.Activate", "GetCapabilities", "GetDefaultAddressSpaces"];
/// An address or pool that Docker never used is released after a minute, at the next look.
const COLLECTED: Duration = Duration::from_secs(120);

/// How the agent ends in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    Terminated,
}

/// A host whose agent ends in the middle of calls.
struct Mortal {
    docker: Dockerd,
    proxy: Proxy,
    agent: Arc<Mutex<Agent>>,
    namespace: Arc<Namespace>,
    random: Cell<u64>,
    _site: Site,
}

impl Mortal {
    fn start() -> Mortal {
        let site = Site::new();
        let namespace = Arc::new(segment(1).pop().expect("a host"));
        let plugins = site.path("plugins-h1");
        std::fs::create_dir_all(&plugins).expect("a folder");
        let config = docker_config(&site, 1).replace("plugins-h1/routenet.sock", "driver.sock");
        let agent = Arc::new(Mutex::new(Agent::start(&site, &namespace, 1, &config)));
        let proxy = Proxy::start(&plugins.join("routenet.sock"), site.path("driver.sock"));
        let docker = Dockerd::start(&site, &namespace, 1);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(since.as_secs());
        println!("SEED={seed}");
        Mortal { docker, proxy, agent, namespace, random: Cell::new(seed | 1), _site: site }
    }

    /// Within a call, up to 20 ms after it was sent.
    fn during(&self) -> Moment {
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        Moment::During(Duration::from_micros(random % 20_000))
    }

    /// Runs `first`, in which `method` is called and the agent dies at the moment.
    fn killed_in(&self, method: &str, moment: Moment, first: impl FnOnce(&Dockerd)) {
        self.ended_in(End::Killed, method, moment, first);
    }

    /// The same with an end of either kind, after which the agent is started again.
    fn ended_in(&self, end: End, method: &str, moment: Moment, first: impl FnOnce(&Dockerd)) {
        println!("{method}: {moment:?}, {end:?}");
        let (dying, host) = (self.agent.clone(), self.namespace.clone());
        self.proxy.calls();
        self.proxy.interrupt(method, moment, move || {
            let mut agent = dying.lock().expect("the agent");
            match end {
                End::Killed => agent.kill(),
                End::Terminated => assert!(agent.terminate().success(), "it ends as it should"),
            }
            agent.launch(&host);
        });
        first(&self.docker);
        assert!(self.proxy.has_acted(), "{method} was never called");
        let calls = self.proxy.calls();
        let lost = calls.iter().position(|call| call.method.ends_with(method) && call.status.is_none());
        let lost = lost.unwrap_or_else(|| panic!("{method} was not interrupted: {calls:?}"));
        // Docker repeats the call, without what it had said.
        let again = calls[lost + 1..].iter().find(|call| call.method.ends_with(method) && call.body == 0);
        assert!(again.is_some(), "{method} was not repeated: {calls:?}");
        let empty = |call: &&Call| call.body == 0 && !BARE.iter().any(|bare| call.method.ends_with(bare));
        for call in calls.iter().filter(empty) {
            assert!([None, Some(400)].contains(&call.status), "what says nothing is refused: {calls:?}");
        }
        assert!(calls.iter().filter(empty).any(|call| call.status == Some(400)), "the repetition came: {calls:?}");
    }

    /// Waits until the agent holds no address, for whomever, and all fits together.
    fn holds_nothing(&self) {
        let agent = self.agent.lock().expect("the agent");
        wait_for("routectl ipam show: nothing held", COLLECTED, || {
            let shown = agent.routectl(&["ipam", "show", "-o", "json"]).json();
            let blocks = shown["blocks"].as_array().cloned().unwrap_or_else(|| panic!("no blocks: {shown}"));
            blocks.iter().map(|block| block["allocated"].as_u64().expect("a count")).sum::<u64>() == 0
        });
        wait_for("routectl ipam check: all fits", COLLECTED, || agent.routectl(&["ipam", "check"]).exit == 0);
    }
}

const NETWORK: [&str; 8] =
    ["network", "create", "-d", "routenet", "--ipam-driver", "routenet", "--subnet", "10.9.0.0/16"];

#[test]
fn an_agent_that_is_killed_within_a_call_of_a_container_leaves_nothing_behind() {
    in_fresh_netns(|| {
        let host = Mortal::start();
        let docker = &host.docker;
        docker.docker(&[NETWORK.as_slice(), &["blue"]].concat());
        let other = docker.run("other", "blue", &[]);
        let methods = ["RequestAddress", "CreateEndpoint", "Join", "Leave", "DeleteEndpoint", "ReleaseAddress"];
        for flags in [&["--ip", "10.9.0.50"][..], &[]] {
            let run = [&["run", "-d", "--name", "victim", "--network", "blue"], flags, &[IMAGE, "/bin/sleep", "600"]];
            let run = run.concat();
            for method in methods {
                // Between the commits of one call, as near as one gets from outside.
                let soon = [200, 600, 1200].map(|micros| Moment::During(Duration::from_micros(micros)));
                let soon = soon.into_iter().filter(|_| ["RequestAddress", "Join"].contains(&method));
                let moments = [Moment::Before, host.during(), Moment::After].into_iter().chain(soon);
                // Without --ip Docker asks for another address next time, and does not meet what a dead call left.
                for moment in moments.filter(|moment| !flags.is_empty() || *moment != Moment::Before) {
                    host.killed_in(method, moment, |docker| {
                        docker.try_docker(&run);
                        docker.try_docker(&["rm", "-f", "victim"]);
                    });
                    // The same again, to its end.
                    docker.docker(&run);
                    other.reaches(&docker.container("victim").address("blue"));
                    docker.docker(&["rm", "-f", "victim"]);
                }
            }
        }
        docker.docker(&["rm", "-f", "other"]);
        wait_for("every endpoint to be gone", COLLECTED, || endpoints(&host.agent.lock().expect("it"), 1).is_empty());
        wait_for("no link", Duration::from_secs(10), || !host.namespace.run("ip", &["-o", "link"]).contains("rn"));
        host.holds_nothing();
        docker.docker(&["network", "rm", "blue"]);
    });
}

#[test]
fn an_agent_that_is_restarted_within_a_call_of_a_container_leaves_nothing_behind() {
    in_fresh_netns(|| {
        let host = Mortal::start();
        let docker = &host.docker;
        docker.docker(&[NETWORK.as_slice(), &["blue"]].concat());
        let other = docker.run("other", "blue", &[]);
        let run =
            ["run", "-d", "--name", "victim", "--network", "blue", "--ip", "10.9.0.50", IMAGE, "/bin/sleep", "600"];
        for method in ["CreateEndpoint", "Join"] {
            for moment in [Moment::During(Duration::from_micros(600)), host.during()] {
                host.ended_in(End::Terminated, method, moment, |docker| {
                    docker.try_docker(&run);
                    docker.try_docker(&["rm", "-f", "victim"]);
                });
                docker.docker(&run);
                let victim = docker.container("victim").address("blue");
                assert_eq!(victim, "10.9.0.50");
                other.reaches(&victim);
                docker.docker(&["rm", "-f", "victim"]);
            }
        }
        docker.docker(&["rm", "-f", "other"]);
        wait_for("every endpoint to be gone", COLLECTED, || endpoints(&host.agent.lock().expect("it"), 1).is_empty());
        wait_for("no link", Duration::from_secs(10), || !host.namespace.run("ip", &["-o", "link"]).contains("rn"));
        host.holds_nothing();
        docker.docker(&["network", "rm", "blue"]);
    });
}

#[test]
fn an_agent_that_is_killed_while_a_network_is_made_leaves_nothing_behind() {
    in_fresh_netns(|| {
        let host = Mortal::start();
        let docker = &host.docker;
        let create = [NETWORK.as_slice(), &["blue"]].concat();
        for method in ["RequestPool", "CreateNetwork"] {
            for moment in [Moment::Before, host.during(), host.during(), Moment::After] {
                host.killed_in(method, moment, |docker| {
                    docker.try_docker(&create);
                    docker.try_docker(&["network", "rm", "blue"]);
                });
                docker.docker(&create);
                let (one, two) = (docker.run("one", "blue", &[]), docker.run("two", "blue", &[]));
                one.reaches(&two.address("blue"));
                docker.docker(&["rm", "-f", "one", "two"]);
                docker.docker(&["network", "rm", "blue"]);
            }
        }
        host.holds_nothing();
        wait_for("no pool and no network", COLLECTED, || {
            let left = host.agent.lock().expect("it").routectl(&["get", "all", "-o", "json"]);
            left.exit == 0 && !left.stdout.contains("10.9.")
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
