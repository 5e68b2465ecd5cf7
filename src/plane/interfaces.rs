//! This host's own interfaces, as the kernel has them now: their addresses, and for neighbours on links whether they carry and
//! what they are called. No plane: it only looks. Called by the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use nix::net::if_::{if_indextoname, if_nametoindex};
use routenet_core::model::InterfaceName;
use routenet_core::model::scope::{scoped, unscoped};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::netlink::{Connection, Monitor, open_monitor};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR`.
const GROUPS: [u32; 3] = [1, 5, 9];
/// Several notifications of one act are looked at together.
const SETTLE: Duration = Duration::from_millis(20);
/// How the names of workloads' interfaces begin.
const WORKLOADS: &str = "rnw";

pub type Addresses = BTreeMap<InterfaceName, BTreeSet<IpAddr>>;

/// All of them, but those of workloads' links.
///
/// # Errors
/// What the kernel says.
pub fn look() -> io::Result<Addresses> {
    let mut found = Addresses::new();
    for entry in nix::ifaddrs::getifaddrs()? {
        let address = entry.address.as_ref().and_then(|storage| {
            let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        let Some(address) = address else { continue };
        let Ok(name) = InterfaceName::new(entry.interface_name) else { continue };
        if !name.as_str().starts_with(WORKLOADS) {
            found.entry(name).or_default().insert(address);
        }
    }
    Ok(found)
}

/// Looks again whenever the kernel says that something changed, in the calling thread's network namespace. What differs is
/// sent to `tell`: `None` for an interface that has no address any more. Ends when nobody listens.
///
/// # Errors
/// Where there is no monitor.
pub async fn watch(
    mut known: Addresses,
    tell: mpsc::UnboundedSender<BTreeMap<InterfaceName, Option<BTreeSet<IpAddr>>>>,
) -> io::Result<()> {
    let mut told = Changes::new()?;
    loop {
        let now = look()?;
        let gone = known.keys().filter(|name| !now.contains_key(*name)).map(|name| (name.clone(), None));
        let new = now.iter().filter(|(name, held)| known.get(*name) != Some(held));
        let changes: BTreeMap<_, _> = gone.chain(new.map(|(name, held)| (name.clone(), Some(held.clone())))).collect();
        if !changes.is_empty() && tell.send(changes).is_err() {
            return Ok(());
        }
        known = now;
        told.next(SETTLE).await;
    }
}

/// An interface as a neighbour on its link needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    /// Up, and with a carrier.
    pub running: bool,
    /// Its link-local address, once nobody else turned out to have it (RFC 4862 5.4).
    pub link_local: Option<Ipv6Addr>,
}

pub type Interfaces = BTreeMap<InterfaceName, Interface>;

/// All interfaces of this network namespace, but those of workloads' links.
///
/// # Errors
/// What the kernel says.
pub fn look_at_links() -> io::Result<Interfaces> {
    let mut connection = Connection::open()?;
    let mut local = BTreeMap::new();
    for object in connection.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        let RouteNetlinkMessage::NewAddress(message) = object else { continue };
        if let Some(address) = settled_link_local(&message) {
            local.entry(message.header.index).or_insert(address);
        }
    }
    let mut found = Interfaces::new();
    for object in connection.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
        let RouteNetlinkMessage::NewLink(message) = object else { continue };
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => InterfaceName::new(name.as_str()).ok(),
            _ => None,
        });
        let index = message.header.index;
        let running = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
        let interface = Interface { index, running, link_local: local.get(&index).copied() };
        found.extend(name.filter(|name| !name.as_str().starts_with(WORKLOADS)).map(|name| (name, interface)));
    }
    Ok(found)
}

fn settled_link_local(message: &AddressMessage) -> Option<Ipv6Addr> {
    let mut address = None;
    let mut unsettled = false;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(IpAddr::V6(found)) if found.is_unicast_link_local() => address = Some(*found),
            AddressAttribute::Flags(flags) => {
                unsettled |= flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
            }
            _ => {}
        }
    }
    address.filter(|_| !unsettled)
}

/// Tells of changes of links and addresses. What changed, a look tells.
pub struct Changes {
    monitor: Monitor,
    /// Something has changed; when it has settled.
    due: Option<Instant>,
}

impl Changes {
    /// In the calling thread's network namespace.
    ///
    /// # Errors
    /// Where there is no monitor.
    pub fn new() -> io::Result<Changes> {
        Ok(Changes { monitor: Monitor::new(open_monitor(&GROUPS)?)?, due: None })
    }

    /// Returns when something has changed, and has had so long to settle. Dropped before, it has missed nothing.
    pub async fn next(&mut self, settle: Duration) {
        let due = match self.due {
            Some(due) => due,
            None => {
                self.monitor.readable().await;
                *self.due.insert(Instant::now() + settle)
            }
        };
        tokio::time::sleep_until(due).await;
        self.due = None;
        // Whatever it says, and also where it says that it lost count: the look tells.
        drop(self.monitor.drain(&[], |_| {}));
    }
}

/// An address as people write it: a link-local one with the name of its interface.
pub fn words(address: IpAddr) -> String {
    match unscoped(address) {
        (address, None) => address.to_string(),
        (address, Some(index)) => {
            let name =
                if_indextoname(index).ok().and_then(|name| name.into_string().ok()).filter(|name| !name.is_empty());
            format!("{address}%{}", name.unwrap_or_else(|| index.to_string()))
        }
    }
}

/// What [`words`] wrote; `None`: it is no address, or no interface has the name.
pub fn read_words(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        None => text.parse().ok(),
        Some((address, name)) => {
            let index = if_nametoindex(name).ok().or_else(|| name.parse().ok())?;
            Some(scoped(address.parse().ok()?, index))
        }
    }
}

#[cfg(test)]
#[path = "interfaces_tests.rs"]
mod tests;
