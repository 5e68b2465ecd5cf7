//! By which gateways next hops are reached that lie behind routers, told to the agent before the routes by them. Called by
//! the driver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use routenet_core::model::{Cidr, Resolution, Via};

use super::PeeringEvent;
use super::driver::BEST_PORTION;
use crate::plane::next_hops::{Found, Questions};

#[derive(Default)]
pub struct Gateways {
    /// The next hops that are followed, with what was found of each; `None`: it is still looked for.
    known: BTreeMap<IpAddr, Option<Vec<IpAddr>>>,
    unknown: usize,
    /// Where a learned route leads there alone: the next hop of that.
    carried: BTreeMap<IpAddr, IpAddr>,
    /// What the agent has heard, without those on a link.
    told: BTreeMap<IpAddr, Vec<IpAddr>>,
    /// Those of which the agent may have to hear.
    changed: BTreeSet<IpAddr>,
    /// Routes with a next hop that is still looked for: what the kernel has of them stays meanwhile.
    held: BTreeMap<Cidr, Via>,
    /// Something was found since the held ones were gone through.
    found: bool,
    /// Something is not followed any more since what was told was gone through.
    left: bool,
}

impl Gateways {
    /// The speaker wants to know these, or no longer.
    pub fn ask(&mut self, questions: &Questions) {
        for (hop, wanted) in questions {
            if *wanted {
                self.known.entry(*hop).or_insert_with(|| {
                    self.unknown += 1;
                    None
                });
            } else if let Some(known) = self.known.remove(hop) {
                self.unknown -= usize::from(known.is_none());
                self.found = true;
                self.left = true;
            }
        }
    }

    /// Takes what was found; answers what of it is the speaker's matter.
    pub fn find(&mut self, found: Vec<(IpAddr, Found)>) -> Vec<(IpAddr, Resolution)> {
        self.found |= self.unknown > 0;
        let mut take = |(hop, found): (IpAddr, Found)| {
            if let Some(known) = self.known.get_mut(&hop) {
                self.unknown -= usize::from(known.is_none());
                // The routes of one that is out of reach go; until they are gone, nothing better is known.
                if matches!(found.resolution, Resolution::Via { .. }) || known.is_none() {
                    *known = Some(found.gateways);
                    self.changed.insert(hop);
                }
            }
            (hop, found.resolution)
        };
        let answers = found.into_iter().map(&mut take).collect();
        let led = self.carried.iter().filter(|(_, by)| self.changed.contains(by)).map(|(hop, _)| *hop);
        let led: Vec<IpAddr> = led.collect();
        self.changed.extend(led);
        answers
    }

    /// These are reached by way of a learned route now, or not any more.
    pub fn carry(&mut self, changes: BTreeMap<IpAddr, Option<IpAddr>>) {
        for (hop, by) in changes {
            match by {
                Some(by) => {
                    self.carried.insert(hop, by);
                    self.changed.insert(hop);
                }
                // By what it is reached else is found, or its routes go.
                None => _ = self.carried.remove(&hop),
            }
        }
    }

    /// `None`: it is not found yet, or not followed.
    fn gateways(&self, hop: &IpAddr) -> Option<Vec<IpAddr>> {
        let found = |hop: &IpAddr| self.known.get(hop).and_then(Option::clone);
        match self.carried.get(hop) {
            Some(by) => Some(found(by).filter(|gateways| !gateways.is_empty()).unwrap_or_else(|| vec![*by])),
            None => found(hop),
        }
    }

    /// The routes of these that the agent may have at once.
    pub fn pass(&mut self, mut routes: Vec<(Cidr, Via)>) -> Vec<(Cidr, Via)> {
        if self.unknown == 0 && self.held.is_empty() {
            return routes;
        }
        routes.retain(|(prefix, hops)| {
            self.held.remove(prefix);
            let waits = self.awaits(hops);
            if waits {
                self.held.insert(*prefix, hops.clone());
            }
            !waits
        });
        routes
    }

    fn awaits(&self, hops: &[IpAddr]) -> bool {
        hops.iter().any(|hop| matches!(self.known.get(hop), Some(None)))
    }

    pub fn has_news(&self) -> bool {
        !self.changed.is_empty() || self.found && !self.held.is_empty()
    }

    /// What the agent is to hear of gateways before further routes.
    pub fn news(&mut self) -> Option<PeeringEvent> {
        let mut news = Vec::new();
        for hop in std::mem::take(&mut self.changed) {
            let Some(gateways) = self.gateways(&hop) else { continue };
            if self.told.get(&hop).map(Vec::as_slice).unwrap_or_default() == gateways.as_slice() {
                continue;
            }
            if gateways.is_empty() {
                self.told.remove(&hop);
            } else {
                self.told.insert(hop, gateways.clone());
            }
            news.push((hop, gateways));
        }
        (!news.is_empty()).then_some(PeeringEvent::Gateways(news))
    }

    /// Held routes whose next hops were found since, once the speaker has nothing newer to tell of them: what it decided by
    /// the same answer may be another way.
    pub fn release(&mut self) -> Option<PeeringEvent> {
        if !self.found {
            return None;
        }
        let ready = self.held.iter().filter(|(_, hops)| !self.awaits(hops)).take(BEST_PORTION);
        let ready: Vec<Cidr> = ready.map(|(prefix, _)| *prefix).collect();
        self.found = ready.len() == BEST_PORTION;
        let routes = ready.into_iter().filter_map(|prefix| self.held.remove_entry(&prefix)).collect::<Vec<_>>();
        (!routes.is_empty()).then_some(PeeringEvent::Routes(routes))
    }

    /// What the agent need not remember: of next hops that no route has any more, once it has heard of all routes.
    pub fn forget(&mut self) -> Option<PeeringEvent> {
        if !self.held.is_empty() || !std::mem::take(&mut self.left) {
            return None;
        }
        let gone: Vec<IpAddr> = self.told.keys().filter(|hop| !self.known.contains_key(hop)).copied().collect();
        gone.iter().for_each(|hop| drop(self.told.remove(hop)));
        (!gone.is_empty()).then(|| PeeringEvent::Gateways(gone.into_iter().map(|hop| (hop, Vec::new())).collect()))
    }
}

#[cfg(test)]
#[path = "gateways_tests.rs"]
mod tests;
