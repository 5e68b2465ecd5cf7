//! The node's configuration file, as a typed value. One YAML file a node.
//!
//! [`read`] takes it from YAML with all errors at once, [`to_yaml`] shows what is in force (`routenetd --check`), and
//! [`REFERENCE`] documents every key: the reader, the writer and the README's reference are held equal by tests.

mod peers;
mod read;
mod reference;
mod running;
mod store;
mod write;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::{BfdSettings, BgpFilter, BgpPeer, Cidr, InterfaceName, Network, NodeName, Pool, Protocol};

pub use read::read;
pub use reference::{FieldDoc, REFERENCE};
pub use running::take_over;
pub use write::to_yaml;

/// Everything that `routenetd --config FILE` is told.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    pub node: NodeName,
    pub labels: super::Labels,
    pub address: AddressConfig,
    pub store: StoreConfig,
    pub bgp: BgpConfig,
    pub data_plane: DataPlane,
    pub iptables: IptablesConfig,
    pub workloads: WorkloadConfig,
    pub log_rules: LogRules,
    pub failsafe: Failsafe,
    pub tunnels: TunnelConfig,
    pub paths: Paths,
    pub api: ApiConfig,
    /// `None`: Docker is not served.
    pub docker: Option<DockerConfig>,
    pub log: LogConfig,
}

/// `address:` — each family given, or found by `auto: {interface: eth1}` / `auto: {cidr: 192.0.2.0/24}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressConfig {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub auto: Vec<AutoAddress>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutoAddress {
    Interface(InterfaceName),
    Cidr(Cidr),
}

/// `store:`.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreConfig {
    /// `type: embedded`, `path: FILE` — SQLite; several agents may share the file.
    Embedded { path: PathBuf },
    /// `type: etcd` — etcd v3, for clusters.
    Etcd(EtcdConfig),
    /// `type: none` — what follows says it all.
    None(Box<StaticCluster>),
}

/// How to reach etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT`, of the same cluster.
    pub endpoints: Vec<String>,
    /// Above all our keys. Default `/routenet`.
    pub prefix: String,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    /// PEM; absent: the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// PEM, both or neither: the client's own certificate.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// What a node without a store is told in its own file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StaticCluster {
    pub pools: Vec<Pool>,
    pub networks: Vec<Network>,
    /// Blocks that this node owns.
    pub blocks: Vec<Cidr>,
    pub peers: Vec<BgpPeer>,
    /// Directory of policy and network-set YAML; read at start and on SIGHUP.
    pub policies: Option<PathBuf>,
}

/// An item of `bgp.listenRanges`: whoever connects from there is a neighbour.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRange {
    pub prefix: Cidr,
    /// How many at a time.
    pub limit: u32,
    /// What each one is; its address is the prefix's.
    pub peer: BgpPeer,
}

/// `bgp:`.
#[derive(Clone, Debug, PartialEq)]
pub struct BgpConfig {
    /// `as:`; absent: BGPConfiguration's, else 64512.
    pub as_number: Option<u32>,
    /// Absent: the IPv4 address of the node.
    pub router_id: Option<Ipv4Addr>,
    /// What a route reflector signs with (RFC 4456).
    pub cluster_id: Option<Ipv4Addr>,
    /// Where to listen; default `[::]:179` and `0.0.0.0:179` by one dual-stack socket.
    pub listen: Vec<SocketAddr>,
    /// Stations that hear what neighbours say (BMP, RFC 7854).
    pub stations: Vec<SocketAddr>,
    /// Whether this node takes part in the node-to-node mesh.
    pub mesh: bool,
    pub announce: Announce,
    /// Explicit neighbours in this file, beside the BGPPeers of the store.
    pub peers: Vec<BgpPeer>,
    pub ranges: Vec<PeerRange>,
    /// BGPFilters in this file, before those of the store.
    pub filters: Vec<BgpFilter>,
    /// Seconds; 0 or at least 3. Default 90.
    pub hold_time: u16,
    /// Seconds between attempts to connect (RFC 4271 ConnectRetryTime). Default 5.
    pub connect_retry: u16,
    /// RFC 4724 restart time in seconds, at most 4095; 0 turns graceful restart off. Default 120.
    pub restart_time: u16,
    /// Whether routes outlive NOTIFICATIONs and a hold time that is over (RFC 8538).
    pub restart_on_notification: bool,
    /// Seconds that routes are kept beyond the restart time (RFC 9494); 0, the default: not at all.
    pub long_lived_time: u32,
    /// BFD with the other nodes of the mesh; `None`: without it.
    pub bfd: Option<BfdSettings>,
    /// What a speaker without data plane announces of its own accord (`dataPlane: off`).
    pub originate: Vec<Cidr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Announce {
    /// Every /32 or /128 that this host installs.
    #[default]
    Hosts,
    /// Own blocks, plus host routes that lie outside of them.
    Blocks,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataPlane {
    #[default]
    Kernel,
    /// A speaker that touches no kernel and needs no root.
    Off,
}

/// `iptables:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IptablesConfig {
    pub backend: BackendChoice,
    /// The mark bits that are ours; at least 2 must be set. Default 0xffff0000.
    pub mark_mask: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// What the system's `iptables` is, unless only the other one holds rules.
    #[default]
    Auto,
    Nft,
    Legacy,
}

/// `workloads:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadConfig {
    /// Absent: the underlay's.
    pub mtu: Option<u32>,
    /// Whether a workload may open connections to its host, after its own egress policy. Default no.
    pub to_host: bool,
    /// Seconds that an address rests after its release was acknowledged. Default 30.
    pub address_cooldown: u32,
}

