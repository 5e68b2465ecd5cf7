//! The objects of a cluster, as typed values: what people write, and what agents publish.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::filter::BgpFilter;
use super::peering::{PeerAs, PeerOptions};
use super::{
    Cidr, Endpoint, HostEndpoint, InterfaceName, KubernetesPolicy, Labels, Namespace, NetworkName, NetworkSet,
    NodeName, Policy, PoolName, Profile, ServiceAccount, StagedKubernetesPolicy, StagedPolicy, Tier, WorkloadEndpoint,
};

/// A kind that people write, read and delete with `routectl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    IPPool,
    Node,
    Network,
    GlobalNetworkPolicy,
    NetworkPolicy,
    GlobalNetworkSet,
    BGPPeer,
    BGPFilter,
    BGPConfiguration,
    IPReservation,
    Tier,
    NetworkSet,
    Namespace,
    ServiceAccount,
    HostEndpoint,
    WorkloadEndpoint,
    Profile,
    KubernetesNetworkPolicy,
    StagedGlobalNetworkPolicy,
    StagedNetworkPolicy,
    StagedKubernetesNetworkPolicy,
}

/// What identifies an object. `namespace` only for kinds that lie in one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    pub kind: Kind,
    pub namespace: Option<String>,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "object")]
pub enum Object {
    IPPool(Pool),
    Node(Node),
    Network(Network),
    GlobalNetworkPolicy(Policy),
    NetworkPolicy(Policy),
    GlobalNetworkSet(NetworkSet),
    BGPPeer(BgpPeer),
    BGPFilter(BgpFilter),
    BGPConfiguration(BgpConfiguration),
    IPReservation(Reservation),
    Tier(Tier),
    NetworkSet(NetworkSet),
    Namespace(Namespace),
    ServiceAccount(ServiceAccount),
    HostEndpoint(HostEndpoint),
    WorkloadEndpoint(WorkloadEndpoint),
    Profile(Profile),
    KubernetesNetworkPolicy(KubernetesPolicy),
    StagedGlobalNetworkPolicy(StagedPolicy),
    StagedNetworkPolicy(StagedPolicy),
    StagedKubernetesNetworkPolicy(StagedKubernetesPolicy),
}

/// An IPPool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub name: PoolName,
    pub cidr: Cidr,
    /// Prefix length of the blocks: 26 and 122 unless given.
    pub block_size: u8,
    pub disabled: bool,
    /// Which nodes may claim blocks of it (`all()` unless given).
    pub node_selector: String,
    /// Whether hosts carry an `unreachable` route of high metric for the pool, so that an address nobody has does not
    /// follow the default route.
    pub unreachable_route: bool,
    /// How packets to other nodes' workloads travel.
    #[serde(default)]
    pub encapsulation: Encapsulation,
    /// Whether what leaves the pools takes the host's address.
    #[serde(default)]
    pub nat_outgoing: bool,
}

/// An IPReservation: addresses that nobody is given who does not ask for them by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub name: String,
    pub cidrs: Vec<Cidr>,
}

/// `ipipMode` or `vxlanMode` of an IPPool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encapsulation {
    pub mode: EncapsulationMode,
    pub device: TunnelKind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncapsulationMode {
    #[default]
    Never,
    Always,
    /// To nodes outside of the host's own subnet.
    CrossSubnet,
    /// To nodes that the host reaches through a router only, and to which the underlay announces no way.
    Auto,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TunnelKind {
    /// IPv4 in IPv4 (RFC 2003).
    #[default]
    Ipip,
    /// RFC 7348.
    Vxlan,
}

impl TunnelKind {
    pub const ALL: [TunnelKind; 2] = [TunnelKind::Ipip, TunnelKind::Vxlan];

    /// Of the device on every host.
    pub fn device(self) -> super::InterfaceName {
        let name = match self {
            TunnelKind::Ipip => "rnt-ipip",
            TunnelKind::Vxlan => "rnt-vxlan",
        };
        super::InterfaceName::new(name).expect("a valid name")
    }
}

impl std::fmt::Display for TunnelKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TunnelKind::Ipip => "ipip",
            TunnelKind::Vxlan => "vxlan",
        })
    }
}

/// A Network (`routenet/v1`): which pools it draws from, and whether it is apart from other networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub name: NetworkName,
    pub pools: Vec<PoolName>,
    pub isolation: Isolation,
}

/// What holds where no policy applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// An endpoint accepts what comes from its own network, and may send anywhere.
    #[default]
    Network,
    /// All open until a policy applies, as in Kubernetes.
    Open,
}

/// A node: written by its own agent at start, readable by everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub name: NodeName,
    pub labels: Labels,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub as_number: u32,
    pub router_id: Ipv4Addr,
    /// The TCP port its speaker listens on, and whether it takes part in the node-to-node mesh.
    pub bgp_port: u16,
    pub mesh: bool,
    /// Which incarnation of the agent's state directory wrote it: two agents with one name show by this.
    pub incarnation: String,
}

