//! Host endpoints, where Calico's cases say nothing: translated addresses, all interfaces, interfaces by address, failsafe
//! ports. Each by evaluator (where nothing is translated) and with packets, on both back ends.

use routenet::plane::iptables::Backend;
use serde_json::json;

use crate::cases::Case;
use crate::cases_kernel::{differences, holds};
use crate::support::{in_fresh_netns, run};
use crate::world::ip;

const HOST: &str = "host";
const WEB: &str = "red/web";
const OUTSIDE: &str = "outside:198.51.100.7";

const ETH0: &str = "
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: uplink, labels: {role: uplink}}
spec: {node: n1, interfaceName: eth0}
";

/// One host with a workload, somebody behind its uplink, and the verdicts: from, to, protocol, port, verdict.
fn case(name: &str, policy: &str, verdicts: &[(&str, &str, &str, u16, &str)]) -> Case {
    let parts = json!({
        "namespaces": [{ "name": "red", "labels": {} }],
        "workloads": [{ "name": "web", "namespace": "red", "labels": { "app": "web" }, "ips": ["10.88.0.1"] }],
        "outside": ["198.51.100.7"],
    });
    Case::written(name, parts, policy, verdicts)
}

/// With packets, on both back ends; `translate`: rules of the nat table.
fn holds_translated(case: &Case, translate: &'static [&'static str]) {
    for backend in [Backend::Nft, Backend::Legacy] {
        let program = if backend == Backend::Nft { "iptables-nft" } else { "iptables-legacy" };
        let case = case.clone();
        let (sent, wrong) = in_fresh_netns(move || {
            differences(&case, backend, || {
                // Where nobody is, but what is translated; a way must be there all the same.
                ip("route add 203.0.113.9 dev eth0");
                for rule in translate {
                    run(program, &[&["-t", "nat"][..], &rule.split_whitespace().collect::<Vec<_>>()].concat());
                }
            })
        });
        assert!(sent > 0 && wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn a_host_endpoint_without_policies_closes_the_host_but_for_its_failsafe_ports() {
    holds(&case(
        "closed",
        ETH0,
        &[
            (OUTSIDE, HOST, "tcp", 80, "deny"),
            (OUTSIDE, HOST, "udp", 80, "deny"),
            (OUTSIDE, HOST, "tcp", 9, "allow"),
            (HOST, OUTSIDE, "tcp", 80, "deny"),
            (HOST, OUTSIDE, "tcp", 9, "allow"),
            // What is forwarded, and what goes to workloads, is none of its business.
            (OUTSIDE, WEB, "tcp", 80, "allow"),
            (WEB, OUTSIDE, "tcp", 80, "allow"),
            (HOST, WEB, "tcp", 80, "allow"),
            (WEB, HOST, "tcp", 80, "allow"),
        ],
    ));
}

#[test]
fn a_port_that_kubernetes_policy_names_may_be_a_host_endpoints() {
    let policy = "
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: uplink}
spec: {node: n1, interfaceName: eth0, expectedIPs: [10.0.0.1], ports: [{name: http, protocol: TCP, port: 81}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: red}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}
";
    let verdicts = [(WEB, HOST, "tcp", 81, "allow"), (WEB, HOST, "tcp", 80, "deny"), (WEB, OUTSIDE, "tcp", 81, "deny")];
    holds(&case("a named port", policy, &verdicts));
}

#[test]
fn a_host_endpoint_closes_the_host_to_nobody_by_keeping_him_from_finding_it() {
    const FAR: &str = "outside:2001:db8:7::7";
    let parts = json!({
        "namespaces": [{ "name": "red", "labels": {} }],
        "workloads": [{ "name": "web", "namespace": "red", "labels": {}, "ips": ["fd88::1"] }],
        "outside": ["2001:db8:7::7"],
        "host6": "2001:db8::1",
    });
    holds(&Case::written(
        "closed, of IPv6",
        parts,
        ETH0,
        &[
            (FAR, HOST, "tcp", 80, "deny"),
            (FAR, HOST, "tcp", 9, "allow"),
            (HOST, FAR, "tcp", 80, "deny"),
            (HOST, FAR, "tcp", 9, "allow"),
            (FAR, WEB, "tcp", 80, "allow"),
            (WEB, FAR, "tcp", 80, "allow"),
        ],
    ));
}

#[test]
fn one_for_every_interface_is_asked_where_no_other_is_and_never_on_loopback() {
    let every = "
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: every, labels: {role: every}}
spec: {node: n1, interfaceName: '*'}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: open}
spec:
  selector: role == 'every'
  applyOnForward: true
  types: [Ingress, Egress]
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [81]}}]
  egress: [{action: Allow, protocol: UDP}]
