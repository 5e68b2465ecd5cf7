//! The answers to the reading requests besides `status`, and to `apply` and `delete`: one struct a line of a listing.
//! Filled by the agent, shown by `routectl`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use routenet_core::model::{Cidr, Labels};
use routenet_core::policy::compare::Comparison;
use serde::{Deserialize, Serialize};

/// The answer to `get`: objects in the shape in which people write them, sorted by kind, namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GetReply {
    /// Each as [`routenet_core::model::yaml::object_to_value`] gives it.
    pub objects: Vec<serde_json::Value>,
}

/// The answer to `apply` and `delete`: what was done, in the order of the input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReply {
    pub changes: Vec<Change>,
    /// What is written and cannot work on the node that answered, with the mend.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The name under which it must be confirmed.
    #[serde(default)]
    pub confirm: Option<String>,
    /// Where there are any that policy denies by now.
    #[serde(default)]
    pub connections: Option<Connections>,
}

/// Established connections that policy denies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Where they were counted.
    pub node: String,
    pub count: usize,
    /// They were ended; otherwise they live on.
    pub cut: bool,
}

/// The answer to `diff`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffReply {
    /// What would become of the objects, in the order of the input.
    pub changes: Vec<Change>,
    /// What would become of the verdicts between those who are there now.
    pub verdicts: Comparison,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Created,
    Changed,
    Unchanged,
    Deleted,
    /// It was asked to be deleted and was not there.
    Absent,
}

/// An endpoint of any node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointLine {
    pub namespace: String,
    pub name: String,
    pub network: String,
    pub node: String,
    pub addresses: Vec<IpAddr>,
    pub labels: Labels,
    pub container_id: String,
    /// The interface inside the workload.
    pub ifname: String,
    /// The host side of its veth, on its node.
    pub host_interface: String,
    /// Ports of its host that lead to it: `8080->80/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// `ready`, `waiting`, `failed`; `remote` where another node answers for it.
    pub state: String,
    /// What keeps it from being ready.
    pub error: Option<String>,
}

/// The answer to `ipam show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamReply {
    pub pools: Vec<IpamPoolLine>,
    pub blocks: Vec<IpamBlockLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamPoolLine {
    pub name: String,
    pub cidr: Cidr,
    pub block_size: u8,
    pub disabled: bool,
    pub networks: Vec<String>,
    pub blocks_claimed: u64,
    /// How many blocks the pool has room for, saturating.
    pub blocks_total: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamBlockLine {
    pub cidr: Cidr,
    pub pool: String,
    pub node: String,
    pub epoch: u64,
    /// Addresses in use. For another node's block: as far as its endpoints are published.
    pub allocated: u64,
    /// Released and resting before reuse; known for own blocks only.
    pub resting: Option<u64>,
    /// Addresses of the block, saturating.
    pub size: u64,
}

/// The answer to `ipam why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamWhyReply {
    pub address: IpAddr,
    pub pool: Option<String>,
    pub block: Option<Cidr>,
    /// The block's owner.
    pub node: Option<String>,
    /// In words, with what they mean: `used`, `held`, `host`, `resting: ...`, `free`, `foreign: ...`.
    pub state: String,
    /// Who has it.
    pub holder: Option<String>,
}

/// The answer to `ipam check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamCheckReply {
    pub blocks: u64,
    pub addresses: u64,
    /// Empty: all fits together.
    pub problems: Vec<String>,
}

/// The answer to `ipam release` and `ipam release-node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamReleaseReply {
    pub released: Vec<String>,
}

/// The answer to `bgp mesh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshReply {
    /// `None`: there is no mesh for this node.
    pub status: Option<super::status::MeshStatus>,
    /// The nodes of its AS and family, this one among them, by name.
    pub nodes: Vec<MeshLine>,
}

/// One node of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshLine {
    pub name: String,
    /// `full`, `reflector` or `client`.
    pub role: String,
    /// Of a client.
    pub reflectors: Vec<String>,
    /// Of a reflector: how many it has.
    pub clients: Option<u64>,
    /// Whether it says that it has the plan's sessions.
    pub in_place: bool,
}

