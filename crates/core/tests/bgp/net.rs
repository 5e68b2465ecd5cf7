//! Speakers joined by a network in memory: an event queue under a virtual clock. What is said takes time to arrive, in order
//! on one connection and in any order across several; connections break, and what is said between two that are cut off
//! from each other is lost, and the connection with it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use routenet_core::bgp::speaker::*;
use routenet_core::bgp::wire::{self, MessageType};
use routenet_core::model::Cidr;
use routenet_core::time::Time;

use crate::dice::Dice;

/// A connection's end: whose, and which of theirs.
type End = (usize, ConnId);

/// What is written at one time, at most.
const BUDGET: usize = 16_384;
/// How long a connection to nowhere is tried.
const DIAL: Duration = Duration::from_secs(3);

/// How long things take.
#[derive(Clone, Copy)]
pub struct Timing {
    pub latency: Duration,
    /// At most so much more.
    pub jitter: Duration,
    /// What it costs a node to take in a message; meanwhile it does nothing else.
    pub message: Duration,
    /// Whether the bytes arrive in pieces, cut anywhere.
    pub pieces: bool,
    /// How finely a speaker's timers are kept.
    pub tick: Duration,
}

/// UPDATEs that were delivered to speakers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub messages: u64,
    pub bytes: u64,
}

pub struct Node {
    pub config: SpeakerConfig,
    pub pools: Vec<Cidr>,
    pub own: BTreeSet<Cidr>,
    pub speaker: Option<Speaker>,
    /// What its kernel would have; it outlives the speaker.
    pub kernel: BTreeMap<Cidr, Vec<IpAddr>>,
    /// What of it the present speaker said.
    fresh: BTreeSet<Cidr>,
    /// Counts its speakers: what was on its way to an older one is lost.
    generation: u64,
    /// Connections that it has asked for.
    dialing: BTreeSet<ConnId>,
    /// When its speaker is to be woken.
    timer: Option<Time>,
    inbox: VecDeque<Delivery>,
    busy_until: Time,
    /// When its kernel last changed, and how often it lost a route.
    pub changed: Time,
    pub lost: u64,
}

#[derive(Clone, Copy)]
struct Pipe {
    /// Never used twice, as connections of a restarted speaker are.
    id: u64,
    other: End,
    /// When what was said last arrives: nothing said later arrives earlier.
    arrives: Time,
    /// Bytes said into it were lost: nothing said later can arrive.
    lost: bool,
}

enum Delivery {
    Bytes { pipe: u64, conn: ConnId, bytes: Vec<u8>, content: Content },
    Connected { pipe: u64, conn: ConnId },
    Closed { pipe: u64, conn: ConnId, why: &'static str },
    Failed { generation: u64, conn: ConnId },
    Dialed { from: usize, generation: u64, conn: ConnId },
}

/// What is in some bytes: messages, UPDATEs among them, and whether all of them are KEEPALIVEs.
#[derive(Clone, Copy, Default)]
struct Content {
    messages: u32,
    updates: Traffic,
    keepalives: bool,
}

impl Content {
    fn of(mut bytes: &[u8]) -> Content {
        let mut content = Content { keepalives: true, ..Content::default() };
        while let Some(length) = wire::message_length(bytes).expect("what we send is well formed") {
            content.messages += 1;
            let kind = bytes[wire::HEADER - 1];
            if kind == MessageType::Update as u8 {
                content.updates.messages += 1;
                content.updates.bytes += length as u64;
            }
            content.keepalives &= kind == MessageType::Keepalive as u8;
            bytes = &bytes[length..];
        }
        content
    }
}

enum Step {
    Arrives(usize, Delivery),
    /// The node is free for the next of its inbox.
    Works(usize),
    Timer(usize),
}

pub struct Net {
    pub now: Time,
    pub nodes: Vec<Node>,
    timing: Timing,
    dice: Dice,
    queue: BTreeMap<(Time, u64), Step>,
    sequence: u64,
    pipes: BTreeMap<End, Pipe>,
    by_address: BTreeMap<IpAddr, usize>,
    cut: BTreeSet<(usize, usize)>,
    pub traffic: Traffic,
    /// When the last UPDATE arrived.
    pub updated: Time,
    /// Everything that happened, in order: what speakers asked for, what arrived, and when.
    trace: DefaultHasher,
    pub steps: u64,
}

impl Net {
    pub fn new(timing: Timing, seed: u64) -> Net {
        Net {
            now: Time::ZERO,
            nodes: Vec::new(),
            timing,
            dice: Dice(seed),
            queue: BTreeMap::new(),
            sequence: 0,
            pipes: BTreeMap::new(),
            by_address: BTreeMap::new(),
            cut: BTreeSet::new(),
            traffic: Traffic::default(),
            updated: Time::ZERO,
            trace: DefaultHasher::new(),
            steps: 0,
        }
    }

