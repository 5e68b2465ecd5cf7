//! The host side of a workload's veth: what it should be like, the messages that make it so, and what of it is not so.

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use routenet_core::desired::{HOST_MAC, Link};
use routenet_core::model::InterfaceName;

use crate::plane::netlink::Request;

use crate::plane::namespace::Namespace;

/// The prefix of all host sides; `rnt-` devices and everybody else's are not ours.
const PREFIX: &str = "rnw";
/// `IFALIASZ` without the final NUL.
const ALIAS_LENGTH: usize = 255;
/// `IFLA_INET_CONF`, nested.
const INET_CONF: u16 = 1 | 0x8000;
/// `IPV4_DEVCONF_*` (linux/ip.h) and what it should be: forward what workloads send, no proxy ARP, and a loose reverse
/// path filter where the host has a strict one (the kernel takes the higher of an interface's and `all`'s), since a reply
/// of a workload with two interfaces may leave by the other.
const IPV4_SETTINGS: [(u16, u32); 3] = [(1, 1), (3, 0), (8, 2)];
/// `IPV4_DEVCONF_ROUTE_LOCALNET`: whether loopback addresses may come and go by the interface.
const ROUTE_LOCALNET: u16 = 26;

/// Whether a name is one of ours: `rnw` and 11 hexadecimal digits.
pub(super) fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|hash| hash.len() == 11 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// The alias of a link that is complete: it is given last, so a link without it was left half-built by a crash.
pub(super) fn alias(link: &Link) -> String {
    let mut text = link.endpoint.to_string();
    let end = (0..=ALIAS_LENGTH.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text
}

/// What the kernel says of a link on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostLink {
    pub index: u32,
    pub name: String,
    pub veth: bool,
    pub up: bool,
    pub mac: Vec<u8>,
    pub mtu: u32,
    pub alias: Option<String>,
    /// The index of the other end, in its own namespace.
    pub peer: Option<u32>,
    pub group: u32,
}

impl HostLink {
    /// `None` for what tells of a bridge port and not of the link itself.
    pub(super) fn read(message: &LinkMessage) -> Option<HostLink> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let mut link = HostLink {
            index: message.header.index,
            name: String::new(),
            veth: false,
            up: message.header.flags.contains(LinkFlags::Up),
            mac: Vec::new(),
            mtu: 0,
            alias: None,
            peer: None,
            group: 0,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(mac) => link.mac.clone_from(mac),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
                LinkAttribute::Link(peer) => link.peer = Some(*peer),
                LinkAttribute::Group(group) => link.group = *group,
                LinkAttribute::LinkInfo(info) => link.veth = info.contains(&LinkInfo::Kind(InfoKind::Veth)),
                _ => {}
            }
        }
        Some(link)
    }

    /// Whether it was built to its end, and for this endpoint.
    pub(super) fn is_complete(&self, wanted: &Link) -> bool {
        self.veth && self.alias.as_deref() == Some(alias(wanted).as_str())
    }

    /// What of a complete link is not as it was built, in words.
    pub(super) fn differences(&self, wanted: &Link, name: &InterfaceName) -> Vec<String> {
        let mut said = Vec::new();
        if self.name != name.as_str() {
            said.push(format!("was renamed to {}", self.name));
        }
        if !self.up {
            said.push("was set down".to_string());
        }
        if self.mac != HOST_MAC {
            said.push("had its MAC address changed".to_string());
        }
        if self.mtu != wanted.mtu {
            said.push(format!("had its MTU changed to {}", self.mtu));
        }
        if !self.is_complete(wanted) {
            said.push("had its alias changed".to_string());
        }
        said
    }
}

fn link_message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

/// Asks for a link by name. The answer also brings the carrier's state up to date: until then a link that has just
/// come up may still drop what is sent.
pub(super) fn get_by_name(name: &str) -> Request {
    let message = link_message(0, vec![LinkAttribute::IfName(name.to_string())]);
    Request::new(RouteNetlinkMessage::GetLink(message), 0)
}

pub(super) fn get_by_index(index: u32) -> Request {
    Request::new(RouteNetlinkMessage::GetLink(link_message(index, Vec::new())), 0)
}

pub(super) fn dump_links() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(LinkMessage::default())
}

pub(super) fn dump_addresses() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

pub(super) fn delete(index: u32) -> Request {
    Request::new(RouteNetlinkMessage::DelLink(link_message(index, Vec::new())), 0)
}

pub(super) fn set_group(index: u32, group: u32) -> Request {
    Request::new(RouteNetlinkMessage::SetLink(link_message(index, vec![LinkAttribute::Group(group)])), 0)
}

