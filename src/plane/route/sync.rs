//! Makes the kernel have what is wanted for given keys: one batch, errors told route by route.

use std::net::IpAddr;
use std::time::Instant;

use hashbrown::HashMap;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use nix::errno::Errno;
use routenet_core::desired::{Route, RouteKey};
use routenet_core::model::TunnelKind;
use routenet_core::model::scope::unscoped;

use crate::plane::netlink::{Connection, Outcome, Refusal, Request};
use crate::plane::nexthop::Hop;
use crate::plane::tracker::Tracker;

use super::encode;
use super::message::{self, Installed};
use super::mirror::{Mirror, family_fault};
use super::objects::link_of;

/// Wanted routes, the kernel's, and the way there.
pub(super) struct State {
    pub connection: Connection,
    pub tracker: Tracker<RouteKey, Route>,
    pub mirror: Mirror,
    /// The socket failed in the midst of a batch: what the kernel did is not known.
    pub unsure: bool,
}

/// What is asked of the kernel for one key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing of ours is there. Refused when anybody's is: theirs is not replaced.
    Add,
    Replace,
    Remove,
}

/// Where a request leads.
#[derive(Clone, Copy, Default)]
struct Lead {
    nexthop: Option<u32>,
    device: Option<u32>,
}

#[derive(Default)]
struct Plan {
    /// With the nexthop object that the route leads by, and the link that it names.
    steps: Vec<(RouteKey, Step, Lead)>,
    requests: Vec<Request>,
    failures: Vec<(RouteKey, String)>,
}

impl Plan {
    fn push(&mut self, key: RouteKey, step: Step, lead: Lead, request: Request) {
        self.steps.push((key, step, lead));
        self.requests.push(request);
    }

    fn install(&mut self, key: RouteKey, route: &Route, step: Step, lead: Lead) {
        let flags = if step == Step::Replace { NLM_F_REPLACE } else { NLM_F_EXCL };
        let flags = NLM_F_CREATE | flags;
        let request = match lead.nexthop {
            Some(id) => Request::new(encode::by_object(&key, route, id), flags),
            None => Request::new(message::install(&key, route, lead.device), flags),
        };
        self.push(key, step, lead, request);
    }

    fn remove(&mut self, key: RouteKey, installed: &Installed) {
        self.push(key, Step::Remove, Lead::default(), Request::new(message::remove(&key, installed), 0));
    }
}

impl State {
    /// Brings the kernel to what is wanted of these keys; answers which of them could not be had, and why.
    pub(super) fn sync(&mut self, keys: &[RouteKey]) -> Vec<(RouteKey, String)> {
        let (mut failures, clashes) = self.attempt(keys);
        if !clashes.is_empty() {
            failures.extend(self.settle(&clashes));
        }
        let now = Instant::now();
        for (key, what) in &failures {
            if self.tracker.wanted(key).is_some() {
                self.tracker.failed(*key, what.clone(), now);
            }
        }
        failures
    }

    /// Where all routes of an object are to lead to other next hops, and to the same ones, the object is led there: the
    /// kernel then has them at once, and not one by one. What is not done here is done by `sync`.
    pub(super) fn redirect(&mut self, keys: &[RouteKey]) {
        let mut moves: HashMap<u32, Move> = HashMap::new();
        for key in keys {
            let Some(id) = self.mirror.routes.get(key).and_then(|installed| installed.nexthop) else { continue };
            let to = self.tracker.wanted(key).filter(|route| !message::via(route).is_empty());
            let found = moves.entry(id).or_insert_with(|| Move { to: to.cloned(), keys: Vec::new() });
            if !to.zip(found.to.as_ref()).is_some_and(|(to, other)| same_way(to, other)) {
                found.to = None;
            }
            found.keys.push(*key);
        }
        moves.retain(|id, found| found.keys.len() > 1 && found.keys.len() == self.mirror.routes.users(*id));
        for (id, Move { to, keys }) in moves {
            let Some(to) = to else { continue };
            let device = message::device(&to).and_then(|name| self.mirror.index_of(&name));
            if matches!(to, Route::Tunnelled { .. }) && device.is_none() {
                continue;
            }
            let Some(hops) = hops(&mut self.connection, message::via(&to), device) else { continue };
            if self.mirror.objects.redirect(&mut self.connection, id, &hops) {
                self.mirror.routes.redirect(&keys, &to);
            }
        }
    }

