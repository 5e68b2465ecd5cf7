//! What people do with `networking.k8s.io/v1`: the usual recipes, each by the evaluator and with packets on both back ends.

use serde_json::json;

use crate::cases::Case;
use crate::cases_kernel::holds;

const DB: &str = "prod/db";
const WEB: &str = "prod/web";
const JOB: &str = "dev/job";
const NEAR: &str = "outside:198.51.100.7";
const FAR: &str = "outside:203.0.113.5";

/// Three workloads in two namespaces, two strangers, one policy in `prod`; what of from, to, protocol and port passes.
fn recipe(name: &str, spec: &str, verdicts: &[(&str, &str, &str, u16, &str)]) {
    let header = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: prod}\nspec:\n";
    let ports = json!([{ "name": "sql", "protocol": "TCP", "port": 81 }]);
    let parts = json!({
        "namespaces": [{ "name": "prod", "labels": { "team": "a" } }, { "name": "dev", "labels": { "team": "b" } }],
        "workloads": [
            { "name": "db", "namespace": "prod", "labels": { "app": "db" }, "ips": ["10.88.0.1"], "ports": ports },
            { "name": "web", "namespace": "prod", "labels": { "app": "web", "tier": "front" }, "ips": ["10.88.0.2"] },
            { "name": "job", "namespace": "dev", "labels": { "app": "web" }, "ips": ["10.88.0.3"] },
        ],
        "outside": ["198.51.100.7", "203.0.113.5"],
    });
    holds(&Case::written(name, parts, &format!("{header}{spec}"), verdicts));
}

#[test]
fn deny_all_that_comes_in() {
    recipe(
        "deny all",
        "  podSelector: {}\n  policyTypes: [Ingress]\n",
        &[
            (WEB, DB, "tcp", 80, "deny"),
            (JOB, DB, "udp", 80, "deny"),
            (NEAR, WEB, "tcp", 80, "deny"),
            // The other namespace, and what goes out, are as open as before.
            (DB, JOB, "tcp", 80, "allow"),
            (WEB, NEAR, "tcp", 80, "allow"),
        ],
    );
}

#[test]
fn an_empty_rule_allows_everybody_and_no_rule_nobody() {
    recipe(
        "allow all",
        "  podSelector: {matchLabels: {app: db}}\n  ingress: [{}]\n",
        &[(WEB, DB, "tcp", 80, "allow"), (NEAR, DB, "udp", 81, "allow")],
    );
    recipe(
        "no rule",
        "  podSelector: {matchLabels: {app: db}}\n  ingress: []\n",
        &[(WEB, DB, "tcp", 80, "deny"), (JOB, WEB, "tcp", 80, "allow")],
    );
}

#[test]
fn only_those_with_such_labels_and_only_of_the_same_namespace() {
    recipe(
        "by label",
        "  podSelector: {matchLabels: {app: db}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]\n",
        &[(WEB, DB, "tcp", 80, "allow"), (JOB, DB, "tcp", 80, "deny"), (NEAR, DB, "tcp", 80, "deny")],
    );
    recipe(
        "by expression",
        "  podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}
  ingress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: In, values: [front, back]}]}}]}]
",
        &[(WEB, DB, "tcp", 80, "allow"), (JOB, DB, "tcp", 80, "deny"), (NEAR, WEB, "tcp", 80, "allow")],
    );
}

#[test]
fn empty_and_absent_selectors_mean_different_things() {
    let spec = |from: &str| format!("  podSelector: {{matchLabels: {{app: db}}}}\n  ingress: [{{from: {from}}}]\n");
    for (from, web, job, near) in [
        // Everybody of the own namespace; of every namespace; of every namespace, again; everybody at all.
        ("[{podSelector: {}}]", "allow", "deny", "deny"),
        ("[{namespaceSelector: {}}]", "allow", "allow", "deny"),
        ("[{namespaceSelector: {}, podSelector: {}}]", "allow", "allow", "deny"),
        ("[]", "allow", "allow", "allow"),
    ] {
        let verdicts = [(WEB, DB, "tcp", 80, web), (JOB, DB, "tcp", 80, job), (NEAR, DB, "tcp", 80, near)];
        recipe(from, &spec(from), &verdicts);
    }
}

