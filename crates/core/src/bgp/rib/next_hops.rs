//! The next hops of all routes, and whether they resolve (RFC 4271 9.1.2.1). Whoever has the host's routes is asked about
//! each, and answers by those that BGP has not learned.
//!
//! What a next hop needs beyond these, learned routes may carry, by one rule: of the longest learned prefix around it,
//! short of what the host itself says, only routes count whose own next hops the host's routes resolve. So what resolves
//! follows from the host and from what was told, never from what was decided, and no two routes can hold up each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::path::Candidate;
use super::{Rib, Slot, decision};
use crate::bgp::filter::Refusal;
use crate::model::scope::unscoped;
use crate::model::{Cidr, Family, NoWay, Resolution};

/// A learned route by which a next hop is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Carrier {
    length: u8,
    metric: u32,
    /// Its next hop, to which the host's own routes lead.
    via: IpAddr,
}

#[derive(Debug, Default)]
struct Hop {
    /// Those of them that import accepted.
    routes: u32,
    answer: Option<Resolution>,
    /// Until the answer is there: the cost of the route that each took the place of, which is not given up for a question.
    meanwhile: BTreeMap<RouteKey, u32>,
    /// Whose routes have to be decided anew with the answer.
    waiting: Vec<Slot>,
    /// Where the host's own routes do not lead to it.
    carrier: Option<Carrier>,
}

/// A prefix, and which of its routes.
type RouteKey = (Cidr, Option<IpAddr>, u32);

fn key(prefix: &Cidr, candidate: &Candidate) -> RouteKey {
    (*prefix, candidate.source.peer, candidate.source.path_id)
}

/// A next hop that does not resolve, for the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub address: IpAddr,
    pub routes: u32,
    pub why: NoWay,
}

#[derive(Debug, Default)]
pub struct NextHops {
    /// Whether anybody answers; without, everything resolves and costs nothing.
    asks: bool,
    hops: BTreeMap<IpAddr, Hop>,
    unanswered: usize,
    /// Those that the host's own routes do not resolve.
    stray: BTreeSet<IpAddr>,
    /// Strays around which something was learned or forgotten.
    touched: BTreeSet<IpAddr>,
    /// What whoever answers has not been told yet: asked about, or no longer.
    questions: BTreeMap<IpAddr, bool>,
    /// The same of those that are carried by another one, or no longer.
    carried: BTreeMap<IpAddr, Option<IpAddr>>,
}

/// Waiting destinations of a next hop that are not worth looking for twins.
const TWINS_AT_LEAST: usize = 64;

impl NextHops {
    /// The cost of the way to a route's next hop.
    ///
    /// # Errors
    /// Why the route takes no part in the decision.
    pub fn metric(&self, prefix: &Cidr, candidate: &Candidate) -> Result<u32, Refusal> {
        if let Some(refusal) = candidate.refused() {
            return Err(refusal);
        }
        if !self.follows(candidate) {
            return Ok(0);
        }
        let address = candidate.path.next_hop.way();
        let hop = self.hops.get(&address);
        match hop.and_then(|hop| hop.answer) {
            Some(Resolution::Via { metric }) => Ok(metric),
            Some(Resolution::Unreachable { why, .. }) => {
                // By way of this very route it would lead to itself.
                let itself = |carrier: &Carrier| prefix.contains(address) && prefix.length() >= carrier.length;
                let carrier = hop.and_then(|hop| hop.carrier).filter(|carrier| !itself(carrier));
                carrier.map(|carrier| carrier.metric).ok_or(Refusal::NextHop(why))
            }
            None => hop.and_then(|hop| hop.meanwhile.get(&key(prefix, candidate)).copied()).ok_or(Refusal::Unanswered),
        }
    }

    /// The cost, where the host's own routes lead to the next hop of a learned route.
    fn without_carrier(&self, candidate: &Candidate) -> Option<u32> {
        let hop = self.hops.get(&candidate.path.next_hop.way()).filter(|_| candidate.refused().is_none())?;
        match hop.answer? {
            Resolution::Via { metric } => Some(metric),
            Resolution::Unreachable { .. } => None,
        }
    }

