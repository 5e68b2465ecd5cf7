use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::desired::FactDelta;
use crate::model::{Action, InterfaceName, Isolation};
use crate::policy::testing::*;

fn tcp(source: &str, destination: &str, port: u16) -> Connection {
    Connection {
        source: address(source),
        source_port: Some(40000),
        destination: address(destination),
        port: Some(port),
        protocol: Protocol::TCP,
        icmp: None,
    }
}

#[test]
fn what_a_policy_denies_by_now_is_denied_and_what_the_host_opened_is_not() {
    let web = endpoint("n1", "blue", "web", &["10.65.0.1"], &[("role", "web")]);
    let client = endpoint("n2", "blue", "client", &["10.65.1.1"], &[]);
    let mut engine = PolicyEngine::new(&settings("n1"));
    let bridge = BTreeSet::from([address("172.17.0.1")]);
    engine.apply(&[
        network("blue", Isolation::Network),
        endpoint_fact(&web),
        endpoint_fact(&client),
        FactDelta::HostAddresses(InterfaceName::new("docker0").unwrap(), Some(bridge)),
    ]);
    let connections = [
        tcp("10.65.1.1", "10.65.0.1", 80),
        tcp("10.65.1.1", "10.65.0.1", 22),
        tcp("10.65.0.1", "10.65.1.1", 80),
        tcp("172.17.0.1", "10.65.0.1", 22),
        tcp("203.0.113.1", "203.0.113.2", 22),
    ];
    assert_eq!(engine.denies(&connections), [false; 5]);
    let only_80 = ingress_policy("only-80", "role == 'web'", vec![tcp_from(Action::Allow, "all()", 80)]);
    engine.apply(&[policy_fact(&only_80)]);
    assert_eq!(engine.denies(&connections), [false, true, false, false, false]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn denied_is_what_explain_denies(deltas in prop::collection::vec(some_delta(), 1..40)) {
        let mut engine = PolicyEngine::new(&settings("n1"));
        engine.apply(&base());
        engine.apply(&deltas);
        let mut addresses: Vec<IpAddr> =
            engine.endpoints().into_iter().flat_map(|endpoint| endpoint.addresses).filter(IpAddr::is_ipv4).take(6).collect();
        addresses.push(address("203.0.113.7"));
        let pairs = addresses.iter().flat_map(|a| addresses.iter().map(move |b| (a, b)));
        let connections: Vec<Connection> = pairs.map(|(a, b)| tcp(&a.to_string(), &b.to_string(), 80)).collect();
        for (connection, denied) in connections.iter().zip(engine.denies(&connections)) {
            let side = |address: IpAddr| engine.resolve(&address.to_string()).unwrap();
            let flow = Flow {
                source: side(connection.source),
                destination: side(connection.destination),
                family: Some(Family::V4),
                protocol: connection.protocol,
                source_port: connection.source_port,
                port: connection.port,
                icmp: None,
            };
            let wanted = engine.explain(&flow).is_ok_and(|said| said.verdict == Verdict::Deny);
            prop_assert_eq!(denied, wanted, "{:?}", connection);
        }
    }
}
