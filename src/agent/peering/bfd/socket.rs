//! UDP as BFD wants it (RFC 5881 4 and 5, RFC 5883 4 and 5): ports, TTL 255 on what goes out, the TTL of what comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use routenet_core::bfd::engine::{FULL_TTL, Neighbor};
use socket2::{Domain, Protocol, Socket, Type};

use super::Link;
use crate::agent::peering::protection;

/// RFC 5881 4 and RFC 5883 5.
const SINGLE_HOP: u16 = 3784;
const MULTIHOP: u16 = 4784;
/// RFC 5881 4: where packets come from.
const SOURCES: std::ops::RangeInclusive<u16> = 49152..=65535;
/// How many taken ports are tried before that is an error.
const TRIES: u16 = 200;
/// DSCP CS6, as other control packets of routing have it.
const CONTROL: u32 = 0xc0;
/// A thread that was kept waiting finds all packets of hundreds of neighbours.
const RECEIVE_BUFFER: usize = 4 << 20;
/// What is beyond it is nobody's (RFC 5880 6.8.6 looks at the length that the packet says).
const LONGEST: usize = 512;

/// Where packets come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    local: IpAddr,
    multihop: bool,
}

/// A packet that came in.
pub struct Received<'a> {
    pub from: Neighbor,
    pub ttl: u8,
    pub bytes: &'a [u8],
}

/// All sockets. Those that could not be had are tried again by [`Sockets::retry`].
#[derive(Default)]
pub struct Sockets {
    wanted: BTreeMap<Neighbor, Option<IpAddr>>,
    receivers: BTreeMap<Place, Socket>,
    senders: BTreeMap<Neighbor, Socket>,
    /// Why a receiver is missing.
    pub errors: BTreeSet<String>,
    /// Why packets to a neighbour do not go out.
    pub unsent: BTreeMap<Neighbor, String>,
}

impl Sockets {
    /// Has what these need, and no more. Senders of neighbours that are gone stay for their farewell, until [`Sockets::forget`].
    pub fn configure(&mut self, links: &BTreeMap<Neighbor, Link>) {
        let wanted: BTreeMap<Neighbor, Option<IpAddr>> =
            links.iter().map(|(neighbor, link)| (*neighbor, local_of(*neighbor, link.local))).collect();
        for (neighbor, local) in &wanted {
            if self.wanted.get(neighbor).is_some_and(|before| before != local) {
                self.senders.remove(neighbor);
            }
        }
        self.wanted = wanted;
        self.unsent.retain(|neighbor, _| self.wanted.contains_key(neighbor));
        let places = self.places();
        // First those that go: a wildcard and an address cannot have one port.
        self.receivers.retain(|place, _| places.contains(place));
        self.retry();
    }

    /// Tries to have what is missing; whether all is there.
    pub fn retry(&mut self) -> bool {
        let mut errors = BTreeSet::new();
        for place in self.places() {
            if self.receivers.contains_key(&place) {
                continue;
            }
            match receiver(place) {
                Ok(socket) => _ = self.receivers.insert(place, socket),
                Err(error) => _ = errors.insert(words(place, &error)),
            }
        }
        for error in errors.difference(&self.errors) {
            tracing::warn!(error, "BFD");
        }
        self.errors = errors;
        self.errors.is_empty()
    }

    /// Senders of neighbours to whom nothing more is to be said.
    pub fn forget(&mut self, still: impl Fn(&Neighbor) -> bool) {
        self.senders.retain(|neighbor, _| self.wanted.contains_key(neighbor) || still(neighbor));
    }

    pub fn receivers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.receivers.values().map(|socket| socket.as_fd())
    }

    /// Hands over what has come, at most so many packets of each socket.
    pub fn receive(&self, most: usize, mut take: impl FnMut(Received<'_>)) {
        let mut bytes = [0; LONGEST];
        let mut control = nix::cmsg_space!(i32);
        for (place, socket) in &self.receivers {
            for _ in 0..most {
                match receive_one(socket, place.multihop, &mut bytes, &mut control) {
                    Ok(Some((from, ttl, length))) => take(Received { from, ttl, bytes: &bytes[..length] }),
                    Ok(None) => {}
                    // There is no more, or what there was is lost (an ICMP error, a signal).
                    Err(_) => break,
                }
            }
        }
    }

    pub fn send(&mut self, to: Neighbor, bytes: &[u8]) {
        match self.try_send(to, bytes) {
            Ok(()) => _ = self.unsent.remove(&to),
            Err(error) => {
                let words = error.to_string();
                if self.unsent.get(&to) != Some(&words) {
                    tracing::warn!(neighbor = %to.address, error = words, "BFD packets do not go out");
                    self.unsent.insert(to, words);
                }
            }
        }
    }

    fn try_send(&mut self, to: Neighbor, bytes: &[u8]) -> io::Result<()> {
        if !self.senders.contains_key(&to) {
            let local = self.wanted.get(&to).copied().flatten();
            self.senders.insert(to, sender(to, local)?);
        }
        let Some(socket) = self.senders.get(&to) else { return Ok(()) };
        let port = if to.multihop { MULTIHOP } else { SINGLE_HOP };
        let address = match to.address {
            IpAddr::V4(address) => SocketAddr::from((address, port)),
            IpAddr::V6(address) => SocketAddr::V6(SocketAddrV6::new(address, port, 0, to.interface)),
        };
        socket.send_to(bytes, &address.into()).map(|_| ())
    }

    /// By family and kind: the own ends of all neighbours, or any, where one of them has none.
    fn places(&self) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        for (is_v6, multihop) in [(false, false), (false, true), (true, false), (true, true)] {
            let group = self.wanted.iter().filter(|(it, _)| (it.address.is_ipv6(), it.multihop) == (is_v6, multihop));
            let locals: Vec<Option<IpAddr>> = group.map(|(_, local)| *local).collect();
            if locals.iter().all(Option::is_some) {
                places.extend(locals.into_iter().flatten().map(|local| Place { local, multihop }));
            } else {
                places.insert(Place { local: any(is_v6), multihop });
            }
        }
        places
    }
}

