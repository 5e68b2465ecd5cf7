//! The keys and values of the cluster store: paths, and JSON of [`Fact`]s. Used by the agent; stores see bytes only.
//!
//! | key | value |
//! |---|---|
//! | `/objects/KIND/NAME`, `/objects/networkpolicy/NAMESPACE/NAME` | [`Object`](super::Object) |
//! | `/blocks/10.65.0.0-26` | [`Block`](super::Block) |
//! | `/endpoints/NODE/NETWORK/CONTAINER/IFNAME`, percent-encoded | [`Endpoint`](super::Endpoint) |
//! | `/conditions/NODE` | [`NodeCondition`](super::NodeCondition) |
//! | `/pending/ID` | what a change was before that nobody has confirmed yet; the agent's own |
//! | `/cut` | the name of the last wish to end connections that policy denies; the agent's own |
//! | `/uses/KIND/NAME/NODE` | [`ObjectUse`], read by whoever changes objects |

use super::{Cidr, EndpointKey, Fact, InterfaceName, Kind, NetworkName, NodeName, ObjectKey, ObjectUse};

pub const OBJECTS: &str = "/objects/";
pub const BLOCKS: &str = "/blocks/";
pub const ENDPOINTS: &str = "/endpoints/";
pub const CONDITIONS: &str = "/conditions/";
/// The prefix of the objects by which endpoints are known that no runtime makes.
pub const WORKLOAD_ENDPOINTS: &str = "/objects/workloadendpoint/";
/// A key, where the others are prefixes.
pub const CUT: &str = "/cut";
pub const USES: &str = "/uses/";

/// A key of the store, understood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreKey {
    Object(ObjectKey),
    Block(Cidr),
    Endpoint(NodeName, EndpointKey),
    Condition(NodeName),
}

/// Why a key or value of the store means nothing to us: written by something else, or by a later version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("store key {key}: {what}")]
pub struct StoreFormatError {
    pub key: String,
    pub what: String,
}

impl StoreKey {
    /// The path in the store.
    pub fn path(&self) -> String {
        match self {
            StoreKey::Object(key) => match &key.namespace {
                Some(namespace) => format!("{OBJECTS}{}/{}/{}", key.kind.word(), encode(namespace), encode(&key.name)),
                None => format!("{OBJECTS}{}/{}", key.kind.word(), encode(&key.name)),
            },
            StoreKey::Block(cidr) => format!("{BLOCKS}{}-{}", cidr.address(), cidr.length()),
            StoreKey::Endpoint(node, key) => format!(
                "{}{}/{}/{}",
                endpoints_of(node),
                encode(key.network.as_str()),
                encode(&key.container_id),
                encode(key.ifname.as_str())
            ),
            StoreKey::Condition(node) => format!("{CONDITIONS}{node}"),
        }
    }

    pub fn parse(path: &str) -> Result<StoreKey, StoreFormatError> {
        parse(path).ok_or_else(|| StoreFormatError { key: path.to_string(), what: "not a key of ours".to_string() })
    }

    /// The key under which a fact is kept.
    pub fn of(fact: &Fact) -> StoreKey {
        match fact {
            Fact::Object(object) => StoreKey::Object(object.key()),
            Fact::Block(block) => StoreKey::Block(block.cidr),
            Fact::Endpoint(endpoint) => StoreKey::Endpoint(endpoint.node.clone(), endpoint.key.clone()),
            Fact::Condition(condition) => StoreKey::Condition(condition.node.clone()),
        }
    }
}

/// The prefix of all endpoints of a node.
pub fn endpoints_of(node: &NodeName) -> String {
    format!("{ENDPOINTS}{node}/")
}

/// The prefix of all objects of a kind.
pub fn objects_of(kind: Kind) -> String {
    format!("{OBJECTS}{}/", kind.word())
}

/// The key of a use.
pub fn use_path(used: &ObjectUse) -> String {
    format!("{USES}{}/{}/{}", used.object.kind.word(), encode(&used.object.name), used.node)
}

/// A fact as the store keeps it.
pub fn encode_fact(fact: &Fact) -> Vec<u8> {
    serde_json::to_vec(fact).expect("facts are plain data with text keys")
}

/// What the store keeps under `key`; an error too where key and value do not belong together.
pub fn decode_fact(key: &str, value: &[u8]) -> Result<Fact, StoreFormatError> {
    let bad = |what: String| StoreFormatError { key: key.to_string(), what };
    let expected = StoreKey::parse(key)?;
    let fact: Fact = serde_json::from_slice(value).map_err(|error| bad(error.to_string()))?;
    let actual = StoreKey::of(&fact);
    if actual != expected {
        return Err(bad(format!("holds what belongs to {}", actual.path())));
    }
    Ok(fact)
}

fn parse(path: &str) -> Option<StoreKey> {
    if let Some(rest) = path.strip_prefix(OBJECTS) {
        let mut parts = rest.split('/');
        let word = parts.next()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let namespace = if kind.is_namespaced() { Some(decode(parts.next()?)?) } else { None };
        let name = decode(parts.next()?)?;
        return parts.next().is_none().then_some(StoreKey::Object(ObjectKey { kind, namespace, name }));
    }
    if let Some(rest) = path.strip_prefix(BLOCKS) {
        let (address, length) = rest.rsplit_once('-')?;
        return format!("{address}/{length}").parse().ok().map(StoreKey::Block);
    }
    if let Some(rest) = path.strip_prefix(ENDPOINTS) {
        let mut parts = rest.split('/');
        let node = NodeName::new(parts.next()?).ok()?;
        let network = NetworkName::new(decode(parts.next()?)?).ok()?;
        let container_id = decode(parts.next()?)?;
        let ifname = InterfaceName::new(decode(parts.next()?)?).ok()?;
        let key = EndpointKey { network, container_id, ifname };
        return parts.next().is_none().then_some(StoreKey::Endpoint(node, key));
    }
    NodeName::new(path.strip_prefix(CONDITIONS)?).ok().map(StoreKey::Condition)
}

/// Percent-encoding of all but unreserved characters (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
