//! Makes the kernel have what is wanted for given keys: one batch, errors told route by route.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use hashbrown::HashMap;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use nix::errno::Errno;
use routenet_core::desired::{Route, RouteKey};
use routenet_core::model::TunnelKind;
use routenet_core::model::scope::unscoped;

use crate::plane::netlink::{Connection, MESSAGES_A_SEND, Outcome, Refusal, Request};
use crate::plane::nexthop::Hop;
use crate::plane::tracker::Tracker;

use super::encode;
use super::message::{self, Installed};
use super::mirror::{Mirror, family_fault};
use super::objects::link_of;
use super::writer::Writer;

/// Sends that are queued at the writer beside the one that the kernel works on.
const AHEAD: usize = 12;

/// Wanted routes, the kernel's, and the way there.
pub(super) struct State {
    /// For questions, objects, and what is but a few routes.
    pub connection: Connection,
    pub writer: Writer,
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

/// What the kernel did not do.
#[derive(Default)]
struct Refused {
    failures: Vec<(RouteKey, String)>,
    /// Something stands there that the mirror does not know.
    clashes: Vec<RouteKey>,
    /// What was refused with a nexthop object, as what it is without one.
    again: Plan,
}

/// The nexthop objects of next hops, by the tunnel that they are reached by; `None`: none is to be had.
type Chosen = HashMap<Option<TunnelKind>, HashMap<Vec<IpAddr>, Option<u32>>>;

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
        let mut refused = Refused::default();
        let mut chosen = Chosen::new();
        let mut submitted = VecDeque::new();
        for some in keys.chunks(MESSAGES_A_SEND) {
            let mut plan = self.plan(some, &mut chosen);
            refused.failures.append(&mut plan.failures);
            if plan.requests.is_empty() {
                continue;
            }
            // Of a few, nothing is made ready meanwhile.
            if keys.len() <= MESSAGES_A_SEND {
                let outcomes = self.connection.batch(&plan.requests);
                self.enter(plan.steps, outcomes, &mut refused);
                continue;
            }
            self.writer.submit(plan.requests);
            submitted.push_back(plan.steps);
            if submitted.len() > AHEAD
                && let Some(steps) = submitted.pop_front()
            {
                let outcomes = self.writer.collect();
                self.enter(steps, outcomes, &mut refused);
            }
        }
        for steps in submitted {
            let outcomes = self.writer.collect();
            self.enter(steps, outcomes, &mut refused);
        }
        // It may be that an object died a moment ago, or the kernel has more to say to a route that carries its next
        // hops.
        let again = std::mem::take(&mut refused.again);
        if !again.steps.is_empty() {
            let (count, before) = (again.steps.len(), refused.failures.len());
            let outcomes = self.connection.batch(&again.requests);
            self.enter(again.steps, outcomes, &mut refused);
            self.unsure |= refused.failures.len() - before < count;
        }
        (refused.failures, refused.clashes)
    }

    /// Enters what became of the requests, and what was refused; removes what stands where nothing else may stand now.
    fn enter(&mut self, steps: Vec<(RouteKey, Step, Lead)>, outcomes: io::Result<Vec<Outcome>>, refused: &mut Refused) {
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(error) => {
                self.unsure = true;
                refused.failures.extend(steps.iter().map(|(key, ..)| (*key, format!("netlink: {error}"))));
                return;
            }
        };
        let mut stale = Plan::default();
        for ((key, step, lead), outcome) in steps.into_iter().zip(outcomes) {
            match self.record(key, step, lead, outcome) {
                Ok(()) => {}
                Err(refusal) if step == Step::Add && refusal.is(Errno::EEXIST) => refused.clashes.push(key),
                Err(_) if lead.nexthop.is_some() => {
                    if let Some(route) = self.tracker.wanted(&key) {
                        refused.again.install(key, route, step, Lead { nexthop: None, ..lead });
                    }
                }
                Err(refusal) => {
                    refused.failures.push((key, self.explain(&key, &refusal)));
                    // What stood there leads where nobody wants it to go any more.
                    let old = self.mirror.routes.get(&key).filter(|old| old.is_ours());
                    if let (Step::Replace, Some(old)) = (step, old) {
                        stale.remove(key, old);
                    }
                }
            }
        }
        if let Ok(outcomes) = self.connection.batch(&stale.requests) {
            for ((key, step, lead), outcome) in stale.steps.into_iter().zip(outcomes) {
                // The failure of the route itself is told already; what stays is seen at the next attempt.
                let _ = self.record(key, step, lead, outcome);
            }
        }
    }

    fn plan(&mut self, keys: &[RouteKey], chosen: &mut Chosen) -> Plan {
        let mut plan = Plan::default();
        plan.steps.reserve(keys.len());
        plan.requests.reserve(keys.len());
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
                    *chosen.entry(kind).or_default().entry_ref(&**via).or_insert_with(choose)
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
            Some(Route::Learned { via, src } | Route::Tunnelled { via, src, .. }) => (&**via, *src),
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
