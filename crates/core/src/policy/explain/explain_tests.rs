use proptest::prelude::*;

use super::*;
use crate::desired::FactDelta;
use crate::model::{Action, Isolation, Policy, StagedAction, StagedPolicy};
use crate::policy::testing::*;

fn tcp(source: Side, destination: Side, port: u16) -> Flow {
    let protocol = Protocol::TCP;
    Flow { source, destination, family: None, protocol, source_port: Some(40000), port: Some(port), icmp: None }
}

/// The demo's cluster: client, guest and web in blue, a stranger in green.
struct Demo {
    engine: PolicyEngine,
    client: Endpoint,
    guest: Endpoint,
    web: Endpoint,
    green: Endpoint,
}

fn demo_policy() -> Policy {
    let mut ping = rule(Action::Allow);
    ping.protocol = Some(Protocol::ICMP);
    ping.source.selector = Some("role == 'client'".into());
    let rules = vec![tcp_from(Action::Allow, "role == 'client'", 80), ping, rule(Action::Deny)];
    Policy { order: Some(100.0), ..ingress_policy("web-only-from-clients", "role == 'web'", rules) }
}

fn demo() -> Demo {
    let client = endpoint("n1", "blue", "client", &["10.65.0.1", "fd65::1"], &[("role", "client")]);
    let guest = endpoint("n1", "blue", "guest", &["10.65.0.2"], &[("role", "guest")]);
    let web = endpoint("n2", "blue", "web", &["10.65.1.1", "fd65::2"], &[("role", "web")]);
    let green = endpoint("n2", "green", "other", &["10.66.0.1"], &[]);
    let mut facts = vec![network("blue", Isolation::Network), network("green", Isolation::Network)];
    facts.extend([policy_fact(&demo_policy()), node_fact("n1"), node_fact("n2")]);
    facts.extend([&client, &guest, &web, &green].map(endpoint_fact));
    let mut engine = PolicyEngine::new(&settings("n1"));
    engine.apply(&facts);
    Demo { engine, client, guest, web, green }
}

#[test]
fn the_rule_that_lets_through_is_named() {
    let demo = demo();
    let found = demo.engine.explain(&tcp(workload(&demo.client), workload(&demo.web), 80)).unwrap();
    assert_eq!(found.verdict, Verdict::Allow);
    assert_eq!(
        found.to_string(),
        "default/client (10.65.0.1) -> default/web (10.65.1.1) tcp/80: ALLOWED\n  \
         leaving default/client: allowed: no policy applies to its egress; \
         the profile of network blue lets it send anywhere\n  \
         arriving at default/web: allowed: GlobalNetworkPolicy web-only-from-clients, rule 1: \
         Allow tcp from role == 'client' to port 80\n    \
         GlobalNetworkPolicy web-only-from-clients, rule 1: Allow tcp from role == 'client' to port 80"
    );
}

#[test]
fn the_rule_that_denies_is_named() {
    let demo = demo();
    let found = demo.engine.explain(&tcp(workload(&demo.guest), workload(&demo.web), 80)).unwrap();
    assert_eq!((found.verdict, found.egress.verdict), (Verdict::Deny, Verdict::Allow));
    let rule = found.ingress.rule.clone().unwrap();
    assert_eq!((rule.policy.name.as_str(), rule.number), ("web-only-from-clients", 3));
    assert!(found.to_string().contains("DENIED at the destination"), "{found}");
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), found);
}

#[test]
fn the_network_that_keeps_apart_is_named() {
    let demo = demo();
    let found = demo.engine.explain(&tcp(workload(&demo.green), workload(&demo.client), 80)).unwrap();
    assert_eq!(found.verdict, Verdict::Deny);
    assert_eq!(
        found.ingress.why,
        "no policy applies to its ingress; the profile of network blue accepts what comes from network blue, and it does not"
    );
}

#[test]
fn an_echo_request_is_taken_in_the_family_of_the_flow() {
    let demo = demo();
    let flow = Flow { protocol: Protocol::ICMP, port: None, ..tcp(workload(&demo.client), workload(&demo.web), 0) };
    assert_eq!(demo.engine.explain(&flow).unwrap().traffic, "icmp type 8 code 0");
    assert_eq!(demo.engine.explain(&flow).unwrap().verdict, Verdict::Allow);
    let flow = Flow { family: Some(Family::V6), ..flow };
    let found = demo.engine.explain(&flow).unwrap();
    assert_eq!(found.traffic, "icmpv6 type 128 code 0");
    assert_eq!(found.verdict, Verdict::Deny, "a rule for ICMP is not one for ICMPv6");
}

