//! Makes the kernel have what is wanted for given keys: one batch, errors told route by route.

use std::time::Instant;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use nix::errno::Errno;
use routenet_core::desired::{Route, RouteKey};

use crate::plane::netlink::{Connection, Outcome, Refusal, Request};
use crate::plane::tracker::Tracker;

use super::message::{self, Installed};
use super::mirror::{Mirror, family_fault};

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

#[derive(Default)]
struct Plan {
    steps: Vec<(RouteKey, Step)>,
    requests: Vec<Request>,
    failures: Vec<(RouteKey, String)>,
}

impl Plan {
    fn push(&mut self, key: RouteKey, step: Step, request: Request) {
        self.steps.push((key, step));
        self.requests.push(request);
    }

    fn remove(&mut self, key: RouteKey, installed: &Installed) {
        self.push(key, Step::Remove, Request::new(message::remove(&key, installed), 0));
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

    /// Something is in the way of these. If it is ours, though unknown to the mirror, it is replaced.
    fn settle(&mut self, clashes: &[RouteKey]) -> Vec<(RouteKey, String)> {
        let known = clashes.iter().all(|key| self.tracker.failure(key).is_some());
        let mut failures = Vec::new();
        let mut left = clashes.to_vec();
        if !known && self.mirror.read_routes(&mut self.connection).is_ok() {
            let (ours, foreign): (Vec<_>, Vec<_>) = left.iter().partition(|key| self.mirror.routes.contains_key(key));
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
        let mut stale = Plan::default();
        match self.connection.batch(&plan.requests) {
            Ok(outcomes) => {
                for ((key, step), outcome) in std::mem::take(&mut plan.steps).into_iter().zip(outcomes) {
                    match self.record(key, step, outcome) {
                        Ok(()) => {}
                        Err(refusal) if step == Step::Add && refusal.is(Errno::EEXIST) => clashes.push(key),
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
                plan.failures.extend(plan.steps.iter().map(|(key, _)| (*key, format!("netlink: {error}"))));
            }
        }
        if let Ok(outcomes) = self.connection.batch(&stale.requests) {
            for ((key, step), outcome) in stale.steps.into_iter().zip(outcomes) {
                // The failure of the route itself is told already; what stays is seen at the next attempt.
                let _ = self.record(key, step, outcome);
            }
        }
        (plan.failures, clashes)
    }

    fn plan(&mut self, keys: &[RouteKey]) -> Plan {
        let mut plan = Plan::default();
        for key in keys {
            let installed = self.mirror.routes.get(key);
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
            let (step, flags) = match installed {
                Some(_) => (Step::Replace, NLM_F_REPLACE),
                None => (Step::Add, NLM_F_EXCL),
            };
            plan.push(*key, step, Request::new(message::install(key, route, device), NLM_F_CREATE | flags));
        }
        plan
    }

    /// Enters what the kernel did into the mirror.
    fn record(&mut self, key: RouteKey, step: Step, outcome: Outcome) -> Result<(), Refusal> {
        match (step, outcome) {
            (Step::Add | Step::Replace, Ok(_)) => {
                if let Some(route) = self.tracker.wanted(&key) {
                    let installed = Installed {
                        protocol: message::protocol(route),
                        kind: message::kind(route),
                        route: Some(route.clone()),
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
            let via: Vec<String> = via.iter().map(ToString::to_string).collect();
            return format!("next hop {} is not on a link of this host: {refusal}", via.join(" or "));
        }
        refusal.to_string()
    }
}

fn unreachable(refusal: &Refusal) -> bool {
    [Errno::ENETUNREACH, Errno::EHOSTUNREACH].into_iter().any(|errno| refusal.is(errno))
}
