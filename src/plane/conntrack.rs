//! The connections that the kernel tracks, over ctnetlink: those of an address that was given back are forgotten, since who
//! gets it next must not inherit what was allowed to its former holder; and those that policy denies by now are ended.
//! Called by the agent.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use routenet_core::model::{IcmpMatch, Protocol};
use routenet_core::policy::Connection;

use super::PlaneError;
use super::nfnetlink::{Attrs, Message, messages};
use super::tracker::and_more;

const NFNL_SUBSYS_CTNETLINK: u16 = 1 << 8;
const CT_GET: u16 = NFNL_SUBSYS_CTNETLINK | 1;
const CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK | 2;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLA_F_NESTED: u16 = 0x8000;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
/// Of IPv4 and of IPv6.
const CTA_IP_SRC: [u16; 2] = [1, 3];
const CTA_IP_DST: [u16; 2] = [2, 4];
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// (type, code), of ICMP and of ICMPv6.
const CTA_PROTO_ICMP: [(u16, u16); 2] = [(5, 6), (8, 9)];
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const IPS_EXPECTED: u32 = 1;
const IPS_SEEN_REPLY: u32 = 2;
/// From the answered SYN to the last FIN, as the kernel counts them.
const TCP_LIVE: std::ops::RangeInclusive<u8> = 2..=6;
/// More than the kernel puts into a datagram of a dump.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Deletions in one send: their refusals fit into the default receive buffer.
const DELETIONS_A_SEND: usize = 128;

/// Deletes every connection that has one of these addresses as source or destination in either direction (so also those
/// that are NATed to it), in the calling thread's network namespace. Answers how many these were.
///
/// Walks the connection table once a family: milliseconds even where it is empty, so not a thing for an asynchronous
/// thread, and better called for many addresses than for each.
///
/// # Errors
/// When the table cannot be read; a connection that ended meanwhile is none.
pub fn flush(addresses: &BTreeSet<IpAddr>) -> Result<usize, PlaneError> {
    let mut forgotten = 0;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let wanted: BTreeSet<Vec<u8>> =
            addresses.iter().filter(|address| family_of(**address) == family).map(|address| octets(*address)).collect();
        if !wanted.is_empty() {
            forgotten += flush_family(family as u8, &wanted).map_err(|what| {
                let first = addresses.iter().find(|address| family_of(**address) == family);
                let object = format!(
                    "connections of {}{}",
                    first.map_or_else(String::new, IpAddr::to_string),
                    and_more(wanted.len())
                );
                PlaneError { object, what }
            })?;
        }
    }
    Ok(forgotten)
}

/// A connection that has been answered, so that all of its further packets pass.
#[derive(Clone, Debug)]
pub struct Tracked {
    pub connection: Connection,
    /// Not one of TCP that is over and only remembered.
    pub live: bool,
    /// (own, other's) of the two sockets, as each end sees them; of protocols that have ports.
    pub sockets: Option<[(SocketAddr, SocketAddr); 2]>,
    family: u8,
    entry: Entry,
}

/// All that have been answered, in the calling thread's network namespace, but those that came about by another one (the
/// data of an FTP session) and those of zones, which are others'. Walks the table, as [`flush`] does.
///
/// # Errors
/// When the table cannot be read.
pub fn list() -> Result<Vec<Tracked>, PlaneError> {
    let mut all = Vec::new();
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let walked = Client::open(family).and_then(|mut client| client.walk(|message| read_tracked(message, family)));
        all.extend(walked.map_err(|error| unreadable(&error))?);
    }
    Ok(all)
}

/// Ends these: their next packets are those of new connections.
///
/// # Errors
/// When one cannot be deleted; one that ended meanwhile is none.
pub fn end(connections: &[Tracked]) -> Result<(), PlaneError> {
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let entries: Vec<Entry> = connections
            .iter()
            .filter(|tracked| tracked.family == family)
            .map(|tracked| tracked.entry.clone())
            .collect();
        let mut client = Client::open(family).map_err(|error| unreadable(&error))?;
        for portion in entries.chunks(DELETIONS_A_SEND) {
            client.delete(portion).map_err(|error| PlaneError {
                object: "connections that policy denies".to_string(),
                what: format!("cannot be deleted: {error}"),
            })?;
        }
    }
    Ok(())
}

