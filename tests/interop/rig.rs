//! Two namespaces joined by a veth: our speaker on the test's own thread in one, a daemon in the other.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use routenet::agent::peering::{Peering, PeeringConfig, PeeringEvent, PeeringStatus};
use routenet_core::bgp::speaker::{
    FilterAnswer, FilterQuestion, PeerConfig, PeerSource, PeerStatus, RouteStatus, SpeakerConfig, State,
};
use routenet_core::model::{Cidr, ImportPolicy};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

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

/// A daemon that speaks BGP, in a namespace that is joined to ours.
pub trait Neighbor {
    /// Whether its session with us is up.
    fn established(&self) -> bool;
    /// What it learned from us: the next hop and the AS path of each prefix.
    fn learned(&self) -> BTreeMap<Cidr, (IpAddr, Vec<u32>)>;
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
}

impl Namespace {
    /// One joined to the present namespace: `us0` here, `them0` there, both with addresses.
    pub fn joined() -> Namespace {
        let holder =
            Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().expect("unshare (util-linux)");
        let holder = Process(holder);
        let pid = holder.0.id();
        let own = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        wait_for("the other namespace", LIMIT, || {
            std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs != own)
        });
        let pid = pid.to_string();
        let namespace = Namespace { holder };
        run("ip", &["link", "add", "us0", "type", "veth", "peer", "name", "them0", "netns", &pid]);
        run("ip", &["address", "add", &format!("{}/24", OURS[0]), "dev", "us0"]);
        run("ip", &["address", "add", &format!("{}/64", OURS[1]), "dev", "us0", "nodad"]);
        run("ip", &["link", "set", "us0", "up"]);
        namespace.run("ip", &["link", "set", "lo", "up"]);
        namespace.run("ip", &["address", "add", &format!("{}/24", THEIRS[0]), "dev", "them0"]);
        namespace.run("ip", &["address", "add", &format!("{}/64", THEIRS[1]), "dev", "them0", "nodad"]);
        namespace.run("ip", &["link", "set", "them0", "up"]);
        namespace
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.0.id())).arg(program);
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, program: &str, args: &[&str]) {
        let status = self.command(program).args(args).status().expect("nsenter (util-linux)");
        assert!(status.success(), "{program} {args:?}: {status}");
    }
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
        name: name.to_string(),
        source: PeerSource::Config,
        port: 179,
        as_number,
        passive: false,
        import: ImportPolicy::All,
        hold_time: None,
        local_address: Some(ip(own)),
        transport: Default::default(),
        options: Default::default(),
        bfd: None,
        filters: Default::default(),
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
            Peering::spawn(PeeringConfig { listen, restarting, stations, name: "us".into(), speaker })
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

    /// Takes in what the agent would hear.
    pub fn listen(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                PeeringEvent::Routes(changes) => {
                    for (prefix, hops) in changes {
                        if hops.is_empty() {
                            self.kernel.remove(&prefix);
                        } else {
                            self.kernel.insert(prefix, hops);
                        }
                    }
                }
                PeeringEvent::Converged => self.converged = true,
                PeeringEvent::Peer { .. } => {}
            }
        }
    }

    /// Without a NOTIFICATION, as on SIGTERM; for the neighbour it is the same as a kill.
    pub fn stop(self) {
        self.runtime.block_on(self.peering.stop());
    }
}

/// Runs a test in a fresh namespace that has another one joined to it.
pub fn between(test: impl FnOnce(Namespace) + Send + 'static) {
    in_fresh_netns(move || test(Namespace::joined()));
}
