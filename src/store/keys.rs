//! How the cluster store's keys are spelt. Called by whoever reads or writes the store.

use routenet_core::model::{Cidr, EndpointKey, Fact, Kind, NodeName, Object, ObjectKey, PolicyKey};

pub const ALL: &str = "/";
pub const OBJECTS: &str = "/objects/";
pub const BLOCKS: &str = "/blocks/";
pub const ENDPOINTS: &str = "/endpoints/";
pub const CONDITIONS: &str = "/conditions/";

/// `/objects/ippool/NAME`, `/objects/networkpolicy/NAMESPACE/NAME`.
pub fn object(key: &ObjectKey) -> String {
    let kind = kind(key.kind);
    match &key.namespace {
        Some(namespace) => format!("{OBJECTS}{kind}/{namespace}/{}", key.name),
        None => format!("{OBJECTS}{kind}/{}", key.name),
    }
}

/// All objects of a kind.
pub fn objects_of(of: Kind) -> String {
    format!("{OBJECTS}{}/", kind(of))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::IPPool => "ippool",
        Kind::Node => "node",
        Kind::Network => "network",
        Kind::GlobalNetworkPolicy => "globalnetworkpolicy",
        Kind::NetworkPolicy => "networkpolicy",
        Kind::GlobalNetworkSet => "globalnetworkset",
        Kind::BGPPeer => "bgppeer",
        Kind::BGPConfiguration => "bgpconfiguration",
    }
}

/// `/blocks/10.0.0.0-26`.
pub fn block(cidr: &Cidr) -> String {
    format!("{BLOCKS}{}-{}", cidr.address(), cidr.length())
}

/// `/endpoints/NODE/NETWORK/CONTAINER/IFNAME`.
pub fn endpoint(node: &NodeName, key: &EndpointKey) -> String {
    format!("{ENDPOINTS}{node}/{key}")
}

/// All endpoints of a node.
pub fn endpoints_of(node: &NodeName) -> String {
    format!("{ENDPOINTS}{node}/")
}

/// `/conditions/NODE`.
pub fn condition(node: &NodeName) -> String {
    format!("{CONDITIONS}{node}")
}

/// What identifies an object.
pub fn object_key(object: &Object) -> ObjectKey {
    let plain = |kind, name: &str| ObjectKey { kind, namespace: None, name: name.to_string() };
    let policy = |kind, key: &PolicyKey| ObjectKey { kind, namespace: key.namespace.clone(), name: key.name.clone() };
    match object {
        Object::IPPool(pool) => plain(Kind::IPPool, pool.name.as_str()),
        Object::Node(node) => plain(Kind::Node, node.name.as_str()),
        Object::Network(network) => plain(Kind::Network, network.name.as_str()),
        Object::GlobalNetworkPolicy(it) => policy(Kind::GlobalNetworkPolicy, &it.key),
        Object::NetworkPolicy(it) => policy(Kind::NetworkPolicy, &it.key),
        Object::GlobalNetworkSet(set) => plain(Kind::GlobalNetworkSet, &set.name),
        Object::BGPPeer(peer) => plain(Kind::BGPPeer, &peer.name),
        Object::BGPConfiguration(configuration) => plain(Kind::BGPConfiguration, &configuration.name),
    }
}

/// The key under which a fact stands.
pub fn of(fact: &Fact) -> String {
    match fact {
        Fact::Object(it) => object(&object_key(it)),
        Fact::Block(it) => block(&it.cidr),
        Fact::Endpoint(it) => endpoint(&it.node, &it.key),
        Fact::Condition(it) => condition(&it.node),
    }
}

/// A fact as the store keeps it.
pub fn encode(fact: &Fact) -> Vec<u8> {
    serde_json::to_vec(fact).expect("model values have string keys only")
}

/// A value of the store, whose key must be the one that its content asks for.
///
/// # Errors
/// What is wrong with it, for a warning: one bad value must not stop the others.
pub fn decode(key: &str, value: &[u8]) -> Result<Fact, String> {
    let fact: Fact = serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))?;
    let expected = of(&fact);
    if expected == key { Ok(fact) } else { Err(format!("{key} holds what belongs to {expected}")) }
}
