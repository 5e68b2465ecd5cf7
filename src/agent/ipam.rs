//! Answers to `routectl ipam`: who has what, whether it all fits together, and taking back what nobody will use again.
//! Called by the local API.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use routenet_core::ipam::AddressState;
use routenet_core::model::keys::{self, StoreKey, endpoints_of};
use routenet_core::model::{Cidr, EncapsulationMode, Endpoint, Family, Kind, NodeName, ObjectKey, Pool};
use tracing::info;

use super::health::SILENCE;
use super::ipam_check::check;
use super::{Agent, tunnels};
use crate::api::ApiError;
use crate::api::listing::{IpamCheckReply, IpamReleaseReply, IpamWhyReply};
use crate::frontend::Workloads;
use crate::store::{Check, Entry, StoreError, TxnOutcome, Write};

/// Operations in one transaction: etcd takes no more.
const BATCH: usize = 100;

impl Agent {
    /// Whose an address is, as far as this node knows.
    pub async fn ipam_why(&self, address: IpAddr) -> IpamWhyReply {
        let own_route = Cidr::host(address);
        let announced = self.route_lines().await.into_iter().any(|line| line.prefix == own_route);
        let known = self.cluster.read();
        let pool = known.pools.values().find(|pool| pool.cidr.contains(address));
        let block = known.blocks.values().find(|block| block.cidr.contains(address));
        let mut reply = IpamWhyReply {
            address,
            pool: pool.map(|pool| pool.name.to_string()),
            block: block.map(|block| block.cidr),
            node: block.map(|block| block.owner.to_string()),
            state: String::new(),
            holder: None,
        };
        let published = known.endpoints.values().find(|endpoint| endpoint.addresses.contains(&address));
        let host = known.nodes.values().find(|node| Family::BOTH.iter().any(|of| node.address(*of) == Some(address)));
        (reply.state, reply.holder) = if let Some(key) = self.allocator.holder(address) {
            let endpoint = self.allocator.endpoint(&key);
            match endpoint {
                Some(endpoint) => ("used".to_string(), Some(described(&endpoint))),
                None if key.container_id == tunnels::HOLDER => {
                    ("held".to_string(), Some(format!("tunnel device {} on {}", key.ifname, self.config.node)))
                }
                None => ("held".to_string(), Some(format!("{key}, which is no endpoint: reserved"))),
            }
        } else if let Some(endpoint) = published {
            ("used".to_string(), Some(described(endpoint)))
        } else if let Some(node) = host {
            ("host".to_string(), Some(format!("node {}", node.name)))
        } else if let Some(block) = block.filter(|block| announced && block.owner != self.config.node) {
            // Not every holder is published: a tunnel device is no endpoint, and who a workload is may not be known yet.
            let what = "which announces it and has published no endpoint of it: a tunnel device's, or a new workload's";
            ("held".to_string(), Some(format!("node {}, {what}", block.owner)))
        } else {
            let own = block.is_some_and(|block| block.owner == self.config.node);
            let state = if own { self.allocator.state_of(address) } else { None };
            let reservation = known
                .reservations
                .values()
                .find(|reservation| reservation.cidrs.iter().any(|cidr| cidr.contains(address)));
            let state = match reservation {
                Some(reservation) => {
                    format!("reserved by IPReservation {}: given only to who asks for it by name", reservation.name)
                }
                None => self.unheld(state, pool, block.is_some(), own),
            };
            (state, None)
        };
        reply
    }

    /// In words, for an address that nobody has.
    fn unheld(&self, state: Option<AddressState>, pool: Option<&Pool>, in_block: bool, own: bool) -> String {
        let tunnelled = pool.is_some_and(|pool| pool.encapsulation.mode != EncapsulationMode::Never);
        match state {
            Some(AddressState::Resting { acknowledged: Some(_), .. }) => {
                let cooldown = self.config.workloads.address_cooldown;
                format!("resting: it was released, and is given out again {cooldown} s after the store forgot it")
            }
            Some(AddressState::Resting { acknowledged: None, .. }) => {
                "resting: it was released, and the store has not forgotten it yet".to_string()
            }
            Some(_) => "free".to_string(),
            None if pool.is_none() => "foreign: it lies in no pool".to_string(),
            None if !in_block => "free: no node has claimed its block".to_string(),
            None if own => "free".to_string(),
            None if tunnelled => {
                "not published: it is free, or on a tunnel device of its node (routectl ipam why there tells)"
                    .to_string()
            }
            None => "free, as far as its node has published".to_string(),
        }
    }

    /// What of IPAM does not fit together, in the cluster and in this node's journal.
    pub fn ipam_check(&self) -> IpamCheckReply {
        let own = self.allocator.endpoints();
        let lost = self.allocator.lost_blocks();
        let noted = self.docker.as_ref().map(|driver| driver.noted_keys()).unwrap_or_default();
        let mut stray = self.allocator.held_without_endpoint();
        stray.retain(|(key, _)| key.container_id != tunnels::HOLDER && !noted.contains(key));
        check(&self.cluster.read(), &own, &lost, &stray)
    }

