//! All that one side of a namespace sends over TCP, and what tshark makes of its BGP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use super::run;

/// Link type of a capture file whose packets begin with their IP header.
const RAW_IP: u32 = 101;
/// tshark's severity of what an expert item calls an error.
const ERROR: &str = "8388608";

/// The kind of TCP's option that is the signature of a segment (RFC 2385).
const MD5_SIGNATURE: u8 = 19;

/// Where a packet comes from and goes to.
pub type Way = (SocketAddr, SocketAddr);

/// A packet socket of this namespace, read by a thread of its own until [`Capture::frames`] or the test's end.
pub struct Capture {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<u8>>>,
    port: u16,
}

/// A frame in which a message of BGP ends.
#[derive(Debug, Default)]
pub struct Frame {
    pub number: u32,
    /// The types of its messages.
    pub types: Vec<u8>,
    /// Code and subcode, of a NOTIFICATION.
    pub notification: Option<(u8, u8)>,
    /// The text of a Cease (RFC 9003).
    pub text: String,
    /// Whether its TCP segment has a signature (RFC 2385).
    pub signed: bool,
    /// What tshark has against it.
    pub complaint: Option<String>,
}

impl Capture {
    /// From now on, the packets whose source and destination are such, of BGP on this port.
    pub fn start(port: u16, ours: impl Fn(Way) -> bool + Send + 'static) -> Capture {
        let all = Protocol::from(i32::from((nix::libc::ETH_P_ALL as u16).to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(all)).expect("a packet socket (run as root)");
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(64 << 20))
            .expect("a receive buffer");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let read = move || read(&socket, &told, &ours);
        let thread = std::thread::Builder::new().name("capture".into()).spawn(read).expect("a thread");
        Capture { over, thread: Some(thread), port }
    }

    /// Ends it, and has tshark read it: each frame with BGP in it, in order. It only guesses how many octets an AS number
    /// has; where sessions of both lengths are there a frame is sound that is with one of them.
    pub fn frames(mut self, as_lengths: &[&str]) -> Vec<Frame> {
        self.over.store(true, Ordering::Relaxed);
        let bytes = self.thread.take().expect("it runs").join().expect("the capture's thread");
        let mut readings = as_lengths.iter().map(|length| read_by_tshark(&bytes, self.port, length));
        let mut frames = readings.next().expect("a length");
        for other in readings {
            let bad: BTreeSet<u32> =
                other.into_iter().filter(|frame| frame.complaint.is_some()).map(|frame| frame.number).collect();
            frames.iter_mut().filter(|frame| !bad.contains(&frame.number)).for_each(|frame| frame.complaint = None);
        }
        frames
    }

    /// The same, with AS numbers of four octets, none malformed or missing.
    pub fn sound_frames(self) -> Vec<Frame> {
        let frames = self.frames(&["4"]);
        let bad: Vec<&Frame> = frames.iter().filter(|frame| frame.complaint.is_some()).collect();
        assert!(bad.is_empty(), "tshark complains about {} of {} frames of ours: {bad:#?}", bad.len(), frames.len());
        frames
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The code and subcode of each kind of NOTIFICATION among the frames.
pub fn notifications(frames: &[Frame]) -> BTreeSet<(u8, u8)> {
    frames.iter().filter_map(|frame| frame.notification).collect()
}

/// How many messages there are of each type.
pub fn counts(frames: &[Frame]) -> BTreeMap<u8, usize> {
    frames.iter().flat_map(|frame| &frame.types).fold(BTreeMap::new(), |mut counts, kind| {
        *counts.entry(*kind).or_default() += 1;
        counts
    })
}

/// A capture file (libpcap 2.4) of what comes until it is over, and of what is waiting then.
fn read(socket: &Socket, over: &AtomicBool, ours: &dyn Fn(Way) -> bool) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend_from_slice(&0xa1b2_c3d4_u32.to_ne_bytes());
    file.extend_from_slice(&[2_u16, 4].map(u16::to_ne_bytes).concat());
    file.extend_from_slice(&[0, 0, 262_144, RAW_IP].map(u32::to_ne_bytes).concat());
    let start = Instant::now();
    let mut packet = vec![0; 1 << 17];
    loop {
        let ending = over.load(Ordering::Relaxed);
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut packet) {
            Ok((length, from)) => {
                // On the loopback each comes back as well.
                let sent = from.is_some_and(|from| from.pkttype() == nix::libc::PACKET_OUTGOING);
                if sent && way(&packet[..length]).is_some_and(ours) {
                    let at = start.elapsed();
                    let length = u32::try_from(length).expect("a packet");
                    let record = [at.as_secs() as u32, at.subsec_micros(), length, length];
                    file.extend_from_slice(&record.map(u32::to_ne_bytes).concat());
                    file.extend_from_slice(&packet[..length as usize]);
                }
            }
            Err(nix::errno::Errno::EAGAIN) if ending => return file,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR | nix::errno::Errno::ENETDOWN) => {}
            Err(error) => panic!("the packet socket: {error}"),
        }
    }
}

