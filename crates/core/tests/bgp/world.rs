//! Speakers joined by pipes instead of TCP, and a clock that the test turns.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, AfiSafi, Capability, CodecContext, GracefulRestart, Message, Notification, Open};
use routenet_core::model::{Cidr, ImportPolicy};
use routenet_core::time::Time;

pub fn cidr(text: &str) -> Cidr {
    text.parse().expect("a CIDR")
}

/// The address of the `index`-th speaker.
pub fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, index as u8 + 1))
}

pub fn address6(index: usize) -> IpAddr {
    format!("fd00::{}", index + 1).parse().expect("an address")
}

/// A configuration of the `index`-th speaker without neighbours.
pub fn config(index: usize, as_number: u32) -> SpeakerConfig {
    SpeakerConfig {
        as_number,
        router_id: Ipv4Addr::new(10, 0, 0, index as u8 + 1),
        address4: Some(address(index)),
        address6: Some(address6(index)),
        restart_on_notification: true,
        ..SpeakerConfig::default()
    }
}

pub fn neighbor(index: usize, as_number: u32, import: ImportPolicy) -> PeerConfig {
    PeerConfig {
        local_address: Some(address(index)),
        ..PeerConfig::new(PeerSource::Config, format!("s{index}"), Some(as_number), import)
    }
}

/// A pipe's end: whose, and which connection of theirs.
type End = (usize, ConnId);

pub struct Host {
    pub config: SpeakerConfig,
    pub speaker: Option<Speaker>,
    /// Its next hops have to resolve.
    pub asks: bool,
    /// What its kernel would have; it outlives the speaker.
    pub kernel: BTreeMap<Cidr, Vec<IpAddr>>,
    /// What of it the present speaker said.
    fresh: BTreeSet<Cidr>,
    /// Prefixes that its kernel once had and lost, in order.
    pub lost: Vec<Cidr>,
    pub converged: bool,
    pub reports: Vec<(IpAddr, State, Option<String>)>,
    /// What its log would have of malformed UPDATEs, and of routes that no message can hold.
    pub warnings: Vec<Event>,
}

/// A neighbour that the test plays by hand.
pub struct Puppet {
    pub host: usize,
    pub conn: ConnId,
    /// What it agreed on.
    pub context: CodecContext,
    /// What the speaker said to it, decoded.
    pub heard: VecDeque<Message>,
    pub closed: bool,
}

pub struct World {
    pub now: Time,
    pub hosts: Vec<Host>,
    pipes: BTreeMap<End, End>,
    /// Connections that the puppet holds.
    pub puppet: Option<Puppet>,
    /// Pairs that cannot reach each other: what they say is lost.
    cut: BTreeSet<(usize, usize)>,
    /// How many connections were opened.
    pub connects: usize,
}

impl World {
    /// Speakers of these ASes, each a neighbour of every other.
    pub fn mesh(as_numbers: &[u32], import: ImportPolicy) -> World {
        let mut world = World {
            now: Time::ZERO,
            hosts: Vec::new(),
            pipes: BTreeMap::new(),
            puppet: None,
            cut: BTreeSet::new(),
            connects: 0,
        };
        for (index, own) in as_numbers.iter().enumerate() {
            let mut config = config(index, *own);
            for (other, theirs) in as_numbers.iter().enumerate().filter(|(other, _)| *other != index) {
                let peer = PeerConfig { local_address: Some(address(index)), ..neighbor(other, *theirs, import) };
                config.peers.insert(address(other), peer);
            }
            world.add(config);
        }
        world
    }

    pub fn add(&mut self, config: SpeakerConfig) -> usize {
        self.hosts.push(Host {
            config,
            speaker: None,
            asks: false,
            kernel: BTreeMap::new(),
            fresh: BTreeSet::new(),
            lost: Vec::new(),
            converged: false,
            reports: Vec::new(),
            warnings: Vec::new(),
        });
        self.hosts.len() - 1
    }

