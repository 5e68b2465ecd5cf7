//! The addresses of this host's own interfaces, as the kernel has them now. No plane: it only looks. Called by the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use routenet_core::model::InterfaceName;
use tokio::sync::mpsc;

use super::netlink::{Monitor, open_monitor};

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
    let mut monitor = Monitor::new(open_monitor(&GROUPS)?)?;
    loop {
        let now = look()?;
        let gone = known.keys().filter(|name| !now.contains_key(*name)).map(|name| (name.clone(), None));
        let new = now.iter().filter(|(name, held)| known.get(*name) != Some(held));
        let changes: BTreeMap<_, _> = gone.chain(new.map(|(name, held)| (name.clone(), Some(held.clone())))).collect();
        if !changes.is_empty() && tell.send(changes).is_err() {
            return Ok(());
        }
        known = now;
        monitor.readable().await;
        tokio::time::sleep(SETTLE).await;
        // Whatever it says, and also where it says that it lost count: the look tells.
        drop(monitor.drain(0, |_| {}));
    }
}
