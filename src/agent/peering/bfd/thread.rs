//! The loop around the engine, on a thread that waits for nothing but its own sockets.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use routenet_core::bfd::engine::{Engine, Event, Input, Neighbor};
use routenet_core::time::Time;
use tokio::sync::mpsc;

use super::socket::{Received, Sockets};
use super::{Order, Report, priority};

/// Packets of one socket that are taken in before the detection timers are looked at: what waited while this thread was
/// kept from running counts, and a flood does not hold it up for ever.
const PACKETS: usize = 4096;
/// Sockets that could not be had are tried again so often.
const RETRY: Duration = Duration::from_secs(1);

struct Thread<'a> {
    engine: Engine,
    sockets: Sockets,
    origin: Instant,
    /// When missing sockets are tried next.
    retry_at: Option<Time>,
    news: mpsc::Sender<Event>,
    /// What the driver had no room for.
    untold: BTreeMap<Neighbor, Event>,
    orders: &'a Receiver<Order>,
    left: bool,
    /// Whoever waits for the end.
    waiting: Vec<Sender<()>>,
}

pub fn run(seed: u64, orders: &Receiver<Order>, wake: &EventFd, news: mpsc::Sender<Event>) {
    priority::raise();
    let mut thread = Thread {
        engine: Engine::new(seed),
        sockets: Sockets::default(),
        origin: Instant::now(),
        retry_at: None,
        news,
        untold: BTreeMap::new(),
        orders,
        left: false,
        waiting: Vec::new(),
    };
    while !(thread.left && thread.engine.is_over()) {
        thread.wait(wake);
        thread.turn();
    }
}

impl Thread<'_> {
    fn now(&self) -> Time {
        Time::from(self.origin.elapsed())
    }

    fn wait(&self, wake: &EventFd) {
        // What the driver has no room for now it is asked again about soon.
        let untold = (!self.untold.is_empty()).then(|| self.now() + Duration::from_millis(10));
        let at = [self.engine.next_deadline(), self.retry_at, untold].into_iter().flatten().min();
        let timeout = at.map(|at| TimeSpec::from_duration(at.since(self.now())));
        let mut watched = vec![PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        watched.extend(self.sockets.receivers().map(|socket| PollFd::new(socket, PollFlags::POLLIN)));
        // Interrupted or not: the turn looks at everything anyway.
        let _ = ppoll(&mut watched, timeout, None);
        let _ = wake.read();
    }

    fn turn(&mut self) {
        self.obey();
        let now = self.now();
        let Thread { engine, sockets, .. } = self;
        sockets.receive(PACKETS, |Received { from, ttl, bytes }| {
            engine.handle(Input::Received { from, ttl, bytes }, now);
        });
        let now = self.now();
        if self.engine.next_deadline().is_some_and(|at| at <= now) {
            self.engine.handle(Input::Timeout, now);
        }
        for (neighbor, bytes) in self.engine.poll_transmit(now) {
            self.sockets.send(neighbor, &bytes);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = (!self.sockets.retry()).then(|| now + RETRY);
        }
        self.tell();
    }

    fn obey(&mut self) {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Configure(links)) => {
                    let now = self.now();
                    let wanted = links.iter().map(|(neighbor, link)| (*neighbor, link.wanted)).collect();
                    self.engine.handle(Input::Configure(wanted), now);
                    self.sockets.configure(&links);
                    self.sockets.forget(|neighbor| self.engine.is_leaving(neighbor));
                    self.retry_at = (!self.sockets.errors.is_empty()).then(|| now + RETRY);
                }
                // Whoever asked may have gone; that is their matter.
                Ok(Order::Report(answer)) => drop(answer.send(self.report())),
                Ok(Order::Leave(end)) => {
                    self.leave();
                    self.waiting.push(end);
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    if !self.left {
                        self.leave();
                    }
                    return;
                }
            }
        }
    }

    fn leave(&mut self) {
        self.engine.handle(Input::Leave, self.now());
        self.left = true;
    }

    fn report(&self) -> Report {
        Report {
            sessions: self.engine.status(self.now()),
            unsent: self.sockets.unsent.clone(),
            errors: self.sockets.errors.iter().cloned().collect(),
        }
    }

    /// A failure is not forgotten for what came after it.
    fn tell(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            let (Event::Up(neighbor) | Event::AdminDown(neighbor) | Event::Failed { neighbor, .. }) = event;
            match self.untold.entry(neighbor) {
                Entry::Occupied(mut untold) if !matches!(untold.get(), Event::Failed { .. }) => {
                    _ = untold.insert(event)
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => _ = place.insert(event),
            }
        }
        while let Some(first) = self.untold.first_entry() {
            match self.news.try_send(*first.get()) {
                Ok(()) => _ = first.remove(),
                Err(mpsc::error::TrySendError::Full(_)) => return,
                // Nobody listens any more.
                Err(mpsc::error::TrySendError::Closed(_)) => return self.untold.clear(),
            }
        }
    }
}
