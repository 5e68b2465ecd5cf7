//! What the kernel has, as far as it concerns us: our routes, and the links by name.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::NLM_F_REPLACE;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use routenet_core::desired::{PROTO_LEARNED, PROTO_LOCAL, Route, RouteKey};
use routenet_core::model::scope::unscoped;
use routenet_core::model::{Family, InterfaceName};

use crate::plane::netlink::{Connection, Event, Message};

use super::message::{self, Installed};
use super::objects::Objects;
use super::table::Table;

struct Device {
    name: InterfaceName,
    up: bool,
    /// Whether nexthop objects live on it: the kernel removes them with the carrier, where it leaves routes.
    carrier: bool,
}

/// Kept true by notifications, and by what we did ourselves.
pub(super) struct Mirror {
    pub routes: Table,
    pub objects: Objects,
    devices: BTreeMap<u32, Device>,
    indexes: BTreeMap<InterfaceName, u32>,
}

/// What became of a link.
enum Turn {
    Up,
    Down,
    /// Up, and without a carrier.
    Unplugged,
    None,
}

/// What a notification means to the worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Somebody else did this to the route of ours with this key.
    Touched(RouteKey, &'static str),
    /// Something that failed may work now.
    Hope,
    /// The kernel may have dropped routes without a word: read them anew.
    Doubt,
}

impl Mirror {
    pub(super) fn new(objects: Objects) -> Mirror {
        Mirror { routes: Table::default(), objects, devices: BTreeMap::new(), indexes: BTreeMap::new() }
    }

    /// Reads everything.
    pub(super) fn read(&mut self, connection: &mut Connection) -> io::Result<()> {
        self.devices.clear();
        self.indexes.clear();
        for object in connection.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
            if let RouteNetlinkMessage::NewLink(message) = object {
                self.put_device(&message);
            }
        }
        self.read_routes(connection)
    }

    /// Routes, and the objects that they lead by.
    pub(super) fn read_routes(&mut self, connection: &mut Connection) -> io::Result<()> {
        if self.objects.usable() {
            self.objects.read(connection)?;
        }
        let mut routes: BTreeMap<RouteKey, Installed> = BTreeMap::new();
        for family in Family::BOTH {
            for protocol in [PROTO_LOCAL, PROTO_LEARNED] {
                for object in connection.dump(message::dump(family, protocol))? {
                    let RouteNetlinkMessage::NewRoute(message) = object else { continue };
                    // A kernel that does not filter by protocol sends more than was asked for.
                    let Some((key, installed)) = self.decode(&message).filter(|(_, read)| read.is_ours()) else {
                        continue;
                    };
                    let doubled = routes.get(&key).is_some_and(|other| stand_together(&key, other, &installed));
                    routes.insert(key, if doubled { twice(installed) } else { installed });
                }
            }
        }
        self.routes = routes.into_iter().collect();
        Ok(())
    }

    pub(super) fn index_of(&self, name: &InterfaceName) -> Option<u32> {
        self.indexes.get(name).copied()
    }

    fn decode(&self, message: &RouteMessage) -> Option<(RouteKey, Installed)> {
        let name_of = |index| self.devices.get(&index).map(|device| device.name.clone());
        message::read(message, name_of, |id| self.objects.hops(id))
    }

    /// Records a link; answers what became of it.
    fn put_device(&mut self, message: &LinkMessage) -> Turn {
        let index = message.header.index;
        let up = message.header.flags.contains(LinkFlags::Up);
        let carrier = up && message.header.flags.intersects(LinkFlags::Running | LinkFlags::LowerUp);
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => InterfaceName::new(name.as_str()).ok(),
            _ => None,
        });
        let Some(name) = name else { return Turn::None };
        let before = self.devices.insert(index, Device { name: name.clone(), up, carrier });
        if let Some(renamed) = before.as_ref().filter(|before| before.name != name) {
            self.indexes.remove(&renamed.name);
        }
        self.indexes.insert(name, index);
        let (was_up, had_carrier) = before.map_or((false, false), |before| (before.up, before.carrier));
        match (was_up, up) {
            (true, false) => Turn::Down,
            (false, true) => Turn::Up,
            _ if had_carrier && !carrier => Turn::Unplugged,
            _ if carrier && !had_carrier => Turn::Up,
            _ => Turn::None,
        }
    }

    /// Takes in a notification of what others did.
    pub(super) fn hear(&mut self, event: &Event, tell: &mut impl FnMut(Consequence)) {
        let message = match &event.message {
            Message::Route(message) => message,
            Message::Nexthop(message) => {
                if self.objects.hear(message) {
                    tell(Consequence::Doubt);
                }
                return;
            }
        };
        match message {
            RouteNetlinkMessage::NewRoute(message) => self.route_added(message, event.flags & NLM_F_REPLACE != 0, tell),
            RouteNetlinkMessage::DelRoute(message) => self.route_removed(message, tell),
            RouteNetlinkMessage::NewLink(message) if message.header.interface_family == AddressFamily::Unspec => {
                match self.put_device(message) {
                    Turn::Down => self.device_lost(message.header.index, tell),
                    Turn::Unplugged => self.unplugged(message.header.index, tell),
                    Turn::Up => tell(Consequence::Hope),
                    Turn::None => {}
                }
            }
            RouteNetlinkMessage::DelLink(message) if message.header.interface_family == AddressFamily::Unspec => {
                self.device_lost(message.header.index, tell);
                if let Some(device) = self.devices.remove(&message.header.index) {
                    self.indexes.remove(&device.name);
                }
            }
            RouteNetlinkMessage::NewAddress(_) => tell(Consequence::Hope),
            RouteNetlinkMessage::DelAddress(message) => {
                // With an address go, unsaid, the routes that had it as their source.
                let workload = self.is_workload(message.header.index);
                if !workload {
                    tell(Consequence::Doubt);
                }
            }
            _ => {}
        }
    }

    fn route_added(&mut self, message: &RouteMessage, replaced: bool, tell: &mut impl FnMut(Consequence)) {
        let Some((key, installed)) = self.decode(message) else { return };
        if installed.is_ours() {
            let beside = |other| !replaced && stand_together(&key, other, &installed);
            let doubled = self.routes.get(&key).is_some_and(beside);
            self.routes.insert(key, if doubled { twice(installed) } else { installed });
            tell(Consequence::Touched(key, "was changed"));
        } else if replaced && self.routes.get(&key).is_some() {
            // It stands where ours stood: that is a change of ours, unlike one that was there before.
            self.routes.insert(key, Installed { route: None, ..installed });
            tell(Consequence::Touched(key, "was replaced by another"));
        } else {
            tell(Consequence::Hope);
        }
    }

    fn route_removed(&mut self, message: &RouteMessage, tell: &mut impl FnMut(Consequence)) {
        let Some((key, gone)) = self.decode(message) else { return };
        let Some(had) = self.routes.get(&key) else { return tell(Consequence::Hope) };
        if had.protocol != gone.protocol {
            return;
        }
        // IPv6 tells of a single next hop that was taken out of several.
        let left = |gone| had.route.as_ref().is_some_and(|route| message::via(route).len() > gone);
        if key.dst.family() == Family::V6 && message::next_hops(message).is_some_and(left) {
            let rest = Installed { route: None, ..had.clone() };
            self.routes.insert(key, rest);
        } else {
            self.routes.remove(&key);
        }
        tell(Consequence::Touched(key, "was removed"));
    }

    /// A link is down or gone. The kernel drops its IPv4 routes without telling.
    fn device_lost(&mut self, index: u32, tell: &mut impl FnMut(Consequence)) {
        let Some(device) = self.devices.get(&index) else { return };
        let name = device.name.clone();
        let leads = |installed: &Installed| installed.route.as_ref().and_then(message::device).as_ref() == Some(&name);
        let mut lost: Vec<RouteKey> =
            self.routes.iter().filter(|(_, installed)| leads(installed)).map(|(key, _)| *key).collect();
        lost.sort_unstable();
        for key in lost {
            self.routes.remove(&key);
            tell(Consequence::Touched(key, "was dropped with its link"));
        }
        self.unplugged(index, tell);
    }

    /// No nexthop object leads to such a link, and with an object go its routes.
    fn unplugged(&mut self, index: u32, tell: &mut impl FnMut(Consequence)) {
        if !self.is_workload(index) {
            self.objects.lose_device(index);
            tell(Consequence::Doubt);
        }
    }

    /// Whether a link is the host side of a workload: nothing but local routes leads there.
    fn is_workload(&self, index: u32) -> bool {
        self.devices.get(&index).is_some_and(|device| device.name.as_str().starts_with("rnw"))
    }
}

