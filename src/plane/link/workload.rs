//! The workload's side of the veth: configured by one batch on a socket inside its namespace; checked for CNI CHECK.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use routenet_core::desired::{HOST_MAC, Link};
use routenet_core::model::{Cidr, Family};

use crate::plane::netlink::{Connection, Request, host_address};
use crate::plane::sysctl;

use super::host::{HostLink, address_of, get_by_index, get_by_name, has_ipv6};

/// Of the loopback device, in every namespace.
const LOOPBACK: u32 = 1;

/// A step of the configuration: the message, its name in an error, and whether "exists" is as good as done.
struct Step {
    request: Request,
    name: String,
    may_exist: bool,
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn gateway(link: &Link, of: Family) -> IpAddr {
    match of {
        Family::V4 => IpAddr::V4(link.gateway4),
        Family::V6 => IpAddr::V6(link.gateway6),
    }
}

fn up(index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    Request::new(RouteNetlinkMessage::SetLink(message), 0)
}

fn add_address(index: u32, address: IpAddr) -> Request {
    let message = host_address(index, address);
    Request::new(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

fn route(index: u32, of: AddressFamily, scope: RouteScope) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = of;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = scope;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

fn add_next_hop_route(index: u32, next_hop: IpAddr) -> Request {
    let mut message = route(index, family(next_hop), RouteScope::Link);
    message.header.destination_prefix_length = Family::of(next_hop).bits();
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(next_hop)));
    // A workload with several of our networks has one such route on each interface.
    Request::new(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_APPEND)
}

fn add_default_route(index: u32, next_hop: IpAddr) -> Request {
    let mut message = route(index, family(next_hop), RouteScope::Universe);
    message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(next_hop)));
    Request::new(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
}

