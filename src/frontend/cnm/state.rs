//! What Docker has said and will not say again: kept in memory and, each as a note, in the journal.

use std::collections::BTreeMap;
use std::net::IpAddr;

use routenet_core::model::{Cidr, EndpointKey, Labels, NetworkName, PoolName, PublishedPort};
use serde::{Deserialize, Serialize};

/// A pool that Docker draws from, by its PoolID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PoolNote {
    pub pool: PoolName,
    pub cidr: Cidr,
    /// Docker let go of it, while its network still stands.
    pub released: bool,
    /// Seconds since the Unix epoch.
    pub since: u64,
}

/// A Docker network, by its NetworkID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NetworkNote {
    pub network: NetworkName,
    /// PoolIDs.
    pub pools: Vec<String>,
    /// All prefixes of the network.
    pub prefixes: Vec<Cidr>,
    pub mtu: Option<u32>,
    /// Without a default route.
    pub internal: bool,
}

/// A Docker endpoint, by its EndpointID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndpointNote {
    pub network_id: String,
    pub addresses: Vec<IpAddr>,
    pub mac: [u8; 6],
    pub joined: Option<Joined>,
    pub published: Vec<PublishedPort>,
    /// Once Docker has told.
    pub who: Option<Who>,
    /// An address of it had another holder a moment ago: closed until then, unless the
    /// container carries these labels too.
    pub rests: Option<Rest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Joined {
    pub key: EndpointKey,
    /// The path of the container's namespace; it need not exist yet.
    pub sandbox: String,
    pub next_hop: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Who {
    pub container: String,
    pub name: String,
    pub labels: Labels,
}

/// Times are seconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rest {
    pub at: u64,
    pub until: u64,
    pub labels: Option<Labels>,
}

/// An address that is given to Docker and to no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AddressNote {
    pub key: EndpointKey,
    pub pool_id: String,
    /// Asked for when the network was made (`--aux-address`): Docker says when it is free again.
    pub fixed: bool,
    pub rests: Option<Rest>,
    pub since: u64,
}

/// One thing that is known from now on, or, with `None`, no more.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Pool(String, Option<PoolNote>),
    Network(String, Option<NetworkNote>),
    Endpoint(String, Option<EndpointNote>),
    Address(IpAddr, Option<AddressNote>),
    /// The labels of an address's last holder, and until when they matter.
    Last(IpAddr, Option<Rest>),
}

#[derive(Default)]
pub(super) struct State {
    pub pools: BTreeMap<String, PoolNote>,
    pub networks: BTreeMap<String, NetworkNote>,
    pub endpoints: BTreeMap<String, EndpointNote>,
    pub addresses: BTreeMap<IpAddr, AddressNote>,
    pub last: BTreeMap<IpAddr, Rest>,
}

impl Change {
    /// Its name and text in the journal.
    pub fn note(&self) -> (String, Option<String>) {
        fn text<T: Serialize>(value: &Option<T>) -> Option<String> {
            value.as_ref().map(|value| serde_json::to_string(value).expect("plain data"))
        }
        match self {
            Change::Pool(id, note) => (format!("pool/{id}"), text(note)),
            Change::Network(id, note) => (format!("network/{id}"), text(note)),
            Change::Endpoint(id, note) => (format!("endpoint/{id}"), text(note)),
            Change::Address(address, note) => (format!("address/{address}"), text(note)),
            Change::Last(address, note) => (format!("last/{address}"), text(note)),
        }
    }
}

impl State {
    /// # Errors
    /// The note that cannot be read.
    pub fn read(notes: &[(String, String)]) -> Result<State, String> {
        fn value<T: for<'a> Deserialize<'a>>(name: &str, text: &str) -> Result<Option<T>, String> {
            serde_json::from_str(text).map(Some).map_err(|error| format!("note {name} of the journal: {error}"))
        }
        let address =
            |name: &str, of: &str| of.parse().map_err(|_| format!("note {name} of the journal names no address"));
        let mut state = State::default();
        for (name, text) in notes {
            let (kind, of) = name.split_once('/').unwrap_or((name, ""));
            let id = of.to_string();
            state.take(match kind {
                "pool" => Change::Pool(id, value(name, text)?),
                "network" => Change::Network(id, value(name, text)?),
                "endpoint" => Change::Endpoint(id, value(name, text)?),
                "address" => Change::Address(address(name, of)?, value(name, text)?),
                "last" => Change::Last(address(name, of)?, value(name, text)?),
                _ => return Err(format!("note {name} of the journal is of no kind that this version knows")),
            });
        }
        Ok(state)
    }

    pub fn take(&mut self, change: Change) {
        fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        match change {
            Change::Pool(id, note) => set(&mut self.pools, id, note),
            Change::Network(id, note) => set(&mut self.networks, id, note),
            Change::Endpoint(id, note) => set(&mut self.endpoints, id, note),
            Change::Address(address, note) => set(&mut self.addresses, address, note),
            Change::Last(address, note) => set(&mut self.last, address, note),
        }
    }

    /// The Docker network that draws from the pool.
    pub fn network_of_pool(&self, pool_id: &str) -> Option<(&String, &NetworkNote)> {
        self.networks.iter().find(|(_, network)| network.pools.iter().any(|pool| pool == pool_id))
    }
}
