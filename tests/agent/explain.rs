//! `routectl explain` against live agents: the verdict that packets meet, and whose route it tells.

use std::time::Duration;

use serde_json::json;

use crate::fixture::{attach, two_hosts};
use crate::support::wait_for;

#[test]
fn the_verdict_is_that_of_packets_and_the_route_names_its_node() {
    two_hosts(|_, one, two| {
        let here = attach(&one, "here", "blue", json!({}));
        let there = attach(&two, "there", "blue", json!({}));
        let green = attach(&two, "green", "green", json!({}));
        there.reaches(&here.ipv4);
        wait_for("h1 to know the workloads of h2", Duration::from_secs(10), || {
            one.routectl(&["explain", &green.ipv4, &here.ipv4, "icmp"]).stdout.contains("network green")
        });

        let denied = one.routectl(&["explain", &green.ipv4, &here.ipv4, "icmp"]);
        assert_eq!(denied.exit, 1, "{denied:?}");
        assert!(denied.stdout.contains("receives  denied: no policy applies to its ingress"), "{}", denied.stdout);
        assert!(!green.pings(&here.ipv4));

        let allowed = one.routectl(&["explain", &there.ipv4, &here.ipv4, "icmp"]);
        assert_eq!(allowed.exit, 0, "{allowed:?}");
        assert!(allowed.stdout.contains("from h1: local, dev rnw"), "{}", allowed.stdout);
        assert!(allowed.stdout.contains("ask on h2"), "{}", allowed.stdout);
        let at_the_sender = two.routectl(&["explain", &there.ipv4, &here.ipv4, "icmp"]);
        assert!(at_the_sender.stdout.contains("from h2: via 192.0.2.1 (BGP, "), "{}", at_the_sender.stdout);
        assert!(!at_the_sender.stdout.contains("ask on"), "{}", at_the_sender.stdout);
        assert!(there.pings(&here.ipv4));
    });
}

const CLOSED: &str = "
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed, namespace: default}
spec: {selector: app == 'db', types: [Ingress], ingress: [{action: Allow, protocol: TCP, destination: {ports: [7001]}}]}
";

#[test]
fn a_probe_shows_where_packets_go_and_what_stops_them() {
    two_hosts(|_, one, two| {
        let web = attach(&one, "web", "blue", json!({"app": "web"}));
        let near = attach(&one, "near", "blue", json!({"app": "db"}));
        let far = attach(&two, "far", "blue", json!({"app": "db"}));
        for db in [&near, &far] {
            web.reaches(&db.ipv4);
        }
        let listen = || std::net::TcpListener::bind("[::]:7001").expect("its own port");
        let _listeners = [&near, &far].map(|db| db.within(listen).join().expect("a listener"));
        let asked = |from: &str, to: &str, traffic: &str| one.routectl(&["explain", "--trace", from, to, traffic]);
        let trace = |to: &str, traffic: &str| asked("default/web", to, traffic).stdout;

        let said = trace("default/near", "tcp/7001");
        assert!(said.contains("the packet in by rnw") && said.contains("the packet out by rnw"), "{said}");
        assert!(said.contains("the answer, SYN, ACK: it listens, out by rnw"), "{said}");
        assert!(said.contains("answered: default/near was reached"), "{said}");
        let said = trace("default/far", "tcp/7002");
        assert!(said.contains("the packet out by eth0") && said.contains("the answer, a reset: nothing"), "{said}");
        let said = trace(far.ipv6.as_deref().expect("both families"), "icmp");
        assert!(said.contains("the answer, an echo reply, out by rnw"), "{said}");
        let said = asked("host", "default/near", "tcp/7001").stdout;
        assert!(said.contains("answered: default/near was reached"), "{said}");
        // The kernel sends a host but so many ICMP errors a second, and `reaches` above may have used them up.
        wait_for("the unreachable", Duration::from_secs(20), || {
            let said = trace("10.65.9.9", "tcp/80");
            said.contains("says: ") && said.contains(" unreachable")
        });

        one.apply(CLOSED);
        for db in [&near, &far] {
            wait_for("the policy", Duration::from_secs(10), || !web.pings(&db.ipv4));
        }
        let said = trace("default/near", "tcp/7002");
        assert!(said.contains("it ended on this host, h1: counted meanwhile by rn-gi-"), "{said}");
        assert!(!said.contains("the packet out"), "{said}");
        let said = trace("default/far", "tcp/7002");
        assert!(said.contains("it left this host by eth0, and nothing came back"), "{said}");
        assert!(trace("default/far", "tcp/7001").contains("answered: default/far was reached"));

        let refused = asked("203.0.113.1", "default/near", "tcp/7001");
        assert!(refused.exit == 2 && refused.stderr.contains("none of this cluster's"), "{refused:?}");
        let refused = asked("default/far", "default/near", "tcp/7001");
        assert!(refused.exit == 2 && refused.stderr.contains("ask the agent on h2"), "{refused:?}");
        let refused = asked("default/web", "default/near", "sctp/7001");
        assert!(refused.exit == 2 && refused.stderr.contains("no probe of sctp"), "{refused:?}");
    });
}
