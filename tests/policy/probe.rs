//! Sends probes of many kinds at once, and sees which are answered.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use routenet_core::model::Protocol;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::raw::{IcmpRequest, SctpInit};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a stray answer is waited for once all that must come have come; denied probes went out before those.
const STRAY: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: Protocol,
    /// Absent: an echo request.
    pub port: Option<u16>,
    /// Absent: the kernel chooses.
    pub source_port: Option<u16>,
    /// Type and code of an ICMP request that ping does not send.
    pub icmp: Option<(u8, u8)>,
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {} {}", self.source, self.destination, self.protocol)?;
        self.port.map_or(Ok(()), |port| write!(f, "/{port}"))?;
        self.source_port.map_or(Ok(()), |port| write!(f, " from {port}"))?;
        self.icmp.map_or(Ok(()), |(kind, code)| write!(f, " type {kind} code {code}"))
    }
}

enum Sent {
    Tcp(Socket),
    Udp(Socket),
    Ping(Child),
    Icmp(IcmpRequest),
    Sctp(SctpInit),
}

/// Sends all probes from this thread's namespace; those that were answered. Waits until all of `expected` are, then a
/// moment for any other.
pub fn send(probes: &[Probe], expected: &BTreeSet<Probe>) -> BTreeSet<Probe> {
    let mut open: Vec<(&Probe, Sent)> = probes.iter().map(|probe| (probe, launch(probe))).collect();
    let mut answered = BTreeSet::new();
    let start = Instant::now();
    let mut complete = None;
    loop {
        open.retain_mut(|(probe, sent)| match outcome(sent) {
            None => true,
            Some(came) => {
                if came {
                    answered.insert((*probe).clone());
                }
                false
            }
        });
        if complete.is_none() && expected.is_subset(&answered) {
            complete = Some(Instant::now());
        }
        if start.elapsed() > PATIENCE || complete.is_some_and(|since| since.elapsed() > STRAY) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for (_, sent) in open {
        if let Sent::Ping(mut child) = sent {
            // It may have ended of itself in the meantime.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
    answered
}

fn launch(probe: &Probe) -> Sent {
    if let Some((kind, code)) = probe.icmp {
        return Sent::Icmp(IcmpRequest::send(probe.source, probe.destination, kind, code));
    }
    if let (Protocol::SCTP, Some(port)) = (probe.protocol, probe.port) {
        return Sent::Sctp(SctpInit::send(probe.source, probe.destination, probe.source_port, port));
    }
    let Some(port) = probe.port else {
        let (source, destination) = (probe.source.to_string(), probe.destination.to_string());
        let child = Command::new("ping")
            .args(["-n", "-c", "1", "-W", "8", "-I", &source, &destination])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        return Sent::Ping(child.expect("ping (is it installed? make deps)"));
    };
    let kind = if probe.protocol == Protocol::TCP { Type::STREAM } else { Type::DGRAM };
    let socket = Socket::new(Domain::for_address(SocketAddr::new(probe.source, 0)), kind, None).expect("a socket");
    socket.set_nonblocking(true).expect("a socket that does not wait");
    // Several may go out from one port.
    socket.set_reuse_address(true).expect("an option");
    let from = SocketAddr::new(probe.source, probe.source_port.unwrap_or(0));
    socket.bind(&SockAddr::from(from)).expect("the source is an address of the place");
    // A connection is under way, or refused later: `outcome` tells.
    let _ = socket.connect(&SockAddr::from(SocketAddr::new(probe.destination, port)));
    if kind == Type::DGRAM {
        let _ = socket.send(b"probe");
        return Sent::Udp(socket);
    }
    Sent::Tcp(socket)
}

/// `None`: not yet known; else whether the answer came.
fn outcome(sent: &mut Sent) -> Option<bool> {
    match sent {
        Sent::Tcp(socket) => match socket.take_error() {
            Ok(Some(_)) | Err(_) => Some(false),
            Ok(None) => socket.peer_addr().is_ok().then_some(true),
        },
        Sent::Udp(socket) => match socket.read(&mut [0; 64]) {
            Ok(_) => Some(true),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(_) => Some(false),
        },
        Sent::Icmp(request) => request.answered().then_some(true),
        Sent::Sctp(init) => init.answered().then_some(true),
        Sent::Ping(child) => child.try_wait().expect("ping").map(|status| status.success()),
    }
}
