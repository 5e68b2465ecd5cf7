//! The session with one neighbour: the FSM of RFC 4271 section 8, over as many connections as there are at a time.
//!
//! The FSM proper belongs to a connection ([`connection::Phase`]: OpenSent to Established); Idle, Connect and Active are what
//! the session is in while no connection got that far. Called by the speaker, which gives it time, chance and ids by
//! [`Env`] and takes what it wants done from [`Env::out`].

mod cause;
mod collision;
pub mod connection;
pub mod counters;
mod ending;
pub mod open;
mod schedule;
pub mod timers;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::bgp::wire::{self, AfiSafi, Message, MessageType, Notification, Update, cease, refresh_subtype};
use crate::model::peering::{AddPaths, BgpRole};
use crate::time::Time;
use cause::Cause;
pub use cause::Said;
pub use connection::{ConnId, Connection, Direction, Phase};
use counters::Messages;
pub use open::Negotiated;
use timers::{Patience, Rng};

/// What the session is told about itself and its neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub local_as: u32,
    pub router_id: Ipv4Addr,
    /// The AS that we are for others.
    pub own_as: u32,
    /// `None`: any other than ours.
    pub peer_as: Option<u32>,
    /// Seconds: what we offer.
    pub hold_time: u16,
    pub connect_retry: Duration,
    /// Never connects of its own accord.
    pub passive: bool,
    /// How long we wait for the neighbour's OPEN before we say ours (RFC 4271 8.1.1, DelayOpen); zero: not at all.
    pub delay_open: Duration,
    /// Seconds; 0: no graceful restart, in either role.
    pub restart_time: u16,
    /// Whether it holds over NOTIFICATIONs (RFC 8538).
    pub restart_on_notification: bool,
    /// Seconds that routes are kept beyond the restart time, ours there and theirs here (RFC 9494); 0: not at all.
    pub long_lived_time: u32,
    /// What we say that we are to an external neighbour (RFC 9234), and whether it has to say what it is.
    pub role: Option<BgpRole>,
    pub role_strict: bool,
    /// Whether IPv4 routes may have IPv6 next hops (RFC 8950), where the neighbour offers it too.
    pub extended_next_hop: bool,
    pub add_paths: AddPaths,
}

impl Settings {
    /// Whether the neighbour is of another AS than ours.
    pub fn external(&self) -> bool {
        self.peer_as != Some(self.local_as)
    }

    /// Whether graceful restart is offered, and done for others; its restart time may be zero where only the long-lived
    /// kind is wanted (RFC 9494 4.1).
    pub fn restarts(&self) -> bool {
        self.restart_time > 0 || self.long_lived_time > 0
    }
}

/// What a step needs from outside, and where it puts what follows.
pub struct Env<'a> {
    pub now: Time,
    pub rng: &'a mut Rng,
    /// The last id given out.
    pub last_id: &'a mut u64,
    /// We have restarted, and our selection is not done yet: the R bit (RFC 4724).
    pub restarting: bool,
    /// The kernel kept forwarding what an earlier incarnation of ours told: the F bit (RFC 4724).
    pub preserved: bool,
    pub out: &'a mut Vec<Output>,
}

/// What a step leads to.
#[derive(Debug)]
pub enum Output {
    /// Open a TCP connection to the neighbour.
    Connect(ConnId),
    /// Write the last words, if any, and close.
    Close {
        conn: ConnId,
        last_words: Vec<u8>,
    },
    Established(Box<Negotiated>),
    /// The session is over. `graceful`: without a NOTIFICATION from either side, or with one that RFC 8538 lets the routes
    /// outlive.
    Down {
        graceful: bool,
    },
    /// Both as it was read and as it came.
    Update {
        update: Box<Update>,
        message: Vec<u8>,
    },
    /// An UPDATE that ends the session (RFC 4271 6.3), and what it is answered by.
    Unreadable {
        notification: Notification,
        message: Vec<u8>,
    },
    /// The neighbour wants to be told everything again.
    Refresh(AfiSafi),
    /// It begins, or has ended, to tell everything again (RFC 7313).
    RefreshBegins(AfiSafi),
    RefreshEnds(AfiSafi),
}

