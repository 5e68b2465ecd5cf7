use super::*;

const SUITE: &str = "apiVersion: routenet/v1
kind: PolicyTest
metadata: {name: shop}
spec:
  policies: [shop.yaml]
  workloads:
  - {name: shop/web, labels: {tier: web}}
  - {name: shop/db, labels: {tier: db}, ports: [{name: sql, protocol: TCP, port: 5432}]}
  tests:
  - {from: shop/web, to: shop/db, port: [tcp/5432, tcp/22], expect: allow, because: db}
  - {from: [198.51.100.7, '2001:db8::7'], to: shop/db, port: tcp/5432, expect: deny}
";

const POLICY: &str = "apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: tier == 'db'
  ingress: [{action: Allow, protocol: TCP, source: {selector: tier == 'web'}, destination: {ports: [sql]}}]
";

#[test]
fn what_is_not_as_expected_is_told_with_its_reason() {
    let suite = read("shop.test.yaml", SUITE).unwrap();
    let outcomes = suite.run(&policies(&[("shop.yaml".into(), POLICY.into())]).unwrap());
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    assert_eq!((outcomes.len(), failed.len()), (4, 1));
    assert_eq!(failed[0].line, 10);
    assert_eq!(failed[0].question, "shop/web to shop/db, tcp/22: allow");
    let why = failed[0].failure.as_deref().unwrap();
    assert!(why.starts_with("IPv4: denied: 1 policy applies to its ingress and none decided"), "{why}");
}

#[test]
fn a_reason_that_is_not_given_is_a_failure() {
    let suite = read("a.yaml", &SUITE.replace("because: db", "because: the weather")).unwrap();
    let outcomes = suite.run(&policies(&[("shop.yaml".into(), POLICY.into())]).unwrap());
    let why = outcomes[0].failure.as_deref().unwrap();
    assert!(why.starts_with("IPv4: allowed, but not because of `the weather`"), "{why}");
}

#[test]
fn nobody_of_that_name_is_a_failure_and_not_a_denial() {
    let suite = read("a.yaml", &SUITE.replace("from: shop/web", "from: shop/wbe").replace("allow", "deny")).unwrap();
    let outcomes = suite.run(&policies(&[("shop.yaml".into(), POLICY.into())]).unwrap());
    assert!(outcomes[0].failure.as_deref().unwrap().starts_with("nobody is called `shop/wbe`"));
}

#[test]
fn a_suite_that_cannot_be_read_names_line_and_field() {
    for (from, to, wanted) in [
        ("expect: deny", "expect: drop", "a.yaml:11: spec.tests[1].expect: unknown verdict \"drop\""),
        ("port: tcp/5432, expect: deny", "expect: deny", "spec.tests[1].port: missing"),
        ("tcp/22", "tcp", "spec.tests[0].port[1]: tcp needs a port"),
        ("name: shop/db", "name: shop/web", "spec.workloads: two workloads have the same name"),
        ("  policies: [shop.yaml]\n", "", "spec.policies: missing"),
        ("kind: PolicyTest", "kind: Test", "unknown kind \"Test\""),
        ("labels: {tier: web}", "label: {tier: web}", "spec.workloads[0].label"),
    ] {
        let errors = read("a.yaml", &SUITE.replace(from, to)).unwrap_err();
        assert!(errors[0].to_string().contains(wanted), "{}", errors[0]);
    }
    assert_eq!(read("a.yaml", "").unwrap_err()[0].to_string(), "a.yaml:1: the file is empty: expected a PolicyTest");
}
