//! Two namespaces joined by a veth: our speaker on the test's own thread in one, a daemon in the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use routenet::agent::peering::{Peering, PeeringConfig, PeeringEvent, PeeringStatus};
use routenet_core::bgp::speaker::{
    FilterAnswer, FilterQuestion, LinkPeer, PeerConfig, PeerDetail, PeerSource, PeerStatus, RouteDetail, RouteStatus,
    SpeakerConfig, State,
};
use routenet_core::model::{Cidr, ImportPolicy, InterfaceName};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::support::capture::{Capture, Frame};
use crate::support::{Process, in_fresh_netns, run, wait_for};

pub const OUR_AS: u32 = 65001;
pub const THEIR_AS: u32 = 65002;
pub const OURS: [&str; 2] = ["10.9.0.1", "fd09::1"];
pub const THEIRS: [&str; 2] = ["10.9.0.2", "fd09::2"];
/// How long daemons may take for what takes them a second or two.
pub const LIMIT: Duration = Duration::from_secs(40);

pub fn cidr(text: &str) -> Cidr {
    text.parse().expect("a CIDR")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Our addresses on the link to the namespace of this number.
pub fn ours(number: usize) -> [String; 2] {
    ends(number).map(|net| format!("{net}1"))
}

/// The addresses at its far end.
pub fn theirs(number: usize) -> [String; 2] {
    ends(number).map(|net| format!("{net}2"))
}

fn ends(number: usize) -> [String; 2] {
    let six = if number == 0 { "fd09::".to_string() } else { format!("fd09:0:0:{number}::") };
    [format!("10.9.{number}."), six]
}

/// A route as a table shows it, in one form for all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub next_hop: Option<IpAddr>,
    pub as_path: Vec<u32>,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    /// `65002:7`
    pub communities: BTreeSet<String>,
    /// `65002:1:2`
    pub large: BTreeSet<String>,
    /// `rt:65002:9`
    pub extended: BTreeSet<String>,
    pub originator: Option<Ipv4Addr>,
    pub clusters: Vec<Ipv4Addr>,
    pub otc: Option<u32>,
}

/// What each daemon says of what it announces; over eBGP without the LOCAL_PREF.
pub const MED: u32 = 50;
pub const LOCAL_PREF: u32 = 150;
pub const COMMUNITY: &str = "65002:7";
pub const LARGE_COMMUNITY: &str = "65002:1:2";
pub const ROUTE_TARGET: &str = "65002:9";

/// The numbers of an AS_PATH in words.
pub fn numbers(words: &str) -> Vec<u32> {
    words.split_whitespace().map(|number| number.parse().expect("an AS number")).collect()
}

/// A daemon that speaks BGP, in a namespace that is joined to ours.
pub trait Neighbor {
    /// Whether its session with us is up.
    fn established(&self) -> bool;
    /// What it learned from us, with all that it shows of it.
    fn table(&self) -> BTreeMap<Cidr, Told>;
    /// The same: the next hop and the AS path of each prefix.
    fn learned(&self) -> BTreeMap<Cidr, (IpAddr, Vec<u32>)> {
        let table = self.table().into_iter();
        table.map(|(prefix, told)| (prefix, (told.next_hop.expect("a next hop"), told.as_path))).collect()
    }
    /// Withdraws all that it announces.
    fn withdraw_all(&self);
    /// Ends it without a chance to say anything.
    fn kill(&mut self);
    /// After [`Neighbor::kill`]: again, as one who has restarted.
    fn start(&mut self);
    /// Ends the session in an orderly way: it says Cease.
    fn shut(&self);
    /// Why the last session ended, in its own words.
    fn last_error(&self) -> String;
    /// A command in its namespace.
    fn command(&self, program: &str) -> Command;
}

/// A namespace that lives as long as this value.
pub struct Namespace {
    holder: Process,
    /// Our end of the link.
    pub near: String,
    /// Our and its addresses on the link, IPv4 and IPv6.
    pub ours: [String; 2],
    pub theirs: [String; 2],
}

