//! What the kernel has, as far as it concerns us: our routes, and the links by name.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::NLM_F_REPLACE;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use routenet_core::desired::{PROTO_LEARNED, PROTO_LOCAL, Route, RouteKey};
use routenet_core::model::{Family, InterfaceName};

use crate::plane::netlink::{Connection, Event};

use super::message::{self, Installed};

struct Device {
    name: InterfaceName,
    up: bool,
}

/// Kept true by notifications, and by what we did ourselves.
#[derive(Default)]
pub(super) struct Mirror {
    pub routes: BTreeMap<RouteKey, Installed>,
    devices: BTreeMap<u32, Device>,
    indexes: BTreeMap<InterfaceName, u32>,
}

/// What a notification means to the worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Somebody else did this to the route of ours with this key.
    Touched(RouteKey, &'static str),
    /// Something that failed may work now.
    Hope,
    /// The kernel may have dropped IPv4 routes without a word: read them anew.
    Doubt,
}

impl Mirror {
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

    pub(super) fn read_routes(&mut self, connection: &mut Connection) -> io::Result<()> {
        let mut routes = BTreeMap::new();
        for family in Family::BOTH {
            for protocol in [PROTO_LOCAL, PROTO_LEARNED] {
                for object in connection.dump(message::dump(family, protocol))? {
                    let RouteNetlinkMessage::NewRoute(message) = object else { continue };
                    // A kernel that does not filter by protocol sends more than was asked for.
                    routes.extend(self.decode(&message).filter(|(_, installed)| installed.is_ours()));
                }
            }
        }
        self.routes = routes;
        Ok(())
    }

    pub(super) fn index_of(&self, name: &InterfaceName) -> Option<u32> {
        self.indexes.get(name).copied()
    }

    fn decode(&self, message: &RouteMessage) -> Option<(RouteKey, Installed)> {
        message::read(message, |index| self.devices.get(&index).map(|device| device.name.clone()))
    }

    /// Records a link; answers whether it was up before and is now.
    fn put_device(&mut self, message: &LinkMessage) -> (bool, bool) {
        let index = message.header.index;
        let up = message.header.flags.contains(LinkFlags::Up);
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => InterfaceName::new(name.as_str()).ok(),
            _ => None,
        });
        let Some(name) = name else { return (false, false) };
        let before = self.devices.insert(index, Device { name: name.clone(), up });
        if let Some(renamed) = before.as_ref().filter(|before| before.name != name) {
            self.indexes.remove(&renamed.name);
        }
        self.indexes.insert(name, index);
        (before.is_some_and(|before| before.up), up)
    }

    /// Takes in a notification of what others did.
    pub(super) fn hear(&mut self, event: &Event, tell: &mut impl FnMut(Consequence)) {
        match &event.message {
            RouteNetlinkMessage::NewRoute(message) => self.route_added(message, event.flags & NLM_F_REPLACE != 0, tell),
            RouteNetlinkMessage::DelRoute(message) => self.route_removed(message, tell),
            RouteNetlinkMessage::NewLink(message) if message.header.interface_family == AddressFamily::Unspec => {
                match self.put_device(message) {
                    (true, false) => self.device_lost(message.header.index, tell),
                    (false, true) => tell(Consequence::Hope),
                    _ => {}
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
            self.routes.insert(key, installed);
            tell(Consequence::Touched(key, "was changed"));
        } else if replaced && self.routes.contains_key(&key) {
            // It stands where ours stood: that is a change of ours, unlike one that was there before.
            self.routes.insert(key, Installed { route: None, ..installed });
            tell(Consequence::Touched(key, "was replaced by another"));
        } else {
            tell(Consequence::Hope);
        }
    }

    fn route_removed(&mut self, message: &RouteMessage, tell: &mut impl FnMut(Consequence)) {
        let Some((key, gone)) = self.decode(message) else { return };
        let Some(had) = self.routes.get_mut(&key) else { return tell(Consequence::Hope) };
        if had.protocol != gone.protocol {
            return;
        }
        // IPv6 tells of a single next hop that was taken out of several.
        let several = matches!(
            &had.route,
            Some(Route::Learned { via, .. } | Route::Tunnelled { via, .. }) if via.len() > message::next_hops(message)
        );
        if several && key.dst.family() == Family::V6 {
            had.route = None;
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
        let lost: Vec<RouteKey> =
            self.routes.iter().filter(|(_, installed)| leads(installed)).map(|(key, _)| *key).collect();
        for key in lost {
            self.routes.remove(&key);
            tell(Consequence::Touched(key, "was dropped with its link"));
        }
        if !self.is_workload(index) {
            tell(Consequence::Doubt);
        }
    }

    /// Whether a link is the host side of a workload: nothing but local routes leads there.
    fn is_workload(&self, index: u32) -> bool {
        self.devices.get(&index).is_some_and(|device| device.name.as_str().starts_with("rnw"))
    }
}

/// Whether a next hop or source belongs to the family of the route: a mixed route is refused before the kernel sees it.
pub(super) fn family_fault(key: &RouteKey, route: &Route) -> Option<String> {
    let (via, src): (&[IpAddr], _) = match route {
        Route::Local { src, .. } => (&[], *src),
        Route::Learned { via, src } | Route::Tunnelled { via, src, .. } => (via, *src),
        Route::Blackhole | Route::Unreachable => (&[], None),
    };
    let of_other = |address: &&IpAddr| Family::of(**address) != key.dst.family();
    if let Some(other) = via.iter().chain(&src).find(of_other) {
        return Some(format!("{other} is not of the route's family ({})", key.dst.family()));
    }
    match route {
        Route::Learned { via, .. } | Route::Tunnelled { via, .. } if via.is_empty() => {
            Some("has no next hop".to_string())
        }
        _ => None,
    }
}