pub(super) fn delete_group(group: u32) -> Request {
    Request::new(RouteNetlinkMessage::DelLink(link_message(0, vec![LinkAttribute::Group(group)])), 0)
}

/// Both ends at once: the far one is born inside the workload's namespace, since moving a link is forty times dearer;
/// without one it waits beside the host's for whoever moves it.
pub(super) fn create_pair(name: &InterfaceName, link: &Link, workload: Option<&Namespace>) -> Request {
    let far_name = match workload {
        Some(_) => link.ifname.clone(),
        None => link.endpoint.waiting_interface(),
    };
    let mut peer = vec![
        LinkAttribute::IfName(far_name.to_string()),
        LinkAttribute::Address(link.mac.to_vec()),
        LinkAttribute::Mtu(link.mtu),
    ];
    peer.extend(workload.map(|workload| LinkAttribute::NetNsFd(workload.descriptor())));
    let peer = link_message(0, peer);
    let attributes = vec![
        LinkAttribute::IfName(name.to_string()),
        LinkAttribute::Address(HOST_MAC.to_vec()),
        LinkAttribute::Mtu(link.mtu),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    Request::new(RouteNetlinkMessage::NewLink(link_message(0, attributes)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Up, and its settings. `ipv6`: whether the host has IPv6 at all; then it makes no address of its own (that one would
/// wait for duplicate address detection), [`add_gateway6`] does.
pub(super) fn set_up(name: &InterfaceName, link: &Link, ipv6: bool) -> Request {
    let mut settings = Vec::new();
    let localnet = (ROUTE_LOCALNET, u32::from(link.loopback));
    for (setting, value) in IPV4_SETTINGS.into_iter().chain([localnet]) {
        let nla = DefaultNla::new(setting, value.to_ne_bytes().to_vec());
        let start = settings.len();
        settings.resize(start + nla.buffer_len(), 0);
        nla.emit(&mut settings[start..]);
    }
    let mut families = vec![AfSpecUnspec::Inet(vec![AfSpecInet::Other(DefaultNla::new(INET_CONF, settings))])];
    if ipv6 {
        families.push(AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]));
    }
    let attributes = vec![LinkAttribute::IfName(name.to_string()), LinkAttribute::AfSpecUnspec(families)];
    let mut message = link_message(0, attributes);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

/// Name, MAC, MTU and alias as they should be, and up.
pub(super) fn mend(index: u32, name: &InterfaceName, link: &Link) -> Request {
    let mut message = link_message(
        index,
        vec![
            LinkAttribute::IfName(name.to_string()),
            LinkAttribute::Address(HOST_MAC.to_vec()),
            LinkAttribute::Mtu(link.mtu),
            LinkAttribute::IfAlias(alias(link)),
        ],
    );
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

/// Marks a link as complete.
pub(super) fn set_alias(index: u32, link: &Link) -> Request {
    let message = link_message(index, vec![LinkAttribute::IfAlias(alias(link))]);
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

/// The next hops that the host's end carries: IPv6 always, IPv4 only where the workload must ask for it by ARP.
pub(super) fn gateways(link: &Link) -> Vec<IpAddr> {
    let v4 = link.handed_over && link.addresses.iter().any(IpAddr::is_ipv4);
    let v6 = has_ipv6(link).then_some(IpAddr::V6(link.gateway6));
    v4.then_some(IpAddr::V4(link.gateway4)).into_iter().chain(v6).collect()
}

/// A next hop of the workload, at once usable, and no address that the host would speak from.
pub(super) fn add_gateway(index: u32, gateway: IpAddr) -> Request {
    let mut message = AddressMessage::default();
    message.header.scope = AddressScope::Link;
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Address(gateway)];
    match gateway {
        IpAddr::V4(_) => {
            message.header.family = AddressFamily::Inet;
            message.header.prefix_len = 32;
            message.header.flags = AddressHeaderFlags::Permanent;
            message.attributes.push(AddressAttribute::Local(gateway));
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.prefix_len = 64;
            message.header.flags = AddressHeaderFlags::Nodad | AddressHeaderFlags::Permanent;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    Request::new(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Interface and address of an address message.
pub(super) fn address_of(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    let address = |of: &AddressAttribute| match of {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    };
    let fallback = |of: &AddressAttribute| match of {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    let found = message.attributes.iter().find_map(address).or_else(|| message.attributes.iter().find_map(fallback))?;
    Some((message.header.index, found))
}

pub(super) fn has_ipv6(link: &Link) -> bool {
    link.addresses.iter().any(IpAddr::is_ipv6)
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
