//! The loop around the speaker: input from sockets, timers and the agent; output in portions to whoever has room.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use routenet_core::bgp::monitor::mrt::MrtDump;
use routenet_core::bgp::speaker::{BestPaths, ConnId, Event, Input, Speaker, SpeakerConfig, Startup, State};
use routenet_core::model::BgpTransport;
use routenet_core::model::scope::unscoped;
use routenet_core::time::Time;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::bfd::{self, Bfd};
use super::connection::{Connection, FAREWELL, Io};
use super::discovery::{Discovery, View};
use super::gateways::Gateways;
use super::kept::{Happened, Kept};
use super::links::{self, Links};
use super::listener::Arrival;
use super::passwords::Passwords;
use super::protection;
use super::resolver::Resolver;
use super::stations::Stations;
use super::{Command, ListenerStatus, PeeringConfig, PeeringEvent, PeeringStatus, listener, warnings};
use crate::plane::interfaces;
use crate::plane::next_hops::Answers;

/// What a connection is given to write at a time, in bytes.
const PORTION: usize = 64 * 1024;
/// Prefixes in one [`PeeringEvent::Routes`], at most.
pub const BEST_PORTION: usize = 1024;
/// Inputs that are taken in before the others get their turn.
const INPUTS: usize = 256;

struct Driver {
    speaker: Speaker,
    origin: Instant,
    connections: BTreeMap<ConnId, Connection>,
    /// Connections that say their last words.
    farewells: JoinSet<()>,
    listeners: BTreeMap<SocketAddr, Listening>,
    io: mpsc::UnboundedSender<Io>,
    events: mpsc::Sender<PeeringEvent>,
    passwords: Passwords,
    /// Changes of state that the agent has not taken yet: the last of each neighbour.
    states: BTreeMap<IpAddr, PeeringEvent>,
    stations: Stations,
    /// What stations know this node by.
    name: String,
    bfd: Bfd,
    /// Who looks up next hops, where they have to resolve.
    next_hops: Option<Resolver>,
    gateways: Gateways,
    /// The agent has yet to hear that everybody has told what there was at the start.
    converged: bool,
    links: Links,
    /// Not started before a neighbour is known by an interface.
    discovery: Kept<Discovery>,
    stopping: Option<tokio::sync::oneshot::Sender<()>>,
}

struct Listening {
    task: JoinHandle<()>,
    status: ListenerStatus,
}

/// Where the driver hears of anything that has not its own place in it.
struct Inbox {
    orders: mpsc::UnboundedReceiver<Command>,
    io: mpsc::UnboundedReceiver<Io>,
    bfd: mpsc::Receiver<bfd::Event>,
}

pub async fn run(config: PeeringConfig, orders: mpsc::UnboundedReceiver<Command>, events: mpsc::Sender<PeeringEvent>) {
    let (mut driver, mut inbox) = Driver::begin(config, orders, events);
    while driver.stopping.is_none() {
        let more = driver.pump();
        driver.hear(&mut inbox, more).await;
        driver.time_out();
        driver.take_turns();
        driver.look_at_passwords();
    }
    driver.end().await;
}

