//! Docker's calls on an agent's own socket, without a dockerd: each as Docker repeats it, and those that ask for nothing.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::dockerd::docker_config;
use crate::errors::post;
use crate::fixture::{Agent, Site};
use crate::support::hosts::{Namespace, segment};
use crate::support::{in_fresh_netns, wait_for};

const SOON: Duration = Duration::from_secs(20);

/// A host whose driver is called by the test itself.
struct Called {
    socket: PathBuf,
    agent: Agent,
    host: Namespace,
    _site: Site,
}

impl Called {
    fn start() -> Called {
        let site = Site::new();
        let host = segment(1).pop().expect("a host");
        let agent = Agent::start(&site, &host, 1, &docker_config(&site, 1));
        let socket = site.path("plugins-h1/routenet.sock");
        // The file is there a moment before anybody listens.
        wait_for("the plugin's socket", SOON, || UnixStream::connect(&socket).is_ok());
        Called { socket, agent, host, _site: site }
    }

    /// HTTP's status, and the body.
    fn answer(&self, method: &str, body: &str) -> (u16, Value) {
        let answer = post(&self.socket, &format!("/{method}"), body);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method}: {answer}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{method}: {error}: {answer}"));
        (status.unwrap_or_else(|| panic!("{method}: {answer}")), body)
    }

    /// A call that must succeed.
    fn call(&self, method: &str, body: &Value) -> Value {
        let (status, answer) = self.answer(method, &body.to_string());
        assert_eq!(status, 200, "{method} {body}: {answer}");
        answer
    }

    /// The call, then as Docker repeats it: whole where the connection broke before it was sent, without a body where it
    /// broke later. Answers what the first said.
    fn repeated(&self, method: &str, body: &Value) -> Value {
        let first = self.call(method, body);
        let state = self.state();
        let (status, refusal) = self.answer(method, "");
        assert_eq!(status, 400, "{method} without a body: {refusal}");
        for field in ["Err", "Error"] {
            assert!(refusal[field].as_str().is_some_and(|said| said.contains("no body")), "{method}: {refusal}");
        }
        assert_eq!(self.state(), state, "{method} without a body changes nothing");
        assert_eq!(self.call(method, body), first, "{method} once more");
        assert_eq!(self.state(), state, "{method} once more changes nothing");
        first
    }

    /// What is held, known and in the kernel.
    fn state(&self) -> Vec<String> {
        let asked: [&[&str]; 3] =
            [&["ipam", "show", "-o", "json"], &["get", "all", "-o", "json"], &["endpoints", "-o", "json"]];
        let told = asked.into_iter().map(|args| {
            let output = self.agent.routectl(args);
            assert_eq!(output.exit, 0, "{args:?}: {output:?}");
            output.stdout
        });
        let kernel = [&["-o", "link"][..], &["route"], &["rule"]].map(|args| self.host.run("ip", args));
        told.chain(kernel).collect()
    }

    /// How many addresses the agent holds, for whomever.
    fn held(&self) -> u64 {
        let shown = self.agent.routectl(&["ipam", "show", "-o", "json"]).json();
        let blocks = shown["blocks"].as_array().cloned().unwrap_or_else(|| panic!("no blocks: {shown}"));
        blocks.iter().map(|block| block["allocated"].as_u64().expect("a count")).sum()
    }

    fn all_fits(&self) {
        let check = self.agent.routectl(&["ipam", "check"]);
        assert!(check.exit == 0 && check.stdout.starts_with("all fits together"), "{check:?}");
    }

    fn links(&self) -> usize {
        self.host.run("ip", &["-o", "link"]).lines().filter(|line| line.contains(": rnw")).count()
    }
}