/// `policy:` — what rules with `action: Log` write to the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRules {
    /// `logPrefix:`, before the policy's name; at most 16 characters. Default `routenet`.
    pub prefix: String,
    /// `logRateLimit:`, lines a second of each rule; 0 is no limit. Default 10.
    pub per_second: u32,
}

impl Default for LogRules {
    fn default() -> LogRules {
        LogRules { prefix: "routenet".to_string(), per_second: 10 }
    }
}

/// `hostEndpoints:`.
/// Ports that policies of host endpoints cannot close, so that nobody locks himself out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failsafe {
    /// `failsafeInbound:`.
    pub inbound: Vec<FailsafePort>,
    /// `failsafeOutbound:`.
    pub outbound: Vec<FailsafePort>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailsafePort {
    pub protocol: Protocol,
    pub port: u16,
    /// Only with these at the other end.
    pub net: Option<Cidr>,
}

/// Those that Calico has.
impl Default for Failsafe {
    fn default() -> Failsafe {
        let both = [22, 179, 2379, 2380, 5473, 6443, 6666, 6667].map(|port| (Protocol::TCP, port));
        let with = |udp: &[u16]| {
            let all = both.into_iter().chain(udp.iter().map(|port| (Protocol::UDP, *port)));
            all.map(|(protocol, port)| FailsafePort { protocol, port, net: None }).collect()
        };
        Failsafe { inbound: with(&[68]), outbound: with(&[53, 67, 68]) }
    }
}

impl std::fmt::Display for FailsafePort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.protocol, self.port)?;
        self.net.map_or(Ok(()), |net| write!(f, "@{net}"))
    }
}

/// `tunnels:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Default 4789.
    pub vxlan_port: u16,
}

/// `paths:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Default `/var/lib/routenet`.
    pub state: PathBuf,
    /// Default `/run/routenet/agent.sock`.
    pub socket: PathBuf,
}

/// `api:` — who may use the agent's socket besides root and the agent's own user, by group name or number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiConfig {
    pub read_group: Option<String>,
    pub write_group: Option<String>,
}

/// `docker:` — the driver for Docker's networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfig {
    /// The plugin's socket, by whose name Docker knows the driver. Default `/run/docker/plugins/routenet.sock`.
    pub socket: PathBuf,
    /// Docker's own socket. Default `/run/docker.sock`.
    pub api: PathBuf,
    /// What networks without a subnet are cut from, in order.
    pub address_pools: Vec<AddressPool>,
}

/// As in Docker's own `default-address-pools`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    pub base: Cidr,
    /// The prefix length of each cut.
    pub size: u8,
}

/// `log:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter of the `tracing` crate. Default `info`.
    pub level: String,
}

impl NodeConfig {
    /// The address of a family that the file gives; `auto` is resolved on the machine.
    pub fn given_address(&self, family: super::Family) -> Option<IpAddr> {
        match family {
            super::Family::V4 => self.address.ipv4.map(IpAddr::V4),
            super::Family::V6 => self.address.ipv6.map(IpAddr::V6),
        }
    }
}