async fn answers(next_hops: &mut Option<Resolver>) -> Answers {
    match next_hops {
        Some(next_hops) => next_hops.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(wakeup: Option<Instant>) {
    match wakeup {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Driver {
    fn begin(
        config: PeeringConfig,
        orders: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<PeeringEvent>,
    ) -> (Driver, Inbox) {
        let (io, heard) = mpsc::unbounded_channel();
        let (bfd, seen) = Bfd::new();
        let startup = Startup { restarting: config.restarting, seed: RandomState::new().hash_one(std::process::id()) };
        let links = Links::new(config.speaker.clone());
        let discovery = Kept::new(
            "discovery of neighbours on links",
            "links that come and go are not seen, nor who announces himself there; sessions that stand go on",
            || Discovery::spawn().map_err(|error| format!("there is no thread for it: {error}")),
        );
        let mut driver = Driver {
            speaker: Speaker::new(config.speaker, startup, Time::ZERO),
            origin: Instant::now(),
            connections: BTreeMap::new(),
            farewells: JoinSet::new(),
            listeners: BTreeMap::new(),
            events,
            passwords: Passwords::default(),
            states: BTreeMap::new(),
            bfd,
            next_hops: config.resolve.then(Resolver::new),
            gateways: Gateways::default(),
            converged: false,
            links,
            discovery,
            stations: Stations::new(&config.stations, &io),
            name: config.name,
            io,
            stopping: None,
        };
        if driver.next_hops.is_some() {
            driver.speaker.ask_for_next_hops();
        }
        if !driver.stations.is_empty() {
            let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            driver.speaker.monitor(Some(since_1970));
        }
        driver.passwords.read(driver.speaker.config().peers.iter());
        driver.watch();
        driver.listen(config.listen);
        (driver, Inbox { orders, io: heard, bfd: seen })
    }

    /// Takes in what comes next, or waits until there is something to do. `more`: there is more to write at once.
    async fn hear(&mut self, inbox: &mut Inbox, more: bool) {
        let wakeup = self.wakeup();
        let any_links = self.links.any();
        let owes_agent = self.owes_agent();
        let room = self.events.clone();
        tokio::select! {
            biased;
            order = inbox.orders.recv() => match order {
                Some(order) => self.obey(order),
                None => self.leave(None),
            },
            Some(event) = inbox.bfd.recv() => self.seen(event),
            found = answers(&mut self.next_hops) => {
                let found = self.gateways.find(found);
                self.speaker.handle(Input::NextHops(found), self.now());
            }
            happened = self.discovery.next(), if any_links => self.discovered(happened),
            Some(io) = inbox.io.recv() => {
                self.take_in(io);
                for _ in 0..INPUTS {
                    let Ok(io) = inbox.io.try_recv() else { break };
                    self.take_in(io);
                }
            }
            () = tokio::task::yield_now(), if more => {}
            _ = room.reserve(), if owes_agent => {}
            () = sleep_until(wakeup) => {}
            Some(_) = self.farewells.join_next() => {}
        }
    }

    fn time_out(&mut self) {
        let now = self.now();
        if self.speaker.next_deadline().is_some_and(|at| at <= now) {
            self.speaker.handle(Input::Timeout, now);
        }
    }

    /// Lets everything go, once the speaker has said what it had to.
    async fn end(mut self) {
        self.pump();
        // What is on its way out gets there, or its time is up.
        let _ = timeout(FAREWELL, async { while self.farewells.join_next().await.is_some() {} }).await;
        // Aborted tasks let go of their connections when they get their turn.
        tokio::task::yield_now().await;
        // Only now, and before anybody misses our packets: BIRD 2.0 and FRR 8 take AdminDown for a failure all the same,
        // which is harmless once graceful restart has begun.
        self.bfd.leave();
        let stopping = self.stopping.take();
        drop(self);
        if let Some(stopped) = stopping {
            let _ = stopped.send(());
        }
    }

    fn now(&self) -> Time {
        Time::from(self.origin.elapsed())
    }

    fn obey(&mut self, order: Command) {
        let now = self.now();
        match order {
            Command::Configure(config) => {
                let config = self.links.configure(*config, is_up(&self.speaker), std::time::Instant::now());
                self.configure(config);
            }
            Command::Listen(addresses) => self.listen(addresses),
            Command::Originate(changes) => self.speaker.handle(Input::Originate(changes), now),
            Command::Pools(pools) => self.speaker.handle(Input::Pools(pools), now),
            Command::Drain(notice) => self.speaker.handle(Input::Drain { notice }, now),
            Command::Undrain => self.speaker.handle(Input::Undrain, now),
            Command::Reset(peer) => self.speaker.handle(Input::Reset(peer), now),
            Command::ResetNamed(name, answer) => drop(answer.send(self.reset(&name, now))),
            // Whoever asked may have gone; that is their matter.
            Command::Neighbor(name, answer) => {
                let found = self.find(&name).and_then(|address| self.speaker.neighbor(address, now));
                drop(answer.send(found));
            }
            Command::Dump(dump, at, answer) => drop(answer.send(self.dump(dump, at))),
            Command::Route(prefix, answer) => drop(answer.send(self.speaker.route(&prefix))),
            Command::Status(answer) => {
                let (status, report) = (self.status(now), self.bfd.report());
                tokio::spawn(async move { drop(answer.send(PeeringStatus { bfd: report.await, ..status })) });
            }
            Command::TestFilter(question, answer) => drop(answer.send(self.speaker.test_filter(&question))),
            Command::Mesh(leaving, answer) => drop(answer.send(self.speaker.mesh_sessions(&leaving, self.now()))),
            Command::Routes(answer) => drop(answer.send(self.speaker.routes())),
            Command::Stop(stopped) => self.leave(Some(stopped)),
        }
    }

    fn configure(&mut self, config: SpeakerConfig) {
        self.ask_about_links();
        self.speaker.handle(Input::Configure(Box::new(config)), self.now());
        self.passwords.read(self.speaker.config().peers.iter());
        self.watch();
    }

    fn discovered(&mut self, happened: Happened<View>) {
        match happened {
            Happened::News(view) => {
                let config = self.links.look(view, is_up(&self.speaker), std::time::Instant::now());
                self.follow_links(config);
            }
            Happened::Started => self.ask_about_links(),
            Happened::Ended => {}
        }
    }

    fn follow_links(&mut self, config: SpeakerConfig) {
        if config != *self.speaker.config() {
            self.configure(config);
        }
    }

    fn ask_about_links(&self) {
        if let Some(discovery) = self.discovery.worker() {
            discovery.ask(self.links.unnumbered());
        }
    }

    /// Where several announce themselves on one link, it may be another one's turn.
    fn take_turns(&mut self) {
        let now = std::time::Instant::now();
        if self.links.next_turn().is_some_and(|at| at <= now) {
            let config = self.links.place(is_up(&self.speaker), now);
            self.follow_links(config);
        }
    }

    fn look_at_passwords(&mut self) {
        if self.passwords.next_look().is_some_and(|at| at <= Instant::now()) {
            self.passwords.read(self.speaker.config().peers.iter());
        }
    }

    fn wakeup(&self) -> Option<Instant> {
        let speaker = self.speaker.next_deadline().map(|at| self.origin + at.since_origin());
        let turn = self.links.next_turn().map(Instant::from_std);
        [speaker, turn, self.passwords.next_look()].into_iter().flatten().min()
    }

    /// The neighbour of this name or address, as people write it, or the only one on the link of this name.
    fn find(&self, name: &str) -> Option<IpAddr> {
        let peers = &self.speaker.config().peers;
        let written = interfaces::read_words(name).filter(|address| peers.contains_key(address));
        written.or_else(|| self.speaker.find(name)).or_else(|| links::only_on(name, peers.keys()))
    }

    fn reset(&mut self, name: &str, now: Time) -> Vec<String> {
        let peers = &self.speaker.config().peers;
        let chosen: Vec<IpAddr> =
            if name == "all" { peers.keys().copied().collect() } else { self.find(name).into_iter().collect() };
        let names = chosen.iter().filter_map(|address| Some(peers.get(address)?.name.clone())).collect();
        for address in chosen {
            self.speaker.handle(Input::Reset(address), now);
        }
        names
    }

    fn dump(&self, dump: Option<MrtDump>, at: u32) -> Option<(MrtDump, Vec<u8>)> {
        let mut bytes = Vec::new();
        let Some(mut dump) = dump else { return Some((MrtDump::begin(&self.speaker, at, &mut bytes), bytes)) };
        dump.next(&self.speaker, at, BEST_PORTION as u32, &mut bytes).then_some((dump, bytes))
    }

    fn leave(&mut self, stopped: Option<tokio::sync::oneshot::Sender<()>>) {
        for (_, listening) in std::mem::take(&mut self.listeners) {
            listening.task.abort();
        }
        self.speaker.handle(Input::Leave, self.now());
        self.stopping = Some(stopped.unwrap_or_else(|| tokio::sync::oneshot::channel().0));
    }

    fn status(&self, now: Time) -> PeeringStatus {
        PeeringStatus {
            peers: self.speaker.status(now),
            waiting: self.links.waiting(),
            crowds: self.links.crowds(),
            overruled: self.passwords.overruled().to_vec(),
            unreadable: self.passwords.unreadable().clone(),
            ineffective: self.speaker.config().ineffective(),
            broken: self
                .discovery
                .broken()
                .filter(|_| self.links.any())
                .into_iter()
                .chain(self.next_hops.as_ref().and_then(Resolver::broken))
                .collect(),
            listeners: self.listeners.values().map(|listening| listening.status.clone()).collect(),
            stations: self.stations.status(),
            unresolved: self.speaker.unresolved(),
            converged: self.speaker.converged(),
            bfd: bfd::Report::default(),
        }
    }

    fn listen(&mut self, addresses: Vec<SocketAddr>) {
        let gone: Vec<SocketAddr> = self.listeners.keys().filter(|at| !addresses.contains(at)).copied().collect();
        for address in gone {
            if let Some(listening) = self.listeners.remove(&address) {
                listening.task.abort();
            }
        }
        for wanted in &addresses {
            let ipv4_apart = addresses.iter().any(|other| other.is_ipv4() && other.port() == wanted.port());
            let both = wanted.is_ipv6() && wanted.ip().is_unspecified() && !ipv4_apart;
            self.listeners.entry(*wanted).or_insert_with(|| Listening {
                task: listener::listen(*wanted, both, self.passwords.follow(), self.io.clone()),
                status: ListenerStatus { wanted: *wanted, bound: None, error: None },
            });
        }
    }

    /// The neighbours that want BFD have it.
    fn watch(&mut self) {
        if let Err(error) = self.bfd.configure(bfd::links(self.speaker.config().peers.iter())) {
            warn!(%error, "there is no thread for BFD: failures are seen when the hold time is over");
        }
    }

    fn seen(&mut self, event: bfd::Event) {
        match event {
            bfd::Event::Up(neighbor) => info!(peer = interfaces::words(bfd::peer_of(&neighbor)), "BFD is up"),
            bfd::Event::AdminDown(neighbor) => {
                let peer = interfaces::words(bfd::peer_of(&neighbor));
                info!(peer, "BFD was ended by the neighbour's administrator; BGP goes on without");
            }
            bfd::Event::Failed { neighbor, diagnostic, independent } => {
                let peer = bfd::peer_of(&neighbor);
                warn!(peer = interfaces::words(peer), why = %diagnostic, "BFD is down");
                self.speaker.handle(Input::BfdDown { peer, independent }, self.now());
            }
        }
    }

    fn transport(&self, neighbor: IpAddr) -> BgpTransport {
        let peer = self.speaker.config().peers.get(&neighbor.to_canonical());
        peer.map(|peer| peer.transport.clone()).unwrap_or_default()
    }

    /// What a connection that came in must keep to from now on.
    fn protect(&self, stream: &TcpStream, neighbor: IpAddr) -> Result<(), String> {
        let transport = self.transport(neighbor);
        let is_v6 = stream.local_addr().is_ok_and(|own| own.is_ipv6());
        if transport.password_file.is_some() {
            let key = self.passwords.key(neighbor).ok_or("its password cannot be read")?;
            protection::sign(stream, is_v6, unscoped(neighbor).0, &key).map_err(|error| error.to_string())?;
        }
        match transport.ttl_security {
            Some(hops) => protection::come_near(stream, is_v6, hops).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    fn take_in(&mut self, io: Io) {
        let now = self.now();
        match io {
            Io::Arrived(Arrival { stream, remote, local, seen }) => {
                if let Some(config) = self.links.arrived(remote, is_up(&self.speaker), std::time::Instant::now()) {
                    self.configure(config);
                }
                let protected = self.protect(&stream, remote);
                match protected.map(|()| self.speaker.accept(remote, local, now)) {
                    Ok(Some(conn)) => {
                        self.connections.insert(conn, Connection::open(conn, stream, self.io.clone()));
                        if !self.speaker.config().ranges.is_empty() {
                            self.watch();
                        }
                    }
                    Err(why) => warn!(remote = interfaces::words(remote), why, "BGP connection closed"),
                    Ok(None) => debug!(
                        remote = interfaces::words(remote),
                        "BGP connection closed: nobody is expected from there now"
                    ),
                }
                drop(seen);
            }
            Io::Connected { conn, stream } => match stream.local_addr() {
                Ok(local) if self.connections.contains_key(&conn) => {
                    self.connections.insert(conn, Connection::open(conn, stream, self.io.clone()));
                    self.speaker.handle(Input::Connected { conn, local: listener::place(local) }, now);
                }
                Ok(_) => {}
                Err(error) => self.broken(conn, &format!("the connection broke: {error}"), now),
            },
            Io::Received { conn, bytes, taken_in } => {
                // What a connection still said before we closed it is nobody's business any more.
                if self.connections.contains_key(&conn) {
                    self.speaker.handle(Input::Received { conn, bytes: &bytes }, now);
                }
                drop(taken_in);
            }
            Io::Written { conn } => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.unwritten -= 1;
                }
            }
            Io::Stuck { conn } => self.speaker.handle(Input::SendHoldExpired { conn }, now),
            Io::Broken { conn, why } => self.broken(conn, &why, now),
            Io::Listener { wanted, bound } => self.listener(wanted, bound),
            Io::Station(station) => self.stations.take_in(station, &self.name),
        }
    }

    fn broken(&mut self, conn: ConnId, why: &str, now: Time) {
        if self.connections.remove(&conn).is_some() {
            self.speaker.handle(Input::Closed { conn, why }, now);
        }
    }

    fn listener(&mut self, wanted: SocketAddr, bound: Result<SocketAddr, String>) {
        let Some(listening) = self.listeners.get_mut(&wanted) else { return };
        let status = &mut listening.status;
        let error = bound.as_ref().err().cloned();
        match &bound {
            Ok(address) => info!(%address, "listening for BGP"),
            Err(error) if status.error.as_ref() != Some(error) => warn!(%error, "BGP"),
            Err(_) => {}
        }
        status.bound = bound.ok();
        status.error = error;
    }

    /// Does what the speaker wants done; `true`: there is more to write at once.
    fn pump(&mut self) -> bool {
        self.act();
        let questions = self.speaker.poll_next_hops();
        if let Some(next_hops) = self.next_hops.as_mut().filter(|_| !questions.is_empty()) {
            self.gateways.ask(&questions);
            next_hops.ask(questions);
        }
        self.gateways.carry(self.speaker.poll_carried());
        let now = self.now();
        // Behind a portion there may be another one.
        let mut more = false;
        let connections = &self.connections;
        let waiting = self.speaker.waiting(|conn| connections.get(&conn).is_some_and(Connection::has_room), now);
        for conn in waiting {
            let mut portion = Vec::new();
            self.speaker.poll_transmit(conn, &mut portion, PORTION, now);
            if let Some(connection) = self.connections.get_mut(&conn).filter(|_| !portion.is_empty()) {
                connection.send(portion);
                more = true;
            }
        }
        self.act();
        self.tell_agent();
        more | self.stations.feed(&mut self.speaker, now)
    }

    fn act(&mut self) {
        while let Some(event) = self.speaker.poll_event() {
            match event {
                Event::Connect { conn, remote, local } => {
                    let transport = self.transport(remote.ip());
                    let connection = Connection::connect(conn, remote, local, transport, self.io.clone());
                    self.connections.insert(conn, connection);
                }
                Event::Close { conn, last_words } => {
                    let farewell = self.connections.remove(&conn).and_then(|connection| connection.close(last_words));
                    if let Some(farewell) = farewell {
                        self.farewells.spawn(async move { drop(farewell.await) });
                    }
                }
                Event::State { peer, name, state, why, again } => self.state(peer, name, state, why, again),
                Event::Malformed { peer, name, fault, unreported } => {
                    warnings::malformed(&interfaces::words(peer), &name, &fault, unreported);
                }
                Event::TooLong { peer, name, what } => warnings::too_long(&interfaces::words(peer), &name, &what),
            }
        }
    }

    fn state(&mut self, peer: IpAddr, name: String, state: State, why: Option<String>, again: bool) {
        let words = interfaces::words(peer);
        match (&why, state) {
            (_, State::Established) => info!(peer = words, name, "BGP session established"),
            (Some(why), _) if !again => info!(peer = words, name, %state, why, "no BGP session"),
            (why, _) => debug!(peer = words, name, %state, why, "BGP"),
        }
        self.states.insert(peer, PeeringEvent::Peer { address: peer, name, state, why });
    }

    fn owes_agent(&self) -> bool {
        let owes = !self.states.is_empty() || self.gateways.has_news() || self.converged || self.speaker.has_best();
        owes && !self.events.is_closed()
    }

    /// Gives the agent what it has room for. Nothing is queued: what it cannot take now it gets in its newest form later.
    fn tell_agent(&mut self) {
        if self.events.is_closed() {
            self.states.clear();
            while self.gateways.news().is_some() || self.speaker.poll_best(BEST_PORTION).is_some() {}
            while self.gateways.release().is_some() {}
            return;
        }
        while let Ok(room) = self.events.try_reserve() {
            if let Some((_, event)) = self.states.pop_first() {
                room.send(event);
                continue;
            }
            if let Some(news) = self.gateways.news() {
                room.send(news);
                continue;
            }
            match self.speaker.poll_best(BEST_PORTION) {
                Some(BestPaths::Changed(changed)) => {
                    let passed = self.gateways.pass(changed);
                    if !passed.is_empty() {
                        room.send(PeeringEvent::Routes(passed));
                    }
                }
                // Once the routes are told that led to it.
                Some(BestPaths::Converged) => self.converged = true,
                None => match after_routes(&mut self.gateways, &mut self.converged) {
                    Some(event) => room.send(event),
                    None => return,
                },
            }
        }
    }
}

/// What the agent is to hear when the speaker has no newer routes.
fn after_routes(gateways: &mut Gateways, converged: &mut bool) -> Option<PeeringEvent> {
    let converged = || std::mem::take(converged).then_some(PeeringEvent::Converged);
    gateways.release().or_else(converged).or_else(|| gateways.forget())
}

/// Whether the session with an address stands.
fn is_up(speaker: &Speaker) -> impl Fn(IpAddr) -> bool + '_ {
    |address| speaker.is_established(address)
}

impl Drop for Driver {
    fn drop(&mut self) {
        for listening in self.listeners.values() {
            listening.task.abort();
        }
    }
}
