//! Route netlink (RFC 3549), as the link and route planes and the underlay resolver use it: batched synchronous requests on one
//! socket, dumps, and a monitor of the kernel's notifications on another.
//!
//! Requests are answered before `sendmsg` returns, so a worker thread loses nothing by waiting; only notifications are
//! awaited. A socket belongs to the network namespace of the thread that opened it, wherever it is used later.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, ParseableParametrized,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr};
use routenet_core::model::Family;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::nexthop::NexthopMessage;

/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;
/// More than the largest datagram that the kernel builds for a dump (32 KiB).
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Messages in one `sendmsg`: their refusals, should all be refused, fit into the default receive buffer.
pub(crate) const MESSAGES_A_SEND: usize = 128;
/// How often a dump that changed while it was read is read again.
const DUMP_ATTEMPTS: usize = 4;
/// Of [`Monitor`]: what may pile up while the worker is busy, in bytes.
const MONITOR_BUFFER: libc::c_int = 16 * 1024 * 1024;

/// `NLMSGERR_ATTR_MSG`: the kernel's own words in an extended acknowledgement.
const ERROR_TEXT: u16 = 1;

/// The kernel's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A positive errno.
    pub code: i32,
    /// What the kernel said beside it, if anything.
    pub text: Option<String>,
}

impl Refusal {
    pub(crate) fn is(&self, errno: nix::errno::Errno) -> bool {
        self.code == errno as i32
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = nix::errno::Errno::from_raw(self.code);
        match &self.text {
            Some(text) => write!(f, "{} ({text})", errno.desc()),
            None => f.write_str(errno.desc()),
        }
    }
}

/// A notification's message.
#[derive(Debug)]
pub(crate) enum Message {
    Route(RouteNetlinkMessage),
    Nexthop(NexthopMessage),
}

/// A message that is in bytes already, on the stack: a hundred thousand of them take no memory each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded {
    /// `nlmsg_type`.
    kind: u16,
    length: usize,
    bytes: [u8; Encoded::ROOM],
}

impl Encoded {
    /// A `rtmsg` with two IPv6 addresses and three numbers.
    const ROOM: usize = 80;

    pub(crate) fn new(kind: u16, header: &[u8]) -> Encoded {
        let mut message = Encoded { kind, length: 0, bytes: [0; Encoded::ROOM] };
        message.put(header);
        message
    }

