//! The speaker: every neighbour's session and the RIB behind three verbs, without a socket or a clock.
//!
//! ```text
//! loop {
//!     speaker.handle(input, now)                                what happened: bytes, connections, configuration
//!     while let Some(event) = speaker.poll_event()              what to do: connect, close, report
//!     for each connection with room in its queue:
//!         speaker.poll_transmit(conn, &mut buffer, budget, now) what to write, in portions
//!     if the consumer has room: speaker.poll_best(n)            what the best paths are now, in portions
//!     wait for input, or until speaker.next_deadline(), then handle(Input::Timeout, now)
//! }
//! ```
//!
//! Nothing is queued for a neighbour or for the kernel's table: each reads the RIB's log when it has room, so a slow one
//! costs nobody else memory or time, and always gets the newest state. A neighbour's faults cost its own session.

pub mod config;
pub mod detail;
mod dynamic;
mod from_model;
pub mod monitor;
mod peer;
mod probe;
mod refresh;
mod startup;
pub mod status;
mod transmit;
mod update;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use crate::bgp::rib::outbound::Outbound;
use crate::bgp::rib::path::own_attributes;
use crate::bgp::rib::{Candidate, Interner, Path, Position, Rib, Source};
use crate::bgp::session::timers::Rng;
pub use crate::bgp::session::{ConnId, State};
use crate::bgp::session::{Env, Negotiated, Output, Session};
use crate::bgp::wire::{AfiSafi, NextHop, Notification, cease};
use crate::model::{Cidr, ImportPolicy};
use crate::time::Time;
pub use config::{LinkPeer, ListenRange, PeerConfig, PeerSource, SpeakerConfig};
pub use detail::{PeerDetail, RouteDetail};
pub use from_model::{DEFAULT_AS, speaker_config};
use peer::{Faults, Peer, STALE_MOST};
pub use probe::{AttributeLine, FilterAnswer, FilterQuestion, RuleLine};
use startup::Progress;
pub use startup::Startup;
pub use status::{PeerStatus, RouteStatus};

/// How long a neighbour has to take its withdrawals when the node is drained, before it hears Cease all the same.
const DRAIN_MOST: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The whole configuration, new or changed. The first should name every neighbour that is known: which routes of the
    /// kernel are stale is decided by whether these have told theirs.
    Configure(Box<SpeakerConfig>),
    /// What is accepted from neighbours whose import is `pools`: the whole list.
    Pools(Vec<Cidr>),
    /// Own prefixes: `true` announces, `false` withdraws. The first one, be it empty, says that what was to be announced
    /// at the start has been named: until then no neighbour hears End-of-RIB.
    Originate(Vec<(Cidr, bool)>),
    /// The connection of [`Event::Connect`] stands; `local` is our end.
    Connected {
        conn: ConnId,
        local: IpAddr,
    },
    /// It could not be had, or a connection was closed or broke; why, in words.
    Closed {
        conn: ConnId,
        why: &'a str,
    },
    Received {
        conn: ConnId,
        bytes: &'a [u8],
    },
    /// The neighbour has not read for longer than the SendHoldTime (RFC 9687).
    SendHoldExpired {
        conn: ConnId,
    },
    /// Withdraw everything, then say Cease (Administrative Shutdown), and stay down.
    Drain,
    /// Come up again after [`Input::Drain`].
    Undrain,
    /// Close every connection without a word, so that neighbours with graceful restart keep our routes.
    Leave,
    /// End this neighbour's session (Administrative Reset) and begin anew.
    Reset(IpAddr),
    /// BFD with this neighbour was Up and failed (not by its administrator). `independent`: its BFD does not share the fate of
    /// its control plane (the C bit).
    BfdDown {
        peer: IpAddr,
        independent: bool,
    },
    /// The deadline has come.
    Timeout,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Open a connection, from `local` if given; answer with `Connected` or `Closed`.
    Connect { conn: ConnId, remote: SocketAddr, local: Option<IpAddr> },
    /// Write what was polled before, then these last words, then close; do not wait for it long. Nothing more will be heard
    /// of this connection, nor should be.
    Close { conn: ConnId, last_words: Vec<u8> },
    /// A session changed its state. `why`: the last error, when it fell back.
    State { peer: IpAddr, name: String, state: State, why: Option<String> },
    /// The first UPDATE of a session that RFC 7606 had to mend; the status counts the others.
    Malformed { peer: IpAddr, name: String, what: String },
}

