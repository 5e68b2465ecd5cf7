use super::*;
use crate::model::Object;
use crate::model::yaml::{object_to_yaml, read_documents};

fn read(spec: &str) -> Result<KubernetesPolicy, String> {
    let header = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: prod}\n";
    let text = format!("{header}spec:\n{spec}");
    match read_documents("a.yaml", &text) {
        Ok(objects) => match &objects[0].value {
            Object::KubernetesNetworkPolicy(policy) => Ok(policy.clone()),
            other => panic!("{other:?}"),
        },
        Err(errors) => Err(errors[0].to_string()),
    }
}

#[test]
fn what_was_written_is_given_back() {
    let spec =
        "  podSelector: {matchLabels: {app: db}, matchExpressions: [{key: tier, operator: NotIn, values: [x, y]}]}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    - namespaceSelector: {}
    - podSelector: {matchLabels: {role: web}}
      namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}
    ports:
    - {protocol: TCP, port: 6379, endPort: 6390}
    - {port: http}
    - {protocol: UDP}
  egress: [{}]
";
    let policy = read(spec).unwrap();
    let object = Object::KubernetesNetworkPolicy(policy.clone());
    let again = read_documents("b.yaml", &object_to_yaml(&object)).unwrap();
    assert_eq!(again[0].value, object);
    let ours = policy.to_policy();
    assert_eq!(ours.selector, "app == 'db' && tier not in {'x', 'y'}");
    assert_eq!(ours.ingress.len(), 6, "three peers, two protocols");
    assert_eq!(ours.ingress[0].destination.ports, [PortMatch { first: 6379, last: 6390 }]);
    assert_eq!(ours.ingress[0].destination.named_ports, ["http"]);
    assert!(ours.ingress[1].destination.ports.is_empty(), "all of UDP");
    assert_eq!(ours.egress, [PolicyRule::any(Action::Allow)]);
}

#[test]
fn absent_and_empty_selectors_are_not_the_same() {
    let sides = |from: &str| {
        let policy = read(&format!("  podSelector: {{}}\n  ingress: [{{from: {from}}}]\n")).unwrap().to_policy();
        let side = policy.ingress[0].source.clone();
        (side.selector, side.namespace_selector)
    };
    let all = || Some("all()".to_string());
    assert_eq!(sides("[{podSelector: {}}]"), (all(), None), "everybody of the policy's namespace");
    assert_eq!(sides("[{namespaceSelector: {}}]"), (None, all()), "everybody of every namespace");
    assert_eq!(sides("[{podSelector: {}, namespaceSelector: {}}]"), (all(), all()));
    assert_eq!(sides("[]"), (None, None), "everybody, strangers too");
}

#[test]
fn types_are_inferred_as_kubernetes_does() {
    let types = |rest: &str| {
        let policy = read(&format!("  podSelector: {{}}\n{rest}")).unwrap();
        (policy.applies_ingress, policy.applies_egress)
    };
    assert_eq!(types(""), (true, false));
    assert_eq!(types("  egress: [{}]\n"), (true, true));
    assert_eq!(types("  egress: []\n"), (true, false));
    assert_eq!(types("  policyTypes: [Egress]\n"), (false, true));
}

#[test]
fn what_has_no_meaning_is_refused_where_it_stands() {
    for (spec, wanted) in [
        ("  ingress: [{from: [{}]}]\n", "spec.ingress[0].from[0]: expected podSelector, namespaceSelector or ipBlock"),
        (
            "  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]\n",
            "spec.ingress[0].from[0].ipBlock: an ipBlock stands alone",
        ),
        (
            "  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]\n",
            "spec.ingress[0].from[0].ipBlock.except[0]: 11.0.0.0/16 does not lie within 10.0.0.0/8",
        ),
        ("  ingress: [{ports: [{endPort: 90}]}]\n", "spec.ingress[0].ports[0].endPort: needs `port`"),
        ("  ingress: [{ports: [{port: 90, endPort: 80}]}]\n", "spec.ingress[0].ports[0].endPort: 80 is below port 90"),
        ("  ingress: [{ports: [{port: web, endPort: 80}]}]\n", "endPort: a range has no name"),
        ("  ingress: [{ports: [{protocol: ICMP}]}]\n", "protocol: expected TCP, UDP or SCTP, found icmp"),
        ("  podSelector: {matchExpressions: [{key: a, operator: In}]}\n", "matchExpressions[0].values: missing"),
        ("  podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}\n", "compare with nothing"),
        ("  podSelector: {matchExpressions: [{key: a, operator: Is}]}\n", "matchExpressions[0].operator"),
        ("  podSelector: {matchLabels: {a: \"it's\"}}\n", "is no label's value"),
        ("  order: 5\n", "spec.order"),
    ] {
        let error = read(spec).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    }
}