/// A BGP neighbour, with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborLine {
    pub name: String,
    /// A link-local one with its interface, `fe80::1%eth0`; the interface alone while nobody is known there.
    pub address: String,
    pub port: u16,
    /// Absent: any other than ours, and its OPEN has yet to say which.
    pub as_number: Option<u32>,
    /// `node` (the mesh), `peer` (a BGPPeer), `config` (the node's file), `range` (connected from a range of it).
    pub source: String,
    pub passive: bool,
    /// `none`, `pools`, `all`.
    pub import: String,
    /// BGPFilters, in the order in which they are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    pub state: String,
    /// How long it has been Established, or has not been.
    pub since_secs: u64,
    /// The peer's BGP identifier, once it said so.
    pub router_id: Option<Ipv4Addr>,
    /// The negotiated hold time in seconds; 0 means that none runs.
    pub hold_time: Option<u16>,
    /// Negotiated: `ipv4-unicast`, `ipv6-unicast`, `four-octet-as`, `graceful-restart`, ...
    pub capabilities: Vec<String>,
    /// Prefixes it sent; of these, how many were accepted.
    pub received: u64,
    pub accepted: u64,
    pub advertised: u64,
    pub sessions: u64,
    pub last_error: Option<String>,
    pub last_error_secs_ago: Option<u64>,
    /// Absent: it is not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BfdLine>,
}

/// BFD with a BGP neighbour (RFC 5880).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdLine {
    /// `Down`, `Init`, `Up`.
    pub state: String,
    /// How long it has been Up, or has not been.
    pub since_secs: u64,
    /// Why it is not Up, in words.
    pub why: Option<String>,
    /// What the neighbour says; `None`: nothing is heard.
    pub remote_state: Option<String>,
    pub transmit_interval_ms: u64,
    /// How long the neighbour may be silent; `None`: nothing is heard.
    pub detection_time_ms: Option<u64>,
    /// How often it was Up.
    pub sessions: u64,
    /// Packets from its address that were not taken, and why the last was not.
    pub discarded: u64,
    pub last_discard: Option<String>,
}

/// All that is known of one neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborReply {
    #[serde(flatten)]
    pub line: NeighborLine,
    /// As in a BGPPeer; those that are not what they are by default.
    pub options: BTreeMap<String, serde_json::Value>,
    /// By direction, since the neighbour was configured.
    pub messages_received: MessageCounts,
    pub messages_sent: MessageCounts,
    /// Whether it still has to be told something.
    pub waiting: bool,
    /// Whether routes from before its restart are kept, and more of that.
    pub retained: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// UPDATEs with something wrong since the neighbour was configured (RFC 7606), by what was done, and the last one.
    pub malformed: u64,
    pub treated_as_withdraw: u64,
    pub attributes_discarded: u64,
    pub prefixes_ignored: u64,
    #[serde(default)]
    pub sessions_reset: u64,
    pub last_malformed: Option<Malformed>,
    pub last_notification_sent: Option<Past>,
    pub last_notification_received: Option<Past>,
    /// What else there is to know, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What became of the session, the newest last.
    pub history: Vec<Past>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageCounts {
    pub opens: u64,
    pub updates: u64,
    pub notifications: u64,
    pub keepalives: u64,
    pub refreshes: u64,
}

/// Routes of a neighbour from before its restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    pub since_secs: u64,
    /// How much longer some of them are kept, at most.
    pub left_secs: u64,
    /// Whether the restart time is over for some: these are the last choice (RFC 9494).
    pub long_lived: bool,
}

/// The last UPDATE with something wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Malformed {
    #[serde(flatten)]
    pub past: Past,
    /// The offending attribute's first bytes, in hexadecimal; empty where no single one is at fault.
    pub bytes: String,
    /// The whole message, in hexadecimal.
    #[serde(default)]
    pub update: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    pub secs_ago: u64,
    pub what: String,
}