fn unreadable(error: &std::io::Error) -> PlaneError {
    PlaneError { object: "the table of connections".to_string(), what: format!("cannot be read: {}", words(error)) }
}

/// What went wrong, with what mends it where that is known.
fn words(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        // No answer is registered for what was asked: the kernel tried to load the module itself, and has none.
        Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => {
            "the kernel does not list its connections (mend: modprobe nf_conntrack_netlink)".to_string()
        }
        Some(libc::EPERM) => "not permitted: run as root, or with CAP_NET_ADMIN and CAP_NET_RAW".to_string(),
        _ => error.to_string(),
    }
}

/// The kernel could filter by an address, but then walks the table four times for each: by source and by destination,
/// both ways; and for IPv6, Linux (5.8 to at least 6.18) sends just those connections that do not match.
fn flush_family(family: u8, wanted: &BTreeSet<Vec<u8>>) -> Result<usize, String> {
    let mut client = Client::open(family).map_err(|error| format!("netlink socket: {}", words(&error)))?;
    let found =
        client.walk(|message| read(message, wanted)).map_err(|error| format!("cannot be read: {}", words(&error)))?;
    // One that changes while the table is walked may come twice.
    let found: Vec<Entry> = found.into_iter().collect::<BTreeSet<Entry>>().into_iter().collect();
    for portion in found.chunks(DELETIONS_A_SEND) {
        client.delete(portion).map_err(|error| format!("cannot be deleted: {error}"))?;
    }
    Ok(found.len())
}

/// What identifies a connection to the kernel: attributes as it sent them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    original: Vec<u8>,
    zone: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
}