    /// A node that is off; its neighbours know it by `address4`.
    pub fn add(&mut self, config: SpeakerConfig) -> usize {
        let index = self.nodes.len();
        self.by_address.insert(config.address4.expect("an address"), index);
        self.nodes.push(Node {
            config,
            pools: Vec::new(),
            own: BTreeSet::new(),
            speaker: None,
            kernel: BTreeMap::new(),
            fresh: BTreeSet::new(),
            generation: 0,
            dialing: BTreeSet::new(),
            timer: None,
            inbox: VecDeque::new(),
            busy_until: Time::ZERO,
            changed: Time::ZERO,
            lost: 0,
        });
        index
    }

    /// The fingerprint of everything that has happened.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub fn is_up(&self, index: usize) -> bool {
        self.nodes[index].speaker.is_some()
    }

    pub fn speaker(&self, index: usize) -> &Speaker {
        self.nodes[index].speaker.as_ref().expect("it runs")
    }

    /// Its process starts, with what it has to announce.
    pub fn boot(&mut self, index: usize, restarting: bool) {
        let (now, seed) = (self.now, self.dice.below(1 << 30) as u64);
        let node = &mut self.nodes[index];
        node.speaker = Some(Speaker::new(node.config.clone(), Startup { restarting, seed }, now));
        node.fresh.clear();
        let pools = node.pools.clone();
        let own = node.own.iter().map(|prefix| (*prefix, true)).collect();
        self.handle(index, Input::Pools(pools));
        self.handle(index, Input::Originate(own));
    }

