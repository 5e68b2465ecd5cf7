//! Pools and networks for runtimes that make them (Docker), and addresses that are reserved before there is an endpoint.
//! Called by the front-ends.
//!
//! A pool or network that is there already is joined; one that was made for a runtime goes with its last user, whichever
//! node that is on. Who uses what stands in the store beside the objects, changed under the same guard.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use routenet_core::model::keys::{self, StoreKey};
use routenet_core::model::{
    Cidr, EndpointKey, Fact, Family, InterfaceName, Isolation, Kind, Network, NetworkName, NodeName, Object, ObjectKey,
    ObjectUse, Pool, PoolName,
};
use tracing::info;

use super::allocator::{Allocator, Request};
use super::attach::allocation_failed;
use super::objects::{self, Snapshot, invalid};
use crate::api::ApiError;
use crate::frontend::{AttachError, Failed, NetworkRequest, Networks, PoolRequest, Reserved};
use crate::plane::conntrack;
use crate::store::{ClusterStore, Write, random_id};

/// The prefix length of blocks in pools that are made here; smaller pools are one block.
const BLOCK_SIZE: [(Family, u8); 2] = [(Family::V4, 26), (Family::V6, 122)];

/// The pools and networks of this node's runtimes.
pub struct LocalNetworks {
    node: NodeName,
    /// The host's own addresses: no pool may hold them.
    own: Vec<IpAddr>,
    store: Arc<dyn ClusterStore>,
    allocator: Arc<Allocator>,
}

impl LocalNetworks {
    pub fn new(
        node: NodeName,
        own: Vec<IpAddr>,
        store: Arc<dyn ClusterStore>,
        allocator: Arc<Allocator>,
    ) -> LocalNetworks {
        LocalNetworks { node, own, store, allocator }
    }

    /// Lets `decide` find or make an object, and notes that this node uses it.
    async fn join<T: Clone + Send + Sync>(
        &self,
        decide: impl Fn(&Snapshot) -> Result<(T, Object, bool), ApiError> + Send + Sync,
    ) -> Result<T, AttachError> {
        if !self.store.writable() {
            // What the node's file says is there for good, and needs no note of who uses it.
            let snapshot = objects::read(self.store.as_ref()).await.map_err(refused)?;
            let (found, object, made) = decide(&snapshot).map_err(refused)?;
            return if made { Err(refused(not_in_file(&object.key()))) } else { Ok(found) };
        }
        let outcome = std::sync::Mutex::new(None);
        objects::change(self.store.as_ref(), |snapshot| {
            let (found, object, new) = decide(snapshot)?;
            let key = object.key();
            let mut writes = Vec::new();
            if new {
                objects::validate(snapshot, std::slice::from_ref(&object), &[], &[])?;
                let value = keys::encode_fact(&Fact::Object(object));
                writes.push(Write::Put { key: StoreKey::Object(key.clone()).path(), value });
            }
            let made = new || snapshot.uses.iter().any(|other| other.object == key && other.made);
            let used = ObjectUse { object: key, node: self.node.clone(), made };
            if !snapshot.uses.contains(&used) {
                let value = serde_json::to_vec(&used).expect("plain data");
                writes.push(Write::Put { key: keys::use_path(&used), value });
            }
            *outcome.lock().expect("no panic while locked") = Some(found);
            Ok((writes, Vec::new()))
        })
        .await
        .map_err(refused)?;
        Ok(outcome.into_inner().expect("no panic while locked").expect("decided before it was written"))
    }

    /// Takes the note back; what was made goes with its last user, unless others have come to need it.
    async fn leave(&self, key: &ObjectKey) -> Result<(), AttachError> {
        if !self.store.writable() {
            return Ok(());
        }
        objects::change(self.store.as_ref(), |snapshot| {
            let Some(own) = snapshot.uses.iter().find(|used| used.object == *key && used.node == self.node) else {
                return Ok((Vec::new(), Vec::new()));
            };
            let mut writes = vec![Write::Delete { key: keys::use_path(own) }];
            let last = !snapshot.uses.iter().any(|used| used.object == *key && used.node != self.node);
            let deletable = || objects::validate(snapshot, &[], std::slice::from_ref(key), &[]).is_ok();
            if last && own.made && snapshot.objects.contains_key(key) && deletable() {
                writes.push(Write::Delete { key: StoreKey::Object(key.clone()).path() });
            }
            Ok((writes, Vec::new()))
        })
        .await
        .map_err(refused)?;
        Ok(())
    }