fn add_neighbour(index: u32, next_hop: IpAddr) -> Request {
    let mut message = NeighbourMessage::default();
    message.header.family = family(next_hop);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::from(next_hop)),
        NeighbourAttribute::LinkLayerAddress(HOST_MAC.to_vec()),
    ];
    Request::new(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

fn steps(index: u32, link: &Link) -> Vec<Step> {
    let step = |request, name: String, may_exist| Step { request, name, may_exist };
    let mut steps = vec![
        step(up(LOOPBACK), "setting lo up".to_string(), false),
        step(up(index), format!("setting {} up", link.ifname), false),
    ];
    for address in &link.addresses {
        steps.push(step(add_address(index, *address), format!("address {address}"), false));
    }
    for of in Family::BOTH {
        if !link.addresses.iter().any(|address| Family::of(*address) == of) {
            continue;
        }
        let next_hop = gateway(link, of);
        if of == Family::V4 {
            steps.push(step(add_next_hop_route(index, next_hop), format!("route to {next_hop}"), true));
        }
        steps.push(step(add_neighbour(index, next_hop), format!("neighbour {next_hop}"), false));
        // The first network that a workload was attached to keeps the default route.
        steps.push(step(add_default_route(index, next_hop), format!("default route via {next_hop}"), true));
    }
    // Asked last, so that the answer means that the link carries packets from now on.
    steps.push(step(get_by_index(index), "reading the link".to_string(), false));
    steps
}

/// Called inside the workload's namespace, for as short as possible: what can only be done there.
pub(super) fn open(link: &Link) -> Result<Connection, String> {
    if has_ipv6(link) {
        for interface in ["lo", link.ifname.as_str()] {
            sysctl::ensure(&format!("ipv6/conf/{interface}/disable_ipv6"), "0")
                .map_err(|error| format!("the workload cannot have an IPv6 address: {error}"))?;
        }
    }
    Connection::open().map_err(|error| format!("netlink socket in the workload's namespace: {error}"))
}

/// Addresses, routes, neighbours, up; through a connection of the workload's namespace.
pub(super) fn configure(connection: &mut Connection, index: u32, link: &Link) -> Result<(), String> {
    let steps = steps(index, link);
    let (requests, names): (Vec<_>, Vec<_>) =
        steps.into_iter().map(|step| (step.request, (step.name, step.may_exist))).unzip();
    let outcomes = connection.batch(&requests).map_err(|error| format!("netlink in the workload: {error}"))?;
    for (outcome, (name, may_exist)) in outcomes.into_iter().zip(names) {
        match outcome {
            Err(refusal) if !(may_exist && refusal.is(Errno::EEXIST)) => {
                return Err(format!("in the workload, {name}: {refusal}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The workload's end of the veth by its name, if it is there.
pub(super) fn find(connection: &mut Connection, link: &Link) -> Result<Option<HostLink>, String> {
    let request = get_by_name(link.ifname.as_str());
    match connection.request(request.message, request.flags) {
        Ok(Ok(Some(RouteNetlinkMessage::NewLink(message)))) => Ok(HostLink::read(&message)),
        Ok(Err(refusal)) if refusal.is(Errno::ENODEV) => Ok(None),
        Ok(Err(refusal)) => Err(format!("reading {} in the workload: {refusal}", link.ifname)),
        Ok(Ok(_)) => Err(format!("reading {} in the workload: the kernel answered something else", link.ifname)),
        Err(error) => Err(format!("netlink in the workload: {error}")),
    }
}

/// What is missing or changed inside the workload, in words; empty when all is as it was built.
pub(super) fn check(connection: &mut Connection, link: &Link, host_index: u32) -> Result<Vec<String>, String> {
    let ifname = &link.ifname;
    let Some(end) = find(connection, link)? else {
        return Ok(vec![format!("interface {ifname} is missing in {}", link.netns)]);
    };
    if end.peer != Some(host_index) {
        return Ok(vec![format!("interface {ifname} in {} is not the other end of the host's veth", link.netns)]);
    }
    let mut said = Vec::new();
    if !end.up {
        said.push(format!("{ifname} is down"));
    }
    if end.mac != link.mac {
        said.push(format!("{ifname} has MAC address {}, not {}", mac_text(&end.mac), mac_text(&link.mac)));
    }
    if end.mtu != link.mtu {
        said.push(format!("{ifname} has MTU {}, not {}", end.mtu, link.mtu));
    }
    let held = addresses(connection, end.index)?;
    for address in link.addresses.iter().filter(|address| !held.contains(address)) {
        said.push(format!("address {address} is missing on {ifname}"));
    }
    for of in Family::BOTH {
        if link.addresses.iter().any(|address| Family::of(*address) == of) {
            check_next_hop(connection, link, end.index, of, &mut said)?;
        }
    }
    Ok(said)
}

fn check_next_hop(
    connection: &mut Connection,
    link: &Link,
    index: u32,
    of: Family,
    said: &mut Vec<String>,
) -> Result<(), String> {
    let (ifname, next_hop) = (&link.ifname, gateway(link, of));
    let routes = routes(connection, of)?;
    let direct = (Some(Cidr::host(next_hop)), None, index);
    if of == Family::V4 && !routes.contains(&direct) {
        said.push(format!("route {next_hop} dev {ifname} is missing"));
    }
    // Another network's default route may stand in its place: then it is not ours to miss.
    if !routes.contains(&(None, Some(next_hop), index))
        && !routes.iter().any(|(dst, _, oif)| dst.is_none() && *oif != index)
    {
        said.push(format!("default route via {next_hop} dev {ifname} is missing"));
    }
    if !neighbours(connection, of)?.contains(&(index, next_hop, HOST_MAC.to_vec())) {
        said.push(format!("permanent neighbour {next_hop} lladdr {} dev {ifname} is missing", mac_text(&HOST_MAC)));
    }
    Ok(())
}

fn dump(connection: &mut Connection, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, String> {
    connection.dump(message).map_err(|error| format!("netlink in the workload: {error}"))
}

fn addresses(connection: &mut Connection, index: u32) -> Result<Vec<IpAddr>, String> {
    let objects = dump(connection, RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    let of_link = |object: &RouteNetlinkMessage| match object {
        RouteNetlinkMessage::NewAddress(message) => address_of(message).filter(|(at, _)| *at == index),
        _ => None,
    };
    Ok(objects.iter().filter_map(of_link).map(|(_, address)| address).collect())
}

/// Destination (`None`: default), gateway, interface.
type SeenRoute = (Option<Cidr>, Option<IpAddr>, u32);

fn routes(connection: &mut Connection, of: Family) -> Result<Vec<SeenRoute>, String> {
    let mut request = RouteMessage::default();
    request.header.address_family = if of == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    request.header.table = RouteHeader::RT_TABLE_MAIN;
    let objects = dump(connection, RouteNetlinkMessage::GetRoute(request))?;
    let read = |object: RouteNetlinkMessage| match object {
        RouteNetlinkMessage::NewRoute(message) => Some(seen_route(&message)),
        _ => None,
    };
    Ok(objects.into_iter().filter_map(read).collect())
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn seen_route(message: &RouteMessage) -> SeenRoute {
    let mut seen = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                let length = message.header.destination_prefix_length;
                seen.0 = ip(address).and_then(|address| Cidr::new(address, length).ok());
            }
            RouteAttribute::Gateway(address) => seen.1 = ip(address),
            RouteAttribute::Oif(index) => seen.2 = *index,
            _ => {}
        }
    }
    seen
}

fn neighbours(connection: &mut Connection, of: Family) -> Result<Vec<(u32, IpAddr, Vec<u8>)>, String> {
    let mut request = NeighbourMessage::default();
    request.header.family = if of == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let objects = dump(connection, RouteNetlinkMessage::GetNeighbour(request))?;
    let read = |object: RouteNetlinkMessage| match object {
        RouteNetlinkMessage::NewNeighbour(message) if message.header.state == NeighbourState::Permanent => {
            let mut seen = (message.header.ifindex, None, Vec::new());
            for attribute in message.attributes {
                match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => seen.1 = Some(IpAddr::V4(a)),
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => seen.1 = Some(IpAddr::V6(a)),
                    NeighbourAttribute::LinkLayerAddress(mac) => seen.2 = mac,
                    _ => {}
                }
            }
            seen.1.map(|address| (seen.0, address, seen.2))
        }
        _ => None,
    };
    Ok(objects.into_iter().filter_map(read).collect())
}

fn mac_text(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