/// The states of RFC 4271 8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Incoming connections of one neighbour that wait for its OPEN, at most.
const SILENT_MOST: usize = 4;

#[derive(Debug)]
pub struct Session {
    settings: Settings,
    connections: Vec<Connection>,
    /// Shut by the administrator: nothing is tried and nothing accepted.
    shut: bool,
    /// Shut by what the neighbour did, until somebody resets it.
    suspended: bool,
    /// After very many errors nothing is tried and nothing accepted until then (RFC 4271 8.1.1, DampPeerOscillations).
    idle_until: Option<Time>,
    /// The ConnectRetryTimer.
    attempt_at: Option<Time>,
    /// Errors in a row: how long we wait before we try again.
    failures: u32,
    /// Errors of late: whether it is let in.
    patience: Patience,
    state: State,
    /// When it came to be Established, or ceased to be. Between attempts its state changes all the time.
    turned: Time,
    /// How often it was Established.
    sessions: u64,
    /// What ended the last session that was Established.
    session_error: Option<(Time, String)>,
    /// What ended the last attempt that came to no session; forgotten once one came about, as is a collision's loser.
    attempt_error: Option<(Time, String)>,
    /// The last NOTIFICATION of ours, and of the neighbour's.
    last_sent: Option<(Time, Notification)>,
    last_received: Option<(Time, Notification)>,
    /// The later of the two with these settings, collisions aside: a neighbour that waits after an error (BIRD does) closes
    /// what comes meanwhile without a word, which says nothing of the cause.
    refusal: Option<(Time, Said)>,
    pub messages_in: Messages,
    pub messages_out: Messages,
}

impl Session {
    pub fn new(settings: Settings, now: Time) -> Session {
        Session {
            attempt_at: (!settings.passive).then_some(now),
            state: if settings.passive { State::Active } else { State::Idle },
            settings,
            connections: Vec::new(),
            shut: false,
            suspended: false,
            idle_until: None,
            failures: 0,
            patience: Patience::new(now),
            turned: now,
            sessions: 0,
            session_error: None,
            attempt_error: None,
            last_sent: None,
            last_received: None,
            refusal: None,
            messages_in: Messages::default(),
            messages_out: Messages::default(),
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it is Established, or is not.
    pub fn turned(&self) -> Time {
        self.turned
    }

    /// The last NOTIFICATION that we sent, and the last one that came.
    pub fn notifications(&self) -> [Option<&(Time, Notification)>; 2] {
        [self.last_sent.as_ref(), self.last_received.as_ref()]
    }

    /// The last NOTIFICATION of either side since a session was established last, while there is none.
    pub fn refusal(&self) -> Option<&(Time, Said)> {
        self.refusal.as_ref().filter(|_| self.state != State::Established)
    }

    pub fn sessions(&self) -> u64 {
        self.sessions
    }

    /// The latest of what ended a session, and of what has kept the next from coming about.
    pub fn last_error(&self) -> Option<&(Time, String)> {
        self.attempt_error.as_ref().or(self.session_error.as_ref())
    }

    /// The connection of the Established session.
    pub fn established(&self) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.phase == Phase::Established)
    }

