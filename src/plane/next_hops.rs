//! Whether next hops resolve by this host's routes, at what cost and by which gateways, followed as routes, links and
//! addresses change. No plane: it only looks. Called by the agent's peering.
//!
//! Routes that BGP has learned do not count, since what they lead to is the speaker's own doing. The kernel is asked first;
//! where it answers by a learned route, or by one that drops, the routes of the main table without these are looked through.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use routenet_core::desired::PROTO_LEARNED;
use routenet_core::model::scope::{scoped, unscoped};
use routenet_core::model::{Cidr, Family, NoWay, Resolution};
use tokio::sync::mpsc;

use super::PlaneError;
use super::netlink::{Connection, Drained, Event, Ignore, Message, Monitor, Outcome, Request, ignore, open_monitor};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV4_RULE`, `RTNLGRP_IPV6_IFADDR`,
/// `RTNLGRP_IPV6_ROUTE`, `RTNLGRP_IPV6_RULE`.
const GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// Several notifications of one act are looked at together.
const SETTLE: Duration = Duration::from_millis(20);
/// So many times as long as a look has taken nothing is looked at again for what the kernel tells.
const REST: u32 = 10;

/// What is asked about (`true`: at once, and followed from then on), and what no longer.
pub type Questions = BTreeMap<IpAddr, bool>;

/// What is found of a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub resolution: Resolution,
    /// The gateways that it lies behind, sorted; none: it is on a link of this host, or nowhere.
    pub gateways: Vec<IpAddr>,
}

impl Found {
    fn nowhere(why: NoWay) -> Found {
        Found { resolution: Resolution::Unreachable { why, closed: None }, gateways: Vec::new() }
    }
}

pub type Answers = Vec<(IpAddr, Found)>;

/// The handle; the watching ends with it.
pub struct NextHops {
    questions: mpsc::UnboundedSender<Questions>,
    answers: mpsc::UnboundedReceiver<Answers>,
    thread: JoinHandle<()>,
}

impl NextHops {
    /// Watches in the calling thread's network namespace. Every question gets its answer, then what changes of it.
    ///
    /// # Errors
    /// When sockets or threads are not to be had.
    pub fn spawn() -> Result<NextHops, PlaneError> {
        let fault = |what: String| PlaneError { object: "next hops".to_string(), what };
        let connection = Connection::open().map_err(|error| fault(format!("netlink socket: {error}")))?;
        let socket = open_monitor(&GROUPS).map_err(|error| fault(format!("netlink monitor: {error}")))?;
        ignore(&socket, &Ignore::Routes(&[PROTO_LEARNED]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| fault(error.to_string()))?;
        let (questions, inbox) = mpsc::unbounded_channel();
        let (tell, answers) = mpsc::unbounded_channel();
        let monitor = {
            // It is registered with the runtime that it is used on.
            let _on = runtime.enter();
            Monitor::new(socket).map_err(|error| fault(format!("netlink monitor: {error}")))?
        };
        let watcher = Watcher { connection, known: BTreeMap::new(), tables: BTreeMap::new(), tell, failed: false };
        let thread = std::thread::Builder::new()
            .name("rn-nexthops".to_string())
            .spawn(move || runtime.block_on(watcher.run(inbox, monitor)))
            .map_err(|error| fault(error.to_string()))?;
        Ok(NextHops { questions, answers, thread })
    }

    pub fn ask(&self, questions: Questions) {
        // One that has ended tells so by its answers.
        drop(self.questions.send(questions));
    }

    /// Answers, or what has changed of them; `None`: the thread has ended.
    pub async fn answers(&mut self) -> Option<Answers> {
        self.answers.recv().await
    }

    /// The thread, when it has ended.
    pub fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
}

struct Watcher {
    connection: Connection,
    /// Those that are followed, with what was told of each.
    known: BTreeMap<IpAddr, Found>,
    /// The main table without learned routes, while it is known to be true.
    tables: BTreeMap<Family, Vec<Entry>>,
    tell: mpsc::UnboundedSender<Answers>,
    /// The kernel could not be asked: all is to be looked at again.
    failed: bool,
}

/// What notifications have to do with next hops.
#[derive(Debug, Default, PartialEq, Eq)]
struct Concerned {
    all: bool,
    by_prefix: BTreeSet<Cidr>,
}

/// When the kernel is asked again that could not be.
const AGAIN: Duration = Duration::from_secs(1);
/// Prefixes of changed routes that are not worth to be told apart.
const PREFIXES: usize = 1024;

impl Watcher {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Questions>, mut monitor: Monitor) {
        let mut concerned = Concerned::default();
        let mut due: Option<Instant> = None;
        let mut rested = Instant::now();
        loop {
            if std::mem::take(&mut self.failed) {
                concerned.all = true;
                due = Some(Instant::now() + AGAIN);
            }
            let look = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                questions = inbox.recv() => match questions {
                    Some(questions) => self.answer(questions, &mut inbox),
                    None => return,
                },
                () = look => {
                    due = None;
                    let began = Instant::now();
                    self.review(&std::mem::take(&mut concerned));
                    rested = Instant::now() + began.elapsed() * REST;
                }
                () = monitor.readable() => {
                    match monitor.drain(&[self.connection.port()], |event| concerned.take(&event)) {
                        Ok(Drained::All) => {}
                        Ok(Drained::Overrun) => concerned.all = true,
                        Err(error) => {
                            // Whoever notices the end starts another one.
                            tracing::error!(%error, "next hops: notifications cannot be read");
                            return;
                        }
                    }
                    if concerned != Concerned::default() {
                        self.tables.clear();
                        due = due.or_else(|| Some((Instant::now() + SETTLE).max(rested)));
                    }
                }
            }
        }
    }

    fn answer(&mut self, questions: Questions, inbox: &mut mpsc::UnboundedReceiver<Questions>) {
        let mut asked = BTreeSet::new();
        let mut take = |questions: Questions| {
            for (hop, wanted) in questions {
                if wanted {
                    asked.insert(hop);
                } else {
                    asked.remove(&hop);
                    self.known.remove(&hop);
                }
            }
        };
        take(questions);
        while let Ok(more) = inbox.try_recv() {
            take(more);
        }
        let answers = self.look(&asked.into_iter().collect::<Vec<_>>());
        self.known.extend(answers.iter().cloned());
        self.say(answers);
    }

    /// Looks at those again that a change may concern.
    fn review(&mut self, concerned: &Concerned) {
        let hops: BTreeSet<IpAddr> = if concerned.all {
            self.known.keys().copied().collect()
        } else {
            let inside = |prefix: &Cidr| {
                let prefix = *prefix;
                self.known.range(prefix.address()..).map(|(hop, _)| *hop).take_while(move |hop| prefix.contains(*hop))
            };
            concerned.by_prefix.iter().flat_map(inside).collect()
        };
        let mut changed = self.look(&hops.into_iter().collect::<Vec<_>>());
        changed.retain(|(hop, found)| self.known.insert(*hop, found.clone()).as_ref() != Some(found));
        self.say(changed);
    }

    fn say(&mut self, answers: Answers) {
        if !answers.is_empty() {
            // Nobody listens any more when the agent ends.
            drop(self.tell.send(answers));
        }
    }

    fn look(&mut self, hops: &[IpAddr]) -> Answers {
        let requests: Vec<Request> = hops.iter().map(|hop| Request::new(question(*hop), 0)).collect();
        let outcomes = match self.connection.batch(&requests) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tracing::error!(%error, "next hops: the kernel cannot be asked; they are taken to be as before, or to resolve");
                return hops.iter().map(|hop| (*hop, self.unknown(*hop))).collect();
            }
        };
        let answers = hops.iter().zip(outcomes);
        answers.map(|(hop, outcome)| (*hop, self.judge(*hop, outcome))).collect()
    }

    /// What cannot be known now is no reason to give up routes.
    fn unknown(&mut self, hop: IpAddr) -> Found {
        self.failed = true;
        let resolves = Found { resolution: Resolution::Via { metric: 0 }, gateways: Vec::new() };
        self.known.get(&hop).cloned().unwrap_or(resolves)
    }

    fn judge(&mut self, hop: IpAddr, outcome: Outcome) -> Found {
        match outcome {
            Ok(Some(RouteNetlinkMessage::NewRoute(route))) => {
                if u8::from(route.header.protocol) != PROTO_LEARNED
                    && let Some(found) = Entry::of(&route).and_then(|entry| entry.says(hop))
                {
                    return found;
                }
            }
            // What else is refused is so by a route that drops.
            Err(refusal) if refusal.is(Errno::ENETUNREACH) => {
                let scoped = unscoped(hop).1.is_some();
                return Found::nowhere(if scoped { NoWay::LinkDown } else { NoWay::NoRoute });
            }
            Ok(_) | Err(_) => {}
        }
        self.by_table(hop)
    }

    /// The longest prefix of the main table that is not learned.
    fn by_table(&mut self, hop: IpAddr) -> Found {
        let family = Family::of(hop);
        if !self.tables.contains_key(&family) {
            match read_table(&mut self.connection, family) {
                Ok(table) => _ = self.tables.insert(family, table),
                Err(error) => {
                    tracing::error!(%error, "next hops: routes cannot be read; they are taken to be as before, or to resolve");
                    return self.unknown(hop);
                }
            }
        }
        let around = self.tables.get(&family).into_iter().flatten().filter(|entry| entry.prefix.contains(hop));
        let longest = around.min_by_key(|entry| (u8::MAX - entry.prefix.length(), entry.metric));
        longest.and_then(|entry| entry.says(hop)).unwrap_or_else(|| Found::nowhere(NoWay::NoRoute))
    }
}

impl Concerned {
    fn take(&mut self, event: &Event) {
        match &event.message {
            Message::Route(RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)) => {
                if u8::from(route.header.protocol) == PROTO_LEARNED {
                    return;
                }
                match Entry::of(route).filter(|_| self.by_prefix.len() < PREFIXES) {
                    Some(entry) => _ = self.by_prefix.insert(entry.prefix),
                    None => self.all = true,
                }
            }
            _ => self.all = true,
        }
    }
}

/// A route, as far as it says whether an address is reached.
#[derive(Clone, Debug)]
struct Entry {
    prefix: Cidr,
    metric: u32,
    kind: RouteType,
    link_down: bool,
    /// One a next hop that is up; `None`: it leads to a link, and what it leads to is on that.
    gateways: Vec<Option<IpAddr>>,
}

impl Entry {
    fn of(route: &RouteMessage) -> Option<Entry> {
        let family = match route.header.address_family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        let mut address = match family {
            Family::V4 => IpAddr::from([0; 4]),
            Family::V6 => IpAddr::from([0; 16]),
        };
        let mut metric = 0;
        let mut link_down = route.header.flags.intersects(RouteFlags::Linkdown | RouteFlags::Dead);
        let (mut several, mut link) = (None, None);
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(of)) => address = (*of).into(),
                RouteAttribute::Destination(RouteAddress::Inet6(of)) => address = (*of).into(),
                RouteAttribute::Priority(priority) => metric = *priority,
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::MultiPath(hops) => {
                    let down = RouteNextHopFlags::Linkdown | RouteNextHopFlags::Dead;
                    let up = hops.iter().filter(|hop| !hop.flags.intersects(down));
                    let up: Vec<_> = up.map(|hop| gateway(&hop.attributes, Some(hop.interface_index))).collect();
                    link_down = up.is_empty();
                    several = Some(up);
                }
                _ => {}
            }
        }
        let prefix = Cidr::new(address, route.header.destination_prefix_length).ok()?;
        let gateways = several.unwrap_or_else(|| vec![gateway(&route.attributes, link)]);
        Some(Entry { prefix, metric, kind: route.header.kind, link_down, gateways })
    }

    /// What it says of a next hop in it. `None`: it is no answer (`throw`).
    fn says(&self, hop: IpAddr) -> Option<Found> {
        let resolution = self.resolution()?;
        let mut gateways = Vec::new();
        if matches!(resolution, Resolution::Via { .. }) {
            gateways.extend(self.gateways.iter().map(|gateway| gateway.unwrap_or(hop)));
            gateways.sort_unstable();
            gateways.dedup();
        }
        // A route to a next hop by way of itself is one on its link.
        if gateways == [hop] {
            gateways.clear();
        }
        Some(Found { resolution, gateways })
    }

    fn resolution(&self) -> Option<Resolution> {
        let no = |why, closed| Some(Resolution::Unreachable { why, closed });
        match self.kind {
            RouteType::Unicast if self.link_down => no(NoWay::LinkDown, None),
            RouteType::Unicast | RouteType::Local => Some(Resolution::Via { metric: self.metric }),
            RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => {
                no(NoWay::Closed, Some(self.prefix.length()))
            }
            RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast => {
                no(NoWay::NoHost, Some(self.prefix.length()))
            }
            _ => None,
        }
    }
}

/// The gateway of a route, or of one of its next hops. A link-local one is of the link that it is on.
fn gateway(attributes: &[RouteAttribute], link: Option<u32>) -> Option<IpAddr> {
    let address = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(by)) => Some(IpAddr::from(*by)),
        RouteAttribute::Gateway(RouteAddress::Inet6(by)) | RouteAttribute::Via(RouteVia::Inet6(by)) => {
            Some(IpAddr::from(*by))
        }
        _ => None,
    })?;
    Some(link.map_or(address, |link| scoped(address, link)))
}

/// Which route the kernel would take. A link-local address is looked for on its link.
fn question(hop: IpAddr) -> RouteNetlinkMessage {
    let (address, interface) = unscoped(hop);
    let mut message = RouteMessage::default();
    message.header.address_family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = Family::of(address).bits();
    message.header.flags = RouteFlags::FibMatch;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
    message.attributes.extend(interface.map(RouteAttribute::Oif));
    RouteNetlinkMessage::GetRoute(message)
}

fn read_table(connection: &mut Connection, family: Family) -> io::Result<Vec<Entry>> {
    let mut message = RouteMessage::default();
    message.header.address_family = if family == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    let routes = connection.dump(RouteNetlinkMessage::GetRoute(message))?;
    let entries = routes.iter().filter_map(|route| match route {
        RouteNetlinkMessage::NewRoute(route)
            if route.header.table == RouteHeader::RT_TABLE_MAIN
                && u8::from(route.header.protocol) != PROTO_LEARNED
                && !route.header.flags.contains(RouteFlags::Cloned) =>
        {
            Entry::of(route).filter(|entry| entry.resolution().is_some())
        }
        _ => None,
    });
    Ok(entries.collect())
}