impl Namespace {
    /// One joined to the present namespace: `us` and its number here, `them0` there, both with addresses. What it has no
    /// route to it sends to us.
    pub fn joined(number: usize) -> Namespace {
        let near = format!("us{number}");
        let holder =
            Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().expect("unshare (util-linux)");
        let holder = Process(holder);
        let pid = holder.0.id();
        let own = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        wait_for("the other namespace", LIMIT, || {
            std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs != own)
        });
        let pid = pid.to_string();
        let namespace = Namespace { holder, near: near.clone(), ours: ours(number), theirs: theirs(number) };
        run("ip", &["link", "add", &near, "type", "veth", "peer", "name", "them0", "netns", &pid]);
        run("ip", &["address", "add", &format!("{}/24", namespace.ours[0]), "dev", &near]);
        run("ip", &["address", "add", &format!("{}/64", namespace.ours[1]), "dev", &near, "nodad"]);
        run("ip", &["link", "set", &near, "up"]);
        namespace.run("ip", &["link", "set", "lo", "up"]);
        namespace.run("ip", &["address", "add", &format!("{}/24", namespace.theirs[0]), "dev", "them0"]);
        namespace.run("ip", &["address", "add", &format!("{}/64", namespace.theirs[1]), "dev", "them0", "nodad"]);
        namespace.run("ip", &["link", "set", "them0", "up"]);
        namespace.run("ip", &["route", "add", "default", "via", &namespace.ours[0]]);
        namespace.run("ip", &["-6", "route", "add", "default", "via", &namespace.ours[1]]);
        namespace
    }

    /// After our end was deleted, and its with it: the link anew, with link-local addresses alone.
    pub fn rejoin(&self) {
        let pid = self.holder.0.id().to_string();
        run("ip", &["link", "add", &self.near, "type", "veth", "peer", "name", "them0", "netns", &pid]);
        run("ip", &["link", "set", &self.near, "up"]);
        self.run("ip", &["link", "set", "them0", "up"]);
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.0.id())).arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// What a step that makes sockets or threads makes, it makes inside.
    pub fn inside<T>(&self, step: impl FnOnce() -> T) -> T {
        let own = std::fs::File::open("/proc/thread-self/ns/net").expect("a namespace");
        let theirs = std::fs::File::open(format!("/proc/{}/ns/net", self.holder.0.id())).expect("a namespace");
        setns(theirs, CloneFlags::CLONE_NEWNET).expect("root");
        let made = step();
        setns(own, CloneFlags::CLONE_NEWNET).expect("root");
        made
    }

    pub fn run(&self, program: &str, args: &[&str]) {
        let status = self.command(program).args(args).status().expect("nsenter (util-linux)");
        assert!(status.success(), "{program} {args:?}: {status}");
    }
}

/// The link-local address of an interface, there or here, once it may be used.
pub fn link_local(namespace: Option<&Namespace>, interface: &str) -> String {
    let mut found = String::new();
    wait_for(&format!("a link-local address of {interface}"), LIMIT, || {
        let mut command = namespace.map_or_else(|| Command::new("ip"), |namespace| namespace.command("ip"));
        command.args(["-6", "-o", "address", "show", "dev", interface, "scope", "link", "-tentative"]);
        let output = command.output().expect("ip (iproute2)");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        found = text.split_whitespace().nth(3).and_then(|net| net.split('/').next()).unwrap_or_default().to_string();
        !found.is_empty()
    });
    found
}

/// A neighbour of ours that is known by an interface; by its address there, if one is given.
pub fn link_peer(interface: &str, address: Option<&str>, as_number: u32) -> LinkPeer {
    LinkPeer {
        interface: InterfaceName::new(interface).expect("a name"),
        address: address.map(|address| address.parse().expect("an address")),
        peer: PeerConfig { local_address: None, ..peer(interface, as_number, OURS[1]) },
    }
}

/// Our side, with neighbours that are known by interfaces, and without an address that they could reach.
pub fn on_links(links: &[LinkPeer]) -> SpeakerConfig {
    SpeakerConfig { peers: BTreeMap::new(), links: links.to_vec(), ..speaker(0, THEIR_AS) }
}

