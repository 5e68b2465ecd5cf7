//! Nexthop objects as netlink messages, by linux/nexthop.h: the message crate does not know them. Used by the route plane.

use std::net::IpAddr;

/// `RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP`, `RTM_GETNEXTHOP`.
pub(crate) const NEW: u16 = 104;
pub(crate) const DELETE: u16 = 105;
pub(crate) const GET: u16 = 106;
/// `RTNLGRP_NEXTHOP`.
pub(crate) const GROUP: u32 = 32;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP: u16 = 8;
/// `NLA_TYPE_MASK`: the bits above are flags.
const TYPE_MASK: u16 = 0x3fff;
const RTNH_F_ONLINK: u32 = 4;
/// Bytes of `struct nhmsg` and of `struct nexthop_grp`.
const HEADER: usize = 8;
const MEMBER: usize = 8;

/// A next hop on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hop {
    pub gateway: IpAddr,
    pub device: u32,
    /// The gateway need not be of a subnet of the link: it is the other end of a tunnel.
    pub onlink: bool,
}

/// What an object stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    Hop(Hop),
    /// Equal paths: the objects of its hops, in order.
    Group(Vec<u32>),
    /// None of the shapes that we make.
    Other,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nexthop {
    pub id: u32,
    pub protocol: u8,
    pub way: Way,
}

/// A request to the kernel, or a word from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NexthopMessage {
    New(Nexthop),
    Delete(u32),
    Dump,
}

impl NexthopMessage {
    /// The message's type, and what follows the netlink header.
    pub(crate) fn encode(&self) -> (u16, Vec<u8>) {
        let mut body = vec![0; HEADER];
        let kind = match self {
            NexthopMessage::New(object) => {
                body[2] = object.protocol;
                attribute(&mut body, NHA_ID, &object.id.to_ne_bytes());
                match &object.way {
                    Way::Hop(hop) => {
                        let family = if hop.gateway.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
                        body[0] = u8::try_from(family).expect("families are small");
                        let flags = if hop.onlink { RTNH_F_ONLINK } else { 0 };
                        body[4..8].copy_from_slice(&flags.to_ne_bytes());
                        attribute(&mut body, NHA_OIF, &hop.device.to_ne_bytes());
                        match hop.gateway {
                            IpAddr::V4(gateway) => attribute(&mut body, NHA_GATEWAY, &gateway.octets()),
                            IpAddr::V6(gateway) => attribute(&mut body, NHA_GATEWAY, &gateway.octets()),
                        }
                    }
                    Way::Group(members) => {
                        // A weight of 0 is 1.
                        let member = |id: &u32| [id.to_ne_bytes(), [0; 4]].concat();
                        attribute(&mut body, NHA_GROUP, &members.iter().flat_map(member).collect::<Vec<u8>>());
                    }
                    Way::Other => {}
                }
                NEW
            }
            NexthopMessage::Delete(id) => {
                attribute(&mut body, NHA_ID, &id.to_ne_bytes());
                DELETE
            }
            NexthopMessage::Dump => GET,
        };
        (kind, body)
    }

    /// `None` for what is no message of an object.
    pub(crate) fn decode(kind: u16, body: &[u8]) -> Option<NexthopMessage> {
        if !matches!(kind, NEW | DELETE) {
            return None;
        }
        let head = body.get(..HEADER)?;
        let flags = u32_of(&head[4..8])?;
        let (mut id, mut device, mut gateway, mut members, mut other) = (None, None, None, None, false);
        let mut rest = &body[HEADER..];
        while let Some(head) = rest.get(..4) {
            let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
            let value = rest.get(4..length)?;
            match u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK {
                NHA_ID => id = u32_of(value),
                NHA_OIF => device = u32_of(value),
                NHA_GATEWAY => gateway = address(value),
                NHA_GROUP => {
                    // One weight for all, or it is not ours.
                    other |= value.chunks(MEMBER).any(|member| member.get(4..6) != Some(&[0, 0]));
                    members = value.chunks(MEMBER).map(|member| u32_of(member.get(..4)?)).collect::<Option<Vec<u32>>>();
                }
                NHA_GROUP_TYPE => other |= value != [0, 0],
                NHA_BLACKHOLE | NHA_ENCAP => other = true,
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        let id = id?;
        if kind == DELETE {
            return Some(NexthopMessage::Delete(id));
        }
        let way = match (members, device, gateway) {
            _ if other => Way::Other,
            (Some(members), ..) => Way::Group(members),
            (None, Some(device), Some(gateway)) => {
                Way::Hop(Hop { gateway, device, onlink: flags & RTNH_F_ONLINK != 0 })
            }
            _ => Way::Other,
        };
        Some(NexthopMessage::New(Nexthop { id, protocol: head[2], way }))
    }
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
#[path = "nexthop_tests.rs"]
mod tests;