/// What the kernel's table should follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BestPaths {
    /// The next hops of each prefix, sorted; none: it has no learned route (any more).
    Changed(Vec<(Cidr, Vec<IpAddr>)>),
    /// Once: every neighbour has told what it had to tell, or had its time, and all of it was polled. What the kernel has
    /// beyond it is stale.
    Converged,
}

#[derive(Debug)]
pub struct Speaker {
    config: SpeakerConfig,
    pools: Vec<Cidr>,
    peers: BTreeMap<IpAddr, Peer>,
    connections: BTreeMap<ConnId, IpAddr>,
    rib: Rib,
    interner: Interner<Path>,
    outbound: Outbound,
    events: VecDeque<Event>,
    progress: Progress,
    rng: Rng,
    last_id: u64,
    last_session: u64,
    /// Being drained, or drained: until when neighbours have to take the withdrawals.
    drained: Option<Time>,
    /// While a station listens.
    monitor: Option<monitor::Monitor>,
    /// How far the reader of the best paths has read, and what it was given next hops for.
    kernel: Position,
    in_kernel: RoaringBitmap,
}

impl Speaker {
    pub fn new(config: SpeakerConfig, startup: Startup, now: Time) -> Speaker {
        let rib = Rib::default();
        let mut speaker = Speaker {
            progress: Progress::new(startup, config.restart_time, now),
            config: SpeakerConfig { peers: BTreeMap::new(), ..config.clone() },
            pools: Vec::new(),
            peers: BTreeMap::new(),
            connections: BTreeMap::new(),
            kernel: rib.head(),
            rib,
            interner: Interner::default(),
            outbound: Outbound::default(),
            events: VecDeque::new(),
            rng: Rng::new(startup.seed),
            last_id: 0,
            last_session: 0,
            drained: None,
            monitor: None,
            in_kernel: RoaringBitmap::new(),
        };
        speaker.configure(config, now);
        speaker
    }

    /// A connection came in. `None`: close it; nobody is expected from there, or not now.
    pub fn accept(&mut self, remote: IpAddr, local: IpAddr, now: Time) -> Option<ConnId> {
        let remote = remote.to_canonical();
        self.welcome(remote, now);
        let conn = self.session(remote, now, |session, env| session.accept(env, local.to_canonical())).flatten()?;
        self.connections.insert(conn, remote);
        Some(conn)
    }

