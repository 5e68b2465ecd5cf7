//! Neighbours that are known by an interface: where each of them is now, and what those that are nowhere wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use routenet_core::bgp::speaker::{LinkPeer, SpeakerConfig};
use routenet_core::model::InterfaceName;
use routenet_core::model::scope::{scoped, unscoped};

use super::discovery::View;
use crate::plane::interfaces::Interface;

/// A neighbour that has no session to be, for the time being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub link: LinkPeer,
    /// What for, in words, and what mends it.
    pub why: String,
    pub mend: String,
    pub since: Duration,
}

impl Waiting {
    /// `fe80::1%eth0`, or the interface alone.
    pub fn place(&self) -> String {
        let interface = &self.link.interface;
        self.link.address.map_or(interface.to_string(), |address| format!("{address}%{interface}"))
    }
}

/// The configuration that was given, and the links as they are.
pub struct Links {
    wanted: SpeakerConfig,
    view: View,
    /// Who it is on each interface whose neighbour is not named, with the link.
    found: BTreeMap<InterfaceName, IpAddr>,
    /// Since when a neighbour has been nowhere.
    absent: BTreeMap<(InterfaceName, Option<Ipv6Addr>), Instant>,
}

impl Links {
    pub fn new(wanted: SpeakerConfig) -> Links {
        Links { wanted, view: View::default(), found: BTreeMap::new(), absent: BTreeMap::new() }
    }

    /// A configuration that replaces the one before; what the speaker is to have of it.
    pub fn configure(&mut self, wanted: SpeakerConfig, is_up: impl Fn(IpAddr) -> bool) -> SpeakerConfig {
        self.wanted = wanted;
        self.place(is_up)
    }

    /// The links as they are now. `is_up`: whether there is a session with this address.
    pub fn look(&mut self, view: View, is_up: impl Fn(IpAddr) -> bool) -> SpeakerConfig {
        self.view = view;
        self.place(is_up)
    }

    /// Whether any neighbour is known by an interface.
    pub fn any(&self) -> bool {
        !self.wanted.links.is_empty()
    }

    /// The interfaces whose neighbour is whoever announces itself.
    pub fn unnumbered(&self) -> BTreeSet<InterfaceName> {
        let links = self.wanted.links.iter().filter(|link| link.address.is_none());
        links.map(|link| link.interface.clone()).collect()
    }

    /// Somebody connects from this address: it announces itself by that, where nobody is known on the link, and nobody there
    /// has this address by name. What the speaker is to have then.
    pub fn arrived(&mut self, remote: IpAddr, is_up: impl Fn(IpAddr) -> bool) -> Option<SpeakerConfig> {
        let index = unscoped(remote).1?;
        let (name, _) = self.view.interfaces.iter().find(|(_, interface)| interface.index == index)?;
        let vacant = match self.found.get(name) {
            None => true,
            Some(known) => *known != remote && !is_up(*known) && !self.announces(name, *known),
        };
        if !vacant || !self.unnumbered().contains(name) {
            return None;
        }
        self.found.insert(name.clone(), remote);
        Some(self.place(is_up))
    }

    pub fn waiting(&self) -> Vec<Waiting> {
        let links = self.wanted.links.iter();
        let waiting = links.filter_map(|link| {
            let since = self.absent.get(&(link.interface.clone(), link.address))?.elapsed();
            let (why, mend) = self.obstacle(link)?;
            Some(Waiting { link: link.clone(), why, mend, since })
        });
        waiting.collect()
    }

    fn announces(&self, name: &InterfaceName, address: IpAddr) -> bool {
        let heard = self.view.announced.get(name).into_iter().flatten();
        heard.map(|heard| IpAddr::V6(*heard)).any(|heard| heard == unscoped(address).0)
    }

    fn place(&mut self, is_up: impl Fn(IpAddr) -> bool) -> SpeakerConfig {
        let unnumbered = self.unnumbered();
        let carries = |name: &InterfaceName| self.view.interfaces.get(name).filter(|interface| interface.running);
        self.found.retain(|name, address| {
            unnumbered.contains(name) && carries(name).map(|interface| interface.index) == unscoped(*address).1
        });
        for name in &unnumbered {
            let Some(interface) = carries(name) else { continue };
            let heard = self.view.announced.get(name).map(Vec::as_slice).unwrap_or_default();
            // Who is known stays while it announces itself or has a session, and as long as nobody else is there.
            let stays = |known: &IpAddr| is_up(*known) || heard.is_empty() || self.announces(name, *known);
            if let (Some(first), false) = (heard.first(), self.found.get(name).is_some_and(stays)) {
                self.found.insert(name.clone(), scoped((*first).into(), interface.index));
            }
        }
        let placed = self.wanted.placed(|link| {
            let interface = carries(&link.interface)?;
            let local = scoped(interface.link_local?.into(), interface.index);
            let address = match link.address {
                Some(address) => scoped(address.into(), interface.index),
                None => *self.found.get(&link.interface)?,
            };
            Some((address, local))
        });
        let absent = placed.links.iter().map(|link| (link.interface.clone(), link.address));
        let absent: BTreeSet<_> = absent.collect();
        self.absent.retain(|link, _| absent.contains(link));
        for link in absent {
            self.absent.entry(link).or_insert_with(Instant::now);
        }
        placed
    }

    /// Why a neighbour is nowhere, and what mends that.
    fn obstacle(&self, link: &LinkPeer) -> Option<(String, String)> {
        let name = &link.interface;
        let waiting = |what: String, mend: String| Some((format!("waiting: {what}"), mend));
        match self.view.interfaces.get(name) {
            None => waiting(
                format!("there is no interface {name}"),
                "make it, or mend the peer's `interface` (`ip link` lists what there is)".to_string(),
            ),
            Some(Interface { running: false, .. }) => waiting(
                format!("{name} is down, or has no carrier"),
                format!("`ip link set {name} up`, and look at the cable and the other end"),
            ),
            Some(Interface { link_local: None, .. }) => waiting(
                format!("{name} has no link-local address yet"),
                format!("it takes a second or two; `sysctl net.ipv6.conf.{name}.disable_ipv6` must be 0"),
            ),
            Some(_) if link.address.is_some() || self.found.contains_key(name) => None,
            Some(_) => match &self.view.error {
                Some(error) => waiting(
                    format!("no neighbour can be found on {name}: {error}"),
                    format!("give the agent CAP_NET_RAW, or name the neighbour: `address: fe80::1%{name}`"),
                ),
                None => waiting(
                    format!("a neighbour on {name}: no router advertisement seen yet"),
                    format!(
                        "have the other side send them (FRR: `neighbor {name} interface`, and it does), or name it: \
                         `address: fe80::1%{name}`"
                    ),
                ),
            },
        }
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
