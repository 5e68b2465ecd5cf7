//! Messages about tunnel devices and what is on them, and what the kernel says of these.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoIpTunnel, InfoKind, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteType;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use routenet_core::desired::{Tunnel, VXLAN_VNI};
use routenet_core::model::{InterfaceName, TunnelKind};

use crate::plane::netlink::{Refusal, Request, host_address};

/// A name of ours that no device keeps.
const PROBE: &str = "rnt-probe";

/// What the kernel says of a tunnel device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub index: u32,
    pub up: bool,
    pub mtu: u32,
    pub mac: Vec<u8>,
    kind: Option<InfoKind>,
    local: Option<IpAddr>,
    port: Option<u16>,
    vni: Option<u32>,
}

impl Seen {
    pub fn read(message: &LinkMessage) -> Seen {
        let mut seen =
            Seen { index: message.header.index, up: message.header.flags.contains(LinkFlags::Up), ..Seen::default() };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => seen.mtu = *mtu,
                LinkAttribute::Address(mac) => seen.mac.clone_from(mac),
                LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| seen.take(info)),
                _ => {}
            }
        }
        seen
    }

    fn take(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = Some(kind.clone()),
            LinkInfo::Data(InfoData::IpTunnel(data)) => {
                self.local = data.iter().find_map(|datum| match datum {
                    InfoIpTunnel::Local(address) => Some(*address),
                    _ => None,
                });
            }
            LinkInfo::Data(InfoData::Vxlan(data)) => {
                for datum in data {
                    match datum {
                        InfoVxlan::Local(address) => self.local = Some(IpAddr::V4(*address)),
                        InfoVxlan::Local6(address) => self.local = Some(IpAddr::V6(*address)),
                        InfoVxlan::Port(port) => self.port = Some(*port),
                        InfoVxlan::Id(vni) => self.vni = Some(*vni),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether it is such a tunnel, between such ends: what cannot be changed once it is made.
    pub fn is_of(&self, tunnel: &Tunnel) -> bool {
        let same_kind = self.kind.as_ref() == Some(&kind(tunnel.kind)) && self.local == Some(tunnel.local);
        same_kind
            && match tunnel.kind {
                TunnelKind::Ipip => true,
                TunnelKind::Vxlan => self.port == Some(tunnel.port) && self.vni == Some(VXLAN_VNI),
            }
    }
}

fn kind(of: TunnelKind) -> InfoKind {
    match of {
        TunnelKind::Ipip => InfoKind::IpIp,
        TunnelKind::Vxlan => InfoKind::Vxlan,
    }
}

fn link(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

pub(super) fn get(name: &InterfaceName) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(link(0, vec![LinkAttribute::IfName(name.to_string())]))
}

pub(super) fn create(tunnel: &Tunnel) -> Request {
    let data = match tunnel.kind {
        // Without a remote end: the next hop of the route is it.
        TunnelKind::Ipip => InfoData::IpTunnel(vec![InfoIpTunnel::Local(tunnel.local), InfoIpTunnel::PMtuDisc(true)]),
        TunnelKind::Vxlan => {
            let local = match tunnel.local {
                IpAddr::V4(address) => InfoVxlan::Local(address),
                IpAddr::V6(address) => InfoVxlan::Local6(address),
            };
            InfoData::Vxlan(vec![
                InfoVxlan::Id(VXLAN_VNI),
                local,
                InfoVxlan::Port(tunnel.port),
                InfoVxlan::Learning(false),
            ])
        }
    };
    create_link(tunnel.kind.device().as_str(), tunnel.kind, data, tunnel.mtu)
}

fn create_link(name: &str, of: TunnelKind, data: InfoData, mtu: u32) -> Request {
    let attributes = vec![
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind(of)), LinkInfo::Data(data)]),
    ];
    Request::new(RouteNetlinkMessage::NewLink(link(0, attributes)), NLM_F_CREATE | NLM_F_EXCL)
}

/// A device that is there and differs from none that anybody uses.
pub(super) fn probe(of: TunnelKind) -> Request {
    let loopback = |last| IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, last));
    let data = match of {
        TunnelKind::Ipip => {
            InfoData::IpTunnel(vec![InfoIpTunnel::Local(loopback(1)), InfoIpTunnel::Remote(loopback(2))])
        }
        TunnelKind::Vxlan => InfoData::Vxlan(vec![InfoVxlan::Id(1), InfoVxlan::Port(1)]),
    };
    create_link(PROBE, of, data, 1280)
}

pub(super) fn delete_probe() -> Request {
    let attributes = vec![LinkAttribute::IfName(PROBE.to_string())];
    Request::new(RouteNetlinkMessage::DelLink(link(0, attributes)), 0)
}

pub(super) fn is_unknown_kind(refusal: &Refusal) -> bool {
    refusal.is(Errno::EOPNOTSUPP)
}

