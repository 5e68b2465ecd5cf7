//! Objects as rows of a table, for `get -o table` and `-o wide`.

use super::yaml::{import_word, isolation_word, staged_action_word, tier_action_word};
use super::{
    BgpConfiguration, BgpFilter, BgpPeer, HostEndpoint, HostInterface, Kind, KubernetesPolicy, MeshLayout, Node,
    Object, Policy, Pool, StagedAction, WorkloadEndpoint,
};

/// The headings of a kind's table.
pub fn columns(kind: Kind, wide: bool) -> Vec<&'static str> {
    let (narrow, more): (&[&str], &[&str]) = match kind {
        Kind::IPPool => (&["NAME", "CIDR", "BLOCK SIZE", "DISABLED"], &["NODES", "UNREACHABLE ROUTE"]),
        Kind::Node => (&["NAME", "IPV4", "IPV6", "AS"], &["ROUTER ID", "BGP PORT", "MESH", "LABELS"]),
        Kind::Network => (&["NAME", "POOLS", "ISOLATION"], &[]),
        Kind::GlobalNetworkPolicy => (&["NAME", "ORDER", "SELECTOR"], &["TYPES", "INGRESS RULES", "EGRESS RULES"]),
        Kind::NetworkPolicy => {
            (&["NAMESPACE", "NAME", "ORDER", "SELECTOR"], &["TYPES", "INGRESS RULES", "EGRESS RULES"])
        }
        Kind::KubernetesNetworkPolicy => {
            (&["NAMESPACE", "NAME", "SELECTOR", "TYPES"], &["INGRESS RULES", "EGRESS RULES"])
        }
        Kind::StagedGlobalNetworkPolicy => {
            (&["NAME", "ACTION", "ORDER", "SELECTOR"], &["TYPES", "INGRESS RULES", "EGRESS RULES"])
        }
        Kind::StagedNetworkPolicy => {
            (&["NAMESPACE", "NAME", "ACTION", "ORDER", "SELECTOR"], &["TYPES", "INGRESS RULES", "EGRESS RULES"])
        }
        Kind::StagedKubernetesNetworkPolicy => {
            (&["NAMESPACE", "NAME", "ACTION", "SELECTOR", "TYPES"], &["INGRESS RULES", "EGRESS RULES"])
        }
        Kind::GlobalNetworkSet => (&["NAME", "NETS"], &["LABELS"]),
        Kind::BGPPeer => (&["NAME", "PEER", "AS", "NODES"], &["PASSIVE", "IMPORT", "HOLD TIME"]),
        Kind::BGPFilter => (&["NAME", "IMPORT V4", "EXPORT V4", "IMPORT V6", "EXPORT V6"], &[]),
        Kind::BGPConfiguration => (&["NAME", "MESH", "AS"], &["LISTEN PORT"]),
        Kind::IPReservation => (&["NAME", "RESERVED"], &[]),
        Kind::Tier => (&["NAME", "ORDER", "DEFAULT ACTION"], &[]),
        Kind::NetworkSet => (&["NAMESPACE", "NAME", "NETS"], &["LABELS"]),
        Kind::Namespace => (&["NAME", "LABELS"], &[]),
        Kind::ServiceAccount => (&["NAMESPACE", "NAME", "LABELS"], &[]),
        Kind::HostEndpoint => (&["NAME", "NODE", "INTERFACE", "EXPECTED IPS"], &["PROFILES", "LABELS"]),
        Kind::WorkloadEndpoint => {
            (&["NAMESPACE", "NAME", "NODE", "ADDRESSES", "INTERFACE"], &["NETWORK", "WORKLOAD", "PROFILES", "LABELS"])
        }
        Kind::Profile => (&["NAME", "INGRESS RULES", "EGRESS RULES"], &["LABELS TO APPLY"]),
    };
    narrow.iter().chain(if wide { more } else { &[] }).copied().collect()
}

/// The object's cells under [`columns`] of its kind. What is not set is `-`.
pub fn row(object: &Object, wide: bool) -> Vec<String> {
    let mut cells = match object {
        Object::IPPool(pool) => pool_row(pool),
        Object::Node(node) => node_row(node),
        Object::Network(network) => {
            vec![network.name.to_string(), joined(&network.pools), isolation_word(network.isolation).to_string()]
        }
        Object::GlobalNetworkPolicy(policy) => policy_row(policy),
        Object::NetworkPolicy(policy) => namespaced_policy_row(policy),
        Object::KubernetesNetworkPolicy(policy) => kubernetes_row(policy),
        Object::StagedGlobalNetworkPolicy(staged) => staged_row(policy_row(&staged.policy), 1, staged.action),
        Object::StagedNetworkPolicy(staged) => staged_row(namespaced_policy_row(&staged.policy), 2, staged.action),
        Object::StagedKubernetesNetworkPolicy(staged) => staged_row(kubernetes_row(&staged.policy), 2, staged.action),
        Object::NetworkSet(set) => {
            vec![or_dash(set.namespace.clone()), set.name.clone(), joined(&set.nets), labels(&set.labels)]
        }
        Object::Namespace(namespace) => vec![namespace.name.clone(), labels(&namespace.labels)],
        Object::ServiceAccount(account) => {
            vec![account.namespace.clone(), account.name.clone(), labels(&account.labels)]
        }
        Object::HostEndpoint(host) => host_endpoint_row(host),
        Object::WorkloadEndpoint(workload) => workload_endpoint_row(workload),
        Object::Profile(profile) => vec![
            profile.name.clone(),
            profile.ingress.len().to_string(),
            profile.egress.len().to_string(),
            labels(&profile.labels_to_apply),
        ],
        Object::GlobalNetworkSet(set) => vec![set.name.clone(), joined(&set.nets), labels(&set.labels)],
        Object::BGPPeer(peer) => bgp_peer_row(peer),
        Object::BGPFilter(filter) => bgp_filter_row(filter),
        Object::BGPConfiguration(settings) => bgp_configuration_row(settings),
        Object::IPReservation(reservation) => vec![reservation.name.clone(), joined(&reservation.cidrs)],
        Object::Tier(tier) => {
            vec![tier.name.clone(), or_dash(tier.order), tier_action_word(tier.default_action).to_string()]
        }
    };
    cells.truncate(columns(object.kind(), wide).len());
    cells
}

