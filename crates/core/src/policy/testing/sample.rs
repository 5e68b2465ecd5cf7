//! Small clusters: two nodes, three networks (one of them known to nobody), eight endpoints, and whatever policies and
//! network sets proptest makes up.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use crate::desired::{FactDelta, Settings};
use crate::model::config::{Failsafe, FailsafePort};
use crate::model::*;

pub fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub fn network_name(name: &str) -> NetworkName {
    NetworkName::new(name).unwrap()
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub fn settings(name: &str) -> Settings {
    Settings {
        address4: Some(if name == "n1" { [192, 0, 2, 1] } else { [192, 0, 2, 2] }.into()),
        address6: Some(if name == "n1" { "2001:db8::1" } else { "2001:db8::2" }.parse().unwrap()),
        failsafe: Failsafe {
            inbound: vec![FailsafePort { protocol: Protocol::TCP, port: 443, net: None }],
            outbound: vec![FailsafePort { protocol: Protocol::UDP, port: 443, net: None }],
        },
        ..Settings::new(node(name))
    }
}

pub fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// An endpoint of the workload `namespace/name`, whose container is called `name` too.
pub fn endpoint(on: &str, network: &str, name: &str, addresses: &[&str], pairs: &[(&str, &str)]) -> Endpoint {
    let interface = if network == "green" { "eth1" } else { "eth0" };
    Endpoint {
        key: EndpointKey {
            network: network_name(network),
            container_id: name.to_string(),
            ifname: InterfaceName::new(interface).unwrap(),
        },
        node: node(on),
        namespace: "default".to_string(),
        name: name.to_string(),
        labels: labels(pairs),
        service_account: None,
        ports: Vec::new(),
        profiles: None,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        interface: None,
        attachment: None,
    }
}

pub fn endpoint_fact(endpoint: &Endpoint) -> FactDelta {
    FactDelta::Endpoint { node: endpoint.node.clone(), key: endpoint.key.clone(), endpoint: Some(endpoint.clone()) }
}

pub fn endpoint_gone(endpoint: &Endpoint) -> FactDelta {
    FactDelta::Endpoint { node: endpoint.node.clone(), key: endpoint.key.clone(), endpoint: None }
}

pub fn network(name: &str, isolation: Isolation) -> FactDelta {
    let pools = vec![PoolName::new(name).unwrap()];
    FactDelta::Network(network_name(name), Some(Network { name: network_name(name), pools, isolation }))
}

pub fn pool(name: &str, cidr: &str) -> FactDelta {
    let name = PoolName::new(name).unwrap();
    let pool = Pool {
        name: name.clone(),
        cidr: cidr.parse().unwrap(),
        block_size: 26,
        disabled: false,
        node_selector: String::new(),
        unreachable_route: true,
        encapsulation: Default::default(),
        nat_outgoing: false,
    };
    FactDelta::Pool(name, Some(pool))
}

pub fn rule(action: Action) -> PolicyRule {
    PolicyRule::any(action)
}

/// Allow (or what `action` is) TCP to a port from whom the selector matches.
pub fn tcp_from(action: Action, selector: &str, port: u16) -> PolicyRule {
    let mut rule = rule(action);
    rule.protocol = Some(Protocol::TCP);
    rule.source.selector = Some(selector.to_string());
    rule.destination.ports = vec![PortMatch { first: port, last: port }];
    rule
}

/// A GlobalNetworkPolicy for what arrives.
pub fn ingress_policy(name: &str, selector: &str, ingress: Vec<PolicyRule>) -> Policy {
    Policy {
        key: ObjectKey::global(Kind::GlobalNetworkPolicy, name),
        tier: "default".to_string(),
        order: None,
        namespace_selector: None,
        service_account_selector: None,
        selector: selector.to_string(),
        stage: PolicyStage::Filter,
        apply_on_forward: false,
        applies_ingress: true,
        applies_egress: false,
        ingress,
        egress: Vec::new(),
    }
}

pub fn policy_fact(policy: &Policy) -> FactDelta {
    FactDelta::Policy(policy.key.clone(), Some(policy.clone()))
}

pub fn network_set(name: &str, nets: &[&str], pairs: &[(&str, &str)]) -> FactDelta {
    let set = NetworkSet { namespace: None, name: name.to_string(), labels: labels(pairs), nets: cidrs(nets) };
    FactDelta::NetworkSet(set.key(), Some(set))
}

/// What identifies a fact, so that the last word on each can be found.
fn fact_key(delta: &FactDelta) -> String {
    match delta {
        FactDelta::Endpoint { node, key, .. } => format!("endpoint {node} {key}"),
        FactDelta::Policy(key, _) => format!("policy {key}"),
        FactDelta::NetworkSet(key, _) => format!("set {key:?}"),
        FactDelta::Namespace(name, _) => format!("namespace {name}"),
        FactDelta::ServiceAccount(namespace, name, _) => format!("service account {namespace}/{name}"),
        FactDelta::Tier(name, _) => format!("tier {name}"),
        FactDelta::Network(name, _) => format!("network {name}"),
        FactDelta::Pool(name, _) => format!("pool {name}"),
        FactDelta::Node(name, _) => format!("node {name}"),
        FactDelta::OwnBlock(cidr, _) => format!("block {cidr}"),
        FactDelta::Learned(cidr, _) => format!("learned {cidr}"),
        FactDelta::OffLink(hop, _) => format!("off link {hop}"),
        FactDelta::Gateways(hop, _) => format!("gateways of {hop}"),
        FactDelta::Staged(key, _) => format!("staged {key}"),
        FactDelta::Profile(name, _) => format!("profile {name}"),
        FactDelta::HostEndpoint(name, _) => format!("host endpoint {name}"),
        FactDelta::HostAddresses(interface, _) => format!("addresses of {interface}"),
        FactDelta::TunnelAddress(kind, address, _) => format!("{kind} {address}"),
    }
}

/// The facts that hold after all these changes, in an order of their own.
pub fn final_facts(deltas: &[FactDelta]) -> Vec<FactDelta> {
    let last: BTreeMap<String, FactDelta> = deltas.iter().map(|delta| (fact_key(delta), delta.clone())).collect();
    last.into_values().rev().collect()
}

const SELECTORS: [&str; 12] = [
    "all()",
    "role == 'client'",
    "role != 'client'",
    "role in {'client', 'web'}",
    "has(role)",
    "!has(app)",
    "app == 'x' && role == 'web'",
    "app == 'x' || role == 'guest'",
    "projectcalico.org/namespace == 'prod'",
    "role starts with 'g'",
    "!(role == 'web' && has(app))",
    "global()",
];
const NAMESPACE_SELECTORS: [&str; 6] = [
    "all()",
    "global()",
    "projectcalico.org/name == 'prod'",
    "kubernetes.io/metadata.name != 'prod'",
    "role == 'client'",
    "!has(app)",
];
const NETS: [&str; 10] = [
    "0.0.0.0/0",
    "10.65.0.0/16",
    "10.65.0.8/30",
    "10.65.0.11/32",
    "198.51.100.0/24",
    "192.0.2.0/24",
    "::/0",
    "fd65::/64",
    "fd65::b/128",
    "2001:db8::/32",
];
const PORTS: [u16; 4] = [80, 81, 443, 8080];

fn maybe(chance: f64, from: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(chance, prop::sample::select(from).prop_map(String::from))
}

fn some_labels() -> impl Strategy<Value = Labels> {
    let role = prop::option::of(prop::sample::select(vec!["client", "web", "guest"]));
    let app = prop::option::of(prop::sample::select(vec!["x", "y"]));
    (role, app).prop_map(|(role, app)| {
        let pairs = role.map(|value| ("role", value)).into_iter().chain(app.map(|value| ("app", value)));
        pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
    })
}

/// The endpoint number `index`: its node, network, container and addresses are always the same. 0 and 1 are one
/// container in two networks; 7 is in a network that nobody knows.
pub fn numbered_endpoint(index: u8, families: u8, labels: Labels) -> Endpoint {
    let on = if index < 4 { "n1" } else { "n2" };
    let network = match index {
        7 => "lost",
        even if even.is_multiple_of(2) => "blue",
        _ => "green",
    };
    let name = if index == 1 { "w0".to_string() } else { format!("w{index}") };
    let (v4, v6) = (format!("10.65.0.{}", 8 + index), format!("fd65::{:x}", 8 + index));
    let addresses: &[&str] = match families {
        0 => &[&v4],
        1 => &[&v6],
        _ => &[&v4, &v6],
    };
    let mut endpoint = endpoint(on, network, &name, addresses, &[]);
    endpoint.labels = labels;
    endpoint.namespace = if index.is_multiple_of(3) { "prod" } else { "dev" }.to_string();
    endpoint.service_account = [None, Some("api"), Some("job")][index as usize % 3].map(String::from);
    // One name for another port in each workload, and in some for two protocols.
    let port = |name: &str, protocol, port| NamedPort { name: name.to_string(), protocol, port };
    endpoint.ports = match index % 4 {
        0 => Vec::new(),
        1 => vec![port("http", Protocol::TCP, PORTS[0])],
        2 => vec![port("http", Protocol::TCP, PORTS[1]), port("http", Protocol::UDP, PORTS[0])],
        _ => vec![port("dns", Protocol::UDP, PORTS[0])],
    };
    endpoint
}

fn some_ports() -> impl Strategy<Value = Vec<PortMatch>> {
    let one =
        (prop::sample::select(&PORTS[..]), 0u16..3).prop_map(|(first, more)| PortMatch { first, last: first + more });
    let many = Just((0..20u16).map(|n| PortMatch { first: 70 + 2 * n, last: 70 + 2 * n }).collect());
    prop_oneof![4 => Just(Vec::new()), 3 => prop::collection::vec(one, 1..3), 1 => many]
}

fn some_side() -> impl Strategy<Value = EntityRule> {
    let nets = || {
        let some = prop::sample::subsequence(&NETS[..], 1..4).prop_map(|texts| cidrs(&texts));
        prop_oneof![3 => Just(Vec::new()), 1 => some]
    };
    let selectors = (maybe(0.4, &SELECTORS), maybe(0.2, &SELECTORS), maybe(0.15, &NAMESPACE_SELECTORS));
    let names = || prop::collection::vec(prop::sample::select(vec!["http".to_string(), "dns".to_string()]), 0..2);
    let accounts = prop::option::weighted(
        0.15,
        (prop::sample::subsequence(vec!["api", "job"], 0..=2), maybe(0.5, &SELECTORS)).prop_map(|(names, selector)| {
            ServiceAccountMatch { names: names.into_iter().map(String::from).collect(), selector }
        }),
    );
    let ports =
        (some_ports(), some_ports(), prop::option::weighted(0.3, names()), prop::option::weighted(0.15, names()));
    (nets(), nets(), selectors, accounts, ports).prop_map(|(nets, not_nets, selectors, service_accounts, ports)| {
        let (selector, not_selector, namespace_selector) = selectors;
        let (ports, not_ports, named_ports, not_named_ports) = ports;
        EntityRule {
            nets,
            not_nets: not_nets.into_iter().filter(|net| net.length() > 0).collect(),
            selector,
            not_selector,
            namespace_selector,
            service_accounts,
            ports,
            not_ports,
            named_ports: named_ports.unwrap_or_default(),
            not_named_ports: not_named_ports.unwrap_or_default(),
        }
    })
}

fn some_rule() -> impl Strategy<Value = PolicyRule> {
    let action = prop::sample::select(vec![Action::Allow, Action::Allow, Action::Deny, Action::Pass, Action::Log]);
    let protocol = prop::option::weighted(
        0.7,
        prop::sample::select(vec![Protocol::TCP, Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ICMPV6]),
    );
    let version = prop::option::weighted(0.2, prop::sample::select(vec![4u8, 6]));
    let icmp = || {
        let one = prop::sample::select(vec![(8u8, None), (8, Some(0u8)), (13, None), (128, None), (128, Some(1))]);
        prop::option::weighted(0.4, one.prop_map(|(kind, code)| IcmpMatch { kind, code }))
    };
    let not_protocol = prop::option::weighted(0.15, prop::sample::select(vec![Protocol::TCP, Protocol::ICMP]));
    let fields = (action, version, protocol, not_protocol, icmp(), icmp());
    (fields, some_side(), some_side()).prop_map(|(fields, mut source, mut destination)| {
        let (action, ip_version, protocol, not_protocol, mut icmp, mut not_icmp) = fields;
        if !protocol.is_some_and(Protocol::has_ports) {
            for side in [&mut source, &mut destination] {
                side.ports.clear();
                side.not_ports.clear();
                if protocol.is_some() {
                    side.named_ports.clear();
                    side.not_named_ports.clear();
                }
            }
        }
        if !matches!(protocol, Some(Protocol::ICMP | Protocol::ICMPV6)) {
            (icmp, not_icmp) = (None, None);
        }
        PolicyRule { action, ip_version, protocol, not_protocol, icmp, not_icmp, source, destination }
    })
}

fn some_policy() -> impl Strategy<Value = Policy> {
    let name = prop::sample::select(vec!["a", "a-b", "b"]);
    let namespace = prop::option::weighted(0.4, prop::sample::select(vec!["prod", "dev"]));
    let order = prop::option::of(prop::sample::select(vec![10.0, 20.0]));
    let rules = || prop::collection::vec(some_rule(), 0..4);
    let types = prop::sample::select(vec![(true, false), (false, true), (true, true)]);
    let tier = prop::sample::select(vec!["default", "default", "early", "late", "kube-baseline", "nowhere"]);
    let place = (name, namespace, tier, order);
    let selectors = (prop::sample::select(&SELECTORS[..]), maybe(0.15, &SELECTORS), maybe(0.15, &SELECTORS));
    let stages = vec![
        (PolicyStage::Filter, false),
        (PolicyStage::Filter, false),
        (PolicyStage::Filter, true),
        (PolicyStage::PreDnat, true),
        (PolicyStage::Untracked, true),
    ];
    let types = (types, prop::sample::select(stages));
    (place, selectors, types, rules(), rules()).prop_map(
        |((name, namespace, tier, order), selectors, ((applies_ingress, applies_egress), stage), ingress, egress)| {
            Policy {
                key: match namespace {
                    Some(namespace) => ObjectKey::namespaced(Kind::NetworkPolicy, namespace, name),
                    None => ObjectKey::global(Kind::GlobalNetworkPolicy, name),
                },
                tier: tier.to_string(),
                order,
                selector: selectors.0.to_string(),
                namespace_selector: selectors.1.filter(|_| namespace.is_none()),
                service_account_selector: selectors.2,
                stage: if namespace.is_none() { stage.0 } else { PolicyStage::Filter },
                apply_on_forward: namespace.is_none() && stage.1,
                applies_ingress,
                applies_egress: applies_egress && (namespace.is_some() || stage.0 != PolicyStage::PreDnat),
                ingress,
                egress,
            }
        },
    )
}

/// Any change of a fact.
pub fn some_delta() -> impl Strategy<Value = FactDelta> {
    let kept = || prop::bool::weighted(0.75);
    let profiles = || {
        prop::sample::subsequence(vec!["p", "q", "kns.prod", "ksa.prod.api"], 0..=3)
            .prop_map(|names| names.into_iter().map(String::from))
    };
    let named = prop::option::weighted(0.3, profiles());
    let endpoints =
        (0u8..8, 0u8..4, some_labels(), named, kept()).prop_map(|(index, families, labels, named, kept)| {
            let mut endpoint = numbered_endpoint(index, families, labels);
            endpoint.profiles = named.map(Iterator::collect);
            if kept { endpoint_fact(&endpoint) } else { endpoint_gone(&endpoint) }
        });
    let policies = (some_policy(), kept())
        .prop_map(|(policy, kept)| FactDelta::Policy(policy.key.clone(), kept.then_some(policy)));
    let nets = prop::sample::subsequence(&NETS[..], 0..4).prop_map(|texts| cidrs(&texts));
    let places = || prop::sample::select(vec!["prod", "dev", "default"]);
    let of = prop::option::weighted(0.5, places());
    let sets = (of, prop::sample::select(vec!["s", "t"]), some_labels(), nets, kept()).prop_map(
        |(namespace, name, labels, nets, kept)| {
            let set = NetworkSet { namespace: namespace.map(String::from), name: name.to_string(), labels, nets };
            FactDelta::NetworkSet(set.key(), kept.then_some(set))
        },
    );
    let namespaces = (places(), some_labels(), kept())
        .prop_map(|(name, labels, kept)| FactDelta::Namespace(name.to_string(), kept.then_some(labels)));
    let accounts = (places(), prop::sample::select(vec!["api", "job"]), some_labels(), kept()).prop_map(
        |(namespace, name, labels, kept)| {
            FactDelta::ServiceAccount(namespace.to_string(), name.to_string(), kept.then_some(labels))
        },
    );
    let orders = prop::sample::select(vec![None, Some(5.0), Some(2_000_000.0)]);
    let actions = prop::sample::select(vec![TierAction::Deny, TierAction::Pass]);
    let tiers = (prop::sample::select(vec!["early", "late"]), orders, actions, kept()).prop_map(
        |(name, order, default_action, kept)| {
            let tier = Tier { name: name.to_string(), order, default_action };
            FactDelta::Tier(name.to_string(), kept.then_some(tier))
        },
    );
    let networks = (prop::sample::select(vec!["blue", "green"]), any::<bool>(), kept()).prop_map(
        |(name, open, kept)| match network(name, if open { Isolation::Open } else { Isolation::Network }) {
            FactDelta::Network(name, Some(network)) => FactDelta::Network(name, kept.then_some(network)),
            other => other,
        },
    );
    let pools = (prop::sample::select(vec!["blue", "green"]), prop::sample::select(&NETS[1..]), kept()).prop_map(
        |(name, cidr, kept)| match pool(name, cidr) {
            FactDelta::Pool(name, Some(pool)) => FactDelta::Pool(name, kept.then_some(pool)),
            other => other,
        },
    );
    let hosts =
        (prop::sample::select(vec!["n1", "n2"]), any::<bool>(), any::<bool>(), some_labels(), profiles(), kept());
    let hosts = hosts.prop_map(|(on, every, expects, labels, profiles, kept)| {
        let settings = settings(on);
        let addresses = [settings.address4.map(IpAddr::V4), settings.address6.map(IpAddr::V6)];
        let host = HostEndpoint {
            name: format!("h-{on}"),
            labels,
            node: node(on),
            interface: match every {
                true => HostInterface::Every,
                false => HostInterface::Named(InterfaceName::new("eth0").unwrap()),
            },
            expected_ips: addresses.into_iter().flatten().filter(|_| expects).collect(),
            profiles: profiles.collect(),
            ports: vec![NamedPort { name: "http".to_string(), protocol: Protocol::TCP, port: 82 }],
        };
        FactDelta::HostEndpoint(host.name.clone(), kept.then_some(host))
    });
    let rules = || prop::collection::vec(some_rule(), 0..3);
    let profiles = (prop::sample::select(vec!["p", "q", "kns.prod"]), some_labels(), rules(), rules(), kept())
        .prop_map(|(name, labels_to_apply, ingress, egress, kept)| {
            let profile = Profile { name: name.to_string(), labels_to_apply, ingress, egress };
            FactDelta::Profile(name.to_string(), kept.then_some(profile))
        });
    prop_oneof![2 => hosts, 2 => profiles, 6 => endpoints, 4 => policies, 1 => sets, 2 => tiers, 1 => namespaces, 1 => accounts, 1 => networks, 1 => pools]
}

/// The base that most clusters stand on.
pub fn base() -> Vec<FactDelta> {
    vec![
        network("blue", Isolation::Network),
        network("green", Isolation::Open),
        pool("blue", "10.65.0.0/16"),
        pool("green", "fd65::/64"),
    ]
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
