//! IpamDriver: pools and addresses.
//!
//! A pool that the cluster has is joined, so that the same `docker network create --subnet` on each host makes one network
//! of them. Nobody needs a gateway address: containers route through a fixed link-local next hop.

use std::collections::BTreeMap;
use std::net::IpAddr;

use routenet_core::desired::{GATEWAY4, GATEWAY6};
use routenet_core::model::{Cidr, Family, NetworkName};

use super::messages::{
    AddressReply, DeleteNetwork, Nothing, PoolReply, ReleaseAddress, ReleasePool, RequestAddress, RequestPool,
};
use super::state::{AddressNote, Change, PoolNote, Rest};
use super::{Driver, Refusal, now};
use crate::frontend::PoolRequest;

/// `--ipam-opt`: draw from the pools of this network of ours.
const NETWORK_OPTION: &str = "routenet.network";
/// libnetwork's label of a pool's gateway, and its words for an address that is to be one.
const GATEWAY_LABEL: &str = "com.docker.network.gateway";
const ADDRESS_TYPE: &str = "RequestAddressType";

impl Driver {
    pub(super) async fn request_pool(&self, request: RequestPool) -> Result<PoolReply, Refusal> {
        if !request.sub_pool.is_empty() {
            return Err(Refusal::bad(
                "--ip-range cannot be used: routenet gives each host blocks of the subnet by itself; leave it out",
            ));
        }
        if let Some(unknown) = request.options.keys().find(|option| *option != NETWORK_OPTION) {
            return Err(Refusal::bad(format!("unknown --ipam-opt {unknown}: routenet knows {NETWORK_OPTION}")));
        }
        let family = if request.v6 { Family::V6 } else { Family::V4 };
        let cidr = match request.pool.as_str() {
            "" => None,
            text => Some(text.parse::<Cidr>().map_err(|error| Refusal::bad(format!("--subnet {text}: {error}")))?),
        };
        let network = request.options.get(NETWORK_OPTION).map(|name| {
            NetworkName::new(name).map_err(|error| Refusal::bad(format!("--ipam-opt {NETWORK_OPTION}: {error}")))
        });
        let bases = self.0.config.bases.clone();
        let wanted = PoolRequest {
            family: cidr.map_or(family, |cidr| cidr.family()),
            cidr,
            network: network.transpose()?,
            bases,
        };
        self.settle().await?;
        let mut pool = self.0.hosts.networks.join_pool(&wanted).await?;
        let pool_id = format!("routenet/{}", pool.name);
        if let Some(given_up) = self.given_up_network(&pool_id) {
            // With the network goes its hold on the pool.
            self.delete_network(DeleteNetwork { network_id: given_up }).await?;
            pool = self.0.hosts.networks.join_pool(&wanted).await?;
        }
        if let Some((other, _)) = self.state().network_of_pool(&pool_id) {
            let message = format!(
                "subnet {} belongs to the Docker network {} of this host already: connect containers to that one, or choose \
                 another --subnet",
                pool.cidr,
                other.get(..12).unwrap_or(other)
            );
            return Err(Refusal::bad(message));
        }
        let note = PoolNote { pool: pool.name, cidr: pool.cidr, released: false, since: now() };
        self.save(vec![Change::Pool(pool_id.clone(), Some(note))]).await?;
        let gateway = match pool.cidr.family() {
            Family::V4 => Cidr::host(IpAddr::V4(GATEWAY4)),
            Family::V6 => Cidr::host(IpAddr::V6(GATEWAY6)),
        };
        let data = BTreeMap::from([(GATEWAY_LABEL.to_string(), gateway.to_string())]);
        Ok(PoolReply { pool_id, pool: pool.cidr.to_string(), data })
    }

    /// The network that draws from a pool which Docker has released: Docker never heard that it was made, or is about to
    /// delete it too.
    fn given_up_network(&self, pool_id: &str) -> Option<String> {
        let state = self.state();
        let (id, _) = state.network_of_pool(pool_id)?;
        let released = state.pools.get(pool_id).is_some_and(|pool| pool.released);
        let used = state.endpoints.values().any(|endpoint| endpoint.network_id == *id);
        (released && !used).then(|| id.clone())
    }

    /// Before or after DeleteNetwork; once more is no error.
    pub(super) async fn release_pool(&self, request: ReleasePool) -> Result<Nothing, Refusal> {
        let known = {
            let state = self.state();
            state
                .pools
                .get(&request.pool_id)
                .map(|note| (note.clone(), state.network_of_pool(&request.pool_id).is_some()))
        };
        match known {
            Some((note, true)) => {
                let released = PoolNote { released: true, ..note };
                self.save(vec![Change::Pool(request.pool_id, Some(released))]).await?;
            }
            Some((_, false)) => self.give_pool_back(&request.pool_id).await?,
            None => {}
        }
        Ok(Nothing {})
    }

