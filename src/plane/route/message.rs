//! A route as a netlink message, and back.

use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use routenet_core::desired::{PROTO_LEARNED, PROTO_LOCAL, Route, RouteKey};
use routenet_core::model::scope::{scoped, unscoped};
use routenet_core::model::{Cidr, Family, InterfaceName, TunnelKind, Via};

use crate::plane::nexthop::Hop;

/// `IP6_RT_PRIO_USER`: what IPv6 makes of metric 0.
const DEFAULT_METRIC6: u32 = 1024;

/// A route as it stands in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    pub protocol: u8,
    pub kind: RouteType,
    /// `None` when it is none of the shapes that we make, or not known exactly.
    pub route: Option<Route>,
    /// The nexthop object that it leads by.
    pub nexthop: Option<u32>,
    /// Two routes of ours stand here: IPv6 keeps one with an object and one without it side by side.
    pub doubled: bool,
}

impl Installed {
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.protocol, PROTO_LOCAL | PROTO_LEARNED)
    }
}

pub(super) const fn protocol(route: &Route) -> u8 {
    match route {
        Route::Learned { .. } | Route::Tunnelled { .. } => PROTO_LEARNED,
        Route::Local { .. } | Route::Blackhole | Route::Unreachable => PROTO_LOCAL,
    }
}

pub(super) const fn kind(route: &Route) -> RouteType {
    match route {
        Route::Blackhole => RouteType::BlackHole,
        Route::Unreachable => RouteType::Unreachable,
        Route::Local { .. } | Route::Learned { .. } | Route::Tunnelled { .. } => RouteType::Unicast,
    }
}

fn header(family: Family) -> RouteHeader {
    RouteHeader {
        address_family: if family == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 },
        table: RouteHeader::RT_TABLE_MAIN,
        ..RouteHeader::default()
    }
}

fn base(key: &RouteKey) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = header(key.dst.family());
    message.header.destination_prefix_length = key.dst.length();
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(key.dst.address())));
    message.attributes.push(RouteAttribute::Priority(metric(key)));
    message
}

/// The metric that is said to the kernel.
pub(super) fn metric(key: &RouteKey) -> u32 {
    match (key.metric, key.dst.family()) {
        (0, Family::V6) => DEFAULT_METRIC6,
        (metric, _) => metric,
    }
}

/// The link that a route names.
pub(super) fn device(route: &Route) -> Option<InterfaceName> {
    match route {
        Route::Local { dev, .. } => Some(dev.clone()),
        Route::Tunnelled { kind, .. } => Some(kind.device()),
        Route::Blackhole | Route::Unreachable | Route::Learned { .. } => None,
    }
}

/// The next hops of a route.
pub(super) fn via(route: &Route) -> &[IpAddr] {
    match route {
        Route::Learned { via, .. } | Route::Tunnelled { via, .. } => via,
        Route::Local { .. } | Route::Blackhole | Route::Unreachable => &[],
    }
}

/// A next hop as a route carries it: of the other family, it is a `RTA_VIA` (RFC 8950, as Linux has it).
fn gateway(family: Family, address: IpAddr) -> RouteAttribute {
    if Family::of(address) == family {
        RouteAttribute::Gateway(RouteAddress::from(address))
    } else {
        RouteAttribute::Via(RouteVia::from(address))
    }
}

/// The message that installs a route that carries its next hops. The link that it names has the index `device`.
pub(super) fn install(key: &RouteKey, route: &Route, device: Option<u32>) -> RouteNetlinkMessage {
    let mut message = base(key);
    message.header.protocol = RouteProtocol::Other(protocol(route));
    message.header.kind = kind(route);
    message.header.scope = match route {
        Route::Local { .. } if key.dst.family() == Family::V4 => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let src = match route {
        Route::Local { src, .. } | Route::Learned { src, .. } | Route::Tunnelled { src, .. } => *src,
        Route::Blackhole | Route::Unreachable => None,
    };
    message.attributes.extend(src.map(|src| RouteAttribute::PrefSource(RouteAddress::from(src))));
    // The next hop of a tunnel is on no link: it is the other end of the tunnel.
    let tunnelled = matches!(route, Route::Tunnelled { .. });
    let family = key.dst.family();
    match via(route) {
        [] => message.attributes.extend(device.map(RouteAttribute::Oif)),
        [only] => {
            let (address, link) = unscoped(*only);
            message.attributes.extend(device.or(link).map(RouteAttribute::Oif));
            message.attributes.push(gateway(family, address));
            if tunnelled {
                message.header.flags |= RouteFlags::Onlink;
            }
        }
        several => {
            let hop = |via: &IpAddr| {
                let mut hop = RouteNextHop::default();
                let (address, link) = unscoped(*via);
                hop.attributes.push(gateway(family, address));
                hop.interface_index = device.or(link).unwrap_or(0);
                if tunnelled {
                    hop.flags |= RouteNextHopFlags::Onlink;
                }
                hop
            };
            message.attributes.push(RouteAttribute::MultiPath(several.iter().map(hop).collect()));
        }
    }
    RouteNetlinkMessage::NewRoute(message)
}

/// The message that removes a route of ours, and could not remove anybody else's.
pub(super) fn remove(key: &RouteKey, installed: &Installed) -> RouteNetlinkMessage {
    let mut message = base(key);
    message.header.protocol = RouteProtocol::Other(installed.protocol);
    message.header.kind = installed.kind;
    message.header.scope = RouteScope::NoWhere;
    RouteNetlinkMessage::DelRoute(message)
}

/// The request for all routes of a family and a protocol in the main table.
pub(super) fn dump(family: Family, protocol: u8) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header = header(family);
    message.header.protocol = RouteProtocol::Other(protocol);
    RouteNetlinkMessage::GetRoute(message)
}