    /// Appends an attribute; its value has a length that is a multiple of four.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.put(&(4 + value.len() as u16).to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What a request says.
#[derive(Debug)]
pub(crate) enum Body {
    Route(RouteNetlinkMessage),
    Nexthop(NexthopMessage),
    Encoded(Encoded),
}

impl From<RouteNetlinkMessage> for Body {
    fn from(message: RouteNetlinkMessage) -> Body {
        Body::Route(message)
    }
}

impl From<NexthopMessage> for Body {
    fn from(message: NexthopMessage) -> Body {
        Body::Nexthop(message)
    }
}

impl From<Encoded> for Body {
    fn from(message: Encoded) -> Body {
        Body::Encoded(message)
    }
}

/// One message to the kernel, with its flags beside `NLM_F_REQUEST` and `NLM_F_ACK`.
pub(crate) struct Request {
    pub flags: u16,
    pub message: Body,
}

impl Request {
    pub(crate) fn new(message: impl Into<Body>, flags: u16) -> Request {
        Request { flags, message: message.into() }
    }
}

/// A /32 or /128 on an interface, usable at once: without duplicate address detection, which takes seconds.
pub(crate) fn host_address(index: u32, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = Family::of(address).bits();
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    if address.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

/// What became of one request: the object that a GET asked for, or nothing, or a refusal.
pub(crate) type Outcome = Result<Option<RouteNetlinkMessage>, Refusal>;

/// A socket for requests.
pub(crate) struct Connection {
    socket: Socket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connection {
    /// A `NETLINK_ROUTE` socket in the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Connection> {
        let mut socket = Socket::new(netlink_sys::protocols::NETLINK_ROUTE)?;
        let address = socket.bind_auto()?;
        // Kernels without one of these answer in the older way, which is understood too.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Connection { socket, port: address.port_number(), sequence: 0, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// The sender that the kernel names in notifications of what this socket asked for.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Sends the requests in order, many to a send, and answers an outcome for each. A refused one does not keep the
    /// others from being done. An error is one of the socket: then nothing is known of the outcomes.
    pub(crate) fn batch(&mut self, requests: &[Request]) -> io::Result<Vec<Outcome>> {
        let mut outcomes: Vec<Outcome> = (0..requests.len()).map(|_| Ok(None)).collect();
        for (chunk, results) in requests.chunks(MESSAGES_A_SEND).zip(outcomes.chunks_mut(MESSAGES_A_SEND)) {
            self.send_chunk(chunk, results)?;
        }
        Ok(outcomes)
    }

    /// One request.
    pub(crate) fn request(&mut self, message: impl Into<Body>, flags: u16) -> io::Result<Outcome> {
        let mut outcomes = self.batch(&[Request::new(message, flags)])?;
        Ok(outcomes.pop().expect("one outcome a request"))
    }

    fn send_chunk(&mut self, chunk: &[Request], results: &mut [Outcome]) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(chunk.len() * 96);
        for (position, request) in chunk.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            // Refusals come unasked; one acknowledgement at the end says that all have been dealt with.
            let ack = if position + 1 == chunk.len() { NLM_F_ACK } else { 0 };
            emit(&mut bytes, &request.message, request.flags | NLM_F_REQUEST | ack, self.sequence);
        }
        let last = self.sequence;
        send(&self.socket, &bytes)?;
        loop {
            let length = receive(self.socket.as_raw_fd(), &mut self.buffer, 0)?;
            for message in Frames(&self.buffer[..length]) {
                let position = message.sequence.wrapping_sub(first) as usize;
                let Some(result) = results.get_mut(position) else { continue };
                if message.kind == NLMSG_ERROR {
                    if let Err(refusal) = acknowledgement(&message) {
                        *result = Err(refusal);
                    }
                    if message.sequence == last {
                        return Ok(());
                    }
                } else if let Some(object) = message.parse() {
                    *result = Ok(Some(object));
                }
            }
        }
    }

    /// The way that the kernel would take to an address; `None` where there is none, or it leads nowhere.
    pub(crate) fn way_to(&mut self, address: IpAddr) -> io::Result<Option<RouteMessage>> {
        let mut message = RouteMessage::default();
        message.header.address_family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.destination_prefix_length = Family::of(address).bits();
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
        Ok(match self.request(RouteNetlinkMessage::GetRoute(message), 0)? {
            Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Some(route),
            _ => None,
        })
    }

    /// Whether an address is on a link of this host: neither behind a router nor nowhere.
    pub(crate) fn is_on_link(&mut self, address: IpAddr) -> io::Result<bool> {
        Ok(self.way_to(address)?.is_some_and(|way| leads_on_link(&way, address)))
    }

    /// Everything that a dump request answers. A table that does not exist yet is empty.
    pub(crate) fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.dump_of(&message.into(), |frame| frame.parse())
    }

    /// All nexthop objects.
    pub(crate) fn dump_nexthops(&mut self) -> io::Result<Vec<NexthopMessage>> {
        self.dump_of(&NexthopMessage::Dump.into(), |frame| frame.nexthop())
    }