/// Of a TCP segment.
fn way(packet: &[u8]) -> Option<Way> {
    let (source, destination, segment): (IpAddr, IpAddr, _) = match packet.first()? >> 4 {
        4 if packet.get(9) == Some(&6) => {
            let at = |from: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(from..from + 4)?).ok()?));
            (at(12)?.into(), at(16)?.into(), packet.get(usize::from(packet[0] & 15) * 4..)?)
        }
        6 if packet.get(6) == Some(&6) => {
            let at = |from: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(from..from + 16)?).ok()?));
            (at(8)?.into(), at(24)?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |from: usize| Some(u16::from_be_bytes(segment.get(from..from + 2)?.try_into().ok()?));
    Some((SocketAddr::new(source, port(0)?), SocketAddr::new(destination, port(2)?)))
}

/// In the order of [`frame`].
const FIELDS: [&str; 15] = [
    "frame.number",
    "bgp.type",
    "_ws.malformed",
    "_ws.expert.severity",
    "_ws.expert.message",
    "tcp.analysis.lost_segment",
    "tcp.payload",
    "bgp.notify.communication",
    "tcp.option_kind",
    "bgp.notify.major_error",
    "bgp.notify.minor_error",
    "bgp.notify.minor_error_open",
    "bgp.notify.minor_error_update",
    "bgp.notify.minor_error_state",
    "bgp.notify.minor_error_cease",
];

fn read_by_tshark(capture: &[u8], port: u16, as_length: &str) -> Vec<Frame> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sent.pcap");
    std::fs::write(&file, capture).expect("a capture file");
    let file = file.to_str().expect("a path in UTF-8");
    let (decode, as_length) = (format!("tcp.port=={port},bgp"), format!("bgp.asn_len:{as_length}"));
    let wanted = format!("bgp || _ws.malformed || _ws.expert.severity == {ERROR} || tcp.analysis.lost_segment");
    let mut words = vec!["-n", "-r", file, "-d", &decode, "-o", &as_length, "-Y", &wanted];
    words.extend(["-T", "fields", "-E", "separator=|"]);
    FIELDS.iter().for_each(|field| words.extend(["-e", field]));
    run("tshark", &words).lines().map(frame).collect()
}

fn frame(line: &str) -> Frame {
    let columns: Vec<&str> = line.split('|').collect();
    let numbers = |text: &str| text.split(',').filter_map(|number| number.parse::<u8>().ok()).collect::<Vec<_>>();
    let [number, types, malformed, severity, message, lost, payload, text, options] = columns[..9] else {
        panic!("{line}")
    };
    // A connection on the ports of an older one may begin at any number.
    let gap = !lost.is_empty() && !payload.is_empty();
    let bad = !malformed.is_empty() || gap || severity.contains(ERROR);
    let minor = columns[10..].iter().find_map(|column| numbers(column).first().copied());
    Frame {
        number: number.parse().expect("its number"),
        types: numbers(types),
        notification: numbers(columns[9]).first().map(|major| (*major, minor.unwrap_or(0))),
        text: text.to_string(),
        signed: numbers(options).contains(&MD5_SIGNATURE),
        complaint: bad.then(|| format!("{malformed} {message}{}: {payload}", if gap { ", after a gap" } else { "" })),
    }
}
