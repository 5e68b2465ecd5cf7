//! Objects in the shape in which people write them. What a reader would infer is left out where leaving it out is
//! usual (ports of BGP, empty rules); what decides something is written even if it is the default.

use serde_json::{Map, Value, json};

use super::bfd::bfd_value;
use super::bgp::{BGP_PORT, import_word, peer_as_value};
use super::filter::filter_spec;
use super::peering::write_options;
use super::policy::{staged_action_word, tier_action_word};
use super::pool::{isolation_word, mode_field, mode_word};
use super::{kubernetes, workload};
use crate::model::{
    Action, BgpConfiguration, BgpPeer, DEFAULT_TIER, EntityRule, HostEndpoint, HostInterface, IcmpMatch, ImportPolicy,
    Labels, MeshLayout, NamedPort, Network, NetworkSet, Node, Object, Policy, PolicyRule, PolicyStage, Pool, PortMatch,
    Profile, Protocol, ServiceAccountMatch, StagedAction, Tier, TunnelKind,
};

/// The object as JSON of the shape in which people write it in YAML.
pub fn object_to_value(object: &Object) -> Value {
    let key = object.key();
    let mut metadata = Map::new();
    metadata.insert("name".into(), key.name.into());
    put(&mut metadata, "namespace", key.namespace);
    let labels = match object {
        Object::Node(node) => Some(&node.labels),
        Object::GlobalNetworkSet(set) | Object::NetworkSet(set) => Some(&set.labels),
        Object::Namespace(namespace) => Some(&namespace.labels),
        Object::ServiceAccount(account) => Some(&account.labels),
        Object::HostEndpoint(host) => Some(&host.labels),
        Object::WorkloadEndpoint(it) => Some(&it.endpoint.labels),
        _ => None,
    };
    put(&mut metadata, "labels", labels.filter(|labels| !labels.is_empty()).map(labels_value));
    let spec = match object {
        Object::Namespace(_) | Object::ServiceAccount(_) => {
            return json!({ "apiVersion": key.kind.api_version(), "kind": key.kind.written(), "metadata": metadata });
        }
        Object::IPPool(pool) => pool_spec(pool),
        Object::Node(node) => node_spec(node),
        Object::Network(network) => network_spec(network),
        Object::GlobalNetworkPolicy(policy) | Object::NetworkPolicy(policy) => policy_spec(policy),
        Object::GlobalNetworkSet(set) | Object::NetworkSet(set) => network_set_spec(set),
        Object::BGPPeer(peer) => peer_spec(peer),
        Object::BGPFilter(filter) => filter_spec(filter).into(),
        Object::BGPConfiguration(settings) => configuration_spec(settings),
        Object::Tier(tier) => tier_spec(tier),
        Object::HostEndpoint(host) => host_endpoint_spec(host),
        Object::WorkloadEndpoint(it) => workload::workload_endpoint_spec(it),
        Object::KubernetesNetworkPolicy(policy) => kubernetes::spec(policy),
        Object::StagedGlobalNetworkPolicy(staged) | Object::StagedNetworkPolicy(staged) => {
            staged_spec(policy_spec(&staged.policy), staged.action)
        }
        Object::StagedKubernetesNetworkPolicy(staged) => staged_spec(kubernetes::spec(&staged.policy), staged.action),
        Object::Profile(profile) => profile_spec(profile),
        Object::IPReservation(reservation) => json!({ "reservedCIDRs": texts(&reservation.cidrs) }),
    };
    json!({ "apiVersion": key.kind.api_version(), "kind": key.kind.written(), "metadata": metadata, "spec": spec })
}

/// One YAML document.
pub fn object_to_yaml(object: &Object) -> String {
    value_to_yaml(&object_to_value(object))
}

/// Several documents, with `---` between them.
pub fn objects_to_yaml(values: &[Value]) -> String {
    values.iter().map(value_to_yaml).collect::<Vec<_>>().join("---\n")
}

fn value_to_yaml(value: &Value) -> String {
    serde_yaml::to_string(value).expect("JSON with text keys is YAML")
}

pub fn put(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(key.into(), value.into());
    }
}

pub fn put_list(map: &mut Map<String, Value>, key: &str, values: Vec<Value>) {
    put(map, key, (!values.is_empty()).then_some(values));
}

pub fn texts<T: ToString>(values: &[T]) -> Vec<Value> {
    values.iter().map(|value| value.to_string().into()).collect()
}

pub fn labels_value(labels: &Labels) -> Value {
    labels.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect::<Map<_, _>>().into()
}