/// Whether both stand at the key: IPv6 takes what it is told of the one for no word on the other.
fn stand_together(key: &RouteKey, one: &Installed, other: &Installed) -> bool {
    key.dst.family() == Family::V6 && one.is_ours() && (one.doubled || one.nexthop.is_some() != other.nexthop.is_some())
}

fn twice(installed: Installed) -> Installed {
    Installed { route: None, doubled: true, ..installed }
}

/// Whether a next hop or source belongs to the family of the route: a mixed route is refused before the kernel sees it.
pub(super) fn family_fault(key: &RouteKey, route: &Route) -> Option<String> {
    let (via, src): (&[IpAddr], _) = match route {
        Route::Local { src, .. } => (&[], *src),
        Route::Learned { via, src } | Route::Tunnelled { via, src, .. } => (via, *src),
        Route::Blackhole | Route::Unreachable => (&[], None),
    };
    let learned = matches!(route, Route::Learned { .. });
    let of_other = |address: &&IpAddr| Family::of(**address) != key.dst.family();
    // IPv4 goes by way of IPv6 next hops as well (RFC 8950).
    let wrong = via.iter().filter(of_other).find(|address| !learned || address.is_ipv4());
    if let Some(other) = wrong.or(src.as_ref().filter(of_other)) {
        return Some(format!("{other} is not of the route's family ({})", key.dst.family()));
    }
    match route {
        Route::Learned { via, .. } if via.iter().any(names_no_link) => {
            Some("has a link-local next hop that does not say of which link".to_string())
        }
        Route::Learned { via, .. } | Route::Tunnelled { via, .. } if via.is_empty() => {
            Some("has no next hop".to_string())
        }
        _ => None,
    }
}

/// Whether a link-local next hop names no link: the address alone leads nowhere.
fn names_no_link(next_hop: &IpAddr) -> bool {
    matches!(unscoped(*next_hop), (IpAddr::V6(address), None) if address.is_unicast_link_local())
}
