//! A node whose local endpoints have a policy each, so that each is a group of its own: engine and rules plane.

use std::net::{IpAddr, Ipv4Addr};

use routenet::plane::iptables::Backend;
use routenet::plane::rules::{RulesConfig, RulesPlane};
use routenet_core::desired::{Desired, DesiredDelta, FactDelta};
use routenet_core::model::{
    Action, Endpoint, EndpointKey, InterfaceName, Isolation, Kind, Network, NetworkName, NodeName, ObjectKey, Policy,
    PolicyRule, PortMatch, Protocol,
};

use crate::cluster;
use crate::place::block_on;

/// The endpoint of a number: its role is its own.
pub fn endpoint(on: &NodeName, number: usize, role: usize) -> Endpoint {
    let name = format!("w{number}");
    let low = u32::try_from(number).expect("fewer than addresses");
    Endpoint {
        key: EndpointKey {
            network: NetworkName::new("blue").expect("a name"),
            container_id: name.clone(),
            ifname: InterfaceName::new("eth0").expect("a name"),
        },
        node: on.clone(),
        namespace: "default".to_string(),
        name,
        service_account: None,
        labels: [("role".to_string(), format!("r{role}"))].into(),
        ports: Vec::new(),
        profiles: None,
        addresses: vec![IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(10, 65, 0, 1).to_bits() + low))],
        interface: None,
        attachment: None,
    }
}

/// Who has the role takes from this many others, one rule each; `port` is the one of the last rule.
pub fn policy(role: usize, rules: usize, roles: usize, port: u16) -> FactDelta {
    let rule = |index: usize| {
        let mut rule = PolicyRule::any(Action::Allow);
        rule.protocol = Some(Protocol::UDP);
        rule.source.selector = Some(format!("role == 'r{}'", (role + index) % roles));
        let port = if index + 1 == rules { port } else { 5_000 };
        rule.destination.ports = vec![PortMatch { first: port, last: port }];
        rule
    };
    let mut policy = Policy::sealed(ObjectKey::global(Kind::GlobalNetworkPolicy, format!("policy-{role}")));
    policy.selector = format!("role == 'r{role}'");
    policy.ingress = (0..rules).map(rule).collect();
    policy.egress = vec![PolicyRule::any(Action::Allow)];
    FactDelta::Policy(policy.key.clone(), Some(policy))
}

/// The engine of a node with `groups` local endpoints, and a policy of so many rules for each.
pub fn desired(groups: usize, rules: usize) -> Desired {
    let network = NetworkName::new("blue").expect("a name");
    let network = Network { name: network, pools: Vec::new(), isolation: Isolation::Open };
    let mut facts = vec![FactDelta::Network(network.name.clone(), Some(network))];
    let here = cluster::node("here");
    for role in 0..groups {
        facts.push(policy(role, rules, groups, 5_000));
        facts.push(cluster::of_endpoint(&endpoint(&here, role, role)));
    }
    let mut desired = Desired::new(&cluster::settings());
    desired.apply(&facts);
    desired
}

/// A plane in this thread's namespace that has brought all of it to the kernel.
pub fn plane(backend: Backend, desired: &Desired) -> RulesPlane {
    let plane = RulesPlane::spawn(RulesConfig::new(backend)).expect("a rules plane");
    let state = desired.state();
    block_on(plane.start(state.sets, state.chains, state.hooks)).expect("the kernel takes it");
    plane
}

/// What of a change is for sets and chains, to the kernel.
pub fn program(plane: &RulesPlane, delta: DesiredDelta) {
    block_on(plane.apply(delta.rules)).expect("the kernel takes it");
}
