//! A route as a netlink message, and back.

use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use routenet_core::desired::{PROTO_LEARNED, PROTO_LOCAL, Route, RouteKey};
use routenet_core::model::{Cidr, Family, InterfaceName, TunnelKind};

/// `IP6_RT_PRIO_USER`: what IPv6 makes of metric 0.
const DEFAULT_METRIC6: u32 = 1024;

/// A route as it stands in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    pub protocol: u8,
    pub kind: RouteType,
    /// `None` when it is none of the shapes that we make, or not known exactly.
    pub route: Option<Route>,
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
    let metric = match (key.metric, key.dst.family()) {
        (0, Family::V6) => DEFAULT_METRIC6,
        (metric, _) => metric,
    };
    message.attributes.push(RouteAttribute::Priority(metric));
    message
}

/// The link that a route names.
pub(super) fn device(route: &Route) -> Option<InterfaceName> {
    match route {
        Route::Local { dev, .. } => Some(dev.clone()),
        Route::Tunnelled { kind, .. } => Some(kind.device()),
        Route::Blackhole | Route::Unreachable | Route::Learned { .. } => None,
    }
}

/// The message that installs a route. The link that it names has the index `device`.
pub(super) fn install(key: &RouteKey, route: &Route, device: Option<u32>) -> RouteNetlinkMessage {
    let mut message = base(key);
    message.header.protocol = RouteProtocol::Other(protocol(route));
    message.header.kind = kind(route);
    message.header.scope = match route {
        Route::Local { .. } if key.dst.family() == Family::V4 => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let (via, src): (&[IpAddr], _) = match route {
        Route::Local { src, .. } => (&[], *src),
        Route::Learned { via, src } | Route::Tunnelled { via, src, .. } => (via, *src),
        Route::Blackhole | Route::Unreachable => (&[], None),
    };
    // The next hop of a tunnel is on no link: it is the other end of the tunnel.
    let tunnelled = matches!(route, Route::Tunnelled { .. });
    message.attributes.extend(src.map(|src| RouteAttribute::PrefSource(RouteAddress::from(src))));
    let gateway = |via: &IpAddr| RouteAttribute::Gateway(RouteAddress::from(*via));
    match via {
        [] => message.attributes.extend(device.map(RouteAttribute::Oif)),
        [only] => {
            message.attributes.extend(device.map(RouteAttribute::Oif));
            message.attributes.push(gateway(only));
            if tunnelled {
                message.header.flags |= RouteFlags::Onlink;
            }
        }
        several => {
            let hop = |via: &IpAddr| {
                let mut hop = RouteNextHop::default();
                hop.attributes.push(gateway(via));
                hop.interface_index = device.unwrap_or(0);
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
    Some((RouteKey { dst, metric }, Installed { protocol, kind: header.kind, route }))
}

/// The next hops that a notification names.
pub(super) fn next_hops(message: &RouteMessage) -> usize {
    let mut parts = Parts::default();
    for attribute in &message.attributes {
        parts.take(attribute);
    }
    parts.via.len()
}

#[derive(Default)]
struct Parts {
    dst: Option<IpAddr>,
    metric: u32,
    via: Vec<IpAddr>,
    device: Option<u32>,
    src: Option<IpAddr>,
    /// Something that our routes never have.
    foreign: bool,
}

impl Parts {
    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Destination(address) => self.dst = ip(address),
            RouteAttribute::Priority(metric) => self.metric = *metric,
            RouteAttribute::Gateway(address) => self.via.extend(ip(address)),
            RouteAttribute::Oif(index) => self.device = Some(*index),
            RouteAttribute::PrefSource(address) => self.src = ip(address),
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    self.device = Some(hop.interface_index);
                    let before = self.via.len();
                    hop.attributes.iter().for_each(|attribute| self.take(attribute));
                    self.foreign |= self.via.len() != before + 1 || hop.hops != 0;
                }
            }
            RouteAttribute::Via(_) | RouteAttribute::Encap(_) | RouteAttribute::NhId(_) => self.foreign = true,
            _ => {}
        }
    }

    fn route(
        mut self,
        protocol: u8,
        header: &RouteHeader,
        family: Family,
        name_of: impl Fn(u32) -> Option<InterfaceName>,
    ) -> Option<Route> {
        self.via.sort();
        self.via.dedup();
        let route = match header.kind {
            RouteType::BlackHole => Route::Blackhole,
            RouteType::Unreachable => Route::Unreachable,
            RouteType::Unicast if self.via.is_empty() => {
                if family == Family::V4 && header.scope != RouteScope::Link {
                    return None;
                }
                Route::Local { dev: self.device.and_then(name_of)?, src: self.src }
            }
            RouteType::Unicast => {
                let device = self.device.and_then(name_of);
                let tunnel = TunnelKind::ALL.into_iter().find(|kind| device.as_ref() == Some(&kind.device()));
                match tunnel {
                    Some(kind) => Route::Tunnelled { kind, via: self.via, src: self.src },
                    None => Route::Learned { via: self.via, src: self.src },
                }
            }
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
