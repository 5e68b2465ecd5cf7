//! The speaker: every neighbour's session and the RIB behind three verbs, without a socket or a clock.
//!
//! ```text
//! loop {
//!     speaker.handle(input, now)                                what happened: bytes, connections, configuration
//!     while let Some(event) = speaker.poll_event()              what to do: connect, close, report
//!     speaker.poll_next_hops()                                  which next hops to look up, in Input::NextHops
//!     for each of speaker.waiting(has room in its queue, now):
//!         speaker.poll_transmit(conn, &mut buffer, budget, now) what to write, in portions
//!     if the consumer has room: speaker.poll_best(n)            what the best paths are now, in portions
//!     wait for input, or until speaker.next_deadline(), then handle(Input::Timeout, now)
//! }
//! ```
//!
//! Nothing is queued for a neighbour or for the kernel's table: each reads the RIB's log when it has room, so a slow one
//! costs nobody else memory or time, and always gets the newest state. A neighbour's faults cost its own session.

pub mod config;
mod configure;
pub mod detail;
mod drain;
mod dynamic;
pub mod faults;
mod from_model;
mod ineffective;
mod mesh;
pub mod monitor;
mod next_hops;
mod peer;
mod peers;
mod probe;
mod ration;
mod refresh;
mod restart;
mod sessions;
mod startup;
pub mod status;
mod transmit;
mod update;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use roaring::RoaringBitmap;

pub use crate::bgp::rib::next_hops::Unresolved;
use crate::bgp::rib::outbound::Outbound;
use crate::bgp::rib::{Interner, Path, Position, Rib, Scope, Sources};
use crate::bgp::session::timers::Rng;
pub use crate::bgp::session::{ConnId, Said, State};
use crate::bgp::wire::Notification;
use crate::model::{Cidr, Resolution, Via};
use crate::time::Time;
pub use config::{LinkPeer, ListenRange, PeerConfig, PeerSource, SpeakerConfig};
pub use detail::{PeerDetail, RouteDetail};
use drain::Drain;
use faults::Fault;
pub use from_model::{DEFAULT_AS, mesh_plan, speaker_config};
pub use ineffective::{Ineffective, IneffectiveOption, Twin};
pub use mesh::MeshSessions;
use peer::Peer;
use peers::Peers;
pub use probe::{AttributeLine, FilterAnswer, FilterQuestion, RuleLine};
pub use restart::StaleStatus;
use startup::Progress;
pub use startup::Startup;
pub use status::{PeerStatus, RouteStatus};

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
    /// Tell everything as the last choice (RFC 8326) for as long as `notice`; then withdraw it, say Cease (Administrative
    /// Shutdown), and stay down.
    Drain {
        notice: Duration,
    },
    /// Come up again after [`Input::Drain`].
    Undrain,
    /// Close every connection without a word, so that neighbours with graceful restart keep our routes.
    Leave,
    /// End this neighbour's session (Administrative Reset) and begin anew; of one who is away, forget what is kept.
    Reset(IpAddr),
    /// BFD with this neighbour was Up and failed (not by its administrator). `independent`: its BFD does not share the fate of
    /// its control plane (the C bit).
    BfdDown {
        peer: IpAddr,
        independent: bool,
    },
    /// Answers to [`Speaker::poll_next_hops`], and what has changed of them.
    NextHops(Vec<(IpAddr, Resolution)>),
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
    /// A session changed its state. `why`: the last error, when it fell back; `again`: the same as the last time, without a
    /// session between.
    State { peer: IpAddr, name: String, state: State, why: Option<String>, again: bool },
    /// An UPDATE that RFC 7606 had to mend, or that ended the session.
    Malformed { peer: IpAddr, name: String, fault: Fault, unreported: u64 },
    /// A neighbour is not told a route since no message can hold it; in words, once a minute at most. Its detail counts all.
    TooLong { peer: IpAddr, name: String, what: String },
}

/// What the kernel's table should follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BestPaths {
    /// The next hops of each prefix; none: it has no learned route (any more).
    Changed(Vec<(Cidr, Via)>),
    /// Once: every neighbour has told what it had to tell, or had its time, and all of it was polled. What the kernel has
    /// beyond it is stale.
    Converged,
}