    /// Takes back an address that this node has given out. One that an endpoint has needs `force`, which detaches it.
    pub async fn ipam_release(&self, address: IpAddr, force: bool) -> Result<IpamReleaseReply, ApiError> {
        let Some(key) = self.allocator.holder(address) else {
            let reply = self.ipam_why(address).await;
            let message = match (&reply.node, &reply.holder) {
                (Some(node), Some(holder)) if *node != self.config.node.to_string() => {
                    format!("{holder} has {address}: ask the agent there (routectl on {node})")
                }
                (_, Some(holder)) => format!("{address} belongs to {holder}"),
                _ => format!("{address} is held by nobody here: {}", reply.state),
            };
            return Err(ApiError { code: "not-found".into(), message });
        };
        if key.container_id == tunnels::HOLDER {
            let message = format!(
                "{address} is this node's address on tunnel device {}, and goes with its last IPPool that encapsulates: \
                 disable IPPool {}, or set its ipipMode and vxlanMode to Never",
                key.ifname, key.network
            );
            return Err(ApiError { code: "conflict".into(), message });
        }
        if let Some(endpoint) = self.allocator.endpoint(&key) {
            if !force {
                let message = format!(
                    "{} has {address}: end the workload, or detach it with --force if its runtime has forgotten it",
                    described(&endpoint)
                );
                return Err(ApiError { code: "conflict".into(), message });
            }
            self.workloads.detach(&key).await.map_err(|error| unavailable(error.to_string()))?;
        } else {
            self.allocator.release(&key).await.map_err(|error| unavailable(error.to_string()))?;
        }
        info!(%address, %key, "released by hand");
        Ok(IpamReleaseReply { released: vec![format!("{address}, which {key} had")] })
    }

    /// Gives away the blocks of a node that will not come back, and forgets what it published. Without `force` only if
    /// it says nothing any more and nobody announces its workloads.
    pub async fn ipam_release_node(&self, name: &str, force: bool) -> Result<IpamReleaseReply, ApiError> {
        let node =
            NodeName::new(name).map_err(|error| ApiError { code: "invalid".into(), message: error.to_string() })?;
        if node == self.config.node {
            let message = format!("{node} is the node that answers: ask another one");
            return Err(ApiError { code: "invalid".into(), message });
        }
        if !self.store.writable() {
            let message = "without a store each node's own file gives it its blocks: edit that".to_string();
            return Err(ApiError { code: "invalid".into(), message });
        }
        if !force && let Some(why) = self.sign_of_life(&node).await {
            let message = format!("{node} {why}: stop its agent first, or say --force if it can never come back");
            return Err(ApiError { code: "conflict".into(), message });
        }
        let found = self.of_node(&node).await.map_err(|error| unavailable(error.to_string()))?;
        if found.is_empty() {
            return Err(ApiError {
                code: "not-found".into(),
                message: format!("the store knows nothing of a node {node}"),
            });
        }
        let mut released = Vec::new();
        for batch in found.chunks(BATCH) {
            let checks = batch.iter().map(|entry| Check { key: entry.key.clone(), revision: entry.revision }).collect();
            let writes = batch.iter().map(|entry| Write::Delete { key: entry.key.clone() }).collect();
            match self.store.transact(checks, writes).await.map_err(|error| unavailable(error.to_string()))? {
                TxnOutcome::Committed(_) => {}
                TxnOutcome::Conflict(_) => {
                    let message = format!("{node} has written to the store meanwhile: it lives; stop its agent first");
                    return Err(ApiError { code: "conflict".into(), message });
                }
            }
            released.extend(batch.iter().map(|entry| entry.key.clone()));
        }
        info!(%node, entries = released.len(), "released by hand");
        Ok(IpamReleaseReply { released })
    }

    /// Why the node may still be there.
    async fn sign_of_life(&self, node: &NodeName) -> Option<String> {
        let (heard, hops, blocks) = {
            let known = self.cluster.read();
            let heard = known.conditions.get(node).map(|(heard, _)| heard.elapsed());
            let of_node = known.nodes.get(node);
            let hops: BTreeSet<IpAddr> = Family::BOTH.iter().filter_map(|family| of_node?.address(*family)).collect();
            let blocks: Vec<Cidr> =
                known.blocks.values().filter(|block| block.owner == *node).map(|block| block.cidr).collect();
            (heard, hops, blocks)
        };
        if let Some(heard) = heard.filter(|heard| *heard < SILENCE) {
            return Some(format!("was heard {} s ago", heard.as_secs().max(Duration::from_secs(1).as_secs())));
        }
        let seen = self.route_lines().await.into_iter().find(|line| {
            line.next_hop.as_ref().is_some_and(|hop| hops.iter().any(|known| known.to_string() == *hop))
                && blocks.iter().any(|block| block.covers(&line.prefix))
        });
        seen.map(|line| format!("still announces {}", line.prefix))
    }

    /// Everything of a node that the store has.
    async fn of_node(&self, node: &NodeName) -> Result<Vec<Entry>, StoreError> {
        let mut found: Vec<Entry> = self.store.range(&endpoints_of(node)).await?.0;
        let blocks = self.store.range(keys::BLOCKS).await?.0;
        found.extend(blocks.into_iter().filter(|entry| {
            matches!(keys::decode_fact(&entry.key, &entry.value),
                Ok(routenet_core::model::Fact::Block(block)) if block.owner == *node)
        }));
        let suffix = format!("/{node}");
        let uses = self.store.range(keys::USES).await?.0;
        found.extend(uses.into_iter().filter(|entry| entry.key.ends_with(&suffix)));
        for key in [
            StoreKey::Condition(node.clone()).path(),
            StoreKey::Object(ObjectKey::global(Kind::Node, node.as_str())).path(),
        ] {
            found.extend(self.store.get(&key).await?);
        }
        Ok(found)
    }
}

pub(super) fn described(endpoint: &Endpoint) -> String {
    format!("{} ({}) on {}", endpoint.display_name(), endpoint.key, endpoint.node)
}

fn unavailable(message: String) -> ApiError {
    ApiError { code: "unavailable".into(), message }
}
