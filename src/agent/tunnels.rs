//! What tunnels need from this node: an address on each device, out of the pools that use it, and which other nodes are
//! behind a router. Followed as facts; started once, by [`super::followers`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use routenet_core::desired::FactDelta;
use routenet_core::model::config::NodeConfig;
use routenet_core::model::{
    Cidr, EncapsulationMode, EndpointKey, Family, Isolation, Network, NetworkName, Pool, PoolName, TunnelKind,
};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Agent;
use super::allocator::{Allocator, Request};
use super::cluster::ClusterView;
use crate::plane::reach::Reach;

/// In place of a container's id: no container has such a one.
pub(super) const HOLDER: &str = "tunnel device";
/// How often the pools are looked at for what a device should have.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The addresses that the devices of this node have, by the journal; none that lies in another node's block by now.
pub fn held(allocator: &Allocator) -> impl Iterator<Item = (TunnelKind, IpAddr)> + use<> {
    let lost = allocator.lost_blocks();
    let held = allocator.held_as(HOLDER).into_iter().filter(move |(_, addresses)| !is_lost(addresses, &lost));
    held.flat_map(|(key, addresses)| {
        let kind = TunnelKind::ALL.into_iter().find(|kind| kind.device() == key.ifname);
        kind.into_iter().flat_map(move |kind| addresses.clone().into_iter().map(move |address| (kind, address)))
    })
}

/// Whether another node may give one of them to a workload.
fn is_lost(addresses: &[IpAddr], lost: &BTreeMap<Cidr, String>) -> bool {
    addresses.iter().any(|address| lost.keys().any(|block| block.contains(*address)))
}

/// The underlay addresses of the other nodes.
pub fn next_hops(cluster: &ClusterView, config: &NodeConfig) -> BTreeSet<IpAddr> {
    let known = cluster.read();
    let others = known.nodes.values().filter(|node| node.name != config.node);
    others.flat_map(|node| Family::BOTH.into_iter().filter_map(|family| node.address(family))).collect()
}

/// Tells the engine, as long as the agent lives.
pub fn spawn(agent: &Arc<Agent>) {
    tokio::spawn(follow_addresses(agent.clone()));
    let (tell, told) = mpsc::unbounded_channel();
    match Reach::spawn(tell) {
        Ok(reach) => {
            tokio::spawn(follow_ways(agent.clone(), told));
            tokio::spawn(watch_nodes(agent.clone(), reach));
        }
        Err(error) => warn!(%error, "the ways to other nodes are not followed"),
    }
}

async fn follow_ways(agent: Arc<Agent>, mut told: mpsc::UnboundedReceiver<crate::plane::reach::OffLink>) {
    while let Some(changes) = told.recv().await {
        for (hop, off_link) in &changes {
            info!(%hop, off_link, "the way to a next hop");
        }
        drop(agent.engine.apply(changes.into_iter().map(|(hop, off)| FactDelta::OffLink(hop, off)).collect()));
    }
}

async fn watch_nodes(agent: Arc<Agent>, reach: Reach) {
    let mut watched = BTreeSet::new();
    loop {
        let hops = next_hops(&agent.cluster, &agent.config);
        if hops != watched {
            reach.watch(hops.clone());
            watched = hops;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A device and family has an address as long as some pool that this node may use asks for it; it is the first such
/// pool's, and lies in a block that is this node's: one in a block that was given away is replaced.
async fn follow_addresses(agent: Arc<Agent>) {
    let mut said: Option<String> = None;
    loop {
        let pools = agent.cluster.read().pools.clone();
        let wanted = wanted(&pools);
        let lost = agent.allocator.lost_blocks();
        for (key, addresses) in agent.allocator.held_as(HOLDER) {
            if !wanted.contains_key(&key) || is_lost(&addresses, &lost) {
                let kind = TunnelKind::ALL.into_iter().find(|kind| kind.device() == key.ifname);
                let facts = kind.into_iter().flat_map(|kind| {
                    addresses.iter().map(move |address| FactDelta::TunnelAddress(kind, *address, false))
                });
                drop(agent.engine.apply(facts.collect()).await);
                if let Err(error) = agent.allocator.release(&key).await {
                    warn!(%error, "the address of a tunnel device cannot be released yet");
                }
            }
        }
        let mut trouble = None;
        for (key, (kind, pool)) in wanted {
            if let Err(error) = hold(&agent, &key, kind, &pool, &pools).await {
                trouble = Some(format!("{}: {error}", key.ifname));
            }
        }
        if let Some(what) = trouble.as_ref().filter(|what| said.as_ref() != Some(what)) {
            warn!(%what, "a tunnel device has no address yet: the host speaks through it from its underlay address");
        }
        said = trouble;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The keys under which addresses should be held, with the device and the pool.
fn wanted(pools: &BTreeMap<PoolName, Pool>) -> BTreeMap<EndpointKey, (TunnelKind, PoolName)> {
    let mut wanted: BTreeMap<(TunnelKind, Family), PoolName> = BTreeMap::new();
    for pool in pools.values().filter(|pool| pool.encapsulation.mode != EncapsulationMode::Never && !pool.disabled) {
        wanted.entry((pool.encapsulation.device, pool.cidr.family())).or_insert_with(|| pool.name.clone());
    }
    let key = |((kind, _), pool): ((TunnelKind, Family), PoolName)| {
        let network = NetworkName::new(pool.as_str()).ok()?;
        let key = EndpointKey { network, container_id: HOLDER.to_string(), ifname: kind.device() };
        Some((key, (kind, pool)))
    };
    wanted.into_iter().filter_map(key).collect()
}

async fn hold(
    agent: &Agent,
    key: &EndpointKey,
    kind: TunnelKind,
    pool: &PoolName,
    pools: &BTreeMap<PoolName, Pool>,
) -> Result<(), String> {
    if agent.allocator.held_as(HOLDER).iter().any(|(held, _)| held == key) {
        return Ok(());
    }
    let network = Network { name: key.network.clone(), pools: vec![pool.clone()], isolation: Isolation::default() };
    let request = Request { key, network: &network, pools, wanted: &[], early: false };
    let addresses = agent.allocator.allocate(&request).await.map_err(|error| error.to_string())?;
    info!(device = %key.ifname, ?addresses, "address of a tunnel device");
    let facts = addresses.into_iter().map(|address| FactDelta::TunnelAddress(kind, address, true)).collect();
    agent.engine.apply(facts).await.map_err(|error| error.to_string())
}
