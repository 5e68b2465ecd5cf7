//! The tasks that turn what happens around the agent into facts: the store's changes, own blocks, learned routes; and
//! those that tell others. Started once, by [`super::start`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use routenet_core::bgp::mesh::Hold;
use routenet_core::bgp::speaker::{SpeakerConfig, State, speaker_config};
use routenet_core::desired::FactDelta;
use routenet_core::model::config::NodeConfig;
use routenet_core::model::{BgpPeer, Cidr, Fact, Node};
use routenet_core::policy::selector::Selector;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Agent;
use super::cluster::ClusterView;
use super::peering::PeeringEvent;
use super::sync::{Batch, ClusterChange, ClusterSync};
use super::underlay::Underlay;
use crate::plane::interfaces::{self, Addresses};

/// How often a node says how it is, changed or not.
const CONDITION_EVERY: Duration = Duration::from_secs(10);
/// How often a change of its condition is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often blocks are looked at for being empty; two looks in a row give one back.
const EMPTY_BLOCKS_EVERY: Duration = Duration::from_secs(60);

/// Starts them all.
pub fn spawn(agent: &Arc<Agent>, sync: ClusterSync, events: mpsc::Receiver<PeeringEvent>, interfaces: Addresses) {
    tokio::spawn(follow_store(agent.clone(), sync.batches));
    tokio::spawn(follow_blocks(agent.clone()));
    tokio::spawn(follow_peering(agent.clone(), events));
    tokio::spawn(tell_condition(agent.clone()));
    tokio::spawn(super::neighbours::watch(agent.clone()));
    tokio::spawn(super::mesh::watch(agent.clone()));
    tokio::spawn(give_back_blocks(agent.clone()));
    super::tunnels::spawn(agent);
    super::pending::watch(agent.store.clone());
    tokio::spawn(follow_interfaces(agent.clone(), interfaces));
}

/// The node's file, with the addresses that it was found to have.
pub fn resolved(config: &NodeConfig, underlay: &Underlay) -> NodeConfig {
    let mut resolved = config.clone();
    resolved.address.ipv4 = underlay.ipv4;
    resolved.address.ipv6 = underlay.ipv6;
    resolved
}

/// The speaker's configuration as the node's file, the store's nodes and peers have it now; `mesh`: with which nodes it has
/// sessions.
pub fn speaker_settings(
    config: &NodeConfig,
    underlay: &Underlay,
    cluster: &ClusterView,
    mesh: &BTreeMap<String, Hold>,
) -> SpeakerConfig {
    let known = cluster.read();
    let nodes: Vec<Node> = known.nodes.values().cloned().collect();
    let peers: Vec<BgpPeer> = known.peers.values().filter(|peer| selects(peer, config)).cloned().collect();
    let configurations: Vec<_> = known.bgp_configurations.values().cloned().collect();
    let filters: Vec<_> = known.bgp_filters.values().cloned().collect();
    speaker_config(&resolved(config, underlay), &nodes, &peers, &configurations, &filters, mesh)
}

fn selects(peer: &BgpPeer, config: &NodeConfig) -> bool {
    let Some(selector) = &peer.node_selector else { return true };
    // Checked at the door; a store that others write to is believed nothing.
    Selector::parse(selector).is_ok_and(|selector| selector.matches(&config.labels))
}

async fn follow_store(agent: Arc<Agent>, mut batches: mpsc::Receiver<Batch>) {
    while let Some(batch) = batches.recv().await {
        let mut facts = Vec::new();
        let mut cut = None;
        let (mut peers_changed, mut pools_changed) = (false, false);
        for change in batch.changes {
            agent.cluster.take(&change);
            match change {
                ClusterChange::Fact(fact) => {
                    peers_changed |= matches!(fact, FactDelta::Node(..));
                    pools_changed |= matches!(fact, FactDelta::Pool(..));
                    facts.push(fact);
                }
                ClusterChange::Block(cidr, block) => {
                    if let Err(error) = agent.allocator.observe_block(&cidr, block.as_ref()).await {
                        warn!(block = %cidr, %error, "a change of a block's owner cannot be written down");
                    }
                }
                ClusterChange::Peer(..) | ClusterChange::BgpFilter(..) | ClusterChange::BgpConfiguration(..) => {
                    peers_changed = true;
                }
                ClusterChange::Reservation(..) => agent.allocator.set_reserved(agent.cluster.reserved()),
                ClusterChange::Condition(..) => {}
                ClusterChange::Cut(id) => cut = Some(id),
            }
        }
        // Not awaited: planes report what they cannot do, and the next batch must not wait for a slow kernel.
        let programmed = (!facts.is_empty() || cut.is_some()).then(|| agent.engine.apply(facts));
        if let (Some(programmed), Some(id)) = (programmed, cut) {
            let agent = agent.clone();
            tokio::spawn(async move {
                // What failed closes, or stays as it was: what is denied by now is so in either case.
                let _ = programmed.await;
                super::cut::cut(agent, id).await;
            });
        }
        agent.progress.taken(batch.revision);
        if peers_changed {
            agent.follow_mesh();
        }
        if pools_changed {
            let pools = agent.cluster.read().pools.values().map(|pool| pool.cidr).collect();
            agent.hands.peering.set_pools(pools);
        }
        if batch.resynced {
            if let Err(error) = agent.allocator.reconcile().await {
                warn!(%error, "own blocks cannot be compared with the store");
            }
            agent.publisher.read_back();
        }
    }
}