    /// Something is in the way of these. If it is ours, though unknown to the mirror, it is replaced.
    fn settle(&mut self, clashes: &[RouteKey]) -> Vec<(RouteKey, String)> {
        let known = clashes.iter().all(|key| self.tracker.failure(key).is_some());
        let mut failures = Vec::new();
        let mut left = clashes.to_vec();
        if !known && self.mirror.read_routes(&mut self.connection).is_ok() {
            let (ours, foreign): (Vec<_>, Vec<_>) = left.iter().partition(|key| self.mirror.routes.get(key).is_some());
            failures = self.attempt(&ours).0;
            left = foreign;
        }
        let what = "another route with this prefix and metric, not ours, is in the way: remove it, or give it a metric";
        failures.extend(left.into_iter().map(|key| (key, what.to_string())));
        failures
    }

    /// Answers failures, and the keys at which something stands that the mirror does not know.
    fn attempt(&mut self, keys: &[RouteKey]) -> (Vec<(RouteKey, String)>, Vec<RouteKey>) {
        let mut plan = self.plan(keys);
        let mut clashes = Vec::new();
        let mut again = self.carry_out(&mut plan, &mut clashes);
        // It may be that an object died a moment ago, or the kernel has more to say to a route that carries its next
        // hops.
        if !again.steps.is_empty() {
            let refused = again.steps.len();
            self.carry_out(&mut again, &mut clashes);
            self.unsure |= again.failures.len() < refused;
            plan.failures.append(&mut again.failures);
        }
        (plan.failures, clashes)
    }

    /// Answers what was refused with a nexthop object, as what it is without one.
    fn carry_out(&mut self, plan: &mut Plan, clashes: &mut Vec<RouteKey>) -> Plan {
        let (mut stale, mut again) = (Plan::default(), Plan::default());
        match self.connection.batch(&plan.requests) {
            Ok(outcomes) => {
                for ((key, step, lead), outcome) in std::mem::take(&mut plan.steps).into_iter().zip(outcomes) {
                    match self.record(key, step, lead, outcome) {
                        Ok(()) => {}
                        Err(refusal) if step == Step::Add && refusal.is(Errno::EEXIST) => clashes.push(key),
                        Err(_) if lead.nexthop.is_some() => {
                            if let Some(route) = self.tracker.wanted(&key) {
                                again.install(key, route, step, Lead { nexthop: None, ..lead });
                            }
                        }
                        Err(refusal) => {
                            plan.failures.push((key, self.explain(&key, &refusal)));
                            // What stood there leads where nobody wants it to go any more.
                            let old = self.mirror.routes.get(&key).filter(|old| old.is_ours());
                            if let (Step::Replace, Some(old)) = (step, old) {
                                stale.remove(key, old);
                            }
                        }
                    }
                }
            }
            Err(error) => {
                self.unsure = true;
                plan.failures.extend(plan.steps.iter().map(|(key, ..)| (*key, format!("netlink: {error}"))));
            }
        }
        if let Ok(outcomes) = self.connection.batch(&stale.requests) {
            for ((key, step, lead), outcome) in stale.steps.into_iter().zip(outcomes) {
                // The failure of the route itself is told already; what stays is seen at the next attempt.
                let _ = self.record(key, step, lead, outcome);
            }
        }
        again
    }