    /// Starts every speaker, with nothing to announce.
    pub fn start(&mut self) {
        for index in 0..self.hosts.len() {
            self.boot(index, false);
            self.handle(index, Input::Originate(Vec::new()));
        }
        self.settle();
    }

    pub fn boot(&mut self, index: usize, restarting: bool) {
        let host = &mut self.hosts[index];
        let startup = Startup { restarting, seed: index as u64 };
        let mut speaker = Speaker::new(host.config.clone(), startup, self.now);
        if host.asks {
            speaker.ask_for_next_hops();
        }
        host.speaker = Some(speaker);
        host.fresh.clear();
        host.converged = false;
    }

    /// The process dies: its sockets close, nobody says a word.
    pub fn kill(&mut self, index: usize) {
        self.hosts[index].speaker = None;
        let ends: Vec<(End, End)> = self.pipes.iter().map(|(a, b)| (*a, *b)).filter(|(a, _)| a.0 == index).collect();
        for (own, other) in ends {
            self.pipes.remove(&own);
            self.pipes.remove(&other);
            self.handle(other.0, Input::Closed { conn: other.1, why: "reset by peer" });
        }
    }

    /// TCP breaks between the two, while both go on.
    pub fn break_tcp(&mut self, a: usize, b: usize) {
        let between = |from: &End, to: &End| (from.0, to.0) == (a, b);
        let ends: Vec<(End, End)> = self.pipes.iter().map(|(x, y)| (*x, *y)).filter(|(x, y)| between(x, y)).collect();
        for (one, other) in ends {
            for end in [one, other] {
                self.pipes.remove(&end);
                self.handle(end.0, Input::Closed { conn: end.1, why: "reset by peer" });
            }
        }
    }

