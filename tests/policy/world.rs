//! A host with workloads behind real veths, and somebody outside: namespaces, addresses, routes, listeners.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use routenet::plane::iptables::Backend;
use routenet::plane::link::LinkPlane;
use routenet::plane::rules::{RulesConfig, RulesPlane};
use routenet_core::desired::{FactDelta, GATEWAY4, GATEWAY6, Link, Settings};
use routenet_core::model::config::{Failsafe, FailsafePort};
use routenet_core::model::{
    Endpoint, EndpointKey, InterfaceName, Isolation, Labels, Network, NetworkName, Node, NodeName, Object, Protocol,
};
use routenet_core::policy::PolicyEngine;

use crate::support::run;

/// The ports that everybody listens on.
pub const PORTS: [u16; 2] = [80, 81];

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace of its own, and a thread that works in it.
pub struct Place {
    jobs: Option<Sender<Job>>,
    worker: Option<JoinHandle<()>>,
    pub netns: String,
}

impl Place {
    pub fn new() -> Place {
        let (jobs, inbox) = channel::<Job>();
        let (tell, told) = channel();
        let worker = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace (run as root)");
            run("ip", &["link", "set", "lo", "up"]);
            let path = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
            tell.send(path).expect("the test waits");
            inbox.into_iter().for_each(|job| job());
        });
        let netns = told.recv().expect("a namespace");
        Place { jobs: Some(jobs), worker: Some(worker), netns }
    }

    /// Starts a job inside; its outcome comes over the channel.
    pub fn start<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
        let (tell, told) = channel();
        let job: Job = Box::new(move || {
            // Nobody may care for the outcome.
            let _ = tell.send(job());
        });
        self.jobs.as_ref().expect("open until dropped").send(job).expect("the place stands");
        told
    }

    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.start(job).recv().expect("the job ended well")
    }

    pub fn ip(&self, words: &str) {
        let words = words.to_string();
        self.run(move || ip(&words));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let ended = self.worker.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("a worker").expect("the place's jobs ended well");
        }
    }
}

pub fn ip(words: &str) {
    run("ip", &words.split_whitespace().collect::<Vec<_>>());
}

/// Takes connections and echoes datagrams on [`PORTS`] of some addresses, in the namespace of the thread that made it.
pub struct Listener {
    /// Every datagram that came.
    pub seen: Arc<Mutex<BTreeSet<String>>>,
    _connections: Vec<TcpListener>,
    stop: Arc<AtomicBool>,
    echo: Option<JoinHandle<()>>,
}

impl Listener {
    pub fn new(addresses: &[IpAddr]) -> Listener {
        Listener::on(addresses, &PORTS)
    }

    /// On these ports instead.
    pub fn on(addresses: &[IpAddr], ports: &[u16]) -> Listener {
        let places: Vec<SocketAddr> =
            addresses.iter().flat_map(|address| ports.iter().map(|port| SocketAddr::new(*address, *port))).collect();
        let connections = places.iter().map(|place| TcpListener::bind(place).expect("a free port")).collect();
        let sockets: Vec<UdpSocket> = places.iter().map(|place| UdpSocket::bind(place).expect("a free port")).collect();
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let echo = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || echo(&sockets, &seen, &stop))
        };
        Listener { seen, _connections: connections, stop, echo: Some(echo) }
    }
}

fn echo(sockets: &[UdpSocket], seen: &Mutex<BTreeSet<String>>, stop: &AtomicBool) {
    let mut buffer = [0; 256];
    while !stop.load(Ordering::Relaxed) {
        let mut ready: Vec<PollFd> = sockets.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut ready, PollTimeout::from(50u8)).expect("poll");
        for (socket, fd) in sockets.iter().zip(&ready) {
            if !fd.any().unwrap_or_default() {
                continue;
            }
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            seen.lock().expect("no echo panics").insert(text);
            // The sender may be gone, or forged.
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.echo.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("a thread").expect("the echo ended well");
        }
    }
}