    fn dump_of<T>(&mut self, message: &Body, parse: impl Fn(&Frame<'_>) -> Option<T>) -> io::Result<Vec<T>> {
        for _ in 1..DUMP_ATTEMPTS {
            let (objects, interrupted) = self.dump_once(message, &parse)?;
            if !interrupted {
                return Ok(objects);
            }
        }
        Ok(self.dump_once(message, &parse)?.0)
    }

    fn dump_once<T>(&mut self, message: &Body, parse: &impl Fn(&Frame<'_>) -> Option<T>) -> io::Result<(Vec<T>, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        emit(&mut bytes, message, NLM_F_REQUEST | NLM_F_DUMP, self.sequence);
        send(&self.socket, &bytes)?;
        let (mut objects, mut interrupted) = (Vec::new(), false);
        loop {
            let length = receive(self.socket.as_raw_fd(), &mut self.buffer, 0)?;
            for frame in Frames(&self.buffer[..length]) {
                if frame.sequence != self.sequence {
                    continue;
                }
                interrupted |= frame.flags & NLM_F_DUMP_INTR != 0;
                match frame.kind {
                    NLMSG_DONE => return Ok((objects, interrupted)),
                    NLMSG_ERROR => match acknowledgement(&frame) {
                        Err(refusal) if refusal.is(nix::errno::Errno::ENOENT) => return Ok((Vec::new(), false)),
                        Err(refusal) => return Err(io::Error::from_raw_os_error(refusal.code)),
                        Ok(()) => {}
                    },
                    _ => objects.extend(parse(&frame)),
                }
            }
        }
    }
}

/// A notification.
pub(crate) struct Event {
    pub flags: u16,
    pub message: Message,
}

/// A socket on which the kernel tells of changes.
pub(crate) struct Monitor {
    socket: AsyncFd<Descriptor>,
    buffer: Vec<u8>,
}

/// What [`Monitor::drain`] met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    All,
    /// The kernel had more to tell than the socket could hold: read everything anew.
    Overrun,
}

/// A [`Socket`] as [`AsyncFd`] wants it.
struct Descriptor(Socket);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Opens the socket of a [`Monitor`] in the calling thread's network namespace.
pub(crate) fn open_monitor(groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(netlink_sys::protocols::NETLINK_ROUTE)?;
    let size = MONITOR_BUFFER;
    // SAFETY: a valid descriptor and a pointer to an int of the size that is given. Failure (no CAP_NET_ADMIN) leaves
    // the default size, which the overrun handling makes do with.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            std::ptr::from_ref(&size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
    socket.bind_auto()?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// What a monitor is not to be woken for. The kernel drops it before it is queued: hundred thousand routes of our own
/// would be copied, and read, once for each socket that waits for somebody else's.
pub(crate) enum Ignore<'a> {
    /// What a [`Connection`] with one of these ports asked for.
    Ports(&'a [u32]),
    /// Routes of these protocols.
    Routes(&'a [u8]),
}

/// Attaches the filter. Without it a monitor is only slower, since what it hears is looked at again.
pub(crate) fn ignore(socket: &Socket, what: &Ignore<'_>) {
    // Loads are in network order, netlink is in the host's.
    let port = |port: u32| u32::from_be_bytes(port.to_ne_bytes());
    let kind = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    // `BPF_LD | BPF_ABS` of 4, 2 and 1 bytes, `BPF_JMP | BPF_JEQ`, `BPF_RET`.
    let load = |code: u16, at: u32| libc::sock_filter { code, jt: 0, jf: 0, k: at };
    let equal = |value: u32, jt: u8, jf: u8| libc::sock_filter { code: 0x15, jt, jf, k: value };
    let answer = |length: u32| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: length };
    // Whether what was loaded is one of so many: if so, the next instruction is done, else the one behind it.
    let among = |program: &mut Vec<libc::sock_filter>, values: &[u32]| {
        let behind = (0..u8::try_from(values.len()).expect("a few values")).rev();
        program.extend(values.iter().zip(behind).map(|(value, behind)| equal(*value, behind, u8::from(behind == 0))));
    };
    let mut program = Vec::new();
    match what {
        Ignore::Ports(own) => {
            // `nlmsg_pid`.
            program.push(load(0x20, 12));
            among(&mut program, &own.iter().map(|own| port(*own)).collect::<Vec<_>>());
        }
        Ignore::Routes(protocols) => {
            // `nlmsg_type`, then `rtm_protocol`.
            let others = u8::try_from(protocols.len()).expect("a few protocols") + 2;
            let kinds = [equal(kind(libc::RTM_NEWROUTE), 1, 0), equal(kind(libc::RTM_DELROUTE), 0, others)];
            program.push(load(0x28, 4));
            program.extend(kinds);
            program.push(load(0x30, HEADER as u32 + 5));
            among(&mut program, &protocols.iter().copied().map(u32::from).collect::<Vec<_>>());
        }
    }
    program.extend([answer(0), answer(u32::MAX)]);
    let length = u16::try_from(program.len()).expect("a short program");
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: a valid descriptor, and a pointer to a program of the size that is given, which the kernel copies.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        );
    }
}