fn pool_spec(pool: &Pool) -> Value {
    json!({
        "cidr": pool.cidr,
        "blockSize": pool.block_size,
        "disabled": pool.disabled,
        "nodeSelector": pool.node_selector,
        "unreachableRoute": pool.unreachable_route,
        mode_field(TunnelKind::Ipip): mode_word(pool, TunnelKind::Ipip),
        mode_field(TunnelKind::Vxlan): mode_word(pool, TunnelKind::Vxlan),
        "natOutgoing": pool.nat_outgoing,
    })
}

fn network_spec(network: &Network) -> Value {
    json!({ "pools": texts(&network.pools), "isolation": isolation_word(network.isolation) })
}

fn network_set_spec(set: &NetworkSet) -> Value {
    json!({ "nets": texts(&set.nets) })
}

fn node_spec(node: &Node) -> Value {
    let mut bgp = Map::new();
    put(&mut bgp, "ipv4Address", node.ipv4.map(|address| address.to_string()));
    put(&mut bgp, "ipv6Address", node.ipv6.map(|address| address.to_string()));
    bgp.insert("asNumber".into(), node.as_number.into());
    bgp.insert("routerID".into(), node.router_id.to_string().into());
    bgp.insert("listenPort".into(), node.bgp_port.into());
    bgp.insert("nodeToNodeMesh".into(), node.mesh.into());
    let mut spec = Map::new();
    spec.insert("bgp".into(), bgp.into());
    put(&mut spec, "incarnation", Some(node.incarnation.clone()).filter(|text| !text.is_empty()));
    spec.into()
}

fn peer_spec(peer: &BgpPeer) -> Value {
    let address = match (peer.port, peer.place()) {
        (BGP_PORT, place) => place,
        (port, place) if peer.address.is_ipv4() => format!("{place}:{port}"),
        (port, place) => format!("[{place}]:{port}"),
    };
    let mut spec = Map::new();
    put(&mut spec, "node", peer.node.as_ref().map(|node| node.to_string()));
    put(&mut spec, "nodeSelector", peer.node_selector.clone());
    match peer.unnumbered() {
        Some(interface) => spec.insert("interface".into(), interface.to_string().into()),
        None => spec.insert("peerIP".into(), address.into()),
    };
    spec.insert("asNumber".into(), peer_as_value(peer.as_number));
    put(&mut spec, "passive", peer.passive.then_some(true));
    put(&mut spec, "import", (peer.import != ImportPolicy::None).then(|| import_word(peer.import)));
    put(&mut spec, "holdTime", peer.hold_time);
    put(&mut spec, "ttlSecurity", peer.transport.ttl_security);
    put(&mut spec, "passwordFile", peer.transport.password_file.clone());
    for (key, value) in write_options(&peer.options) {
        spec.insert(key.into(), value);
    }
    put(&mut spec, "bfd", bfd_value(peer.bfd));
    spec.into()
}

fn configuration_spec(settings: &BgpConfiguration) -> Value {
    let mut spec = Map::new();
    spec.insert("nodeToNodeMeshEnabled".into(), settings.node_to_node_mesh.into());
    if let MeshLayout::Auto { limit } = settings.mesh {
        spec.insert("mesh".into(), "auto".into());
        spec.insert("meshLimit".into(), limit.into());
    }
    put(&mut spec, "asNumber", settings.as_number);
    put(&mut spec, "listenPort", settings.listen_port);
    spec.into()
}

fn tier_spec(tier: &Tier) -> Value {
    let mut spec = Map::new();
    put(&mut spec, "order", tier.order.map(order_value));
    spec.insert("defaultAction".into(), tier_action_word(tier.default_action).into());
    spec.into()
}

fn host_endpoint_spec(host: &HostEndpoint) -> Value {
    let mut spec = Map::new();
    spec.insert("node".into(), host.node.to_string().into());
    let interface = match &host.interface {
        HostInterface::Named(name) => Some(name.to_string()),
        HostInterface::Every => Some("*".to_string()),
        HostInterface::ByAddress => None,
    };
    put(&mut spec, "interfaceName", interface);
    put_list(&mut spec, "expectedIPs", texts(&host.expected_ips));
    put_list(&mut spec, "profiles", texts(&host.profiles));
    put_list(&mut spec, "ports", host.ports.iter().map(named_port_value).collect());
    spec.into()
}

pub(super) fn named_port_value(port: &NamedPort) -> Value {
    json!({"name": port.name, "protocol": protocol_value(port.protocol), "port": port.port})
}

fn profile_spec(profile: &Profile) -> Value {
    let mut spec = Map::new();
    let labels = Some(&profile.labels_to_apply).filter(|labels| !labels.is_empty());
    put(&mut spec, "labelsToApply", labels.map(labels_value));
    put_list(&mut spec, "ingress", profile.ingress.iter().map(rule_value).collect());
    put_list(&mut spec, "egress", profile.egress.iter().map(rule_value).collect());
    spec.into()
}