    /// Its process dies; its sockets close without a word.
    pub fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.speaker = None;
        node.generation += 1;
        node.timer = None;
        node.dialing.clear();
        node.inbox.clear();
        for conn in self.connections(index) {
            self.hang_up((index, conn), "reset by peer");
        }
    }

    /// TCP breaks between the two, while both go on.
    pub fn break_tcp(&mut self, a: usize, b: usize) {
        for end in self.between(a, b) {
            self.lose(end, "reset by peer");
        }
    }

    /// What either says to the other is lost, and no connection comes about.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut.extend([(a, b), (b, a)]);
    }

    /// Every two can reach each other again; connections in which bytes were lost break, as do those whose other end is no
    /// more.
    pub fn mend(&mut self) {
        self.cut.clear();
        let dead = |pipe: &Pipe| self.pipes.get(&pipe.other).is_none_or(|other| other.id != pipe.id || other.lost);
        let ends = self.pipes.iter().filter(|(_, pipe)| pipe.lost || dead(pipe));
        for end in ends.map(|(end, _)| *end).collect::<Vec<_>>() {
            self.lose(end, "reset by peer");
        }
    }

    pub fn handle(&mut self, index: usize, input: Input<'_>) {
        if let Some(speaker) = &mut self.nodes[index].speaker {
            speaker.handle(input, self.now);
            self.pump(index);
        }
    }

    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            self.now = entry.key().0;
            let step = entry.remove();
            self.steps += 1;
            assert!(self.steps < 500_000_000, "they never come to rest");
            match step {
                Step::Arrives(to, delivery) => self.arrives(to, delivery),
                Step::Works(index) => self.work(index),
                Step::Timer(index) => {
                    if self.nodes[index].timer == Some(self.now) {
                        self.nodes[index].timer = None;
                        self.handle(index, Input::Timeout);
                    }
                }
            }
        }
        self.now = end;
    }

    fn connections(&self, index: usize) -> Vec<ConnId> {
        self.pipes.range((index, ConnId(0))..=(index, ConnId(u64::MAX))).map(|((_, conn), _)| *conn).collect()
    }

    fn between(&self, a: usize, b: usize) -> Vec<End> {
        let pair = |end: usize, other: usize| (end, other) == (a, b) || (end, other) == (b, a);
        self.pipes.iter().filter(|(end, pipe)| pair(end.0, pipe.other.0)).map(|(end, _)| *end).collect()
    }

    fn schedule(&mut self, at: Time, step: Step) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), step);
    }

    /// When what a node does now arrives elsewhere.
    fn later(&mut self, index: usize) -> Time {
        let most = self.timing.jitter.as_micros() as usize;
        let more = Duration::from_micros(if most == 0 { 0 } else { self.dice.below(most + 1) as u64 });
        self.now.max(self.nodes[index].busy_until) + self.timing.latency + more
    }

    /// What the end said, or the end of it, reaches the other end.
    fn send(&mut self, end: End, delivery: impl FnOnce(ConnId, u64) -> Delivery) {
        let later = self.later(end.0);
        let Some(pipe) = self.pipes.get_mut(&end) else { return };
        pipe.lost |= self.cut.contains(&(end.0, pipe.other.0));
        if pipe.lost {
            return;
        }
        pipe.arrives = pipe.arrives.max(later);
        let (at, other, id) = (pipe.arrives, pipe.other, pipe.id);
        self.schedule(at, Step::Arrives(other.0, delivery(other.1, id)));
    }

    /// The end is no more; the other one hears of it if it can.
    fn hang_up(&mut self, end: End, why: &'static str) {
        self.send(end, |conn, pipe| Delivery::Closed { pipe, conn, why });
        self.pipes.remove(&end);
    }

    /// The connection is of no use to this end any more, which is told so in a while.
    fn lose(&mut self, end: End, why: &'static str) {
        let at = self.later(end.0);
        if let Some(pipe) = self.pipes.get_mut(&end) {
            pipe.lost = true;
            let closed = Delivery::Closed { pipe: pipe.id, conn: end.1, why };
            self.schedule(at, Step::Arrives(end.0, closed));
        }
    }

    fn arrives(&mut self, index: usize, delivery: Delivery) {
        let node = &mut self.nodes[index];
        node.inbox.push_back(delivery);
        if node.inbox.len() == 1 {
            let at = node.busy_until;
            if at > self.now { self.schedule(at, Step::Works(index)) } else { self.work(index) }
        }
    }

    /// Takes the first of the inbox; what follows from it is said when there is nothing more to take, as a speaker does
    /// that reads its sockets before it writes.
    fn work(&mut self, index: usize) {
        let Some(delivery) = self.nodes[index].inbox.pop_front() else { return };
        let content = match &delivery {
            Delivery::Bytes { content, .. } => *content,
            _ => Content::default(),
        };
        let free = self.now + self.timing.message * content.messages;
        self.nodes[index].busy_until = free;
        self.take(index, delivery);
        if !self.nodes[index].inbox.is_empty() {
            self.schedule(free, Step::Works(index));
        } else if !content.keepalives || self.follow_all(index) {
            // A KEEPALIVE that nothing follows from only puts off a timer.
            self.pump(index);
        }
    }

    fn take(&mut self, index: usize, delivery: Delivery) {
        let now = self.now;
        let alive = |net: &Net, conn: ConnId, id: u64| net.pipes.get(&(index, conn)).is_some_and(|pipe| pipe.id == id);
        match delivery {
            Delivery::Bytes { pipe, conn, bytes, content } if alive(self, conn, pipe) => {
                (now, index, conn, &bytes).hash(&mut self.trace);
                self.traffic.messages += content.updates.messages;
                self.traffic.bytes += content.updates.bytes;
                if content.updates.messages > 0 {
                    self.updated = now;
                }
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let most = if self.timing.pieces { 1 + self.dice.below(700) } else { rest.len() };
                    let (piece, behind) = rest.split_at(most.min(rest.len()));
                    let Some(speaker) = &mut self.nodes[index].speaker else { return };
                    speaker.handle(Input::Received { conn, bytes: piece }, now);
                    rest = behind;
                }
            }
            Delivery::Connected { pipe, conn } if alive(self, conn, pipe) => {
                self.nodes[index].dialing.remove(&conn);
                let local = self.nodes[index].config.address4.expect("an address");
                self.tell(index, Input::Connected { conn, local });
            }
            Delivery::Closed { pipe, conn, why } if alive(self, conn, pipe) => {
                (now, index, conn, why).hash(&mut self.trace);
                self.pipes.remove(&(index, conn));
                self.tell(index, Input::Closed { conn, why });
            }
            Delivery::Failed { generation, conn } if self.nodes[index].generation == generation => {
                self.nodes[index].dialing.remove(&conn);
                self.tell(index, Input::Closed { conn, why: "connection refused" });
            }
            Delivery::Dialed { from, generation, conn } => self.dialed(index, from, generation, conn),
            // For a connection, or a process, that is no more.
            _ => {}
        }
    }

    fn tell(&mut self, index: usize, input: Input<'_>) {
        if let Some(speaker) = &mut self.nodes[index].speaker {
            speaker.handle(input, self.now);
        }
    }

    /// A connection from another node has arrived here.
    fn dialed(&mut self, index: usize, from: usize, generation: u64, conn: ConnId) {
        let now = self.now;
        if self.nodes[from].generation != generation || !self.nodes[from].dialing.contains(&conn) {
            return;
        }
        let [local, remote] = [index, from].map(|node| self.nodes[node].config.address4.expect("an address"));
        let accepted = self.nodes[index].speaker.as_mut().and_then(|speaker| speaker.accept(remote, local, now));
        let Some(there) = accepted else {
            let at = self.later(index);
            return self.schedule(at, Step::Arrives(from, Delivery::Failed { generation, conn }));
        };
        self.sequence += 1;
        let (here, there, id) = ((from, conn), (index, there), self.sequence);
        for (end, other) in [(here, there), (there, here)] {
            self.pipes.insert(end, Pipe { id, other, arrives: now, lost: false });
        }
        self.send(there, |conn, pipe| Delivery::Connected { pipe, conn });
    }

    /// Does what the speaker wants done, writes what it has to say, and reads its best paths.
    fn pump(&mut self, index: usize) {
        let now = self.now;
        for round in 0.. {
            assert!(round < 10_000, "node {index} never comes to rest");
            self.follow_all(index);
            let waiting = self.nodes[index].speaker.as_mut().map(|it| it.waiting(|_| true, now)).unwrap_or_default();
            if waiting.is_empty() {
                break;
            }
            for conn in waiting {
                loop {
                    let mut bytes = Vec::new();
                    let Some(speaker) = &mut self.nodes[index].speaker else { return };
                    if !speaker.wants_transmit(conn) {
                        break;
                    }
                    speaker.poll_transmit(conn, &mut bytes, BUDGET, now);
                    if bytes.is_empty() {
                        break;
                    }
                    self.say((index, conn), bytes);
                }
            }
        }
        self.read_best(index);
        let node = &mut self.nodes[index];
        let tick = self.timing.tick.as_millis().max(1) as u64;
        let ticks = |due: Time| (due.since_origin().as_millis() as u64).div_ceil(tick) * tick;
        let due = node.speaker.as_ref().and_then(Speaker::next_deadline);
        let due = due.map(|due| if due <= now { now } else { Time::from_millis(ticks(due)).max(due) });
        if let Some(due) = due.filter(|due| node.timer.is_none_or(|timer| *due < timer)) {
            node.timer = Some(due);
            self.schedule(due, Step::Timer(index));
        }
    }

    fn say(&mut self, end: End, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let content = Content::of(&bytes);
        self.send(end, |conn, pipe| Delivery::Bytes { pipe, conn, bytes, content });
    }

    /// Whether there was anything that the speaker wants done.
    fn follow_all(&mut self, index: usize) -> bool {
        let mut any = false;
        while let Some(event) = self.nodes[index].speaker.as_mut().and_then(Speaker::poll_event) {
            any = true;
            (self.now, index, format!("{event:?}")).hash(&mut self.trace);
            self.follow(index, event);
        }
        any
    }

    fn follow(&mut self, index: usize, event: Event) {
        match event {
            Event::Connect { conn, remote, .. } => {
                let generation = self.nodes[index].generation;
                self.nodes[index].dialing.insert(conn);
                let at = self.later(index);
                match self.by_address.get(&remote.ip()).filter(|to| !self.cut.contains(&(index, **to))) {
                    Some(&to) => {
                        self.schedule(at, Step::Arrives(to, Delivery::Dialed { from: index, generation, conn }));
                    }
                    None => {
                        self.schedule(at + DIAL, Step::Arrives(index, Delivery::Failed { generation, conn }));
                    }
                }
            }
            Event::Close { conn, last_words } => {
                self.nodes[index].dialing.remove(&conn);
                self.say((index, conn), last_words);
                self.hang_up((index, conn), "closed by the neighbour");
            }
            Event::State { .. } | Event::Malformed { .. } | Event::TooLong { .. } => {}
        }
    }

    fn read_best(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(speaker) = &mut node.speaker else { return };
        while let Some(best) = speaker.poll_best(64) {
            match best {
                BestPaths::Changed(changes) => {
                    for (prefix, hops) in changes {
                        let hops = hops.to_vec();
                        node.fresh.insert(prefix);
                        let before = match hops.is_empty() {
                            true => node.kernel.remove(&prefix),
                            false => node.kernel.insert(prefix, hops.clone()),
                        };
                        node.lost += u64::from(hops.is_empty() && before.is_some());
                        let same = before.unwrap_or_default() == hops;
                        if !same {
                            node.changed = self.now;
                        }
                        (self.now, index, prefix, hops).hash(&mut self.trace);
                    }
                }
                BestPaths::Converged => node.kernel.retain(|prefix, _| node.fresh.contains(prefix)),
            }
        }
    }
}