/// `known`: what the start put in.
async fn follow_interfaces(agent: Arc<Agent>, known: Addresses) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let watching = tokio::spawn(interfaces::watch(known, tell));
    while let Some(changes) = told.recv().await {
        let facts = changes.into_iter().map(|(name, held)| FactDelta::HostAddresses(name, held));
        drop(agent.engine.apply(facts.collect()));
    }
    if let Ok(Err(error)) = watching.await {
        warn!(%error, "the addresses of this host's interfaces are not followed; host endpoints by expectedIPs keep to those of the start");
    }
}

async fn follow_blocks(agent: Arc<Agent>) {
    let mut own = agent.allocator.own_blocks();
    // What the start put in is what the start saw; a claim in between is the first difference.
    let mut known: BTreeSet<Cidr> =
        agent.engine.query(|desired| desired.own_blocks().clone()).await.unwrap_or_default();
    loop {
        let now: BTreeSet<Cidr> = own.borrow_and_update().clone();
        let gone = known.difference(&now).map(|block| FactDelta::OwnBlock(*block, false));
        let new = now.difference(&known).map(|block| FactDelta::OwnBlock(*block, true));
        let facts: Vec<FactDelta> = gone.chain(new).collect();
        if !facts.is_empty() {
            drop(agent.engine.apply(facts));
        }
        known = now;
        if own.changed().await.is_err() {
            return;
        }
    }
}

async fn follow_peering(agent: Arc<Agent>, mut events: mpsc::Receiver<PeeringEvent>) {
    while let Some(event) = events.recv().await {
        match event {
            PeeringEvent::Routes(changes) => {
                let facts = changes
                    .into_iter()
                    .map(|(prefix, via)| FactDelta::Learned(prefix, (!via.is_empty()).then_some(via)))
                    .collect();
                drop(agent.engine.apply(facts));
            }
            PeeringEvent::Gateways(changes) => {
                let facts = changes.into_iter().map(|(hop, gateways)| FactDelta::Gateways(hop, gateways));
                drop(agent.engine.apply(facts.collect()));
            }
            PeeringEvent::Converged => {
                // Behind every learned route that was handed in before.
                let _ = agent.engine.apply(Vec::new()).await;
                if let Err(error) = agent.hands.routes.sweep_learned().await {
                    warn!(%error, "routes that nobody announces any more cannot all be removed");
                }
            }
            PeeringEvent::Peer { address, name, state, why } => {
                let why = why.unwrap_or_default();
                if state == State::Established {
                    info!(peer = %name, %address, "BGP session established");
                } else {
                    info!(peer = %name, %address, %state, %why, "BGP session");
                }
            }
        }
    }
}

async fn tell_condition(agent: Arc<Agent>) {
    let mut told = None;
    let mut since = Duration::ZERO;
    loop {
        let condition = agent.condition().await;
        let comparable = routenet_core::model::NodeCondition { at: 0, ..condition.clone() };
        if since >= CONDITION_EVERY || told.as_ref() != Some(&comparable) {
            agent.publisher.publish(&Fact::Condition(condition));
            told = Some(comparable);
            since = Duration::ZERO;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        since += LOOK_EVERY;
    }
}

async fn give_back_blocks(agent: Arc<Agent>) {
    loop {
        tokio::time::sleep(EMPTY_BLOCKS_EVERY).await;
        match agent.allocator.give_back_empty_blocks().await {
            Ok(blocks) => blocks.iter().for_each(|block| info!(%block, "an empty block was given back")),
            Err(error) => warn!(%error, "empty blocks cannot be given back now"),
        }
    }
}