impl Monitor {
    /// Must be called within the tokio runtime that will poll it.
    pub(crate) fn new(socket: Socket) -> io::Result<Monitor> {
        // SAFETY: the descriptor is the socket's own; nothing closes or replaces it while the `Descriptor` lives.
        let socket = unsafe { AsyncFd::register_with_interest(Descriptor(socket), Interest::READABLE) }?;
        Ok(Monitor { socket, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// Waits until there may be something to [`drain`](Monitor::drain).
    pub(crate) async fn readable(&self) {
        // An error here is one of the runtime's shutdown; draining will show anything else.
        if let Ok(mut guard) = self.socket.readable().await {
            guard.clear_ready();
        }
    }

    /// Hands all waiting notifications to `take`, save those that one of the ports caused.
    pub(crate) fn drain(&mut self, own_ports: &[u32], mut take: impl FnMut(Event)) -> io::Result<Drained> {
        let mut outcome = Drained::All;
        loop {
            match receive(self.socket.as_raw_fd(), &mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(length) => {
                    for frame in Frames(&self.buffer[..length]) {
                        if own_ports.contains(&frame.port) {
                            continue;
                        }
                        let known = || frame.parse().map(Message::Route);
                        if let Some(message) = frame.nexthop().map(Message::Nexthop).or_else(known) {
                            take(Event { flags: frame.flags, message });
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(outcome),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => outcome = Drained::Overrun,
                Err(error) => return Err(error),
            }
        }
    }
}

fn emit(bytes: &mut Vec<u8>, message: &Body, flags: u16, sequence: u32) {
    let start = bytes.len();
    bytes.resize(start + HEADER, 0);
    let kind = match message {
        Body::Route(message) => {
            bytes.resize(start + HEADER + Emitable::buffer_len(message), 0);
            message.emit(&mut bytes[start + HEADER..]);
            message.message_type()
        }
        Body::Nexthop(message) => {
            let (kind, body) = message.encode();
            bytes.extend(body);
            kind
        }
        Body::Encoded(message) => {
            bytes.extend_from_slice(message.body());
            message.kind
        }
    };
    let length = bytes.len() - start;
    bytes.resize(start + length.next_multiple_of(4), 0);
    bytes[start..start + 4].copy_from_slice(&(length as u32).to_ne_bytes());
    bytes[start + 4..start + 6].copy_from_slice(&kind.to_ne_bytes());
    bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
    bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
}

fn send(socket: &Socket, bytes: &[u8]) -> io::Result<()> {
    loop {
        match socket.send_to(bytes, &SocketAddr::new(0, 0), 0) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn receive(socket: RawFd, buffer: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    loop {
        // SAFETY: the pointer and the length are those of one live buffer.
        let length = unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), flags) };
        if length >= 0 {
            return Ok(length as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// One message of a datagram.
struct Frame<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    payload: &'a [u8],
}

impl Frame<'_> {
    /// `None` for what the message crate cannot read: a kind of object that we have nothing to do with.
    fn parse(&self) -> Option<RouteNetlinkMessage> {
        RouteNetlinkMessage::parse_with_param(self.payload, self.kind).ok()
    }

    fn nexthop(&self) -> Option<NexthopMessage> {
        NexthopMessage::decode(self.kind, self.payload)
    }
}

/// The messages of a datagram; ends at the first that is cut short.
struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let header = self.0.get(..HEADER)?;
        let u32_at = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let u16_at = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = u32_at(0) as usize;
        let payload = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Frame { kind: u16_at(4), flags: u16_at(6), sequence: u32_at(8), port: u32_at(12), payload })
    }
}

/// Reads an `NLMSG_ERROR`: error 0 is a yes.
fn acknowledgement(frame: &Frame<'_>) -> Result<(), Refusal> {
    /// `NLM_F_CAPPED`, `NLM_F_ACK_TLVS`.
    const CAPPED: u16 = 0x100;
    const TLVS: u16 = 0x200;
    let Some(code) = frame.payload.get(..4) else {
        return Err(Refusal { code: libc::EPROTO, text: None });
    };
    let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
    if code == 0 {
        return Ok(());
    }
    let echoed = frame.payload.get(4..8).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let offset = 4 + if frame.flags & CAPPED != 0 { HEADER } else { echoed.next_multiple_of(4) };
    let attributes = if frame.flags & TLVS != 0 { frame.payload.get(offset..).unwrap_or_default() } else { &[] };
    Err(Refusal { code: code.saturating_neg(), text: error_text(attributes) })
}

fn error_text(mut attributes: &[u8]) -> Option<String> {
    while let Some(head) = attributes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) == ERROR_TEXT {
            let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Whether the way to an address needs no router. A route to an address by way of itself is one on its link.
pub(crate) fn leads_on_link(way: &RouteMessage, address: IpAddr) -> bool {
    let is_behind = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Gateway(by) => *by != RouteAddress::from(address),
        RouteAttribute::Via(_) => true,
        _ => false,
    };
    !way.attributes.iter().any(is_behind)
}

#[cfg(test)]
#[path = "netlink_tests.rs"]
mod tests;