/// Our speaker, and what its kernel would have.
pub struct Us {
    runtime: Runtime,
    pub peering: Peering,
    events: mpsc::Receiver<PeeringEvent>,
    pub kernel: BTreeMap<Cidr, Vec<IpAddr>>,
    pub converged: bool,
}

/// A neighbour of ours with everything let in.
pub fn peer(name: &str, as_number: u32, own: &str) -> PeerConfig {
    PeerConfig {
        local_address: Some(ip(own)),
        ..PeerConfig::new(PeerSource::Config, name, Some(as_number), ImportPolicy::All)
    }
}

/// Our side, with one neighbour at the far end, over IPv4 (0) or IPv6 (1).
pub fn speaker(transport: usize, their_as: u32) -> SpeakerConfig {
    SpeakerConfig {
        as_number: OUR_AS,
        router_id: Ipv4Addr::new(10, 9, 0, 1),
        address4: Some(ip(OURS[0])),
        address6: Some(ip(OURS[1])),
        connect_retry: Duration::from_secs(1),
        peers: BTreeMap::from([(ip(THEIRS[transport]), peer("them", their_as, OURS[transport]))]),
        ..SpeakerConfig::default()
    }
}

/// One more neighbour of ours, at the far end of the link of this number; the first one is 0.
pub fn add<'a>(
    config: &'a mut SpeakerConfig,
    name: &str,
    number: usize,
    family: usize,
    as_number: u32,
) -> &'a mut PeerConfig {
    let address = ip(&theirs(number)[family]);
    config.peers.entry(address).or_insert_with(|| peer(name, as_number, &ours(number)[family]))
}

impl Us {
    pub fn start(speaker: SpeakerConfig, restarting: bool) -> Us {
        Us::spawn(&["[::]:179"], speaker, restarting, &[])
    }

    pub fn start_at(listen: &[&str], speaker: SpeakerConfig, restarting: bool) -> Us {
        Us::spawn(listen, speaker, restarting, &[])
    }

    /// With monitoring stations.
    pub fn watched(speaker: SpeakerConfig, stations: &[SocketAddr]) -> Us {
        Us::spawn(&["[::]:179"], speaker, false, stations)
    }

    fn spawn(listen: &[&str], speaker: SpeakerConfig, restarting: bool, stations: &[SocketAddr]) -> Us {
        let listen = listen.iter().map(|at| at.parse::<SocketAddr>().expect("an address and a port")).collect();
        let stations = stations.to_vec();
        let (peering, events) =
            Peering::spawn(PeeringConfig { listen, restarting, resolve: false, stations, name: "us".into(), speaker })
                .expect("a thread");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Us { runtime, peering, events, kernel: BTreeMap::new(), converged: false }
    }

    pub fn announce(&self, prefixes: &[&str]) {
        self.peering.originate(prefixes.iter().map(|prefix| (cidr(prefix), true)).collect());
    }

    pub fn withdraw(&self, prefixes: &[&str]) {
        self.peering.originate(prefixes.iter().map(|prefix| (cidr(prefix), false)).collect());
    }

    pub fn status(&self) -> PeeringStatus {
        self.runtime.block_on(self.peering.status()).expect("it runs")
    }

    pub fn peer(&self, address: &str) -> PeerStatus {
        let address = ip(address);
        self.status().peers.into_iter().find(|peer| peer.address == address).expect("a neighbour")
    }

    pub fn established(&self, address: &str) -> bool {
        self.peer(address).state == State::Established
    }

    pub fn routes(&self) -> Vec<RouteStatus> {
        self.runtime.block_on(self.peering.routes()).expect("it runs")
    }

    pub fn test_filter(&self, question: FilterQuestion) -> FilterAnswer {
        self.runtime.block_on(self.peering.test_filter(question)).expect("it runs").expect("a neighbour")
    }

    /// What the neighbour told us, from our own RIB: next hop, AS path.
    pub fn learned(&self) -> BTreeMap<Cidr, (IpAddr, String)> {
        let learned = self.routes().into_iter().filter(|route| route.best);
        learned.filter_map(|route| Some((route.prefix, (route.next_hop?, route.as_path)))).collect()
    }