/// Whether this is a route of a protocol.
pub(super) fn is_of(message: &RouteNetlinkMessage, protocol: u8) -> bool {
    matches!(message, RouteNetlinkMessage::NewRoute(route) if u8::from(route.header.protocol) == protocol)
}

/// A route of the main table; `None` for what lies elsewhere or is a cache entry.
pub(super) fn read(
    message: &RouteMessage,
    name_of: impl Fn(u32) -> Option<InterfaceName>,
    hops_of: impl Fn(u32) -> Option<Vec<Hop>>,
) -> Option<(RouteKey, Installed)> {
    let header = &message.header;
    let family = match header.address_family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    if header.table != RouteHeader::RT_TABLE_MAIN || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut parts = Parts::default();
    for attribute in &message.attributes {
        parts.take(attribute);
    }
    // What the object stands for counts, which the kernel need not repeat (net.ipv4.nexthop_compat_mode).
    if let Some(id) = parts.nexthop {
        let hops = hops_of(id);
        parts.foreign |= hops.is_none();
        parts.via = hops.iter().flatten().map(|hop| (hop.gateway, Some(hop.device))).collect();
        parts.device = hops.iter().flatten().map(|hop| hop.device).next_back();
    }
    let nexthop = parts.nexthop;
    let unspecified = match family {
        Family::V4 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    let dst = Cidr::new(parts.dst.unwrap_or(unspecified), header.destination_prefix_length).ok()?;
    let metric = match (parts.metric, family) {
        (DEFAULT_METRIC6, Family::V6) => 0,
        (metric, _) => metric,
    };
    let protocol = u8::from(header.protocol);
    let route = parts.route(protocol, header, family, name_of);
    Some((RouteKey { dst, metric }, Installed { protocol, kind: header.kind, route, nexthop, doubled: false }))
}

/// The next hops that a notification names; `None`: those of a nexthop object, which is always whole.
pub(super) fn next_hops(message: &RouteMessage) -> Option<usize> {
    let mut parts = Parts::default();
    for attribute in &message.attributes {
        parts.take(attribute);
    }
    parts.nexthop.is_none().then_some(parts.via.len())
}

#[derive(Default)]
struct Parts {
    dst: Option<IpAddr>,
    metric: u32,
    /// Next hops, each with its link where that is said with it.
    via: Vec<(IpAddr, Option<u32>)>,
    device: Option<u32>,
    nexthop: Option<u32>,
    src: Option<IpAddr>,
    /// Something that our routes never have.
    foreign: bool,
}

impl Parts {
    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Destination(address) => self.dst = ip(address),
            RouteAttribute::Priority(metric) => self.metric = *metric,
            RouteAttribute::Gateway(address) => self.via.extend(ip(address).map(|address| (address, None))),
            RouteAttribute::Via(RouteVia::Inet6(address)) => self.via.push((IpAddr::V6(*address), None)),
            RouteAttribute::Oif(index) => self.device = Some(*index),
            RouteAttribute::PrefSource(address) => self.src = ip(address),
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    self.device = Some(hop.interface_index);
                    let before = self.via.len();
                    hop.attributes.iter().for_each(|attribute| self.take(attribute));
                    self.foreign |= self.via.len() != before + 1 || hop.hops != 0;
                    self.via[before..].iter_mut().for_each(|(_, link)| *link = self.device);
                }
            }
            RouteAttribute::NhId(id) => self.nexthop = Some(*id),
            RouteAttribute::Via(_) | RouteAttribute::Encap(_) => self.foreign = true,
            _ => {}
        }
    }

    fn route(
        self,
        protocol: u8,
        header: &RouteHeader,
        family: Family,
        name_of: impl Fn(u32) -> Option<InterfaceName>,
    ) -> Option<Route> {
        let device = self.device.and_then(&name_of);
        let tunnel = TunnelKind::ALL.into_iter().find(|kind| device.as_ref() == Some(&kind.device()));
        let next_hop = |(address, link): &(IpAddr, Option<u32>)| match link.or(self.device) {
            // The other end of a tunnel names no link: the tunnel is that.
            Some(link) if tunnel.is_none() => scoped(*address, link),
            _ => *address,
        };
        let via: Via = self.via.iter().map(next_hop).collect();
        let route = match header.kind {
            RouteType::BlackHole => Route::Blackhole,
            RouteType::Unreachable => Route::Unreachable,
            RouteType::Unicast if via.is_empty() => {
                if family == Family::V4 && header.scope != RouteScope::Link {
                    return None;
                }
                Route::Local { dev: device?, src: self.src }
            }
            RouteType::Unicast => match tunnel {
                Some(kind) => Route::Tunnelled { kind, via, src: self.src },
                None => Route::Learned { via, src: self.src },
            },
            _ => return None,
        };
        (!self.foreign && self::protocol(&route) == protocol).then_some(route)
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
