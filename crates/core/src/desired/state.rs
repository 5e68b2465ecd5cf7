//! What a host should have: sets, chains, links, routes, announcements; and changes of these.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::model::{
    Cidr, Endpoint, EndpointKey, Family, InterfaceName, NodeName, ObjectKey, Protocol, TunnelKind, Via,
};

/// The name of one of our ipsets in the kernel: `rn4-...` or `rn6-...`, at most 31 characters.
pub type SetName = String;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// Prefixes and addresses.
    HashNet,
    /// (prefix, interface) pairs.
    HashNetIface,
    /// (address, protocol and port) pairs.
    HashIpPort,
}

/// One entry of a set. The kernel refuses a /0 in these types: it is written as its two halves by the compiler.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    Net(Cidr),
    NetIface(Cidr, InterfaceName),
    IpPort(IpAddr, Protocol, u16),
}

/// As ipset(8) writes it.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = |cidr: &Cidr| match cidr.is_host() {
            true => cidr.address().to_string(),
            false => cidr.to_string(),
        };
        match self {
            Member::Net(cidr) => f.write_str(&net(cidr)),
            Member::NetIface(cidr, interface) => write!(f, "{},{interface}", net(cidr)),
            Member::IpPort(address, protocol, port) => write!(f, "{address},{protocol}:{port}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSpec {
    pub family: Family,
    pub kind: SetKind,
    pub members: BTreeSet<Member>,
}

/// A step on a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOp {
    /// With what is in it from the beginning; each member once.
    Create {
        name: SetName,
        family: Family,
        kind: SetKind,
        members: Vec<Member>,
    },
    Add {
        name: SetName,
        member: Member,
    },
    Delete {
        name: SetName,
        member: Member,
    },
    Destroy {
        name: SetName,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Raw,
    Mangle,
    Nat,
    Filter,
}

impl Table {
    pub const ALL: [Table; 4] = [Table::Raw, Table::Mangle, Table::Nat, Table::Filter];

    pub const fn name(self) -> &'static str {
        match self {
            Table::Raw => "raw",
            Table::Mangle => "mangle",
            Table::Nat => "nat",
            Table::Filter => "filter",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainKey {
    pub family: Family,
    pub table: Table,
    /// `rn-...`, at most 28 characters.
    pub name: String,
}

impl fmt::Display for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table.name(), self.name)
    }
}

/// One rule of a chain: what stands after `-A CHAIN` in an iptables-restore file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainRule {
    /// Shared by all copies of the rule.
    pub text: Arc<str>,
    /// Which rule of which policy it came from, for errors and `explain`; `None` for the frame.
    pub origin: Option<RuleOrigin>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOrigin {
    pub policy: Arc<ObjectKey>,
    pub ingress: bool,
    /// Counted from 0 in its direction.
    pub index: usize,
}

/// A jump from one of the kernel's built-in chains into one of ours; it stands first there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hook {
    pub family: Family,
    pub table: Table,
    /// `PREROUTING`, `INPUT`, `FORWARD`, `OUTPUT`, `POSTROUTING`.
    pub builtin: &'static str,
    /// The chain of ours it jumps to.
    pub chain: String,
}

/// The veth of a local workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub endpoint: EndpointKey,
    /// The path of the workload's network namespace.
    pub netns: String,
    /// The name inside the workload.
    pub ifname: InterfaceName,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub addresses: Vec<IpAddr>,
    /// What the workload routes through, by family of its addresses.
    pub gateway4: Ipv4Addr,
    pub gateway6: Ipv6Addr,
    /// Its runtime takes the workload's end from the host, moves and configures it; the host's end carries the next hops,
    /// since nobody gives the workload neighbour entries for them.
    pub handed_over: bool,
    /// The host reaches it from loopback addresses: one of its ports is published.
    pub loopback: bool,
}

impl Link {
    /// The link of an endpoint; none for one that is not plugged in.
    pub fn of(endpoint: &Endpoint) -> Option<Link> {
        let attachment = endpoint.attachment.as_ref()?;
        let (gateway4, gateway6) = next_hops(attachment.next_hop);
        Some(Link {
            endpoint: endpoint.key.clone(),
            netns: attachment.netns.clone(),
            ifname: endpoint.key.ifname.clone(),
            mac: attachment.mac,
            mtu: attachment.mtu,
            addresses: endpoint.addresses.clone(),
            gateway4,
            gateway6,
            handed_over: attachment.handed_over,
            loopback: !attachment.published.is_empty(),
        })
    }
}