    /// A pool of the request, and whether it is new.
    fn pool(&self, snapshot: &Snapshot, request: &PoolRequest) -> Result<(Pool, bool), ApiError> {
        if let Some(name) = &request.network {
            return pool_of_network(snapshot, name, request).map(|pool| (pool, false));
        }
        let cidr = match request.cidr {
            Some(cidr) => cidr,
            None => self.free_cidr(snapshot, request)?,
        };
        if let Some(pool) = pools(snapshot).find(|pool| pool.cidr == cidr) {
            return Ok((pool.clone(), false));
        }
        if let Some(host) = self.hosts(snapshot).find(|host| cidr.contains(*host)) {
            return Err(invalid(format!(
                "{cidr} contains {host}, an address of a host: choose a subnet that lies apart"
            )));
        }
        let family = cidr.family();
        let usual = BLOCK_SIZE.iter().find(|(of, _)| *of == family).map_or(family.bits(), |(_, size)| *size);
        let name = format!("docker-{}-{}", cidr.address(), cidr.length()).replace(':', "-");
        let pool = Pool {
            name: PoolName::new(name).map_err(|error| invalid(error.to_string()))?,
            cidr,
            block_size: usual.max(cidr.length()),
            disabled: false,
            node_selector: "all()".to_string(),
            unreachable_route: true,
            encapsulation: Default::default(),
            nat_outgoing: true,
        };
        Ok((pool, true))
    }

    fn hosts<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = IpAddr> + 'a {
        let nodes = snapshot.objects.values().filter_map(|(object, _)| match object {
            Object::Node(node) => Some(Family::BOTH.into_iter().filter_map(|family| node.address(family))),
            _ => None,
        });
        nodes.flatten().chain(self.own.iter().copied())
    }

    fn free_cidr(&self, snapshot: &Snapshot, request: &PoolRequest) -> Result<Cidr, ApiError> {
        let taken: Vec<Cidr> = pools(snapshot).map(|pool| pool.cidr).collect();
        let hosts: Vec<IpAddr> = self.hosts(snapshot).collect();
        let bases = request.bases.iter().filter(|(base, _)| base.family() == request.family);
        let mut cut = bases.flat_map(|(base, size)| base.subnets(*size));
        cut.find(|cidr| {
            !taken.iter().any(|other| other.overlaps(cidr)) && !hosts.iter().any(|host| cidr.contains(*host))
        })
        .ok_or_else(|| {
            let family = request.family;
            invalid(format!(
                "no {family} subnet is free in `docker.addressPools` of the node's configuration: give one (--subnet)"
            ))
        })
    }
}

fn pools(snapshot: &Snapshot) -> impl Iterator<Item = &Pool> {
    snapshot.objects.values().filter_map(|(object, _)| match object {
        Object::IPPool(pool) => Some(pool),
        _ => None,
    })
}

fn networks(snapshot: &Snapshot) -> impl Iterator<Item = &Network> {
    snapshot.objects.values().filter_map(|(object, _)| match object {
        Object::Network(network) => Some(network),
        _ => None,
    })
}

fn pool_of_network(snapshot: &Snapshot, name: &NetworkName, request: &PoolRequest) -> Result<Pool, ApiError> {
    let Some(network) = networks(snapshot).find(|network| network.name == *name) else {
        return Err(invalid(format!("there is no network `{name}`: apply it, or give a subnet (--subnet)")));
    };
    let mut of_network =
        pools(snapshot).filter(|pool| network.pools.contains(&pool.name) && pool.cidr.family() == request.family);
    let found = of_network.find(|pool| request.cidr.is_none_or(|cidr| cidr == pool.cidr));
    found.cloned().ok_or_else(|| {
        let wanted = request.cidr.map_or_else(|| request.family.to_string(), |cidr| cidr.to_string());
        invalid(format!("network `{name}` has no pool {wanted}: routectl get ippool lists the pools"))
    })
}