fn policy_spec(policy: &Policy) -> Value {
    let mut spec = Map::new();
    put(&mut spec, "tier", Some(policy.tier.clone()).filter(|tier| tier != DEFAULT_TIER));
    put(&mut spec, "order", policy.order.map(order_value));
    put(&mut spec, "selector", Some(policy.selector.clone()).filter(|text| !text.is_empty()));
    put(&mut spec, "namespaceSelector", policy.namespace_selector.clone());
    put(&mut spec, "serviceAccountSelector", policy.service_account_selector.clone());
    put(&mut spec, "doNotTrack", (policy.stage == PolicyStage::Untracked).then_some(true));
    put(&mut spec, "preDNAT", (policy.stage == PolicyStage::PreDnat).then_some(true));
    put(&mut spec, "applyOnForward", policy.apply_on_forward.then_some(true));
    let types = [(policy.applies_ingress, "Ingress"), (policy.applies_egress, "Egress")];
    put_list(&mut spec, "types", types.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.into()).collect());
    put_list(&mut spec, "ingress", policy.ingress.iter().map(rule_value).collect());
    put_list(&mut spec, "egress", policy.egress.iter().map(rule_value).collect());
    spec.into()
}

fn staged_spec(mut spec: Value, action: StagedAction) -> Value {
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("stagedAction".into(), staged_action_word(action).into());
    }
    spec
}

/// `100`, not `100.0`, where it makes no difference.
fn order_value(order: f64) -> Value {
    let whole = order as i64;
    if whole as f64 == order && whole.unsigned_abs() < 1 << 53 && !(order == 0.0 && order.is_sign_negative()) {
        whole.into()
    } else {
        order.into()
    }
}

pub fn action_word(action: Action) -> &'static str {
    match action {
        Action::Allow => "Allow",
        Action::Deny => "Deny",
        Action::Pass => "Pass",
        Action::Log => "Log",
    }
}

fn rule_value(rule: &PolicyRule) -> Value {
    let mut value = Map::new();
    value.insert("action".into(), action_word(rule.action).into());
    put(&mut value, "ipVersion", rule.ip_version);
    put(&mut value, "protocol", rule.protocol.map(protocol_value));
    put(&mut value, "notProtocol", rule.not_protocol.map(protocol_value));
    put(&mut value, "icmp", rule.icmp.map(icmp_value));
    put(&mut value, "notICMP", rule.not_icmp.map(icmp_value));
    put(&mut value, "source", entity_value(&rule.source));
    put(&mut value, "destination", entity_value(&rule.destination));
    value.into()
}

pub fn protocol_value(protocol: Protocol) -> Value {
    match protocol {
        Protocol::TCP => "TCP".into(),
        Protocol::UDP => "UDP".into(),
        Protocol::ICMP => "ICMP".into(),
        Protocol::ICMPV6 => "ICMPv6".into(),
        Protocol::SCTP => "SCTP".into(),
        Protocol::UDPLITE => "UDPLite".into(),
        Protocol(number) => number.into(),
    }
}

fn icmp_value(icmp: IcmpMatch) -> Value {
    let mut value = Map::new();
    value.insert("type".into(), icmp.kind.into());
    put(&mut value, "code", icmp.code);
    value.into()
}

fn entity_value(entity: &EntityRule) -> Option<Value> {
    let mut value = Map::new();
    put_list(&mut value, "nets", texts(&entity.nets));
    put_list(&mut value, "notNets", texts(&entity.not_nets));
    put(&mut value, "selector", entity.selector.clone());
    put(&mut value, "notSelector", entity.not_selector.clone());
    put(&mut value, "namespaceSelector", entity.namespace_selector.clone());
    put(&mut value, "serviceAccounts", entity.service_accounts.as_ref().map(service_accounts_value));
    let ports = |ports: &[PortMatch], names: &[String]| ports.iter().map(port_value).chain(texts(names)).collect();
    put_list(&mut value, "ports", ports(&entity.ports, &entity.named_ports));
    put_list(&mut value, "notPorts", ports(&entity.not_ports, &entity.not_named_ports));
    (!value.is_empty()).then(|| value.into())
}

fn service_accounts_value(accounts: &ServiceAccountMatch) -> Value {
    let mut value = Map::new();
    put_list(&mut value, "names", texts(&accounts.names));
    put(&mut value, "selector", accounts.selector.clone());
    value.into()
}

fn port_value(port: &PortMatch) -> Value {
    if port.first == port.last { port.first.into() } else { format!("{}:{}", port.first, port.last).into() }
}
