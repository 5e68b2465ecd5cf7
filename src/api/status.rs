//! The answer to `status`: is it well, and if not, why and since when. Filled by the agent, shown by `routectl status`.
//!
//! Durations are whole seconds, counted back from [`ClusterStatus::at`]; points in time are seconds since the Unix
//! epoch. Both come from the answering node's clock.

use std::net::{IpAddr, Ipv4Addr};

use routenet_core::model::{Cidr, Problem};
use serde::{Deserialize, Serialize};

/// The cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// When this was put together, in seconds since the Unix epoch.
    pub at: u64,
    /// The node that answers.
    pub node: OwnStatus,
    /// Every node that the store knows, the answering one among them, by name.
    pub nodes: Vec<NodeLine>,
    /// What is wrong anywhere, the answering node's own first. Empty: all is well.
    pub problems: Vec<NodeProblem>,
}

impl ClusterStatus {
    /// Whether there is nothing to say: no problem anywhere, every node heard, the answering node's store in reach and
    /// its planes working.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty()
            && self.nodes.iter().all(|node| !node.degraded)
            && self.node.store.state != StoreState::Away
            && self.node.planes.iter().all(|plane| plane.failure.is_none())
    }
}

/// The answering node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnStatus {
    pub name: String,
    /// The underlay addresses, at most one a family.
    pub addresses: Vec<IpAddr>,
    pub as_number: u32,
    pub router_id: Ipv4Addr,
    pub version: String,
    pub uptime_secs: u64,
    /// `kernel` or `off`.
    pub data_plane: String,
    /// Whether `routectl node drain` is in force.
    pub drained: bool,
    pub store: StoreStatus,
    pub blocks: Vec<BlockFill>,
    pub endpoints: u32,
    /// In the order in which an endpoint passes them: ipset, iptables, link, tunnel, route.
    pub planes: Vec<PlaneLine>,
    pub bgp: Vec<PeerStatus>,
    /// How packets travel to the other nodes, for pools that may encapsulate them.
    #[serde(default)]
    pub ways: Vec<WayLine>,
    /// What it is in the mesh; absent: there is none for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshStatus>,
}

/// What a node is in the node-to-node mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshStatus {
    /// `full, with 5 other nodes`, `reflector for 20 clients`, `client of a and b`.
    pub role: String,
    /// In words.
    pub why: String,
    /// Nodes of another AS or family, with which it has sessions whatever the plan.
    pub strangers: u64,
    /// Up to how many nodes the mesh is full; absent: always.
    pub limit: Option<u32>,
    /// Whether the plan's sessions stand.
    pub in_place: bool,
    /// Nodes with which it has sessions of an earlier plan, until every node has the new one in place.
    pub leaving: Vec<String>,
    /// For whom or what that waits.
    pub waiting: Option<String>,
}

/// How what lies in a pool travels by a next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayLine {
    /// Whose address the next hop is; `None`: a router's of the underlay.
    pub node: Option<String>,
    pub next_hop: String,
    pub pool: String,
    /// `ipip` or `vxlan`; `None`: as it is.
    pub tunnel: Option<String>,
    /// In words.
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `embedded /var/lib/routenet/cluster.db`, `none`.
    pub description: String,
    pub state: StoreState,
    /// How long it has been in that state.
    pub since_secs: u64,
    /// Why it is not reachable, in words.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreState {
    /// Reachable, and everything up to now was read.
    InSync,
    /// Reachable, still reading.
    Reading,
    /// Out of reach: what was read last goes on to hold.
    Away,
}

/// An own block and how full it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFill {
    pub cidr: Cidr,
    pub pool: String,
    pub allocated: u64,
    /// Released, and resting before it is given out again.
    pub resting: u64,
    /// Addresses of the block, saturating.
    pub size: u64,
}

/// One plane: how it stands to the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneLine {
    /// `ipset`, `iptables`, `link`, `tunnel`, `route`.
    pub name: String,
    pub in_sync: bool,
    /// How many things are wanted (members, rules, links, routes).
    pub wanted: u64,
    /// How often something of ours was put back after somebody else changed it.
    pub repairs: u64,
    pub last_repair: Option<Event>,
    /// What does not work, and since when.
    pub failure: Option<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub secs_ago: u64,
    pub what: String,
}

/// One BGP neighbour at a glance; `bgp neighbors` has more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The BGPPeer's or node's name.
    pub name: String,
    /// A link-local one with its interface, `fe80::1%eth0`; the interface alone while nobody is known there.
    pub address: String,
    /// Absent: any other than ours, and its OPEN has yet to say which.
    pub as_number: Option<u32>,
    /// The state's name in RFC 4271: `Idle`, `Connect`, `Active`, `OpenSent`, `OpenConfirm`, `Established`.
    pub state: String,
    /// How long it has been Established, or has not been.
    pub since_secs: u64,
    /// Prefixes accepted from it.
    pub received: u64,
    /// Prefixes announced to it.
    pub advertised: u64,
    /// Why the last session ended or, while one stands, what was wrong with UPDATEs that it survived, in words.
    pub last_error: Option<String>,
}

impl PeerStatus {
    pub fn is_established(&self) -> bool {
        self.state == "Established"
    }
}

/// One node of the cluster, from what it publishes about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLine {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub version: String,
    /// How long ago it last published its condition; `None`: never.
    pub heard_secs_ago: Option<u64>,
    /// Silent for 30 s, or with problems of its own.
    pub degraded: bool,
    pub endpoints: u32,
    pub blocks: Vec<Cidr>,
    pub peers_established: u32,
    pub peers_configured: u32,
}

/// A problem, and the node that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProblem {
    pub node: String,
    #[serde(flatten)]
    pub problem: Problem,
}