fn pool_row(pool: &Pool) -> Vec<String> {
    vec![
        pool.name.to_string(),
        pool.cidr.to_string(),
        pool.block_size.to_string(),
        yes_no(pool.disabled),
        pool.node_selector.clone(),
        yes_no(pool.unreachable_route),
    ]
}

fn node_row(node: &Node) -> Vec<String> {
    vec![
        node.name.to_string(),
        or_dash(node.ipv4),
        or_dash(node.ipv6),
        node.as_number.to_string(),
        node.router_id.to_string(),
        node.bgp_port.to_string(),
        yes_no(node.mesh),
        labels(&node.labels),
    ]
}

fn host_endpoint_row(host: &HostEndpoint) -> Vec<String> {
    vec![
        host.name.clone(),
        host.node.to_string(),
        match &host.interface {
            HostInterface::Named(name) => name.to_string(),
            HostInterface::Every => "*".to_string(),
            HostInterface::ByAddress => "-".to_string(),
        },
        joined(&host.expected_ips),
        joined(&host.profiles),
        labels(&host.labels),
    ]
}

fn workload_endpoint_row(workload: &WorkloadEndpoint) -> Vec<String> {
    let WorkloadEndpoint { name, endpoint } = workload;
    vec![
        endpoint.namespace.clone(),
        name.clone(),
        endpoint.node.to_string(),
        joined(&endpoint.addresses),
        endpoint.host_interface().to_string(),
        endpoint.key.network.to_string(),
        endpoint.name.clone(),
        joined(endpoint.profiles.as_deref().unwrap_or_default()),
        labels(&endpoint.labels),
    ]
}

fn bgp_peer_row(peer: &BgpPeer) -> Vec<String> {
    vec![
        peer.name.clone(),
        match (&peer.interface, peer.port) {
            (Some(interface), _) if peer.address.is_unspecified() => interface.to_string(),
            (Some(interface), _) => format!("{}%{interface}", peer.address),
            (None, 179) => peer.address.to_string(),
            (None, port) => std::net::SocketAddr::new(peer.address, port).to_string(),
        },
        peer.as_number.to_string(),
        match (&peer.node, &peer.node_selector) {
            (Some(node), _) => node.to_string(),
            (None, Some(selector)) => selector.clone(),
            (None, None) => "all()".to_string(),
        },
        yes_no(peer.passive),
        import_word(peer.import).to_string(),
        or_dash(peer.hold_time),
    ]
}

/// How many rules each of its lists has.
fn bgp_filter_row(filter: &BgpFilter) -> Vec<String> {
    let rules = [&filter.import4, &filter.export4, &filter.import6, &filter.export6];
    let counts = rules.into_iter().map(|rules| rules.len().to_string());
    [filter.name.clone()].into_iter().chain(counts).collect()
}

fn bgp_configuration_row(settings: &BgpConfiguration) -> Vec<String> {
    vec![
        settings.name.clone(),
        match (settings.node_to_node_mesh, settings.mesh) {
            (false, _) => "no".to_string(),
            (true, MeshLayout::Full) => "full".to_string(),
            (true, MeshLayout::Auto { limit }) => format!("auto, {limit}"),
        },
        or_dash(settings.as_number),
        or_dash(settings.listen_port),
    ]
}

fn types(ingress: bool, egress: bool) -> String {
    match (ingress, egress) {
        (true, true) => "Ingress,Egress",
        (true, false) => "Ingress",
        (false, true) => "Egress",
        (false, false) => "-",
    }
    .to_string()
}

fn kubernetes_row(policy: &KubernetesPolicy) -> Vec<String> {
    vec![
        policy.namespace.clone(),
        policy.name.clone(),
        policy.pod_selector.to_selector(),
        types(policy.applies_ingress, policy.applies_egress),
        policy.ingress.len().to_string(),
        policy.egress.len().to_string(),
    ]
}

/// The row of the policy, with what is to become of it in its place.
fn staged_row(mut cells: Vec<String>, place: usize, action: StagedAction) -> Vec<String> {
    cells.insert(place, staged_action_word(action).to_string());
    cells
}

fn policy_row(policy: &Policy) -> Vec<String> {
    vec![
        policy.key.name.clone(),
        or_dash(policy.order),
        if policy.selector.is_empty() { "all()".to_string() } else { policy.selector.clone() },
        types(policy.applies_ingress, policy.applies_egress),
        policy.ingress.len().to_string(),
        policy.egress.len().to_string(),
    ]
}

fn namespaced_policy_row(policy: &Policy) -> Vec<String> {
    let mut cells = vec![or_dash(policy.key.namespace.clone())];
    cells.extend(policy_row(policy));
    cells
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_string(), |value| value.to_string())
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_string()
}

fn joined<T: ToString>(values: &[T]) -> String {
    match values {
        [] => "-".to_string(),
        values => values.iter().map(T::to_string).collect::<Vec<_>>().join(","),
    }
}

fn labels(labels: &super::Labels) -> String {
    joined(&labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>())
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