    /// What either says to the other is lost, and no connection comes about.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut.extend([(a, b), (b, a)]);
    }

    pub fn mend(&mut self) {
        self.cut.clear();
    }

    pub fn handle(&mut self, index: usize, input: Input<'_>) {
        if let Some(speaker) = &mut self.hosts[index].speaker {
            speaker.handle(input, self.now);
        }
    }

    /// What it asks about next hops.
    pub fn questions(&mut self, index: usize) -> BTreeMap<IpAddr, bool> {
        self.hosts[index].speaker.as_mut().map(Speaker::poll_next_hops).unwrap_or_default()
    }

    pub fn announce(&mut self, index: usize, prefixes: &[&str]) {
        self.handle(index, Input::Originate(prefixes.iter().map(|prefix| (cidr(prefix), true)).collect()));
    }

    pub fn withdraw(&mut self, index: usize, prefixes: &[&str]) {
        self.handle(index, Input::Originate(prefixes.iter().map(|prefix| (cidr(prefix), false)).collect()));
    }

    pub fn speaker(&self, index: usize) -> &Speaker {
        self.hosts[index].speaker.as_ref().expect("it runs")
    }

    pub fn status(&self, index: usize, peer: usize) -> PeerStatus {
        let all = self.speaker(index).status(self.now);
        all.into_iter().find(|status| status.address == address(peer)).expect("a neighbour")
    }

    pub fn kernel(&self, index: usize) -> Vec<String> {
        let lines = self.hosts[index].kernel.iter().map(|(prefix, via)| {
            let via: Vec<String> = via.iter().map(IpAddr::to_string).collect();
            format!("{prefix} via {}", via.join(" "))
        });
        lines.collect()
    }

    /// Carries everything that is on its way, without letting time pass.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for index in 0..self.hosts.len() {
                moved |= self.act(index);
            }
            for index in 0..self.hosts.len() {
                moved |= self.carry(index);
                self.read_best(index);
            }
            if !moved {
                return;
            }
        }
        panic!("they never come to rest");
    }

    /// Lets time pass, with every timer run when it is due.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        self.settle();
        loop {
            let deadlines = self.hosts.iter().filter_map(|host| host.speaker.as_ref()?.next_deadline());
            let Some(next) = deadlines.min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            for index in 0..self.hosts.len() {
                let due = self.hosts[index].speaker.as_ref().and_then(Speaker::next_deadline);
                if due.is_some_and(|due| due <= self.now) {
                    self.handle(index, Input::Timeout);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    pub fn seconds(&mut self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }

    fn act(&mut self, index: usize) -> bool {
        let mut events = Vec::new();
        if let Some(speaker) = &mut self.hosts[index].speaker {
            events.extend(std::iter::from_fn(|| speaker.poll_event()));
        }
        let moved = !events.is_empty();
        for event in events {
            match event {
                Event::Connect { conn, remote, .. } => self.connect(index, conn, remote.ip()),
                Event::Close { conn, last_words } => self.close(index, conn, &last_words),
                Event::State { peer, state, why, .. } => self.hosts[index].reports.push((peer, state, why)),
                warning @ (Event::Malformed { .. } | Event::TooLong { .. }) => self.hosts[index].warnings.push(warning),
            }
        }
        moved
    }

    fn connect(&mut self, from: usize, conn: ConnId, remote: IpAddr) {
        self.connects += 1;
        let to =
            (0..self.hosts.len()).find(|index| address(*index) == remote).filter(|to| !self.cut.contains(&(from, *to)));
        let now = self.now;
        let accepted = to.and_then(|to| {
            let there = self.hosts[to].speaker.as_mut()?.accept(address(from), address(to), now)?;
            Some((to, there))
        });
        match accepted {
            Some(there) => {
                self.pipes.insert((from, conn), there);
                self.pipes.insert(there, (from, conn));
                self.handle(from, Input::Connected { conn, local: address(from) });
            }
            None => self.handle(from, Input::Closed { conn, why: "connection refused" }),
        }
    }

    fn close(&mut self, index: usize, conn: ConnId, last_words: &[u8]) {
        if let Some(puppet) = self.puppet.as_mut().filter(|puppet| (puppet.host, puppet.conn) == (index, conn)) {
            puppet.hear(last_words);
            puppet.closed = true;
        }
        let Some(other) = self.pipes.remove(&(index, conn)) else { return };
        self.pipes.remove(&other);
        if !self.cut.contains(&(index, other.0)) {
            self.handle(other.0, Input::Received { conn: other.1, bytes: last_words });
            self.handle(other.0, Input::Closed { conn: other.1, why: "closed by the neighbour" });
        }
    }

    /// What the connections of a speaker have to say reaches the other ends, cut where TCP might cut it.
    fn carry(&mut self, index: usize) -> bool {
        let mut moved = false;
        let puppet = self.puppet.as_ref().filter(|p| p.host == index && !p.closed).map(|p| p.conn);
        let own: Vec<ConnId> = self.pipes.keys().filter(|end| end.0 == index).map(|end| end.1).chain(puppet).collect();
        let Some(speaker) = &mut self.hosts[index].speaker else { return false };
        let waiting = speaker.waiting(|_| true, self.now);
        let forgotten = own.iter().find(|conn| speaker.wants_transmit(**conn) && !waiting.contains(conn));
        assert_eq!(forgotten, None, "there is something to write on it");
        let idle = waiting.iter().find(|conn| !speaker.wants_transmit(**conn));
        assert_eq!(idle, None, "there is nothing to write on it");
        for conn in own.into_iter().filter(|conn| waiting.contains(conn)) {
            let now = self.now;
            let Some(speaker) = &mut self.hosts[index].speaker else { continue };
            let mut bytes = Vec::new();
            speaker.poll_transmit(conn, &mut bytes, 2000, now);
            moved = true;
            if let Some(other) = self.pipes.get(&(index, conn)).copied() {
                if !self.cut.contains(&(index, other.0)) {
                    for piece in bytes.chunks(777) {
                        self.handle(other.0, Input::Received { conn: other.1, bytes: piece });
                    }
                }
            } else if let Some(puppet) = &mut self.puppet {
                puppet.hear(&bytes);
            }
        }
        moved
    }

    fn read_best(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let Some(speaker) = &mut host.speaker else { return };
        while let Some(best) = speaker.poll_best(7) {
            match best {
                BestPaths::Changed(changes) => {
                    for (prefix, hops) in changes {
                        host.fresh.insert(prefix);
                        if hops.is_empty() {
                            host.lost.extend(host.kernel.remove(&prefix).map(|_| prefix));
                        } else {
                            host.kernel.insert(prefix, hops.to_vec());
                        }
                    }
                }
                BestPaths::Converged => {
                    host.converged = true;
                    host.kernel.retain(|prefix, _| host.fresh.contains(prefix));
                }
            }
        }
    }

    /// The puppet connects to a speaker, as the neighbour of this address.
    pub fn puppet_connects(&mut self, host: usize, from: IpAddr) {
        self.puppet_connects_to(host, from, address(host));
    }

    /// The same, to this address of the speaker.
    pub fn puppet_connects_to(&mut self, host: usize, from: IpAddr, to: IpAddr) {
        let now = self.now;
        let speaker = self.hosts[host].speaker.as_mut().expect("it runs");
        let conn = speaker.accept(from, to, now).expect("it is let in");
        self.puppet = Some(Puppet { host, conn, context: puppet_context(), heard: VecDeque::new(), closed: false });
        self.settle();
    }

    pub fn puppet_says(&mut self, bytes: &[u8]) {
        let (host, conn) = self.puppet.as_ref().map(|puppet| (puppet.host, puppet.conn)).expect("a puppet");
        self.handle(host, Input::Received { conn, bytes });
        self.settle();
    }

    /// OPEN and KEEPALIVE, up to Established.
    pub fn puppet_establishes(&mut self, open: &Open) {
        self.puppet_says(&wire::encode_open(open));
        self.puppet_says(&wire::encode_keepalive());
    }

    /// Its TCP breaks.
    pub fn puppet_breaks(&mut self) {
        let (host, conn) = self.puppet.take().map(|puppet| (puppet.host, puppet.conn)).expect("a puppet");
        self.handle(host, Input::Closed { conn, why: "reset by peer" });
        self.settle();
    }

    pub fn puppet_heard(&mut self) -> Vec<Message> {
        self.puppet.as_mut().expect("a puppet").heard.drain(..).collect()
    }

    pub fn puppet_notified(&mut self) -> Option<Notification> {
        self.puppet_heard().into_iter().find_map(|message| match message {
            Message::Notification(notification) => Some(notification),
            _ => None,
        })
    }
}

impl Puppet {
    fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend(messages(bytes, &self.context));
    }
}

/// What a speaker has said, decoded.
pub fn messages(mut bytes: &[u8], context: &CodecContext) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(length) = wire::message_length(bytes).expect("what we send is well formed") {
        let (message, rest) = bytes.split_at(length);
        all.push(wire::decode(message, context).expect("what we send is well formed"));
        bytes = rest;
    }
    all
}

/// It understands what was not agreed on too: whether it was, tests look at.
pub fn puppet_context() -> CodecContext {
    let families = vec![AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    CodecContext { four_octet_as: true, families, extended_next_hop: true, ..CodecContext::default() }
}

/// What the puppet opens with.
pub fn puppet_open(as_number: u32, restart: Option<GracefulRestart>) -> Open {
    let mut capabilities = vec![
        Capability::Multiprotocol(AfiSafi::IPV4_UNICAST),
        Capability::Multiprotocol(AfiSafi::IPV6_UNICAST),
        Capability::RouteRefresh,
        Capability::FourOctetAs(as_number),
    ];
    capabilities.extend(restart.map(Capability::GracefulRestart));
    Open { as_number, hold_time: 90, router_id: Ipv4Addr::new(9, 9, 9, 9), capabilities }
}