    pub fn handle(&mut self, input: Input<'_>, now: Time) {
        match input {
            Input::Configure(config) => self.configure(*config, now),
            Input::Pools(pools) => self.set_pools(pools),
            Input::Originate(changes) => self.originate(changes),
            Input::Connected { conn, local } => {
                if let Some(&peer) = self.connections.get(&conn) {
                    self.session(peer, now, |session, env| session.connected(env, conn, local.to_canonical()));
                }
            }
            Input::Closed { conn, why } => {
                if let Some(peer) = self.connections.remove(&conn) {
                    self.session(peer, now, |session, env| session.closed(env, conn, why));
                }
            }
            Input::Received { conn, bytes } => {
                if let Some(&peer) = self.connections.get(&conn) {
                    self.session(peer, now, |session, env| session.received(env, conn, bytes));
                }
            }
            Input::SendHoldExpired { conn } => {
                if let Some(&peer) = self.connections.get(&conn) {
                    self.session(peer, now, |session, env| session.send_hold_expired(env, conn));
                }
            }
            Input::Drain => self.drain(now),
            Input::Undrain => self.undrain(now),
            Input::Leave => self.every_session(now, |session, env| session.leave(env)),
            Input::Reset(peer) => {
                self.session(peer, now, |session, env| session.reset(env, Notification::administrative_reset("")));
            }
            Input::BfdDown { peer, independent } => self.bfd_down(peer, independent, now),
            Input::Timeout => self.timeout(now),
        }
        if self.progress.advance(&self.peers, now) {
            self.review_outbound();
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What changed of the best paths since the last call, at most `most` prefixes at a time.
    pub fn poll_best(&mut self, most: usize) -> Option<BestPaths> {
        let mut changed = Vec::new();
        for (position, slot) in self.rib.since(self.kernel) {
            self.kernel = position;
            let destination = self.rib.destination(slot);
            let hops = destination.next_hops();
            let had = if hops.is_empty() { self.in_kernel.remove(slot) } else { !self.in_kernel.insert(slot) };
            if had || !hops.is_empty() {
                changed.push((*destination.prefix(), hops));
            }
            if changed.len() >= most {
                break;
            }
        }
        if !changed.is_empty() {
            self.trim();
            return Some(BestPaths::Changed(changed));
        }
        if self.progress.converged() && !self.progress.reported {
            self.progress.reported = true;
            return Some(BestPaths::Converged);
        }
        None
    }

    /// Whether [`Speaker::poll_best`] would have something.
    pub fn has_best(&self) -> bool {
        self.rib.has_news(self.kernel) || (self.progress.converged() && !self.progress.reported)
    }

    /// When [`Input::Timeout`] is due; perhaps at once.
    pub fn next_deadline(&self) -> Option<Time> {
        let sessions = self.peers.values().flat_map(|peer| [peer.session.next_deadline(), peer.stale_until]);
        let refreshes = self.peers.values().flat_map(|peer| peer.refreshing.values().map(|it| Some(it.until)));
        let gone = self.next_to_forget();
        let drain = self.drained.filter(|_| self.peers.values().any(|peer| peer.told));
        sessions.chain(refreshes).chain([drain, gone, self.progress.next_deadline(&self.peers)]).flatten().min()
    }

    /// Whether every configured neighbour has told what it had to tell at the start, or had its time.
    pub fn converged(&self) -> bool {
        self.progress.converged()
    }

    pub fn config(&self) -> &SpeakerConfig {
        &self.config
    }

    fn configure(&mut self, mut config: SpeakerConfig, now: Time) {
        self.keep_ranges(&mut config);
        let gone: Vec<IpAddr> = self.peers.keys().filter(|peer| !config.peers.contains_key(peer)).copied().collect();
        let mut own = SpeakerConfig { peers: BTreeMap::new(), ..config.clone() };
        std::mem::swap(&mut self.config, &mut own);
        let self_changed = (own.address4, own.address6, own.cluster_id)
            != (self.config.address4, self.config.address6, self.config.cluster_id);
        for peer in gone {
            self.session(peer, now, |session, env| session.shut(env, Notification::cease(cease::PEER_DECONFIGURED)));
            self.rib.forget_all(peer, |_, _| true);
            self.peers.remove(&peer);
            self.config.peers.remove(&peer);
        }
        for (address, peer_config) in config.peers {
            let settings = self.config.settings(&peer_config);
            self.config.peers.insert(address, peer_config.clone());
            let Some(peer) = self.peers.get_mut(&address) else {
                let mut peer = Peer::new(address, peer_config, settings, now);
                peer.reported = State::Idle;
                self.peers.insert(address, peer);
                if self.drained.is_some() {
                    self.session(address, now, |session, env| {
                        session.shut(env, Notification::administrative_shutdown(""))
                    });
                }
                continue;
            };
            let policy_changed = peer.config.import != peer_config.import
                || peer.config.options != peer_config.options
                || peer.config.filters != peer_config.filters;
            let protected_anew = peer.config.transport != peer_config.transport
                || peer.config.options.needs_new_session(&peer_config.options);
            let bound_changed = peer.config.options.max_prefixes != peer_config.options.max_prefixes;
            peer.config = peer_config;
            if bound_changed {
                self.check_bound(address, now);
            }
            if protected_anew {
                let change = Notification::cease(cease::OTHER_CONFIGURATION_CHANGE);
                self.session(address, now, |session, env| session.reset(env, change));
            }
            self.session(address, now, |session, env| {
                if session.suspended() && bound_changed {
                    session.start(env);
                }
                if *session.settings() != settings {
                    session.configure(env, settings);
                }
            });
            if policy_changed || self_changed {
                self.review_inbound(address);
            }
        }
        if self_changed {
            self.review_outbound();
        }
    }

    fn set_pools(&mut self, pools: Vec<Cidr>) {
        if pools == self.pools {
            return;
        }
        self.pools = pools;
        let by_pools = self.peers.iter().filter(|(_, peer)| peer.config.import == ImportPolicy::Pools);
        for peer in by_pools.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.review_inbound(peer);
        }
    }

    fn originate(&mut self, changes: Vec<(Cidr, bool)>) {
        self.progress.originated = true;
        if changes.is_empty() {
            return;
        }
        let source = Arc::new(Source::own(self.config.router_id));
        let here = NextHop { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), link_local: None };
        let path = self.interner.intern(Path { attributes: own_attributes(), next_hop: here });
        for (prefix, announce) in changes {
            if announce {
                let own = Candidate { source: source.clone(), path: path.clone(), received: None, refused: None };
                self.rib.learn(prefix, own);
            } else {
                self.rib.forget(prefix, None);
            }
        }
    }

