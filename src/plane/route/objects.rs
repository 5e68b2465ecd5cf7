//! The kernel's nexthop objects, as far as they are ours: one a next hop, one a set of equal paths, however many routes
//! lead there. A route that names one is written faster, and all of them are led elsewhere by one message.
//!
//! Ours are those with an id of our range and our protocol: what an agent left that was killed is known by that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{RouteAttribute, RouteProtocol, RouteType};
use nix::errno::Errno;
use routenet_core::desired::PROTO_LEARNED;

use crate::plane::netlink::{Connection, Request, leads_on_link};
use crate::plane::nexthop::{Hop, Nexthop, NexthopMessage, Way};

/// `rn`, and 65536 of them.
const FIRST: u32 = 0x726e_0000;
const LAST: u32 = 0x726e_ffff;
/// How many ids are tried that somebody else turns out to hold.
const ATTEMPTS: usize = 8;

/// Kept true by notifications, and by what we did ourselves.
pub(super) struct Objects {
    /// Not on kernels that know none (before 5.3).
    usable: bool,
    known: BTreeMap<u32, Way>,
    ids: HashMap<Way, u32>,
    /// Ids of our range that somebody else holds.
    foreign: BTreeSet<u32>,
    next: u32,
}

impl Objects {
    pub(super) fn new(usable: bool) -> Objects {
        Objects { usable, known: BTreeMap::new(), ids: HashMap::new(), foreign: BTreeSet::new(), next: FIRST }
    }

    pub(super) fn usable(&self) -> bool {
        self.usable
    }