    pub fn connection(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    /// Whether the FSM itself has something to say on this connection.
    pub fn has_output(&self, id: ConnId) -> bool {
        self.connections.iter().any(|connection| connection.id == id && connection.has_output())
    }

    /// The connections on which it has.
    pub fn with_output(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.connections.iter().filter(|connection| connection.has_output()).map(|connection| connection.id)
    }

    /// New settings. What the neighbour was told in an OPEN cannot change under a session: that ends it.
    pub fn configure(&mut self, env: &mut Env<'_>, settings: Settings) {
        let told = |s: &Settings| {
            let restart = (s.restart_time, s.restart_on_notification, s.long_lived_time);
            // Whether any other AS is one of ours depends on ours.
            let others = s.peer_as.ok_or(s.own_as);
            (s.local_as, s.router_id, others, s.hold_time, restart)
        };
        let reset = told(&self.settings) != told(&settings);
        let passive = settings.passive;
        let changed = self.settings != settings;
        self.settings = settings;
        if reset {
            self.end_all(env, || Cause::Sent(Notification::cease(cease::OTHER_CONFIGURATION_CHANGE)));
            self.failures = 0;
            self.patience = Patience::new(env.now);
            self.idle_until = None;
        }
        if changed {
            self.refusal = None;
        }
        if passive {
            self.attempt_at = None;
        } else if self.connections.is_empty() && !self.is_closed() {
            self.attempt_at.get_or_insert(self.idle_until.unwrap_or(env.now));
        }
        self.settle(env);
    }

    /// Ends the session with these words, and tries again no more until [`Session::start`]. A rest that it has earned goes on.
    pub fn shut(&mut self, env: &mut Env<'_>, notification: Notification) {
        self.shut = true;
        let rest = self.idle_until;
        self.end_all(env, || Cause::Sent(notification.clone()));
        self.attempt_at = None;
        self.idle_until = rest;
        self.settle(env);
    }

    /// Closes every connection without a word, so that a neighbour with graceful restart keeps our routes.
    pub fn leave(&mut self, env: &mut Env<'_>) {
        self.shut = true;
        self.end_all(env, || Cause::Quiet);
        self.attempt_at = None;
        self.idle_until = None;
        self.settle(env);
    }

    /// After [`Session::shut`]. One that is suspended goes on waiting, and one that rests begins behind its rest.
    pub fn start(&mut self, env: &mut Env<'_>) {
        self.shut = false;
        self.failures = 0;
        self.patience = Patience::new(env.now);
        let at = self.idle_until.unwrap_or(env.now);
        self.attempt_at = (!self.settings.passive && !self.suspended).then_some(at);
        self.settle(env);
    }

    /// Ends the session, if there is one, and begins anew at once; or, where it is shut, as soon as it is started.
    pub fn reset(&mut self, env: &mut Env<'_>, notification: Notification) {
        self.end_all(env, || Cause::Sent(notification.clone()));
        self.release(env);
    }

    /// Ends a suspension and every rest.
    pub fn release(&mut self, env: &mut Env<'_>) {
        (self.suspended, self.idle_until) = (false, None);
        if self.shut {
            self.attempt_at = None;
        } else {
            self.start(env);
        }
    }

    /// Ends the session with these words; nothing is tried and nothing accepted for `wait`, or else until
    /// [`Session::reset`] (RFC 4486 section 4).
    pub fn suspend(&mut self, env: &mut Env<'_>, notification: Notification, wait: Option<Duration>) {
        self.end_all(env, || Cause::Sent(notification.clone()));
        let again = wait.map(|wait| env.now + wait);
        self.suspended = again.is_none();
        self.idle_until = again;
        self.attempt_at = again.filter(|_| !self.settings.passive && !self.shut);
        self.settle(env);
    }

    /// Whether there is a connection, however far it got.
    pub fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Whether nothing is tried and nothing accepted until somebody says so.
    pub fn is_closed(&self) -> bool {
        self.shut || self.suspended
    }

    /// What we had to say could not be written for too long (RFC 9687).
    pub fn send_hold_expired(&mut self, env: &mut Env<'_>, id: ConnId) {
        self.end(env, id, Cause::Sent(Notification::send_hold_timer_expired()));
        self.settle(env);
    }

    /// Whether it waits for [`Session::reset`].
    pub fn suspended(&self) -> bool {
        self.suspended
    }

    /// Ends what there is of a session with these words, as a fault that the FSM found: the next attempt comes after a wait.
    pub fn fail(&mut self, env: &mut Env<'_>, notification: Notification) {
        let greeted: Vec<ConnId> =
            self.connections.iter().filter(|c| c.phase >= Phase::OpenSent).map(|c| c.id).collect();
        for id in greeted {
            self.end(env, id, Cause::Sent(notification.clone()));
        }
        self.settle(env);
    }

    /// A connection from the neighbour; `None`: close it.
    pub fn accept(&mut self, env: &mut Env<'_>, local: IpAddr) -> Option<ConnId> {
        if self.is_closed() || self.idle_until.is_some() {
            return None;
        }
        // Which of several stays is decided when they say their OPENs (RFC 4271 6.8): the older one may be dead. Only how
        // many may be silent has a bound.
        let silent = |c: &&Connection| c.direction == Direction::Incoming && c.phase <= Phase::OpenSent;
        if self.connections.iter().filter(silent).count() >= SILENT_MOST
            && let Some(oldest) = self.connections.iter().find(silent).map(|connection| connection.id)
        {
            self.end(env, oldest, Cause::Sent(Notification::cease(cease::CONNECTION_REJECTED)));
        }
        // Both connections come up at one moment: each side may then be Established on one when it has to end it for the
        // other (RFC 4271 6.8). The neighbour cannot prefer this one before it knows our identifier by it.
        let ours = |c: &Connection| c.direction == Direction::Outgoing && c.phase >= Phase::OpenSent;
        let reserve = if self.connections.iter().any(ours) { timers::COLLISION_RESERVE } else { Duration::ZERO };
        let id = self.open_connection(env, Direction::Incoming);
        self.greet(env, id, local, reserve);
        // The neighbour was faster: a connection of ours would most likely only collide with its.
        let later = env.now + env.rng.jitter(self.settings.connect_retry);
        self.attempt_at = self.attempt_at.map(|at| at.max(later));
        self.settle(env);
        Some(id)
    }

    /// The connection that [`Output::Connect`] asked for stands.
    pub fn connected(&mut self, env: &mut Env<'_>, id: ConnId, local: IpAddr) {
        self.greet(env, id, local, Duration::ZERO);
        self.settle(env);
    }

    /// It could not be had, or it was closed; `why` in words.
    pub fn closed(&mut self, env: &mut Env<'_>, id: ConnId, why: &str) {
        self.end(env, id, Cause::Broken(why.to_string()));
        self.settle(env);
    }

    pub fn received(&mut self, env: &mut Env<'_>, id: ConnId, bytes: &[u8]) {
        if let Some(connection) = self.connection(id) {
            connection.take_in(bytes);
        }
        while let Some(connection) = self.connection(id) {
            if connection.goes_on() {
                self.establish(env, id);
                continue;
            }
            match connection.next_message() {
                Ok(Some(message)) => {
                    self.messages_in.count(type_of(&message));
                    self.message(env, id, message);
                }
                Ok(None) => break,
                Err(notification) => {
                    let message = connection.message().to_vec();
                    if message.get(wire::HEADER - 1) == Some(&(MessageType::Update as u8)) {
                        env.out.push(Output::Unreadable { notification: notification.clone(), message });
                    }
                    self.end(env, id, Cause::Sent(notification));
                }
            }
        }
        self.settle(env);
    }

    fn open_connection(&mut self, env: &mut Env<'_>, direction: Direction) -> ConnId {
        *env.last_id += 1;
        let id = ConnId(*env.last_id);
        self.connections.push(Connection::new(id, direction));
        id
    }

    /// TCP stands: our OPEN goes out, now or when the DelayOpenTimer has expired (events 16 and 17), which runs for
    /// `reserve` at least.
    fn greet(&mut self, env: &mut Env<'_>, id: ConnId, local: IpAddr, reserve: Duration) {
        let delay = self.settings.delay_open.max(reserve);
        if let Some(connection) = self.connection(id) {
            connection.local = Some(local);
            if !delay.is_zero() {
                connection.phase = Phase::Delayed;
                connection.open_at = Some(env.now + delay);
                return;
            }
        }
        self.say_open(env, id);
    }

    pub(super) fn say_open(&mut self, env: &mut Env<'_>, id: ConnId) {
        // After a break of TCP alone nothing was lost either: this process, which had a session with the neighbour before,
        // has forwarded ever since. Without the F bit a helper drops our routes at once (RFC 4724 4.2). A first session
        // has it only from an earlier incarnation: after a reboot there is nothing that was preserved.
        let preserved = env.preserved || self.sessions > 0;
        let offer = wire::encode_open(&open::offer(&self.settings, self.local(id), env.restarting, preserved));
        let now = env.now;
        if let Some(connection) = self.connection(id) {
            connection.open_at = None;
            connection.phase = Phase::OpenSent;
            connection.hold_at = Some(now + timers::OPEN_HOLD);
            connection.send(&offer);
            connection.opens[0] = offer;
        }
    }

    /// Our end of a connection.
    fn local(&self, id: ConnId) -> Option<IpAddr> {
        self.connections.iter().find(|connection| connection.id == id)?.local
    }

    fn message(&mut self, env: &mut Env<'_>, id: ConnId, message: Message) {
        let Some(connection) = self.connection(id) else { return };
        let phase = connection.phase;
        match (phase, message) {
            (_, Message::Notification(notification)) => self.end(env, id, Cause::Received(notification)),
            (Phase::Delayed | Phase::OpenSent, Message::Open(open)) => self.opened(env, id, &open),
            (Phase::OpenConfirm, Message::Keepalive) => self.confirmed(env, id),
            (Phase::Established, Message::Keepalive) => connection.heard(env.now),
            (Phase::Established, Message::Update(update)) => {
                connection.heard(env.now);
                let message = connection.message().to_vec();
                env.out.push(Output::Update { update: Box::new(update), message });
            }
            (Phase::Established, Message::RouteRefresh { family, subtype }) => {
                connection.heard(env.now);
                let enhanced = connection.negotiated.as_ref().is_some_and(|negotiated| negotiated.enhanced_refresh);
                env.out.extend(match subtype {
                    _ if !enhanced => Some(Output::Refresh(family)),
                    refresh_subtype::REQUEST => Some(Output::Refresh(family)),
                    refresh_subtype::BEGIN => Some(Output::RefreshBegins(family)),
                    refresh_subtype::END => Some(Output::RefreshEnds(family)),
                    _ => None,
                });
            }
            // Out of turn: refused before it was decoded.
            _ => {}
        }
    }

    fn opened(&mut self, env: &mut Env<'_>, id: ConnId, open: &wire::Open) {
        let negotiated = match open::negotiate(&self.settings, self.local(id), open) {
            Ok(negotiated) => negotiated,
            Err(notification) => {
                let stranger = open::stranger(&self.settings, open);
                self.end(env, id, Cause::Sent(notification));
                return stranger.into_iter().for_each(|why| self.explain(&why));
            }
        };
        if !self.wins_collision(env, id, &negotiated) {
            return self.end(env, id, Cause::Sent(Notification::cease(cease::COLLISION_RESOLUTION)));
        }
        // Event 20: it was faster than the DelayOpenTimer.
        if self.connection(id).is_some_and(|connection| connection.phase == Phase::Delayed) {
            self.say_open(env, id);
        }
        let now = env.now;
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) {
            connection.phase = Phase::OpenConfirm;
            connection.agree(negotiated, now, env.rng);
            // With a hold time of 0 nothing else would end the wait for its KEEPALIVE.
            connection.hold_at.get_or_insert(now + timers::OPEN_HOLD);
            connection.keepalive(now, env.rng);
        }
    }

    pub(super) fn establish(&mut self, env: &mut Env<'_>, id: ConnId) {
        let others: Vec<ConnId> = self.connections.iter().map(|c| c.id).filter(|other| *other != id).collect();
        for other in others {
            self.end(env, other, Cause::Sent(Notification::cease(cease::COLLISION_RESOLUTION)));
        }
        let now = env.now;
        self.attempt_at = None;
        self.attempt_error = None;
        self.refusal = None;
        self.sessions += 1;
        if let Some(connection) = self.connection(id) {
            connection.phase = Phase::Established;
            connection.confirmed_until = None;
            connection.heard(now);
            if let Some(negotiated) = connection.negotiated.clone() {
                env.out.push(Output::Established(Box::new(negotiated)));
            }
        }
    }
}

/// The type of a message (RFC 4271 4.1, RFC 2918).
fn type_of(message: &Message) -> MessageType {
    match message {
        Message::Open(_) => MessageType::Open,
        Message::Update(_) => MessageType::Update,
        Message::Notification(_) => MessageType::Notification,
        Message::Keepalive => MessageType::Keepalive,
        Message::RouteRefresh { .. } => MessageType::RouteRefresh,
    }
}