#[test]
fn what_cannot_be_asked_is_an_error_with_its_mend() {
    let demo = demo();
    let flow = tcp(workload(&demo.client), workload(&demo.web), 80);
    let error = |flow: Flow| demo.engine.explain(&flow).unwrap_err().to_string();
    assert_eq!(error(Flow { port: None, ..flow.clone() }), "tcp needs a port: write tcp/80");
    assert_eq!(
        error(Flow { source: workload(&demo.guest), family: Some(Family::V6), ..flow.clone() }),
        "default/guest and default/web have no addresses of IPv6"
    );
    assert!(error(Flow { source: Side::Host(node("n9")), ..flow }).contains("n9"));
}

#[test]
fn a_word_of_the_user_finds_its_end() {
    let demo = demo();
    let resolve = |text: &str| demo.engine.resolve(text);
    for text in ["default/web", "web", "10.65.1.1", "fd65::2", "blue/web/eth0"] {
        assert_eq!(resolve(text).unwrap(), workload(&demo.web), "{text}");
    }
    assert_eq!(resolve("host").unwrap(), Side::Host(node("n1")));
    assert_eq!(resolve("192.0.2.1").unwrap(), Side::Host(node("n1")));
    assert_eq!(resolve("host:n2").unwrap(), Side::Host(node("n2")));
    assert_eq!(resolve("2001:db8::2").unwrap(), Side::Host(node("n2")));
    assert_eq!(resolve("203.0.113.1").unwrap(), Side::Address(address("203.0.113.1")));
    assert!(resolve("nobody").unwrap_err().to_string().contains("NAMESPACE/NAME"));
    let mut engine = demo.engine.clone();
    engine.apply(&[endpoint_fact(&endpoint("n1", "green", "web", &["10.66.0.9"], &[]))]);
    let error = engine.resolve("web").unwrap_err().to_string();
    assert_eq!(error, "`web` is the name of several endpoints: choose one of green/web/eth1, blue/web/eth0");
}

#[test]
fn the_host_reaches_its_workloads_and_they_reach_it_by_setting() {
    let demo = demo();
    let own = Side::Host(node("n1"));
    let verdict = |engine: &PolicyEngine, source: Side, destination: Side| {
        engine.explain(&tcp(source, destination, 22)).unwrap().verdict
    };
    assert_eq!(verdict(&demo.engine, own.clone(), workload(&demo.client)), Verdict::Allow);
    assert_eq!(verdict(&demo.engine, workload(&demo.client), own), Verdict::Deny);
    assert_eq!(verdict(&demo.engine, workload(&demo.client), Side::Host(node("n2"))), Verdict::Allow);
    assert_eq!(verdict(&demo.engine, Side::Host(node("n1")), workload(&demo.web)), Verdict::Deny);
}

#[test]
fn what_a_fuzzers_bytes_choose_is_judged_alike() {
    for seed in 0..60u32 {
        let text = crate::model::stable_hash([seed.to_string().as_str()], 64);
        assert_eq!(disagreement_on(text.as_bytes()), None, "seed {seed}");
    }
    assert_eq!(disagreement_on(&[]), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_chains_say_what_the_evaluator_says(
        deltas in prop::collection::vec(some_delta(), 8..40),
        flows in prop::collection::vec(some_flow(), 40),
        to_host in any::<bool>(),
        by_pool in any::<bool>(),
    ) {
        let found = disagreement(&deltas, &flows, to_host, by_pool);
        prop_assert!(found.is_none(), "{}", found.unwrap_or_default());
    }

    #[test]
    fn what_is_staged_says_what_would_be_if_it_were_set(
        deltas in prop::collection::vec(some_delta(), 4..20),
        staged in prop::collection::vec((some_delta(), any::<bool>()), 1..6),
        flows in prop::collection::vec(some_flow(), 10),
    ) {
        let mut facts = base();
        facts.extend((0..8).map(|index| endpoint_fact(&numbered_endpoint(index, 2, Default::default()))));
        facts.extend(deltas);
        facts.extend([node_fact("n1"), node_fact("n2")]);
        let (mut looked_at, mut enforced) = (facts.clone(), facts);
        for (delta, set) in staged {
            let FactDelta::Policy(key, Some(policy)) = delta else { continue };
            let action = if set { StagedAction::Set } else { StagedAction::Delete };
            enforced.push(FactDelta::Policy(key.clone(), set.then(|| policy.clone())));
            looked_at.push(FactDelta::Staged(key, Some(StagedPolicy { action, policy })));
        }
        let [looked_at, _] = engines(&looked_at, false, false);
        let [enforced, _] = engines(&enforced, false, false);
        for flow in &flows {
            let Ok(wanted) = enforced.explain(flow) else { continue };
            let found = looked_at.explain_staged(flow).unwrap().unwrap_or_else(|| looked_at.explain(flow).unwrap());
            prop_assert_eq!(found.verdict, wanted.verdict, "{:?}\n{}\n{}", flow, found, wanted);
        }
    }
}
