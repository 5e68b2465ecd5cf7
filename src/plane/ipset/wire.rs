//! Messages of the ipset subsystem of nfnetlink: written and taken apart (`linux/netfilter/ipset/ip_set.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use routenet_core::desired::{Member, SetKind};
use routenet_core::model::{Cidr, Family, InterfaceName, Protocol};

use crate::plane::nfnetlink::{Attrs, HEADER, Message, NFGENMSG};

pub const CMD_PROTOCOL: u8 = 1;
pub const CMD_CREATE: u8 = 2;
pub const CMD_DESTROY: u8 = 3;
pub const CMD_SWAP: u8 = 6;
pub const CMD_LIST: u8 = 7;
pub const CMD_ADD: u8 = 9;
pub const CMD_DEL: u8 = 10;
pub const CMD_TYPE: u8 = 13;

pub const ATTR_PROTOCOL: u16 = 1;
pub const ATTR_SETNAME: u16 = 2;
pub const ATTR_TYPENAME: u16 = 3;
/// The second name of a swap shares its number with the type name.
pub const ATTR_SETNAME2: u16 = 3;
pub const ATTR_REVISION: u16 = 4;
pub const ATTR_FAMILY: u16 = 5;
pub const ATTR_FLAGS: u16 = 6;
pub const ATTR_DATA: u16 = 7;
pub const ATTR_ADT: u16 = 8;
pub const ATTR_LINENO: u16 = 9;
pub const ATTR_PROTOCOL_MIN: u16 = 10;
pub const ATTR_REVISION_MIN: u16 = 10;

const ATTR_IP: u16 = 1;
const ATTR_CIDR: u16 = 3;
const ATTR_PORT: u16 = 4;
const ATTR_PROTO: u16 = 7;
pub const ATTR_CADT_FLAGS: u16 = 8;
pub const ATTR_HASHSIZE: u16 = 18;
pub const ATTR_MAXELEM: u16 = 19;
pub const ATTR_ELEMENTS: u16 = 24;
const ATTR_IFACE: u16 = 23;
const ATTR_IPADDR_IPV4: u16 = 1;
const ATTR_IPADDR_IPV6: u16 = 2;

/// Listing flag: names only.
pub const FLAG_LIST_SETNAME: u32 = 1 << 1;
/// Listing flag: names and headers, no members.
pub const FLAG_LIST_HEADER: u32 = 1 << 2;
/// Creation flag: each member counts packets and bytes.
pub const FLAG_WITH_COUNTERS: u32 = 1 << 3;
/// Entry flags that change what an entry matches: physdev, nomatch, interface wildcard.
const FLAGS_CHANGING_MEANING: u32 = 1 << 1 | 1 << 2 | 1 << 7;

const NLA_F_NESTED: u16 = 0x8000;
const NLA_F_NET_BYTEORDER: u16 = 0x4000;
const NFNL_SUBSYS_IPSET: u16 = 6;

pub const NLM_F_REQUEST: u16 = 0x1;
pub const NLM_F_ACK: u16 = 0x4;
pub const NLM_F_DUMP: u16 = 0x300;
pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;

