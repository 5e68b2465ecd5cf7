//! Answers to `status` and to the listings. Called by the local API.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use routenet_core::desired::encapsulation::Why;
use routenet_core::desired::network::NodeWay;
use routenet_core::model::config::DataPlane;
use routenet_core::model::{Cidr, Endpoint, Family, NodeCondition};

use super::Agent;
use super::health::{SILENCE, ago, epoch_seconds};
use super::peering::{peer_lines, route_line};
use super::sync::SyncState;
use crate::api::listing::{EndpointLine, IpamBlockLine, IpamPoolLine, IpamReply, RouteLine};
use crate::api::status::{
    BlockFill, ClusterStatus, Event, NodeLine, NodeProblem, OwnStatus, PeerStatus, PlaneLine, StoreState, StoreStatus,
    WayLine,
};
use crate::plane::{PlaneStatus, interfaces};

impl Agent {
    /// The cluster as this node sees it.
    pub async fn status(&self) -> ClusterStatus {
        self.look_at_neighbours().await;
        let peers = self.hands.peering.status().await.map(|status| peer_lines(&status)).unwrap_or_default();
        let own = self.problems().await;
        let name = self.config.node.to_string();
        let mut problems: Vec<NodeProblem> =
            own.into_iter().map(|problem| NodeProblem { node: name.clone(), problem }).collect();
        let conditions: Vec<(Instant, NodeCondition)> = self.cluster.read().conditions.values().cloned().collect();
        for (heard, condition) in &conditions {
            if condition.node == self.config.node {
                continue;
            }
            let node = condition.node.to_string();
            if heard.elapsed() >= SILENCE {
                let problem = routenet_core::model::Problem {
                    part: "node".into(),
                    what: "it says nothing any more: its agent, or its way to the store, is down".into(),
                    mend: Some(format!("look at it there: routectl status on {node}")),
                    since: ago(heard.elapsed()),
                };
                problems.push(NodeProblem { node, problem });
            } else {
                let theirs = condition.problems.iter().cloned();
                problems.extend(theirs.map(|problem| NodeProblem { node: node.clone(), problem }));
            }
        }
        ClusterStatus {
            at: epoch_seconds(SystemTime::now()),
            node: self.own_status(&peers, self.way_lines().await),
            nodes: self.node_lines(&peers),
            problems,
        }
    }

    async fn way_lines(&self) -> Vec<WayLine> {
        let ways = self.engine.query(|desired| desired.ways()).await.unwrap_or_default();
        let line = |NodeWay { node, hop, pool, way }| WayLine {
            node: node.map(|node| node.to_string()),
            next_hop: interfaces::words(hop),
            pool: pool.to_string(),
            tunnel: way.tunnel.map(|kind| kind.to_string()),
            why: way.why.to_string(),
        };
        ways.into_iter().filter(|found| found.way.why != Why::Never).map(line).collect()
    }

    fn own_status(&self, peers: &[PeerStatus], ways: Vec<WayLine>) -> OwnStatus {
        OwnStatus {
            name: self.config.node.to_string(),
            addresses: Family::BOTH.iter().filter_map(|family| self.node.address(*family)).collect(),
            as_number: self.node.as_number,
            router_id: self.node.router_id,
            version: env!("CARGO_PKG_VERSION").to_string(),
            uptime_secs: self.started.elapsed().as_secs(),
            data_plane: match self.config.data_plane {
                DataPlane::Kernel => "kernel".into(),
                DataPlane::Off => "off".into(),
            },
            drained: self.is_drained(),
            store: self.store_status(),
            blocks: self
                .allocator
                .fill()
                .into_iter()
                .map(|fill| BlockFill {
                    cidr: fill.cidr,
                    pool: fill.pool.to_string(),
                    allocated: fill.held as u64,
                    resting: fill.resting as u64,
                    size: u64::try_from(fill.size).unwrap_or(u64::MAX),
                })
                .collect(),
            endpoints: u32::try_from(self.allocator.endpoints().len()).unwrap_or(u32::MAX),
            planes: self.planes().into_iter().map(|(name, status)| plane_line(name, status)).collect(),
            bgp: peers.to_vec(),
            ways,
            mesh: self.mesh_status(),
        }
    }

    fn store_status(&self) -> StoreStatus {
        let status = self.sync_status.borrow().clone();
        let (state, error) = match status.state {
            SyncState::InSync(_) => (StoreState::InSync, None),
            SyncState::Waiting(why) => (StoreState::Reading, Some(why)),
            SyncState::Stale(_, why) | SyncState::Away(_, why) => (StoreState::Away, Some(why)),
        };
        let since_secs = self.store_since(state).elapsed().as_secs();
        StoreStatus { description: self.store.describe(), state, since_secs, error }
    }