    fn plan(&mut self, keys: &[RouteKey]) -> Plan {
        let mut plan = Plan::default();
        plan.steps.reserve(keys.len());
        plan.requests.reserve(keys.len());
        let mut chosen: HashMap<Option<TunnelKind>, HashMap<Vec<IpAddr>, Option<u32>>> = HashMap::new();
        for key in keys {
            let mut installed = self.mirror.routes.get(key);
            // A replacement would replace one of them: neither is to be there when the wanted one comes.
            if let Some(both) = installed.filter(|installed| installed.doubled) {
                plan.remove(*key, both);
                plan.remove(*key, both);
                installed = None;
            }
            let Some(route) = self.tracker.wanted(key) else {
                if let Some(installed) = installed.filter(|installed| installed.is_ours()) {
                    plan.remove(*key, installed);
                }
                continue;
            };
            if installed.is_some_and(|installed| installed.is_ours() && installed.route.as_ref() == Some(route)) {
                self.tracker.succeeded(key);
                continue;
            }
            let mut fault = family_fault(key, route);
            let device = message::device(route).and_then(|name| {
                let index = self.mirror.index_of(&name);
                if index.is_none() {
                    fault.get_or_insert_with(|| format!("link {name} is not there"));
                }
                index
            });
            if let Some(fault) = fault {
                plan.failures.push((*key, fault));
                if let Some(installed) = installed.filter(|installed| installed.is_ours()) {
                    plan.remove(*key, installed);
                }
                continue;
            }
            let nexthop = match route {
                Route::Learned { via, .. } | Route::Tunnelled { via, .. } if self.mirror.objects.usable() => {
                    let kind = if let Route::Tunnelled { kind, .. } = route { Some(*kind) } else { None };
                    let choose = || {
                        let hops = hops(&mut self.connection, via, device)?;
                        self.mirror.objects.find_or_make(&mut self.connection, &hops)
                    };
                    *chosen.entry(kind).or_default().entry_ref(via.as_slice()).or_insert_with(choose)
                }
                _ => None,
            };
            let step = if installed.is_some() { Step::Replace } else { Step::Add };
            plan.install(*key, route, step, Lead { nexthop, device });
        }
        plan
    }

    /// Enters what the kernel did into the mirror.
    fn record(&mut self, key: RouteKey, step: Step, lead: Lead, outcome: Outcome) -> Result<(), Refusal> {
        match (step, outcome) {
            (Step::Add | Step::Replace, Ok(_)) => {
                if let Some(route) = self.tracker.wanted(&key) {
                    let installed = Installed {
                        protocol: message::protocol(route),
                        kind: message::kind(route),
                        route: Some(route.clone()),
                        nexthop: lead.nexthop,
                        doubled: false,
                    };
                    self.mirror.routes.insert(key, installed);
                    self.tracker.succeeded(&key);
                }
                Ok(())
            }
            (Step::Remove, Ok(_)) => {
                self.mirror.routes.remove(&key);
                Ok(())
            }
            (Step::Remove, Err(refusal))
                if [Errno::ESRCH, Errno::ENOENT, Errno::ENODEV].into_iter().any(|errno| refusal.is(errno)) =>
            {
                self.mirror.routes.remove(&key);
                Ok(())
            }
            (_, Err(refusal)) => Err(refusal),
        }
    }

    /// The refusal in the words of the route, with what mends it.
    fn explain(&self, key: &RouteKey, refusal: &Refusal) -> String {
        let said = refusal.text.as_deref().unwrap_or_default().to_lowercase();
        let (via, src) = match self.tracker.wanted(key) {
            Some(Route::Learned { via, src } | Route::Tunnelled { via, src, .. }) => (via.as_slice(), *src),
            Some(Route::Local { src, .. }) => ([].as_slice(), *src),
            _ => ([].as_slice(), None),
        };
        match src {
            Some(src) if said.contains("prefsrc") || said.contains("source") => {
                return format!("source {src} is not an address of this host: {refusal}");
            }
            _ => {}
        }
        if !via.is_empty() && (said.contains("gateway") || said.contains("nexthop") || unreachable(refusal)) {
            let via: Vec<String> = via.iter().map(|next_hop| unscoped(*next_hop).0.to_string()).collect();
            return format!("next hop {} is not on a link of this host: {refusal}", via.join(" or "));
        }
        refusal.to_string()
    }
}

/// Routes by one object, and where they are all wanted to lead.
struct Move {
    to: Option<Route>,
    keys: Vec<RouteKey>,
}

/// Whether two routes lead the same way, whatever their source addresses.
fn same_way(one: &Route, other: &Route) -> bool {
    message::via(one) == message::via(other) && message::device(one) == message::device(other)
}

/// Next hops with their links: the tunnel's, the one that the address names, or the one on whose subnet it is. `None`:
/// one of them is on no link.
fn hops(connection: &mut Connection, via: &[IpAddr], tunnel: Option<u32>) -> Option<Vec<Hop>> {
    let hop = |next_hop: &IpAddr| {
        let (gateway, named) = unscoped(*next_hop);
        let device = tunnel.or(named).or_else(|| link_of(connection, gateway))?;
        Some(Hop { gateway, device, onlink: tunnel.is_some() })
    };
    via.iter().map(hop).collect()
}

fn unreachable(refusal: &Refusal) -> bool {
    [Errno::ENETUNREACH, Errno::EHOSTUNREACH].into_iter().any(|errno| refusal.is(errno))
}