";
    let verdicts = [
        (OUTSIDE, HOST, "tcp", 80, "deny"),
        (OUTSIDE, HOST, "tcp", 81, "allow"),
        (OUTSIDE, WEB, "tcp", 80, "deny"),
        (OUTSIDE, WEB, "tcp", 81, "allow"),
        (WEB, OUTSIDE, "tcp", 81, "deny"),
        (WEB, OUTSIDE, "udp", 81, "allow"),
        (HOST, OUTSIDE, "tcp", 81, "deny"),
        (HOST, OUTSIDE, "udp", 81, "allow"),
        (HOST, WEB, "tcp", 80, "allow"),
        (WEB, HOST, "tcp", 80, "allow"),
        (HOST, HOST, "tcp", 80, "allow"),
    ];
    holds(&case("every", every, &verdicts));
    // One by name takes its interface from it, also for what that one says nothing of.
    let both = format!("{every}---{ETH0}");
    let verdicts =
        [(OUTSIDE, HOST, "tcp", 81, "deny"), (OUTSIDE, WEB, "tcp", 80, "allow"), (WEB, OUTSIDE, "tcp", 81, "allow")];
    holds(&case("every and one", &both, &verdicts));
}

#[test]
fn one_without_a_name_is_the_interface_that_has_its_address() {
    let by = |address: &str| {
        format!(
            "
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {{name: uplink}}
spec: {{node: n1, expectedIPs: [{address}]}}
"
        )
    };
    holds(&case(
        "by address",
        &by("10.0.0.1"),
        &[(OUTSIDE, HOST, "tcp", 80, "deny"), (OUTSIDE, HOST, "tcp", 9, "allow"), (OUTSIDE, WEB, "tcp", 80, "allow")],
    ));
    holds_translated(&case("by another's address", &by("10.0.0.77"), &[(OUTSIDE, HOST, "tcp", 80, "allow")]), &[]);
}

#[test]
fn before_translation_a_policy_sees_the_port_that_the_sender_knows() {
    let policy = format!(
        "{ETH0}---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {{name: before}}
spec:
  selector: role == 'uplink'
  preDNAT: true
  applyOnForward: true
  ingress:
  - {{action: Deny, protocol: TCP, destination: {{ports: [8081]}}}}
  - {{action: Allow, protocol: TCP, destination: {{ports: [8082]}}}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {{name: forwarded}}
spec:
  selector: role == 'uplink'
  order: 1
  applyOnForward: true
  ingress: [{{action: Allow, protocol: TCP, destination: {{nets: [10.88.0.1/32], ports: [80]}}}}]
"
    );
    holds_translated(
        &case(
            "before translation",
            &policy,
            &[
                // To the workload's port 80, by three ports of the host's; and to its port 81, by two.
                (OUTSIDE, HOST, "tcp", 8080, "allow"),
                (OUTSIDE, HOST, "tcp", 8081, "deny"),
                (OUTSIDE, HOST, "tcp", 8082, "allow"),
                (OUTSIDE, HOST, "tcp", 8083, "deny"),
                (OUTSIDE, WEB, "tcp", 80, "allow"),
                (OUTSIDE, WEB, "tcp", 81, "deny"),
            ],
        ),
        &[
            "-A PREROUTING -d 10.0.0.1 -p tcp --dport 8080:8081 -j DNAT --to-destination 10.88.0.1:80",
            "-A PREROUTING -d 10.0.0.1 -p tcp --dport 8082:8083 -j DNAT --to-destination 10.88.0.1:81",
        ],
    );
}

#[test]
fn what_the_host_sends_to_a_translated_destination_is_judged_by_where_it_goes() {
    let policy = format!(
        "{ETH0}---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {{name: out}}
spec:
  selector: role == 'uplink'
  types: [Egress]
  egress: [{{action: Allow, protocol: TCP, destination: {{nets: [198.51.100.7/32], ports: [80]}}}}]
"
    );
    holds_translated(
        &case(
            "translated",
            &policy,
            &[
                (HOST, OUTSIDE, "tcp", 80, "allow"),
                (HOST, OUTSIDE, "tcp", 81, "deny"),
                // To port 80 there; to port 81 there; to the workload, which is behind no host endpoint.
                (HOST, "outside:203.0.113.9", "tcp", 1080, "allow"),
                (HOST, "outside:203.0.113.9", "tcp", 1081, "deny"),
                (HOST, "outside:203.0.113.9", "tcp", 1082, "allow"),
            ],
        ),
        &[
            "-A OUTPUT -d 203.0.113.9 -p tcp --dport 1080 -j DNAT --to-destination 198.51.100.7:80",
            "-A OUTPUT -d 203.0.113.9 -p tcp --dport 1081 -j DNAT --to-destination 198.51.100.7:81",
            "-A OUTPUT -d 203.0.113.9 -p tcp --dport 1082 -j DNAT --to-destination 10.88.0.1:80",
        ],
    );
}