    fn node_lines(&self, peers: &[PeerStatus]) -> Vec<NodeLine> {
        let known = self.cluster.read();
        known
            .nodes
            .values()
            .map(|node| {
                let condition = known.conditions.get(&node.name);
                let heard = condition.map(|(heard, _)| heard.elapsed());
                let condition = condition.map(|(_, condition)| condition);
                let own = node.name == self.config.node;
                let established = peers.iter().filter(|peer| peer.is_established()).count();
                let silent = heard.is_none_or(|heard| heard >= SILENCE);
                NodeLine {
                    name: node.name.to_string(),
                    addresses: Family::BOTH.iter().filter_map(|family| node.address(*family)).collect(),
                    version: condition.map(|condition| condition.version.clone()).unwrap_or_default(),
                    heard_secs_ago: heard.map(|heard| heard.as_secs()),
                    degraded: !own && silent || condition.is_some_and(|condition| !condition.problems.is_empty()),
                    endpoints: condition.map_or(0, |condition| condition.endpoints),
                    blocks: condition.map(|condition| condition.blocks.clone()).unwrap_or_default(),
                    peers_established: if own {
                        u32::try_from(established).unwrap_or(u32::MAX)
                    } else {
                        condition.map_or(0, |condition| condition.peers_established)
                    },
                    peers_configured: if own {
                        u32::try_from(peers.len()).unwrap_or(u32::MAX)
                    } else {
                        condition.map_or(0, |condition| condition.peers_configured)
                    },
                }
            })
            .collect()
    }

    /// Every endpoint of the cluster: own ones first, then by node.
    pub fn endpoint_lines(&self) -> Vec<EndpointLine> {
        let links = self.hands.links.status();
        let own = self.allocator.endpoints();
        let known = self.cluster.read();
        let own = own.iter().map(|endpoint| {
            let error = links.failure.as_ref().map(|(_, what)| what.clone());
            let error = error.filter(|what| what.contains(endpoint.key.host_interface().as_str()));
            let closed = endpoint.attachment.as_ref().is_some_and(|attachment| attachment.closed);
            let (state, error) = match error {
                Some(error) => ("failed", Some(error)),
                None if closed => ("waiting", Some("closed until its runtime has said who it is".to_string())),
                None => ("ready", None),
            };
            endpoint_line(endpoint, state, error)
        });
        let others = known.endpoints.values().map(|endpoint| {
            let interface = endpoint.host_interface();
            match endpoint.node == self.config.node {
                false => endpoint_line(endpoint, "remote", None),
                true if nix::net::if_::if_nametoindex(interface.as_str()).is_ok() => {
                    endpoint_line(endpoint, "ready", None)
                }
                true => endpoint_line(endpoint, "waiting", Some(format!("there is no interface {interface}"))),
            }
        });
        own.chain(others).collect()
    }

    /// Pools, and blocks with their owners and fill.
    pub fn ipam(&self) -> IpamReply {
        let known = self.cluster.read();
        let mut claimed: BTreeMap<&str, u64> = BTreeMap::new();
        for block in known.blocks.values() {
            *claimed.entry(block.pool.as_str()).or_default() += 1;
        }
        let pools = known
            .pools
            .values()
            .map(|pool| IpamPoolLine {
                name: pool.name.to_string(),
                cidr: pool.cidr,
                block_size: pool.block_size,
                disabled: pool.disabled,
                networks: known
                    .networks
                    .values()
                    .filter(|network| network.pools.contains(&pool.name))
                    .map(|network| network.name.to_string())
                    .collect(),
                blocks_claimed: claimed.get(pool.name.as_str()).copied().unwrap_or(0),
                blocks_total: 1u64
                    .checked_shl(u32::from(pool.block_size.saturating_sub(pool.cidr.length())))
                    .unwrap_or(u64::MAX),
            })
            .collect();
        let own: BTreeMap<Cidr, _> = self.allocator.fill().into_iter().map(|fill| (fill.cidr, fill)).collect();
        let blocks = known
            .blocks
            .values()
            .map(|block| {
                let fill = own.get(&block.cidr);
                let published = known.endpoints.values().flat_map(|endpoint| &endpoint.addresses);
                IpamBlockLine {
                    cidr: block.cidr,
                    pool: block.pool.to_string(),
                    node: block.owner.to_string(),
                    epoch: block.epoch,
                    allocated: match fill {
                        Some(fill) => fill.held as u64,
                        None => published.filter(|address| block.cidr.contains(**address)).count() as u64,
                    },
                    resting: fill.map(|fill| fill.resting as u64),
                    size: u64::try_from(block.cidr.size()).unwrap_or(u64::MAX),
                }
            })
            .collect();
        IpamReply { pools, blocks }
    }

    /// Every path of the RIB.
    pub async fn route_lines(&self) -> Vec<RouteLine> {
        self.hands.peering.routes().await.unwrap_or_default().iter().map(route_line).collect()
    }
}

fn plane_line(name: &str, status: PlaneStatus) -> PlaneLine {
    let event = |(at, what): (SystemTime, String)| Event {
        secs_ago: at.elapsed().map_or(0, |elapsed| elapsed.as_secs()),
        what,
    };
    PlaneLine {
        name: name.to_string(),
        in_sync: status.in_sync,
        wanted: status.wanted,
        repairs: status.repairs,
        last_repair: status.last_repair.map(event),
        failure: status.failure.map(event),
    }
}

fn endpoint_line(endpoint: &Endpoint, state: &str, error: Option<String>) -> EndpointLine {
    EndpointLine {
        namespace: endpoint.namespace.clone(),
        name: endpoint.name.clone(),
        network: endpoint.key.network.to_string(),
        node: endpoint.node.to_string(),
        addresses: endpoint.addresses.clone(),
        labels: endpoint.labels.clone(),
        container_id: endpoint.key.container_id.clone(),
        ifname: endpoint.key.ifname.to_string(),
        host_interface: endpoint.host_interface().to_string(),
        ports: endpoint.attachment.iter().flat_map(|it| &it.published).map(ToString::to_string).collect(),
        state: state.to_string(),
        error,
    }
}