/// Writes messages one after the other into one buffer.
#[derive(Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    /// Begins a message and answers its position, for [`Writer::end`]. No `NLM_F_EXCL`: what is there already is no error.
    pub fn begin(&mut self, command: u8, flags: u16, sequence: u32, family: Family) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&(NFNL_SUBSYS_IPSET << 8 | u16::from(command)).to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family_number(family), 0, 0, 0]);
        start
    }

    pub fn end(&mut self, start: usize) {
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub fn u8(&mut self, kind: u16, value: u8) {
        self.attr(kind, &[value]);
    }

    /// The kernel takes numbers of ipset in network byte order only, and wants that flagged.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attr(kind | NLA_F_NET_BYTEORDER, &value.to_be_bytes());
    }

    pub fn string(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    pub fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Writer)) {
        let start = self.bytes.len();
        self.attr(kind | NLA_F_NESTED, &[]);
        inside(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// One entry as a DATA container; `line` comes back in the kernel's error.
    pub fn member(&mut self, member: &Member, line: u32) {
        self.nested(ATTR_DATA, |data| {
            let address = match member {
                Member::Net(cidr) | Member::NetIface(cidr, _) => cidr.address(),
                Member::IpPort(address, ..) => *address,
            };
            data.nested(ATTR_IP, |ip| match address {
                IpAddr::V4(address) => ip.attr(ATTR_IPADDR_IPV4 | NLA_F_NET_BYTEORDER, &address.octets()),
                IpAddr::V6(address) => ip.attr(ATTR_IPADDR_IPV6 | NLA_F_NET_BYTEORDER, &address.octets()),
            });
            match member {
                Member::Net(cidr) => data.u8(ATTR_CIDR, cidr.length()),
                Member::NetIface(cidr, interface) => {
                    data.u8(ATTR_CIDR, cidr.length());
                    data.string(ATTR_IFACE, interface.as_str());
                }
                Member::IpPort(_, protocol, port) => {
                    data.attr(ATTR_PORT | NLA_F_NET_BYTEORDER, &port.to_be_bytes());
                    data.u8(ATTR_PROTO, protocol.0);
                }
            }
            data.u32(ATTR_LINENO, line);
        });
    }
}

/// For NLMSG_ERROR: the errno, 0 for an acknowledgement.
pub fn errno(message: &Message<'_>) -> i32 {
    message.payload.get(..4).and_then(|b| b.try_into().ok()).map_or(0, |b| -i32::from_ne_bytes(b))
}

/// For NLMSG_ERROR of a message with many entries: the line of the entry that failed.
pub fn failed_line(message: &Message<'_>) -> Option<u32> {
    let attrs = message.payload.get(4 + HEADER + NFGENMSG..)?;
    Attrs(attrs).find(|(kind, _)| *kind == ATTR_LINENO).and_then(|(_, value)| be32(value))
}

pub fn be32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

pub fn text(value: &[u8]) -> Option<String> {
    String::from_utf8(value.split(|byte| *byte == 0).next()?.to_vec()).ok()
}

pub fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

pub fn family_of_number(number: u8) -> Option<Family> {
    Family::BOTH.into_iter().find(|family| family_number(*family) == number)
}

/// All kinds that we use.
pub const SET_KINDS: [SetKind; 3] = [SetKind::HashNet, SetKind::HashNetIface, SetKind::HashIpPort];

pub fn type_name(kind: SetKind) -> &'static str {
    match kind {
        SetKind::HashNet => "hash:net",
        SetKind::HashNetIface => "hash:net,iface",
        SetKind::HashIpPort => "hash:ip,port",
    }
}

pub fn kind_of_name(name: &str) -> Option<SetKind> {
    SET_KINDS.into_iter().find(|kind| type_name(*kind) == name)
}

/// An entry of a listing, and whether it carries flags that change what it matches. `None` for one that we cannot read.
pub fn read_member(kind: SetKind, family: Family, data: Attrs<'_>) -> Option<(Member, bool)> {
    let (mut address, mut length, mut interface, mut flags) = (None, family.bits(), None, 0);
    let (mut port, mut protocol) = (None, None);
    for (attr, value) in data {
        match attr {
            ATTR_IP => address = Attrs(value).find_map(|(kind, value)| read_address(kind, value)),
            ATTR_CIDR => length = *value.first()?,
            ATTR_IFACE => interface = text(value),
            ATTR_PORT => port = value.try_into().ok().map(u16::from_be_bytes),
            ATTR_PROTO => protocol = value.first().copied().map(Protocol),
            ATTR_CADT_FLAGS => flags = be32(value)?,
            _ => {}
        }
    }
    let cidr = Cidr::new(address?, length).ok()?;
    let member = match kind {
        SetKind::HashNet => Member::Net(cidr),
        SetKind::HashNetIface => Member::NetIface(cidr, InterfaceName::new(interface?).ok()?),
        SetKind::HashIpPort => Member::IpPort(cidr.address(), protocol?, port?),
    };
    Some((member, flags & FLAGS_CHANGING_MEANING != 0))
}

fn read_address(kind: u16, value: &[u8]) -> Option<IpAddr> {
    match kind {
        ATTR_IPADDR_IPV4 => <[u8; 4]>::try_from(value).ok().map(|octets| Ipv4Addr::from(octets).into()),
        ATTR_IPADDR_IPV6 => <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}