#[test]
fn each_call_that_docker_repeats_is_answered_as_the_first_and_holds_nothing_twice() {
    in_fresh_netns(|| {
        let called = Called::start();
        let wanted = json!({"AddressSpace": "routenet-local", "Pool": "10.9.0.0/16", "SubPool": "", "Options": null,
            "V6": false});
        let pool = called.repeated("IpamDriver.RequestPool", &wanted)["PoolID"].clone();
        let network = json!({"NetworkID": "n1", "IPv4Data": [{"Pool": "10.9.0.0/16"}], "IPv6Data": [], "Options": {}});
        called.repeated("NetworkDriver.CreateNetwork", &network);
        let asked = json!({"PoolID": pool, "Address": "10.9.0.50", "Options": null});
        let given = called.repeated("IpamDriver.RequestAddress", &asked);
        assert_eq!(given["Address"], "10.9.0.50/32");
        assert_eq!(called.held(), 1);
        let create = json!({"NetworkID": "n1", "EndpointID": "e1", "Interface": {"Address": "10.9.0.50/32"}});
        called.repeated("NetworkDriver.CreateEndpoint", &create);
        let of = json!({"NetworkID": "n1", "EndpointID": "e1"});
        let join = json!({"NetworkID": "n1", "EndpointID": "e1", "SandboxKey": "/var/run/docker/netns/abc"});
        let joined = called.repeated("NetworkDriver.Join", &join);
        assert_eq!(joined["Gateway"], "169.254.1.1");
        let published = json!({"NetworkID": "n1", "EndpointID": "e1", "Options": {"com.docker.network.portmap":
            [{"Proto": 6, "Port": 80, "HostPort": 8080}]}});
        called.repeated("NetworkDriver.ProgramExternalConnectivity", &published);
        let info = called.repeated("NetworkDriver.EndpointOperInfo", &of);
        // Later than its own answer, too.
        called.repeated("NetworkDriver.CreateEndpoint", &create);
        assert_eq!(called.repeated("NetworkDriver.Join", &join), joined);
        assert_eq!(called.call("NetworkDriver.EndpointOperInfo", &of), info, "its link and its ports are known");
        assert_eq!((called.held(), called.links()), (1, 1));
        called.all_fits();

        called.repeated("NetworkDriver.RevokeExternalConnectivity", &of);
        called.repeated("NetworkDriver.Leave", &of);
        assert_eq!(called.links(), 0, "it is found by Leave, however often it was joined");
        called.repeated("NetworkDriver.DeleteEndpoint", &of);
        called.repeated("IpamDriver.ReleaseAddress", &json!({"PoolID": pool, "Address": "10.9.0.50"}));
        assert_eq!(called.held(), 0);
        called.all_fits();
        called.repeated("IpamDriver.ReleasePool", &json!({"PoolID": pool}));
        called.repeated("NetworkDriver.DeleteNetwork", &json!({"NetworkID": "n1"}));
        // The node keeps its block for a while, since an address in it rests.
        let left = called.agent.routectl(&["get", "all", "-o", "json"]);
        assert!(left.exit == 0 && !left.stdout.contains("10.9."), "nothing is left: {left:?}");
    });
}

#[test]
fn what_docker_discovers_is_taken_and_changes_nothing() {
    in_fresh_netns(|| {
        let called = Called::start();
        called.call("IpamDriver.RequestPool", &json!({"Pool": "10.9.0.0/16", "Options": null}));
        called.call("NetworkDriver.CreateNetwork", &json!({"NetworkID": "n1", "IPv4Data": [{"Pool": "10.9.0.0/16"}]}));
        let before = called.state();
        assert!(before.concat().contains("10.9.0.0/16"), "there is something that could change: {before:?}");
        for method in ["NetworkDriver.DiscoverNew", "NetworkDriver.DiscoverDelete"] {
            // A node, this one and another, and the keys of Docker's own overlay.
            for data in [
                json!({"DiscoveryType": 1, "DiscoveryData": {"Address": "192.0.2.1", "BindAddress": "192.0.2.1", "Self": true}}),
                json!({"DiscoveryType": 1, "DiscoveryData": {"Address": "192.0.2.9", "BindAddress": "", "Self": false}}),
                json!({"DiscoveryType": 3, "DiscoveryData": {"Keys": ["a2V5"], "Tags": [1]}}),
            ] {
                assert_eq!(called.call(method, &data), json!({}), "{method} {data}");
            }
        }
        assert_eq!(called.state(), before);
        let (status, refusal) = called.answer("NetworkDriver.DiscoverAll", "{}");
        assert_eq!(status, 404, "what is no call of Docker's is refused: {refusal}");
    });
}