    fn drain(&mut self, now: Time) {
        if self.drained.is_some() {
            return;
        }
        self.drained = Some(now + DRAIN_MOST);
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            if self.peers.get(&peer).is_none_or(|peer| !peer.told) {
                self.shut_for_drain(peer, now);
            }
        }
        self.review_outbound();
    }

    fn shut_for_drain(&mut self, peer: IpAddr, now: Time) {
        let farewell = Notification::administrative_shutdown("the node is being drained");
        self.session(peer, now, |session, env| session.shut(env, farewell));
    }

    fn undrain(&mut self, now: Time) {
        if self.drained.take().is_none() {
            return;
        }
        self.review_outbound();
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            let established = self.peers.get(&peer).is_some_and(|peer| peer.session.state() == State::Established);
            if !established {
                self.session(peer, now, |session, env| session.start(env));
            }
        }
    }

    fn timeout(&mut self, now: Time) {
        self.forget_the_gone(now);
        self.end_overdue_refreshes(now);
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let sessions = self.peers.iter().filter(|(_, peer)| due(peer.session.next_deadline()));
        for peer in sessions.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.session(peer, now, |session, env| session.timeout(env));
        }
        let stale = self.peers.iter().filter(|(_, peer)| due(peer.stale_until));
        for peer in stale.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.drop_stale(peer, None);
        }
        if due(self.drained) {
            let waiting = self.peers.iter().filter(|(_, peer)| peer.told);
            for peer in waiting.map(|(address, _)| *address).collect::<Vec<_>>() {
                self.shut_for_drain(peer, now);
            }
        }
    }

    /// RFC 5882 4.2 and RFC 9384: the session ends at once, and nothing of it is kept, for its routes lead nowhere.
    ///
    /// One that has ended already is another matter (RFC 5882 4.3). Where the neighbour's BFD goes down with its control
    /// plane, its silence is what a restart looks like: what graceful restart keeps stays. Where it does not, the path is
    /// broken, and the restart is called off.
    fn bfd_down(&mut self, peer: IpAddr, independent: bool, now: Time) {
        self.session(peer, now, |session, env| session.fail(env, Notification::cease(cease::BFD_DOWN)));
        if independent && self.peers.get(&peer).is_some_and(Peer::is_away) {
            self.drop_stale(peer, None);
        }
    }

    fn every_session(&mut self, now: Time, mut step: impl FnMut(&mut Session, &mut Env<'_>)) {
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.session(peer, now, &mut step);
        }
    }

    /// Runs a step of a neighbour's session, and does what follows from it. `None`: there is no such neighbour.
    fn session<T>(&mut self, peer: IpAddr, now: Time, step: impl FnOnce(&mut Session, &mut Env<'_>) -> T) -> Option<T> {
        let mut out = Vec::new();
        let answer = {
            let held = self.peers.get_mut(&peer)?;
            let mut env = Env {
                now,
                rng: &mut self.rng,
                last_id: &mut self.last_id,
                restarting: self.progress.deferring(),
                preserved: self.progress.preserved(),
                out: &mut out,
            };
            step(&mut held.session, &mut env)
        };
        for output in out {
            self.follow(peer, output, now);
        }
        self.report(peer, now);
        self.note_absence(peer, now);
        Some(answer)
    }

    fn follow(&mut self, address: IpAddr, output: Output, now: Time) {
        match output {
            Output::Connect(conn) => {
                self.connections.insert(conn, address);
                if let Some(peer) = self.peers.get(&address) {
                    let remote = SocketAddr::new(address, peer.config.port);
                    self.events.push_back(Event::Connect { conn, remote, local: peer.config.local_address });
                }
            }
            Output::Close { conn, last_words } => {
                self.connections.remove(&conn);
                self.events.push_back(Event::Close { conn, last_words });
            }
            Output::Established(negotiated) => {
                self.up(address, *negotiated, now);
                self.monitor_up(address, now);
            }
            Output::Down { graceful } => self.down(address, graceful, now),
            Output::Update(update) => self.update(address, *update, now),
            Output::Refresh(family) => self.refresh(address, family),
            Output::RefreshBegins(family) => self.refresh_begins(address, family, now),
            Output::RefreshEnds(family) => self.refresh_ends(address, family),
        }
    }

    fn report(&mut self, address: IpAddr, now: Time) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let state = peer.session.state();
        if state != peer.reported {
            let why = peer.session.last_error().filter(|_| state < peer.reported).map(|(_, what)| what.clone());
            peer.reported = state;
            let because = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            // Between attempts its state changes all the time, which is no news.
            if state == State::Established || !because.is_empty() {
                peer.remember(now, format!("{state}{because}"));
            }
            self.events.push_back(Event::State { peer: address, name: peer.config.name.clone(), state, why });
        }
    }

    fn up(&mut self, address: IpAddr, negotiated: Negotiated, now: Time) {
        self.last_session += 1;
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.source = Arc::new(Source {
            peer: Some(address),
            external: !negotiated.codec.ibgp,
            client: negotiated.codec.ibgp && peer.config.options.reflector_client,
            router_id: negotiated.router_id,
            session: self.last_session,
        });
        peer.told = true;
        peer.negotiated = Some(negotiated);
        peer.end_of_rib.clear();
        peer.faults = Faults::default();
        peer.last_update = now;
        if let Some(policy) = self.policy(address) {
            self.outbound.join(address, policy, &self.rib);
        }
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if peer.stale_until.is_some() {
            // RFC 4724 4.2: what it did not keep in its own forwarding table goes at once, the rest at End-of-RIB.
            peer.stale_until = Some(now + STALE_MOST);
            let preserved = peer.preserved();
            let session = self.last_session;
            self.rib.forget_all(address, |prefix, source| {
                source.session != session && !preserved.contains(&AfiSafi::of(prefix))
            });
            if preserved.is_empty() {
                peer.stale_until = None;
            }
        }
    }

    /// Nothing where it is down already.
    fn down(&mut self, address: IpAddr, graceful: bool, now: Time) {
        if self.peers.get(&address).is_none_or(Peer::is_away) {
            return;
        }
        self.monitor_down(address, now);
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.told = false;
        peer.refreshing.clear();
        self.outbound.leave(address);
        let session = peer.source.session;
        match peer.retains().filter(|_| graceful) {
            Some((families, restart_time)) => {
                peer.stale_until = Some(now + restart_time);
                // What was stale already is not kept a second time.
                self.rib.forget_all(address, |prefix, source| {
                    source.session != session || !families.contains(&AfiSafi::of(prefix))
                });
            }
            None => {
                peer.stale_until = None;
                self.rib.forget_all(address, |_, _| true);
            }
        }
        self.trim();
    }

    /// The end of a restart: what the neighbour did not tell again (of a family, or of all) is no longer true.
    fn drop_stale(&mut self, address: IpAddr, family: Option<AfiSafi>) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if peer.stale_until.is_none() {
            return;
        }
        let away = peer.is_away();
        let session = peer.source.session;
        let told = peer.negotiated.as_ref().is_some_and(|negotiated| {
            !away && negotiated.codec.families.iter().all(|family| peer.end_of_rib.contains(family))
        });
        if family.is_none() || told {
            peer.stale_until = None;
        }
        self.rib.forget_all(address, |prefix, source| {
            (away || source.session != session) && family.is_none_or(|family| AfiSafi::of(prefix) == family)
        });
    }

    /// Every neighbour is to be told what follows from a change of our own.
    fn review_outbound(&mut self) {
        let mut outbound = std::mem::take(&mut self.outbound);
        outbound.review(|peer| self.policy(peer));
        self.outbound = outbound;
    }

    /// What every reader has read goes.
    fn trim(&mut self) {
        let slowest = self.outbound.position().map_or(self.kernel, |position| position.min(self.kernel));
        self.rib.trim(slowest);
    }
}