pub(super) fn mend_unknown(of: TunnelKind) -> String {
    let other = match of {
        TunnelKind::Ipip => "vxlanMode instead of ipipMode",
        TunnelKind::Vxlan => "ipipMode instead of vxlanMode",
    };
    format!("this kernel has no {of}: load its module (modprobe {of}), or use {other} in the pool")
}

pub(super) fn delete(index: u32) -> Request {
    Request::new(RouteNetlinkMessage::DelLink(link(index, Vec::new())), 0)
}

/// From now on it makes no IPv6 address of its own.
pub(super) fn make_no_addresses(index: u32) -> Request {
    let no_addresses = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let attributes = vec![LinkAttribute::AfSpecUnspec(vec![no_addresses])];
    Request::new(RouteNetlinkMessage::SetLink(link(index, attributes)), 0)
}

/// Up, with this MTU and, if given, MAC.
pub(super) fn set(index: u32, mtu: u32, mac: Option<[u8; 6]>) -> Request {
    let mut attributes = vec![LinkAttribute::Mtu(mtu)];
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
    let mut message = link(index, attributes);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

pub(super) fn add_address(index: u32, address: IpAddr) -> Request {
    let message = host_address(index, address);
    Request::new(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

pub(super) fn delete_address(index: u32, address: IpAddr) -> Request {
    Request::new(RouteNetlinkMessage::DelAddress(host_address(index, address)), 0)
}

pub(super) fn dump_addresses() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

/// The address that a message is about, if it is on the device and not one of the kernel's own making.
pub(super) fn address_on(object: &RouteNetlinkMessage, index: u32) -> Option<IpAddr> {
    let RouteNetlinkMessage::NewAddress(message) = object else { return None };
    if message.header.index != index {
        return None;
    }
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    let own = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    (!own).then_some(address)
}

/// A static entry: a next hop that is found at a MAC, or a MAC that is reached through an outer address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    Neighbour { hop: IpAddr, mac: [u8; 6] },
    Forward { mac: [u8; 6], outer: IpAddr },
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |mac: &[u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        match self {
            Entry::Neighbour { hop, mac } => write!(f, "neighbour {hop} lladdr {}", text(mac)),
            Entry::Forward { mac, outer } => write!(f, "forwarding entry {} dst {outer}", text(mac)),
        }
    }
}

fn entry_message(index: u32, entry: &Entry) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    message.header.kind = RouteType::Unicast;
    let (address, mac) = match entry {
        Entry::Neighbour { hop, mac } => {
            message.header.family = family(*hop);
            message.header.state = NeighbourState::Permanent;
            (*hop, mac)
        }
        Entry::Forward { mac, outer } => {
            message.header.family = AddressFamily::Bridge;
            message.header.flags = NeighbourFlags::Own;
            message.header.state = NeighbourState::Permanent;
            (*outer, mac)
        }
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::from(address)),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    message
}

pub(super) fn add_entry(index: u32, entry: &Entry) -> Request {
    // A forwarding entry of the same MAC is another destination beside it unless it is replaced.
    Request::new(RouteNetlinkMessage::NewNeighbour(entry_message(index, entry)), NLM_F_CREATE | NLM_F_REPLACE)
}

pub(super) fn delete_entry(index: u32, entry: &Entry) -> Request {
    Request::new(RouteNetlinkMessage::DelNeighbour(entry_message(index, entry)), 0)
}

pub(super) fn dump_entries(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    RouteNetlinkMessage::GetNeighbour(message)
}

/// The static entry that a message is about, if it is on the device.
pub(super) fn entry_on(object: &RouteNetlinkMessage, index: u32) -> Option<Entry> {
    let RouteNetlinkMessage::NewNeighbour(message) = object else { return None };
    if message.header.ifindex != index || message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => address = Some(IpAddr::V4(*found)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => address = Some(IpAddr::V6(*found)),
            // The address family of a forwarding entry is none of IP's.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => address = ip(bytes),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let (address, mac): (IpAddr, [u8; 6]) = (address?, mac?);
    Some(match message.header.family {
        AddressFamily::Bridge => Entry::Forward { mac, outer: address },
        // Multicast entries are the kernel's own.
        _ if address.is_multicast() => return None,
        _ => Entry::Neighbour { hop: address, mac },
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// The entries that a tunnel wants.
pub(super) fn entries(tunnel: &Tunnel) -> BTreeSet<Entry> {
    let of_peer = |peer: &routenet_core::desired::TunnelPeer| {
        let mac = peer.mac;
        let neighbours = peer.hops.iter().map(move |hop| Entry::Neighbour { hop: *hop, mac });
        neighbours.chain([Entry::Forward { mac, outer: peer.outer }]).collect::<Vec<_>>()
    };
    tunnel.peers.values().flat_map(of_peer).collect()
}