/// A network of the request, and whether it is new.
fn network(snapshot: &Snapshot, request: &NetworkRequest) -> Result<(Network, bool), ApiError> {
    let found = match &request.name {
        Some(name) => networks(snapshot).find(|network| network.name == *name),
        None => {
            let mut drawing =
                networks(snapshot).filter(|network| request.pools.iter().all(|p| network.pools.contains(p)));
            let first = drawing.next();
            if let (Some(one), Some(other)) = (first, drawing.next()) {
                let names = format!("`{}` and `{}`", one.name, other.name);
                return Err(invalid(format!(
                    "the subnet belongs to networks {names}: say which (-o routenet.network=NAME)"
                )));
            }
            first
        }
    };
    let Some(found) = found else { return new_network(request).map(|network| (network, true)) };
    let name = &found.name;
    if let Some(stranger) = request.pools.iter().find(|pool| !found.pools.contains(pool)) {
        let message = format!(
            "network `{name}` draws from {} and not from `{stranger}`: leave out --subnet and give --ipam-opt routenet.network={name}",
            found.pools.iter().map(|pool| format!("`{pool}`")).collect::<Vec<_>>().join(", ")
        );
        return Err(invalid(message));
    }
    if let Some(isolation) = request.isolation.filter(|isolation| *isolation != found.isolation) {
        let word = |isolation| if isolation == Isolation::Open { "open" } else { "network" };
        let (has, wants) = (word(found.isolation), word(isolation));
        return Err(invalid(format!(
            "network `{name}` has isolation `{has}`, not `{wants}`: leave out -o routenet.isolation, or apply the Network anew"
        )));
    }
    Ok((found.clone(), false))
}

fn new_network(request: &NetworkRequest) -> Result<Network, ApiError> {
    let name = match (&request.name, request.pools.first()) {
        (Some(name), _) => name.clone(),
        (None, Some(pool)) => NetworkName::new(pool.as_str()).map_err(|error| invalid(error.to_string()))?,
        (None, None) => return Err(invalid("a network needs a subnet: use --ipam-driver routenet".to_string())),
    };
    Ok(Network { name, pools: request.pools.clone(), isolation: request.isolation.unwrap_or_default() })
}

/// In place of a container's id, before what makes the key unique; and in place of an interface.
const RESERVED_ID: &str = "reserved-";
const RESERVED_IFNAME: &str = "reserved";

/// A key that no endpoint has.
fn reservation(pool: &PoolName) -> Result<EndpointKey, AttachError> {
    fn odd(error: impl std::fmt::Display) -> AttachError {
        AttachError::new(Failed::Internal, error.to_string(), "give the pool a shorter name")
    }
    Ok(EndpointKey {
        network: NetworkName::new(pool.as_str()).map_err(odd)?,
        container_id: format!("{RESERVED_ID}{}", random_id()),
        ifname: InterfaceName::new(RESERVED_IFNAME).map_err(odd)?,
    })
}

fn not_in_file(key: &ObjectKey) -> ApiError {
    invalid(format!(
        "the node's configuration has no such {}: add it there (`store:`), and restart the agent",
        key.kind
    ))
}

fn refused(error: ApiError) -> AttachError {
    let kind = if error.code == "unavailable" { Failed::TryAgain } else { Failed::Refused };
    AttachError::new(kind, error.message, "routectl get network, routectl get ippool: what is there")
}

#[async_trait]
impl Networks for LocalNetworks {
    async fn join_pool(&self, request: &PoolRequest) -> Result<Pool, AttachError> {
        self.join(|snapshot| {
            let (pool, new) = self.pool(snapshot, request)?;
            Ok((pool.clone(), Object::IPPool(pool), new))
        })
        .await
    }