/// The own end of a link-local address is on its interface, which only the kernel knows.
fn local_of(neighbor: Neighbor, local: Option<IpAddr>) -> Option<IpAddr> {
    local.filter(|local| {
        neighbor.interface == 0 && !local.is_unspecified() && local.is_ipv6() == neighbor.address.is_ipv6()
    })
}

fn any(is_v6: bool) -> IpAddr {
    if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

fn words(place: Place, error: &io::Error) -> String {
    let port = if place.multihop { MULTIHOP } else { SINGLE_HOP };
    let mend = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another BFD daemon has the port: stop it, or give `bgp.peers[]` and BGPPeers without `bfd`"
        }
        _ => "BFD with neighbours there stays down",
    };
    format!("cannot take BFD packets on {}: {error} ({mend})", SocketAddr::new(place.local, port))
}

fn udp(is_v6: bool) -> io::Result<Socket> {
    let domain = if is_v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // An address that the host is still to get.
    if is_v6 {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    Ok(socket)
}

fn receiver(place: Place) -> io::Result<Socket> {
    let is_v6 = place.local.is_ipv6();
    let socket = udp(is_v6)?;
    // Less than that is what the kernel gives to those without rights; it is enough for some.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    if is_v6 {
        socket.set_recv_hoplimit_v6(true)?;
    } else {
        protection::set(&socket, libc::IPPROTO_IP, libc::IP_RECVTTL, &1i32.to_ne_bytes())?;
    }
    let port = if place.multihop { MULTIHOP } else { SINGLE_HOP };
    socket.bind(&SocketAddr::new(place.local, port).into())?;
    Ok(socket)
}

/// One of its own for each neighbour: the port stays the same, and is no other session's (RFC 5881 4).
fn sender(to: Neighbor, local: Option<IpAddr>) -> io::Result<Socket> {
    let is_v6 = to.address.is_ipv6();
    let socket = udp(is_v6)?;
    protection::send_far(&socket, is_v6)?;
    const { assert!(FULL_TTL == 255, "what `send_far` sends with") };
    if is_v6 {
        socket.set_tclass_v6(CONTROL)?;
    } else {
        socket.set_tos_v4(CONTROL)?;
    }
    let local = local.unwrap_or_else(|| any(is_v6));
    let width = SOURCES.end() - SOURCES.start();
    let mut port = first_port();
    for _ in 0..TRIES {
        match socket.bind(&SocketAddr::new(local, SOURCES.start() + port % width).into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => port = port.wrapping_add(1),
            bound => return bound.map(|()| socket),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Somewhere in the range: two agents that start together do not try the same ones.
fn first_port() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0u8) >> 48) as u16
}

/// `None`: it came from nowhere, or without a TTL.
fn receive_one(
    socket: &Socket,
    multihop: bool,
    bytes: &mut [u8; LONGEST],
    control: &mut [u8],
) -> io::Result<Option<(Neighbor, u8, usize)>> {
    let mut parts = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(control), flags)?;
    let ttl = message.cmsgs().ok().into_iter().flatten().find_map(|part| match part {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => u8::try_from(ttl).ok(),
        _ => None,
    });
    let Some(source) = message.address else { return Ok(None) };
    let (address, interface) = match (source.as_sockaddr_in(), source.as_sockaddr_in6()) {
        (Some(source), _) => (IpAddr::V4(source.ip()), 0),
        (None, Some(source)) if source.ip().is_unicast_link_local() => (IpAddr::V6(source.ip()), source.scope_id()),
        (None, Some(source)) => (IpAddr::V6(source.ip()), 0),
        (None, None) => return Ok(None),
    };
    Ok(ttl.map(|ttl| (Neighbor { address, interface, multihop }, ttl, message.bytes)))
}
