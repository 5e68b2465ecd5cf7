//! Forgets the connections of an address that was given back, over ctnetlink: an address that is given out again must
//! not inherit what was allowed to its former holder. Called by the agent before an address that was given back rests.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_sys::{Socket, SocketAddr};

use super::PlaneError;
use super::nfnetlink::{Attrs, Message, NFGENMSG, messages};
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
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
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

/// The kernel could filter by an address, but then walks the table four times for each: by source and by destination,
/// both ways; and for IPv6, Linux (5.8 to at least 6.18) sends just those connections that do not match.
fn flush_family(family: u8, wanted: &BTreeSet<Vec<u8>>) -> Result<usize, String> {
    let mut client = Client::open(family).map_err(|error| format!("netlink socket: {error}"))?;
    let found: Vec<Entry> =
        client.find(wanted).map_err(|error| format!("cannot be read: {error}"))?.into_iter().collect();
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

    /// The connections that have one of these addresses at an end. One that changes while the table is walked may come
    /// twice.
    fn find(&mut self, wanted: &BTreeSet<Vec<u8>>) -> std::io::Result<BTreeSet<Entry>> {
        let mut found = BTreeSet::new();
        let mut bytes = Vec::new();
        self.sequence += 1;
        begin(&mut bytes, CT_GET, NLM_F_REQUEST | NLM_F_DUMP, self.sequence, self.family);
        finish(&mut bytes, 0);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        loop {
            self.receive()?;
            for message in messages(&self.buffer).filter(|message| message.sequence == self.sequence) {
                match message.kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => errno(&message)?,
                    _ => found.extend(read(&message, wanted)),
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
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
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
    let attributes = Attrs(message.payload.get(NFGENMSG..)?);
    let find = |wanted: u16| attributes.clone().find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let is_end = |tuple: u16| {
        let ends = find(tuple).and_then(|tuple| Attrs(tuple).find(|(kind, _)| *kind == CTA_TUPLE_IP));
        ends.is_some_and(|(_, ends)| Attrs(ends).any(|(_, value)| wanted.contains(value)))
    };
    (is_end(CTA_TUPLE_ORIG) || is_end(CTA_TUPLE_REPLY)).then_some(Entry {
        original: find(CTA_TUPLE_ORIG)?.to_vec(),
        zone: find(CTA_ZONE).map(<[u8]>::to_vec),
        id: find(CTA_ID).map(<[u8]>::to_vec),
    })
}