/// A workload of this host, plugged in.
pub struct Workload {
    pub endpoint: Endpoint,
    pub listener: Listener,
    pub place: Place,
}

/// The host is the namespace of the test's own thread.
pub struct World {
    pub workloads: Vec<Workload>,
    /// A workload of another node, with its addresses outside.
    pub remote: Endpoint,
    pub outside: Place,
    pub engine: PolicyEngine,
    pub rules: RulesPlane,
    pub links: LinkPlane,
    pub host_listener: Listener,
    _outside_listener: Listener,
}

pub const HOST: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
pub const STRANGER: [&str; 2] = ["198.51.100.7", "2001:db8:1::7"];

pub fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

pub fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a name")
}

pub fn endpoint(
    on: &str,
    network: &str,
    namespace: &str,
    name: &str,
    host_part: u8,
    labels: &[(&str, &str)],
) -> Endpoint {
    Endpoint {
        key: EndpointKey {
            network: NetworkName::new(network).expect("a name"),
            container_id: name.to_string(),
            ifname: InterfaceName::new("eth0").expect("a name"),
        },
        node: node(on),
        namespace: namespace.to_string(),
        name: name.to_string(),
        labels: labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<Labels>(),
        service_account: None,
        profiles: None,
        ports: Vec::new(),
        addresses: addresses(&[&format!("10.65.0.{host_part}"), &format!("fd65::{host_part:x}")]),
        interface: None,
        attachment: None,
    }
}

pub fn endpoint_fact(endpoint: &Endpoint) -> FactDelta {
    FactDelta::Endpoint { node: endpoint.node.clone(), key: endpoint.key.clone(), endpoint: Some(endpoint.clone()) }
}

pub fn network(name: &str, isolation: Isolation) -> FactDelta {
    let name = NetworkName::new(name).expect("a name");
    FactDelta::Network(name.clone(), Some(Network { name, pools: Vec::new(), isolation }))
}

/// `n1`, whose addresses these are.
pub fn this_node(ipv4: Ipv4Addr, ipv6: Option<Ipv6Addr>) -> FactDelta {
    let node = Node {
        name: node("n1"),
        labels: Labels::new(),
        ipv4: Some(ipv4),
        ipv6,
        as_number: 64512,
        router_id: ipv4,
        bgp_port: 179,
        mesh: true,
        incarnation: String::new(),
    };
    FactDelta::Node(node.name.clone(), Some(node))
}

/// An engine of `n1` that knows nothing yet.
pub fn engine(ipv4: Ipv4Addr, ipv6: Option<Ipv6Addr>, workload_to_host: bool) -> PolicyEngine {
    let port_nine = FailsafePort { protocol: Protocol::TCP, port: 9, net: None };
    PolicyEngine::new(&Settings {
        address4: Some(ipv4),
        address6: ipv6,
        workload_to_host,
        failsafe: Failsafe { inbound: vec![port_nine], outbound: vec![port_nine] },
        ..Settings::new(node("n1"))
    })
}

/// What an object of policy is to the engine; `keep`: or its going.
pub fn policy_fact(object: Object, keep: bool) -> FactDelta {
    match FactDelta::of_object(object) {
        Ok(fact) if keep => fact,
        Ok(FactDelta::Policy(key, _)) => FactDelta::Policy(key, None),
        Ok(FactDelta::NetworkSet(key, _)) => FactDelta::NetworkSet(key, None),
        other => panic!("no policy: {other:?}"),
    }
}