struct Client {
    family: u8,
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Client {
    fn open(family: u8) -> std::io::Result<Client> {
        let mut socket = Socket::new(netlink_sys::protocols::NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        Ok(Client { family, socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BUFFER) })
    }

    /// What is read out of each connection of the table.
    fn walk<T>(&mut self, read: impl Fn(&Message<'_>) -> Option<T>) -> std::io::Result<Vec<T>> {
        let mut found = Vec::new();
        let mut bytes = Vec::new();
        self.sequence += 1;
        begin(&mut bytes, CT_GET, NLM_F_REQUEST | NLM_F_DUMP, self.sequence, self.family);
        finish(&mut bytes, 0);
        self.socket.send_to(&bytes, &NetlinkAddr::new(0, 0), 0)?;
        loop {
            self.receive()?;
            for message in messages(&self.buffer).filter(|message| message.sequence == self.sequence) {
                match message.kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => errno(&message)?,
                    _ => found.extend(read(&message)),
                }
            }
        }
    }

    fn delete(&mut self, portion: &[Entry]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for (position, entry) in portion.iter().enumerate() {
            let start = bytes.len();
            self.sequence += 1;
            let ack = if position + 1 == portion.len() { NLM_F_ACK } else { 0 };
            begin(&mut bytes, CT_DELETE, NLM_F_REQUEST | ack, self.sequence, self.family);
            attribute(&mut bytes, CTA_TUPLE_ORIG | NLA_F_NESTED, &entry.original);
            if let Some(zone) = &entry.zone {
                attribute(&mut bytes, CTA_ZONE, zone);
            }
            if let Some(id) = &entry.id {
                attribute(&mut bytes, CTA_ID, id);
            }
            finish(&mut bytes, start);
        }
        self.socket.send_to(&bytes, &NetlinkAddr::new(0, 0), 0)?;
        let mut refused = Ok(());
        loop {
            self.receive()?;
            for message in messages(&self.buffer).filter(|message| message.kind == NLMSG_ERROR) {
                match errno(&message) {
                    Err(error) if error.raw_os_error() != Some(libc::ENOENT) => refused = Err(error),
                    _ => {}
                }
                if message.sequence == self.sequence {
                    return refused;
                }
            }
        }
    }

    fn receive(&mut self) -> std::io::Result<()> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, 0)?;
        Ok(())
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn family_of(address: IpAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

fn begin(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8) {
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([family, 0, 0, 0]);
}

fn finish(bytes: &mut [u8], start: usize) {
    let length = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn errno(message: &Message<'_>) -> std::io::Result<()> {
    let code = message.payload.get(..4).map_or(-libc::EPROTO, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(code.saturating_neg())) }
}

/// A connection, if one of the addresses is at an end of it.
fn read(message: &Message<'_>, wanted: &BTreeSet<Vec<u8>>) -> Option<Entry> {
    let attributes = message.attrs();
    let is_end = |tuple: u16| {
        let ends = attributes.first_of(tuple).and_then(|tuple| Attrs(tuple).first_of(CTA_TUPLE_IP));
        ends.is_some_and(|ends| Attrs(ends).any(|(_, value)| wanted.contains(value)))
    };
    (is_end(CTA_TUPLE_ORIG) || is_end(CTA_TUPLE_REPLY)).then_some(Entry {
        original: attributes.first_of(CTA_TUPLE_ORIG)?.to_vec(),
        zone: attributes.first_of(CTA_ZONE).map(<[u8]>::to_vec),
        id: attributes.first_of(CTA_ID).map(<[u8]>::to_vec),
    })
}

/// One that was answered: from whom its first packet came, and whom it reached behind translation, who is the one that
/// answers.
fn read_tracked(message: &Message<'_>, family: u8) -> Option<Tracked> {
    let attributes = message.attrs();
    let status = u32::from_be_bytes(attributes.first_of(CTA_STATUS)?.try_into().ok()?);
    if status & IPS_SEEN_REPLY == 0 || status & IPS_EXPECTED != 0 || attributes.first_of(CTA_ZONE).is_some() {
        return None;
    }
    let original = attributes.first_of(CTA_TUPLE_ORIG)?;
    let first = Tuple::read(original)?;
    let answer = Tuple::read(attributes.first_of(CTA_TUPLE_REPLY)?)?;
    let state = attributes
        .first_of(CTA_PROTOINFO)
        .and_then(|info| Attrs(info).first_of(CTA_PROTOINFO_TCP))
        .and_then(|tcp| Attrs(tcp).first_of(CTA_PROTOINFO_TCP_STATE)?.first().copied());
    let entry = Entry { original: original.to_vec(), zone: None, id: attributes.first_of(CTA_ID).map(<[u8]>::to_vec) };
    let connection = Connection {
        source: first.source,
        source_port: first.source_port,
        destination: answer.source,
        port: answer.source_port,
        protocol: first.protocol,
        icmp: first.icmp,
    };
    let sockets = first.sockets().and_then(|first| Some([first, answer.sockets()?]));
    Some(Tracked { connection, live: state.is_none_or(|state| TCP_LIVE.contains(&state)), sockets, family, entry })
}

/// One direction of a connection.
struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    source_port: Option<u16>,
    port: Option<u16>,
    icmp: Option<IcmpMatch>,
}

impl Tuple {
    fn read(bytes: &[u8]) -> Option<Tuple> {
        let tuple = Attrs(bytes);
        let ends = Attrs(tuple.first_of(CTA_TUPLE_IP)?);
        let end = |kinds: [u16; 2]| {
            let value = kinds.into_iter().find_map(|kind| ends.first_of(kind))?;
            let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
        };
        let proto = Attrs(tuple.first_of(CTA_TUPLE_PROTO)?);
        let byte = |kind| proto.first_of(kind)?.first().copied();
        let port = |kind| Some(u16::from_be_bytes(proto.first_of(kind)?.try_into().ok()?));
        let icmp = CTA_PROTO_ICMP
            .iter()
            .find_map(|(kind, code)| Some(IcmpMatch { kind: byte(*kind)?, code: Some(byte(*code)?) }));
        Some(Tuple {
            source: end(CTA_IP_SRC)?,
            destination: end(CTA_IP_DST)?,
            protocol: Protocol(byte(CTA_PROTO_NUM)?),
            source_port: port(CTA_PROTO_SRC_PORT),
            port: port(CTA_PROTO_DST_PORT),
            icmp,
        })
    }

    fn sockets(&self) -> Option<(SocketAddr, SocketAddr)> {
        let own = SocketAddr::new(self.source, self.source_port?);
        Some((own, SocketAddr::new(self.destination, self.port?)))
    }
}

#[cfg(test)]
#[path = "conntrack_tests.rs"]
mod tests;
