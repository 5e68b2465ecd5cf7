//! Workloads that no runtime makes: a WorkloadEndpoint says whose an interface is that somebody made; it is routed,
//! announced and governed as any other workload, and closed before.

use std::time::Duration;

use serde_json::json;

use crate::fixture::{attach, two_hosts};
use crate::support::hosts::Namespace;
use crate::support::wait_for;

const POOL: &str = "
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: by-hand}
spec: {cidr: 10.77.0.0/24, disabled: true}
";

const MACHINE: &str = "
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: machine, namespace: default, labels: {app: machine}}
spec: {node: h1, network: blue, interfaceName: rnw-vm1, ipNetworks: [10.77.0.9/32]}
";

const POLICY: &str = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: machine}
spec:
  selector: app == 'machine'
  types: [Ingress]
  ingress: [{action: Allow, source: {selector: app == 'web'}}]
";

/// What stands for a virtual machine on `host`: its interface there is `rnw-vm1`.
fn machine(host: &Namespace) -> Namespace {
    let machine = Namespace::new();
    let pid = machine.pid().to_string();
    host.run("ip", &["link", "add", "rnw-vm1", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
    host.run("ip", &["address", "add", "169.254.1.1/32", "dev", "rnw-vm1"]);
    host.run("ip", &["link", "set", "rnw-vm1", "up"]);
    for words in [
        "link set eth0 up",
        "address add 10.77.0.9/32 dev eth0",
        "route add 169.254.1.1 dev eth0",
        "route add default via 169.254.1.1",
    ] {
        machine.run("ip", &words.split(' ').collect::<Vec<_>>());
    }
    machine
}

#[test]
fn a_workload_that_no_runtime_makes_is_routed_announced_and_governed() {
    two_hosts(|hosts, mut one, two| {
        let web = attach(&two, "web", "blue", json!({"app": "web"}));
        let other = attach(&two, "other", "blue", json!({"app": "other"}));
        let machine = machine(&hosts[0]);
        let pings = |address: &str| machine.succeeds("ping", &["-n", "-c", "1", "-W", "1", address]);
        assert!(!pings(&web.ipv4), "nobody knows it");

        let said = one.try_apply(MACHINE);
        assert!(said.exit == 1 && said.stderr.contains("10.77.0.9 lies in no pool"), "{said:?}");
        one.apply(POOL);
        one.apply(MACHINE);
        web.reaches("10.77.0.9");
        other.reaches("10.77.0.9");
        assert!(pings(&web.ipv4));
        let route = hosts[1].run("ip", &["route", "get", "10.77.0.9"]);
        assert!(route.contains("via 192.0.2.1"), "{route}");
        let said = two.routectl(&["explain", "default/web", "default/machine", "tcp/80"]);
        assert!(said.exit == 0, "{said:?}");

        one.apply(POLICY);
        wait_for("the policy", Duration::from_secs(10), || !other.pings("10.77.0.9"));
        assert!(web.pings("10.77.0.9"));
        one.kill();
        assert!(web.pings("10.77.0.9") && !other.pings("10.77.0.9"), "while nobody works");
        one.launch(&hosts[0]);
        wait_for("the agent", Duration::from_secs(30), || one.routectl(&["status"]).stdout.contains("h2"));
        assert!(web.pings("10.77.0.9") && !other.pings("10.77.0.9"), "and behind the start");

        let listed = one.routectl(&["get", "wep", "-o", "wide"]).stdout;
        assert!(listed.contains("machine") && listed.contains("rnw-vm1"), "{listed}");
        assert!(listed.contains("h2-web-eth0"), "runtimes' are read, too: {listed}");
        assert!(!one.routectl(&["get", "all"]).stdout.contains("h2-web-eth0"), "but are no objects");
        let endpoints = one.routectl(&["get", "wep", "machine", "-o", "yaml"]).stdout;
        assert_eq!(one.try_apply(&endpoints).stdout, "WorkloadEndpoint default/machine unchanged\n");
        assert_eq!(one.routectl(&["ipam", "check"]).exit, 0);

        // Somebody else's address, one of a pool, an interface that no rule knows.
        let refused = |from: &str, to: &str, why: &str| {
            let said = one.try_apply(&MACHINE.replace(from, to));
            assert!(said.exit == 1 && said.stderr.contains(why), "{said:?}");
        };
        refused("10.77.0.9/32", &web.ipv4, "which a runtime made");
        refused("10.77.0.9/32", "10.65.200.9", "lies in pool blue4");
        refused("10.77.0.9/32", "10.77.0.0/24", "more than one address");
        refused("rnw-vm1", "tap0", "ip link set dev tap0 name rnw-NAME");
        refused("rnw-vm1", "rnw0123456789a", "could make");
        refused("name: machine", "name: twin", "is that of WorkloadEndpoint default/");

        // It goes to another node: the first one knows it no more.
        let local = || hosts[0].run("ip", &["route"]).contains("10.77.0.9 dev rnw-vm1");
        assert!(local());
        one.apply(&MACHINE.replace("node: h1", "node: h2"));
        wait_for("its route on h1 to go", Duration::from_secs(10), || !local());
        one.apply(MACHINE);
        wait_for("it to be back", Duration::from_secs(10), || web.pings("10.77.0.9"));

        assert_eq!(two.routectl(&["delete", "wep", "machine"]).exit, 0);
        wait_for("it to be closed", Duration::from_secs(10), || !web.pings("10.77.0.9"));
        assert!(!pings(&web.ipv4));
        let gone = || !hosts[1].run("ip", &["route"]).contains("10.77.0.9");
        wait_for("its route to go", Duration::from_secs(10), gone);
        assert!(hosts[0].run("ip", &["link", "show", "rnw-vm1"]).contains("rnw-vm1"), "its interface is not ours");
    });
}
