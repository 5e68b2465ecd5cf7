//! A real packet, and where it is seen: sent from inside a workload or from the host, watched on all interfaces of the host.
//! No plane: it changes nothing. Called by the agent for `routectl explain --trace`.

mod packet;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{LinkAddr, recvfrom};
use routenet_core::model::Protocol;
use socket2::{Domain, SockFilter, Socket, Type};

use super::namespace::inside;
pub use packet::Seen;
use packet::{Expected, Packet};

/// What comes behind the first answer still belongs to it: the same one, on the next interface.
const SETTLE: Duration = Duration::from_millis(150);
const TAP_BUFFER: usize = 4 << 20;

/// What to send.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The workload's namespace; `None`: the calling thread's own.
    pub namespace: Option<String>,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// TCP, UDP or ICMP of the family.
    pub protocol: Protocol,
    /// Of TCP and UDP.
    pub port: Option<u16>,
}

/// The probe or an answer to it, on an interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub interface: String,
    /// Out of the host; otherwise into it.
    pub outgoing: bool,
    pub seen: Seen,
}

/// Where it was seen, in order, each place once; and why it could not be sent.
#[derive(Clone, Debug, Default)]
pub struct Traced {
    pub sightings: Vec<Sighting>,
    pub unsent: Option<String>,
}

/// Whether a probe of this protocol can be sent: a SYN, an empty datagram, or an echo request.
pub fn is_possible(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6)
}

/// Sends it, and watches until it is answered or the time is over. Blocks.
///
/// # Errors
/// The host cannot be watched, or the workload's namespace cannot be entered.
pub fn send(probe: &Probe, limit: Duration) -> Result<Traced, String> {
    let tap = open_tap(probe).map_err(|error| format!("the host's interfaces cannot be watched: {error}"))?;
    // Looked up before the workload's namespace is entered, where other names hold.
    let names = nix::net::if_::if_nameindex().map_err(|error| format!("the host's interfaces: {error}"))?;
    let names: BTreeMap<usize, String> = names
        .iter()
        .map(|interface| (interface.index() as usize, interface.name().to_string_lossy().into_owned()))
        .collect();
    let watch = || watch(probe, &tap, &names, limit);
    match &probe.namespace {
        Some(path) => inside(path, watch)?,
        None => watch(),
    }
}

/// A socket that sees what passes any interface from or to either end.
fn open_tap(probe: &Probe) -> io::Result<Socket> {
    let every_protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
    let tap = Socket::new(Domain::PACKET, Type::DGRAM, Some(every_protocol.into()))?;
    tap.attach_filter(&filter(probe))?;
    // The system's limit may be lower; then there is that.
    let _ = tap.set_recv_buffer_size(TAP_BUFFER);
    tap.set_nonblocking(true)?;
    Ok(tap)
}

/// In the kernel, so that a busy host's other packets cost little: the last words of the addresses are looked at, and what
/// passes is read with care.
fn filter(probe: &Probe) -> Vec<SockFilter> {
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const SHIFT_RIGHT: u16 = (libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let last_word = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    };
    let (version, offsets) = if probe.source.is_ipv4() { (4, [12, 16]) } else { (6, [20, 36]) };
    let (from, to) = (last_word(probe.source), last_word(probe.destination));
    let step = |code, yes, no, value| SockFilter::new(code, yes, no, value);
    vec![
        step(LOAD_BYTE, 0, 0, 0),
        step(SHIFT_RIGHT, 0, 0, 4),
        step(IF_EQUAL, 0, 6, version),
        step(LOAD_WORD, 0, 0, offsets[0]),
        step(IF_EQUAL, 5, 0, from),
        step(IF_EQUAL, 4, 0, to),
        step(LOAD_WORD, 0, 0, offsets[1]),
        step(IF_EQUAL, 2, 0, from),
        step(IF_EQUAL, 1, 0, to),
        step(RETURN, 0, 0, 0),
        step(RETURN, 0, 0, u32::MAX),
    ]
}

fn watch(probe: &Probe, tap: &Socket, names: &BTreeMap<usize, String>, limit: Duration) -> Result<Traced, String> {
    let mut traced = Traced::default();
    // Held until the end: a socket that is closed answers with a reset.
    let (_sender, expected) = match launch(probe) {
        Ok(sent) => sent,
        Err(error) => {
            traced.unsent = Some(error.to_string());
            return Ok(traced);
        }
    };
    let mut end = Instant::now() + limit;
    let mut buffer = [0; 256];
    let mut answered = false;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(tap.as_fd(), PollFlags::POLLIN)], wait);
        if ready.map_err(|error| format!("the host's interfaces cannot be watched: {error}"))? == 0 {
            break;
        }
        let Ok((length, Some(from))) = recvfrom::<LinkAddr>(tap.as_raw_fd(), &mut buffer) else { continue };
        let Some(seen) = Packet::read(&buffer[..length]).and_then(|packet| expected.seen(&packet)) else { continue };
        let interface = names.get(&from.ifindex()).cloned().unwrap_or_else(|| format!("interface {}", from.ifindex()));
        let sighting = Sighting { interface, outgoing: from.pkttype() == libc::PACKET_OUTGOING, seen };
        if !answered && sighting.seen != Seen::Probe {
            answered = true;
            end = end.min(Instant::now() + SETTLE);
        }
        if !traced.sightings.contains(&sighting) {
            traced.sightings.push(sighting);
        }
    }
    Ok(traced)
}

/// Sends the probe; its socket, and what is to be looked for.
fn launch(probe: &Probe) -> io::Result<(Socket, Expected)> {
    let domain = if probe.source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let ends = (probe.source, probe.destination);
    match (probe.protocol, probe.port) {
        (Protocol::TCP | Protocol::UDP, Some(port)) => {
            let kind = if probe.protocol == Protocol::TCP { Type::STREAM } else { Type::DGRAM };
            let socket = Socket::new(domain, kind.nonblocking(), None)?;
            socket.bind(&SocketAddr::new(probe.source, 0).into())?;
            if probe.protocol == Protocol::TCP {
                // Nothing is left of the connection when the socket goes.
                socket.set_linger(Some(Duration::ZERO))?;
            }
            let own = socket.local_addr()?.as_socket().map_or(0, |own| own.port());
            let expected = Expected::ports(ends, probe.protocol, own, port);
            match socket.connect(&SocketAddr::new(probe.destination, port).into()) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
                _ => {}
            }
            if probe.protocol == Protocol::UDP {
                socket.send(&[])?;
            }
            Ok((socket, expected))
        }
        _ => {
            let (protocol, request) = match probe.source {
                IpAddr::V4(_) => (socket2::Protocol::ICMPV4, packet::ECHO_REQUEST[0]),
                IpAddr::V6(_) => (socket2::Protocol::ICMPV6, packet::ECHO_REQUEST[1]),
            };
            let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
            socket.bind(&SocketAddr::new(probe.source, 0).into())?;
            let id = std::process::id() as u16 ^ socket.as_raw_fd() as u16;
            socket.send_to(&packet::echo(request, id), &SocketAddr::new(probe.destination, 0).into())?;
            Ok((socket, Expected::echo(ends, id)))
        }
    }
}
