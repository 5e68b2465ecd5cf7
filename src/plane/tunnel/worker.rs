//! The tunnel plane's thread: takes commands, hears the kernel's notifications, puts back what others changed, and tries
//! again what failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;
use routenet_core::desired::Tunnel;
use routenet_core::model::TunnelKind;
use tokio::sync::{mpsc, oneshot};

use super::{Command, sync};
use crate::plane::netlink::{Connection, Event, Message, Monitor, open_monitor};
use crate::plane::tracker::{Tracker, and_more, first_error};
use crate::plane::{PlaneError, PlaneStatus};

/// `RTNLGRP_LINK`, `RTNLGRP_NEIGH`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR`.
const GROUPS: [u32; 4] = [1, 3, 5, 9];
/// Several notifications of one act are looked at together.
const SETTLE: Duration = Duration::from_millis(50);
/// How often all is compared, told or not.
const LOOK_EVERY: Duration = Duration::from_secs(30);

type Reply = oneshot::Sender<Result<(), PlaneError>>;

struct Worker {
    connection: Connection,
    tracker: Tracker<TunnelKind, Tunnel>,
    /// The devices that are there.
    indexes: BTreeMap<u32, TunnelKind>,
    status: Arc<Mutex<PlaneStatus>>,
}

/// Opens everything in the calling thread's namespace and starts the thread, which inherits it.
pub(super) fn spawn(
    inbox: mpsc::UnboundedReceiver<Command>,
    status: Arc<Mutex<PlaneStatus>>,
) -> Result<(), PlaneError> {
    let fault = |what: String| PlaneError { object: "tunnel plane".to_string(), what };
    let connection = Connection::open().map_err(|error| fault(format!("netlink socket: {error}")))?;
    let socket = open_monitor(&GROUPS).map_err(|error| fault(format!("netlink monitor: {error}")))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| fault(error.to_string()))?;
    let worker = Worker { connection, tracker: Tracker::new(), indexes: BTreeMap::new(), status };
    std::thread::Builder::new()
        .name("rn-tunnel".to_string())
        .spawn(move || runtime.block_on(worker.run(inbox, socket)))
        .map_err(|error| fault(error.to_string()))?;
    Ok(())
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>, socket: Socket) {
        let mut monitor = match Monitor::new(socket) {
            Ok(monitor) => monitor,
            Err(error) => return tracing::error!(%error, "tunnel plane: no monitor"),
        };
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            let due = self.tracker.next_due().map_or(look_at, |due| due.min(look_at));
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = monitor.readable() => {
                    if self.hear(&mut monitor) {
                        look_at = look_at.min(Instant::now() + SETTLE);
                    }
                }
                () = tokio::time::sleep_until(due.into()) => {
                    let now = Instant::now();
                    for kind in self.tracker.due(now) {
                        // Told by the tracker; tried again by itself.
                        let _ = self.bring(kind, false);
                    }
                    if now >= look_at {
                        self.look();
                        look_at = now + LOOK_EVERY;
                    }
                }
            }
            self.publish();
        }
    }

    fn publish(&self) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = self.tracker.status();
    }

    fn obey(&mut self, command: Command) {
        let (outcome, reply): (_, Reply) = match command {
            Command::Start(wanted, reply) => {
                self.tracker.replace(wanted);
                let kinds = TunnelKind::ALL.into_iter().collect();
                (self.settle(&kinds), reply)
            }
            Command::Apply(delta, reply) => {
                let kinds = delta.keys().copied().collect();
                for (kind, tunnel) in delta {
                    self.tracker.want(kind, tunnel);
                }
                (self.settle(&kinds), reply)
            }
        };
        self.publish();
        // Who asked may have gone away: then nobody misses the answer.
        drop(reply.send(outcome));
    }

    fn settle(&mut self, kinds: &BTreeSet<TunnelKind>) -> Result<(), PlaneError> {
        let mut failures = Vec::new();
        for kind in kinds {
            let outcome = match self.tracker.wanted(kind) {
                Some(_) => self.bring(*kind, true),
                None => sync::remove(&mut self.connection, *kind),
            };
            if let Err(what) = outcome {
                failures.push((kind.device().to_string(), what));
            }
        }
        first_error(&failures)
    }

    /// Brings one device to what is wanted. What a change asks for is no repair.
    fn bring(&mut self, kind: TunnelKind, asked: bool) -> Result<(), String> {
        let Some(tunnel) = self.tracker.wanted(&kind).cloned() else { return Ok(()) };
        let had_failed = self.tracker.failure(&kind).map(str::to_string);
        match sync::sync(&mut self.connection, &tunnel) {
            Ok((index, said)) => {
                self.indexes.retain(|_, of| *of != kind);
                self.indexes.insert(index, kind);
                self.tracker.succeeded(&kind);
                if let (false, None, Some(first)) = (asked, &had_failed, said.first()) {
                    let words = format!("{} {first}{}", kind.device(), and_more(said.len()));
                    tracing::warn!(tunnel = %kind, what = %said.join(", "), "tunnel put right");
                    self.tracker.repaired(1, words);
                }
                Ok(())
            }
            Err(what) => {
                if had_failed.as_deref() != Some(what.as_str()) {
                    tracing::warn!(tunnel = %kind, %what, "no tunnel");
                }
                self.tracker.failed(kind, what.clone(), Instant::now());
                Err(what)
            }
        }
    }

    fn look(&mut self) {
        for kind in TunnelKind::ALL {
            // Told by the tracker; tried again by itself.
            let _ = self.bring(kind, false);
        }
    }

    /// Whether a notification concerns a device of ours.
    fn hear(&mut self, monitor: &mut Monitor) -> bool {
        let mut ours = false;
        let indexes = &self.indexes;
        let drained = monitor.drain(&[self.connection.port()], |event: Event| {
            let Message::Route(message) = &event.message else { return };
            let index = match message {
                RouteNetlinkMessage::NewLink(message) | RouteNetlinkMessage::DelLink(message) => message.header.index,
                RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message) => {
                    message.header.index
                }
                RouteNetlinkMessage::NewNeighbour(message) | RouteNetlinkMessage::DelNeighbour(message) => {
                    message.header.ifindex
                }
                _ => return,
            };
            ours |= indexes.contains_key(&index);
        });
        match drained {
            Ok(crate::plane::netlink::Drained::All) => ours,
            Ok(crate::plane::netlink::Drained::Overrun) => true,
            Err(error) => {
                tracing::error!(%error, "tunnel plane: notifications cannot be read");
                false
            }
        }
    }
}
