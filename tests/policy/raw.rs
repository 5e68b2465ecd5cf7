//! ICMP requests of any type and SCTP, sent and answered through raw sockets: this kernel has no SCTP of its own, and ping
//! asks for echoes only.

use std::io::Read;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

const ICMP: i32 = 1;
const ICMPV6: i32 = 58;
const SCTP: i32 = 132;
/// Chunks of SCTP (RFC 9260).
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

static NEXT: AtomicU16 = AtomicU16::new(1);

fn raw(protocol: i32) -> Socket {
    raw_of(Domain::IPV4, protocol)
}

fn raw_of(domain: Domain, protocol: i32) -> Socket {
    Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))).expect("a raw socket (run as root)")
}

fn to(address: IpAddr) -> SockAddr {
    SockAddr::from(SocketAddr::new(address, 0))
}

/// The packets that wait, each with its sender and without its IPv4 header.
fn waiting(socket: &mut Socket) -> Vec<(Ipv4Addr, Vec<u8>)> {
    let mut found = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.read(&mut buffer) {
        let header = usize::from(buffer[0] & 0xf) * 4;
        if length >= header && header >= 20 {
            let source = Ipv4Addr::new(buffer[12], buffer[13], buffer[14], buffer[15]);
            found.push((source, buffer[header..length].to_vec()));
        }
    }
    found
}

/// A request of ICMP (RFC 792), or of ICMPv6 (RFC 4443), that waits for its answer.
pub struct IcmpRequest {
    socket: Socket,
    destination: IpAddr,
    answer: u8,
    identifier: u16,
}

impl IcmpRequest {
    /// Echo (8; in IPv6 128) or timestamp (13).
    pub fn send(source: IpAddr, destination: IpAddr, kind: u8, code: u8) -> IcmpRequest {
        let socket = match source {
            IpAddr::V4(_) => raw(ICMP),
            IpAddr::V6(_) => raw_of(Domain::IPV6, ICMPV6),
        };
        socket.bind(&to(source)).expect("an address of the place");
        socket.set_nonblocking(true).expect("a socket that does not wait");
        let identifier = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut packet = vec![kind, code, 0, 0];
        packet.extend(identifier.to_be_bytes());
        packet.extend([0; 14]);
        // Of ICMPv6 the kernel makes it.
        if source.is_ipv4() {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        // What the host refuses is not answered.
        let _ = socket.send_to(&packet, &to(destination));
        IcmpRequest { socket, destination, answer: if kind == 8 { 0 } else { kind + 1 }, identifier }
    }

    pub fn answered(&mut self) -> bool {
        let came: Vec<(IpAddr, Vec<u8>)> = match self.destination {
            IpAddr::V4(_) => {
                waiting(&mut self.socket).into_iter().map(|(from, packet)| (from.into(), packet)).collect()
            }
            IpAddr::V6(_) => waiting6(&self.socket),
        };
        came.iter().any(|(source, packet)| {
            *source == self.destination
                && packet.len() >= 6
                && packet[0] == self.answer
                && packet[4..6] == self.identifier.to_be_bytes()
        })
    }
}

/// The packets that wait, each with its sender; a raw socket of IPv6 gives no headers.
fn waiting6(socket: &Socket) -> Vec<(IpAddr, Vec<u8>)> {
    let mut found = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        // SAFETY: the kernel has written that many octets.
        let packet = buffer[..length].iter().map(|octet| unsafe { octet.assume_init() }).collect();
        found.extend(from.as_socket().map(|from| (from.ip(), packet)));
    }
    found
}

/// The checksum of the Internet (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    !((folded + (folded >> 16)) as u16)
}

/// An INIT of SCTP that waits for its INIT ACK.
pub struct SctpInit {
    socket: Socket,
    destination: IpAddr,
    ports: (u16, u16),
}

impl SctpInit {
    pub fn send(source: IpAddr, destination: IpAddr, source_port: Option<u16>, port: u16) -> SctpInit {
        let socket = raw(SCTP);
        socket.bind(&to(source)).expect("an address of the place");
        socket.set_nonblocking(true).expect("a socket that does not wait");
        let own = source_port.unwrap_or_else(|| 20000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10000);
        let _ = socket.send_to(&chunk(own, port, 0, INIT), &to(destination));
        SctpInit { socket, destination, ports: (own, port) }
    }

    pub fn answered(&mut self) -> bool {
        waiting(&mut self.socket).iter().any(|(source, packet)| {
            IpAddr::V4(*source) == self.destination
                && packet.len() > 12
                && (port_at(packet, 2), port_at(packet, 0)) == self.ports
                && packet[12] == INIT_ACK
        })
    }
}

fn port_at(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// A packet with one INIT or INIT ACK.
fn chunk(source: u16, destination: u16, tag: u32, kind: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    // Initiate tag, window, streams out and in, first TSN; an INIT ACK has a cookie, of 4 octets here.
    let cookie: &[u8] = if kind == INIT_ACK { &[0, 7, 0, 8, 1, 2, 3, 4] } else { &[] };
    packet.extend([kind, 0]);
    packet.extend((20 + cookie.len() as u16).to_be_bytes());
    packet.extend(1u32.to_be_bytes());
    packet.extend(65535u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(1u32.to_be_bytes());
    packet.extend(cookie);
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// The checksum of SCTP (RFC 9260, appendix A).
fn crc32c(packet: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in packet {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// Answers every INIT that comes into the namespace of the thread that made it.
pub struct SctpListener {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SctpListener {
    pub fn new() -> SctpListener {
        let socket = raw(SCTP);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [MaybeUninit::uninit(); 2048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
                // SAFETY: the kernel has written that many octets.
                let packet: Vec<u8> = buffer[..length].iter().map(|octet| unsafe { octet.assume_init() }).collect();
                answer(&packet);
            }
        });
        SctpListener { stop, thread: Some(thread) }
    }
}

fn answer(packet: &[u8]) {
    let header = usize::from(packet.first().copied().unwrap_or_default() & 0xf) * 4;
    let Some(inside) = packet.get(header..).filter(|inside| inside.len() >= 20 && inside[12] == INIT) else { return };
    let from = Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]);
    let own = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
    let tag = u32::from_be_bytes([inside[16], inside[17], inside[18], inside[19]]);
    let reply = chunk(port_at(inside, 2), port_at(inside, 0), tag, INIT_ACK);
    // From the address that was asked, of several.
    let sender = raw(SCTP);
    if sender.bind(&to(IpAddr::V4(own))).is_ok() {
        // Who asked may be gone.
        let _ = sender.send_to(&reply, &to(IpAddr::V4(from)));
    }
}

impl Drop for SctpListener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("a thread").expect("the listener ended well");
        }
    }
}
