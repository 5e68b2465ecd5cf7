//! One neighbour: the state machine, the timers and the Poll sequences of RFC 5880 section 6.
//!
//! Called by [`super::engine`], which has found out that a packet is this session's.

use std::time::Duration;

use super::chance::Chance;
use super::packet::{Diagnostic, Packet, State};
use crate::time::Time;

/// RFC 5880 6.8.3: nobody sends faster than this while the session is not Up.
pub const SLOW: Duration = Duration::from_secs(1);
/// bfd.RemoteMinRxInterval before the neighbour has said anything (RFC 5880 6.8.1).
const UNKNOWN: Duration = Duration::from_micros(1);
/// How often AdminDown is said before a session is forgotten: whoever misses it takes the silence for a failure.
const FAREWELLS: u8 = 3;
/// A farewell is not to last long, however slow the session was.
const FAREWELL_PACE: Duration = Duration::from_millis(100);

/// What we are told of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What we would send at, and take, while it is Up.
    pub interval: Duration,
    /// Not 0: how many packets the neighbour misses before it takes us for gone.
    pub multiplier: u8,
}

/// What we say of our timers in every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timers {
    /// bfd.DesiredMinTxInterval.
    desired_min_tx: Duration,
    /// bfd.RequiredMinRxInterval.
    required_min_rx: Duration,
}

/// What the neighbour said last; forgotten when it falls silent.
#[derive(Clone, Copy, Debug)]
struct Remote {
    at: Time,
    packet: Packet,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: State,
    pub to: State,
    /// The neighbour is AdminDown: it says that this is no failure (RFC 5882 3.2).
    pub remote_admin_down: bool,
    /// Whether the neighbour's BFD is independent of its control plane (the C bit).
    pub remote_independent: bool,
}

#[derive(Debug)]
pub struct Session {
    settings: Settings,
    state: State,
    /// bfd.LocalDiscr.
    discriminator: u32,
    /// bfd.LocalDiag.
    diagnostic: Diagnostic,
    remote: Option<Remote>,
    /// What our packets say.
    announced: Timers,
    /// What the neighbour has surely heard: what we go by where the two differ and the session is Up (RFC 5880 6.8.3).
    in_effect: Timers,
    /// A Poll sequence is under way (RFC 5880 6.5).
    polling: bool,
    /// A Poll is to be answered.
    owes_final: bool,
    /// The next packet says something new, and is not to wait for its turn (RFC 5880 6.8.7).
    has_news: bool,
    sent_at: Option<Time>,
    transmit_at: Time,
    /// What ended the last session was the neighbour's administrator.
    ended_by_neighbor: bool,
    /// AdminDown is still to be said so often.
    farewells: u8,
    since: Time,
    /// How often it was Up.
    ups: u64,
    chance: Chance,
}

impl Session {
    /// `discriminator`: not 0, and no other session's. `seed`: where its jitter starts from.
    pub fn new(settings: Settings, discriminator: u32, seed: u64, now: Time) -> Session {
        let timers = slow(settings);
        Session {
            settings,
            state: State::Down,
            discriminator,
            diagnostic: Diagnostic::NONE,
            remote: None,
            announced: timers,
            in_effect: timers,
            polling: false,
            owes_final: false,
            has_news: false,
            sent_at: None,
            ended_by_neighbor: false,
            transmit_at: now,
            farewells: 0,
            since: now,
            ups: 0,
            chance: Chance::new(seed),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn discriminator(&self) -> u32 {
        self.discriminator
    }

    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// Since when it is Up, or is not.
    pub fn since(&self) -> Time {
        self.since
    }

    pub fn ended_by_neighbor(&self) -> bool {
        self.ended_by_neighbor
    }

    /// How often it was Up.
    pub fn ups(&self) -> u64 {
        self.ups
    }

    /// What the neighbour said last, unless it fell silent.
    pub fn remote(&self) -> Option<&Packet> {
        self.remote.as_ref().map(|remote| &remote.packet)
    }

    /// RFC 5880 6.8.2: what we send at, before jitter.
    pub fn transmit_interval(&self) -> Duration {
        self.in_effect.desired_min_tx.max(self.remote().map_or(UNKNOWN, |packet| packet.required_min_rx))
    }

    /// RFC 5880 6.8.4, asynchronous mode: how long the neighbour may be silent.
    pub fn detection_time(&self) -> Option<Duration> {
        let packet = self.remote()?;
        Some(self.in_effect.required_min_rx.max(packet.desired_min_tx) * packet.multiplier.into())
    }

    /// New timers: told by a Poll sequence (RFC 5880 6.8.3). A new multiplier is just told.
    pub fn configure(&mut self, settings: Settings, now: Time) {
        self.settings = settings;
        self.renegotiate(now);
    }

    /// A packet of this session has come (RFC 5880 6.8.6, after the checks).
    pub fn received(&mut self, packet: Packet, now: Time) -> Option<Change> {
        let interval = self.transmit_interval();
        self.remote = Some(Remote { at: now, packet });
        if self.polling && packet.final_ {
            self.polling = false;
            self.in_effect = self.announced;
            self.renegotiate(now);
        }
        if self.transmit_interval() != interval {
            self.reschedule(now);
        }
        if self.state == State::AdminDown {
            return None;
        }
        let (to, diagnostic) = match (self.state, packet.state) {
            (State::Down, State::Down) => (State::Init, self.diagnostic),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => (State::Up, Diagnostic::NONE),
            (State::Init, State::AdminDown) | (State::Up, State::AdminDown | State::Down) => {
                (State::Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN)
            }
            (same, _) => (same, self.diagnostic),
        };
        self.owes_final |= packet.poll;
        self.turn(to, diagnostic, now)
    }

    /// Runs the detection timer (RFC 5880 6.8.4 and 6.8.5).
    pub fn timeout(&mut self, now: Time) -> Option<Change> {
        if self.silent_at().is_none_or(|at| at > now) {
            return None;
        }
        let change = match self.state {
            State::Init | State::Up => self.turn(State::Down, Diagnostic::DETECTION_TIME_EXPIRED, now),
            State::AdminDown | State::Down => None,
        };
        // bfd.RemoteDiscr (6.8.1), and with it all that it said: who comes back there may be somebody else.
        self.remote = None;
        self.polling = false;
        self.in_effect = self.announced;
        self.reschedule(now);
        change
    }

    /// Ends it so that the neighbour does not take it for a failure (RFC 5880 6.8.16); it is over when [`Session::is_over`].
    pub fn shut(&mut self, now: Time) {
        // Where nobody ever answered nobody would miss us.
        self.farewells = if self.remote.is_some() { FAREWELLS } else { 0 };
        self.turn(State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN, now);
    }

    pub fn is_over(&self) -> bool {
        self.state == State::AdminDown && self.farewells == 0
    }

    /// The packet that is due; to be called until there is none.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Packet> {
        if std::mem::take(&mut self.owes_final) {
            // Never both bits (6.5); our own Poll goes out in its turn. It says the news, too.
            self.has_news = false;
            return Some(self.packet(false, true));
        }
        if !self.is_due(now) {
            return None;
        }
        self.has_news = false;
        self.sent_at = Some(now);
        self.reschedule(now);
        if self.state == State::AdminDown {
            self.farewells = self.farewells.saturating_sub(1);
            self.transmit_at = now + self.settings.interval.min(FAREWELL_PACE);
        }
        Some(self.packet(self.polling, false))
    }

    /// When [`Session::timeout`] or [`Session::poll_transmit`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let at_once = (self.owes_final || self.has_news).then_some(Time::ZERO);
        let transmit = self.is_periodic().then_some(self.transmit_at);
        [at_once, transmit, self.silent_at()].into_iter().flatten().min()
    }