#[test]
fn a_selector_chooses_pods_and_no_network_set_of_calicos() {
    let sets = "---
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: near, namespace: prod, labels: {app: web}}
spec: {nets: [198.51.100.0/24]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: far, labels: {app: web}}
spec: {nets: [203.0.113.0/24]}
";
    for (from, job) in [
        ("podSelector: {matchLabels: {app: web}}", "deny"),
        ("namespaceSelector: {}", "allow"),
        ("namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}", "allow"),
        ("namespaceSelector: {matchExpressions: [{key: other, operator: DoesNotExist}]}", "allow"),
    ] {
        let spec = format!("  podSelector: {{matchLabels: {{app: db}}}}\n  ingress: [{{from: [{{{from}}}]}}]\n{sets}");
        let verdicts = [
            (WEB, DB, "tcp", 80, "allow"),
            (JOB, DB, "tcp", 80, job),
            (NEAR, DB, "tcp", 80, "deny"),
            (FAR, DB, "tcp", 80, "deny"),
        ];
        recipe(from, &spec, &verdicts);
    }
}

#[test]
fn by_namespace_and_by_both() {
    recipe(
        "a namespace by its label",
        "  podSelector: {}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]\n",
        &[(JOB, DB, "tcp", 80, "allow"), (WEB, DB, "tcp", 80, "deny"), (NEAR, DB, "tcp", 80, "deny")],
    );
    recipe(
        "a namespace by its name",
        "  podSelector: {}
  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: dev}}}]}]
",
        &[(JOB, DB, "tcp", 80, "allow"), (WEB, DB, "tcp", 80, "deny")],
    );
    let both = "namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}";
    recipe(
        "these of these",
        &format!("  podSelector: {{}}\n  ingress: [{{from: [{{{both}}}]}}]\n"),
        &[(WEB, DB, "tcp", 80, "allow"), (JOB, DB, "tcp", 80, "deny"), (DB, WEB, "tcp", 80, "deny")],
    );
    let either = "{namespaceSelector: {matchLabels: {team: b}}}, {podSelector: {matchLabels: {app: web}}}";
    recipe(
        "these or those",
        &format!("  podSelector: {{}}\n  ingress: [{{from: [{either}]}}]\n"),
        &[(WEB, DB, "tcp", 80, "allow"), (JOB, DB, "tcp", 80, "allow"), (DB, WEB, "tcp", 80, "deny")],
    );
}

#[test]
fn a_block_with_exceptions() {
    recipe(
        "ipBlock",
        "  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [203.0.113.0/24, 10.88.0.3/32]}}]}]
  egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24}}]}]
",
        &[
            (NEAR, DB, "tcp", 80, "allow"),
            (FAR, DB, "tcp", 80, "deny"),
            (WEB, DB, "tcp", 80, "allow"),
            (JOB, DB, "tcp", 80, "deny"),
            (DB, FAR, "tcp", 80, "allow"),
            (DB, NEAR, "tcp", 80, "deny"),
            (DB, WEB, "tcp", 80, "deny"),
        ],
    );
}

#[test]
fn ports_by_number_range_and_name() {
    recipe(
        "ports",
        "  podSelector: {matchLabels: {app: db}}
  ingress:
  - ports: [{port: 6379, endPort: 6381}, {protocol: UDP, port: 53}]
  - from: [{podSelector: {}}]
    ports: [{port: sql}]
",
        &[
            (JOB, DB, "tcp", 6378, "deny"),
            (JOB, DB, "tcp", 6379, "allow"),
            (NEAR, DB, "tcp", 6381, "allow"),
            (NEAR, DB, "tcp", 6382, "deny"),
            (NEAR, DB, "udp", 53, "allow"),
            (NEAR, DB, "tcp", 53, "deny"),
            (WEB, DB, "tcp", 81, "allow"),
            (WEB, DB, "tcp", 80, "deny"),
            (JOB, DB, "tcp", 81, "deny"),
        ],
    );
}

#[test]
fn egress_to_a_namespace_and_to_dns_only() {
    recipe(
        "egress",
        "  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{namespaceSelector: {matchLabels: {team: b}}}]
  - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
",
        &[
            (WEB, JOB, "tcp", 80, "allow"),
            (WEB, DB, "tcp", 80, "deny"),
            (WEB, NEAR, "tcp", 80, "deny"),
            (WEB, NEAR, "udp", 53, "allow"),
            (WEB, DB, "tcp", 53, "allow"),
            (NEAR, WEB, "tcp", 80, "allow"),
            (JOB, NEAR, "tcp", 80, "allow"),
        ],
    );
}
