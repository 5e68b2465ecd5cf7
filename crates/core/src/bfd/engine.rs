//! All sessions behind three verbs: whose a packet is (RFC 5880 6.3 and 6.8.6, RFC 5881 3 to 5, RFC 5883 3 to 5), who
//! changed state, what is to be sent.
//!
//! ```text
//! loop {
//!     engine.handle(input, now)                          packets, configuration
//!     while let Some(event) = engine.poll_event()        what the BGP speaker has to hear
//!     for (neighbor, bytes) in engine.poll_transmit(now) what is to be sent, all at once
//!     wait for input, or until engine.next_deadline(), then handle(Input::Timeout, now)
//! }
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::chance::Chance;
use super::packet::{Diagnostic, Discard, LENGTH, Packet, State};
use super::session::{Change, Session, Settings};
use crate::time::Time;

/// RFC 5881 5: what a packet has that came over no router.
pub const FULL_TTL: u8 = 255;

/// Who is at the other end, and how far away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbor {
    pub address: IpAddr,
    /// The index of the interface for a link-local address, else 0.
    pub interface: u32,
    /// RFC 5883: routers may lie between; else RFC 5881.
    pub multihop: bool,
}

/// One neighbour's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub settings: Settings,
    /// Multihop: the least TTL that its packets may come with (RFC 5883 5). On a link it is always 255.
    pub least_ttl: u8,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The whole list. Who is no longer in it hears AdminDown.
    Configure(BTreeMap<Neighbor, Wanted>),
    /// From this source, to the port of this kind, with this TTL.
    Received { from: Neighbor, ttl: u8, bytes: &'a [u8] },
    /// Says AdminDown to everybody; [`Engine::is_over`] tells when it was said often enough.
    Leave,
    /// The deadline has come.
    Timeout,
}

/// What a session did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Up(Neighbor),
    /// From Up: nothing reaches us from there, or it says that nothing of ours reaches it. `independent`: the neighbour's BFD
    /// does not share the fate of its control plane (RFC 5882 4.3).
    Failed {
        neighbor: Neighbor,
        diagnostic: Diagnostic,
        independent: bool,
    },
    /// From Up: the neighbour's administrator ended it, which says nothing of the path (RFC 5882 3.2).
    AdminDown(Neighbor),
}

/// How a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    /// How long it has been Up, or has not been.
    pub lasting: Duration,
    /// Why it is not Up; while Up none.
    pub diagnostic: Diagnostic,
    /// The last session was ended by the neighbour's administrator (AdminDown), whatever was heard since.
    pub ended_by_neighbor: bool,
    /// What the neighbour says of itself: its state and diagnostic.
    pub remote: Option<(State, Diagnostic)>,
    /// What we send at, and how long the neighbour may be silent.
    pub transmit_interval: Duration,
    pub detection_time: Option<Duration>,
    /// How often it was Up.
    pub ups: u64,
    /// Packets that came from its address and were not taken, and why the last was not.
    pub discarded: u64,
    pub last_discard: Option<Discard>,
}

#[derive(Debug)]
struct Held {
    session: Session,
    wanted: Wanted,
    discarded: u64,
    last_discard: Option<Discard>,
}

#[derive(Debug)]
pub struct Engine {
    sessions: BTreeMap<Neighbor, Held>,
    by_discriminator: BTreeMap<u32, Neighbor>,
    /// No longer configured, and still saying so.
    leaving: BTreeMap<Neighbor, Session>,
    events: VecDeque<Event>,
    chance: Chance,
    /// [`Input::Leave`] has come.
    left: bool,
}

impl Engine {
    /// `seed`: where discriminators and jitter start from; another one each time, or a neighbour takes us for who we were.
    pub fn new(seed: u64) -> Engine {
        Engine {
            sessions: BTreeMap::new(),
            by_discriminator: BTreeMap::new(),
            leaving: BTreeMap::new(),
            events: VecDeque::new(),
            chance: Chance::new(seed),
            left: false,
        }
    }

