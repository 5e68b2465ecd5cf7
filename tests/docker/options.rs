//! What `docker network create` may say about a network, with a real dockerd.

use crate::dockerd::endpoints;
use crate::networks::{create, hosts};

const APPLIED: &str = "
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: team4}
spec: {cidr: 10.66.0.0/16}
---
apiVersion: routenet/v1
kind: Network
metadata: {name: team}
spec: {pools: [team4]}
---
apiVersion: routenet/v1
kind: Network
metadata: {name: guests}
spec: {pools: [team4]}
";

const CREATE: [&str; 6] = ["network", "create", "-d", "routenet", "--ipam-driver", "routenet"];

#[test]
fn a_network_that_was_applied_is_used_by_name_and_stays() {
    hosts(1, |_, hosts| {
        let host = &hosts[0];
        let docker = |args: &[&str]| host.docker.docker(&[CREATE.as_slice(), args].concat());
        host.agent.apply(APPLIED);
        let networks = || {
            let all = endpoints(&host.agent, 1);
            let mut all: Vec<String> = all.iter().filter_map(|line| Some(line["network"].as_str()?.into())).collect();
            all.sort();
            all
        };
        let ambiguous = [CREATE.as_slice(), &["--subnet", "10.66.0.0/16", "which"]].concat();
        let refused = host.docker.refuses(&ambiguous);
        assert!(refused.contains("`guests` and `team`") && refused.contains("-o routenet.network=NAME"), "{refused}");

        docker(&["--subnet", "10.66.0.0/16", "-o", "routenet.network=team", "by-name"]);
        let one = host.docker.run("one", "by-name", &[]);
        assert!(one.address("by-name").starts_with("10.66."));
        let two = host.docker.run("two", "by-name", &[]);
        two.reaches(&one.address("by-name"));
        assert_eq!(networks(), ["team", "team"]);
        host.docker.docker(&["rm", "-f", "one", "two"]);
        host.docker.docker(&["network", "rm", "by-name"]);

        docker(&["--ipam-opt", "routenet.network=guests", "-o", "routenet.network=guests", "by-pool"]);
        let one = host.docker.run("one", "by-pool", &[]);
        assert!(one.address("by-pool").starts_with("10.66."));
        assert_eq!(networks(), ["guests"]);
        host.docker.docker(&["rm", "-f", "one"]);
        host.docker.docker(&["network", "rm", "by-pool"]);
        let left = host.agent.routectl(&["get", "all", "-o", "json"]).stdout;
        for name in ["team4", "\"team\"", "guests"] {
            assert!(left.contains(name), "what was applied stays: {left}");
        }
    });
}

#[test]
fn isolation_mtu_and_internal_do_what_they_say() {
    hosts(2, |_, hosts| {
        let (host, far) = (&hosts[0], &hosts[1]);
        let docker = |args: &[&str]| host.docker.docker(&[CREATE.as_slice(), args].concat());
        create(host, "closed", "10.10.0.0/16");
        docker(&["--subnet", "10.11.0.0/16", "-o", "routenet.isolation=open", "open"]);
        let closed = host.docker.run("in-closed", "closed", &[]);
        let open = host.docker.run("in-open", "open", &[]);
        closed.reaches(&open.address("open"));
        assert!(!open.pings(&closed.address("closed")), "the other one is not open");

        docker(&["--subnet", "10.12.0.0/16", "-o", "com.docker.network.driver.mtu=1400", "narrow"]);
        let narrow = host.docker.run("narrow", "narrow", &[]);
        assert_eq!(narrow.says(&["/bin/cat", "/sys/class/net/eth0/mtu"]), "1400");
        assert_eq!(closed.says(&["/bin/cat", "/sys/class/net/eth0/mtu"]), "1500");
        let wrong = ["-o", "com.docker.network.driver.mtu=12", "--subnet", "10.14.0.0/16", "x"];
        let refused = host.docker.refuses(&[CREATE.as_slice(), &wrong].concat());
        assert!(refused.contains("mtu=12: expected 1280 to 65535 bytes"), "{refused}");

        for host in &hosts {
            let internal = ["--internal", "--subnet", "10.13.0.0/16", "inside"];
            host.docker.docker(&[CREATE.as_slice(), &internal].concat());
        }
        let (one, two) = (host.docker.run("one", "inside", &[]), far.docker.run("two", "inside", &[]));
        one.reaches(&two.address("inside"));
        let routes = one.says(&["/bin/ip", "route"]);
        assert!(!routes.contains("default") && routes.contains("10.13.0.0/16"), "{routes}");
        closed.reaches("192.0.2.2");
        assert!(!one.pings("192.0.2.2"), "no way out");
    });
}