impl Node {
    pub fn address(&self, family: super::Family) -> Option<IpAddr> {
        match family {
            super::Family::V4 => self.ipv4.map(IpAddr::V4),
            super::Family::V6 => self.ipv6.map(IpAddr::V6),
        }
    }
}

/// A BGPPeer: an explicit neighbour of some or all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpPeer {
    pub name: String,
    /// Only this node peers with it; `None` and no selector: every node does.
    pub node: Option<NodeName>,
    pub node_selector: Option<String>,
    /// Unspecified: whoever announces itself on `interface`.
    pub address: IpAddr,
    /// Where it is known by: a link-local address alone names nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceName>,
    pub port: u16,
    pub as_number: PeerAs,
    pub passive: bool,
    /// What is accepted from it: nothing unless given (RFC 8212). `pools` accepts what lies in the pools.
    pub import: ImportPolicy,
    /// Seconds.
    pub hold_time: Option<u16>,
    #[serde(default)]
    pub transport: BgpTransport,
    #[serde(default)]
    pub options: PeerOptions,
    /// `None`: without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdSettings>,
}

impl BgpPeer {
    /// The interface of one whose address nobody wrote down.
    pub fn unnumbered(&self) -> Option<&InterfaceName> {
        self.interface.as_ref().filter(|_| self.address.is_unspecified())
    }

    /// Its address as people write it, with the interface of a link-local one; or the interface alone.
    pub fn place(&self) -> String {
        match (&self.interface, self.unnumbered()) {
            (_, Some(interface)) => interface.to_string(),
            (Some(interface), None) => format!("{}%{interface}", self.address),
            (None, None) => self.address.to_string(),
        }
    }
}

/// Bidirectional Forwarding Detection with a neighbour (RFC 5880): its failure ends the BGP session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdSettings {
    /// What we send at, and take, in milliseconds.
    pub interval_ms: u32,
    /// How many packets may be missing.
    pub multiplier: u8,
    /// Routers lie between (RFC 5883); else it is on the link (RFC 5881).
    #[serde(default)]
    pub multihop: bool,
    /// The TTL that its packets have at least where they come over routers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_ttl: Option<u8>,
}

impl Default for BfdSettings {
    fn default() -> Self {
        BfdSettings { interval_ms: 100, multiplier: 3, multihop: false, minimum_ttl: None }
    }
}

/// What protects the TCP connection with a neighbour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpTransport {
    /// Over how many hops its packets may come, from 1; those of others are dropped (GTSM, RFC 5082).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_security: Option<u8>,
    /// A file of the node whose first line is the password (TCP MD5, RFC 2385).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportPolicy {
    #[default]
    None,
    Pools,
    All,
}

/// How the mesh is laid out, which all nodes have to know the same of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeshLayout {
    /// Every node has a session with every other.
    #[default]
    Full,
    /// Up to so many nodes; beyond that some of them reflect (RFC 4456).
    Auto { limit: u32 },
}

impl MeshLayout {
    /// Where nobody says another: what Calico's documentation recommends route reflectors from.
    pub const LIMIT: u32 = 100;
}

/// A BGPConfiguration; the one named `default` governs the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpConfiguration {
    pub name: String,
    pub node_to_node_mesh: bool,
    #[serde(default)]
    pub mesh: MeshLayout,
    /// The cluster's AS where a node names none.
    pub as_number: Option<u32>,
    pub listen_port: Option<u16>,
}

/// A block of a pool and the one node that owns it. Written by agents only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub cidr: Cidr,
    pub pool: PoolName,
    pub owner: NodeName,
    /// The incarnation of its claimant, so that a node that was away can tell that its block was given away.
    pub epoch: u64,
}

/// Everything that the cluster store holds; the key's shape is [`crate::model::object`]'s, the bytes are JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value")]
pub enum Fact {
    Object(Object),
    Block(Block),
    Endpoint(Endpoint),
    Condition(NodeCondition),
}

/// A node's container runtime uses an object that it can make itself (a Docker network's pool, say). No fact: nothing in
/// the kernel follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectUse {
    pub object: ObjectKey,
    pub node: NodeName,
    /// Whether the object was made for such a use, and goes with the last of them.
    pub made: bool,
}

/// What a node says of its own health; each agent publishes its own on change and every 10 s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeCondition {
    pub node: NodeName,
    /// Seconds since the Unix epoch, by the node's own clock.
    pub at: u64,
    pub version: String,
    /// What is wrong, in words; empty when all is well.
    pub problems: Vec<Problem>,
    pub endpoints: u32,
    pub blocks: Vec<Cidr>,
    pub peers_established: u32,
    pub peers_configured: u32,
    /// The plan of the mesh whose sessions it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_in_place: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `bgp`, `store`, `ipset`, `iptables`, `link`, `route`, `ipam`, `config`.
    pub part: String,
    pub what: String,
    pub mend: Option<String>,
    /// Seconds since the Unix epoch.
    pub since: u64,
}
