//! Neighbours that are known by an interface: where each of them is now, and what those that are nowhere wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use routenet_core::bgp::speaker::{LinkPeer, SpeakerConfig};
use routenet_core::model::InterfaceName;
use routenet_core::model::scope::{scoped, unscoped};

use super::discovery::{Asked, View};
use crate::plane::interfaces::{self, Interface};

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

/// More routers than one on a link whose neighbour is not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowd {
    pub interface: InterfaceName,
    /// Those that announce themselves, the first to be heard first.
    pub routers: Vec<Ipv6Addr>,
    /// Who is taken for the neighbour now.
    pub neighbor: Option<Ipv6Addr>,
}

/// So long one of several has to come to a session before it is the next one's turn.
const TURN: Duration = Duration::from_secs(30);
/// The same for one that has had a session: it may be starting again (RFC 4724 allows it two minutes by default).
const LOYALTY: Duration = Duration::from_secs(180);
/// Who connects says more than who announces himself, but the latter has so long to answer us first.
const ANSWER: Duration = Duration::from_secs(5);

/// Who is taken for the neighbour on a link that names none.
#[derive(Clone, Copy, Debug)]
struct Found {
    address: IpAddr,
    since: Instant,
    /// Whether it has connected.
    came: bool,
    /// When its session was last seen to stand, and whether it does.
    stood: Option<Instant>,
    stands: bool,
}

impl Found {
    fn new(address: IpAddr, came: bool, since: Instant) -> Found {
        Found { address, since, came, stood: None, stands: false }
    }

    /// When another's turn is.
    fn turn_ends(&self) -> Instant {
        self.stood.map_or(self.since + TURN, |stood| stood + LOYALTY)
    }
}

/// The one of these neighbours that is on the link of this name: a BGPPeer is named otherwise than its interface.
pub fn only_on<'a>(link: &str, neighbors: impl Iterator<Item = &'a IpAddr>) -> Option<IpAddr> {
    let link = format!("%{link}");
    let mut there = neighbors.filter(|address| interfaces::words(**address).ends_with(&link));
    there.next().filter(|_| there.next().is_none()).copied()
}

/// The configuration that was given, and the links as they are.
pub struct Links {
    wanted: SpeakerConfig,
    view: View,
    /// Who it is on each interface whose neighbour is not named, with the link.
    found: BTreeMap<InterfaceName, Found>,
    /// Since when a neighbour has been nowhere.
    absent: BTreeMap<(InterfaceName, Option<Ipv6Addr>), Instant>,
}

impl Links {
    pub fn new(wanted: SpeakerConfig) -> Links {
        Links { wanted, view: View::default(), found: BTreeMap::new(), absent: BTreeMap::new() }
    }

    /// A configuration that replaces the one before; what the speaker is to have of it.
    pub fn configure(&mut self, wanted: SpeakerConfig, is_up: impl Fn(IpAddr) -> bool, now: Instant) -> SpeakerConfig {
        self.wanted = wanted;
        self.place(is_up, now)
    }

    /// The links as they are now. `is_up`: whether there is a session with this address.
    pub fn look(&mut self, view: View, is_up: impl Fn(IpAddr) -> bool, now: Instant) -> SpeakerConfig {
        self.view = view;
        self.place(is_up, now)
    }

    /// When it may be another one's turn, where there are several.
    pub fn next_turn(&self) -> Option<Instant> {
        let contested = self.found.iter().filter(|(name, found)| self.is_contested(name, found.address));
        contested
            .map(|(_, found)| if found.stands { found.stood.unwrap_or(found.since) + TURN } else { found.turn_ends() })
            .min()
    }

    /// Where more than one announces himself.
    pub fn crowds(&self) -> Vec<Crowd> {
        let heard = self.unnumbered().into_iter().map(|(interface, neighbor)| {
            let routers = self.view.announced.get(&interface).cloned().unwrap_or_default();
            Crowd { interface, routers, neighbor }
        });
        heard.filter(|crowd| crowd.routers.len() > 1).collect()
    }

    /// Whether any neighbour is known by an interface.
    pub fn any(&self) -> bool {
        !self.wanted.links.is_empty()
    }