    fn follows(&self, candidate: &Candidate) -> bool {
        self.asks && candidate.source.peer.is_some() && candidate.refused().is_none()
    }

    /// A route comes, in place of `old`.
    pub(super) fn replace(&mut self, slot: Slot, prefix: &Cidr, old: Option<&Candidate>, new: &Candidate) {
        let before = old.and_then(|old| self.metric(prefix, old).ok());
        // In this order: a next hop that both have is not forgotten in between.
        self.enter(slot, new);
        if let Some(old) = old {
            self.leave(prefix, old);
        }
        if let Some(before) = before.filter(|_| self.follows(new))
            && let Some(hop) = self.hops.get_mut(&new.path.next_hop.way()).filter(|hop| hop.answer.is_none())
        {
            hop.meanwhile.insert(key(prefix, new), before);
        }
    }

    fn enter(&mut self, slot: Slot, new: &Candidate) {
        if !self.follows(new) {
            return;
        }
        let address = new.path.next_hop.way();
        let hop = self.hops.entry(address).or_insert_with(|| {
            self.unanswered += 1;
            self.questions.insert(address, true);
            Hop::default()
        });
        hop.routes += 1;
        if hop.answer.is_none() {
            hop.waiting.push(slot);
            if hop.waiting.len() > TWINS_AT_LEAST.max(2 * hop.routes as usize) {
                hop.waiting.sort_unstable();
                hop.waiting.dedup();
            }
        }
    }

    /// A route goes.
    pub(super) fn leave(&mut self, prefix: &Cidr, old: &Candidate) {
        let address = old.path.next_hop.way();
        if !self.follows(old) {
            return;
        }
        let Some(hop) = self.hops.get_mut(&address) else { return };
        hop.routes -= 1;
        if !hop.meanwhile.is_empty() {
            hop.meanwhile.remove(&key(prefix, old));
        }
        if hop.routes == 0 {
            self.unanswered -= usize::from(hop.answer.is_none());
            if hop.carrier.is_some() {
                self.carried.insert(address, None);
            }
            self.hops.remove(&address);
            self.stray.remove(&address);
            self.questions.insert(address, false);
        }
    }

    /// The routes to this prefix are others.
    pub(super) fn touch(&mut self, prefix: &Cidr) {
        if !self.stray.is_empty() {
            let around = self.stray.range(prefix.address()..).take_while(|address| prefix.contains(**address));
            self.touched.extend(around);
        }
    }
}

impl Rib {
    /// From now on every next hop is asked about, and has to resolve. To be said before anything is learned.
    pub fn ask_for_next_hops(&mut self) {
        self.next_hops.asks = true;
    }

    /// What is to be asked (`true`), perhaps once more, and what no longer.
    pub fn take_questions(&mut self) -> BTreeMap<IpAddr, bool> {
        std::mem::take(&mut self.next_hops.questions)
    }

    /// Next hops that are reached by way of a learned route, each with that route's next hop, and those that are not any
    /// more: what is new of it.
    pub fn take_carried(&mut self) -> BTreeMap<IpAddr, Option<IpAddr>> {
        std::mem::take(&mut self.next_hops.carried)
    }

    /// Whether an answer is awaited.
    pub fn awaits_answers(&self) -> bool {
        self.next_hops.unanswered > 0
    }

    /// Those that do not resolve, by address.
    pub fn unresolved(&self) -> impl Iterator<Item = Unresolved> {
        let hops = self.next_hops.stray.iter().filter_map(|address| Some((address, self.next_hops.hops.get(address)?)));
        hops.filter(|(_, hop)| hop.carrier.is_none()).filter_map(|(address, hop)| match hop.answer? {
            Resolution::Unreachable { why, .. } => Some(Unresolved { address: *address, routes: hop.routes, why }),
            Resolution::Via { .. } => None,
        })
    }

    /// Takes answers, or what has changed of them.
    pub fn resolve(&mut self, answers: Vec<(IpAddr, Resolution)>) {
        let mut due = self.heed(answers);
        let changed = self.carry();
        due.extend(self.slots_by(&changed));
        due.sort_unstable();
        due.dedup();
        for slot in due {
            self.decide_anew(slot);
        }
    }

