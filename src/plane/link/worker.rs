//! The link plane's thread: takes commands, hears the kernel's notifications, puts back what others changed, and tries
//! again what failed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;
use routenet_core::desired::Link;
use routenet_core::model::InterfaceName;
use tokio::sync::{mpsc, oneshot};

use crate::plane::netlink::{Drained, Event, Message, Monitor, open_monitor};
use crate::plane::tracker::{Tracker, and_more, first_error};
use crate::plane::{PlaneError, PlaneStatus};

use super::Command;
use super::build::{Builder, Built};
use super::host::{self, HostLink};
use super::reaper::{self, Reaped, Reaper};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR`.
const GROUPS: [u32; 3] = [1, 5, 9];

type Reply = oneshot::Sender<Result<(), PlaneError>>;

struct Worker {
    builder: Builder,
    tracker: Tracker<InterfaceName, Link>,
    /// What is built, by name.
    built: BTreeMap<InterfaceName, Built>,
    reaper: Reaper,
    /// Who waits for the deletion of the link with this index.
    deleting: BTreeMap<u32, (InterfaceName, Vec<Reply>)>,
    status: Arc<Mutex<PlaneStatus>>,
}

/// What notifications have told since the last look: the last word on each link counts.
#[derive(Default)]
struct Changes {
    links: BTreeMap<u32, Option<HostLink>>,
    /// Interfaces that lost an address.
    addresses: BTreeSet<u32>,
}

impl Changes {
    fn take(&mut self, event: Event) {
        let Message::Route(message) = event.message else { return };
        match message {
            RouteNetlinkMessage::NewLink(message) => {
                if let Some(link) = HostLink::read(&message) {
                    self.links.insert(link.index, Some(link));
                }
            }
            RouteNetlinkMessage::DelLink(message) if HostLink::read(&message).is_some() => {
                self.links.insert(message.header.index, None);
            }
            RouteNetlinkMessage::DelAddress(message) => {
                self.addresses.insert(message.header.index);
            }
            _ => {}
        }
    }
}

/// Opens everything in the calling thread's namespace and starts the thread, which inherits it.
pub(super) fn spawn(
    inbox: mpsc::UnboundedReceiver<Command>,
    status: Arc<Mutex<PlaneStatus>>,
) -> Result<(), PlaneError> {
    let fault = |what: String| PlaneError { object: "link plane".to_string(), what };
    let builder = Builder::new().map_err(fault)?;
    let socket = open_monitor(&GROUPS).map_err(|error| fault(format!("netlink monitor: {error}")))?;
    let (done, reaped) = mpsc::unbounded_channel();
    let reaper = Reaper::spawn(&done)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| fault(error.to_string()))?;
    let tracker = Tracker::new();
    let worker = Worker { builder, tracker, built: BTreeMap::new(), reaper, deleting: BTreeMap::new(), status };
    std::thread::Builder::new()
        .name("rn-link".to_string())
        .spawn(move || runtime.block_on(worker.run(inbox, reaped, socket)))
        .map_err(|error| fault(error.to_string()))?;
    Ok(())
}

impl Worker {
    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Command>,
        mut reaped: mpsc::UnboundedReceiver<Reaped>,
        socket: Socket,
    ) {
        let mut monitor = match Monitor::new(socket) {
            Ok(monitor) => monitor,
            Err(error) => return tracing::error!(%error, "link plane: no monitor"),
        };
        loop {
            let next = self.tracker.next_due().map(tokio::time::Instant::from_std);
            let retry = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(done) = reaped.recv() => self.finish_delete(done.index, done.outcome),
                () = monitor.readable() => {}
                () = retry => self.retry(),
            }
            self.hear(&mut monitor);
            self.publish();
        }
    }

    fn publish(&self) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = self.tracker.status();
    }

    /// Who asked may have gone away: then nobody misses the answer. Who has it finds the status to match.
    fn answer<T>(&self, reply: oneshot::Sender<T>, answer: T) {
        self.publish();
        drop(reply.send(answer));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Start(wanted, reply) => {
                let outcome = self.start(wanted);
                self.answer(reply, outcome);
            }
            Command::Create(link, reply) => {
                let outcome = self.create(*link);
                self.answer(reply, outcome);
            }
            Command::Delete(name, reply) => self.delete(name, reply),
            Command::Check(link, reply) => {
                let name = link.endpoint.host_interface();
                let said = self.builder.check(&name, &link).unwrap_or_else(|error| vec![error]);
                self.answer(reply, said);
            }
        }
    }

    fn start(&mut self, wanted: BTreeMap<InterfaceName, Link>) -> Result<(), PlaneError> {
        self.tracker.replace(wanted);
        let fault = |what: String| PlaneError { object: "links".to_string(), what };
        let there = self.read().map_err(fault)?;
        let gateways = self.read_gateways().map_err(fault)?;
        let unwanted: Vec<u32> = there
            .values()
            .filter(|link| !self.tracker.all().keys().any(|name| name.as_str() == link.name))
            .map(|link| link.index)
            .collect();
        let mut failures = Vec::new();
        for (index, outcome) in reaper::delete(&mut self.builder.connection, &unwanted) {
            if let Err(what) = outcome {
                failures.push((format!("unwanted link {index}"), what));
            }
        }
        let mut wanted: Vec<_> = self.tracker.all().iter().map(|(name, link)| (name.clone(), link.clone())).collect();
        wanted.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, link) in wanted {
            let outcome = match there.get(name.as_str()) {
                Some(there) => {
                    let missing = missing_gateways(&link, there.index, &gateways);
                    self.builder.adopt(&name, &link, there, &missing)
                }
                None => self.builder.rebuild(&name, &link, None).map(|built| (built, vec!["was missing".to_string()])),
            };
            if let Err(what) = &outcome {
                failures.push((name.to_string(), what.clone()));
            }
            self.note(&name, outcome);
        }
        first_error(&failures)
    }

    /// Our links on the host, by name.
    fn read(&mut self) -> Result<BTreeMap<String, HostLink>, String> {
        let objects =
            self.builder.connection.dump(host::dump_links()).map_err(|error| format!("cannot be read: {error}"))?;
        let ours = |object: RouteNetlinkMessage| match object {
            RouteNetlinkMessage::NewLink(message) => {
                HostLink::read(&message).filter(|link| link.veth && host::is_ours(&link.name))
            }
            _ => None,
        };
        Ok(objects.into_iter().filter_map(ours).map(|link| (link.name.clone(), link)).collect())
    }

    /// Addresses of the host, with their interfaces.
    fn read_gateways(&mut self) -> Result<BTreeSet<(u32, IpAddr)>, String> {
        let objects = self
            .builder
            .connection
            .dump(host::dump_addresses())
            .map_err(|error| format!("addresses cannot be read: {error}"))?;
        let address = |object: &RouteNetlinkMessage| match object {
            RouteNetlinkMessage::NewAddress(message) => host::address_of(message),
            _ => None,
        };
        Ok(objects.iter().filter_map(address).collect())
    }

    /// Records how an attempt on a wanted link went, and what it put right.
    fn note(&mut self, name: &InterfaceName, outcome: Result<(Built, Vec<String>), String>) {
        match outcome {
            Ok((built, mended)) => {
                self.built.insert(name.clone(), built);
                self.tracker.succeeded(name);
                if let Some(first) = mended.first() {
                    let words = format!("{name} {first}{}", and_more(mended.len()));
                    tracing::warn!(link = %name, what = %mended.join(", "), "link put right");
                    self.tracker.repaired(1, words);
                }
            }
            Err(what) => {
                if self.tracker.failure(name) != Some(what.as_str()) {
                    tracing::warn!(link = %name, %what, "link missing");
                }
                self.tracker.failed(name.clone(), what, Instant::now());
            }
        }
    }

    fn create(&mut self, link: Link) -> Result<(), PlaneError> {
        let name = link.endpoint.host_interface();
        match self.builder.create(&name, &link, None) {
            Ok(built) => {
                self.tracker.want(name.clone(), Some(link));
                self.tracker.succeeded(&name);
                self.built.insert(name, built);
                Ok(())
            }
            Err(what) => {
                self.tracker.want(name.clone(), None);
                self.built.remove(&name);
                Err(PlaneError { object: format!("link {name} of {}", link.endpoint), what })
            }
        }
    }

    fn delete(&mut self, name: InterfaceName, reply: Reply) {
        self.tracker.want(name.clone(), None);
        self.built.remove(&name);
        match self.builder.find(&name) {
            Ok(None) => self.answer(reply, Ok(())),
            Ok(Some(there)) if !(there.veth && host::is_ours(&there.name)) => {
                let what = "is not ours to delete".to_string();
                self.answer(reply, Err(PlaneError { object: format!("link {name}"), what }));
            }
            Ok(Some(there)) => {
                let (_, waiting) = self.deleting.entry(there.index).or_insert_with(|| (name, Vec::new()));
                waiting.push(reply);
                if waiting.len() == 1 {
                    self.reaper.delete(there.index);
                }
            }
            Err(what) => self.answer(reply, Err(PlaneError { object: format!("link {name}"), what })),
        }
    }

    /// The kernel has told that a link is gone, or the reaper that it is done.
    fn finish_delete(&mut self, index: u32, outcome: Result<(), String>) {
        let Some((name, waiting)) = self.deleting.remove(&index) else { return };
        // The notification comes while the kernel is still taking the link apart; this look waits for the end of that.
        let outcome = outcome.and_then(|()| match self.builder.find_index(index)? {
            Some(there) if there.name == name.as_str() => Err("is still there".to_string()),
            _ => Ok(()),
        });
        for reply in waiting {
            let object = format!("link {name}");
            self.answer(reply, outcome.clone().map_err(|what| PlaneError { object, what }));
        }
    }

    fn hear(&mut self, monitor: &mut Monitor) {
        let mut changes = Changes::default();
        match monitor.drain(&[self.builder.connection.port()], |event| changes.take(event)) {
            Ok(Drained::All) => {}
            Ok(Drained::Overrun) => self.look_again(),
            Err(error) => tracing::error!(%error, "link plane: notifications cannot be read"),
        }
        for (index, link) in changes.links {
            match link {
                None => {
                    self.finish_delete(index, Ok(()));
                    self.deleted(index);
                }
                Some(link) => self.changed(&link),
            }
        }
        for index in changes.addresses {
            self.lost_address(index);
        }
    }

    /// The name under which we built the link with this index.
    fn name_of(&self, index: u32) -> Option<InterfaceName> {
        self.built.iter().find(|(_, built)| built.index == index).map(|(name, _)| name.clone())
    }

    /// A wanted link that somebody deleted comes back, if its workload still exists.
    fn deleted(&mut self, index: u32) {
        let Some(name) = self.name_of(index) else { return };
        let Some(link) = self.tracker.wanted(&name).cloned() else { return };
        let known = self.built.get(&name).and_then(|built| built.namespace);
        let outcome = self.builder.rebuild(&name, &link, known);
        self.note(&name, outcome.map(|built| (built, vec!["was deleted: it was built anew".to_string()])));
    }

    fn changed(&mut self, seen: &HostLink) {
        let Some(name) = self.name_of(seen.index) else { return };
        let Some(link) = self.tracker.wanted(&name).cloned() else { return };
        if seen.differences(&link, &name).is_empty() {
            return;
        }
        // The notification may be older than what is there now.
        let outcome = self.builder.find_index(seen.index).and_then(|there| {
            let Some(there) = there else { return Ok(None) };
            let said = there.differences(&link, &name);
            let namespace = self.built.get(&name).and_then(|built| built.namespace);
            let built = self.builder.mend(&there, &name, &link, namespace)?;
            Ok(Some((built, said)))
        });
        if let Some(outcome) = outcome.transpose() {
            self.note(&name, outcome);
        }
    }

    fn lost_address(&mut self, index: u32) {
        let Some(name) = self.name_of(index) else { return };
        let Some(link) = self.tracker.wanted(&name).cloned() else { return };
        if host::gateways(&link).is_empty() {
            return;
        }
        let Ok(held) = self.read_gateways() else { return };
        let missing = missing_gateways(&link, index, &held);
        if missing.is_empty() {
            return;
        }
        let namespace = self.built.get(&name).and_then(|built| built.namespace);
        let outcome = match self.builder.find_index(index) {
            Ok(Some(there)) => self.builder.mend(&there, &name, &link, namespace),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        self.note(
            &name,
            outcome.map(|built| (built, missing.iter().map(|gateway| format!("lost {gateway}")).collect())),
        );
    }

    /// Notifications were lost: compare everything.
    fn look_again(&mut self) {
        let there = match self.read() {
            Ok(there) => there,
            Err(error) => return tracing::error!(%error, "link plane: links cannot be read"),
        };
        let present: BTreeMap<u32, HostLink> = there.into_values().map(|link| (link.index, link)).collect();
        let built: Vec<u32> = self.built.values().map(|built| built.index).collect();
        for index in built {
            match present.get(&index) {
                Some(link) => self.changed(link),
                None => self.deleted(index),
            }
            self.lost_address(index);
        }
        let gone: Vec<u32> = self.deleting.keys().filter(|index| !present.contains_key(index)).copied().collect();
        for index in gone {
            self.finish_delete(index, Ok(()));
        }
    }

    fn retry(&mut self) {
        for name in self.tracker.due(Instant::now()) {
            let Some(link) = self.tracker.wanted(&name).cloned() else { continue };
            let known = self.built.get(&name).and_then(|built| built.namespace);
            let outcome = self.builder.rebuild(&name, &link, known);
            self.note(&name, outcome.map(|built| (built, vec!["was missing".to_string()])));
        }
    }
}

/// Those of the next hops that the host's end should carry and does not.
fn missing_gateways(link: &Link, index: u32, held: &BTreeSet<(u32, IpAddr)>) -> Vec<IpAddr> {
    host::gateways(link).into_iter().filter(|gateway| !held.contains(&(index, *gateway))).collect()
}