/// What identifies a route in the kernel's main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    pub dst: Cidr,
    /// 0 for the default metric (IPv6: the kernel's 1024).
    pub metric: u32,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.metric {
            0 => write!(f, "{}", self.dst),
            metric => write!(f, "{} metric {metric}", self.dst),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To a local workload: `dst dev rnw... scope link src SRC`.
    Local { dev: InterfaceName, src: Option<IpAddr> },
    /// An own block: what is not given out in it goes nowhere.
    Blackhole,
    /// A pool: an address that nobody has must not follow the default route.
    Unreachable,
    /// Learned over BGP; several next hops are ECMP.
    Learned { via: Via, src: Option<IpAddr> },
    /// Learned, to nodes that are reached by a tunnel: `dst via NODE dev rnt-... onlink src TUNNEL-ADDRESS`.
    Tunnelled { kind: TunnelKind, via: Via, src: Option<IpAddr> },
}

/// A tunnel device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    pub kind: TunnelKind,
    /// The outer address of this host.
    pub local: IpAddr,
    pub mtu: u32,
    /// What the host speaks from to workloads behind the tunnel.
    pub addresses: BTreeSet<IpAddr>,
    /// VXLAN: this host's end, and the UDP port.
    pub mac: [u8; 6],
    pub port: u16,
    /// VXLAN: the other ends; nothing is flooded or learned.
    pub peers: BTreeMap<NodeName, TunnelPeer>,
}

/// The end of a tunnel at another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelPeer {
    pub mac: [u8; 6],
    /// Where encapsulated packets are sent to.
    pub outer: IpAddr,
    /// The next hops that are its addresses: they are found at its MAC.
    pub hops: BTreeSet<IpAddr>,
}

/// The VXLAN network identifier, the same on all nodes.
pub const VXLAN_VNI: u32 = 4096;

/// The metric of `unreachable` routes of pools.
pub const UNREACHABLE_METRIC: u32 = 1_000_000;

/// `proto` of local host routes, blackholes and unreachables in the kernel.
pub const PROTO_LOCAL: u8 = 82;
/// `proto` of routes learned over BGP.
pub const PROTO_LEARNED: u8 = 83;

/// The next hop inside every workload (IPv4, link local).
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The next hop inside every workload (IPv6): the EUI-64 link-local of [`HOST_MAC`].
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);
/// The next hops of a number from 1: what a workload routes through on its first interface, its second, and so on, where
/// they must differ. The first are [`GATEWAY4`] and [`GATEWAY6`].
pub fn next_hops(number: u8) -> (Ipv4Addr, Ipv6Addr) {
    let beyond_first = number.saturating_sub(1);
    let gateway4 = Ipv4Addr::from_bits(GATEWAY4.to_bits() + u32::from(beyond_first));
    (gateway4, Ipv6Addr::from_bits(GATEWAY6.to_bits() + u128::from(beyond_first)))
}

/// The MAC address of the host side of every workload's veth.
pub const HOST_MAC: [u8; 6] = [0xee; 6];

/// Everything a host should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredState {
    pub sets: BTreeMap<SetName, SetSpec>,
    pub chains: BTreeMap<ChainKey, Vec<ChainRule>>,
    pub hooks: BTreeSet<Hook>,
    pub links: BTreeMap<InterfaceName, Link>,
    pub tunnels: BTreeMap<TunnelKind, Tunnel>,
    pub routes: BTreeMap<RouteKey, Route>,
    pub announcements: BTreeSet<Cidr>,
}

/// The part of a change that sets and chains take. Order: `grow`, then `chains`, then `shrink`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesDelta {
    /// Creations and additions, in the order in which they must happen (a leaf before its node).
    pub grow: Vec<SetOp>,
    /// New content of a chain; `None`: remove it.
    pub chains: BTreeMap<ChainKey, Option<Vec<ChainRule>>>,
    /// Deletions and destructions, in the order in which they must happen (a node before its leaf).
    pub shrink: Vec<SetOp>,
}

impl RulesDelta {
    /// What makes the sets of `before` those of `wanted`; the names are the same.
    pub(super) fn change_members(&mut self, before: &BTreeMap<SetName, SetSpec>, wanted: &BTreeMap<SetName, SetSpec>) {
        for (name, spec) in wanted {
            let Some(old) = before.get(name) else { continue };
            let grown = spec.members.difference(&old.members);
            self.grow.extend(grown.map(|member| SetOp::Add { name: name.clone(), member: member.clone() }));
            let shrunk = old.members.difference(&spec.members);
            self.shrink.extend(shrunk.map(|member| SetOp::Delete { name: name.clone(), member: member.clone() }));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.grow.is_empty() && self.chains.is_empty() && self.shrink.is_empty()
    }
}

/// What should now differ. In each map `None` means: remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredDelta {
    pub rules: RulesDelta,
    pub links: BTreeMap<InterfaceName, Option<Link>>,
    pub tunnels: BTreeMap<TunnelKind, Option<Tunnel>>,
    pub routes: BTreeMap<RouteKey, Option<Route>>,
    /// `true`: announce, `false`: withdraw.
    pub announcements: BTreeMap<Cidr, bool>,
}
