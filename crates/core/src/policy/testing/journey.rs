//! The compiled chains of both nodes against the evaluator, flow by flow: the first packet, and the answer to it.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::desired::FactDelta;
use crate::model::{Endpoint, EndpointKey, Family, IcmpMatch, NodeName, Protocol};
use crate::policy::{Explanation, Flow, PolicyEngine, Side, Verdict};

use super::sample::*;
use super::simulate::{Fate, Packet, Simulator};

pub fn engines(facts: &[FactDelta], to_host: bool, by_pool: bool) -> [PolicyEngine; 2] {
    ["n1", "n2"].map(|name| {
        let mut settings = settings(name);
        settings.workload_to_host = to_host;
        settings.networks_by_pool = by_pool;
        let mut engine = PolicyEngine::new(&settings);
        engine.apply(facts);
        engine
    })
}

pub fn node_fact(name: &str) -> FactDelta {
    let settings = settings(name);
    let node = crate::model::Node {
        name: settings.node.clone(),
        labels: Default::default(),
        ipv4: settings.address4,
        ipv6: settings.address6,
        as_number: 64512,
        router_id: [192, 0, 2, 1].into(),
        bgp_port: 179,
        mesh: true,
        incarnation: String::new(),
    };
    FactDelta::Node(settings.node, Some(node))
}

pub fn workload(endpoint: &Endpoint) -> Side {
    Side::Workload(endpoint.node.clone(), endpoint.key.clone())
}

/// What the compiled chains of both nodes make of a flow.
struct Journey<'a> {
    simulators: &'a [Simulator; 2],
    flow: &'a Flow,
    found: &'a Explanation,
}

impl Journey<'_> {
    fn simulator(&self, node: &NodeName) -> &Simulator {
        &self.simulators[usize::from(node.as_str() == "n2")]
    }

    fn packet(&self, input: Option<String>, output: Option<String>) -> Packet {
        let v4 = self.found.source_address.is_ipv4();
        let protocol = match self.flow.protocol {
            Protocol::ICMP | Protocol::ICMPV6 => {
                if v4 {
                    1
                } else {
                    58
                }
            }
            Protocol(number) => number,
        };
        let ports = self.flow.protocol.has_ports();
        let echo = IcmpMatch { kind: if v4 { 8 } else { 128 }, code: Some(0) };
        let icmp = self.flow.icmp.unwrap_or(echo);
        Packet {
            input,
            output,
            source: self.found.source_address,
            destination: self.found.destination_address,
            protocol,
            source_port: self.flow.source_port.filter(|_| ports),
            port: self.flow.port.filter(|_| ports),
            icmp: matches!(protocol, 1 | 58).then_some((icmp.kind, icmp.code.unwrap_or(0))),
            mark: 0x0001_1234,
            state: "NEW",
        }
    }

    /// The packet through one host, then its answer the other way.
    fn pass(&self, node: &NodeName, chain: &str, input: Option<String>, output: Option<String>) -> bool {
        let mut packet = self.packet(input.clone(), output.clone());
        let fate = self.simulator(node).pass(&mut packet, chain);
        assert_eq!(packet.mark & 0xffff, 0x1234, "other people's mark bits");
        let ours = [&packet.input, &packet.output].into_iter().flatten().any(|name| name.starts_with("rnw"));
        assert!(!ours || fate != Fate::Return, "a workload's packet is always decided");
        if fate == Fate::Drop {
            return false;
        }
        let mut answer = self.packet(output, input);
        (answer.source, answer.destination) = (answer.destination, answer.source);
        (answer.source_port, answer.port) = (answer.port, answer.source_port);
        let answers = |(kind, _): (u8, u8)| match kind {
            8 => (0, 0),
            13 => (14, 0),
            128 => (129, 0),
            other => (other, 0),
        };
        answer.icmp = answer.icmp.map(answers);
        answer.state = match packet.state {
            "NEW" => "ESTABLISHED",
            _ if matches!(packet.protocol, 1 | 6 | 58) => "INVALID",
            _ => "NEW",
        };
        let chain = match chain {
            "rn-INPUT" => "rn-OUTPUT",
            "rn-OUTPUT" => "rn-INPUT",
            other => other,
        };
        self.simulator(node).pass(&mut answer, chain) != Fate::Drop
    }

    fn arrives(&self) -> bool {
        let interface = |key: &EndpointKey| Some(key.host_interface().to_string());
        let wire = || Some("eth0".to_string());
        let leaves = match (&self.flow.source, &self.flow.destination) {
            (Side::Workload(a, from), Side::Workload(b, to)) if a == b => {
                return self.pass(a, "rn-FORWARD", interface(from), interface(to));
            }
            (Side::Workload(a, from), Side::Host(b)) if a == b => {
                return self.pass(a, "rn-INPUT", interface(from), None);
            }
            (Side::Host(a), Side::Workload(b, to)) if a == b => {
                return self.pass(a, "rn-OUTPUT", None, interface(to));
            }
            (Side::Host(a), Side::Host(b)) if a == b => return true,
            (Side::Workload(a, from), _) => self.pass(a, "rn-FORWARD", interface(from), wire()),
            (Side::Host(a), _) => self.pass(a, "rn-OUTPUT", None, wire()),
            (Side::Address(_), _) => true,
        };
        leaves
            & match &self.flow.destination {
                Side::Workload(b, to) => self.pass(b, "rn-FORWARD", wire(), interface(to)),
                Side::Host(b) => self.pass(b, "rn-INPUT", wire(), None),
                Side::Address(_) => true,
            }
    }
}