    /// All that we know of the routes to this prefix, the best first.
    pub fn route(&self, prefix: &str) -> Vec<RouteDetail> {
        self.runtime.block_on(self.peering.route(cidr(prefix))).expect("it runs")
    }

    /// The table as an MRT file has it.
    pub fn dump(&self) -> Vec<u8> {
        let portion = |dump| self.runtime.block_on(self.peering.dump(dump, 1_700_000_000)).expect("it runs");
        let mut bytes = Vec::new();
        let mut next = portion(None);
        while let Some((dump, more)) = next {
            bytes.extend(more);
            next = portion(Some(dump));
        }
        bytes
    }

    pub fn neighbor(&self, address: &str) -> PeerDetail {
        self.runtime.block_on(self.peering.neighbor(address.to_string())).expect("it runs").expect("a neighbour")
    }

    /// The last NOTIFICATION of either side, or what else ended the last session.
    pub fn last_error(&self, address: &str) -> String {
        self.peer(address).last_error.map(|(_, why)| why).unwrap_or_default()
    }

    /// The best learned routes of our own RIB, in the form of the neighbours' tables.
    pub fn table(&self) -> BTreeMap<Cidr, Told> {
        let best = self.routes().into_iter().filter(|route| route.best && route.from.is_some());
        best.map(|route| (route.prefix, told(&self.route(&route.prefix.to_string())[0]))).collect()
    }

    /// Takes in what the agent would hear.
    pub fn listen(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                PeeringEvent::Routes(changes) => {
                    for (prefix, hops) in changes {
                        if hops.is_empty() {
                            self.kernel.remove(&prefix);
                        } else {
                            self.kernel.insert(prefix, hops.to_vec());
                        }
                    }
                }
                PeeringEvent::Converged => self.converged = true,
                PeeringEvent::Gateways(_) | PeeringEvent::Peer { .. } => {}
            }
        }
    }

    /// Without a NOTIFICATION, as on SIGTERM; for the neighbour it is the same as a kill.
    pub fn stop(self) {
        self.runtime.block_on(self.peering.stop());
    }
}

fn told(detail: &RouteDetail) -> Told {
    Told {
        next_hop: detail.route.next_hop,
        as_path: numbers(&detail.route.as_path),
        med: detail.route.med,
        local_pref: detail.route.local_pref,
        communities: detail.route.communities.iter().cloned().collect(),
        large: detail.large_communities.iter().map(|(global, one, two)| format!("{global}:{one}:{two}")).collect(),
        extended: detail.extended_communities.iter().map(extended_community).collect(),
        originator: detail.originator_id,
        clusters: detail.cluster_list.clone(),
        otc: detail.otc,
    }
}

/// RFC 4360 section 4: a route target of a two-octet AS in words, others in hex.
fn extended_community(bytes: &[u8; 8]) -> String {
    match *bytes {
        [0, 2, a, b, c, d, e, f] => {
            format!("rt:{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
        }
        other => other.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// The port of BGP.
pub const PORT: u16 = 179;

/// All that we send in a fresh namespace, from the first packet to the last, which tshark has to find sound.
fn captured(test: impl FnOnce() + Send + 'static) -> Vec<Frame> {
    let ours: Vec<IpAddr> = (0..4).flat_map(ours).map(|address| ip(&address)).collect();
    in_fresh_netns(move || {
        let capture = Capture::start(PORT, move |(source, destination)| {
            ours.contains(&source.ip()) && [source.port(), destination.port()].contains(&PORT)
        });
        test();
        capture.sound_frames()
    })
}

/// Runs a test in a fresh namespace that has another one joined to it; answers what we sent.
pub fn between(test: impl FnOnce(Namespace) + Send + 'static) -> Vec<Frame> {
    captured(move || test(Namespace::joined(0)))
}

/// The same with more of them: what they have for each other goes through us.
pub fn among<const N: usize>(test: impl FnOnce([Namespace; N]) + Send + 'static) -> Vec<Frame> {
    captured(move || {
        for family in ["ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{family}"), "1").expect("a setting of this namespace");
        }
        test(std::array::from_fn(Namespace::joined));
    })
}