    /// Notes the answers, and what they touch: strays that have become so, and those around which there is a route by one of
    /// the next hops that are others now, which may carry them. Answers the destinations of such routes.
    fn heed(&mut self, answers: Vec<(IpAddr, Resolution)>) -> Vec<Slot> {
        let mut changed = BTreeSet::new();
        let mut due = Vec::new();
        for (address, answer) in answers {
            let hops = &mut self.next_hops;
            // Nobody needs it any more.
            let Some(hop) = hops.hops.get_mut(&address) else { continue };
            let before = hop.answer.replace(answer);
            if before.is_none() {
                hops.unanswered -= 1;
                due.append(&mut hop.waiting);
                hop.meanwhile.clear();
            } else if before != Some(answer) {
                changed.insert(address);
            } else {
                continue;
            }
            match answer {
                Resolution::Via { .. } => {
                    if hop.carrier.take().is_some() {
                        hops.carried.insert(address, None);
                    }
                    hops.stray.remove(&address);
                }
                Resolution::Unreachable { .. } => {
                    hops.stray.insert(address);
                    hops.touched.insert(address);
                }
            }
        }
        due.extend(self.slots_by(&changed));
        due.sort_unstable();
        due.dedup();
        for slot in &due {
            self.next_hops.touch(&self.slots[*slot as usize].prefix);
        }
        due
    }

    /// Follows what the routes that have come and gone mean for next hops that only learned routes carry.
    pub fn follow_carriers(&mut self) {
        if !self.next_hops.touched.is_empty() {
            let changed = self.carry();
            for slot in self.slots_by(&changed) {
                self.decide_anew(slot);
            }
        }
    }

    /// Those whose carrier is another one.
    fn carry(&mut self) -> BTreeSet<IpAddr> {
        let mut changed = BTreeSet::new();
        for address in std::mem::take(&mut self.next_hops.touched) {
            let carrier = self.carrier(address);
            let Some(hop) = self.next_hops.hops.get_mut(&address) else { continue };
            if hop.carrier != carrier {
                if hop.carrier.map(|carrier| carrier.via) != carrier.map(|carrier| carrier.via) {
                    self.next_hops.carried.insert(address, carrier.map(|carrier| carrier.via));
                }
                hop.carrier = carrier;
                changed.insert(address);
            }
        }
        changed
    }

    fn carrier(&self, address: IpAddr) -> Option<Carrier> {
        // What is on a link is nowhere else.
        if unscoped(address).1.is_some() {
            return None;
        }
        let Some(Resolution::Unreachable { closed, .. }) = self.next_hops.hops.get(&address)?.answer else {
            return None;
        };
        let shortest = closed.map_or(0, |length| length.saturating_add(1));
        for length in (shortest..=Family::of(address).bits()).rev() {
            let around = Cidr::new(address, length).ok();
            let Some(destination) = around.and_then(|prefix| self.get(&prefix)) else { continue };
            // What we announce ourselves the host has answered for.
            if destination.candidates().iter().any(|candidate| candidate.source.peer.is_none()) {
                return None;
            }
            let by_host = |candidate: &Candidate| self.next_hops.without_carrier(candidate);
            let first = decision::contest(destination.candidates(), by_host, |_, _| {}).first().copied();
            let first = first.map(|index| &destination.candidates()[index]);
            if let Some((first, metric)) = first.and_then(|first| Some((first, by_host(first)?))) {
                return Some(Carrier { length, metric, via: first.path.next_hop.way() });
            }
        }
        None
    }

    /// All prefixes with a route by one of these.
    fn slots_by(&self, hops: &BTreeSet<IpAddr>) -> Vec<Slot> {
        if hops.is_empty() {
            return Vec::new();
        }
        let by = |candidate: &Candidate| hops.contains(&candidate.path.next_hop.way());
        self.slots().filter(|slot| self.destination(*slot).candidates().iter().any(by)).collect()
    }
}

#[cfg(test)]
#[path = "next_hops_tests.rs"]
mod tests;
