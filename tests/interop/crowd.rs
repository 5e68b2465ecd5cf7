//! An unnumbered link with more routers than one: a forged crowd neither shuts out the true neighbour nor takes its session.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use routenet_core::bgp::speaker::State;
use routenet_core::model::scope::unscoped;
use socket2::{Domain, Protocol, Socket, Type};

use crate::frr::Frr;
use crate::rig::{LIMIT, Neighbor, THEIR_AS, Us, between, cidr, link_local, link_peer, on_links};
use crate::support::hosts::Namespace;
use crate::support::{run, wait_for};

const FOREIGN: [&str; 2] = ["198.51.100.0/24", "2001:db8:51::/48"];
/// More than are remembered.
const FORGED: u16 = 20;
/// A router advertisement (RFC 4861 4.2) of a router that is nobody's default router; the kernel sums it up.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn forged(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, number)
}

/// All of them announce themselves twice a second, until it is dropped.
struct Forgers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _namespace: Namespace,
}

impl Forgers {
    /// On a port of this bridge.
    fn on(bridge: &str) -> Forgers {
        let namespace = Namespace::new();
        let pid = namespace.pid().to_string();
        run("ip", &["link", "add", "crowd", "type", "veth", "peer", "name", "forge", "netns", &pid]);
        run("ip", &["link", "set", "crowd", "master", bridge, "up"]);
        // They are heard by us, and not by the true one, which would fall for them.
        run("ip", &["link", "set", "crowd", "type", "bridge_slave", "isolated", "on"]);
        namespace.run("ip", &["link", "set", "forge", "up"]);
        for number in 0..FORGED {
            namespace.run("ip", &["address", "add", &format!("{}/64", forged(number)), "dev", "forge", "nodad"]);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (namespace.path(), stop.clone());
        let thread = std::thread::spawn(move || {
            let inside = std::fs::File::open(path).expect("a namespace");
            setns(inside.as_fd(), CloneFlags::CLONE_NEWNET).expect("root");
            let index = if_nametoindex("forge").expect("an interface");
            let sockets: Vec<Socket> = (0..FORGED)
                .map(|number| {
                    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).expect("root");
                    socket.set_multicast_hops_v6(255).expect("a hop limit");
                    socket.bind(&SocketAddrV6::new(forged(number), 0, 0, index).into()).expect("its address");
                    socket
                })
                .collect();
            let everybody = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index).into();
            while !stopped.load(Ordering::Relaxed) {
                for socket in &sockets {
                    // Its link may not be up yet, or no more.
                    let _ = socket.send_to(&ADVERTISEMENT, &everybody);
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Forgers { stop, thread: Some(thread), _namespace: namespace }
    }
}

impl Drop for Forgers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Those that announce themselves on the link, and who is taken for the neighbour.
fn heard(us: &Us) -> (Vec<Ipv6Addr>, Option<Ipv6Addr>) {
    let crowd = us.status().crowds.into_iter().next();
    crowd.map(|crowd| (crowd.routers, crowd.neighbor)).unwrap_or_default()
}

#[test]
fn a_crowd_of_forged_routers_shuts_out_nobody() {
    between(|namespace| {
        // Our end of the link is a bridge, so that others can be on it.
        run("ip", &["link", "add", "shared", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"]);
        run("ip", &["-6", "address", "flush", "dev", &namespace.near]);
        run("ip", &["link", "set", &namespace.near, "master", "shared"]);
        run("ip", &["link", "set", &namespace.near, "type", "bridge_slave", "isolated", "on"]);
        run("ip", &["link", "set", "shared", "up"]);
        let us = Us::start(on_links(&[link_peer("shared", None, THEIR_AS)]), false);
        let theirs: Ipv6Addr = link_local(Some(&namespace), "them0").parse().expect("an address");
        let _forgers = Forgers::on("shared");
        wait_for("the crowd", LIMIT, || heard(&us).0.len() == 16);
        assert!(heard(&us).1.is_some_and(|neighbor| neighbor != theirs), "one of the crowd is taken for the neighbour");

        let frr = Frr::unnumbered(namespace, THEIR_AS, &FOREIGN, "");
        let established = || {
            let peers = us.status().peers;
            peers.iter().any(|peer| unscoped(peer.address).0 == theirs && peer.state == State::Established)
        };
        wait_for("the session with the true one", 3 * LIMIT, || established() && frr.established());
        wait_for("its route", LIMIT, || us.learned().contains_key(&cidr(FOREIGN[0])));
        let (sessions, mut seen) = (us.status().peers[0].sessions, BTreeSet::new());

        // While others of the crowd come and go among the 16 that are remembered, it stays there. That each has its chance is
        // a matter of lots, and so of the unit tests.
        wait_for("newcomers to be heard", 3 * LIMIT, || {
            let (routers, neighbor) = heard(&us);
            assert_eq!(neighbor, Some(theirs));
            seen.extend(routers);
            seen.len() >= 16 + 3
        });
        // Whoever connects need not be among those that are remembered.
        assert!(established());
        assert_eq!(us.status().peers.iter().map(|peer| peer.sessions).collect::<Vec<_>>(), [sessions]);
    });
}
