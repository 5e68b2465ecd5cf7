//! What a packet costs between two workloads of a host with a thousand of them, beside plain forwarding and a wire.
//!
//! One thread, pinned to a CPU, sends and then reads at the other end; veth hands a packet on in the sender's own
//! context, so that the time of a packet is all that it costs, from `sendmmsg` to `recvmmsg`, and none is lost unseen.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use routenet::plane::iptables::Backend;
use routenet::plane::link::LinkPlane;
use routenet::plane::rules::RulesPlane;
use routenet_core::desired::{GATEWAY4, GATEWAY6, Link};
use routenet_core::model::Endpoint;

use crate::place::{Place, block_on, ip, run};
use crate::{cluster, groups, percentile};

const GROUPS: usize = 1_000;
const ROUNDS: usize = 15;
/// Of an established flow, in a round.
const PACKETS: usize = 200_000;
const AT_ONCE: usize = 64;
/// First packets in a round, each of a flow of its own.
const FLOWS: usize = 1_000;
const PORT: u16 = 5_000;

/// How two workloads are joined.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Wire,
    Plain,
    Policy(Backend),
}

const WAYS: [(Way, &str); 4] = [
    (Way::Wire, "a veth pair between them"),
    (Way::Plain, "forwarded by the host, no rules"),
    (Way::Policy(Backend::Nft), "forwarded under policy, nft"),
    (Way::Policy(Backend::Legacy), "forwarded under policy, legacy"),
];

pub fn packets() {
    println!(
        "\n## A packet between two workloads, {GROUPS} endpoints on the host, each with a policy of its own: microseconds of CPU\n"
    );
    let pairs = WAYS.map(|(way, _)| Pair::new(way));
    let mut established = WAYS.map(|_| Vec::new());
    let mut first = WAYS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        for (index, pair) in pairs.iter().enumerate() {
            established[index].push(pair.established());
            first[index].push(pair.first(round));
        }
    }
    println!(
        "| way | established flow | ratio to the wire | first of a flow | ratio to the wire |\n|---|---|---|---|---|"
    );
    let [wire, wire_first] = [&mut established[0], &mut first[0]].map(|times| percentile(times, 50));
    for (index, (_, name)) in WAYS.iter().enumerate() {
        let [known, new] = [&mut established[index], &mut first[index]].map(|times| percentile(times, 50));
        println!("| {name} | {known:.2} | {:.2} | {new:.2} | {:.2} |", known / wire, new / wire_first);
    }
}

/// Two workloads; the host between them ends with its planes.
struct Pair {
    left: Place,
    right: Place,
    to: SocketAddr,
    from: IpAddr,
    _planes: Option<(LinkPlane, Option<RulesPlane>)>,
    _host: Place,
}

impl Pair {
    fn new(way: Way) -> Pair {
        let here = cluster::node("here");
        let [one, other] = [0, GROUPS - 1].map(|number| groups::endpoint(&here, number, number));
        let [left, right] = [Place::new(), Place::new()];
        let host = Place::new();
        let planes = match way {
            Way::Wire => {
                wire(&left, &right, &one, &other);
                None
            }
            Way::Plain | Way::Policy(_) => {
                let ends = [(&one, &left), (&other, &right)].map(|(it, place)| (it.clone(), place.netns.clone()));
                Some(host.run(move || forward(way, ends)))
            }
        };
        let to = SocketAddr::new(other.addresses[0], PORT);
        let pair = Pair { left, right, to, from: one.addresses[0], _planes: planes, _host: host };
        pair.left.run(pin);
        pair.check();
        pair
    }

    /// One packet arrives, and its answer too.
    fn check(&self) {
        let (to, from) = (self.to, self.from);
        let answerer = self.right.run(move || {
            let socket = UdpSocket::bind(to).expect("a free port");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
            std::thread::spawn(move || {
                let (length, asker) = socket.recv_from(&mut [0; 64]).expect("a packet within 5 s");
                socket.send_to(&[0; 64][..length], asker).expect("an answer");
            })
        });
        self.left.run(move || {
            let socket = UdpSocket::bind((from, 0)).expect("a free port");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
            socket.send_to(&[0; 18], to).expect("a route");
            socket.recv_from(&mut [0; 64]).expect("an answer within 5 s");
        });
        answerer.join().expect("it answered");
    }