pub fn some_flow() -> impl Strategy<Value = Flow> {
    let side = || {
        let workloads = (0u8..8).prop_map(|index| workload(&numbered_endpoint(index, 2, Default::default())));
        let hosts = prop::sample::select(vec!["n1", "n2"]).prop_map(|name| Side::Host(node(name)));
        let strangers = prop::sample::select(vec!["198.51.100.7", "10.65.0.99", "2001:db8::99", "fd65::99"])
            .prop_map(|text| Side::Address(address(text)));
        prop_oneof![8 => workloads, 1 => hosts, 1 => strangers]
    };
    let protocol =
        prop::sample::select(vec![Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol(50)]);
    let family = prop::option::weighted(0.7, prop::sample::select(vec![Family::V4, Family::V6]));
    let port = || prop::sample::select(vec![80u16, 81, 82, 83, 100, 443, 8080]).prop_map(Some);
    let icmp = prop::option::weighted(0.3, Just(IcmpMatch { kind: 13, code: Some(0) }));
    (side(), side(), family, protocol, port(), port(), icmp).prop_map(
        |(source, destination, family, protocol, source_port, port, icmp)| Flow {
            source,
            destination,
            family,
            protocol,
            source_port,
            port,
            icmp,
        },
    )
}

/// On a small cluster with these changes: the first of the flows on which the chains and the evaluator, or two nodes, are
/// not of one opinion.
pub fn disagreement(deltas: &[FactDelta], flows: &[Flow], to_host: bool, by_pool: bool) -> Option<String> {
    let mut facts = base();
    facts.extend((0..8).map(|index| endpoint_fact(&numbered_endpoint(index, 2, Default::default()))));
    facts.extend_from_slice(deltas);
    facts.extend([node_fact("n1"), node_fact("n2")]);
    let engines = engines(&facts, to_host, by_pool);
    let simulators = [Simulator::new(&engines[0]), Simulator::new(&engines[1])];
    flows.iter().find_map(|flow| {
        let found = engines[0].explain(flow).ok()?;
        if engines[1].explain(flow).ok().as_ref() != Some(&found) {
            return Some(format!("another node says otherwise: {flow:?}\n{found}"));
        }
        let journey = Journey { simulators: &simulators, flow, found: &found };
        let agree = journey.arrives() == (found.verdict == Verdict::Allow);
        (!agree).then(|| format!("the chains say otherwise: {flow:?}\n{found}"))
    })
}

/// The most that one run looks at.
const MOST: usize = 24;

/// The same, on what a fuzzer's bytes choose: after two settings each four of them are the seed of one change or one flow,
/// so that a changed byte changes one thing.
pub fn disagreement_on(data: &[u8]) -> Option<String> {
    let (&[to_host, by_pool], choices) = data.split_first_chunk::<2>()?;
    let (mut deltas, mut flows) = (Vec::new(), Vec::new());
    for choice in choices.chunks_exact(4).take(MOST) {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &choice.repeat(8));
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        match choice[0] % 3 {
            0 => flows.push(some_flow().new_tree(&mut runner).ok()?.current()),
            _ => deltas.push(some_delta().new_tree(&mut runner).ok()?.current()),
        }
    }
    disagreement(&deltas, &flows, to_host & 1 == 1, by_pool & 1 == 1)
}