    async fn leave_pool(&self, name: &PoolName) -> Result<(), AttachError> {
        self.leave(&ObjectKey::global(Kind::IPPool, name.as_str())).await
    }

    async fn join_network(&self, request: &NetworkRequest) -> Result<(Network, Vec<Pool>), AttachError> {
        self.join(|snapshot| {
            let (network, new) = network(snapshot, request)?;
            let of_network = pools(snapshot).filter(|pool| network.pools.contains(&pool.name)).cloned().collect();
            Ok(((network.clone(), of_network), Object::Network(network), new))
        })
        .await
    }

    async fn leave_network(&self, name: &NetworkName) -> Result<(), AttachError> {
        self.leave(&ObjectKey::global(Kind::Network, name.as_str())).await
    }

    async fn leave_others(
        &self,
        networks: &BTreeSet<NetworkName>,
        pools: &BTreeSet<PoolName>,
    ) -> Result<(), AttachError> {
        let snapshot = objects::read(self.store.as_ref()).await.map_err(refused)?;
        let joined = snapshot.uses.iter().filter(|used| used.node == self.node).map(|used| &used.object);
        let (of_networks, others): (Vec<_>, Vec<_>) = joined.partition(|key| key.kind == Kind::Network);
        let is_known = |key: &ObjectKey| match key.kind {
            Kind::Network => networks.iter().any(|name| name.as_str() == key.name),
            _ => pools.iter().any(|name| name.as_str() == key.name),
        };
        // A pool goes once no network draws from it.
        for key in of_networks.into_iter().chain(others).filter(|key| !is_known(key)) {
            info!(object = %key, "joined by a run that ended before it knew: left");
            self.leave(key).await?;
        }
        Ok(())
    }

    async fn reserve(&self, pool: &PoolName, address: Option<IpAddr>) -> Result<Reserved, AttachError> {
        let key = reservation(pool)?;
        // From the store rather than from what was heard of it: the pool may be a moment old.
        let snapshot = objects::read(self.store.as_ref()).await.map_err(refused)?;
        let pools: BTreeMap<PoolName, Pool> = pools(&snapshot).map(|pool| (pool.name.clone(), pool.clone())).collect();
        let network = Network { name: key.network.clone(), pools: vec![pool.clone()], isolation: Isolation::default() };
        let wanted: Vec<IpAddr> = address.into_iter().collect();
        let request = Request { key: &key, network: &network, pools: &pools, wanted: &wanted, early: true };
        let rested = address.is_none_or(|address| self.allocator.has_rested(address));
        let given = self.allocator.allocate(&request).await.map_err(allocation_failed)?;
        if !rested {
            // It was another's a moment ago, whose connections must not go on with the new holder.
            let given = given.iter().copied().collect();
            let forgotten = tokio::task::spawn_blocking(move || conntrack::flush(&given)).await;
            if let Ok(Err(error)) = forgotten {
                self.unreserve(&key).await?;
                return Err(AttachError::new(Failed::Internal, error.to_string(), "routectl status says more"));
            }
        }
        let reserved = given.first().map(|address| Reserved { key, address: *address, rested });
        reserved.ok_or_else(|| {
            AttachError::new(Failed::Internal, format!("pool {pool} gave no address"), "routectl status says more")
        })
    }

    async fn unreserve(&self, key: &EndpointKey) -> Result<(), AttachError> {
        let released = self.allocator.release(key).await;
        released.map(drop).map_err(|error| {
            AttachError::new(Failed::TryAgain, error.to_string(), "the call may be repeated; routectl status says more")
        })
    }
    fn reservations(&self) -> Vec<EndpointKey> {
        let held = self.allocator.held_without_endpoint().into_iter().map(|(key, _)| key);
        held.filter(|key| key.container_id.starts_with(RESERVED_ID) && key.ifname.as_str() == RESERVED_IFNAME).collect()
    }
}