impl World {
    /// Everything plugged in, and the rules programmed: no policies yet.
    pub fn new(backend: Backend, workload_to_host: bool) -> World {
        let remote = endpoint("n2", "blue", "default", "far", 101, &[("role", "client")]);
        let (outside, outside_listener) = underlay(&remote);
        let host_listener = Listener::new(&addresses(&HOST));
        let links = LinkPlane::spawn().expect("a link plane");
        let locals = [
            endpoint("n1", "blue", "default", "client", 1, &[("role", "client")]),
            endpoint("n1", "blue", "default", "guest", 2, &[("role", "guest")]),
            endpoint("n1", "blue", "default", "web", 3, &[("role", "web")]),
            endpoint("n1", "green", "default", "other", 4, &[("app", "other")]),
            endpoint("n1", "open", "team", "free", 5, &[("app", "free")]),
        ];
        let workloads: Vec<Workload> = locals.into_iter().map(|endpoint| plug(&links, endpoint)).collect();
        let (ipv4, ipv6) = (HOST[0].parse().expect("an address"), HOST[1].parse().ok());
        let mut engine = engine(ipv4, ipv6, workload_to_host);
        let mut facts = vec![
            network("blue", Isolation::Network),
            network("green", Isolation::Network),
            network("open", Isolation::Open),
            this_node(ipv4, ipv6),
            endpoint_fact(&remote),
        ];
        facts.extend(workloads.iter().map(|workload| endpoint_fact(&workload.endpoint)));
        engine.apply(&facts);
        let rules = RulesPlane::spawn(RulesConfig::new(backend)).expect("a rules plane");
        block_on(rules.start(engine.sets(), engine.chains().clone(), engine.hooks())).expect("the kernel takes it");
        World { workloads, remote, outside, engine, rules, links, host_listener, _outside_listener: outside_listener }
    }

    /// Facts to the engine, their outcome to the kernel.
    pub fn apply(&mut self, facts: &[FactDelta]) {
        let delta = self.engine.apply(facts);
        block_on(self.rules.apply(delta)).expect("the kernel takes it");
    }

    pub fn workload(&self, name: &str) -> &Workload {
        self.workloads.iter().find(|workload| workload.endpoint.name == name).expect("a workload of the world")
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// The host's own interface, and whoever is behind it.
fn underlay(remote: &Endpoint) -> (Place, Listener) {
    run("sysctl", &["-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    let outside = Place::new();
    ip(&format!("link add eth0 type veth peer name eth0 netns {}", outside.netns));
    ip("link set eth0 up");
    ip("address add 192.0.2.1/24 dev eth0");
    ip("address add 2001:db8::1/64 dev eth0 nodad");
    outside.ip("link set eth0 up");
    outside.ip("address add 192.0.2.254/24 dev eth0");
    outside.ip("address add 2001:db8::fe/64 dev eth0 nodad");
    outside.ip("route add default via 192.0.2.1");
    outside.ip("-6 route add default via 2001:db8::1");
    let mut all = remote.addresses.clone();
    all.extend(addresses(&STRANGER));
    for address in &all {
        // A tentative address cannot be listened on.
        let nodad = if address.is_ipv6() { "nodad" } else { "" };
        outside.ip(&format!("address add {address} dev lo {nodad}"));
        ip(&format!("route add {address} via {}", if address.is_ipv4() { "192.0.2.254" } else { "2001:db8::fe" }));
    }
    let listener = outside.run(move || Listener::new(&all));
    (outside, listener)
}

fn plug(links: &LinkPlane, endpoint: Endpoint) -> Workload {
    let place = plug_in(links, &endpoint);
    let own = endpoint.addresses.clone();
    let listener = place.run(move || Listener::new(&own));
    Workload { endpoint, listener, place }
}

/// A place with the link and the routes of an endpoint.
pub fn plug_in(links: &LinkPlane, endpoint: &Endpoint) -> Place {
    let place = Place::new();
    let link = Link {
        endpoint: endpoint.key.clone(),
        netns: place.netns.clone(),
        ifname: endpoint.key.ifname.clone(),
        mac: [2, 0x72, 0x6e, 0, 0, 1],
        mtu: 1440,
        addresses: endpoint.addresses.clone(),
        gateway4: GATEWAY4,
        gateway6: GATEWAY6,
        handed_over: false,
        loopback: false,
    };
    block_on(links.create(link)).expect("a link");
    for address in &endpoint.addresses {
        ip(&format!("route add {address} dev {} scope link", endpoint.key.host_interface()));
    }
    place
}
