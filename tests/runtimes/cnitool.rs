//! The CNI project's own client, `cnitool`: the only one that calls STATUS, and GC as far as it does: it sends a DEL for each
//! attachment that it knows, then a GC without a list. Needs Go to be installed, so it runs by `make test-cnitool` only.

use std::process::Output;

use serde_json::{Value, json};

use crate::fixture::{Agent, plugin, two_hosts};
use crate::podman::in_private_mounts;
use crate::support::hosts::Namespace;

struct Tool<'a> {
    host: &'a Namespace,
    configurations: tempfile::TempDir,
    path: String,
}

impl<'a> Tool<'a> {
    fn new(host: &'a Namespace, agent: &Agent) -> Tool<'a> {
        let configurations = tempfile::tempdir().expect("a folder");
        let list =
            json!({"cniVersion": "1.1.0", "name": "blue", "plugins": [{"type": "routenet", "socket": agent.socket}]});
        std::fs::write(configurations.path().join("blue.conflist"), list.to_string()).expect("a file");
        let path = std::env::var("CNITOOL").expect("CNITOOL, the path of cnitool: run `make test-cnitool`");
        Tool { host, configurations, path }
    }

    fn call(&self, verb: &str, namespace: &str) -> Output {
        let plugins = plugin();
        let mut command = self.host.command(&self.path);
        command.env("NETCONFPATH", self.configurations.path());
        command.env("CNI_PATH", plugins.parent().expect("a folder"));
        command.args([verb, "blue", namespace]).output().expect("cnitool")
    }

    fn good(&self, verb: &str, namespace: &str) -> String {
        let output = self.call(verb, namespace);
        assert!(output.status.success(), "cnitool {verb}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn bad(&self, verb: &str, namespace: &str) -> String {
        let output = self.call(verb, namespace);
        assert!(!output.status.success(), "cnitool {verb} succeeded");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

fn endpoints(agent: &Agent) -> usize {
    agent.routectl(&["endpoints", "-o", "json"]).json().as_array().map_or(0, Vec::len)
}

#[test]
#[ignore = "needs Go: make test-cnitool"]
fn add_check_del_gc_and_status() {
    two_hosts(|hosts, mut one, two| {
        in_private_mounts();
        let tool = Tool::new(&hosts[0], &one);
        let far = crate::fixture::attach(&two, "far", "blue", json!({}));
        let workload = Namespace::new();
        tool.good("status", &workload.path());
        let result: Value = serde_json::from_str(&tool.good("add", &workload.path())).expect("a result in JSON");
        assert_eq!(result["cniVersion"], "1.1.0");
        let address = result["ips"][0]["address"].as_str().and_then(|cidr| cidr.split('/').next()).expect("an address");
        far.reaches(address);
        tool.good("check", &workload.path());
        workload.run("ip", &["route", "del", "default"]);
        assert!(tool.bad("check", &workload.path()).contains("default route"));
        tool.good("del", &workload.path());
        tool.good("del", &workload.path());
        assert!(!far.pings(address));

        // cnitool knows the dead one from its cache, and sends the DEL; our GC is answered, and takes nothing by itself.
        let before = endpoints(&one);
        let dead = Namespace::new();
        tool.good("add", &dead.path());
        assert_eq!(endpoints(&one), before + 1);
        let path = dead.path();
        drop(dead);
        tool.good("gc", &path);
        assert_eq!(endpoints(&one), before);

        one.kill();
        assert!(tool.bad("status", &workload.path()).contains("nobody listens on it"));
    });
}
