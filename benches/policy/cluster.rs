//! Clusters to measure with, in the shape of felix's own benchmark (`calc_graph_bench_test.go`): every endpoint carries
//! one marker label and five others, every policy governs who has a marker and lets in who has one of five, so that
//! each policy is in use on the node and each endpoint of the cluster is in some set.

use std::net::{IpAddr, Ipv4Addr};

use routenet_core::desired::{FactDelta, Settings};
use routenet_core::model::{
    Action, Endpoint, EndpointKey, InterfaceName, Isolation, Kind, Labels, Network, NetworkName, NodeName, ObjectKey,
    Policy, PolicyRule,
};

const NAMESPACES: usize = 100;
/// One in so many endpoints has the same value of the label.
const SPREAD: [usize; 5] = [10, 11, 20, 30, 40];
const MARKERS: usize = 31;
pub const RULES: usize = 5;

pub fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a name")
}

pub fn settings() -> Settings {
    Settings { address4: Some(Ipv4Addr::new(192, 0, 2, 1)), ..Settings::new(node("here")) }
}

/// Two of the markers stand for two slots each.
fn marker(slot: usize) -> String {
    match slot % MARKERS {
        0 => "calico/marker-1".to_string(),
        30 => "calico/marker-20".to_string(),
        slot => format!("calico/marker-{slot}"),
    }
}

fn network() -> NetworkName {
    NetworkName::new("blue").expect("a name")
}

/// The endpoint of a number, which says its labels and its address.
pub fn endpoint(on: &NodeName, number: usize) -> Endpoint {
    let mut labels: Labels = SPREAD.iter().map(|n| (format!("one-in-{n}"), format!("value-{}", number % n))).collect();
    labels.insert(marker(number), "true".to_string());
    let name = format!("wep-{number}");
    Endpoint {
        key: EndpointKey {
            network: network(),
            container_id: name.clone(),
            ifname: InterfaceName::new("eth0").expect("a name"),
        },
        node: on.clone(),
        namespace: format!("namespace-{}", number % NAMESPACES),
        name,
        service_account: None,
        labels,
        ports: Vec::new(),
        profiles: None,
        addresses: vec![address(number)],
        attachment: None,
    }
}

pub fn address(number: usize) -> IpAddr {
    let offset = u32::try_from(number).expect("fewer than addresses");
    IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + offset))
}

/// The same endpoint with the marker of another slot.
pub fn remarked(endpoint: &Endpoint, slot: usize) -> Endpoint {
    let mut changed = endpoint.clone();
    changed.labels.retain(|name, _| !name.contains("marker"));
    changed.labels.insert(marker(slot), "true".to_string());
    changed
}

pub fn of_endpoint(endpoint: &Endpoint) -> FactDelta {
    FactDelta::Endpoint { node: endpoint.node.clone(), key: endpoint.key.clone(), endpoint: Some(endpoint.clone()) }
}

pub fn policy(number: usize) -> Policy {
    let rule = |index: usize| {
        let mut rule = PolicyRule::any(Action::Allow);
        rule.source.selector = Some(format!("has({})", marker(number + index)));
        rule
    };
    let mut policy = Policy::sealed(ObjectKey::global(Kind::GlobalNetworkPolicy, format!("policy-{number}")));
    policy.selector = format!("has({})", marker(number));
    policy.applies_egress = false;
    policy.ingress = (0..RULES).map(rule).collect();
    policy
}

/// How large a cluster is.
#[derive(Clone, Copy)]
pub struct Size {
    pub endpoints: usize,
    pub policies: usize,
    pub locals: usize,
}

impl Size {
    /// All facts, in the order in which felix's benchmark sends them: policies, namespaces, remote endpoints, local ones.
    pub fn facts(self) -> impl Iterator<Item = FactDelta> {
        let Size { endpoints, policies, locals } = self;
        let (here, there) = (node("here"), node("there"));
        let network = Network { name: network(), pools: Vec::new(), isolation: Isolation::Open };
        let network = FactDelta::Network(network.name.clone(), Some(network));
        let policies = (0..policies).map(policy).map(|it| FactDelta::Policy(it.key.clone(), Some(it)));
        let namespace = |number| FactDelta::Namespace(format!("namespace-{number}"), Some(Labels::new()));
        let remote = (0..endpoints).map(move |number| of_endpoint(&endpoint(&there, number)));
        let local = (endpoints..endpoints + locals).map(move |number| of_endpoint(&endpoint(&here, number)));
        let namespaces = (0..NAMESPACES).map(namespace);
        std::iter::once(network).chain(policies).chain(namespaces).chain(remote).chain(local)
    }
}