    pub fn handle(&mut self, input: Input<'_>, now: Time) {
        match input {
            Input::Configure(_) if self.left => {}
            Input::Configure(wanted) => self.configure(wanted, now),
            Input::Received { from, ttl, bytes } => self.received(from, ttl, bytes, now),
            Input::Leave => {
                self.left = true;
                self.configure(BTreeMap::new(), now);
            }
            Input::Timeout => self.timeout(now),
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is due: two packets of a session at most.
    pub fn poll_transmit(&mut self, now: Time) -> Vec<(Neighbor, [u8; LENGTH])> {
        let held = self.sessions.iter_mut().map(|(neighbor, held)| (*neighbor, &mut held.session));
        let leaving = self.leaving.iter_mut().map(|(neighbor, session)| (*neighbor, session));
        let mut due = Vec::new();
        for (neighbor, session) in held.chain(leaving) {
            while let Some(packet) = session.poll_transmit(now) {
                due.push((neighbor, packet.encode()));
            }
        }
        self.leaving.retain(|_, session| !session.is_over());
        due
    }

    /// When [`Input::Timeout`] or [`Engine::poll_transmit`] is due; perhaps at once.
    pub fn next_deadline(&self) -> Option<Time> {
        let held = self.sessions.values().map(|held| &held.session);
        held.chain(self.leaving.values()).filter_map(Session::next_deadline).min()
    }

    /// Whether nobody is left to whom anything could be said.
    pub fn is_over(&self) -> bool {
        self.sessions.is_empty() && self.leaving.is_empty()
    }

    /// Whether it is no longer configured, and still told so.
    pub fn is_leaving(&self, neighbor: &Neighbor) -> bool {
        self.leaving.contains_key(neighbor)
    }

    pub fn status(&self, now: Time) -> BTreeMap<Neighbor, Status> {
        let status = |held: &Held| Status {
            state: held.session.state(),
            lasting: now.since(held.session.since()),
            diagnostic: held.session.diagnostic(),
            ended_by_neighbor: held.session.ended_by_neighbor(),
            remote: held.session.remote().map(|packet| (packet.state, packet.diagnostic)),
            transmit_interval: held.session.transmit_interval(),
            detection_time: held.session.detection_time(),
            ups: held.session.ups(),
            discarded: held.discarded,
            last_discard: held.last_discard,
        };
        self.sessions.iter().map(|(neighbor, held)| (*neighbor, status(held))).collect()
    }

    fn configure(&mut self, wanted: BTreeMap<Neighbor, Wanted>, now: Time) {
        let gone: Vec<Neighbor> = self.sessions.keys().filter(|it| !wanted.contains_key(it)).copied().collect();
        for neighbor in gone {
            let Some(mut held) = self.sessions.remove(&neighbor) else { continue };
            self.by_discriminator.remove(&held.session.discriminator());
            held.session.shut(now);
            self.leaving.insert(neighbor, held.session);
        }
        for (neighbor, wanted) in wanted {
            if let Some(held) = self.sessions.get_mut(&neighbor) {
                if held.wanted.settings != wanted.settings {
                    held.session.configure(wanted.settings, now);
                }
                held.wanted = wanted;
                continue;
            }
            // What the last one still had to say would end the next one.
            self.leaving.remove(&neighbor);
            let discriminator = self.discriminator();
            let session = Session::new(wanted.settings, discriminator, self.chance.draw(), now);
            self.by_discriminator.insert(discriminator, neighbor);
            self.sessions.insert(neighbor, Held { session, wanted, discarded: 0, last_discard: None });
        }
    }

    /// RFC 5880 6.8.1: unique, and not 0.
    fn discriminator(&mut self) -> u32 {
        loop {
            let drawn = (self.chance.draw() >> 32) as u32;
            if drawn != 0 && !self.by_discriminator.contains_key(&drawn) {
                return drawn;
            }
        }
    }

    fn received(&mut self, from: Neighbor, ttl: u8, bytes: &[u8], now: Time) {
        match self.judge(from, ttl, bytes) {
            Ok((neighbor, packet)) => {
                let Some(held) = self.sessions.get_mut(&neighbor) else { return };
                let change = held.session.received(packet, now);
                self.report(neighbor, change);
            }
            Err(discard) => {
                if let Some(held) = self.sessions.get_mut(&from) {
                    held.discarded += 1;
                    held.last_discard = Some(discard);
                }
            }
        }
    }

    /// RFC 5880 6.8.6 in its order; the TTL last, since it is the session that says which is good.
    fn judge(&self, from: Neighbor, ttl: u8, bytes: &[u8]) -> Result<(Neighbor, Packet), Discard> {
        let (packet, authenticated) = Packet::decode(bytes)?;
        let neighbor = if packet.your_discriminator != 0 {
            // Whatever address it comes from (6.3), but not from further away than the session may be.
            let found = self.by_discriminator.get(&packet.your_discriminator).copied();
            found.filter(|it| it.multihop == from.multihop).ok_or(Discard::UnknownDiscriminator)?
        } else if packet.state > State::Down {
            return Err(Discard::ZeroYourDiscriminator);
        } else {
            from
        };
        let held = self.sessions.get(&neighbor).ok_or(Discard::UnknownNeighbor)?;
        if authenticated {
            return Err(Discard::Authenticated);
        }
        let least = if neighbor.multihop { held.wanted.least_ttl } else { FULL_TTL };
        if ttl < least {
            return Err(Discard::Ttl(ttl, least));
        }
        Ok((neighbor, packet))
    }

    fn timeout(&mut self, now: Time) {
        let changes: Vec<(Neighbor, Option<Change>)> =
            self.sessions.iter_mut().map(|(neighbor, held)| (*neighbor, held.session.timeout(now))).collect();
        for (neighbor, change) in changes {
            self.report(neighbor, change);
        }
        // What it heard last tells a session that leaves nothing more than how long that was ago.
        for session in self.leaving.values_mut() {
            session.timeout(now);
        }
    }

    fn report(&mut self, neighbor: Neighbor, change: Option<Change>) {
        let event = match change {
            Some(Change { to: State::Up, .. }) => Event::Up(neighbor),
            Some(Change { from: State::Up, remote_admin_down: true, .. }) => Event::AdminDown(neighbor),
            Some(Change { from: State::Up, remote_independent: independent, .. }) => {
                let diagnostic = self.sessions.get(&neighbor).map_or(Diagnostic::NONE, |it| it.session.diagnostic());
                Event::Failed { neighbor, diagnostic, independent }
            }
            _ => return,
        };
        self.events.push_back(event);
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
