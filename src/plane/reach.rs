//! Whether next hops are on a link of this host or behind a router, as the kernel's routes have it now. No plane: it only
//! looks. Called by the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteProtocol};
use netlink_sys::Socket;
use routenet_core::desired::{PROTO_LEARNED, PROTO_LOCAL};
use tokio::sync::mpsc;

use super::PlaneError;
use super::netlink::{Connection, Event, Ignore, Message, Monitor, ignore, open_monitor};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_IFADDR`, `RTNLGRP_IPV6_ROUTE`.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];
/// Several notifications of one act are looked at together.
const SETTLE: Duration = Duration::from_millis(20);

/// Of each next hop: `true` where the kernel reaches it through a router, or not at all.
pub type OffLink = BTreeMap<IpAddr, bool>;

/// The handle; the watching ends with it.
pub struct Reach {
    watched: mpsc::UnboundedSender<BTreeSet<IpAddr>>,
}

impl Reach {
    /// Watches in the calling thread's network namespace; what changed, and what is new, is sent to `tell`.
    ///
    /// # Errors
    /// When sockets or threads are not to be had.
    pub fn spawn(tell: mpsc::UnboundedSender<OffLink>) -> Result<Reach, PlaneError> {
        let fault = |what: String| PlaneError { object: "next hops".to_string(), what };
        let connection = Connection::open().map_err(|error| fault(format!("netlink socket: {error}")))?;
        let socket = open_monitor(&GROUPS).map_err(|error| fault(format!("netlink monitor: {error}")))?;
        ignore(&socket, &Ignore::Routes(&[PROTO_LOCAL, PROTO_LEARNED]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| fault(error.to_string()))?;
        let (watched, inbox) = mpsc::unbounded_channel();
        let watcher = Watcher { connection, known: OffLink::new(), tell };
        std::thread::Builder::new()
            .name("rn-reach".to_string())
            .spawn(move || runtime.block_on(watcher.run(inbox, socket)))
            .map_err(|error| fault(error.to_string()))?;
        Ok(Reach { watched })
    }

    /// These, and no others, from now on.
    pub fn watch(&self, hops: BTreeSet<IpAddr>) {
        // The thread ends with this handle only, or where there is no monitor, which it has told.
        drop(self.watched.send(hops));
    }
}

/// The same for once.
///
/// # Errors
/// When there is no socket to ask by.
pub fn look(hops: &BTreeSet<IpAddr>) -> std::io::Result<OffLink> {
    let mut connection = Connection::open()?;
    hops.iter().map(|hop| Ok((*hop, !connection.is_on_link(*hop)?))).collect()
}

/// Those of the addresses to which this host's routes do not lead by the interface.
///
/// # Errors
/// When there is no socket to ask by.
pub fn astray(addresses: &[IpAddr], interface: &str) -> std::io::Result<Vec<IpAddr>> {
    let index = nix::net::if_::if_nametoindex(interface).ok();
    let mut connection = Connection::open()?;
    let mut found = Vec::new();
    for address in addresses {
        let way = connection.way_to(*address)?;
        let there = |attribute: &RouteAttribute| index.is_some_and(|index| *attribute == RouteAttribute::Oif(index));
        if !way.is_some_and(|route| route.attributes.iter().any(there)) {
            found.push(*address);
        }
    }
    Ok(found)
}

struct Watcher {
    connection: Connection,
    known: OffLink,
    tell: mpsc::UnboundedSender<OffLink>,
}

impl Watcher {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<BTreeSet<IpAddr>>, socket: Socket) {
        let mut monitor = match Monitor::new(socket) {
            Ok(monitor) => monitor,
            Err(error) => return tracing::error!(%error, "next hops: no monitor"),
        };
        let mut watched = BTreeSet::new();
        loop {
            tokio::select! {
                hops = inbox.recv() => match hops {
                    Some(hops) => watched = hops,
                    None => return,
                },
                () = monitor.readable() => {
                    tokio::time::sleep(SETTLE).await;
                    let mut concerns = false;
                    if let Err(error) = monitor.drain(&[self.connection.port()], |event| concerns |= may_concern(&event)) {
                        tracing::error!(%error, "next hops: notifications cannot be read");
                    }
                    if !concerns {
                        continue;
                    }
                }
            }
            self.look(&watched);
        }
    }

    fn look(&mut self, watched: &BTreeSet<IpAddr>) {
        let mut changed = OffLink::new();
        self.known.retain(|hop, _| watched.contains(hop));
        for hop in watched {
            let Ok(off_link) = self.connection.is_on_link(*hop).map(|on_link| !on_link) else { continue };
            if self.known.insert(*hop, off_link) != Some(off_link) {
                changed.insert(*hop, off_link);
            }
        }
        if !changed.is_empty() {
            // Nobody listens any more when the agent ends.
            drop(self.tell.send(changed));
        }
    }
}

/// Routes of ours lead to workloads, never to nodes.
fn may_concern(event: &Event) -> bool {
    match &event.message {
        Message::Route(RouteNetlinkMessage::NewRoute(message) | RouteNetlinkMessage::DelRoute(message)) => {
            ![PROTO_LOCAL, PROTO_LEARNED].map(RouteProtocol::Other).contains(&message.header.protocol)
        }
        _ => true,
    }
}