    fn is_due(&self, now: Time) -> bool {
        self.has_news || (self.is_periodic() && self.transmit_at <= now)
    }

    /// RFC 5880 6.8.7: whether packets go out in turn. Not to a neighbour that takes none, nor, while both are Up, to one
    /// in demand mode (6.6), unless we poll it.
    fn is_periodic(&self) -> bool {
        if self.state == State::AdminDown {
            return self.farewells > 0;
        }
        let Some(packet) = self.remote() else { return true };
        let demanded = packet.demand && self.state == State::Up && packet.state == State::Up;
        !packet.required_min_rx.is_zero() && (!demanded || self.polling)
    }

    fn silent_at(&self) -> Option<Time> {
        Some(self.remote.as_ref()?.at + self.detection_time()?)
    }

    fn turn(&mut self, to: State, diagnostic: Diagnostic, now: Time) -> Option<Change> {
        let from = self.state;
        if from == to {
            return None;
        }
        let change = Change {
            from,
            to,
            remote_admin_down: self.remote().is_some_and(|packet| packet.state == State::AdminDown),
            remote_independent: self.remote().is_some_and(|packet| packet.control_plane_independent),
        };
        if from == State::Up || to == State::Up {
            self.since = now;
            self.ended_by_neighbor = change.remote_admin_down;
        }
        self.ups += u64::from(to == State::Up);
        self.state = to;
        self.diagnostic = diagnostic;
        self.has_news = true;
        self.renegotiate(now);
        Some(change)
    }

    /// RFC 5880 6.8.3: announces the timers that state and settings ask for, by a Poll sequence where somebody is there to
    /// answer. What a running sequence announces stays until it is over; then comes the next.
    fn renegotiate(&mut self, now: Time) {
        let up = self.state == State::Up;
        let wanted = if up { fast(self.settings) } else { slow(self.settings) };
        if !up {
            self.in_effect = wanted;
        }
        if wanted == self.announced || (up && self.polling) {
            return;
        }
        self.announced = wanted;
        self.polling = self.remote.is_some() && self.state != State::AdminDown;
        // While Up, what would make us send later than the neighbour expects, or expect more than it sends, waits until
        // it has heard of it.
        if up {
            self.in_effect = Timers {
                desired_min_tx: wanted.desired_min_tx.min(self.in_effect.desired_min_tx),
                required_min_rx: wanted.required_min_rx.max(self.in_effect.required_min_rx),
            };
        }
        self.reschedule(now);
    }

    /// The next periodic packet, counted from the last one.
    fn reschedule(&mut self, now: Time) {
        let Some(sent_at) = self.sent_at else { return };
        let wait = self.chance.jitter(self.transmit_interval(), self.settings.multiplier);
        self.transmit_at = (sent_at + wait).max(now);
    }

    fn packet(&self, poll: bool, final_: bool) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll,
            final_,
            // It lives in the process that speaks BGP (RFC 5880 4.1).
            control_plane_independent: false,
            demand: false,
            multiplier: self.settings.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote().map_or(0, |packet| packet.my_discriminator),
            desired_min_tx: self.announced.desired_min_tx,
            required_min_rx: self.announced.required_min_rx,
            // No echo (RFC 5880 6.8.1).
            required_min_echo_rx: Duration::ZERO,
        }
    }
}

fn fast(settings: Settings) -> Timers {
    Timers { desired_min_tx: settings.interval, required_min_rx: settings.interval }
}

fn slow(settings: Settings) -> Timers {
    Timers { desired_min_tx: settings.interval.max(SLOW), required_min_rx: settings.interval }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