    /// Reads everything.
    pub(super) fn read(&mut self, connection: &mut Connection) -> io::Result<()> {
        let all = match connection.dump_nexthops() {
            Ok(all) => all,
            Err(error) if [libc::EOPNOTSUPP, libc::EINVAL].map(Some).contains(&error.raw_os_error()) => {
                if std::mem::take(&mut self.usable) {
                    tracing::warn!("this kernel has no nexthop objects (Linux 5.3): every route carries its next hops");
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.known.clear();
        self.ids.clear();
        self.foreign.clear();
        for message in all {
            if let NexthopMessage::New(object) = message {
                self.put(object);
            }
        }
        Ok(())
    }

    fn put(&mut self, object: Nexthop) {
        if !(FIRST..=LAST).contains(&object.id) {
            return;
        }
        if object.protocol != PROTO_LEARNED {
            self.foreign.insert(object.id);
            return;
        }
        self.enter(object.id, object.way);
    }

    fn enter(&mut self, id: u32, way: Way) {
        self.leave(id);
        self.ids.entry(way.clone()).or_insert(id);
        self.known.insert(id, way);
    }

    fn leave(&mut self, id: u32) {
        if let Some(way) = self.known.remove(&id)
            && self.ids.get(&way) == Some(&id)
        {
            self.ids.remove(&way);
        }
    }

    /// The next hops that an object of ours stands for.
    pub(super) fn hops(&self, id: u32) -> Option<Vec<Hop>> {
        match self.known.get(&id)? {
            Way::Hop(hop) => Some(vec![*hop]),
            Way::Group(members) => members.iter().map(|id| self.hop(*id)).collect(),
            Way::Other => None,
        }
    }

    fn hop(&self, id: u32) -> Option<Hop> {
        match self.known.get(&id) {
            Some(Way::Hop(hop)) => Some(*hop),
            _ => None,
        }
    }

    /// The object for these next hops, made if there is none. `None`: the kernel does not want it, and may say why to a
    /// route that carries its next hops.
    pub(super) fn find_or_make(&mut self, connection: &mut Connection, hops: &[Hop]) -> Option<u32> {
        let mut members = Vec::with_capacity(hops.len());
        for hop in hops {
            members.push(self.find_or_make_one(connection, Way::Hop(*hop))?);
        }
        match *members {
            [only] => Some(only),
            _ => {
                members.sort_unstable();
                self.find_or_make_one(connection, Way::Group(members))
            }
        }
    }

    fn find_or_make_one(&mut self, connection: &mut Connection, way: Way) -> Option<u32> {
        if let Some(id) = self.ids.get(&way) {
            return Some(*id);
        }
        for _ in 0..ATTEMPTS {
            let id = self.free()?;
            let object = Nexthop { id, protocol: PROTO_LEARNED, way: way.clone() };
            match connection.request(NexthopMessage::New(object), NLM_F_CREATE | NLM_F_EXCL).ok()? {
                Ok(_) => {
                    self.enter(id, way);
                    return Some(id);
                }
                Err(refusal) if refusal.is(Errno::EEXIST) => self.foreign.insert(id),
                Err(refusal) => {
                    tracing::debug!(?way, %refusal, "no nexthop object");
                    return None;
                }
            };
        }
        None
    }

    fn free(&mut self) -> Option<u32> {
        let start = self.next;
        let id =
            (start..=LAST).chain(FIRST..start).find(|id| !self.known.contains_key(id) && !self.foreign.contains(id))?;
        self.next = if id == LAST { FIRST } else { id + 1 };
        Some(id)
    }

    /// Another way for an object in its place: its routes follow.
    fn replace(&mut self, connection: &mut Connection, id: u32, way: Way) -> bool {
        let object = Nexthop { id, protocol: PROTO_LEARNED, way: way.clone() };
        let done = matches!(connection.request(NexthopMessage::New(object), NLM_F_REPLACE), Ok(Ok(_)));
        if done {
            self.enter(id, way);
        }
        done
    }

    /// Leads an object's routes to other next hops by one message, should the kernel allow it: a group stays a group.
    pub(super) fn redirect(&mut self, connection: &mut Connection, id: u32, hops: &[Hop]) -> bool {
        let way = match (self.known.get(&id), hops) {
            (Some(Way::Hop(_)), [hop]) => Way::Hop(*hop),
            (Some(Way::Group(_)), hops) => {
                let members: Option<Vec<u32>> =
                    hops.iter().map(|hop| self.find_or_make_one(connection, Way::Hop(*hop))).collect();
                let Some(mut members) = members else { return false };
                members.sort_unstable();
                Way::Group(members)
            }
            _ => return false,
        };
        let member = self.known.values().any(|way| matches!(way, Way::Group(members) if members.contains(&id)));
        // Who else names it would be led elsewhere as well.
        !member && !self.ids.contains_key(&way) && self.replace(connection, id, way)
    }

    /// Takes in what others did; answers whether it concerns us.
    pub(super) fn hear(&mut self, message: &NexthopMessage) -> bool {
        match message {
            NexthopMessage::New(object) => {
                let (before, foreign) = (self.known.get(&object.id).cloned(), self.foreign.contains(&object.id));
                if object.protocol != PROTO_LEARNED {
                    self.leave(object.id);
                }
                self.put(object.clone());
                !foreign && before.as_ref() != self.known.get(&object.id)
            }
            NexthopMessage::Delete(id) => {
                self.foreign.remove(id);
                let ours = self.known.contains_key(id);
                self.leave(*id);
                ours
            }
            NexthopMessage::Dump => false,
        }
    }

    /// A link is down, without a carrier, or gone: the kernel removes what leads there without a word.
    pub(super) fn lose_device(&mut self, device: u32) {
        let led = |way: &Way| matches!(way, Way::Hop(hop) if hop.device == device);
        let lost: BTreeSet<u32> = self.known.iter().filter(|(_, way)| led(way)).map(|(id, _)| *id).collect();
        lost.iter().for_each(|id| self.leave(*id));
        let groups: Vec<(u32, Vec<u32>)> = self
            .known
            .iter()
            .filter_map(|(id, way)| match way {
                Way::Group(members) if members.iter().any(|id| lost.contains(id)) => Some((*id, members.clone())),
                _ => None,
            })
            .collect();
        for (id, mut members) in groups {
            members.retain(|id| !lost.contains(id));
            self.leave(id);
            if !members.is_empty() {
                self.enter(id, Way::Group(members));
            }
        }
    }

    /// Asks for each next hop's link anew. One that is on another link now is led there, and its routes with it;
    /// answers the objects of those that are on none, or that could not be led there.
    pub(super) fn recheck(&mut self, connection: &mut Connection) -> BTreeSet<u32> {
        let hops: Vec<(u32, Hop)> = self
            .known
            .iter()
            .filter_map(|(id, way)| match way {
                Way::Hop(hop) if !hop.onlink && !is_link_local(hop.gateway) => Some((*id, *hop)),
                _ => None,
            })
            .collect();
        let mut stale = BTreeSet::new();
        for (id, hop) in hops {
            let found = look(connection, hop.gateway);
            match found.link {
                // What is learned says nothing of links: it may be a route to the very next hop, by way of it.
                _ if found.learned => {}
                Some(device) if device == hop.device => {}
                Some(device) => {
                    let way = Way::Hop(Hop { device, ..hop });
                    if self.ids.contains_key(&way) || !self.replace(connection, id, way) {
                        stale.insert(id);
                    }
                }
                None => {
                    stale.insert(id);
                }
            }
        }
        let groups = self.known.iter().filter(
            |(_, way)| matches!(way, Way::Group(members) if members.iter().any(|member| stale.contains(member))),
        );
        let groups: Vec<u32> = groups.map(|(id, _)| *id).collect();
        stale.extend(groups);
        // Nothing more is led by them, so that they go when nothing is led by them any more.
        for id in &stale {
            self.ids.retain(|_, known| known != id);
        }
        stale
    }

    /// Removes what no route needs: groups first, then their next hops.
    pub(super) fn sweep(&mut self, connection: &mut Connection, used: impl Fn(u32) -> bool) {
        let (groups, hops): (Vec<u32>, Vec<u32>) =
            self.known.keys().partition(|id| matches!(self.known[id], Way::Group(_)));
        self.remove(connection, groups.into_iter().filter(|id| !used(*id)).collect());
        let members: BTreeSet<u32> = self
            .known
            .values()
            .filter_map(|way| if let Way::Group(members) = way { Some(members) } else { None })
            .flatten()
            .copied()
            .collect();
        self.remove(connection, hops.into_iter().filter(|id| !used(*id) && !members.contains(id)).collect());
    }

    fn remove(&mut self, connection: &mut Connection, ids: Vec<u32>) {
        let requests: Vec<Request> = ids.iter().map(|id| Request::new(NexthopMessage::Delete(*id), 0)).collect();
        let Ok(outcomes) = connection.batch(&requests) else { return };
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            match outcome {
                Err(refusal) if !refusal.is(Errno::ENOENT) => {
                    tracing::warn!(id, %refusal, "a nexthop object of ours that no route needs cannot be removed");
                }
                _ => self.leave(id),
            }
        }
    }
}

/// Where the kernel's routes lead for a next hop.
#[derive(Default)]
struct Look {
    /// By what we wrote ourselves.
    learned: bool,
    /// `None` behind a router, or where no route leads.
    link: Option<u32>,
}

fn look(connection: &mut Connection, gateway: IpAddr) -> Look {
    let Ok(Some(way)) = connection.way_to(gateway) else { return Look::default() };
    let device = way.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let learned = way.header.protocol == RouteProtocol::Other(PROTO_LEARNED);
    let is_on_link = way.header.kind == RouteType::Unicast && leads_on_link(&way, gateway);
    Look { learned, link: device.filter(|_| is_on_link) }
}

/// The link that a next hop is on; `None` behind a router, or where no route leads.
pub(super) fn link_of(connection: &mut Connection, gateway: IpAddr) -> Option<u32> {
    look(connection, gateway).link
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
