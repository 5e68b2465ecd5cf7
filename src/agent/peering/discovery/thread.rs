//! When we announce ourselves, and who was heard.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use routenet_core::model::InterfaceName;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::packet::{self, Heard};
use super::socket::{ALL_NODES, Received, RouterSocket};
use super::{Asked, View};
use crate::plane::interfaces::{self, Changes, Interfaces};

/// How often we announce ourselves, as FRR does.
const EVERY: Duration = Duration::from_secs(10);
/// The first few come faster: the other side may have missed one (RFC 4861 6.2.4).
const FIRST: Duration = Duration::from_secs(2);
const FIRST_FEW: u32 = 3;
/// At most one a link in this time, whoever asks.
const LEAST: Duration = Duration::from_millis(500);
/// Who was not heard for so long does not announce itself any more.
const SILENCE: Duration = Duration::from_secs(35);
/// Routers of one link that are remembered, at most. A newcomer beyond takes the place of the one that was heard the longest
/// ago, so no crowd keeps anybody out for ever; one at a time, so none floods the driver; and drawn by lot, since a crowd that
/// speaks in the same order each time would go on to take the places from itself.
const MOST: usize = 16;
const NEWCOMERS: Duration = Duration::from_secs(1);
/// What changes at one time, on a host with many links, is looked at together.
const SETTLE: Duration = Duration::from_millis(100);
/// After a failure of the socket.
const RETRY: Duration = Duration::from_secs(5);

/// One interface on which we announce ourselves.
#[derive(Debug)]
struct Link {
    index: u32,
    /// Whether solicitations are heard there, and ours was sent.
    joined: bool,
    /// How often we have announced ourselves there, and when we did last.
    said: u32,
    last: Option<Instant>,
    next: Instant,
    /// Who was heard, and when last; the first to be heard first.
    heard: Vec<(Ipv6Addr, Instant)>,
    /// When a newcomer last took the place of another.
    displaced: Option<Instant>,
    /// Since then: how often newcomers were heard, and the one that is to have a place.
    newcomers: u64,
    drawn: Option<Ipv6Addr>,
}

impl Link {
    fn new(index: u32, now: Instant) -> Link {
        let (last, heard, displaced, drawn) = (None, Vec::new(), None, None);
        Link { index, joined: false, said: 0, last, next: now, heard, displaced, newcomers: 0, drawn }
    }

    /// A router was heard; `true`: there was room for it. The neighbour is not forgotten for another.
    fn remember(&mut self, router: Ipv6Addr, neighbor: Option<Ipv6Addr>, now: Instant) -> bool {
        if let Some((_, at)) = self.heard.iter_mut().find(|(from, _)| *from == router) {
            *at = now;
            return false;
        }
        if self.heard.len() < MOST {
            self.heard.push((router, now));
            return true;
        }
        self.newcomers += 1;
        if RandomState::new().hash_one(router).is_multiple_of(self.newcomers) {
            self.drawn = Some(router);
        }
        if self.displaced.is_none_or(|at| now >= at + NEWCOMERS) {
            self.displace(neighbor, now);
        }
        false
    }

    fn displace(&mut self, neighbor: Option<Ipv6Addr>, now: Instant) {
        let drawn = self.drawn.take().filter(|drawn| self.heard.iter().all(|(from, _)| from != drawn));
        let others = self.heard.iter().enumerate().filter(|(_, (from, _))| Some(*from) != neighbor);
        let longest = others.min_by_key(|(_, (_, at))| *at).map(|(index, _)| index);
        if let (Some(drawn), Some(longest)) = (drawn, longest) {
            self.heard.remove(longest);
            self.heard.push((drawn, now));
        }
        (self.displaced, self.newcomers) = (Some(now), 0);
    }
}

struct Discovery {
    asked: Asked,
    interfaces: Interfaces,
    links: BTreeMap<InterfaceName, Link>,
    socket: Option<RouterSocket>,
    error: Option<String>,
}