    /// Lets go of a pool that no network here draws from, with what is still reserved in it.
    pub(super) async fn give_pool_back(&self, pool_id: &str) -> Result<(), Refusal> {
        self.settle().await?;
        let (note, reserved) = {
            let state = self.state();
            let Some(note) = state.pools.get(pool_id).cloned() else { return Ok(()) };
            let of_pool = state.addresses.iter().filter(|(_, address)| address.pool_id == pool_id);
            (note, of_pool.map(|(address, note)| (*address, note.key.clone())).collect::<Vec<_>>())
        };
        for (address, key) in reserved {
            self.0.hosts.networks.unreserve(&key).await?;
            self.save(vec![Change::Address(address, None)]).await?;
        }
        self.0.hosts.networks.leave_pool(&note.pool).await?;
        self.save(vec![Change::Pool(pool_id.to_string(), None)]).await
    }

    pub(super) async fn request_address(&self, request: RequestAddress) -> Result<AddressReply, Refusal> {
        let known = {
            let state = self.state();
            let has_network = state.network_of_pool(&request.pool_id).is_some();
            state.pools.get(&request.pool_id).map(|note| (note.clone(), has_network))
        };
        let Some((pool, has_network)) = known else {
            let mend = "remove the Docker network and create it again";
            return Err(Refusal::unknown("pool", &request.pool_id, mend));
        };
        if request.options.get(ADDRESS_TYPE).is_some_and(|kind| kind == GATEWAY_LABEL) {
            return gateway(&pool, &request.address);
        }
        let wanted = match request.address.as_str() {
            "" => None,
            text => Some(bare_address(text)?),
        };
        if let Some(address) = wanted.filter(|address| self.is_idle(*address, &request.pool_id)) {
            return Ok(AddressReply { address: Cidr::host(address).to_string() });
        }
        let reserved = self.0.hosts.networks.reserve(&pool.pool, wanted).await?;
        let now = now();
        let rests = (!reserved.rested).then(|| {
            let until = now + self.0.config.cooldown.as_secs() + 1;
            let last = self.state().last.get(&reserved.address).cloned();
            last.unwrap_or(Rest { at: now, until, labels: None })
        });
        let note = AddressNote { key: reserved.key, pool_id: request.pool_id, fixed: !has_network, rests, since: now };
        self.save(vec![Change::Address(reserved.address, Some(note))]).await?;
        Ok(AddressReply { address: Cidr::host(reserved.address).to_string() })
    }

    /// Whether Docker has been given the address and makes nothing of it: the answer was lost on its way. (Of two containers
    /// that ask for it at one time only one can join.)
    fn is_idle(&self, address: IpAddr, pool_id: &str) -> bool {
        let state = self.state();
        let reserved = state.addresses.get(&address).is_some_and(|note| !note.fixed && note.pool_id == pool_id);
        reserved && !state.endpoints.values().any(|endpoint| endpoint.addresses.contains(&address))
    }

    /// An endpoint's addresses went with it; once more is no error.
    pub(super) async fn release_address(&self, request: ReleaseAddress) -> Result<Nothing, Refusal> {
        let address = bare_address(&request.address)?;
        let noted = self.state().addresses.get(&address).cloned();
        if let Some(note) = noted {
            let unused = self.0.hosts.networks.reservations().contains(&note.key);
            self.0.hosts.networks.unreserve(&note.key).await?;
            let mut changes = vec![Change::Address(address, None)];
            if unused {
                // No container had it, so nobody has heard of it since: only who was before it counts.
                let rest = Rest { at: now(), ..note.rests.unwrap_or_default() };
                changes.push(Change::Last(address, Some(rest)));
            }
            self.save(changes).await?;
        }
        Ok(Nothing {})
    }
}

fn gateway(pool: &PoolNote, wanted: &str) -> Result<AddressReply, Refusal> {
    let fixed = match pool.cidr.family() {
        Family::V4 => IpAddr::V4(GATEWAY4),
        Family::V6 => IpAddr::V6(GATEWAY6),
    };
    if !wanted.is_empty() && bare_address(wanted)? != fixed {
        return Err(Refusal::bad(format!(
            "--gateway {wanted} cannot be used: containers route through {fixed} on every host; leave it out"
        )));
    }
    Ok(AddressReply { address: Cidr::host(fixed).to_string() })
}

/// With or without a prefix length.
pub(super) fn bare_address(text: &str) -> Result<IpAddr, Refusal> {
    let bare = text.split_once('/').map_or(text, |(address, _)| address);
    bare.parse().map_err(|_| Refusal::bad(format!("`{text}` is no address")))
}