#[derive(Debug)]
pub struct Speaker {
    config: SpeakerConfig,
    pools: Vec<Cidr>,
    peers: Peers,
    connections: BTreeMap<ConnId, IpAddr>,
    /// Those of them on which a session's FSM has something to say.
    speaking: BTreeSet<ConnId>,
    rib: Rib,
    interner: Interner<Path>,
    sources: Sources,
    outbound: Outbound,
    events: VecDeque<Event>,
    progress: Progress,
    rng: Rng,
    last_id: u64,
    last_session: u64,
    /// Being drained, or drained.
    drained: Option<Drain>,
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
            progress: Progress::new(startup, &config, now),
            config: SpeakerConfig { peers: BTreeMap::new(), ..config.clone() },
            pools: Vec::new(),
            peers: Peers::default(),
            connections: BTreeMap::new(),
            speaking: BTreeSet::new(),
            kernel: rib.head(),
            rib,
            interner: Interner::default(),
            sources: Sources::default(),
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
        speaker.peers.note_deadlines();
        speaker
    }

    /// A connection came in. `None`: close it; nobody is expected from there, or not now.
    pub fn accept(&mut self, remote: IpAddr, local: IpAddr, now: Time) -> Option<ConnId> {
        let remote = remote.to_canonical();
        self.welcome(remote, now);
        let conn = self.session(remote, now, |session, env| session.accept(env, local.to_canonical())).flatten();
        self.connections.extend(conn.map(|conn| (conn, remote)));
        // Who made room may have been the way to a next hop.
        self.rib.follow_carriers();
        self.peers.note_deadlines();
        conn
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
                if let Some(peer) = self.disconnected(conn) {
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
            Input::Drain { notice } => self.drain(notice, now),
            Input::Undrain => self.undrain(now),
            Input::Leave => self.every_session(now, |session, env| session.leave(env)),
            Input::Reset(peer) => {
                // What is kept of one who is away is kept for hours where that was agreed on: this is the way to end it.
                if self.peers.get(&peer).is_some_and(Peer::is_away) {
                    self.drop_stale(peer, None);
                }
                self.session(peer, now, |session, env| session.reset(env, Notification::administrative_reset("")));
            }
            Input::BfdDown { peer, independent } => self.bfd_down(peer, independent, now),
            Input::NextHops(answers) => self.rib.resolve(answers),
            Input::Timeout => self.timeout(now),
        }
        self.rib.follow_carriers();
        let (complete, unanswered) = (self.config.links.is_empty(), self.rib.awaits_answers());
        if self.progress.advance(&self.peers, complete, unanswered, now) {
            self.review_outbound();
        }
        self.peers.note_deadlines();
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What changed of the best paths since the last call, at most `most` prefixes at a time.
    pub fn poll_best(&mut self, most: usize) -> Option<BestPaths> {
        let mut changed = Vec::new();
        let before = self.kernel;
        while changed.len() < most {
            let slots = self.rib.read(&mut self.kernel, Scope::Best, most - changed.len());
            if slots.is_empty() {
                break;
            }
            for slot in slots {
                let destination = self.rib.destination(slot);
                let hops = destination.next_hops();
                let had = if hops.is_empty() { self.in_kernel.remove(slot) } else { !self.in_kernel.insert(slot) };
                if had || !hops.is_empty() {
                    changed.push((*destination.prefix(), hops));
                }
            }
        }
        if self.kernel != before {
            self.trim();
        }
        if !changed.is_empty() {
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
        let all = [self.peers.next_deadline(), self.drain_deadline(), self.progress.next_deadline(&self.peers)];
        all.into_iter().flatten().min()
    }

    /// Whether every configured neighbour has told what it had to tell at the start, or had its time.
    pub fn converged(&self) -> bool {
        self.progress.converged()
    }

    pub fn config(&self) -> &SpeakerConfig {
        &self.config
    }

    fn timeout(&mut self, now: Time) {
        for peer in self.peers.due(now) {
            self.forget_if_gone(peer, now);
            self.end_overdue_refreshes(peer, now);
            self.session(peer, now, |session, env| session.timeout(env));
            self.end_overdue_restart(peer, now);
        }
        self.go_on_draining(now);
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