/// The MRT file that was written, on the node that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpReply {
    pub file: String,
    pub bytes: u64,
}

/// One route to a prefix, and why it is the best or is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReply {
    #[serde(flatten)]
    pub line: RouteLine,
    /// `best`, `equal`, `lost` or `refused`.
    pub standing: String,
    /// What decided it, in words.
    pub why: Option<String>,
    /// The path identifier that it came under (RFC 7911), and the one that neighbours hear that are told several paths.
    pub path_id: Option<u32>,
    pub told_as: Option<u32>,
    pub router_id: Option<Ipv4Addr>,
    pub external: bool,
    /// In hexadecimal.
    pub extended_communities: Vec<String>,
    pub large_communities: Vec<String>,
    pub originator_id: Option<Ipv4Addr>,
    pub cluster_list: Vec<Ipv4Addr>,
    /// The AS of Only to Customer (RFC 9234).
    pub otc: Option<u32>,
    pub aggregator: Option<String>,
    pub atomic_aggregate: bool,
    /// Type codes of attributes that are passed on unknown.
    pub unknown_attributes: Vec<u8>,
}

/// A path in the RIB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLine {
    pub prefix: Cidr,
    /// `None` for what this node announces of its own.
    /// A link-local one with its interface.
    pub next_hop: Option<String>,
    /// The neighbour it was learned from; `None` for own ones.
    pub from: Option<String>,
    /// As text, in the order of the wire: `64513 64514 {64515 64516}`.
    pub as_path: String,
    /// `igp`, `egp`, `incomplete`.
    pub origin: String,
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    pub communities: Vec<String>,
    pub best: bool,
    /// Kept from before a graceful restart.
    pub stale: bool,
    /// Why it is not used, in words; `None` for a usable one.
    pub refused: Option<String>,
}

/// The answer to `explain`: the verdict at both ends and the way between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainReply {
    pub from: String,
    pub to: String,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: String,
    pub port: Option<u16>,
    pub allowed: bool,
    /// What the sender's egress says; `None` where the sender is no endpoint.
    pub egress: Option<Verdict>,
    /// What the receiver's ingress says; `None` where the receiver is no endpoint.
    pub ingress: Option<Verdict>,
    /// What host endpoints on the way say, of the packet and of its answer; each by its name and the place.
    #[serde(default)]
    pub hosts: Vec<Verdict>,
    /// What would be if what is staged were enforced, where that makes a difference.
    #[serde(default)]
    pub staged: Option<StagedVerdict>,
    /// How the packet gets there: `local, dev rnw0123456789a`, `via 192.0.2.12 (node-b, BGP)`, `no route`.
    pub route: Option<String>,
    pub mtu: Option<u32>,
    /// What makes this answer less than certain: labels of a remote endpoint that are not known, a plane out of sync.
    pub notes: Vec<String>,
    /// What became of a real packet, where one was asked for.
    #[serde(default)]
    pub trace: Option<Trace>,
}

/// The way of a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Where it, and what answered it, was seen, in order, in words.
    pub steps: Vec<String>,
    /// Whether the sender got an answer of the receiver's own.
    pub answered: bool,
    /// Where it ended, in words.
    pub end: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedVerdict {
    pub allowed: bool,
    /// In words, what decides then.
    pub decided_by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub endpoint: String,
    pub allowed: bool,
    /// In words: `GlobalNetworkPolicy deny-db, ingress rule 0: Deny`, `profile rn-net.blue: Allow`, `no rule: Deny`.
    pub decided_by: String,
    /// The steps up to the decision, in order.
    pub trail: Vec<String>,
    /// What the deciding rule is in the kernel of the node that answers, and what it has counted; `None` where no rule
    /// decided, or the endpoint is another node's.
    #[serde(default)]
    pub kernel: Option<KernelRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelRule {
    pub chain: String,
    /// As iptables has it, with the sets that it asks; more than one where it takes several.
    pub rules: Vec<String>,
    pub packets: u64,
    pub bytes: u64,
}