    /// The interfaces whose neighbour is whoever announces itself, and who that is now.
    pub fn unnumbered(&self) -> Asked {
        let links = self.wanted.links.iter().filter(|link| link.address.is_none());
        links.map(|link| (link.interface.clone(), self.neighbor(&link.interface))).collect()
    }

    fn neighbor(&self, name: &InterfaceName) -> Option<Ipv6Addr> {
        match unscoped(self.found.get(name)?.address).0 {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        }
    }

    /// Somebody connects from this address: it announces itself by that, where nobody is known on the link or who is known
    /// does not answer, and nobody there has this address by name. What the speaker is to have then.
    pub fn arrived(&mut self, remote: IpAddr, is_up: impl Fn(IpAddr) -> bool, now: Instant) -> Option<SpeakerConfig> {
        let index = unscoped(remote).1?;
        let (name, _) = self.view.interfaces.iter().find(|(_, interface)| interface.index == index)?;
        let vacant = match self.found.get_mut(name) {
            None => true,
            Some(known) if known.address == remote => {
                known.came = true;
                false
            }
            Some(Found { address, .. }) if is_up(*address) => false,
            Some(&mut known) => {
                let only_announced = !known.came && known.stood.is_none();
                !self.announces(name, known.address)
                    || now >= known.turn_ends()
                    || only_announced && now >= known.since + ANSWER
            }
        };
        if !vacant || !self.unnumbered().contains_key(name) {
            return None;
        }
        self.found.insert(name.clone(), Found::new(remote, true, now));
        Some(self.place(is_up, now))
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

    fn is_contested(&self, name: &InterfaceName, known: IpAddr) -> bool {
        let (known, _) = unscoped(known);
        self.view.announced.get(name).into_iter().flatten().any(|heard| IpAddr::V6(*heard) != known)
    }

    /// Who else announces himself there, by address, those behind this one first: so each has his turn.
    fn others(&self, name: &InterfaceName, than: IpAddr) -> impl Iterator<Item = Ipv6Addr> + use<> {
        let (than, _) = unscoped(than);
        let heard = self.view.announced.get(name).into_iter().flatten().copied();
        let mut others: Vec<Ipv6Addr> = heard.filter(|heard| IpAddr::V6(*heard) != than).collect();
        others.sort_by_key(|heard| (IpAddr::V6(*heard) < than, *heard));
        others.into_iter()
    }

    /// Who is the neighbour on each link, and what follows for the speaker. Also to be called by [`Links::next_turn`].
    pub fn place(&mut self, is_up: impl Fn(IpAddr) -> bool, now: Instant) -> SpeakerConfig {
        let unnumbered = self.unnumbered();
        let carries = |name: &InterfaceName| self.view.interfaces.get(name).filter(|interface| interface.running);
        self.found.retain(|name, found| {
            unnumbered.contains_key(name) && carries(name).map(|interface| interface.index) == unscoped(found.address).1
        });
        for found in self.found.values_mut() {
            found.stands = is_up(found.address);
            found.stood = if found.stands { Some(now) } else { found.stood };
        }
        for name in unnumbered.keys() {
            let Some(interface) = carries(name) else { continue };
            // Who is known stays while it has a session, or announces itself or has connected and has its turn, and as long as
            // nobody else is there.
            let next = match self.found.get(name) {
                Some(known) => {
                    let is_there = self.announces(name, known.address) || (known.came && known.stood.is_none());
                    let stays = known.stands || (is_there && now < known.turn_ends());
                    self.others(name, known.address).next().filter(|_| !stays)
                }
                None => self.view.announced.get(name).and_then(|heard| heard.first()).copied(),
            };
            if let Some(next) = next {
                let next = Found::new(scoped(next.into(), interface.index), false, now);
                self.found.insert(name.clone(), next);
            }
        }
        let placed = self.wanted.placed(|link| {
            let interface = carries(&link.interface)?;
            let local = scoped(interface.link_local?.into(), interface.index);
            let address = match link.address {
                Some(address) => scoped(address.into(), interface.index),
                None => self.found.get(&link.interface)?.address,
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