/// Until nobody asks any more.
pub async fn run(mut questions: watch::Receiver<Asked>, tell: watch::Sender<View>) {
    let mut discovery = Discovery {
        asked: Asked::new(),
        interfaces: Interfaces::new(),
        links: BTreeMap::new(),
        socket: None,
        error: None,
    };
    let mut changes = Changes::new().map_err(|error| tracing::error!(%error, "links: no monitor")).ok();
    loop {
        match interfaces::look_at_links() {
            Ok(found) => discovery.interfaces = found,
            Err(error) => tracing::error!(%error, "links cannot be read"),
        }
        discovery.asked = questions.borrow_and_update().clone();
        discovery.follow();
        // What comes in or is due changes nothing of the interfaces.
        loop {
            discovery.speak();
            discovery.tell(&tell);
            let wakeup = discovery.wakeup();
            tokio::select! {
                biased;
                asked = questions.changed() => match asked {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = next(&mut changes) => break,
                () = sleep_until(wakeup) => {}
                received = receive(discovery.socket.as_ref()) => match received {
                    Ok(received) => discovery.hear(&received),
                    Err(error) => {
                        discovery.fail(&error);
                        break;
                    }
                },
            }
            if discovery.lacks_socket() {
                break;
            }
        }
    }
}

/// Without a monitor it is looked at every second.
async fn next(changes: &mut Option<Changes>) {
    match changes {
        Some(changes) => changes.next(SETTLE).await,
        None => sleep(Duration::from_secs(1)).await,
    }
}

async fn receive(socket: Option<&RouterSocket>) -> io::Result<Received> {
    match socket {
        Some(socket) => socket.receive().await,
        None => std::future::pending().await,
    }
}

impl Discovery {
    /// Begins on links that carry now, and ends on those that do not.
    fn follow(&mut self) {
        let now = Instant::now();
        if self.asked.is_empty() {
            (self.socket, self.error) = (None, None);
        } else if self.socket.is_none() {
            match RouterSocket::open() {
                Ok(socket) => (self.socket, self.error) = (Some(socket), None),
                Err(error) => self.fail(&error),
            }
        }
        let carrying: BTreeMap<&InterfaceName, u32> = self
            .interfaces
            .iter()
            .filter(|(name, interface)| {
                self.asked.contains_key(*name) && interface.running && interface.link_local.is_some()
            })
            .map(|(name, interface)| (name, interface.index))
            .collect();
        let gone = |name: &InterfaceName, link: &Link| carrying.get(name) != Some(&link.index);
        let socket = self.socket.as_ref();
        self.links.retain(|name, link| {
            let stays = !gone(name, link);
            if let Some(socket) = socket.filter(|_| !stays) {
                socket.leave(link.index);
            }
            stays
        });
        for (name, index) in carrying {
            if self.socket.is_some() && !self.links.contains_key(name) {
                self.links.insert(name.clone(), Link::new(index, now));
            }
        }
    }

    fn lacks_socket(&self) -> bool {
        self.socket.is_none() && !self.asked.is_empty()
    }

    fn fail(&mut self, error: &io::Error) {
        let words = format!("router advertisements cannot be sent or heard: {error}");
        if self.error.as_ref() != Some(&words) {
            tracing::warn!(error = words, "links");
        }
        (self.socket, self.error) = (None, Some(words));
        self.links.clear();
    }

    /// Announces us where that is due.
    fn speak(&mut self) {
        let now = Instant::now();
        let Some(socket) = &self.socket else { return };
        for (name, link) in self.links.iter_mut().filter(|(_, link)| link.next <= now) {
            if !link.joined {
                // Whoever is there need not be waited for.
                match socket.join(link.index).and_then(|()| socket.ask(link.index, &packet::solicitation())) {
                    Ok(()) => link.joined = true,
                    Err(error) => tracing::debug!(interface = %name, %error, "routers cannot be asked for"),
                }
            }
            match socket.send(link.index, ALL_NODES, &packet::advertisement()) {
                Ok(()) => link.said = link.said.saturating_add(1),
                Err(error) => tracing::debug!(interface = %name, %error, "no router advertisement goes out"),
            }
            link.last = Some(now);
            link.next = now + if link.said < FIRST_FEW { FIRST } else { EVERY };
        }
    }

    fn hear(&mut self, received: &Received) {
        let Some((name, link)) = self.links.iter_mut().find(|(_, link)| link.index == received.interface) else {
            return;
        };
        let now = Instant::now();
        let earliest = link.last.map_or(now, |last| last + LEAST);
        match packet::read(&received.bytes, received.hop_limit) {
            Some(Heard::Solicitation) => link.next = link.next.min(earliest),
            Some(Heard::Advertisement) => {
                let neighbor = self.asked.get(name).copied().flatten();
                if link.remember(received.from, neighbor, now) {
                    tracing::info!(interface = %name, neighbor = %received.from, "a router announces itself");
                    // It has come up just now, perhaps, and need not wait for our next.
                    link.next = link.next.min(earliest);
                }
            }
            None => {}
        }
    }

    fn wakeup(&self) -> Instant {
        let links = self.links.values().flat_map(|link| {
            let silent = link.heard.iter().map(|(_, at)| *at + SILENCE).min();
            [Some(link.next), silent]
        });
        links.flatten().min().unwrap_or_else(|| Instant::now() + RETRY)
    }

    /// The view, where it has changed.
    fn tell(&mut self, tell: &watch::Sender<View>) {
        let now = Instant::now();
        for link in self.links.values_mut() {
            link.heard.retain(|(_, at)| *at + SILENCE > now);
        }
        let heard = |link: &Link| link.heard.iter().map(|(from, _)| *from).collect();
        let view = View {
            interfaces: self.interfaces.clone(),
            announced: self.links.iter().map(|(name, link)| (name.clone(), heard(link))).collect(),
            error: self.error.clone(),
        };
        tell.send_if_modified(|known| {
            let differs = *known != view;
            *known = view;
            differs
        });
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