    /// Microseconds a packet of a flow that was answered before.
    fn established(&self) -> f64 {
        let (to, from) = (self.to, self.from);
        let sink = self.right.run(move || UdpSocket::bind(to).expect("a free port"));
        let socket = self.left.run(move || {
            let socket = UdpSocket::bind((from, 0)).expect("a free port");
            socket.connect(to).expect("a route");
            socket.send(&[0; 18]).expect("a packet");
            socket
        });
        let sink = self.right.run(move || {
            let (_, asker) = sink.recv_from(&mut [0; 64]).expect("a packet");
            sink.send_to(&[0; 18], asker).expect("an answer");
            sink
        });
        let took = self.left.run(move || {
            socket.recv(&mut [0; 64]).expect("an answer");
            let begin = Instant::now();
            for _ in 0..PACKETS / AT_ONCE {
                send_many(&socket);
                read_many(&sink);
            }
            begin.elapsed()
        });
        took.as_secs_f64() * 1e6 / (PACKETS / AT_ONCE * AT_ONCE) as f64
    }

    /// Microseconds a packet, each the first of a flow.
    fn first(&self, round: usize) -> f64 {
        let (to, from) = (self.to, self.from);
        let sink = self.right.run(move || UdpSocket::bind(to).expect("a free port"));
        let took = self.left.run(move || {
            let ports = (0..FLOWS).map(|flow| u16::try_from(10_000 + round * FLOWS + flow).expect("a port"));
            let bound = ports.map(|port| UdpSocket::bind((from, port)).expect("a free port"));
            let sockets: Vec<UdpSocket> = bound.collect();
            let begin = Instant::now();
            for socket in &sockets {
                socket.send_to(&[0; 18], to).expect("a route");
                sink.recv_from(&mut [0; 64]).expect("a packet");
            }
            begin.elapsed()
        });
        took.as_secs_f64() * 1e6 / FLOWS as f64
    }
}

/// The thread that calls it stays on the first CPU.
fn pin() {
    let mut cpus = CpuSet::new();
    cpus.set(0).expect("a first CPU");
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("a first CPU");
}

fn wire(left: &Place, right: &Place, one: &Endpoint, other: &Endpoint) {
    let (near, far) = (one.addresses[0], other.addresses[0]);
    left.ip(&format!("link add eth0 type veth peer name eth0 netns {}", right.netns));
    for (place, own, peer) in [(left, near, far), (right, far, near)] {
        place.ip("link set eth0 up");
        place.ip(&format!("address add {own}/32 dev eth0"));
        place.ip(&format!("route add {peer} dev eth0"));
    }
}

/// In the host's namespace: links as the agent makes them, and rules where there is a policy.
fn forward(way: Way, ends: [(Endpoint, String); 2]) -> (LinkPlane, Option<RulesPlane>) {
    run("sysctl", &["-q", "-w", "net.ipv4.ip_forward=1"]);
    let links = LinkPlane::spawn().expect("a link plane");
    for ((endpoint, netns), last) in ends.into_iter().zip([1, 2]) {
        let interface = endpoint.key.host_interface();
        let link = Link {
            endpoint: endpoint.key.clone(),
            netns,
            ifname: endpoint.key.ifname.clone(),
            mac: [2, 0x72, 0x6e, 0, 0, last],
            mtu: 1440,
            addresses: endpoint.addresses.clone(),
            gateway4: GATEWAY4,
            gateway6: GATEWAY6,
            handed_over: false,
            loopback: false,
        };
        block_on(links.create(link)).expect("a link");
        ip(&format!("route add {} dev {interface} scope link", endpoint.addresses[0]));
    }
    let rules = match way {
        Way::Policy(backend) => Some(groups::plane(backend, &groups::desired(GROUPS, 2))),
        Way::Wire | Way::Plain => None,
    };
    (links, rules)
}

/// [`AT_ONCE`] datagrams in one call.
fn send_many(socket: &UdpSocket) {
    let sent = many(|messages| {
        // SAFETY: the messages and what they point to live until the call returns.
        unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), AT_ONCE as u32, 0) }
    });
    assert_eq!(sent, AT_ONCE as i32, "sendmmsg: {}", std::io::Error::last_os_error());
}

/// As many again, all of which are there: what was sent arrives before the sender goes on.
fn read_many(socket: &UdpSocket) {
    let came = many(|messages| {
        let no_limit = std::ptr::null_mut();
        // SAFETY: the messages and what they point to live until the call returns; nobody reads what all of them write.
        unsafe {
            libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), AT_ONCE as u32, libc::MSG_DONTWAIT, no_limit)
        }
    });
    assert_eq!(came, AT_ONCE as i32, "packets were lost");
}

fn many(call: impl FnOnce(&mut [libc::mmsghdr; AT_ONCE]) -> i32) -> i32 {
    let mut payload = [0u8; 18];
    let mut part = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: all zeroes is a message from or to the connected peer without address, parts and flags.
    let mut messages: [libc::mmsghdr; AT_ONCE] = unsafe { std::mem::zeroed() };
    for message in &mut messages {
        message.msg_hdr.msg_iov = &raw mut part;
        message.msg_hdr.msg_iovlen = 1;
    }
    call(&mut messages)
}
